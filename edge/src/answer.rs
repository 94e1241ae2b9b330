//! Answers to viewers, made from what was found: headers of each class, stand-ins, refusals in words.
//!
//! Does no waiting and knows no origin.

use crate::document::{Document, How};
use crate::failure::Failure;
use crate::flight::{Head, Landed, Reader};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use service::http::{Body, Content, accepts_gzip, error, etag_matches};
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
pub(crate) fn document(request: &Parts, document: &Document, notes: &Notes, now: Instant) -> Response<Body> {
    let status = document.head.status;
    if status != StatusCode::OK {
        let refusal = refusal(&document.head, Body::full(document.plain.clone()));
        return stamp(refusal, document.age(now), document.kept(now), notes);
    }
    let zipped = if accepts_gzip(&request.headers) { document.zipped() } else { None };
    let gzip = zipped.is_some();
    let mut content = content(&document.head, &notes.told, vec![zipped.unwrap_or_else(|| document.plain.clone())])
        .header(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if let Some(tag) = tag(&document.head) {
        // Other bytes, another ETag.
        content = content.etag(&if gzip { format!("{tag}-gz") } else { tag.to_owned() });
    }
    if gzip {
        content = content.header(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    stamp(content.answer(request), document.age(now), document.kept(now), notes)
}

/// A media file that is here.
pub(crate) fn landed(request: &Parts, landed: Landed, notes: &Notes, now: Instant) -> Response<Body> {
    let (age, kept) = ages(&landed.head, now);
    let response = if landed.head.status == StatusCode::OK {
        let content = content(&landed.head, &notes.told, landed.pieces);
        match tag(&landed.head) {
            Some(tag) => content.etag(tag).answer(request),
            None => content.answer(request),
        }
    } else {
        refusal(&landed.head, Body::chunks(landed.pieces))
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

fn content(head: &Head, told: &HeaderValue, pieces: Vec<bytes::Bytes>) -> Content {
    Content::new(UNKNOWN_TYPE, "no-store", pieces)
        .header(header::CONTENT_TYPE, content_type(head))
        .header(header::CACHE_CONTROL, told.clone())
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

/// An ETag without its quotes.
fn tag(head: &Head) -> Option<&str> {
    head.etag.as_ref()?.to_str().ok()?.strip_prefix('"')?.strip_suffix('"')
}

fn put(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}
