//! The private listener: `/healthz`, `/readyz`, `/metrics`, `/stat` and `/control/…`.
//!
//! It answers this machine only; with `admin.token` also whoever sends it over TLS. A proxy on this machine makes everyone
//! look local, so don't put one in front. Pages that a browser on this machine has open are kept out too: no CORS, no `Origin`,
//! and no host name that an attacker's DNS could have pointed here (`door`). What `/stat` and `/control` say is the tiers'
//! own; `/stat` is JSON for programs, and for browsers a page that reads it (`page`).

mod door;
mod page;

use crate::config::{self, Current};
use crate::http::{Body, Handler, Limits, error, json, serve, serve_tls};
use crate::ready::{Latch, Stage};
use crate::telemetry::Metrics;
use crate::tls::Tls;
use door::{Door, LOGIN, Verdict};
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use serde_json::json as object;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
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

/// Something that can be done on `/control/…`, as `GET /control/` lists it.
#[derive(Debug, Clone, Copy)]
pub struct Act {
    /// Its path, with what may stand behind `?`.
    pub path: &'static str,
    /// What it does.
    pub what: &'static str,
}

/// What the listener shows, put together by the process that owns it.
pub struct Admin {
    config: Current,
    metrics: Metrics,
    latch: Latch,
    stats: BTreeMap<&'static str, Stat>,
    controls: Vec<Control>,
    acts: Vec<Act>,
    door: Door,
}

impl Admin {
    /// Without any tier yet. Who may ask beyond this machine follows `config`'s `admin.token`.
    pub fn new(config: Current, metrics: Metrics, latch: Latch) -> Self {
        let (stats, controls, acts) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { config, metrics, latch, stats, controls, acts, door: Door::default() }
    }

    /// Shows what this tier says under its name in `/stat`.
    pub fn stat(&mut self, tier: &'static str, stat: impl Fn() -> serde_json::Value + Send + Sync + 'static) {
        self.stats.insert(tier, Box::new(stat));
    }

    /// Asks this, after those added before it, about `/control/…`; `acts` is what it can do.
    pub fn control(&mut self, acts: &[Act], control: Control) {
        self.acts.extend_from_slice(acts);
        self.controls.push(control);
    }

    /// What `/metrics` shows, to add to it.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
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
        self.admin.receive(request, peer.ip(), Instant::now()).await
    }

    fn methods(&self) -> &'static [Method] {
        &[Method::GET, Method::HEAD, Method::POST]
    }

    fn open_to_pages(&self) -> bool {
        false
    }
}

impl Admin {
    async fn receive(&self, request: Parts, peer: IpAddr, now: Instant) -> Response<Body> {
        let config = self.config.get();
        let token = config.admin.token.clone();
        match self.door.judge(&request, peer, &config.admin, now) {
            Verdict::May if request.method == Method::POST && request.uri.path() == LOGIN => {
                let response = self.door.log_in(&request, token.as_ref(), now);
                if response.status().is_success() {
                    tracing::info!(%peer, "a browser logged in to look at /stat");
                }
                response
            }
            Verdict::May => self.answer(request).await,
            Verdict::Refused(refusal) => refusal,
            Verdict::LogIn if page::is_wanted(&request.headers) => page::login(),
            Verdict::LogIn => {
                error(StatusCode::UNAUTHORIZED, "log in at /stat in a browser, or send \"Authorization: Bearer TOKEN\"")
            }
        }
    }

    async fn answer(&self, request: Parts) -> Response<Body> {
        let path = request.uri.path().to_owned();
        if path == "/control" || path.starts_with("/control/") {
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
            "/stat" if page::is_wanted(&request.headers) => page::stat(),
            "/stat" | "/stat.json" => {
                let mut answer = json(&self.stats.iter().map(|(tier, stat)| ((*tier).to_owned(), stat())).collect());
                answer.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
                answer
            }
            _ => error(StatusCode::NOT_FOUND, "here are /healthz, /readyz, /metrics, /stat and /control/…"),
        }
    }

    async fn steer(&self, request: Parts, path: &str) -> Response<Body> {
        if matches!(path, "/control" | "/control/") && request.method != Method::POST {
            let act = |act: &Act| object!({ "method": "POST", "path": act.path, "what": act.what });
            return json(&object!({ "acts": self.acts.iter().map(act).collect::<Vec<_>>() }));
        }
        for control in &self.controls {
            if let Some(answer) = control(request.clone()).await {
                return answer;
            }
        }
        refused(StatusCode::NOT_FOUND, format!("nothing here is steered by {path}; GET /control/ lists what is"))
    }
}

/// Why something on `/control/…` was not done, as JSON.
pub fn refused(status: StatusCode, words: impl Into<String>) -> Response<Body> {
    let mut response = json(&object!({ "error": words.into() }));
    *response.status_mut() = status;
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
    use crate::config::Config;
    use http_body_util::BodyExt as _;

    fn admin() -> (Admin, Latch) {
        let latch = Latch::default();
        let mut admin = Admin::new(Current::new(Config::default()), Metrics::detached(), latch.clone());
        admin.stat("origin", || serde_json::json!({"streams": 2}));
        admin.stat("edge", || serde_json::json!({"cached": 1}));
        let acts = [Act { path: "/control/mine", what: "what is mine" }];
        admin.control(
            &acts,
            Box::new(|request| {
                let mine = request.uri.path() == "/control/mine" && request.method == Method::POST;
                Box::pin(async move { mine.then(|| text(StatusCode::OK, "done\n".to_owned())) })
            }),
        );
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
        let (status, words) = ask(&admin, Method::POST, "/control/other").await;
        assert!(status == 404 && words.contains("\"error\":"), "{words}");
        assert_eq!(ask(&admin, Method::POST, "/control/").await.0, 404);
        assert_eq!(ask(&admin, Method::POST, "/stat").await.0, 405);
        assert_eq!(ask(&admin, Method::GET, "/").await.0, 404);
    }

    #[tokio::test]
    async fn control_lists_what_can_be_done() {
        for path in ["/control", "/control/"] {
            let (_, body) = ask(&admin().0, Method::GET, path).await;
            let json: serde_json::Value = serde_json::from_str(&body).unwrap();
            let expected = object!([{"method": "POST", "path": "/control/mine", "what": "what is mine"}]);
            assert_eq!(json["acts"], expected);
        }
    }

    /// The status and type of what a browser gets.
    async fn browse(peer: &str, tls: bool, token: Option<&str>, path: &str) -> (u16, String) {
        let (admin, _) = admin();
        let token = token.map(crate::secret::Secret::new);
        admin
            .config
            .replace(Config { admin: config::Admin { token, ..config::Admin::default() }, ..Config::default() });
        let request = http::Request::builder().uri(path).header(header::ACCEPT, "text/html,*/*;q=0.8").body(());
        let (mut parts, ()) = request.unwrap().into_parts();
        parts.extensions.insert(if tls { Wire::Tls } else { Wire::Plain });
        let response = admin.receive(parts, peer.parse().unwrap(), Instant::now()).await;
        let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        (response.status().as_u16(), kind)
    }

    #[tokio::test]
    async fn browsers_get_a_page_and_from_elsewhere_a_form() {
        for (peer, tls, token, path, status, kind) in [
            ("127.0.0.1", false, None, "/stat", 200, "text/html"),
            ("127.0.0.1", false, None, "/stat.json", 200, "application/json"),
            ("192.0.2.1", true, Some("t"), "/stat", 401, "text/html"),
            ("192.0.2.1", false, Some("t"), "/stat", 403, "text/plain"),
            ("192.0.2.1", true, None, "/stat", 403, "text/plain"),
        ] {
            let found = browse(peer, tls, token, path).await;
            assert!(found.0 == status && found.1.starts_with(kind), "{peer} {tls} {token:?} {path}: {found:?}");
        }
    }
}
