//! The stack of `deploy/aws`, made by a stand-in for AWS, with the real program on its machines: what their user data give
//! it as its configuration, over the buckets, the queue and the notifications that the template made.
//!
//! What the stand-in does not know (addresses, machines, CloudFront itself) is held by `deploy/aws/checks`.

use e2e::bucket::{Buckets, python};
use e2e::{JOB_DEADLINE, Server, Source, make_media, tool, wait_for, wait_within};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// Keys of the machines' configuration that the program does not have yet: they come with publishing and watching.
const NOT_YET: [&str; 3] = ["cluster", "publish", "watch"];

/// Small pictures and little effort. Whoever is killed leaves at once, and is in no target group.
const SETS: [&str; 4] = [
    "vod.ladder=[\"source\", \"160w 100k\"]",
    "vod.effort=veryfast",
    "edge.leave_s=0",
    "edge.target_id=i-0123456789abcdef0",
];

/// The stack, and a folder with what its machines would have below `/etc/live360`.
struct Stack {
    buckets: Buckets,
    made: Value,
    etc: TempDir,
}

impl Stack {
    async fn create() -> Self {
        let buckets = Buckets::cloud().await;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/aws/checks/create.py");
        let args = ["-B", &script.display().to_string(), &buckets.url()];
        let made = tool(&python("python").display().to_string(), &args).await;
        let made = serde_json::from_str(&buckets.reachable(&made)).expect("JSON");
        let etc = TempDir::new().expect("a temporary folder");
        let stack = Self { buckets, made, etc };
        for (name, secret) in stack.made["secrets"].as_object().expect("secrets") {
            // As systemd shows the files of `LoadCredential=secret:/etc/live360/secrets`.
            let file = stack.etc.path().join(format!("secret_{name}"));
            std::fs::write(file, secret.as_str().expect("text")).expect("a file");
        }
        stack
    }

    fn output(&self, name: &str) -> &str {
        self.made["outputs"][name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.made["outputs"]))
    }

    /// The configuration of this kind of machine.
    fn config(&self, tier: &str) -> PathBuf {
        let text = self.made["configs"][tier].as_str().expect("a configuration");
        let known = |line: &&str| !NOT_YET.iter().any(|key| line.starts_with(key));
        let file = self.etc.path().join(format!("{tier}.toml"));
        std::fs::write(&file, text.lines().filter(known).collect::<Vec<_>>().join("\n")).expect("a file");
        file
    }

    /// The program on a machine of this kind.
    async fn machine(&self, tier: &str, more: &[&str]) -> Server {
        let mut env = self.buckets.env();
        env.push(("CREDENTIALS_DIRECTORY", self.etc.path().display().to_string()));
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let dir = Arc::new(TempDir::new().expect("a temporary folder"));
        Server::configured(tier, &self.config(tier), &[&SETS, more].concat(), &env, dir).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_to_the_stacks_bucket_can_be_watched_at_its_edge() {
    let stack = Stack::create().await;
    let own = TempDir::new().expect("a temporary folder");
    let film = own.path().join("film.mp4");
    make_media(&Source { size: "320x160", seconds: 4, ..Source::default() }, &film).await;
    stack.buckets.put(stack.output("IngestBucket"), "uploads/a%20film.mp4", &film).await;
    stack.buckets.put(stack.output("IngestBucket"), "rec/foo/1/0.flv", &film).await;
    // Nobody but the bucket itself writes to the queue: no transcoder runs yet.
    let told = wait_for("the bucket to tell of the upload", || async {
        let messages = stack.buckets.messages(stack.output("JobsQueue")).await;
        messages.iter().any(|body| body.contains("\"Records\"")).then_some(messages)
    })
    .await;
    let told: Vec<&String> = told.iter().filter(|body| body.contains("\"Records\"")).collect();
    assert!(told.len() == 1 && told[0].contains("film.mp4"), "{told:?}");

    let mut worker = stack.machine("transcoder", &[]).await;
    wait_within(JOB_DEADLINE, "the upload's job to be finished", || async {
        let keys = stack.buckets.keys(stack.output("IngestBucket"), "jobs/").await;
        keys.iter().any(|key| key.ends_with("/finished.json")).then_some(())
    })
    .await;
    // Only now: origins look seldom whether there is something new in the list of recordings.
    let mut origin = stack.machine("origin", &[]).await;
    let origins = format!("edge.origins=[\"http://{}\"]", origin.addr("origin_http"));
    let mut edge = stack.machine("edge", &[&origins]).await;
    let id = wait_for("the upload to be listed as ready", || async {
        let list = edge.viewer().json("/api/streams").await;
        let asset = list["assets"].as_array()?.iter().find(|asset| asset["state"] == "ready")?.clone();
        asset["id"].as_str().map(str::to_owned)
    })
    .await;
    assert!(id.starts_with("a-film-"), "{id}");
    let viewer = edge.viewer();
    let multivariant = String::from_utf8(viewer.fetch(&format!("/vod/{id}/index.m3u8")).await.to_vec()).expect("text");
    let rendition = multivariant.lines().find(|line| !line.starts_with('#')).expect("a rendition").to_owned();
    let folder = format!("/vod/{id}/{}", rendition.rsplit_once('/').expect("a folder").0);
    let playlist = String::from_utf8(viewer.fetch(&format!("/vod/{id}/{rendition}")).await.to_vec()).expect("text");
    let segment = playlist.lines().find(|line| !line.starts_with('#')).expect("a segment");
    assert!(!viewer.fetch(&format!("{folder}/{segment}")).await.is_empty());
    let dead = stack.buckets.messages(stack.output("DeadJobsQueue")).await;
    assert!(dead.is_empty(), "{dead:?}");
    for server in [&mut origin, &mut edge, &mut worker] {
        server.assert_well();
        assert!(
            !server.log().contains(stack.made["secrets"]["admin_token"].as_str().expect("text")),
            "a secret in the log"
        );
    }
}
