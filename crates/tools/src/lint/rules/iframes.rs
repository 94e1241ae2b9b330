//! Rules about I-frame playlists.

use super::{Out, Place, Rule, must, should};
use crate::lint::look::Look;
use crate::lint::observe::Role;
use crate::lint::parse::Segment;
use crate::lint::sealed::whole_key;
use media::mp4::read::fragment_info;

pub(super) const RULES: &[Rule] = &[
    must("V8.exists", "there are I-frame playlists for scrubbing (6.1)", exists),
    must("V8.attributes", "EXT-X-I-FRAME-STREAM-INF has BANDWIDTH and URI (§4.4.6.3)", attributes),
    must("V8.codecs", "EXT-X-I-FRAME-STREAM-INF has CODECS (9.3)", codecs),
    must("V8.resolution", "EXT-X-I-FRAME-STREAM-INF has RESOLUTION (9.4)", resolution),
    must("V8.only", "I-frame playlists have EXT-X-I-FRAMES-ONLY (6.8)", only),
    must(
        "V8.picture",
        "each entry of an I-frame playlist is a moof with its picture, which decodes alone (6.10, §4.4.3.6)",
        picture,
    ),
    should("V8.dense", "I-frame playlists have a picture a second (6.2)", dense),
    should("V8.several", "there are I-frame playlists of several bit rates (6.6)", several),
];

const NONE: &str = "there is no I-frame playlist";

fn exists(look: &Look<'_>, out: &mut Out) {
    let Some(listing) = &look.multivariant else { return out.skip("the address leads to no multivariant playlist") };
    if !listing.playlist.variants.iter().any(|variant| variant.has_video()) {
        return out.skip("there is no video");
    }
    let sealed = |segment: &Segment| segment.gap || whole_key(&segment.keys).is_some();
    let mut videos = look.video_renditions().peekable();
    if videos.peek().is_some() && videos.all(|rendition| rendition.latest().media.segments.iter().all(sealed)) {
        return out.skip("segments are encrypted as a whole: no I-frame in them can be decrypted by itself");
    }
    out.check(
        !listing.playlist.iframes.is_empty(),
        || Place::file(&listing.fetch.url),
        || "add EXT-X-I-FRAME-STREAM-INF with playlists that point at the I-frames".to_owned(),
    );
}

fn attributes(look: &Look<'_>, out: &mut Out) {
    each_tag(look, out, &["BANDWIDTH", "URI"]);
}

fn codecs(look: &Look<'_>, out: &mut Out) {
    each_tag(look, out, &["CODECS"]);
}

fn resolution(look: &Look<'_>, out: &mut Out) {
    each_tag(look, out, &["RESOLUTION"]);
}

fn each_tag(look: &Look<'_>, out: &mut Out, names: &[&str]) {
    let listings = look.multivariant.iter();
    for (listing, tag) in listings.flat_map(|l| l.playlist.iframes.iter().map(move |tag| (l, tag))) {
        let missing = names.iter().find(|name| tag.attributes.get(name).is_none_or(str::is_empty));
        out.check(
            missing.is_none(),
            || Place::line(&listing.fetch.url, tag.line, "EXT-X-I-FRAME-STREAM-INF"),
            || format!("{} is missing", missing.unwrap_or(&"")),
        );
    }
    out.skip(NONE);
}

fn only(look: &Look<'_>, out: &mut Out) {
    for rendition in look.renditions.iter().filter(|rendition| rendition.role == Role::IFrames) {
        out.check(
            rendition.latest().media.iframes_only.is_some(),
            || Place::file(rendition.url),
            || "add #EXT-X-I-FRAMES-ONLY".to_owned(),
        );
    }
    out.skip(NONE);
}

fn picture(look: &Look<'_>, out: &mut Out) {
    for rendition in look.renditions.iter().filter(|rendition| rendition.is_iframes()) {
        for snapshot in &rendition.snapshots {
            for segment in snapshot.media.segments.iter().filter(|s| !s.gap && s.keys.is_empty() && s.map.is_some()) {
                let Some(url) = look.fetched(rendition, segment) else { continue };
                let Some(fetch) = look.fetches(&url, segment.range).first() else { continue };
                let Some(answer) = fetch.success() else { continue };
                let fault = match look.fragment(&url, segment.range) {
                    Some(info) if info.tracks.first().is_some_and(|track| track.first_is_sync) => None,
                    Some(_) => Some("its first sample is no sync sample".to_owned()),
                    None => fragment_info(&answer.body).err().map(|why| why.to_string()),
                };
                out.check(
                    fault.is_none(),
                    || Place::line(rendition.url, segment.line, format!("segment {}", segment.msn)),
                    || {
                        let fault = fault.clone().unwrap_or_default();
                        format!("the bytes it names don't hold one I-frame with its moof: {fault}")
                    },
                );
            }
        }
    }
    out.skip("no I-frame of an fMP4 stream was fetched");
}

fn dense(look: &Look<'_>, out: &mut Out) {
    for rendition in look.renditions.iter().filter(|rendition| rendition.is_iframes()) {
        let media = &rendition.latest().media;
        if media.segments.is_empty() {
            continue;
        }
        let every = media.duration() / media.segments.len() as f64;
        out.check(
            every <= 1.05,
            || Place::file(rendition.url),
            || format!("a picture every {every:.2} s: make a rendition of I-frames alone, one a second"),
        );
    }
    out.skip(NONE);
}

fn several(look: &Look<'_>, out: &mut Out) {
    let Some(listing) = look.multivariant.as_ref().filter(|listing| !listing.playlist.iframes.is_empty()) else {
        return out.skip(NONE);
    };
    let mut rates: Vec<_> = listing.playlist.iframes.iter().map(|tag| tag.attributes.get("BANDWIDTH")).collect();
    rates.sort_unstable();
    rates.dedup();
    out.check(
        rates.len() > 1,
        || Place::file(&listing.fetch.url),
        || "add an I-frame playlist for each variant".to_owned(),
    );
}
