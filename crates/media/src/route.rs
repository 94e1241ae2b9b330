//! Every public URL shape, in one enum with `parse` and `Display`. Nothing else in the project spells one.
//!
//! Knows paths, not hosts, queries or what lies behind a path.

use crate::ladder::Rendition;
use crate::name::StreamName;
use std::borrow::Cow;
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

/// A path as a viewer asks for it: what it names, and the token in it that may let him see it.
///
/// The token is a component of its own behind the first one (`/hls/~TOKEN/foo.m3u8`), so that relative addresses inherit
/// it and whatever sorts requests by their first component goes on doing so. No name has a `~`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address<'a> {
    /// Without the token.
    pub path: Cow<'a, str>,
    /// As it stands there, unread.
    pub token: Option<&'a str>,
}

/// Whose an address is, which decides who may have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner<'a> {
    /// Everybody's: the page, the list.
    Nobody,
    /// A stream's, by name; also its recordings.
    Stream(&'a str),
    /// That of an asset that was no stream.
    Upload,
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

impl Route {
    /// Whose it is.
    pub fn owner(&self) -> Owner<'_> {
        match self {
            Self::Page | Self::PageFile(_) | Self::Streams => Owner::Nobody,
            Self::Multivariant(name) | Self::Hls(name, ..) | Self::Key(name, _) => Owner::Stream(name.as_str()),
            Self::Vod(rest) => owner_of(rest.split('/').next().unwrap_or_default()),
            Self::VodKey { asset, .. } => owner_of(asset),
        }
    }

    /// The path that grants all of what this is a part of: the whole stream, the whole recording. `None` for what
    /// everybody may have.
    pub fn whole(&self) -> Option<String> {
        match self {
            Self::Page | Self::PageFile(_) | Self::Streams => None,
            Self::Multivariant(name) | Self::Hls(name, ..) | Self::Key(name, _) => Some(format!("/hls/{name}")),
            Self::VodKey { asset, .. } => Some(format!("/vod/{asset}")),
            Self::Vod(rest) => Some(format!("/vod/{}", rest.split('/').next().unwrap_or_default())),
        }
    }

    /// This with a token in it; `None` for what needs none.
    pub fn with_token(&self, token: &str) -> Option<String> {
        let path = self.to_string();
        let tree = TREES.iter().find(|tree| path.starts_with(**tree))?;
        Some(format!("{tree}~{token}/{}", path.strip_prefix(tree)?))
    }
}

/// What may have a token behind it.
const TREES: [&str; 2] = ["/hls/", "/vod/"];

impl<'a> Address<'a> {
    /// Takes a path (no query) apart. `None`: there is a token, and what stands behind it is no plain path, so that nothing
    /// can climb out of what was granted.
    pub fn read(path: &'a str) -> Option<Self> {
        let marked = TREES.iter().find_map(|tree| Some((tree, path.strip_prefix(tree)?.strip_prefix('~')?)));
        let Some((tree, marked)) = marked else { return Some(Self { path: Cow::Borrowed(path), token: None }) };
        let (token, rest) = marked.split_once('/')?;
        let path = rest.split('/').all(plain).then(|| format!("{tree}{rest}"))?;
        Some(Self { path: Cow::Owned(path), token: Some(token) })
    }
}

/// Whose an asset is.
fn owner_of(asset: &str) -> Owner<'_> {
    stream_of(asset).map_or(Owner::Upload, Owner::Stream)
}

/// The stream that a recording is of: its name less the start (`-20261120T172500Z`).
fn stream_of(asset: &str) -> Option<&str> {
    let (name, start) = asset.rsplit_once('-')?;
    let at = |index: usize, byte: u8| match index {
        8 => byte == b'T',
        15 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    let dated = start.len() == 16 && start.bytes().enumerate().all(|(index, byte)| at(index, byte));
    (dated && !name.is_empty()).then_some(name)
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
    fn a_token_is_the_component_behind_the_first_one() {
        let check = |path: &str, expected: Option<(&str, Option<&str>)>| {
            let address = Address::read(path);
            assert_eq!(address.as_ref().map(|address| (&*address.path, address.token)), expected, "{path}");
        };
        check("/hls/~1.2.a.b/foo.m3u8", Some(("/hls/foo.m3u8", Some("1.2.a.b"))));
        check("/vod/~x/foo-20261120T172500Z/hq/1.m4s", Some(("/vod/foo-20261120T172500Z/hq/1.m4s", Some("x"))));
        check("/hls/~/foo.m3u8", Some(("/hls/foo.m3u8", Some(""))));
        // Others are no addresses of ours, which the parser of routes will say.
        for path in
            ["/", "/hls/foo.m3u8", "/~x/hls/foo.m3u8", "/api/~x/streams", "/hls/foo/~x/source/1.m4s", "/hls/%7Ex/a"]
        {
            check(path, Some((path, None)));
        }
        for path in [
            "/hls/~x",
            "/hls/~x/",
            "/hls/~x//foo.m3u8",
            "/hls/~x/~x/foo.m3u8",
            "/hls/~x/foo/../bar.m3u8",
            "/hls/~x/a%2F",
        ] {
            check(path, None);
        }
    }

    #[test]
    fn every_address_has_an_owner_and_what_grants_all_of_it() {
        let check = |path: &str, owner: Owner<'_>, whole: Option<&str>| {
            let route = Route::parse(path).unwrap();
            assert_eq!((route.owner(), route.whole().as_deref()), (owner, whole), "{path}");
        };
        for path in ["/", "/assets/index-Bx3_.js", "/api/streams"] {
            check(path, Owner::Nobody, None);
        }
        check("/hls/foo.m3u8", Owner::Stream("foo"), Some("/hls/foo"));
        check("/hls/foo/source/7.m4s", Owner::Stream("foo"), Some("/hls/foo"));
        check("/vod/a-b-20261120T172500Z/hq/1.m4s", Owner::Stream("a-b"), Some("/vod/a-b-20261120T172500Z"));
        for asset in
            ["film", "film-2", "-20261120T172500Z", "a-20261120t172500Z", "a-2026112OT172500Z", "a-20261120T1725001Z"]
        {
            check(&format!("/vod/{asset}/index.m3u8"), Owner::Upload, Some(&format!("/vod/{asset}")));
        }
        let key = "keys/7-00000000000000ff.key";
        check(&format!("/hls/foo/{key}"), Owner::Stream("foo"), Some("/hls/foo"));
        let asset = "/vod/a-b-20261120T172500Z";
        check(&format!("{asset}/{key}"), Owner::Stream("a-b"), Some(asset));
        check(&format!("{asset}/hq/{key}"), Owner::Stream("a-b"), Some(asset));
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
        fn a_token_comes_out_as_it_was_put_in(token in "[0-9A-Za-z._-]{0,80}", path in "/(hls/foo(/source/7)?.m(3u8|4s)|vod/[a-z]{1,9}/index.m3u8)") {
            if let Some(route) = Route::parse(&path) {
                let marked = route.with_token(&token).unwrap();
                prop_assert_eq!(Address::read(&marked), Some(Address { path: path.into(), token: Some(&token) }));
                prop_assert_eq!(Route::parse(&marked), None);
            }
        }

        #[test]
        fn what_stands_behind_a_token_is_plain(path in "/(hls|vod)/~[ -~]{0,80}") {
            if let Some(Address { path, token: Some(token) }) = Address::read(&path) {
                prop_assert!(!token.contains('/') && !path.contains(['~', '%', '?']) && !path.contains(".."), "{}", path);
            }
        }

        #[test]
        fn any_text_parses_to_itself_or_not_at_all(path in "(/(hls|vod|assets|api)?){0,1}[ -~]{0,80}") {
            if let Some(route) = Route::parse(&path) {
                prop_assert_eq!(route.to_string(), path);
            }
        }
    }
}
