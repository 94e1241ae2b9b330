//! Watches one live playlist: by blocking reloads where the server offers them, by polling elsewhere.

use super::client::{Client, Want};
use super::media_of;
use crate::lint::observe::{Asked, Fetch, Probe};
use crate::lint::parse::{Media, Part, Segment};
use std::time::Duration;
use url::Url;

/// Most moments of one playlist that are kept.
const SNAPSHOTS_MAX: usize = 128;
/// How many files that have left a playlist are asked for, of each kind.
const DROPPED_MAX: usize = 2;

/// What came while watching.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) snapshots: Vec<Fetch>,
    pub(super) probes: Vec<Probe>,
}

/// Whether the server offers blocking reloads of this playlist.
pub(super) fn blocks(media: &Media) -> bool {
    media.server_control.as_ref().is_some_and(|tag| tag.attributes.yes("CAN-BLOCK-RELOAD"))
}

/// What a player asks for next: the next part, or without parts the next segment.
pub(super) fn next(media: &Media) -> (u64, Option<u64>) {
    let part = media.low_latency().then_some(media.open.parts.len() as u64);
    (media.open.msn, part)
}

/// An address with delivery directives, which go in alphabetical order.
pub(super) fn directed(url: &Url, directives: &[(&str, String)]) -> Url {
    let mut url = url.clone();
    url.query_pairs_mut().extend_pairs(directives);
    url
}

/// Watches until `length` has passed or the playlist ends.
pub(super) async fn watch(client: &Client, url: &Url, playlist: usize, first: Fetch, length: Duration) -> Seen {
    let mut seen = Seen::default();
    let until = client.now() + length.as_secs_f64();
    let Some(mut media) = media_of(&first) else { return seen };
    let mut held = blocks(&media) && media.iframes_only.is_none();
    while client.now() < until && seen.snapshots.len() < SNAPSHOTS_MAX && media.end.is_none() {
        let fetch = if held {
            let fetch = ask_next(client, url, &media).await;
            let (msn, part) = next(&media);
            seen.probes.push(Probe { asked: Asked::Next { msn, part }, playlist, fetch: fetch.clone() });
            fetch
        } else {
            let pause = media.target_s().unwrap_or(2.0).clamp(1.0, 6.0) / 2.0;
            tokio::time::sleep(Duration::from_secs_f64(pause)).await;
            client.fetch(url, &Want::playlist()).await
        };
        let Some(new) = media_of(&fetch) else {
            // What does not answer blocking reloads is polled, so that a server at fault is not asked without end.
            held = false;
            continue;
        };
        // A blocking reload that was not held would be asked for again and again.
        held = held && next(&new) > next(&media);
        dropped(client, url, playlist, (&media, &new), &mut seen.probes).await;
        media = new;
        seen.snapshots.push(fetch);
    }
    seen
}

async fn ask_next(client: &Client, url: &Url, media: &Media) -> Fetch {
    let (msn, part) = next(media);
    let mut directives = vec![("_HLS_msn", msn.to_string())];
    directives.extend(part.map(|part| ("_HLS_part", part.to_string())));
    let hold = 3.0 * media.target_s().unwrap_or(6.0);
    client.fetch(&directed(url, &directives), &Want::playlist().held(hold)).await
}

/// Asks for what has just left the playlist: it must still be there for a while.
async fn dropped(client: &Client, url: &Url, playlist: usize, (old, new): (&Media, &Media), probes: &mut Vec<Probe>) {
    let count = |probes: &[Probe], asked: &Asked| probes.iter().filter(|probe| probe.asked == *asked).count();
    let first = new.segments.first().map_or(new.open.msn, |segment| segment.msn);
    let gone: Option<&Segment> = old.segments.iter().rfind(|segment| segment.msn < first && !segment.gap);
    if let Some(segment) = gone.filter(|_| count(probes, &Asked::DroppedSegment) < DROPPED_MAX)
        && let Ok(address) = url.join(&segment.uri)
    {
        let fetch = client.fetch(&address, &Want::media(segment.range)).await;
        probes.push(Probe { asked: Asked::DroppedSegment, playlist, fetch });
    }
    let listed = |part: &Part| new.parts().any(|(.., other)| other.uri == part.uri && other.range == part.range);
    let gone = old.parts().map(|(.., part)| part).filter(|part| !part.gap && !listed(part)).last();
    if let Some(part) = gone.filter(|_| count(probes, &Asked::DroppedPart) < DROPPED_MAX)
        && let Ok(address) = url.join(&part.uri)
    {
        let fetch = client.fetch(&address, &Want::media(part.range)).await;
        probes.push(Probe { asked: Asked::DroppedPart, playlist, fetch });
    }
}
