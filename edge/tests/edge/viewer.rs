//! A viewer who believes nothing: reads playlists with a parser of its own, and minds everything they ever said.

use crate::sim::stream::Origin;
use crate::support::{Got, within};
use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// A media playlist, as far as a viewer needs it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Playlist {
    pub(crate) text: String,
    /// EXT-X-MEDIA-SEQUENCE
    pub(crate) first: u64,
    /// EXT-X-SKIP
    pub(crate) skipped: u64,
    pub(crate) segments: Vec<Segment>,
    /// What is known of the segment in progress: its parts.
    pub(crate) open: Segment,
    pub(crate) hint: Option<String>,
    pub(crate) ended: bool,
    /// EXT-X-TARGETDURATION
    pub(crate) target: String,
    /// PART-TARGET
    pub(crate) part_target: Option<String>,
}

/// A segment's lines.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) uri: String,
    pub(crate) gap: bool,
    /// EXT-X-DISCONTINUITY stands before it.
    pub(crate) discontinuity: bool,
    /// Discontinuities since the stream began, up to and with the one before it.
    pub(crate) breaks: u64,
    /// EXT-X-MAP in force.
    pub(crate) map: String,
    /// EXT-X-PROGRAM-DATE-TIME
    pub(crate) date: String,
    pub(crate) parts: Vec<String>,
}

impl Playlist {
    pub(crate) fn parse(text: &str) -> Self {
        assert!(text.starts_with("#EXTM3U\n"), "no playlist: {text}");
        let mut playlist = Self { text: text.to_owned(), ..Self::default() };
        let (mut now, mut breaks) = (Segment::default(), 0);
        for line in text.lines() {
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            match tag {
                "#EXT-X-MEDIA-SEQUENCE" => playlist.first = value.parse().unwrap(),
                "#EXT-X-DISCONTINUITY-SEQUENCE" => breaks = value.parse().unwrap(),
                "#EXT-X-TARGETDURATION" => playlist.target = value.to_owned(),
                "#EXT-X-PART-INF" => playlist.part_target = attribute(value, "PART-TARGET"),
                "#EXT-X-SKIP" => playlist.skipped = attribute(value, "SKIPPED-SEGMENTS").unwrap().parse().unwrap(),
                "#EXT-X-DISCONTINUITY" => {
                    breaks += 1;
                    now.discontinuity = true;
                }
                "#EXT-X-MAP" => now.map = attribute(value, "URI").unwrap(),
                "#EXT-X-PROGRAM-DATE-TIME" => now.date = value.to_owned(),
                "#EXT-X-GAP" => now.gap = true,
                "#EXT-X-PART" => now.parts.push(attribute(value, "URI").unwrap()),
                "#EXT-X-PRELOAD-HINT" => playlist.hint = attribute(value, "URI"),
                "#EXT-X-ENDLIST" => playlist.ended = true,
                uri if !uri.starts_with('#') && !line.is_empty() => {
                    let (number, map) = (playlist.next_number(), now.map.clone());
                    playlist.segments.push(Segment { number, uri: line.to_owned(), breaks, ..now });
                    now = Segment { map, ..Segment::default() };
                }
                _ => {}
            }
        }
        playlist.open = Segment { number: playlist.next_number(), breaks, ..now };
        playlist
    }

    fn next_number(&self) -> u64 {
        self.first + self.skipped + self.segments.len() as u64
    }

    /// The segment in progress and how many parts of it there are.
    pub(crate) fn tip(&self) -> (u64, u32) {
        (self.open.number, self.open.parts.len() as u32)
    }

    /// The segment with this number, be it in progress.
    pub(crate) fn segment(&self, number: u64) -> &Segment {
        let mut all = self.segments.iter().chain([&self.open]);
        all.find(|segment| segment.number == number).unwrap_or_else(|| panic!("no segment {number} in {}", self.text))
    }

    /// Numbers of the segments before which the timeline breaks.
    pub(crate) fn discontinuities(&self) -> Vec<u64> {
        let all = self.segments.iter().chain([&self.open]);
        all.filter(|segment| segment.discontinuity).map(|segment| segment.number).collect()
    }

    /// Numbers of the segments that are gaps.
    pub(crate) fn gaps(&self) -> Vec<u64> {
        self.segments.iter().filter(|segment| segment.gap).map(|segment| segment.number).collect()
    }
}

/// An attribute's value, without quotes.
fn attribute(list: &str, name: &str) -> Option<String> {
    let start = if list.starts_with(&format!("{name}=")) { 0 } else { list.find(&format!(",{name}="))? + 1 };
    let value = &list[start + name.len() + 1..];
    Some(match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?.to_owned(),
        None => value.split(',').next()?.to_owned(),
    })
}

/// Everything that the playlists of one rendition ever said, whoever got them in whatever order.
#[derive(Debug, Default)]
pub(crate) struct History {
    known: BTreeMap<u64, Segment>,
    first: u64,
    tip: (u64, u32),
    /// Target duration, and that of parts.
    targets: Option<(String, Option<String>)>,
    /// Segments that are encoded, those that were when the playlist last went on, and whether more came then than one
    /// lists.
    encoded: u64,
    encoded_before: u64,
    may_have_missed: bool,
    /// Where it begins anew behind what was missed.
    anew: BTreeSet<u64>,
}

impl Segment {
    /// What `now` must be if this was said before: all the same, but for what is said only for a while.
    fn may_become(&self, now: &Self, is_first: bool) -> Self {
        let was_open = self.uri.is_empty();
        // What was in progress when its origin failed becomes a gap, which has nothing but its number.
        let lost = was_open && now.gap;
        let map = if now.map.is_empty() || now.gap { &now.map } else { &self.map };
        Self {
            number: self.number,
            uri: if was_open { now.uri.clone() } else { self.uri.clone() },
            gap: self.gap || lost,
            // It may go with the segments that were before it: then it is in EXT-X-DISCONTINUITY-SEQUENCE.
            discontinuity: self.discontinuity && (now.discontinuity || !is_first),
            breaks: self.breaks,
            map: map.clone(),
            date: if lost { now.date.clone() } else { self.date.clone() },
            // They are listed near the edge only.
            parts: if now.parts.starts_with(&self.parts) || now.parts.is_empty() {
                now.parts.clone()
            } else {
                self.parts.clone()
            },
        }
    }
}

impl History {
    fn remember(&mut self, segment: &Segment) {
        let known = self.known.entry(segment.number).or_default();
        let discontinuity = known.discontinuity || segment.discontinuity;
        *known = Segment { discontinuity, ..segment.clone() };
    }

    /// Takes what came next; panics where it goes back on what was said.
    pub(crate) fn see(&mut self, playlist: &Playlist) {
        let text = &playlist.text;
        assert!(playlist.tip() >= self.tip, "back from {:?} to {:?}:\n{text}", self.tip, playlist.tip());
        assert!(
            playlist.first >= self.first,
            "the window goes back from {} to {}:\n{text}",
            self.first,
            playlist.first
        );
        let targets = (playlist.target.clone(), playlist.part_target.clone());
        let before = self.targets.get_or_insert_with(|| targets.clone());
        assert_eq!(*before, targets, "target durations change in:\n{text}");
        let missed = self.known.last_key_value().is_some_and(|(last, _)| *last + 1 < playlist.first);
        if std::mem::take(&mut self.may_have_missed) && missed {
            self.anew.insert(playlist.first);
        }
        if playlist.tip() > self.tip {
            self.encoded_before = self.encoded;
        }
        (self.tip, self.first) = (playlist.tip(), playlist.first);
        for segment in &playlist.segments {
            assert!(!segment.gap || segment.parts.is_empty(), "a gap has no parts:\n{text}");
            if let Some(before) = self.known.get(&segment.number) {
                let expected = before.may_become(segment, playlist.segments[0].number == segment.number);
                assert!(*segment == expected, "it was said:\n{before:?}\nnow it is:\n{segment:?}\nin\n{text}");
            }
            self.remember(segment);
        }
        if !playlist.open.parts.is_empty() {
            if let Some(before) = self.known.get(&playlist.open.number) {
                let now = &playlist.open;
                assert!(now.parts.starts_with(&before.parts) && now.date == before.date, "{before:?}\n{now:?}\n{text}");
            }
            self.remember(&playlist.open);
        }
        let numbers: Vec<u64> = self.known.keys().copied().collect();
        let follows = |two: &[u64]| two[1] == two[0] + 1 || self.anew.contains(&two[1]);
        assert!(numbers.windows(2).all(follows), "numbers are missing: {numbers:?}");
        let uris: Vec<&String> =
            self.known.values().map(|segment| &segment.uri).filter(|uri| !uri.is_empty()).collect();
        assert_eq!(uris.iter().collect::<BTreeSet<_>>().len(), uris.len(), "a file name came back: {uris:?}");
    }
}

impl History {
    /// What was last said of a segment.
    pub(crate) fn segment(&self, number: u64) -> &Segment {
        self.known.get(&number).unwrap_or_else(|| panic!("nobody ever spoke of segment {number}"))
    }

    /// Before the next playlist: so many segments were encoded. If they are `listed` more than when one last went on, the
    /// two may have nothing in common.
    pub(crate) fn encoded(&mut self, segments: u64, listed: u64) {
        self.may_have_missed = segments.saturating_sub(self.encoded_before) >= listed;
        self.encoded = segments;
    }

    /// Of all segments that both rendition's playlists spoke of, they said that they are behind as many breaks.
    pub(crate) fn assert_in_step_with(&self, other: &Self) {
        let both = self.known.iter().filter_map(|(number, segment)| Some((number, segment, other.known.get(number)?)));
        for (number, one, other) in both {
            assert_eq!(one.breaks, other.breaks, "renditions break at other numbers than {number}: {one:?} {other:?}");
        }
    }

    /// Numbers of all segments before which the timeline broke.
    pub(crate) fn discontinuities(&self) -> Vec<u64> {
        self.known.values().filter(|segment| segment.discontinuity).map(|segment| segment.number).collect()
    }
}

/// Follows one rendition.
#[derive(Debug)]
pub(crate) struct Viewer {
    edge: SocketAddr,
    client: Client<HttpConnector, Empty<Bytes>>,
    folder: String,
    pub(crate) history: History,
    /// The newest playlist.
    pub(crate) playlist: Playlist,
    /// What was fetched, by number; with the part's, or `None` for a whole segment.
    pub(crate) media: BTreeMap<(u64, Option<u32>), Bytes>,
    fetched: BTreeSet<String>,
}

impl Viewer {
    /// Has seen nothing yet.
    pub(crate) fn new(edge: SocketAddr, stream: &str, rendition: &str) -> Self {
        Self {
            edge,
            client: Client::builder(TokioExecutor::new()).build_http(),
            folder: format!("/hls/{stream}/{rendition}"),
            history: History::default(),
            playlist: Playlist::default(),
            media: BTreeMap::new(),
            fetched: BTreeSet::new(),
        }
    }

    /// Begins with a plain request.
    pub(crate) async fn join(edge: SocketAddr, stream: &str, rendition: &str) -> Self {
        let mut viewer = Self::new(edge, stream, rendition);
        viewer.reload("").await;
        viewer
    }

    /// Any answer of the edge's.
    pub(crate) async fn get(&self, target: &str) -> Got {
        let request = Request::get(format!("http://{}{target}", self.edge)).body(Empty::new()).unwrap();
        let answer = async { Got::read(self.client.request(request).await.unwrap()).await };
        within(&format!("an answer to {target}"), answer).await
    }

    /// The playlist with this query, which must be there.
    pub(crate) async fn reload(&mut self, query: &str) -> &Playlist {
        let target = format!("{}/index.m3u8{query}", self.folder);
        let got = self.get(&target).await;
        assert_eq!(got.status, 200, "{target}: {}", got.text());
        self.see(got.text())
    }

    /// Takes a playlist.
    pub(crate) fn see(&mut self, text: &str) -> &Playlist {
        let playlist = Playlist::parse(text);
        self.history.see(&playlist);
        if playlist.skipped == 0 {
            self.playlist = playlist;
        }
        &self.playlist
    }

    /// Which rendition.
    pub(crate) fn rendition(&self) -> &str {
        self.folder.rsplit('/').next().unwrap()
    }

    /// What comes after the newest playlist, waited for.
    pub(crate) async fn next(&mut self) -> &Playlist {
        let (open, parts) = self.playlist.tip();
        self.reload(&format!("?_HLS_msn={open}&_HLS_part={parts}")).await;
        assert!(self.playlist.tip() > (open, parts), "nothing new in\n{}", self.playlist.text);
        &self.playlist
    }

    /// Waits until the playlist has come so far.
    pub(crate) async fn reach(&mut self, tip: (u64, u32)) -> &Playlist {
        while self.playlist.tip() < tip {
            self.next().await;
        }
        &self.playlist
    }

    /// Leaves out what the newest playlist lists: it begins with what comes then.
    pub(crate) fn begin_here(&mut self) {
        let listed = self.playlist.segments.iter().flat_map(|segment| segment.parts.iter().chain([&segment.uri]));
        self.fetched.extend(listed.cloned());
    }

    /// Fetches what the newest playlist lists and was not fetched before: each must be there to the last byte.
    pub(crate) async fn fetch(&mut self) {
        let playlist = self.playlist.clone();
        for segment in playlist.segments.iter().chain([&playlist.open]).filter(|segment| !segment.gap) {
            let parts = segment.parts.iter().enumerate().map(|(index, uri)| (Some(index as u32), uri));
            let whole = (!segment.uri.is_empty()).then_some((None, &segment.uri));
            for (part, uri) in parts.chain(whole) {
                if self.fetched.insert(uri.clone()) {
                    let bytes = self.file(uri).await;
                    self.media.insert((segment.number, part), bytes);
                }
            }
            if !segment.map.is_empty() && self.fetched.insert(segment.map.clone()) {
                self.file(&segment.map).await;
            }
        }
    }

    /// A file of the rendition.
    pub(crate) async fn file(&self, uri: &str) -> Bytes {
        let got = self.get(&format!("{}/{uri}", self.folder)).await;
        assert!(got.status == 200 && got.clean, "{uri}: {} {:?}", got.status, got.text_or_size());
        got.body
    }

    /// Of which lineage the media of each number is; all pieces of a number must be of one, and whole.
    pub(crate) fn lineages(&self) -> BTreeMap<u64, u64> {
        let mut seeds = BTreeMap::new();
        for ((number, part), bytes) in &self.media {
            let seed = Origin::of(bytes).seed;
            let known = *seeds.entry(*number).or_insert(seed);
            assert_eq!(known, seed, "segment {number} is mixed at part {part:?}");
        }
        seeds
    }
}
