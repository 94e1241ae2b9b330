//! The stack of `deploy/aws`, made by a stand-in for AWS, with the real program on its machines: what their user data give
//! it as its configuration, over the buckets, the queue and the notifications that the template made.
//!
//! What the stand-in does not know (addresses, machines, CloudFront itself) is held by `deploy/aws/checks`. Nor does it hold
//! anybody to his role: what each machine asks for is noted, and looked for in what its role allows.

mod rights;

use e2e::bucket::{Buckets, python};
use e2e::witness::Witness;
use e2e::{Ffmpeg, JOB_DEADLINE, Server, Source, make_media, tool, wait_for, wait_within};
use rights::{Deed, allows, deed};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// Listeners that would be open to everybody, at the same port on each machine.
const OPEN: [&str; 2] = ["origin.rtmps", "admin.https"];

/// Small pictures and little effort. Whoever is killed leaves at once, and is in no target group.
const SETS: [&str; 7] = [
    "ladder=[\"source\"]",
    "vod.ladder=[\"source\", \"160w 100k\"]",
    "vod.effort=veryfast",
    "origin.reconnect_s=0",
    "edge.https=127.0.0.1:0",
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
        let local = |line: &str| match OPEN.iter().find(|key| line.starts_with(**key)) {
            Some(key) => format!("{key} = \"127.0.0.1:0\""),
            None => line.to_owned(),
        };
        let file = self.etc.path().join(format!("{tier}.toml"));
        std::fs::write(&file, text.lines().map(local).collect::<Vec<_>>().join("\n")).expect("a file");
        file
    }

    /// The program on a machine of this kind.
    async fn machine(&self, tier: &'static str, more: &[&str]) -> Machine {
        let door = Witness::before(self.buckets.url().trim_start_matches("http://")).await;
        let mut env = self.buckets.env();
        env.retain(|(name, _)| !name.starts_with("AWS_ENDPOINT_URL"));
        env.push(("AWS_ENDPOINT_URL", door.url()));
        env.push(("CREDENTIALS_DIRECTORY", self.etc.path().display().to_string()));
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let dir = Arc::new(TempDir::new().expect("a temporary folder"));
        let server = Server::configured(tier, &self.config(tier), &[&SETS, more].concat(), &env, dir).await;
        Machine { tier, server, door }
    }

    /// Waits until so many jobs are finished.
    async fn finished(&self, count: usize) {
        wait_within(JOB_DEADLINE, "jobs to be finished", || async {
            let keys = self.buckets.keys(self.output("IngestBucket"), "jobs/").await;
            (keys.iter().filter(|key| key.ends_with("/finished.json")).count() >= count).then_some(())
        })
        .await;
    }

    /// Panics if a machine is unwell, tells a secret, or did what its role doesn't allow. Gives what it did.
    fn assert_honest(&self, machine: &mut Machine) -> BTreeSet<Deed> {
        machine.server.assert_well();
        for secret in self.made["secrets"].as_object().expect("secrets").values() {
            assert!(!machine.server.log().contains(secret.as_str().expect("text")), "a secret in the log");
        }
        let queue = "arn:aws:sqs:us-east-1:000000000000:live360-jobs";
        let deeds: BTreeSet<Deed> = machine.door.asked().iter().map(|asked| deed(asked, queue)).collect();
        let may = &self.made["rights"][machine.tier];
        let wrong: Vec<&Deed> = deeds.iter().filter(|deed| !allows(may, deed)).collect();
        assert!(wrong.is_empty(), "the role of {} does not allow {wrong:#?}", machine.tier);
        deeds
    }
}

/// A machine of a kind, and the door by which it comes to AWS.
struct Machine {
    tier: &'static str,
    server: Server,
    door: Witness,
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_and_streams_can_be_watched_by_the_rights_that_the_stack_gives() {
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
    stack.finished(1).await;
    // Only now: origins look seldom whether there is something new in the list of recordings.
    let mut origin = stack.machine("origin", &[]).await;
    let origins = format!("edge.origins=[\"http://{}\"]", origin.server.addr("origin_http"));
    let mut edge = stack.machine("edge", &[&origins]).await;
    let viewer = edge.server.viewer();
    let id = wait_for("the upload to be listed as ready", || async {
        let list = viewer.json("/api/streams").await;
        let asset = list["assets"].as_array()?.iter().find(|asset| asset["state"] == "ready")?.clone();
        asset["id"].as_str().map(str::to_owned)
    })
    .await;
    assert!(id.starts_with("a-film-"), "{id}");
    let text = async |path: &str| String::from_utf8(viewer.fetch(path).await.to_vec()).expect("text");
    let first = |playlist: &str| playlist.lines().find(|line| !line.starts_with('#')).expect("an address").to_owned();
    let rendition = first(&text(&format!("/vod/{id}/index.m3u8")).await);
    let segment = first(&text(&format!("/vod/{id}/{rendition}")).await);
    let folder = rendition.rsplit_once('/').expect("a folder").0;
    assert!(!viewer.fetch(&format!("/vod/{id}/{folder}/{segment}")).await.is_empty());

    // A stream is recorded by the rights of origins, and made better by those of transcoders.
    let key = stack.made["secrets"]["publish_key"].as_str().expect("text");
    let sent = Ffmpeg::send_file(&film, &origin.server.rtmp(&format!("foo?key={key}")), &[]).wait().await;
    assert!(sent.0, "{}", sent.1);
    stack.finished(2).await;
    let dead = stack.buckets.messages(stack.output("DeadJobsQueue")).await;
    assert!(dead.is_empty(), "{dead:?}");
    for (machine, did) in [
        (&mut origin, "s3:PutObject s3:GetObject s3:ListBucket"),
        (&mut edge, "s3:GetObject"),
        (&mut worker, "sqs:ReceiveMessage sqs:SendMessage sqs:DeleteMessage s3:PutObject s3:GetObject s3:ListBucket"),
    ] {
        let deeds = stack.assert_honest(machine);
        for action in did.split(' ') {
            assert!(deeds.iter().any(|(done, _)| done == action), "{} did no {action}", machine.tier);
        }
    }
}
