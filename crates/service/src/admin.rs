//! The private listener: `/healthz`, `/readyz`, `/metrics`, `/stat` and `/control/…`.
//!
//! It answers this machine only; with `admin.token` also whoever sends it over TLS. A proxy on this machine makes everyone
//! look local, so don't put one in front. Pages that a browser on this machine has open are kept out too: no CORS, no `Origin`,
//! and no host name that an attacker's DNS could have pointed here. What `/stat` and `/control` say is the tiers' own.

use crate::config;
use crate::http::{Body, Handler, Limits, error, json, serve, serve_tls};
use crate::ready::{Latch, Stage};
use crate::secret::Secret;
use crate::telemetry::Metrics;
use crate::tls::Tls;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How often metrics are folded when nobody scrapes.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// What a tier says about itself on `/stat`.
pub type Stat = Box<dyn Fn() -> serde_json::Value + Send + Sync>;

/// What a tier does on `/control/…`; `None` if that path is not its own.
pub type Control = Box<dyn Fn(Parts) -> Pin<Box<dyn Future<Output = Option<Response<Body>>> + Send>> + Send + Sync>;

/// How a request came: an extension of its [`Parts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Anybody on the way can read it.
    Plain,
    /// Over TLS.
    Tls,
}

/// What the listener shows, put together by the process that owns it.
pub struct Admin {
    token: Option<Secret>,
    /// Whether the token counts over plain HTTP from other machines, too.
    token_over_http: bool,
    metrics: Metrics,
    latch: Latch,
    stats: BTreeMap<&'static str, Stat>,
    controls: Vec<Control>,
}

impl Admin {
    /// Without any tier yet.
    pub fn new(config: &config::Admin, metrics: Metrics, latch: Latch) -> Self {
        let (token, token_over_http) = (config.token.clone(), config.token_over_http);
        Self { token, token_over_http, metrics, latch, stats: BTreeMap::new(), controls: Vec::new() }
    }

    /// Shows what this tier says under its name in `/stat`.
    pub fn stat(&mut self, tier: &'static str, stat: impl Fn() -> serde_json::Value + Send + Sync + 'static) {
        self.stats.insert(tier, Box::new(stat));
    }

    /// Asks this, after those added before it, about `/control/…`.
    pub fn control(&mut self, control: Control) {
        self.controls.push(control);
    }

    /// Serves until `shutdown`, on one listener and, if there is one, on another over TLS.
    pub async fn run(
        self,
        listener: TcpListener,
        secure: Option<(TcpListener, Arc<Tls>)>,
        shutdown: CancellationToken,
    ) {
        let metrics = self.metrics.clone();
        let upkeep = async {
            let mut tick = tokio::time::interval(UPKEEP_EVERY);
            loop {
                tick.tick().await;
                metrics.upkeep();
            }
        };
        let limits = |name| Limits { connections: 256, drain: Duration::from_secs(1), ..Limits::new(name) };
        let admin = Arc::new(self);
        let page = |wire| Page { admin: Arc::clone(&admin), wire };
        let plain = serve(listener, page(Wire::Plain), limits("admin"), shutdown.clone());
        let secure = async {
            if let Some((listener, tls)) = secure {
                serve_tls(listener, tls, page(Wire::Tls), limits("admin_https"), shutdown).await;
            }
        };
        let served = async { tokio::join!(plain, secure) };
        tokio::select! {
            _ = served => {}
            () = upkeep => {}
        }
    }
}

/// Binds the private listener, with a word of warning where nobody could use it.
pub async fn bind(addr: SocketAddr, config: &config::Admin) -> io::Result<TcpListener> {
    let usable = config.token.is_some() && config.token_over_http;
    if !addr.ip().is_loopback() && !usable {
        tracing::warn!(
            %addr,
            "admin.http is open to the network but answers this machine only: set admin.token and admin.https (or \
             admin.token_over_http, where the network is private)"
        );
    }
    TcpListener::bind(addr).await
}

#[derive(Clone)]
struct Page {
    admin: Arc<Admin>,
    wire: Wire,
}

impl Handler for Page {
    async fn handle(&self, mut request: Parts, peer: SocketAddr) -> Response<Body> {
        request.extensions.insert(self.wire);
        let Admin { token, token_over_http, .. } = &*self.admin;
        let private = self.wire == Wire::Tls || *token_over_http;
        match refuse(&request.headers, peer.ip(), private, token.as_ref()) {
            Some(refusal) => refusal,
            None => self.admin.answer(request).await,
        }
    }

    fn methods(&self) -> &'static [Method] {
        &[Method::GET, Method::HEAD, Method::POST]
    }

    fn open_to_pages(&self) -> bool {
        false
    }
}

impl Admin {
    async fn answer(&self, request: Parts) -> Response<Body> {
        let path = request.uri.path().to_owned();
        if path.starts_with("/control/") {
            return self.steer(request, &path).await;
        }
        if request.method == Method::POST {
            return error(StatusCode::METHOD_NOT_ALLOWED, "only /control/… takes POST");
        }
        match path.as_str() {
            "/healthz" => text(StatusCode::OK, "alive\n".to_owned()),
            "/readyz" => match self.latch.stage() {
                Stage::Starting => error(StatusCode::SERVICE_UNAVAILABLE, "starting"),
                Stage::Ready => text(StatusCode::OK, "ready\n".to_owned()),
                Stage::Leaving => error(StatusCode::SERVICE_UNAVAILABLE, "shutting down"),
            },
            "/metrics" => text(StatusCode::OK, self.metrics.render()),
            "/stat" => json(&self.stats.iter().map(|(tier, stat)| ((*tier).to_owned(), stat())).collect()),
            _ => error(StatusCode::NOT_FOUND, "here are /healthz, /readyz, /metrics, /stat and /control/…"),
        }
    }

    async fn steer(&self, request: Parts, path: &str) -> Response<Body> {
        for control in &self.controls {
            if let Some(answer) = control(request.clone()).await {
                return answer;
            }
        }
        error(StatusCode::NOT_FOUND, format!("nothing here is steered by {path}"))
    }
}

/// Who may ask: who has the token, from other machines only by a way that is private; without it this machine, but not a
/// page in its browser. Gives the refusal of others.
fn refuse(headers: &HeaderMap, peer: IpAddr, private: bool, token: Option<&Secret>) -> Option<Response<Body>> {
    let here = peer.to_canonical().is_loopback();
    if !here && !private && token.is_some() {
        let words = "from another machine this listener answers over TLS only: see admin.https";
        return Some(error(StatusCode::FORBIDDEN, words));
    }
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given =
        given.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    if let (Some(token), Some((_, given))) = (token, given) {
        return (!token.matches(given.trim())).then(|| unauthorized("this is not admin.token"));
    }
    if !here {
        return Some(match token {
            Some(_) => unauthorized("from another machine send \"Authorization: Bearer TOKEN\" with admin.token"),
            None => error(
                StatusCode::FORBIDDEN,
                "this listener answers its own machine only; set admin.token to open it to whoever sends it",
            ),
        });
    }
    (headers.contains_key(header::ORIGIN) || !is_local(headers.get(header::HOST))).then(|| {
        let words = "this listener is not for pages: ask by IP address or as localhost, without an Origin header";
        error(StatusCode::FORBIDDEN, words)
    })
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

fn text(status: StatusCode, words: String) -> Response<Body> {
    let mut response = Response::new(Body::full(words));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // The version is that of the Prometheus text format; for plain words it does no harm.
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("tiers", &self.stats.keys()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    fn check(peer: &str, token: Option<&str>, headers: &[(&str, &str)], expected: u16) {
        check_over(Wire::Tls, peer, token, headers, expected);
    }

    fn check_over(wire: Wire, peer: &str, token: Option<&str>, headers: &[(&str, &str)], expected: u16) {
        let mut request = http::Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let private = wire == Wire::Tls;
        let refusal = refuse(&parts.headers, peer.parse().unwrap(), private, token.map(Secret::new).as_ref());
        let status = refusal.map_or(200, |refusal| refusal.status().as_u16());
        assert_eq!(status, expected, "{wire:?} {peer} {token:?} {headers:?}");
    }

    #[test]
    fn this_machine_may_ask_and_others_need_the_token() {
        for peer in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            check(peer, None, &[], 200);
            check(peer, Some("t"), &[], 200);
        }
        for peer in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"] {
            check(peer, None, &[], 403);
            check(peer, None, &[("authorization", "Bearer t")], 403);
            check(peer, Some("t"), &[], 401);
            check(peer, Some("t"), &[("authorization", "Bearer x")], 401);
            check(peer, Some("t"), &[("authorization", "Basic t")], 401);
            check(peer, Some("t"), &[("authorization", "bearer t")], 200);
        }
        check("127.0.0.1", Some("t"), &[("authorization", "Bearer x")], 401);
    }

    #[test]
    fn from_other_machines_the_token_counts_over_tls_only() {
        for (peer, expected) in [("127.0.0.1", 200), ("::1", 200), ("192.0.2.1", 403), ("2001:db8::1", 403)] {
            check_over(Wire::Plain, peer, Some("t"), &[("authorization", "Bearer t")], expected);
        }
        // Who is refused is not told whether the token was right.
        check_over(Wire::Plain, "192.0.2.1", Some("t"), &[("authorization", "Bearer x")], 403);
        check_over(Wire::Plain, "192.0.2.1", None, &[], 403);
    }

    #[test]
    fn pages_in_a_local_browser_may_not_ask() {
        for host in ["127.0.0.1:9091", "127.0.0.1", "[::1]:9091", "[::1]", "localhost:9091", "LocalHost"] {
            check("127.0.0.1", None, &[("host", host)], 200);
        }
        for host in ["evil.example", "evil.example:9091", "localhost.evil.example", ""] {
            check("127.0.0.1", None, &[("host", host)], 403);
        }
        check("127.0.0.1", None, &[("host", "127.0.0.1:9091"), ("origin", "http://evil.example")], 403);
    }

    fn admin() -> (Admin, Latch) {
        let latch = Latch::default();
        let mut admin = Admin::new(&config::Admin::default(), Metrics::detached(), latch.clone());
        admin.stat("origin", || serde_json::json!({"streams": 2}));
        admin.stat("edge", || serde_json::json!({"cached": 1}));
        admin.control(Box::new(|request| {
            let mine = request.uri.path() == "/control/mine" && request.method == Method::POST;
            Box::pin(async move { mine.then(|| text(StatusCode::OK, "done\n".to_owned())) })
        }));
        (admin, latch)
    }

    async fn ask(admin: &Admin, method: Method, path: &str) -> (u16, String) {
        let (parts, ()) = http::Request::builder().method(method).uri(path).body(()).unwrap().into_parts();
        let response = admin.answer(parts).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_follows_the_latch_and_health_does_not() {
        let (admin, latch) = admin();
        assert_eq!(ask(&admin, Method::GET, "/readyz").await, (503, "starting\n".to_owned()));
        latch.ready();
        assert_eq!(ask(&admin, Method::GET, "/readyz").await, (200, "ready\n".to_owned()));
        latch.leaving();
        assert_eq!(ask(&admin, Method::GET, "/readyz").await, (503, "shutting down\n".to_owned()));
        assert_eq!(ask(&admin, Method::GET, "/healthz").await.0, 200);
    }

    #[tokio::test]
    async fn stat_shows_each_tier_under_its_name() {
        let (_, body) = ask(&admin().0, Method::GET, "/stat").await;
        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(json, serde_json::json!({"origin": {"streams": 2}, "edge": {"cached": 1}}));
    }

    #[tokio::test]
    async fn control_goes_to_the_tier_whose_it_is() {
        let (admin, _) = admin();
        assert_eq!(ask(&admin, Method::POST, "/control/mine").await, (200, "done\n".to_owned()));
        assert_eq!(ask(&admin, Method::GET, "/control/mine").await.0, 404);
        assert_eq!(ask(&admin, Method::POST, "/control/other").await.0, 404);
        assert_eq!(ask(&admin, Method::POST, "/stat").await.0, 405);
        assert_eq!(ask(&admin, Method::GET, "/").await.0, 404);
    }
}
