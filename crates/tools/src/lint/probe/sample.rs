//! Which files are worth opening: pure choices, and fetching what was chosen.

use super::client::{Client, Want};
use super::{PLAYLISTS_MAX, Role};
use crate::lint::look::map_key;
use crate::lint::observe::Fetch;
use crate::lint::parse::{ByteRange, Media, Multivariant, Segment};
use crate::lint::sealed::whole_key;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::task::JoinSet;
use url::Url;

/// A file or some bytes of it.
pub(super) type Key = (Url, Option<ByteRange>);

/// How many of a playlist's newest segments are opened each time: neighbours, so that their times can be compared.
const NEWEST: usize = 4;

/// The media playlists that a multivariant playlist lists, each once.
pub(super) fn playlists(listing: &Multivariant, base: &Url, notes: &mut Vec<String>) -> Vec<(Url, Role)> {
    let variants = listing
        .variants
        .iter()
        .map(|variant| (Some(variant.uri.as_str()), if variant.has_video() { Role::Video } else { Role::Audio }));
    let media = listing.media.iter().map(|tag| {
        let role = match tag.attributes.get("TYPE") {
            Some("AUDIO") => Role::Audio,
            Some("VIDEO") => Role::Video,
            _ => Role::Other,
        };
        (tag.attributes.get("URI"), role)
    });
    let iframes = listing.iframes.iter().map(|tag| (tag.attributes.get("URI"), Role::IFrames));
    let mut listed: Vec<(Url, Role)> = Vec::new();
    for (uri, role) in variants.chain(media).chain(iframes) {
        let Some(uri) = uri else { continue };
        match base.join(uri) {
            Ok(url) if listed.iter().any(|(known, _)| *known == url) => {}
            Ok(url) if ["http", "https"].contains(&url.scheme()) => listed.push((url, role)),
            _ => notes.push(format!("{uri:?} is no address that can be fetched")),
        }
    }
    if listed.len() > PLAYLISTS_MAX {
        notes.push(format!("{} playlists are listed, the first {PLAYLISTS_MAX} were looked at", listed.len()));
        listed.truncate(PLAYLISTS_MAX);
    }
    listed
}

/// What to open at first: the oldest segment and the newest ones, so that durations add up over all of the playlist.
pub(super) fn first(base: &Url, media: &Media) -> Vec<Key> {
    let listed: Vec<&Segment> = there(media).collect();
    keys(base, listed.iter().take(1).chain(listed.iter().rev().take(NEWEST)).copied())
}

/// What to open at the end: what is newest now.
pub(super) fn last(base: &Url, media: &Media) -> Vec<Key> {
    let listed: Vec<&Segment> = there(media).collect();
    keys(base, listed.iter().rev().take(NEWEST).copied())
}

/// What to fetch a second time: one of the newest segments of the first moment, which is surely still there.
pub(super) fn again(base: &Url, media: &Media) -> Vec<Key> {
    let newest: Vec<&Segment> = there(media).last().into_iter().collect();
    keys(base, newest.into_iter())
}

fn there(media: &Media) -> impl Iterator<Item = &Segment> {
    media.segments.iter().filter(|segment| !segment.gap)
}

fn keys<'s>(base: &Url, segments: impl Iterator<Item = &'s Segment>) -> Vec<Key> {
    let mut keys = Vec::new();
    for segment in segments {
        let init = map_key(base, segment).and_then(|(url, range)| Some((Url::parse(&url).ok()?, range)));
        let own = base.join(&segment.uri).ok().map(|url| (url, segment.range));
        keys.extend(init.into_iter().chain(own));
    }
    keys
}

/// Keys of segments and init segments that were fetched, where they are encrypted as a whole.
pub(super) fn keys_of(base: &Url, media: &Media, files: &[Fetch]) -> Vec<Key> {
    let fetched: HashSet<&str> = files.iter().map(|fetch| fetch.url.as_str()).collect();
    let there =
        media.segments.iter().filter(|segment| base.join(&segment.uri).is_ok_and(|url| fetched.contains(url.as_str())));
    let tags = there.flat_map(|segment| [whole_key(&segment.keys), whole_key(&segment.map_keys)]);
    let uris = tags.flatten().filter_map(|tag| tag.attributes.get("URI"));
    uris.filter_map(|uri| base.join(uri).ok().map(|url| (url, None))).collect()
}

/// Fetches what is not known yet, all at once.
pub(super) async fn fetch_all(client: &Arc<Client>, keys: Vec<Key>, known: &[Fetch]) -> Vec<Fetch> {
    let mut seen: HashSet<Key> = known.iter().map(|fetch| (fetch.url.clone(), fetch.range)).collect();
    let mut tasks = JoinSet::new();
    for (url, range) in keys {
        if seen.insert((url.clone(), range)) {
            let client = Arc::clone(client);
            tasks.spawn(async move { client.fetch(&url, &Want::media(range)).await });
        }
    }
    let mut fetched = tasks.join_all().await;
    fetched.sort_by(|a, b| (a.url.as_str(), a.range).cmp(&(b.url.as_str(), b.range)));
    fetched
}
