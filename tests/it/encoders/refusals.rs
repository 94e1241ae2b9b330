//! No, in words that the encoder's user gets to read; and who may take a stream over.

use super::small;
use e2e::flv::{DATA, Tag};
use e2e::rtmp::{ELSEWHERE, HERE, Rtmp, data, text};
use e2e::served::Served;
use e2e::{Ffmpeg, Server, Source, Viewer, make_media, wait_for};
use std::time::Duration;
use tempfile::TempDir;

/// Short segments, so that tests are short.
const SETS: [&str; 3] = ["ladder=[\"source\"]", "origin.reconnect_s=600", "hls.segment_ms=1000"];

fn endless() -> Source {
    Source { keyint: 30, ..small(120) }
}

#[tokio::test(flavor = "multi_thread")]
async fn ffmpegs_user_reads_why_it_was_refused() {
    let dir = TempDir::new().expect("a temporary folder");
    let media = dir.path().join("source.flv");
    make_media(&small(8), &media).await;
    let mut server = Server::all(&[&SETS[..], &["streams.keyed.key=s"]].concat()).await;
    let base = format!("rtmp://{}", server.addr("rtmp"));
    for (path, options, words) in [
        ("lve/foo", &[][..], "there is no application \"lve\" here: publish to rtmp://HOST/live/NAME"),
        ("live/foo.bar", &[], "stream name \"foo.bar\" is not allowed: use 1 to 64 of a-z A-Z 0-9 _ -"),
        (
            "live/flv1",
            &["-c:v", "flv1"],
            "Sorenson H.263 video is not supported: set the encoder's video codec to H.264",
        ),
        (
            "live/mp3",
            &["-c:a", "libmp3lame", "-ar", "44100"],
            "MP3 audio is not supported: set the encoder's audio codec to AAC",
        ),
        ("live/deep", &["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le"], "10-bit H.264"),
        ("live/keyed", &[], "stream keyed needs its key: put NAME?key=SECRET into the encoder's key field"),
        ("live/keyed?key=x", &[], "stream keyed needs its key"),
    ] {
        let (ok, said) = Ffmpeg::publish_file(&media, &format!("{base}/{path}"), options).wait().await;
        assert!(!ok && said.contains(words), "{path}: {said}");
    }
    let (ok, said) = Ffmpeg::send_file(&media, &format!("{base}/live/keyed?key=s"), &[]).wait().await;
    assert!(ok, "the right key is let in: {said}");
    server.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_another_address_has_to_wait() {
    let dir = TempDir::new().expect("a temporary folder");
    let media = dir.path().join("source.flv");
    make_media(&small(2), &media).await;
    let mut server = Server::all(&SETS).await;
    let mut holder = Rtmp::try_publish(&server, "foo", ELSEWHERE).await.expect("the name is free");
    let (ok, said) = tokio::select! {
        refused = Ffmpeg::send_file(&media, &server.rtmp("foo"), &[]).wait() => refused,
        () = talk(&mut holder) => unreachable!("it talks on"),
    };
    assert!(!ok && said.contains("stream foo is already live from another encoder"), "{said}");
    holder.unpublish("foo").await;
    let (ok, said) = Ffmpeg::send_file(&media, &server.rtmp("foo"), &[]).wait().await;
    assert!(ok, "the name is free again: {said}");
    server.assert_well();
}

/// Says something ten times a second: an encoder with nothing to show that is still there.
async fn talk(rtmp: &mut Rtmp) {
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    loop {
        pace.tick().await;
        let hello: Tag = data(&[text("hello")]);
        assert_eq!(hello.kind, DATA);
        rtmp.send(&[hello]).await;
    }
}

/// Lets a second encoder take a stream over; returns what the first one was told, once viewers have seen both.
async fn take_over(server: &Server, viewer: &Viewer, first: &str, second: &str) -> String {
    let encoder = Ffmpeg::publish(&endless(), &server.rtmp(first));
    let before = viewer.wait_segments("foo", "source", 2).await;
    let successor = Ffmpeg::publish(&endless(), &server.rtmp(second));
    let (ok, said) = encoder.wait().await;
    assert!(!ok, "the first one is sent away");
    let after = wait_for("segments of the second one", || async {
        let playlist = viewer.playlist("foo", "source").await;
        let at = playlist.media.segments.iter().position(|segment| segment.discontinuity)?;
        (playlist.media.segments.len() >= at + 2).then_some(playlist)
    })
    .await;
    assert_eq!(after.media.media_sequence, before.media.media_sequence);
    let kept = before.media.segments.iter().zip(&after.media.segments).all(|(a, b)| a.uri == b.uri);
    assert!(kept, "{} became {}", before.text, after.text);
    let served = Served::fetch(viewer, "foo", "source").await;
    let [at] = served.discontinuities()[..] else { panic!("one break: {}", served.playlist.text) };
    assert!(at >= before.media.segments.len(), "{}", served.playlist.text);
    served.assert_unbroken(&[at]);
    successor.stop().await;
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_address_takes_over() {
    let mut server = Server::all(&SETS).await;
    let said = take_over(&server, &server.viewer(), "foo", "foo").await;
    assert!(said.contains("another publisher took this stream over"), "{said}");
    server.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_key_takes_over_from_anywhere_and_a_wrong_one_hurts_nobody() {
    let mut server = Server::all(&[&SETS[..], &["streams.foo.key=\"s\""]].concat()).await;
    let (viewer, encoder) = (server.viewer(), Ffmpeg::publish(&endless(), &server.rtmp("foo?key=s")));
    let before = viewer.wait_segments("foo", "source", 2).await.media.segments.len();
    for key in ["foo", "foo?key=S", "foo?key="] {
        for address in [HERE, ELSEWHERE] {
            let refused = Rtmp::try_publish(&server, key, address).await.err().expect("it is refused");
            let seen = (refused.level.as_str(), refused.code.as_str());
            assert_eq!(seen, ("error", "NetStream.Publish.Denied"), "{key}");
            assert!(refused.words.contains("stream foo needs its key"), "{key}: {}", refused.words);
        }
    }
    viewer.wait_segments("foo", "source", before + 2).await;
    Served::fetch(&viewer, "foo", "source").await.assert_unbroken(&[]);
    let newcomer = Rtmp::try_publish(&server, "foo?key=s", ELSEWHERE).await.expect("it has the key");
    let (ok, said) = encoder.wait().await;
    assert!(!ok && said.contains("another publisher took this stream over"), "{said}");
    newcomer.unpublish("foo").await;
    server.assert_well();
}
