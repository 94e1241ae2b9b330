//! An edge whose machine is taken away: nobody who is being served loses anything.

use e2e::balancer::{Balancer, Deregistration};
use e2e::metadata::{INSTANCE, Metadata, time_in};
use e2e::origin::{NEXT, PLAYLIST, SLOW, StillOrigin, slow_bytes};
use e2e::{Reply, Server, wait_for};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

const GROUP: &str = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/edges/0123456789abcdef";

/// Viewers who wait for the next part.
const PARKED: usize = 20;

/// An edge on a machine of EC2's, behind a balancer, before an origin.
struct Scene {
    origin: StillOrigin,
    metadata: Metadata,
    balancer: Balancer,
    server: Server,
}

/// Viewers whose answers are under way.
struct Audience {
    download: JoinHandle<Reply>,
    parked: Vec<JoinHandle<Reply>>,
}

impl Scene {
    async fn start(metadata: Metadata, balancer: Balancer, sets: &[&str]) -> Self {
        let origin = StillOrigin::start().await;
        let own = [
            format!("edge.origins=[\"{}\"]", origin.url()),
            format!("machine.metadata={}", metadata.url()),
            format!("edge.target_group={GROUP}"),
            "edge.leave_s=0".to_owned(),
        ];
        let sets: Vec<&str> = own.iter().map(String::as_str).chain(sets.iter().copied()).collect();
        let url = balancer.url();
        let env = [
            ("AWS_ENDPOINT_URL", url.as_str()),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ];
        let dir = Arc::new(tempfile::TempDir::new().expect("a temporary folder"));
        let server = Server::start_with("edge", &sets, &env, dir).await;
        Self { origin, metadata, balancer, server }
    }

    /// A download that has come half way, and viewers who are parked.
    async fn audience(&self) -> Audience {
        let get = |target: String| {
            let viewer = self.server.viewer();
            tokio::spawn(async move { viewer.get(&target).await })
        };
        let download = get(SLOW.to_owned());
        self.origin.asked(SLOW).await;
        let parked: Vec<_> = (0..PARKED).map(|_| get(format!("{PLAYLIST}?{NEXT}"))).collect();
        self.origin.asked(&format!("{PLAYLIST}?_HLS_msn=9")).await;
        let admin = self.server.admin();
        let connected = format!("live360_http_connections{{listener=\"edge\"}} {}\n", PARKED + 1);
        wait_for("every viewer to be connected", || async {
            let metrics = admin.get("/metrics").await.text();
            metrics.contains(&connected).then_some(())
        })
        .await;
        Audience { download, parked }
    }

    async fn readyz(&self) -> u16 {
        self.server.admin().get("/readyz").await.status.as_u16()
    }
}

/// Takes the machine away as `notice` says; everybody must be served to the end.
async fn loses_nobody(notice: impl FnOnce(&Metadata)) {
    let scene = Scene::start(Metadata::start().await, Balancer::held().await, &[]).await;
    let mut audience = scene.audience().await;
    assert_eq!((scene.readyz().await, scene.balancer.asked()), (200, vec![]));
    notice(&scene.metadata);

    let told = scene.balancer.first().await;
    assert_eq!(told, Deregistration { group: GROUP.to_owned(), target: INSTANCE.to_owned() });
    assert_eq!(scene.readyz().await, 503);
    assert_eq!(scene.server.admin().get("/healthz").await.status, 200);
    // Until the balancer knows, everything is as before.
    assert_eq!(scene.server.viewer().get(PLAYLIST).await.status, 200);
    assert!(audience.parked.iter().all(|viewer| !viewer.is_finished()));

    scene.balancer.release();
    for viewer in audience.parked.drain(..) {
        let reply = viewer.await.expect("no panic");
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(reply.text().contains("9.0.m4s"), "{}", reply.text());
    }
    assert!(!audience.download.is_finished());
    scene.origin.release();
    let reply = audience.download.await.expect("no panic");
    assert_eq!(reply.status, 200);
    assert!(reply.body == slow_bytes(), "{} bytes came", reply.body.len());
    assert_eq!(scene.server.exit().await, Some(0));
}

#[tokio::test]
async fn a_spot_interruption_loses_nobody() {
    loses_nobody(|metadata| metadata.interrupt(&time_in(Duration::from_secs(120)))).await;
}

#[tokio::test]
async fn an_auto_scaling_group_that_shrinks_loses_nobody() {
    loses_nobody(Metadata::terminate).await;
}

#[tokio::test]
async fn a_recommendation_to_rebalance_is_shown_and_nobody_leaves() {
    let metadata = Metadata::start().await;
    metadata.recommend_rebalance();
    let scene = Scene::start(metadata, Balancer::obedient().await, &[]).await;
    let admin = scene.server.admin();
    wait_for("the recommendation to be shown", || async {
        (admin.json("/stat").await["machine"]["rebalance_recommended"] == true).then_some(())
    })
    .await;
    let metrics = admin.get("/metrics").await.text();
    assert!(metrics.contains("\nlive360_machine_rebalance_recommended 1\n"), "{metrics}");
    // In the next round nothing may follow either.
    scene.metadata.answered(1).await;
    assert_eq!((scene.readyz().await, scene.balancer.asked()), (200, vec![]));
    assert_eq!(scene.server.leave().await, Some(0));
    assert_eq!(scene.balancer.asked().len(), 1);
}

#[tokio::test]
async fn a_balancer_that_refuses_keeps_nobody_from_leaving() {
    let scene = Scene::start(Metadata::start().await, Balancer::denying().await, &["edge.target_id=10.1.2.3"]).await;
    let server = scene.server;
    server.signal("TERM").await;
    assert_eq!(scene.balancer.first().await.target, "10.1.2.3");
    let (code, log) = server.exit_and_log().await;
    assert_eq!(code, Some(0), "{log}");
    for words in ["can't leave the target group", "not allowed to perform DeregisterTargets"] {
        assert!(log.contains(words), "{words:?} is not in:\n{log}");
    }
}

#[tokio::test]
async fn the_second_signal_waits_for_nobody() {
    let scene = Scene::start(Metadata::start().await, Balancer::held().await, &[]).await;
    let _audience = scene.audience().await;
    scene.server.signal("TERM").await;
    scene.balancer.first().await;
    scene.server.signal("TERM").await;
    assert_eq!(scene.server.exit().await, Some(1));
}
