//! Rules about one media playlist at one moment: durations, windows, versions, types, keys.

use super::{Out, Place, Rule, must, should};
use crate::lint::look::{Look, Rendition, Snapshot, playlist_of};
use crate::lint::observe::Asked;
use crate::lint::parse::{Attributes, Common, Media, Multivariant, Playlist};

pub(super) const RULES: &[Rule] = &[
    must("V1.present", "EXT-X-TARGETDURATION is there, a whole number of seconds (§4.4.3.1)", target_present),
    must("V1.longest", "EXTINF, rounded, is at most EXT-X-TARGETDURATION (§6.2.1, 7.7)", longest),
    must(
        "V9.sequence",
        "EXT-X-DISCONTINUITY-SEQUENCE is always there in a live playlist that ever has a discontinuity (8.17)",
        discontinuity_sequence,
    ),
    must("V11.six", "a live playlist has at least six segments (8.11)", six_segments),
    should("V11.quarter-hour", "a live playlist has at least 15 minutes of content (8.12)", quarter_hour),
    must("V12.grammar", "every line can be read (§4)", grammar),
    must("V12.enough", "EXT-X-VERSION is high enough for what the playlist uses (§8)", version_enough),
    should("V12.lean", "EXT-X-VERSION is no higher than what the playlist uses needs (§6.2.1)", version_lean),
    must("V13.spelling", "EXT-X-PLAYLIST-TYPE is exactly VOD or EVENT (§4.4.3.5)", playlist_type),
    must("V13.hint", "a playlist that has ended has no EXT-X-PRELOAD-HINT (§4.4.5.3)", ended_hint),
    must("V14.map", "fMP4 segments have an EXT-X-MAP (8.20, §3.1.2)", map_present),
    must("V18.key", "EXT-X-KEY has a METHOD that is allowed, and a URI (§4.4.4.4, 13.11)", key_tags),
    must("V18.fairplay", "FairPlay keys come with METHOD=SAMPLE-AES (13.2)", fairplay),
];

/// Runs over the newest moment of every media playlist.
fn each_latest<'l, 'a>(look: &'l Look<'a>) -> impl Iterator<Item = (&'l Rendition<'a>, &'l Snapshot<'a>)> {
    look.renditions.iter().map(|rendition| (rendition, rendition.latest()))
}

fn target_present(look: &Look<'_>, out: &mut Out) {
    for (rendition, snapshot) in each_latest(look) {
        out.check(
            snapshot.media.target.is_some(),
            || Place::file(rendition.url),
            || "add #EXT-X-TARGETDURATION with the longest segment's duration, rounded".to_owned(),
        );
    }
}

fn longest(look: &Look<'_>, out: &mut Out) {
    for rendition in &look.renditions {
        for snapshot in &rendition.snapshots {
            let Some(target) = snapshot.media.target else { continue };
            for segment in &snapshot.media.segments {
                out.check(
                    segment.duration.round() <= target.value as f64,
                    || Place::line(rendition.url, segment.duration_line, format!("segment {}", segment.msn)),
                    || {
                        let (lasts, target) = (&segment.duration_text, target.value);
                        format!(
                            "EXTINF {lasts} s against a target of {target} s: cut sooner, or start with a larger target"
                        )
                    },
                );
            }
        }
    }
}

fn discontinuity_sequence(look: &Look<'_>, out: &mut Out) {
    let breaks = |media: &Media| {
        media.segments.iter().any(|segment| segment.discontinuity.is_some())
            || media.open.discontinuity.is_some()
            || media.discontinuity_sequence.is_some_and(|at| at.value > 0)
    };
    let snapshots = || look.renditions.iter().flat_map(|r| r.snapshots.iter().map(move |s| (r, s)));
    if !snapshots().any(|(_, snapshot)| breaks(&snapshot.media)) {
        out.skip("no discontinuity was seen");
        return;
    }
    for (rendition, snapshot) in snapshots().filter(|(_, snapshot)| snapshot.media.end.is_none()) {
        out.check(
            snapshot.media.discontinuity_sequence.is_some(),
            || Place::file(rendition.url),
            || "add #EXT-X-DISCONTINUITY-SEQUENCE before the first segment, from 0 on, in every playlist".to_owned(),
        );
    }
}

fn six_segments(look: &Look<'_>, out: &mut Out) {
    for rendition in look.media_renditions().filter(|rendition| rendition.live()) {
        let (Some(first), media) = (rendition.snapshots.first(), &rendition.latest().media) else { continue };
        let number = |media: &Media| media.sequence.map_or(0, |at| at.value);
        let filling = number(&first.media) == number(media) && first.media.segments.len() < media.segments.len();
        if filling && media.segments.len() < 6 {
            out.skip("the playlist is still filling up after the stream's start");
            continue;
        }
        out.check(
            media.segments.len() >= 6,
            || Place::file(rendition.url),
            || format!("{} segments: keep a longer window", media.segments.len()),
        );
    }
    out.skip("nothing is live");
}

fn quarter_hour(look: &Look<'_>, out: &mut Out) {
    for rendition in look.media_renditions().filter(|rendition| rendition.live()) {
        let duration = rendition.latest().media.duration();
        out.check(
            duration >= 900.0,
            || Place::file(rendition.url),
            || format!("{duration:.0} s are listed: keep a longer window, so that viewers can go back"),
        );
    }
    out.skip("nothing is live");
}

fn grammar(look: &Look<'_>, out: &mut Out) {
    for (url, common) in commons(look) {
        out.looked = true;
        for fault in &common.faults {
            out.check(false, || Place::line(&url, fault.line, ""), || fault.what.clone());
        }
    }
}

/// What both kinds of playlist have, of every playlist.
fn commons<'l>(look: &'l Look<'_>) -> Vec<(String, &'l Common)> {
    let listing = look.multivariant.iter().map(|l| (l.fetch.url.to_string(), &l.playlist.common));
    listing.chain(each_latest(look).map(|(r, s)| (r.url.to_string(), &s.media.common))).collect()
}

fn version_enough(look: &Look<'_>, out: &mut Out) {
    for (place, declared, (needed, why)) in versions(look) {
        let mend = || format!("version {declared} is declared, {why} needs {needed}");
        out.check(declared >= needed, || place, mend);
    }
}

fn version_lean(look: &Look<'_>, out: &mut Out) {
    for (place, declared, (needed, why)) in versions(look) {
        let mend = || {
            format!("version {declared} is declared, {needed} is enough ({why}): older players refuse more for nothing")
        };
        out.check(declared <= needed, || place, mend);
    }
}

type Needed = (u64, &'static str);

/// Of every playlist: where its version stands, the version, and what it needs.
fn versions(look: &Look<'_>) -> Vec<(Place, u64, Needed)> {
    let of = |url: &url::Url, common: &Common, needed: Needed| {
        let line = common.version.map_or(1, |at| at.line);
        (Place::line(url, line, "EXT-X-VERSION"), common.version.map_or(1, |at| at.value), needed)
    };
    let listing = look.multivariant.iter();
    let listing = listing.map(|l| of(&l.fetch.url, &l.playlist.common, multivariant_version(&l.playlist)));
    let media = each_latest(look).map(|(r, s)| of(r.url, &s.media.common, media_version(&s.media)));
    let deltas =
        look.observed.probes.iter().filter(|probe| probe.asked == Asked::Delta).filter_map(|probe| match playlist_of(
            &probe.fetch,
        )? {
            Playlist::Media(media) => Some(of(&probe.fetch.url, &media.common, media_version(&media))),
            Playlist::Multivariant(_) => None,
        });
    listing.chain(media).chain(deltas).collect()
}

/// The lowest version that may be declared (§8), and what needs it.
fn media_version(media: &Media) -> Needed {
    let key = |name: &str| media.segments.iter().any(|s| s.keys.iter().any(|key| key.attributes.get(name).is_some()));
    let method =
        |name: &str| media.segments.iter().any(|s| s.keys.iter().any(|key| key.attributes.get("METHOD") == Some(name)));
    let map = media.segments.iter().any(|segment| segment.map.is_some());
    let ranges = media.segments.iter().any(|segment| segment.range.is_some());
    let fractions = media.segments.iter().any(|segment| segment.duration_text.contains('.'));
    let removed = media.skip.as_ref().is_some_and(|tag| tag.attributes.get("RECENTLY-REMOVED-DATERANGES").is_some());
    highest(&[
        (key("IV"), 2, "the IV of EXT-X-KEY"),
        (fractions, 3, "an EXTINF with a fraction"),
        (ranges, 4, "EXT-X-BYTERANGE"),
        (media.iframes_only.is_some(), 4, "EXT-X-I-FRAMES-ONLY"),
        (method("SAMPLE-AES") || key("KEYFORMAT"), 5, "SAMPLE-AES or KEYFORMAT"),
        (map, 5, "EXT-X-MAP"),
        (map && media.iframes_only.is_none(), 6, "EXT-X-MAP outside I-frame playlists"),
        (!media.common.defines.is_empty(), 8, "EXT-X-DEFINE"),
        (media.skip.is_some(), 9, "EXT-X-SKIP"),
        (removed, 10, "EXT-X-SKIP over EXT-X-DATERANGE"),
        (query_defines(&media.common), 11, "EXT-X-DEFINE with QUERYPARAM"),
    ])
}

fn multivariant_version(playlist: &Multivariant) -> Needed {
    let service =
        playlist.media.iter().any(|tag| tag.attributes.get("INSTREAM-ID").is_some_and(|id| id.starts_with("SERVICE")));
    let tags =
        playlist.variants.iter().map(|v| &v.attributes).chain(playlist.iframes.iter().map(|tag| &tag.attributes));
    let required = tags.flat_map(|attributes| attributes.names()).any(|name| name.starts_with("REQ-"));
    highest(&[
        (service, 7, "a SERVICE value of INSTREAM-ID"),
        (!playlist.common.defines.is_empty(), 8, "EXT-X-DEFINE"),
        (query_defines(&playlist.common), 11, "EXT-X-DEFINE with QUERYPARAM"),
        (required, 12, "a REQ- attribute"),
    ])
}

fn query_defines(common: &Common) -> bool {
    common.defines.iter().any(|tag| tag.attributes.get("QUERYPARAM").is_some())
}

fn highest(needs: &[(bool, u64, &'static str)]) -> Needed {
    let used = needs.iter().filter(|(used, ..)| *used).max_by_key(|(_, version, _)| *version);
    used.map_or((1, "nothing in it"), |&(_, version, why)| (version, why))
}

fn playlist_type(look: &Look<'_>, out: &mut Out) {
    for (rendition, snapshot) in each_latest(look) {
        let Some(tag) = &snapshot.media.playlist_type else { continue };
        out.check(
            matches!(tag.value.as_str(), "VOD" | "EVENT"),
            || Place::line(rendition.url, tag.line, "EXT-X-PLAYLIST-TYPE"),
            || format!("{:?}: write VOD or EVENT, without a space, or leave the tag out", tag.value),
        );
    }
    out.skip("no playlist has an EXT-X-PLAYLIST-TYPE");
}

fn ended_hint(look: &Look<'_>, out: &mut Out) {
    for (rendition, snapshot) in each_latest(look).filter(|(_, snapshot)| snapshot.media.end.is_some()) {
        out.check(
            snapshot.media.hints.is_empty(),
            || Place::line(rendition.url, snapshot.media.hints.first().map_or(1, |tag| tag.line), "EXT-X-PRELOAD-HINT"),
            || "nothing follows EXT-X-ENDLIST: leave the hint out".to_owned(),
        );
    }
    out.skip("no playlist has ended");
}

fn map_present(look: &Look<'_>, out: &mut Out) {
    for (rendition, snapshot) in each_latest(look) {
        for segment in snapshot.media.segments.iter().filter(|segment| !segment.gap) {
            let path = segment.uri.split(['?', '#']).next().unwrap_or("");
            let opened = look.fetched(rendition, segment).and_then(|url| look.fragment(&url, segment.range));
            let fmp4 = [".m4s", ".mp4", ".m4v", ".m4a", ".cmfv", ".cmfa"].iter().any(|end| path.ends_with(end));
            if fmp4 || opened.is_some() {
                out.check(
                    segment.map.is_some(),
                    || Place::line(rendition.url, segment.line, format!("segment {}", segment.msn)),
                    || "add #EXT-X-MAP with the init segment before it".to_owned(),
                );
            }
        }
    }
    out.skip("no fMP4 segments");
}

fn key_tags(look: &Look<'_>, out: &mut Out) {
    each_key(look, out, |key| {
        let method = key.get("METHOD").unwrap_or("");
        if !["AES-128", "AES-256-GCM", "SAMPLE-AES"].contains(&method) {
            return Some(format!("METHOD={method}: use AES-128 or SAMPLE-AES"));
        }
        key.get("URI").is_none().then(|| "say by URI where the key is".to_owned())
    });
}

fn fairplay(look: &Look<'_>, out: &mut Out) {
    each_key(look, out, |key| {
        let method = key.get("METHOD").unwrap_or("");
        let wrong = key.get("KEYFORMAT") == Some("com.apple.streamingkeydelivery") && method != "SAMPLE-AES";
        wrong.then(|| format!("METHOD={method} with FairPlay: use SAMPLE-AES (cbcs)"))
    });
}

fn each_key(look: &Look<'_>, out: &mut Out, fault: impl Fn(&Attributes) -> Option<String>) {
    for (rendition, snapshot) in each_latest(look) {
        let mut line = 0;
        for key in snapshot.media.segments.iter().flat_map(|segment| &segment.keys) {
            // One tag applies to many segments.
            if key.line <= line {
                continue;
            }
            line = key.line;
            let fault = fault(&key.attributes);
            let place = || Place::line(rendition.url, key.line, "EXT-X-KEY");
            out.check(fault.is_none(), place, || fault.clone().unwrap_or_default());
        }
    }
    out.skip("nothing is encrypted");
}
