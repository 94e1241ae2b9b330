//! Media playlists (RFC 8216bis §4.4.2–§4.4.5): segments with their places, parts, and what applies to each.

use super::{At, Common, Item, Tag, decimal, items, parse_iso_date, short};
use std::sync::Arc;

/// A media playlist.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Media {
    /// What both kinds have.
    pub common: Common,
    /// EXT-X-TARGETDURATION, in seconds.
    pub target: Option<At<u64>>,
    /// EXT-X-MEDIA-SEQUENCE.
    pub sequence: Option<At<u64>>,
    /// EXT-X-DISCONTINUITY-SEQUENCE.
    pub discontinuity_sequence: Option<At<u64>>,
    /// EXT-X-PLAYLIST-TYPE, as written.
    pub playlist_type: Option<Tag>,
    /// Line of EXT-X-ENDLIST.
    pub end: Option<u32>,
    /// Line of EXT-X-I-FRAMES-ONLY.
    pub iframes_only: Option<u32>,
    /// EXT-X-SERVER-CONTROL.
    pub server_control: Option<Tag>,
    /// EXT-X-PART-INF.
    pub part_inf: Option<Tag>,
    /// EXT-X-SKIP.
    pub skip: Option<Tag>,
    /// EXT-X-PRELOAD-HINT tags.
    pub hints: Vec<Tag>,
    /// EXT-X-RENDITION-REPORT tags.
    pub reports: Vec<Tag>,
    /// Whole segments.
    pub segments: Vec<Segment>,
    /// What is listed of the segment in the making.
    pub open: OpenSegment,
}

/// A segment with everything that applies to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Line of its URI.
    pub line: u32,
    /// Its media sequence number.
    pub msn: u64,
    /// Its address, as written.
    pub uri: String,
    /// EXTINF, in seconds.
    pub duration: f64,
    /// EXTINF's number as written.
    pub duration_text: String,
    /// Line of EXTINF.
    pub duration_line: u32,
    /// Line of an EXT-X-DISCONTINUITY before it.
    pub discontinuity: Option<u32>,
    /// Its discontinuity sequence number.
    pub discontinuity_number: u64,
    /// EXT-X-PROGRAM-DATE-TIME, in seconds since 1970.
    pub date: Option<At<f64>>,
    /// The EXT-X-MAP in force.
    pub map: Option<Arc<Tag>>,
    /// The EXT-X-KEY tags that are in force where that stands.
    pub map_keys: Vec<Arc<Tag>>,
    /// The EXT-X-KEY tags in force, none if METHOD=NONE.
    pub keys: Vec<Arc<Tag>>,
    /// Which bytes of the address it is.
    pub range: Option<ByteRange>,
    /// Whether EXT-X-GAP says that it isn't there.
    pub gap: bool,
    /// Its parts, where listed.
    pub parts: Vec<Part>,
    /// Tags that stand after its first part but belong before it.
    pub late: Vec<(u32, String)>,
}

/// The end of a live playlist: parts without their segment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OpenSegment {
    /// The number that the segment will have.
    pub msn: u64,
    /// The parts listed so far.
    pub parts: Vec<Part>,
    /// Line of an EXT-X-DISCONTINUITY before it.
    pub discontinuity: Option<u32>,
    /// EXT-X-PROGRAM-DATE-TIME, in seconds since 1970.
    pub date: Option<At<f64>>,
    /// The EXT-X-MAP in force.
    pub map: Option<Arc<Tag>>,
    /// The EXT-X-KEY tags in force, none if METHOD=NONE.
    pub keys: Vec<Arc<Tag>>,
    /// Tags that stand after its first part but belong before it.
    pub late: Vec<(u32, String)>,
}

/// An EXT-X-PART.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its line.
    pub line: u32,
    /// Its address, as written.
    pub uri: String,
    /// DURATION, in seconds.
    pub duration: f64,
    /// INDEPENDENT=YES.
    pub independent: bool,
    /// GAP=YES.
    pub gap: bool,
    /// Which bytes of the address it is.
    pub range: Option<ByteRange>,
}

/// Bytes of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteRange {
    /// The first byte.
    pub offset: u64,
    /// How many.
    pub length: u64,
}

impl ByteRange {
    /// Reads `length[@offset]`; without an offset it begins at `next`.
    pub fn parse(text: &str, next: u64) -> Option<Self> {
        let (length, offset) = match text.split_once('@') {
            Some((length, offset)) => (length, offset.trim().parse().ok()?),
            None => (text, next),
        };
        Some(Self { offset, length: length.trim().parse().ok()? })
    }

    /// The byte after the last one.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

impl Media {
    pub(super) fn parse(text: &str) -> Self {
        let mut reader = Reader::default();
        let lines = items(text, &mut reader.media.common);
        for (line, item) in lines {
            match item {
                Item::Tag(name, value) => reader.tag(line, name, value),
                Item::Uri(uri) => reader.uri(line, uri),
            }
        }
        reader.finish()
    }

    /// When each segment begins, in seconds since 1970: its own date, or the last one plus what lies between.
    pub fn starts(&self) -> Vec<Option<f64>> {
        let mut next = None;
        let mut starts: Vec<Option<f64>> = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            let start = segment.date.map(|date| date.value).or(next);
            starts.push(start);
            next = start.map(|start| start + segment.duration);
        }
        // Dates reach back as well: what stands before the first one is dated by it.
        if let Some(first) = starts.iter().position(Option::is_some) {
            for index in (0..first).rev() {
                let later = starts.get(index.saturating_add(1)).copied().flatten();
                let duration = self.segments.get(index).map(|segment| segment.duration);
                if let (Some(slot), Some(later), Some(duration)) = (starts.get_mut(index), later, duration) {
                    *slot = Some(later - duration);
                }
            }
        }
        starts
    }

    /// Sum of what is listed, in seconds, parts of the open segment not counted.
    pub fn duration(&self) -> f64 {
        self.segments.iter().map(|segment| segment.duration).sum()
    }

    /// EXT-X-TARGETDURATION in seconds, if it is there.
    pub fn target_s(&self) -> Option<f64> {
        self.target.map(|target| target.value as f64)
    }

    /// PART-TARGET in seconds, if it is there.
    pub fn part_target(&self) -> Option<f64> {
        self.part_inf.as_ref()?.attributes.number("PART-TARGET").filter(|target| *target > 0.0)
    }

    /// Every part with the number of its segment and its index.
    pub fn parts(&self) -> impl Iterator<Item = (u64, usize, &Part)> {
        let closed = self.segments.iter().flat_map(|s| s.parts.iter().enumerate().map(|(i, part)| (s.msn, i, part)));
        closed.chain(self.open.parts.iter().enumerate().map(|(i, part)| (self.open.msn, i, part)))
    }

    /// The segment with this number.
    pub fn segment(&self, msn: u64) -> Option<&Segment> {
        let first = self.segments.first()?.msn;
        let segment = self.segments.get(usize::try_from(msn.checked_sub(first)?).ok()?)?;
        (segment.msn == msn).then_some(segment)
    }

    /// Whether parts belong to this playlist.
    pub fn low_latency(&self) -> bool {
        self.part_inf.is_some() || self.parts().next().is_some()
    }
}

#[derive(Default)]
struct Reader {
    media: Media,
    duration: Option<(u32, String, f64)>,
    discontinuity: Option<u32>,
    date: Option<At<f64>>,
    range: Option<String>,
    gap: bool,
    parts: Vec<Part>,
    late: Vec<(u32, String)>,
    map: Option<Arc<Tag>>,
    map_keys: Vec<Arc<Tag>>,
    keys: Vec<Arc<Tag>>,
    discontinuities: u64,
    listed: u64,
    /// Where the last byte range ended, and of which address.
    ranged: Option<(String, u64)>,
}

impl Reader {
    fn tag(&mut self, line: u32, name: &str, value: &str) {
        if !self.parts.is_empty()
            && matches!(name, "#EXT-X-MAP" | "#EXT-X-KEY" | "#EXT-X-PROGRAM-DATE-TIME" | "#EXT-X-DISCONTINUITY")
        {
            self.late.push((line, name.trim_start_matches('#').to_owned()));
        }
        match name {
            "#EXTINF" => self.extinf(line, value),
            "#EXT-X-DISCONTINUITY" => self.discontinuity = Some(line),
            "#EXT-X-GAP" => self.gap = true,
            "#EXT-X-BYTERANGE" => self.range = Some(value.to_owned()),
            "#EXT-X-PROGRAM-DATE-TIME" => match parse_iso_date(value) {
                Some(value) => self.date = Some(At { line, value }),
                None => self.media.common.fault(line, format!("{:?} is no date", short(value))),
            },
            "#EXT-X-MAP" => {
                self.map = Some(Arc::new(self.media.common.tag(line, name, value)));
                self.map_keys.clone_from(&self.keys);
            }
            "#EXT-X-KEY" => self.key(line, name, value),
            "#EXT-X-PART" => self.part(line, name, value),
            _ => self.whole(line, name, value),
        }
    }

    /// Tags that belong to the playlist and not to a segment.
    fn whole(&mut self, line: u32, name: &str, value: &str) {
        let media = &mut self.media;
        match name {
            "#EXT-X-TARGETDURATION" => media.target = media.common.integer(line, name, value),
            "#EXT-X-MEDIA-SEQUENCE" => media.sequence = media.common.integer(line, name, value),
            "#EXT-X-DISCONTINUITY-SEQUENCE" => {
                media.discontinuity_sequence = media.common.integer(line, name, value);
                if self.listed > 0 || self.discontinuity.is_some() || !self.parts.is_empty() {
                    media.common.fault(
                        line,
                        "EXT-X-DISCONTINUITY-SEQUENCE stands after the first segment or EXT-X-DISCONTINUITY".to_owned(),
                    );
                }
            }
            "#EXT-X-PLAYLIST-TYPE" => {
                media.playlist_type = Some(Tag { line, value: value.to_owned(), ..Tag::default() });
            }
            "#EXT-X-ENDLIST" => media.end = Some(line),
            "#EXT-X-I-FRAMES-ONLY" => media.iframes_only = Some(line),
            "#EXT-X-SERVER-CONTROL" => media.server_control = Some(media.common.tag(line, name, value)),
            "#EXT-X-PART-INF" => media.part_inf = Some(media.common.tag(line, name, value)),
            "#EXT-X-SKIP" => {
                if media.skip.is_some() {
                    media.common.fault(line, "a second EXT-X-SKIP".to_owned());
                }
                media.skip = Some(media.common.tag(line, name, value));
            }
            "#EXT-X-PRELOAD-HINT" => {
                let tag = media.common.tag(line, name, value);
                media.hints.push(tag);
            }
            "#EXT-X-RENDITION-REPORT" => {
                let tag = media.common.tag(line, name, value);
                media.reports.push(tag);
            }
            _ => media.common.take(line, name, value),
        }
    }

    fn extinf(&mut self, line: u32, value: &str) {
        let (number, _title) = value.split_once(',').unwrap_or_else(|| {
            self.media.common.fault(line, format!("EXTINF:{} lacks its comma", short(value)));
            (value, "")
        });
        match decimal(number.trim()) {
            Some(duration) => self.duration = Some((line, number.trim().to_owned(), duration)),
            None => self.media.common.fault(line, format!("EXTINF:{} has no duration", short(value))),
        }
    }

    fn key(&mut self, line: u32, name: &str, value: &str) {
        let tag = Arc::new(self.media.common.tag(line, name, value));
        if tag.attributes.get("METHOD") == Some("NONE") {
            self.keys.clear();
            return;
        }
        let format = |tag: &Tag| tag.attributes.get("KEYFORMAT").unwrap_or("identity").to_owned();
        self.keys.retain(|other| format(other) != format(&tag));
        self.keys.push(tag);
    }

    fn part(&mut self, line: u32, name: &str, value: &str) {
        let tag = self.media.common.tag(line, name, value);
        let (Some(uri), Some(duration)) = (tag.attributes.get("URI"), tag.attributes.number("DURATION")) else {
            self.media.common.fault(line, "EXT-X-PART lacks URI or DURATION".to_owned());
            return;
        };
        let before = self.parts.last().filter(|part| part.uri == uri).and_then(|part| part.range);
        let range = tag.attributes.get("BYTERANGE").map(|text| ByteRange::parse(text, before.map_or(0, |r| r.end())));
        if range == Some(None) {
            self.media.common.fault(line, "EXT-X-PART has a BYTERANGE that is none".to_owned());
        }
        self.parts.push(Part {
            line,
            uri: uri.to_owned(),
            duration,
            independent: tag.attributes.yes("INDEPENDENT"),
            gap: tag.attributes.yes("GAP"),
            range: range.flatten(),
        });
    }

    fn uri(&mut self, line: u32, uri: &str) {
        let Some((duration_line, duration_text, duration)) = self.duration.take() else {
            self.media.common.fault(line, format!("{} has no EXTINF", short(uri)));
            return;
        };
        self.discontinuities = self.discontinuities.saturating_add(u64::from(self.discontinuity.is_some()));
        let next = self.ranged.take().filter(|(other, _)| other == uri).map_or(0, |(_, end)| end);
        let range = self.range.take().map(|text| ByteRange::parse(&text, next));
        if range == Some(None) {
            self.media.common.fault(line, "EXT-X-BYTERANGE is no byte range".to_owned());
        }
        let range = range.flatten();
        self.ranged = range.map(|range| (uri.to_owned(), range.end()));
        let segment = Segment {
            line,
            msn: self.next_msn(),
            uri: uri.to_owned(),
            duration,
            duration_text,
            duration_line,
            discontinuity: self.discontinuity.take(),
            discontinuity_number: self.discontinuities,
            date: self.date.take(),
            map: self.map.clone(),
            map_keys: self.map_keys.clone(),
            keys: self.keys.clone(),
            range,
            gap: std::mem::take(&mut self.gap),
            parts: std::mem::take(&mut self.parts),
            late: std::mem::take(&mut self.late),
        };
        self.media.segments.push(segment);
        self.listed = self.listed.saturating_add(1);
    }

    /// The number of the segment that comes next: what EXT-X-SKIP left out counts.
    fn next_msn(&self) -> u64 {
        let first = self.media.sequence.map_or(0, |at| at.value);
        let skipped = self.media.skip.as_ref().and_then(|tag| tag.attributes.integer("SKIPPED-SEGMENTS")).unwrap_or(0);
        first.saturating_add(skipped).saturating_add(self.listed)
    }

    fn finish(mut self) -> Media {
        let base = self.media.discontinuity_sequence.map_or(0, |at| at.value);
        let first = self.media.sequence.map_or(0, |at| at.value);
        let skipped = self.media.skip.as_ref().and_then(|tag| tag.attributes.integer("SKIPPED-SEGMENTS")).unwrap_or(0);
        // Tags for the whole playlist may stand anywhere, so numbers are only sure now.
        for (segment, index) in self.media.segments.iter_mut().zip(0u64..) {
            segment.msn = first.saturating_add(skipped).saturating_add(index);
            segment.discontinuity_number = segment.discontinuity_number.saturating_add(base);
        }
        self.media.open = OpenSegment {
            msn: self.next_msn(),
            parts: self.parts,
            discontinuity: self.discontinuity,
            date: self.date,
            map: self.map,
            keys: self.keys,
            late: self.late,
        };
        self.media
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: &str = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:10\n\
        #EXT-X-DISCONTINUITY-SEQUENCE:3\n#EXT-X-PART-INF:PART-TARGET=0.5\n#EXT-X-MAP:URI=\"i.mp4\"\n\
        #EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:10Z\n#EXTINF:2.0,\n10.m4s\n#EXTINF:1.5,t\n11.m4s\n\
        #EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"j.mp4\"\n#EXT-X-PART:DURATION=0.5,URI=\"12.0.m4s\",INDEPENDENT=YES\n\
        #EXT-X-GAP\n#EXTINF:2,\n12.m4s\n#EXT-X-PART:DURATION=0.5,URI=\"13.0.m4s\"\n\
        #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"13.1.m4s\"\n";

    #[test]
    fn a_live_playlist_is_read_with_numbers_dates_and_places() {
        let media = Media::parse(LIVE);
        assert_eq!(media.common.faults, []);
        let numbers: Vec<_> = media.segments.iter().map(|s| (s.msn, s.discontinuity_number, s.line)).collect();
        assert_eq!(numbers, [(10, 3, 10), (11, 3, 12), (12, 4, 18)]);
        assert_eq!(media.starts(), [Some(10.0), Some(12.0), Some(13.5)]);
        assert_eq!(media.segment(12).map(|s| (s.gap, s.parts.len())), Some((true, 1)));
        assert_eq!(
            media.segment(12).and_then(|s| s.map.as_deref()).and_then(|m| m.attributes.get("URI")),
            Some("j.mp4")
        );
        assert_eq!((media.open.msn, media.open.parts.len(), media.hints.len()), (13, 1, 1));
        assert_eq!(media.part_target(), Some(0.5));
        assert_eq!(media.duration(), 5.5);
    }

    #[test]
    fn dates_reach_back_to_segments_before_the_first_one() {
        let media = Media::parse(
            "#EXTM3U\n#EXTINF:2,\na\n#EXTINF:3,\nb\n#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:10Z\n#EXTINF:2,\nc\n",
        );
        assert_eq!(media.starts(), [Some(5.0), Some(7.0), Some(10.0)]);
    }

    #[test]
    fn byte_ranges_go_on_where_the_last_one_ended() {
        let media = Media::parse(
            "#EXTM3U\n#EXTINF:2,\n#EXT-X-BYTERANGE:10@5\na\n#EXTINF:2,\n#EXT-X-BYTERANGE:7\na\n#EXTINF:2,\n#EXT-X-BYTERANGE:7\nb\n",
        );
        let ranges: Vec<_> = media.segments.iter().filter_map(|s| s.range).map(|r| (r.offset, r.length)).collect();
        assert_eq!(ranges, [(5, 10), (15, 7), (0, 7)]);
    }

    #[test]
    fn skipped_segments_count() {
        let media = Media::parse("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:5\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n#EXTINF:2,\na\n");
        assert_eq!(media.segments.first().map(|s| s.msn), Some(8));
    }

    #[test]
    fn keys_last_until_replaced_or_none() {
        let media = Media::parse(
            "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"k1\"\n#EXTINF:2,\na\n#EXT-X-KEY:METHOD=AES-128,URI=\"k2\"\n\
             #EXTINF:2,\nb\n#EXT-X-KEY:METHOD=NONE\n#EXTINF:2,\nc\n",
        );
        let keys: Vec<_> =
            media.segments.iter().map(|s| s.keys.first().and_then(|k| k.attributes.get("URI"))).collect();
        assert_eq!(keys, [Some("k1"), Some("k2"), None]);
    }

    #[test]
    fn faults_are_named_by_line() {
        for (text, line) in [
            ("#EXTM3U\n#EXTINF:5.000\na\n", 2),
            ("#EXTM3U\n#EXTINF:x,\na\n", 2),
            ("#EXTM3U\n#EXT-X-TARGETDURATION:2.5\n", 2),
            ("#EXTM3U\na.ts\n", 2),
            ("#EXTM3U\n\n#EXT-X-PROGRAM-DATE-TIME:now\n", 3),
            ("#EXTM3U \nx", 2),
            ("#EXTM3U\n#EXT-X-PART:URI=\"a\"\n", 2),
            ("#EXTM3U\n#EXTINF:2,\na\n#EXT-X-DISCONTINUITY-SEQUENCE:1\n", 4),
        ] {
            assert_eq!(Media::parse(text).common.faults.first().map(|f| f.line), Some(line), "{text:?}");
        }
    }
}
