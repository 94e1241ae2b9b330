//! A bucket whose server misbehaves: what is tried again, what is given up, and what is said about it.

mod server;

use super::*;
use aws_config::{Region, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use server::{Reply, Request, Server};
use std::time::Duration;
use tokio::task::JoinSet;

/// Waits that a test can afford. Nothing here depends on how long they are.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(1),
    attempt: Duration::from_millis(300),
    operation: Duration::from_secs(5),
    attempts: 3,
    pause: Duration::from_millis(1),
    stall: Duration::from_millis(300),
};

const SECRET: &str = "hunter2";

fn store(server: &Server) -> S3 {
    store_with(server, LIMITS)
}

fn store_with(server: &Server, limits: Limits) -> S3 {
    let config = SdkConfig::builder()
        .behavior_version(open::behavior())
        .http_client(open::http_client())
        .endpoint_url(server.url())
        .region(Region::from_static("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new("AKIATEST", SECRET, None, None, "test")))
        .sleep_impl(aws_sdk_s3::config::SharedAsyncSleep::new(aws_smithy_async::rt::sleep::TokioSleep::new()))
        .build();
    S3::with(&config, "abc", "p", limits).unwrap()
}

/// What S3 says when it refuses.
fn refusal(status: u16, code: &str) -> Reply {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>Oh.</Message></Error>");
    Reply::answer(status, &[("content-type", "application/xml")], &body)
}

fn no_content() -> Reply {
    Reply::answer(200, &[("etag", "\"e\"")], "")
}

/// Every operation against a server that always does the same.
async fn errors(reply: impl Fn() -> Reply + Send + Sync + 'static) -> Vec<Error> {
    let server = Server::start(move |_| reply()).await;
    let store = store(&server);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "x").unwrap();
    let body = || Bytes::from_static(b"x");
    vec![
        store.create("k", body(), "text/plain").await.unwrap_err(),
        store.put("k", body(), "text/plain").await.unwrap_err(),
        store.put_file("k", file.path(), 1, "text/plain").await.unwrap_err(),
        store.get("k").await.unwrap_err(),
        store.list("f").next().await.unwrap_err(),
        store.remove("k").await.unwrap_err(),
    ]
}

#[tokio::test]
async fn a_server_that_fails_or_says_nothing_is_away() {
    let replies = [
        ("500", refusal(500, "InternalError")),
        ("503", refusal(503, "SlowDown")),
        ("no S3", Reply::answer(502, &[], "<html>Bad gateway")),
        ("silent", Reply::Silence),
        ("closes", Reply::Close),
        ("garbage", Reply::Raw("SSH-2.0-x\r\n".to_owned())),
    ];
    let mut all = JoinSet::new();
    for (name, reply) in replies {
        all.spawn(async move { (name, errors(move || reply.clone()).await) });
    }
    for (name, errors) in all.join_all().await {
        for error in errors {
            assert!(error.is_away() && !error.is_full(), "{name}: {error}");
            let words = error.to_string();
            assert!(words.contains("s3://abc/p/") && !words.contains(SECRET), "{name}: {words}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_away() {
    let server = Server::start(|_| Reply::Close).await;
    let store = store(&server);
    drop(server);
    let error = store.get("k").await.unwrap_err();
    assert!(error.is_away() && error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn an_operation_ends_by_its_own_limit_whatever_its_attempts_may_take() {
    let server = Server::start(|_| Reply::Silence).await;
    let hour = Duration::from_secs(3600);
    let limits = Limits { attempt: hour, stall: hour, operation: Duration::from_millis(100), ..LIMITS };
    let error = store_with(&server, limits).get("k").await.unwrap_err();
    assert!(error.is_away(), "{error}");
}

#[tokio::test]
async fn a_refusal_is_neither_away_nor_absence() {
    for (status, code) in [(403, "AccessDenied"), (404, "NoSuchBucket"), (400, "InvalidArgument")] {
        for error in errors(move || refusal(status, code)).await {
            assert!(!error.is_away() && !error.is_full(), "{error}");
            assert!(error.to_string().contains(code), "{error}");
        }
    }
}

#[tokio::test]
async fn a_server_without_room_is_full() {
    for error in errors(|| refusal(507, "XMinioStorageFull")).await {
        assert!(error.is_full() && !error.is_away(), "{error}");
    }
}

#[tokio::test]
async fn a_conflict_is_tried_again_until_it_is_decided() {
    let server = Server::start(|request: &Request| match request.number {
        0 | 1 => refusal(409, "ConditionalRequestConflict"),
        _ => no_content(),
    })
    .await;
    assert_eq!(store(&server).create("k", "x".into(), "text/plain").await.unwrap(), Creation::Created);
    assert_eq!(server.seen().len(), 3);
    assert!(server.seen().iter().all(|request| request.header("if-none-match") == Some("*")));

    let server = Server::start(|_| refusal(409, "ConditionalRequestConflict")).await;
    let error = store(&server).create("k", "x".into(), "text/plain").await.unwrap_err();
    assert!(error.is_away(), "{error}");
    assert_eq!(server.seen().len(), 3);
}

/// A server on which a write's answer was lost, the next attempt finds the object there, and `writer` wrote it.
async fn lost(writer: fn(&Request) -> String) -> Creation {
    let first = std::sync::OnceLock::new();
    let server = Server::start(move |request: &Request| match request.method() {
        "PUT" if request.number == 0 => {
            first.get_or_init(|| writer(request));
            Reply::Close
        }
        "PUT" => refusal(412, "PreconditionFailed"),
        _ => Reply::answer(200, &[("x-amz-meta-live360-writer", first.get().unwrap())], ""),
    })
    .await;
    store(&server).create("k", "x".into(), "text/plain").await.unwrap()
}

#[tokio::test]
async fn who_created_is_told_so_even_if_the_first_answer_was_lost() {
    let ours = |request: &Request| request.header("x-amz-meta-live360-writer").unwrap().to_owned();
    assert_eq!(lost(ours).await, Creation::Created);
    assert_eq!(lost(|_| "somebody else".to_owned()).await, Creation::AlreadyThere);
}

#[tokio::test]
async fn a_body_that_stands_still_or_breaks_off_is_no_object() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\netag: \"e\"\r\n\r\n12345";
    for reply in [|head: &str| Reply::Stall(head.to_owned()), |head: &str| Reply::Raw(head.to_owned())] {
        let server = Server::start(move |_| reply(head)).await;
        let mut object = store(&server).get("k").await.unwrap().unwrap();
        assert_eq!((object.facts.bytes, object.facts.etag.as_deref()), (10, Some("\"e\"")));
        assert_eq!(object.body.next().await.unwrap().unwrap(), "12345");
        let error = object.body.next().await.unwrap().unwrap_err();
        assert!(error.is_away(), "{error}");
        assert!(object.body.next().await.is_none());
    }
}

/// A server for uploads in parts whose last step ends with `end`; the bucket has what `head` says.
fn uploads(
    end: impl Fn(usize) -> Reply + Send + Sync + 'static,
    head: fn(&Request) -> Reply,
) -> impl Fn(&Request) -> Reply + Send + Sync + 'static {
    let ends = std::sync::atomic::AtomicUsize::new(0);
    let begun = std::sync::Mutex::new(None);
    move |request| match (request.method(), request.query()) {
        ("POST", query) if query.contains("uploads") => {
            *begun.lock().unwrap() = Some(request.clone());
            let body = "<InitiateMultipartUploadResult><UploadId>U</UploadId></InitiateMultipartUploadResult>";
            Reply::answer(200, &[], body)
        }
        ("PUT", _) => no_content(),
        ("POST", _) => end(ends.fetch_add(1, std::sync::atomic::Ordering::SeqCst)),
        ("DELETE", _) => Reply::answer(204, &[], ""),
        _ => match begun.lock().unwrap().as_ref() {
            Some(begun) => head(begun),
            None => Reply::answer(404, &[], ""),
        },
    }
}

fn large() -> (tempfile::NamedTempFile, u64) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let length = WHOLE_BYTES_MAX + 1;
    file.as_file().set_len(length).unwrap();
    (file, length)
}

fn completed() -> Reply {
    Reply::answer(200, &[], "<CompleteMultipartUploadResult><ETag>\"e\"</ETag></CompleteMultipartUploadResult>")
}

#[tokio::test]
async fn an_upload_that_met_another_write_is_begun_again() {
    let (file, length) = large();
    let end = |n| if n == 0 { refusal(409, "ConditionalRequestConflict") } else { completed() };
    let server = Server::start(uploads(end, |_| Reply::answer(404, &[], ""))).await;
    let created = store(&server).create_file("k", file.path(), length, "video/mp4").await.unwrap();
    assert_eq!(created, Creation::Created);
    let seen = server.seen();
    let count = |method: &str| seen.iter().filter(|request| request.method() == method).count();
    // Two uploads of two parts each; the first was aborted, its end not just asked for again.
    assert_eq!((count("PUT"), count("POST"), count("DELETE")), (4, 4, 1));
}

#[tokio::test]
async fn an_upload_whose_last_answer_was_lost_is_known_by_its_writer() {
    let (file, length) = large();
    let end = |n| if n == 0 { Reply::Close } else { refusal(404, "NoSuchUpload") };
    let ours = |begun: &Request| {
        Reply::answer(200, &[("x-amz-meta-live360-writer", begun.header("x-amz-meta-live360-writer").unwrap())], "")
    };
    let others = |_: &Request| Reply::answer(200, &[("x-amz-meta-live360-writer", "x")], "");
    for (head, expected) in [(ours as fn(&Request) -> Reply, Creation::Created), (others, Creation::AlreadyThere)] {
        let server = Server::start(uploads(end, head)).await;
        let created = store(&server).create_file("k", file.path(), length, "video/mp4").await.unwrap();
        assert_eq!(created, expected);
    }
}

#[tokio::test]
async fn a_part_that_fails_ends_the_upload_and_leaves_nothing() {
    let (file, length) = large();
    let server = Server::start(|request: &Request| match (request.method(), request.query()) {
        ("POST", _) => Reply::answer(
            200,
            &[],
            "<InitiateMultipartUploadResult><UploadId>U</UploadId></InitiateMultipartUploadResult>",
        ),
        ("PUT", _) => refusal(403, "AccessDenied"),
        ("DELETE", _) => Reply::answer(204, &[], ""),
        _ => Reply::answer(404, &[], ""),
    })
    .await;
    let error = store(&server).create_file("k", file.path(), length, "video/mp4").await.unwrap_err();
    assert!(!error.is_away() && error.to_string().contains("AccessDenied"), "{error}");
    assert_eq!(server.seen().last().unwrap().method(), "DELETE");
}

#[test]
fn keys_from_listings_are_decoded_once_and_plus_is_a_space() {
    for (encoded, key) in
        [("a/b.m4s", "a/b.m4s"), ("a%2Fb", "a/b"), ("a+b%2Bc%20d", "a b+c d"), ("100%2525", "100%25"), ("%C3%A9", "é")]
    {
        assert_eq!(decode(encoded).as_deref(), Some(key), "{encoded}");
    }
    assert_eq!(decode("%FF"), None);
}

#[test]
fn of_a_page_only_our_keys_are_seen() {
    let object = |key: &str| aws_sdk_s3::types::Object::builder().key(key).size(3).e_tag("\"e\"").build();
    let listed = |encoding: Option<EncodingType>| {
        let listed = ListObjectsV2Output::builder().set_encoding_type(encoding);
        listed.contents(object("p/a+b")).contents(object("p/c/")).contents(object("p/.d")).contents(object("q")).build()
    };
    let keys = |listed| page(listed, "p/").into_iter().map(|entry| entry.key).collect::<Vec<_>>();
    assert_eq!(keys(listed(None)), ["a+b"]);
    assert_eq!(keys(listed(Some(EncodingType::Url))), ["a b"]);
    let entry = page(listed(None), "p/").remove(0);
    assert_eq!((entry.bytes, entry.etag.as_deref()), (3, Some("\"e\"")));
}
