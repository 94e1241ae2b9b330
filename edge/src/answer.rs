//! Answers to viewers, made from what was found: headers of each class, stand-ins, refusals in words.
//!
//! Does no waiting and knows no origin.

use crate::document::{Document, How, Zipped};
use crate::failure::Failure;
use crate::flight::{Head, Landed, Reader};
use crate::upstream::strong;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use service::http::{Body, Content, accepts_gzip, error, etag_matches};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// RFC 9211.
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What a text is if its origin didn't say.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// What is said of an object beside its own bytes.
#[derive(Debug, Clone)]
pub(crate) struct Notes {
    /// Where it comes from.
    pub(crate) how: How,
    /// `Cache-Control` of a good answer.
    pub(crate) told: HeaderValue,
    /// How long it is fresh here, from when it came.
    pub(crate) fresh: Duration,
}

/// What counts of a request for a text. While it waits, everything else would cost memory for each viewer.
#[derive(Debug)]
pub(crate) struct Wants {
    /// Whether the viewer takes gzip.
    pub(crate) gzip: bool,
    /// Which versions he has.
    pub(crate) if_none_match: Option<HeaderValue>,
}

impl Wants {
    /// Reads a request's headers.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self { gzip: accepts_gzip(headers), if_none_match: headers.get(header::IF_NONE_MATCH).cloned() }
    }
}

/// Which bytes of a file a request asks for, as far as it matters while the file is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    /// All, in an answer of 200.
    Whole,
    /// All, as a range that begins with the first byte and has no end: 206 if the length is known.
    FromStart,
    /// Others: they can only be told when all is here.
    Other,
}

impl Span {
    /// Reads a request for a file with this head. Ranges are for GET, and only of the file that `If-Range` names (RFC
    /// 9110 section 14.2).
    pub(crate) fn of(request: &Parts, head: &Head) -> Self {
        let Some(range) = request.headers.get(header::RANGE).filter(|_| request.method == Method::GET) else {
            return Self::Whole;
        };
        if request.headers.get(header::IF_RANGE).is_some_and(|given| Some(given) != head.etag.as_ref()) {
            return Self::Whole;
        }
        match range.to_str().ok().and_then(|range| range.split_once('=')) {
            Some((unit, "0-")) if unit.eq_ignore_ascii_case("bytes") && head.length != Some(0) => Self::FromStart,
            _ => Self::Other,
        }
    }
}

impl How {
    /// A name from a fixed set, for metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Collapsed => "collapsed",
            Self::Stale => "stale",
            Self::Late => "late",
        }
    }
}

/// A small text.
pub(crate) async fn document(wants: &Wants, document: &Arc<Document>, notes: &Notes) -> Response<Body> {
    let zipped = if wants.gzip && document.head.status == StatusCode::OK { document.zipped().await } else { None };
    let now = Instant::now();
    if document.head.status != StatusCode::OK {
        let body = Body::full(document.plain.clone()).keeping(Arc::clone(document));
        return stamp(refusal(&document.head, body), document.age(now), document.kept(now), notes);
    }
    let gzip = zipped.is_some();
    let plain = || Zipped { bytes: document.plain.clone(), etag: document.etag.clone() };
    let Zipped { bytes, etag } = zipped.unwrap_or_else(plain);
    let mut content = headed(Content::full(UNKNOWN_TYPE, "no-store", bytes), &document.head, &notes.told)
        .keeping(Arc::clone(document))
        .header(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if let Some(etag) = etag {
        content = content.etag_value(etag);
    }
    if gzip {
        content = content.header(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let answer = content.answer_whole(wants.if_none_match.as_ref());
    stamp(answer, document.age(now), document.kept(now), notes)
}

/// A media file that is here.
pub(crate) fn landed(request: &Parts, landed: Landed, notes: &Notes, now: Instant) -> Response<Body> {
    let (age, kept) = ages(&landed.head, now);
    let response = if landed.head.status == StatusCode::OK {
        let content = Content::shared(UNKNOWN_TYPE, "no-store", landed.pieces).keeping(landed.flight);
        let content = headed(content, &landed.head, &notes.told);
        match landed.head.etag.clone().filter(strong) {
            Some(etag) => content.etag_value(etag).answer(request),
            None => content.answer(request),
        }
    } else {
        refusal(&landed.head, Body::shared(landed.pieces).keeping(landed.flight))
    };
    stamp(response, age, kept, notes)
}

/// A media file that is on its way: its body follows the flight.
pub(crate) fn following(request: &Parts, head: &Head, reader: Reader, notes: &Notes, now: Instant) -> Response<Body> {
    let (age, kept) = ages(head, now);
    let etag = head.etag.as_ref().and_then(|etag| etag.to_str().ok());
    let mut response = if etag.is_some_and(|etag| etag_matches(&request.headers, etag)) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let mut response = Response::new(Body::stream(reader));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, content_type(head));
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Some(length) = head.length {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            if Span::of(request, head) == Span::FromStart {
                put(headers, header::CONTENT_RANGE, &format!("bytes 0-{}/{length}", length.saturating_sub(1)));
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            }
        }
        response
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, notes.told.clone());
    if let Some(etag) = &head.etag {
        headers.insert(header::ETAG, etag.clone());
    }
    stamp(response, age, kept, notes)
}

/// What could not be got.
pub(crate) fn failed(failure: &Failure) -> Response<Body> {
    let mut response = error(failure.status(), failure.to_string());
    let headers = response.headers_mut();
    if failure.status() == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    put(headers, CACHE_STATUS, &format!("live360; fwd=miss; detail={}", failure.label()));
    response
}

fn headed(content: Content, head: &Head, told: &HeaderValue) -> Content {
    content.header(header::CONTENT_TYPE, content_type(head)).header(header::CACHE_CONTROL, told.clone())
}

/// The origin's own words about what is not there, which nobody caches: it may be there in a moment.
fn refusal(head: &Head, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type(head));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn stamp(mut response: Response<Body>, age: Duration, kept: Duration, notes: &Notes) -> Response<Body> {
    let ttl = notes.fresh.saturating_sub(kept).as_secs();
    let headers = response.headers_mut();
    headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
    let status = match notes.how {
        How::Hit => format!("live360; hit; ttl={ttl}"),
        How::Miss => "live360; fwd=miss; stored".to_owned(),
        How::Collapsed => "live360; fwd=miss; collapsed".to_owned(),
        How::Stale => "live360; fwd=stale; detail=origin_failed".to_owned(),
        How::Late => "live360; fwd=stale; detail=origin_slow".to_owned(),
    };
    put(headers, CACHE_STATUS, &status);
    response
}

fn ages(head: &Head, now: Instant) -> (Duration, Duration) {
    let kept = now.saturating_duration_since(head.received);
    (kept.saturating_add(head.age), kept)
}

fn content_type(head: &Head) -> HeaderValue {
    head.content_type.clone().unwrap_or(HeaderValue::from_static(UNKNOWN_TYPE))
}

fn put(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(length: Option<u64>) -> Head {
        let etag = Some(HeaderValue::from_static("\"e\""));
        let (received, age) = (Instant::now(), Duration::ZERO);
        Head { status: StatusCode::OK, length, content_type: None, etag, received, age }
    }

    #[test]
    fn only_a_range_from_the_first_byte_on_needs_not_wait_for_the_last() {
        for (method, range, if_range, length, span) in [
            ("GET", None, None, Some(9), Span::Whole),
            ("GET", Some("bytes=0-"), None, Some(9), Span::FromStart),
            ("GET", Some("Bytes=0-"), Some("\"e\""), None, Span::FromStart),
            ("GET", Some("bytes=0-"), Some("\"other\""), Some(9), Span::Whole),
            ("GET", Some("bytes=5-6"), Some("\"other\""), Some(9), Span::Whole),
            ("HEAD", Some("bytes=5-6"), None, Some(9), Span::Whole),
            ("GET", Some("bytes=0-"), None, Some(0), Span::Other),
            ("GET", Some("bytes=0-5"), None, Some(9), Span::Other),
            ("GET", Some("bytes=1-"), None, Some(9), Span::Other),
            ("GET", Some("lines=0-"), None, Some(9), Span::Other),
        ] {
            let mut request = http::Request::builder().method(method);
            for (name, value) in [(header::RANGE, range), (header::IF_RANGE, if_range)] {
                if let Some(value) = value {
                    request = request.header(name, value);
                }
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(Span::of(&parts, &head(length)), span, "{method} {range:?} {if_range:?} of {length:?}");
        }
    }
}
