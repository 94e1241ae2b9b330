//! EC2's instance metadata, version 2: a token first, then small texts by path.
//!
//! Knows how to ask and what the answers look like, not what follows from them. Nothing it is told can hurt: every
//! request has a time limit, every answer a size limit.

use super::notice::Heard;
use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use std::error::Error as _;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// From a request to the end of its answer. The server is on the same host; it takes a millisecond.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Longest answer, in bytes. Real ones have less than a hundred.
const ANSWER_BYTES_MAX: usize = 4096;

/// How long a token is asked for, in seconds: the most that there is.
const TOKEN_S: u64 = 21_600;

/// How long before its end a token is renewed, unless half its life is shorter.
const TOKEN_MARGIN: Duration = Duration::from_secs(60);

const TOKEN_PATH: &str = "/latest/api/token";
const TOKEN: &str = "x-aws-ec2-metadata-token";
const TOKEN_TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// Something that can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    Interruption,
    Lifecycle,
    Rebalance,
    Instance,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("can't reach it: {0}")]
    Unreachable(String),
    #[error("no answer within {} s", ANSWER_WITHIN.as_secs())]
    Late,
    #[error("{path} was answered {status}")]
    Status { path: &'static str, status: StatusCode },
    #[error("can't make sense of the answer to {path}")]
    Senseless { path: &'static str },
}

/// Where one asks.
#[derive(Debug)]
pub(super) struct Metadata {
    server: String,
    client: Client<HttpConnector, Empty<Bytes>>,
    token: Option<Token>,
}

#[derive(Debug)]
struct Token {
    value: HeaderValue,
    /// When it is to be renewed.
    until: Instant,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Metadata {
    /// Of this server, `http://HOST:PORT`.
    pub(super) fn new(server: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(ANSWER_WITHIN));
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector);
        Self { server: server.trim_end_matches('/').to_owned(), client, token: None }
    }

    /// Asks one thing. `None`: there is nothing.
    pub(super) async fn ask(&mut self, question: Question) -> Result<Option<Heard>, Trouble> {
        let path = question.path();
        let mut answer = self.get(path).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            // The server has forgotten the token, as it may: a new one, once.
            self.token = None;
            answer = self.get(path).await?;
        }
        match answer.status {
            StatusCode::OK => {
                let text = std::str::from_utf8(&answer.body).ok();
                text.and_then(|text| question.read(text.trim())).ok_or(Trouble::Senseless { path }).map(Some)
            }
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(Trouble::Status { path, status }),
        }
    }

    async fn get(&mut self, path: &'static str) -> Result<Answer, Trouble> {
        let token = self.token().await?;
        self.send(Method::GET, path, TOKEN, token).await
    }

    /// The token that is in force.
    async fn token(&mut self) -> Result<HeaderValue, Trouble> {
        let now = Instant::now();
        if let Some(token) = self.token.as_ref().filter(|token| now < token.until) {
            return Ok(token.value.clone());
        }
        let answer = self.send(Method::PUT, TOKEN_PATH, TOKEN_TTL, HeaderValue::from(TOKEN_S)).await?;
        if answer.status != StatusCode::OK {
            return Err(Trouble::Status { path: TOKEN_PATH, status: answer.status });
        }
        let mut value = HeaderValue::from_maybe_shared(answer.body)
            .ok()
            .filter(|token| !token.is_empty())
            .ok_or(Trouble::Senseless { path: TOKEN_PATH })?;
        value.set_sensitive(true);
        let said = answer.headers.get(TOKEN_TTL).and_then(|value| value.to_str().ok()?.parse().ok());
        let life = Duration::from_secs(said.unwrap_or(TOKEN_S).min(TOKEN_S));
        self.token = Some(Token { value: value.clone(), until: now + life.saturating_sub(TOKEN_MARGIN.min(life / 2)) });
        Ok(value)
    }

    async fn send(
        &self,
        method: Method,
        path: &'static str,
        header: &'static str,
        value: HeaderValue,
    ) -> Result<Answer, Trouble> {
        let uri = format!("{}{path}", self.server);
        let request = Request::builder().method(method).uri(uri).header(header, value).body(Empty::new());
        // The server was checked by the config, so this is never so.
        let request = request.map_err(|error| Trouble::Unreachable(error.to_string()))?;
        let whole = async {
            let unreachable = |error: hyper_util::client::legacy::Error| {
                let source = error.source().map(|source| format!(": {source}")).unwrap_or_default();
                Trouble::Unreachable(format!("{error}{source}"))
            };
            let (head, body) = self.client.request(request).await.map_err(unreachable)?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|_| Trouble::Senseless { path })?.to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        timeout(ANSWER_WITHIN, whole).await.map_err(|_| Trouble::Late)?
    }
}

impl Trouble {
    /// Whether asking something else now would fare no better.
    pub(super) fn is_general(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Late)
            || matches!(self, Self::Status { path, .. } | Self::Senseless { path } if *path == TOKEN_PATH)
    }
}

impl Question {
    fn path(self) -> &'static str {
        match self {
            Self::Interruption => "/latest/meta-data/spot/instance-action",
            Self::Lifecycle => "/latest/meta-data/autoscaling/target-lifecycle-state",
            Self::Rebalance => "/latest/meta-data/events/recommendations/rebalance",
            Self::Instance => "/latest/meta-data/instance-id",
        }
    }

    /// What a text at its path says, if it makes sense.
    fn read(self, text: &str) -> Option<Heard> {
        /// `{"action": "terminate", "time": "2026-11-20T17:25:00Z"}`
        #[derive(Deserialize)]
        struct Action {
            action: String,
            time: Option<String>,
        }
        match self {
            Self::Interruption => {
                let Action { action, time } = serde_json::from_str(text).ok()?;
                let at = time.and_then(|time| humantime::parse_rfc3339(&time).ok());
                is_word(&action).then_some(Heard::Interruption { action, at })
            }
            Self::Lifecycle => is_word(text).then(|| Heard::Lifecycle(text.to_owned())),
            Self::Rebalance => serde_json::from_str::<serde_json::Map<_, _>>(text).ok().map(|_| Heard::Rebalance),
            Self::Instance => is_word(text).then(|| Heard::Instance(text.to_owned())),
        }
    }
}

/// What states and ids are made of; it goes into logs and requests.
fn is_word(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | ':');
    (1..=64).contains(&text.len()) && text.chars().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn answers_are_read_and_what_makes_no_sense_is_none() {
        let action = |action: &str, at| Some(Heard::Interruption { action: action.to_owned(), at });
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_195_500);
        for (question, text, expected) in [
            (
                Question::Interruption,
                r#"{"action": "terminate", "time": "2026-11-20T17:25:00Z"}"#,
                action("terminate", Some(time)),
            ),
            (Question::Interruption, r#"{"action":"stop","time":"soon"}"#, action("stop", None)),
            (Question::Interruption, r#"{"action":"hibernate"}"#, action("hibernate", None)),
            (Question::Interruption, r#"{"time":"2026-11-20T17:25:00Z"}"#, None),
            (Question::Interruption, r#"{"action":"rm -rf /"}"#, None),
            (Question::Interruption, "<html>welcome</html>", None),
            (Question::Interruption, "", None),
            (Question::Lifecycle, "Warmed:Stopped", Some(Heard::Lifecycle("Warmed:Stopped".to_owned()))),
            (Question::Lifecycle, "<html>", None),
            (Question::Rebalance, r#"{"noticeTime": "2026-11-20T17:25:00Z"}"#, Some(Heard::Rebalance)),
            (Question::Rebalance, "welcome", None),
            (Question::Instance, "i-0123456789abcdef0", Some(Heard::Instance("i-0123456789abcdef0".to_owned()))),
            (Question::Instance, "a b", None),
            (Question::Instance, "", None),
        ] {
            assert_eq!(question.read(text), expected, "{question:?} {text}");
        }
    }
}
