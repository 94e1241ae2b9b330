//! Signed links and the tiers' secret, over real sockets: who is let in, what he is told, and what it costs upstream.

use crate::support::{Got, Origin, Running, media, status, whole};
use media::pass::Keys;
use service::config::{Config, Watch};
use service::secret::{Secret, Secrets};
use std::time::{SystemTime, UNIX_EPOCH};
use store::{Limits, Objects};

const SECRET: &str = "what signs links here";
const SHARED: &str = "what the tiers share";
const SEGMENT: &str = "/hls/foo/source/7.m4s";

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token by this secret that ends so many seconds from now.
fn token(secret: &str, life_s: i64, prefix: &str) -> String {
    Keys::new([secret]).sign(now_s().saturating_add_signed(life_s), prefix).unwrap()
}

/// An address with a token in it.
fn with(token: &str, path: &str) -> String {
    let (tree, rest) = path[1..].split_once('/').unwrap();
    format!("/{tree}/~{token}/{rest}")
}

fn signed(config: &mut Config) {
    config.watch.mode = Watch::Signed;
    config.watch.secrets = Secrets::new([SECRET]);
}

/// An origin whose playlist says where it was asked, and whose segments are a few bytes.
async fn origin() -> Origin {
    Origin::start(|target| match target {
        "/hls/foo.m3u8" => whole("application/vnd.apple.mpegurl", "one", "#EXTM3U\n"),
        "/api/streams" => whole("application/json", "two", "{}"),
        target if target.ends_with(".m4s") => whole("video/mp4", "seven", media(3000)),
        _ => status(404, "not here\n"),
    })
    .await
}

fn refusal(got: &Got, code: u16) -> &str {
    assert_eq!((got.status.as_u16(), got.header("cache-control")), (code, "no-store"), "{}", got.text_or_size());
    assert_eq!(got.header("content-type"), "text/plain; charset=utf-8");
    got.text().trim_end()
}

#[tokio::test]
async fn two_viewers_with_links_of_their_own_cost_one_request_and_get_the_same_bytes() {
    let origin = origin().await;
    let edge = Running::configured(vec![origin.url()], signed).await;
    let links = [token(SECRET, 60, "/hls/foo"), token(SECRET, 90, "/hls")];
    for path in ["/hls/foo.m3u8", SEGMENT] {
        let [first, second] = [edge.get(&with(&links[0], path)).await, edge.get(&with(&links[1], path)).await];
        assert_eq!((first.status.as_u16(), second.status.as_u16()), (200, 200), "{path}: {}", first.text_or_size());
        assert_eq!(first.body, second.body);
        assert!(second.header("cache-status").starts_with("live360; hit"), "{}", second.header("cache-status"));
        let asked = origin.targets().into_iter().filter(|target| target == path).count();
        assert_eq!(asked, 1, "{:?}", origin.targets());
    }
    assert!(origin.targets().iter().all(|target| !target.contains('~')), "{:?}", origin.targets());
}

#[tokio::test]
async fn who_may_not_watch_is_told_why_and_costs_no_request() {
    let origin = origin().await;
    let edge = Running::configured(vec![origin.url()], signed).await;
    let good = token(SECRET, 60, "/hls/foo");
    let signature = good.rsplit('.').next().unwrap();
    for (path, words) in [
        ("/hls/foo.m3u8".to_owned(), "this can be watched by a signed link only: ask whoever sent you here for one"),
        (SEGMENT.to_owned(), "this can be watched by a signed link only"),
        (with(&token(SECRET, -60, "/hls/foo"), SEGMENT), "this link has expired: it was good until 20"),
        (with(&good, "/hls/bar.m3u8"), "this link is for \"/hls/foo\", not for what is asked for here"),
        (
            with(&token("what signs links elsewhere", 60, "/hls/foo"), SEGMENT),
            "this link was not signed by this server",
        ),
        (with(&good.replace(signature, &signature[1..]), SEGMENT), "this link is damaged: its token has no signature"),
        (with(&"1".repeat(400), SEGMENT), "this link is damaged: its token is too long"),
        (with("", SEGMENT), "this link is damaged: its token is not of four pieces"),
    ] {
        let got = edge.get(&path).await;
        let told = refusal(&got, 403);
        assert!(told.starts_with(words), "{path}: {told}");
    }
    // What climbs or hides is no address, whatever link it comes with.
    let all = token(SECRET, 60, "/");
    for path in ["/hls/foo/../bar.m3u8", "/hls//foo.m3u8", "/hls/foo%2em3u8"] {
        assert_eq!(edge.get(&with(&all, path)).await.status, 404, "{path}");
    }
    assert_eq!(origin.targets(), Vec::<String>::new());
    assert_eq!(edge.get("/api/streams").await.status, 200);
    assert_eq!(edge.get("/").await.status, 200);
}

#[tokio::test]
async fn links_by_any_listed_secret_are_good() {
    let origin = origin().await;
    let rotated = ["what signs from now on", SECRET];
    let edge = Running::configured(vec![origin.url()], |config| {
        signed(config);
        config.watch.secrets = Secrets::new(rotated);
    })
    .await;
    for (secret, code) in [(rotated[0], 200), (rotated[1], 200), ("what signed long ago", 403)] {
        assert_eq!(edge.get(&with(&token(secret, 60, "/hls/foo"), SEGMENT)).await.status, code, "{secret}");
    }
}

#[tokio::test]
async fn recordings_are_watched_as_their_stream_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("file:{}", folder.path().display());
    let objects = Objects::open(&store, Limits::PATIENT).await.unwrap();
    let [shut, open, upload] = ["shut-20261120T172500Z", "open-20261120T172500Z", "film"];
    for asset in [shut, open, upload] {
        objects.put(&format!("vod/{asset}/index.m3u8"), "#EXTM3U\n".into(), "text/plain").await.unwrap();
    }
    let edge = Running::configured(vec!["http://127.0.0.1:1".to_owned()], |config| {
        config.storage.egress = Some(store);
        config.watch.secrets = Secrets::new([SECRET]);
        let entry = service::config::Stream { watch: Some(Watch::Signed), ..Default::default() };
        config.streams.insert("shut".parse().unwrap(), entry);
    })
    .await;
    let path = |asset: &str| format!("/vod/{asset}/index.m3u8");
    for (path, code) in [
        (path(open), 200),
        (path(upload), 200),
        (path(shut), 403),
        (with(&token(SECRET, 60, &format!("/vod/{shut}")), &path(shut)), 200),
        (with(&token(SECRET, 60, "/vod"), &path(shut)), 200),
        (with(&token(SECRET, 60, "/hls/shut"), &path(shut)), 403),
        (with(&token(SECRET, -60, &format!("/vod/{shut}")), &path(shut)), 403),
        // A link that is not needed does no harm.
        (with(&token(SECRET, 60, &format!("/vod/{open}")), &path(open)), 200),
    ] {
        assert_eq!(edge.get(&path).await.status, code, "{path}");
    }
}

fn shares(secret: &str) -> impl Fn(&mut Config) + '_ {
    move |config| config.cluster.secret = Some(Secret::new(secret))
}

#[tokio::test]
async fn origins_are_told_the_secret_and_viewers_are_not() {
    let origin = origin().await;
    let edge = Running::configured(vec![origin.url()], shares(SHARED)).await;
    let got = edge.get(SEGMENT).await;
    assert_eq!(got.status, 200);
    assert!(!format!("{:?}", got.headers).contains(SHARED));
    let heads = origin.heads();
    assert!(heads.iter().all(|head| head.contains(&format!("\r\nlive360-cluster: {SHARED}\r\n"))), "{heads:?}");
}

#[tokio::test]
async fn an_edge_behind_an_edge_takes_its_word_for_its_viewers() {
    let origin = origin().await;
    let inner = Running::configured(vec![origin.url()], |config| {
        signed(config);
        shares(SHARED)(config);
    })
    .await;
    let inner_url = format!("http://{}", inner.address);
    let outer = |secret: &'static str| {
        Running::configured(vec![inner_url.clone()], move |config| {
            signed(config);
            shares(secret)(config);
        })
    };
    let (friend, stranger) = (outer(SHARED).await, outer("what others share").await);
    let link = with(&token(SECRET, 60, "/hls/foo"), SEGMENT);

    let got = friend.get(&link).await;
    assert_eq!((got.status.as_u16(), got.body), (200, media(3000)));
    refusal(&friend.get(SEGMENT).await, 403);

    let got = stranger.get(&link).await;
    assert_eq!(refusal(&got, 502), "the origin does not answer this edge");
    assert_eq!(stranger.get("/hls/~x/foo.m3u8").await.status, 403);

    // Somebody who asks it himself is a viewer like any other, unless he says that he is more.
    refusal(&inner.get(SEGMENT).await, 403);
    assert_eq!(inner.get(&link).await.status, 200);
    let got = inner.ask(http::Method::GET, SEGMENT, &[("live360-cluster", SHARED)]).await;
    assert_eq!(got.status, 200);
    let got = inner.ask(http::Method::GET, &link, &[("live360-cluster", "a guess")]).await;
    assert_eq!(got.header("www-authenticate"), "Live360-Cluster");
    assert!(refusal(&got, 401).contains("cluster.secret"));
}
