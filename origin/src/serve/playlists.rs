//! Playlists as answers, blocked where a request asks for what is yet to come.
//!
//! The judgement of blocking requests is [`media::hls::reload`]'s.

use super::directives;
use super::{PLAYLIST_CACHE, late};
use crate::live::{Kind, Shown, Stream};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use media::hls::reload::{Answer, Ask, judge};
use media::ladder::Rendition;
use media::projection::Layout;
use media::route::File;
use service::http::{Body, Content, accepts_gzip, error};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";

/// EXT-X-SESSION-DATA under which an ended stream names its recording's playlist.
const ASSET_DATA_ID: &str = "live360.asset";

/// How the picture lies: a stream may be listed nowhere else.
const PROJECTION_DATA_ID: &str = "live360.projection";
const STEREO_DATA_ID: &str = "live360.stereo";

/// The multivariant playlist; `asset` is where an ended stream can be seen again.
pub(super) async fn multivariant(stream: &Stream, asset: Option<String>, request: &Parts) -> Response<Body> {
    let playlist = stream.core().multivariant(stream.name.as_str());
    match playlist {
        Some(playlist) => {
            let Layout { projection, stereo } = stream.core().layout();
            let (projection, stereo) = (projection.to_string(), stereo.to_string());
            let mut session = vec![(PROJECTION_DATA_ID, &*projection), (STEREO_DATA_ID, &*stereo)];
            session.extend(asset.as_deref().map(|url| (ASSET_DATA_ID, url)));
            answer(&Shown::once(playlist.render_with(&session)), request).await
        }
        None => not_yet(),
    }
}

/// A media or I-frame playlist, which may be asked to wait.
pub(super) async fn media(
    stream: &Stream,
    rendition: Rendition,
    file: &File,
    request: &Parts,
    shutdown: &CancellationToken,
) -> Response<Body> {
    let directives = match directives::parse(request.uri.query().unwrap_or_default()) {
        Ok(directives) => directives,
        Err(words) => return error(StatusCode::BAD_REQUEST, words),
    };
    let iframes = *file == File::IFrames;
    let kind = match directives.skip {
        _ if iframes => Kind::IFrames,
        true => Kind::Delta,
        false => Kind::Whole,
    };
    if iframes && rendition == Rendition::Audio {
        return error(StatusCode::NOT_FOUND, "sound has no I-frames");
    }
    if iframes && stream.core().window().is_some_and(|window| window.lock().is_some()) {
        return error(StatusCode::NOT_FOUND, "this stream is encrypted: its segments can't be decrypted in part");
    }
    // An I-frame playlist lists whole segments: it can be waited for by number, not by part (§6.2.5.2).
    let ask = if iframes { Ask { part: None, ..directives.ask } } else { directives.ask };
    let terms = stream.core().window().map(|window| window.terms());
    let Some(terms) = terms else { return not_yet() };
    let mut changes = stream.changes();
    let deadline = tokio::time::sleep(Duration::from_secs(u64::from(3 * terms.target_s)));
    tokio::pin!(deadline);
    loop {
        let tip = stream.core().window().map(|window| window.tip(rendition)).unwrap_or_default();
        match judge(tip, ask, terms.part_ms) {
            Answer::Now => {
                return match stream.playlist(rendition, kind) {
                    Some(shown) => answer(&shown, request).await,
                    None => not_yet(),
                };
            }
            Answer::Bad(words) => return error(StatusCode::BAD_REQUEST, words),
            Answer::Wait => {}
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return not_yet() },
            () = &mut deadline => return late("what was asked for did not come within three target durations"),
            () = shutdown.cancelled() => return late("the server is shutting down"),
        }
    }
}

async fn answer(shown: &Arc<Shown>, request: &Parts) -> Response<Body> {
    let vary = HeaderValue::from_static("Accept-Encoding");
    if accepts_gzip(&request.headers)
        && let Some(packed) = shown.packed().await
    {
        // Another representation, another strong ETag (RFC 9110 section 8.8.3).
        return Content::full(PLAYLIST_TYPE, PLAYLIST_CACHE, packed)
            .etag(&format!("{}-gz", shown.etag))
            .header(header::VARY, vary)
            .header(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))
            .answer(request);
    }
    Content::full(PLAYLIST_TYPE, PLAYLIST_CACHE, shown.text.clone())
        .etag(&shown.etag)
        .header(header::VARY, vary)
        .answer(request)
}

fn not_yet() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "this stream has nothing to play yet; it begins at the encoder's second key frame")
}
