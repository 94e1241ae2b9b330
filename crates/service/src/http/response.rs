//! Answers that every listener gives the same way: errors in words, JSON, and files with ETag and ranges.
//!
//! CORS and lengths are put on by `serve`; how long something may be cached is the caller's to say.

use super::Body;
use super::body::{Keeper, Pieces};
use super::range::{self, Asked};
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use std::fmt;
use std::sync::Arc;

/// An error in words, which nobody caches.
pub fn error(status: StatusCode, words: impl Into<String>) -> Response<Body> {
    let mut text = words.into();
    text.push('\n');
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = status;
    put(&mut response, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    put(&mut response, header::CACHE_CONTROL, "no-store");
    response
}

/// A JSON document that nobody caches.
pub fn json(value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::full(format!("{value:#}\n")));
    put(&mut response, header::CONTENT_TYPE, "application/json");
    put(&mut response, header::CACHE_CONTROL, "no-store");
    response
}

/// Headers that an answer of ours has at most, so that its map never has to grow.
const HEADERS: usize = 24;

/// A file at hand, and what to say about it.
#[derive(Clone)]
pub struct Content {
    pieces: Pieces,
    etag: Option<HeaderValue>,
    headers: HeaderMap,
    keeper: Option<Keeper>,
}

impl Content {
    /// These bytes, of this media type, under this `Cache-Control`.
    pub fn new(content_type: &'static str, cache_control: &'static str, chunks: Vec<Bytes>) -> Self {
        Self::of(content_type, cache_control, chunks.into())
    }

    /// The same of one piece.
    pub fn full(content_type: &'static str, cache_control: &'static str, bytes: Bytes) -> Self {
        Self::of(content_type, cache_control, Pieces::One(bytes))
    }

    /// The same of pieces that many answers share.
    pub fn shared(content_type: &'static str, cache_control: &'static str, pieces: Arc<[Bytes]>) -> Self {
        Self::of(content_type, cache_control, Pieces::Many(pieces))
    }

    fn of(content_type: &'static str, cache_control: &'static str, pieces: Pieces) -> Self {
        let mut headers = HeaderMap::with_capacity(HEADERS);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache_control));
        Self { pieces, etag: None, headers, keeper: None }
    }

    /// Keeps `keeper` until its bytes are sent: see [`Body::keeping`].
    #[must_use]
    pub fn keeping<K: Send + Sync + 'static>(mut self, keeper: Arc<K>) -> Self {
        self.keeper = Some(keeper);
        self
    }

    /// With a strong ETag, given without its quotes. One that can't stand in a header is left out.
    #[must_use]
    pub fn etag(mut self, tag: &str) -> Self {
        self.etag = HeaderValue::from_str(&format!("\"{tag}\"")).ok();
        self
    }

    /// With a strong ETag that is ready to be sent, quotes and all.
    #[must_use]
    pub fn etag_value(mut self, etag: HeaderValue) -> Self {
        self.etag = Some(etag);
        self
    }

    /// With one more header, such as `Content-Encoding` or `Vary`.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Answers a request for it: 304 if the client has it, 206 or 416 for one byte range, else 200.
    pub fn answer(mut self, request: &Parts) -> Response<Body> {
        self.headers.insert(header::ACCEPT_RANGES, const { HeaderValue::from_static("bytes") });
        let response = self.choose(request);
        self.finish(response)
    }

    /// Answers a request of which nothing counts but this `If-None-Match`: 304 if the client has it, else 200. Ranges
    /// are not offered.
    pub fn answer_whole(self, if_none_match: Option<&HeaderValue>) -> Response<Body> {
        let known = |list: &HeaderValue, etag: &HeaderValue| Some(names(list.to_str().ok()?, etag.to_str().ok()?));
        let known = if_none_match.zip(self.etag.as_ref()).and_then(|(list, etag)| known(list, etag)).unwrap_or(false);
        let response = if known { unchanged() } else { Response::new(self.body(self.pieces.clone())) };
        self.finish(response)
    }

    /// Puts the headers on.
    fn finish(mut self, mut response: Response<Body>) -> Response<Body> {
        if response.status() == StatusCode::OK {
            // By far the most: nothing to be merged.
            let mut headers = self.headers;
            if let Some(etag) = self.etag {
                headers.insert(header::ETAG, etag);
            }
            *response.headers_mut() = headers;
            return response;
        }
        if let Some(etag) = &self.etag {
            response.headers_mut().insert(header::ETAG, etag.clone());
        }
        match response.status() {
            // An error keeps its own type and stays uncached.
            StatusCode::RANGE_NOT_SATISFIABLE => {
                put(&mut response, header::ACCEPT_RANGES, "bytes");
                return response;
            }
            // RFC 9110 section 15.4.5: what describes the bytes that aren't sent stays at home.
            StatusCode::NOT_MODIFIED => {
                self.headers.remove(header::CONTENT_TYPE);
                self.headers.remove(header::CONTENT_ENCODING);
                self.headers.remove(header::ACCEPT_RANGES);
            }
            _ => {}
        }
        response.headers_mut().extend(self.headers);
        response
    }

    fn choose(&self, request: &Parts) -> Response<Body> {
        let etag = self.etag.as_ref().and_then(|tag| tag.to_str().ok());
        if etag.is_some_and(|etag| etag_matches(&request.headers, etag)) {
            return unchanged();
        }
        let length = self.pieces.as_slice().iter().map(|chunk| chunk.len() as u64).sum();
        match self.asked(request, etag, length) {
            Asked::Whole => Response::new(self.body(self.pieces.clone())),
            Asked::Part(range) => {
                let pieces = range::slice(self.pieces.as_slice(), &range);
                let mut response = Response::new(self.body(pieces.into()));
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let last = range.end.saturating_sub(1);
                content_range(&mut response, &format!("bytes {}-{last}/{length}", range.start));
                response
            }
            Asked::Unsatisfiable => {
                let words = format!("this file has {length} bytes; the range asked for holds none of them");
                let mut response = error(StatusCode::RANGE_NOT_SATISFIABLE, words);
                content_range(&mut response, &format!("bytes */{length}"));
                response
            }
        }
    }

    fn body(&self, pieces: Pieces) -> Body {
        Body::pieces(pieces).kept(self.keeper.clone())
    }

    /// RFC 9110 section 14.2: ranges are for GET, and only if the file is the one that If-Range names.
    fn asked(&self, request: &Parts, etag: Option<&str>, length: u64) -> Asked {
        let text = |name| request.headers.get(name).and_then(|value| value.to_str().ok());
        let same_file = match request.headers.get(header::IF_RANGE) {
            Some(given) => etag.is_some_and(|etag| etag.as_bytes() == given.as_bytes()),
            None => true,
        };
        match text(header::RANGE) {
            Some(range) if request.method == Method::GET && same_file => range::parse(range, length),
            _ => Asked::Whole,
        }
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pieces, keeps) = (self.pieces.as_slice().len(), self.keeper.is_some());
        write!(f, "Content {{ {pieces} pieces, etag: {:?}, keeps: {keeps} }}", self.etag)
    }
}

/// Whether `If-None-Match` names this ETag (given with its quotes), by weak comparison (RFC 9110 section 13.1.2).
pub fn etag_matches(headers: &HeaderMap, etag: &str) -> bool {
    let lists = headers.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
    lists.into_iter().any(|list| names(list, etag))
}

/// Whether a list of ETags names this one.
fn names(list: &str, etag: &str) -> bool {
    let strong = |tag| str::strip_prefix(tag, "W/").unwrap_or(tag);
    let wanted = strong(etag);
    list.split(',').map(str::trim).any(|tag| tag == "*" || strong(tag) == wanted)
}

fn unchanged() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

/// Whether the client takes gzip (RFC 9110 section 12.5.3): named, or `*`, and not with weight zero.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut any = false;
    let lists = headers.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    for coding in lists.flat_map(|list| list.split(',')) {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = parameters.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()).unwrap_or(1.0);
        match name.trim() {
            "gzip" => return weight > 0.0,
            "*" => any = weight > 0.0,
            _ => {}
        }
    }
    any
}

fn put(response: &mut Response<Body>, name: HeaderName, value: &'static str) {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
}

fn content_range(response: &mut Response<Body>, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    /// Status, Content-Range and body of the answer to a GET (or `method`) of the file `abcdefghij`.
    async fn ask(method: Method, headers: &[(&str, &str)]) -> (u16, String, String) {
        let mut request = http::Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let file = Content::new("video/mp4", "max-age=1", vec!["abc".into(), "defghij".into()]).etag("tag");
        let response = file.answer(&parts);
        assert_eq!(response.headers()[header::ETAG], "\"tag\"");
        let range = response.headers().get(header::CONTENT_RANGE).map_or("", |v| v.to_str().unwrap()).to_owned();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, range, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn check(headers: &[(&str, &str)], status: u16, range: &str, body: &str) {
        assert_eq!(ask(Method::GET, headers).await, (status, range.to_owned(), body.to_owned()), "{headers:?}");
    }

    #[tokio::test]
    async fn files_answer_whole_or_by_one_range() {
        check(&[], 200, "", "abcdefghij").await;
        check(&[("range", "bytes=2-4")], 206, "bytes 2-4/10", "cde").await;
        check(&[("range", "bytes=-2")], 206, "bytes 8-9/10", "ij").await;
        check(&[("range", "bytes=8-")], 206, "bytes 8-9/10", "ij").await;
        check(&[("range", "bytes=0-1,3-4")], 200, "", "abcdefghij").await;
        let words = "this file has 10 bytes; the range asked for holds none of them\n";
        check(&[("range", "bytes=10-")], 416, "bytes */10", words).await;
    }

    #[tokio::test]
    async fn a_range_counts_only_if_the_file_is_the_one_meant() {
        check(&[("range", "bytes=2-4"), ("if-range", "\"tag\"")], 206, "bytes 2-4/10", "cde").await;
        check(&[("range", "bytes=2-4"), ("if-range", "\"other\"")], 200, "", "abcdefghij").await;
        assert_eq!(ask(Method::HEAD, &[("range", "bytes=2-4")]).await.0, 200);
    }

    #[tokio::test]
    async fn what_the_client_has_is_304_before_any_range() {
        for given in ["\"tag\"", "W/\"tag\"", "*", "\"x\", \"tag\""] {
            check(&[("if-none-match", given), ("range", "bytes=2-4")], 304, "", "").await;
        }
        for given in ["\"x\"", "tag", ""] {
            check(&[("if-none-match", given)], 200, "", "abcdefghij").await;
        }
    }

    #[tokio::test]
    async fn where_no_ranges_are_offered_there_is_only_the_whole_and_304() {
        for (given, status, length) in [(None, 200, 3), (Some("\"x\""), 200, 3), (Some("\"y\", W/\"t\""), 304, 0)] {
            let text =
                Content::full("text/plain", "no-cache", "abc".into()).etag_value(HeaderValue::from_static("\"t\""));
            let response = text.answer_whole(given.map(HeaderValue::from_static).as_ref());
            assert_eq!((response.status().as_u16(), response.body().length()), (status, Some(length)), "{given:?}");
            assert_eq!(response.headers()[header::ETAG], "\"t\"");
            assert!(!response.headers().contains_key(header::ACCEPT_RANGES));
        }
    }

    #[test]
    fn gzip_is_taken_when_named_and_not_when_refused() {
        let takes = |value: &'static str| {
            accepts_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        for yes in ["gzip", "br, gzip", "gzip;q=0.5", "*", "identity, *;q=0.1"] {
            assert!(takes(yes), "{yes}");
        }
        for no in ["", "br", "gzip;q=0", "gzip; q=0", "*;q=0", "*, gzip;q=0"] {
            assert!(!takes(no), "{no}");
        }
    }

    #[test]
    fn an_error_keeps_its_own_type_and_is_not_cached() {
        let response = error(StatusCode::NOT_FOUND, "no such stream");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    }
}
