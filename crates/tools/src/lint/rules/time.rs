//! Rules about what may change from one moment to the next.

use super::{Out, Place, Rule, must};
use crate::lint::look::{Look, Snapshot};
use crate::lint::observe::Asked;
use crate::lint::parse::Segment;

pub(super) const RULES: &[Rule] = &[
    must("V1.constant", "EXT-X-TARGETDURATION never changes (§6.2.1)", target_constant),
    must(
        "V9.steps",
        "a segment keeps its discontinuity number: EXT-X-DISCONTINUITY-SEQUENCE grows exactly when a tagged segment leaves (§6.2.2)",
        discontinuity_steps,
    ),
    must("V10.number", "EXT-X-MEDIA-SEQUENCE never falls (§6.2.2)", sequence_never_falls),
    must(
        "V10.append",
        "a listed segment stays as it is; segments leave in order and come at the end (§6.2.1)",
        append_only,
    ),
    must("V10.fresh", "a live playlist gets a new segment within 1.5 target durations (§6.2.1)", fresh),
    must("V10.immutable", "a file never comes back with other content", immutable),
    must("V11.three", "nothing is removed if less than three target durations would be left (§6.2.2)", three_targets),
    must("V11.kept", "a segment that left the playlist can still be downloaded for a while (§6.2.2)", kept),
    must("V13.type", "a playlist of type EVENT only grows, one of type VOD never changes (§6.2.1)", event_grows),
    must("V18.kept", "a segment's EXT-X-KEY stays listed as long as the segment (§6.2.3)", keys_kept),
];

fn target_constant(look: &Look<'_>, out: &mut Out) {
    for rendition in &look.renditions {
        for (before, after) in rendition.steps() {
            let (Some(old), Some(new)) = (before.media.target, after.media.target) else { continue };
            out.check(
                old.value == new.value,
                || Place::line(rendition.url, new.line, "EXT-X-TARGETDURATION"),
                || format!("it was {} and is {}: fix it when the stream begins", old.value, new.value),
            );
        }
    }
    once(out);
}

fn discontinuity_steps(look: &Look<'_>, out: &mut Out) {
    for rendition in &look.renditions {
        for (before, after) in rendition.steps() {
            for (old, new) in common_segments(before, after) {
                out.check(
                    old.discontinuity_number == new.discontinuity_number,
                    || {
                        let line = after.media.discontinuity_sequence.map_or(new.line, |at| at.line);
                        Place::line(rendition.url, line, format!("segment {}", new.msn))
                    },
                    || {
                        let (old, new) = (old.discontinuity_number, new.discontinuity_number);
                        format!("its discontinuity number went from {old} to {new}: count those that left, no others")
                    },
                );
            }
        }
    }
    once(out);
}

fn sequence_never_falls(look: &Look<'_>, out: &mut Out) {
    for rendition in &look.renditions {
        for (before, after) in rendition.steps() {
            let (old, new) = (number(before), number(after));
            out.check(
                new >= old,
                || Place::line(rendition.url, after.media.sequence.map_or(1, |at| at.line), "EXT-X-MEDIA-SEQUENCE"),
                || format!("it fell from {old} to {new}: keep counting across restarts"),
            );
        }
    }
    once(out);
}

fn append_only(look: &Look<'_>, out: &mut Out) {
    for rendition in &look.renditions {
        for (before, after) in rendition.steps().filter(|(before, after)| number(after) >= number(before)) {
            let first = after.media.segments.first().map(|segment| segment.msn);
            for (old, new) in common_segments(before, after) {
                let changed = [
                    (old.uri != new.uri, "address"),
                    (old.duration_text != new.duration_text, "EXTINF"),
                    (old.range != new.range, "byte range"),
                    (tag_changed(old, new, first), "EXT-X-DISCONTINUITY"),
                    (old.gap != new.gap, "EXT-X-GAP"),
                    (moved(old, new), "EXT-X-PROGRAM-DATE-TIME"),
                    (map_uri(old) != map_uri(new), "EXT-X-MAP"),
                ];
                let what = changed.iter().find(|(changed, _)| *changed).map(|(_, what)| *what);
                out.check(
                    what.is_none(),
                    || Place::line(rendition.url, new.line, format!("segment {}", new.msn)),
                    || {
                        format!(
                            "its {} changed after it was listed: publish once, then leave it",
                            what.unwrap_or_default()
                        )
                    },
                );
            }
            let (Some(old_last), Some(new_last)) = (before.media.segments.last(), after.media.segments.last()) else {
                continue;
            };
            out.check(
                new_last.msn >= old_last.msn,
                || Place::line(rendition.url, new_last.line, format!("segment {}", new_last.msn)),
                || format!("the playlist ended with segment {} before: a playlist never goes back", old_last.msn),
            );
        }
    }
    once(out);
}

fn fresh(look: &Look<'_>, out: &mut Out) {
    for rendition in look.renditions.iter().filter(|rendition| rendition.live()) {
        let mut since: Option<(u64, f64)> = None;
        for snapshot in &rendition.snapshots {
            let (Some(last), Some(target)) = (snapshot.media.segments.last(), snapshot.media.target_s()) else {
                continue;
            };
            match since {
                Some((msn, seen)) if msn == last.msn => {
                    // From the end of the first answer to the start of this request: what is surely the server's.
                    let stale = snapshot.fetch.sent_s - seen;
                    out.check(
                        stale <= 1.5 * target,
                        || Place::line(rendition.url, last.line, format!("segment {}", last.msn)),
                        || format!("nothing new for {stale:.1} s: list a segment, or EXT-X-GAP, or EXT-X-ENDLIST"),
                    );
                }
                _ => {
                    out.looked |= since.is_some();
                    since = Some((last.msn, snapshot.fetch.done_s));
                }
            }
        }
    }
    once(out);
}

fn immutable(look: &Look<'_>, out: &mut Out) {
    for probe in look.observed.probes.iter().filter(|probe| probe.asked == Asked::Again) {
        let Some(again) = probe.fetch.success() else { continue };
        for first in look.fetches(&probe.fetch.url, probe.fetch.range).iter().filter_map(|fetch| fetch.success()) {
            out.check(
                first.body == again.body,
                || Place::of(&probe.fetch.url, "body"),
                || {
                    let (old, new) = (first.body.len(), again.body.len());
                    format!("{old} bytes at first, {new} other ones later: give new content a new name")
                },
            );
        }
    }
    out.skip("no file was fetched twice");
}

fn three_targets(look: &Look<'_>, out: &mut Out) {
    for rendition in look.renditions.iter().filter(|rendition| rendition.live()) {
        let removed = rendition.steps().filter(|(before, after)| number(after) > number(before));
        for (_, after) in removed {
            let (left, target) = (after.media.duration(), after.media.target_s().unwrap_or(0.0));
            out.check(
                left >= 3.0 * target,
                || Place::file(rendition.url),
                || format!("{left:.1} s are left with a target of {target} s: remove later"),
            );
        }
    }
    out.skip("nothing was removed while looking");
}

fn kept(look: &Look<'_>, out: &mut Out) {
    for probe in look.observed.probes.iter().filter(|probe| probe.asked == Asked::DroppedSegment) {
        out.check(
            probe.fetch.success().is_some(),
            || Place::file(&probe.fetch.url),
            || {
                format!(
                    "just removed from the playlist, it {}: keep it as long as the playlist lasts",
                    probe.fetch.said()
                )
            },
        );
    }
    out.skip("no segment left the playlist while looking");
}

fn event_grows(look: &Look<'_>, out: &mut Out) {
    for rendition in &look.renditions {
        for (before, after) in rendition.steps() {
            let Some(tag) = &before.media.playlist_type else { continue };
            let grew = before.media.segments.len() < after.media.segments.len();
            let fault = if number(after) > number(before) {
                Some("segments were removed")
            } else if tag.value == "VOD" && grew {
                Some("segments were added")
            } else {
                None
            };
            out.check(
                fault.is_none(),
                || Place::line(rendition.url, tag.line, "EXT-X-PLAYLIST-TYPE"),
                || {
                    format!(
                        "{} although the type is {}: leave the tag out of live playlists",
                        fault.unwrap_or_default(),
                        tag.value
                    )
                },
            );
        }
    }
    out.skip("no playlist with an EXT-X-PLAYLIST-TYPE was seen twice");
}

fn keys_kept(look: &Look<'_>, out: &mut Out) {
    for rendition in &look.renditions {
        for (before, after) in rendition.steps() {
            for (old, new) in common_segments(before, after).filter(|(old, _)| !old.keys.is_empty()) {
                let same = old.keys.len() == new.keys.len()
                    && old.keys.iter().zip(&new.keys).all(|(a, b)| a.attributes.sorted() == b.attributes.sorted());
                out.check(
                    same,
                    || Place::line(rendition.url, new.line, format!("segment {}", new.msn)),
                    || "its EXT-X-KEY is gone or changed: repeat the key before the first segment listed".to_owned(),
                );
            }
        }
    }
    out.skip("nothing encrypted was seen twice");
}

fn once(out: &mut Out) {
    out.skip("no playlist was seen at two moments");
}

fn number(snapshot: &Snapshot<'_>) -> u64 {
    snapshot.media.sequence.map_or(0, |at| at.value)
}

/// Segments that both moments list, by number.
fn common_segments<'s>(
    before: &'s Snapshot<'_>,
    after: &'s Snapshot<'_>,
) -> impl Iterator<Item = (&'s Segment, &'s Segment)> {
    before.media.segments.iter().filter_map(|old| Some((old, after.media.segment(old.msn)?)))
}

/// A discontinuity that came or went. The first segment listed may lose its tag if the playlist's own number counts it.
fn tag_changed(old: &Segment, new: &Segment, first: Option<u64>) -> bool {
    let counted = first == Some(new.msn) && old.discontinuity_number == new.discontinuity_number;
    old.discontinuity.is_some() != new.discontinuity.is_some() && !counted
}

/// A date that changed; one that was added to the first segment listed is the same date said again.
fn moved(old: &Segment, new: &Segment) -> bool {
    match (old.date, new.date) {
        (Some(old), Some(new)) => (old.value - new.value).abs() > 0.0005,
        _ => false,
    }
}

fn map_uri(segment: &Segment) -> Option<&str> {
    segment.map.as_ref().and_then(|map| map.attributes.get("URI"))
}
