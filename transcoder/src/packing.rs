//! What a child gives, made into files: its units become segments on the asset's time line, its sound is laid out as the
//! plan says. Pure.
//!
//! A segment's bytes depend on the plan and on the units alone, and not on which segments the same child made before it.

use crate::facts::{self, RungFacts};
use crate::plan::{Plan, Run, SoundPlan, Span};
use crate::planning::output_time;
use crate::trouble::{Step, fault};
use crate::work::{Work, segment};
use bytes::Bytes;
use codec::vod::FromVod;
use media::aac::AudioConfig;
use media::h264::VideoConfig;
use media::mp4::{self, Track};
use media::package::{Closed, Packaged, Packager, Unit};
use media::route::File;
use media::unit::{AAC_FRAME_SAMPLES, VIDEO_TIMESCALE};
use std::collections::{HashMap, VecDeque};

/// The audio rendition's folder.
pub(crate) const AUDIO: &str = "audio";

/// Longer than any segment, in any timescale: a segment is one part.
const WHOLE: i64 = i64::MAX / 4;

/// A picture's length where nothing tells it (90 kHz).
const USUAL_PICTURE: i64 = 3000;

/// Most that a segment may be on a rung, in bytes, and what each unit counts for besides its content.
const SEGMENT_BYTES_MAX: usize = 256 << 20;
const UNIT_BYTES: usize = 64;

/// Longest block of sound, in bytes: ten times what AAC allows one of eight channels.
const BLOCK_BYTES_MAX: usize = 64 << 10;

/// How far outside its segment a unit's times may be, in pictures.
const STRAY_PICTURES: i64 = 16;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Made {
    /// An init segment of a rung: before its segments.
    Init {
        /// Its rung.
        rung: usize,
        /// Its name.
        file: File,
        /// Its content.
        bytes: Bytes,
    },
    /// A segment on a rung.
    Picture {
        /// Its rung.
        rung: usize,
        /// Its number.
        number: u32,
        /// Its content.
        bytes: Bytes,
        /// What it is.
        facts: RungFacts,
    },
    /// A segment's sound.
    Sound {
        /// Its number.
        number: u32,
        /// Its content.
        bytes: Bytes,
    },
    /// A segment of which nothing could be decoded.
    Gap {
        /// Its rung.
        rung: usize,
        /// Its number.
        number: u32,
    },
}

/// Makes files of what one child gives.
#[derive(Debug)]
pub(crate) struct Packing<'a> {
    plan: &'a Plan,
    work: &'a Work,
    /// By rung: the hash of its init segment, and its codec.
    inits: HashMap<usize, (String, String)>,
    /// With the bytes that they hold.
    open: HashMap<(usize, u32), (Packager, usize)>,
    sound: Option<Sound<'a>>,
}

impl<'a> Packing<'a> {
    /// For a child that does this work.
    pub(crate) fn new(plan: &'a Plan, work: &'a Work) -> Step<Self> {
        let sound = plan.sound.as_ref().map(|sound| Sound::new(plan, work, sound)).transpose()?;
        Ok(Self { plan, work, inits: HashMap::new(), open: HashMap::new(), sound })
    }

    /// What is there before the child says anything: sound that is all silence.
    pub(crate) fn begin(&mut self, out: &mut Vec<Made>) {
        if let Some(sound) = &mut self.sound {
            sound.go_on(out);
        }
    }

    /// Takes what the child says.
    pub(crate) fn take(&mut self, said: FromVod, out: &mut Vec<Made>) -> Step<()> {
        match said {
            FromVod::Config { rung, config } => {
                let init = self.init(rung, &config)?;
                out.push(init);
            }
            FromVod::Unit { rung, seq, unit } => {
                let number = self.number(rung, seq)?;
                let run = usize::try_from(self.work.run).ok().and_then(|run| self.plan.runs.get(run));
                let run = run.ok_or_else(|| fault("the plan is broken"))?;
                self.check_times(run, number, [unit.dts, unit.pts])?;
                let size = unit.data.len().saturating_add(UNIT_BYTES);
                let at = |time| output_time(run, time);
                let packaged = Unit { dts: at(unit.dts), pts: at(unit.pts), sync: unit.idr, data: unit.data };
                let (packager, bytes) = self
                    .open
                    .entry((rung, number))
                    .or_insert_with(|| (Packager::new(Track::Video, WHOLE, USUAL_PICTURE), 0));
                *bytes = bytes.saturating_add(size);
                if *bytes > SEGMENT_BYTES_MAX {
                    return Err(fault(format!("the encoder made segment {number} larger than 256 MiB")));
                }
                // One part a segment: nothing comes out before its end.
                packager.push(seq, packaged, &mut Vec::new());
            }
            FromVod::SegmentEnd { rung, seq } => {
                let number = self.number(rung, seq)?;
                let skip = self.work.skip.get(&number).copied().unwrap_or_default();
                if skip.checked_shr(u32::try_from(rung).unwrap_or(u32::MAX)).unwrap_or_default() & 1 == 1 {
                    // It is there already: that nothing came of it says nothing.
                    return Ok(());
                }
                let end = segment(self.plan, number).map(|segment| segment.at.saturating_add(segment.ticks));
                let packager = self.open.remove(&(rung, number)).map(|(packager, _)| packager);
                out.push(match packager.and_then(|packager| close(packager, end)) {
                    Some((bytes, closed)) => self.picture(rung, number, &bytes, closed)?,
                    None => Made::Gap { rung, number },
                });
            }
            FromVod::Packet { pts, data } => {
                check_block(&data)?;
                if let Some(sound) = &mut self.sound {
                    sound.packet(pts, data, out);
                }
            }
            FromVod::Sound { seq, blocks } => {
                blocks.iter().try_for_each(check_block)?;
                if let Some(sound) = &mut self.sound {
                    sound.blocks(seq, blocks, out);
                }
            }
            FromVod::Read { .. } | FromVod::Tracks { .. } | FromVod::Stamps { .. } => {}
            FromVod::Sheet(_) | FromVod::Failed { .. } | FromVod::Done => {}
        }
        Ok(())
    }

    /// The child has given all. What its sound lacks is silence.
    pub(crate) fn finish(&mut self, out: &mut Vec<Made>) -> Step<()> {
        if let Some(sound) = &mut self.sound {
            let missing = sound.finish(out);
            if missing > 0 {
                tracing::warn!(
                    job = self.plan.job,
                    missing,
                    "blocks of sound are not where the plan has them: silence"
                );
            }
        }
        match self.open.keys().next() {
            Some((_, number)) => Err(fault(format!("the encoder did not finish segment {number}"))),
            None => Ok(()),
        }
    }

    /// Whether these are times of that segment, give or take: the encoder's process may have been taken over.
    fn check_times(&self, run: &Run, number: u32, times: [i64; 2]) -> Step<()> {
        let segment = segment(self.plan, number).ok_or_else(|| fault("the plan is broken"))?;
        let (num, den) = (i64::from(run.frame_rate.0.max(1)), i64::from(run.frame_rate.1));
        let picture = den.saturating_mul(i64::from(VIDEO_TIMESCALE)) / num;
        let stray = picture.clamp(1, USUAL_PICTURE * 30).saturating_mul(STRAY_PICTURES);
        let allowed = segment.start.saturating_sub(stray)..=segment.end.saturating_add(stray);
        match times.iter().all(|time| allowed.contains(time)) {
            true => Ok(()),
            false => Err(fault(format!("the encoder put a picture into segment {number} that lies outside it"))),
        }
    }

    fn init(&mut self, rung: usize, config: &VideoConfig) -> Step<Made> {
        let size = (config.width(), config.height());
        let known = self.plan.rungs.get(rung).filter(|plan| (plan.width, plan.height) == size);
        known.ok_or_else(|| fault("the encoder made a picture of another size than the plan says"))?;
        if self.inits.contains_key(&rung) {
            return Err(fault("the encoder changed its configuration"));
        }
        let bytes = mp4::init_video(config, self.plan.layout);
        let hash = facts::hash(&bytes);
        self.inits.insert(rung, (hash.clone(), config.codec_string()));
        Ok(Made::Init { rung, file: File::Init(hash), bytes })
    }

    /// A segment's object: in front of its chunks it says what it belongs to.
    fn picture(&self, rung: usize, number: u32, chunks: &[u8], closed: Closed) -> Step<Made> {
        let init = self.inits.get(&rung);
        let (init, codec) = init.ok_or_else(|| fault("the encoder said nothing of its configuration"))?;
        let head = facts::head(init, codec);
        let bytes = [head.as_ref(), chunks].concat();
        let facts = RungFacts {
            bytes: bytes.len() as u64,
            first_chunk: closed.first_chunk.saturating_add(head.len() as u64),
            init: init.clone(),
            codec: codec.clone(),
        };
        Ok(Made::Picture { rung, number, bytes: bytes.into(), facts })
    }

    fn number(&self, rung: usize, seq: u64) -> Step<u32> {
        let number = u32::try_from(seq).ok().filter(|number| self.work.skip.contains_key(number));
        let known = number.filter(|_| rung < self.plan.rungs.len());
        known.ok_or_else(|| fault("the encoder made a segment that nobody asked for"))
    }
}

fn check_block(block: &Bytes) -> Step<()> {
    match block.len() {
        0..=BLOCK_BYTES_MAX => Ok(()),
        _ => Err(fault("the encoder gave a block of sound that is none: it is longer than 64 KiB")),
    }
}

/// The sound's init segment.
pub(crate) fn sound_init(sound: &SoundPlan) -> Step<(File, Bytes)> {
    let bytes = mp4::init_audio(&audio_config(sound)?);
    Ok((File::Init(facts::hash(&bytes)), bytes))
}

fn audio_config(sound: &SoundPlan) -> Step<AudioConfig> {
    let digits = sound.asc.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let asc: Option<Vec<u8>> = digits.map(byte).collect();
    let config = asc.and_then(|asc| AudioConfig::from_asc(asc.into()).ok());
    config.ok_or_else(|| fault("the plan's sound has no configuration that can be read"))
}

/// Ends a packager's one segment, at `end` if that is known.
fn close(mut packager: Packager, end: Option<i64>) -> Option<(Bytes, Closed)> {
    let mut out = Vec::new();
    packager.finish(end, &mut out);
    let (mut bytes, mut closed) = (None, None);
    for item in out {
        match item {
            Packaged::Part(_, part) => bytes = Some(part.bytes),
            Packaged::Segment(_, segment) => closed = Some(segment),
        }
    }
    bytes.zip(closed)
}

/// Lays out sound as the plan's spans say.
#[derive(Debug)]
struct Sound<'a> {
    silence: Bytes,
    /// Segments that lack some.
    waiting: VecDeque<Waiting<'a>>,
}

#[derive(Debug)]
struct Waiting<'a> {
    number: u32,
    /// When its first block is heard, in samples.
    at: i64,
    spans: &'a [Span],
    /// Blocks of the first span that are there.
    taken: u32,
    units: Vec<Bytes>,
}

impl<'a> Sound<'a> {
    fn new(plan: &'a Plan, work: &Work, sound: &SoundPlan) -> Step<Self> {
        let silence = audio_config(sound)?.silence();
        let waiting = work.sound.iter().filter_map(|&number| {
            let segment = segment(plan, number)?;
            Some(Waiting { number, at: segment.sound_at, spans: &segment.sound, taken: 0, units: Vec::new() })
        });
        Ok(Self { silence, waiting: waiting.collect() })
    }

    /// Takes a packet of copied sound: a span begins with the packet of its time, and has those that follow it.
    fn packet(&mut self, pts: i64, data: Bytes, out: &mut Vec<Made>) {
        loop {
            self.go_on(out);
            let Some(front) = self.waiting.front_mut() else { return };
            let Some(&Span::Source { from, blocks }) = front.spans.first() else { return };
            if front.taken == 0 && pts < from {
                return;
            }
            let end = from.saturating_add(i64::from(blocks).saturating_mul(i64::from(AAC_FRAME_SAMPLES)));
            if front.taken == 0 && pts >= end {
                // The source doesn't have it any more.
                front.fill(blocks, &self.silence);
                continue;
            }
            front.units.push(data);
            front.taken = front.taken.saturating_add(1);
            if front.taken >= blocks {
                front.next();
            }
            self.go_on(out);
            return;
        }
    }

    /// Takes a segment's encoded sound, of one span.
    fn blocks(&mut self, seq: u64, blocks: Vec<Bytes>, out: &mut Vec<Made>) {
        let silence = self.silence.clone();
        let Some(waiting) = self.waiting.iter_mut().find(|waiting| u64::from(waiting.number) == seq) else { return };
        waiting.pass_silence(&silence);
        if let Some(&Span::Source { blocks: wanted, .. }) = waiting.spans.first() {
            let wanted_here = usize::try_from(wanted).unwrap_or(usize::MAX);
            let given = u32::try_from(blocks.len().min(wanted_here)).unwrap_or(wanted);
            waiting.units.extend(blocks.into_iter().take(wanted_here));
            waiting.taken = given;
            waiting.fill(wanted, &silence);
        }
        self.go_on(out);
    }

    /// Lays out silence, and gives what is whole.
    fn go_on(&mut self, out: &mut Vec<Made>) {
        while let Some(front) = self.waiting.front_mut() {
            front.pass_silence(&self.silence);
            if !front.spans.is_empty() {
                return;
            }
            if let Some(front) = self.waiting.pop_front() {
                front.package(out);
            }
        }
    }

    /// Fills all that is missing with silence. Gives how many blocks that were.
    fn finish(&mut self, out: &mut Vec<Made>) -> u64 {
        let mut missing: u64 = 0;
        for waiting in &mut self.waiting {
            while let Some(&span) = waiting.spans.first() {
                if let Span::Source { blocks, .. } = span {
                    missing = missing.saturating_add(u64::from(blocks.saturating_sub(waiting.taken)));
                }
                let (Span::Source { blocks, .. } | Span::Silence { blocks }) = span;
                waiting.fill(blocks, &self.silence);
            }
        }
        self.go_on(out);
        missing
    }
}

impl Waiting<'_> {
    fn pass_silence(&mut self, silence: &Bytes) {
        while let Some(&Span::Silence { blocks }) = self.spans.first() {
            self.fill(blocks, silence);
        }
    }

    /// Fills the first span up with silence, and goes to the next.
    fn fill(&mut self, blocks: u32, silence: &Bytes) {
        let missing = usize::try_from(blocks.saturating_sub(self.taken)).unwrap_or_default();
        self.units.extend(std::iter::repeat_n(silence.clone(), missing));
        self.next();
    }

    fn next(&mut self) {
        self.spans = self.spans.get(1..).unwrap_or_default();
        self.taken = 0;
    }

    fn package(self, out: &mut Vec<Made>) {
        let usual = i64::from(AAC_FRAME_SAMPLES);
        let mut packager = Packager::new(Track::Audio, WHOLE, usual);
        let mut at = self.at;
        for data in self.units {
            packager.push(u64::from(self.number), Unit { dts: at, pts: at, sync: true, data }, &mut Vec::new());
            at = at.saturating_add(usual);
        }
        if let Some((bytes, _)) = close(packager, Some(at)) {
            out.push(Made::Sound { number: self.number, bytes });
        }
    }
}

#[cfg(test)]
mod tests;
