//! One reel's packets: FLV, MP4/MOV or Matroska/WebM, by libav's demuxers.
//!
//! The container is chosen here by its first bytes, and its demuxer can open nothing but the reel: no references to files
//! or addresses. What is absurd fails in words for the broadcaster. Times leave as 90 kHz and samples, always by the
//! same rounding, so that whoever looks through a file and whoever encodes it mean the same packets. Decodes nothing.
#![allow(unsafe_code)]

use super::avio::Avio;
use super::container::{BOX_HEADER_BYTES, Container, SNIFF_BYTES, box_header};
use super::context::Context;
use super::reader::{Reader, Source};
use super::tracks::{self, Medium};
use super::{Reel, Tracks};
use crate::{Error, loud, quieten};
use ffmpeg_next::codec::packet::{Flags, Mut, Ref};
use ffmpeg_next::{Packet, codec, ffi, log};
use media::unit::VIDEO_TIMESCALE;
use std::sync::Arc;

/// Longest source, in seconds.
const DURATION_MAX_S: i64 = 12 * 3600;

/// Times beyond this (90 kHz: 400 years) are nonsense.
const TIME_MAX: i64 = 1 << 50;

/// Boxes at the top of a file that are looked at for whether it has fragments; with more, it is read as a whole.
const TOP_BOXES_MAX: usize = 64;

/// Key frames of a file whose packets are passed over that are looked into. Encoders that begin GOPs with something else than
/// an IDR do so soon; after this many, its index is believed.
const PROVED_KEYS: usize = 32;

/// Codecs whose packets in MP4 and MOV are as the index says, whoever reads them.
const INDEXED_VIDEO: [&str; 2] = ["h264", "hevc"];
const INDEXED_AUDIO: [&str; 1] = ["aac"];

/// Which of the two streams that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Video,
    Audio,
}

/// A packet.
pub(crate) struct Sample {
    pub(crate) kind: Kind,
    /// Video: 90 kHz; audio: samples of the track's rate.
    pub(crate) pts: i64,
    /// The same, where the container says so; else `pts`.
    pub(crate) dts: i64,
    /// What the container or libav's parser takes for a place to start at.
    pub(crate) marked: bool,
    /// Whether decoding can really start here: for H.264 only where there is an IDR.
    pub(crate) key: bool,
    /// Whether it is only there to be decoded: it lies before the edit list's start.
    pub(crate) hidden: bool,
    /// With the times above.
    pub(crate) packet: Packet,
}

/// A stream that counts.
struct Track {
    index: usize,
    from: ffi::AVRational,
    to: ffi::AVRational,
    /// H.264: bytes of NAL lengths, 0 for start codes.
    nal_length: Option<u8>,
}

impl Track {
    /// `rate`: ticks per second that its times become.
    fn new(context: &Context, index: usize, rate: u32) -> Self {
        let stream = context.stream(index);
        let to = ffi::AVRational { num: 1, den: i32::try_from(rate).unwrap_or(i32::MAX) };
        Self { index, from: stream.time_base(), to, nal_length: stream.nal_length() }
    }

    /// To the nearest tick, halves away from zero.
    fn time(&self, time: i64) -> Result<i64, Error> {
        // SAFETY: plain numbers; libav checks time bases when it makes streams.
        let time = unsafe { ffi::av_rescale_q(time, self.from, self.to) };
        match time.unsigned_abs() <= TIME_MAX.unsigned_abs() {
            true => Ok(time),
            false => Err(Error::source("the file has packets at absurd times")),
        }
    }
}

/// An open reel. Fields drop in order: the demuxer before what it reads from.
pub(crate) struct Demuxer {
    context: Context,
    avio: Avio,
    container: Container,
    tracks: Tracks,
    /// Why there is no sound, though the file has some.
    left_out: Option<String>,
    video: Option<Track>,
    audio: Option<Track>,
    given: bool,
    /// Packets have no content.
    hollow: bool,
    /// Key frames whose content was looked into nevertheless.
    proved: usize,
}

impl Demuxer {
    /// Opens reel number `index`.
    pub(crate) fn open(source: Arc<dyn Source>, index: u32, reel: Reel) -> Result<Self, Error> {
        quieten();
        let mut reader = Reader::new(source, index, reel.bytes);
        let container = match reader.read(0, SNIFF_BYTES) {
            Ok(start) => Container::sniff(&start),
            Err(_) => return Err(reader.take_failure().unwrap_or_else(|| Error::source("it could not be read"))),
        };
        let container = container
            .ok_or_else(|| Error::source("this is no FLV, MP4, MOV, Matroska or WebM file: nothing else is taken"))?;
        let mut avio = Avio::new(reader, container.is_seekable())?;
        let mut context =
            Context::open(&avio, container, true).map_err(|error| avio.take_failure().unwrap_or(error))?;
        if let Err(error) = context.find_streams() {
            return Err(avio.take_failure().unwrap_or(error));
        }
        if context.duration_s() > DURATION_MAX_S {
            return Err(Error::source("this is longer than 12 hours: cut it"));
        }
        let mut video = context.choose(Medium::Video);
        let mut tracks = Tracks { format: container.name().to_owned(), video: None, audio: None };
        tracks.video = video.map(|stream| context.stream(stream).video()).transpose()?.flatten();
        video = video.filter(|_| tracks.video.is_some());
        let mut audio = context.choose(Medium::Audio);
        let heard = audio.map(|stream| context.stream(stream).audio()).transpose();
        let (sound, left_out) = heard.map_or_else(|why| (None, Some(why)), |track| (track, None));
        tracks.audio = sound;
        audio = audio.filter(|_| tracks.audio.is_some());
        context.discard_all_but(&[video, audio]);
        let rate = tracks.audio.as_ref().map_or(1, |track| track.sample_rate);
        let video = video.map(|stream| Track::new(&context, stream, VIDEO_TIMESCALE));
        let audio = audio.map(|stream| Track::new(&context, stream, rate));
        let (given, hollow, proved) = (false, false, 0);
        Ok(Self { context, avio, container, tracks, left_out, video, audio, given, hollow, proved })
    }

    /// What is in it.
    pub(crate) fn tracks(&self) -> &Tracks {
        &self.tracks
    }

    /// Why its sound counts for nothing, if it has some.
    pub(crate) fn left_out(&self) -> Option<&str> {
        self.left_out.as_deref()
    }

    /// For a decoder of one of its streams.
    pub(crate) fn parameters(&self, kind: Kind) -> Option<codec::Parameters> {
        let index = match kind {
            Kind::Video => self.video.as_ref()?.index,
            Kind::Audio => self.audio.as_ref()?.index,
        };
        let mut parameters = codec::Parameters::new();
        // SAFETY: both live for the call; a copy is made, whose allocation is checked.
        unsafe {
            let stream = self.context.stream(index);
            let from = stream.parameters();
            if parameters.as_ptr().is_null() || ffi::avcodec_parameters_copy(parameters.as_mut_ptr(), from) < 0 {
                return None;
            }
        }
        Some(parameters)
    }

    /// Jumps so that the packets that follow begin with a key frame at or before `pts` (90 kHz), if the file has an index;
    /// `false` if it was left as it is. That key frame may be wrong in a wrong index: the caller looks.
    pub(crate) fn seek(&mut self, pts: i64) -> bool {
        let Some(video) = self.video.as_ref().filter(|_| self.container.is_seekable()) else { return false };
        // Up, so that the frame with that very stamp is not missed.
        let rounding = ffi::AVRounding::AV_ROUND_UP;
        // SAFETY: plain numbers; and an open context with that stream.
        unsafe {
            let target = ffi::av_rescale_q_rnd(pts, video.to, video.from, rounding);
            let index = i32::try_from(video.index).unwrap_or(-1);
            ffi::av_seek_frame(self.context.as_mut_ptr(), index, target, ffi::AVSEEK_FLAG_BACKWARD) >= 0
        }
    }

    /// The same reel from its start, its packets with their times but not their content, if the file's index knows all of
    /// them without reading on: then a film of 200 GB is looked through in seconds. Unchanged if not.
    pub(crate) fn without_content(mut self) -> Result<Self, Error> {
        let known =
            |codec: Option<&String>, codecs: &[&str]| codec.is_none_or(|codec| codecs.contains(&codec.as_str()));
        let indexed = known(self.tracks.video.as_ref().map(|track| &track.codec), &INDEXED_VIDEO)
            && known(self.tracks.audio.as_ref().map(|track| &track.codec), &INDEXED_AUDIO);
        if self.container != Container::Mov || !indexed || !self.is_without_fragments()? {
            return Ok(self);
        }
        let Self { context, mut avio, container, tracks, left_out, video, audio, .. } = self;
        drop(context);
        let mut avio = Avio::new(avio.reader().hand_over(), true)?;
        let mut context =
            Context::open(&avio, container, false).map_err(|error| avio.take_failure().unwrap_or(error))?;
        context.discard_all_but(&[&video, &audio].map(|track| track.as_ref().map(|track| track.index)));
        avio.blank();
        let (given, hollow, proved) = (false, true, 0);
        Ok(Self { context, avio, container, tracks, left_out, video, audio, given, hollow, proved })
    }

    fn is_without_fragments(&mut self) -> Result<bool, Error> {
        let (reader, mut offset) = (self.avio.reader(), 0_u64);
        for _ in 0..TOP_BOXES_MAX {
            let start = match reader.read_all(offset, BOX_HEADER_BYTES) {
                Ok(start) => start,
                Err(error) => return Err(reader.take_failure().unwrap_or(error)),
            };
            match box_header(&start) {
                (_, true) => return Ok(false),
                (Some(length), _) => offset = offset.saturating_add(length),
                (None, _) => return Ok(true),
            }
        }
        Ok(false)
    }

    /// The next packet in the order of the file. `None` at its end, or where it breaks off.
    pub(crate) fn next(&mut self) -> Result<Option<Sample>, Error> {
        loop {
            let mut packet = Packet::empty();
            // What libav thinks of content that is not there is no news; errors come back nevertheless.
            if self.hollow {
                log::set_level(log::Level::Panic);
            }
            // SAFETY: an open context and a blank packet.
            let result = unsafe { ffi::av_read_frame(self.context.as_mut_ptr(), packet.as_mut_ptr()) };
            if self.hollow {
                loud();
            }
            if result < 0 {
                if let Some(error) = self.avio.take_failure() {
                    return Err(error);
                }
                return match result {
                    _ if result == -libc::ENOMEM => Err(Error::Memory("a packet")),
                    ffi::AVERROR_EOF => Ok(None),
                    // A file that was cut off is worth what is there.
                    _ if self.given => Ok(None),
                    _ => Err(Error::source("the file is damaged: not a single packet can be read")),
                };
            }
            if let Some(sample) = self.sample(packet)? {
                self.given = true;
                return Ok(Some(sample));
            }
        }
    }

    /// Whether there is an IDR in a marked packet of H.264 that may be hollow.
    fn proves(&mut self, packet: &Packet, nal_length: u8) -> Result<bool, Error> {
        let data = packet.data().unwrap_or_default();
        if !self.hollow {
            return Ok(tracks::holds_idr(data, nal_length));
        }
        let Some(offset) = u64::try_from(packet.position()).ok().filter(|_| self.proved < PROVED_KEYS) else {
            return Ok(true);
        };
        self.proved += 1;
        let content = self.avio.reader().read_all(offset, data.len());
        let content = content.map_err(|error| self.avio.take_failure().unwrap_or(error))?;
        Ok(tracks::holds_idr(&content, nal_length))
    }

    fn sample(&mut self, mut packet: Packet) -> Result<Option<Sample>, Error> {
        let index = packet.stream();
        let is = |track: &&Track| track.index == index;
        let (kind, track) = match (self.video.as_ref().filter(is), self.audio.as_ref().filter(is)) {
            (Some(track), _) => (Kind::Video, track),
            (None, Some(track)) => (Kind::Audio, track),
            (None, None) => return Ok(None),
        };
        if packet.data().is_none_or(<[u8]>::is_empty) {
            return Ok(None);
        }
        let Some(pts) = packet.pts().or(packet.dts()) else {
            return Err(Error::source("the file has packets without any time"));
        };
        let pts = track.time(pts)?;
        let dts = packet.dts().map_or(Ok(pts), |dts| track.time(dts))?;
        let flags = packet.flags();
        let marked = kind == Kind::Audio || flags.contains(Flags::KEY);
        let nal_length = track.nal_length;
        let key = match nal_length {
            Some(length) if marked => self.proves(&packet, length)?,
            _ => marked,
        };
        // SAFETY: a live packet; a plain field.
        let hidden = unsafe { (*packet.as_ptr()).flags } & ffi::AV_PKT_FLAG_DISCARD != 0;
        packet.set_pts(Some(pts));
        packet.set_dts(Some(dts));
        Ok(Some(Sample { kind, pts, dts, marked, key, hidden, packet }))
    }
}
