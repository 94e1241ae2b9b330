//! The test picture over real TCP, against a server made of rml_rtmp's server session.
#![allow(clippy::unwrap_used, clippy::panic)]

use codec::decode;
use media::flv::{AudioTag, VideoTag, parse_audio, parse_video};
use media::unit::VideoUnit;
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::sessions::{
    ServerSession, ServerSessionConfig, ServerSessionEvent as Event, ServerSessionResult, StreamMetadata,
};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tools::testsource::{Error, Options, decode_timecode, run};

/// What a server got.
#[derive(Default)]
struct Got {
    app: String,
    key: String,
    metadata: Option<StreamMetadata>,
    video: Vec<(u32, VideoTag)>,
    audio: Vec<(u32, AudioTag)>,
    finished: bool,
}

/// What the server does.
#[derive(Clone, Copy, PartialEq)]
enum Policy {
    Accept,
    /// Refuses the application.
    RefuseApp,
    /// Refuses the name.
    RefuseName,
    /// Closes after so many video messages.
    CloseAfter(usize),
    /// Cancels the publisher after so many video messages.
    StopAfter(usize),
}

/// Serves one connection until it ends.
async fn serve(mut stream: TcpStream, policy: Policy, stop: &CancellationToken) -> Got {
    let mut got = Got::default();
    let mut buffer = vec![0; 64 << 10];
    let mut handshake = Handshake::new(PeerType::Server);
    let mut input = loop {
        let count = stream.read(&mut buffer).await.unwrap();
        match handshake.process_bytes(&buffer[..count]).unwrap() {
            HandshakeProcessResult::InProgress { response_bytes } => stream.write_all(&response_bytes).await.unwrap(),
            HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                stream.write_all(&response_bytes).await.unwrap();
                break remaining_bytes;
            }
        }
    };
    let (mut session, greeting) = ServerSession::new(ServerSessionConfig::new()).unwrap();
    let mut results = greeting;
    loop {
        results.extend(session.handle_input(&input).unwrap());
        while !results.is_empty() {
            match results.remove(0) {
                ServerSessionResult::OutboundResponse(packet) => stream.write_all(&packet.bytes).await.unwrap(),
                ServerSessionResult::RaisedEvent(event) => results.extend(react(&mut session, event, policy, &mut got)),
                ServerSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
        match policy {
            Policy::CloseAfter(count) if got.video.len() >= count => return got,
            Policy::StopAfter(count) if got.video.len() >= count => stop.cancel(),
            _ => {}
        }
        match stream.read(&mut buffer).await {
            Ok(count @ 1..) => input = buffer[..count].to_vec(),
            _ => return got,
        }
    }
}

fn react(session: &mut ServerSession, event: Event, policy: Policy, got: &mut Got) -> Vec<ServerSessionResult> {
    let refuse = "that name is taken: choose another";
    match event {
        Event::ConnectionRequested { request_id, app_name } => {
            got.app = app_name;
            match policy {
                Policy::RefuseApp => {
                    session.reject_request(request_id, "NetConnection.Connect.Rejected", "no such application").unwrap()
                }
                _ => session.accept_request(request_id).unwrap(),
            }
        }
        Event::PublishStreamRequested { request_id, stream_key, .. } => {
            got.key = stream_key;
            match policy {
                Policy::RefuseName => session.reject_request(request_id, "NetStream.Publish.BadName", refuse).unwrap(),
                _ => session.accept_request(request_id).unwrap(),
            }
        }
        Event::StreamMetadataChanged { metadata, .. } => {
            got.metadata = Some(metadata);
            Vec::new()
        }
        Event::VideoDataReceived { data, timestamp, .. } => {
            got.video.push((timestamp.value, parse_video(data).unwrap()));
            Vec::new()
        }
        Event::AudioDataReceived { data, timestamp, .. } => {
            got.audio.push((timestamp.value, parse_audio(data).unwrap()));
            Vec::new()
        }
        Event::PublishStreamFinished { .. } => {
            got.finished = true;
            Vec::new()
        }
        _ => Vec::new(),
    }
}

/// Publishes to a server with this policy: what the publisher says of it, and what the server got.
async fn publish(options: Options, policy: Policy) -> (Result<(), Error>, Got) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rtmp://{}/live/foo?key=secret", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, policy, &stop).await
    };
    tokio::join!(run(Options { url, ..options }, stop.clone()), server)
}

fn small() -> Options {
    Options {
        width: 480,
        height: 240,
        bitrate: 400_000,
        keyframe_s: 0.2,
        duration: Some(Duration::from_millis(600)),
        ..Options::default()
    }
}

fn utc_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

#[tokio::test]
async fn a_server_gets_a_picture_whose_timecode_is_now() {
    let before = utc_ms();
    let (result, got) = publish(Options { bframes: 1, ..small() }, Policy::Accept).await;
    let after = utc_ms();
    result.unwrap();
    assert_eq!((got.app.as_str(), got.key.as_str(), got.finished), ("live", "foo?key=secret", true));
    let metadata = got.metadata.unwrap();
    assert_eq!((metadata.video_width, metadata.video_height), (Some(480), Some(240)));
    assert!(metadata.encoder.unwrap().starts_with("live360 testsource"));

    let (_, VideoTag::Config(config)) = &got.video[0] else { panic!("the configuration comes first") };
    assert!(matches!(got.video.last(), Some((_, VideoTag::End))));
    let mut decoder = decode::Video::open(config).unwrap();
    let mut times = Vec::new();
    let mut take = |picture: codec::picture::Picture| {
        let (luma, stride) = picture.plane(0);
        let packed: Vec<u8> = luma.chunks(stride).take(240).flat_map(|line| &line[..480]).copied().collect();
        times.push(decode_timecode(&packed, 480, 240).expect("a timecode in every picture"));
        Ok(())
    };
    for (time, tag) in &got.video {
        let VideoTag::Unit { composition_ms, data, .. } = tag else { continue };
        let (dts, composition) = (i64::from(*time) * 90, i64::from(*composition_ms) * 90);
        let unit = VideoUnit { dts, pts: dts + composition, idr: false, data: data.clone() };
        decoder.push(&unit, &mut take).unwrap();
    }
    decoder.finish(&mut take).unwrap();
    assert_eq!((decoder.damaged(), times.len()), (0, 18));
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    assert!(times.iter().all(|time| (before..=after).contains(time)), "{before} {times:?} {after}");

    let keys = got.video.iter().filter(|(_, tag)| matches!(tag, VideoTag::Unit { key_flag: true, .. }));
    assert_eq!(keys.map(|(time, _)| time).collect::<Vec<_>>().len(), 3);
    assert!(matches!(got.audio[0].1, AudioTag::Config(_)));
    assert!(got.audio.len() > 20, "{}", got.audio.len());
}

#[tokio::test]
async fn a_refusal_comes_back_in_the_servers_words() {
    let (result, _) = publish(small(), Policy::RefuseApp).await;
    assert_eq!(result.unwrap_err().to_string(), "the server refused: no such application");
    let (result, _) = publish(small(), Policy::RefuseName).await;
    assert_eq!(result.unwrap_err().to_string(), "the server refused: that name is taken: choose another");
}

#[tokio::test]
async fn a_stop_is_a_success_and_says_goodbye() {
    let (result, got) = publish(Options { duration: None, ..small() }, Policy::StopAfter(3)).await;
    result.unwrap();
    assert!(got.finished);
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_error_or_with_reconnect_a_new_start() {
    let (result, _) = publish(Options { duration: None, ..small() }, Policy::CloseAfter(3)).await;
    assert!(matches!(result, Err(Error::Closed | Error::Lost(_))), "{result:?}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rtmp://{}/live/foo", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let options = Options { url, reconnect: Some(Duration::from_millis(1)), duration: None, ..small() };
    let server = async {
        for policy in [Policy::CloseAfter(3), Policy::RefuseName, Policy::StopAfter(3)] {
            let (stream, _) = listener.accept().await.unwrap();
            let got = serve(stream, policy, &stop).await;
            let restarted = matches!(got.video.first(), Some((0, VideoTag::Config(_))));
            assert_eq!(restarted, policy != Policy::RefuseName);
        }
    };
    let (result, ()) = tokio::join!(run(options, stop.clone()), server);
    result.unwrap();
}

#[tokio::test]
async fn nobody_at_the_address_is_told_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let options = Options { url: format!("rtmp://{address}/live/foo"), ..small() };
    let error = run(options, CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot connect to {address}: ")), "{error}");
}

#[tokio::test]
async fn options_outside_their_limits_are_refused_in_words() {
    let check = async |options: Options, expected: &str| {
        let error = run(options, CancellationToken::new()).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    check(Options { width: 481, ..small() }, "picture size is 481x240, and must be even, 64x32 to 8192x8192").await;
    check(Options { frame_rate: (30, 0), ..small() }, "frame rate is 30/0, and must be 1 to 240 per second").await;
    let keyframe_s = f64::NAN;
    check(Options { keyframe_s, ..small() }, "key-frame interval is NaN, and must be 0 to 60 seconds").await;
    let url = "rtmp://localhost/foo".to_owned();
    let expected = "\"rtmp://localhost/foo\" is no address to publish to: \
        write rtmp://HOST[:PORT]/live/NAME, with ?key=SECRET if it needs one";
    check(Options { url, ..small() }, expected).await;
}
