//! Who counts as lost, as tables; and sessions left in real stores.

use super::*;
use crate::record::ledger::Entry as Segment;
use crate::record::ledger::Shape;
use crate::record::ledger::Video;
use media::projection::{Layout, Stereo};
use serde_json::Value;
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

#[test]
fn whose_sign_of_life_is_old_is_looked_at_unless_we_know_better() {
    let signs = [entry("sessions/foo/a.json", 301), entry("sessions/foo/b.json", 299), entry("sessions/x.json", 999)];
    let names = |known: &[&str]| -> Vec<String> {
        let known = known.iter().map(|name| session(name)).collect();
        silent(&signs, &known, now(), LOST).into_iter().map(|((_, name), _)| name).collect()
    };
    assert_eq!(names(&[]), ["a"]);
    assert_eq!(names(&["b"]), ["a"]);
    assert_eq!(names(&["a"]), [""; 0]);
}

#[test]
fn a_session_is_lost_when_nothing_of_it_has_been_stored_for_long() {
    let part = |age_s| entry("rec/foo/a/0.flv", age_s);
    let lost = |age_s| Verdict::Lost(now() - Duration::from_secs(age_s));
    for (what, objects, sign_s, expected) in [
        ("silent and nothing stored lately", vec![part(400), entry("rec/foo/a/log/1-0.jsonl", 350)], 310, lost(350)),
        ("no sign, but files come", vec![part(400), entry("rec/foo/a/1.flv", 3)], 310, Verdict::Alive),
        ("nobody publishes, but the origin lives", vec![part(4000)], 10, Verdict::Alive),
        ("finished", vec![part(400), entry("rec/foo/a/ended.json", 350)], 310, Verdict::Ended),
        ("only its sign was ever stored", vec![], 310, lost(310)),
        ("a part that looks like an end is none", vec![entry("rec/foo/a/log/ended.json", 400)], 310, lost(400)),
        // The store's clock is ahead of ours.
        ("stored in the future", vec![entry("rec/foo/a/0.flv", 0)], 310, Verdict::Alive),
    ] {
        let sign = now() - Duration::from_secs(sign_s);
        assert_eq!(judge(&objects, sign, now(), LOST), expected, "{what}");
    }
    assert!(!is_older(now() + LOST, now(), LOST));
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
        map: "init-00.mp4".to_owned(),
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
        self.object(false, "vod/foo-20261120T172500Z/source/init-00.mp4", "init").await;
        for msn in numbers {
            self.object(false, &format!("vod/foo-20261120T172500Z/source/{msn}.m4s"), "media").await;
        }
    }

    async fn session(&self, name: &str, numbers: std::ops::RangeInclusive<u64>) -> Ledger {
        let heads = vec![
            Line::Session { name: "foo".to_owned(), session: name.to_owned(), began_ms: ANCHOR, rungs: true },
            Line::Epoch { anchor_ms: ANCHOR, target_s: 2 },
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
        Reconciler::new(&self.config, self.stores.clone(), Arc::default())
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
    reconciler.look(SystemTime::now()).await.unwrap();
    assert_eq!(left.stores.ingest().await.unwrap().head("rec/foo/a/ended.json").await.unwrap(), None, "too early");
    reconciler.look(later()).await.unwrap();
    assert_eq!(left.playlist().await, ["10", "11", "-12", "13"]);
    let ended = left.json(true, "rec/foo/a/ended.json").await;
    assert_eq!((&ended["reason"], &ended["asset"]), (&"lost".into(), &"foo-20261120T172500Z".into()));
    assert_eq!(ended["parts"], serde_json::json!([{ "key": "rec/foo/a/0.flv", "bytes": 3 }]));
    assert_eq!((&ended["projection"], &ended["stereo"]), (&"equirect".into(), &"tb".into()));
    let entry = left.json(false, "assets/foo-20261120T172500Z.json").await;
    assert_eq!((&entry["state"], &entry["duration_s"]), (&"instant".into(), &8.0.into()));
    // Whoever looks next finds nothing to do, and nothing changes.
    let before = left.read(true, "rec/foo/a/ended.json").await;
    left.reconciler().look(later() + LOST).await.unwrap();
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
        looking.spawn(async move { reconciler.look(later()).await.unwrap() });
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
    left.reconciler().look(later()).await.unwrap();
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
    left.reconciler().look(later()).await.unwrap();
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
    reconciler.look(later()).await.unwrap();
    let ingest = left.stores.ingest().await.unwrap();
    assert_eq!(ingest.head("rec/foo/a/ended.json").await.unwrap(), None);
    reconciler.held.remove(&session("a"));
    reconciler.look(later()).await.unwrap();
    let there = ingest.create("rec/foo/a/ended.json", "".into(), "text/plain").await.unwrap();
    assert_eq!(there, Creation::AlreadyThere);
}
