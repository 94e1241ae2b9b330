//! The ladder: what the config asks for, and which rungs a given source gets.
//!
//! Knows sizes and bit rates only; how rungs are encoded is `codec`'s affair.

use std::fmt;
use std::str::FromStr;

/// Most rungs a ladder may have.
pub const RUNGS_MAX: usize = 8;

/// Narrowest and widest encoded rung, in pixels.
const WIDTH_RANGE: std::ops::RangeInclusive<u32> = 64..=8192;

/// Lowest and highest bit rate of an encoded rung, in kbit/s.
const KBITS_RANGE: std::ops::RangeInclusive<u32> = 50..=200_000;

/// One line of the configured ladder: `source` or `1920w 5800k`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RungSpec {
    /// What the broadcaster sends, copied.
    Source,
    /// A smaller picture, encoded here.
    Encoded {
        /// Width in pixels; the height follows from the source's shape.
        width: u32,
        /// Highest average over a segment, in bit/s.
        bitrate: u32,
    },
}

/// A configured ladder, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ladder(Vec<RungSpec>);

/// Which rendition of a stream: what stands in URLs as `source`, `960w` or `audio`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rendition {
    /// The source rung.
    Source,
    /// An encoded rung by its width in pixels.
    Encoded(u32),
    /// The audio rendition.
    Audio,
}

/// A rung that a given source gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rung {
    /// Its name.
    pub rendition: Rendition,
    /// Width in pixels, even.
    pub width: u32,
    /// Height in pixels, even.
    pub height: u32,
    /// Cap in bit/s; `None` for the source rung, whose rate is measured.
    pub bitrate: Option<u32>,
}

/// Why a ladder was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLadder {
    /// A line that is neither `source` nor `WIDTHw RATEk`.
    #[error("{0:?} is not a rung: write \"source\" or e.g. \"960w 2300k\" (64w to 8192w, 50k to 200000k)")]
    Line(String),
    /// Nothing, or too much.
    #[error("a ladder has 1 to {RUNGS_MAX} rungs, this one has {0}")]
    Count(usize),
    /// The same rung twice.
    #[error("rung {0} stands twice in the ladder")]
    Twice(Rendition),
}

impl Ladder {
    /// Checks the lines as a whole.
    pub fn parse<S: AsRef<str>>(lines: &[S]) -> Result<Self, BadLadder> {
        if !(1..=RUNGS_MAX).contains(&lines.len()) {
            return Err(BadLadder::Count(lines.len()));
        }
        let mut specs: Vec<RungSpec> = Vec::new();
        for line in lines {
            let spec: RungSpec = line.as_ref().parse()?;
            if specs.iter().any(|other| other.rendition() == spec.rendition()) {
                return Err(BadLadder::Twice(spec.rendition()));
            }
            specs.push(spec);
        }
        Ok(Self(specs))
    }

    /// The rungs for a source of this size: encoded ones only if narrower than it, shape kept, sizes even, widest
    /// first. The source rung is always there, also when the config left it out and nothing else fits.
    pub fn for_source(&self, width: u32, height: u32) -> Vec<Rung> {
        let source = Rung { rendition: Rendition::Source, width, height, bitrate: None };
        let mut encoded: Vec<Rung> = self
            .0
            .iter()
            .filter_map(|spec| match *spec {
                RungSpec::Encoded { width: w, bitrate } if w < width => Some(Rung {
                    rendition: Rendition::Encoded(w),
                    width: even(u64::from(w)),
                    height: Self::height(w, (width, height)),
                    bitrate: Some(bitrate),
                }),
                _ => None,
            })
            .collect();
        encoded.sort_by_key(|rung| std::cmp::Reverse(rung.width));
        let wants_source = self.0.contains(&RungSpec::Source) || encoded.is_empty();
        wants_source.then_some(source).into_iter().chain(encoded).collect()
    }

    /// The cap of an encoded rung, bit/s.
    pub fn bitrate(&self, rendition: Rendition) -> Option<u32> {
        self.0.iter().find_map(|spec| match *spec {
            RungSpec::Encoded { bitrate, .. } if spec.rendition() == rendition => Some(bitrate),
            _ => None,
        })
    }

    /// The height that goes with a width in the shape of a source, even.
    pub fn height(width: u32, source: (u32, u32)) -> u32 {
        even(scaled(width, source.1, source.0))
    }

    /// The lines as the config writes them.
    pub fn lines(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

impl Default for Ladder {
    fn default() -> Self {
        let encoded = |width, kbits: u32| RungSpec::Encoded { width, bitrate: kbits * 1000 };
        Self(vec![RungSpec::Source, encoded(1920, 5800), encoded(960, 2300), encoded(480, 500)])
    }
}

/// `width` × `source_height` / `source_width`, rounded.
fn scaled(width: u32, source_height: u32, source_width: u32) -> u64 {
    let (w, h, d) = (u64::from(width), u64::from(source_height), u64::from(source_width.max(1)));
    (w * h + d / 2) / d
}

/// The nearest even number, at least 2.
fn even(value: u64) -> u32 {
    u32::try_from((value.max(2) + 1) & !1).unwrap_or(u32::MAX - 1)
}

impl RungSpec {
    fn rendition(&self) -> Rendition {
        match *self {
            Self::Source => Rendition::Source,
            Self::Encoded { width, .. } => Rendition::Encoded(width),
        }
    }
}

impl FromStr for RungSpec {
    type Err = BadLadder;

    fn from_str(text: &str) -> Result<Self, BadLadder> {
        if text.trim() == "source" {
            return Ok(Self::Source);
        }
        let bad = || BadLadder::Line(text.chars().take(64).collect());
        let mut words = text.split_whitespace();
        let (Some(width), Some(rate), None) = (words.next(), words.next(), words.next()) else {
            return Err(bad());
        };
        let number = |word: &str, unit: char| word.strip_suffix(unit).and_then(|n| n.parse::<u32>().ok());
        let width = number(width, 'w').filter(|w| WIDTH_RANGE.contains(w)).ok_or_else(bad)?;
        let kbits = number(rate, 'k').filter(|k| KBITS_RANGE.contains(k)).ok_or_else(bad)?;
        Ok(Self::Encoded { width, bitrate: kbits * 1000 })
    }
}

impl fmt::Display for RungSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("source"),
            Self::Encoded { width, bitrate } => write!(f, "{width}w {}k", bitrate / 1000),
        }
    }
}

impl FromStr for Rendition {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "source" => Ok(Self::Source),
            "audio" => Ok(Self::Audio),
            _ => {
                let width: u32 = text.strip_suffix('w').and_then(|n| n.parse().ok()).ok_or(())?;
                let canonical = Self::Encoded(width);
                (WIDTH_RANGE.contains(&width) && canonical.to_string() == text).then_some(canonical).ok_or(())
            }
        }
    }
}

impl fmt::Display for Rendition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("source"),
            Self::Encoded(width) => write!(f, "{width}w"),
            Self::Audio => f.write_str("audio"),
        }
    }
}

impl serde::Serialize for Ladder {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.lines())
    }
}

impl<'de> serde::Deserialize<'de> for Ladder {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let lines = Vec::<String>::deserialize(deserializer)?;
        Self::parse(&lines).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(lines: &[&str], width: u32, height: u32) -> Vec<String> {
        let ladder = Ladder::parse(lines).unwrap();
        let name = |r: &Rung| format!("{} {}x{}", r.rendition, r.width, r.height);
        ladder.for_source(width, height).iter().map(name).collect()
    }

    #[test]
    fn rungs_never_upscale_and_keep_the_shape() {
        let default = ["source", "1920w 5800k", "960w 2300k", "480w 500k"];
        assert_eq!(sizes(&default, 3840, 1920), ["source 3840x1920", "1920w 1920x960", "960w 960x480", "480w 480x240"]);
        assert_eq!(sizes(&default, 1920, 960), ["source 1920x960", "960w 960x480", "480w 480x240"]);
        assert_eq!(sizes(&default, 1280, 720), ["source 1280x720", "960w 960x540", "480w 480x270"]);
        assert_eq!(sizes(&default, 320, 160), ["source 320x160"]);
    }

    #[test]
    fn heights_are_even() {
        assert_eq!(sizes(&["source", "480w 500k"], 1000, 333), ["source 1000x333", "480w 480x160"]);
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        assert!(matches!(Ladder::parse(&["960w"]), Err(BadLadder::Line(_))));
        assert!(matches!(Ladder::parse(&["960 2300k"]), Err(BadLadder::Line(_))));
        assert!(matches!(Ladder::parse(&["1w 2300k"]), Err(BadLadder::Line(_))));
        assert!(matches!(Ladder::parse::<&str>(&[]), Err(BadLadder::Count(0))));
        assert!(matches!(Ladder::parse(&["960w 1000k", "960w 2000k"]), Err(BadLadder::Twice(_))));
    }

    #[test]
    fn lines_survive_a_round_trip() {
        assert_eq!(Ladder::parse(&Ladder::default().lines()), Ok(Ladder::default()));
    }

    #[test]
    fn renditions_have_one_spelling() {
        for text in ["source", "audio", "960w"] {
            assert_eq!(text.parse::<Rendition>().unwrap().to_string(), text);
        }
        for text in ["0960w", "960", "Source", "w", "+960w", "9w"] {
            assert!(text.parse::<Rendition>().is_err(), "{text}");
        }
    }
}
