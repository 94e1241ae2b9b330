//! EC2's instance metadata, version 2, as a server of its own: strict about tokens, says what a test wants.
//!
//! Stands by itself, since `crates/service` tests against it too.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// The id of the instance whose metadata these are.
pub const INSTANCE: &str = "i-0123456789abcdef0";

const INTERRUPTION: &str = "spot/instance-action";
const LIFECYCLE: &str = "autoscaling/target-lifecycle-state";
const REBALANCE: &str = "events/recommendations/rebalance";

/// The server. Dropped, it is gone.
#[derive(Debug)]
pub struct Metadata {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    answered: watch::Receiver<usize>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct State {
    /// By path below `/latest/meta-data/`.
    texts: BTreeMap<String, String>,
    /// Tokens that are in force.
    tokens: Vec<String>,
    issued: usize,
    token_s: u64,
    failure: Option<StatusCode>,
    answered: watch::Sender<usize>,
}

impl Metadata {
    /// Of an instance that is in service and has nothing to fear.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (sender, answered) = watch::channel(0);
        let state = State {
            texts: BTreeMap::new(),
            tokens: vec![],
            issued: 0,
            token_s: 21_600,
            failure: None,
            answered: sender,
        };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = state.lock().expect("no test panics in it").answer(&request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        let metadata = Self { address, state, answered, _task: AbortOnDropHandle::new(task) };
        metadata.say("instance-id", INSTANCE);
        metadata.say(LIFECYCLE, "InService");
        metadata
    }

    /// `http://HOST:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on a path below `/latest/meta-data/` has this text.
    pub fn say(&self, path: &str, text: &str) {
        self.lock().texts.insert(path.to_owned(), text.to_owned());
    }

    /// The spot instance will be terminated; `time` as RFC 3339.
    pub fn interrupt(&self, time: &str) {
        self.say(INTERRUPTION, &format!(r#"{{"action": "terminate", "time": "{time}"}}"#));
    }

    /// The Auto Scaling group takes the instance out.
    pub fn terminate(&self) {
        self.say(LIFECYCLE, "Terminated");
    }

    /// The instance should be replaced.
    pub fn recommend_rebalance(&self) {
        self.say(REBALANCE, r#"{"noticeTime": "2026-11-20T17:25:00Z"}"#);
    }

    /// Tokens issued from now on are good for so many seconds; those there are no longer.
    pub fn renew_tokens(&self, seconds: u64) {
        let mut state = self.lock();
        state.tokens.clear();
        state.token_s = seconds;
    }

    /// How many tokens were issued.
    pub fn tokens(&self) -> usize {
        self.lock().issued
    }

    /// From now on everything but tokens is answered so; with `None` as it should be.
    pub fn fail(&self, status: Option<StatusCode>) {
        self.lock().failure = status;
    }

    /// Waits until so many more questions were answered.
    pub async fn answered(&self, more: usize) {
        let mut answered = self.answered.clone();
        let until = *answered.borrow() + more;
        answered.wait_for(|count| *count >= until).await.expect("it runs");
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics in it")
    }
}

impl State {
    fn answer(&mut self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if path == "/latest/api/token" {
            return self.token(request.method(), request.headers());
        }
        let token = request.headers().get("x-aws-ec2-metadata-token").and_then(|value| value.to_str().ok());
        if !token.is_some_and(|token| self.tokens.iter().any(|known| known == token)) {
            return reply(StatusCode::UNAUTHORIZED, "");
        }
        self.answered.send_modify(|count| *count += 1);
        if let Some(failure) = self.failure {
            return reply(failure, "");
        }
        match path.strip_prefix("/latest/meta-data/").and_then(|path| self.texts.get(path)) {
            Some(text) if request.method() == Method::GET => reply(StatusCode::OK, text),
            _ => reply(StatusCode::NOT_FOUND, "<html>404 - Not Found</html>"),
        }
    }

    fn token(&mut self, method: &Method, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let ttl =
            headers.get("x-aws-ec2-metadata-token-ttl-seconds").and_then(|value| value.to_str().ok()?.parse().ok());
        let legal = ttl.is_some_and(|seconds: u64| (1..=21_600).contains(&seconds));
        if method != Method::PUT || !legal {
            return reply(StatusCode::BAD_REQUEST, "");
        }
        self.issued += 1;
        let token = format!("token-{}==", self.issued);
        self.tokens.push(token.clone());
        let mut reply = reply(StatusCode::OK, &token);
        reply.headers_mut().insert("x-aws-ec2-metadata-token-ttl-seconds", self.token_s.into());
        reply
    }
}

fn reply(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text.to_owned()));
    *response.status_mut() = status;
    response
}

/// A time from now on, as the metadata write it, in whole seconds.
pub fn time_in(from_now: Duration) -> String {
    let at = std::time::SystemTime::now() + from_now;
    humantime::format_rfc3339_seconds(at).to_string()
}
