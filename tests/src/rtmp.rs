//! An RTMP publisher that does byte by byte what a test tells it, over real TCP.
//!
//! The handshake, AMF0 and the reading of answers are rml_rtmp's; chunks are written here, so that a test can cut and mix
//! them as no library would. Knows nothing of the server.

use crate::flv::{DATA, Tag};
use crate::{DEADLINE, Server};
use bytes::Bytes;
use rml_rtmp::chunk_io::ChunkDeserializer;
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::messages::RtmpMessage;
pub use rml_rtmp::rml_amf0::Amf0Value;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// The address that encoders come from unless a test says otherwise.
pub const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Another address of this machine, as another encoder's.
pub const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Message type of a command in AMF0.
const COMMAND: u8 = 20;
/// Message type that changes the chunk size.
const SET_CHUNK_SIZE: u8 = 1;
/// Chunk stream that commands go through.
const COMMANDS: u8 = 3;

/// Whether the chunks that go on with a message repeat its extended time (section 5.3.1.3 says so; not all encoders do).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extended {
    /// As the specification has it.
    Repeated,
    /// As some encoders do.
    Omitted,
}

/// A status from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// `status` or `error`.
    pub level: String,
    /// As `NetStream.Publish.Start`.
    pub code: String,
    /// Words for people.
    pub words: String,
}

/// A command from the server.
#[derive(Debug)]
struct Heard {
    name: String,
    transaction: f64,
    arguments: Vec<Amf0Value>,
}

/// A connection with its handshake done.
pub struct Rtmp {
    socket: TcpStream,
    replies: ChunkDeserializer,
    heard: VecDeque<Heard>,
    /// Payload of the chunks that it writes, in bytes.
    pub chunk_bytes: usize,
    /// How it writes extended times.
    pub extended: Extended,
}

impl Rtmp {
    /// Connects from a local address and shakes hands. An error if the server hangs up.
    pub async fn shake(server: &Server, from: IpAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        let mut socket = socket.connect(server.addr("rtmp").parse().expect("an address")).await?;
        socket.set_nodelay(true)?;
        let mut handshake = Handshake::new(PeerType::Client);
        socket.write_all(&handshake.generate_outbound_p0_and_p1().expect("it is the first")).await?;
        let mut buffer = [0; 4096];
        loop {
            let count = read(&mut socket, &mut buffer).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match handshake.process_bytes(&buffer[..count]).expect("the server can shake hands") {
                HandshakeProcessResult::InProgress { response_bytes } => socket.write_all(&response_bytes).await?,
                HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                    socket.write_all(&response_bytes).await?;
                    assert!(remaining_bytes.is_empty(), "a server waits for connect");
                    break;
                }
            }
        }
        let replies = ChunkDeserializer::new();
        Ok(Self { socket, replies, heard: VecDeque::new(), chunk_bytes: 128, extended: Extended::Repeated })
    }

    /// Connects from an address and publishes under a key field; the server's status if that is an error.
    pub async fn try_publish(server: &Server, key: &str, from: IpAddr) -> Result<Self, Status> {
        let mut rtmp = Self::shake(server, from).await.expect("the server takes connections");
        let app = Amf0Value::Object([("app".to_owned(), text("live"))].into());
        rtmp.command("connect", 1, 0, &[app]).await;
        rtmp.result(1).await?;
        rtmp.command("createStream", 2, 0, &[Amf0Value::Null]).await;
        rtmp.result(2).await?;
        rtmp.command("publish", 3, 1, &[Amf0Value::Null, text(key), text("live")]).await;
        rtmp.started().await?;
        Ok(rtmp)
    }

    /// Publishes under a key field.
    pub async fn publish(server: &Server, key: &str) -> Self {
        Self::try_publish(server, key, HERE).await.unwrap_or_else(|status| panic!("{key}: {status:?}"))
    }

    /// Sends a command: to message stream 0, or 1 once there is one.
    pub async fn command(&mut self, name: &str, transaction: u32, stream: u32, arguments: &[Amf0Value]) {
        let mut values = vec![text(name), Amf0Value::Number(transaction.into())];
        values.extend_from_slice(arguments);
        let message = Tag { kind: COMMAND, ms: 0, body: amf0(&values) };
        let chunks = chunks(&message, stream, COMMANDS, self.chunk_bytes, self.extended);
        self.write(&chunks.concat()).await;
    }

    /// Changes the chunk size, in bytes.
    pub async fn set_chunk_bytes(&mut self, bytes: u32) {
        let message = Tag { kind: SET_CHUNK_SIZE, ms: 0, body: Bytes::copy_from_slice(&bytes.to_be_bytes()) };
        self.write(&chunks(&message, 0, 2, 128, self.extended).concat()).await;
        self.chunk_bytes = bytes as usize;
    }

    /// Sends tags as fast as the server takes them, each with a full header on the chunk stream of its kind.
    pub async fn send(&mut self, tags: &[Tag]) {
        for tag in tags {
            let bytes = self.chunks(tag).concat();
            self.write(&bytes).await;
        }
    }

    /// A tag as the chunks that [`Rtmp::send`] would write.
    pub fn chunks(&self, tag: &Tag) -> Vec<Vec<u8>> {
        chunks(tag, 1, 4 + tag.kind % 8, self.chunk_bytes, self.extended)
    }

    /// Sends bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).await.expect("the server takes what is sent");
    }

    /// Sends bytes as they are to a server that may have hung up.
    pub async fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = tokio::time::timeout(DEADLINE, self.socket.write_all(bytes)).await;
        written.expect("the server reads in time")
    }

    /// The next status; `None` if the server hangs up first.
    pub async fn status(&mut self) -> Option<Status> {
        loop {
            let heard = self.hear().await?;
            if heard.name == "onStatus" {
                return Some(status(heard.arguments));
            }
        }
    }

    /// Waits for the answer to a command; an error if that is one.
    pub async fn result(&mut self, transaction: u32) -> Result<(), Status> {
        loop {
            let heard = self.hear().await.expect("the server answers");
            let mine = heard.transaction == f64::from(transaction);
            match heard.name.as_str() {
                "_result" if mine => return Ok(()),
                "_error" if mine => return Err(status(heard.arguments)),
                _ => {}
            }
        }
    }

    /// Waits until publishing may begin.
    pub async fn started(&mut self) -> Result<(), Status> {
        let status = self.status().await.expect("the server answers");
        if status.code == "NetStream.Publish.Start" { Ok(()) } else { Err(status) }
    }

    /// Ends the publish as encoders do, and hangs up once the server has taken everything.
    pub async fn unpublish(mut self, name: &str) {
        self.command("FCUnpublish", 6, 0, &[Amf0Value::Null, text(name)]).await;
        self.command("deleteStream", 7, 0, &[Amf0Value::Null, Amf0Value::Number(1.0)]).await;
        let status = self.status().await.expect("the server answers");
        assert_eq!(status.code, "NetStream.Unpublish.Success", "{status:?}");
    }

    /// Reads until the server hangs up, and drops what it says.
    pub async fn wait_closed(mut self) {
        wait_closed(&mut self.socket).await;
    }

    /// Says that nothing will follow, and reads until the server hangs up.
    pub async fn end(mut self) {
        // The server may have hung up already.
        let _ = self.socket.shutdown().await;
        self.wait_closed().await;
    }

    /// The next command from the server.
    async fn hear(&mut self) -> Option<Heard> {
        let mut buffer = [0; 4096];
        let mut count = 0;
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Some(heard);
            }
            let message = self.replies.get_next_message(&buffer[..count]).expect("the server writes chunks");
            count = 0;
            let Some(message) = message else {
                count = read(&mut self.socket, &mut buffer).await.unwrap_or(0);
                if count == 0 {
                    return None;
                }
                continue;
            };
            match message.to_rtmp_message().expect("the server writes messages") {
                RtmpMessage::SetChunkSize { size } => {
                    self.replies.set_max_chunk_size(size as usize).expect("a chunk size");
                }
                RtmpMessage::Amf0Command { command_name, transaction_id, additional_arguments, .. } => {
                    let (name, transaction, arguments) = (command_name, transaction_id, additional_arguments);
                    self.heard.push_back(Heard { name, transaction, arguments });
                }
                _ => {}
            }
        }
    }
}

/// A message as chunks of so many bytes, the first one with a full header (section 5.3.1). Chunk streams 2 to 63 only.
pub fn chunks(tag: &Tag, stream: u32, chunk_stream: u8, chunk_bytes: usize, extended: Extended) -> Vec<Vec<u8>> {
    let long = (tag.ms >= 0xFF_FFFF).then(|| tag.ms.to_be_bytes());
    let mut header = vec![chunk_stream];
    header.extend(&tag.ms.min(0xFF_FFFF).to_be_bytes()[1..]);
    header.extend(&u32::try_from(tag.body.len()).expect("a message is short").to_be_bytes()[1..]);
    header.push(tag.kind);
    header.extend(stream.to_le_bytes());
    header.extend(long.iter().flatten());
    continued(header, tag, chunk_stream, chunk_bytes, long.filter(|_| extended == Extended::Repeated))
}

/// A message as chunks behind a header that a test has made; `repeated` goes into the headers after the first one.
pub fn continued(
    mut header: Vec<u8>,
    tag: &Tag,
    chunk_stream: u8,
    chunk_bytes: usize,
    repeated: Option<[u8; 4]>,
) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    for part in tag.body.chunks(chunk_bytes) {
        header.extend(part);
        chunks.push(std::mem::replace(&mut header, vec![0xC0 | chunk_stream]));
        header.extend(repeated.iter().flatten());
    }
    chunks
}

/// A data message of AMF0 values.
pub fn data(values: &[Amf0Value]) -> Tag {
    Tag { kind: DATA, ms: 0, body: amf0(values) }
}

/// A text in AMF0.
pub fn text(text: &str) -> Amf0Value {
    Amf0Value::Utf8String(text.to_owned())
}

/// Reads until the peer hangs up, whichever way.
pub async fn wait_closed(socket: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while read(socket, &mut buffer).await.is_ok_and(|count| count > 0) {}
}

async fn read(socket: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let read = tokio::time::timeout(DEADLINE, socket.read(buffer)).await;
    read.unwrap_or_else(|_| panic!("the server neither answered nor hung up in {} s", DEADLINE.as_secs()))
}

fn amf0(values: &[Amf0Value]) -> Bytes {
    rml_rtmp::rml_amf0::serialize(&values.to_vec()).expect("short texts").into()
}

fn status(arguments: Vec<Amf0Value>) -> Status {
    let properties = arguments.into_iter().find_map(Amf0Value::get_object_properties).unwrap_or_default();
    let get = |key: &str| properties.get(key).cloned().and_then(Amf0Value::get_string).unwrap_or_default();
    Status { level: get("level"), code: get("code"), words: get("description") }
}
