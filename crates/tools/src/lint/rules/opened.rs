//! Rules that are seen by opening init segments and segments. Only fMP4 with one track a file is opened.

use super::{Out, Place, Rule, must, should};
use crate::lint::look::{Look, OpenedSegment, Rendition};
use crate::lint::observe::Role;
use bytes::Bytes;
use media::h264::nal_units;
use media::mp4::read::InitInfo;

pub(super) const RULES: &[Rule] = &[
    must("V2.sum", "the EXTINF of any run of segments adds up to its real duration within one frame (8.1)", sums),
    must("V3.idr", "video segments begin with an IDR (7.4)", idr),
    must("V3.continuity", "a segment's decoding times go on where the one before ended (7.1, 7.3)", continuity),
    must("V3.timestamps", "the same moment has the same media time on all video renditions (§6.2.4)", timestamps),
    must("V6.codecs-true", "CODECS names every format that the segments have (§6.2.4)", codecs_true),
    should("V6.resolution-true", "RESOLUTION is the size of the picture (§4.4.6.2)", resolution_true),
    must(
        "V6.peak",
        "no segment's bit rate is above BANDWIDTH by more than 25 % live or 10 % in VOD (9.13, 1.27, 1.29)",
        peak,
    ),
    must("V9.marked", "where codec, size or timescale change there is an EXT-X-DISCONTINUITY (8.13, §6.2.1)", marked),
    must("V14.init", "EXT-X-MAP leads to an init segment (§3.1.2)", init_segments),
    must("V16.found", "every listed segment without EXT-X-GAP can be downloaded at once (§6.2.1)", found),
    must("V19.vexu", "projected and stereo video has a vexu box in its init segment (16.2)", vexu),
    // Apple's 16.1 says MUST, for streams that follow its 1.38 (HEVC) as well. Elsewhere clients that know the attribute and
    // not the value drop the variant, and the draft says SHOULD: that is the level here.
    should("V19.layout", "variants with projected or stereo video have REQ-VIDEO-LAYOUT (16.1)", layout),
];

const NOTHING: &str = "no segment could be opened: only unencrypted fMP4 with one track a file is";
/// What rounding of timescales may amount to, in seconds.
const ROUNDING_S: f64 = 0.001;

fn at(rendition: &Rendition<'_>, opened: &OpenedSegment<'_>) -> Place {
    Place::line(rendition.url, opened.segment.line, format!("segment {}", opened.segment.msn))
}

fn sums(look: &Look<'_>, out: &mut Out) {
    for rendition in look.media_renditions() {
        let opened = look.opened(rendition);
        let Some(first) = opened.first() else { continue };
        for segment in &opened {
            let tolerance = segment.frame_s + ROUNDING_S;
            let off = segment.segment.duration - segment.length_s;
            out.check(
                off.abs() <= tolerance,
                || at(rendition, segment),
                || {
                    format!(
                        "EXTINF {} for {:.6} s of media: write what was cut, with 6 decimals",
                        segment.segment.duration_text, segment.length_s
                    )
                },
            );
            let same_line = segment.segment.discontinuity_number == first.segment.discontinuity_number;
            if let Some(listed) =
                listed_between(rendition, first.segment.msn, segment.segment.msn).filter(|_| same_line)
            {
                let real = segment.start_s - first.start_s;
                out.check((listed - real).abs() <= tolerance, || at(rendition, segment), || {
                    let from = first.segment.msn;
                    format!("from segment {from} on EXTINF adds up to {listed:.6} s, the media to {real:.6} s: don't round each one")
                });
            }
        }
    }
    out.skip(NOTHING);
}

/// EXTINF from one segment to another, the latter not counted, if one moment lists them all.
fn listed_between(rendition: &Rendition<'_>, from: u64, to: u64) -> Option<f64> {
    rendition.snapshots.iter().find_map(|snapshot| {
        snapshot.media.segment(from)?;
        snapshot.media.segment(to)?;
        let between = snapshot.media.segments.iter().filter(|segment| (from..to).contains(&segment.msn));
        Some(between.map(|segment| segment.duration).sum())
    })
}

fn idr(look: &Look<'_>, out: &mut Out) {
    for rendition in look.video_renditions() {
        for opened in look.opened(rendition) {
            let sync = opened.fragment.tracks.first().is_some_and(|track| track.first_is_sync);
            let holds = sync && first_picture_is_idr(look, &opened).unwrap_or(true);
            out.check(
                holds,
                || at(rendition, &opened),
                || {
                    "its first picture is no IDR: cut at real IDRs only (NAL type 5), whatever the container flags"
                        .to_owned()
                },
            );
        }
    }
    out.skip(NOTHING);
}

/// Whether the first coded picture is an IDR; `None` if the codec is not H.264 or it can't be told.
fn first_picture_is_idr(look: &Look<'_>, opened: &OpenedSegment<'_>) -> Option<bool> {
    if &opened.init.codec != b"avc1" {
        return None;
    }
    let first = opened.fragment.tracks.first()?;
    let body = look.content(&opened.url, opened.segment.range)?;
    let from = first.offset.checked_add(first.moof_bytes)?.checked_add(8)?;
    let to = from.checked_add(first.mdat_bytes.checked_sub(8)?)?;
    let media: Bytes = (to <= body.len() && from <= to).then(|| body.slice(from..to))?;
    let kinds = nal_units(&media, 4).map_while(Result::ok).filter_map(|nal| nal.first().map(|head| head & 0x1f));
    kinds.take(64).find(|kind| (1..=5).contains(kind)).map(|kind| kind == 5)
}

fn continuity(look: &Look<'_>, out: &mut Out) {
    for rendition in look.media_renditions() {
        let opened = look.opened(rendition);
        for segment in &opened {
            let scale = f64::from(segment.init.timescale);
            let chunks = segment.fragment.tracks.iter().zip(segment.fragment.tracks.iter().skip(1));
            for (before, after) in chunks {
                let end = before.base_decode_time.saturating_add(before.duration) as f64 / scale;
                let off = after.base_decode_time as f64 / scale - end;
                out.check(
                    off.abs() <= ROUNDING_S,
                    || at(rendition, segment),
                    || format!("a chunk inside begins {:+.3} ms off the end of the one before (tfdt)", off * 1000.0),
                );
            }
        }
        for (before, after) in opened.iter().zip(opened.iter().skip(1)) {
            let adjacent = before.segment.msn.checked_add(1) == Some(after.segment.msn);
            if !adjacent || after.segment.discontinuity.is_some() {
                continue;
            }
            let off = after.decode_start_s - (before.decode_start_s + before.length_s);
            out.check(
                off.abs() <= ROUNDING_S,
                || at(rendition, after),
                || {
                    format!(
                        "tfdt is {:+.3} ms off the end of the segment before: go on there, or mark a discontinuity",
                        off * 1000.0
                    )
                },
            );
        }
    }
    out.skip(NOTHING);
}

fn timestamps(look: &Look<'_>, out: &mut Out) {
    let mut videos = look.video_renditions();
    let Some(reference) = videos.next() else { return out.skip("there is no video playlist") };
    let known = look.opened(reference);
    for rendition in videos {
        for opened in look.opened(rendition) {
            // Only where dates say that the two are the same moment.
            let date = opened.segment.date;
            let same = known.iter().find(|other| match (other.segment.date, date) {
                (Some(a), Some(b)) => (a.value - b.value).abs() < 0.0005,
                _ => false,
            });
            let Some(same) = same else { continue };
            let off = opened.start_s - same.start_s;
            out.check(
                off.abs() <= ROUNDING_S,
                || at(rendition, &opened),
                || {
                    format!(
                        "it begins {:+.3} ms off the first rendition in media time: stamp all from one clock",
                        off * 1000.0
                    )
                },
            );
        }
    }
    out.skip("no two renditions had an opened segment of the same date");
}

/// Every init segment that was opened, with its playlist.
fn inits<'l, 'a>(look: &'l Look<'a>) -> Vec<(&'l Rendition<'a>, &'l InitInfo)> {
    look.media_renditions().filter_map(|rendition| Some((rendition, look.init_of(rendition)?))).collect()
}

/// The renditions that a variant may play: its own playlist and those of its audio group.
fn playable<'l, 'a>(look: &'l Look<'a>, index: usize) -> Vec<&'l Rendition<'a>> {
    let Some(listing) = &look.multivariant else { return Vec::new() };
    let Some(variant) = listing.playlist.variants.get(index) else { return Vec::new() };
    let group = variant.attributes.get("AUDIO");
    let audio = group.into_iter().flat_map(|group| listing.playlist.group("AUDIO", group));
    let addresses = audio.filter_map(|tag| tag.attributes.get("URI"));
    std::iter::once(variant.uri.as_str()).chain(addresses).filter_map(|uri| look.rendition_at(uri)).collect()
}

fn codecs_true(look: &Look<'_>, out: &mut Out) {
    let Some(listing) = &look.multivariant else { return out.skip("no multivariant playlist") };
    for (index, variant) in listing.playlist.variants.iter().enumerate() {
        let Some(codecs) = variant.attributes.get("CODECS") else { continue };
        for rendition in playable(look, index) {
            let Some(init) = look.init_of(rendition) else { continue };
            let here = init.codec_string.as_str();
            let named = codecs.split(',').map(str::trim).any(|codec| {
                // A codec that we can't spell out is compared by its name alone.
                if here.contains('.') {
                    codec.eq_ignore_ascii_case(here)
                } else {
                    codec.split('.').next() == here.split('.').next()
                }
            });
            out.check(
                named,
                || Place::line(&listing.fetch.url, variant.line, "CODECS"),
                || format!("\"{codecs}\" lacks {here}, which {} has", rendition.url),
            );
        }
    }
    out.skip(NOTHING);
}

fn resolution_true(look: &Look<'_>, out: &mut Out) {
    let Some(listing) = &look.multivariant else { return out.skip("no multivariant playlist") };
    for variant in &listing.playlist.variants {
        let rendition = look.rendition_at(&variant.uri);
        let init = rendition.and_then(|rendition| look.init_of(rendition)).filter(|init| init.width > 0);
        let (Some(init), Some(said)) = (init, variant.attributes.get("RESOLUTION")) else { continue };
        let real = format!("{}x{}", init.width, init.height);
        out.check(
            said == real,
            || Place::line(&listing.fetch.url, variant.line, "RESOLUTION"),
            || format!("{said} is said, the init segment has {real}"),
        );
    }
    out.skip(NOTHING);
}

fn peak(look: &Look<'_>, out: &mut Out) {
    let Some(listing) = &look.multivariant else { return out.skip("no multivariant playlist") };
    for (index, variant) in listing.playlist.variants.iter().enumerate() {
        let (Some(bandwidth), Some(own)) = (variant.attributes.integer("BANDWIDTH"), look.rendition_at(&variant.uri))
        else {
            continue;
        };
        let Some(video) = measured_peak(look, own) else { continue };
        let others = playable(look, index).into_iter().filter(|rendition| rendition.index != own.index);
        // Only one audio rendition plays at a time: the one with the highest rate counts.
        let audio = others.filter_map(|rendition| measured_peak(look, rendition)).fold(0.0, f64::max);
        let (total, slack) = (video + audio, if own.live() { 1.25 } else { 1.1 });
        out.check(
            total <= bandwidth as f64 * slack,
            || Place::line(&listing.fetch.url, variant.line, "BANDWIDTH"),
            || format!("{bandwidth} is said, {total:.0} bit/s was measured: say the largest sum of segment peaks"),
        );
    }
    out.skip("no segment between half and one and a half target durations was fetched");
}

/// The highest bit rate of the segments fetched (§4.1: of those between 0.5 and 1.5 target durations), in bit/s.
fn measured_peak(look: &Look<'_>, rendition: &Rendition<'_>) -> Option<f64> {
    let mut peak = None;
    for snapshot in &rendition.snapshots {
        let target = snapshot.media.target_s()?;
        for segment in &snapshot.media.segments {
            let whole = (0.5 * target..=1.5 * target).contains(&segment.duration) && segment.duration > 0.0;
            let Some(url) = look.fetched(rendition, segment) else { continue };
            let size = look.fetches(&url, segment.range).iter().find_map(|fetch| fetch.success());
            if let Some(answer) = size.filter(|_| whole) {
                let rate = answer.body.len() as f64 * 8.0 / segment.duration;
                peak = Some(peak.map_or(rate, |known: f64| known.max(rate)));
            }
        }
    }
    peak
}

fn marked(look: &Look<'_>, out: &mut Out) {
    for rendition in look.media_renditions() {
        let segments = &rendition.latest().media.segments;
        let changes = segments.iter().zip(segments.iter().skip(1)).filter(|(before, after)| before.map != after.map);
        for (before, after) in changes {
            let inits = (look.init_for(rendition, before), look.init_for(rendition, after));
            let (Some(old), Some(new)) = inits else { continue };
            out.check(
                old == new || after.discontinuity.is_some(),
                || Place::line(rendition.url, after.line, format!("segment {}", after.msn)),
                || {
                    "its init segment says something else than the one before: put #EXT-X-DISCONTINUITY before it"
                        .to_owned()
                },
            );
        }
    }
    out.skip("no EXT-X-MAP changes, or what it leads to could not be opened");
}

fn init_segments(look: &Look<'_>, out: &mut Out) {
    for rendition in look.media_renditions() {
        let mut line = 0;
        for segment in rendition.latest().media.segments.iter().filter(|segment| !segment.gap) {
            // One tag applies to many segments.
            let own = segment.map.as_ref().map_or(0, |map| map.line);
            if std::mem::replace(&mut line, own) == own {
                continue;
            }
            let fetches = look.init_fetches(rendition, segment);
            let Some(fetch) = fetches.first() else { continue };
            let opened = look.init_for(rendition, segment).is_some();
            // Codecs that we don't know have init segments all the same.
            let looks_right = fetch.success().is_some_and(|answer| contains_moov(&answer.body));
            out.check(
                opened || looks_right,
                || Place::line(rendition.url, line, "EXT-X-MAP"),
                || match fetch.success() {
                    Some(_) => format!("{} is no init segment: it has no moov box", fetch.url),
                    None => format!("{} {}", fetch.url, fetch.said()),
                },
            );
        }
    }
    out.skip("no playlist has an EXT-X-MAP");
}

fn contains_moov(body: &[u8]) -> bool {
    media::mp4::read::boxes(body).map_while(Result::ok).any(|(name, _)| &name == b"moov")
}

fn found(look: &Look<'_>, out: &mut Out) {
    for rendition in &look.renditions {
        for snapshot in &rendition.snapshots {
            for segment in snapshot.media.segments.iter().filter(|segment| !segment.gap) {
                let Some(url) = look.fetched(rendition, segment) else { continue };
                let Some(fetch) = look.fetches(&url, segment.range).first() else { continue };
                // A redirect is another rule's business.
                let redirected = fetch.outcome.as_ref().is_ok_and(|answer| (300..400).contains(&answer.status));
                out.check(
                    fetch.success().is_some() || redirected,
                    || Place::line(rendition.url, segment.line, format!("segment {}", segment.msn)),
                    || format!("{url} {}: list a segment when it is there, or with #EXT-X-GAP", fetch.said()),
                );
            }
        }
    }
    out.skip("no segment was fetched");
}

fn vexu(look: &Look<'_>, out: &mut Out) {
    for (rendition, init) in inits(look) {
        if init.has_vexu || says_sphere(look, rendition) || required_layout(look, rendition).is_some() {
            out.check(
                init.has_vexu,
                || Place::of(rendition.url, "EXT-X-MAP"),
                || "the video is projected but its init segment has no vexu: add vexu with proj/prji".to_owned(),
            );
        }
    }
    out.skip("no projected or stereo video was seen");
}

fn layout(look: &Look<'_>, out: &mut Out) {
    let Some(listing) = &look.multivariant else { return out.skip("no multivariant playlist") };
    for variant in &listing.playlist.variants {
        let Some(rendition) = look.rendition_at(&variant.uri).filter(|r| r.role == Role::Video) else { continue };
        let Some(init) = look.init_of(rendition) else { continue };
        if !init.has_vexu && !says_sphere(look, rendition) {
            continue;
        }
        out.check(
            variant.attributes.get("REQ-VIDEO-LAYOUT").is_some(),
            || Place::line(&listing.fetch.url, variant.line, "REQ-VIDEO-LAYOUT"),
            || "its video is projected or stereo: say how, e.g. REQ-VIDEO-LAYOUT=\"CH-MONO/PROJ-EQUI\"".to_owned(),
        );
    }
    out.skip("no projected or stereo video was seen");
}

/// Whether the init segment says `equi` by Google's boxes. Projections that Apple has no word for (cubes, pairs of
/// fisheyes) are none of the authoring rules' business.
fn says_sphere(look: &Look<'_>, rendition: &Rendition<'_>) -> bool {
    let sv3d = look.init_of(rendition).is_some_and(|init| init.has_sv3d);
    let segment = rendition.latest().media.segments.last();
    let fetches = segment.map_or(&[][..], |segment| look.init_fetches(rendition, segment));
    let body = fetches.iter().find_map(|fetch| fetch.success()).map(|answer| &answer.body);
    sv3d && body.is_some_and(|body| body.windows(4).any(|word| word == b"equi"))
}

fn required_layout<'l>(look: &'l Look<'_>, rendition: &Rendition<'_>) -> Option<&'l str> {
    let listing = look.multivariant.as_ref()?;
    let own = |uri: &str| look.rendition_at(uri).is_some_and(|other| other.index == rendition.index);
    let variant = listing.playlist.variants.iter().find(|variant| own(&variant.uri))?;
    variant.attributes.get("REQ-VIDEO-LAYOUT")
}
