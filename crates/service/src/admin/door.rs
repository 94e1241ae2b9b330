//! Who may ask the private listener, and for what.
//!
//! This machine may, but not a page in its browser; whoever sends `admin.token` may, from other machines over TLS unless
//! `admin.token_over_http` says otherwise; and over TLS a browser that has sent it
//! once may look at `/stat`, by a cookie that is good for nothing else. Wrong tokens are counted and soon not looked at.

use super::Wire;
use crate::config;
use crate::http::{Body, error};
use crate::secret::Secret;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use metrics::counter;
use rustls::crypto::aws_lc_rs;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where the page is, and where what it shows is. All that a cookie opens.
pub(super) const STAT: [&str; 2] = ["/stat", "/stat.json"];

/// Where a browser sends the token for a cookie.
pub(super) const LOGIN: &str = "/stat/login";

/// The cookie's name: browsers take one of this prefix only over TLS, for the whole host and for no other (RFC 6265bis
/// section 4.1.3.2).
const COOKIE: &str = "__Host-live360";

/// How long a browser stays logged in.
const SESSION: Duration = Duration::from_secs(12 * 3600);

/// Browsers that are logged in at a time; one more, and the one that came first has to log in again.
const SESSIONS_MAX: usize = 64;

/// Wrong tokens in a row from one address (an IPv6 /64 counts as one); then none is looked at for a while.
const WRONG_MAX: u32 = 5;

/// How long.
const LOCKED: Duration = Duration::from_secs(60);

/// Addresses of which wrong tokens are remembered; all others then count as one.
const ADDRESSES_MAX: usize = 1024;

/// What the door remembers.
#[derive(Debug, Default)]
pub(super) struct Door {
    sessions: Mutex<Vec<Session>>,
    wrong: Mutex<HashMap<IpAddr, Wrong>>,
}

/// A browser that is logged in.
#[derive(Debug)]
struct Session {
    id: Secret,
    /// What it was let in by: when that changes, the session is over.
    token: Secret,
    until: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Wrong {
    count: u32,
    last: Instant,
}

/// Whether somebody may.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Yes.
    May,
    /// No, in words.
    Refused(Response<Body>),
    /// A browser that may log in.
    LogIn,
}

impl Door {
    /// Whether this may be asked.
    pub(super) fn judge(&self, request: &Parts, peer: IpAddr, config: &config::Admin, now: Instant) -> Verdict {
        let (headers, token) = (&request.headers, config.token.as_ref());
        let local = peer.to_canonical().is_loopback();
        let private = is_over_tls(request) || config.token_over_http;
        if !local && !private && token.is_some() {
            // Whether a token is right is not told, nor looked at, where others can read it.
            let words = "from another machine this listener answers over TLS only: see admin.https";
            return Verdict::Refused(error(StatusCode::FORBIDDEN, words));
        }
        if let (Some(token), Some(given)) = (token, bearer(headers)) {
            return self.try_token(token, given, peer, now);
        }
        if local && !headers.contains_key(header::ORIGIN) && is_local(headers.get(header::HOST)) {
            return Verdict::May;
        }
        let looks = matches!(request.method, Method::GET | Method::HEAD) && STAT.contains(&request.uri.path());
        if let Some(token) = token
            && looks
            && is_over_tls(request)
            && !headers.contains_key(header::ORIGIN)
        {
            let known = cookies(headers).any(|id| self.is_open(id, token, now));
            return if known { Verdict::May } else { Verdict::LogIn };
        }
        Verdict::Refused(match (local, token) {
            (true, _) => error(
                StatusCode::FORBIDDEN,
                "this listener is not for pages: ask by IP address or as localhost, without an Origin header",
            ),
            (false, Some(_)) => {
                unauthorized("from another machine send \"Authorization: Bearer TOKEN\" with admin.token")
            }
            (false, None) => error(
                StatusCode::FORBIDDEN,
                "this listener answers its own machine only; set admin.token to open it to whoever sends it",
            ),
        })
    }

    fn try_token(&self, token: &Secret, given: &str, peer: IpAddr, now: Instant) -> Verdict {
        let mut wrong = lock(&self.wrong);
        wrong.retain(|_, wrong| now.saturating_duration_since(wrong.last) < LOCKED);
        let mut address = network(peer);
        if !wrong.contains_key(&address) && wrong.len() >= ADDRESSES_MAX {
            address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        }
        if wrong.get(&address).is_some_and(|wrong| wrong.count >= WRONG_MAX) {
            counter!("live360_admin_tokens_total", "outcome" => "locked").increment(1);
            let words = format!("too many wrong tokens from here: wait {} s", LOCKED.as_secs());
            let mut response = error(StatusCode::TOO_MANY_REQUESTS, words);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(LOCKED.as_secs()));
            return Verdict::Refused(response);
        }
        if token.matches(given) {
            wrong.remove(&address);
            return Verdict::May;
        }
        let entry = wrong.entry(address).or_insert(Wrong { count: 0, last: now });
        (entry.count, entry.last) = (entry.count.saturating_add(1), now);
        if entry.count == WRONG_MAX {
            tracing::warn!(%peer, locked_s = LOCKED.as_secs(), "too many wrong tokens for the admin listener");
        }
        counter!("live360_admin_tokens_total", "outcome" => "wrong").increment(1);
        Verdict::Refused(unauthorized("this is not admin.token"))
    }

    /// Logs a browser in that has shown the token: the answer with its cookie. Only over TLS.
    pub(super) fn log_in(&self, request: &Parts, token: Option<&Secret>, now: Instant) -> Response<Body> {
        let (Some(token), true, Some(_)) = (token, is_over_tls(request), bearer(&request.headers)) else {
            return error(StatusCode::FORBIDDEN, "a browser logs in over TLS, with admin.token");
        };
        let Some(id) = random() else {
            return error(StatusCode::INTERNAL_SERVER_ERROR, "this machine has no random numbers");
        };
        let cookie = format!("{COOKIE}={id}; Path=/; Max-Age={}; HttpOnly; Secure; SameSite=Strict", SESSION.as_secs());
        let mut sessions = lock(&self.sessions);
        sessions.retain(|session| session.until > now);
        if sessions.len() >= SESSIONS_MAX {
            sessions.remove(0);
        }
        let until = now.checked_add(SESSION).unwrap_or(now);
        sessions.push(Session { id: Secret::new(id), token: token.clone(), until });
        counter!("live360_admin_tokens_total", "outcome" => "logged_in").increment(1);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        response
    }

    fn is_open(&self, id: &str, token: &Secret, now: Instant) -> bool {
        let sessions = lock(&self.sessions);
        sessions.iter().any(|session| session.until > now && session.token == *token && session.id.matches(id))
    }
}

fn is_over_tls(request: &Parts) -> bool {
    request.extensions.get() == Some(&Wire::Tls)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A random text that nobody can guess; `None` if the machine has no such.
pub(super) fn random() -> Option<String> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::default_provider().secure_random.fill(&mut bytes).ok()?;
    let hex = |mut text: String, byte: &u8| {
        let _ = write!(text, "{byte:02x}");
        text
    };
    Some(bytes.iter().fold(String::new(), hex))
}

/// The token that is sent, if one is.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, given) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| given.trim())
}

/// The values of our cookie.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Who is counted as one.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

/// Whether a Host header is an address or `localhost`. HTTP/2 may leave it out, browsers don't speak that without TLS.
fn is_local(host: Option<&HeaderValue>) -> bool {
    let Some(host) = host else { return true };
    let Ok(host) = host.to_str() else { return false };
    let is_address =
        |text: &str| text.parse::<SocketAddr>().is_ok() || text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    is_address(host) || name.eq_ignore_ascii_case("localhost")
}

fn unauthorized(words: &str) -> Response<Body> {
    let mut response = error(StatusCode::UNAUTHORIZED, words);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "127.0.0.1";
    const ELSEWHERE: &str = "192.0.2.1";

    fn request(path: &str, tls: bool, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.extensions.insert(if tls { Wire::Tls } else { Wire::Plain });
        parts
    }

    /// 200 for who may, 0 for who may log in.
    fn status(door: &Door, peer: &str, token: Option<&str>, request: &Parts, now: Instant) -> u16 {
        status_of(door, peer, &config(token, true), request, now)
    }

    fn config(token: Option<&str>, token_over_http: bool) -> config::Admin {
        config::Admin { token: token.map(Secret::new), token_over_http, ..config::Admin::default() }
    }

    fn status_of(door: &Door, peer: &str, config: &config::Admin, request: &Parts, now: Instant) -> u16 {
        match door.judge(request, peer.parse().unwrap(), config, now) {
            Verdict::May => 200,
            Verdict::Refused(response) => response.status().as_u16(),
            Verdict::LogIn => 0,
        }
    }

    fn check(peer: &str, token: Option<&str>, headers: &[(&str, &str)], expected: u16) {
        let found = status(&Door::default(), peer, token, &request("/metrics", false, headers), Instant::now());
        assert_eq!(found, expected, "{peer} {token:?} {headers:?}");
    }

    #[test]
    fn this_machine_may_ask_and_others_need_the_token() {
        for peer in [HERE, "::1", "::ffff:127.0.0.1"] {
            check(peer, None, &[], 200);
            check(peer, Some("t"), &[], 200);
        }
        for peer in [ELSEWHERE, "2001:db8::1", "::ffff:192.0.2.1"] {
            check(peer, None, &[], 403);
            check(peer, None, &[("authorization", "Bearer t")], 403);
            check(peer, Some("t"), &[], 401);
            check(peer, Some("t"), &[("authorization", "Bearer x")], 401);
            check(peer, Some("t"), &[("authorization", "Basic t")], 401);
            check(peer, Some("t"), &[("authorization", "bearer t")], 200);
        }
        check(HERE, Some("t"), &[("authorization", "Bearer x")], 401);
    }

    #[test]
    fn from_other_machines_the_token_counts_over_tls_only_unless_the_config_says_so() {
        let ask = |peer, tls, over_http, token, given: &str| {
            let request = request("/metrics", tls, &[("authorization", &format!("Bearer {given}"))]);
            status_of(&Door::default(), peer, &config(token, over_http), &request, Instant::now())
        };
        for (peer, plain) in [(HERE, 200), ("::1", 200), (ELSEWHERE, 403), ("2001:db8::1", 403)] {
            assert_eq!(ask(peer, false, false, Some("t"), "t"), plain, "{peer}");
            assert_eq!(ask(peer, false, true, Some("t"), "t"), 200, "{peer}");
            assert_eq!(ask(peer, true, false, Some("t"), "t"), 200, "{peer}");
        }
        // Who is refused is not told whether the token was right.
        assert_eq!(ask(ELSEWHERE, false, false, Some("t"), "x"), 403);
        assert_eq!(ask(ELSEWHERE, false, true, Some("t"), "x"), 401);
        assert_eq!(ask(ELSEWHERE, false, false, None, "t"), 403);
    }

    #[test]
    fn pages_in_a_local_browser_may_not_ask() {
        for host in ["127.0.0.1:9091", "127.0.0.1", "[::1]:9091", "[::1]", "localhost:9091", "LocalHost"] {
            check(HERE, None, &[("host", host)], 200);
        }
        for host in ["evil.example", "evil.example:9091", "localhost.evil.example", ""] {
            check(HERE, None, &[("host", host)], 403);
        }
        check(HERE, None, &[("host", "127.0.0.1:9091"), ("origin", "http://evil.example")], 403);
    }

    #[test]
    fn only_over_tls_with_a_token_set_and_for_stat_a_browser_may_log_in() {
        let (door, now) = (Door::default(), Instant::now());
        let check = |path: &str, tls, token, expected| {
            assert_eq!(status(&door, ELSEWHERE, token, &request(path, tls, &[]), now), expected, "{path} {tls}");
        };
        check("/stat", true, Some("t"), 0);
        check("/stat", false, Some("t"), 401);
        check("/stat", true, None, 403);
        for path in ["/metrics", "/control/reload", "/stat/login", "/"] {
            check(path, true, Some("t"), 401);
        }
    }

    /// Logs in; gives the cookie as it comes back.
    fn log_in(door: &Door, token: &str, now: Instant) -> String {
        let login = request(LOGIN, true, &[("authorization", &format!("Bearer {token}"))]);
        assert_eq!(status(door, ELSEWHERE, Some(token), &login, now), 200);
        let response = door.log_in(&login, Some(&Secret::new(token)), now);
        assert_eq!(response.status(), 204);
        let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
        assert!(cookie.ends_with("; HttpOnly; Secure; SameSite=Strict") && !cookie.contains(token), "{cookie}");
        cookie.split(';').next().unwrap().to_owned()
    }

    #[test]
    fn a_cookie_opens_stat_over_tls_until_its_time_or_the_token_is_over() {
        let (door, now, token) = (Door::default(), Instant::now(), "correct-horse");
        let cookie = log_in(&door, token, now);
        let ask = |path: &str, tls, token, extra: &[(&str, &str)], now| {
            let headers: Vec<_> = [("cookie", cookie.as_str())].into_iter().chain(extra.iter().copied()).collect();
            status(&door, ELSEWHERE, Some(token), &request(path, tls, &headers), now)
        };
        assert_eq!(ask("/stat", true, token, &[], now), 200);
        assert_eq!(ask("/stat.json", true, token, &[], now), 200);
        assert_eq!(ask("/metrics", true, token, &[], now), 401);
        assert_eq!(ask("/control/log", true, token, &[], now), 401);
        assert_eq!(ask("/stat", false, token, &[], now), 401);
        assert_eq!(ask("/stat", true, token, &[("origin", "https://evil.example")], now), 401);
        assert_eq!(ask("/stat", true, "another", &[], now), 0);
        assert_eq!(ask("/stat", true, token, &[], now + SESSION), 0);
        let other = request("/stat", true, &[("cookie", "__Host-live360=00; a=b")]);
        assert_eq!(status(&door, ELSEWHERE, Some(token), &other, now), 0);
    }

    #[test]
    fn nobody_logs_in_over_plain_http_or_without_having_shown_the_token() {
        let (door, now, token) = (Door::default(), Instant::now(), Secret::new("t"));
        let shown = [("authorization", "Bearer t")];
        assert_eq!(door.log_in(&request(LOGIN, false, &shown), Some(&token), now).status(), 403);
        assert_eq!(door.log_in(&request(LOGIN, true, &[]), Some(&token), now).status(), 403);
        assert_eq!(door.log_in(&request(LOGIN, true, &shown), None, now).status(), 403);
    }

    #[test]
    fn wrong_tokens_lock_their_address_for_a_while_and_no_other() {
        let (door, now) = (Door::default(), Instant::now());
        let ask = |peer: &str, token: &str, now| {
            let headers = [("authorization", format!("Bearer {token}"))];
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            status(&door, peer, Some("t"), &request("/stat", false, &headers), now)
        };
        for _ in 0..WRONG_MAX - 1 {
            assert_eq!(ask("2001:db8::1", "x", now), 401);
        }
        assert_eq!(ask("2001:db8::1", "t", now), 200, "a right one ends the row");
        for _ in 0..WRONG_MAX {
            assert_eq!(ask("2001:db8::1", "x", now), 401);
        }
        assert_eq!(ask("2001:db8::2", "t", now), 429, "its neighbour is the same");
        assert_eq!(ask("2001:db8:0:1::1", "t", now), 200);
        assert_eq!(ask("2001:db8::1", "t", now + LOCKED), 200);
    }

    #[test]
    fn what_is_remembered_of_wrong_tokens_and_sessions_is_bounded() {
        let (door, now) = (Door::default(), Instant::now());
        for n in 0..2 * u32::try_from(ADDRESSES_MAX).unwrap() {
            let peer = Ipv4Addr::from_bits(0x0A00_0000 + n).to_string();
            status(&door, &peer, Some("t"), &request("/stat", false, &[("authorization", "Bearer x")]), now);
        }
        assert_eq!(lock(&door.wrong).len(), ADDRESSES_MAX + 1);
        (0..2 * SESSIONS_MAX).for_each(|_| drop(log_in(&door, "correct-horse", now + LOCKED)));
        assert_eq!(lock(&door.sessions).len(), SESSIONS_MAX);
    }
}
