//! What parent and child say to each other over pipes.
//!
//! A message is a big-endian 32-bit length, then as many bytes: one that says which message, then its fields, numbers
//! big-endian, the last field as long as is left. Both sides are the same binary, so there are no versions. Neither
//! side trusts the other: lengths are limited and every field is checked.

use crate::ladder::{FromLadder, RungSettings, Settings, ToLadder};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use media::h264::VideoConfig;
use media::ladder::RUNGS_MAX;
use media::unit::VideoUnit;
use std::io::{BufRead, Read};

/// Longest message. RTMP messages are at most 8 MiB, and x264 makes no larger pictures out of smaller ones.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Bytes of the length in front.
pub(crate) const LENGTH_BYTES: usize = 4;

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub &'static str);

/// A message from the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToChild {
    /// The first, and only the first.
    Settings(Settings),
    /// All others.
    Ladder(ToLadder),
}

mod kind {
    pub(super) const SETTINGS: u8 = 1;
    pub(super) const CONFIG: u8 = 2;
    pub(super) const SEGMENT: u8 = 3;
    pub(super) const UNIT: u8 = 4;
    pub(super) const END: u8 = 5;
    pub(super) const RUNG_CONFIG: u8 = 17;
    pub(super) const RUNG_UNIT: u8 = 18;
    pub(super) const SEGMENT_END: u8 = 19;
    pub(super) const FAILED: u8 = 20;
    pub(super) const WORKED: u8 = 21;
}

/// A message with its length in front.
pub fn encode_to_child(message: &ToChild) -> Bytes {
    framed(|out| match message {
        ToChild::Settings(settings) => {
            out.put_u8(kind::SETTINGS);
            out.put_u32(settings.segment_ms);
            out.put_u8(u8::try_from(settings.rungs.len()).unwrap_or(u8::MAX));
            for rung in settings.rungs.iter().take(usize::from(u8::MAX)) {
                out.put_u32(rung.width);
                out.put_u32(rung.height);
                out.put_u32(rung.bitrate);
            }
            out.put_slice(settings.config.avcc());
        }
        ToChild::Ladder(ToLadder::Config(config)) => {
            out.put_u8(kind::CONFIG);
            out.put_slice(config.avcc());
        }
        ToChild::Ladder(ToLadder::Segment { seq, start_pts, skip }) => {
            out.put_u8(kind::SEGMENT);
            out.put_u64(*seq);
            out.put_i64(*start_pts);
            out.put_u8(*skip);
        }
        ToChild::Ladder(ToLadder::Unit(unit)) => {
            out.put_u8(kind::UNIT);
            put_unit(out, unit);
        }
        ToChild::Ladder(ToLadder::End) => out.put_u8(kind::END),
    })
}

/// Reads a message without its length.
pub fn decode_to_child(mut message: Bytes) -> Result<ToChild, Malformed> {
    let ladder = match get(message.try_get_u8())? {
        kind::SETTINGS => return settings(message).map(ToChild::Settings),
        kind::CONFIG => ToLadder::Config(config(message)?),
        kind::SEGMENT => {
            let (seq, start_pts) = (get(message.try_get_u64())?, get(message.try_get_i64())?);
            let skip = get(message.try_get_u8())?;
            ended(&message)?;
            ToLadder::Segment { seq, start_pts, skip }
        }
        kind::UNIT => ToLadder::Unit(unit(message)?),
        kind::END => {
            ended(&message)?;
            ToLadder::End
        }
        _ => return Err(Malformed("an unknown kind from the parent")),
    };
    Ok(ToChild::Ladder(ladder))
}

/// A message with its length in front.
pub fn encode_from_child(message: &FromLadder) -> Bytes {
    framed(|out| match message {
        FromLadder::Config { rung, config } => {
            out.put_u8(kind::RUNG_CONFIG);
            put_rung(out, *rung);
            out.put_slice(config.avcc());
        }
        FromLadder::Unit { rung, seq, unit } => {
            out.put_u8(kind::RUNG_UNIT);
            put_rung(out, *rung);
            out.put_u64(*seq);
            put_unit(out, unit);
        }
        FromLadder::SegmentEnd { rung, seq } => {
            out.put_u8(kind::SEGMENT_END);
            put_rung(out, *rung);
            out.put_u64(*seq);
        }
        FromLadder::Worked { seq, busy_us } => {
            out.put_u8(kind::WORKED);
            out.put_u64(*seq);
            out.put_u32(*busy_us);
        }
        FromLadder::Failed { why } => {
            out.put_u8(kind::FAILED);
            out.put_slice(why.as_bytes());
        }
    })
}

/// Reads a message without its length.
pub fn decode_from_child(mut message: Bytes) -> Result<FromLadder, Malformed> {
    Ok(match get(message.try_get_u8())? {
        kind::RUNG_CONFIG => FromLadder::Config { rung: rung(&mut message)?, config: config(message)? },
        kind::RUNG_UNIT => {
            let (rung, seq) = (rung(&mut message)?, get(message.try_get_u64())?);
            FromLadder::Unit { rung, seq, unit: unit(message)? }
        }
        kind::SEGMENT_END => {
            let (rung, seq) = (rung(&mut message)?, get(message.try_get_u64())?);
            ended(&message)?;
            FromLadder::SegmentEnd { rung, seq }
        }
        kind::WORKED => {
            let (seq, busy_us) = (get(message.try_get_u64())?, get(message.try_get_u32())?);
            ended(&message)?;
            FromLadder::Worked { seq, busy_us }
        }
        kind::FAILED => FromLadder::Failed { why: String::from_utf8_lossy(&message).into_owned() },
        _ => return Err(Malformed("an unknown kind from the child")),
    })
}

/// How long the message behind these bytes is.
pub(crate) fn message_length(length: [u8; LENGTH_BYTES]) -> Result<usize, Malformed> {
    match u32::from_be_bytes(length) as usize {
        0 => Err(Malformed("an empty message")),
        length if length > MESSAGE_BYTES_MAX => Err(Malformed("a message of more than 16 MiB")),
        length => Ok(length),
    }
}

/// Reads the next message, blocking. `None` where the pipe ends between two messages.
pub(crate) fn read(input: &mut impl BufRead) -> Result<Option<Bytes>, crate::Error> {
    let failed = || crate::Error::io("reading from the parent");
    // Of the length, the first byte may be missing; of what follows, nothing.
    let Some(first) = input.by_ref().bytes().next() else { return Ok(None) };
    let mut rest = [0; LENGTH_BYTES - 1];
    let first = first.map_err(failed())?;
    input.read_exact(&mut rest).map_err(failed())?;
    let mut message = vec![0; message_length([first, rest[0], rest[1], rest[2]])?];
    input.read_exact(&mut message).map_err(failed())?;
    Ok(Some(message.into()))
}

pub(crate) fn framed(body: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u32(0);
    body(&mut out);
    let length = u32::try_from(out.len() - LENGTH_BYTES).unwrap_or(u32::MAX);
    out[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    out.freeze()
}

pub(crate) fn put_unit(out: &mut BytesMut, unit: &VideoUnit) {
    out.put_i64(unit.dts);
    out.put_i64(unit.pts);
    out.put_u8(u8::from(unit.idr));
    out.put_slice(&unit.data);
}

pub(crate) fn unit(mut message: Bytes) -> Result<VideoUnit, Malformed> {
    let (dts, pts) = (get(message.try_get_i64())?, get(message.try_get_i64())?);
    let idr = match get(message.try_get_u8())? {
        0 => false,
        1 => true,
        _ => return Err(Malformed("a flag that is neither 0 nor 1")),
    };
    Ok(VideoUnit { dts, pts, idr, data: message })
}

/// Rungs are counted by `RUNGS_MAX`, which fits.
pub(crate) fn put_rung(out: &mut BytesMut, rung: usize) {
    out.put_u8(u8::try_from(rung).unwrap_or(u8::MAX));
}

pub(crate) fn rung(message: &mut Bytes) -> Result<usize, Malformed> {
    let rung = usize::from(get(message.try_get_u8())?);
    if rung < RUNGS_MAX { Ok(rung) } else { Err(Malformed("a rung that no ladder has")) }
}

fn settings(mut message: Bytes) -> Result<Settings, Malformed> {
    let segment_ms = get(message.try_get_u32())?;
    let count = usize::from(get(message.try_get_u8())?);
    if count > RUNGS_MAX {
        return Err(Malformed("more rungs than a ladder has"));
    }
    let mut rungs = Vec::with_capacity(count);
    for _ in 0..count {
        let (width, height) = (get(message.try_get_u32())?, get(message.try_get_u32())?);
        rungs.push(RungSettings { width, height, bitrate: get(message.try_get_u32())? });
    }
    Ok(Settings { config: config(message)?, rungs, segment_ms })
}

pub(crate) fn config(avcc: Bytes) -> Result<VideoConfig, Malformed> {
    VideoConfig::from_avcc(avcc).map_err(|_| Malformed("a decoder configuration that does not parse"))
}

pub(crate) fn get<T>(read: Result<T, bytes::TryGetError>) -> Result<T, Malformed> {
    read.map_err(|_| Malformed("it ends early"))
}

pub(crate) fn ended(message: &Bytes) -> Result<(), Malformed> {
    if message.is_empty() { Ok(()) } else { Err(Malformed("it does not end where it should")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn some_config() -> VideoConfig {
        let settings = crate::encode::VideoSettings { width: 64, height: 32, ..Default::default() };
        crate::encode::Video::open(&settings).unwrap().config().clone()
    }

    fn units() -> impl Strategy<Value = VideoUnit> {
        (any::<i64>(), any::<i64>(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(dts, pts, idr, data)| VideoUnit { dts, pts, idr, data: data.into() })
    }

    fn to_child() -> impl Strategy<Value = ToChild> {
        let config = some_config();
        let rungs = proptest::collection::vec((any::<u32>(), any::<u32>(), any::<u32>()), 0..=RUNGS_MAX);
        let settings = (rungs, any::<u32>(), Just(config.clone())).prop_map(|(rungs, segment_ms, config)| {
            let rung = |(width, height, bitrate)| RungSettings { width, height, bitrate };
            ToChild::Settings(Settings { config, rungs: rungs.into_iter().map(rung).collect(), segment_ms })
        });
        let segment = (any::<u64>(), any::<i64>(), any::<u8>()).prop_map(|(seq, start_pts, skip)| ToLadder::Segment {
            seq,
            start_pts,
            skip,
        });
        prop_oneof![
            settings,
            Just(ToChild::Ladder(ToLadder::Config(config))),
            segment.prop_map(ToChild::Ladder),
            units().prop_map(|unit| ToChild::Ladder(ToLadder::Unit(unit))),
            Just(ToChild::Ladder(ToLadder::End)),
        ]
    }

    fn from_child() -> impl Strategy<Value = FromLadder> {
        let (rung, config) = (0..RUNGS_MAX, some_config());
        prop_oneof![
            rung.clone().prop_map(move |rung| FromLadder::Config { rung, config: config.clone() }),
            (rung.clone(), any::<u64>(), units()).prop_map(|(rung, seq, unit)| FromLadder::Unit { rung, seq, unit }),
            (rung, any::<u64>()).prop_map(|(rung, seq)| FromLadder::SegmentEnd { rung, seq }),
            (any::<u64>(), any::<u32>()).prop_map(|(seq, busy_us)| FromLadder::Worked { seq, busy_us }),
            ".{0,80}".prop_map(|why| FromLadder::Failed { why }),
        ]
    }

    fn body(framed: &Bytes) -> Bytes {
        let mut input = &framed[..];
        let body = read(&mut input).unwrap().unwrap();
        assert!(input.is_empty());
        body
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(down in to_child(), up in from_child()) {
            prop_assert_eq!(decode_to_child(body(&encode_to_child(&down))), Ok(down));
            prop_assert_eq!(decode_from_child(body(&encode_from_child(&up))), Ok(up));
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let bytes = Bytes::from(bytes);
            let _ = decode_to_child(bytes.clone());
            let _ = decode_from_child(bytes.clone());
            let _ = read(&mut &bytes[..]);
        }

        #[test]
        fn a_damaged_message_is_another_message_or_an_error(
            down in to_child(), up in from_child(), at in any::<prop::sample::Index>(), value in any::<u8>(),
        ) {
            for (framed, parent) in [(encode_to_child(&down), true), (encode_from_child(&up), false)] {
                let mut damaged = framed.to_vec();
                let at = at.index(damaged.len());
                damaged[at] = value;
                if let Ok(Some(message)) = read(&mut &damaged[..]) {
                    if parent { let _ = decode_to_child(message); } else { let _ = decode_from_child(message); }
                }
                let cut = framed.slice(LENGTH_BYTES..at.max(LENGTH_BYTES));
                if parent { let _ = decode_to_child(cut); } else { let _ = decode_from_child(cut); }
            }
        }
    }

    #[test]
    fn lengths_beyond_the_limit_are_refused_before_memory_is_taken() {
        let check = |length: u32, expected| assert_eq!(message_length(length.to_be_bytes()), expected, "{length}");
        check(1, Ok(1));
        check(MESSAGE_BYTES_MAX as u32, Ok(MESSAGE_BYTES_MAX));
        check(MESSAGE_BYTES_MAX as u32 + 1, Err(Malformed("a message of more than 16 MiB")));
        check(u32::MAX, Err(Malformed("a message of more than 16 MiB")));
        check(0, Err(Malformed("an empty message")));
    }

    #[test]
    fn a_pipe_may_end_only_between_messages() {
        assert!(read(&mut &[][..]).unwrap().is_none());
        for cut in [&[0][..], &[0, 0, 0, 2], &[0, 0, 0, 2, 5]] {
            assert!(read(&mut &cut[..]).is_err(), "{cut:?}");
        }
    }
}
