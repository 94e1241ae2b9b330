//! Buckets hold what is promised, found the AWS way: by the environment.

use crate::servers::Server;
use crate::{again, suite};
use std::process::Command;
use store::{Limits, Objects};

/// What stands in for an account, and keeps the machine's own out.
const AWS: [(&str, &str); 5] = [
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_SECRET_ACCESS_KEY", "test"),
    ("AWS_CONFIG_FILE", "/nonexistent"),
    ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];

/// Runs a test of this file again with an environment that leads to `server`.
fn run_again(test: &str, server: &Server, more: &[(&str, &str)]) {
    server.make_bucket("abc");
    let mut command = again::command(test, "suite");
    for name in ["AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN"] {
        command.env_remove(name);
    }
    succeed(command.envs(AWS).envs(more.iter().copied()));
}

fn succeed(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn ministack_holds_what_is_promised() {
    if again::role().is_some() {
        return suite::bucket("s3://abc/some/prefix", false).await;
    }
    let server = Server::ministack();
    let env = [("AWS_ENDPOINT_URL_S3", server.url()), ("AWS_REGION", "us-east-1")];
    run_again("bucket::ministack_holds_what_is_promised", &server, &env);
}

#[tokio::test]
async fn moto_holds_what_is_promised() {
    if again::role().is_some() {
        // It looks first and writes then, on many threads: of several writers at once more than one may win there.
        return suite::bucket("s3://abc", true).await;
    }
    // Without a region: a server that is no AWS has none.
    let server = Server::moto();
    run_again("bucket::moto_holds_what_is_promised", &server, &[("AWS_ENDPOINT_URL", server.url())]);
}

#[tokio::test]
async fn a_bucket_behind_tls_is_one_too_if_its_certificate_is_trusted() {
    const TEST: &str = "bucket::a_bucket_behind_tls_is_one_too_if_its_certificate_is_trusted";
    match again::role().as_deref() {
        None => {}
        Some("trusted") => return suite::brief("s3://abc").await,
        Some(_) => {
            let objects = Objects::open("s3://abc", Limits::QUICK).await.unwrap();
            let error = objects.get("a").await.unwrap_err().to_string();
            return assert!(error.contains("certificate"), "{error}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let made = |name| {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        (file(&format!("{name}.crt"), made.cert.pem()), file(&format!("{name}.key"), made.signing_key.serialize_pem()))
    };
    let ((certificate, key), (other, _)) = (made("own"), made("other"));
    let server = Server::ministack_tls(&certificate, &key);
    assert!(server.url().starts_with("https://"));
    server.make_bucket("abc");
    for (role, trusted) in [("trusted", &certificate), ("not trusted", &other)] {
        let env =
            [("AWS_ENDPOINT_URL", server.url()), ("AWS_REGION", "us-east-1"), ("SSL_CERT_FILE", trusted.as_str())];
        succeed(again::command(TEST, role).envs(AWS).envs(env));
    }
}
