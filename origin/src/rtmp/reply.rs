//! What the server says: messages into bytes, in the shapes that encoders expect.
//!
//! All of it carries time 0. Nobody looks at the time of a command, and so neither this nor the session reads a clock.

use super::refusal::Refused;
use bytes::Bytes;
use rml_amf0::Amf0Value;
use rml_rtmp::chunk_io::ChunkSerializer;
use rml_rtmp::messages::{MessagePayload, PeerBandwidthLimitType, RtmpMessage, UserControlEventType};
use rml_rtmp::time::RtmpTimestamp;
use std::collections::HashMap;

/// Chunk size of what we send, in bytes: every reply fits into one chunk.
const CHUNK_BYTES: u32 = 4096;

/// How much we let a peer send before it hears from us, and would like it to let us, in bytes.
pub(super) const WINDOW_BYTES: u32 = 2_500_000;

/// Serialises replies. Header compression makes it one per connection, and all its bytes must be sent, in order.
pub(super) struct Writer {
    chunks: ChunkSerializer,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { chunks: ChunkSerializer::new() }
    }

    /// The answer to connect, with the settings that go before it.
    pub(super) fn connected(&mut self, transaction: f64) -> Bytes {
        let mut out = Vec::new();
        out.extend(self.message(RtmpMessage::WindowAcknowledgement { size: WINDOW_BYTES }, 0));
        let limit_type = PeerBandwidthLimitType::Dynamic;
        out.extend(self.message(RtmpMessage::SetPeerBandwidth { size: WINDOW_BYTES, limit_type }, 0));
        out.extend(self.stream_begin(0));
        let packet = self.chunks.set_max_chunk_size(CHUNK_BYTES, RtmpTimestamp::new(0));
        out.extend(packet.map(|packet| packet.bytes).unwrap_or_default());
        let server = object([("fmsVer", text("FMS/3,0,1,123")), ("capabilities", Amf0Value::Number(31.0))]);
        let info = object([
            ("level", text("status")),
            ("code", text("NetConnection.Connect.Success")),
            ("description", text("connected")),
            ("objectEncoding", Amf0Value::Number(0.0)),
        ]);
        out.extend(self.command("_result", transaction, server, vec![info], 0));
        out.into()
    }

    /// The answer to createStream.
    pub(super) fn stream_created(&mut self, transaction: f64, stream: u32) -> Bytes {
        let stream = Amf0Value::Number(f64::from(stream));
        self.command("_result", transaction, Amf0Value::Null, vec![stream], 0).into()
    }

    /// The answer to releaseStream and FCPublish, which only want one.
    pub(super) fn done(&mut self, transaction: f64) -> Bytes {
        self.command("_result", transaction, Amf0Value::Null, vec![Amf0Value::Undefined], 0).into()
    }

    /// Publishing may begin.
    pub(super) fn published(&mut self, stream: u32, name: &str) -> Bytes {
        let mut out = self.stream_begin(stream);
        out.extend(self.status("status", "NetStream.Publish.Start", &format!("publishing {name}"), stream));
        out.into()
    }

    /// Publishing has ended because the encoder said so.
    pub(super) fn unpublished(&mut self, stream: u32) -> Bytes {
        self.status("status", "NetStream.Unpublish.Success", "unpublished", stream).into()
    }

    /// A no. `connect` is that command's transaction while it waits for its answer: then the no is that answer, and
    /// a status as well, since librtmp (OBS) shows a description only from a status.
    pub(super) fn refused(&mut self, refused: &Refused, connect: Option<f64>, stream: u32) -> Bytes {
        let (code, words) = (refused.reason.code(), refused.words.as_str());
        let mut out = Vec::new();
        if let Some(transaction) = connect {
            let info = status("error", code, words);
            out.extend(self.command("_error", transaction, Amf0Value::Null, vec![info], 0));
        }
        out.extend(self.status("error", code, words, stream));
        out.into()
    }

    /// "I have had this many bytes", modulo 2^32 (section 5.4.3).
    pub(super) fn acknowledgement(&mut self, received: u64) -> Bytes {
        let sequence_number = (received & u64::from(u32::MAX)) as u32;
        self.message(RtmpMessage::Acknowledgement { sequence_number }, 0).into()
    }

    /// The answer to a ping, with the ping's own time.
    pub(super) fn pong(&mut self, time: RtmpTimestamp) -> Bytes {
        self.user_control(UserControlEventType::PingResponse, None, Some(time)).into()
    }

    fn stream_begin(&mut self, stream: u32) -> Vec<u8> {
        self.user_control(UserControlEventType::StreamBegin, Some(stream), None)
    }

    fn user_control(
        &mut self,
        event_type: UserControlEventType,
        stream_id: Option<u32>,
        timestamp: Option<RtmpTimestamp>,
    ) -> Vec<u8> {
        self.message(RtmpMessage::UserControl { event_type, stream_id, buffer_length: None, timestamp }, 0)
    }

    fn status(&mut self, level: &str, code: &str, description: &str, stream: u32) -> Vec<u8> {
        self.command("onStatus", 0.0, Amf0Value::Null, vec![status(level, code, description)], stream)
    }

    fn command(
        &mut self,
        name: &str,
        transaction_id: f64,
        command_object: Amf0Value,
        additional_arguments: Vec<Amf0Value>,
        stream: u32,
    ) -> Vec<u8> {
        let command_name = name.to_owned();
        let message = RtmpMessage::Amf0Command { command_name, transaction_id, command_object, additional_arguments };
        self.message(message, stream)
    }

    /// Serialising fails only for texts over 64 KiB and chunk sizes over 2^31, and there are none here.
    fn message(&mut self, message: RtmpMessage, stream: u32) -> Vec<u8> {
        MessagePayload::from_rtmp_message(message, RtmpTimestamp::new(0), stream)
            .ok()
            .and_then(|payload| self.chunks.serialize(&payload, false, false).ok())
            .map(|packet| packet.bytes)
            .unwrap_or_default()
    }
}

fn status(level: &str, code: &str, description: &str) -> Amf0Value {
    object([("level", text(level)), ("code", text(code)), ("description", text(description))])
}

fn object<const N: usize>(properties: [(&str, Amf0Value); N]) -> Amf0Value {
    Amf0Value::Object(HashMap::from(properties.map(|(name, value)| (name.to_owned(), value))))
}

fn text(text: &str) -> Amf0Value {
    Amf0Value::Utf8String(text.to_owned())
}
