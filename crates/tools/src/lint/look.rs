//! What was observed, read: playlists parsed, init segments and segments opened, so that rules need only compare.
//!
//! Judges nothing and fetches nothing.

use super::observe::{Answer, Fetch, Observed, Role};
use super::parse::{ByteRange, Media, Multivariant, Playlist, Segment};
use super::sealed::{self, Sealed, whole_key};
use bytes::Bytes;
use media::mp4::read::{FragmentInfo, InitInfo, fragment_info, init_info};
use std::collections::{HashMap, HashSet};
use url::Url;

/// Everything, ready to be judged.
pub(crate) struct Look<'a> {
    pub(crate) observed: &'a Observed,
    pub(crate) multivariant: Option<Listing<'a>>,
    pub(crate) renditions: Vec<Rendition<'a>>,
    files: HashMap<FileKey, Vec<&'a Fetch>>,
    /// Last names in the paths of `files`: most segments of a long playlist are not among them.
    names: HashSet<String>,
    /// Those of `files` that are encrypted as a whole.
    sealed: HashMap<FileKey, Sealed>,
    /// What is in them.
    unsealed: HashMap<FileKey, Bytes>,
    inits: HashMap<FileKey, InitInfo>,
    fragments: HashMap<FileKey, FragmentInfo>,
}

pub(crate) type FileKey = (String, Option<ByteRange>);

/// The multivariant playlist.
pub(crate) struct Listing<'a> {
    pub(crate) fetch: &'a Fetch,
    pub(crate) playlist: Multivariant,
}

/// A media playlist over time.
pub(crate) struct Rendition<'a> {
    pub(crate) index: usize,
    pub(crate) url: &'a Url,
    pub(crate) role: Role,
    pub(crate) snapshots: Vec<Snapshot<'a>>,
}

/// A media playlist at one moment.
pub(crate) struct Snapshot<'a> {
    pub(crate) fetch: &'a Fetch,
    pub(crate) media: Media,
}

/// A segment that was opened.
pub(crate) struct OpenedSegment<'l> {
    pub(crate) url: Url,
    pub(crate) segment: &'l Segment,
    pub(crate) init: &'l InitInfo,
    pub(crate) fragment: &'l FragmentInfo,
    /// Earliest presentation time, in seconds.
    pub(crate) start_s: f64,
    /// Decoding time of the first sample, in seconds.
    pub(crate) decode_start_s: f64,
    /// Sum of the samples' durations, in seconds.
    pub(crate) length_s: f64,
    /// Mean duration of a sample, in seconds.
    pub(crate) frame_s: f64,
}

impl<'a> Look<'a> {
    /// Reads what was observed.
    pub(crate) fn new(observed: &'a Observed) -> Self {
        let multivariant = observed.multivariant.as_ref().and_then(|fetch| match playlist_of(fetch)? {
            Playlist::Multivariant(playlist) => Some(Listing { fetch, playlist }),
            Playlist::Media(_) => None,
        });
        let renditions = observed.playlists.iter().enumerate().map(|(index, watched)| Rendition {
            index,
            url: &watched.url,
            role: watched.role,
            snapshots: watched.snapshots.iter().filter_map(Snapshot::read).collect(),
        });
        let renditions = renditions.filter(|rendition| !rendition.snapshots.is_empty()).collect();
        let mut look = Self {
            observed,
            multivariant,
            renditions,
            files: HashMap::new(),
            names: HashSet::new(),
            sealed: HashMap::new(),
            unsealed: HashMap::new(),
            inits: HashMap::new(),
            fragments: HashMap::new(),
        };
        for rendition in &look.renditions {
            for snapshot in &rendition.snapshots {
                sealed::files(rendition.url, &snapshot.media, &mut look.sealed);
            }
        }
        for fetch in &observed.files {
            look.open(fetch);
        }
        look
    }

    fn open(&mut self, fetch: &'a Fetch) {
        let key = (fetch.url.to_string(), fetch.range);
        let mut body = ranged_body(fetch);
        if let Some(sealed) = self.sealed.get(&key) {
            body = body.and_then(|body| sealed::open(sealed, &self.observed.keys, &body));
            self.unsealed.extend(body.clone().map(|body| (key.clone(), body)));
        }
        if let Some(body) = body {
            if let Some(info) = init_info(&body) {
                self.inits.insert(key.clone(), info);
            } else if let Some(info) = fragment_info(&body).ok().filter(|info| !info.tracks.is_empty()) {
                self.fragments.insert(key.clone(), info);
            }
        }
        self.names.insert(last_name(fetch.url.path()).to_owned());
        self.files.entry(key).or_default().push(fetch);
    }

    /// Playlists with pictures or sound: what rules about segments look at.
    pub(crate) fn media_renditions(&self) -> impl Iterator<Item = &Rendition<'a>> {
        self.renditions.iter().filter(|r| matches!(r.role, Role::Video | Role::Audio | Role::Alone) && !r.is_iframes())
    }

    /// Playlists with a picture in every frame.
    pub(crate) fn video_renditions(&self) -> impl Iterator<Item = &Rendition<'a>> {
        self.media_renditions().filter(|rendition| match rendition.role {
            Role::Video => true,
            // Nothing says, so its init segment must.
            Role::Alone => self.init_of(rendition).is_some_and(|init| init.width > 0),
            Role::Audio | Role::IFrames | Role::Other => false,
        })
    }

    /// What a media playlist's newest segment is initialised with.
    pub(crate) fn init_of(&self, rendition: &Rendition<'_>) -> Option<&InitInfo> {
        let newest = rendition.latest().media.segments.iter().rfind(|segment| !segment.gap)?;
        self.init_for(rendition, newest)
    }

    /// What a segment is initialised with, if that was fetched and is an init segment.
    pub(crate) fn init_for(&self, rendition: &Rendition<'_>, segment: &Segment) -> Option<&InitInfo> {
        self.inits.get(&map_key(rendition.url, segment)?)
    }

    /// Answers to requests for a file, oldest first.
    pub(crate) fn fetches(&self, url: &Url, range: Option<ByteRange>) -> &[&'a Fetch] {
        self.files.get(&(url.to_string(), range)).map_or(&[], Vec::as_slice)
    }

    /// The address of a segment that was fetched.
    pub(crate) fn fetched(&self, rendition: &Rendition<'_>, segment: &Segment) -> Option<Url> {
        let path = segment.uri.split(['?', '#']).next().unwrap_or("");
        self.names.contains(last_name(path)).then(|| rendition.url.join(&segment.uri).ok()).flatten()
    }

    /// The init segment of a segment, as fetched.
    pub(crate) fn init_fetches(&self, rendition: &Rendition<'_>, segment: &Segment) -> &[&'a Fetch] {
        map_key(rendition.url, segment).and_then(|key| self.files.get(&key)).map_or(&[], Vec::as_slice)
    }

    /// A file's chunks, if it is one of chunks.
    pub(crate) fn fragment(&self, url: &Url, range: Option<ByteRange>) -> Option<&FragmentInfo> {
        self.fragments.get(&(url.to_string(), range))
    }

    /// How a file is encrypted, if it is as a whole.
    pub(crate) fn sealed(&self, url: &Url, range: Option<ByteRange>) -> Option<&Sealed> {
        self.sealed.get(&(url.to_string(), range))
    }

    /// The bytes of a file, decrypted if need be. `None`: there are none, or they could not be.
    pub(crate) fn content(&self, url: &Url, range: Option<ByteRange>) -> Option<&Bytes> {
        match self.sealed(url, range) {
            Some(_) => self.unsealed.get(&(url.to_string(), range)),
            None => Some(&self.fetches(url, range).iter().find_map(|fetch| fetch.success())?.body),
        }
    }

    /// Segments of a playlist that were fetched, are fMP4 of one track, in clear or encrypted as a whole, and could be read;
    /// by number, over all moments.
    pub(crate) fn opened<'l>(&'l self, rendition: &'l Rendition<'a>) -> Vec<OpenedSegment<'l>> {
        let mut opened: Vec<OpenedSegment<'l>> = Vec::new();
        for snapshot in &rendition.snapshots {
            for segment in &snapshot.media.segments {
                let known = opened.last().is_some_and(|last| last.segment.msn >= segment.msn);
                if !known && (segment.keys.is_empty() || whole_key(&segment.keys).is_some()) {
                    opened.extend(self.open_segment(rendition, segment));
                }
            }
        }
        opened
    }

    fn open_segment<'l>(&'l self, rendition: &Rendition<'a>, segment: &'l Segment) -> Option<OpenedSegment<'l>> {
        let url = self.fetched(rendition, segment)?;
        let fragment = self.fragment(&url, segment.range)?;
        let init = self.init_for(rendition, segment)?;
        let first = fragment.tracks.first()?;
        if init.timescale == 0 || fragment.tracks.iter().any(|track| track.track_id != first.track_id) {
            return None;
        }
        let scale = f64::from(init.timescale);
        let ticks: u64 = fragment.tracks.iter().map(|track| track.duration).sum();
        let samples: u64 = fragment.tracks.iter().map(|track| u64::from(track.samples)).sum();
        let start = fragment.tracks.iter().map(|track| track.min_pts).min()?;
        Some(OpenedSegment {
            url,
            segment,
            init,
            fragment,
            start_s: start as f64 / scale,
            decode_start_s: first.base_decode_time as f64 / scale,
            length_s: ticks as f64 / scale,
            frame_s: if samples == 0 { 0.0 } else { ticks as f64 / scale / samples as f64 },
        })
    }

    /// The playlist that an address in the multivariant playlist leads to.
    pub(crate) fn rendition_at(&self, uri: &str) -> Option<&Rendition<'a>> {
        let url = self.multivariant.as_ref()?.fetch.url.join(uri).ok()?;
        self.renditions.iter().find(|rendition| *rendition.url == url)
    }

    /// Whether anything was fetched by `https`.
    pub(crate) fn secure(&self) -> bool {
        self.observed.start.scheme() == "https"
    }

    /// Every answer, playlists first.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (&'a Fetch, &'a Answer)> {
        self.playlist_fetches()
            .chain(&self.observed.files)
            .filter_map(|fetch| fetch.outcome.as_ref().ok().map(|answer| (fetch, answer)))
    }

    /// Answers to requests for playlists without probes.
    pub(crate) fn playlist_fetches(&self) -> impl Iterator<Item = &'a Fetch> {
        let media = self.observed.playlists.iter().flat_map(|watched| &watched.snapshots);
        self.observed.multivariant.iter().chain(media)
    }
}

impl<'a> Rendition<'a> {
    /// The newest moment. There is at least one.
    pub(crate) fn latest(&self) -> &Snapshot<'a> {
        self.snapshots.last().unwrap_or_else(|| unreachable!("renditions without snapshots are left out"))
    }

    /// Whether more is to come.
    pub(crate) fn live(&self) -> bool {
        self.latest().media.end.is_none()
    }

    /// Whether it lists I-frames only.
    pub(crate) fn is_iframes(&self) -> bool {
        self.role == Role::IFrames || self.latest().media.iframes_only.is_some()
    }

    /// Each moment with the one before it.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (&Snapshot<'a>, &Snapshot<'a>)> {
        self.snapshots.iter().zip(self.snapshots.iter().skip(1))
    }
}

impl<'a> Snapshot<'a> {
    fn read(fetch: &'a Fetch) -> Option<Self> {
        match playlist_of(fetch)? {
            Playlist::Media(media) => Some(Self { fetch, media: *media }),
            Playlist::Multivariant(_) => None,
        }
    }
}

/// The playlist in an answer.
pub(crate) fn playlist_of(fetch: &Fetch) -> Option<Playlist> {
    let answer = fetch.success()?;
    Playlist::parse(&String::from_utf8_lossy(&answer.body)).ok()
}

fn last_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or("")
}

/// The address of a segment's init segment.
pub(crate) fn map_key(base: &Url, segment: &Segment) -> Option<FileKey> {
    let map = segment.map.as_ref()?;
    let url = base.join(map.attributes.get("URI")?).ok()?;
    let range = map.attributes.get("BYTERANGE").and_then(|text| ByteRange::parse(text, 0));
    Some((url.to_string(), range))
}

/// The bytes that were asked for, also from a server that ignored the range and sent everything.
fn ranged_body(fetch: &Fetch) -> Option<Bytes> {
    let answer = fetch.success()?;
    let Some(range) = fetch.range.filter(|_| answer.status == 200) else {
        return Some(answer.body.clone());
    };
    let start = usize::try_from(range.offset).ok()?;
    let end = usize::try_from(range.end()).ok()?;
    (start <= end && end <= answer.body.len()).then(|| answer.body.slice(start..end))
}
