//! Rules about what the playlists of one stream have in common.

use super::{Out, Place, Rule, must, should};
use crate::lint::look::{Look, Rendition};
use crate::lint::observe::Role;

pub(super) const RULES: &[Rule] = &[
    must(
        "V1.same",
        "all playlists have the same target duration; I-frames and subtitles may differ only in VOD (8.2, 6.11, 5.6, §6.2.4)",
        same_target,
    ),
    should(
        "V3.aligned",
        "segments begin at the same times on all video renditions (8.22; a MUST for AirPlay 2 TVs)",
        aligned,
    ),
    should("V3.audio", "audio segments begin within a frame of the video's (8.22)", audio_aligned),
    should("V3.numbers", "the same moment has the same media sequence number in all renditions", same_numbers),
    must(
        "V9.same",
        "discontinuities are at the same points, under the same numbers, in all renditions (8.15, §6.2.4)",
        same_discontinuities,
    ),
    must("V13.same", "if any playlist has an EXT-X-PLAYLIST-TYPE, all have the same (§6.2.4)", same_type),
    must("V7.duration", "audio and video playlists list the same duration (8.3)", same_duration),
];

/// How far apart two starts of the same segment may be: dates have milliseconds.
const SAME_S: f64 = 0.0015;
/// A frame of AAC at 22.05 kHz, and a rounding.
const AUDIO_S: f64 = 0.048;

fn same_target(look: &Look<'_>, out: &mut Out) {
    let Some(reference) = look.media_renditions().find_map(|r| Some((r.index, r.latest().media.target?.value))) else {
        return;
    };
    for rendition in look.renditions.iter().filter(|rendition| rendition.index != reference.0) {
        let media = &rendition.latest().media;
        let vod = media.playlist_type.as_ref().is_some_and(|tag| tag.value == "VOD");
        let Some(target) = media.target else { continue };
        out.check(
            target.value == reference.1 || vod && (rendition.is_iframes() || rendition.role == Role::Other),
            || Place::line(rendition.url, target.line, "EXT-X-TARGETDURATION"),
            || format!("{} here, {} elsewhere: take the largest everywhere", target.value, reference.1),
        );
    }
    out.skip("there is no second playlist");
}

/// A segment's place in time and in its playlist.
#[derive(Clone, Copy)]
struct Mark {
    start: f64,
    end: f64,
    msn: u64,
    discontinuity_number: u64,
    line: u32,
}

/// The newest segments of a playlist, on the clock of dates, or of playlists that have ended, from their beginning.
fn marks(rendition: &Rendition<'_>) -> Vec<Mark> {
    let media = &rendition.latest().media;
    let starts = media.starts();
    let mut from_zero = 0.0;
    let mut marks = Vec::with_capacity(starts.len());
    for (segment, start) in media.segments.iter().zip(starts) {
        let start = match start {
            Some(start) => start,
            None if media.end.is_some() => from_zero,
            None => return Vec::new(),
        };
        from_zero += segment.duration;
        marks.push(Mark {
            start,
            end: start + segment.duration,
            msn: segment.msn,
            discontinuity_number: segment.discontinuity_number,
            line: segment.line,
        });
    }
    marks
}

/// The marks of both playlists within the time that both list, each with the nearest of the other.
fn pairs(reference: &[Mark], other: &[Mark]) -> Vec<(Mark, Mark)> {
    let (Some(first), Some(last)) = (reference.first(), reference.last()) else { return Vec::new() };
    // Half a segment of grace: at the ends, the two were not fetched at the same moment.
    let grace = (first.end - first.start) / 2.0;
    let common = other.iter().filter(|mark| mark.start >= first.start - grace && mark.start <= last.start + grace);
    common
        .filter_map(|mark| {
            let after = reference.partition_point(|known| known.start < mark.start);
            let candidates = [after.checked_sub(1), Some(after)];
            let near = candidates.into_iter().flatten().filter_map(|index| reference.get(index));
            let near = near.min_by(|a, b| (a.start - mark.start).abs().total_cmp(&(b.start - mark.start).abs()))?;
            Some((*near, *mark))
        })
        .collect()
}

/// Each rendition beside the first video rendition, with the pairs of segments that begin nearest to each other.
fn beside<'l, 'a>(look: &'l Look<'a>, audio: bool) -> Vec<(&'l Rendition<'a>, Vec<(Mark, Mark)>)> {
    let mut videos = look.video_renditions();
    let Some(reference) = videos.next() else { return Vec::new() };
    let marked = marks(reference);
    let others: Vec<_> = match audio {
        true => look.media_renditions().filter(|r| r.role == Role::Audio).collect(),
        false => videos.collect(),
    };
    others.into_iter().map(|rendition| (rendition, pairs(&marked, &marks(rendition)))).collect()
}

const ALONE: &str = "there is no second playlist with dates or an end";

fn aligned(look: &Look<'_>, out: &mut Out) {
    for (rendition, pairs) in beside(look, false) {
        for (known, mark) in pairs {
            let off = mark.start - known.start;
            out.check(
                off.abs() <= SAME_S,
                || Place::line(rendition.url, mark.line, format!("segment {}", mark.msn)),
                || {
                    format!(
                        "it begins {:+.1} ms from the nearest on the first rendition: cut all from one clock",
                        off * 1000.0
                    )
                },
            );
        }
    }
    out.skip(ALONE);
}

fn audio_aligned(look: &Look<'_>, out: &mut Out) {
    for (rendition, pairs) in beside(look, true) {
        for (known, mark) in pairs {
            let off = mark.start - known.start;
            out.check(
                off.abs() <= AUDIO_S,
                || Place::line(rendition.url, mark.line, format!("segment {}", mark.msn)),
                || format!("it begins {:+.1} ms from the video's: cut at the first frame at or after it", off * 1000.0),
            );
        }
    }
    out.skip("there is no audio rendition beside video, or no dates");
}

fn same_numbers(look: &Look<'_>, out: &mut Out) {
    compare(look, out, |known, mark| {
        let fault =
            || format!("the same moment is number {} on the first rendition: number all from one counter", known.msn);
        (known.msn != mark.msn).then(fault)
    });
}

fn same_discontinuities(look: &Look<'_>, out: &mut Out) {
    compare(look, out, |known, mark| {
        let (known, here) = (known.discontinuity_number, mark.discontinuity_number);
        let fault =
            || format!("discontinuity number {here} here, {known} on the first rendition: break all at the same point");
        (known != here).then(fault)
    });
}

fn compare(look: &Look<'_>, out: &mut Out, fault: impl Fn(Mark, Mark) -> Option<String>) {
    for (rendition, pairs) in [beside(look, false), beside(look, true)].into_iter().flatten() {
        // Where the cuts differ, nothing can be said of the numbers between them; V3.aligned does.
        for (known, mark) in pairs.into_iter().filter(|(known, mark)| (known.start - mark.start).abs() <= AUDIO_S) {
            let fault = fault(known, mark);
            out.check(
                fault.is_none(),
                || Place::line(rendition.url, mark.line, format!("segment {}", mark.msn)),
                || fault.clone().unwrap_or_default(),
            );
        }
    }
    out.skip(ALONE);
}

fn same_type(look: &Look<'_>, out: &mut Out) {
    let kind = |r: &Rendition<'_>| r.latest().media.playlist_type.as_ref().map(|tag| tag.value.clone());
    let Some(wanted) = look.renditions.iter().find_map(kind) else {
        out.skip("no playlist has an EXT-X-PLAYLIST-TYPE");
        return;
    };
    for rendition in &look.renditions {
        let here = kind(rendition);
        out.check(
            here.as_ref() == Some(&wanted),
            || Place::file(rendition.url),
            || format!("{} here, {wanted} elsewhere", here.as_deref().unwrap_or("none")),
        );
    }
}

fn same_duration(look: &Look<'_>, out: &mut Out) {
    let mut renditions = look.media_renditions().filter(|rendition| !rendition.live());
    let Some(reference) = renditions.next() else {
        out.skip("nothing has ended, and live playlists are not fetched at the same moment");
        return;
    };
    let (known, target) = (reference.latest().media.duration(), reference.latest().media.target_s().unwrap_or(1.0));
    for rendition in renditions {
        let duration = rendition.latest().media.duration();
        out.check(
            (duration - known).abs() <= target,
            || Place::file(rendition.url),
            || format!("{duration:.3} s here, {known:.3} s in the first playlist: list the same content everywhere"),
        );
    }
    out.skip("there is no second playlist");
}
