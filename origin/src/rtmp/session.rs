//! One publisher's RTMP session without sockets and without a clock: bytes and decisions in, bytes and media out.
//!
//! ```text
//! loop { while let Some(output) = session.poll() { act on it } ; session.handle(next input) }
//! ```
//!
//! `poll` reads messages one at a time, and none while a publish waits for its decision. So whoever drives the session
//! holds no more than one message's outputs, and a slow stream slows its encoder down.
//!
//! rml_rtmp does the handshake, AMF0 and the messages. Its `ServerSession` is left out: it reads chunks by itself,
//! indexes into empty data messages, copies every picture, and refuses in a way that encoders don't show.

use super::amf;
use super::chunk::{self, ChunkError, Message};
use super::refusal::{Reason, Refused};
use super::reply::{self, Writer};
use crate::ingest::Ingested;
use bytes::Bytes;
use media::flv::{self, AudioTag, FlvError, VideoTag};
use media::name::{self, PublishKey};
use rml_amf0::Amf0Value;
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::time::RtmpTimestamp;
use std::collections::VecDeque;

#[cfg(test)]
mod tests;

/// The one application there is.
const APPLICATION: &str = "live";

/// Streams that a connection may create. Encoders create one, some one more after a reconnect.
const STREAMS_MAX: u32 = 64;

/// Command values that are looked at: name, transaction, object and three arguments.
const COMMAND_VALUES: usize = 6;

/// What may come in.
#[derive(Debug)]
pub enum Input<'a> {
    /// From the network.
    Bytes(&'a [u8]),
    /// The publish that was asked for may begin.
    Accept,
    /// No: to the publish that was asked for, or to the whole connection at any time.
    Refuse(Refused),
}

/// What goes out.
#[derive(Debug)]
pub enum Output {
    /// To the network.
    Send(Bytes),
    /// Somebody wants to publish: answer with `Accept` or `Refuse`. Until then nothing more is read.
    Publish(PublishKey),
    /// A part of the stream.
    Media(Ingested),
    /// The encoder ended its publish; it may begin another.
    Unpublished,
    /// The last output: send what is to be sent and close.
    Close(Closed),
}

/// Why the session ended, as far as the session knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The first bytes were no RTMP handshake. They get no answer.
    #[error("not RTMP: {0}")]
    NotRtmp(String),
    /// We said no; the words have been sent.
    #[error("refused: {0}")]
    Refused(Refused),
}

/// How far a session has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Shaking hands.
    Handshake,
    /// Commands, and no publish.
    Idle,
    /// A publish waits for its decision.
    Asked,
    /// Media may come.
    Publishing,
    /// Over.
    Closed,
}

/// The session of one connection.
pub struct Session {
    phase: Phase,
    reader: chunk::Reader,
    writer: Writer,
    outputs: VecDeque<Output>,
    /// The application as the encoder named it, with its query, once connected.
    app: Option<String>,
    /// connect's transaction while connect is being answered.
    connecting: Option<f64>,
    streams: u32,
    /// Bytes received since the handshake, and when we last said so.
    received: u64,
    acknowledged: u64,
    /// Bytes after which the peer wants to hear from us.
    window: u64,
}

enum Phase {
    Handshake(Box<Handshake>),
    Idle,
    Asked { stream: u32, name: String },
    Publishing { stream: u32 },
    Closed,
}

impl Session {
    /// A session for a connection that has just been accepted.
    pub fn new(limits: chunk::Limits) -> Self {
        Self {
            phase: Phase::Handshake(Box::new(Handshake::new(PeerType::Server))),
            reader: chunk::Reader::new(limits),
            writer: Writer::new(),
            outputs: VecDeque::new(),
            app: None,
            connecting: None,
            streams: 0,
            received: 0,
            acknowledged: 0,
            window: u64::from(reply::WINDOW_BYTES),
        }
    }

    /// How far it has got.
    pub fn stage(&self) -> Stage {
        match self.phase {
            Phase::Handshake(_) => Stage::Handshake,
            Phase::Idle => Stage::Idle,
            Phase::Asked { .. } => Stage::Asked,
            Phase::Publishing { .. } => Stage::Publishing,
            Phase::Closed => Stage::Closed,
        }
    }

    /// Takes one input. After `Close`, and for decisions that nobody asked for, nothing happens.
    pub fn handle(&mut self, input: Input<'_>) {
        match (input, &mut self.phase) {
            (_, Phase::Closed) => {}
            (Input::Bytes(bytes), Phase::Handshake(handshake)) => match handshake.process_bytes(bytes) {
                Ok(HandshakeProcessResult::InProgress { response_bytes }) => self.send(response_bytes),
                Ok(HandshakeProcessResult::Completed { response_bytes, remaining_bytes }) => {
                    self.send(response_bytes);
                    self.phase = Phase::Idle;
                    self.receive(&remaining_bytes);
                }
                Err(error) => self.close(Closed::NotRtmp(error.to_string())),
            },
            (Input::Bytes(bytes), _) => self.receive(bytes),
            (Input::Accept, Phase::Asked { stream, name }) => {
                let (stream, name) = (*stream, std::mem::take(name));
                self.phase = Phase::Publishing { stream };
                let published = self.writer.published(stream, &name);
                self.send(published);
            }
            (Input::Accept, _) => {}
            (Input::Refuse(refused), _) => self.refuse(refused),
        }
    }

    /// The next output; `None` until there is another input.
    pub fn poll(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            match self.phase {
                Phase::Idle | Phase::Publishing { .. } => {}
                Phase::Handshake(_) | Phase::Asked { .. } | Phase::Closed => return None,
            }
            let step = match self.reader.next_message() {
                Ok(None) => return None,
                Ok(Some(message)) => self.message(message),
                Err(error) => Err(Refused::protocol(error)),
            };
            if let Err(refused) = step {
                self.refuse(refused);
            }
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.reader.push(bytes);
        self.received = self.received.saturating_add(bytes.len() as u64);
        if self.received - self.acknowledged >= self.window {
            self.acknowledged = self.received;
            let acknowledgement = self.writer.acknowledgement(self.received);
            self.send(acknowledgement);
        }
    }

    fn send(&mut self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        if !bytes.is_empty() {
            self.outputs.push_back(Output::Send(bytes));
        }
    }

    fn close(&mut self, closed: Closed) {
        self.phase = Phase::Closed;
        self.outputs.push_back(Output::Close(closed));
    }

    fn refuse(&mut self, refused: Refused) {
        let stream = match self.phase {
            Phase::Asked { stream, .. } | Phase::Publishing { stream } => stream,
            Phase::Handshake(_) | Phase::Idle | Phase::Closed => 0,
        };
        if !matches!(self.phase, Phase::Handshake(_)) {
            let refusal = self.writer.refused(&refused, self.connecting.take(), stream);
            self.send(refusal);
        }
        self.close(Closed::Refused(refused));
    }

    /// Acts on one message; message types of sections 5.4, 7.1 and 7.2.
    fn message(&mut self, message: Message) -> Result<(), Refused> {
        match message.kind {
            4 => self.user_control(&message.payload),
            5 => self.set_window(&message)?,
            8 | 9 => self.media(message)?,
            15 | 18 => self.data(&message),
            17 | 20 => self.command(&message)?,
            22 => {
                return Err(Refused::protocol("aggregate messages are not supported: send audio and video one by one"));
            }
            // Acknowledgements, bandwidth and shared objects ask for nothing.
            _ => {}
        }
        Ok(())
    }

    fn user_control(&mut self, payload: &[u8]) {
        if let Some((&[0, 6], time)) = payload.split_first_chunk()
            && let Some(time) = time.first_chunk()
        {
            let pong = self.writer.pong(RtmpTimestamp::new(u32::from_be_bytes(*time)));
            self.send(pong);
        }
    }

    fn set_window(&mut self, message: &Message) -> Result<(), Refused> {
        let short = || Refused::protocol(ChunkError::ShortControl(message.kind));
        let window = message.payload.first_chunk().ok_or_else(short)?;
        self.window = u64::from(u32::from_be_bytes(*window));
        Ok(())
    }

    /// Audio and video, wherever the encoder sends them: it publishes one stream. Before that they are ignored.
    fn media(&mut self, message: Message) -> Result<(), Refused> {
        // Some encoders send empty messages to keep the line open.
        if !matches!(self.phase, Phase::Publishing { .. }) || message.payload.is_empty() {
            return Ok(());
        }
        if let Some(ingested) = ingested(message)? {
            self.outputs.push_back(Output::Media(ingested));
        }
        Ok(())
    }

    /// Metadata are hints: what can't be read is left out.
    fn data(&mut self, message: &Message) {
        if !matches!(self.phase, Phase::Publishing { .. }) {
            return;
        }
        match amf::metadata(amf0_part(15, message)) {
            Ok(Some(metadata)) => self.outputs.push_back(Output::Media(Ingested::Metadata(metadata))),
            Ok(None) => {}
            Err(error) => tracing::info!(%error, "ignoring metadata that can't be read"),
        }
    }

    fn command(&mut self, message: &Message) -> Result<(), Refused> {
        let mut values = amf::read(amf0_part(17, message), COMMAND_VALUES).map_err(Refused::protocol)?.into_iter();
        let Some(Amf0Value::Utf8String(name)) = values.next() else {
            return Err(Refused::protocol("a command without a name"));
        };
        let transaction = values.next().and_then(Amf0Value::get_number).unwrap_or_default();
        let object = values.next();
        let argument = values.next();
        match (name.as_str(), &self.app) {
            ("connect", None) => self.connect(transaction, object),
            ("connect", Some(_)) => Err(Refused::protocol("connect came twice")),
            (_, None) => Err(Refused::protocol(format!("{name:?} came before connect"))),
            ("releaseStream" | "FCPublish", _) => {
                let done = self.writer.done(transaction);
                self.send(done);
                Ok(())
            }
            ("createStream", _) => self.create_stream(transaction),
            ("publish", _) => self.publish(message.stream, argument),
            ("FCUnpublish" | "closeStream" | "deleteStream", _) => {
                self.unpublish();
                Ok(())
            }
            ("play" | "play2", _) => Err(Refused::new(
                Reason::Playback,
                "this server doesn't play over RTMP: players get HLS at /hls/NAME.m3u8",
            )),
            _ => {
                tracing::debug!(command = name.chars().take(64).collect::<String>(), "ignoring a command");
                Ok(())
            }
        }
    }

    fn connect(&mut self, transaction: f64, object: Option<Amf0Value>) -> Result<(), Refused> {
        self.connecting = Some(transaction);
        let app = object.and_then(Amf0Value::get_object_properties).and_then(|mut properties| properties.remove("app"));
        let app = app.and_then(Amf0Value::get_string).unwrap_or_default();
        let application = name::application(&app);
        if application != APPLICATION {
            let given: String = application.chars().take(name::NAME_CHARS_MAX).collect();
            let words = format!("there is no application {given:?} here: publish to rtmp://HOST/{APPLICATION}/NAME");
            return Err(Refused::new(Reason::Application, words));
        }
        self.app = Some(app);
        self.connecting = None;
        let connected = self.writer.connected(transaction);
        self.send(connected);
        Ok(())
    }

    fn create_stream(&mut self, transaction: f64) -> Result<(), Refused> {
        if self.streams >= STREAMS_MAX {
            return Err(Refused::protocol(format!("more than {STREAMS_MAX} streams on one connection")));
        }
        self.streams += 1;
        let created = self.writer.stream_created(transaction, self.streams);
        self.send(created);
        Ok(())
    }

    fn publish(&mut self, stream: u32, key: Option<Amf0Value>) -> Result<(), Refused> {
        if matches!(self.phase, Phase::Publishing { .. }) {
            return Err(Refused::new(Reason::Busy, "this connection publishes a stream already"));
        }
        let key = key.and_then(Amf0Value::get_string).unwrap_or_default();
        // The status must come on the stream that the encoder asked for, whatever comes of the name.
        self.phase = Phase::Asked { stream, name: String::new() };
        let key = PublishKey::parse(self.app.as_deref().unwrap_or_default(), &key)?;
        self.phase = Phase::Asked { stream, name: key.name.to_string() };
        self.outputs.push_back(Output::Publish(key));
        Ok(())
    }

    /// FCUnpublish, closeStream and deleteStream all come when an encoder stops; the first one counts.
    fn unpublish(&mut self) {
        if let Phase::Publishing { stream } = self.phase {
            self.phase = Phase::Idle;
            self.outputs.push_back(Output::Unpublished);
            let unpublished = self.writer.unpublished(stream);
            self.send(unpublished);
        }
    }
}

/// A message's AMF0. The AMF3 forms of data and command carry AMF0 as well, mostly behind a zero byte.
fn amf0_part(amf3_kind: u8, message: &Message) -> &[u8] {
    match message.payload.split_first() {
        Some((0, rest)) if message.kind == amf3_kind => rest,
        _ => &message.payload,
    }
}

/// What an audio or video message brings, if anything.
fn ingested(message: Message) -> Result<Option<Ingested>, FlvError> {
    let rtmp_ms = message.timestamp;
    if message.kind == 8 {
        return Ok(match flv::parse_audio(message.payload)? {
            AudioTag::Config(config) => Some(Ingested::AudioConfig(config)),
            AudioTag::Frame(data) => Some(Ingested::Audio { rtmp_ms, data }),
            AudioTag::Nothing => None,
        });
    }
    Ok(match flv::parse_video(message.payload)? {
        VideoTag::Config(config) => Some(Ingested::VideoConfig(config)),
        VideoTag::Unit { composition_ms, data, .. } => Some(Ingested::Video { rtmp_ms, composition_ms, data }),
        VideoTag::End | VideoTag::Nothing => None,
    })
}
