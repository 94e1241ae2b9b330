//! Asks the operator's own server whether somebody may publish.
//!
//! A POST of JSON, signed like hooks. 2xx is yes, and may bring JSON that says what is recorded and whether the stream is
//! listed; 4xx is no, and may bring words for the encoder. Anything else is no answer.

use super::rules::{By, SECRET_PARAMS};
use crate::ingest::PublishRequest;
use bytes::Bytes;
use http::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};
use service::config::{CallbackDown, Config, Record};
use service::outbound::{Answer, BadRoots, Client, server};
use service::secret::Secret;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Questions at a time; one more finds the callback down.
const ASKED_MAX: usize = 32;

/// Longest words for an encoder that are taken over, in characters.
const WORDS_CHARS_MAX: usize = 200;

/// Whom to ask, and how.
#[derive(Debug)]
pub(super) struct Callback {
    url: Uri,
    client: Client,
    secret: Option<Secret>,
    within: Duration,
    down: CallbackDown,
    places: Semaphore,
}

/// What it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Yes, and what else it wants.
    Yes { record: Option<Record>, listed: Option<bool> },
    /// No, in these words if it has any.
    No(Option<String>),
    /// Nothing; and the config says to go on as if it weren't there.
    Unknown,
    /// Nothing; and the config says no.
    Down,
}

/// The JSON of a yes. What is not known is left to later versions of either side.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wishes {
    record: Option<Record>,
    listed: Option<bool>,
}

impl Callback {
    /// As the config says; `None` if nobody is to be asked.
    pub(super) fn new(config: &Config) -> Result<Option<Self>, BadRoots> {
        // The config has checked that it is a URL.
        let Some(url) = config.publish.callback.as_ref().and_then(|url| url.parse().ok()) else { return Ok(None) };
        Ok(Some(Self {
            url,
            client: Client::new(config.hooks.ca.as_deref().map(|path| ("hooks.ca", path)))?,
            secret: config.callback_secret().cloned(),
            within: Duration::from_secs(config.publish.callback_s),
            down: config.publish.callback_down,
            places: Semaphore::new(ASKED_MAX),
        }))
    }

    /// Asks. `by`: what spoke for it so far.
    pub(super) async fn ask(&self, request: &PublishRequest, by: By) -> Said {
        let Ok(_place) = self.places.try_acquire() else {
            tracing::warn!(
                callback = server(&self.url),
                at_a_time = ASKED_MAX,
                "publish.callback is asked too much at a time"
            );
            return self.no_answer();
        };
        let body = Bytes::from(question(request, by).to_string());
        match self.client.ask(&self.url, body, self.secret.as_ref(), self.within).await {
            Ok(answer) => understand(&answer).unwrap_or_else(|why| {
                tracing::warn!(callback = server(&self.url), "publish.callback {why}");
                self.no_answer()
            }),
            Err(error) => {
                tracing::warn!(%error, "publish.callback can't be asked");
                self.no_answer()
            }
        }
    }

    fn no_answer(&self) -> Said {
        match self.down {
            CallbackDown::Refuse => Said::Down,
            CallbackDown::Allow => Said::Unknown,
        }
    }
}

/// What is asked. Key and token are passed on only where they have not been looked at here.
fn question(request: &PublishRequest, by: By) -> Value {
    let param = |name: &str| if by == By::Nothing { request.key.params.get(name) } else { None };
    let others = request.key.params.iter().filter(|(name, _)| !SECRET_PARAMS.contains(&name.as_str()));
    json!({
        "app": "live",
        "name": request.key.name,
        "peer": request.peer.to_string(),
        "key": param("key"),
        "token": param("token"),
        "shown": by.name(),
        "params": others.collect::<std::collections::BTreeMap<_, _>>(),
    })
}

/// What an answer means; if nothing, what it was.
fn understand(answer: &Answer) -> Result<Said, String> {
    let status = answer.status;
    if status.is_success() {
        if answer.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Said::Yes { record: None, listed: None });
        }
        // A page of words is a yes as well; JSON that contradicts itself is none.
        let Ok(json) = serde_json::from_slice::<Value>(&answer.body) else {
            return Ok(Said::Yes { record: None, listed: None });
        };
        let wishes: Wishes =
            serde_json::from_value(json).map_err(|why| format!("answered JSON that means nothing here: {why}"))?;
        return Ok(Said::Yes { record: wishes.record, listed: wishes.listed });
    }
    // "Not now" says nothing about whoever wants to publish.
    let about_it =
        status.is_client_error() && !matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    if about_it { Ok(Said::No(words(&answer.body))) } else { Err(format!("answered {status}")) }
}

/// Words for the encoder: the JSON's `reason`, cleared of what would break a line of a log.
fn words(body: &[u8]) -> Option<String> {
    let json: Value = serde_json::from_slice(body).ok()?;
    let plain = json.get("reason")?.as_str()?.chars().filter(|c| !c.is_control()).take(WORDS_CHARS_MAX);
    let words: String = plain.collect();
    (!words.trim().is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::name::PublishKey;

    fn check(status: u16, body: &str, expected: Result<Said, &str>) {
        let answer = Answer { status: StatusCode::from_u16(status).unwrap(), body: Bytes::from(body.to_owned()) };
        assert_eq!(understand(&answer), expected.map_err(str::to_owned), "{status} {body}");
    }

    #[test]
    fn an_answer_is_yes_no_or_none() {
        let yes = || Said::Yes { record: None, listed: None };
        for (status, body) in [(200, ""), (204, ""), (200, "\n"), (201, "OK"), (200, "{}"), (200, r#"{"x":1}"#)] {
            check(status, body, Ok(yes()));
        }
        let wishes = Said::Yes { record: Some(Record::Off), listed: Some(false) };
        check(200, r#"{"record":"off","listed":false}"#, Ok(wishes));
        for (status, body) in
            [(403, ""), (401, "no"), (404, "{}"), (422, r#"{"reason":" "}"#), (400, r#"{"reason":5}"#)]
        {
            check(status, body, Ok(Said::No(None)));
        }
        check(403, "{\"reason\":\"no\\nmore\"}", Ok(Said::No(Some("nomore".to_owned()))));
        let long = format!("{{\"reason\":\"{}\"}}", "x".repeat(900));
        check(403, &long, Ok(Said::No(Some("x".repeat(WORDS_CHARS_MAX)))));
        for (status, words) in [
            (500, "answered 500 Internal Server Error"),
            (503, "answered 503 Service Unavailable"),
            (301, "answered 301 Moved Permanently"),
            (408, "answered 408 Request Timeout"),
            (429, "answered 429 Too Many Requests"),
        ] {
            check(status, "", Err(words));
        }
        let wrong =
            "answered JSON that means nothing here: unknown variant `some`, expected one of `all`, `source`, `off`";
        check(200, r#"{"record":"some"}"#, Err(wrong));
    }

    #[test]
    fn a_key_is_passed_on_only_where_nothing_here_knows_it() {
        let key = PublishKey::parse("live?key=k", "foo?token=t&proj=flat").unwrap();
        let request = PublishRequest { key, peer: "10.0.0.1:5000".parse().unwrap() };
        let expected = |key: Value, token: Value, shown: Value| {
            json!({
                "app": "live", "name": "foo", "peer": "10.0.0.1:5000", "key": key, "token": token, "shown": shown,
                "params": { "proj": "flat" },
            })
        };
        assert_eq!(question(&request, By::Nothing), expected("k".into(), "t".into(), Value::Null));
        assert_eq!(question(&request, By::Key), expected(Value::Null, Value::Null, "key".into()));
        assert_eq!(question(&request, By::Token), expected(Value::Null, Value::Null, "token".into()));
    }
}
