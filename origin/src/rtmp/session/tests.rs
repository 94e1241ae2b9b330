//! A session's conversations: what is let in, what is refused with which words, and what never hurts.

use super::*;
use crate::rtmp::chunk::{Limits, Reader};
use crate::rtmp::testkit::{
    AUDIO_CONFIG, VIDEO_CONFIG, command, connect, message, object, picture, publish, replies, sound, status, text, wire,
};
use proptest::prelude::*;

/// A session with the publisher's end of the handshake done, and what it has said.
struct Line {
    session: Session,
    heard: Reader,
    outputs: Vec<Output>,
}

impl Line {
    fn new() -> Self {
        let mut line = Self {
            session: Session::new(Limits::default()),
            heard: Reader::new(Limits::default()),
            outputs: Vec::new(),
        };
        let mut client = Handshake::new(PeerType::Client);
        let first = client.generate_outbound_p0_and_p1().unwrap();
        line.session.handle(Input::Bytes(&first));
        let mut second = Vec::new();
        while let Some(Output::Send(bytes)) = line.session.poll() {
            match client.process_bytes(&bytes).unwrap() {
                HandshakeProcessResult::InProgress { response_bytes } => second.extend(response_bytes),
                HandshakeProcessResult::Completed { response_bytes, .. } => second.extend(response_bytes),
            }
        }
        line.input(Input::Bytes(&second));
        assert_eq!(line.session.stage(), Stage::Idle);
        line
    }

    /// A line on which "foo" is being published.
    fn publishing() -> Self {
        let mut line = Self::new();
        line.send(&[connect("live"), publish("foo")]);
        line.input(Input::Accept);
        assert_eq!(line.session.stage(), Stage::Publishing);
        line.outputs.clear();
        line.replies();
        line
    }

    fn input(&mut self, input: Input<'_>) {
        self.session.handle(input);
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(bytes) => self.heard.push(&bytes),
                other => self.outputs.push(other),
            }
        }
    }

    fn send(&mut self, messages: &[Message]) {
        self.input(Input::Bytes(&wire(messages)));
    }

    fn replies(&mut self) -> Vec<(String, Vec<Amf0Value>)> {
        replies(&mut self.heard)
    }

    fn media(&mut self) -> Vec<Ingested> {
        let media = |output| match output {
            Output::Media(ingested) => Some(ingested),
            _ => None,
        };
        self.outputs.drain(..).filter_map(media).collect()
    }

    /// The code and words of the refusal that ended the session.
    fn refusal(&mut self, rule: &str) -> (Reason, String, String) {
        assert_eq!(self.session.stage(), Stage::Closed, "{rule}");
        let Some(Output::Close(Closed::Refused(refused))) = self.outputs.pop() else { panic!("{rule}: not refused") };
        let (name, values) = self.replies().pop().expect("a status");
        let (level, code, description) = status(&values);
        assert_eq!((name.as_str(), level.as_str()), ("onStatus", "error"), "{rule}");
        assert_eq!(description, refused.words, "{rule}");
        (refused.reason, code, description)
    }
}

/// Sends messages on a line and expects a refusal with a reason, a code and some of its words.
fn refused(mut line: Line, messages: &[Message], reason: Reason, code: &str, words: &str) {
    line.send(messages);
    let (got, got_code, description) = line.refusal(words);
    assert_eq!((got, got_code.as_str()), (reason, code), "{words}");
    assert!(description.contains(words), "{description:?} should say {words:?}");
}

#[test]
fn an_encoder_connects_creates_a_stream_and_publishes() {
    let mut line = Line::new();
    line.send(&[
        connect("live?proj=equirect"),
        command("releaseStream", 2.0, 0, &[Amf0Value::Null, text("foo")]),
        command("FCPublish", 3.0, 0, &[Amf0Value::Null, text("foo")]),
        command("createStream", 4.0, 0, &[Amf0Value::Null]),
        publish("foo?key=secret"),
    ]);
    let names: Vec<_> = line.replies().into_iter().map(|(name, values)| (name, values[0].clone())).collect();
    let result = |transaction| ("_result".to_owned(), Amf0Value::Number(transaction));
    assert_eq!(names, [result(1.0), result(2.0), result(3.0), result(4.0)]);
    let Some(Output::Publish(key)) = line.outputs.pop() else { panic!("no publish") };
    assert_eq!(key.name.as_str(), "foo");
    assert_eq!((key.params["key"].as_str(), key.params["proj"].as_str()), ("secret", "equirect"));
    line.input(Input::Accept);
    let (name, values) = line.replies().pop().unwrap();
    assert_eq!((name.as_str(), status(&values).1.as_str()), ("onStatus", "NetStream.Publish.Start"));
}

#[test]
fn nothing_is_read_while_a_publish_waits_for_its_decision() {
    let mut line = Line::new();
    line.send(&[connect("live"), publish("foo"), sound(7), picture(8, 100)]);
    assert!(matches!(line.outputs[..], [Output::Publish(_)]));
    assert_eq!(line.session.stage(), Stage::Asked);
    line.input(Input::Accept);
    let media = line.media();
    assert!(matches!(media[..], [Ingested::Audio { rtmp_ms: 7, .. }, Ingested::Video { rtmp_ms: 8, .. }]), "{media:?}");
}

#[test]
fn media_come_out_as_they_came_in() {
    let mut line = Line::publishing();
    line.send(&[
        message(9, 1, 0, VIDEO_CONFIG),
        message(8, 1, 0, AUDIO_CONFIG),
        message(9, 1, u32::MAX - 5, [&[0x27, 1, 0xFF, 0xFF, 0xD8][..], &[0, 0, 0, 1, 0x41]].concat()),
        message(8, 1, 20, vec![]),
        sound(20),
    ]);
    let media = line.media();
    let [Ingested::VideoConfig(video), Ingested::AudioConfig(audio), picture, sound] = &media[..] else {
        panic!("{media:?}")
    };
    assert_eq!(video.avcc(), &VIDEO_CONFIG[5..]);
    assert_eq!(audio.asc(), &AUDIO_CONFIG[2..]);
    let Ingested::Video { rtmp_ms, composition_ms, data } = picture else { panic!("{picture:?}") };
    assert_eq!((*rtmp_ms, *composition_ms, &data[..]), (u32::MAX - 5, -40, &[0, 0, 0, 1, 0x41][..]));
    let Ingested::Audio { rtmp_ms, data } = sound else { panic!("{sound:?}") };
    assert_eq!((*rtmp_ms, &data[..]), (20, &[0x21, 0x11, 0x45][..]));
}

#[test]
fn metadata_are_taken_in_any_form_and_left_out_if_they_cant_be_read() {
    let mut line = Line::publishing();
    let properties = object(&[("encoder", text("OBS")), ("framerate", Amf0Value::Number(30.0))]);
    let bare = rml_amf0::serialize(&vec![text("onMetaData"), properties.clone()]).unwrap();
    let set = rml_amf0::serialize(&vec![text("@setDataFrame"), text("onMetaData"), properties]).unwrap();
    let amf3 = [&[0][..], &set].concat();
    line.send(&[
        message(18, 1, 0, bare),
        message(18, 1, 0, set),
        message(15, 1, 0, amf3),
        message(18, 1, 0, vec![2, 0, 99]),
        message(18, 1, 0, vec![]),
    ]);
    let media = line.media();
    assert_eq!(media.len(), 3);
    for ingested in media {
        let Ingested::Metadata(metadata) = ingested else { panic!("{ingested:?}") };
        assert_eq!((metadata.encoder.as_deref(), metadata.frame_rate), (Some("OBS"), Some(30.0)));
    }
}

#[test]
fn stopping_ends_the_publish_once_and_the_connection_may_publish_again() {
    let mut line = Line::publishing();
    line.send(&[
        command("FCUnpublish", 6.0, 0, &[Amf0Value::Null, text("foo")]),
        command("deleteStream", 7.0, 0, &[Amf0Value::Null, Amf0Value::Number(1.0)]),
        sound(9),
        publish("bar"),
    ]);
    assert!(matches!(&line.outputs[..], [Output::Unpublished, Output::Publish(key)] if key.name.as_str() == "bar"));
    for way in ["closeStream", "deleteStream", "FCUnpublish"] {
        let mut line = Line::publishing();
        line.send(&[command(way, 0.0, 1, &[Amf0Value::Null])]);
        assert!(matches!(line.outputs[..], [Output::Unpublished]), "{way}");
    }
}

#[test]
fn what_a_publisher_may_not_do_is_refused_in_words() {
    use Reason::{Application, Busy, Codec, Malformed, Name, Playback, Protocol};
    let app = "NetConnection.Connect.InvalidApp";
    let (denied, rejected) = ("NetStream.Publish.Denied", "NetConnection.Connect.Rejected");
    let to_connected = |messages: &[Message]| [&[connect("live")], messages].concat();
    let play = command("play", 5.0, 1, &[Amf0Value::Null, text("foo")]);
    refused(Line::new(), &[connect("vod")], Application, app, "no application \"vod\"");
    refused(Line::new(), &[connect("live/foo")], Application, app, "rtmp://HOST/live/NAME");
    refused(Line::new(), &[command("connect", 1.0, 0, &[Amf0Value::Null])], Application, app, "no application");
    refused(Line::new(), &to_connected(&[publish("a b")]), Name, denied, "\"a b\" is not allowed");
    refused(Line::new(), &to_connected(&[publish("")]), Name, denied, "use 1 to 64 of");
    refused(Line::new(), &to_connected(&[command("publish", 5.0, 1, &[])]), Name, denied, "use 1 to 64 of");
    refused(Line::new(), &to_connected(&[play]), Playback, "NetStream.Play.Failed", "doesn't play over RTMP");
    refused(Line::new(), &[publish("foo")], Protocol, rejected, "before connect");
    refused(Line::new(), &to_connected(&[connect("live")]), Protocol, rejected, "connect came twice");
    refused(Line::new(), &[message(20, 0, 0, vec![2, 0])], Protocol, rejected, "ends too early");
    refused(Line::new(), &[message(20, 0, 0, vec![5])], Protocol, rejected, "without a name");
    refused(Line::new(), &[message(5, 0, 0, vec![5])], Protocol, rejected, "too short");
    refused(Line::new(), &[message(22, 0, 0, vec![5])], Protocol, rejected, "aggregate");
    refused(Line::publishing(), &[publish("bar")], Busy, denied, "publishes a stream already");
    refused(Line::publishing(), &[message(9, 1, 0, vec![0x12, 0, 0, 0, 0, 0])], Codec, denied, "H.264");
    refused(Line::publishing(), &[message(8, 1, 0, vec![0x2F, 1, 1])], Codec, denied, "AAC");
    refused(Line::publishing(), &[message(9, 1, 0, vec![0x17])], Malformed, denied, "malformed");
    let create = command("createStream", 4.0, 0, &[Amf0Value::Null]);
    refused(Line::new(), &to_connected(&vec![create; 65]), Protocol, rejected, "more than 64 streams");
}

#[test]
fn a_refused_connect_is_answered_as_an_error_as_well() {
    let mut line = Line::new();
    line.send(&[connect("vod")]);
    let replies = line.replies();
    let [(error, values), (status_name, _)] = &replies[..] else { panic!("{replies:?}") };
    assert_eq!((error.as_str(), status_name.as_str()), ("_error", "onStatus"));
    assert_eq!(values[0], Amf0Value::Number(1.0), "under connect's transaction");
    assert_eq!(status(values).1, "NetConnection.Connect.InvalidApp");
}

#[test]
fn a_decision_may_be_no_before_and_while_publishing() {
    let no = || Refused::new(Reason::Ended, "taken over");
    let mut asked = Line::new();
    asked.send(&[connect("live"), publish("foo")]);
    for mut line in [asked, Line::publishing()] {
        line.input(Input::Refuse(no()));
        assert_eq!(line.refusal("no"), (Reason::Ended, "NetStream.Publish.Denied".to_owned(), "taken over".to_owned()));
        line.outputs.clear();
        line.send(&[sound(1)]);
        line.input(Input::Accept);
        assert!(line.outputs.is_empty(), "nothing comes after the end");
    }
}

#[test]
fn decisions_that_nobody_asked_for_change_nothing() {
    let mut line = Line::new();
    line.input(Input::Accept);
    assert_eq!((line.session.stage(), line.outputs.len()), (Stage::Idle, 0));
}

#[test]
fn what_is_no_rtmp_gets_no_answer() {
    for (rule, bytes) in [("http", &b"GET / HTTP/1.1\r\n\r\n"[..]), ("tls", b"\x16\x03\x01\x02\x00\x01")] {
        let mut session = Session::new(Limits::default());
        session.handle(Input::Bytes(bytes));
        assert!(matches!(session.poll(), Some(Output::Close(Closed::NotRtmp(_)))), "{rule}");
        assert!(session.poll().is_none(), "{rule}");
    }
}

#[test]
fn bytes_are_acknowledged_by_the_peers_window_and_pings_answered() {
    let mut line = Line::publishing();
    line.send(&[message(5, 0, 0, 10_000u32.to_be_bytes().to_vec())]);
    while line.heard.next_message().unwrap().is_some() {}
    line.send(&[picture(0, 4000), picture(40, 2000)]);
    assert_eq!(line.heard.next_message(), Ok(None), "below the window");
    line.send(&[picture(80, 4000)]);
    let acknowledgement = line.heard.next_message().unwrap().expect("an acknowledgement");
    let received = u32::from_be_bytes(*acknowledgement.payload.first_chunk().unwrap());
    assert_eq!((acknowledgement.kind, u64::from(received)), (3, line.session.received));
    line.send(&[message(4, 0, 0, vec![0, 6, 1, 2, 3, 4])]);
    let pong = line.heard.next_message().unwrap().expect("a pong");
    assert_eq!((pong.kind, &pong.payload[..]), (4, &[0, 7, 1, 2, 3, 4][..]));
}

/// AMF0 as a stranger might write it: valid values, cut and broken at random.
fn any_amf() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        any::<f64>().prop_map(Amf0Value::Number),
        any::<bool>().prop_map(Amf0Value::Boolean),
        prop_oneof!["connect|publish|play|createStream|deleteStream|@setDataFrame|onMetaData|live|app", ".{0,8}"]
            .prop_map(|t| text(&t)),
        Just(Amf0Value::Null),
        Just(Amf0Value::Undefined),
    ];
    let value = leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::hash_map("[a-z]{1,5}|app", inner.clone(), 0..4).prop_map(Amf0Value::Object),
            proptest::collection::vec(inner, 0..4).prop_map(Amf0Value::StrictArray),
        ]
    });
    let whole = proptest::collection::vec(value, 0..6).prop_map(|values| rml_amf0::serialize(&values).unwrap());
    (whole, any::<proptest::sample::Index>(), any::<Option<u8>>()).prop_map(|(mut bytes, at, broken)| {
        if let (Some(broken), false) = (broken, bytes.is_empty()) {
            let at = at.index(bytes.len());
            if broken % 2 == 0 { bytes.truncate(at) } else { bytes[at] = broken }
        }
        bytes
    })
}

fn any_message() -> impl Strategy<Value = Message> {
    let known = (0..6usize).prop_map(|n| {
        [
            connect("live"),
            publish("foo"),
            picture(3, 9),
            sound(4),
            message(9, 1, 0, VIDEO_CONFIG),
            message(8, 1, 0, AUDIO_CONFIG),
        ][n]
            .clone()
    });
    let media = (8..10u8, any::<u32>(), proptest::collection::vec(any::<u8>(), 0..60));
    let control = (3..7u8, proptest::collection::vec(any::<u8>(), 0..9));
    prop_oneof![
        known,
        (prop_oneof![Just(20u8), Just(18), Just(17), Just(15)], any_amf())
            .prop_map(|(kind, body)| message(kind, 1, 0, body)),
        media.prop_map(|(kind, time, body)| message(kind, 1, time, body)),
        control.prop_map(|(kind, body)| message(kind, 0, 0, body)),
    ]
}

proptest! {
    #[test]
    fn no_conversation_hurts(messages in proptest::collection::vec(any_message(), 0..30), accept in any::<bool>()) {
        let mut line = Line::new();
        for message in messages {
            line.send(&[message]);
            if accept {
                line.input(Input::Accept);
            }
        }
    }

    #[test]
    fn no_bytes_hurt(bytes in proptest::collection::vec(any::<u8>(), 0..4000), greeted in any::<bool>()) {
        let mut session = if greeted { Line::new().session } else { Session::new(Limits::default()) };
        session.handle(Input::Bytes(&bytes));
        while session.poll().is_some() {}
    }
}
