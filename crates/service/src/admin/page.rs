//! `/stat` as a page for people, and the form that lets a browser on another machine see it.
//!
//! One file, `stat.html`, with its script and style inside: it asks for `/stat.json` from time to time and builds what it
//! shows from texts, never from markup, since encoders choose their own names. Nothing in it is particular to a server.

use super::door;
use crate::http::{Body, error};
use http::header::{self, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

const STAT: &str = include_str!("stat.html");
const LOGIN: &str = include_str!("login.html");

/// What stands in the files for the number that only this answer's own script and style know.
const NONCE: &str = "NONCE";

/// Whether a page is asked for rather than JSON: browsers name the type, programs that take anything don't.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let html = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/html"));
        html && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

/// The page.
pub(super) fn stat() -> Response<Body> {
    answer(StatusCode::OK, STAT)
}

/// The form.
pub(super) fn login() -> Response<Body> {
    answer(StatusCode::UNAUTHORIZED, LOGIN)
}

fn answer(status: StatusCode, page: &str) -> Response<Body> {
    let Some(nonce) = door::random() else {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "this machine has no random numbers");
    };
    let mut response = Response::new(Body::full(page.replace(NONCE, &nonce)));
    *response.status_mut() = status;
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Cookie"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_names_html_gets_a_page() {
        let check = |accept: &[&'static str], expected| {
            let mut headers = HeaderMap::new();
            for line in accept {
                headers.append(header::ACCEPT, HeaderValue::from_static(line));
            }
            assert_eq!(is_wanted(&headers), expected, "{accept:?}");
        };
        check(&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], true);
        check(&["application/json", "Text/HTML;q=0.5"], true);
        check(&["application/json, text/html;q=0"], false);
        for other in [&[][..], &["*/*"], &["application/json"], &["text/*"], &["text/htmlx"]] {
            check(other, false);
        }
    }

    #[test]
    fn pages_run_nothing_but_their_own_script_and_build_no_markup() {
        for page in [STAT, LOGIN] {
            assert_eq!(page.matches("<script").count(), page.matches("<script nonce=\"NONCE\">").count());
            assert_eq!(page.matches("<style").count(), page.matches("<style nonce=\"NONCE\">").count());
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "http://",
                "https://",
                " style=\"",
            ] {
                assert!(!page.contains(word), "{word}");
            }
        }
        let (first, second) = (stat(), stat());
        let policy = |response: &Response<Body>| response.headers()[header::CONTENT_SECURITY_POLICY].clone();
        assert_ne!(policy(&first), policy(&second), "a number is used once");
    }
}
