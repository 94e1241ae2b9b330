//! Fetches what the rules look at: playlists, samples of segments, the same playlists again while time passes, and
//! requests that try the server's behaviour. Judges nothing.

mod client;
mod low_latency;
mod sample;
mod tls;
mod watch;

use super::look::playlist_of;
use super::observe::{Asked, Fetch, Observed, Probe, Role, Watched};
use super::parse::{Media, Playlist};
use super::{CannotLook, Options};
use client::{Client, Want};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use url::Url;

/// Most media playlists that are looked at.
const PLAYLISTS_MAX: usize = 48;

/// Longest time that a stream is watched without being asked to, in seconds.
const WATCH_S_MAX: f64 = 30.0;

/// Fetches everything. Beside what was observed: notes on what was left out.
pub(super) async fn look_at(options: &Options) -> Result<(Observed, Vec<String>), CannotLook> {
    let start = Url::parse(&options.url).map_err(|why| bad_url(options, &why.to_string()))?;
    if !["http", "https"].contains(&start.scheme()) || start.host().is_none() {
        return Err(bad_url(options, "only http and https are known"));
    }
    let client = Arc::new(Client::new(options)?);
    let first = client.fetch(&start, &Want::playlist()).await;
    if first.success().is_none() {
        return Err(CannotLook::Fetch { url: start.to_string(), said: first.said() });
    }
    let Some(playlist) = playlist_of(&first) else {
        let why = "the answer is no HLS playlist: give the address of a multivariant or a media playlist".to_owned();
        return Err(CannotLook::NoPlaylist { url: start.to_string(), why });
    };
    let mut notes = Vec::new();
    let (multivariant, playlists) = match &playlist {
        Playlist::Media(_) => {
            (None, vec![Watched { url: first.url.clone(), role: Role::Alone, snapshots: vec![first] }])
        }
        Playlist::Multivariant(listing) => {
            let listed = sample::playlists(listing, &first.url, &mut notes);
            let playlists = first_snapshots(&client, listed).await;
            (Some(first), playlists)
        }
    };
    let mut observed =
        Observed { start, multivariant, playlists, files: Vec::new(), keys: Vec::new(), probes: Vec::new() };
    first_samples(&client, &mut observed).await;
    let length = watch_length(options, &observed);
    look_on(&client, &mut observed, length).await;
    last_samples(&client, &mut observed).await;
    keys(&client, &mut observed).await;
    notes.extend(client.notes());
    if observed.start.scheme() == "http" {
        notes.push("plain http: rules about TLS and HTTP/2 were left out".to_owned());
    }
    Ok((observed, notes))
}

fn bad_url(options: &Options, why: &str) -> CannotLook {
    CannotLook::Url { url: options.url.clone(), why: why.to_owned() }
}

/// The media playlist of an answer.
fn media_of(fetch: &Fetch) -> Option<Media> {
    match playlist_of(fetch)? {
        Playlist::Media(media) => Some(*media),
        Playlist::Multivariant(_) => None,
    }
}

/// The newest readable moment of a playlist.
fn newest(watched: &Watched) -> Option<Media> {
    watched.snapshots.iter().rev().find_map(media_of)
}

/// Fetches all playlists at once, so that they show the same moment.
async fn first_snapshots(client: &Arc<Client>, listed: Vec<(Url, Role)>) -> Vec<Watched> {
    let mut tasks = JoinSet::new();
    for (index, (url, role)) in listed.into_iter().enumerate() {
        let client = Arc::clone(client);
        tasks.spawn(async move {
            let fetch = client.fetch(&url, &Want::playlist()).await;
            (index, Watched { url, role, snapshots: vec![fetch] })
        });
    }
    let mut playlists = tasks.join_all().await;
    playlists.sort_by_key(|(index, _)| *index);
    playlists.into_iter().map(|(_, watched)| watched).collect()
}

/// Samples of what is listed at first, low-latency parts included.
async fn first_samples(client: &Arc<Client>, observed: &mut Observed) {
    let mut keys = Vec::new();
    for watched in &observed.playlists {
        if let Some(media) = newest(watched) {
            keys.extend(sample::first(&watched.url, &media));
        }
    }
    observed.files.extend(sample::fetch_all(client, keys, &observed.files).await);
}

/// What came while looking on, and some of the first files once more.
async fn last_samples(client: &Arc<Client>, observed: &mut Observed) {
    let mut keys = Vec::new();
    let mut again = Vec::new();
    for (index, watched) in observed.playlists.iter().enumerate() {
        if let Some(media) = newest(watched) {
            keys.extend(sample::last(&watched.url, &media));
        }
        if let Some(media) = watched.snapshots.first().and_then(media_of) {
            again.extend(sample::again(&watched.url, &media).into_iter().map(|key| (index, key)));
        }
    }
    observed.files.extend(sample::fetch_all(client, keys, &observed.files).await);
    for (playlist, (url, range)) in again {
        let fetch = client.fetch(&url, &Want::media(range)).await;
        observed.probes.push(Probe { asked: Asked::Again, playlist, fetch });
    }
}

/// The keys of what was sampled.
async fn keys(client: &Arc<Client>, observed: &mut Observed) {
    let (files, mut wanted) = (&observed.files, Vec::new());
    for watched in &observed.playlists {
        for media in watched.snapshots.iter().filter_map(media_of) {
            wanted.extend(sample::keys_of(&watched.url, &media, files));
        }
    }
    observed.keys = sample::fetch_all(client, wanted, &[]).await;
}

fn watch_length(options: &Options, observed: &Observed) -> Duration {
    let target = observed.playlists.iter().filter_map(newest).filter_map(|media| media.target_s()).fold(0.0, f64::max);
    let usual = (3.0 * target).clamp(3.0, WATCH_S_MAX);
    options.watch.unwrap_or_else(|| Duration::from_secs_f64(usual))
}

/// Watches every live playlist and tries the server meanwhile.
async fn look_on(client: &Arc<Client>, observed: &mut Observed, length: Duration) {
    let mut watching = JoinSet::new();
    let mut trying = JoinSet::new();
    let mut tried = [false; 3];
    for (index, watched) in observed.playlists.iter().enumerate() {
        let Some(media) = newest(watched) else { continue };
        let (client, url, first) = (Arc::clone(client), watched.url.clone(), watched.snapshots.last().cloned());
        if media.end.is_some() {
            if !std::mem::replace(&mut tried[0], true) {
                trying.spawn(async move { low_latency::after_end(&client, &url, index, &media).await });
            }
            continue;
        }
        // One playlist with video and one with audio is enough: the same program answers for the others.
        let slot = if watched.role == Role::Audio { &mut tried[2] } else { &mut tried[1] };
        let blocks = watch::blocks(&media);
        if blocks && !media.iframes_only.is_some_and(|_| true) && !std::mem::replace(slot, true) {
            let (client, url) = (Arc::clone(&client), url.clone());
            trying.spawn(async move { low_latency::try_out(&client, &url, index).await });
        }
        if let Some(first) = first {
            watching.spawn(async move { (index, watch::watch(&client, &url, index, first, length).await) });
        }
    }
    let iframes = iframes_of_blocking(observed);
    if let Some((index, url, msn)) = iframes {
        let client = Arc::clone(client);
        trying.spawn(async move { low_latency::iframes(&client, &url, index, msn).await });
    }
    while let Some(seen) = watching.join_next().await {
        // A watcher that failed leaves its playlist with what is known.
        let Ok((index, seen)) = seen else { continue };
        if let Some(watched) = observed.playlists.get_mut(index) {
            watched.snapshots.extend(seen.snapshots);
        }
        observed.probes.extend(seen.probes);
    }
    for probes in trying.join_all().await {
        observed.probes.extend(probes);
    }
}

/// A live I-frame playlist beside a playlist that blocks, and the number of its next segment.
fn iframes_of_blocking(observed: &Observed) -> Option<(usize, Url, u64)> {
    let blocking =
        observed.playlists.iter().filter_map(newest).any(|media| media.end.is_none() && watch::blocks(&media));
    let mut playlists = observed.playlists.iter().enumerate();
    let (index, watched, media) = playlists.find_map(|(index, watched)| {
        let media = newest(watched).filter(|media| media.iframes_only.is_some() && media.end.is_none())?;
        Some((index, watched, media))
    })?;
    blocking.then(|| (index, watched.url.clone(), media.open.msn))
}
