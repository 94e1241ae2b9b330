//! Publishers that cut and mix their chunks as they please.

use super::{COPIED, assert_pictures, assert_seconds, assert_sound, served, small};
use e2e::flv::{Tag, make_tags};
use e2e::rtmp::Rtmp;
use e2e::{Server, Source};

/// The bytes of tags, where the chunks of the sound that follows a picture stand between those of the picture.
fn interleaved(rtmp: &Rtmp, tags: &[Tag]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for group in tags.chunk_by(|_, next| next.is_audio()) {
        let (sounds, pictures): (Vec<&Tag>, Vec<&Tag>) = group.iter().partition(|tag| tag.is_audio());
        let mut sounds = sounds.into_iter().flat_map(|tag| rtmp.chunks(tag));
        for chunk in pictures.into_iter().flat_map(|tag| rtmp.chunks(tag)) {
            bytes.extend(chunk);
            bytes.extend(sounds.next().unwrap_or_default());
        }
        bytes.extend(sounds.flatten());
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_between_the_chunks_of_a_picture_is_no_trouble() {
    let tags = make_tags(&small(6)).await;
    let mut server = Server::all(&COPIED).await;
    let mut rtmp = Rtmp::publish(&server, "foo").await;
    let bytes = interleaved(&rtmp, &tags);
    let plain: Vec<u8> = tags.iter().flat_map(|tag| rtmp.chunks(tag).concat()).collect();
    assert!(bytes.len() == plain.len() && bytes != plain, "something is interleaved");
    rtmp.write(&bytes).await;
    rtmp.unpublish("foo").await;
    let (pictures, sound) = served(&server.viewer(), "foo", 3).await;
    pictures.assert_unbroken(&[]);
    sound.assert_unbroken(&[]);
    assert_pictures(&pictures, &tags);
    assert_sound(&sound, &tags);
    server.assert_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_byte_at_a_time_is_no_trouble() {
    let source = Source { size: "32x32", fps: "10", keyint: 20, seconds: 4, ..Source::default() };
    let tags = make_tags(&source).await;
    let mut server = Server::all(&COPIED).await;
    let mut rtmp = Rtmp::publish(&server, "foo").await;
    for tag in &tags {
        for byte in rtmp.chunks(tag).concat() {
            rtmp.write(&[byte]).await;
        }
    }
    rtmp.unpublish("foo").await;
    let (pictures, sound) = served(&server.viewer(), "foo", 2).await;
    pictures.assert_unbroken(&[]);
    assert_seconds(&pictures, &[2.0, 2.0]);
    assert_pictures(&pictures, &tags);
    assert_sound(&sound, &tags);
    server.assert_well();
}
