//! A folder holds what is promised, and half a write is never seen, whatever ends the process.

use crate::{again, suite};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use store::{Creation, Limits, Objects};

async fn open(folder: &Path) -> Objects {
    Objects::open(&format!("file:{}", folder.display()), Limits::PATIENT).await.unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_folder_holds_what_is_promised() {
    let folder = tempfile::tempdir().unwrap();
    suite::folder(&format!("file:{}", folder.path().join("a b").display())).await;
}

#[tokio::test]
async fn opening_and_reading_make_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let objects = open(&folder.path().join("not/yet")).await;
    assert!(objects.get("a").await.unwrap().is_none() && objects.head("a").await.unwrap().is_none());
    assert!(objects.list("").unwrap().collect().await.unwrap().is_empty());
    objects.remove("a").await.unwrap();
    assert!(names(folder.path()).is_empty());
}

#[tokio::test]
async fn a_write_that_is_killed_halfway_is_not_seen_and_can_be_done_again() {
    const TEST: &str = "folder::a_write_that_is_killed_halfway_is_not_seen_and_can_be_done_again";
    if let Some(place) = again::role() {
        // What it reads never ends, so neither does the write.
        let place = Path::new(&place);
        let _ = open(&place.join("store")).await.create_file("a/b", &place.join("endless"), "video/mp4").await;
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let endless = folder.path().join("endless");
    assert!(Command::new("mkfifo").arg(&endless).status().unwrap().success());
    let mut child = again::command(TEST, folder.path().to_str().unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut pipe = tokio::net::unix::pipe::OpenOptions::new();
    // Opening for both is what keeps a pipe from waiting for a reader, or from ending.
    let mut pipe = pipe.read_write(true).open_sender(&endless).unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut pipe, &[7; 300_000]).await.unwrap();
    let place = folder.path().join("store/a");
    let written = |name: &String| std::fs::metadata(place.join(name)).unwrap().len() > 0;
    while !names(&place).first().is_some_and(written) {
        assert!(child.try_wait().unwrap().is_none(), "the writer ended by itself");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(names(&place).len(), 1);

    let objects = open(&folder.path().join("store")).await;
    assert!(objects.get("a/b").await.unwrap().is_none() && objects.head("a/b").await.unwrap().is_none());
    assert!(objects.list("").unwrap().collect().await.unwrap().is_empty());
    assert_eq!(objects.create("a/b", "whole".into(), "video/mp4").await.unwrap(), Creation::Created);
    assert_eq!(objects.get_all("a/b", 100).await.unwrap().unwrap(), "whole");
}
