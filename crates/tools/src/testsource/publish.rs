//! An RTMP publisher: connects, asks, and sends tags until there are none.
//!
//! rml_rtmp speaks the protocol; this drives it over TCP. Knows nothing of pictures.

use super::Error;
use super::address::Address;
use super::producer::{Kind, Tag};
use rml_rtmp::chunk_io::ChunkDeserializer;
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::messages::RtmpMessage;
use rml_rtmp::rml_amf0::Amf0Value;
use rml_rtmp::sessions::{
    ClientSession, ClientSessionConfig, ClientSessionEvent as Event, ClientSessionResult, PublishRequestType,
    StreamMetadata,
};
use rml_rtmp::time::RtmpTimestamp;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// From the first packet to the right to publish.
const OPEN: Duration = Duration::from_secs(10);
/// For the server to take one message.
const WRITE: Duration = Duration::from_secs(10);
/// For a server that broke the connection to have said why.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Bytes of a chunk: large, since nothing else has to get in between.
const CHUNK_BYTES: u32 = 60_000;

/// A connection that may publish.
pub(super) struct Publisher {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    session: ClientSession,
    status: StatusReader,
    buffer: Vec<u8>,
}

impl Publisher {
    /// Connects and asks for the right to publish. A refusal is an error in the server's own words.
    pub(super) async fn open(address: &Address) -> Result<Self, Error> {
        let open = async {
            let target = (address.host.as_str(), address.port);
            let stream = TcpStream::connect(target)
                .await
                .map_err(|source| Error::Connect { address: format!("{}:{}", address.host, address.port), source })?;
            stream.set_nodelay(true).map_err(Error::Lost)?;
            let (mut reader, mut writer) = stream.into_split();
            let left_over = shake_hands(&mut reader, &mut writer).await?;
            let mut config = ClientSessionConfig::new();
            config.flash_version = concat!("live360 testsource ", env!("CARGO_PKG_VERSION")).to_owned();
            config.tc_url = Some(address.tc_url.clone());
            config.chunk_size = CHUNK_BYTES;
            let (session, greeting) = ClientSession::new(config).map_err(protocol)?;
            let status = StatusReader(ChunkDeserializer::new());
            let mut publisher = Self { reader, writer, session, status, buffer: vec![0; 16 << 10] };
            publisher.answer(greeting).await?;
            let connect = publisher.session.request_connection(address.app.clone()).map_err(protocol)?;
            publisher.answer(vec![connect]).await?;
            publisher.negotiate(address, left_over).await?;
            Ok(publisher)
        };
        timeout(OPEN, open).await.map_err(|_| Error::Silent { what: "to let us publish", after: OPEN })?
    }

    /// Says what is going to come, sends tags until there are no more or `shutdown`, then says goodbye.
    pub(super) async fn run(
        mut self,
        metadata: &StreamMetadata,
        tags: &mut Receiver<Tag>,
        shutdown: &CancellationToken,
    ) -> Result<(), Error> {
        let announced = self.session.publish_metadata(metadata).map_err(protocol)?;
        self.answer(vec![announced]).await?;
        loop {
            let Self { reader, buffer, .. } = &mut self;
            tokio::select! {
                () = shutdown.cancelled() => break,
                tag = tags.recv() => match tag {
                    Some(tag) => self.send(tag).await?,
                    None => break,
                },
                count = reader.read(buffer) => {
                    let count = count.map_err(Error::Lost)?;
                    self.take(count).await?;
                }
            }
        }
        let goodbye = self.session.stop_publishing().map_err(protocol)?;
        self.answer(goodbye).await?;
        self.writer.shutdown().await.map_err(Error::Lost)
    }

    /// Reads until the server has let us publish.
    async fn negotiate(&mut self, address: &Address, left_over: Vec<u8>) -> Result<(), Error> {
        let mut events = self.digest(&left_over).await?;
        loop {
            for event in events {
                match event {
                    Event::ConnectionRequestAccepted => {
                        let kind = PublishRequestType::Live;
                        let request = self.session.request_publishing(address.key.clone(), kind).map_err(protocol)?;
                        self.answer(vec![request]).await?;
                    }
                    Event::ConnectionRequestRejected { description } => return Err(Error::Refused { description }),
                    Event::PublishRequestAccepted => return Ok(()),
                    _ => {}
                }
            }
            let count = self.reader.read(&mut self.buffer).await.map_err(Error::Lost)?;
            events = self.take(count).await?;
        }
    }

    async fn send(&mut self, tag: Tag) -> Result<(), Error> {
        let timestamp = RtmpTimestamp::new(tag.timestamp_ms);
        let packet = match tag.kind {
            Kind::Video => self.session.publish_video_data(tag.body, timestamp, false),
            Kind::Audio => self.session.publish_audio_data(tag.body, timestamp, false),
        };
        let packet = packet.map_err(protocol)?;
        match self.answer(vec![packet]).await {
            Err(Error::Lost(lost)) => Err(self.last_words().await.unwrap_or(Error::Lost(lost))),
            other => other.map(drop),
        }
    }

    /// A server that refuses may close first: what it said is still to be read.
    async fn last_words(&mut self) -> Option<Error> {
        let read = async {
            loop {
                let count = self.reader.read(&mut self.buffer).await.ok()?;
                match self.take(count).await {
                    Ok(_) => {}
                    Err(refused @ Error::Refused { .. }) => return Some(refused),
                    Err(_) => return None,
                }
            }
        };
        timeout(LAST_WORDS, read).await.ok().flatten()
    }

    /// Takes what was read into the buffer.
    async fn take(&mut self, count: usize) -> Result<Vec<Event>, Error> {
        if count == 0 {
            return Err(Error::Closed);
        }
        let bytes = self.buffer.get(..count).unwrap_or_default().to_vec();
        self.digest(&bytes).await
    }

    /// Answers what the protocol wants answered, and gives what remains to be known.
    async fn digest(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Error> {
        if let Some(description) = self.status.read(bytes)? {
            return Err(Error::Refused { description });
        }
        let results = self.session.handle_input(bytes).map_err(protocol)?;
        self.answer(results).await
    }

    /// Sends what is to be sent; gives the events.
    async fn answer(&mut self, results: Vec<ClientSessionResult>) -> Result<Vec<Event>, Error> {
        let (mut bytes, mut events) = (Vec::new(), Vec::new());
        for result in results {
            match result {
                ClientSessionResult::OutboundResponse(packet) => bytes.extend_from_slice(&packet.bytes),
                ClientSessionResult::RaisedEvent(event) => events.push(event),
                ClientSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
        let write = timeout(WRITE, self.writer.write_all(&bytes));
        write.await.map_err(|_| Error::Silent { what: "to take a message", after: WRITE })?.map_err(Error::Lost)?;
        Ok(events)
    }
}

/// Gives what the server sent after its handshake.
async fn shake_hands(reader: &mut OwnedReadHalf, writer: &mut OwnedWriteHalf) -> Result<Vec<u8>, Error> {
    let mut handshake = Handshake::new(PeerType::Client);
    let hello = handshake.generate_outbound_p0_and_p1().map_err(protocol)?;
    writer.write_all(&hello).await.map_err(Error::Lost)?;
    let mut buffer = [0; 4096];
    loop {
        let count = reader.read(&mut buffer).await.map_err(Error::Lost)?;
        if count == 0 {
            return Err(Error::Closed);
        }
        let bytes = buffer.get(..count).unwrap_or_default();
        match handshake.process_bytes(bytes).map_err(protocol)? {
            HandshakeProcessResult::InProgress { response_bytes } => {
                writer.write_all(&response_bytes).await.map_err(Error::Lost)?;
            }
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                writer.write_all(&response_bytes).await.map_err(Error::Lost)?;
                return Ok(remaining_bytes);
            }
        }
    }
}

fn protocol(error: impl std::fmt::Display) -> Error {
    Error::Protocol(error.to_string())
}

/// Reads along for refusals: rml_rtmp's session keeps their code and drops the words that say why.
struct StatusReader(ChunkDeserializer);

impl StatusReader {
    /// The words of a refusal, if these bytes hold one.
    fn read(&mut self, bytes: &[u8]) -> Result<Option<String>, Error> {
        let mut bytes = bytes;
        while let Some(payload) = self.0.get_next_message(bytes).map_err(protocol)? {
            bytes = &[];
            match payload.to_rtmp_message() {
                Ok(RtmpMessage::SetChunkSize { size }) => {
                    self.0.set_max_chunk_size(size as usize).map_err(protocol)?;
                }
                Ok(RtmpMessage::Amf0Command { command_name, additional_arguments, .. }) => {
                    let refusal = refusal(&command_name, &additional_arguments);
                    if refusal.is_some() {
                        return Ok(refusal);
                    }
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

/// `_error`, or an `onStatus` whose level is `error`.
fn refusal(command: &str, arguments: &[Amf0Value]) -> Option<String> {
    let Some(Amf0Value::Object(properties)) = arguments.first() else {
        return (command == "_error").then(|| "no reason given".to_owned());
    };
    let text = |name: &str| match properties.get(name) {
        Some(Amf0Value::Utf8String(text)) => Some(text.clone()),
        _ => None,
    };
    let error = command == "_error" || command == "onStatus" && text("level").as_deref() == Some("error");
    let reason = || text("description").filter(|words| !words.is_empty()).or_else(|| text("code"));
    error.then(|| reason().unwrap_or_else(|| "no reason given".to_owned()))
}
