//! What every store promises. One function a promise; each works below a folder of its own.

use bytes::{Bytes, BytesMut};
use std::io::Write as _;
use std::time::{Duration, SystemTime};
use store::{Creation, Error, Limits, Objects, PAGE_MAX};
use tokio::task::JoinSet;

const TEXT: &str = "text/plain";

/// Names that file systems, URLs or XML could stumble over.
const ODD: &[&str] = &[
    "with space",
    "a+b",
    "a%20b",
    "100%",
    "%2F",
    "%C3%A9",
    "é",
    "e\u{301}",
    "日本",
    "🎥",
    "q?x=1&y",
    "#hash",
    "a;b,c:d=e@f$g!h*i(j)k'l",
    "<&\"'>",
    "[a]{b}^|~`",
    "UPPER.MP4",
    "end.",
    "end ",
    " begin",
    "-x",
    "~x",
];

/// All of it, for a folder.
pub(crate) async fn folder(url: &str) {
    let objects = open(url).await;
    all(&objects, &open(&format!("{url}-other")).await).await;
    races(&objects).await;
    listings_of_more_than_a_page_come_page_by_page(&objects).await;
    clashing_keys_are_refused(&objects).await;
}

/// All of it, for a bucket; the rest of it for one whose server is too simple for races and too slow for crowds.
pub(crate) async fn bucket(url: &str, simple: bool) {
    let objects = open(url).await;
    all(&objects, &open(&format!("{}/other", url.trim_end_matches("/prefix"))).await).await;
    if !simple {
        races(&objects).await;
        listings_of_more_than_a_page_come_page_by_page(&objects).await;
    }
    types_are_kept(&objects).await;
    a_bucket_that_is_not_there_is_no_empty_one().await;
}

/// So much of it that everything is used that lies between here and a bucket.
pub(crate) async fn brief(url: &str) {
    let objects = open(url).await;
    what_is_created_is_read_back_with_its_facts(&objects).await;
    creating_again_changes_nothing(&objects).await;
    large_files_are_whole_and_created_once(&objects).await;
}

async fn open(url: &str) -> Objects {
    Objects::open(url, Limits::PATIENT).await.unwrap()
}

async fn all(objects: &Objects, other: &Objects) {
    what_is_created_is_read_back_with_its_facts(objects).await;
    a_piece_is_read_and_the_facts_are_those_of_the_whole(objects).await;
    creating_again_changes_nothing(objects).await;
    putting_replaces(objects).await;
    odd_keys_come_back_as_they_were(objects).await;
    what_is_no_key_is_refused(objects).await;
    of_nothing_comes_nothing(objects).await;
    listings_are_in_order_and_hold_their_folder_only(objects).await;
    large_files_are_whole_and_created_once(objects).await;
    small_files_are_written_like_bytes(objects).await;
    more_than_is_wanted_is_refused(objects).await;
    stores_beside_each_other_see_nothing_of_each_other(objects, other).await;
}

async fn races(objects: &Objects) {
    of_many_creators_one_wins_and_the_bytes_are_his(objects).await;
    of_two_large_files_at_once_one_wins(objects).await;
}

async fn keys(objects: &Objects, folder: &str) -> Vec<String> {
    objects.list(folder).unwrap().collect().await.unwrap().into_iter().map(|entry| entry.key).collect()
}

async fn text(objects: &Objects, key: &str) -> String {
    let all = objects.get_all(key, 1 << 20).await.unwrap();
    String::from_utf8(all.unwrap_or_else(|| panic!("{key} is not there")).to_vec()).unwrap()
}

async fn what_is_created_is_read_back_with_its_facts(objects: &Objects) {
    let before = SystemTime::now();
    assert_eq!(objects.create("facts/a", "hello".into(), TEXT).await.unwrap(), Creation::Created);
    let head = objects.head("facts/a").await.unwrap().unwrap();
    let object = objects.get("facts/a").await.unwrap().unwrap();
    assert_eq!((head.bytes, &head), (5, &object.facts));
    assert_eq!(object.body.collect(5).await.unwrap(), "hello");
    let etag = head.etag.clone().unwrap();
    assert!(etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"'), "{etag}");
    // Some say whole seconds only.
    assert!(head.modified.unwrap() > before - Duration::from_secs(2));
    let entry = objects.list("facts").unwrap().next().await.unwrap().remove(0);
    assert_eq!((entry.key.as_str(), entry.bytes, entry.etag), ("facts/a", 5, head.etag));
}

async fn a_piece_is_read_and_the_facts_are_those_of_the_whole(objects: &Objects) {
    let piece = async |range: std::ops::Range<u64>| {
        let object = objects.get_range("piece/a", range).await.unwrap().unwrap();
        assert_eq!(object.facts.bytes, 10);
        assert!(object.facts.etag.is_some());
        object.body.collect(100).await.unwrap()
    };
    objects.put("piece/a", Bytes::from_static(b"0123456789"), TEXT).await.unwrap();
    assert_eq!(piece(0..10).await, "0123456789");
    assert_eq!(piece(3..5).await, "34");
    assert_eq!(piece(7..99).await, "789");
    assert!(objects.get_range("piece/none", 0..1).await.unwrap().is_none());
}

async fn creating_again_changes_nothing(objects: &Objects) {
    assert_eq!(objects.create("again", "one".into(), TEXT).await.unwrap(), Creation::Created);
    let head = objects.head("again").await.unwrap();
    for content in ["one", "two", ""] {
        assert_eq!(objects.create("again", content.into(), TEXT).await.unwrap(), Creation::AlreadyThere);
    }
    assert_eq!((text(objects, "again").await.as_str(), objects.head("again").await.unwrap()), ("one", head));
}

async fn of_many_creators_one_wins_and_the_bytes_are_his(objects: &Objects) {
    for round in 0..10 {
        let key = format!("race/{round}");
        let mut tasks = JoinSet::new();
        for n in 0..8 {
            let (objects, key) = (objects.clone(), key.clone());
            tasks.spawn(async move { (n, objects.create(&key, format!("writer {n}").into(), TEXT).await.unwrap()) });
        }
        let ends = tasks.join_all().await;
        let winners: Vec<_> = ends.iter().filter(|(_, creation)| *creation == Creation::Created).collect();
        assert_eq!(winners.len(), 1, "{ends:?}");
        assert_eq!(text(objects, &key).await, format!("writer {}", winners[0].0));
    }
}

async fn putting_replaces(objects: &Objects) {
    objects.put("put", "one".into(), TEXT).await.unwrap();
    let one = objects.head("put").await.unwrap().unwrap();
    objects.put("put", "two!".into(), TEXT).await.unwrap();
    let two = objects.head("put").await.unwrap().unwrap();
    assert_eq!(text(objects, "put").await, "two!");
    assert!(one.etag != two.etag && two.bytes == 4);
}

async fn odd_keys_come_back_as_they_were(objects: &Objects) {
    let long = ["x".repeat(240), "é".repeat(120), "y".repeat(255)];
    let mut names: Vec<&str> = ODD.iter().copied().chain(long.iter().map(String::as_str)).collect();
    for name in &names {
        let key = format!("odd/{name}/{name}");
        assert_eq!(objects.create(&key, (*name).to_owned().into(), TEXT).await.unwrap(), Creation::Created, "{key}");
    }
    // Only now: each must have been another object.
    names.sort_by_key(|name| format!("odd/{name}/{name}"));
    let expected: Vec<String> = names.iter().map(|name| format!("odd/{name}/{name}")).collect();
    assert_eq!(keys(objects, "odd").await, expected);
    for name in names {
        let key = format!("odd/{name}/{name}");
        assert_eq!(text(objects, &key).await, name);
        assert_eq!(keys(objects, &format!("odd/{name}")).await, std::slice::from_ref(&key));
        objects.remove(&key).await.unwrap();
        assert_eq!(objects.head(&key).await.unwrap(), None, "{key}");
    }
    assert!(keys(objects, "odd").await.is_empty());
    // As long as may be, prefix included.
    let deep = vec!["d".repeat(99); 10].join("/");
    objects.create(&deep, "deep".into(), TEXT).await.unwrap();
    assert_eq!(text(objects, &deep).await, "deep");
    objects.remove(&deep).await.unwrap();
}

async fn what_is_no_key_is_refused(objects: &Objects) {
    let (long, deep) = ("x".repeat(256), vec!["x"; 513].join("/"));
    for key in
        ["", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", ".a", "a\0", "a\nb", "a\\b", &long, &deep]
    {
        let refused = |error: Option<Error>| assert!(matches!(error, Some(Error::Key(_))), "{key:?}: {error:?}");
        refused(objects.create(key, Bytes::new(), TEXT).await.err());
        refused(objects.put(key, Bytes::new(), TEXT).await.err());
        refused(objects.get(key).await.err());
        refused(objects.head(key).await.err());
        refused(objects.remove(key).await.err());
        if !key.is_empty() {
            refused(objects.list(key).err());
        }
    }
}

async fn of_nothing_comes_nothing(objects: &Objects) {
    objects.create("none/a", "x".into(), TEXT).await.unwrap();
    for key in ["none/b", "none", "none/a/b", "nowhere/at/all"] {
        assert!(objects.get(key).await.unwrap().is_none(), "{key}");
        assert_eq!(objects.get_all(key, 10).await.unwrap(), None, "{key}");
        assert_eq!(objects.head(key).await.unwrap(), None, "{key}");
        objects.remove(key).await.unwrap();
    }
    assert!(keys(objects, "nowhere").await.is_empty() && keys(objects, "none/a").await.is_empty());
    objects.create("empty", Bytes::new(), TEXT).await.unwrap();
    assert_eq!(objects.get_all("empty", 0).await.unwrap().unwrap(), "");
}

async fn listings_are_in_order_and_hold_their_folder_only(objects: &Objects) {
    for key in ["few/b/1", "few/a", "few/b/10", "few/b/2", "few-1", "few2/x", "few/B"] {
        objects.put(key, "x".into(), TEXT).await.unwrap();
    }
    assert_eq!(keys(objects, "few").await, ["few/B", "few/a", "few/b/1", "few/b/10", "few/b/2"]);
    assert_eq!(keys(objects, "few/b").await, ["few/b/1", "few/b/10", "few/b/2"]);
    let everything = keys(objects, "").await;
    assert!(
        everything.is_sorted() && ["few-1", "few2/x", "few/a"].iter().all(|key| everything.iter().any(|k| k == key))
    );
}

async fn listings_of_more_than_a_page_come_page_by_page(objects: &Objects) {
    const COUNT: usize = PAGE_MAX + 50;
    let mut tasks = JoinSet::new();
    for n in 0..COUNT {
        if tasks.len() == 16 {
            tasks.join_next().await.unwrap().unwrap();
        }
        let objects = objects.clone();
        tasks.spawn(async move { objects.put(&format!("many/{:02}/{n}", n % 7), "x".into(), TEXT).await.unwrap() });
    }
    tasks.join_all().await;
    let mut listing = objects.list("many").unwrap();
    let (mut pages, mut listed) = (Vec::new(), Vec::new());
    loop {
        let page = listing.next().await.unwrap();
        if page.is_empty() {
            break;
        }
        pages.push(page.len());
        listed.extend(page.into_iter().map(|entry| entry.key));
    }
    assert!(pages.iter().all(|length| *length <= PAGE_MAX) && pages.len() >= 2, "{pages:?}");
    let mut expected: Vec<String> = (0..COUNT).map(|n| format!("many/{:02}/{n}", n % 7)).collect();
    expected.sort();
    assert!(listed == expected, "{} of {COUNT}", listed.len());
    assert!(listing.next().await.unwrap().is_empty());
}

/// A file of two parts that is different everywhere, and its content.
fn large(seed: u64) -> (tempfile::NamedTempFile, Bytes) {
    let mut content = BytesMut::new();
    for n in 0..(20u64 << 20) / 8 {
        content.extend_from_slice(&(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed).to_le_bytes());
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&content).unwrap();
    (file, content.freeze())
}

async fn large_files_are_whole_and_created_once(objects: &Objects) {
    let ((one, first), (two, second)) = (large(1), large(2));
    assert_eq!(objects.create_file("large/a", one.path(), "video/mp4").await.unwrap(), Creation::Created);
    assert_eq!(objects.create_file("large/a", two.path(), "video/mp4").await.unwrap(), Creation::AlreadyThere);
    let object = objects.get("large/a").await.unwrap().unwrap();
    assert_eq!(object.facts.bytes, first.len() as u64);
    let mut body = object.body;
    let mut at = 0;
    while let Some(bytes) = body.next().await {
        let bytes = bytes.unwrap();
        assert!(!bytes.is_empty() && first[at..].starts_with(&bytes), "at {at}");
        at += bytes.len();
    }
    assert_eq!(at, first.len());
    objects.put_file("large/a", two.path(), "video/mp4").await.unwrap();
    assert!(objects.get_all("large/a", u64::MAX).await.unwrap().unwrap() == second);
    objects.remove("large/a").await.unwrap();
}

async fn of_two_large_files_at_once_one_wins(objects: &Objects) {
    let files = [large(3), large(4)];
    let creates = files.iter().map(|(file, _)| objects.create_file("large/race", file.path(), "video/mp4"));
    let [a, b] = creates.collect::<Vec<_>>().try_into().ok().unwrap();
    let (a, b) = tokio::join!(a, b);
    let winner = match (a.unwrap(), b.unwrap()) {
        (Creation::Created, Creation::AlreadyThere) => &files[0].1,
        (Creation::AlreadyThere, Creation::Created) => &files[1].1,
        both => panic!("{both:?}"),
    };
    assert!(objects.get_all("large/race", u64::MAX).await.unwrap().unwrap() == winner);
    objects.remove("large/race").await.unwrap();
}

async fn small_files_are_written_like_bytes(objects: &Objects) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    objects.put_file("files/a", file.path(), TEXT).await.unwrap();
    assert_eq!(text(objects, "files/a").await, "");
    file.write_all(b"one").unwrap();
    objects.put_file("files/a", file.path(), TEXT).await.unwrap();
    assert_eq!(text(objects, "files/a").await, "one");
    assert_eq!(objects.create_file("files/a", file.path(), TEXT).await.unwrap(), Creation::AlreadyThere);
    assert_eq!(objects.create_file("files/b", file.path(), TEXT).await.unwrap(), Creation::Created);
    let error = objects.create_file("files/c", &file.path().join("none"), TEXT).await.unwrap_err();
    assert!(!error.is_away() && error.to_string().contains("/none"), "{error}");
}

async fn more_than_is_wanted_is_refused(objects: &Objects) {
    objects.create("ten", "0123456789".into(), TEXT).await.unwrap();
    assert!(matches!(objects.get_all("ten", 9).await, Err(Error::TooLarge { limit: 9, .. })));
    assert_eq!(objects.get_all("ten", 10).await.unwrap().unwrap(), "0123456789");
}

async fn stores_beside_each_other_see_nothing_of_each_other(objects: &Objects, other: &Objects) {
    objects.create("shared", "here".into(), TEXT).await.unwrap();
    assert!(keys(other, "").await.is_empty() && other.get("shared").await.unwrap().is_none());
    assert_eq!(other.create("shared", "there".into(), TEXT).await.unwrap(), Creation::Created);
    assert_eq!((text(objects, "shared").await.as_str(), text(other, "shared").await.as_str()), ("here", "there"));
    other.remove("shared").await.unwrap();
    assert_eq!(text(objects, "shared").await, "here");
}

/// What a folder can't hold. A bucket could: nobody may count on it.
async fn clashing_keys_are_refused(objects: &Objects) {
    objects.create("clash/a/b", "x".into(), TEXT).await.unwrap();
    for key in ["clash/a", "clash/a/b/c"] {
        let error = objects.create(key, "y".into(), TEXT).await.unwrap_err();
        assert!(matches!(error, Error::Clash { .. }), "{error}");
    }
}

async fn types_are_kept(objects: &Objects) {
    for content_type in ["video/mp4", "application/vnd.apple.mpegurl"] {
        objects.put("typed", "x".into(), content_type).await.unwrap();
        let head = objects.head("typed").await.unwrap().unwrap();
        assert_eq!(head.content_type.as_deref(), Some(content_type));
    }
}

async fn a_bucket_that_is_not_there_is_no_empty_one() {
    let objects = open("s3://nosuch").await;
    let errors = [
        objects.get("a").await.err(),
        objects.list("").unwrap().next().await.err(),
        objects.create("a", "x".into(), TEXT).await.err(),
    ];
    for error in errors {
        let error = error.unwrap();
        assert!(!error.is_away() && error.to_string().contains("NoSuchBucket"), "{error}");
    }
}
