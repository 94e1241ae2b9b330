//! libx264 with typed options that are checked after opening.
//!
//! Takes pictures at a constant rate and gives access units by picture number; times are the caller's. Two checks
//! keep options honest: libavcodec's left-over dictionary (in [`crate::open`]), and x264's own account of its
//! settings, which it writes as text into the first access unit. Knows nothing of rungs or segments.
#![allow(unsafe_code)]

use crate::picture::{Colour, Picture};
use crate::{Error, open, quieten};
use bytes::Bytes;
use ffmpeg_next::codec::{self, threading};
use ffmpeg_next::error::EAGAIN;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::{Packet, encoder, ffi};
use media::h264::{self, VideoConfig};

const NAME: &str = "libx264";

/// How much work goes into each picture: x264's presets. The first two keep up with live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preset {
    Superfast,
    Veryfast,
    Fast,
    Medium,
    Slow,
}

/// What of a preset this crate relies on, and x264 confirms.
struct Facts {
    name: &'static str,
    me: &'static str,
    subme: u8,
    refs: u32,
    trellis: u8,
    weightp: u8,
    lookahead: u32,
}

impl Preset {
    /// From x264's `param_apply_preset`, build 164.
    const fn facts(self) -> Facts {
        let (name, me, subme, refs, trellis, weightp, lookahead) = match self {
            Self::Superfast => ("superfast", "dia", 1, 1, 0, 1, 0),
            Self::Veryfast => ("veryfast", "hex", 2, 1, 0, 1, 10),
            Self::Fast => ("fast", "hex", 6, 2, 1, 1, 30),
            Self::Medium => ("medium", "hex", 7, 3, 1, 2, 40),
            Self::Slow => ("slow", "hex", 8, 5, 2, 2, 50),
        };
        Facts { name, me, subme, refs, trellis, weightp, lookahead }
    }
}

/// B-frames between others that all presets in use here allow at most, if they may choose.
const PRESET_BFRAMES: u8 = 3;

/// What pictures that wait inside an encoder may take, in bytes; and what one takes for each of its pixels, with x264's
/// half-size copies. Beyond it the look-ahead is shorter than the preset's: at 8192×4096 11 pictures.
const LOOKAHEAD_BYTES: u64 = 1 << 30;
const LOOKAHEAD_BYTES_PER_PIXEL: u64 = 3;

/// Macroblocks that a decoder of H.264's highest level has room for (table A-1, level 6.2).
const DPB_MACROBLOCKS: u32 = 696_320;

/// Whether pictures may wait for later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delay {
    /// They don't; B-frames between others are always that many. With none, every picture comes out at once.
    None { bframes: u8 },
    /// As the preset has it: its B-frames and its look-ahead.
    Preset,
}

/// How many bits pictures get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rate {
    /// Constant quality `crf`, below what a decoder's buffer of `buffer_bits` filled at `max_bitrate` (bit/s) can hold.
    Capped { crf: u8, max_bitrate: u32, buffer_bits: u32 },
    /// About `bitrate` (bit/s) all the time.
    Constant { bitrate: u32, buffer_bits: u32 },
}

/// Everything that decides what x264 makes of the same pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Pictures (first) per so many seconds (second).
    pub(crate) frame_rate: (u32, u32),
    pub(crate) preset: Preset,
    pub(crate) rate: Rate,
    /// Pictures from one IDR to the next; `None`: only the first picture is one.
    pub(crate) keyint: Option<u32>,
    pub(crate) delay: Delay,
    /// `level_idc` to declare; `None`: the lowest that holds the other settings.
    pub(crate) level: Option<u8>,
    pub(crate) colour: Colour,
}

/// What is part of the account x264 gives of itself, as `name=value`.
type Account = Vec<(&'static str, String)>;

impl Options {
    /// Options by libavcodec's names.
    fn private(&self) -> Vec<(&'static str, String)> {
        let params: Vec<String> = self.params().into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mut options = vec![
            ("preset", self.preset.facts().name.to_owned()),
            ("profile", "high".to_owned()),
            // Captions of the source are not re-timed here; SEI is stripped anyway.
            ("a53cc", "0".to_owned()),
            ("x264-params", params.join(":")),
        ];
        if let Rate::Capped { crf, .. } = self.rate {
            options.push(("crf", crf.to_string()));
        }
        if let Some(level) = self.level {
            options.push(("level", format!("{}.{}", level / 10, level % 10)));
        }
        options
    }

    /// Options by x264's names.
    fn params(&self) -> Vec<(&'static str, String)> {
        let fixed = [
            // The look-ahead works on the caller's thread.
            ("sync-lookahead", "0"),
            // One picture in, one out: with variable rate x264 holds each until it knows how long it lasts.
            ("force-cfr", "1"),
            // The number of threads shows in the bytes.
            ("threads", "1"),
            ("sliced-threads", "0"),
            // So do SIMD paths, unless told not to.
            ("cpu-independent", "1"),
            // Parameter sets that do not depend on rate control, so that segments share them.
            ("stitchable", "1"),
            ("scenecut", "0"),
            ("open-gop", "0"),
            ("aud", "0"),
            ("nal-hrd", "none"),
            ("filler", "0"),
        ];
        let mut params: Vec<_> = fixed.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
        params.push(("bframes", self.bframes().to_string()));
        params.push(("keyint", self.keyint.map_or("infinite".to_owned(), |pictures| pictures.to_string())));
        match self.delay {
            // Nothing waits for a later picture.
            Delay::None { .. } => {
                params
                    .extend([("rc-lookahead", "0"), ("mbtree", "0"), ("b-adapt", "0")].map(|(k, v)| (k, v.to_owned())));
            }
            Delay::Preset => {
                params.push(("rc-lookahead", self.lookahead().to_string()));
                params.push(("ref", self.refs().to_string()));
                // With mbtree a fresh encoder's first IDR gets no more bits than the pictures that refer to it; in one long
                // encode it would get its ip_ratio of 1.4. At 1.6 the segment's quality is that of the long encode.
                params.push(("zones", "0,0,b=1.6".to_owned()));
            }
        }
        params
    }

    fn bframes(&self) -> u8 {
        match self.delay {
            Delay::None { bframes } => bframes,
            Delay::Preset => PRESET_BFRAMES,
        }
    }

    /// Pictures that x264 looks ahead.
    fn lookahead(&self) -> u32 {
        let pixels = u64::from(self.width) * u64::from(self.height);
        let room = LOOKAHEAD_BYTES / (pixels * LOOKAHEAD_BYTES_PER_PIXEL).max(1);
        match self.delay {
            Delay::None { .. } => 0,
            Delay::Preset => u32::try_from(room).unwrap_or(u32::MAX).clamp(1, self.preset.facts().lookahead.max(1)),
        }
    }

    /// Pictures that others refer to.
    fn refs(&self) -> u32 {
        let macroblocks = self.width.div_ceil(16).saturating_mul(self.height.div_ceil(16)).max(1);
        self.preset.facts().refs.min((DPB_MACROBLOCKS / macroblocks).max(1))
    }

    /// What x264 must say of itself. It does not mention `cpu-independent`, `force-cfr`, `aud` and `open-gop`:
    /// the child's test reads its log for misspelt names.
    fn account(&self) -> Account {
        let fixed = [
            ("threads", "1"),
            ("sliced_threads", "0"),
            ("stitchable", "1"),
            ("scenecut", "0"),
            ("nal_hrd", "none"),
            ("filler", "0"),
        ];
        let Facts { me, subme, trellis, weightp, .. } = self.preset.facts();
        let mut account: Account = fixed.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
        account.extend([
            ("me", me.to_owned()),
            ("subme", subme.to_string()),
            ("ref", self.refs().to_string()),
            ("trellis", trellis.to_string()),
            ("weightp", weightp.to_string()),
            ("rc_lookahead", self.lookahead().to_string()),
            ("mbtree", u8::from(self.delay == Delay::Preset).to_string()),
            ("bframes", self.bframes().to_string()),
        ]);
        if self.delay == Delay::Preset {
            account.push(("b_adapt", "1".to_owned()));
        }
        account.push(("keyint", self.keyint.map_or("infinite".to_owned(), |pictures| pictures.to_string())));
        let (max, buffer) = match self.rate {
            Rate::Capped { crf, max_bitrate, buffer_bits } => {
                account.extend([("rc", "crf".to_owned()), ("crf", format!("{crf}.0"))]);
                (max_bitrate, buffer_bits)
            }
            Rate::Constant { bitrate, buffer_bits } => {
                account.extend([("rc", "cbr".to_owned()), ("bitrate", (bitrate / 1000).to_string())]);
                (bitrate, buffer_bits)
            }
        };
        account.extend([("vbv_maxrate", (max / 1000).to_string()), ("vbv_bufsize", (buffer / 1000).to_string())]);
        account
    }

    fn check(&self) -> Result<(), Error> {
        let setting = |what, value: String, allowed| Err(Error::Setting { what, value, allowed });
        let (num, den) = self.frame_rate;
        if den == 0 || !(1..=480).contains(&(num / den.max(1))) {
            return setting("frame rate", format!("{num}/{den}"), "1 to 480 per second");
        }
        let (rate, buffer) = match self.rate {
            Rate::Capped { max_bitrate, buffer_bits, .. } => (max_bitrate, buffer_bits),
            Rate::Constant { bitrate, buffer_bits } => (bitrate, buffer_bits),
        };
        if !(10_000..=1_000_000_000).contains(&rate) || !(1_000..=2_000_000_000).contains(&buffer) {
            return setting("bit rate", format!("{rate} bit/s, buffer {buffer} bit"), "10 kbit/s to 1 Gbit/s");
        }
        if self.bframes() > 8 {
            return setting("B-frames", self.bframes().to_string(), "0 to 8");
        }
        Ok(())
    }
}

/// One access unit, by number of picture from 0.
#[derive(Debug)]
pub(crate) struct Coded {
    /// Which picture it shows.
    pub(crate) shown: i64,
    /// Its place in decoding order; below 0 at the start when there are B-frames.
    pub(crate) decoded: i64,
    pub(crate) idr: bool,
    /// NAL units behind 4-byte lengths, without parameter sets and SEI.
    pub(crate) data: Bytes,
}

/// An open encoder.
pub(crate) struct Encoder {
    inner: encoder::video::Video,
    options: Options,
    config: VideoConfig,
    next: i64,
    checked: bool,
}

impl Encoder {
    /// Opens x264. Errors if an option is unknown or out of range.
    pub(crate) fn open(options: &Options) -> Result<Self, Error> {
        quieten();
        options.check()?;
        let found = encoder::find_by_name(NAME).ok_or(Error::Missing("libx264 encoder"))?;
        let mut context = codec::Context::new_with_codec(found);
        // SAFETY: only compares the pointer.
        if unsafe { context.as_ptr() }.is_null() {
            return Err(Error::Memory("an encoder"));
        }
        configure(&mut context, options);
        open::open(&mut context, found, NAME, &options.private())?;
        let (sps, pps, _) = h264::annexb_to_lengths(open::extradata(&context));
        let empty = Bytes::new();
        let config = VideoConfig::from_parameter_sets(sps.first().unwrap_or(&empty), pps.first().unwrap_or(&empty))?;
        let inner = context.encoder().video().map_err(Error::libav("opening libx264"))?;
        Ok(Self { inner, options: *options, config, next: 0, checked: false })
    }

    /// The decoder configuration of what it makes.
    pub(crate) fn config(&self) -> &VideoConfig {
        &self.config
    }

    /// Takes the next picture, whose own PTS does not matter, and gives what is ready.
    pub(crate) fn encode(&mut self, mut picture: Picture, out: &mut impl FnMut(Coded)) -> Result<(), Error> {
        if (picture.width(), picture.height()) != (self.options.width, self.options.height) {
            return Err(Error::Picture(format!("{}x{}", picture.width(), picture.height())));
        }
        self.inner.send_frame(picture.prepare(self.next)).map_err(Error::libav("encoding"))?;
        self.next += 1;
        self.drain(out)
    }

    /// Gives what is still inside. The encoder takes nothing after this.
    pub(crate) fn finish(&mut self, out: &mut impl FnMut(Coded)) -> Result<(), Error> {
        match self.inner.send_eof() {
            Ok(()) | Err(ffmpeg_next::Error::Eof) => self.drain(out),
            Err(why) => Err(Error::Libav { what: "ending an encoder", why }),
        }
    }

    fn drain(&mut self, out: &mut impl FnMut(Coded)) -> Result<(), Error> {
        let mut packet = Packet::empty();
        loop {
            match self.inner.receive_packet(&mut packet) {
                Ok(()) => {}
                Err(ffmpeg_next::Error::Other { errno: EAGAIN } | ffmpeg_next::Error::Eof) => return Ok(()),
                Err(why) => return Err(Error::Libav { what: "encoding", why }),
            }
            let raw = packet.data().unwrap_or_default();
            if !self.checked {
                compare(&self.options.account(), account_in(raw).unwrap_or_default())?;
                self.checked = true;
            }
            let (_, _, data) = h264::annexb_to_lengths(raw);
            let shown = packet.pts().unwrap_or(0);
            let idr = h264::contains_idr(&data, 4);
            out(Coded { shown, decoded: packet.dts().unwrap_or(shown), idr, data });
        }
    }
}

/// Sets what has fields of its own in AVCodecContext.
fn configure(context: &mut codec::Context, options: &Options) {
    let (num, den) = options.frame_rate;
    context.set_time_base((den.cast_signed(), num.cast_signed()));
    context.set_frame_rate(Some((num.cast_signed(), den.cast_signed())));
    // On the caller's thread, which is a thread for this encoder alone.
    context.set_threading(threading::Config { count: 1, ..threading::Config::default() });
    let (target, max, buffer) = match options.rate {
        Rate::Capped { max_bitrate, buffer_bits, .. } => (0, max_bitrate, buffer_bits),
        Rate::Constant { bitrate, buffer_bits } => (bitrate, bitrate, buffer_bits),
    };
    // SAFETY: a context of ours that is not open yet; these are plain fields. `options.check` has bounded the numbers.
    unsafe {
        let raw = context.as_mut_ptr();
        (*raw).width = options.width.cast_signed();
        (*raw).height = options.height.cast_signed();
        (*raw).pix_fmt = Pixel::YUV420P.into();
        (*raw).flags |= ffi::AV_CODEC_FLAG_GLOBAL_HEADER.cast_signed();
        (*raw).bit_rate = i64::from(target);
        (*raw).rc_max_rate = i64::from(max);
        (*raw).rc_buffer_size = buffer.cast_signed();
        (*raw).colorspace = options.colour.space.into();
        (*raw).color_range = options.colour.range.into();
        (*raw).color_primaries = options.colour.primaries.into();
        (*raw).color_trc = options.colour.transfer.into();
        (*raw).sample_aspect_ratio = options.colour.aspect.into();
    }
}

/// The settings that x264 writes as a user-data SEI into its first access unit: `cabac=1 ref=1 …`.
fn account_in(unit: &[u8]) -> Option<&str> {
    const MARK: &[u8] = b" - options: ";
    let start = unit.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let text = unit.get(start..)?;
    let end = text.iter().position(|&byte| byte == 0)?;
    std::str::from_utf8(text.get(..end)?).ok()
}

/// Errors on the first setting that is not as wanted.
fn compare(wanted: &Account, text: &str) -> Result<(), Error> {
    for (key, value) in wanted {
        let got = text.split(' ').find_map(|word| word.split_once('=').filter(|(name, _)| name == key));
        if got.map(|(_, got)| got) != Some(value) {
            let got = got.map_or_else(|| format!("no {key}"), |(name, got)| format!("{name}={got}"));
            return Err(Error::OptionNotTaken { codec: NAME, wanted: format!("{key}={value}"), got });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            width: 64,
            height: 32,
            frame_rate: (30, 1),
            preset: Preset::Veryfast,
            rate: Rate::Capped { crf: 23, max_bitrate: 400_000, buffer_bits: 200_000 },
            keyint: None,
            delay: Delay::None { bframes: 0 },
            level: None,
            colour: Colour::BT709,
        }
    }

    fn encode(options: &Options, pictures: usize) -> (Vec<Coded>, Vec<Coded>) {
        let mut encoder = Encoder::open(options).unwrap();
        let (mut at_once, mut late) = (Vec::new(), Vec::new());
        for _ in 0..pictures {
            encoder.encode(Picture::new(64, 32).unwrap(), &mut |coded| at_once.push(coded)).unwrap();
        }
        encoder.finish(&mut |coded| late.push(coded)).unwrap();
        (at_once, late)
    }

    #[test]
    fn without_b_frames_every_picture_comes_out_at_once_and_only_the_first_is_an_idr() {
        let (at_once, late) = encode(&options(), 400);
        assert_eq!((at_once.len(), late.len()), (400, 0));
        for (number, coded) in (0..).zip(&at_once) {
            assert_eq!((coded.shown, coded.decoded, coded.idr), (number, number, number == 0));
        }
    }

    #[test]
    fn with_b_frames_pictures_are_reordered_and_decode_times_stay_below() {
        let (at_once, late) = encode(&Options { delay: Delay::None { bframes: 2 }, keyint: Some(6), ..options() }, 12);
        let all: Vec<Coded> = at_once.into_iter().chain(late).collect();
        assert_eq!(all.iter().filter(|coded| coded.idr).count(), 2);
        assert!(all.iter().all(|coded| coded.decoded <= coded.shown));
        assert!(all.windows(2).any(|pair| pair[1].shown < pair[0].shown));
        assert!(all.windows(2).all(|pair| pair[1].decoded > pair[0].decoded));
    }

    #[test]
    fn units_hold_nothing_but_slices() {
        for coded in encode(&options(), 3).0 {
            for nal in h264::nal_units(&coded.data, 4) {
                assert!(matches!(nal.unwrap()[0] & 0x1F, 1 | 5));
            }
        }
    }

    #[test]
    fn an_unknown_private_option_fails_in_words() {
        let found = encoder::find_by_name(NAME).unwrap();
        let mut context = codec::Context::new_with_codec(found);
        configure(&mut context, &options());
        let error = open::open(&mut context, found, NAME, &[("presett", "veryfast".to_owned())]).unwrap_err();
        assert_eq!(error.to_string(), "libx264 does not know the option presett=veryfast");
    }

    #[test]
    fn a_setting_that_x264_does_not_confirm_fails_in_words() {
        let check = |text: &str, expected: &str| {
            let wanted = vec![("keyint", "infinite".to_owned()), ("threads", "1".to_owned())];
            let got = compare(&wanted, text).map_or_else(|error| error.to_string(), |()| String::new());
            assert_eq!(got, expected, "{text}");
        };
        check("cabac=1 threads=1 keyint=infinite", "");
        check("threads=2 keyint=infinite", "libx264 was asked for threads=1, and works with threads=2");
        check("threads=1 keyint_min=1", "libx264 was asked for keyint=infinite, and works with no keyint");
        check("", "libx264 was asked for keyint=infinite, and works with no keyint");
    }

    #[test]
    fn impossible_rates_are_refused() {
        for frame_rate in [(0, 1), (30, 0), (481, 1), (1, 2)] {
            assert!(Encoder::open(&Options { frame_rate, ..options() }).is_err(), "{frame_rate:?}");
        }
        let rate = Rate::Constant { bitrate: 1000, buffer_bits: 1000 };
        assert!(Encoder::open(&Options { rate, ..options() }).is_err());
    }
}
