//! What a viewer needs of a playlist, every address resolved. Made once and shared by all viewers that got the same text.
//!
//! Judges nothing: that is the linter's affair. Fetches nothing.

use super::ask::{Failure, Place, Resource};
use crate::lint::parse::{ByteRange, Media, Multivariant, Playlist, Tag};
use std::sync::Arc;
use url::Url;

/// What EXT-X-TARGETDURATION is taken for where it is missing or nonsense, in seconds.
const TARGET_S: f64 = 6.0;

/// The rungs of a stream, the smallest first.
#[derive(Debug, PartialEq)]
pub(crate) struct Ladder {
    pub(crate) rungs: Vec<Rung>,
}

/// One rung.
#[derive(Debug, PartialEq)]
pub(crate) struct Rung {
    /// As reports name it: `1920x960 5800k`.
    pub(crate) name: String,
    /// Bits a second.
    pub(crate) bandwidth: f64,
    pub(crate) place: Place,
    /// Its sound, where that has a playlist of its own.
    pub(crate) audio: Option<Place>,
}

/// A media playlist.
#[derive(Debug)]
pub(crate) struct Listing {
    /// Number of the first segment.
    pub(crate) first: u64,
    pub(crate) segments: Vec<Arc<Segment>>,
    /// What is listed of the segment in the making.
    pub(crate) open: Segment,
    /// The part that is announced.
    pub(crate) hint: Option<Resource>,
    pub(crate) target_s: f64,
    /// PART-TARGET, where there are parts.
    pub(crate) part_s: Option<f64>,
    /// Whether requests may be held until there is news.
    pub(crate) blocks: bool,
    /// CAN-SKIP-UNTIL.
    pub(crate) skip_s: Option<f64>,
    /// HOLD-BACK, or its default.
    pub(crate) hold_back_s: f64,
    pub(crate) part_hold_back_s: Option<f64>,
    /// Nothing will follow.
    pub(crate) ended: bool,
}

/// A segment, whole or in the making.
#[derive(Debug, PartialEq)]
pub(crate) struct Segment {
    /// `None` in the making.
    pub(crate) whole: Option<Resource>,
    /// Seconds.
    pub(crate) duration: f64,
    /// When it happened, in seconds since 1970.
    pub(crate) date: Option<f64>,
    pub(crate) gap: bool,
    pub(crate) init: Option<Arc<Resource>>,
    pub(crate) key: Option<Arc<Resource>>,
    pub(crate) parts: Vec<Part>,
}

/// A part.
#[derive(Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) resource: Resource,
    /// Seconds.
    pub(crate) duration: f64,
    pub(crate) gap: bool,
}

impl Ladder {
    /// Of a multivariant playlist, or of a media playlist, which is a ladder of one.
    pub(crate) fn read(text: &str, from: &Place) -> Result<Self, Failure> {
        let base = from.url().ok_or(Failure::NoPlaylist)?;
        let rungs = match Playlist::parse(text).map_err(|_| Failure::NoPlaylist)? {
            Playlist::Media(_) => {
                vec![Rung { name: "the only one".to_owned(), bandwidth: 0.0, place: from.clone(), audio: None }]
            }
            Playlist::Multivariant(playlist) => rungs(&playlist, &base, from),
        };
        if rungs.is_empty() { Err(Failure::NoPlaylist) } else { Ok(Self { rungs }) }
    }
}

fn rungs(playlist: &Multivariant, base: &Url, from: &Place) -> Vec<Rung> {
    let pictures = playlist.variants.iter().any(|variant| variant.has_video());
    let variants = playlist.variants.iter().filter(|variant| variant.has_video() || !pictures);
    let mut rungs: Vec<Rung> = variants
        .filter_map(|variant| {
            let bandwidth = variant.attributes.integer("BANDWIDTH").unwrap_or(0);
            let size = variant.attributes.get("RESOLUTION").unwrap_or("sound");
            let group = variant.attributes.get("AUDIO");
            let audio = group.and_then(|group| {
                let of_group = || playlist.group("AUDIO", group);
                let tag = of_group().find(|tag| tag.attributes.yes("DEFAULT")).or_else(|| of_group().next())?;
                resolve(base, tag.attributes.get("URI")?, from)
            });
            Some(Rung {
                name: format!("{size} {}k", bandwidth / 1000),
                bandwidth: bandwidth as f64,
                place: resolve(base, &variant.uri, from)?,
                audio,
            })
        })
        .collect();
    rungs.sort_by(|a, b| a.bandwidth.total_cmp(&b.bandwidth));
    rungs
}

fn resolve(base: &Url, uri: &str, near: &Place) -> Option<Place> {
    Place::new(&base.join(uri).ok()?, Some(near))
}

impl Listing {
    /// Of a media playlist's text; of a delta update together with the listing that it is one of.
    pub(crate) fn read(text: &str, from: &Place, before: Option<&Self>) -> Result<Self, Failure> {
        let Ok(Playlist::Media(media)) = Playlist::parse(text) else { return Err(Failure::NoPlaylist) };
        let base = from.url().ok_or(Failure::NoPlaylist)?;
        let first = media.sequence.map_or(0, |at| at.value);
        let mut segments = kept(&media, first, before)?;
        let last = segments.last();
        let init = InForce::inherited(last.and_then(|last| last.init.clone()));
        let key = InForce::inherited(last.and_then(|last| last.key.clone()));
        let mut reader = Reader { base: &base, near: from, init, key };
        let starts = media.starts();
        let mut next_date = segments.last().and_then(|last| Some(last.date? + last.duration));
        for (segment, start) in media.segments.iter().zip(starts) {
            let date = start.or(next_date);
            next_date = date.map(|date| date + segment.duration);
            let (init, key) = reader.applied(segment.map.as_ref(), segment.keys.first());
            let whole = reader.resource(&segment.uri, segment.range).ok_or(Failure::NoPlaylist)?;
            let (gap, duration) = (segment.gap, segment.duration);
            let parts = reader.parts(&segment.parts);
            segments.push(Arc::new(Segment { whole: Some(whole), duration, date, gap, init, key, parts }));
        }
        let (init, key) = reader.applied(media.open.map.as_ref(), media.open.keys.first());
        let parts = reader.parts(&media.open.parts);
        let date = media.open.date.map(|at| at.value).or(next_date);
        let open = Segment { whole: None, duration: sum(&parts), date, gap: false, init, key, parts };
        let hint = media.hints.iter().find(|tag| tag.attributes.get("TYPE") == Some("PART"));
        let hint = hint.and_then(|tag| reader.resource(tag.attributes.get("URI")?, hinted_range(tag)));
        let target_s = media.target_s().filter(|target| *target >= 0.1).unwrap_or(TARGET_S);
        let control = |name| media.server_control.as_ref().and_then(|tag| tag.attributes.number(name));
        Ok(Self {
            first,
            segments,
            open,
            hint,
            target_s,
            part_s: media.part_target(),
            blocks: media.server_control.as_ref().is_some_and(|tag| tag.attributes.yes("CAN-BLOCK-RELOAD")),
            skip_s: control("CAN-SKIP-UNTIL"),
            hold_back_s: control("HOLD-BACK").unwrap_or(3.0 * target_s),
            part_hold_back_s: control("PART-HOLD-BACK"),
            ended: media.end.is_some(),
        })
    }

    /// Number of the segment in the making.
    pub(crate) fn open_msn(&self) -> u64 {
        self.first.saturating_add(self.segments.len() as u64)
    }

    /// What comes next: the segment in the making, and how many parts of it there are.
    pub(crate) fn progress(&self) -> (u64, usize, bool) {
        (self.open_msn(), self.open.parts.len(), self.ended)
    }

    /// A whole segment, or the one in the making.
    pub(crate) fn segment(&self, msn: u64) -> Option<&Segment> {
        if msn == self.open_msn() {
            return Some(&self.open);
        }
        let index = usize::try_from(msn.checked_sub(self.first)?).ok()?;
        self.segments.get(index).map(|segment| &**segment)
    }

    /// Seconds listed in all.
    pub(crate) fn length(&self) -> f64 {
        self.segments.iter().map(|segment| segment.duration).sum::<f64>() + self.open.duration
    }

    /// The segment in which this many seconds are left to the end, and how far into it that is.
    pub(crate) fn before_end(&self, seconds: f64) -> (u64, f64) {
        let mut left = self.open.duration;
        let mut msn = self.open_msn();
        if left >= seconds {
            return (msn, left - seconds);
        }
        for segment in self.segments.iter().rev() {
            left += segment.duration;
            msn = msn.saturating_sub(1);
            if left >= seconds {
                return (msn, left - seconds);
            }
        }
        (self.first, 0.0)
    }

    /// The segment that begins nearest to a date, if one is within half a target duration.
    pub(crate) fn dated(&self, date: f64) -> Option<u64> {
        let starts = self.segments.iter().map(|segment| segment.date).chain([self.open.date]);
        let far = |start: f64| (start - date).abs();
        let near = starts.zip(self.first..).filter_map(|(start, msn)| Some((far(start?), msn)));
        let (off, msn) = near.min_by(|a, b| a.0.total_cmp(&b.0))?;
        (off <= self.target_s / 2.0).then_some(msn)
    }
}

/// The segments that a delta update leaves out.
fn kept(media: &Media, first: u64, before: Option<&Listing>) -> Result<Vec<Arc<Segment>>, Failure> {
    let Some(skip) = &media.skip else { return Ok(Vec::new()) };
    let skipped = skip.attributes.integer("SKIPPED-SEGMENTS").ok_or(Failure::NoPlaylist)?;
    let before = before.ok_or(Failure::Delta)?;
    let from = first.checked_sub(before.first).and_then(|n| usize::try_from(n).ok()).ok_or(Failure::Delta)?;
    let until = usize::try_from(skipped).ok().and_then(|n| from.checked_add(n)).ok_or(Failure::Delta)?;
    before.segments.get(from..until).map(<[_]>::to_vec).ok_or(Failure::Delta)
}

/// Bytes that a hint announces: only where it says how many.
fn hinted_range(tag: &Tag) -> Option<ByteRange> {
    let length = tag.attributes.integer("BYTERANGE-LENGTH")?;
    Some(ByteRange { offset: tag.attributes.integer("BYTERANGE-START").unwrap_or(0), length })
}

fn sum(parts: &[Part]) -> f64 {
    parts.iter().map(|part| part.duration).sum()
}

/// Resolves addresses, those of init segments and keys once for all segments in a row.
struct Reader<'a> {
    base: &'a Url,
    near: &'a Place,
    init: InForce,
    key: InForce,
}

/// A tag in force, and what it leads to.
#[derive(Default)]
struct InForce {
    tag: Option<Arc<Tag>>,
    resource: Option<Arc<Resource>>,
}

impl InForce {
    /// After a skip, the tags of what was skipped are in force until others come.
    fn inherited(resource: Option<Arc<Resource>>) -> Self {
        Self { tag: None, resource }
    }

    fn now(&mut self, tag: Option<&Arc<Tag>>, read: impl Fn(&Tag) -> Option<Resource>) -> Option<Arc<Resource>> {
        let same = match (tag, &self.tag) {
            (None, None) => true,
            (Some(tag), Some(before)) => Arc::ptr_eq(tag, before),
            _ => false,
        };
        if !same {
            self.tag = tag.cloned();
            self.resource = tag.and_then(|tag| read(tag)).map(Arc::new);
        }
        self.resource.clone()
    }
}

impl Reader<'_> {
    /// What segments are initialised with and locked by.
    fn applied(
        &mut self,
        map: Option<&Arc<Tag>>,
        key: Option<&Arc<Tag>>,
    ) -> (Option<Arc<Resource>>, Option<Arc<Resource>>) {
        let (base, near) = (self.base, self.near);
        let read = |tag: &Tag| {
            let range = tag.attributes.get("BYTERANGE").and_then(|text| ByteRange::parse(text, 0));
            Some(Resource { place: resolve(base, tag.attributes.get("URI")?, near)?, range })
        };
        (self.init.now(map, read), self.key.now(key, read))
    }

    fn resource(&self, uri: &str, range: Option<ByteRange>) -> Option<Resource> {
        Some(Resource { place: resolve(self.base, uri, self.near)?, range })
    }

    fn parts(&self, parts: &[crate::lint::parse::Part]) -> Vec<Part> {
        let part = |part: &crate::lint::parse::Part| {
            Some(Part { resource: self.resource(&part.uri, part.range)?, duration: part.duration, gap: part.gap })
        };
        parts.iter().filter_map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        Place::new(&Url::parse(text).unwrap(), None).unwrap()
    }

    fn read(text: &str, before: Option<&Listing>) -> Result<Listing, Failure> {
        Listing::read(text, &place("http://a/t/s/index.m3u8"), before)
    }

    const LIVE: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12,\
        PART-HOLD-BACK=1.5\n#EXT-X-PART-INF:PART-TARGET=0.5\n#EXT-X-MEDIA-SEQUENCE:10\n#EXT-X-MAP:URI=\"i.mp4\"\n\
        #EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:10Z\n#EXTINF:2,\n10.m4s\n#EXTINF:2,\n11.m4s\n#EXT-X-GAP\n#EXTINF:2,\n\
        12.m4s\n#EXT-X-PART:DURATION=0.5,URI=\"13.0.m4s\"\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"13.1.m4s\"\n";

    #[test]
    fn a_live_playlist_has_dates_addresses_and_what_is_announced() {
        let listing = read(LIVE, None).unwrap();
        assert_eq!((listing.first, listing.open_msn(), listing.progress()), (10, 13, (13, 1, false)));
        assert_eq!((listing.blocks, listing.skip_s, listing.part_hold_back_s), (true, Some(12.0), Some(1.5)));
        assert_eq!((listing.hold_back_s, listing.part_s, listing.length()), (6.0, Some(0.5), 6.5));
        let segment = listing.segment(11).unwrap();
        assert_eq!((segment.date, segment.gap), (Some(12.0), false));
        assert_eq!(segment.whole.as_ref().map(|r| r.place.to_string()), Some("http://a/t/s/11.m4s".to_owned()));
        assert_eq!(listing.open.init, segment.init);
        assert_eq!((listing.open.date, listing.segment(12).map(|s| s.gap)), (Some(16.0), Some(true)));
        assert_eq!(listing.hint.map(|hint| hint.place.to_string()), Some("http://a/t/s/13.1.m4s".to_owned()));
    }

    #[test]
    fn a_delta_update_is_completed_from_what_was_there() {
        let before = read(LIVE, None).unwrap();
        let delta = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:11\n#EXT-X-SKIP:SKIPPED-SEGMENTS=1\n#EXTINF:2,\n\
            12.m4s\n#EXTINF:2,\n13.m4s\n";
        let listing = read(delta, Some(&before)).unwrap();
        assert_eq!((listing.first, listing.open_msn()), (11, 14));
        let dates: Vec<_> = listing.segments.iter().map(|segment| segment.date).collect();
        assert_eq!(dates, [Some(12.0), Some(14.0), Some(16.0)]);
        assert_eq!(listing.segment(13).and_then(|s| s.init.clone()), before.open.init);
        for sequence in [9, 14] {
            let other = delta.replace("SEQUENCE:11", &format!("SEQUENCE:{sequence}"));
            assert_eq!(read(&other, Some(&before)).err(), Some(Failure::Delta), "{sequence}");
        }
        assert_eq!(read(delta, None).err(), Some(Failure::Delta));
    }

    #[test]
    fn places_in_time_are_found_from_the_end_and_by_date() {
        let listing = read(LIVE, None).unwrap();
        for (seconds, expected) in
            [(0.0, (13, 0.5)), (0.5, (13, 0.0)), (1.5, (12, 1.0)), (6.5, (10, 0.0)), (99.0, (10, 0.0))]
        {
            assert_eq!(listing.before_end(seconds), expected, "{seconds}");
        }
        for (date, expected) in [(10.2, Some(10)), (13.4, Some(12)), (16.0, Some(13)), (18.0, None), (0.0, None)] {
            assert_eq!(listing.dated(date), expected, "{date}");
        }
    }

    #[test]
    fn keys_and_init_segments_are_those_in_force() {
        let text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MAP:URI=\"i\"\n#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n#EXTINF:2,\na\n\
            #EXT-X-KEY:METHOD=NONE\n#EXT-X-MAP:URI=\"j\",BYTERANGE=\"5@1\"\n#EXTINF:2,\nb\n#EXT-X-ENDLIST\n";
        let listing = read(text, None).unwrap();
        let words = |resource: &Option<Arc<Resource>>| resource.as_ref().map(|r| r.place.path.to_string());
        let of = |msn| listing.segment(msn).map(|s| (words(&s.init), words(&s.key)));
        assert_eq!(of(0), Some((Some("/t/s/i".to_owned()), Some("/t/s/k".to_owned()))));
        assert_eq!(of(1), Some((Some("/t/s/j".to_owned()), None)));
        assert!(listing.ended);
    }

    #[test]
    fn rungs_go_up_and_know_their_sound() {
        let text = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"x\",DEFAULT=YES,URI=\"a.m3u8\"\n\
            #EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=960x480,AUDIO=\"a\",CODECS=\"avc1.640028,mp4a.40.2\"\nv.m3u8\n\
            #EXT-X-STREAM-INF:BANDWIDTH=300000,RESOLUTION=480x240,CODECS=\"avc1.640028\"\n/w.m3u8\n\
            #EXT-X-STREAM-INF:BANDWIDTH=64000,CODECS=\"mp4a.40.2\"\na.m3u8\n";
        let ladder = Ladder::read(text, &place("http://h/d/m.m3u8")).unwrap();
        let rungs: Vec<_> = ladder.rungs.iter().map(|rung| (rung.name.as_str(), rung.place.to_string())).collect();
        let expected =
            [("480x240 300k", "http://h/w.m3u8".to_owned()), ("960x480 900k", "http://h/d/v.m3u8".to_owned())];
        assert_eq!(rungs, expected);
        let sound = ladder.rungs.iter().map(|rung| rung.audio.as_ref().map(Place::to_string)).collect::<Vec<_>>();
        assert_eq!(sound, [None, Some("http://h/d/a.m3u8".to_owned())]);
        assert_eq!(Ladder::read("<html>", &place("http://h/")), Err(Failure::NoPlaylist));
        assert_eq!(Ladder::read(LIVE, &place("http://h/")).unwrap().rungs.len(), 1);
    }
}
