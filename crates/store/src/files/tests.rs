//! Files under threads, crashes and odd keys.

use super::*;
use std::io::Read as _;
use std::sync::Barrier;

fn files() -> (tempfile::TempDir, Files) {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::open(folder.path().join("made")).unwrap();
    (folder, files)
}

fn keys(files: &Files, folder: &str) -> Vec<String> {
    files.list(folder).unwrap().into_iter().map(|entry| entry.key).collect()
}

/// Every name in the folder, temporary ones too.
fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_was_put_is_got_in_whole_and_replaced_in_whole() {
    let (_folder, files) = files();
    for sync in [Sync::Lazy, Sync::Durable] {
        files.put("a/b", &["one ".into(), "two".into()], sync).unwrap();
        assert_eq!(files.get("a/b").unwrap().unwrap(), "one two");
        files.put("a/b", &["3".into()], sync).unwrap();
        assert_eq!(files.get("a/b").unwrap().unwrap(), "3");
    }
    assert_eq!(names(&files.root().join("a")), ["b"]);
}

#[test]
fn what_is_not_there_is_none() {
    let (_folder, files) = files();
    files.put("a", &["x".into()], Sync::Lazy).unwrap();
    for key in ["b", "b/c", "a/b"] {
        assert_eq!(files.get(key).unwrap(), None, "{key}");
        assert!(!files.remove(key).unwrap(), "{key}");
        assert!(files.list(key).unwrap().is_empty(), "{key}");
    }
}

#[test]
fn of_many_creators_one_wins_and_nothing_is_left_over() {
    let (_folder, files) = files();
    let barrier = Barrier::new(8);
    let create = |n: usize| {
        barrier.wait();
        files.create("x/one", &[Bytes::from(n.to_string())], Sync::Lazy).unwrap().then_some(n)
    };
    let winners: Vec<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || create(n))).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(winners.len(), 1);
    assert_eq!(files.get("x/one").unwrap().unwrap(), winners[0].to_string());
    assert_eq!(names(&files.root().join("x")), ["one"]);
}

#[test]
fn listings_are_in_order_and_hold_only_keys() {
    let (_folder, files) = files();
    for key in ["b/2", "b/1", "a", "bb/3"] {
        files.put(key, &["xy".into()], Sync::Lazy).unwrap();
    }
    fs::write(files.root().join(".hidden"), "").unwrap();
    fs::write(files.root().join(format!("b/{TEMPORARY}1-1")), "").unwrap();
    std::os::unix::fs::symlink("/", files.root().join("link")).unwrap();
    assert_eq!(keys(&files, ""), ["a", "b/1", "b/2", "bb/3"]);
    assert_eq!(files.list("b").unwrap()[0], files.head("b/1").unwrap().unwrap());
    assert_eq!(keys(&files, "b"), ["b/1", "b/2"]);
}

#[test]
fn removing_takes_empty_folders_along_but_never_the_root() {
    let (_folder, files) = files();
    files.put("a/b/c", &[], Sync::Lazy).unwrap();
    files.put("a/d", &[], Sync::Lazy).unwrap();
    assert!(files.remove("a/b/c").unwrap());
    assert_eq!(names(&files.root().join("a")), ["d"]);
    assert!(files.remove("a/d").unwrap());
    assert!(names(files.root()).is_empty());
}

#[test]
fn writers_and_removers_of_one_folder_do_not_trip_each_other() {
    let (_folder, files) = files();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let files = &files;
            scope.spawn(move || {
                for _ in 0..200 {
                    files.put(&format!("x/{n}"), &["x".into()], Sync::Lazy).unwrap();
                    assert!(files.remove(&format!("x/{n}")).unwrap());
                }
            });
        }
    });
    assert!(names(files.root()).is_empty());
}

#[test]
fn files_are_written_from_files_and_not_looked_into_if_they_are_there() {
    let (folder, files) = files();
    let source = folder.path().join("source");
    fs::write(&source, "one").unwrap();
    assert!(files.create_file("a/b", &source, Sync::Durable).unwrap());
    fs::write(&source, "two").unwrap();
    assert!(!files.create_file("a/b", &source, Sync::Durable).unwrap());
    assert_eq!(files.get("a/b").unwrap().unwrap(), "one");
    files.put_file("a/b", &source, Sync::Durable).unwrap();
    assert_eq!(files.get("a/b").unwrap().unwrap(), "two");
    let error = files.put_file("a/b", &folder.path().join("none"), Sync::Lazy).unwrap_err().to_string();
    assert!(error.contains("/none"), "{error}");
    assert_eq!(names(&files.root().join("a")), ["b"]);
}

#[test]
fn who_reads_a_file_keeps_what_he_opened_and_the_next_one_gets_another_etag() {
    let (_folder, files) = files();
    files.put("a", &["one".into()], Sync::Lazy).unwrap();
    let (mut file, before) = files.reader("a").unwrap().unwrap();
    files.put("a", &["two".into()], Sync::Lazy).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    let after = files.head("a").unwrap().unwrap();
    assert_eq!((text.as_str(), before.bytes, after.bytes), ("one", 3, 3));
    assert_ne!(before.etag, after.etag);
    assert_eq!(after.etag, files.reader("a").unwrap().unwrap().1.etag);
}

#[test]
fn a_name_is_a_file_or_a_folder_and_never_taken_for_the_other() {
    let (_folder, files) = files();
    files.create("a/b", &["x".into()], Sync::Lazy).unwrap();
    let clash = |written: Result<(), Error>| assert!(matches!(written, Err(Error::Clash { .. })), "{written:?}");
    for key in ["a", "a/b/c", "a/b/c/d"] {
        clash(files.create(key, &[], Sync::Lazy).map(drop));
        clash(files.put(key, &[], Sync::Lazy));
        assert_eq!(files.get(key).unwrap(), None, "{key}");
        assert_eq!(files.head(key).unwrap(), None, "{key}");
        assert!(files.reader(key).unwrap().is_none(), "{key}");
        assert!(!files.remove(key).unwrap(), "{key}");
    }
    assert_eq!(keys(&files, ""), ["a/b"]);
}

#[test]
fn a_folder_that_is_not_there_is_empty_until_the_first_write_makes_it() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files::at(folder.path().join("not/yet"));
    assert!(keys(&files, "").is_empty() && files.get("a").unwrap().is_none());
    assert!(names(folder.path()).is_empty());
    assert!(files.create("a", &["x".into()], Sync::Durable).unwrap());
    assert_eq!(keys(&files, ""), ["a"]);
}

#[test]
fn opening_and_listing_sweep_what_a_crash_left_but_not_what_is_being_written() {
    let (_folder, files) = files();
    let (old, new) = (files.root().join(".tmp-1-1"), files.root().join(".tmp-1-2"));
    let long_ago = std::time::SystemTime::now() - ABANDONED * 2;
    let crash = || File::create(&old).unwrap().set_modified(long_ago).unwrap();
    File::create(&new).unwrap();
    files.put("old", &[], Sync::Lazy).unwrap();
    File::options().write(true).open(files.root().join("old")).unwrap().set_modified(long_ago).unwrap();
    crash();
    Files::open(files.root()).unwrap();
    assert!(!old.exists() && new.exists());
    crash();
    assert_eq!(keys(&files, ""), ["old"]);
    assert!(!old.exists() && new.exists());
}

#[test]
fn a_write_that_fails_leaves_what_was_there() {
    let (_folder, files) = files();
    files.put("a/b", &["x".into()], Sync::Lazy).unwrap();
    // A folder is in the way of the file.
    let error = files.put("a", &["y".into()], Sync::Lazy).unwrap_err();
    assert!(!error.is_full(), "{error}");
    assert_eq!(names(files.root()), ["a"]);
    assert_eq!(files.get("a/b").unwrap().unwrap(), "x");
}

#[test]
fn keys_that_climb_reach_nothing() {
    let (folder, files) = files();
    fs::write(folder.path().join("secret"), "s").unwrap();
    for key in ["../secret", "/etc/hostname", "a/../../secret"] {
        assert!(matches!(files.get(key), Err(Error::Key(_))), "{key}");
        assert!(matches!(files.put(key, &[], Sync::Lazy), Err(Error::Key(_))), "{key}");
        assert!(matches!(files.remove(key), Err(Error::Key(_))), "{key}");
        assert!(matches!(files.list(key), Err(Error::Key(_))), "{key}");
    }
}
