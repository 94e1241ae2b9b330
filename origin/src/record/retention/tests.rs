//! What is chosen, as tables; and stores before and after.

use super::*;
use service::config::Config;
use std::time::UNIX_EPOCH;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_195_500)
}

fn entry(key: &str, age_days: u32) -> Entry {
    // A little more than so many days.
    let modified = now() - DAY * age_days - Duration::from_secs(60);
    Entry { key: key.to_owned(), bytes: 1, modified, etag: None }
}

fn session(name: &str) -> Session {
    ("foo".to_owned(), name.to_owned())
}

#[test]
fn assets_go_by_the_age_of_their_entries_and_live_ones_never() {
    let entries = [
        entry("assets/old.json", 31),
        entry("assets/new.json", 29),
        entry("assets/live.json", 99),
        entry("assets/a/b.json", 99),
        entry("assets/notes.txt", 99),
    ];
    let live = BTreeSet::from(["live".to_owned()]);
    assert_eq!(old_assets(&entries, &live, now(), 30), ["old"]);
    assert_eq!(old_assets(&entries, &live, now(), 99), [""; 0]);
}

#[test]
fn masters_go_when_they_are_finished_and_nothing_of_them_is_young() {
    let mut folders = BTreeMap::new();
    for found in [
        entry("rec/foo/old/0.flv", 40),
        entry("rec/foo/old/ended.json", 31),
        entry("rec/foo/unfinished/0.flv", 99),
        entry("rec/foo/young/0.flv", 31),
        entry("rec/foo/young/ended.json", 29),
        entry("rec/foo/live/0.flv", 99),
        entry("rec/foo/live/ended.json", 99),
        entry("rec/foo/log/log/ended.json", 99),
        entry("uploads/foo/bar/ended.json", 99),
    ] {
        note(&mut folders, &found);
    }
    let live = BTreeSet::from([session("live")]);
    assert_eq!(old_sessions(&folders, &live, now(), 30), [session("old")]);
    assert_eq!(old_sessions(&folders, &live, now(), 40), []);
}

#[test]
fn a_job_has_the_name_of_its_asset_or_of_its_stream_and_start() {
    for (ended, expected) in [
        (json!({ "asset": "foo-1", "name": "foo", "start": "x" }), Some("foo-1")),
        (json!({ "asset": null, "name": "foo", "start": "2026-11-20T17:25:00.123Z" }), Some("foo-20261120T172500Z")),
        (json!({ "name": "foo" }), None),
    ] {
        assert_eq!(job(&ended).as_deref(), expected, "{ended}");
    }
}

struct Shop {
    _dir: tempfile::TempDir,
    stores: Stores,
}

impl Shop {
    async fn with(ingest: &[&str], egress: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let stores = Stores::of(&Config { data_dir: dir.path().into(), ..Config::default() });
        for (objects, keys) in [(stores.ingest().await.unwrap(), ingest), (stores.egress().await.unwrap(), egress)] {
            for key in keys {
                let asset = key.split('/').nth(2).map(|session| format!("foo-{session}"));
                let text = json!({ "name": "foo", "asset": asset }).to_string();
                objects.create(key, text.into(), "application/json").await.unwrap();
            }
        }
        Self { _dir: dir, stores }
    }

    async fn keys(objects: Objects) -> Vec<String> {
        objects.list("").unwrap().collect().await.unwrap().into_iter().map(|entry| entry.key).collect()
    }

    async fn ingest(&self) -> Vec<String> {
        Self::keys(self.stores.ingest().await.unwrap()).await
    }

    async fn egress(&self) -> Vec<String> {
        Self::keys(self.stores.egress().await.unwrap()).await
    }
}

fn in_days(days: u32) -> SystemTime {
    SystemTime::now() + DAY * days + Duration::from_secs(60)
}

#[tokio::test]
async fn an_asset_goes_whole_and_its_job_is_told() {
    let egress = [
        "assets/foo-1.json",
        "assets/foo-10.json",
        "other/x",
        "vod/foo-1/hq/source/0.m4s",
        "vod/foo-1/index.m3u8",
        "vod/foo-1/source/7.m4s",
        "vod/foo-10/index.m3u8",
    ];
    let shop = Shop::with(&["jobs/foo-1/plan.json", "uploads/a.mp4"], &egress).await;
    let (ingest, egress) = (shop.stores.ingest().await.unwrap(), shop.stores.egress().await.unwrap());
    let live = BTreeSet::from(["foo-10".to_owned()]);
    remove_assets(&ingest, &egress, &live, in_days(29), 30).await.unwrap();
    assert_eq!(shop.egress().await.len(), 7, "too early");
    remove_assets(&ingest, &egress, &live, in_days(30), 30).await.unwrap();
    assert_eq!(shop.egress().await, ["assets/foo-10.json", "other/x", "vod/foo-10/index.m3u8"]);
    assert_eq!(shop.ingest().await, ["jobs/foo-1/expired.json", "jobs/foo-1/plan.json", "uploads/a.mp4"]);
}

#[tokio::test]
async fn an_asset_whose_removal_was_cut_off_is_gone_after_the_next_look() {
    // Its entry went first; the note says what to go on with.
    let shop = Shop::with(&[], &["gone/foo-1.json", "vod/foo-1/source/7.m4s", "vod/foo-2/source/7.m4s"]).await;
    let (ingest, egress) = (shop.stores.ingest().await.unwrap(), shop.stores.egress().await.unwrap());
    remove_assets(&ingest, &egress, &BTreeSet::new(), SystemTime::now(), 30).await.unwrap();
    assert_eq!(shop.egress().await, ["vod/foo-2/source/7.m4s"]);
}

#[tokio::test]
async fn a_master_takes_its_job_with_it_unless_another_session_has_the_same() {
    let shop = Shop::with(
        &[
            "jobs/foo-1/done/00000.json",
            "jobs/foo-1/plan.json",
            "jobs/foo-2/plan.json",
            "rec/foo/1/0.flv",
            "rec/foo/1/ended.json",
            "rec/foo/1/log/1-00000.jsonl",
            "rec/foo/2/0.flv",
            "sessions/foo/1.json",
            "uploads/a.mp4",
        ],
        &[],
    )
    .await;
    let (ingest, egress) = (shop.stores.ingest().await.unwrap(), shop.stores.egress().await.unwrap());
    let pair = json!({ "name": "foo", "asset": "foo-1" }).to_string();
    ingest.create("rec/foo/1b/ended.json", pair.into(), "application/json").await.unwrap();
    // The other origin of the pair still records.
    let live = BTreeSet::from([session("1b")]);
    remove_masters(&ingest, &egress, &live, in_days(60), 30).await.unwrap();
    let left = ["jobs/foo-1/done/00000.json", "jobs/foo-1/plan.json", "jobs/foo-2/plan.json", "rec/foo/1b/ended.json"];
    assert_eq!(shop.ingest().await, [&left[..], &["rec/foo/2/0.flv", "uploads/a.mp4"]].concat());
    remove_masters(&ingest, &egress, &BTreeSet::new(), in_days(60), 30).await.unwrap();
    assert_eq!(shop.ingest().await, ["jobs/foo-2/plan.json", "rec/foo/2/0.flv", "uploads/a.mp4"]);
}

#[tokio::test]
async fn a_master_whose_removal_was_cut_off_is_gone_after_the_next_look() {
    let shop = Shop::with(&["jobs/foo-1/plan.json", "sessions/foo/1.json"], &[]).await;
    let (ingest, egress) = (shop.stores.ingest().await.unwrap(), shop.stores.egress().await.unwrap());
    ingest.create("gone/foo/1.json", r#"{"job":"foo-1"}"#.into(), "application/json").await.unwrap();
    remove_masters(&ingest, &egress, &BTreeSet::new(), SystemTime::now(), 30).await.unwrap();
    assert_eq!(shop.ingest().await, [""; 0]);
}

#[tokio::test]
async fn a_master_waits_for_its_job_but_not_for_ever_and_then_its_asset_stays_what_it_was() {
    let master = ["jobs/foo-1/plan.json", "rec/foo/1/0.flv", "rec/foo/1/ended.json"];
    for (what, more, days, stays) in [
        ("planned", None, 30, true),
        ("planned, longer", None, 59, true),
        ("planned, for too long", None, 60, false),
        ("done", Some("jobs/foo-1/finished.json"), 30, false),
        ("given up", Some("jobs/foo-1/failed.json"), 30, false),
        ("not wanted any more", Some("jobs/foo-1/expired.json"), 30, false),
    ] {
        let shop = Shop::with(&[&master[..], more.as_slice()].concat(), &["vod/foo-1/index.m3u8"]).await;
        let (ingest, egress) = (shop.stores.ingest().await.unwrap(), shop.stores.egress().await.unwrap());
        let entry = r#"{"id":"foo-1","state":"transcoding","tasks":7}"#;
        egress.put("assets/foo-1.json", entry.into(), "application/json").await.unwrap();
        remove_masters(&ingest, &egress, &BTreeSet::new(), in_days(days), 30).await.unwrap();
        assert_eq!(shop.ingest().await.len(), if stays { 3 } else { 0 }, "{what}");
        let entry = read(&egress, "assets/foo-1.json").await.unwrap().unwrap();
        assert_eq!(entry["state"], if stays { "transcoding" } else { "instant" }, "{what}");
    }
}

#[tokio::test]
async fn an_asset_that_goes_before_anybody_has_planned_it_is_not_made_from_its_master() {
    let shop =
        Shop::with(&["rec/foo/1/0.flv", "rec/foo/1/ended.json"], &["assets/foo-1.json", "assets/foo-2.json"]).await;
    let (ingest, egress) = (shop.stores.ingest().await.unwrap(), shop.stores.egress().await.unwrap());
    remove_assets(&ingest, &egress, &BTreeSet::new(), in_days(30), 30).await.unwrap();
    assert_eq!(shop.egress().await, [""; 0]);
    assert_eq!(shop.ingest().await, ["jobs/foo-1/expired.json", "rec/foo/1/0.flv", "rec/foo/1/ended.json"]);
}

#[tokio::test]
async fn an_object_that_is_too_long_keeps_no_other_from_going() {
    let shop = Shop::with(&["rec/foo/1/ended.json"], &["assets/foo-1.json"]).await;
    let (ingest, egress) = (shop.stores.ingest().await.unwrap(), shop.stores.egress().await.unwrap());
    let long = " ".repeat(ENDED_BYTES_MAX as usize + 1);
    ingest.put("rec/foo/0/ended.json", long.clone().into(), "application/json").await.unwrap();
    egress.put("assets/foo-0.json", long.into(), "application/json").await.unwrap();
    remove_assets(&ingest, &egress, &BTreeSet::new(), in_days(30), 30).await.unwrap();
    remove_masters(&ingest, &egress, &BTreeSet::new(), in_days(60), 30).await.unwrap();
    assert_eq!((shop.ingest().await, shop.egress().await), (vec![], vec![]));
}

#[tokio::test]
async fn without_a_limit_nothing_goes() {
    let shop = Shop::with(&["gone/foo/1.json"], &["gone/foo-1.json", "vod/foo-1/index.m3u8"]).await;
    enforce(&shop.stores, &Retention::default(), &BTreeSet::new(), Duration::from_secs(300)).await.unwrap();
    assert_eq!((shop.ingest().await.len(), shop.egress().await.len()), (1, 2));
}
