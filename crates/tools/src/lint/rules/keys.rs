//! Rules about what is encrypted as a whole (METHOD=AES-128): its keys can be had, and it can be decrypted.

use super::{Out, Place, Rule, must};
use crate::lint::look::{Look, Rendition};
use crate::lint::parse::Segment;
use crate::lint::sealed::{key_of, whole_key};
use media::mp4::read::boxes;
use media::protect::KEY_BYTES;

pub(super) const RULES: &[Rule] = &[
    must("V18.fetched", "the key of METHOD=AES-128 can be downloaded and has 16 bytes (§4.4.4.4)", fetched),
    must(
        "V18.decrypts",
        "what is encrypted can be decrypted with the key and IV that apply to it (§5.2, §6.3.6)",
        decrypts,
    ),
    must("V18.map-iv", "where a key with METHOD=AES-128 holds for an EXT-X-MAP it has an IV (§4.4.4.5)", map_iv),
];

const NONE: &str = "nothing is encrypted as a whole";

fn fetched(look: &Look<'_>, out: &mut Out) {
    for fetch in &look.observed.keys {
        out.check(
            key_of(fetch).is_some(),
            || Place::file(&fetch.url),
            || match fetch.success() {
                Some(answer) => {
                    format!("it has {} bytes: answer with the key's {KEY_BYTES}, and nothing else", answer.body.len())
                }
                None => format!("{}: players stop here", fetch.said()),
            },
        );
    }
    out.skip(NONE);
}

/// Segments that are encrypted as a whole, with the playlists that list them, each once.
fn sealed<'l, 'a>(look: &'l Look<'a>) -> impl Iterator<Item = (&'l Rendition<'a>, &'l Segment)> {
    look.renditions.iter().flat_map(|rendition| {
        let (mut newest, segments) = (None, rendition.snapshots.iter().flat_map(|snapshot| &snapshot.media.segments));
        let new = segments.filter(move |segment| {
            let new = newest.is_none_or(|newest| newest < segment.msn);
            newest = newest.max(Some(segment.msn));
            new && !segment.gap && whole_key(&segment.keys).is_some()
        });
        new.map(move |segment| (rendition, segment))
    })
}

fn decrypts(look: &Look<'_>, out: &mut Out) {
    for (rendition, segment) in sealed(look) {
        let Some(url) = look.fetched(rendition, segment) else { continue };
        let there = look.fetches(&url, segment.range).iter().any(|fetch| fetch.success().is_some());
        let key = look
            .sealed(&url, segment.range)
            .and_then(|sealed| look.observed.keys.iter().filter(|fetch| fetch.url == sealed.key).find_map(key_of));
        if !there || key.is_none() {
            continue;
        }
        let content = look.content(&url, segment.range);
        // Padding is right by chance once in 256 times; then what is in it is nonsense. Other containers than fMP4 we
        // can't tell from that.
        let whole = content.is_some_and(|content| segment.map.is_none() || boxes(content).all(|found| found.is_ok()));
        out.check(
            whole,
            || Place::line(rendition.url, segment.line, format!("segment {}", segment.msn)),
            || {
                format!(
                    "{url} is not what its EXT-X-KEY decrypts: encrypt all of it by AES-128 in CBC with PKCS#7 padding, and \
                     with its media sequence number for IV if none is given"
                )
            },
        );
    }
    out.skip(NONE);
}

fn map_iv(look: &Look<'_>, out: &mut Out) {
    for (rendition, segment) in sealed(look) {
        let Some(map) = &segment.map else { continue };
        let key = whole_key(&segment.map_keys);
        out.check(
            key.is_none_or(|key| key.attributes.get("IV").is_some()),
            || Place::line(rendition.url, map.line, "EXT-X-MAP"),
            || {
                "the key in force has no IV, and an init segment no number to take for one: give an IV, or, if the init \
                 segment is in clear, put #EXT-X-KEY:METHOD=NONE before EXT-X-MAP and the key behind it"
                    .to_owned()
            },
        );
    }
    out.skip("nothing with an EXT-X-MAP is encrypted as a whole");
}
