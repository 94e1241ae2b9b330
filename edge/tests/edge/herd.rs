//! Very many viewers at a time: what the origin notices of them, and whether each gets what it asked for.

use crate::sim::stream::Terms;
use crate::sim::{Fault, Sim};
use crate::support::{Do, Gate, Got, Origin, Running, halting, media, whole, within};
use crate::viewer::Viewer;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

const READERS: u64 = 10_000;

/// How many of them have a connection of their own at most. The others share HTTP/2 connections: a process has not enough
/// file descriptors for both ends of ten thousand.
const OWN_CONNECTIONS: u64 = 4_000;

/// What the edge allows on one HTTP/2 connection.
const STREAMS: u64 = 100;

/// Connections that are begun at a time: the kernel's queue is not what is tested.
const CONNECTING: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_readers_of_one_cold_object_make_one_request() {
    let descriptors = rlimit::increase_nofile_limit(3 * OWN_CONNECTIONS).unwrap();
    let own = OWN_CONNECTIONS.min(descriptors.saturating_sub(1000) / 2);
    // In one piece: what an origin sends in more of them must not stand still for 5 s, and here everybody is busy.
    let (body, gate) = (media(4_000), Gate::new());
    let origin = {
        let (body, gate) = (body.clone(), gate.clone());
        Origin::start(move |_| [vec![Do::Wait(gate.clone())], whole("video/mp4", "seven", body.clone())].concat()).await
    };
    // It may be held for as long as ten thousand take to come.
    let edge = Running::configured(vec![origin.url()], |config| config.hls.segment_ms = 60_000).await;
    let url = format!("http://{}/hls/foo/source/7.m4s", edge.address);

    let connecting = Arc::new(Semaphore::new(CONNECTING));
    let mut reading: JoinSet<Got> = JoinSet::new();
    for _ in 0..own {
        let (connecting, url) = (Arc::clone(&connecting), url.clone());
        reading.spawn(async move {
            let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
            // This leaves an open connection to ask on.
            let turn = connecting.acquire().await.unwrap();
            let there = client
                .request(Request::get(url.replace("/hls/foo/source/7.m4s", "/healthz")).body(Empty::new()).unwrap());
            assert!(Got::read(there.await.unwrap()).await.clean);
            drop(turn);
            Got::read(client.request(Request::get(url).body(Empty::new()).unwrap()).await.unwrap()).await
        });
    }
    for begun in (own..READERS).step_by(STREAMS as usize) {
        let client: Client<HttpConnector, Empty<Bytes>> =
            Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        for _ in begun..READERS.min(begun + STREAMS) {
            let answer = client.request(Request::get(&url).body(Empty::new()).unwrap());
            reading.spawn(async { Got::read(answer.await.unwrap()).await });
        }
    }
    edge.waiting(READERS).await;
    gate.cancel();
    while let Some(got) = within("ten thousand bodies", reading.join_next()).await {
        let got = got.unwrap();
        assert!(got.status == 200 && got.clean && got.body == body, "{}", got.text_or_size());
    }
    assert_eq!(origin.targets(), ["/hls/foo/source/7.m4s"]);
}

#[tokio::test]
async fn a_herd_that_reloads_all_the_time_costs_an_origin_that_jitters_what_one_viewer_does() {
    const VIEWERS: usize = 300;
    const PARTS: u32 = 12;
    const RELOADS_MIN: usize = 5;
    let sim = Sim::start(Terms { target_min_s: 15, ..Terms::default() }).await;
    sim.fault("index.m3u8", Fault::Jitter(200));
    let edge = Running::before(&[&sim]).await;
    let (begun, (open, _)) = (Instant::now(), sim.tip());
    let _running = sim.run();
    // What somebody got before somebody else asked.
    let newest = Arc::new(Mutex::new((0, 0)));
    let mut viewers = JoinSet::new();
    for _ in 0..VIEWERS {
        let (mut viewer, newest) = (Viewer::new(edge.address, "foo", "source"), Arc::clone(&newest));
        viewers.spawn(async move {
            let mut reloads = 0;
            // A herd, on however slow a machine.
            while reloads <= RELOADS_MIN || viewer.playlist.tip() < (open + u64::from(PARTS / 4), 0) {
                let before = *newest.lock().unwrap();
                let tip = viewer.reload("").await.tip();
                assert!(tip >= before, "{tip:?} after somebody had {before:?}");
                let mut newest = newest.lock().unwrap();
                *newest = tip.max(*newest);
                reloads += 1;
            }
            reloads
        });
    }
    let reloads: usize = within("the herd", viewers.join_all()).await.into_iter().sum();
    // A playlist is fresh for half a part, whoever asks.
    let most = begun.elapsed().as_millis() / (250 / 2) + 2;
    let asked = sim.count("/source/index.m3u8");
    assert!(asked as u128 <= most, "{asked} requests for {reloads} reloads, at most {most} would do");
}

#[tokio::test]
async fn a_drain_under_load_loses_no_answer() {
    const DOWNLOADS: usize = 300;
    let (body, gate) = (media(200_000), Gate::new());
    let origin = halting(&body, &gate).await;
    let edge = Running::start(&[&origin]).await;
    // Idle connections must not keep the edge from leaving, nor lose it what is in flight.
    let idle = Viewer::new(edge.address, "foo", "source");
    assert_eq!(idle.get("/").await.status, 200);
    let mut downloads = Vec::new();
    for msn in 0..DOWNLOADS {
        let target = format!("/hls/foo/source/{}.m4s", msn % 3);
        downloads.push(edge.open(Method::GET, &target, &[]).await);
    }
    // One at the beginning, one in the middle of what is there, the others untouched.
    let first = downloads[0].body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, body.slice(..first.len()));
    edge.shutdown.cancel();
    let refused = async { while tokio::net::TcpStream::connect(edge.address).await.is_ok() {} };
    within("new connections to be refused", refused).await;
    gate.cancel();
    for (index, response) in downloads.into_iter().enumerate() {
        let got = within("a download", Got::read(response)).await;
        let from = if index == 0 { first.len() } else { 0 };
        assert!(got.clean && got.body == body.slice(from..), "{index}: {}", got.text_or_size());
    }
    within("the edge to leave", edge.task).await.unwrap();
    assert_eq!(origin.targets().len(), 3);
}

#[tokio::test]
async fn a_drain_answers_those_who_wait_and_ends_with_them() {
    let sim = Sim::start(Terms::default()).await;
    let edge = Running::before(&[&sim]).await;
    let joined = Viewer::join(edge.address, "foo", "source").await;
    let (open, parts) = joined.playlist.tip();
    let target = format!("/hls/foo/source/index.m3u8?_HLS_msn={open}&_HLS_part={parts}");
    let waiting = edge.crowd(100, &target);
    let left = async {
        edge.parked("foo", "source", 100).await;
        edge.shutdown.cancel();
    };
    let (answers, ()) = within("everybody's answer", async { tokio::join!(waiting, left) }).await;
    for got in answers {
        // Early, with what there is: a player asks another edge for the rest.
        assert_eq!((got.status.as_u16(), got.clean), (200, true), "{}", got.text());
        assert_eq!(got.text(), sim.playlist("source"));
    }
    within("the edge to leave", edge.task).await.unwrap();
}

/// A long answer to a client that reads it slowly: time passes, so it is not lost only if the drain waits for progress.
#[tokio::test]
async fn a_slow_download_is_finished_within_the_drain() {
    let body = media(3_000_000);
    let served = body.clone();
    let origin = Origin::start(move |_| whole("video/mp4", "", served.clone())).await;
    let edge = Running::start(&[&origin]).await;
    let mut response = edge.open(Method::GET, "/hls/foo/source/1.m4s", &[]).await;
    edge.shutdown.cancel();
    let (mut got, mut tick) = (0, tokio::time::interval(Duration::from_millis(20)));
    while let Some(frame) = response.body_mut().frame().await {
        let data = frame.unwrap().into_data().unwrap();
        assert_eq!(data, body.slice(got..got + data.len()));
        got += data.len();
        tick.tick().await;
    }
    assert_eq!(got, body.len());
    within("the edge to leave", edge.task).await.unwrap();
}
