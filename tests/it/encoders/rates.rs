//! Frame rates that milliseconds do not divide evenly, and some that they do.

use super::{COPIED, assert_pictures, served};
use e2e::flv::read_tags;
use e2e::{Ffmpeg, Server, Source, make_media};
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn segments_add_up_to_what_was_sent_at_any_rate() {
    let dir = TempDir::new().expect("a temporary folder");
    let mut server = Server::all(&COPIED).await;
    let viewer = server.viewer();
    for (stream, fps, keyint, rate) in
        [("ntsc", "30000/1001", 60, 30_000.0 / 1001.0), ("pal", "25", 50, 25.0), ("fast", "60", 120, 60.0)]
    {
        let media = dir.path().join(format!("{stream}.flv"));
        make_media(&Source { size: "128x64", fps, keyint, seconds: 8, ..Source::default() }, &media).await;
        let (ok, words) = Ffmpeg::send_file(&media, &server.rtmp(stream), &[]).wait().await;
        assert!(ok, "{words}");
        let (pictures, sound) = served(&viewer, stream, 4).await;
        pictures.assert_unbroken(&[]);
        sound.assert_unbroken(&[]);
        let tags = read_tags(&media);
        assert_pictures(&pictures, &tags);
        let frames = tags.iter().filter(|tag| tag.is_video() && tag.unit().is_some()).count() as f64;
        let (sum, sent) = (pictures.seconds().iter().sum::<f64>(), frames / rate);
        assert!((sum - sent).abs() < 1.0 / rate, "{fps} fps: {sum} s listed, {sent} s sent");
        for (segment, seconds) in pictures.segments.iter().zip(pictures.seconds()) {
            let exact = segment.units.len() as f64 / rate;
            assert!((seconds - exact).abs() < 0.0005, "{fps} fps: {seconds} s for {exact} s of frames");
        }
        let difference = sum - sound.seconds().iter().sum::<f64>();
        assert!(difference.abs() < 0.05, "{fps} fps: sound and pictures differ by {difference} s");
    }
    server.assert_well();
}
