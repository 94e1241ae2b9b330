//! Rules about how a server answers requests that try it: delivery directives, hints, things that aren't there.

use super::delivery::probed;
use super::{Out, Place, Rule, must, should};
use crate::lint::look::{Look, Rendition};
use crate::lint::observe::{Asked, Probe};

pub(super) const RULES: &[Rule] = &[
    must("L4.no-msn", "_HLS_part without _HLS_msn is answered 400 (§6.2.5.2)", part_without_msn),
    should("L4.too-far", "_HLS_msn more than two beyond the last segment is answered 400 (§6.2.5.2)", msn_too_far),
    should("L4.part-too-far", "_HLS_part beyond the Advance Part Limit is answered 400 (§6.2.5.2)", part_too_far),
    must("L4.old", "an old _HLS_msn is answered with the whole playlist (§6.2.5.2)", old_msn),
    must("L4.beyond", "a part beyond a segment's end means the first part of the next one (§6.2.5.2)", part_beyond_end),
    must("L4.blocks", "a request for the next part or segment is held until it is listed (§6.2.5.2)", blocks),
    should("L4.late", "what can't be answered within three target durations is answered 503 (§6.2.5.2)", late),
    should("L4.iframes", "I-frame playlists can block too, by _HLS_msn (§6.2.5.2)", iframes_block),
    must(
        "L4.delta",
        "with CAN-SKIP-UNTIL, _HLS_skip=YES is answered with EXT-X-SKIP if something can be skipped (§6.2.5.1)",
        delta,
    ),
    must("L5.held", "a hinted part can be asked for at once, and comes whole (§6.2.6)", hinted),
    must("L5.trickle", "no byte of a part is sent before all can be (§6.2.6)", trickle),
    should("L5.unknown", "what is neither there nor hinted is answered 404 (§6.2.6)", unknown),
    must("V13.ended", "a playlist that has ended ignores delivery directives (§6.2.5.2)", after_end),
];

/// How long a part may take to come once it has begun, in seconds, before it counts as sent while it was made.
const BURST_S: f64 = 0.25;

fn each(
    look: &Look<'_>,
    out: &mut Out,
    wanted: fn(&Asked) -> bool,
    fault: impl Fn(&Probe, &Rendition<'_>) -> Option<String>,
) {
    for probe in look.observed.probes.iter().filter(|probe| wanted(&probe.asked)) {
        let Some(rendition) = look.renditions.iter().find(|rendition| rendition.index == probe.playlist) else {
            continue;
        };
        let fault = fault(probe, rendition);
        out.check(fault.is_none(), || Place::file(&probe.fetch.url), || fault.clone().unwrap_or_default());
    }
    out.skip("it was not tried: the stream is not a low-latency live one, or the time did not suffice");
}

/// A fault unless the status is the one wanted.
fn answered(probe: &Probe, status: u16) -> Option<String> {
    let good = probe.fetch.outcome.as_ref().is_ok_and(|answer| answer.status == status);
    (!good).then(|| format!("it {}: answer {status}", probe.fetch.said()))
}

fn part_without_msn(look: &Look<'_>, out: &mut Out) {
    each(look, out, |asked| *asked == Asked::PartWithoutMsn, |probe, _| answered(probe, 400));
}

fn msn_too_far(look: &Look<'_>, out: &mut Out) {
    each(look, out, |asked| *asked == Asked::MsnTooFar, |probe, _| answered(probe, 400));
}

fn part_too_far(look: &Look<'_>, out: &mut Out) {
    each(look, out, |asked| *asked == Asked::PartTooFar, |probe, _| answered(probe, 400));
}

fn old_msn(look: &Look<'_>, out: &mut Out) {
    each(look, out, |asked| *asked == Asked::OldMsn, whole);
}

fn after_end(look: &Look<'_>, out: &mut Out) {
    each(look, out, |asked| *asked == Asked::AfterEnd, whole);
}

/// A fault unless the whole playlist came back.
fn whole(probe: &Probe, rendition: &Rendition<'_>) -> Option<String> {
    let Some(media) = probed(&probe.fetch) else {
        return Some(format!("it {}: answer 200 with the playlist", probe.fetch.said()));
    };
    let first = rendition.snapshots.first().map_or(0, |snapshot| snapshot.media.segments.len());
    // Between the two, a segment may have left before the next one came.
    let complete = media.skip.is_none() && media.segments.len().saturating_add(1) >= first;
    (!complete).then(|| format!("{} segments came back, {first} are listed: answer with all", media.segments.len()))
}

/// Whether a playlist that came back lists the part (or segment) or a later one.
fn reaches(probe: &Probe, msn: u64, part: Option<u64>) -> Option<String> {
    let Some(media) = probed(&probe.fetch) else {
        return Some(format!("it {}: hold it until it can be answered 200", probe.fetch.said()));
    };
    let listed = media.segments.last().is_some_and(|segment| segment.msn >= msn);
    let has_part =
        part.is_some_and(|part| media.open.msn > msn || media.open.msn == msn && media.open.parts.len() as u64 > part);
    let fault = || format!("the answer ends before {}: hold it until that is listed", named(msn, part));
    (!listed && !has_part && media.end.is_none()).then(fault)
}

fn named(msn: u64, part: Option<u64>) -> String {
    part.map_or(format!("segment {msn}"), |part| format!("part {msn}.{part}"))
}

fn part_beyond_end(look: &Look<'_>, out: &mut Out) {
    each(
        look,
        out,
        |asked| matches!(asked, Asked::PartBeyondEnd { .. }),
        |probe, _| match probe.asked {
            Asked::PartBeyondEnd { msn } => reaches(probe, msn.saturating_add(1), Some(0)),
            _ => None,
        },
    );
}

fn blocks(look: &Look<'_>, out: &mut Out) {
    each(
        look,
        out,
        |asked| matches!(asked, Asked::Next { .. }),
        |probe, _| match probe.asked {
            // Whether 503 is right is another rule's business.
            Asked::Next { .. } if unavailable(probe) => None,
            Asked::Next { msn, part } => reaches(probe, msn, part),
            _ => None,
        },
    );
}

fn unavailable(probe: &Probe) -> bool {
    probe.fetch.outcome.as_ref().is_ok_and(|answer| answer.status == 503)
}

fn late(look: &Look<'_>, out: &mut Out) {
    let held = |asked: &Asked| matches!(asked, Asked::Next { .. } | Asked::PartBeyondEnd { .. });
    each(look, out, held, |probe, rendition| {
        let target = rendition.latest().media.target_s().unwrap_or(6.0);
        let took = probe.fetch.done_s - probe.fetch.sent_s;
        let late = took > 3.0 * target + 1.0 && !unavailable(probe);
        late.then(|| format!("it took {took:.1} s and {}: answer 503 by then", probe.fetch.said()))
    });
}

fn iframes_block(look: &Look<'_>, out: &mut Out) {
    each(
        look,
        out,
        |asked| matches!(asked, Asked::IFramesNext { .. }),
        |probe, _| match probe.asked {
            Asked::IFramesNext { msn } => reaches(probe, msn, None),
            _ => None,
        },
    );
}

fn delta(look: &Look<'_>, out: &mut Out) {
    each(
        look,
        out,
        |asked| *asked == Asked::Delta,
        |probe, rendition| {
            let Some(media) = probed(&probe.fetch) else {
                return Some(format!("it {}: answer 200 with a delta update", probe.fetch.said()));
            };
            let full = &rendition.snapshots.first()?.media;
            let until = full.server_control.as_ref()?.attributes.number("CAN-SKIP-UNTIL")?;
            // With a segment of grace, so that one which left meanwhile makes no difference.
            let skippable = full.duration() > until + 2.0 * full.target_s().unwrap_or(6.0);
            let Some(skip) = &media.skip else {
                return skippable.then(|| {
                    "nothing was skipped: replace what lies before the skip boundary by EXT-X-SKIP".to_owned()
                });
            };
            let count = skip.attributes.integer("SKIPPED-SEGMENTS").unwrap_or(0);
            if count == 0 {
                return Some("EXT-X-SKIP without SKIPPED-SEGMENTS, or with 0".to_owned());
            }
            let left = media.duration();
            let fault = || format!("{left:.1} s are left, less than CAN-SKIP-UNTIL={until}: skip only what is older");
            (left + 0.001 < until - full.target_s().unwrap_or(6.0)).then(fault)
        },
    );
}

fn hinted(look: &Look<'_>, out: &mut Out) {
    each(
        look,
        out,
        |asked| *asked == Asked::Hinted,
        |probe, _| match probe.fetch.success() {
            Some(answer) if answer.body.is_empty() => {
                Some("the answer is empty: hold it until the part is there".to_owned())
            }
            Some(_) => None,
            None => Some(format!("it {}: hold it, then answer 200 with the part", probe.fetch.said())),
        },
    );
}

fn trickle(look: &Look<'_>, out: &mut Out) {
    each(
        look,
        out,
        |asked| *asked == Asked::Hinted,
        |probe, rendition| {
            let target = rendition.latest().media.part_target()?;
            let took = probe.fetch.done_s - probe.fetch.first_byte_s;
            let fault =
                || format!("its bytes came over {took:.2} s, as it was made: send none before the part is complete");
            (probe.fetch.success().is_some() && took > BURST_S.max(target / 2.0)).then(fault)
        },
    );
}

fn unknown(look: &Look<'_>, out: &mut Out) {
    each(look, out, |asked| *asked == Asked::Unknown, |probe, _| answered(probe, 404));
}
