//! Messages of all shapes and none, as tables. Knows no queue.

use super::*;
use proptest::prelude::*;

fn place() -> Place {
    "s3://masters/live/360".parse().unwrap()
}

fn s3(records: &[(&str, &str, &str)]) -> String {
    let record = |(name, bucket, key): &(&str, &str, &str)| {
        json!({
            "eventVersion": "2.1", "eventSource": "aws:s3", "eventName": name,
            "s3": { "bucket": { "name": bucket, "arn": "x" }, "object": { "key": key, "size": 1, "eTag": "y" } },
        })
    };
    json!({ "Records": records.iter().map(record).collect::<Vec<_>>() }).to_string()
}

fn bridge(kind: &str, bucket: &str, key: &str) -> String {
    json!({
        "version": "0", "source": "aws.s3", "detail-type": kind,
        "detail": { "version": "0", "bucket": { "name": bucket }, "object": { "key": key, "size": 1 } },
    })
    .to_string()
}

/// Parses, and prints sources' keys, and tasks as `job#number`.
#[track_caller]
fn check(body: &str, expected: &[&str]) {
    let print = |message: &Message| match message {
        Message::Task { job, task } => format!("{job}#{task}"),
        Message::Source { key } => key.clone(),
    };
    let messages = parse(body, &place()).unwrap();
    assert_eq!(messages.iter().map(print).collect::<Vec<_>>(), expected, "{body}");
}

#[test]
fn our_own_messages_go_both_ways() {
    check(&task("foo-20261120T172500Z", 3), &["foo-20261120T172500Z#3"]);
    check(&source("uploads/a b/é+.MP4"), &["uploads/a b/é+.MP4"]);
    check(&source("jobs/foo/plan.json"), &[]);
    check(r#"{"live360":"task","job":"foo","task":0,"later":true}"#, &["foo#0"]);
}

#[test]
fn every_record_of_an_event_counts_and_keys_are_decoded() {
    let put = "ObjectCreated:Put";
    check(
        &s3(&[
            (put, "masters", "live/360/uploads/a+b.mp4"),
            ("ObjectCreated:CompleteMultipartUpload", "masters", "live%2F360%2Fuploads%2F%C3%A9%2B%25.MOV"),
            ("s3:ObjectCreated:Copy", "masters", "live/360/rec/foo/s-1/ended.json"),
        ]),
        &["uploads/a b.mp4", "uploads/é+%.MOV", "rec/foo/s-1/ended.json"],
    );
    let long = format!("{}.mp4", "x".repeat(240));
    check(&s3(&[(put, "masters", &format!("live/360/uploads/{long}"))]), &[&format!("uploads/{long}")]);
    check(&s3(&[(put, "masters", "live/360/uploads/100%.mp4")]), &["uploads/100%.mp4"]);
}

#[test]
fn what_is_no_source_of_ours_is_done_with() {
    let put = "ObjectCreated:Put";
    for (name, bucket, key) in [
        ("ObjectRemoved:Delete", "masters", "live/360/uploads/a.mp4"),
        (put, "others", "live/360/uploads/a.mp4"),
        (put, "masters", "uploads/a.mp4"),
        (put, "masters", "live/3600/uploads/a.mp4"),
        (put, "masters", "live/360/jobs/foo/plan.json"),
        (put, "masters", "live/360/rec/foo/s-1/0.flv"),
        (put, "masters", "live/360/uploads/../x"),
        (put, "masters", "live/360/uploads/"),
        (put, "masters", "live/360/uploads/folder/"),
        (put, "masters", ""),
    ] {
        check(&s3(&[(name, bucket, key)]), &[]);
    }
    check(&s3(&[]), &[]);
    check(r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"x","Bucket":"masters"}"#, &[]);
    let folder = parse(&s3(&[(put, "masters", "uploads/a.mp4")]), &"file:/srv".parse().unwrap());
    assert_eq!(folder, Ok(Vec::new()));
}

#[test]
fn keys_of_event_bridge_are_not_encoded() {
    check(&bridge("Object Created", "masters", "live/360/uploads/a+b %41.mp4"), &["uploads/a+b %41.mp4"]);
    check(&bridge("Object Deleted", "masters", "live/360/uploads/a.mp4"), &[]);
    check(&bridge("Object Created", "others", "live/360/uploads/a.mp4"), &[]);
}

#[test]
fn a_whole_bucket_has_no_prefix_to_strip() {
    let place: Place = "s3://masters".parse().unwrap();
    let messages = parse(&s3(&[("ObjectCreated:Put", "masters", "uploads/a.mp4")]), &place);
    assert_eq!(messages, Ok(vec![Message::Source { key: "uploads/a.mp4".to_owned() }]));
}

#[test]
fn garbage_is_named() {
    let check = |body: &str, expected: &str| {
        let words = parse(body, &place()).unwrap_err().to_string();
        assert_eq!(words, format!("a message that no worker understands: {expected}"), "{body}");
    };
    check("", "it is no JSON");
    check("hello", "it is no JSON");
    check("[]", "it is JSON of another kind");
    check("{}", "it is JSON of another kind");
    check(r#"{"live360":"dance"}"#, "it is neither a task nor a source of live360");
    check(r#"{"live360":"task","job":"foo","task":-1}"#, "it is neither a task nor a source of live360");
    check(r#"{"live360":"task","job":"../foo","task":1}"#, "a task whose job has no name that a job can have");
    check(r#"{"Records":7}"#, "its Records are no list");
    check(r#"{"Records":[{"eventName":"ObjectCreated:Put"}]}"#, "a record without event, bucket or key");
    check(&s3(&[("ObjectCreated:Put", "masters", "live/360/uploads/%FF")]), "a key that is no UTF-8");
    check(r#"{"source":"aws.s3","detail-type":"Object Created"}"#, "an event of EventBridge without detail");
    check(
        r#"{"source":"aws.s3","detail-type":"Object Created","detail":{}}"#,
        "an event of EventBridge without bucket or key",
    );
    check(&s3(&vec![("ObjectCreated:Put", "x", "y"); 1001]), "it has more than 1000 records");
    check(&" ".repeat(BODY_BYTES_MAX + 1), "it is longer than 1 MiB");
}

proptest! {
    #[test]
    fn no_body_panics(body: String) {
        let _ = parse(&body, &place());
    }

    #[test]
    fn no_key_panics_and_what_comes_out_is_a_source(key: String) {
        for body in [s3(&[("ObjectCreated:Put", "masters", &format!("live/360/{key}"))]), bridge("Object Created", "masters", &key)] {
            for message in parse(&body, &place()).into_iter().flatten() {
                let Message::Source { key } = message else { panic!("a task out of an event") };
                prop_assert!(source::kind(&key).is_some());
            }
        }
    }
}
