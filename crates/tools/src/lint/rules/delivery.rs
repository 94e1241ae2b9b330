//! Rules about HTTP: encodings, types, redirects, transport, caching.

use super::{Out, Place, Rule, must, should};
use crate::lint::look::{Look, playlist_of};
use crate::lint::observe::{Answer, Asked, Fetch};
use crate::lint::parse::{Playlist, parse_http_date};

pub(super) const RULES: &[Rule] = &[
    must("V15.gzip", "playlists are delivered with gzip (10.1)", gzip),
    must("V15.identifiable", "a playlist is known by its type or by .m3u8 at the end of its path (§4)", identifiable),
    should("V15.mime", "playlists, init segments and segments have the recommended types (10.4)", mime),
    must("V15.tls", "TLS is of version 1.2 or later (12.1)", tls),
    must("V16.listed", "every listed playlist can be fetched (§6.2.1)", listed),
    must("V16.redirect", "requests for media are not redirected (8.18)", redirect),
    should("V16.stale", "a live playlist's Last-Modified is at most three target durations before Date (8.24)", stale),
    must("L6.http2", "low-latency streams are served by HTTP/2 or later (appendix B)", http2),
    should(
        "L7.playlist",
        "a live playlist may be cached for at most half a target duration, and says so (appendix B)",
        playlist_age,
    ),
    should("L7.errors", "errors may be cached for at most a target duration (appendix B)", error_age),
];

const PLAIN: &str = "plain http: transport is not looked at";

fn playlists<'a>(look: &Look<'a>) -> impl Iterator<Item = (&'a Fetch, &'a Answer)> {
    let answered = |fetch: &'a Fetch| fetch.success().map(|answer| (fetch, answer));
    // The first answer of each address says it; the others are the same server again.
    let media =
        look.renditions.iter().filter_map(|rendition| rendition.snapshots.first()).map(|snapshot| snapshot.fetch);
    let all: Vec<_> = look.multivariant.iter().map(|listing| listing.fetch).chain(media).filter_map(answered).collect();
    all.into_iter()
}

fn gzip(look: &Look<'_>, out: &mut Out) {
    for (fetch, answer) in playlists(look) {
        out.check(
            answer.header("content-encoding").is_some_and(|encoding| encoding.eq_ignore_ascii_case("gzip")),
            || Place::of(&fetch.url, "Content-Encoding"),
            || "asked with Accept-Encoding: gzip, the answer was not compressed: turn gzip on for playlists".to_owned(),
        );
    }
}

fn is_playlist_type(kind: &str) -> bool {
    ["application/vnd.apple.mpegurl", "audio/mpegurl", "application/x-mpegurl", "audio/x-mpegurl"].contains(&kind)
}

fn identifiable(look: &Look<'_>, out: &mut Out) {
    for (fetch, answer) in playlists(look) {
        let path = fetch.url.path();
        let typed = answer.content_type().is_some_and(|kind| is_playlist_type(&kind));
        out.check(
            typed || path.ends_with(".m3u8") || path.ends_with(".m3u"),
            || Place::of(&fetch.url, "Content-Type"),
            || "answer with Content-Type: application/vnd.apple.mpegurl".to_owned(),
        );
    }
}

fn mime(look: &Look<'_>, out: &mut Out) {
    for (fetch, answer) in playlists(look) {
        let kind = answer.content_type().unwrap_or_default();
        out.check(
            kind == "application/vnd.apple.mpegurl" || kind == "audio/mpegurl",
            || Place::of(&fetch.url, "Content-Type"),
            || format!("{kind:?}: answer with application/vnd.apple.mpegurl"),
        );
    }
    for fetch in &look.observed.files {
        let Some(answer) = fetch.success() else { continue };
        let kind = answer.content_type().unwrap_or_default();
        let (good, wanted) = recommended(&answer.body, &kind, fetch.url.path());
        out.check(good, || Place::of(&fetch.url, "Content-Type"), || format!("{kind:?}: answer with {wanted}"));
    }
}

/// Whether the type suits the content, and which would.
fn recommended(body: &[u8], kind: &str, path: &str) -> (bool, &'static str) {
    let name = body.get(4..8).unwrap_or_default();
    if body.first() == Some(&0x47) && body.get(188).is_none_or(|byte| *byte == 0x47) {
        (kind == "video/mp2t", "video/mp2t")
    } else if [&b"ftyp"[..], b"styp", b"moof", b"moov", b"sidx", b"emsg", b"prft"].contains(&name) {
        let types = ["video/mp4", "audio/mp4", "video/iso.segment", "audio/iso.segment", "application/mp4"];
        (types.contains(&kind), "video/mp4, audio/mp4 or video/iso.segment")
    } else if body.starts_with(b"ID3") || path.ends_with(".aac") {
        (kind.starts_with("audio/"), "audio/aac or the type of its format")
    } else {
        // Text, encrypted media and what we don't know: nothing to say.
        (true, "")
    }
}

fn tls(look: &Look<'_>, out: &mut Out) {
    if !look.secure() {
        return out.skip(PLAIN);
    }
    for (fetch, answer) in look.answers() {
        let Some(version) = &answer.tls else { continue };
        out.check(
            matches!(version.as_str(), "TLSv1.2" | "TLSv1.3"),
            || Place::file(&fetch.url),
            || format!("{version}: turn on TLS 1.2 and 1.3, and older ones off"),
        );
    }
}

fn listed(look: &Look<'_>, out: &mut Out) {
    for watched in &look.observed.playlists {
        let Some(fetch) = watched.snapshots.first() else { continue };
        out.check(
            probed(fetch).is_some(),
            || Place::file(&watched.url),
            || match fetch.success() {
                Some(_) => "it is no media playlist: take it out, or mend it".to_owned(),
                None => format!("it {}: list playlists that are there", fetch.said()),
            },
        );
    }
}

fn redirect(look: &Look<'_>, out: &mut Out) {
    for fetch in &look.observed.files {
        let Ok(answer) = &fetch.outcome else { continue };
        out.check(
            !(300..400).contains(&answer.status),
            || Place::file(&fetch.url),
            || {
                let to = answer.header("location").unwrap_or("elsewhere");
                format!("answered {} to {to}: proxy it, or write the final address into the playlist", answer.status)
            },
        );
    }
    out.skip("no media was fetched");
}

fn stale(look: &Look<'_>, out: &mut Out) {
    for rendition in look.renditions.iter().filter(|rendition| rendition.live()) {
        let snapshot = rendition.latest();
        let Some(answer) = snapshot.fetch.success() else { continue };
        let read = |name| answer.header(name).and_then(parse_http_date);
        let (Some(modified), Some(date)) = (read("last-modified"), read("date")) else { continue };
        let target = snapshot.media.target_s().unwrap_or(6.0);
        out.check(
            // Both headers have whole seconds.
            date - modified <= 3.0 * target + 1.0,
            || Place::of(rendition.url, "Last-Modified"),
            || format!("{:.0} s before Date: players take such an update for a dead one", date - modified),
        );
    }
    out.skip("no live playlist has Last-Modified and Date");
}

fn http2(look: &Look<'_>, out: &mut Out) {
    if !look.secure() {
        return out.skip(PLAIN);
    }
    if !look.renditions.iter().any(|rendition| rendition.latest().media.low_latency()) {
        return out.skip("the stream is not a low-latency one");
    }
    for (fetch, answer) in playlists(look) {
        out.check(
            answer.version >= http::Version::HTTP_2,
            || Place::file(&fetch.url),
            || format!("{:?}: turn on HTTP/2, or players fall back to ordinary HLS", answer.version),
        );
    }
}

fn playlist_age(look: &Look<'_>, out: &mut Out) {
    for rendition in look.renditions.iter().filter(|rendition| rendition.live()) {
        let Some(snapshot) = rendition.snapshots.first() else { continue };
        let Some(answer) = snapshot.fetch.success() else { continue };
        let never = ["no-store", "no-cache"].iter().any(|name| answer.cache_directive(name).is_some());
        let shared = answer.cache_directive("s-maxage").or_else(|| answer.cache_directive("max-age")).flatten();
        let target = snapshot.media.target_s().unwrap_or(6.0);
        let low_latency = snapshot.media.low_latency();
        // Whole seconds only: the shortest age there is but none is one.
        let most = if low_latency { 1.0 } else { (target / 2.0).max(1.0) };
        out.check(
            never || shared.is_some_and(|age| age as f64 <= most),
            || Place::of(rendition.url, "Cache-Control"),
            || match answer.header("cache-control") {
                None => format!("there is none, so caches guess: say max-age={most:.0}"),
                Some(said) => format!("{said:?}: say max-age={most:.0} or less"),
            },
        );
    }
    out.skip("nothing is live");
}

fn error_age(look: &Look<'_>, out: &mut Out) {
    let playlists = look.observed.playlists.len();
    for probe in look.observed.probes.iter().filter(|probe| probe.playlist < playlists && probe.asked != Asked::Again) {
        let Ok(answer) = &probe.fetch.outcome else { continue };
        if !(400..600).contains(&answer.status) {
            continue;
        }
        let rendition = look.renditions.iter().find(|rendition| rendition.index == probe.playlist);
        let target = rendition.and_then(|rendition| rendition.latest().media.target_s()).unwrap_or(6.0);
        let age = answer.cache_directive("s-maxage").or_else(|| answer.cache_directive("max-age")).flatten();
        out.check(
            age.is_none_or(|age| age as f64 <= target),
            || Place::of(&probe.fetch.url, "Cache-Control"),
            || format!("a {} may be cached for {} s: say no-store or max-age=1", answer.status, age.unwrap_or(0)),
        );
    }
    out.skip("no probe was answered with an error");
}

/// The media playlist that a probe brought back.
pub(super) fn probed(fetch: &Fetch) -> Option<crate::lint::parse::Media> {
    match playlist_of(fetch)? {
        Playlist::Media(media) => Some(*media),
        Playlist::Multivariant(_) => None,
    }
}
