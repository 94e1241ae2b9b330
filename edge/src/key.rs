//! What a request asks for, once everything that does not matter is gone: the cache's key and the request upstream.
//!
//! Pure. Works by allow-list: only a path that is an address of ours and, on media playlists, the three delivery
//! directives of LL-HLS (draft-pantos-hls-rfc8216bis §6.2.5) survive. Tokens, CMCD and junk never reach a key or an
//! origin. Knows nothing of headers: what goes upstream is made from a [`Key`], never from the viewer's request.

use media::route::{File, Route};
use std::fmt;

/// Largest part index that is looked at: a segment of 60 s in parts of 60 ms.
pub(crate) const PART_MAX: u32 = 999;

/// Most digits of a number in a directive: what a `u64` can have.
const DIGITS_MAX: usize = 20;

/// Longest piece of a viewer's words that is given back to him, in characters.
const QUOTE_CHARS_MAX: usize = 32;

/// What is asked for. Prints as the path and query of the request upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The address.
    pub(crate) route: Route,
    /// Delivery directives; `None` everywhere but on playlists of renditions, and there when none was given.
    pub(crate) directives: Option<Directives>,
}

/// The delivery directives of a media playlist request. At least one is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Directives {
    /// `_HLS_msn`: hold the answer until the playlist has this media sequence number.
    pub(crate) msn: Option<u64>,
    /// `_HLS_part`: hold it until the playlist has this part of it, counted from 0. Never without `msn`.
    pub(crate) part: Option<u32>,
    /// `_HLS_skip`: leave out what the player has.
    pub(crate) skip: Option<Skip>,
}

/// Which kind of delta update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Skip {
    /// `YES`: older segments.
    Segments,
    /// `v2`: older segments and older date ranges.
    SegmentsAndDateRanges,
}

/// Why a request has no key, in words for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The path is no address of ours: 404.
    #[error("there is nothing at this address")]
    NoSuchAddress,
    /// A number that is none: 400.
    #[error("{name}={given:?} is not allowed: {name} is a whole number from 0 to {max}")]
    Number {
        /// The directive.
        name: &'static str,
        /// What was given, cut short.
        given: String,
        /// The largest value allowed.
        max: u64,
    },
    /// Something else than YES or v2: 400.
    #[error("_HLS_skip={given:?} is not allowed: write YES or v2")]
    Skip {
        /// What was given, cut short.
        given: String,
    },
    /// The same directive twice: 400.
    #[error("{0} is there twice")]
    Twice(&'static str),
    /// `_HLS_part` alone: 400 (§6.2.5.2).
    #[error("_HLS_part needs _HLS_msn beside it")]
    PartWithoutMsn,
}

impl Key {
    /// Reads a path and the query behind its `?`.
    pub(crate) fn read(path: &str, query: Option<&str>) -> Result<Self, Refusal> {
        let route = Route::parse(path).ok_or(Refusal::NoSuchAddress)?;
        let directives = match route {
            Route::Hls(_, _, File::Playlist) => Directives::read(query.unwrap_or_default())?,
            // An I-frame playlist lists whole segments: it is waited for by number, and always sent whole.
            Route::Hls(_, _, File::IFrames) => {
                let msn = Directives::read(query.unwrap_or_default())?.and_then(|directives| directives.msn);
                msn.map(|msn| Directives { msn: Some(msn), part: None, skip: None })
            }
            _ => None,
        };
        Ok(Self { route, directives })
    }

    /// Which kind of delta update is asked for.
    pub(crate) fn skip(&self) -> Option<Skip> {
        self.directives.and_then(|directives| directives.skip)
    }

    /// The media sequence number and part to wait for.
    pub(crate) fn waits_for(&self) -> Option<(u64, Option<u32>)> {
        let directives = self.directives?;
        Some((directives.msn?, directives.part))
    }
}

impl Directives {
    fn read(query: &str) -> Result<Option<Self>, Refusal> {
        let (mut msn, mut part, mut skip) = (None, None, None);
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "_HLS_msn" => once(&mut msn, "_HLS_msn", number("_HLS_msn", value, u64::MAX - 1)?)?,
                "_HLS_part" => once(&mut part, "_HLS_part", number("_HLS_part", value, u64::from(PART_MAX))?)?,
                "_HLS_skip" => once(&mut skip, "_HLS_skip", Skip::read(value)?)?,
                _ => {}
            }
        }
        if part.is_some() && msn.is_none() {
            return Err(Refusal::PartWithoutMsn);
        }
        let part = part.and_then(|part| u32::try_from(part).ok());
        Ok((msn.is_some() || skip.is_some()).then_some(Self { msn, part, skip }))
    }
}

impl Skip {
    fn read(value: &str) -> Result<Self, Refusal> {
        match value {
            "YES" => Ok(Self::Segments),
            "v2" => Ok(Self::SegmentsAndDateRanges),
            _ => Err(Refusal::Skip { given: quote(value) }),
        }
    }
}

fn once<T>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), Refusal> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refusal::Twice(name)),
    }
}

fn number(name: &'static str, value: &str, max: u64) -> Result<u64, Refusal> {
    let digits = !value.is_empty() && value.len() <= DIGITS_MAX && value.bytes().all(|b| b.is_ascii_digit());
    let number = digits.then(|| value.parse().ok()).flatten().filter(|n| *n <= max);
    number.ok_or_else(|| Refusal::Number { name, given: quote(value), max })
}

fn quote(text: &str) -> String {
    text.chars().take(QUOTE_CHARS_MAX).collect()
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.route)?;
        let Some(Directives { msn, part, skip }) = self.directives else { return Ok(()) };
        let mut mark = '?';
        let mut pair = |f: &mut fmt::Formatter<'_>, name: &str, value: &dyn fmt::Display| {
            write!(f, "{mark}{name}={value}")?;
            mark = '&';
            Ok(())
        };
        if let Some(msn) = msn {
            pair(f, "_HLS_msn", &msn)?;
        }
        if let Some(part) = part {
            pair(f, "_HLS_part", &part)?;
        }
        match skip {
            Some(Skip::Segments) => pair(f, "_HLS_skip", &"YES"),
            Some(Skip::SegmentsAndDateRanges) => pair(f, "_HLS_skip", &"v2"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(target: &str) -> Result<Key, Refusal> {
        match target.split_once('?') {
            Some((path, query)) => Key::read(path, Some(query)),
            None => Key::read(target, None),
        }
    }

    #[track_caller]
    fn check(target: &str, upstream: &str) {
        assert_eq!(read(target).map(|key| key.to_string()).as_deref(), Ok(upstream), "{target}");
    }

    #[test]
    fn only_directives_on_media_playlists_survive() {
        let playlist = "/hls/foo/source/index.m3u8";
        for (query, kept) in [
            ("", ""),
            ("?", ""),
            ("?x=1", ""),
            ("?_HLS_msn=7", "?_HLS_msn=7"),
            ("?_HLS_msn=007", "?_HLS_msn=7"),
            ("?_HLS_msn=7&_HLS_part=2", "?_HLS_msn=7&_HLS_part=2"),
            ("?_HLS_part=2&token=abc&_HLS_msn=7&CMCD=bl%3D2", "?_HLS_msn=7&_HLS_part=2"),
            ("?_HLS_skip=YES", "?_HLS_skip=YES"),
            ("?_HLS_skip=v2&_HLS_msn=7&_HLS_part=0", "?_HLS_msn=7&_HLS_part=0&_HLS_skip=v2"),
            ("?_hls_msn=7&_HLS_push=1&_HLS_report=x", ""),
            ("?%5fHLS_msn=7", ""),
        ] {
            check(&format!("{playlist}{query}"), &format!("{playlist}{kept}"));
        }
    }

    #[test]
    fn everything_else_loses_its_query() {
        for path in [
            "/",
            "/assets/a.js",
            "/api/streams",
            "/hls/foo.m3u8",
            "/hls/foo/960w/7.m4s",
            "/hls/foo/960w/7.1.m4s",
            "/vod/foo-20261120T172500Z/index.m3u8",
        ] {
            check(&format!("{path}?_HLS_msn=7&_HLS_part=nonsense&x=%00"), path);
        }
    }

    #[test]
    fn i_frame_playlists_are_waited_for_by_number_alone() {
        let path = "/hls/foo/source/iframes.m3u8";
        check(&format!("{path}?_HLS_skip=YES&x=1"), path);
        check(&format!("{path}?_HLS_part=1&_HLS_msn=7"), &format!("{path}?_HLS_msn=7"));
    }

    #[test]
    fn bad_directives_are_refused_in_words() {
        for (query, words) in [
            ("_HLS_msn=", "_HLS_msn=\"\" is not allowed: _HLS_msn is a whole number from 0 to 18446744073709551614"),
            (
                "_HLS_msn=+1",
                "_HLS_msn=\"+1\" is not allowed: _HLS_msn is a whole number from 0 to 18446744073709551614",
            ),
            (
                "_HLS_msn=1&_HLS_part=1000",
                "_HLS_part=\"1000\" is not allowed: _HLS_part is a whole number from 0 to 999",
            ),
            ("_HLS_msn=1&_HLS_part=-1", "_HLS_part=\"-1\" is not allowed: _HLS_part is a whole number from 0 to 999"),
            ("_HLS_msn=1&_HLS_msn=1", "_HLS_msn is there twice"),
            ("_HLS_part=1", "_HLS_part needs _HLS_msn beside it"),
            ("_HLS_skip=yes", "_HLS_skip=\"yes\" is not allowed: write YES or v2"),
        ] {
            let refusal = read(&format!("/hls/foo/source/index.m3u8?{query}")).unwrap_err();
            assert_eq!(refusal.to_string(), words);
        }
        let long = read(&format!("/hls/foo/source/index.m3u8?_HLS_msn={}", "9".repeat(5000))).unwrap_err();
        assert!(long.to_string().len() < 200, "{long}");
    }

    #[test]
    fn other_paths_have_no_key() {
        for path in ["", "/x", "/hls/../x", "//", "/hls/foo/source/1.ts", "/hls/foo%2e.m3u8", "/control/x"] {
            assert_eq!(read(path), Err(Refusal::NoSuchAddress), "{path}");
        }
    }

    fn junk() -> impl Strategy<Value = String> {
        // Anything that is no directive: a name that starts otherwise, any value.
        "[a-zA-Z0-9%.~-]{1,12}(=[ -%'-~]{0,20})?"
    }

    proptest! {
        #[test]
        fn any_target_has_a_key_that_reads_back_as_itself_or_none(path in "/(hls/foo/source/index.m3u8)?[ -~]{0,60}", query in "[ -~]{0,80}") {
            if let Ok(key) = Key::read(&path, Some(&query)) {
                prop_assert_eq!(read(&key.to_string()), Ok(key));
            }
        }

        #[test]
        fn junk_changes_no_key(msn in any::<u64>(), part in 0..=PART_MAX, before in proptest::collection::vec(junk(), 0..5), after in proptest::collection::vec(junk(), 0..5)) {
            let msn = msn.min(u64::MAX - 1);
            let mut pairs = before;
            pairs.push(format!("_HLS_msn={msn}"));
            pairs.extend(after);
            pairs.push(format!("_HLS_part={part}"));
            let key = Key::read("/hls/foo/source/index.m3u8", Some(&pairs.join("&"))).unwrap();
            prop_assert_eq!(key.waits_for(), Some((msn, Some(part))));
            prop_assert_eq!(key.to_string(), format!("/hls/foo/source/index.m3u8?_HLS_msn={msn}&_HLS_part={part}"));
        }

        #[test]
        fn what_goes_upstream_is_plain_text_of_bounded_length(path in "/hls/foo/(source/index|960w/iframes).m3u8", query in "(_HLS_(msn|part|skip)=[ -~]{0,30}&?){0,4}") {
            if let Ok(key) = Key::read(&path, Some(&query)) {
                let text = key.to_string();
                prop_assert!(text.len() < 200);
                prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-?&=".contains(&b)));
            }
        }
    }
}
