//! H.264 access units to pictures, and any packets that libav decodes.
//!
//! One decoder that goes on after damage: what it cannot decode is counted and skipped. Knows nothing of segments.
#![allow(unsafe_code)]

use crate::picture::{self, Picture};
use crate::{Error, quieten};
use ffmpeg_next::codec::{self, Id, threading};
use ffmpeg_next::error::EAGAIN;
use ffmpeg_next::{Packet, decoder, ffi, frame};
use media::h264::VideoConfig;
use media::unit::{VIDEO_TIMESCALE, VideoUnit};

/// Largest picture in pixels: that of level 6.2 (H.264, table A-1: 139 264 macroblocks of 256). Bounds memory.
const PIXELS_MAX: i64 = 139_264 * 256;

/// The same for files: 8192×8192.
const ANY_PIXELS_MAX: i64 = 8192 * 8192;

/// Pixels per second that one core decodes with room to spare. Measured: 2048×1024@30 at 7.5 Mb/s (63 Mpixel/s) takes
/// 18 % of a core, 3840×1920@30 at 20 Mb/s (221 Mpixel/s) 70 %.
const PIXELS_PER_SECOND_PER_CORE: u64 = 250_000_000;

/// Threads for a source that one core cannot decode. Each beyond the first delays pictures by one.
const FRAME_THREADS_MAX: usize = 4;

/// Decodes one stream.
pub struct Video {
    inner: decoder::Video,
    damaged: u64,
}

impl Video {
    /// A decoder for streams with this configuration.
    pub fn open(config: &VideoConfig) -> Result<Self, Error> {
        quieten();
        let found = codec::decoder::find(Id::H264).ok_or(Error::Missing("H.264 decoder"))?;
        let mut context = codec::Context::new_with_codec(found);
        // SAFETY: a context of ours that is not open yet.
        if unsafe { context.as_ptr() }.is_null() {
            return Err(Error::Memory("a decoder"));
        }
        set_extradata(&mut context, config.avcc())?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        context.set_threading(threads(config, cores));
        // SAFETY: as above; a plain field.
        unsafe { (*context.as_mut_ptr()).max_pixels = PIXELS_MAX };
        let inner = context.decoder().video().map_err(Error::libav("opening the H.264 decoder"))?;
        Ok(Self { inner, damaged: 0 })
    }

    /// A decoder for whatever a file holds, on the caller's thread: threads of libav's would show in what it makes of
    /// damage. Packets' times are in 90 kHz.
    pub(crate) fn open_any(parameters: codec::Parameters) -> Result<Self, Error> {
        quieten();
        let found = codec::decoder::find(parameters.id())
            .ok_or_else(|| Error::source("nothing here can decode the file's pictures"))?;
        let mut context = codec::Context::new_with_codec(found);
        // SAFETY: a context of ours that is not open yet, checked before it is used, and plain fields.
        unsafe {
            if context.as_ptr().is_null() {
                return Err(Error::Memory("a decoder"));
            }
            let result = ffi::avcodec_parameters_to_context(context.as_mut_ptr(), parameters.as_ptr());
            if result < 0 {
                return Err(Error::Libav { what: "setting up a decoder", why: result.into() });
            }
            let raw = context.as_mut_ptr();
            (*raw).max_pixels = ANY_PIXELS_MAX;
            (*raw).pkt_timebase = ffi::AVRational { num: 1, den: VIDEO_TIMESCALE.cast_signed() };
            if parameters.id() == Id::H264 {
                // Pictures wait for as many others as their level allows instead of as many as libav has seen so far, which
                // would depend on where decoding began.
                (*raw).strict_std_compliance = ffi::FF_COMPLIANCE_STRICT;
                (*raw).has_b_frames = 0;
            }
        }
        context.set_threading(threading::Config { count: 1, ..threading::Config::default() });
        let inner = context.decoder().video().map_err(Error::libav("opening a decoder"))?;
        Ok(Self { inner, damaged: 0 })
    }

    /// Takes the next unit in decoding order and gives the pictures that are due, in order of their PTS. A unit that
    /// cannot be decoded is counted, not an error.
    pub fn push(&mut self, unit: &VideoUnit, out: &mut impl FnMut(Picture) -> Result<(), Error>) -> Result<(), Error> {
        let mut packet = Packet::copy(&unit.data);
        packet.set_pts(Some(unit.pts));
        packet.set_dts(Some(unit.dts));
        let mut damaged = 0;
        let result = self.push_packet(&packet, &mut |frame| plain(frame, &mut damaged, out));
        self.damaged += damaged;
        result
    }

    /// Gives the pictures that wait for later ones. The decoder takes nothing after this.
    pub fn finish(&mut self, out: &mut impl FnMut(Picture) -> Result<(), Error>) -> Result<(), Error> {
        let mut damaged = 0;
        let result = self.finish_frames(&mut |frame| plain(frame, &mut damaged, out));
        self.damaged += damaged;
        result
    }

    /// The same for packets, giving whatever pictures the file holds.
    pub(crate) fn push_packet(
        &mut self,
        packet: &Packet,
        out: &mut impl FnMut(frame::Video) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match self.inner.send_packet(packet) {
            Ok(()) => {}
            Err(ffmpeg_next::Error::Other { errno: libc::ENOMEM }) => return Err(Error::Memory("decoding")),
            Err(_) => self.damaged += 1,
        }
        self.drain(out)
    }

    /// As [`Self::finish`].
    pub(crate) fn finish_frames(
        &mut self,
        out: &mut impl FnMut(frame::Video) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match self.inner.send_eof() {
            Ok(()) | Err(ffmpeg_next::Error::Eof) => self.drain(out),
            Err(why) => Err(Error::Libav { what: "ending the decoder", why }),
        }
    }

    /// Units and pictures that were no good, so far.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    fn drain(&mut self, out: &mut impl FnMut(frame::Video) -> Result<(), Error>) -> Result<(), Error> {
        loop {
            let mut frame = picture::empty()?;
            match self.inner.receive_frame(&mut frame) {
                Ok(()) => out(frame)?,
                Err(ffmpeg_next::Error::Other { errno: EAGAIN } | ffmpeg_next::Error::Eof) => return Ok(()),
                Err(ffmpeg_next::Error::Other { errno: libc::ENOMEM }) => return Err(Error::Memory("decoding")),
                // libav reports damage here too, and has consumed what caused it: the loop moves on.
                Err(_) => self.damaged += 1,
            }
        }
    }
}

/// Gives what is 8-bit 4:2:0, and counts what is not.
fn plain(
    frame: frame::Video,
    damaged: &mut u64,
    out: &mut impl FnMut(Picture) -> Result<(), Error>,
) -> Result<(), Error> {
    match Picture::from_decoder(frame) {
        Ok(picture) => out(picture),
        Err(_) => {
            *damaged += 1;
            Ok(())
        }
    }
}

/// Two slice threads, which delay nothing and help where the source has slices; for sources too large for one core,
/// frame threads, which delay pictures by one each.
fn threads(config: &VideoConfig, cores: usize) -> threading::Config {
    let (num, den) = config.frame_rate().unwrap_or((30, 1));
    let pixels = u64::from(config.width()) * u64::from(config.height());
    let rate = pixels.saturating_mul(u64::from(num)) / u64::from(den.max(1));
    let heavy = rate > PIXELS_PER_SECOND_PER_CORE && cores > 1;
    let (kind, count) = match heavy {
        true => (threading::Type::Frame, cores.min(FRAME_THREADS_MAX)),
        false => (threading::Type::Slice, cores.min(2)),
    };
    threading::Config { kind, count, ..threading::Config::default() }
}

/// Gives the decoder the avcC, from which it knows the parameter sets and the size of NAL lengths.
fn set_extradata(context: &mut codec::Context, avcc: &[u8]) -> Result<(), Error> {
    let size = libc::c_int::try_from(avcc.len()).map_err(|_| Error::Memory("a decoder configuration"))?;
    let padding = ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize;
    // SAFETY: allocates zeroed room with the padding that libav's readers need, copies the bytes in, and hands the
    // memory to the context, which frees it with the allocator it came from.
    unsafe {
        let memory = ffi::av_mallocz(avcc.len() + padding).cast::<u8>();
        if memory.is_null() {
            return Err(Error::Memory("a decoder configuration"));
        }
        memory.copy_from_nonoverlapping(avcc.as_ptr(), avcc.len());
        (*context.as_mut_ptr()).extradata = memory;
        (*context.as_mut_ptr()).extradata_size = size;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn only_sources_beyond_one_core_pay_delay_for_threads() {
        let encoder = |width, height, rate| {
            let settings = crate::encode::VideoSettings { width, height, frame_rate: rate, ..Default::default() };
            crate::encode::Video::open(&settings).unwrap().config().clone()
        };
        let check = |width, height, rate, cores, kind, count| {
            let got = threads(&encoder(width, height, rate), cores);
            assert_eq!((got.kind, got.count), (kind, count), "{width}x{height} {rate:?} {cores} cores");
        };
        check(1920, 960, (30, 1), 2, threading::Type::Slice, 2);
        check(1920, 960, (30, 1), 1, threading::Type::Slice, 1);
        check(3840, 1920, (60, 1), 8, threading::Type::Frame, 4);
        check(3840, 1920, (60, 1), 1, threading::Type::Slice, 1);
    }

    #[test]
    fn garbage_is_counted_and_forgiven() {
        let settings = crate::encode::VideoSettings { width: 64, height: 32, ..Default::default() };
        let mut encoder = crate::encode::Video::open(&settings).unwrap();
        let mut units = Vec::new();
        for _ in 0..3 {
            units.extend(encoder.encode(&Picture::new(64, 32).unwrap()).unwrap());
        }
        units.extend(encoder.finish().unwrap());
        let mut decoder = Video::open(encoder.config()).unwrap();
        for data in [&[][..], &[0], &[0xFF; 40], &[0, 0, 0, 1, 0x65]] {
            let unit = VideoUnit { dts: 0, pts: 0, idr: true, data: Bytes::copy_from_slice(data) };
            decoder.push(&unit, &mut |_| Ok(())).unwrap();
        }
        assert!(decoder.damaged() >= 3, "{}", decoder.damaged());
        let mut shown = Vec::new();
        for unit in &units {
            decoder
                .push(unit, &mut |picture| {
                    shown.extend(picture.pts());
                    Ok(())
                })
                .unwrap();
        }
        decoder
            .finish(&mut |picture| {
                shown.extend(picture.pts());
                Ok(())
            })
            .unwrap();
        assert_eq!(shown, [0, 3000, 6000]);
    }
}
