//! Encoders whose clocks have run for hours, weeks, or months.

use super::{COPIED, assert_pictures, assert_seconds, assert_sound, served, small};
use crate::encoders::obs::Deltas;
use e2e::flv::{Tag, make_tags, read_tags};
use e2e::rtmp::{Extended, Rtmp};
use e2e::{Ffmpeg, Server, Viewer, make_media};
use tempfile::TempDir;

/// Where RTMP's 24-bit times end: 4 h 39 min 37 s.
const EXTENDED_MS: i64 = 0xFF_FFFF;
/// Where FFmpeg's FLV muxer wraps: 24.9 days.
const HALF_MS: i64 = 1 << 31;
/// Where RTMP's times wrap: 49.7 days.
const WRAP_MS: i64 = 1 << 32;

/// Panics unless 8 s in four segments came through unharmed.
async fn assert_whole(viewer: &Viewer, stream: &str, tags: &[Tag]) {
    let (pictures, sound) = served(viewer, stream, 4).await;
    assert_seconds(&pictures, &[2.0; 4]);
    pictures.assert_unbroken(&[]);
    sound.assert_unbroken(&[]);
    assert_pictures(&pictures, tags);
    assert_sound(&sound, tags);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_passes_a_limit_of_rtmp_in_mid_stream_is_no_trouble() {
    let tags = make_tags(&small(8)).await;
    let mut server = Server::all(&COPIED).await;
    let viewer = server.viewer();
    for (stream, limit, modulo, extended) in [
        ("hours-repeated", EXTENDED_MS, WRAP_MS, Extended::Repeated),
        ("hours-omitted", EXTENDED_MS, WRAP_MS, Extended::Omitted),
        ("half-repeated", HALF_MS, WRAP_MS, Extended::Repeated),
        ("half-wrapped-repeated", HALF_MS, HALF_MS, Extended::Repeated),
        ("half-wrapped-omitted", HALF_MS, HALF_MS, Extended::Omitted),
        ("weeks-repeated", WRAP_MS, WRAP_MS, Extended::Repeated),
        ("weeks-omitted", WRAP_MS, WRAP_MS, Extended::Omitted),
    ] {
        let late = |tag: &Tag| {
            let ms = (i64::from(tag.ms) + limit - 3_000).rem_euclid(modulo);
            tag.later(ms - i64::from(tag.ms))
        };
        let late: Vec<Tag> = tags.iter().map(late).collect();
        let mut rtmp = Rtmp::publish(&server, stream).await;
        rtmp.extended = extended;
        rtmp.send(&late).await;
        rtmp.unpublish(stream).await;
        assert_whole(&viewer, stream, &tags).await;
    }
    server.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn deltas_pass_the_limits_too() {
    let tags = make_tags(&small(8)).await;
    let mut server = Server::all(&COPIED).await;
    let viewer = server.viewer();
    for (stream, limit) in [("hours", EXTENDED_MS), ("weeks", WRAP_MS)] {
        let mut rtmp = Rtmp::publish(&server, stream).await;
        rtmp.set_chunk_bytes(4096).await;
        let mut deltas = Deltas::default();
        for tag in &tags {
            let chunks = deltas.chunks(&tag.later(limit - 3_000), rtmp.chunk_bytes);
            rtmp.write(&chunks.concat()).await;
        }
        rtmp.unpublish(stream).await;
        assert_whole(&viewer, stream, &tags).await;
    }
    server.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn ffmpeg_runs_for_hours_and_weeks() {
    let dir = TempDir::new().expect("a temporary folder");
    let media = dir.path().join("source.flv");
    make_media(&small(8), &media).await;
    let mut server = Server::all(&COPIED).await;
    let viewer = server.viewer();
    for (stream, limit) in [("hours", EXTENDED_MS), ("weeks", HALF_MS)] {
        let offset = ((limit - 3_000) / 1000).to_string();
        let encoder = Ffmpeg::send_file(&media, &server.rtmp(stream), &["-output_ts_offset", &offset]);
        let (ok, words) = encoder.wait().await;
        assert!(ok, "{words}");
        assert_whole(&viewer, stream, &read_tags(&media)).await;
    }
    server.assert_well();
}
