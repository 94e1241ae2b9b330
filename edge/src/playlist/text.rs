//! A media playlist as text, cut into its segments' lines.
//!
//! What an origin writes is passed on line by line: this knows where the lines of one segment end and those of the next
//! begin, which number, date and discontinuity each has, and what is needed to compare and renumber them. It keeps
//! tags that it does not know.

use super::Facts;
use media::hls::reload::Tip;
use media::route::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::time::Duration;

/// Longest target duration or part that is believed, in seconds.
const SECONDS_MAX: f64 = 3600.0;

/// Most segments in one playlist: two days in segments of two seconds.
const SEGMENTS_MAX: usize = 100_000;

/// Tags that belong to the segment behind them (RFC 8216bis §4.4.4, §4.4.4.9 for parts). All others are the playlist's.
const OF_SEGMENTS: [&str; 9] = [
    "#EXTINF",
    "#EXT-X-BYTERANGE",
    "#EXT-X-DISCONTINUITY",
    "#EXT-X-KEY",
    "#EXT-X-MAP",
    "#EXT-X-PROGRAM-DATE-TIME",
    "#EXT-X-GAP",
    "#EXT-X-BITRATE",
    "#EXT-X-PART",
];

/// A media playlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    /// All of it.
    pub(crate) all: String,
    /// What counts in it.
    pub(crate) facts: Facts,
    /// The playlist's own tags before the first segment.
    pub(super) head: Range<usize>,
    /// Whole segments and gaps, oldest first.
    pub(super) blocks: Vec<Block>,
    /// Lines of the segment in progress.
    pub(super) open: Range<usize>,
    /// What follows: hints, reports, the end mark.
    pub(super) tail: Range<usize>,
    /// CAN-SKIP-UNTIL, if there is one.
    pub(super) skip_until: Option<Duration>,
    /// The part that EXT-X-PRELOAD-HINT names, if it does: number and part.
    pub(crate) hint: Option<(u64, u32)>,
    /// The segment in progress, as far as it goes: number, start, EXT-X-MAP; its `lines` are [`Text::open`].
    pub(super) next: Block,
}

/// The lines of one segment, and what they say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// From the first of its tags to its URI's line end.
    pub(super) lines: Range<usize>,
    /// Media sequence number.
    pub(crate) number: u64,
    /// Discontinuity sequence number: those before it, and its own.
    pub(crate) disc: u64,
    /// Duration. For a segment in progress the sum of its parts.
    pub(crate) length: Duration,
    /// Start in milliseconds since 1970, as written or as it follows from the segments before.
    pub(crate) starts_ms: Option<i64>,
    /// EXT-X-GAP.
    pub(crate) gap: bool,
    /// The EXT-X-MAP line in force.
    pub(super) map: Option<Range<usize>>,
    /// The EXT-X-KEY line in force; `None`: it is not encrypted.
    pub(super) key: Option<Range<usize>>,
    /// Hash of everything that makes it what it is: where it lies, how long it is, when it is, what it needs. Parts are
    /// not in it, since they are listed only for a while.
    pub(super) core: u64,
}

/// What is being read.
struct Reading<'a> {
    all: &'a str,
    facts: Facts,
    blocks: Vec<Block>,
    skip_until: Option<Duration>,
    hint: Option<(u64, u32)>,
    /// Of the segment being read.
    begun: Option<usize>,
    next: Block,
    hasher: DefaultHasher,
    target: Option<Duration>,
}

impl Text {
    /// Reads a media playlist. `None`: it is none, or a delta update, or has more segments than are taken.
    pub(crate) fn parse(all: String) -> Option<Self> {
        let mut reading = Reading::new(&all);
        let (mut head_end, mut last_end) = (None, 0);
        let mut at = 0usize;
        for line in all.split_inclusive('\n') {
            let (start, end) = (at, at.saturating_add(line.len()));
            at = end;
            let text = line.trim_end();
            if start == 0 {
                (text == "#EXTM3U").then_some(())?;
            } else if !text.is_empty() && reading.line(text, start)? {
                head_end.get_or_insert(start);
                if !text.starts_with('#') {
                    reading.close(end)?;
                    last_end = end;
                }
            }
        }
        let head_end = head_end.unwrap_or(all.len());
        let (open, tail) = reading.rest(head_end.max(last_end));
        let Reading { mut facts, blocks, skip_until, hint, next, target, .. } = reading;
        facts.target = target?;
        facts.tip.open = next.number;
        let next = Block { lines: open.clone(), ..next };
        Some(Self { facts, head: 0..head_end, blocks, open, tail, skip_until, hint, next, all })
    }

    /// Whole segments and gaps, oldest first.
    pub(crate) fn segments(&self) -> &[Block] {
        &self.blocks
    }

    /// Memory that it takes, about.
    pub(crate) fn bytes(&self) -> u64 {
        let blocks = self.blocks.capacity().saturating_mul(size_of::<Block>());
        self.all.capacity().saturating_add(blocks) as u64
    }

    /// The segment in progress.
    pub(crate) fn in_progress(&self) -> &Block {
        &self.next
    }

    /// When what it lists ends, in milliseconds since 1970, if it says.
    pub(crate) fn ends_ms(&self) -> Option<i64> {
        self.next.starts_ms?.checked_add(i64::try_from(self.next.length.as_millis()).ok()?)
    }

    /// Number of the first segment.
    pub(crate) fn first(&self) -> u64 {
        self.blocks.first().map_or(self.next.number, |block| block.number)
    }

    /// The EXT-X-MAP line in force at a segment.
    #[cfg(test)]
    pub(crate) fn map_of(&self, block: &Block) -> Option<&str> {
        block.map.as_ref().map(|map| self.lines(map))
    }

    /// Some of the text.
    pub(super) fn lines(&self, range: &Range<usize>) -> &str {
        self.all.get(range.clone()).unwrap_or_default()
    }

    /// Whether both say the same about the segments that both list whole. `None`: there is none that is no gap.
    pub(crate) fn agrees_with(&self, other: &Self) -> Option<bool> {
        let mut others = other.blocks.iter().peekable();
        let mut agreed = None;
        for block in self.blocks.iter().filter(|block| !block.gap) {
            while others.next_if(|other| other.number < block.number).is_some() {}
            let Some(twin) = others.next_if(|other| other.number == block.number) else { continue };
            // Its EXT-X-MAP may have gone with the segments before it: compared where both still say. So may have its
            // EXT-X-KEY, which stands again before the first segment.
            let said =
                |text: &Self, range: &Option<Range<usize>>| range.as_ref().map(|line| text.lines(line).to_owned());
            let same =
                said(self, &block.map) == said(other, &twin.map) && said(self, &block.key) == said(other, &twin.key);
            match (twin.gap, twin.core == block.core && same) {
                (true, _) => {}
                (false, true) => agreed = Some(true),
                (false, false) => return Some(false),
            }
        }
        agreed
    }
}

impl<'a> Reading<'a> {
    fn new(all: &'a str) -> Self {
        let tip = Tip::default();
        let facts = Facts { tip, target: Duration::ZERO, part: None, blocking: false };
        let next = Block {
            lines: 0..0,
            number: 0,
            disc: 0,
            length: Duration::ZERO,
            starts_ms: None,
            gap: false,
            map: None,
            key: None,
            core: 0,
        };
        let hasher = DefaultHasher::new();
        let (skip_until, hint, begun, target) = (None, None, None, None);
        Self { all, facts, blocks: Vec::new(), skip_until, hint, begun, next, hasher, target }
    }

    /// Takes a line. `true`: it belongs to a segment. `None`: this is no playlist for us.
    fn line(&mut self, text: &str, start: usize) -> Option<bool> {
        let (tag, value) = text.split_once(':').unwrap_or((text, ""));
        if text.starts_with('#') && !OF_SEGMENTS.contains(&tag) {
            return self.of_playlist(tag, value).then_some(false);
        }
        self.begun.get_or_insert(start);
        let end = start.saturating_add(text.len());
        match tag {
            "#EXTINF" => self.next.length = duration(value.split(',').next().unwrap_or_default()).unwrap_or_default(),
            "#EXT-X-DISCONTINUITY" => {
                self.next.disc = self.next.disc.checked_add(1)?;
                // Across it nothing follows from what was before.
                self.next.starts_ms = None;
            }
            "#EXT-X-MAP" => self.next.map = Some(start..end),
            "#EXT-X-KEY" => {
                self.next.key = (attribute(value, "METHOD") != Some("NONE")).then_some(start..end);
            }
            "#EXT-X-PROGRAM-DATE-TIME" => self.next.starts_ms = date_ms(value),
            "#EXT-X-GAP" => self.next.gap = true,
            "#EXT-X-PART" => {
                self.facts.tip.parts = self.facts.tip.parts.saturating_add(1);
                if let Some(part) = attribute(value, "DURATION").and_then(duration) {
                    self.next.length = self.next.length.saturating_add(part);
                }
            }
            _ => {}
        }
        if !matches!(tag, "#EXT-X-PART" | "#EXT-X-MAP" | "#EXT-X-KEY" | "#EXT-X-GAP") {
            text.hash(&mut self.hasher);
        }
        Some(true)
    }

    /// Takes a tag of the playlist's. `false`: what is not taken.
    fn of_playlist(&mut self, tag: &str, value: &str) -> bool {
        match tag {
            "#EXT-X-TARGETDURATION" => self.target = duration(value),
            "#EXT-X-MEDIA-SEQUENCE" => match value.trim().parse() {
                Ok(number) => self.next.number = number,
                Err(_) => return false,
            },
            "#EXT-X-DISCONTINUITY-SEQUENCE" => self.next.disc = value.trim().parse().unwrap_or(0),
            "#EXT-X-PART-INF" => self.facts.part = attribute(value, "PART-TARGET").and_then(duration),
            "#EXT-X-SERVER-CONTROL" => {
                self.facts.blocking = attribute(value, "CAN-BLOCK-RELOAD") == Some("YES");
                self.skip_until = attribute(value, "CAN-SKIP-UNTIL").and_then(duration);
            }
            "#EXT-X-PRELOAD-HINT" => {
                let uri = attribute(value, "URI").map(|quoted| quoted.trim_matches('"'));
                if let Some(File::Part(msn, part)) = uri.and_then(File::parse) {
                    self.hint = Some((msn, part));
                }
            }
            "#EXT-X-ENDLIST" => self.facts.tip.ended = true,
            // Followers never ask for one.
            "#EXT-X-SKIP" => return false,
            _ => {}
        }
        true
    }

    /// The segment's URI was read; its line ends here.
    fn close(&mut self, end: usize) -> Option<()> {
        let lines = self.begun.take().unwrap_or(end)..end;
        let mut hasher = std::mem::take(&mut self.hasher);
        self.next.disc.hash(&mut hasher);
        // EXTINF stands behind the parts and replaces their sum.
        let parts = std::mem::take(&mut self.facts.tip.parts);
        self.facts.tip.last_parts = if self.next.gap { 0 } else { parts };
        let (length, starts) = (self.next.length, self.next.starts_ms);
        let follows = starts.and_then(|at| at.checked_add(i64::try_from(length.as_millis()).ok()?));
        let number = self.next.number.checked_add(1).filter(|_| self.blocks.len() < SEGMENTS_MAX)?;
        let block = Block { lines, core: hasher.finish(), ..self.next.clone() };
        self.blocks.push(block);
        self.next = Block { number, length: Duration::ZERO, starts_ms: follows, gap: false, ..self.next.clone() };
        Some(())
    }

    /// The lines behind the last segment: those of the segment in progress, and the playlist's.
    fn rest(&self, from: usize) -> (Range<usize>, Range<usize>) {
        let mut open_end = from;
        let mut at = from;
        for line in self.all.get(from..).unwrap_or_default().split_inclusive('\n') {
            at = at.saturating_add(line.len());
            let tag = line.trim_end().split(':').next().unwrap_or_default();
            if OF_SEGMENTS.contains(&tag) {
                open_end = at;
            }
        }
        (from..open_end, open_end..self.all.len())
    }
}

/// A decimal number of seconds.
fn duration(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim().parse().ok()?;
    (seconds > 0.0 && seconds <= SECONDS_MAX).then(|| Duration::from_secs_f64(seconds))
}

/// A date as RFC 8216 wants it. Dates of other zones than UTC are not read: nothing that is ours writes them.
fn date_ms(text: &str) -> Option<i64> {
    let date = humantime::parse_rfc3339(text.trim()).ok()?;
    let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

/// An attribute's value from a list (§4.2); quoted values may contain commas.
pub(super) fn attribute<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    let mut quoted = false;
    let mut pairs = list.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    pairs.find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}
