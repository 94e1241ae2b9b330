//! Edges before edges: a shield, and what was never meant to be, a ring.

use crate::sim::Sim;
use crate::sim::stream::Terms;
use crate::support::{Do, Gate, Origin, Running, status, whole, within};
use crate::viewer::Viewer;
use http::Method;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// A load balancer: whoever it stands before is said later. Counts the requests that go through it.
struct Relay {
    address: SocketAddr,
    target: Arc<OnceLock<SocketAddr>>,
    requests: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl Relay {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (target, requests) = (Arc::new(OnceLock::<SocketAddr>::new()), Arc::new(AtomicUsize::new(0)));
        let (to, count) = (Arc::clone(&target), Arc::clone(&requests));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (here, _) = listener.accept().await.unwrap();
                let there = TcpStream::connect(to.get().unwrap()).await.unwrap();
                connections.spawn(pass(here, there, Arc::clone(&count)));
            }
        });
        Self { address, target, requests, _task: AbortOnDropHandle::new(task) }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn stand_before(&self, edge: &Running) {
        self.target.set(edge.address).unwrap();
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

async fn pass(here: TcpStream, there: TcpStream, count: Arc<AtomicUsize>) {
    let (mut from_here, mut to_here) = here.into_split();
    let (mut from_there, mut to_there) = there.into_split();
    let forth = async {
        let (mut buffer, mut end) = ([0; 4096], Vec::new());
        while let Ok(bytes @ 1..) = from_here.read(&mut buffer).await {
            // Requests have no bodies: each ends with an empty line, which may come in two pieces.
            end.extend_from_slice(&buffer[..bytes]);
            count.fetch_add(end.windows(4).filter(|four| four == b"\r\n\r\n").count(), Ordering::Relaxed);
            end.drain(..end.len().saturating_sub(3));
            if to_there.write_all(&buffer[..bytes]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = forth => {}
        _ = tokio::io::copy(&mut from_there, &mut to_here) => {}
    }
}

/// Everything that goes upstream in another way.
const TARGETS: [&str; 7] = [
    "/hls/foo.m3u8",
    "/hls/foo/source/index.m3u8",
    "/hls/foo/source/index.m3u8?_HLS_msn=7&_HLS_part=1",
    "/hls/foo/source/7.m4s",
    "/hls/foo/source/7.1.m4s",
    "/hls/foo/source/init-0123456789abcdef.mp4",
    "/api/streams",
];

/// Requests through a relay that one viewer's request may cause: followers of a playlist ask a few times before they
/// know better, and a failed fetch may be tried again.
const FEW: usize = 8;

/// Every address is refused through this edge, and no storm rises.
async fn check_ring(edge: &Running, relays: &[&Relay]) {
    for target in TARGETS {
        let before: usize = relays.iter().map(|relay| relay.requests()).sum();
        let got = within(target, edge.get(target)).await;
        assert_eq!((got.status.as_u16(), got.header("cache-control")), (508, "no-store"), "{target}: {}", got.text());
        let caused = relays.iter().map(|relay| relay.requests()).sum::<usize>() - before;
        assert!(caused <= FEW * relays.len(), "{target}: {caused} requests");
    }
    // A crowd makes it no worse.
    let before: usize = relays.iter().map(|relay| relay.requests()).sum();
    for got in edge.crowd(200, "/hls/foo/source/8.m4s").await {
        assert_eq!(got.status, 508, "{}", got.text());
    }
    for got in edge.crowd(200, "/hls/bar/source/index.m3u8").await {
        assert_eq!(got.status, 508, "{}", got.text());
    }
    let caused = relays.iter().map(|relay| relay.requests()).sum::<usize>() - before;
    assert!(caused <= 4 * FEW * relays.len(), "{caused} requests");
}

#[tokio::test]
async fn an_edge_that_is_its_own_origin_says_so_at_once() {
    let relay = Relay::start().await;
    let edge = Running::configured(vec![relay.url()], |_| {}).await;
    relay.stand_before(&edge);
    check_ring(&edge, &[&relay]).await;
}

#[tokio::test]
async fn edges_that_are_each_others_origins_say_so_at_once() {
    let relays = [Relay::start().await, Relay::start().await, Relay::start().await];
    let [a, b, c] = &relays;
    let mut edges = Vec::new();
    for (relay, next) in [(a, b), (b, c), (c, a)] {
        let edge = Running::configured(vec![next.url()], |_| {}).await;
        relay.stand_before(&edge);
        edges.push(edge);
    }
    for edge in &edges {
        check_ring(edge, &[a, b, c]).await;
    }
}

#[tokio::test]
async fn an_edge_with_one_good_origin_and_itself_serves_what_there_is() {
    let sim = Sim::start(Terms::default()).await;
    let relay = Relay::start().await;
    let edge = Running::configured(vec![relay.url(), sim.url()], |_| {}).await;
    relay.stand_before(&edge);
    let mut viewer = Viewer::join(edge.address, "foo", "source").await;
    sim.holds("index.m3u8?_HLS").await;
    for _ in 0..6 {
        sim.part();
        viewer.next().await;
        viewer.fetch().await;
    }
    assert!(viewer.playlist.discontinuities().is_empty());
}

#[tokio::test]
async fn edges_that_name_each_other_beside_an_origin_leave_a_stream_when_its_viewers_did() {
    let sim = Sim::start(Terms::default()).await;
    let relays = [Relay::start().await, Relay::start().await];
    let [a, b] = &relays;
    let mut edges = Vec::new();
    for (relay, next) in [(a, b), (b, a)] {
        let edge = Running::configured(vec![next.url(), sim.url()], |config| {
            config.edge.idle_s = 1;
            config.hls.segment_ms = 500;
        });
        let edge = edge.await;
        relay.stand_before(&edge);
        edges.push(edge);
    }
    let _on = sim.run();
    // A viewer at each, so that each may ask the other; for a while, so that each does.
    for _ in 0..10 {
        for edge in &edges {
            Viewer::join(edge.address, "foo", "source").await;
        }
    }
    for edge in &edges {
        edge.left_alone("foo").await;
    }
}

#[tokio::test]
async fn viewers_behind_two_edges_get_every_part_at_once() {
    let sim = Sim::start(Terms::default()).await;
    let shield = Running::before(&[&sim]).await;
    let edge = Running::configured(vec![format!("http://{}", shield.address)], |_| {}).await;
    let mut viewers = Vec::new();
    for rendition in ["source", "audio"] {
        viewers.push(Viewer::join(edge.address, "foo", rendition).await);
        sim.holds(&format!("/{rendition}/index.m3u8?_HLS")).await;
    }
    viewers.iter_mut().for_each(Viewer::begin_here);
    for _ in 0..10 {
        sim.part();
        for viewer in &mut viewers {
            viewer.next().await;
            assert_eq!(viewer.playlist.text, sim.playlist(viewer.rendition()));
            viewer.fetch().await;
        }
    }
    for viewer in &viewers {
        for ((msn, part), bytes) in &viewer.media {
            let whole = || sim.terms.segment(viewer.rendition(), *msn);
            let expected = part.map_or_else(whole, |part| sim.terms.part(viewer.rendition(), *msn, part));
            assert_eq!(bytes, &expected, "{} {msn} {part:?}", viewer.rendition());
        }
        assert!(viewer.media.len() >= 12, "{:?}", viewer.media.keys());
    }
    assert_eq!(edge.get("/hls/foo.m3u8").await.status, 200);
    // Nothing was asked for twice, whoever asked.
    let mut media: Vec<String> = sim.requests().into_iter().filter(|request| request.contains("m4s")).collect();
    let all = media.len();
    media.sort_unstable();
    media.dedup();
    assert_eq!(media.len(), all, "{:?}", sim.requests());
}

#[tokio::test]
async fn edges_behind_a_shield_cost_its_origin_one_viewer() {
    let sim = Sim::start(Terms::patient()).await;
    let shield = Running::before(&[&sim]).await;
    let shield_url = format!("http://{}", shield.address);
    let mut edges = Vec::new();
    for _ in 0..5 {
        edges.push(Running::configured(vec![shield_url.clone()], |_| {}).await);
    }
    let mut viewers = Vec::new();
    for edge in &edges {
        viewers.push(Viewer::join(edge.address, "foo", "source").await);
    }
    sim.holds("index.m3u8?_HLS").await;
    viewers.iter_mut().for_each(Viewer::begin_here);
    let before = sim.count("index.m3u8");
    for round in 1..=5 {
        sim.part();
        for viewer in &mut viewers {
            viewer.next().await;
            viewer.fetch().await;
        }
        sim.asked("index.m3u8", before + round).await;
        assert_eq!(sim.count("index.m3u8"), before + round);
    }
    for part in 0..4 {
        assert_eq!(sim.gets(&format!("/hls/foo/source/110.{part}.m4s")), 1);
    }
}

/// Edges that nobody has: with the first real one they are as many as may stand one behind the other.
const MADE_UP: [(&str, &str); 1] = [("cdn-loop", "live360-a, live360-b, live360-c")];

#[tokio::test]
async fn a_way_that_a_viewer_made_up_is_nobody_elses() {
    let sim = Sim::start(Terms::patient()).await;
    let shield = Running::before(&[&sim]).await;
    let edge = Running::configured(vec![format!("http://{}", shield.address)], |_| {}).await;
    for target in ["/hls/foo.m3u8", "/api/streams", "/hls/foo/source/105.m4s", "/hls/foo/source/index.m3u8"] {
        for _ in 0..3 {
            let got = edge.ask(Method::GET, target, &MADE_UP).await;
            assert!(got.status == 508 || target.ends_with("index.m3u8"), "{target}: {}", got.status);
        }
        // The very next one: nothing is remembered of it.
        let got = within(target, edge.get(target)).await;
        assert_eq!(got.status, 200, "{target}: {}", got.text_or_size());
    }
    // Nor does it spoil what is followed, or waited for.
    let mut viewer = Viewer::join(edge.address, "foo", "source").await;
    let next = "/hls/foo/source/110.0.m4s";
    sim.asked("index.m3u8?_HLS_msn=110&_HLS_part=0", 1).await;
    let liar = edge.ask(Method::GET, next, &MADE_UP);
    let (liar, honest, ()) = tokio::join!(liar, edge.crowd(20, next), async {
        sim.asked(next, 1).await;
        sim.part();
    });
    assert!([200, 508].contains(&liar.status.as_u16()), "{}", liar.status);
    assert!(honest.iter().all(|got| got.status == 200 && got.body == sim.terms.part("source", 110, 0)));
    viewer.next().await;
}

/// The origin holds the question of who lies about his way and then refuses it; who joined him meanwhile gets an answer.
async fn check_joined(target: &str, kind: &'static str, body: &'static str) {
    let (gate, asked) = (Gate::new(), AtomicUsize::new(0));
    let origin = {
        let gate = gate.clone();
        Origin::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
            0 => [vec![Do::Wait(gate.clone())], status(508, "a ring")].concat(),
            _ => whole(kind, "", body),
        })
        .await
    };
    let edge = Running::start(&[&origin]).await;
    let honest = async {
        origin.asked(1).await;
        let opened = async {
            // Others are answered meanwhile: these wait.
            for _ in 0..20 {
                edge.get("/healthz").await;
            }
            gate.cancel();
        };
        tokio::join!(edge.crowd(20, target), opened).0
    };
    let (_, honest) = within(target, async { tokio::join!(edge.ask(Method::GET, target, &MADE_UP), honest) }).await;
    for got in honest {
        assert_eq!((got.status.as_u16(), got.text()), (200, body), "{target}");
    }
}

#[tokio::test]
async fn who_joins_a_fetch_that_is_refused_for_anothers_way_asks_again_by_his_own() {
    check_joined("/hls/foo/source/7.m4s", "video/mp4", "media").await;
    check_joined("/hls/foo.m3u8", "application/vnd.apple.mpegurl", "#EXTM3U\n").await;
    let playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:3\n#EXTINF:6,\n3.m4s\n";
    check_joined("/hls/foo/source/index.m3u8", "application/vnd.apple.mpegurl", playlist).await;
}
