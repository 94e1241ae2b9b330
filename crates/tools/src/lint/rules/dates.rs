//! Rules about EXT-X-PROGRAM-DATE-TIME.

use super::{Out, Place, Rule, must, should};
use crate::lint::look::{Look, Rendition};
use crate::lint::parse::parse_http_date;

pub(super) const RULES: &[Rule] = &[
    must("V4.dates", "every live playlist has EXT-X-PROGRAM-DATE-TIME (8.4)", present),
    must(
        "V4.forward",
        "dates go forward: a segment begins at most a second before the one before it ends (§6.2.1)",
        forward,
    ),
    must(
        "V4.consistent",
        "dates map to the same media times in all playlists, and all have them if any has (§6.2.4)",
        consistent,
    ),
    should("V4.after-break", "every segment after an EXT-X-DISCONTINUITY has a date of its own (§6.2.1)", after_break),
    should(
        "V4.airtime",
        "dates are those of the broadcast: a live playlist ends near the server's own time (8.5)",
        airtime,
    ),
];

/// How far an end of a live playlist may lie before the server's time, beyond three target durations, in seconds.
const BEHIND_S: f64 = 60.0;

fn present(look: &Look<'_>, out: &mut Out) {
    for rendition in look.media_renditions().filter(|rendition| rendition.live()) {
        let media = &rendition.latest().media;
        out.check(
            media.segments.iter().any(|segment| segment.date.is_some()) || media.open.date.is_some(),
            || Place::file(rendition.url),
            || "add #EXT-X-PROGRAM-DATE-TIME before the first segment at least".to_owned(),
        );
    }
    out.skip("nothing is live");
}

fn forward(look: &Look<'_>, out: &mut Out) {
    for rendition in look.media_renditions() {
        let media = &rendition.latest().media;
        let starts = media.starts();
        let pairs = media.segments.iter().zip(&starts).zip(media.segments.iter().zip(&starts).skip(1));
        for ((before, before_start), (segment, start)) in pairs {
            let (Some(date), Some(before_start), Some(start)) = (segment.date, before_start, start) else { continue };
            let end = before_start + before.duration;
            out.check(
                *start > *before_start && *start > end - 1.0,
                || Place::line(rendition.url, date.line, format!("segment {}", segment.msn)),
                || format!("it is dated {:.3} s before the end of the segment before it: never date back", end - start),
            );
        }
    }
    out.skip("no playlist has two dates");
}

fn consistent(look: &Look<'_>, out: &mut Out) {
    let dated = |r: &Rendition<'_>| r.latest().media.segments.iter().any(|segment| segment.date.is_some());
    let renditions: Vec<_> = look.media_renditions().collect();
    if renditions.len() < 2 || !renditions.iter().any(|r| dated(r)) {
        out.skip("there is no second playlist with dates");
        return;
    }
    let mut reference: Option<(f64, f64, u64)> = None;
    for rendition in renditions {
        out.check(
            dated(rendition),
            || Place::file(rendition.url),
            || "other playlists of the stream have EXT-X-PROGRAM-DATE-TIME, so this needs it too".to_owned(),
        );
        for (map, frame, segment) in mappings(look, rendition) {
            let Some((known, known_frame, number)) = reference else {
                reference = Some((map, frame, segment.0));
                continue;
            };
            // Another timeline may begin at a discontinuity, and a date only has milliseconds.
            if number == segment.0 {
                out.check(
                    (map - known).abs() <= frame.max(known_frame) + 0.002,
                    || Place::line(rendition.url, segment.1, "EXT-X-PROGRAM-DATE-TIME"),
                    || {
                        let off = (map - known) * 1000.0;
                        format!("date less media time is {off:+.1} ms off that of the first playlist: date all from one anchor")
                    },
                );
            }
        }
    }
}

/// For each opened segment that has a date: date less media time, a frame's duration, and (discontinuity number, line).
fn mappings(look: &Look<'_>, rendition: &Rendition<'_>) -> Vec<(f64, f64, (u64, u32))> {
    let opened = look.opened(rendition);
    let dated = opened.iter().filter_map(|opened| {
        let date = opened.segment.date?;
        Some((date.value - opened.start_s, opened.frame_s, (opened.segment.discontinuity_number, date.line)))
    });
    dated.collect()
}

fn after_break(look: &Look<'_>, out: &mut Out) {
    for rendition in look.media_renditions() {
        let media = &rendition.latest().media;
        if media.segments.iter().all(|segment| segment.date.is_none()) {
            continue;
        }
        for (segment, line) in media.segments.iter().filter_map(|segment| Some((segment, segment.discontinuity?))) {
            out.check(
                segment.date.is_some(),
                || Place::line(rendition.url, line, format!("segment {}", segment.msn)),
                || "add #EXT-X-PROGRAM-DATE-TIME after the EXT-X-DISCONTINUITY".to_owned(),
            );
        }
    }
    out.skip("no discontinuity was seen");
}

fn airtime(look: &Look<'_>, out: &mut Out) {
    for rendition in look.media_renditions().filter(|rendition| rendition.live()) {
        let snapshot = rendition.latest();
        let answered = snapshot.fetch.success().and_then(|answer| parse_http_date(answer.header("date")?));
        let last = snapshot.media.segments.iter().zip(snapshot.media.starts()).next_back();
        let (Some(now), Some((segment, Some(start)))) = (answered, last) else { continue };
        let parts: f64 = snapshot.media.open.parts.iter().map(|part| part.duration).sum();
        let end = start + segment.duration + parts;
        let target = snapshot.media.target_s().unwrap_or(6.0);
        out.check(
            end <= now + target && end >= now - BEHIND_S - 3.0 * target,
            || Place::line(rendition.url, segment.line, format!("segment {}", segment.msn)),
            || format!("the playlist ends {:+.1} s from the server's Date: date what was on air", end - now),
        );
    }
    out.skip("no live playlist has dates and a Date header");
}
