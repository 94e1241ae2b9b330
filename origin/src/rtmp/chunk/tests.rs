//! What the chunk reader must read, what rml_rtmp's reader makes of it, and what the chunk reader must refuse.

use super::*;
use crate::rtmp::testkit::{Extended, basic_header, chunks, message};
use proptest::prelude::*;
use rml_rtmp::chunk_io::ChunkDeserializer;
use std::panic::catch_unwind;

/// Past 0xFFFFFF ms, where 24 bits of time don't do.
const LATE: u32 = 0x0123_4567;

fn body(size: usize, seed: u8) -> Vec<u8> {
    (0..size).map(|n| (n as u8).wrapping_mul(7) ^ seed).collect()
}

/// All messages that bytes hold, pushed in pieces.
fn read(bytes: &[u8], piece: usize) -> Result<Vec<Message>, ChunkError> {
    let mut reader = Reader::new(Limits::default());
    let mut out = Vec::new();
    for bytes in bytes.chunks(piece.max(1)) {
        reader.push(bytes);
        while let Some(message) = reader.next_message()? {
            out.push(message);
        }
    }
    Ok(out)
}

/// The same from rml_rtmp; `None` if it panics or finds an error.
fn rml_rtmp_reads(bytes: &[u8]) -> Option<Vec<Message>> {
    let bytes = bytes.to_vec();
    let all = move || {
        let mut reader = ChunkDeserializer::new();
        let (mut out, mut bytes) = (Vec::new(), &bytes[..]);
        while let Some(found) = reader.get_next_message(bytes).ok()? {
            out.push(message(found.type_id, found.message_stream_id, found.timestamp.value, found.data));
            bytes = &[];
        }
        Some(out)
    };
    catch_unwind(all).ok().flatten()
}

/// Reads the bytes whole and byte by byte.
fn check(rule: &str, bytes: &[u8], expected: &[Message]) {
    for piece in [bytes.len(), 1, 7] {
        let got = read(bytes, piece);
        let brief =
            |messages: &[Message]| messages.iter().map(|m| (m.timestamp, m.kind, m.payload.len())).collect::<Vec<_>>();
        assert_eq!(got.as_deref().map(brief), Ok(brief(expected)), "{rule}, {piece} bytes at a time");
        assert!(got.as_deref() == Ok(expected), "{rule}, {piece} bytes at a time: payloads differ");
    }
}

fn refused(rule: &str, bytes: &[u8], expected: ChunkError) {
    assert_eq!(read(bytes, bytes.len()), Err(expected), "{rule}");
}

/// Sets a chunk size, while chunks have at least four bytes.
fn set_chunk_size(size: u32) -> Vec<u8> {
    chunks(&message(1, 0, 0, size.to_be_bytes().to_vec()), 2, 128, Extended::Repeated).concat()
}

/// A header that announces a message of a length, and the first byte of its payload.
fn header(id: u32, length: usize) -> Vec<u8> {
    let mut out = chunks(&message(9, 1, 0, vec![0]), id, 128, Extended::Repeated).concat();
    let at = basic_header(0, id).len() + 3;
    out[at..at + 3].copy_from_slice(&(length as u32).to_be_bytes()[1..]);
    out
}

/// A picture of three chunks, and a sound of one in the middle of it.
fn interleaved() -> (Vec<u8>, [Message; 2]) {
    let (video, audio) = (message(9, 1, 40, body(300, 1)), message(8, 1, 41, body(100, 2)));
    let mut parts = chunks(&video, 6, 128, Extended::Repeated);
    parts.splice(1..1, chunks(&audio, 4, 128, Extended::Repeated));
    (parts.concat(), [audio, video])
}

fn late(extended: Extended) -> (Vec<u8>, [Message; 1]) {
    let video = message(9, 1, LATE, body(300, 1));
    (chunks(&video, 6, 128, extended).concat(), [video])
}

#[test]
fn rml_rtmp_keeps_one_partial_message_for_all_chunk_streams_so_interleaved_ones_break_it() {
    let (bytes, expected) = interleaved();
    assert!(rml_rtmp_reads(&bytes) != Some(expected.to_vec()));
}

#[test]
fn chunk_streams_may_be_interleaved() {
    let (bytes, expected) = interleaved();
    check("audio between the chunks of a picture", &bytes, &expected);
}

#[test]
fn rml_rtmp_eats_four_bytes_of_payload_from_encoders_that_dont_repeat_an_extended_time() {
    let (bytes, expected) = late(Extended::Repeated);
    assert!(rml_rtmp_reads(&bytes) == Some(expected.to_vec()), "it reads the one style");
    let (bytes, expected) = late(Extended::Omitted);
    assert!(rml_rtmp_reads(&bytes) != Some(expected.to_vec()), "and not the other");
}

#[test]
fn extended_times_may_be_repeated_in_type_3_headers_or_not() {
    for style in [Extended::Repeated, Extended::Omitted] {
        let (bytes, expected) = late(style);
        check(&format!("{style:?}"), &bytes, &expected);
    }
}

#[test]
fn rml_rtmp_refuses_librtmp_which_opens_the_control_stream_with_a_type_1_header() {
    let pong = [&basic_header(1, 2)[..], &[0, 0, 9, 0, 0, 6, 4], &[0, 7, 0, 0, 0, 5]].concat();
    assert_eq!(rml_rtmp_reads(&pong), None);
    check("a type 1 header on a new chunk stream", &pong, &[message(4, 0, 9, vec![0, 7, 0, 0, 0, 5])]);
}

#[test]
fn a_last_piece_of_payload_shorter_than_a_time_is_not_waited_for() {
    // 130 = 128 + 2: the second chunk is a type 3 header and two bytes.
    let video = message(9, 1, LATE, body(130, 9));
    check("two bytes", &chunks(&video, 6, 128, Extended::Omitted).concat(), &[video]);
}

#[test]
fn times_pass_4_h_39_min_and_wrap_after_49_7_days() {
    let delta = |format: u8, delta: u32, rest: &[u8]| {
        let long = (delta >= 0xFF_FFFF).then(|| delta.to_be_bytes()).into_iter().flatten();
        let mut out = basic_header(format, 6);
        out.extend_from_slice(&delta.min(0xFF_FFFF).to_be_bytes()[1..]);
        out.extend_from_slice(rest);
        out.extend(long);
        out.push(7);
        out
    };
    let byte = |timestamp| message(9, 1, timestamp, vec![7]);
    for (rule, start) in [("4 h 39 min", 0xFF_FFFE), ("2^32", u32::MAX - 1), ("exactly the mark", 0xFF_FFFF)] {
        let first = byte(start);
        let bytes = [
            chunks(&first, 6, 128, Extended::Repeated).concat(),
            delta(1, 40, &[0, 0, 1, 9]),
            delta(2, 33, &[]),
            [basic_header(3, 6), vec![7]].concat(),
            delta(2, 0x0200_0000, &[]),
        ];
        let times = [0, 40, 73, 106, 106 + 0x0200_0000].map(|after| byte(start.wrapping_add(after)));
        check(rule, &bytes.concat(), &times);
    }
}

#[test]
fn a_type_3_header_after_a_type_0_adds_its_time_once_more_unless_that_is_extended() {
    for (start, next) in [(20, 40), (LATE, LATE)] {
        let first = message(9, 1, start, vec![7]);
        let mut bytes = chunks(&first, 6, 128, Extended::Repeated).concat();
        bytes.extend([basic_header(3, 6), vec![7]].concat());
        check("type 3 after type 0", &bytes, &[first, message(9, 1, next, vec![7])]);
    }
}

#[test]
fn basic_headers_have_one_to_three_bytes() {
    for id in [2, 3, 63, 64, 319, 320, 65_599] {
        let sent = message(20, 0, 5, body(200, 3));
        check(&format!("chunk stream {id}"), &chunks(&sent, id, 128, Extended::Repeated).concat(), &[sent]);
    }
}

#[test]
fn chunk_sizes_change_between_chunks_and_empty_messages_count() {
    let (small, large, empty) =
        (message(9, 1, 1, body(200, 1)), message(9, 1, 2, body(5000, 2)), message(8, 1, 3, vec![]));
    let bytes = [
        chunks(&small, 6, 128, Extended::Repeated).concat(),
        set_chunk_size(4096),
        chunks(&large, 6, 4096, Extended::Repeated).concat(),
        chunks(&empty, 6, 4096, Extended::Repeated).concat(),
        set_chunk_size(4),
        chunks(&small, 6, 4, Extended::Repeated).concat(),
        set_chunk_size(0x7FFF_FFFF),
        chunks(&large, 6, 5000, Extended::Repeated).concat(),
    ];
    check("set chunk size", &bytes.concat(), &[small.clone(), large.clone(), empty, small, large]);
}

#[test]
fn an_aborted_message_is_forgotten() {
    let (lost, kept) = (message(9, 1, 1, body(200, 1)), message(9, 1, 2, body(10, 2)));
    let abort = chunks(&message(2, 0, 0, 6u32.to_be_bytes().to_vec()), 2, 128, Extended::Repeated);
    let mut parts = chunks(&lost, 6, 128, Extended::Repeated);
    parts.truncate(1);
    parts.extend(abort);
    parts.extend(chunks(&kept, 6, 128, Extended::Repeated));
    check("abort", &parts.concat(), &[kept]);
}

#[test]
fn a_message_may_go_on_under_its_own_header_repeated() {
    let video = message(9, 1, 40, body(200, 1));
    let mut parts = chunks(&video, 6, 128, Extended::Repeated);
    let header = parts[0][..12].to_vec();
    parts[1].splice(..1, header);
    check("rml_rtmp's uncompressed writer", &parts.concat(), &[video]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let video = message(9, 1, 40, body(200, 1));
    let first = chunks(&video, 6, 128, Extended::Repeated).remove(0);
    let other = chunks(&message(9, 1, 80, body(9, 1)), 6, 128, Extended::Repeated).concat();
    let short = chunks(&message(1, 0, 0, vec![0, 1]), 2, 128, Extended::Repeated).concat();
    refused("type 3 first", &basic_header(3, 9), ChunkError::NoHeader(9));
    refused("type 2 first", &[basic_header(2, 9), vec![0; 3]].concat(), ChunkError::NoHeader(9));
    refused("a message in a message", &[first, other].concat(), ChunkError::Restarted(6));
    refused("no chunk size", &set_chunk_size(0), ChunkError::BadChunkSize(0));
    refused("top bit", &set_chunk_size(0x8000_0001), ChunkError::BadChunkSize(0x8000_0001));
    refused("a short control message", &short, ChunkError::ShortControl(1));
}

#[test]
fn what_costs_too_much_is_refused() {
    let limit = 8 << 20;
    let too_long = ChunkError::MessageTooLong { bytes: limit + 1, limit };
    refused("a long message", &header(6, limit + 1), too_long);
    let streams: Vec<_> =
        (3..3 + 65).flat_map(|id| chunks(&message(9, 1, 0, vec![0]), id, 128, Extended::Repeated)).collect();
    refused("chunk streams", &streams.concat(), ChunkError::TooManyChunkStreams(64));
    let part = |id| [header(id, limit), vec![0; 100_000 - 1]].concat();
    let unfinished = [set_chunk_size(100_000), part(4), part(5), part(6)].concat();
    refused("unfinished messages", &unfinished, ChunkError::TooMuchUnfinished(16 << 20));
}

#[test]
fn a_header_alone_sets_little_memory_aside() {
    let mut reader = Reader::new(Limits::default());
    reader.push(&set_chunk_size(1));
    for id in 3..60 {
        reader.push(&header(id, 8 << 20));
        assert_eq!(reader.next_message(), Ok(None));
    }
    assert!(reader.reserved <= 57 * TRUSTED_BYTES);
}

/// A message of any kind but those that the reader keeps to itself.
fn any_message() -> impl Strategy<Value = Message> {
    let size = prop_oneof![0..10usize, 100..600usize];
    let time = prop_oneof![0..1000u32, 0xFF_FFF0..0x100_0010u32, any::<u32>()];
    (3..24u8, 0..3u32, time, size, any::<u8>())
        .prop_map(|(kind, stream, time, size, seed)| message(kind, stream, time, body(size, seed)))
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2000), piece in 1..100usize) {
        let whole = read(&bytes, bytes.len());
        prop_assert_eq!(whole, read(&bytes, piece), "however the network cuts them");
    }

    #[test]
    fn bytes_that_look_like_chunks_are_read_or_refused(
        parts in proptest::collection::vec((0..4u8, 2..6u32, proptest::collection::vec(0..5u8, 0..40)), 0..60),
    ) {
        let bytes: Vec<u8> = parts.into_iter().flat_map(|(format, id, rest)| [basic_header(format, id), rest].concat()).collect();
        prop_assert_eq!(read(&bytes, bytes.len()), read(&bytes, 1));
    }

    /// Every chunk stream's messages come out whole and in order, however the chunks are shuffled together.
    #[test]
    fn shuffled_chunks_of_valid_messages_give_the_messages(
        streams in proptest::collection::vec(proptest::collection::vec(any_message(), 1..4), 1..6),
        order in proptest::collection::vec(any::<proptest::sample::Index>(), 200),
        repeated in any::<bool>(),
        chunk_bytes in 4..400usize,
        piece in 1..300usize,
    ) {
        let style = if repeated { Extended::Repeated } else { Extended::Omitted };
        let mut queues: Vec<(u32, std::collections::VecDeque<Vec<u8>>)> = (60..).zip(&streams).map(|(id, messages)| {
            (id, messages.iter().flat_map(|message| chunks(message, id, chunk_bytes, style)).collect())
        }).collect();
        let mut bytes = set_chunk_size(chunk_bytes as u32);
        let mut order = order.iter().cycle();
        while !queues.is_empty() {
            let at = order.next().unwrap().index(queues.len());
            bytes.extend(queues[at].1.pop_front().unwrap());
            queues.retain(|(_, queue)| !queue.is_empty());
        }
        // Payload that ends like the beginning of an omitted time is only told from it by what comes next.
        let last = message(3, 0, 0, vec![0xFF; 4]);
        bytes.extend(chunks(&last, 3, 4, Extended::Repeated).concat());
        let got = read(&bytes, piece).unwrap();
        prop_assert_eq!(got.len(), 1 + streams.iter().map(Vec::len).sum::<usize>());
        // A chunk stream's number is not part of a message, so look for each stream's messages in their order.
        for messages in &streams {
            let mut rest = got.iter();
            for message in messages {
                prop_assert!(rest.any(|found| found == message), "{message:?} is missing");
            }
        }
    }
}
