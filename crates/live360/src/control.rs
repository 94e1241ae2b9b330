//! `/control/…` of the admin listener: which request means which act of a tier, and what is answered.
//!
//! Reading a request is pure; acting is the tiers' own. Answers are JSON, refusals too.

use crate::steering::{self, LogWish};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use media::name::StreamName;
#[cfg(feature = "origin")]
use media::projection::{Projection, Stereo};
#[cfg(feature = "origin")]
use origin::steer::{Act, Cannot, WORDS_BYTES_MAX};
use serde_json::json as object;
use service::admin::{self, Control, refused};
#[cfg(feature = "origin")]
use service::config::Record;
use service::http::{Body, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest that a log level may be lent, so that nobody finds yesterday's `trace` on a full disk.
const LOG_FOR_MAX: Duration = Duration::from_secs(24 * 3600);

/// What an edge does.
pub(crate) const EDGE_ACTS: &[admin::Act] = &[admin::Act {
    path: "/control/streams/NAME/pin?origin=http://HOST:PORT",
    what: "makes this edge follow that origin whatever happens; without origin it chooses again",
}];

/// What an origin does.
#[cfg(feature = "origin")]
pub(crate) const ORIGIN_ACTS: &[admin::Act] = &[
    admin::Act {
        path: "/control/streams/NAME/end",
        what: "ends a stream without waiting for its encoder to come back",
    },
    admin::Act {
        path: "/control/streams/NAME/kick?reason=WORDS",
        what: "ends the publisher's connection, with the reason in its log; the encoder may come back",
    },
    admin::Act {
        path: "/control/streams/NAME/record/start?what=all|source",
        what: "records the stream until it ends, whatever the config says; goes on behind a gap if it was stopped",
    },
    admin::Act {
        path: "/control/streams/NAME/record/stop",
        what: "records nothing more of the stream until it is started again or the stream begins anew",
    },
    admin::Act {
        path: "/control/streams/NAME/mark?name=WORDS",
        what: "names the moment of the newest picture, for whoever lists streams, and in the recording and its asset",
    },
    admin::Act {
        path: "/control/streams/NAME/layout?projection=equirect|hequ|dfisheye|cubemap|flat&stereo=mono|tb|lr",
        what: "changes how the picture lies on the sphere, at the next key frame, behind a discontinuity",
    },
];

/// What a process does.
pub(crate) const PROCESS_ACTS: &[admin::Act] = &[
    admin::Act {
        path: "/control/log?level=LEVEL&for=10m",
        what: "logs at another level, as info,origin=debug; with for, only so long",
    },
    admin::Act {
        path: "/control/reload",
        what: "reads the config again and says what changes when; if it is wrong, nothing changes",
    },
];

/// What is done to a stream.
#[derive(Debug, PartialEq)]
enum Wish {
    Pin(Option<String>),
    #[cfg(feature = "origin")]
    End,
    #[cfg(feature = "origin")]
    Act(Act),
}

/// A query's parameters: taken one by one, and what is left over is a mistake.
struct Query(BTreeMap<String, String>);

impl Query {
    fn read(query: Option<&str>) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    fn end<T>(self, read: T) -> Result<T, String> {
        match self.0.into_keys().next() {
            None => Ok(read),
            Some(name) => Err(format!("there is no parameter {name:?} here; GET /control/ lists what there is")),
        }
    }
}

/// Which stream and what is in `/control/streams/NAME/WHAT`; `None` if it is no such path.
fn stream_path(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("/control/streams/")?.split_once('/')
}

fn read_pin(what: &str, query: Option<&str>) -> Option<Result<Wish, String>> {
    let mut query = Query::read(query);
    let origin = (what == "pin").then(|| query.take("origin"))?;
    Some(query.end(Wish::Pin(origin)))
}

#[cfg(feature = "origin")]
fn read_act(what: &str, query: Option<&str>) -> Option<Result<Wish, String>> {
    let mut query = Query::read(query);
    let wish = match what {
        "end" => Ok(Wish::End),
        "kick" => words(query.take("reason").unwrap_or_default(), "reason").map(Act::Kick).map(Wish::Act),
        "record/start" => match query.take("what").as_deref() {
            None | Some("all") => Ok(Wish::Act(Act::Record(Some(Record::All)))),
            Some("source") => Ok(Wish::Act(Act::Record(Some(Record::Source)))),
            Some(other) => Err(format!("what = {other:?}: allowed is \"all\" or \"source\"")),
        },
        "record/stop" => Ok(Wish::Act(Act::Record(None))),
        "mark" => match words(query.take("name").unwrap_or_default(), "name") {
            Ok(name) if name.is_empty() => Err("a mark has a name: …/mark?name=WORDS".to_owned()),
            name => name.map(Act::Mark).map(Wish::Act),
        },
        "layout" => layout(&mut query).map(Wish::Act),
        _ => return None,
    };
    Some(wish.and_then(|wish| query.end(wish)))
}

#[cfg(feature = "origin")]
fn layout(query: &mut Query) -> Result<Act, String> {
    let projection = query.take("projection").map(|text| {
        text.parse::<Projection>().map_err(|()| {
            format!(
                "projection = {text:?}: allowed is one of \"equirect\", \"hequ\", \"dfisheye\", \"cubemap\", \"flat\""
            )
        })
    });
    let stereo = query.take("stereo").map(|text| {
        text.parse::<Stereo>().map_err(|()| format!("stereo = {text:?}: allowed is one of \"mono\", \"tb\", \"lr\""))
    });
    match (projection.transpose()?, stereo.transpose()?) {
        (None, None) => Err("say what is to change: …/layout?projection=…&stereo=…".to_owned()),
        (projection, stereo) => Ok(Act::Layout(projection, stereo)),
    }
}

/// Words that will stand in logs, playlists' neighbours and on other people's screens.
#[cfg(feature = "origin")]
fn words(text: String, what: &str) -> Result<String, String> {
    if text.len() > WORDS_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(format!("{what}: allowed are at most {WORDS_BYTES_MAX} bytes on one line"));
    }
    Ok(text.trim().to_owned())
}

/// A level and for how long.
fn read_log(query: Option<&str>) -> Result<LogWish, String> {
    let mut query = Query::read(query);
    let level = query.take("level").unwrap_or_default();
    if !service::config::is_log_level(&level) {
        return Err(format!("level = {level:?}: allowed is {}", service::config::log_levels()));
    }
    let lasts = match query.take("for") {
        None => None,
        Some(text) => {
            let lasts = humantime::parse_duration(&text).ok();
            let lasts = lasts.filter(|lasts| (Duration::from_secs(1)..=LOG_FOR_MAX).contains(lasts));
            Some(lasts.ok_or_else(|| format!("for = {text:?}: allowed is a time as 30s, 10m or 2h, at most 24h"))?)
        }
    };
    query.end(LogWish { level, lasts })
}

fn bad(words: String) -> Response<Body> {
    refused(StatusCode::BAD_REQUEST, words)
}

/// A request that does something is a POST to a stream that may exist.
fn checked(request: &Parts, name: &str) -> Result<StreamName, Box<Response<Body>>> {
    must_post(request)?;
    let name: Result<StreamName, _> = name.parse();
    name.map_err(|error| Box::new(bad(error.to_string())))
}

fn must_post(request: &Parts) -> Result<(), Box<Response<Body>>> {
    let is_post = request.method == Method::POST;
    let words = "whatever does something is a POST";
    is_post.then_some(()).ok_or_else(|| Box::new(refused(StatusCode::METHOD_NOT_ALLOWED, words)))
}

/// Acts on an edge.
pub(crate) fn of_edge(edge: edge::Handle) -> Control {
    Box::new(move |request| {
        let edge = edge.clone();
        Box::pin(async move {
            let (name, what) = stream_path(request.uri.path())?;
            let wish = read_pin(what, request.uri.query())?;
            Some(checked(&request, name).map_or_else(|refusal| *refusal, |name| pin(&edge, &name, wish)))
        })
    })
}

fn pin(edge: &edge::Handle, name: &StreamName, wish: Result<Wish, String>) -> Response<Body> {
    let origin = match wish {
        Ok(Wish::Pin(origin)) => origin,
        #[cfg(feature = "origin")]
        Ok(_) => None,
        Err(words) => return bad(words),
    };
    match edge.pin(name, origin.as_deref()) {
        Ok(()) => {
            tracing::info!(stream = %name, origin, "pinned by /control");
            json(&object!({ "stream": name, "pinned": origin }))
        }
        Err(why @ edge::PinError::Origin(..)) => bad(why.to_string()),
        Err(why @ edge::PinError::Stream(_)) => refused(StatusCode::NOT_FOUND, why.to_string()),
    }
}

/// Acts on an origin.
#[cfg(feature = "origin")]
pub(crate) fn of_origin(origin: origin::Handle) -> Control {
    Box::new(move |request| {
        let origin = origin.clone();
        Box::pin(async move {
            let (name, what) = stream_path(request.uri.path())?;
            let wish = read_act(what, request.uri.query())?;
            Some(match checked(&request, name) {
                Ok(name) => act(&origin, &name, wish).await,
                Err(refusal) => *refusal,
            })
        })
    })
}

#[cfg(feature = "origin")]
async fn act(origin: &origin::Handle, name: &StreamName, wish: Result<Wish, String>) -> Response<Body> {
    let act = match wish {
        Ok(Wish::Act(act)) => act,
        Ok(Wish::End | Wish::Pin(_)) => {
            return if origin.end(name).await {
                tracing::info!(stream = %name, "ended by /control");
                json(&object!({ "ended": name }))
            } else {
                refused(StatusCode::NOT_FOUND, format!("there is no stream {name}"))
            };
        }
        Err(words) => return bad(words),
    };
    tracing::info!(stream = %name, ?act, "asked for by /control");
    match origin.steer(name, act).await {
        Ok(mut done) => {
            done.as_object_mut().map(|fields| fields.insert("stream".to_owned(), object!(name)));
            json(&done)
        }
        Err(why @ (Cannot::NoStream(_) | Cannot::Gone)) => refused(StatusCode::NOT_FOUND, why.to_string()),
        Err(why) => refused(StatusCode::CONFLICT, why.to_string()),
    }
}

/// Acts on the process.
pub(crate) fn of_process(steering: steering::Handle) -> Control {
    Box::new(move |request| {
        let steering = steering.clone();
        Box::pin(async move {
            let path = request.uri.path();
            if !matches!(path, "/control/log" | "/control/reload") {
                return None;
            }
            Some(match (must_post(&request), path) {
                (Err(refusal), _) => *refusal,
                (Ok(()), "/control/log") => match read_log(request.uri.query()) {
                    Ok(wish) => answer(steering.log(wish).await),
                    Err(words) => bad(words),
                },
                (Ok(()), _) => match Query::read(request.uri.query()).end(()) {
                    Ok(()) => answer(steering.reload().await),
                    Err(words) => bad(words),
                },
            })
        })
    })
}

fn answer(done: Result<serde_json::Value, String>) -> Response<Body> {
    match done {
        Ok(done) => json(&done),
        Err(words) => bad(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "origin")]
    fn check(path: &str, query: &str, expected: Option<Result<Act, &str>>) {
        let (_, what) = stream_path(path).unwrap();
        let found = read_act(what, Some(query));
        match (found, expected) {
            (None, None) => {}
            (Some(Ok(Wish::Act(found))), Some(Ok(expected))) => assert_eq!(found, expected, "{path}?{query}"),
            (Some(Err(words)), Some(Err(expected))) => assert!(words.contains(expected), "{words}"),
            (found, expected) => panic!("{path}?{query}: {found:?}, not {expected:?}"),
        }
    }

    #[cfg(feature = "origin")]
    #[test]
    fn paths_and_queries_are_acts_or_mistakes_in_words() {
        let act = |what: &str| format!("/control/streams/foo/{what}");
        check(&act("kick"), "", Some(Ok(Act::Kick(String::new()))));
        check(&act("kick"), "reason=wrong+camera%21", Some(Ok(Act::Kick("wrong camera!".to_owned()))));
        check(&act("kick"), "reason=a%0Ab", Some(Err("on one line")));
        check(&act("kick"), &format!("reason={}", "x".repeat(81)), Some(Err("at most 80 bytes")));
        check(&act("kick"), "reasons=x", Some(Err("no parameter \"reasons\"")));
        check(&act("record/start"), "", Some(Ok(Act::Record(Some(Record::All)))));
        check(&act("record/start"), "what=source", Some(Ok(Act::Record(Some(Record::Source)))));
        check(&act("record/start"), "what=off", Some(Err("\"all\" or \"source\"")));
        check(&act("record/stop"), "", Some(Ok(Act::Record(None))));
        check(&act("mark"), "name=%C3%89cran", Some(Ok(Act::Mark("Écran".to_owned()))));
        check(&act("mark"), "name=+", Some(Err("a mark has a name")));
        check(&act("layout"), "stereo=tb", Some(Ok(Act::Layout(None, Some(Stereo::Tb)))));
        check(&act("layout"), "projection=round", Some(Err("projection = \"round\"")));
        check(&act("layout"), "", Some(Err("say what is to change")));
        check(&act("dance"), "", None);
        check(&act("end/now"), "", None);
        assert_eq!(read_act("end", None), Some(Ok(Wish::End)));
    }

    #[test]
    fn a_pin_names_an_origin_or_none() {
        let origin = "origin=http%3A%2F%2F10.0.0.1:80";
        assert_eq!(read_pin("pin", Some(origin)), Some(Ok(Wish::Pin(Some("http://10.0.0.1:80".to_owned())))));
        assert_eq!(read_pin("pin", None), Some(Ok(Wish::Pin(None))));
        assert!(read_pin("pin", Some("orgin=x")).is_some_and(|read| read.is_err()));
        assert_eq!(read_pin("end", None), None);
        assert_eq!(stream_path("/control/streams/foo/pin"), Some(("foo", "pin")));
        for path in ["/control/streams/foo", "/control/pin", "/control/streams"] {
            assert_eq!(stream_path(path), None, "{path}");
        }
    }

    #[test]
    fn a_log_level_may_be_lent() {
        let check = |query: &str, expected: Result<(&str, Option<u64>), &str>| match (read_log(Some(query)), expected) {
            (Ok(found), Ok((level, lasts_s))) => {
                assert_eq!(found, LogWish { level: level.to_owned(), lasts: lasts_s.map(Duration::from_secs) });
            }
            (Err(words), Err(expected)) => assert!(words.contains(expected), "{words}"),
            (found, expected) => panic!("{query}: {found:?}, not {expected:?}"),
        };
        check("level=info,origin=debug", Ok(("info,origin=debug", None)));
        check("level=trace&for=10m", Ok(("trace", Some(600))));
        check("level=loud", Err("level = \"loud\""));
        check("", Err("one of \"error\""));
        for time in ["", "10", "0s", "25h", "-1s", "1e9h"] {
            let query = format!("level=debug&for={time}");
            check(&query, Err("at most 24h"));
        }
    }
}
