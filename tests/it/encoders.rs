//! Every kind of encoder, well-behaved and not, and what viewers get of it.
//!
//! Raw publishers send faster than real time: a stream lives on media time. The server copies only, so that no test waits
//! for an encoder of ours.

mod chunks;
mod clocks;
mod cycles;
mod hostile;
mod librtmp;
mod obs;
mod rates;
mod refusals;
mod sound;

use e2e::flv::Tag;
use e2e::rtmp::Rtmp;
use e2e::served::Served;
use e2e::{Server, Source, Viewer, tool};
use media::aac::AudioConfig;
use std::path::Path;

/// A server that copies, and whose streams outlive their publishers.
pub(super) const COPIED: [&str; 2] = ["ladder=[\"source\"]", "origin.reconnect_s=600"];

/// How far sound may be from its stamp, in ms: the server counts blocks and looks at stamps only beyond this.
const SOUND_MS: i64 = 40;

/// Small pictures at 30 fps with a key frame every 2 s.
pub(super) fn small(seconds: u32) -> Source {
    Source { size: "128x64", seconds, ..Source::default() }
}

/// What viewers get of pictures and sound, once there are so many segments of both.
async fn served(viewer: &Viewer, stream: &str, segments: usize) -> (Served, Served) {
    let mut both = Vec::new();
    for rendition in ["source", "audio"] {
        viewer.wait_segments(stream, rendition, segments).await;
        both.push(Served::fetch(viewer, stream, rendition).await);
    }
    let sound = both.pop().expect("two of them");
    (both.pop().expect("two of them"), sound)
}

/// Publishes tags as fast as the server takes them, and leaves as an encoder does.
async fn publish(server: &Server, stream: &str, tags: &[Tag]) {
    let mut rtmp = Rtmp::publish(server, stream).await;
    rtmp.send(tags).await;
    rtmp.unpublish(stream).await;
}

/// Panics unless the pictures served are those sent, from the first key frame on, at their times (to the millisecond).
fn assert_pictures(served: &Served, tags: &[Tag]) {
    let sent: Vec<&Tag> = tags.iter().filter(|tag| tag.is_video() && tag.unit().is_some()).collect();
    let first = sent.iter().position(|tag| tag.is_key()).expect("a key frame");
    let sent = &sent[first..];
    assert_eq!(served.units().count(), sent.len(), "pictures: {}", served.playlist.text);
    let zero = served.segments[0].units[0].pts;
    for (index, ((unit, timescale), tag)) in served.units().zip(sent).enumerate() {
        assert!(Some(&unit.data) == tag.unit().as_ref(), "picture {index} is not what was sent");
        let (ms, sent_ms) = ((unit.pts - zero) as f64 * 1000.0 / f64::from(timescale), since_first(sent, tag) as f64);
        assert!((ms - sent_ms).abs() <= 1.0, "picture {index} is at {ms} ms and was sent for {sent_ms} ms");
    }
    for segment in &served.segments {
        let begins = sent.iter().any(|tag| tag.is_key() && tag.unit().as_ref() == Some(&segment.units[0].data));
        assert!(begins, "a segment begins with a key frame: {}", served.playlist.text);
    }
}

/// When a tag is presented, in ms after the first picture.
fn since_first(pictures: &[&Tag], tag: &Tag) -> i64 {
    tag.presented_ms() - pictures.first().map_or(0, |first| first.presented_ms())
}

/// Where each block of sound came from: its place among the blocks that were sent, or nowhere if it is silence. Panics if
/// it is neither, or not where its stamp wants it.
fn sources(served: &Served, tags: &[Tag]) -> Vec<Option<usize>> {
    let first = tags.iter().find(|tag| tag.is_key()).expect("a key frame");
    let sent: Vec<&Tag> = tags.iter().filter(|tag| tag.is_audio() && tag.unit().is_some()).collect();
    let configs = tags.iter().filter(|tag| tag.is_audio() && tag.is_config()).map(|tag| tag.body.slice(2..));
    let configs = configs.map(|asc| AudioConfig::from_asc(asc).expect("AAC")).chain(AudioConfig::lc(48_000, 2));
    let silences: Vec<_> = configs.map(|config| config.silence()).collect();
    let source = |(unit, timescale): (&e2e::served::Unit, u32)| {
        if silences.contains(&unit.data) {
            return None;
        }
        let ms = unit.pts * 1000 / i64::from(timescale);
        let near = |tag: &Tag| (since_first(&[first], tag) - ms).abs() <= SOUND_MS;
        let found = sent.iter().position(|tag| near(tag) && tag.unit().as_ref() == Some(&unit.data));
        Some(found.unwrap_or_else(|| panic!("at {ms} ms there is sound that was not sent for about then")))
    };
    served.units().map(source).collect()
}

/// Runs of sound and silence: `3` blocks from the sent one number `Some(0)` on, then `2` of silence, and so on. Blocks
/// within a run are those sent, one after the other.
fn runs(sources: &[Option<usize>]) -> Vec<(Option<usize>, usize)> {
    let mut runs: Vec<(Option<usize>, usize)> = Vec::new();
    for &source in sources {
        match runs.last_mut() {
            Some((begin, count)) if source == begin.map(|begin| begin + *count) => *count += 1,
            _ => runs.push((source, 1)),
        }
    }
    runs
}

/// Panics unless the sound served is all that was sent, but for the ends: what is before the first picture is cut off, and
/// the last block or two may be silence.
fn assert_sound(served: &Served, tags: &[Tag]) {
    let runs = runs(&sources(served, tags));
    let sent = tags.iter().filter(|tag| tag.is_audio() && tag.unit().is_some()).count();
    let [(Some(first), count), ref rest @ ..] = runs[..] else { panic!("the sound begins with sound: {runs:?}") };
    assert!(first <= 4 && first + count + 4 >= sent, "{runs:?} of {sent}");
    assert!(rest.iter().all(|run| matches!(run, (None, 1 | 2))), "{runs:?} of {sent}");
}

/// Panics unless every segment is as long as it should be, to the millisecond.
fn assert_seconds(served: &Served, expected: &[f64]) {
    let seconds = served.seconds();
    let near = seconds.len() == expected.len() && seconds.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.001);
    assert!(near, "{seconds:?}, not {expected:?}: {}", served.playlist.text);
}

/// Panics unless FFmpeg decodes every segment alone without a word.
async fn assert_decodable(served: &Served, dir: &Path) {
    for (index, segment) in served.segments.iter().enumerate() {
        let file = dir.join(format!("{index}.mp4"));
        tokio::fs::write(&file, [&segment.init[..], &segment.file].concat()).await.expect("a temporary file");
        tool("ffmpeg", &["-v", "error", "-i", &file.display().to_string(), "-f", "null", "-"]).await;
    }
}
