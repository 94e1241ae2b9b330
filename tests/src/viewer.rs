//! A viewer without a player: fetches, and reads playlists with an independent parser.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Fetches from one listener.
#[derive(Debug, Clone)]
pub struct Viewer {
    base: String,
    client: Client<HttpConnector, Empty<Bytes>>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, whole.
    pub body: Bytes,
}

/// A media playlist, and where it is.
#[derive(Debug, Clone)]
pub struct Playlist {
    /// Its path.
    pub path: String,
    /// As text.
    pub text: String,
    /// As m3u8-rs reads it.
    pub media: m3u8_rs::MediaPlaylist,
}

impl Reply {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("UTF-8")
    }
}

impl Viewer {
    /// A viewer of the listener at `addr`.
    pub fn new(addr: &str) -> Self {
        Self { base: format!("http://{addr}"), client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Sends a request; `None` if the connection broke before the whole answer was there.
    pub async fn request(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Option<Reply> {
        let mut request = Request::builder().method(method).uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new()).expect("a legal request");
        let response = tokio::time::timeout(crate::DEADLINE, self.client.request(request)).await.ok()?.ok()?;
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(crate::DEADLINE, body.collect()).await.ok()?.ok()?.to_bytes();
        Some(Reply { status: parts.status, headers: parts.headers, body })
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Reply {
        self.request(Method::GET, path, &[]).await.unwrap_or_else(|| panic!("{path}: the connection broke"))
    }

    /// GET that must be answered 200.
    pub async fn fetch(&self, path: &str) -> Bytes {
        let reply = self.get(path).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}: {}", String::from_utf8_lossy(&reply.body));
        reply.body
    }

    /// JSON at a path.
    pub async fn json(&self, path: &str) -> serde_json::Value {
        serde_json::from_slice(&self.fetch(path).await).expect("JSON")
    }

    /// A stream's multivariant playlist as text, once there is one.
    pub async fn multivariant(&self, stream: &str) -> Option<String> {
        let reply = self.get(&format!("/hls/{stream}.m3u8")).await;
        (reply.status == StatusCode::OK).then(|| reply.text())
    }

    /// Waits for a stream's multivariant playlist.
    pub async fn wait_live(&self, stream: &str) -> String {
        crate::wait_for(&format!("stream {stream} to be playable"), || self.multivariant(stream)).await
    }

    /// A rendition's media playlist.
    pub async fn playlist(&self, stream: &str, rendition: &str) -> Playlist {
        let path = format!("/hls/{stream}/{rendition}/index.m3u8");
        let text = String::from_utf8(self.fetch(&path).await.to_vec()).expect("UTF-8");
        let media = m3u8_rs::parse_media_playlist_res(text.as_bytes()).expect("a media playlist");
        Playlist { path, text, media }
    }

    /// Waits until a rendition lists so many whole segments (gaps count).
    pub async fn wait_segments(&self, stream: &str, rendition: &str, count: usize) -> Playlist {
        self.wait_live(stream).await;
        let what = format!("{count} segments in {stream}/{rendition}");
        crate::wait_for(&what, || async {
            let playlist = self.playlist(stream, rendition).await;
            (playlist.media.segments.len() >= count).then_some(playlist)
        })
        .await
    }
}

impl Playlist {
    /// The path of something that the playlist names.
    pub fn resolve(&self, uri: &str) -> String {
        let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{folder}/{uri}")
    }

    /// The path of the init segment in force at a segment.
    pub fn init(&self, index: usize) -> String {
        let maps = self.media.segments[..=index].iter().rev().find_map(|segment| segment.map.as_ref());
        self.resolve(&maps.expect("an EXT-X-MAP").uri)
    }

    /// Whether a segment is a gap.
    pub fn is_gap(&self, index: usize) -> bool {
        self.media.segments[index].unknown_tags.iter().any(|tag| tag.tag == "X-GAP")
    }
}
