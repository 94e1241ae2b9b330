//! Files that are older than the live window, from the recording, piece by piece as the client takes them.
//!
//! The names are those of the live window, and so are the bytes. There is no ETag: what the live window made of the
//! bytes is forgotten, and what a store makes of them is another one.

use super::{MEDIA_CACHE, late, media_type, missing};
use crate::live::Stream;
use crate::record::{Reading, Replay, ReplayFailure};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use media::ladder::Rendition;
use media::route::File;
use media::window::Recall;
use service::http::{Body, error};
use std::io;
use std::ops::Range;

/// The answer to a request for a file that the live window does not have; `None` if the recording is not to be asked.
pub(super) async fn answer(
    replay: &Replay,
    stream: &Stream,
    rendition: Rendition,
    file: &File,
    request: &Parts,
) -> Option<Response<Body>> {
    let (recall, anchor_ms) = stream.recall(rendition, file)?;
    let asked = asked(request);
    let opened = replay.open(&stream.name, anchor_ms, rendition, file, asked.clone()).await;
    Some(match opened {
        Ok(reading) => send(reading, rendition, asked),
        Err(ReplayFailure::Missing) if recall == Recall::Perhaps => missing(file),
        Err(failure @ ReplayFailure::Missing) => {
            // A folder that is not mounted at this moment looks just like this.
            tracing::warn!(stream = %stream.name, %rendition, %file, "listed, but {failure}");
            late("the recording does not have this file at this moment; try again")
        }
        Err(ReplayFailure::Away) => late("the store of recordings does not answer; try again in a moment"),
        Err(ReplayFailure::Busy) => late("too many viewers read recordings at this moment; try again"),
    })
}

fn send(reading: Reading, rendition: Rendition, asked: Option<Range<u64>>) -> Response<Body> {
    let whole = reading.facts.bytes;
    let sent = asked.map(|range| range.start..range.end.min(whole));
    if sent.as_ref().is_some_and(Range::is_empty) {
        let words = format!("this file has {whole} bytes; the range asked for holds none of them");
        let mut response = error(StatusCode::RANGE_NOT_SATISFIABLE, words);
        put(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{whole}"));
        return response;
    }
    let length = sent.as_ref().map_or(whole, |range| range.end - range.start);
    let body = Body::unfold(reading, |mut reading| async move {
        let next = reading.next().await?;
        Some((next.map_err(io::Error::other), reading))
    });
    let mut response = Response::new(body);
    if let Some(range) = &sent {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let text = format!("bytes {}-{}/{whole}", range.start, range.end - 1);
        put(response.headers_mut(), header::CONTENT_RANGE, &text);
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type(rendition)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(MEDIA_CACHE));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response
}

fn put(headers: &mut HeaderMap, name: header::HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// The bytes that are asked for, if it is one range with both its ends, as byte ranges of playlists have them. The others
/// get the whole file, which RFC 9110 (section 14.2) allows; so does whoever has seen another ETag.
fn asked(request: &Parts) -> Option<Range<u64>> {
    let headers = &request.headers;
    let sound = request.method == Method::GET && !headers.contains_key(header::IF_RANGE);
    let text = headers.get(header::RANGE).filter(|_| sound)?.to_str().ok()?;
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let (first, last): (u64, u64) = (number(first)?, number(last)?);
    (first <= last).then(|| first..last.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, given: &[(&str, &str)], expected: Option<Range<u64>>) {
        let mut request = http::Request::builder().method(method);
        for (name, value) in given {
            request = request.header(*name, *value);
        }
        assert_eq!(asked(&request.body(()).unwrap().into_parts().0), expected, "{given:?}");
    }

    #[test]
    fn one_range_with_two_ends_is_understood_and_others_get_the_whole() {
        check(Method::GET, &[("range", "bytes=0-99")], Some(0..100));
        check(Method::GET, &[("range", "bytes=5-5")], Some(5..6));
        for other in ["bytes=5-4", "bytes=5-", "bytes=-5", "bytes=0-1,3-4", "bytes=+1-2", "lines=1-2", "0-1"] {
            check(Method::GET, &[("range", other)], None);
        }
        check(Method::HEAD, &[("range", "bytes=0-99")], None);
        check(Method::GET, &[("range", "bytes=0-99"), ("if-range", "\"x\"")], None);
        check(Method::GET, &[], None);
    }
}
