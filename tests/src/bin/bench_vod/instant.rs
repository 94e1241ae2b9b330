//! From the stream's end to a recording that plays: its playlists and its first segment at the edge.
//!
//! Its address is looked up at the origin: the edge's own list is up to a second old, and so would be what is measured.

use crate::report::{Goal, Table, median};
use e2e::{Ffmpeg, Server, Source, Viewer};
use http::{Method, StatusCode};
use std::time::{Duration, Instant};

/// How long each stream is, in segments of the live ladder's 2 s.
const SEGMENTS: usize = 4;

/// How often is looked whether it is there.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The longest that is waited for it.
const LONGEST: Duration = Duration::from_secs(60);

/// Measures.
pub(crate) async fn measure(rounds: usize, table: &mut Table) {
    let (mut times, mut ends) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // The better ladder is made later, and must not disturb the next round: it ends with the server.
        let server = Server::all(&["transcoder.rescan_s=3600"]).await;
        let (viewer, origin, name) = (server.viewer(), server.origin_viewer(), format!("instant{round}"));
        let encoder = Ffmpeg::publish(&Source { seconds: 30, ..Source::default() }, &server.rtmp(&name));
        viewer.wait_segments(&name, "source", SEGMENTS).await;
        // What is published is stored a moment later, during the broadcast as well as at its end.
        encoder.stop().await;
        let began = Instant::now();
        let reply = server.admin().request(Method::POST, &format!("/control/streams/{name}/end"), &[]).await;
        assert!(reply.is_some_and(|reply| reply.status == StatusCode::OK), "the stream can be ended");
        ends.push(began.elapsed().as_secs_f64());
        let played = tokio::time::timeout(LONGEST, async {
            while !playable(&origin, &viewer).await {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        let time = if played.await.is_ok() { began.elapsed().as_secs_f64() } else { f64::INFINITY };
        eprintln!("instant VOD, round {}: {time:.3} s", round + 1);
        times.push(time);
    }
    let words = format!("stream's end to its VOD's playlists and first segment at the edge, s (median of {rounds})");
    table.judge("instant_s", words, median(times.clone()), Goal::Most(1.0));
    let worst = times.into_iter().fold(0.0, f64::max);
    table.state("instant_worst_s", "the same, slowest round", worst);
    table.state("end_answered_s", "of it, until the request to end was answered (median)", median(ends));
}

/// Whether the one asset can be played at its first segment.
async fn playable(origin: &Viewer, viewer: &Viewer) -> bool {
    let look = async {
        let streams = found(origin, "/api/streams").await?;
        let streams: serde_json::Value = serde_json::from_str(&streams).ok()?;
        let url = streams["assets"].as_array()?.first()?["url"].as_str()?.to_owned();
        let multivariant = found(viewer, &url).await?;
        let media = resolve(&url, uri(&multivariant, "#EXT-X-STREAM-INF")?);
        let text = found(viewer, &media).await?;
        let segment = resolve(&media, uri(&text, "#EXTINF")?);
        viewer
            .request(Method::GET, &segment, &[])
            .await
            .filter(|reply| reply.status == StatusCode::OK && !reply.body.is_empty())
    };
    look.await.is_some()
}

async fn found(viewer: &Viewer, path: &str) -> Option<String> {
    let reply = viewer.request(Method::GET, path, &[]).await?;
    (reply.status == StatusCode::OK).then(|| reply.text())
}

/// The first address behind a tag.
fn uri<'a>(text: &'a str, tag: &str) -> Option<&'a str> {
    text.lines().skip_while(|line| !line.starts_with(tag)).find(|line| !line.starts_with('#') && !line.is_empty())
}

fn resolve(base: &str, uri: &str) -> String {
    if uri.starts_with('/') {
        return uri.to_owned();
    }
    format!("{}/{uri}", base.rsplit_once('/').map_or("", |(folder, _)| folder))
}
