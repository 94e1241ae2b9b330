//! Low-latency rules about parts.

use super::{Out, Place, Rule, must, should};
use crate::lint::look::{Look, Rendition};
use crate::lint::observe::Asked;
use crate::lint::parse::{Media, Part};

pub(super) const RULES: &[Rule] = &[
    must("L2.inf", "a playlist with parts has EXT-X-PART-INF with PART-TARGET (§4.4.3.7)", part_inf),
    must("L2.longest", "no part is longer than PART-TARGET (§4.4.4.9)", longest),
    must(
        "L2.shortest",
        "parts are at least 85 % of PART-TARGET, but for those with INDEPENDENT or GAP, before a gap, or last in their segment (§4.4.4.9)",
        shortest,
    ),
    must("L2.constant", "PART-TARGET never changes", constant),
    must("L2.sum", "the parts of a segment add up to it (§3.2)", sum),
    should("L2.recommended", "PART-TARGET is one second (14.2c)", recommended),
    should("L2.independent", "a video segment's first part has INDEPENDENT=YES (§4.4.4.9)", independent),
    must(
        "L3.before",
        "EXT-X-MAP, KEY, PROGRAM-DATE-TIME and DISCONTINUITY of a segment stand before its first part (§4.4.4.9)",
        before,
    ),
    must("L3.cadence", "a new part comes within one PART-TARGET of the one before (§6.2.1)", cadence),
    should("L3.trim", "parts leave the playlist three target durations from its end (§6.2.2)", trim),
    must("L3.order", "a listed part stays as it is, and parts leave in order (§6.2.2)", order),
    must("L3.kept", "a part that left the playlist can be downloaded for three target durations more (§6.2.2)", kept),
    must("L5.match", "the part after the last one is the one that was hinted (§4.4.5.3)", hint_matches),
];

const NONE: &str = "the stream is not a low-latency one";
/// What a decimal number may lose by being written.
const WRITTEN_S: f64 = 1e-5;

fn with_parts<'l, 'a>(look: &'l Look<'a>) -> impl Iterator<Item = (&'l Rendition<'a>, &'l Media)> {
    let latest = look.renditions.iter().map(|rendition| (rendition, &rendition.latest().media));
    latest.filter(|(_, media)| media.parts().next().is_some())
}

fn place(rendition: &Rendition<'_>, msn: u64, index: usize, part: &Part) -> Place {
    Place::line(rendition.url, part.line, format!("part {msn}.{index}"))
}

fn part_inf(look: &Look<'_>, out: &mut Out) {
    for (rendition, media) in with_parts(look) {
        out.check(
            media.part_target().is_some(),
            || Place::of(rendition.url, "EXT-X-PART-INF"),
            || "add #EXT-X-PART-INF:PART-TARGET= with the longest part's duration".to_owned(),
        );
    }
    out.skip(NONE);
}

fn longest(look: &Look<'_>, out: &mut Out) {
    for (rendition, media) in with_parts(look) {
        let Some(target) = media.part_target() else { continue };
        for (msn, index, part) in media.parts() {
            out.check(
                part.duration <= target + WRITTEN_S,
                || place(rendition, msn, index, part),
                || format!("{} s against a PART-TARGET of {target} s: cut sooner", part.duration),
            );
        }
    }
    out.skip(NONE);
}

fn shortest(look: &Look<'_>, out: &mut Out) {
    for (rendition, media) in with_parts(look) {
        let Some(target) = media.part_target() else { continue };
        let parts: Vec<_> = media.parts().collect();
        for (position, (msn, index, part)) in parts.iter().enumerate() {
            let next = parts.get(position.saturating_add(1));
            let last_of_segment =
                next.is_some_and(|(other, ..)| other != msn) || *msn < media.open.msn && next.is_none();
            let excused = part.independent || part.gap || last_of_segment || next.is_some_and(|(.., next)| next.gap);
            // The newest part may turn out to be its segment's last one.
            let unknown = next.is_none();
            out.check(
                excused || unknown || part.duration >= 0.85 * target - WRITTEN_S,
                || place(rendition, *msn, *index, part),
                || format!("{} s against a PART-TARGET of {target} s: cut later", part.duration),
            );
        }
    }
    out.skip(NONE);
}

fn constant(look: &Look<'_>, out: &mut Out) {
    for rendition in &look.renditions {
        for (before, after) in rendition.steps() {
            let (Some(old), Some(new)) = (before.media.part_target(), after.media.part_target()) else { continue };
            let line = after.media.part_inf.as_ref().map_or(1, |tag| tag.line);
            out.check(
                (old - new).abs() < 1e-9,
                || Place::line(rendition.url, line, "PART-TARGET"),
                || format!("it was {old} and is {new}: fix it when the stream begins"),
            );
        }
    }
    out.skip("no low-latency playlist was seen at two moments");
}

fn sum(look: &Look<'_>, out: &mut Out) {
    for (rendition, media) in with_parts(look) {
        let kept = media.segments.iter().filter(|segment| !segment.parts.is_empty());
        // Parts may have been trimmed off the oldest segment that still has some.
        for segment in kept.skip(1) {
            let total: f64 = segment.parts.iter().map(|part| part.duration).sum();
            out.check(
                (total - segment.duration).abs() <= 0.034,
                || Place::line(rendition.url, segment.line, format!("segment {}", segment.msn)),
                || format!("its parts add up to {total:.6} s, EXTINF says {}", segment.duration_text),
            );
        }
    }
    out.skip("no segment has its parts listed");
}

fn recommended(look: &Look<'_>, out: &mut Out) {
    for (rendition, media) in with_parts(look) {
        let Some(target) = media.part_target() else { continue };
        out.check(
            (target - 1.0).abs() < 0.1,
            || Place::line(rendition.url, media.part_inf.as_ref().map_or(1, |tag| tag.line), "PART-TARGET"),
            || format!("{target} s: one second suits networks with long round trips better"),
        );
    }
    out.skip(NONE);
}

fn independent(look: &Look<'_>, out: &mut Out) {
    for rendition in look.video_renditions() {
        let media = &rendition.latest().media;
        let closed = media.segments.iter().skip_while(|segment| segment.parts.is_empty()).skip(1);
        let firsts = closed.map(|segment| (segment.msn, segment.parts.first()));
        for (msn, part) in firsts.chain([(media.open.msn, media.open.parts.first())]) {
            let Some(part) = part.filter(|part| !part.gap) else { continue };
            out.check(
                part.independent,
                || place(rendition, msn, 0, part),
                || "the segment begins with an IDR, so add INDEPENDENT=YES: players join there".to_owned(),
            );
        }
    }
    out.skip(NONE);
}

fn before(look: &Look<'_>, out: &mut Out) {
    for (rendition, media) in with_parts(look) {
        out.looked = true;
        let late = media.segments.iter().map(|segment| (segment.msn, &segment.late));
        for (msn, late) in late.chain([(media.open.msn, &media.open.late)]) {
            for (line, name) in late {
                out.check(
                    false,
                    || Place::line(rendition.url, *line, name.clone()),
                    || format!("it belongs to segment {msn}: write it before that segment's first part"),
                );
            }
        }
    }
    out.skip(NONE);
}

fn cadence(look: &Look<'_>, out: &mut Out) {
    for rendition in look.media_renditions().filter(|rendition| rendition.live()) {
        let Some(target) = rendition.latest().media.part_target() else { continue };
        let count = |media: &Media| media.parts().last().map(|(msn, index, _)| (msn, index));
        let mut arrivals: Vec<f64> = Vec::new();
        let mut newest = None;
        for snapshot in &rendition.snapshots {
            let here = count(&snapshot.media);
            if here > newest {
                newest = here;
                arrivals.push(snapshot.fetch.done_s);
            }
        }
        // The first answer shows a part of unknown age. One late part is the network's as much as the server's, so
        // a gap counts where a player at PART-HOLD-BACK runs dry, or if parts are late on the whole.
        let gaps: Vec<f64> =
            arrivals.windows(2).skip(1).filter_map(|pair| Some(pair.get(1)? - pair.first()?)).collect();
        if gaps.len() < 3 {
            out.skip("too few parts came while looking");
            continue;
        }
        let worst = gaps.iter().copied().fold(0.0, f64::max);
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        out.check(
            worst <= 3.0 * target && mean <= 1.25 * target,
            || Place::file(rendition.url),
            || format!("parts came every {mean:.2} s, the slowest after {worst:.2} s, with a PART-TARGET of {target} s: publish in time, or a GAP part"),
        );
    }
    out.skip(NONE);
}

fn trim(look: &Look<'_>, out: &mut Out) {
    for (rendition, media) in with_parts(look) {
        let target = media.target_s().unwrap_or(6.0);
        let mut from_end: f64 = media.open.parts.iter().map(|part| part.duration).sum();
        for segment in media.segments.iter().rev() {
            // A whole segment's parts go at once, so the segment that straddles the limit may keep its own.
            let Some(part) = segment.parts.last() else { break };
            out.check(
                from_end <= 3.0 * target,
                || place(rendition, segment.msn, segment.parts.len().saturating_sub(1), part),
                || format!("it lies {from_end:.1} s from the end: drop EXT-X-PART after three target durations"),
            );
            from_end += segment.duration;
        }
    }
    out.skip(NONE);
}

fn order(look: &Look<'_>, out: &mut Out) {
    for rendition in &look.renditions {
        for (before, after) in rendition.steps() {
            // By address, since a segment that lost some of its parts no longer tells their indexes.
            let known = addresses(&before.media);
            let new = addresses(&after.media);
            let Some(start) = new.first().and_then(|first| known.iter().position(|part| same_bytes(part, first)))
            else {
                continue;
            };
            for (old, new) in known.iter().skip(start).zip(&new) {
                out.check(
                    same_bytes(old, new) && (old.duration - new.duration).abs() < 1e-9,
                    || Place::line(rendition.url, new.line, format!("part {}", new.uri)),
                    || format!("{} stood here: publish a part once, and drop the oldest first", old.uri),
                );
            }
        }
    }
    out.skip("no low-latency playlist was seen at two moments");
}

fn addresses(media: &Media) -> Vec<&Part> {
    media.parts().map(|(.., part)| part).collect()
}

fn same_bytes(a: &Part, b: &Part) -> bool {
    a.uri == b.uri && a.range == b.range
}

fn kept(look: &Look<'_>, out: &mut Out) {
    for probe in look.observed.probes.iter().filter(|probe| probe.asked == Asked::DroppedPart) {
        out.check(
            probe.fetch.success().is_some(),
            || Place::file(&probe.fetch.url),
            || format!("just dropped from the playlist, it {}: keep it for three target durations", probe.fetch.said()),
        );
    }
    out.skip("no part left the playlist while looking");
}

fn hint_matches(look: &Look<'_>, out: &mut Out) {
    for rendition in look.renditions.iter().filter(|rendition| rendition.live()) {
        for (before, after) in rendition.steps() {
            let hint = before.media.hints.iter().find(|tag| tag.attributes.get("TYPE") == Some("PART"));
            let (Some(uri), Some((msn, index, _))) =
                (hint.and_then(|tag| tag.attributes.get("URI")), before.media.parts().last())
            else {
                continue;
            };
            let next = after.media.parts().find(|(m, i, _)| (*m, *i) > (msn, index));
            let Some((next_msn, next_index, part)) = next else { continue };
            // At a break the plan may change, and what was hinted is never published (§6.2.6).
            let broken = after.media.segment(next_msn).map_or(after.media.open.discontinuity, |s| s.discontinuity);
            if next_index == 0 && (broken.is_some() || part.gap) {
                continue;
            }
            out.check(
                part.uri == uri,
                || place(rendition, next_msn, next_index, part),
                || format!("{uri} was hinted, {} was published: hint the address that follows", part.uri),
            );
        }
    }
    out.skip("no hint was seen to come true");
}
