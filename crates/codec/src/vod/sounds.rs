//! The sound of an encode job: copied packet by packet, or handed to the encoder.
//!
//! Knows which of the source's sound is wanted and when all of it has come; what is made of it is [`super::sound`]'s affair.
#![allow(unsafe_code)]

use super::demux::{Demuxer, Kind, Sample};
use super::serve::Give;
use super::sound::Maker;
use super::{FromVod, SoundJob};
use crate::Error;
use bytes::Bytes;
use ffmpeg_next::codec::Id;
use ffmpeg_next::ffi;
use media::unit::VIDEO_TIMESCALE;
use std::ops::Range;

/// How far behind the pictures sound may lie in a file, in ticks (90 kHz).
const LAG: i64 = 10 * 90_000;

/// Sound before what is wanted from which reading begins, in ticks: packets begin before what is heard.
const LEAD: i64 = 18_000;

/// What is done with packets.
enum Mode {
    None,
    Copy,
    Encode(Box<Maker>),
}

/// The sound of one job.
pub(super) struct Sounds<'a> {
    job: &'a SoundJob,
    give: Give,
    mode: Mode,
    /// What is wanted, in samples of [`Self::rate`]; known with the first reel that has sound.
    wanted: Option<Range<i64>>,
    /// Samples per second of packets' times, and of those the maker is told.
    rate: u32,
    maker_rate: u32,
    /// The reel in hand has no sound.
    silent: bool,
    complete: bool,
}

impl<'a> Sounds<'a> {
    pub(super) fn new(job: &'a SoundJob, give: Give) -> Self {
        let (wanted, silent) = (None, true);
        Self { job, give, mode: Mode::None, wanted, rate: 1, maker_rate: 1, silent, complete: false }
    }

    /// A reel begins.
    pub(super) fn reel(&mut self, demuxer: &Demuxer) -> Result<(), Error> {
        let track = demuxer.tracks().audio.as_ref().zip(demuxer.parameters(Kind::Audio));
        self.silent = track.is_none();
        let Some((track, parameters)) = track else { return Ok(()) };
        if *self.job == SoundJob::None {
            return Ok(());
        }
        if self.wanted.is_some() {
            return if track.sample_rate == self.rate {
                Ok(())
            } else {
                Err(Error::source("the sound's rate changes within a run"))
            };
        }
        self.rate = track.sample_rate;
        // SAFETY: live parameters; a plain field.
        self.maker_rate = u32::try_from(unsafe { (*parameters.as_ptr()).sample_rate }).unwrap_or(self.rate);
        match self.job {
            SoundJob::None => {}
            SoundJob::Copy { .. } if parameters.id() != Id::AAC => {
                return Err(Error::Job("sound is to be copied that is not AAC"));
            }
            SoundJob::Copy { start, end } => {
                self.mode = Mode::Copy;
                self.wanted = Some(*start..*end);
            }
            SoundJob::Encode { .. } => {
                let maker = Maker::new(self.job, &parameters)?;
                let Range { start, end } = maker.window();
                self.wanted =
                    Some(rescale(start, self.maker_rate, self.rate)..rescale(end, self.maker_rate, self.rate));
                self.mode = Mode::Encode(Box::new(maker));
            }
        }
        Ok(())
    }

    /// From when on sound is needed, in 90 kHz.
    pub(super) fn from(&self) -> Option<i64> {
        self.wanted.as_ref().map(|wanted| rescale(wanted.start, self.rate, VIDEO_TIMESCALE).saturating_sub(LEAD))
    }

    /// Takes an audio packet.
    pub(super) fn take(&mut self, sample: &Sample) -> Result<(), Error> {
        let Some(wanted) = self.wanted.clone() else { return Ok(()) };
        self.complete |= sample.pts >= wanted.end;
        match &mut self.mode {
            Mode::None => Ok(()),
            Mode::Copy if !wanted.contains(&sample.pts) || sample.hidden => Ok(()),
            Mode::Copy => {
                let data = Bytes::copy_from_slice(without_adts(sample.packet.data().unwrap_or_default()));
                self.give.give(FromVod::Packet { pts: sample.pts, data })
            }
            Mode::Encode(maker) => {
                let (give, mut result) = (&self.give, Ok(()));
                let pts = rescale(sample.pts, self.rate, self.maker_rate);
                maker.push(&sample.packet, pts, &mut |seq, blocks| pass(give, &mut result, seq, blocks))?;
                result
            }
        }
    }

    /// Pictures are read that are decoded at `dts` (90 kHz).
    pub(super) fn pictures_are_at(&mut self, dts: i64) {
        let end = self.wanted.as_ref().map(|wanted| rescale(wanted.end, self.rate, VIDEO_TIMESCALE));
        self.complete |= end.is_some_and(|end| dts > end.saturating_add(LAG));
    }

    /// Whether nothing more is to be read for the sound.
    pub(super) fn is_complete(&self) -> bool {
        self.complete || self.silent || *self.job == SoundJob::None
    }

    /// All was read.
    pub(super) fn finish(self) -> Result<(), Error> {
        match self.mode {
            Mode::Encode(maker) => {
                let (give, mut result) = (&self.give, Ok(()));
                maker.finish(&mut |seq, blocks| pass(give, &mut result, seq, blocks))?;
                result
            }
            Mode::None if matches!(self.job, SoundJob::Encode { .. }) => {
                Err(Error::source("there is no sound in the file, where there was some before: has it been replaced?"))
            }
            _ => Ok(()),
        }
    }
}

/// The first failure is the one that counts.
fn pass(give: &Give, result: &mut Result<(), Error>, seq: u64, blocks: Vec<Bytes>) {
    if result.is_ok() {
        *result = give.give(FromVod::Sound { seq, blocks });
    }
}

fn rescale(time: i64, from: u32, to: u32) -> i64 {
    let base = |rate: u32| ffi::AVRational { num: 1, den: rate.clamp(1, i32::MAX as u32).cast_signed() };
    // SAFETY: plain numbers, no rate is 0.
    unsafe { ffi::av_rescale_q(time, base(from), base(to)) }
}

/// Without the header that ADTS puts in front of each block (ISO/IEC 13818-7, 6.2).
fn without_adts(data: &[u8]) -> &[u8] {
    let &[0xFF, flags, _, a, b, c, _, ..] = data else { return data };
    let length = usize::from(a & 3) << 11 | usize::from(b) << 3 | usize::from(c >> 5);
    if flags & 0xF6 != 0xF0 || length != data.len() {
        return data;
    }
    let header = if flags & 1 == 0 { 9 } else { 7 };
    data.get(header..).unwrap_or(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adts_headers_are_taken_off_and_raw_blocks_left_alone() {
        let check = |data: &[u8], expected: &[u8]| assert_eq!(without_adts(data), expected, "{data:?}");
        check(&[0xFF, 0xF1, 0x4C, 0x80, 0x01, 0x3F, 0xFC, 0x21, 0x10], &[0x21, 0x10]);
        check(&[0xFF, 0xF0, 0x4C, 0x80, 0x01, 0x5F, 0xFC, 7, 7, 0x21], &[0x21]);
        check(&[0xFF, 0xF1, 0x4C, 0x80, 0x01, 0x5F, 0xFC, 0x21], &[0xFF, 0xF1, 0x4C, 0x80, 0x01, 0x5F, 0xFC, 0x21]);
        check(&[0x21, 0x10, 0x04], &[0x21, 0x10, 0x04]);
        check(&[], &[]);
    }
}
