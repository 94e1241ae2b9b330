//! The same where the stores are buckets and the queue is SQS.

use super::*;
use e2e::bucket::Buckets;

/// Buckets and a queue of one job's own, and its files on this machine.
struct Cloud {
    buckets: Arc<Buckets>,
    number: u64,
    sets: Vec<String>,
    dir: Arc<TempDir>,
}

fn ingest(number: u64) -> String {
    format!("ingest-{number}")
}

fn egress(number: u64) -> String {
    format!("egress-{number}")
}

impl Cloud {
    /// The buckets are there; the queue is made, and told of uploads.
    async fn new(buckets: &Arc<Buckets>, number: u64) -> Self {
        let (buckets, name) = (buckets.clone(), format!("jobs-{number}"));
        let queue = buckets.queue(&name).await;
        buckets.notify(&ingest(number), &name, "uploads/").await;
        let own = [
            format!("storage.ingest=\"s3://{}\"", ingest(number)),
            format!("storage.egress=\"s3://{}\"", egress(number)),
            format!("queue.url=\"{queue}\""),
        ];
        let sets = SETS.iter().map(|set| (*set).to_owned()).chain(own).collect();
        Self { buckets, number, sets, dir: fresh() }
    }

    async fn start(&self, more: &[&str]) -> Server {
        let env = self.buckets.env();
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let sets: Vec<&str> = self.sets.iter().map(String::as_str).chain(more.iter().copied()).collect();
        Server::start_with("transcoder", &sets, &env, self.dir.clone()).await
    }

    async fn keys(&self, prefix: &str, end: &str) -> Vec<String> {
        // The server is Python's: asked all the time, it would leave the encoders little of this machine.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let bucket = if prefix.starts_with("vod/") { egress(self.number) } else { ingest(self.number) };
        let mut keys = self.buckets.keys(&bucket, prefix).await;
        keys.retain(|key| key.ends_with(end));
        keys
    }

    /// The asset's media, by their names below its folder.
    async fn media(&self) -> Files {
        let mut files = Files::new();
        for key in self.keys("vod/", "").await {
            let name = key.splitn(3, '/').nth(2).expect("a file of an asset").to_owned();
            if !name.ends_with(".m3u8") {
                files.insert(name, self.buckets.bytes(&egress(self.number), &key).await);
            }
        }
        files
    }
}

impl Scene for Cloud {
    async fn segments(&self) -> usize {
        self.keys("vod/", ".m4s").await.len()
    }

    async fn is_finished(&self) -> bool {
        !self.keys("jobs/", "/finished.json").await.is_empty()
    }

    async fn worker(&self) -> Server {
        self.start(&[]).await
    }
}

async fn cloud(jobs: u64) -> Arc<Buckets> {
    let names: Vec<String> = (1..=jobs).flat_map(|number| [ingest(number), egress(number)]).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Arc::new(Buckets::start(&names).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_buckets_that_is_killed_at_fifty_moments_makes_the_same_bytes() {
    let own = TempDir::new().expect("a temporary folder");
    let media = own.path().join("source.mp4");
    make_media(&source(90), &media).await;
    // Playlists say when an upload was made, which a bucket decides.
    let mut reference = undisturbed(&media).await;
    reference.retain(|name, _| !name.ends_with(".m3u8"));
    let reference = Arc::new(reference);
    let buckets = cloud(JOBS as u64).await;
    let mut jobs = JoinSet::new();
    for seed in 1..=JOBS as u64 {
        let (media, reference, buckets) = (media.clone(), reference.clone(), buckets.clone());
        jobs.spawn(async move {
            let scene = Cloud::new(&buckets, seed).await;
            buckets.put(&ingest(seed), "uploads/a%20film%20%C3%A9%2B1.MP4", &media).await;
            let kills = harass(&scene, seed * 0x2545_F491).await;
            let mut last = scene.worker().await;
            let finished = wait_within(JOB_DEADLINE, "the job to be finished", || async {
                scene.is_finished().await.then_some(())
            });
            if tokio::time::timeout(JOB_DEADLINE * 9 / 10, finished).await.is_err() {
                panic!("job {seed} is not finished after {kills} kills:\n{}", last.log());
            }
            assert_same(&reference, &scene.media().await);
            assert_eq!(scene.keys("jobs/", "/plan.json").await.len(), 1);
            last.assert_well();
            kills
        });
    }
    let kills: usize = jobs.join_all().await.into_iter().sum();
    println!("{kills} kills");
    assert!(kills >= KILLS * 4 / 5, "only {kills} kills came before the jobs were finished");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_back_in_the_queue_when_the_machine_is_taken_away() {
    let own = TempDir::new().expect("a temporary folder");
    let media = own.path().join("source.mp4");
    make_media(&source(48), &media).await;
    let buckets = cloud(1).await;
    let scene = Cloud::new(&buckets, 1).await;
    buckets.put(&ingest(1), "uploads/film.mp4", &media).await;
    let metadata = Metadata::start().await;
    let place = format!("machine.metadata={}", metadata.url());
    // Nothing comes back by itself within this test.
    let worker = scene.start(&["transcoder.hold_s=3600", &place]).await;
    wait_within(JOB_DEADLINE, "the job to begin", || async { (scene.segments().await > 0).then_some(()) }).await;
    metadata.interrupt(&time_in(Duration::from_secs(120)));
    assert_eq!(worker.exit().await, Some(0));
    let mut next = scene.worker().await;
    wait_within(JOB_DEADLINE, "the job to be finished", || async { scene.is_finished().await.then_some(()) }).await;
    next.assert_well();
}
