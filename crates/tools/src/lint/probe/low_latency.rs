//! Tries how a server answers delivery directives, hints, and requests that it should refuse.

use super::client::{Client, Want};
use super::media_of;
use super::watch::directed;
use crate::lint::observe::{Asked, Probe};
use crate::lint::parse::Media;
use url::Url;

/// How far beyond the limits the refused requests ask.
const BEYOND: u64 = 10;

/// Tries everything on one low-latency playlist.
pub(super) async fn try_out(client: &Client, url: &Url, playlist: usize) -> Vec<Probe> {
    let Some(media) = media_of(&client.fetch(url, &Want::playlist()).await) else { return Vec::new() };
    let mut probes = Vec::new();
    // The hint first: it is only a hint for a moment.
    let hinted = hint(client, url, playlist, &media);
    let directed = directives(client, url, playlist, &media);
    let (hinted, directed) = tokio::join!(hinted, directed);
    probes.extend(hinted);
    probes.extend(directed);
    probes
}

async fn hint(client: &Client, url: &Url, playlist: usize, media: &Media) -> Vec<Probe> {
    let hint = media.hints.iter().find(|tag| tag.attributes.get("TYPE") == Some("PART"));
    // Ranges of a growing file would need requests without an end.
    let whole = hint.filter(|tag| tag.attributes.get("BYTERANGE-START").is_none());
    let Some(uri) = whole.and_then(|tag| tag.attributes.get("URI")) else { return Vec::new() };
    let Ok(address) = url.join(uri) else { return Vec::new() };
    let hold = 3.0 * media.target_s().unwrap_or(6.0);
    let mut probes = Vec::new();
    let fetch = client.fetch(&address, &Want::media(None).held(hold)).await;
    probes.push(Probe { asked: Asked::Hinted, playlist, fetch });
    let fetch = client.fetch(&misspelt(&address), &Want::media(None)).await;
    probes.push(Probe { asked: Asked::Unknown, playlist, fetch });
    probes
}

/// An address beside this one that nobody announced.
fn misspelt(address: &Url) -> Url {
    let mut other = address.clone();
    let path = address.path();
    let changed = match path.rsplit_once('.') {
        Some((stem, extension)) if !extension.contains('/') => format!("{stem}-not-there.{extension}"),
        _ => format!("{path}-not-there"),
    };
    other.set_path(&changed);
    other
}

/// Each directive and its probe, one after the other: a server must not be able to tell them from players.
async fn directives(client: &Client, url: &Url, playlist: usize, media: &Media) -> Vec<Probe> {
    let open = media.open.msn;
    let msn = |msn: u64| ("_HLS_msn", msn.to_string());
    let part = |part: u64| ("_HLS_part", part.to_string());
    let mut asks = vec![
        (Asked::MsnTooFar, vec![msn(open.saturating_add(BEYOND))]),
        (Asked::OldMsn, vec![msn(media.sequence.map_or(0, |at| at.value).saturating_sub(1))]),
    ];
    if let Some(target) = media.part_target() {
        asks.push((Asked::PartWithoutMsn, vec![part(0)]));
        let limit = if target < 1.0 { 3.0 / target } else { 3.0 };
        // Of the segment after the open one, so that it stays too far if the open one ends meanwhile.
        let index = (limit.min(10_000.0) as u64).saturating_add(BEYOND);
        asks.push((Asked::PartTooFar, vec![msn(open.saturating_add(1)), part(index)]));
        if let Some(last) = media.segments.last().filter(|segment| !segment.parts.is_empty()) {
            let index = last.parts.len() as u64;
            asks.push((Asked::PartBeyondEnd { msn: last.msn }, vec![msn(last.msn), part(index)]));
        }
    }
    let control = media.server_control.as_ref();
    if control.is_some_and(|tag| tag.attributes.get("CAN-SKIP-UNTIL").is_some()) {
        asks.push((Asked::Delta, vec![("_HLS_skip", "YES".to_owned())]));
    }
    let hold = 3.0 * media.target_s().unwrap_or(6.0);
    let mut probes = Vec::new();
    for (asked, directives) in asks {
        let fetch = client.fetch(&directed(url, &directives), &Want::playlist().held(hold)).await;
        probes.push(Probe { asked, playlist, fetch });
    }
    probes
}

/// Tries a blocking reload of an I-frame playlist.
pub(super) async fn iframes(client: &Client, url: &Url, playlist: usize, msn: u64) -> Vec<Probe> {
    let address = directed(url, &[("_HLS_msn", msn.to_string())]);
    let fetch = client.fetch(&address, &Want::playlist().held(20.0)).await;
    vec![Probe { asked: Asked::IFramesNext { msn }, playlist, fetch }]
}

/// Tries whether a playlist that has ended ignores directives.
pub(super) async fn after_end(client: &Client, url: &Url, playlist: usize, media: &Media) -> Vec<Probe> {
    let far = media.open.msn.saturating_add(BEYOND);
    let directives = [("_HLS_msn", far.to_string()), ("_HLS_part", "0".to_owned())];
    let fetch = client.fetch(&directed(url, &directives), &Want::playlist()).await;
    vec![Probe { asked: Asked::AfterEnd, playlist, fetch }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_nobody_announced_keeps_its_extension() {
        for (address, expected) in [
            ("http://h/a/12.3.m4s", "http://h/a/12.3-not-there.m4s"),
            ("http://h/a.b/part", "http://h/a.b/part-not-there"),
            ("http://h/p.ts?x=1", "http://h/p-not-there.ts?x=1"),
        ] {
            assert_eq!(misspelt(&Url::parse(address).unwrap()).as_str(), expected);
        }
    }
}
