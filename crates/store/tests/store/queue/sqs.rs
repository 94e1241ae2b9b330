//! Servers that speak SQS hold what is promised; credentials are found the AWS way: by the environment.

use super::suite;
use crate::again;
use crate::servers::Server;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use store::{Depth, Limits, Queue, QueueSettings};

/// What stands in for an account, and keeps the machine's own out. No region and no endpoint: the queue's URL leads there.
const AWS: [(&str, &str); 5] = [
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_SECRET_ACCESS_KEY", "test"),
    ("AWS_CONFIG_FILE", "/nonexistent"),
    ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];

const NOT_OURS: [&str; 6] = [
    "AWS_PROFILE",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_SQS",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
];

/// Accounts of the two servers.
const MINISTACK: &str = "000000000000";
const MOTO: &str = "123456789012";

/// Makes a queue; attributes are JSON.
fn make(server: &Server, name: &str, attributes: &str) {
    let signature = "authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/sqs/aws4_request";
    let asked = format!("{{\"QueueName\": \"{name}\", \"Attributes\": {attributes}}}");
    let (kind, target) = ("content-type: application/x-amz-json-1.0", "x-amz-target: AmazonSQS.CreateQueue");
    let mut curl = Command::new("curl");
    curl.args(["-sSf", "-o", "/dev/null", "-H", signature, "-H", kind, "-H", target, "-d", &asked, server.url()]);
    let status = curl.status().unwrap();
    assert!(status.success(), "{name}: {status}");
}

/// The queues that the suite uses, of which one sets aside what was received twice.
fn make_all(server: &Server, account: &str) {
    make(server, "jobs", "{}");
    make(server, "dead", "{}");
    let arn = format!("arn:aws:sqs:us-east-1:{account}:dead");
    let policy = format!("{{\\\"deadLetterTargetArn\\\": \\\"{arn}\\\", \\\"maxReceiveCount\\\": 2}}");
    make(server, "mortal", &format!("{{\"RedrivePolicy\": \"{policy}\"}}"));
}

/// Runs a test of this file again; its role is where the queues are.
fn run_again(test: &str, queues: &str, more: &[(&str, &str)]) {
    let mut command = again::command(test, queues);
    for name in NOT_OURS {
        command.env_remove(name);
    }
    let status = command.envs(AWS).envs(more.iter().copied()).status().unwrap();
    assert!(status.success(), "{status}");
}

async fn open(queues: &str, name: &str) -> Queue {
    Queue::open(&format!("{queues}/{name}"), Path::new("/nonexistent")).await.unwrap()
}

async fn all(queues: &str, simple: bool) {
    suite::all(&open(queues, "jobs").await, simple).await;
    suite::mortal(&open(queues, "mortal").await).await;
    let error = open(queues, "jobs").await.dead_letters().await.unwrap_err();
    assert!(!error.is_away() && error.to_string().contains("redrive policy"), "{error}");
    a_queue_that_is_not_there_is_no_empty_one(&open(queues, "nosuch").await).await;
    a_server_that_is_not_there_is_away().await;
}

async fn a_server_that_is_not_there_is_away() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = QueueSettings { limits: Limits::QUICK, ..QueueSettings::default() };
    let url = format!("http://127.0.0.1:{port}/0/jobs");
    let queue = Queue::open_with(&url, Path::new("/nonexistent"), settings).await.unwrap();
    for error in [
        queue.send("x", None).await.unwrap_err(),
        queue.receive(1, suite::SHORT, suite::LONG).await.unwrap_err(),
        queue.depth().await.unwrap_err(),
        queue.dead_letters().await.unwrap_err(),
    ] {
        assert!(error.is_away() && error.to_string().contains(&url), "{error}");
    }
}

async fn a_queue_that_is_not_there_is_no_empty_one(queue: &Queue) {
    let error = queue.send("x", None).await.unwrap_err();
    assert!(!error.is_away() && error.to_string().contains("/nosuch"), "{error}");
    let error = queue.receive(1, Duration::ZERO, suite::LONG).await.unwrap_err();
    assert!(!error.is_away() && !error.is_lost(), "{error}");
    let error = queue.depth().await.unwrap_err();
    assert!(!error.is_away() && !error.is_lost(), "{error}");
}

#[tokio::test]
async fn ministack_holds_what_is_promised() {
    if let Some(queues) = again::role() {
        return all(&queues, false).await;
    }
    let server = Server::ministack();
    make_all(&server, MINISTACK);
    let queues = format!("{}/{MINISTACK}", server.url());
    run_again("queue::sqs::ministack_holds_what_is_promised", &queues, &[]);
}

#[tokio::test]
async fn moto_holds_what_is_promised() {
    if let Some(queues) = again::role() {
        // It gives out messages without a lock, on many threads.
        return all(&queues, true).await;
    }
    let server = Server::moto();
    make_all(&server, MOTO);
    run_again("queue::sqs::moto_holds_what_is_promised", &format!("{}/{MOTO}", server.url()), &[]);
}

#[tokio::test]
async fn a_queue_of_aws_is_asked_where_the_environment_says() {
    if let Some(queues) = again::role() {
        return suite::brief(&open(&queues, "jobs").await).await;
    }
    let server = Server::ministack();
    make(&server, "jobs", "{}");
    let queues = format!("https://sqs.us-east-1.amazonaws.com/{MINISTACK}");
    for name in ["AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL"] {
        let test = "queue::sqs::a_queue_of_aws_is_asked_where_the_environment_says";
        run_again(test, &queues, &[(name, server.url())]);
    }
}

#[tokio::test]
async fn a_queue_without_doubles_takes_a_word_once() {
    if let Some(queues) = again::role() {
        let queue = open(&queues, "jobs.fifo").await;
        for word in [Some("one"), Some("two"), Some("one"), None, None] {
            queue.send("x", word).await.unwrap();
        }
        assert_eq!(queue.depth().await.unwrap(), Depth { visible: 4, in_flight: 0 });
        // None waits for another.
        assert_eq!(queue.receive(10, suite::SHORT, suite::LONG).await.unwrap().len(), 4);
        return;
    }
    let server = Server::ministack();
    make(&server, "jobs.fifo", "{\"FifoQueue\": \"true\"}");
    let queues = format!("{}/{MINISTACK}", server.url());
    run_again("queue::sqs::a_queue_without_doubles_takes_a_word_once", &queues, &[]);
}
