//! H.264 access units to pictures.
//!
//! One decoder that goes on after damage: what it cannot decode is counted and skipped. Knows nothing of segments.
#![allow(unsafe_code)]

use crate::picture::{self, Picture};
use crate::{Error, quieten};
use ffmpeg_next::codec::{self, Id, threading};
use ffmpeg_next::error::EAGAIN;
use ffmpeg_next::{Packet, decoder, ffi};
use media::h264::VideoConfig;
use media::unit::VideoUnit;

/// Largest picture in pixels: that of level 6.2 (H.264, table A-1: 139 264 macroblocks of 256). Bounds memory.
const PIXELS_MAX: i64 = 139_264 * 256;

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

    /// Takes the next unit in decoding order and gives the pictures that are due, in order of their PTS. A unit that
    /// cannot be decoded is counted, not an error.
    pub fn push(&mut self, unit: &VideoUnit, out: &mut impl FnMut(Picture) -> Result<(), Error>) -> Result<(), Error> {
        let mut packet = Packet::copy(&unit.data);
        packet.set_pts(Some(unit.pts));
        packet.set_dts(Some(unit.dts));
        match self.inner.send_packet(&packet) {
            Ok(()) => {}
            Err(ffmpeg_next::Error::Other { errno: libc::ENOMEM }) => return Err(Error::Memory("decoding")),
            Err(_) => self.damaged += 1,
        }
        self.drain(out)
    }

    /// Gives the pictures that wait for later ones. The decoder takes nothing after this.
    pub fn finish(&mut self, out: &mut impl FnMut(Picture) -> Result<(), Error>) -> Result<(), Error> {
        match self.inner.send_eof() {
            Ok(()) | Err(ffmpeg_next::Error::Eof) => self.drain(out),
            Err(why) => Err(Error::Libav { what: "ending the decoder", why }),
        }
    }

    /// Units and pictures that were no good, so far.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    fn drain(&mut self, out: &mut impl FnMut(Picture) -> Result<(), Error>) -> Result<(), Error> {
        loop {
            let mut frame = picture::empty()?;
            match self.inner.receive_frame(&mut frame) {
                Ok(()) => match Picture::from_decoder(frame) {
                    Ok(picture) => out(picture)?,
                    Err(_) => self.damaged += 1,
                },
                Err(ffmpeg_next::Error::Other { errno: EAGAIN } | ffmpeg_next::Error::Eof) => return Ok(()),
                Err(ffmpeg_next::Error::Other { errno: libc::ENOMEM }) => return Err(Error::Memory("decoding")),
                // libav reports damage here too, and has consumed what caused it: the loop moves on.
                Err(_) => self.damaged += 1,
            }
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
