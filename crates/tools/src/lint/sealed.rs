//! What is encrypted as a whole (METHOD=AES-128), with which key and initialisation vector, and what is in it.
//!
//! Pure. Methods that encrypt samples, and keys that need a key system, are passed over.

use super::look::{FileKey, map_key};
use super::observe::Fetch;
use super::parse::{Media, Segment, Tag};
use bytes::Bytes;
use media::protect::{self, KEY_BYTES};
use std::collections::HashMap;
use std::sync::Arc;
use url::Url;

/// How a file is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// Address of its key.
    pub(crate) key: Url,
    /// Its initialisation vector; `None`: what is given is none.
    pub(crate) iv: Option<[u8; KEY_BYTES]>,
}

/// The key of these in force by which files are encrypted as a whole.
pub(crate) fn whole_key(keys: &[Arc<Tag>]) -> Option<&Arc<Tag>> {
    let identity = |tag: &&Arc<Tag>| tag.attributes.get("KEYFORMAT").is_none_or(|format| format == "identity");
    keys.iter().find(|tag| tag.attributes.get("METHOD") == Some("AES-128") && identity(tag))
}

/// What a playlist says of its files.
pub(crate) fn files(base: &Url, media: &Media, out: &mut HashMap<FileKey, Sealed>) {
    for segment in &media.segments {
        if let Some(sealed) = whole_key(&segment.keys).and_then(|tag| sealed(base, tag, Some(segment)))
            && let Ok(url) = base.join(&segment.uri)
        {
            out.insert((url.to_string(), segment.range), sealed);
        }
        if let Some(sealed) = whole_key(&segment.map_keys).and_then(|tag| sealed(base, tag, None))
            && let Some(map) = map_key(base, segment)
        {
            out.insert(map, sealed);
        }
    }
}

/// With the segment's number for an initialisation vector where none is given (§5.2); an init segment has no number.
fn sealed(base: &Url, tag: &Tag, segment: Option<&Segment>) -> Option<Sealed> {
    let key = base.join(tag.attributes.get("URI")?).ok()?;
    let iv = match tag.attributes.get("IV") {
        Some(text) => read_iv(text),
        None => segment.map(|segment| protect::iv(segment.msn)),
    };
    Some(Sealed { key, iv })
}

/// `0x` and 32 hexadecimal digits (§4.4.4.4); leading zeros may be missing in what is about.
fn read_iv(text: &str) -> Option<[u8; KEY_BYTES]> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    u128::from_str_radix(digits, 16).ok().map(u128::to_be_bytes)
}

/// A key, if what was fetched is one.
pub(crate) fn key_of(fetch: &Fetch) -> Option<[u8; KEY_BYTES]> {
    fetch.success()?.body.as_ref().try_into().ok()
}

/// What is in a file; `None` if it can't be decrypted.
pub(crate) fn open(sealed: &Sealed, keys: &[Fetch], body: &[u8]) -> Option<Bytes> {
    let key = keys.iter().filter(|fetch| fetch.url == sealed.key).find_map(key_of)?;
    protect::open(&key, &sealed.iv?, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::parse::Playlist;

    const HEAD: &str = "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:7\n";

    /// File names with their keys and initialisation vectors.
    fn check(text: &str, expected: &[(&str, &str, Option<u128>)]) {
        let base = Url::parse("http://a.example/x/y/index.m3u8").unwrap();
        let mut found = HashMap::new();
        let Ok(Playlist::Media(media)) = Playlist::parse(&format!("{HEAD}{text}")) else { panic!("{text}") };
        files(&base, &media, &mut found);
        let iv = |sealed: &Sealed| sealed.iv.map(u128::from_be_bytes);
        let mut found: Vec<_> =
            found.iter().map(|((url, _), sealed)| (url.as_str(), sealed.key.path(), iv(sealed))).collect();
        found.sort_unstable();
        let expected: Vec<_> =
            expected.iter().map(|(file, key, iv)| (format!("http://a.example/x/y/{file}"), *key, *iv)).collect();
        let expected: Vec<_> = expected.iter().map(|(file, key, iv)| (file.as_str(), *key, *iv)).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn files_have_the_key_that_holds_where_they_stand() {
        let key = "#EXT-X-KEY:METHOD=AES-128,URI=\"../k1\"\n";
        let two = "#EXTINF:2,\na\n#EXTINF:2,\nb\n";
        check(&format!("#EXT-X-MAP:URI=\"i\"\n{key}{two}"), &[("a", "/x/k1", Some(7)), ("b", "/x/k1", Some(8))]);
        check(
            &format!("{key}#EXT-X-MAP:URI=\"i\"\n{two}"),
            &[("a", "/x/k1", Some(7)), ("b", "/x/k1", Some(8)), ("i", "/x/k1", None)],
        );
        let given = "#EXT-X-KEY:METHOD=AES-128,URI=\"/k2\",IV=0x00000000000000000000000000000102\n";
        check(&format!("{given}#EXTINF:2,\na\n#EXT-X-KEY:METHOD=NONE\n#EXTINF:2,\nb\n"), &[("a", "/k2", Some(0x102))]);
        check(
            &format!("#EXT-X-KEY:METHOD=AES-128,URI=\"k\",IV=7\n{two}"),
            &[("a", "/x/y/k", None), ("b", "/x/y/k", None)],
        );
        check(&format!("#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"k\"\n{two}"), &[]);
        check(&format!("#EXT-X-KEY:METHOD=AES-128,URI=\"k\",KEYFORMAT=\"com.x\"\n{two}"), &[]);
    }
}
