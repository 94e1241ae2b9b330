//! Which keys are sources, and what their jobs are called. Knows no store.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const KEY: &str = "rec/foo/s-1/ended.json";

#[test]
fn uploads_and_ended_recordings_are_sources() {
    let long = format!("uploads/{}.mp4", "x".repeat(240));
    for upload in ["uploads/a.mp4", "uploads/a b+é.MOV", "uploads/deep/er/x", &long] {
        assert_eq!(kind(upload), Some(Kind::Upload), "{upload}");
    }
    let recording = Kind::Recording { name: "foo".to_owned(), session: "s-1".to_owned() };
    assert_eq!(kind(KEY), Some(recording));
}

#[test]
fn other_objects_are_none() {
    for key in [
        "",
        "uploads",
        "uploads/",
        "uploads/x/",
        "uploads/../jobs/x",
        "uploads/.hidden",
        "Uploads/a.mp4",
        "rec/foo/s-1/0.flv",
        "rec/foo/ended.json",
        "rec/foo/s-1/x/ended.json",
        "rec/f o o/s-1/ended.json",
        "rec/foo/s 1/ended.json",
        "rec/foo/s-1/Ended.json",
        "jobs/foo/plan.json",
    ] {
        assert_eq!(kind(key), None, "{key}");
    }
}

#[test]
fn uploads_are_called_by_what_is_left_of_their_keys() {
    for (key, expected) in [
        ("uploads/Holiday.mp4", "Holiday"),
        ("uploads/my  film (1).final.MOV", "my-film-1-final"),
        ("uploads/été à la mer.mkv", "t-la-mer"),
        ("uploads/2026/11/drone_7.mp4", "2026-11-drone_7"),
        ("uploads/a+b.mp4", "a-b"),
        ("uploads/映画.mp4", "upload"),
        ("uploads/-.mp4", "upload"),
        ("uploads/no extension", "no-extension"),
        ("uploads/dir.d/file", "dir-d-file"),
    ] {
        assert_eq!(upload_name(key), expected, "{key}");
    }
    assert_eq!(upload_name(&format!("uploads/{}.mp4", "x".repeat(240))), "x".repeat(40));
    assert_eq!(upload_name(&format!("uploads/{} y.mp4", "x".repeat(39))), "x".repeat(39));
}

#[test]
fn a_file_of_the_same_name_is_another_job_if_its_content_or_folder_is() {
    let job = upload_job("uploads/a b.mp4", Some("\"e1\""), 1_795_195_500_123);
    let hash = job.strip_prefix("a-b-").and_then(|rest| rest.strip_suffix("-20261120T172500Z"));
    assert_eq!(hash.map(str::len), Some(8), "{job}");
    assert_eq!(job, upload_job("uploads/a b.mp4", Some("\"e1\""), 1_795_195_500_123));
    for other in [
        upload_job("uploads/a b.mp4", Some("\"e2\""), 1_795_195_500_123),
        upload_job("uploads/a-b.mp4", Some("\"e1\""), 1_795_195_500_123),
        upload_job("uploads/a b.mp4", None, 1_795_195_500_123),
        upload_job("uploads/a b.mp4", Some("\"e1\""), 1_795_195_501_123),
    ] {
        assert_ne!(job, other);
    }
}

fn ended(change: fn(&mut Value)) -> Result<Ended, BadEnded> {
    let mut value = json!({
        "name": "foo", "session": "s-1", "asset": "foo-20261120T172500Z",
        "start": "2026-11-20T17:25:00.123Z", "end": "2026-11-20T17:30:00.000Z", "reason": "ended",
        "parts": [{ "key": "rec/foo/s-1/0.flv", "bytes": 7 }, { "key": "rec/foo/s-1/1.flv", "bytes": 8 }],
        "renditions": ["source"], "recording": "on", "projection": "cubemap", "stereo": "tb", "later": [1],
    });
    change(&mut value);
    Ended::parse(KEY, value.to_string().as_bytes())
}

#[test]
fn ended_recordings_say_what_they_consist_of() {
    let whole = ended(|_| ()).unwrap();
    assert_eq!((whole.start_ms, whole.job().as_str()), (1_795_195_500_123, "foo-20261120T172500Z"));
    assert_eq!(whole.parts[1], Part { key: "rec/foo/s-1/1.flv".to_owned(), bytes: 8 });
    assert_eq!(
        whole.layout,
        Layout { projection: media::projection::Projection::Cubemap, stereo: media::projection::Stereo::Tb }
    );
    let bare = ended(|value| {
        for key in ["asset", "projection", "stereo", "renditions", "recording", "reason", "end"] {
            value.as_object_mut().unwrap().remove(key);
        }
    })
    .unwrap();
    assert_eq!((bare.layout, bare.job().as_str()), (Layout::default(), "foo-20261120T172500Z"));
    assert_eq!(ended(|value| value["asset"] = Value::Null).unwrap().asset, None);
}

#[test]
fn ended_recordings_that_lie_are_refused() {
    let refused = |why: &str, change: fn(&mut Value)| {
        let words = ended(change).expect_err(why).to_string();
        assert!(words.contains(why), "{words}, not {why}");
    };
    refused("another recording", |value| value["session"] = "s-2".into());
    refused("another recording", |value| value["name"] = "bar".into());
    refused("no name", |value| value["asset"] = "../foo".into());
    refused("not in the form", |value| value["parts"] = 7.into());
    refused("nothing of what came in", |value| value["parts"] = json!([]));
    refused("outside its folder", |value| value["parts"][0]["key"] = "rec/foo/s-2/0.flv".into());
    refused("outside its folder", |value| value["parts"][0]["key"] = "rec/foo/s-1/../x.flv".into());
    refused("outside its folder", |value| value["parts"][0]["key"] = "rec/foo/s-1/00.flv".into());
    refused("outside its folder", |value| value["parts"][0]["key"] = "uploads/0.flv".into());
    refused("200 GB", |value| value["parts"][0]["bytes"] = u64::MAX.into());
    refused("20000", |value| {
        value["parts"] = vec![json!({ "key": "rec/foo/s-1/0.flv", "bytes": 1 }); PARTS_MAX + 1].into();
    });
    refused("no date", |value| value["start"] = "yesterday".into());
    assert!(Ended::parse("uploads/ended.json", b"{}").is_err());
    assert!(Ended::parse(KEY, b"garbage").is_err());
}

proptest! {
    #[test]
    fn every_key_makes_a_name_that_a_job_can_have(key: String, etag: Option<String>, ms: i32) {
        let job = upload_job(&format!("uploads/{key}"), etag.as_deref(), i64::from(ms));
        prop_assert!(jobs::is_name(&job), "{}", job);
        prop_assert!(!job.starts_with('-') && !upload_name(&key).contains("--"));
    }

    #[test]
    fn no_text_panics(text: Vec<u8>) {
        let _ = Ended::parse(KEY, &text);
    }
}
