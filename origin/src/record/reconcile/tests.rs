//! Who counts as lost, as tables; and sessions left in real stores.

use super::*;
use crate::record::ledger::Entry as Segment;
use crate::record::ledger::Shape;
use crate::record::ledger::Video;
use media::projection::{Layout, Stereo};
use serde_json::Value;
use service::config::{Config, Current};
use service::hooks::Hooks;
use store::Creation;

const LOST: Duration = Duration::from_secs(300);

const ANCHOR: i64 = 1_795_195_500_000;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ANCHOR as u64 + 86_400_000)
}

fn entry(key: &str, age_s: u64) -> Entry {
    Entry { key: key.to_owned(), bytes: 1, modified: now() - Duration::from_secs(age_s), etag: None }
}

fn session(name: &str) -> Session {
    ("foo".to_owned(), name.to_owned())
}

fn sign(name: &str, version: u64) -> Entry {
    let key = format!("sessions/foo/{name}.json");
    // The store's clock has nothing to say here: it may be years away.
    Entry { key, bytes: 1, modified: UNIX_EPOCH, etag: Some(version.to_string()) }
}

#[test]
fn whose_sign_of_life_stays_the_same_for_long_while_we_look_is_lost_unless_we_know_better() {
    // (when we look, the sign that is there); who is silent at the last look.
    for (what, looks, expected) in [
        ("the same all the time", vec![(0, 1), (100, 1), (200, 1), (301, 1)], true),
        ("not long enough", vec![(0, 1), (100, 1), (200, 1), (299, 1)], false),
        ("written anew", vec![(0, 1), (100, 1), (200, 2), (301, 2)], false),
        ("written anew, and never again", vec![(0, 1), (100, 1), (200, 2), (301, 2), (400, 2), (501, 2)], true),
        ("old at the first look", vec![(9_999, 1)], false),
        ("the store was away", vec![(0, 1), (100, 1), (600, 1)], false),
        ("the store was away, and nobody came back", vec![(0, 1), (600, 1), (700, 1), (800, 1), (901, 1)], true),
    ] {
        let (start, mut watch, mut silent) = (Instant::now(), Watch::default(), Vec::new());
        for (at, version) in looks {
            let now = start + Duration::from_secs(at);
            silent = watch.look(&[sign("a", version)], &BTreeSet::new(), (now, now), LOST);
        }
        assert_eq!(!silent.is_empty(), expected, "{what}");
    }
}

#[test]
fn a_look_that_failed_and_what_we_know_better_make_the_waiting_begin_anew() {
    let (start, mut watch) = (Instant::now(), Watch::default());
    let look = |watch: &mut Watch, at: u64, known: &[&str]| -> Vec<String> {
        let (now, known) = (start + Duration::from_secs(at), known.iter().map(|name| session(name)).collect());
        let signs = [sign("a", 1), sign("b", 1), entry("sessions/x.json", 999)];
        watch.look(&signs, &known, (now, now), LOST).into_iter().map(|((_, name), _)| name).collect()
    };
    for at in [0, 100, 200] {
        assert_eq!(look(&mut watch, at, &["b"]), [""; 0]);
    }
    assert_eq!(look(&mut watch, 301, &["b"]), ["a"]);
    assert_eq!(look(&mut watch, 310, &[]), ["a"], "b is seen for the first time");
    watch.stirred(&session("a"), (1, UNIX_EPOCH), start + Duration::from_secs(310));
    assert_eq!(look(&mut watch, 400, &[]), [""; 0], "something was stored");
    watch.restart();
    for at in [500, 600, 700, 800] {
        assert_eq!(look(&mut watch, at, &[]), [""; 0], "{at}");
    }
    assert_eq!(look(&mut watch, 801, &[]), ["a", "b"]);
}

#[test]
fn a_silent_session_is_lost_when_nothing_of_it_has_been_stored_for_long() {
    let part = |age_s| entry("rec/foo/a/0.flv", age_s);
    let at = |age_s| now() - Duration::from_secs(age_s);
    let lost = |age_s| Verdict::Lost(at(age_s));
    for (what, objects, before, expected) in [
        ("nothing stored lately", vec![part(400), entry("rec/foo/a/log/1-0.jsonl", 350)], None, lost(350)),
        ("files come", vec![part(400), entry("rec/foo/a/1.flv", 3)], None, Verdict::Alive((2, at(3)))),
        ("files came since", vec![part(4000), part(3000)], Some((1, at(4000))), Verdict::Alive((2, at(3000)))),
        ("a file grew since", vec![part(3000)], Some((1, at(4000))), Verdict::Alive((1, at(3000)))),
        ("none came since", vec![part(3)], Some((1, at(3))), lost(3)),
        ("finished", vec![part(400), entry("rec/foo/a/ended.json", 350)], None, Verdict::Ended),
        ("only its sign was ever stored", vec![], None, lost(310)),
        ("a part that looks like an end is none", vec![entry("rec/foo/a/log/ended.json", 400)], None, lost(400)),
    ] {
        assert_eq!(judge(&objects, at(310), before, now(), LOST), expected, "{what}");
    }
    // The store's clock is ahead of ours.
    let ahead = now() + LOST;
    let objects = [Entry { modified: ahead, ..part(0) }];
    assert_eq!(judge(&objects, ahead, None, now(), LOST), Verdict::Alive((1, ahead)));
    assert_eq!(judge(&objects, ahead, Some((1, ahead)), now(), LOST), Verdict::Lost(ahead));
    assert!(!is_older(ahead, now(), LOST));
}

#[test]
fn signs_come_several_times_before_anybody_takes_a_session_for_lost() {
    for lost_s in [2, 10, 300, 86_400] {
        let lost = Duration::from_secs(lost_s);
        assert!(every(lost) * 4 <= lost && every(lost) <= EVERY_MAX, "{lost_s} s");
    }
}

fn segment(msn: u64) -> Line {
    Line::Segment(Segment {
        rendition: "source".to_owned(),
        msn,
        seconds: 2.0,
        date_ms: ANCHOR + (msn as i64) * 2000,
        gap: false,
        discontinuity: false,
        map: "init-0000000000000000.mp4".to_owned(),
        key: String::new(),
        bytes: 100,
        first_chunk: 10,
    })
}

/// The stores as an origin leaves them: media of `stored` in egress, and the log of `logged`.
struct Left {
    _dir: tempfile::TempDir,
    config: Config,
    stores: Arc<Stores>,
}

impl Left {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { data_dir: dir.path().into(), record_lost_s: 300, ..Default::default() };
        let stores = Arc::new(Stores::of(&config));
        Self { _dir: dir, config, stores }
    }

    async fn object(&self, ingest: bool, key: &str, text: &str) {
        let objects = if ingest { self.stores.ingest().await } else { self.stores.egress().await }.unwrap();
        objects.put(key, text.to_owned().into(), "text/plain").await.unwrap();
    }

    async fn media(&self, numbers: std::ops::RangeInclusive<u64>) {
        self.object(false, "vod/foo-20261120T172500Z/source/init-0000000000000000.mp4", "init").await;
        for msn in numbers {
            self.object(false, &format!("vod/foo-20261120T172500Z/source/{msn}.m4s"), "media").await;
        }
    }

    async fn session(&self, name: &str, numbers: std::ops::RangeInclusive<u64>) -> Ledger {
        let heads = vec![
            Line::Session { name: "foo".to_owned(), session: name.to_owned(), began_ms: ANCHOR, rungs: true },
            Line::Epoch { anchor_ms: ANCHOR, target_s: 2, protect: false },
            Line::Layout(Layout { stereo: Stereo::Tb, ..Layout::default() }),
            Line::Shape(Shape {
                fps: 30.0,
                video: vec![Video { rendition: "source".into(), codec: "avc1.64001f".into(), size: (960, 480) }],
                audio: None,
            }),
        ];
        let lines: Vec<Line> = heads.into_iter().chain(numbers.map(segment)).collect();
        let text: Vec<String> = lines.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
        self.object(true, &format!("rec/foo/{name}/log/1-00000.jsonl"), &text.join("\n")).await;
        let sign =
            format!(r#"{{"name":"foo","session":"{name}","anchor_ms":{ANCHOR},"asset":"foo-20261120T172500Z"}}"#);
        self.object(true, &format!("sessions/foo/{name}.json"), &sign).await;
        let mut ledger = Ledger::default();
        lines.into_iter().for_each(|line| ledger.enter(line));
        ledger
    }

    async fn read(&self, ingest: bool, key: &str) -> String {
        let objects = if ingest { self.stores.ingest().await } else { self.stores.egress().await }.unwrap();
        let text = objects.get_all(key, 1 << 20).await.unwrap().unwrap_or_else(|| panic!("no {key}"));
        String::from_utf8(text.to_vec()).unwrap()
    }

    async fn json(&self, ingest: bool, key: &str) -> Value {
        serde_json::from_str(&self.read(ingest, key).await).unwrap()
    }

    /// Segments that can be played, and gaps in between as `-`.
    async fn playlist(&self) -> Vec<String> {
        let text = self.read(false, "vod/foo-20261120T172500Z/source/index.m3u8").await;
        let names = text.lines().filter(|line| !line.starts_with('#') || *line == "#EXT-X-GAP");
        let joined = names.map(|line| line.replace("#EXT-X-GAP", "-").replace(".m4s", " ")).collect::<String>();
        joined.split_whitespace().map(str::to_owned).collect()
    }

    fn reconciler(&self) -> Reconciler {
        Reconciler::new(Current::new(self.config.clone()), self.stores.clone(), Arc::default(), Hooks::default())
    }
}

/// Looks for longer than a session may be silent.
async fn lose(reconciler: &mut Reconciler) {
    let start = Instant::now();
    for seconds in [0, 110, 220, 330] {
        reconciler.look(later(), start + Duration::from_secs(seconds)).await.unwrap();
    }
}

fn later() -> SystemTime {
    SystemTime::now() + Duration::from_secs(400)
}

fn end(at_ms: i64) -> End {
    End { reason: Reason::Ended, at_ms }
}

#[tokio::test]
async fn a_session_of_a_dead_origin_is_finished_as_far_as_it_is_stored() {
    let left = Left::new();
    left.session("a", 10..=13).await;
    left.media(10..=11).await;
    left.media(13..=13).await;
    left.object(true, "rec/foo/a/0.flv", "FLV").await;
    let mut reconciler = left.reconciler();
    reconciler.look(later(), Instant::now()).await.unwrap();
    assert_eq!(left.stores.ingest().await.unwrap().head("rec/foo/a/ended.json").await.unwrap(), None, "too early");
    lose(&mut reconciler).await;
    assert_eq!(left.playlist().await, ["10", "11", "-12", "13"]);
    let ended = left.json(true, "rec/foo/a/ended.json").await;
    assert_eq!((&ended["reason"], &ended["asset"]), (&"lost".into(), &"foo-20261120T172500Z".into()));
    assert_eq!(ended["parts"], serde_json::json!([{ "key": "rec/foo/a/0.flv", "bytes": 3 }]));
    assert_eq!((&ended["projection"], &ended["stereo"]), (&"equirect".into(), &"tb".into()));
    let entry = left.json(false, "assets/foo-20261120T172500Z.json").await;
    assert_eq!((&entry["state"], &entry["duration_s"]), (&"instant".into(), &8.0.into()));
    // Whoever looks next finds nothing to do, and nothing changes.
    let before = left.read(true, "rec/foo/a/ended.json").await;
    lose(&mut left.reconciler()).await;
    assert_eq!(left.read(true, "rec/foo/a/ended.json").await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_several_who_finish_the_same_session_at_once_one_has_the_word_and_all_agree() {
    let left = Left::new();
    left.session("a", 10..=13).await;
    left.session("b", 12..=15).await;
    left.media(10..=15).await;
    left.object(true, "rec/foo/a/0.flv", "FLV").await;
    let mut looking = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut reconciler = left.reconciler();
        looking.spawn(async move { lose(&mut reconciler).await });
    }
    looking.join_all().await;
    assert_eq!(left.playlist().await, ["10", "11", "12", "13", "14", "15"]);
    for session in ["a", "b"] {
        assert_eq!(left.json(true, &format!("rec/foo/{session}/ended.json")).await["reason"], "lost");
    }
}

#[tokio::test]
async fn an_origin_that_comes_back_adds_what_it_still_had() {
    let left = Left::new();
    let ledger = left.session("a", 10..=14).await;
    left.media(10..=12).await;
    lose(&mut left.reconciler()).await;
    assert_eq!(left.playlist().await, ["10", "11", "12"]);
    left.media(13..=14).await;
    let entry = finish(&left.stores, &ledger, Files::Stored, end(ANCHOR), "on").await.unwrap().unwrap();
    assert_eq!(left.playlist().await, ["10", "11", "12", "13", "14"]);
    let entry: Value = serde_json::from_slice(&entry).unwrap();
    assert_eq!((&entry["duration_s"], &entry["state"]), (&10.0.into(), &"instant".into()));
    assert_eq!(left.json(true, "rec/foo/a/ended.json").await["reason"], "lost", "the first word stays");
}

#[tokio::test]
async fn both_origins_of_a_pair_finish_one_asset_that_has_all() {
    let left = Left::new();
    let (a, b) = (left.session("a", 10..=12).await, left.session("b", 12..=14).await);
    left.media(10..=12).await;
    finish(&left.stores, &a, Files::Stored, end(ANCHOR), "on").await.unwrap();
    // What the second lists is not stored yet when the first one looks.
    assert_eq!(left.playlist().await, ["10", "11", "12"]);
    left.media(13..=14).await;
    finish(&left.stores, &b, Files::Stored, end(ANCHOR), "on").await.unwrap();
    assert_eq!(left.playlist().await, ["10", "11", "12", "13", "14"]);
    for session in ["a", "b"] {
        let ended = left.json(true, &format!("rec/foo/{session}/ended.json")).await;
        assert_eq!((&ended["session"], &ended["asset"]), (&session.into(), &"foo-20261120T172500Z".into()));
    }
    assert_eq!(left.json(false, "assets/foo-20261120T172500Z.json").await["duration_s"], 10.0);
}

#[tokio::test]
async fn what_a_transcoder_has_written_stays() {
    let left = Left::new();
    let ledger = left.session("a", 10..=12).await;
    left.media(10..=12).await;
    let entry = r#"{"id":"foo-20261120T172500Z","state":"transcoding","tasks":2}"#;
    left.object(false, "assets/foo-20261120T172500Z.json", entry).await;
    left.object(false, "vod/foo-20261120T172500Z/index.m3u8", "the better one").await;
    left.object(true, "jobs/foo-20261120T172500Z/plan.json", "{}").await;
    finish(&left.stores, &ledger, Files::Stored, end(ANCHOR), "on").await.unwrap();
    assert_eq!(left.read(false, "assets/foo-20261120T172500Z.json").await, entry);
    assert_eq!(left.read(false, "vod/foo-20261120T172500Z/index.m3u8").await, "the better one");
    assert_eq!(left.playlist().await, ["10", "11", "12"]);
}

#[tokio::test]
async fn a_session_without_a_log_keeps_what_came_in_and_one_without_anything_goes() {
    let left = Left::new();
    left.object(true, "sessions/foo/a.json", "{}").await;
    left.object(true, "rec/foo/a/0.flv", "FLV").await;
    left.object(true, "sessions/foo/b.json", "{}").await;
    lose(&mut left.reconciler()).await;
    let ended = left.json(true, "rec/foo/a/ended.json").await;
    assert_eq!((&ended["asset"], &ended["parts"][0]["bytes"]), (&Value::Null, &3.into()));
    let ingest = left.stores.ingest().await.unwrap();
    assert_eq!(ingest.head("sessions/foo/b.json").await.unwrap(), None);
    assert_eq!(ingest.head("rec/foo/b/ended.json").await.unwrap(), None);
}

#[tokio::test]
async fn sessions_that_this_process_holds_are_its_own_business() {
    let left = Left::new();
    left.session("a", 10..=12).await;
    left.media(10..=12).await;
    let mut reconciler = left.reconciler();
    reconciler.held.insert(session("a"));
    lose(&mut reconciler).await;
    let ingest = left.stores.ingest().await.unwrap();
    assert_eq!(ingest.head("rec/foo/a/ended.json").await.unwrap(), None);
    reconciler.held.remove(&session("a"));
    lose(&mut reconciler).await;
    let there = ingest.create("rec/foo/a/ended.json", "".into(), "text/plain").await.unwrap();
    assert_eq!(there, Creation::AlreadyThere);
}

#[tokio::test]
async fn a_log_that_speaks_of_another_session_finishes_none_and_what_came_in_stays() {
    let left = Left::new();
    left.session("a", 10..=12).await;
    left.media(10..=12).await;
    let text = left.read(true, "rec/foo/a/log/1-00000.jsonl").await;
    left.object(true, "rec/bar/b/log/1-00000.jsonl", &text).await;
    left.object(true, "rec/bar/b/0.flv", "FLV").await;
    left.object(true, "sessions/bar/b.json", "{}").await;
    lose(&mut left.reconciler()).await;
    let ended = left.json(true, "rec/bar/b/ended.json").await;
    assert_eq!((&ended["name"], &ended["asset"]), (&"bar".into(), &Value::Null));
    assert_eq!(left.json(true, "rec/foo/a/ended.json").await["asset"], "foo-20261120T172500Z");
}

#[tokio::test]
async fn what_no_date_and_no_log_can_be_keeps_no_other_session_from_being_finished() {
    let left = Left::new();
    let heads = [
        Line::Session { name: "foo".to_owned(), session: "a".to_owned(), began_ms: i64::MAX, rungs: true },
        Line::Epoch { anchor_ms: i64::MAX, target_s: 2, protect: false },
    ];
    let text: Vec<String> = heads.iter().map(|line| serde_json::to_string(line).unwrap()).collect();
    left.object(true, "rec/foo/a/log/1-00000.jsonl", &text.join("\n")).await;
    left.object(true, "rec/foo/a/log/1-00001.jsonl", &" ".repeat((4 << 20) + 1)).await;
    left.object(true, "rec/foo/a/0.flv", "FLV").await;
    left.object(true, "sessions/foo/a.json", &" ".repeat((4 << 20) + 1)).await;
    left.session("b", 10..=12).await;
    left.media(10..=12).await;
    lose(&mut left.reconciler()).await;
    assert_eq!(left.json(true, "rec/foo/a/ended.json").await["start"], "9999-12-31T23:59:59.999Z");
    assert_eq!(left.json(true, "rec/foo/b/ended.json").await["asset"], "foo-20261120T172500Z");
}

#[tokio::test]
async fn what_an_origin_adds_after_it_was_taken_for_lost_is_noted_until_a_transcoder_has_planned() {
    let left = Left::new();
    let mut ledger = left.session("a", 10..=12).await;
    left.media(10..=12).await;
    left.object(true, "rec/foo/a/0.flv", "FLV").await;
    lose(&mut left.reconciler()).await;
    let parts = async || -> Vec<String> {
        let ended = left.json(true, "rec/foo/a/ended.json").await;
        ended["parts"].as_array().unwrap().iter().map(|part| part["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(parts().await, ["rec/foo/a/0.flv"]);
    (1..=10).for_each(|number| ledger.enter(Line::Part { number, bytes: 3 }));
    finish(&left.stores, &ledger, Files::Stored, end(ANCHOR), "on").await.unwrap();
    let all: Vec<String> = (0..=10).map(|number| format!("rec/foo/a/{number}.flv")).collect();
    assert_eq!(parts().await, all, "the one that only the first finisher knew is there too, in order");
    left.object(true, "jobs/foo-20261120T172500Z/plan.json", "{}").await;
    ledger.enter(Line::Part { number: 11, bytes: 3 });
    finish(&left.stores, &ledger, Files::Stored, end(ANCHOR), "on").await.unwrap();
    assert_eq!(parts().await, all);
}

#[tokio::test]
async fn whoever_finishes_what_another_left_half_done_completes_index_and_entry() {
    let left = Left::new();
    let ledger = left.session("a", 10..=14).await;
    left.media(10..=12).await;
    finish(&left.stores, &ledger, Files::Unknown, end(ANCHOR), "on").await.unwrap();
    let short = left.read(false, "assets/foo-20261120T172500Z.json").await;
    left.media(13..=14).await;
    finish(&left.stores, &ledger, Files::Unknown, end(ANCHOR), "on").await.unwrap();
    // As if that one had died after the media playlists.
    left.object(false, "assets/foo-20261120T172500Z.json", &short).await;
    left.object(false, "vod/foo-20261120T172500Z/index.m3u8", "#EXTM3U\n").await;
    finish(&left.stores, &ledger, Files::Unknown, end(ANCHOR), "on").await.unwrap();
    assert_eq!(left.json(false, "assets/foo-20261120T172500Z.json").await["duration_s"], 10.0);
    assert!(left.read(false, "vod/foo-20261120T172500Z/index.m3u8").await.contains("source/index.m3u8"));
}
