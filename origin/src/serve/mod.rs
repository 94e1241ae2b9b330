//! What edges pull: playlists, inits, segments and parts over plain HTTP.
//!
//! Requests are read by [`media::route`], answered from [`crate::live`]; how long something may be kept stands in the
//! constants here and nowhere else. With a secret that the tiers share nobody else is answered; who may watch what is the
//! edge's matter. Knows no RTMP.

mod directives;
mod playlists;
mod recorded;

use crate::live::{Found, Registry, Stream};
use crate::record::Replay;
use http::request::Parts;
use http::{Response, StatusCode};
use media::ladder::Rendition;
use media::name::StreamName;
use media::route::{File, Route};
use service::cluster::{Caller, Trust};
use service::http::{Body, Content, Handler, error, json};
use service::keys;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Playlists change with every part; an edge revalidates at once and a browser within a second.
pub(super) const PLAYLIST_CACHE: &str = "public, max-age=1";

/// A file name never gets other content.
const MEDIA_CACHE: &str = "public, max-age=3600, immutable";

/// The page names its files by hash.
const PAGE_CACHE: &str = "no-cache";
const PAGE_FILE_CACHE: &str = "public, max-age=31536000, immutable";

/// Answers requests of the origin's listener.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    registry: Arc<Registry>,
    replay: Replay,
    /// Who is answered, if not everybody.
    trust: Trust,
    shutdown: CancellationToken,
}

impl Server {
    pub(crate) fn new(registry: Arc<Registry>, replay: Replay, trust: Trust, shutdown: CancellationToken) -> Self {
        Self { registry, replay, trust, shutdown }
    }

    async fn hls(&self, request: &Parts, name: &StreamName, rendition: Rendition, file: &File) -> Response<Body> {
        let Some(stream) = self.registry.get(name) else { return unknown_stream(name) };
        match file {
            File::Playlist | File::IFrames => playlists::media(&stream, rendition, file, request, &self.shutdown).await,
            File::Init(_) | File::Segment(_) | File::Part(..) => self.media(&stream, rendition, file, request).await,
        }
    }

    /// An init, a segment or a part. The hinted part and the segment in progress are waited for; nothing else is. What is
    /// older than the live window comes from the recording.
    async fn media(&self, stream: &Stream, rendition: Rendition, file: &File, request: &Parts) -> Response<Body> {
        let mut changes = stream.changes();
        let hold_s = stream.core().window().map_or(0, |window| 3 * window.terms().target_s);
        let deadline = tokio::time::sleep(Duration::from_secs(u64::from(hold_s)));
        tokio::pin!(deadline);
        loop {
            match stream.files.get(rendition, file).await {
                Ok(Some(Found { etag, body })) => {
                    return Content::new(media_type(rendition), MEDIA_CACHE, body).etag(&etag).answer(request);
                }
                Ok(None) if is_next(stream, rendition, file) => {}
                // It may have come between the two looks; then it is there now, since files come before playlists.
                Ok(None) if stream.files.has(rendition, file) => continue,
                Ok(None) => {
                    let recorded = recorded::answer(&self.replay, stream, rendition, file, request).await;
                    return recorded.unwrap_or_else(|| missing(file));
                }
                // It left the live window between two looks.
                Err(reason) if reason.kind() == ErrorKind::NotFound && !stream.files.has(rendition, file) => continue,
                Err(reason) => {
                    tracing::warn!(stream = %stream.name, %rendition, %file, %reason, "cannot read a file of the live window");
                    return error(StatusCode::INTERNAL_SERVER_ERROR, "this file cannot be read from the server's disk");
                }
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return missing(file) },
                () = &mut deadline => return late("this file did not come within three target durations"),
                () = self.shutdown.cancelled() => return late("the server is shutting down"),
            }
        }
    }
}

impl Handler for Server {
    async fn handle(&self, request: Parts, _peer: SocketAddr) -> Response<Body> {
        match self.trust.judge(&request.headers) {
            Caller::Tier => {}
            Caller::Stranger if !self.trust.is_on() => {}
            caller => return caller.refuse("origin"),
        }
        match Route::parse(request.uri.path()) {
            Some(Route::Page) => page(&request, Some(player::page()), PAGE_CACHE),
            Some(Route::PageFile(name)) => page(&request, player::file(&name), PAGE_FILE_CACHE),
            Some(Route::Streams) => json(&self.registry.list()),
            Some(Route::Multivariant(name)) => match self.registry.get(&name) {
                Some(stream) => playlists::multivariant(&stream, self.registry.asset_url(&stream), &request).await,
                None => unknown_stream(&name),
            },
            Some(Route::Hls(name, rendition, file)) => self.hls(&request, &name, rendition, &file).await,
            Some(route @ (Route::Key(..) | Route::VodKey { .. })) => {
                let key = keys::answer(self.registry.keyring(), &route, &request);
                key.unwrap_or_else(|| error(StatusCode::NOT_FOUND, "there is no such key"))
            }
            Some(Route::Vod(_)) => error(StatusCode::NOT_FOUND, "there is no such recording here"),
            None => {
                error(StatusCode::NOT_FOUND, "there is nothing at this address; live streams are at /hls/NAME.m3u8")
            }
        }
    }
}

/// Whether a file is the very next one of its rendition: the hinted part, or the segment in progress.
fn is_next(stream: &Stream, rendition: Rendition, file: &File) -> bool {
    let core = stream.core();
    let Some((window, next)) = core.window().and_then(|window| Some((window, window.next_part(rendition)?))) else {
        return false;
    };
    match *file {
        File::Part(msn, part) => (msn, part) == next,
        File::Segment(msn) => msn == window.tip(rendition).open,
        _ => false,
    }
}

fn page(request: &Parts, file: Option<&'static player::File>, cache: &'static str) -> Response<Body> {
    let Some(file) = file else { return error(StatusCode::NOT_FOUND, "the page has no such file") };
    let body = vec![file.bytes.clone()];
    Content::new(file.content_type, cache, body).etag(file.etag).answer(request)
}

fn unknown_stream(name: &StreamName) -> Response<Body> {
    error(StatusCode::NOT_FOUND, format!("stream {name} is not live"))
}

fn media_type(rendition: Rendition) -> &'static str {
    if rendition == Rendition::Audio { "audio/mp4" } else { "video/mp4" }
}

fn missing(file: &File) -> Response<Body> {
    error(StatusCode::NOT_FOUND, format!("{file} is not in the live window, and is not the next to come"))
}

pub(super) fn late(words: &'static str) -> Response<Body> {
    let mut response = error(StatusCode::SERVICE_UNAVAILABLE, words);
    response.headers_mut().insert(http::header::RETRY_AFTER, http::HeaderValue::from_static("1"));
    response
}
