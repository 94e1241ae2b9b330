//! An encoder that talks as OBS does: its commands in its order, librtmp's headers, chunks of 4096 bytes.

use super::{COPIED, assert_pictures, assert_seconds, assert_sound, served};
use e2e::flv::{Tag, make_tags};
use e2e::rtmp::{Amf0Value, HERE, Rtmp, continued, data, text};
use e2e::{Server, Source};

/// Chunk stream of all media, as librtmp has it.
const MEDIA: u8 = 4;

/// Headers as librtmp writes them: one chunk stream for pictures and sound, a full header for the first message, then
/// times as deltas, and without length and kind where they are those of the message before.
#[derive(Debug, Default)]
pub(super) struct Deltas {
    last: Option<(u32, usize, u8)>,
}

impl Deltas {
    /// The next message on message stream 1.
    pub(super) fn chunks(&mut self, tag: &Tag, chunk_bytes: usize) -> Vec<Vec<u8>> {
        let (bytes, before) = (tag.body.len(), self.last.replace((tag.ms, tag.body.len(), tag.kind)));
        let time = tag.ms.wrapping_sub(before.map_or(0, |(ms, ..)| ms));
        let same = before.is_some_and(|(_, length, kind)| (length, kind) == (bytes, tag.kind));
        let long = (time >= 0xFF_FFFF).then(|| time.to_be_bytes());
        let format: u8 = if before.is_none() { 0 } else { 1 + u8::from(same) };
        let mut header = vec![format << 6 | MEDIA];
        header.extend(&time.min(0xFF_FFFF).to_be_bytes()[1..]);
        if format < 2 {
            header.extend(&u32::try_from(bytes).expect("a message is short").to_be_bytes()[1..]);
            header.push(tag.kind);
        }
        if format == 0 {
            header.extend(1u32.to_le_bytes());
        }
        header.extend(long.iter().flatten());
        continued(header, tag, MEDIA, chunk_bytes, long)
    }
}

/// What OBS says of its stream.
fn metadata() -> Tag {
    let numbers =
        [("duration", 0.0), ("width", 128.0), ("height", 64.0), ("framerate", 30.0), ("videodatarate", 2500.0)];
    let mut properties: Vec<(&str, Amf0Value)> =
        numbers.map(|(name, number)| (name, Amf0Value::Number(number))).to_vec();
    properties.push(("encoder", text("obs-output module (libobs version 30.2.3)")));
    properties.push(("stereo", Amf0Value::Boolean(true)));
    let properties = properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    data(&[text("@setDataFrame"), text("onMetaData"), Amf0Value::Object(properties)])
}

/// Connects and begins to publish.
async fn begin(server: &Server, stream: &str) -> Rtmp {
    let mut obs = Rtmp::shake(server, HERE).await.expect("the server takes connections");
    obs.set_chunk_bytes(4096).await;
    let url = format!("rtmp://{}/live", server.addr("rtmp"));
    let fields = [
        ("app", "live"),
        ("type", "nonprivate"),
        ("flashVer", "FMLE/3.0 (compatible; FMSc/1.0)"),
        ("swfUrl", &url),
        ("tcUrl", &url),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), text(value)));
    obs.command("connect", 1, 0, &[Amf0Value::Object(fields.into())]).await;
    obs.result(1).await.expect("connected");
    // All three at once: it waits for the last answer only.
    obs.command("releaseStream", 2, 0, &[Amf0Value::Null, text(stream)]).await;
    obs.command("FCPublish", 3, 0, &[Amf0Value::Null, text(stream)]).await;
    obs.command("createStream", 4, 0, &[Amf0Value::Null]).await;
    obs.result(4).await.expect("created");
    obs.command("publish", 5, 1, &[Amf0Value::Null, text(stream), text("live")]).await;
    obs.started().await.expect("publishing");
    obs
}

#[tokio::test(flavor = "multi_thread")]
async fn obs_streams_with_its_default_key_frames_and_its_tracks_apart() {
    // OBS's own interval: 250 frames, whatever the rate.
    let source = Source { size: "128x64", keyint: 250, seconds: 26, ..Source::default() };
    let tags = make_tags(&source).await;
    let mut server = Server::all(&COPIED).await;
    let (viewer, admin) = (server.viewer(), server.admin());
    for (stream, apart_ms) in [("together", 0), ("sound-late", 23), ("sound-early", -23)] {
        let apart = |tag: &Tag| if tag.is_audio() { tag.later(apart_ms) } else { tag.clone() };
        let apart: Vec<Tag> = tags.iter().map(|tag| apart(tag).later(23)).collect();
        let mut obs = begin(&server, stream).await;
        let mut deltas = Deltas::default();
        for tag in std::iter::once(&metadata()).chain(&apart) {
            let chunks = deltas.chunks(tag, obs.chunk_bytes);
            obs.write(&chunks.concat()).await;
        }
        viewer.wait_segments(stream, "source", 2).await;
        let stat = admin.json("/stat").await.to_string();
        assert!(stat.contains("libobs version 30.2.3") && stat.contains("key frames come every 8.33 s"), "{stat}");
        obs.unpublish(stream).await;

        let (pictures, sound) = served(&viewer, stream, 4).await;
        assert_seconds(&pictures, &[250.0 / 30.0, 250.0 / 30.0, 250.0 / 30.0, 30.0 / 30.0]);
        pictures.assert_unbroken(&[]);
        sound.assert_unbroken(&[]);
        assert_pictures(&pictures, &apart);
        assert_sound(&sound, &apart);
    }
    server.assert_well();
}
