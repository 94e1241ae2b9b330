//! Sound of segments: decoded, placed by its stamps, resampled, and encoded as AAC-LC span by span.
//!
//! Each span is made by itself, with a decoder, a resampler and an encoder of its own, from the packets of a window
//! around it ([`Maker::window`]). So its blocks depend on nothing before that window, and a worker that starts to
//! read elsewhere makes the same. Encoders of neighbours hear the same samples on both sides of a seam, and choose the
//! same windows there, which is why it can't be heard. Knows no containers and no segments.

mod decoder;
mod line;
mod swr;

#[cfg(test)]
mod tests;

use super::{SoundJob, SoundSpan};
use crate::Error;
use crate::encode::Aac;
use bytes::Bytes;
use decoder::Decoder;
use ffmpeg_next::Packet;
use ffmpeg_next::codec::Parameters;
use line::{Line, rescale};
use media::aac::AudioConfig;
use media::unit::AAC_FRAME_SAMPLES;
use std::collections::VecDeque;
use std::ops::{Range, RangeInclusive};

/// Sound before a span's start that is decoded for it, in ms. Most of it is run-up: MP3's reservoir, AAC's overlap, Opus's
/// prediction need up to 80 ms. A packet that begins earlier is not heard, so one that lasts longer than about 0.8 s
/// leaves a hole (none of the usual codecs makes such).
const RUN_UP_MS: i64 = 1_000;

/// Sound after what the encoder hears that is decoded for a span, in ms: the resampler's filter and decoders that are late.
const RUN_OUT_MS: i64 = 100;

/// Blocks that a span's encoder hears before its first: its model of hearing and its choice of windows settle.
const PRE_ROLL_BLOCKS: i64 = 4;

/// Blocks that the encoder gives late: its priming.
const PRIMING_BLOCKS: i64 = 1;

/// Blocks that it hears behind the last: that one's window reaches into the first, and the second decides whether the
/// window after it is short.
const LOOKAHEAD_BLOCKS: i64 = 2;

/// Samples per second of sources.
const SOURCE_RATES: RangeInclusive<u32> = 8_000..=192_000;

/// Samples per second of what is made. Below it the pre-roll would leave less than half of the run-up.
const TARGET_RATES: RangeInclusive<u32> = 8_000..=96_000;

/// Bit/s of what is made.
const BITRATES: RangeInclusive<u32> = 8_000..=512_000;

/// Longest span, in blocks: two minutes at 48 kHz. Bounds memory: 5 MB for each second of sources with the highest rate.
const SPAN_BLOCKS_MAX: u32 = 5_625;

/// Farthest start of a span from 0, in samples: centuries. Keeps sums within 64 bits.
const START_MAX: i64 = 1 << 50;

const FRAME: i64 = AAC_FRAME_SAMPLES as i64;

/// Whether a stream with these parameters is anything that a [`Maker`] would take; if not, why.
///
/// # Safety
///
/// What they point to must be as libav makes it.
#[allow(unsafe_code)]
pub(crate) unsafe fn playable(raw: &ffmpeg_next::ffi::AVCodecParameters) -> Result<(), String> {
    let mut params = Parameters::new();
    // SAFETY: both live for the call; a copy is made, whose allocation is checked.
    let copied = unsafe {
        !params.as_ptr().is_null() && ffmpeg_next::ffi::avcodec_parameters_copy(params.as_mut_ptr(), raw) >= 0
    };
    if !copied {
        return Err("there is no memory to look into it".to_owned());
    }
    let (rate, channels) = (decoder::sample_rate(&params), decoder::channels(&params));
    if !SOURCE_RATES.contains(&rate) {
        return Err(format!("it has {rate} samples a second, and 8000 to 192000 are taken"));
    }
    if !(1..=decoder::CHANNELS_MAX).contains(&channels) {
        return Err(format!("it has {channels} channels, and 1 to {} are taken", decoder::CHANNELS_MAX));
    }
    Decoder::open(&params, 2).map(drop).map_err(|error| error.to_string())
}

/// What is made.
#[derive(Debug, Clone, Copy)]
struct Target {
    sample_rate: u32,
    channels: u8,
    bitrate: u32,
}

/// A span on its way.
struct Span {
    job: SoundSpan,
    /// PTS of packets that belong to it, in samples of the source's rate.
    window: Range<i64>,
    /// Opened by its first packet.
    open: Option<(Decoder, Line)>,
}

/// Makes the sound of a job.
pub(crate) struct Maker {
    target: Target,
    params: Parameters,
    source_rate: u32,
    /// In order of time; some are open at the same time, because windows overlap.
    spans: VecDeque<Span>,
    /// End of the last window.
    until: i64,
}

impl Maker {
    /// For [`SoundJob::Encode`] and packets of a stream with these parameters, whose rate is what PTS are counted in.
    /// Errors if libav has no decoder for it, or on numbers outside the limits.
    pub(crate) fn new(job: &SoundJob, params: &Parameters) -> Result<Self, Error> {
        let setting = |what, value: String, allowed| Err(Error::Setting { what, value, allowed });
        let SoundJob::Encode { sample_rate, channels, bitrate, ref spans } = *job else {
            return setting("a sound job", "none or a copy".to_owned(), "one that encodes");
        };
        let known = AudioConfig::lc(sample_rate, channels).is_some() && TARGET_RATES.contains(&sample_rate);
        if !known || !(1..=2).contains(&channels) {
            let value = format!("{sample_rate} Hz with {channels} channels");
            return setting("the sound to make", value, "a rate of AAC up to 96 kHz, mono or stereo");
        }
        if !BITRATES.contains(&bitrate) {
            return setting("the sound's bit rate", bitrate.to_string(), "8 to 512 kbit/s");
        }
        let source_rate = decoder::sample_rate(params);
        if !SOURCE_RATES.contains(&source_rate) {
            return setting("the source's sample rate", source_rate.to_string(), "8 to 192 kHz");
        }
        let source_channels = decoder::channels(params);
        if source_channels > decoder::CHANNELS_MAX {
            return setting("the source's number of channels", source_channels.to_string(), "at most 8");
        }
        let mut before = (-START_MAX, i64::MIN);
        for span in spans {
            let ends = span.start.saturating_add(i64::from(span.blocks) * FRAME);
            let in_order = (before.0..=START_MAX).contains(&span.start) && ends >= before.1;
            if !in_order || span.blocks > SPAN_BLOCKS_MAX {
                let value = format!("{} blocks from {}", span.blocks, span.start);
                return setting("a span of sound", value, "at most 5625 blocks, in order of time");
            }
            before = (span.start, ends);
        }
        // Says at once whether there is a decoder.
        Decoder::open(params, channels)?;
        let window = |job: &SoundSpan| window(job, sample_rate, source_rate);
        let spans: VecDeque<Span> =
            spans.iter().map(|job| Span { job: *job, window: window(job), open: None }).collect();
        let until = spans.back().map_or(i64::MIN, |last| last.window.end);
        let target = Target { sample_rate, channels, bitrate };
        Ok(Self { target, params: params.clone(), source_rate, spans, until })
    }

    /// PTS of packets that matter, in samples of the source's rate: all of them should be pushed, whatever else is.
    pub(crate) fn window(&self) -> Range<i64> {
        self.spans.front().map_or(0, |first| first.window.start)..self.until.max(0)
    }

    /// Takes the next packet, in the file's order, with its PTS in samples of the source's rate, and gives spans (number,
    /// blocks) that are whole. Packets outside the windows are passed over; those that can't be decoded leave silence. A span comes when a packet
    /// after its window does.
    pub(crate) fn push(
        &mut self,
        packet: &Packet,
        pts: i64,
        out: &mut impl FnMut(u64, Vec<Bytes>),
    ) -> Result<(), Error> {
        // One with a mad stamp must not close what is open.
        if pts >= self.until {
            return Ok(());
        }
        while let Some(span) = self.spans.pop_front_if(|span| span.window.end <= pts) {
            out(span.job.seq, self.make(span)?);
        }
        for span in self.spans.iter_mut().take_while(|span| span.window.start <= pts) {
            let (decoder, line) = match &mut span.open {
                Some(open) => open,
                closed => closed.insert((
                    Decoder::open(&self.params, self.target.channels)?,
                    Line::new(self.target.channels.into(), self.source_rate, span.window.end),
                )),
            };
            decoder.push(packet, pts, line)?;
        }
        Ok(())
    }

    /// Gives the spans that are left; where the source has ended they are silent.
    pub(crate) fn finish(mut self, out: &mut impl FnMut(u64, Vec<Bytes>)) -> Result<(), Error> {
        while let Some(span) = self.spans.pop_front() {
            out(span.job.seq, self.make(span)?);
        }
        Ok(())
    }

    /// The span's blocks.
    fn make(&self, span: Span) -> Result<Vec<Bytes>, Error> {
        let Target { sample_rate, channels, bitrate } = self.target;
        if span.job.blocks == 0 {
            return Ok(Vec::new());
        }
        let blocks = i64::from(span.job.blocks);
        let heard = span.job.start - PRE_ROLL_BLOCKS * FRAME..span.job.start + (blocks + LOOKAHEAD_BLOCKS) * FRAME;
        let samples = match span.open {
            Some((mut decoder, mut line)) => {
                decoder.finish(&mut line)?;
                line.render(heard, sample_rate)?
            }
            None => line::silence(heard, channels.into()),
        };
        let mut encoder = Aac::open(sample_rate, channels, bitrate)?;
        let mut made = Vec::new();
        for block in samples.chunks_exact(AAC_FRAME_SAMPLES as usize * usize::from(channels)) {
            made.extend(encoder.encode(block)?);
        }
        let dropped = (PRE_ROLL_BLOCKS + PRIMING_BLOCKS) as usize;
        let kept: Vec<Bytes> = made.into_iter().skip(dropped).take(span.job.blocks as usize).collect();
        if kept.len() != span.job.blocks as usize {
            let value = kept.len().to_string();
            return Err(Error::Setting {
                what: "blocks of sound from the encoder",
                value,
                allowed: "as many as asked for",
            });
        }
        Ok(kept)
    }
}

/// PTS of the packets from which a span is made, in samples of the source's rate.
fn window(span: &SoundSpan, sample_rate: u32, source_rate: u32) -> Range<i64> {
    let end = span.start + (i64::from(span.blocks) + LOOKAHEAD_BLOCKS) * FRAME;
    let ms = |ms: i64| ms * i64::from(source_rate) / 1000;
    let in_source = |at| rescale(at, source_rate, sample_rate);
    in_source(span.start) - ms(RUN_UP_MS)..in_source(end) + ms(RUN_OUT_MS)
}
