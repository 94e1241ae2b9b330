//! AWS's interface to load balancers, as far as an edge that leaves uses it: notes who was deregistered from what.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

const DONE: &str = "<DeregisterTargetsResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\">\
<DeregisterTargetsResult/><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></DeregisterTargetsResponse>";

const DENIED: &str = "<ErrorResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\"><Error>\
<Type>Sender</Type><Code>AccessDenied</Code><Message>not allowed to perform DeregisterTargets</Message></Error>\
<RequestId>1</RequestId></ErrorResponse>";

/// The interface. Dropped, it is gone.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    asked: watch::Receiver<Vec<Deregistration>>,
    gate: CancellationToken,
    _task: AbortOnDropHandle<()>,
}

/// What it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deregistration {
    /// The group's ARN.
    pub group: String,
    /// The target's id.
    pub target: String,
}

impl Balancer {
    /// One that does as it is told, but answers nothing until [`Balancer::release`].
    pub async fn held() -> Self {
        Self::start(StatusCode::OK, DONE).await
    }

    /// One that does as it is told.
    pub async fn obedient() -> Self {
        let balancer = Self::held().await;
        balancer.release();
        balancer
    }

    /// One that refuses.
    pub async fn denying() -> Self {
        let balancer = Self::start(StatusCode::FORBIDDEN, DENIED).await;
        balancer.release();
        balancer
    }

    async fn start(status: StatusCode, text: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let gate = CancellationToken::new();
        let (sender, asked) = watch::channel(Vec::new());
        let (sender, open) = (Arc::new(sender), gate.clone());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, open) = (sender.clone(), open.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (sender, open) = (sender.clone(), open.clone());
                    async move {
                        let deregistration = read(request).await;
                        sender.send_modify(|asked| asked.push(deregistration));
                        open.cancelled().await;
                        let mut response = Response::new(Full::<Bytes>::from(text));
                        *response.status_mut() = status;
                        Ok::<_, Infallible>(response)
                    }
                });
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, asked, gate, _task: AbortOnDropHandle::new(task) }
    }

    /// `http://HOST:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers what was asked, and from now on at once.
    pub fn release(&self) {
        self.gate.cancel();
    }

    /// What it was asked for so far.
    pub fn asked(&self) -> Vec<Deregistration> {
        self.asked.borrow().clone()
    }

    /// Waits until it was asked for something.
    pub async fn first(&self) -> Deregistration {
        let mut asked = self.asked.clone();
        let asked = tokio::time::timeout(crate::DEADLINE, asked.wait_for(|asked| !asked.is_empty())).await;
        asked.expect("it is asked in time").expect("it runs")[0].clone()
    }
}

async fn read(request: Request<Incoming>) -> Deregistration {
    assert!(request.headers().contains_key("authorization"), "the request is not signed");
    let body = request.into_body().collect().await.expect("a whole request").to_bytes();
    let field = |name: &str| {
        let found = url::form_urlencoded::parse(&body).find(|(key, _)| key == name);
        found.unwrap_or_else(|| panic!("no {name} in {}", body.escape_ascii())).1.into_owned()
    };
    assert_eq!((field("Action"), field("Version")), ("DeregisterTargets".to_owned(), "2015-12-01".to_owned()));
    Deregistration { group: field("TargetGroupArn"), target: field("Targets.member.1.Id") }
}
