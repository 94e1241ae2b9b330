//! Sound that is early, sparse, missing, late or changing; and what encoders say of themselves.

use super::{COPIED, assert_decodable, assert_pictures, publish, runs, served, small, sources, tool};
use e2e::flv::{Tag, make_tags, read_tags};
use e2e::rtmp::{Amf0Value, Rtmp, data, text};
use e2e::{Server, Source, wait_for};
use tempfile::TempDir;

/// Blocks of AAC at 48 kHz in so many seconds.
fn blocks(seconds: f64) -> usize {
    (seconds * 48_000.0 / 1024.0) as usize
}

fn configs(tags: &[Tag]) -> impl Iterator<Item = &Tag> {
    tags.iter().filter(|tag| tag.is_config())
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_that_begins_before_the_pictures_is_cut_off_there() {
    let tags = make_tags(&small(6)).await;
    // A second of sound comes first: configuration, blocks, and then the first picture and its configuration.
    let mut late: Vec<Tag> =
        tags.iter().map(|tag| if tag.is_video() { tag.later(1_000) } else { tag.clone() }).collect();
    late.sort_by_key(|tag| tag.ms);
    assert!(late.iter().take_while(|tag| tag.is_audio()).count() > 40);
    let mut server = Server::all(&COPIED).await;
    publish(&server, "foo", &late).await;
    let (pictures, sound) = served(&server.viewer(), "foo", 3).await;
    pictures.assert_unbroken(&[]);
    sound.assert_unbroken(&[]);
    assert_pictures(&pictures, &late);
    let runs = runs(&sources(&sound, &late));
    let [(Some(first), count), ref rest @ ..] = runs[..] else { panic!("{runs:?}") };
    // The first picture is shown 67 ms after it was sent, and so is what sounds with it.
    assert!((40..=50).contains(&first) && count.abs_diff(blocks(5.0)) <= 4, "{runs:?}");
    assert!(matches!(rest, [(None, silent)] if silent.abs_diff(blocks(1.0)) <= 4), "{runs:?}");
    server.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_of_seconds_in_the_sound_are_silent() {
    let mut tags = make_tags(&small(10)).await;
    tags.retain(|tag| !tag.is_audio() || tag.is_config() || !matches!(tag.ms, 1_500..4_500 | 6_000..8_000));
    let mut server = Server::all(&COPIED).await;
    publish(&server, "foo", &tags).await;
    let (pictures, sound) = served(&server.viewer(), "foo", 5).await;
    pictures.assert_unbroken(&[]);
    sound.assert_unbroken(&[]);
    assert_pictures(&pictures, &tags);
    let runs = runs(&sources(&sound, &tags));
    let lengths: Vec<(bool, usize)> = runs.iter().map(|(source, count)| (source.is_some(), *count)).collect();
    let expected = [(true, 1.43), (false, 3.0), (true, 1.5), (false, 2.0), (true, 2.0)];
    let near = |(real, count): &(bool, usize), (sounds, seconds): &(bool, f64)| {
        real == sounds && count.abs_diff(blocks(*seconds)) <= 4
    };
    assert!(lengths.len() >= 5 && lengths.iter().zip(&expected).all(|(a, b)| near(a, b)), "{runs:?}");
    server.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_without_sound_gets_silence() {
    let tags = make_tags(&Source { audio: false, ..small(6) }).await;
    let mut server = Server::all(&COPIED).await;
    publish(&server, "foo", &tags).await;
    let viewer = server.viewer();
    let (pictures, sound) = served(&viewer, "foo", 3).await;
    assert!(viewer.wait_live("foo").await.contains("TYPE=AUDIO"));
    pictures.assert_unbroken(&[]);
    sound.assert_unbroken(&[]);
    assert_pictures(&pictures, &tags);
    let runs = runs(&sources(&sound, &tags));
    assert!(matches!(runs[..], [(None, count)] if count.abs_diff(blocks(6.0)) <= 1), "{runs:?}");
    let dir = TempDir::new().expect("a temporary folder");
    assert_decodable(&sound, dir.path()).await;
    server.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_that_appears_late_begins_at_the_next_cut() {
    let tags = make_tags(&small(10)).await;
    let late: Vec<Tag> = tags
        .iter()
        .filter(|tag| !tag.is_audio() || tag.ms >= 4_500)
        .chain(configs(&tags).filter(|tag| tag.is_audio()))
        .map(|tag| if tag.is_audio() && tag.is_config() { tag.later(4_500) } else { tag.clone() })
        .collect();
    let late = by_time(late);
    let mut server = Server::all(&COPIED).await;
    publish(&server, "foo", &late).await;
    let (pictures, sound) = served(&server.viewer(), "foo", 5).await;
    // Sound with another configuration is another timeline, in every rendition.
    pictures.assert_unbroken(&[3]);
    sound.assert_unbroken(&[3]);
    assert_pictures(&pictures, &late);
    let runs = runs(&sources(&sound, &late));
    let [(None, silent), (Some(_), sounding), ref rest @ ..] = runs[..] else { panic!("{runs:?}") };
    assert!(silent.abs_diff(blocks(6.0)) <= 2 && sounding.abs_diff(blocks(4.0)) <= 8, "{runs:?}");
    assert!(matches!(rest, [] | [(None, 1 | 2)]), "{runs:?}");
    let dir = TempDir::new().expect("a temporary folder");
    assert_decodable(&sound, dir.path()).await;
    server.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_aac_configuration_in_mid_stream_begins_at_the_next_cut() {
    let dir = TempDir::new().expect("a temporary folder");
    let other = dir.path().join("other.flv");
    let input = ["-v", "error", "-f", "lavfi", "-i", "sine=frequency=220:sample_rate=44100", "-t", "10"];
    let output = ["-ac", "2", "-c:a", "aac", &other.display().to_string()];
    tool("ffmpeg", &[&input[..], &output].concat()).await;
    let other = read_tags(&other);
    let tags = make_tags(&small(10)).await;
    let before = tags.iter().filter(|tag| !tag.is_audio() || tag.ms < 4_500).cloned();
    let change = configs(&other).map(|tag| tag.later(4_500));
    let after = other.iter().filter(|tag| !tag.is_config() && tag.ms >= 4_500).cloned();
    let mixed = by_time(before.chain(change).chain(after).collect());
    let mut server = Server::all(&COPIED).await;
    publish(&server, "foo", &mixed).await;
    let (pictures, sound) = served(&server.viewer(), "foo", 5).await;
    pictures.assert_unbroken(&[3]);
    sound.assert_unbroken(&[3]);
    assert_pictures(&pictures, &mixed);
    let rates: Vec<u32> = sound.segments.iter().map(|segment| segment.timescale).collect();
    assert_eq!(rates, [48_000, 48_000, 48_000, 44_100, 44_100]);
    let runs = runs(&sources(&sound, &mixed));
    let real: Vec<usize> = runs.iter().filter(|(source, _)| source.is_some()).map(|(_, count)| *count).collect();
    // 4.5 s of the one, silence up to the cut at 6 s, 4 s of the other.
    let [first, second] = real[..] else { panic!("{runs:?}") };
    assert!(first.abs_diff(blocks(4.5)) <= 4 && second.abs_diff(4 * 44_100 / 1024) <= 6, "{runs:?}");
    assert_decodable(&sound, dir.path()).await;
    assert_decodable(&pictures, dir.path()).await;
    server.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_are_understood_in_both_forms() {
    let tags = make_tags(&small(4)).await;
    let mut server = Server::all(&COPIED).await;
    let (viewer, admin) = (server.viewer(), server.admin());
    for (stream, set_data_frame, ecma, amf3) in [
        ("bare-object", false, false, false),
        ("bare-array", false, true, false),
        ("set-object", true, false, false),
        ("set-array", true, true, false),
        ("set-array-in-amf3", true, true, true),
    ] {
        let encoder = format!("encoder of {stream}");
        let mut rtmp = Rtmp::publish(&server, stream).await;
        rtmp.send(&[metadata(&encoder, set_data_frame, ecma, amf3)]).await;
        rtmp.send(&tags).await;
        viewer.wait_live(stream).await;
        let stat = admin.json("/stat").await.to_string();
        assert!(stat.contains(&encoder), "{stream}: {stat}");
        let entry = wait_for("its entry in the list", || async {
            let list = viewer.json("/api/streams").await;
            let entries = list["streams"].as_array().expect("a list");
            entries.iter().find(|entry| entry["name"] == stream).cloned()
        })
        .await;
        assert_eq!((&entry["projection"], &entry["stereo"]), (&"hequ".into(), &"lr".into()), "{entry}");
        rtmp.unpublish(stream).await;
    }
    server.assert_well();
}

/// onMetaData, bare or behind @setDataFrame, as an object or as an ECMA array, in the AMF0 or the AMF3 message.
fn metadata(encoder: &str, set_data_frame: bool, ecma: bool, amf3: bool) -> Tag {
    let fields = [("encoder", encoder), ("projection", "hequ"), ("stereoMode", "lr")];
    let fields = fields.map(|(name, value)| (name.to_owned(), text(value)));
    let names = if set_data_frame { vec![text("@setDataFrame"), text("onMetaData")] } else { vec![text("onMetaData")] };
    let mut body = if amf3 { vec![0] } else { Vec::new() };
    body.extend(&data(&names).body[..]);
    let object = data(&[Amf0Value::Object(fields.into())]);
    let properties = &object.body[1..];
    body.extend(if ecma { &[8, 0, 0, 0, 3][..] } else { &[3] });
    body.extend(properties);
    Tag { kind: if amf3 { 15 } else { object.kind }, ms: 0, body: body.into() }
}

/// Tags in the order of their times; configurations before what they are for.
fn by_time(mut tags: Vec<Tag>) -> Vec<Tag> {
    tags.sort_by_key(|tag| (tag.ms, !tag.is_config()));
    tags
}
