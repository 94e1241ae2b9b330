//! Bytes into whole RTMP messages: the chunk stream of Adobe's RTMP 1.0, section 5.3.
//!
//! Every chunk stream has its own partial message, so a peer may interleave them as it likes. Knows nothing of what
//! messages mean, except for the two that change how chunks are read (set chunk size, abort). No sockets, no clock.
//!
//! rml_rtmp has a reader too; `tests` shows on which bytes real encoders send it panics or reads rubbish.

use bytes::{Buf, Bytes, BytesMut};
use std::collections::HashMap;

#[cfg(test)]
mod tests;

/// Chunk payload until the peer says otherwise, in bytes (section 5.4.1).
const CHUNK_BYTES_INITIAL: usize = 128;

/// Larger chunk sizes mean the same as this one, in bytes: no message is longer (section 5.4.1).
const CHUNK_BYTES_MAX: usize = 0xFF_FFFF;

/// A 24-bit time of this value says that 32 bits follow (section 5.3.1.3).
const EXTENDED: u32 = 0xFF_FFFF;

/// What is set aside for a message on the strength of its header alone, in bytes. The rest is set aside once the peer
/// has sent this much, so that a header costs a liar as much as it costs us.
const TRUSTED_BYTES: usize = 64 * 1024;

const SET_CHUNK_SIZE: u8 = 1;
const ABORT: u8 = 2;

/// One whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Milliseconds modulo 2^32, from an epoch of the peer's choice.
    pub timestamp: u32,
    /// Message type id (8 audio, 9 video, 20 command…).
    pub kind: u8,
    /// Message stream id.
    pub stream: u32,
    /// The message's body.
    pub payload: Bytes,
}

/// How much a peer may ask for.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest message, in bytes.
    pub message_bytes: usize,
    /// Chunk streams in use on one connection.
    pub chunk_streams: usize,
    /// Set aside for messages that are not whole yet, on all chunk streams together, in bytes.
    pub partial_bytes: usize,
}

impl Default for Limits {
    /// 8 MiB holds any access unit of a 4K picture; two of them may be under way at a time.
    fn default() -> Self {
        Self { message_bytes: 8 << 20, chunk_streams: 64, partial_bytes: 16 << 20 }
    }
}

/// Why the bytes make no sense, or more sense than we have room for. The reader can't go on after one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A header that leans on the one before, and there is none.
    #[error("chunk stream {0} begins in the middle: its first header leaves the message length out")]
    NoHeader(u32),
    /// A message header in the middle of a message.
    #[error("chunk stream {0} begins a message before the one before is whole")]
    Restarted(u32),
    /// Longer than `Limits::message_bytes`.
    #[error("a message of {bytes} bytes is too long: the limit is {limit}")]
    MessageTooLong {
        /// What the header says.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// More than `Limits::chunk_streams`.
    #[error("more than {0} chunk streams on one connection")]
    TooManyChunkStreams(usize),
    /// More than `Limits::partial_bytes`.
    #[error("more than {0} bytes of unfinished messages on one connection")]
    TooMuchUnfinished(usize),
    /// Set chunk size with zero, or with the bit that must be zero.
    #[error("chunk size {0} is not allowed")]
    BadChunkSize(u32),
    /// A control message too short for its field.
    #[error("control message {0} is too short")]
    ShortControl(u8),
}

/// Assembles messages from chunks. `push` bytes, then call `next_message` until it has no more.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    chunk_bytes: usize,
    buffer: BytesMut,
    streams: HashMap<u32, ChunkStream>,
    /// The chunk whose payload is being read: its chunk stream and the payload bytes still to come.
    current: Option<(u32, usize)>,
    /// Sum of `ChunkStream::reserved`.
    reserved: usize,
    /// The peer leaves extended timestamps out of type 3 headers; seen once, it is never looked for again.
    omits_extended: bool,
}

/// What a chunk stream remembers from chunk to chunk.
#[derive(Debug, Default)]
struct ChunkStream {
    timestamp: u32,
    /// What a type 3 header that begins a message adds to `timestamp`.
    delta: u32,
    /// The last header's 32-bit time, if it had one.
    extended: Option<u32>,
    length: usize,
    kind: u8,
    stream: u32,
    /// A message is under way.
    open: bool,
    partial: BytesMut,
    /// Bytes accounted for `partial`.
    reserved: usize,
}

/// A chunk's header as it was on the wire.
struct Header {
    id: u32,
    fields: Fields,
    /// Bytes taken by all of it.
    size: usize,
}

/// What the four header formats carry (section 5.3.1.2). `time` is the 24-bit field or the 32 bits behind it.
#[derive(Clone, Copy)]
enum Fields {
    Full { time: Time, length: usize, kind: u8, stream: u32 },
    Message { time: Time, length: usize, kind: u8 },
    Time { time: Time },
    Nothing,
}

#[derive(Clone, Copy, PartialEq)]
struct Time {
    value: u32,
    extended: bool,
}

impl Reader {
    /// A reader at the beginning of a connection, right after the handshake.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            chunk_bytes: CHUNK_BYTES_INITIAL,
            buffer: BytesMut::new(),
            streams: HashMap::new(),
            current: None,
            reserved: 0,
            omits_extended: false,
        }
    }

    /// Takes what came from the network.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, `None` if it takes more bytes.
    pub fn next_message(&mut self) -> Result<Option<Message>, ChunkError> {
        loop {
            let (id, left) = match self.current {
                Some(current) => current,
                None => {
                    let Some(header) = self.header()? else { return Ok(None) };
                    self.buffer.advance(header.size);
                    self.begin(header.id, header.fields)?
                }
            };
            let Some(message) = self.fill(id, left)? else {
                if self.current.is_some() {
                    return Ok(None);
                }
                continue;
            };
            match message.kind {
                SET_CHUNK_SIZE => self.set_chunk_size(&message)?,
                ABORT => self.abort(&message)?,
                _ => return Ok(Some(message)),
            }
        }
    }

    /// Reads a header without taking it out of the buffer: it may not be all there.
    fn header(&mut self) -> Result<Option<Header>, ChunkError> {
        let Some((format, id, after_basic)) = basic_header(&self.buffer) else { return Ok(None) };
        let Some((fields, mut rest)) = message_header(format, after_basic) else { return Ok(None) };
        if let (Fields::Nothing, false) = (fields, self.omits_extended) {
            let repeated = self.streams.get(&id).and_then(|stream| stream.extended);
            match repeated.map(|time| strip_repeated(rest, time)) {
                None => {}
                Some(Repeated::Yes(after)) => rest = after,
                Some(Repeated::No) => self.omits_extended = true,
                Some(Repeated::TooEarlyToSay) => return Ok(None),
            }
        }
        let size = self.buffer.len() - rest.len();
        Ok(Some(Header { id, fields, size }))
    }

    /// Applies a header to its chunk stream; says how much payload the chunk has.
    fn begin(&mut self, id: u32, fields: Fields) -> Result<(u32, usize), ChunkError> {
        if !self.streams.contains_key(&id) && self.streams.len() >= self.limits.chunk_streams {
            return Err(ChunkError::TooManyChunkStreams(self.limits.chunk_streams));
        }
        // librtmp opens chunk stream 2 with a type 1 header, so that one has to do without a type 0 before it.
        if matches!(fields, Fields::Time { .. } | Fields::Nothing) && !self.streams.contains_key(&id) {
            return Err(ChunkError::NoHeader(id));
        }
        let stream = self.streams.entry(id).or_default();
        if stream.open {
            if !stream.continued_by(fields) {
                return Err(ChunkError::Restarted(id));
            }
        } else {
            stream.start(fields);
            if stream.length > self.limits.message_bytes {
                return Err(ChunkError::MessageTooLong { bytes: stream.length, limit: self.limits.message_bytes });
            }
            let length = stream.length;
            self.reserve(id, length.min(TRUSTED_BYTES))?;
        }
        let left = self.streams.get(&id).map_or(0, |stream| stream.length.saturating_sub(stream.partial.len()));
        let chunk = (id, left.min(self.chunk_bytes));
        self.current = Some(chunk);
        Ok(chunk)
    }

    /// Moves payload from the buffer to the message; gives the message once it is whole.
    fn fill(&mut self, id: u32, left: usize) -> Result<Option<Message>, ChunkError> {
        let take = left.min(self.buffer.len());
        let Some(stream) = self.streams.get(&id) else { return Ok(None) };
        if stream.partial.len() + take > stream.reserved {
            let length = stream.length;
            self.reserve(id, length)?;
        }
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(None) };
        stream.partial.extend_from_slice(self.buffer.get(..take).unwrap_or_default());
        self.buffer.advance(take);
        let left = left - take;
        self.current = (left > 0).then_some((id, left));
        if stream.partial.len() < stream.length {
            return Ok(None);
        }
        let message = Message {
            timestamp: stream.timestamp,
            kind: stream.kind,
            stream: stream.stream,
            payload: std::mem::take(&mut stream.partial).freeze(),
        };
        self.release(id);
        Ok(Some(message))
    }

    /// Sets `bytes` in all aside for the message under way on a chunk stream.
    fn reserve(&mut self, id: u32, bytes: usize) -> Result<(), ChunkError> {
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        let total = self.reserved - stream.reserved + bytes;
        if total > self.limits.partial_bytes {
            return Err(ChunkError::TooMuchUnfinished(self.limits.partial_bytes));
        }
        stream.partial.reserve(bytes.saturating_sub(stream.partial.len()));
        stream.reserved = bytes;
        self.reserved = total;
        Ok(())
    }

    /// Ends the message under way on a chunk stream, whole or not.
    fn release(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.open = false;
            stream.partial = BytesMut::new();
            self.reserved -= std::mem::take(&mut stream.reserved);
        }
    }

    fn set_chunk_size(&mut self, message: &Message) -> Result<(), ChunkError> {
        match field(message)? {
            size @ (0 | 0x8000_0000..) => Err(ChunkError::BadChunkSize(size)),
            size => {
                self.chunk_bytes = usize::try_from(size).unwrap_or(CHUNK_BYTES_MAX).min(CHUNK_BYTES_MAX);
                Ok(())
            }
        }
    }

    fn abort(&mut self, message: &Message) -> Result<(), ChunkError> {
        self.release(field(message)?);
        Ok(())
    }
}

impl ChunkStream {
    /// Whether a header in the middle of a message goes on with that message. Type 3 says so; a type 0 that repeats
    /// the message's own header word for word is what rml_rtmp writes there, and can mean nothing else.
    fn continued_by(&self, fields: Fields) -> bool {
        match fields {
            Fields::Nothing => true,
            Fields::Full { time, length, kind, stream } => {
                (time.value, length, kind, stream) == (self.timestamp, self.length, self.kind, self.stream)
            }
            Fields::Message { .. } | Fields::Time { .. } => false,
        }
    }

    /// Begins a message.
    fn start(&mut self, fields: Fields) {
        self.open = true;
        let time = match fields {
            Fields::Full { time, length, kind, stream } => {
                (self.length, self.kind, self.stream) = (length, kind, stream);
                self.timestamp = time.value;
                // By section 5.3.1.2.4 a type 3 header after this one adds the whole time once more, and ffmpeg
                // counts on it. With an extended one nobody means that (librtmp means "the same time again").
                self.delta = if time.extended { 0 } else { time.value };
                self.extended = time.extended.then_some(time.value);
                return;
            }
            Fields::Message { time, length, kind } => {
                (self.length, self.kind) = (length, kind);
                Some(time)
            }
            Fields::Time { time } => Some(time),
            Fields::Nothing => None,
        };
        if let Some(time) = time {
            self.delta = time.value;
            self.extended = time.extended.then_some(time.value);
        }
        self.timestamp = self.timestamp.wrapping_add(self.delta);
    }
}

/// Format, chunk stream id and what follows (section 5.3.1.1).
fn basic_header(bytes: &[u8]) -> Option<(u8, u32, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (id, rest) = match (first & 0x3F, rest) {
        (0, [low, rest @ ..]) => (64 + u32::from(*low), rest),
        (1, [low, high, rest @ ..]) => (64 + u32::from(*low) + 256 * u32::from(*high), rest),
        (0 | 1, _) => return None,
        (id, rest) => (u32::from(id), rest),
    };
    Some((first >> 6, id, rest))
}

/// The message header with the extended time that its time field announces, and what follows.
fn message_header(format: u8, bytes: &[u8]) -> Option<(Fields, &[u8])> {
    let length = |l: &[u8; 3]| u24(*l) as usize;
    Some(match (format, bytes) {
        (0, [t0, t1, t2, l0, l1, l2, kind, s0, s1, s2, s3, rest @ ..]) => {
            let (time, rest) = time([*t0, *t1, *t2], rest)?;
            // The one little-endian field of the protocol.
            let stream = u32::from_le_bytes([*s0, *s1, *s2, *s3]);
            (Fields::Full { time, length: length(&[*l0, *l1, *l2]), kind: *kind, stream }, rest)
        }
        (1, [t0, t1, t2, l0, l1, l2, kind, rest @ ..]) => {
            let (time, rest) = time([*t0, *t1, *t2], rest)?;
            (Fields::Message { time, length: length(&[*l0, *l1, *l2]), kind: *kind }, rest)
        }
        (2, [t0, t1, t2, rest @ ..]) => {
            let (time, rest) = time([*t0, *t1, *t2], rest)?;
            (Fields::Time { time }, rest)
        }
        (0..=2, _) => return None,
        (_, rest) => (Fields::Nothing, rest),
    })
}

/// A time field and its extension.
fn time(field: [u8; 3], rest: &[u8]) -> Option<(Time, &[u8])> {
    match (u24(field), rest) {
        (EXTENDED, [a, b, c, d, rest @ ..]) => {
            Some((Time { value: u32::from_be_bytes([*a, *b, *c, *d]), extended: true }, rest))
        }
        (EXTENDED, _) => None,
        (value, rest) => Some((Time { value, extended: false }, rest)),
    }
}

/// Whether a type 3 header repeats its chunk stream's extended time.
enum Repeated<'a> {
    Yes(&'a [u8]),
    No,
    TooEarlyToSay,
}

/// Half of the encoders repeat it, as section 5.3.1.3 has it, the others don't, so compare before eating: payload that
/// looks like the time by chance is one in four milliards. Fewer than four bytes that don't match settle it as well.
fn strip_repeated(bytes: &[u8], time: u32) -> Repeated<'_> {
    let expected = time.to_be_bytes();
    match bytes.strip_prefix(&expected) {
        Some(rest) => Repeated::Yes(rest),
        None if expected.starts_with(bytes) => Repeated::TooEarlyToSay,
        None => Repeated::No,
    }
}

/// The 32-bit field that a control message begins with.
fn field(message: &Message) -> Result<u32, ChunkError> {
    let bytes = message.payload.first_chunk::<4>().ok_or(ChunkError::ShortControl(message.kind))?;
    Ok(u32::from_be_bytes(*bytes))
}

fn u24([a, b, c]: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, a, b, c])
}
