//! A lenient playlist reader that keeps line numbers and attributes as they were written, so that a breach can be
//! named by its place.
//!
//! What cannot be read is kept as a [`Fault`] and reading goes on. Nothing here judges: that is [`super::rules`]'s
//! affair. Never panics, whatever the text.

mod attributes;
mod date;
mod media;
mod multivariant;

pub use attributes::Attributes;
pub use date::{parse_http_date, parse_iso_date};
pub use media::{ByteRange, Media, OpenSegment, Part, Segment};
pub use multivariant::{Multivariant, Variant};

/// Longest playlist that is read, in lines; the rest is a fault.
pub const LINES_MAX: usize = 200_000;

/// One tag with its place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tag {
    /// Line number, from 1.
    pub line: u32,
    /// Everything after the colon.
    pub value: String,
    /// The same, read as an attribute list (empty where it is none).
    pub attributes: Attributes,
}

/// A value with the line it stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At<T> {
    /// Line number, from 1.
    pub line: u32,
    /// The value.
    pub value: T,
}

/// Something that is not a playlist's grammar (RFC 8216bis §4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Line number, from 1.
    pub line: u32,
    /// What is wrong there.
    pub what: String,
}

/// What both kinds of playlist have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Common {
    /// EXT-X-VERSION.
    pub version: Option<At<u64>>,
    /// Line of EXT-X-INDEPENDENT-SEGMENTS.
    pub independent: Option<u32>,
    /// EXT-X-DEFINE tags.
    pub defines: Vec<Tag>,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

/// A playlist of either kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Playlist {
    /// Lists other playlists.
    Multivariant(Multivariant),
    /// Lists segments.
    Media(Box<Media>),
}

/// The text is no playlist at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no playlist: {0}")]
pub struct NoPlaylist(&'static str);

impl Playlist {
    /// Reads a playlist of either kind.
    pub fn parse(text: &str) -> Result<Self, NoPlaylist> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if !text.trim_start().starts_with("#EXTM3U") {
            return Err(NoPlaylist("it does not begin with #EXTM3U"));
        }
        let lists_playlists = ["#EXT-X-STREAM-INF", "#EXT-X-MEDIA:", "#EXT-X-I-FRAME-STREAM-INF"];
        let lists_segments = ["#EXTINF", "#EXT-X-TARGETDURATION", "#EXT-X-MEDIA-SEQUENCE", "#EXT-X-PART"];
        let has = |names: &[&str]| text.lines().any(|line| names.iter().any(|name| line.starts_with(name)));
        if has(&lists_segments) {
            Ok(Self::Media(Box::new(Media::parse(text))))
        } else if has(&lists_playlists) {
            Ok(Self::Multivariant(Multivariant::parse(text)))
        } else {
            Err(NoPlaylist("it lists neither playlists nor segments"))
        }
    }
}

/// One line of a playlist that says something.
enum Item<'a> {
    /// `#NAME` or `#NAME:value`.
    Tag(&'a str, &'a str),
    /// An address.
    Uri(&'a str),
}

/// The lines that say something, numbered from 1.
fn items<'a>(text: &'a str, common: &mut Common) -> Vec<(u32, Item<'a>)> {
    let mut items = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = u32::try_from(index.saturating_add(1)).unwrap_or(u32::MAX);
        if index >= LINES_MAX {
            common.fault(number, format!("the playlist is longer than {LINES_MAX} lines"));
            break;
        }
        if index == 0 && line.trim_end() != "#EXTM3U" {
            common.fault(number, "the first line must be #EXTM3U and nothing else".to_owned());
        }
        let line = line.trim_end_matches('\r');
        if line.trim().is_empty() {
            continue;
        }
        if line.starts_with("#EXT") {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            items.push((number, Item::Tag(name.trim_end(), value)));
        } else if !line.starts_with('#') {
            items.push((number, Item::Uri(line.trim())));
        }
    }
    items
}

impl Common {
    fn fault(&mut self, line: u32, what: String) {
        // A hostile playlist must not fill memory with complaints about itself.
        if self.faults.len() < 100 {
            self.faults.push(Fault { line, what });
        }
    }

    /// Takes a tag that both kinds of playlist may have.
    fn take(&mut self, line: u32, name: &str, value: &str) {
        match name {
            "#EXTM3U" => {}
            "#EXT-X-VERSION" => {
                if self.version.is_some() {
                    self.fault(line, "a second EXT-X-VERSION".to_owned());
                }
                self.version = self.integer(line, name, value).or(self.version);
            }
            "#EXT-X-INDEPENDENT-SEGMENTS" => self.independent = Some(line),
            "#EXT-X-DEFINE" => {
                let tag = self.tag(line, name, value);
                self.defines.push(tag);
            }
            // Other tags are for other tools.
            _ => {}
        }
    }

    /// Reads an attribute list.
    fn tag(&mut self, line: u32, name: &str, value: &str) -> Tag {
        let (attributes, fault) = Attributes::parse(value);
        if let Some(what) = fault {
            self.fault(line, format!("{}: {what}", bare(name)));
        }
        Tag { line, value: value.to_owned(), attributes }
    }

    /// Reads a decimal integer.
    fn integer(&mut self, line: u32, name: &str, value: &str) -> Option<At<u64>> {
        let digits = value.trim_end();
        match digits.parse::<u64>() {
            Ok(number) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(At { line, value: number }),
            _ => {
                self.fault(line, format!("{}:{} is no decimal integer", bare(name), short(value)));
                None
            }
        }
    }
}

/// Reads a decimal number as playlists write it: digits and one point; no sign, exponent, `inf` or `nan`.
fn decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && text.bytes().any(|b| b.is_ascii_digit());
    if plain && text.len() <= 40 { text.parse().ok() } else { None }
}

/// A tag's name without its `#`.
fn bare(name: &str) -> &str {
    name.trim_start_matches('#')
}

/// The beginning of a text that may be long.
fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_kind_of_playlist_follows_from_its_tags() {
        let kind = |text: &str| match Playlist::parse(text) {
            Ok(Playlist::Multivariant(_)) => "multivariant",
            Ok(Playlist::Media(_)) => "media",
            Err(_) => "none",
        };
        for (text, expected) in [
            ("", "none"),
            ("<html>", "none"),
            ("#EXTM3U\n", "none"),
            ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n", "multivariant"),
            ("#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO\n", "multivariant"),
            ("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:1\n", "media"),
            ("#EXTM3U\r\n#EXT-X-TARGETDURATION:2\r\n#EXTINF:2,\r\na.ts\r\n", "media"),
        ] {
            assert_eq!(kind(text), expected, "{text:?}");
        }
    }

    #[test]
    fn decimals_are_digits_and_a_point_only() {
        for (text, expected) in [("1", Some(1.0)), ("2.5", Some(2.5)), (".5", Some(0.5))] {
            assert_eq!(decimal(text), expected, "{text}");
        }
        for text in ["", ".", "inf", "NaN", "-1", "1e9", "1.2.3", " 1"] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }

    /// Lines that look like playlists, so that the fuzz gets past the first check.
    fn line() -> impl Strategy<Value = String> {
        let names = [
            "EXTM3U",
            "EXTINF",
            "EXT-X-TARGETDURATION",
            "EXT-X-MEDIA-SEQUENCE",
            "EXT-X-DISCONTINUITY",
            "EXT-X-DISCONTINUITY-SEQUENCE",
            "EXT-X-PART",
            "EXT-X-PART-INF",
            "EXT-X-PRELOAD-HINT",
            "EXT-X-SKIP",
            "EXT-X-SERVER-CONTROL",
            "EXT-X-RENDITION-REPORT",
            "EXT-X-GAP",
            "EXT-X-PROGRAM-DATE-TIME",
            "EXT-X-MAP",
            "EXT-X-KEY",
            "EXT-X-BYTERANGE",
            "EXT-X-STREAM-INF",
            "EXT-X-MEDIA",
            "EXT-X-I-FRAME-STREAM-INF",
            "EXT-X-VERSION",
            "EXT-X-DEFINE",
            "EXT-X-ENDLIST",
            "EXT-X-PLAYLIST-TYPE",
        ];
        prop_oneof![
            (prop::sample::select(names.to_vec()), "[ -~]{0,40}").prop_map(|(name, rest)| format!("#{name}:{rest}")),
            (prop::sample::select(names.to_vec()), "[0-9]{0,25}").prop_map(|(name, rest)| format!("#{name}:{rest}")),
            (prop::sample::select(names.to_vec()), "([A-Z-]{1,6}=(\"[^\"]{0,9}\"|[0-9.@x]{0,20}),?){0,4}")
                .prop_map(|(name, rest)| format!("#{name}:{rest}")),
            "\\PC{0,40}",
        ]
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(lines in prop::collection::vec(line(), 0..40)) {
            let _ = Playlist::parse(&format!("#EXTM3U\n{}", lines.join("\n")));
        }

        #[test]
        fn no_date_makes_the_reader_panic(text in "[0-9TZ:.+-]{0,40}|\\PC{0,30}") {
            let _ = parse_iso_date(&text);
            let _ = parse_http_date(&text);
        }
    }
}
