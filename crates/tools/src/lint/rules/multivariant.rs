//! Rules about the multivariant playlist.

use super::{Out, Place, Rule, must, should};
use crate::lint::look::{Listing, Look};
use crate::lint::parse::{Attributes, Variant};
use std::collections::HashSet;

pub(super) const RULES: &[Rule] = &[
    must(
        "V5.independent",
        "EXT-X-INDEPENDENT-SEGMENTS stands in the multivariant playlist, or in every video playlist (9.12)",
        independent,
    ),
    should(
        "V5.multivariant",
        "EXT-X-INDEPENDENT-SEGMENTS stands in the multivariant playlist (9.11)",
        independent_above,
    ),
    must("V6.bandwidth", "every variant has BANDWIDTH (§4.4.6.2)", bandwidth),
    must("V6.average", "every variant has AVERAGE-BANDWIDTH, at most BANDWIDTH (9.14)", average),
    must("V6.codecs", "every variant has CODECS (9.1)", codecs),
    must("V6.resolution", "every variant with video has RESOLUTION (9.2)", resolution),
    must("V6.frame-rate", "every variant with video has FRAME-RATE (9.15)", frame_rate),
    must("V7.rates", "there are several bit rates of video (9.9)", several_rates),
    must(
        "V7.media",
        "EXT-X-MEDIA has TYPE, GROUP-ID and NAME, and variants name groups that exist (§4.4.6.1)",
        media_tags,
    ),
    must("V7.language", "every EXT-X-MEDIA that is not video has LANGUAGE (8.10)", language),
    should("V7.split", "video and audio are separate streams (9.5)", split),
    should("V17.failover", "streams are listed twice, or steered, so that players can fail over (10.2)", failover),
    should("V17.pathway", "EXT-X-CONTENT-STEERING has a PATHWAY-ID (9.18)", pathway),
    must(
        "V19.syntax",
        "REQ-VIDEO-LAYOUT is a quoted list of known specifiers, joined by / in an entry (§4.4.6.2)",
        layout_syntax,
    ),
];

const NONE: &str = "the address leads to no multivariant playlist";

/// Checks every variant (that passes the filter).
fn each(
    look: &Look<'_>,
    out: &mut Out,
    (attribute, filter): (&str, fn(&Variant) -> bool),
    fault: impl Fn(&Attributes) -> Option<String>,
) {
    let Some(listing) = &look.multivariant else { return out.skip(NONE) };
    for variant in listing.playlist.variants.iter().filter(|variant| filter(variant)) {
        let fault = fault(&variant.attributes);
        let place = || Place::line(&listing.fetch.url, variant.line, attribute);
        out.check(fault.is_none(), place, || fault.clone().unwrap_or_default());
    }
    out.skip("no variant that this applies to");
}

fn every(_: &Variant) -> bool {
    true
}

fn independent(look: &Look<'_>, out: &mut Out) {
    if look.multivariant.as_ref().is_some_and(|listing| listing.playlist.common.independent.is_some()) {
        out.looked = true;
        return;
    }
    for rendition in look.video_renditions() {
        out.check(
            rendition.latest().media.common.independent.is_some(),
            || Place::file(rendition.url),
            || "add #EXT-X-INDEPENDENT-SEGMENTS, best to the multivariant playlist".to_owned(),
        );
    }
    out.skip("no video playlist");
}

fn independent_above(look: &Look<'_>, out: &mut Out) {
    let Some(listing) = &look.multivariant else { return out.skip(NONE) };
    out.check(
        listing.playlist.common.independent.is_some(),
        || Place::file(&listing.fetch.url),
        || "add #EXT-X-INDEPENDENT-SEGMENTS".to_owned(),
    );
}

fn bandwidth(look: &Look<'_>, out: &mut Out) {
    each(look, out, ("BANDWIDTH", every), |attributes| {
        let rate = attributes.integer("BANDWIDTH").unwrap_or(0);
        (rate == 0).then(|| "say the largest sum of segment peaks, in bit/s".to_owned())
    });
}

fn average(look: &Look<'_>, out: &mut Out) {
    each(look, out, ("AVERAGE-BANDWIDTH", every), |attributes| {
        let Some(average) = attributes.integer("AVERAGE-BANDWIDTH").filter(|average| *average > 0) else {
            return Some("say the average bit rate, in bit/s".to_owned());
        };
        let peak = attributes.integer("BANDWIDTH").unwrap_or(u64::MAX);
        (average > peak).then(|| format!("an average of {average} is above the peak of {peak}"))
    });
}

fn codecs(look: &Look<'_>, out: &mut Out) {
    each(look, out, ("CODECS", every), |attributes| {
        let said = attributes.get("CODECS").is_some_and(|codecs| !codecs.trim().is_empty());
        (!said).then(|| "name every format, e.g. CODECS=\"avc1.640028,mp4a.40.2\"".to_owned())
    });
}

fn resolution(look: &Look<'_>, out: &mut Out) {
    each(look, out, ("RESOLUTION", Variant::has_video), |attributes| {
        let said = attributes.get("RESOLUTION").and_then(|text| text.split_once('x'));
        let good = said.is_some_and(|(w, h)| [w, h].iter().all(|side| side.parse::<u32>().is_ok_and(|side| side > 0)));
        (!good).then(|| "say the picture's size, e.g. RESOLUTION=1920x960".to_owned())
    });
}

fn frame_rate(look: &Look<'_>, out: &mut Out) {
    each(look, out, ("FRAME-RATE", Variant::has_video), |attributes| {
        let rate = attributes.number("FRAME-RATE").unwrap_or(0.0);
        (rate <= 0.0).then(|| "say the highest frame rate, e.g. FRAME-RATE=30.000".to_owned())
    });
}

fn several_rates(look: &Look<'_>, out: &mut Out) {
    let Some(listing) = &look.multivariant else { return out.skip(NONE) };
    let videos = listing.playlist.variants.iter().filter(|variant| variant.has_video());
    let rates: HashSet<(&str, Option<u64>)> =
        videos.map(|variant| (variant.uri.as_str(), variant.attributes.integer("BANDWIDTH"))).collect();
    if rates.is_empty() {
        return out.skip("there is no video");
    }
    out.check(
        rates.len() > 1,
        || Place::file(&listing.fetch.url),
        || "one video variant only: offer a smaller one, so that slow networks can play".to_owned(),
    );
}

fn media_tags(look: &Look<'_>, out: &mut Out) {
    let Some(listing) = &look.multivariant else { return out.skip(NONE) };
    for tag in &listing.playlist.media {
        let missing = ["TYPE", "GROUP-ID", "NAME"].into_iter().find(|name| tag.attributes.get(name).is_none());
        out.check(
            missing.is_none(),
            || Place::line(&listing.fetch.url, tag.line, "EXT-X-MEDIA"),
            || format!("{} is missing", missing.unwrap_or_default()),
        );
    }
    for variant in &listing.playlist.variants {
        for kind in ["AUDIO", "VIDEO", "SUBTITLES"] {
            let Some(group) = variant.attributes.get(kind) else { continue };
            out.check(
                listing.playlist.group(kind, group).next().is_some(),
                || Place::line(&listing.fetch.url, variant.line, kind),
                || format!("no EXT-X-MEDIA has TYPE={kind} and GROUP-ID=\"{group}\""),
            );
        }
    }
    out.skip("there is no EXT-X-MEDIA");
}

fn language(look: &Look<'_>, out: &mut Out) {
    let Some(listing) = &look.multivariant else { return out.skip(NONE) };
    for tag in listing.playlist.media.iter().filter(|tag| tag.attributes.get("TYPE") != Some("VIDEO")) {
        out.check(
            tag.attributes.get("LANGUAGE").is_some_and(|language| !language.is_empty()),
            || Place::line(&listing.fetch.url, tag.line, "LANGUAGE"),
            || "say the language (RFC 5646), \"und\" if it is not known".to_owned(),
        );
    }
    out.skip("there is no EXT-X-MEDIA");
}

fn split(look: &Look<'_>, out: &mut Out) {
    let Some(listing) = &look.multivariant else { return out.skip(NONE) };
    for variant in listing.playlist.variants.iter().filter(|variant| variant.has_video() && variant.has_audio()) {
        let group = variant.attributes.get("AUDIO");
        let separate = group.is_some_and(|group| has_addresses(listing, group));
        out.check(
            separate,
            || Place::line(&listing.fetch.url, variant.line, "AUDIO"),
            || "carry the audio in a playlist of its own, by EXT-X-MEDIA with URI".to_owned(),
        );
    }
    out.skip("no variant has both picture and sound");
}

fn has_addresses(listing: &Listing<'_>, group: &str) -> bool {
    listing.playlist.group("AUDIO", group).any(|tag| tag.attributes.get("URI").is_some())
}

fn failover(look: &Look<'_>, out: &mut Out) {
    let Some(listing) = &look.multivariant else { return out.skip(NONE) };
    let mut seen = HashSet::new();
    let twice = listing.playlist.variants.iter().any(|variant| {
        let pairs = variant.attributes.sorted();
        // Copies differ in where they come from and in the groups that come from there too.
        let pairs: Vec<_> = pairs
            .into_iter()
            .filter(|(name, _)| !["AUDIO", "SUBTITLES", "PATHWAY-ID", "STABLE-VARIANT-ID"].contains(name))
            .collect();
        !seen.insert(pairs)
    });
    out.check(
        twice || listing.playlist.steering.is_some(),
        || Place::file(&listing.fetch.url),
        || "list each variant a second time from another server, or add EXT-X-CONTENT-STEERING".to_owned(),
    );
}

fn pathway(look: &Look<'_>, out: &mut Out) {
    let steering = look.multivariant.as_ref().and_then(|l| Some((l, l.playlist.steering.as_ref()?)));
    let Some((listing, tag)) = steering else { return out.skip("there is no EXT-X-CONTENT-STEERING") };
    out.check(
        tag.attributes.get("PATHWAY-ID").is_some(),
        || Place::line(&listing.fetch.url, tag.line, "EXT-X-CONTENT-STEERING"),
        || "add PATHWAY-ID, so that players know where to begin".to_owned(),
    );
}

fn layout_syntax(look: &Look<'_>, out: &mut Out) {
    let Some(listing) = &look.multivariant else { return out.skip(NONE) };
    for variant in &listing.playlist.variants {
        let Some(value) = variant.attributes.get("REQ-VIDEO-LAYOUT") else { continue };
        let fault = layout_fault(value, variant.attributes.is_quoted("REQ-VIDEO-LAYOUT"));
        out.check(
            fault.is_none(),
            || Place::line(&listing.fetch.url, variant.line, "REQ-VIDEO-LAYOUT"),
            || format!("{value:?}: {}; write e.g. \"CH-STEREO/PROJ-EQUI\"", fault.unwrap_or_default()),
        );
    }
    out.skip("no variant has REQ-VIDEO-LAYOUT");
}

fn layout_fault(value: &str, quoted: bool) -> Option<&'static str> {
    let known = ["CH-STEREO", "CH-MONO", "PROJ-RECT", "PROJ-EQUI", "PROJ-HEQU", "PROJ-PRIM", "PROJ-AIV"];
    if !quoted {
        return Some("it is not in quotes");
    }
    for entry in value.split(',') {
        let specifiers: Vec<&str> = entry.split('/').collect();
        if specifiers.iter().any(|specifier| !known.contains(specifier)) {
            return Some("a specifier is empty or unknown, and players then ignore the variant");
        }
        for kind in ["CH-", "PROJ-"] {
            if specifiers.iter().filter(|specifier| specifier.starts_with(kind)).count() > 1 {
                return Some("an entry says the same thing twice");
            }
        }
        // `PROJ-` alone after a comma is the common mistake of joining specifiers with a comma.
        if specifiers.len() == 1 && entry.starts_with("PROJ-") && value.starts_with("CH-STEREO,") {
            return Some("specifiers of one entry are joined by a slash, not a comma");
        }
    }
    None
}
