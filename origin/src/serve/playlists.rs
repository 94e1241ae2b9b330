//! Playlists as answers: rendered on demand, blocked where a request asks for what is yet to come, gzipped.
//!
//! The judgement of blocking requests is [`media::hls::reload`]'s.

use super::directives::{self, Directives};
use super::{PLAYLIST_CACHE, late};
use crate::live::Stream;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use media::hls;
use media::hls::reload::{Answer, Ask, judge};
use media::ladder::Rendition;
use media::route::File;
use service::http::{Body, Content, accepts_gzip, error};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";

/// EXT-X-SESSION-DATA under which an ended stream names its recording's playlist.
const ASSET_DATA_ID: &str = "live360.asset";

/// The multivariant playlist; `asset` is where an ended stream can be seen again.
pub(super) fn multivariant(stream: &Stream, asset: Option<String>, request: &Parts) -> Response<Body> {
    let playlist = stream.core().multivariant(stream.name.as_str());
    match playlist {
        Some(playlist) => {
            let mut text = playlist.render();
            if let Some(url) = asset {
                text.push_str(&format!("#EXT-X-SESSION-DATA:DATA-ID=\"{ASSET_DATA_ID}\",VALUE=\"{url}\"\n"));
            }
            answer(text, request)
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
    if iframes && rendition == Rendition::Audio {
        return error(StatusCode::NOT_FOUND, "sound has no I-frames");
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
            Answer::Now => return render(stream, rendition, iframes, directives, request),
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

fn render(
    stream: &Stream,
    rendition: Rendition,
    iframes: bool,
    directives: Directives,
    request: &Parts,
) -> Response<Body> {
    let playlist = stream.core().playlist(rendition);
    match playlist {
        Some(playlist) if iframes => answer(hls::iframes(&playlist), request),
        Some(playlist) if directives.skip => answer(playlist.render_delta(), request),
        Some(playlist) => answer(playlist.render(), request),
        None => not_yet(),
    }
}

fn answer(text: String, request: &Parts) -> Response<Body> {
    let hash = Sha256::digest(text.as_bytes());
    let etag: String = hash.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    let vary = HeaderValue::from_static("Accept-Encoding");
    if accepts_gzip(&request.headers)
        && let Some(packed) = gzip(text.as_bytes())
    {
        // Another representation, another strong ETag (RFC 9110 section 8.8.3).
        return Content::new(PLAYLIST_TYPE, PLAYLIST_CACHE, vec![packed])
            .etag(&format!("{etag}-gz"))
            .header(header::VARY, vary)
            .header(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))
            .answer(request);
    }
    Content::new(PLAYLIST_TYPE, PLAYLIST_CACHE, vec![Bytes::from(text)])
        .etag(&etag)
        .header(header::VARY, vary)
        .answer(request)
}

fn gzip(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

fn not_yet() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "this stream has nothing to play yet; it begins at the encoder's second key frame")
}
