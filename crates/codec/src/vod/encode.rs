//! Segments of a run of reels: one decode, a chain of rungs, a fresh encoder for each segment.
//!
//! Decides which packets are decoded, which picture belongs to which segment, and when all is there. What a segment becomes
//! depends on the source's pictures in it alone: what is decoded before it is only there so that these can be.

use super::demux::{Demuxer, Kind, Sample};
use super::reader::Source;
use super::serve::Give;
use super::sounds::Sounds;
use super::start::Start;
use super::timeline::{Counter, Placer};
use super::{Effort, EncodeJob, FromVod, RungJob};
use crate::convert::Converter;
use crate::ladder::{self, Chain, FromLadder, RungSettings, Sink, Work};
use crate::x264::Preset;
use crate::{Error, decode};
use ffmpeg_next::{codec, frame};
use std::collections::VecDeque;
use std::sync::Arc;

/// How far behind the last segment's end packets are decoded whose stamps may not be quite in order, in ticks (90 kHz).
const PICTURE_LAG: i64 = 45_000;

impl From<Effort> for Preset {
    fn from(effort: Effort) -> Self {
        match effort {
            Effort::Veryfast => Self::Veryfast,
            Effort::Fast => Self::Fast,
            Effort::Medium => Self::Medium,
            Effort::Slow => Self::Slow,
        }
    }
}

/// Does the job.
pub(super) fn run(job: &EncodeJob, source: &Arc<dyn Source>, give: &Give) -> Result<(), Error> {
    let mut pictures = Pictures::new(job, give)?;
    let mut sounds = Sounds::new(&job.sound, give.clone());
    let mut start = Start::new(job.seek);
    'reels: for (index, reel) in (0..).zip(&job.reels) {
        let mut demuxer = Demuxer::open(Arc::clone(source), index, *reel)?;
        pictures.reel(&demuxer)?;
        sounds.reel(&demuxer)?;
        let mut ahead = VecDeque::new();
        if index == 0 {
            let from = sounds.from().map_or(job.seek, |sound| sound.min(job.seek));
            match jump(&mut demuxer, from)? {
                Some(read) => ahead = read,
                None => demuxer = Demuxer::open(Arc::clone(source), index, *reel)?,
            }
        }
        loop {
            let sample = match ahead.pop_front() {
                Some(sample) => sample,
                None => match demuxer.next()? {
                    Some(sample) => sample,
                    None => break,
                },
            };
            match sample.kind {
                Kind::Audio => sounds.take(&sample)?,
                Kind::Video => {
                    sounds.pictures_are_at(sample.dts);
                    for sample in start.take(sample)? {
                        pictures.take(sample)?;
                    }
                }
            }
            if pictures.finished && sounds.is_complete() {
                break 'reels;
            }
        }
    }
    if !start.is_found() {
        return Err(Error::source("the key frame from which to decode is not in the file: has it been replaced?"));
    }
    pictures.finish()?;
    sounds.finish()
}

/// Tries to begin at `from` instead of the reel's start; gives what it has read on the way, or `None` if it must be opened
/// anew.
fn jump(demuxer: &mut Demuxer, from: i64) -> Result<Option<VecDeque<Sample>>, Error> {
    let mut read = VecDeque::new();
    if !demuxer.seek(from) {
        return Ok(None);
    }
    while let Some(sample) = demuxer.next()? {
        let (kind, good) = (sample.kind, sample.marked && sample.pts <= from);
        read.push_back(sample);
        if kind == Kind::Video {
            return Ok(good.then_some(read));
        }
    }
    Ok(None)
}

/// From packets to encoders.
struct Pictures {
    chain: Chain,
    decoder: Option<(String, decode::Video)>,
    converter: Converter,
    counter: Counter,
    placer: Placer,
    /// Packets that wait until their segment is known.
    waiting: VecDeque<Sample>,
    end: i64,
    finished: bool,
}

impl Pictures {
    fn new(job: &EncodeJob, give: &Give) -> Result<Self, Error> {
        check(job)?;
        let end = job.segments.last().map_or(0, |segment| segment.end);
        let works: Vec<Work> = job.rungs.iter().map(|rung| work(*rung, job.segment_ms)).collect();
        let chain = Chain::new(&works, &sink(give.clone(), works.len()))?;
        chain.announce_rate(Some(job.frame_rate))?;
        let (counter, placer) = (Counter::new(&job.segments), Placer::new(&job.segments));
        let (converter, waiting) = (Converter::default(), VecDeque::new());
        Ok(Self { chain, decoder: None, converter, counter, placer, waiting, end, finished: false })
    }

    /// A reel begins: with the decoder in hand, unless it was made for something else.
    fn reel(&mut self, demuxer: &Demuxer) -> Result<(), Error> {
        let Some(track) = &demuxer.tracks().video else { return Ok(()) };
        if self.finished || self.decoder.as_ref().is_some_and(|(config, _)| *config == track.config) {
            return Ok(());
        }
        self.feed(true)?;
        self.flush()?;
        let parameters: codec::Parameters = demuxer.parameters(Kind::Video).ok_or(Error::Memory("a decoder"))?;
        self.decoder = Some((track.config.clone(), decode::Video::open_any(parameters)?));
        Ok(())
    }

    fn take(&mut self, sample: Sample) -> Result<(), Error> {
        if self.finished {
            return Ok(());
        }
        self.counter.count(sample.pts, sample.dts, sample.packet.size());
        let last = sample.dts >= self.end.saturating_add(PICTURE_LAG);
        self.waiting.push_back(sample);
        match last {
            true => self.wind_up(),
            false => self.feed(false),
        }
    }

    /// Decodes what can be: packets of segments that are known, or all.
    fn feed(&mut self, all: bool) -> Result<(), Error> {
        while let Some(sample) = self.waiting.pop_front() {
            if !all && !self.counter.knows(sample.pts) {
                self.waiting.push_front(sample);
                return Ok(());
            }
            if self.finished {
                return Ok(());
            }
            let Self { chain, decoder, converter, counter, placer, finished, .. } = self;
            let Some((_, decoder)) = decoder else { return Ok(()) };
            let mut place = |frame| place(frame, converter, placer, counter, chain, finished);
            decoder.push_packet(&sample.packet, &mut place)?;
        }
        Ok(())
    }

    /// Takes what is left in the decoder.
    fn flush(&mut self) -> Result<(), Error> {
        let Self { chain, decoder, converter, counter, placer, finished, .. } = self;
        let Some((_, mut decoder)) = decoder.take() else { return Ok(()) };
        decoder.finish_frames(&mut |frame| place(frame, converter, placer, counter, chain, finished))
    }

    /// All packets were given: decodes them and ends what is open.
    fn wind_up(&mut self) -> Result<(), Error> {
        self.counter.finish();
        if !self.finished {
            self.feed(true)?;
            self.flush()?;
            self.finished = true;
        }
        self.waiting.clear();
        self.chain.end_all(self.placer.finish())
    }

    /// The same, and waits for the rungs.
    fn finish(mut self) -> Result<(), Error> {
        self.wind_up()?;
        self.chain.join()
    }
}

/// Sends a picture to its segment.
fn place(
    frame: frame::Video,
    converter: &mut Converter,
    placer: &mut Placer,
    counter: &Counter,
    chain: &Chain,
    finished: &mut bool,
) -> Result<(), Error> {
    let Some(pts) = frame.pts().filter(|_| !*finished) else { return Ok(()) };
    let (ended, segment) = placer.place(pts);
    chain.end_all(ended)?;
    *finished = placer.is_past_the_end();
    let Some(segment) = segment else { return Ok(()) };
    let picture = converter.convert(frame)?;
    let segment = counter.foresee(segment);
    chain.send(ladder::Job::Picture { segment, pts, larger: vec![picture] })
}

fn work(rung: RungJob, segment_ms: u32) -> Work {
    let (crf, preset) = (rung.crf, rung.effort.into());
    Work { rung: RungSettings::from(rung), segment_ms, crf, preset, unhurried: true }
}

/// Passes on what the rungs give. A rung's configuration must stay what it was.
fn sink(give: Give, rungs: usize) -> Sink {
    let announced = std::sync::Mutex::new(vec![false; rungs]);
    Arc::new(move |message| {
        let message = match message {
            FromLadder::Config { rung, config } => {
                let first = announced.lock().ok().and_then(|mut announced| {
                    let announced = announced.get_mut(rung)?;
                    Some(!std::mem::replace(announced, true))
                });
                match first {
                    Some(true) => FromVod::Config { rung, config },
                    _ => {
                        let why = "the source's colours change within a run".to_owned();
                        FromVod::Failed { why, machine: false }
                    }
                }
            }
            FromLadder::Unit { rung, seq, unit } => FromVod::Unit { rung, seq, unit },
            FromLadder::SegmentEnd { rung, seq } => FromVod::SegmentEnd { rung, seq },
            // A live child's own.
            FromLadder::Worked { .. } => return true,
            // What an installation lacks shows before the first picture, and not here.
            FromLadder::Failed { why } => FromVod::Failed { why, machine: false },
        };
        let failed = matches!(message, FromVod::Failed { .. });
        give.give(message).is_ok() && !failed
    })
}

fn check(job: &EncodeJob) -> Result<(), Error> {
    let ordered = job.segments.windows(2).all(|pair| match pair {
        [one, next] => one.end <= next.start && one.seq < next.seq,
        _ => true,
    });
    let whole = job.segments.iter().all(|segment| segment.start < segment.end);
    if job.segments.is_empty() || !ordered || !whole {
        return Err(Error::Job("its segments are not one after the other"));
    }
    if job.reels.is_empty() {
        return Err(Error::Job("it has no reels"));
    }
    Ok(())
}
