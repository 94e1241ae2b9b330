//! What a simulated stream is: a pure function of its terms and of how far it is. No sockets, no clock.
//!
//! Two streams with the same terms agree byte for byte (numbers, URIs, ETags, playlists), as a pair of origins does. Any
//! other seed gives other bytes, any other `first` other numbers.

use bytes::Bytes;
use media::hls::reload::Tip;
use media::hls::{MediaPlaylist, PartLine, Report, Segment, iframes};
use media::ladder::Rendition;
use media::route::File;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};

/// Segments whose parts are still listed.
const WITH_PARTS: u64 = 3;

/// Segments that are still there when no playlist lists them any more.
const KEPT: u64 = 10;

/// What a stream is like.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Terms {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its renditions.
    pub(crate) renditions: Vec<&'static str>,
    /// Of which lineage its media is.
    pub(crate) seed: u64,
    /// Number of its first segment.
    pub(crate) first: u64,
    /// Whole segments that are there at the beginning.
    pub(crate) begun: u64,
    /// UTC of its first segment, ms.
    pub(crate) since_ms: i64,
    /// Parts of a segment. Those of the audio rendition are as many.
    pub(crate) parts: u32,
    /// Length of a part.
    pub(crate) part_ms: u32,
    /// The least that its target duration is, s.
    pub(crate) target_min_s: u32,
    /// Segments in a playlist.
    pub(crate) window: u64,
    /// With parts, hints, blocking reload and delta updates.
    pub(crate) low_latency: bool,
    /// About so many bytes in a part.
    pub(crate) part_bytes: usize,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            name: "foo",
            renditions: vec!["source", "audio"],
            seed: 1,
            first: 100,
            begun: 10,
            since_ms: 1_795_195_500_000,
            parts: 4,
            part_ms: 250,
            target_min_s: 0,
            window: 30,
            low_latency: true,
            part_bytes: 3000,
        }
    }
}

impl Terms {
    /// The same at the same time from an encoder of its own: other bytes and other numbers.
    pub(crate) fn foreign(&self) -> Self {
        Self { seed: self.seed + 1, first: self.first + 5000, ..self.clone() }
    }

    /// A stream whose origin holds requests for longer than any test lasts, so that what is asked of it does not depend on
    /// how fast a test is. As far as the default one.
    pub(crate) fn patient() -> Self {
        // Long enough for delta updates all the same.
        Self { target_min_s: 15, first: 0, begun: 110, window: 150, ..Self::default() }
    }

    /// EXT-X-TARGETDURATION.
    pub(crate) fn target_s(&self) -> u32 {
        (self.parts * self.part_ms).div_ceil(1000).max(self.target_min_s)
    }

    /// Bytes of a part: they begin with the words that [`Origin::of`] reads.
    pub(crate) fn part(&self, rendition: &str, msn: u64, part: u32) -> Bytes {
        let words = format!("{} {rendition} {msn}.{part};", self.seed);
        let mut state = hash(words.as_bytes());
        let length = self.part_bytes + (state % 500) as usize;
        let mut bytes = words.into_bytes();
        while bytes.len() < length {
            // Splitmix64: cheap, and no two places alike.
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            bytes.extend_from_slice(&(mixed ^ (mixed >> 27)).to_le_bytes());
        }
        bytes.into()
    }

    /// Bytes of a whole segment.
    pub(crate) fn segment(&self, rendition: &str, msn: u64) -> Bytes {
        (0..self.parts).flat_map(|part| self.part(rendition, msn, part)).collect()
    }

    /// Bytes of a rendition's init segment.
    pub(crate) fn init(&self, rendition: &str) -> Bytes {
        format!("{} {rendition} init; {:016x}", self.seed, hash(rendition.as_bytes()) ^ self.seed).into()
    }

    /// File name of a rendition's init segment.
    pub(crate) fn init_name(&self, rendition: &str) -> String {
        format!("init-{:016x}.mp4", hash(&self.init(rendition)))
    }
}

/// A content hash.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Which piece of media bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) seed: u64,
    pub(crate) rendition: String,
    /// `MSN.PART`, that of the first part for a segment, or `init`.
    pub(crate) piece: String,
}

impl Origin {
    /// Reads the words at the beginning of media.
    pub(crate) fn of(media: &[u8]) -> Self {
        let end = media.iter().position(|byte| *byte == b';').expect("media of a simulated stream");
        let words: Vec<&str> = std::str::from_utf8(&media[..end]).unwrap().split(' ').collect();
        let [seed, rendition, piece] = words[..] else {
            panic!("media of a simulated stream begins otherwise: {words:?}")
        };
        Self { seed: seed.parse().unwrap(), rendition: rendition.to_owned(), piece: piece.to_owned() }
    }
}

/// How far a stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Number of the segment in progress.
    pub(crate) open: u64,
    /// Parts of it that are there.
    pub(crate) parts: u32,
    /// Nothing will follow.
    pub(crate) ended: bool,
    /// Segments before which the source's timeline breaks.
    pub(crate) breaks: BTreeSet<u64>,
}

/// What is at an address of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum There {
    /// These bytes.
    Is(Bytes),
    /// Nothing yet, but it is the next to come.
    Next,
    /// Nothing.
    Not,
}

impl Progress {
    pub(crate) fn new(terms: &Terms) -> Self {
        Self { open: terms.first + terms.begun, parts: 0, ended: false, breaks: BTreeSet::new() }
    }

    /// One part more; the last of a segment ends it.
    pub(crate) fn part(&mut self, terms: &Terms) {
        assert!(!self.ended, "the stream has ended");
        self.parts += 1;
        if self.parts == terms.parts {
            (self.open, self.parts) = (self.open + 1, 0);
        }
    }

    /// As many parts as the segment in progress lacks.
    pub(crate) fn segment(&mut self, terms: &Terms) {
        let open = self.open;
        while self.open == open {
            self.part(terms);
        }
    }

    /// For [`media::hls::reload::judge`].
    pub(crate) fn tip(&self, terms: &Terms) -> Tip {
        Tip { open: self.open, parts: self.parts, last_parts: terms.parts, ended: self.ended }
    }

    /// A file of a rendition, but for playlists.
    pub(crate) fn file(&self, terms: &Terms, rendition: &str, file: &File) -> There {
        let oldest = self.start(terms).saturating_sub(KEPT).max(terms.first);
        match *file {
            File::Init(ref name) if terms.init_name(rendition) == format!("init-{name}.mp4") => {
                There::Is(terms.init(rendition))
            }
            File::Segment(msn) if (oldest..self.open).contains(&msn) => There::Is(terms.segment(rendition, msn)),
            File::Segment(msn) if msn == self.open && !self.ended => There::Next,
            File::Part(msn, part) if terms.low_latency => {
                let whole =
                    (oldest.max(self.open.saturating_sub(KEPT))..self.open).contains(&msn) && part < terms.parts;
                match (msn, part) == (self.open, self.parts) {
                    _ if whole || msn == self.open && part < self.parts => There::Is(terms.part(rendition, msn, part)),
                    true if !self.ended => There::Next,
                    _ => There::Not,
                }
            }
            _ => There::Not,
        }
    }

    /// A rendition's playlist. `skip`: as a delta update.
    pub(crate) fn playlist(&self, terms: &Terms, rendition: &str, skip: bool) -> String {
        let media = self.media(terms, rendition);
        let text = if skip && terms.low_latency { media.render_delta() } else { media.render() };
        if terms.low_latency { text } else { plain(&text) }
    }

    /// A rendition's I-frame playlist.
    pub(crate) fn iframes(&self, terms: &Terms, rendition: &str) -> String {
        let text = iframes(&self.media(terms, rendition));
        if terms.low_latency { text } else { plain(&text) }
    }

    fn start(&self, terms: &Terms) -> u64 {
        terms.first.max(self.open.saturating_sub(terms.window))
    }

    fn media(&self, terms: &Terms, rendition: &str) -> MediaPlaylist {
        let seconds = f64::from(terms.part_ms) / 1000.0;
        let start = self.start(terms);
        let part_line = |msn: u64, part: u32| PartLine {
            uri: File::Part(msn, part).to_string(),
            seconds,
            // As if the picture had a key frame at each segment; every part of sound can be begun at.
            independent: part == 0 || rendition == "audio",
        };
        let segment = |msn: u64, parts: u32| Segment {
            uri: File::Segment(msn).to_string(),
            seconds: seconds * f64::from(terms.parts),
            discontinuity: self.breaks.contains(&msn),
            map: terms.init_name(rendition),
            date_ms: terms.since_ms + (msn - terms.first) as i64 * i64::from(terms.parts * terms.part_ms),
            parts: (0..parts).map(|part| part_line(msn, part)).collect(),
            first_chunk: 100,
            ..Segment::default()
        };
        let listed = |msn: u64| if msn + WITH_PARTS >= self.open && !self.ended { terms.parts } else { 0 };
        let others = terms.renditions.iter().filter(|other| **other != rendition);
        let (last_msn, last_part) =
            if self.parts > 0 { (self.open, self.parts - 1) } else { (self.open - 1, terms.parts - 1) };
        let report =
            |other: &&str| Report { uri: format!("../{other}/index.m3u8"), last_msn, last_part: Some(last_part) };
        MediaPlaylist {
            target_s: terms.target_s(),
            part_ms: terms.part_ms,
            media_sequence: start,
            discontinuity_sequence: self.breaks.range(..start).count() as u64,
            segments: (start..self.open).map(|msn| segment(msn, listed(msn))).collect(),
            open: (self.parts > 0 && !self.ended).then(|| segment(self.open, self.parts)),
            hint: (!self.ended).then(|| File::Part(self.open, self.parts).to_string()),
            reports: others.map(report).collect(),
            ended: self.ended,
            ..MediaPlaylist::default()
        }
    }
}

/// What a server without LL-HLS writes.
fn plain(text: &str) -> String {
    let tags = ["SERVER-CONTROL", "PART-INF", "PART", "PRELOAD-HINT", "RENDITION-REPORT"];
    let low_latency = |line: &str| tags.iter().any(|tag| line.starts_with(&format!("#EXT-X-{tag}:")));
    // A segment in progress leaves the lines that stand before its parts.
    let mut lines: Vec<&str> = text.lines().filter(|line| !low_latency(line)).collect();
    while lines.last().is_some_and(|line| line.starts_with("#EXT-X-") && *line != "#EXT-X-ENDLIST") {
        lines.pop();
    }
    lines.join("\n") + "\n"
}

/// The multivariant playlist.
pub(crate) fn multivariant(terms: &Terms) -> String {
    let audio = |rendition: &&str| *rendition == Rendition::Audio.to_string();
    let mut text = "#EXTM3U\n#EXT-X-INDEPENDENT-SEGMENTS\n".to_owned();
    if terms.renditions.iter().any(audio) {
        text += &format!(
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Main\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\",\
             URI=\"{}/audio/index.m3u8\"\n",
            terms.name
        );
    }
    for rendition in terms.renditions.iter().filter(|rendition| !audio(rendition)) {
        text += &format!("#EXT-X-STREAM-INF:BANDWIDTH=100000,AUDIO=\"audio\"\n{}/{rendition}/index.m3u8\n", terms.name);
    }
    text
}
