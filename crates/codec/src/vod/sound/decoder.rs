//! Packets of any sound that libav knows to floats with the target's channels, at the source's rate.
//!
//! Goes on after damage: what it can't decode leaves a hole. Knows no spans.
#![allow(unsafe_code)]

use super::SOURCE_RATES;
use super::line::Line;
use super::swr::Swr;
use crate::{Error, quieten};
use ffmpeg_next::codec::{self, Id, Parameters};
use ffmpeg_next::error::EAGAIN;
use ffmpeg_next::{ChannelLayout, Packet, Rational, decoder, frame};

/// Most samples that one packet may become: more than five seconds at the highest rate. Bounds memory.
const PACKET_SAMPLES_MAX: i64 = 1 << 20;

/// Most channels of a source: 7.1.
pub(super) const CHANNELS_MAX: u16 = 8;

/// Samples per second by the container or codec; 0: unknown.
pub(super) fn sample_rate(params: &Parameters) -> u32 {
    // SAFETY: `Parameters` holds a live AVCodecParameters, but for a failed allocation, which is checked.
    unsafe { params.as_ptr().as_ref() }.map_or(0, |raw| u32::try_from(raw.sample_rate).unwrap_or(0))
}

/// Channels by the container or codec; 0: unknown.
pub(super) fn channels(params: &Parameters) -> u16 {
    // SAFETY: as above.
    unsafe { params.as_ptr().as_ref() }.map_or(0, |raw| u16::try_from(raw.channels).unwrap_or(u16::MAX))
}

/// Decodes one stream.
pub(super) struct Decoder {
    inner: decoder::Audio,
    channels: u8,
    mixer: Option<Swr>,
}

impl Decoder {
    /// For packets of a stream with these parameters, to `channels` channels.
    pub(super) fn open(params: &Parameters, channels: u8) -> Result<Self, Error> {
        quieten();
        let doing = "opening a decoder of sound";
        // libav's own Opus gives other bits on processors that multiply and add at once than on others.
        let preferred = if params.id() == Id::OPUS { codec::decoder::find_by_name("libopus") } else { None };
        let found = preferred.or_else(|| codec::decoder::find(params.id()));
        let found = found.ok_or(Error::Missing("decoder for this sound"))?;
        let mut context = codec::Context::new_with_codec(found);
        // SAFETY: only compares the pointer.
        if unsafe { context.as_ptr() }.is_null() {
            return Err(Error::Memory("a decoder"));
        }
        context.set_parameters(params.clone()).map_err(Error::libav(doing))?;
        // Packets are stamped in samples: libav moves the stamps of those that it shortens (priming, padding).
        let unit = Rational(1, sample_rate(params).cast_signed());
        // SAFETY: a context of ours that is not open yet; plain fields.
        unsafe {
            let raw = context.as_mut_ptr();
            (*raw).thread_count = 1;
            (*raw).max_samples = PACKET_SAMPLES_MAX;
            (*raw).pkt_timebase = unit.into();
        }
        let inner = context.decoder().audio().map_err(Error::libav(doing))?;
        Ok(Self { inner, channels, mixer: None })
    }

    /// Puts what the packet holds where it belongs.
    pub(super) fn push(&mut self, packet: &Packet, pts: i64, line: &mut Line) -> Result<(), Error> {
        // To libav an empty one is the end.
        if packet.size() == 0 {
            return Ok(());
        }
        let mut packet = packet.clone();
        packet.set_pts(Some(pts));
        packet.set_dts(Some(pts));
        match self.inner.send_packet(&packet) {
            Err(ffmpeg_next::Error::Other { errno: libc::ENOMEM }) => Err(Error::Memory("decoding sound")),
            Ok(()) => self.drain(line),
            Err(_) => {
                line.broken();
                self.drain(line)
            }
        }
    }

    /// Puts what is still inside where it belongs.
    pub(super) fn finish(&mut self, line: &mut Line) -> Result<(), Error> {
        match self.inner.send_eof() {
            Ok(()) | Err(ffmpeg_next::Error::Eof) => self.drain(line),
            Err(why) => Err(Error::Libav { what: "ending a decoder of sound", why }),
        }
    }

    fn drain(&mut self, line: &mut Line) -> Result<(), Error> {
        loop {
            let mut frame = frame::Audio::empty();
            // SAFETY: only compares the pointer.
            if unsafe { frame.as_ptr() }.is_null() {
                return Err(Error::Memory("a block of sound"));
            }
            match self.inner.receive_frame(&mut frame) {
                Ok(()) => self.place(&frame, line)?,
                Err(ffmpeg_next::Error::Other { errno: EAGAIN } | ffmpeg_next::Error::Eof) => return Ok(()),
                Err(ffmpeg_next::Error::Other { errno: libc::ENOMEM }) => return Err(Error::Memory("decoding sound")),
                // libav reports damage here too, and has consumed what caused it: the loop moves on.
                Err(_) => line.broken(),
            }
        }
    }

    fn place(&mut self, frame: &frame::Audio, line: &mut Line) -> Result<(), Error> {
        let (rate, channels) = (frame.rate(), frame.channels());
        if !SOURCE_RATES.contains(&rate) || !(1..=CHANNELS_MAX).contains(&channels) {
            // Damage: the stream as a whole was looked at by `Maker::new`.
            line.broken();
            return Ok(());
        }
        let stated = frame.channel_layout();
        let layout = match stated.channels() == i32::from(channels) {
            true => stated,
            false => ChannelLayout::default(i32::from(channels)),
        };
        let from = (frame.format(), layout, rate);
        let mixer = match &mut self.mixer {
            Some(mixer) if mixer.takes(from) => mixer,
            other => other.insert(Swr::open(from, (ChannelLayout::default(i32::from(self.channels)), rate))?),
        };
        let mut samples = mixer.mix(frame)?;
        // One that is no number would spread through the resampler, and the encoder would refuse it.
        samples.iter_mut().filter(|sample| !sample.is_finite()).for_each(|sample| *sample = 0.0);
        line.push(frame.pts(), rate, &samples);
        Ok(())
    }
}
