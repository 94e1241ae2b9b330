//! Every public URL shape, in one enum with `parse` and `Display`. Nothing else in the project spells one.
//!
//! Knows paths, not hosts, queries or what lies behind a path.

use crate::ladder::Rendition;
use crate::name::StreamName;
use std::fmt;

/// Longest path that is looked at, in bytes.
pub const PATH_BYTES_MAX: usize = 512;

/// The folder of keys, beside those of the renditions.
const KEYS: &str = "keys";

/// The folder of what transcoders made of an asset.
pub const MADE: &str = "hq";

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Route {
    /// `/`: the watch page (and, with `?url=`, the player).
    Page,
    /// `/assets/…`: the page's own files, by name.
    PageFile(String),
    /// `/api/streams`
    Streams,
    /// `/hls/{name}.m3u8`: the multivariant playlist.
    Multivariant(StreamName),
    /// `/hls/{name}/{rendition}/…`
    Hls(StreamName, Rendition, File),
    /// `/hls/{name}/keys/{key}`: a key that segments of a stream are encrypted with.
    Key(StreamName, KeyFile),
    /// `/vod/{asset}/…`, the key below it being that of the egress store.
    Vod(String),
    /// `/vod/{asset}/keys/{key}`, or `/vod/{asset}/hq/keys/{key}`: a key that segments of an asset are encrypted with. It
    /// lies in no store.
    VodKey {
        /// The asset's id.
        asset: String,
        /// Whether it is one of those for what transcoders made.
        made: bool,
        /// Its name.
        file: KeyFile,
    },
}

/// A key's name, `{index}-{tag}.key`: the number of the key, and 16 hexadecimal digits that nobody can guess
/// ([`crate::protect`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyFile {
    /// Which key.
    pub index: u64,
    /// What makes it hard to guess.
    pub tag: u64,
}

/// One file of a rendition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum File {
    /// `index.m3u8`
    Playlist,
    /// `iframes.m3u8`
    IFrames,
    /// `init-{hash}.mp4`, the hash being of its content: 16 hexadecimal digits.
    Init(String),
    /// `{msn}.m4s`
    Segment(u64),
    /// `{msn}.{part}.m4s`
    Part(u64, u32),
}

impl Route {
    /// Reads a path (no query). `None` for anything that is no address of ours, also for other spellings of one:
    /// what parses prints as it came.
    pub fn parse(path: &str) -> Option<Self> {
        if path.len() > PATH_BYTES_MAX {
            return None;
        }
        let route = Self::read(path)?;
        (route.to_string() == path).then_some(route)
    }

    fn read(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        match path.split('/').collect::<Vec<_>>()[..] {
            [""] => Some(Self::Page),
            ["assets", file] if plain(file) => Some(Self::PageFile(file.to_owned())),
            ["api", "streams"] => Some(Self::Streams),
            ["hls", file] => Some(Self::Multivariant(file.strip_suffix(".m3u8")?.parse().ok()?)),
            ["hls", name, KEYS, file] => Some(Self::Key(name.parse().ok()?, KeyFile::parse(file)?)),
            ["hls", name, rendition, file] => {
                Some(Self::Hls(name.parse().ok()?, rendition.parse().ok()?, File::parse(file)?))
            }
            ["vod", asset, KEYS, file] if plain(asset) => {
                Some(Self::VodKey { asset: asset.to_owned(), made: false, file: KeyFile::parse(file)? })
            }
            ["vod", asset, MADE, KEYS, file] if plain(asset) => {
                Some(Self::VodKey { asset: asset.to_owned(), made: true, file: KeyFile::parse(file)? })
            }
            ["vod", asset, ref rest @ ..]
                if plain(asset) && !rest.is_empty() && rest.iter().all(|part| plain(part)) =>
            {
                Some(Self::Vod(path.strip_prefix("vod/")?.to_owned()))
            }
            _ => None,
        }
    }
}

/// A path part that can't climb, hide or surprise: not empty, no leading dot, only `a-z A-Z 0-9 . _ -`.
fn plain(part: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !part.is_empty() && !part.starts_with('.') && part.chars().all(legal)
}

impl KeyFile {
    /// Reads a key's name.
    pub fn parse(name: &str) -> Option<Self> {
        let (index, tag) = name.strip_suffix(".key")?.split_once('-')?;
        let file = Self { index: index.parse().ok()?, tag: u64::from_str_radix(tag, 16).ok()? };
        (file.to_string() == name).then_some(file)
    }

    /// How playlists of renditions name it. Relative, so that whatever a viewer's address has in front of a stream's or an
    /// asset's folder (a token, a CDN's path) is in front of its keys as well.
    pub fn uri(self) -> String {
        format!("../{KEYS}/{self}")
    }

    /// Reads what [`KeyFile::uri`] wrote.
    pub fn parse_uri(uri: &str) -> Option<Self> {
        Self::parse(uri.strip_prefix("../")?.strip_prefix(KEYS)?.strip_prefix('/')?)
    }
}

impl File {
    /// Reads a file name below a rendition.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "index.m3u8" => return Some(Self::Playlist),
            "iframes.m3u8" => return Some(Self::IFrames),
            _ => {}
        }
        if let Some(hash) = name.strip_prefix("init-").and_then(|rest| rest.strip_suffix(".mp4")) {
            let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            return (hash.len() == 16 && hash.bytes().all(hex)).then(|| Self::Init(hash.to_owned()));
        }
        let numbers = name.strip_suffix(".m4s")?;
        match numbers.split_once('.') {
            None => Some(Self::Segment(numbers.parse().ok()?)),
            Some((msn, part)) => Some(Self::Part(msn.parse().ok()?, part.parse().ok()?)),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Page => f.write_str("/"),
            Self::PageFile(file) => write!(f, "/assets/{file}"),
            Self::Streams => f.write_str("/api/streams"),
            Self::Multivariant(name) => write!(f, "/hls/{name}.m3u8"),
            Self::Hls(name, rendition, file) => write!(f, "/hls/{name}/{rendition}/{file}"),
            Self::Key(name, file) => write!(f, "/hls/{name}/{KEYS}/{file}"),
            Self::Vod(rest) => write!(f, "/vod/{rest}"),
            Self::VodKey { asset, made: false, file } => write!(f, "/vod/{asset}/{KEYS}/{file}"),
            Self::VodKey { asset, made: true, file } => write!(f, "/vod/{asset}/{MADE}/{KEYS}/{file}"),
        }
    }
}

impl fmt::Display for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}.key", self.index, self.tag)
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Playlist => f.write_str("index.m3u8"),
            Self::IFrames => f.write_str("iframes.m3u8"),
            Self::Init(hash) => write!(f, "init-{hash}.mp4"),
            Self::Segment(msn) => write!(f, "{msn}.m4s"),
            Self::Part(msn, part) => write!(f, "{msn}.{part}.m4s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn our_addresses_parse_and_print_back() {
        for path in [
            "/",
            "/assets/index-Bx3_.js",
            "/api/streams",
            "/hls/foo.m3u8",
            "/hls/foo/source/index.m3u8",
            "/hls/foo/960w/iframes.m3u8",
            "/hls/foo/audio/init-0123456789abcdef.mp4",
            "/hls/foo/480w/881234567.m4s",
            "/hls/foo/480w/881234567.3.m4s",
            "/vod/foo-20261120T172500Z/index.m3u8",
            "/vod/foo-20261120T172500Z/source/1.m4s",
            "/hls/foo/keys/4487980-00000000000000ff.key",
            "/vod/foo-20261120T172500Z/keys/0-0123456789abcdef.key",
            "/vod/foo-20261120T172500Z/hq/keys/7-0123456789abcdef.key",
        ] {
            assert_eq!(Route::parse(path).map(|r| r.to_string()).as_deref(), Some(path));
        }
    }

    #[test]
    fn other_spellings_are_no_address() {
        for path in [
            "",
            "hls/foo.m3u8",
            "//",
            "/hls//foo.m3u8",
            "/hls/foo.m3u8/",
            "/hls/../foo.m3u8",
            "/hls/foo/source/007.m4s",
            "/hls/foo/source/1.02.m4s",
            "/hls/foo/source/+1.m4s",
            "/hls/foo/source/init-XYZ.mp4",
            "/hls/fo o.m3u8",
            "/hls/foo%2e.m3u8",
            "/vod/x",
            "/vod/x/../y",
            "/vod/x//y",
            "/vod/.x/y",
            "/assets/../x",
            "/API/streams",
            "/hls/foo/keys/7.key",
            "/hls/foo/keys/07-0123456789abcdef.key",
            "/hls/foo/keys/7-0123456789ABCDEF.key",
            "/hls/foo/keys/7-123456789abcdef.key",
            "/hls/foo/keys/7-+123456789abcdef.key",
            "/vod/foo/keys/x.key",
            "/vod/foo/hq/keys/7.key",
        ] {
            assert_eq!(Route::parse(path), None, "{path}");
        }
    }

    #[test]
    fn a_key_is_named_relative_to_a_renditions_playlist() {
        let key = KeyFile { index: 7, tag: 0xff };
        assert_eq!(key.uri(), "../keys/7-00000000000000ff.key");
        assert_eq!(KeyFile::parse_uri(&key.uri()), Some(key));
        for other in ["keys/7-00000000000000ff.key", "../keys/7.key", "../../keys/7-00000000000000ff.key", ""] {
            assert_eq!(KeyFile::parse_uri(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_to_itself_or_not_at_all(path in "(/(hls|vod|assets|api)?){0,1}[ -~]{0,80}") {
            if let Some(route) = Route::parse(&path) {
                prop_assert_eq!(route.to_string(), path);
            }
        }
    }
}
