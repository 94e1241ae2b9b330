//! Low-latency rules about a playlist's own lines: hold-backs, hints, reports.

use super::{Out, Place, Rule, must, should};
use crate::lint::look::{Look, Rendition};
use crate::lint::parse::{Media, Tag};
use url::Url;

pub(super) const RULES: &[Rule] = &[
    must("L1.hold-back", "HOLD-BACK is at least three target durations (§4.4.3.8)", hold_back),
    must(
        "L1.part-hold-back",
        "PART-HOLD-BACK is there with EXT-X-PART-INF, at least three times the longest PART-TARGET (§4.4.3.8, 14.3)",
        part_hold_back,
    ),
    must("L1.skip-until", "CAN-SKIP-UNTIL is at least six target durations (§4.4.3.8)", skip_until),
    should("L1.delta", "playlists longer than two minutes offer delta updates (14.4)", delta),
    must("L1.block", "low-latency playlists have CAN-BLOCK-RELOAD=YES (appendix B)", block),
    must("L1.same", "EXT-X-SERVER-CONTROL is the same in all playlists if any has it (§6.2.4)", same_control),
    must("L5.hint", "a live playlist with parts hints at the next one (appendix B)", hint),
    should("L5.one", "there is one EXT-X-PRELOAD-HINT of a type (§6.2.6)", one_hint),
    must("L6.reports", "each playlist has one EXT-X-RENDITION-REPORT for every other rendition (appendix B)", reports),
    must("L6.relative", "the URI of EXT-X-RENDITION-REPORT is relative (§4.4.5.4)", relative),
    must("L6.values", "LAST-MSN and LAST-PART are those of the rendition reported (§4.4.5.4)", report_values),
];

const NONE: &str = "the stream is not a low-latency one";

fn low_latency<'l, 'a>(look: &'l Look<'a>) -> impl Iterator<Item = (&'l Rendition<'a>, &'l Media)> {
    look.renditions
        .iter()
        .map(|rendition| (rendition, &rendition.latest().media))
        .filter(|(_, media)| media.low_latency())
}

/// Checks a number of EXT-X-SERVER-CONTROL against a smallest value.
fn at_least(look: &Look<'_>, out: &mut Out, name: &str, least: impl Fn(&Media) -> Option<f64>) {
    for rendition in &look.renditions {
        let media = &rendition.latest().media;
        let Some(tag) = media.server_control.as_ref().filter(|tag| tag.attributes.get(name).is_some()) else {
            continue;
        };
        let Some(least) = least(media) else { continue };
        let value = tag.attributes.number(name);
        out.check(
            value.is_some_and(|value| value >= least - 1e-6),
            || Place::line(rendition.url, tag.line, name),
            || format!("{name}={}: say {least} or more", tag.attributes.get(name).unwrap_or_default()),
        );
    }
    out.skip("no EXT-X-SERVER-CONTROL says it");
}

fn hold_back(look: &Look<'_>, out: &mut Out) {
    at_least(look, out, "HOLD-BACK", |media| Some(3.0 * media.target_s()?));
}

fn skip_until(look: &Look<'_>, out: &mut Out) {
    at_least(look, out, "CAN-SKIP-UNTIL", |media| Some(6.0 * media.target_s()?));
}

fn part_hold_back(look: &Look<'_>, out: &mut Out) {
    let longest = look.renditions.iter().filter_map(|r| r.latest().media.part_target()).fold(0.0, f64::max);
    at_least(look, out, "PART-HOLD-BACK", |_| Some(3.0 * longest));
    for (rendition, media) in low_latency(look) {
        let said = media.server_control.as_ref().is_some_and(|tag| tag.attributes.get("PART-HOLD-BACK").is_some());
        out.check(
            said || media.part_inf.is_none(),
            || Place::line(rendition.url, media.part_inf.as_ref().map_or(1, |tag| tag.line), "EXT-X-PART-INF"),
            || format!("add PART-HOLD-BACK={} to EXT-X-SERVER-CONTROL", 3.0 * longest),
        );
    }
}

fn delta(look: &Look<'_>, out: &mut Out) {
    for (rendition, media) in low_latency(look).filter(|(rendition, _)| rendition.live()) {
        if media.duration() <= 120.0 {
            out.skip("no low-latency playlist is longer than two minutes");
            continue;
        }
        let offered = media.server_control.as_ref().is_some_and(|tag| tag.attributes.get("CAN-SKIP-UNTIL").is_some());
        out.check(
            offered,
            || Place::file(rendition.url),
            || format!("{:.0} s are listed: offer CAN-SKIP-UNTIL", media.duration()),
        );
    }
    out.skip(NONE);
}

fn block(look: &Look<'_>, out: &mut Out) {
    for (rendition, media) in low_latency(look) {
        out.check(
            media.server_control.as_ref().is_some_and(|tag| tag.attributes.yes("CAN-BLOCK-RELOAD")),
            || Place::file(rendition.url),
            || "hold requests with _HLS_msn, and say CAN-BLOCK-RELOAD=YES in EXT-X-SERVER-CONTROL".to_owned(),
        );
    }
    out.skip(NONE);
}

fn same_control(look: &Look<'_>, out: &mut Out) {
    let control = |rendition: &Rendition<'_>| rendition.latest().media.server_control.clone();
    let Some(wanted) = look.renditions.iter().find_map(control) else {
        return out.skip("no playlist has EXT-X-SERVER-CONTROL");
    };
    for rendition in &look.renditions {
        let here = control(rendition);
        let same = here.as_ref().is_some_and(|tag| tag.attributes.sorted() == wanted.attributes.sorted());
        out.check(
            same,
            || Place::line(rendition.url, here.as_ref().map_or(1, |tag| tag.line), "EXT-X-SERVER-CONTROL"),
            || format!("write what the other playlists have: {}", wanted.value),
        );
    }
}

fn hint(look: &Look<'_>, out: &mut Out) {
    for (rendition, media) in low_latency(look).filter(|(rendition, _)| rendition.live()) {
        let part = |tag: &&Tag| tag.attributes.get("TYPE") == Some("PART") && tag.attributes.get("URI").is_some();
        out.check(
            media.hints.iter().any(|tag| part(&tag)),
            || Place::file(rendition.url),
            || "add #EXT-X-PRELOAD-HINT:TYPE=PART with the address of the next part".to_owned(),
        );
    }
    out.skip(NONE);
}

fn one_hint(look: &Look<'_>, out: &mut Out) {
    for (rendition, media) in low_latency(look) {
        for (index, tag) in media.hints.iter().enumerate() {
            let kind = tag.attributes.get("TYPE");
            let twice = media.hints.iter().take(index).any(|other| other.attributes.get("TYPE") == kind);
            out.check(
                !twice,
                || Place::line(rendition.url, tag.line, "EXT-X-PRELOAD-HINT"),
                || "players only follow the first one of a type: leave this out".to_owned(),
            );
        }
    }
    out.skip("no playlist has a hint");
}

fn reports(look: &Look<'_>, out: &mut Out) {
    // I-frame playlists need no reports, and give none unless they want to.
    let others: Vec<_> = low_latency(look).filter(|(rendition, _)| !rendition.is_iframes()).collect();
    if others.len() < 2 {
        return out.skip("there is no second low-latency playlist");
    }
    for (rendition, media) in others.iter().filter(|(rendition, _)| rendition.live()) {
        for (other, _) in others.iter().filter(|(other, _)| other.index != rendition.index) {
            let count = media.reports.iter().filter(|tag| reported(rendition, tag).as_ref() == Some(other.url)).count();
            out.check(
                count == 1,
                || Place::of(rendition.url, "EXT-X-RENDITION-REPORT"),
                || format!("{count} reports on {}: give one", other.url),
            );
        }
    }
    out.skip("nothing is live");
}

fn reported(rendition: &Rendition<'_>, tag: &Tag) -> Option<Url> {
    rendition.url.join(tag.attributes.get("URI")?).ok()
}

fn each_report(look: &Look<'_>, out: &mut Out, fault: impl Fn(&Rendition<'_>, &Tag) -> Option<String>) {
    for (rendition, media) in low_latency(look) {
        for tag in &media.reports {
            let fault = fault(rendition, tag);
            out.check(
                fault.is_none(),
                || Place::line(rendition.url, tag.line, "EXT-X-RENDITION-REPORT"),
                || fault.clone().unwrap_or_default(),
            );
        }
    }
    out.skip("no playlist has a rendition report");
}

fn relative(look: &Look<'_>, out: &mut Out) {
    each_report(look, out, |_, tag| {
        let uri = tag.attributes.get("URI").unwrap_or_default();
        let absolute = Url::parse(uri).is_ok() || uri.starts_with("//");
        (absolute || uri.is_empty()).then(|| format!("{uri:?}: write it relative to this playlist"))
    });
}

fn report_values(look: &Look<'_>, out: &mut Out) {
    each_report(look, out, |rendition, tag| {
        let other = reported(rendition, tag);
        let other = look.renditions.iter().find(|known| Some(known.url) == other.as_ref())?;
        // A value may be left out where it is that of the playlist itself.
        let own = &rendition.latest().media;
        let own_last = own.parts().last().map_or(own.open.msn.saturating_sub(1), |(msn, ..)| msn);
        let said = match tag.attributes.get("LAST-MSN") {
            Some(text) => text.parse::<u64>().ok(),
            None => Some(own_last),
        };
        let Some(said) = said else { return Some("LAST-MSN is no number".to_owned()) };
        // The two playlists were not fetched at the same moment, so a segment more or less proves nothing.
        let last = |media: &Media| media.parts().last().map_or(media.open.msn.saturating_sub(1), |(msn, ..)| msn);
        let (lowest, highest) = (last(&other.snapshots.first()?.media), last(&other.latest().media));
        let near = lowest.saturating_sub(1)..=highest.saturating_add(1);
        if !near.contains(&said) {
            return Some(format!("LAST-MSN={said}, but that rendition was at {highest}: report the newest part"));
        }
        let has_parts = other.latest().media.parts().next().is_some();
        let own_part = own.parts().next().is_some();
        let part = tag.attributes.get("LAST-PART");
        let readable = part.is_none_or(|text| text.parse::<u64>().is_ok());
        let fault = has_parts && (!readable || part.is_none() && !own_part);
        fault.then(|| "LAST-PART is missing: say the index of the newest part".to_owned())
    });
}
