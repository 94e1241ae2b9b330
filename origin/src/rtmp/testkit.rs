//! The other end of the line for tests: chunks in every style, and a publisher over any byte stream.

use super::chunk::{Limits, Message, Reader};
use crate::ingest::{Claim, Ingest, Ingested, PublishRequest, Refusal};
use bytes::Bytes;
use rml_amf0::Amf0Value;
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The sequence header of a 64×64 H.264 stream, made by x264 through ffmpeg.
pub(super) const VIDEO_CONFIG: &[u8] =
    b"\x17\x00\x00\x00\x00\x01\x42\xc0\x0a\xff\xe1\x00\x16\x67\x42\xc0\x0a\xda\x10\x9b\x01\
    \x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\x20\xf1\x22\x6a\x01\x00\x04\x68\xce\x0f\xc8";

/// The sequence header of a 48 kHz stereo AAC stream, made by ffmpeg.
pub(super) const AUDIO_CONFIG: &[u8] = b"\xaf\x00\x11\x90\x56\xe5\x00";

/// A message for the wire.
pub(super) fn message(kind: u8, stream: u32, timestamp: u32, payload: impl Into<Bytes>) -> Message {
    Message { timestamp, kind, stream, payload: payload.into() }
}

/// A picture of `size` bytes (one NAL unit), as a type 9 message.
pub(super) fn picture(timestamp: u32, size: usize) -> Message {
    let mut body = vec![0x27, 1, 0, 0, 0];
    body.extend_from_slice(&u32::try_from(size).unwrap().to_be_bytes());
    body.push(0x41);
    body.resize(9 + size, 0xA5);
    message(9, 1, timestamp, body)
}

/// A block of AAC, as a type 8 message.
pub(super) fn sound(timestamp: u32) -> Message {
    message(8, 1, timestamp, vec![0xAF, 1, 0x21, 0x11, 0x45])
}

/// A command as a type 20 message.
pub(super) fn command(name: &str, transaction: f64, stream: u32, arguments: &[Amf0Value]) -> Message {
    let mut values = vec![text(name), Amf0Value::Number(transaction)];
    values.extend_from_slice(arguments);
    message(20, stream, 0, rml_amf0::serialize(&values).unwrap())
}

pub(super) fn connect(app: &str) -> Message {
    command("connect", 1.0, 0, &[object(&[("app", text(app))])])
}

pub(super) fn publish(key: &str) -> Message {
    command("publish", 5.0, 1, &[Amf0Value::Null, text(key), text("live")])
}

pub(super) fn text(text: &str) -> Amf0Value {
    Amf0Value::Utf8String(text.to_owned())
}

pub(super) fn object(properties: &[(&str, Amf0Value)]) -> Amf0Value {
    Amf0Value::Object(properties.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

/// Whether type 3 headers repeat an extended time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Extended {
    Repeated,
    Omitted,
}

/// A basic header in its shortest form.
pub(super) fn basic_header(format: u8, id: u32) -> Vec<u8> {
    let format = format << 6;
    match id {
        2..=63 => vec![format | id as u8],
        64..=319 => vec![format, (id - 64) as u8],
        _ => vec![format | 1, ((id - 64) % 256) as u8, ((id - 64) / 256) as u8],
    }
}

/// One message as chunks, the first with a full header.
pub(super) fn chunks(message: &Message, id: u32, chunk_bytes: usize, extended: Extended) -> Vec<Vec<u8>> {
    let long = (message.timestamp >= 0xFF_FFFF).then(|| message.timestamp.to_be_bytes());
    let mut first = basic_header(0, id);
    first.extend_from_slice(&message.timestamp.min(0xFF_FFFF).to_be_bytes()[1..]);
    first.extend_from_slice(&(message.payload.len() as u32).to_be_bytes()[1..]);
    first.push(message.kind);
    first.extend_from_slice(&message.stream.to_le_bytes());
    first.extend(long.into_iter().flatten());
    let mut out = Vec::new();
    for (n, part) in message.payload.chunks(chunk_bytes).enumerate() {
        let mut header = if n == 0 { std::mem::take(&mut first) } else { basic_header(3, id) };
        if n > 0 && extended == Extended::Repeated {
            header.extend(long.into_iter().flatten());
        }
        out.push([&header[..], part].concat());
    }
    if message.payload.is_empty() {
        out.push(first);
    }
    out
}

/// Messages on the wire as most encoders write them, with chunks of 128 bytes.
pub(super) fn wire(messages: &[Message]) -> Vec<u8> {
    let bytes =
        messages.iter().flat_map(|message| chunks(message, 3 + u32::from(message.kind), 128, Extended::Repeated));
    bytes.flatten().collect()
}

/// The command messages among what a server sent: name and the values behind it, first the transaction.
pub(super) fn replies(reader: &mut Reader) -> Vec<(String, Vec<Amf0Value>)> {
    let mut out = Vec::new();
    while let Some(message) = reader.next_message().unwrap() {
        if message.kind == 20 {
            let mut values = rml_amf0::deserialize(&mut &message.payload[..]).unwrap().into_iter();
            let name = values.next().and_then(Amf0Value::get_string).unwrap();
            out.push((name, values.collect()));
        }
    }
    out
}

/// `level`, `code` and `description` of a status or an error.
pub(super) fn status(values: &[Amf0Value]) -> (String, String, String) {
    let properties: HashMap<_, _> = values.last().cloned().and_then(Amf0Value::get_object_properties).unwrap();
    let get = |key: &str| properties.get(key).cloned().and_then(Amf0Value::get_string).unwrap();
    (get("level"), get("code"), get("description"))
}

/// An encoder at the other end of a byte stream.
pub(super) struct Client<S> {
    pub(super) socket: S,
    reader: Reader,
    heard: VecDeque<(String, Vec<Amf0Value>)>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Shakes hands.
    pub(super) async fn new(mut socket: S) -> Self {
        let mut handshake = Handshake::new(PeerType::Client);
        socket.write_all(&handshake.generate_outbound_p0_and_p1().unwrap()).await.unwrap();
        let mut buffer = [0; 4096];
        let rest = loop {
            let count = socket.read(&mut buffer).await.unwrap();
            assert_ne!(count, 0, "the server hung up in the handshake");
            match handshake.process_bytes(&buffer[..count]).unwrap() {
                HandshakeProcessResult::InProgress { response_bytes } => {
                    socket.write_all(&response_bytes).await.unwrap()
                }
                HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                    socket.write_all(&response_bytes).await.unwrap();
                    break remaining_bytes;
                }
            }
        };
        let mut reader = Reader::new(Limits::default());
        reader.push(&rest);
        Self { socket, reader, heard: VecDeque::new() }
    }

    /// Shakes hands, connects and asks to publish.
    pub(super) async fn publishing(socket: S, key: &str) -> Self {
        let mut client = Self::new(socket).await;
        client.send(&[connect("live"), command("createStream", 4.0, 0, &[Amf0Value::Null]), publish(key)]).await;
        client
    }

    pub(super) async fn send(&mut self, messages: &[Message]) {
        self.socket.write_all(&wire(messages)).await.unwrap();
    }

    /// The next command from the server; `None` once it has hung up.
    pub(super) async fn hear(&mut self) -> Option<(String, Vec<Amf0Value>)> {
        let mut buffer = [0; 4096];
        loop {
            self.heard.extend(replies(&mut self.reader));
            if let Some(command) = self.heard.pop_front() {
                return Some(command);
            }
            match self.socket.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.reader.push(&buffer[..count]),
            }
        }
    }

    /// The next status: level, code, description. `None` once the server has hung up.
    pub(super) async fn status(&mut self) -> Option<(String, String, String)> {
        loop {
            let (name, values) = self.hear().await?;
            if name == "onStatus" {
                return Some(status(&values));
            }
        }
    }
}

/// An ingest that answers as it is told, and keeps what it was asked.
pub(super) struct FakeIngest {
    answer: Box<dyn Fn() -> Result<Claim, Refusal> + Send + Sync>,
    pub(super) requests: Mutex<Vec<PublishRequest>>,
}

impl FakeIngest {
    pub(super) fn new(answer: impl Fn() -> Result<Claim, Refusal> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { answer: Box::new(answer), requests: Mutex::default() })
    }

    /// Lets everybody publish into one channel of a size, under one token.
    pub(super) fn accepting(size: usize) -> (Arc<Self>, mpsc::Receiver<Ingested>, CancellationToken, Reason) {
        let (media, received) = mpsc::channel(size);
        let (revoked, reason) = (CancellationToken::new(), Reason::default());
        let claim = (media.downgrade(), revoked.clone(), Arc::clone(&reason));
        // The last claim's sender must be the last sender, so that a test sees the publish end.
        let first = Mutex::new(Some(media));
        let answer = move || {
            let media = first.lock().unwrap().take().or_else(|| claim.0.upgrade()).expect("the claim has ended");
            Ok(Claim { media, revoked: claim.1.clone(), reason: Arc::clone(&claim.2) })
        };
        (Self::new(answer), received, revoked, reason)
    }
}

pub(super) type Reason = Arc<OnceLock<String>>;

impl Ingest for FakeIngest {
    async fn claim(&self, request: PublishRequest) -> Result<Claim, Refusal> {
        self.requests.lock().unwrap().push(request);
        (self.answer)()
    }
}
