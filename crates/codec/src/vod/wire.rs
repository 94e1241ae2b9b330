//! What parent and VOD child say to each other over pipes.
//!
//! A message is a big-endian 32-bit length, then as many bytes: one that says which message, then its fields, numbers
//! big-endian, the last field as long as is left; what is rare and not media is JSON. Both sides are the same binary, so there
//! are no versions. Neither side trusts the other.

use super::{FromVod, Job, READ_BYTES_MAX, Stamp};
use crate::wire::{Malformed, config, ended, framed, get, put_rung, put_unit, rung, unit};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::io::{BufRead, Read};

/// Longest message: a sheet, or a picture of 8192×8192 at its worst.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Stamps in a message, video and audio together.
pub(crate) const STAMPS_MAX: usize = 4096;

/// Bytes of the length in front.
pub(crate) const LENGTH_BYTES: usize = 4;

/// A message from the parent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ToVod {
    /// The first, and only the first.
    Job(Job),
    /// What [`FromVod::Read`] asked for.
    Bytes(Bytes),
}

mod kind {
    pub(super) const JOB: u8 = 1;
    pub(super) const BYTES: u8 = 2;
    pub(super) const READ: u8 = 17;
    pub(super) const TRACKS: u8 = 18;
    pub(super) const STAMPS: u8 = 19;
    pub(super) const CONFIG: u8 = 20;
    pub(super) const UNIT: u8 = 21;
    pub(super) const SEGMENT_END: u8 = 22;
    pub(super) const PACKET: u8 = 23;
    pub(super) const SOUND: u8 = 24;
    pub(super) const SHEET: u8 = 25;
    pub(super) const FAILED: u8 = 26;
    pub(super) const DONE: u8 = 27;
}

/// A message with its length in front.
pub(crate) fn encode_to_child(message: &ToVod) -> Bytes {
    framed(|out| match message {
        ToVod::Job(job) => {
            out.put_u8(kind::JOB);
            put_json(out, job);
        }
        ToVod::Bytes(bytes) => {
            out.put_u8(kind::BYTES);
            out.put_slice(bytes);
        }
    })
}

/// Reads a message without its length.
pub(crate) fn decode_to_child(mut message: Bytes) -> Result<ToVod, Malformed> {
    match get(message.try_get_u8())? {
        kind::JOB => json(&message).map(ToVod::Job),
        kind::BYTES => Ok(ToVod::Bytes(message)),
        _ => Err(Malformed("an unknown kind from the parent")),
    }
}

/// A message with its length in front.
pub(crate) fn encode_from_child(message: &FromVod) -> Bytes {
    framed(|out| match message {
        FromVod::Read { reel, offset, length } => {
            out.put_u8(kind::READ);
            out.put_u32(*reel);
            out.put_u64(*offset);
            out.put_u32(*length);
        }
        FromVod::Tracks { reel, tracks } => {
            out.put_u8(kind::TRACKS);
            out.put_u32(*reel);
            put_json(out, tracks);
        }
        FromVod::Stamps { reel, video, audio } => {
            out.put_u8(kind::STAMPS);
            out.put_u32(*reel);
            put_stamps(out, video);
            put_stamps(out, audio);
        }
        FromVod::Config { rung, config } => {
            out.put_u8(kind::CONFIG);
            put_rung(out, *rung);
            out.put_slice(config.avcc());
        }
        FromVod::Unit { rung, seq, unit } => {
            out.put_u8(kind::UNIT);
            put_rung(out, *rung);
            out.put_u64(*seq);
            put_unit(out, unit);
        }
        FromVod::SegmentEnd { rung, seq } => {
            out.put_u8(kind::SEGMENT_END);
            put_rung(out, *rung);
            out.put_u64(*seq);
        }
        FromVod::Packet { pts, data } => {
            out.put_u8(kind::PACKET);
            out.put_i64(*pts);
            out.put_slice(data);
        }
        FromVod::Sound { seq, blocks } => {
            out.put_u8(kind::SOUND);
            out.put_u64(*seq);
            for block in blocks {
                out.put_u32(length(block.len()));
                out.put_slice(block);
            }
        }
        FromVod::Sheet(jpeg) => {
            out.put_u8(kind::SHEET);
            out.put_slice(jpeg);
        }
        FromVod::Failed { why, machine } => {
            out.put_u8(kind::FAILED);
            out.put_u8(u8::from(*machine));
            out.put_slice(why.as_bytes());
        }
        FromVod::Done => out.put_u8(kind::DONE),
    })
}

/// Reads a message without its length.
pub(crate) fn decode_from_child(mut message: Bytes) -> Result<FromVod, Malformed> {
    Ok(match get(message.try_get_u8())? {
        kind::READ => {
            let (reel, offset) = (get(message.try_get_u32())?, get(message.try_get_u64())?);
            let length = get(message.try_get_u32())?;
            ended(&message)?;
            if !(1..=READ_BYTES_MAX).contains(&length) {
                return Err(Malformed("a read of nothing or of more than 4 MiB"));
            }
            FromVod::Read { reel, offset, length }
        }
        kind::TRACKS => FromVod::Tracks { reel: get(message.try_get_u32())?, tracks: json(&message)? },
        kind::STAMPS => {
            let reel = get(message.try_get_u32())?;
            let (video, audio) = (stamps(&mut message)?, stamps(&mut message)?);
            ended(&message)?;
            FromVod::Stamps { reel, video, audio }
        }
        kind::CONFIG => FromVod::Config { rung: rung(&mut message)?, config: config(message)? },
        kind::UNIT => {
            let (rung, seq) = (rung(&mut message)?, get(message.try_get_u64())?);
            FromVod::Unit { rung, seq, unit: unit(message)? }
        }
        kind::SEGMENT_END => {
            let (rung, seq) = (rung(&mut message)?, get(message.try_get_u64())?);
            ended(&message)?;
            FromVod::SegmentEnd { rung, seq }
        }
        kind::PACKET => FromVod::Packet { pts: get(message.try_get_i64())?, data: message },
        kind::SOUND => {
            let (seq, mut blocks) = (get(message.try_get_u64())?, Vec::new());
            while !message.is_empty() {
                let length = get(message.try_get_u32())? as usize;
                if length > message.len() {
                    return Err(Malformed("it ends early"));
                }
                blocks.push(message.split_to(length));
            }
            FromVod::Sound { seq, blocks }
        }
        kind::SHEET => FromVod::Sheet(message),
        kind::FAILED => {
            let machine = get(message.try_get_u8())? != 0;
            FromVod::Failed { why: String::from_utf8_lossy(&message).into_owned(), machine }
        }
        kind::DONE => {
            ended(&message)?;
            FromVod::Done
        }
        _ => return Err(Malformed("an unknown kind from the child")),
    })
}

/// How long the message behind these bytes is.
pub(crate) fn message_length(length: [u8; LENGTH_BYTES]) -> Result<usize, Malformed> {
    match u32::from_be_bytes(length) as usize {
        0 => Err(Malformed("an empty message")),
        length if length > MESSAGE_BYTES_MAX => Err(Malformed("a message of more than 64 MiB")),
        length => Ok(length),
    }
}

/// Reads the next message, blocking. `None` where the pipe ends between two messages.
pub(crate) fn read(input: &mut impl BufRead) -> Result<Option<Bytes>, crate::Error> {
    let failed = || crate::Error::io("reading from the parent");
    let Some(first) = input.by_ref().bytes().next() else { return Ok(None) };
    let (first, mut rest) = (first.map_err(failed())?, [0; LENGTH_BYTES - 1]);
    input.read_exact(&mut rest).map_err(failed())?;
    let mut message = vec![0; message_length([first, rest[0], rest[1], rest[2]])?];
    input.read_exact(&mut message).map_err(failed())?;
    Ok(Some(message.into()))
}

fn put_json(out: &mut BytesMut, value: &impl serde::Serialize) {
    // Plain data with string keys always has a JSON form; if not, the other side says that it ends early.
    if let Ok(text) = serde_json::to_vec(value) {
        out.put_slice(&text);
    }
}

fn json<T: serde::de::DeserializeOwned>(text: &[u8]) -> Result<T, Malformed> {
    serde_json::from_slice(text).map_err(|_| Malformed("JSON that does not parse"))
}

fn put_stamps(out: &mut BytesMut, stamps: &[Stamp]) {
    out.put_u32(length(stamps.len()));
    for stamp in stamps {
        out.put_i64(stamp.pts);
        out.put_u8(u8::from(stamp.key));
    }
}

fn stamps(message: &mut Bytes) -> Result<Vec<Stamp>, Malformed> {
    let count = get(message.try_get_u32())? as usize;
    if count > STAMPS_MAX {
        return Err(Malformed("more than 4096 stamps"));
    }
    let mut stamps = Vec::with_capacity(count);
    for _ in 0..count {
        let pts = get(message.try_get_i64())?;
        stamps.push(Stamp { pts, key: get(message.try_get_u8())? != 0 });
    }
    Ok(stamps)
}

fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::{
        AudioTrack, EncodeJob, Reel, RungJob, SegmentJob, SheetJob, SoundJob, SoundSpan, Tracks, VideoTrack,
    };
    use super::*;
    use crate::vod::Effort;
    use media::unit::VideoUnit;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..200).prop_map(Bytes::from)
    }

    fn reels() -> impl Strategy<Value = Vec<Reel>> {
        vec(any::<u64>().prop_map(|bytes| Reel { bytes }), 0..4)
    }

    fn sounds() -> impl Strategy<Value = SoundJob> {
        let spans = vec(
            (any::<u64>(), any::<i64>(), any::<u32>()).prop_map(|(seq, start, blocks)| SoundSpan {
                seq,
                start,
                blocks,
            }),
            0..3,
        );
        prop_oneof![
            Just(SoundJob::None),
            any::<(i64, i64)>().prop_map(|(start, end)| SoundJob::Copy { start, end }),
            (any::<(u32, u8, u32)>(), spans).prop_map(|((sample_rate, channels, bitrate), spans)| SoundJob::Encode {
                sample_rate,
                channels,
                bitrate,
                spans
            }),
        ]
    }

    fn jobs() -> impl Strategy<Value = Job> {
        let segment =
            any::<(u64, i64, i64, u8)>().prop_map(|(seq, start, end, skip)| SegmentJob { seq, start, end, skip });
        let rung = any::<(u32, u32, u32, u8)>().prop_map(|(width, height, bitrate, crf)| RungJob {
            width,
            height,
            bitrate,
            crf,
            effort: Effort::Medium,
        });
        let encode = (reels(), vec(segment, 0..3), vec(rung, 0..3), any::<(i64, u32, u32, u32)>(), sounds()).prop_map(
            |(reels, segments, rungs, (seek, num, den, segment_ms), sound)| {
                Job::Encode(EncodeJob { reels, seek, segments, rungs, frame_rate: (num, den), segment_ms, sound })
            },
        );
        prop_oneof![
            reels().prop_map(|reels| Job::Probe { reels }),
            encode,
            (reels(), any::<(u32, u32, u32)>()).prop_map(|(reels, (columns, width, height))| Job::Sheet(SheetJob {
                reels,
                columns,
                width,
                height
            })),
        ]
    }

    fn to_child() -> impl Strategy<Value = ToVod> {
        prop_oneof![jobs().prop_map(ToVod::Job), bytes().prop_map(ToVod::Bytes)]
    }

    fn stamps() -> impl Strategy<Value = Vec<Stamp>> {
        vec(any::<(i64, bool)>().prop_map(|(pts, key)| Stamp { pts, key }), 0..20)
    }

    fn tracks() -> impl Strategy<Value = Tracks> {
        let video = any::<(u32, u32, Option<(u32, u32)>)>().prop_map(|(width, height, frame_rate)| VideoTrack {
            codec: "h264".to_owned(),
            width,
            height,
            frame_rate,
            layout: Some(media::projection::Layout::default()),
            config: "00ff".to_owned(),
        });
        let audio = any::<(u32, u8)>().prop_map(|(sample_rate, channels)| AudioTrack {
            codec: "aac".to_owned(),
            sample_rate,
            channels,
            asc: None,
        });
        (".{0,20}", proptest::option::of(video), proptest::option::of(audio))
            .prop_map(|(format, video, audio)| Tracks { format, video, audio })
    }

    fn from_child() -> impl Strategy<Value = FromVod> {
        let settings = crate::encode::VideoSettings { width: 64, height: 32, ..Default::default() };
        let config = crate::encode::Video::open(&settings).unwrap().config().clone();
        let rungs = 0..media::ladder::RUNGS_MAX;
        let unit =
            (any::<(i64, i64, bool)>(), bytes()).prop_map(|((dts, pts, idr), data)| VideoUnit { dts, pts, idr, data });
        prop_oneof![
            (any::<(u32, u64)>(), 1..=READ_BYTES_MAX).prop_map(|((reel, offset), length)| FromVod::Read {
                reel,
                offset,
                length
            }),
            (any::<u32>(), tracks()).prop_map(|(reel, tracks)| FromVod::Tracks { reel, tracks }),
            (any::<u32>(), stamps(), stamps()).prop_map(|(reel, video, audio)| FromVod::Stamps { reel, video, audio }),
            rungs.clone().prop_map(move |rung| FromVod::Config { rung, config: config.clone() }),
            (rungs.clone(), any::<u64>(), unit).prop_map(|(rung, seq, unit)| FromVod::Unit { rung, seq, unit }),
            (rungs, any::<u64>()).prop_map(|(rung, seq)| FromVod::SegmentEnd { rung, seq }),
            (any::<i64>(), bytes()).prop_map(|(pts, data)| FromVod::Packet { pts, data }),
            (any::<u64>(), vec(bytes(), 0..4)).prop_map(|(seq, blocks)| FromVod::Sound { seq, blocks }),
            bytes().prop_map(FromVod::Sheet),
            (".{0,80}", any::<bool>()).prop_map(|(why, machine)| FromVod::Failed { why, machine }),
            Just(FromVod::Done),
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
        fn any_bytes_are_a_message_or_an_error(kind in 0..30_u8, bytes in vec(any::<u8>(), 0..400)) {
            let bytes = Bytes::from([vec![kind], bytes].concat());
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
    fn lengths_beyond_the_limits_are_refused_before_memory_is_taken() {
        let check = |length: u32, expected| assert_eq!(message_length(length.to_be_bytes()), expected, "{length}");
        check(1, Ok(1));
        check(MESSAGE_BYTES_MAX as u32, Ok(MESSAGE_BYTES_MAX));
        check(MESSAGE_BYTES_MAX as u32 + 1, Err(Malformed("a message of more than 64 MiB")));
        check(0, Err(Malformed("an empty message")));
        let stamps = Bytes::from_static(&[kind::STAMPS, 0, 0, 0, 0, 0, 0, 0x10, 0x01]);
        assert_eq!(decode_from_child(stamps), Err(Malformed("more than 4096 stamps")));
        for length in [0, READ_BYTES_MAX + 1] {
            let read = encode_from_child(&FromVod::Read { reel: 0, offset: 0, length });
            assert!(decode_from_child(body(&read)).is_err(), "{length}");
        }
    }
}
