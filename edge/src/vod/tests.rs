//! What a store's objects look like as answers.

use super::*;
use media::route::Route;
use std::path::Path;

async fn vod(folder: &Path) -> Vod {
    Vod::open(&format!("file:{}", folder.display()), false).await.unwrap()
}

async fn get(vod: &Vod, path: &str) -> (Head, VodFeed) {
    vod.get(&key(path)).await.unwrap().unwrap()
}

fn write(folder: &Path, path: &str, content: &[u8]) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn key(path: &str) -> Key {
    Key { route: Route::parse(path).unwrap(), directives: None }
}

#[test]
fn types_are_told_by_names_and_what_could_run_in_a_browser_is_bytes() {
    for (name, expected) in [
        ("a/index.m3u8", "application/vnd.apple.mpegurl"),
        ("a/1.m4s", "video/mp4"),
        ("a/init.mp4", "video/mp4"),
        ("a/thumbs.vtt", "text/vtt; charset=utf-8"),
        ("a/sprite.jpg", "image/jpeg"),
        ("a/sprite.png", "image/png"),
        ("a/x.json", "application/json"),
        ("a/x.html", "application/octet-stream"),
        ("a/x.svg", "application/octet-stream"),
        ("a/x.M3U8", "application/octet-stream"),
        ("a.m3u8/x", "application/octet-stream"),
    ] {
        assert_eq!(content_type(name), expected, "{name}");
    }
}

#[tokio::test]
async fn an_address_is_the_objects_key() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "vod/foo-1/a/1.m4s", b"media");
    let vod = vod(folder.path()).await;
    let (head, feed) = get(&vod, "/vod/foo-1/a/1.m4s").await;
    assert_eq!((head.status, head.length), (StatusCode::OK, Some(5)));
    assert_eq!(head.content_type.unwrap(), "video/mp4");
    assert!(head.etag.unwrap().to_str().unwrap().starts_with('"'));
    assert_eq!(feed.collect(5).await.unwrap(), "media");
}

#[tokio::test]
async fn what_is_not_there_is_404_in_words_whatever_its_name() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "vod/foo-1/a/1.m4s", b"media");
    write(folder.path(), "secret", b"secret");
    let vod = vod(folder.path()).await;
    let long = format!("/vod/foo-1/{}", "x".repeat(300));
    for path in ["/vod/foo-1/2.m4s", "/vod/foo-1/a", "/vod/foo-1/a/1.m4s/x", "/vod/bar/1.m4s", "/vod/vod/secret", &long]
    {
        let (head, feed) = get(&vod, path).await;
        let text = feed.collect(1000).await.unwrap();
        assert_eq!(
            (head.status, head.length, &text[..]),
            (StatusCode::NOT_FOUND, Some(text.len() as u64), MISSING.as_bytes())
        );
        assert_eq!(head.etag, None);
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there_has_no_recordings_and_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let vod = vod(&folder.path().join("egress")).await;
    let (head, _) = get(&vod, "/vod/foo-1/index.m3u8").await;
    assert_eq!(head.status, StatusCode::NOT_FOUND);
    assert!(!folder.path().join("egress").exists());
}

#[tokio::test]
async fn what_is_not_there_is_the_origins_to_answer_if_they_may_have_it() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "vod/foo-1/a/1.m4s", b"media");
    let vod = Vod::open(&format!("file:{}", folder.path().display()), true).await.unwrap();
    assert!(vod.get(&key("/vod/foo-1/a/2.m4s")).await.unwrap().is_none());
    assert_eq!(get(&vod, "/vod/foo-1/a/1.m4s").await.0.status, StatusCode::OK);
}

#[tokio::test]
async fn more_than_fits_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "vod/foo-1/index.m3u8", b"0123456789");
    let vod = vod(folder.path()).await;
    let (_, feed) = get(&vod, "/vod/foo-1/index.m3u8").await;
    assert_eq!(feed.collect(9).await, Err(Failure::TooLarge { limit: 9 }));
}

#[tokio::test]
async fn what_a_store_says_is_not_said_to_viewers() {
    let folder = tempfile::tempdir().unwrap();
    let vod = vod(folder.path()).await;
    let place = || "s3://hidden/key".to_owned();
    let after = Duration::from_secs(2);
    let away = vod.failed(&Error::Slow { doing: "read", place: place(), after });
    let refused = vod.failed(&Error::TooLarge { place: place(), limit: 1 });
    assert_eq!((&away, away.status().as_u16()), (&Failure::StoreAway, 503));
    assert_eq!((&refused, refused.status().as_u16()), (&Failure::StoreRefused, 502));
    assert!(!format!("{away} {refused}").contains("hidden"));
}
