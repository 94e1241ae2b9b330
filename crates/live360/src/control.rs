//! `/control/…` of the admin listener: which request means which act of a tier.
//!
//! `POST /control/streams/NAME/end` ends a stream without waiting for its encoder to come back.
//! `POST /control/streams/NAME/pin?origin=http://HOST:PORT` makes an edge follow that origin whatever happens;
//! without `origin` it chooses again.

use http::request::Parts;
use http::{Method, Response, StatusCode};
use media::name::StreamName;
#[cfg(feature = "origin")]
use origin::Handle;
use service::admin::Control;
use service::http::{Body, error, json};

/// What an edge does.
pub(crate) fn of_edge(edge: edge::Handle) -> Control {
    Box::new(move |request| {
        let edge = edge.clone();
        Box::pin(async move { Some(pin(&edge, &request, stream_to(request.uri.path(), "pin")?)) })
    })
}

fn pin(edge: &edge::Handle, request: &Parts, name: &str) -> Response<Body> {
    if request.method != Method::POST {
        return error(StatusCode::METHOD_NOT_ALLOWED, "pinning an origin is a POST");
    }
    let name: StreamName = match name.parse() {
        Ok(name) => name,
        Err(bad) => return error(StatusCode::BAD_REQUEST, bad.to_string()),
    };
    let mut pairs = request.uri.query().unwrap_or_default().split('&');
    let origin = pairs.find_map(|pair| pair.strip_prefix("origin=")).map(decode);
    match edge.pin(&name, origin.as_deref()) {
        Ok(()) => {
            tracing::info!(stream = %name, origin, "pinned by /control");
            json(&serde_json::json!({ "stream": name, "pinned": origin }))
        }
        Err(why @ edge::PinError::Origin(..)) => error(StatusCode::BAD_REQUEST, why.to_string()),
        Err(why @ edge::PinError::Stream(_)) => error(StatusCode::NOT_FOUND, why.to_string()),
    }
}

/// A query's value: an address may come with its slashes and colons escaped.
fn decode(value: &str) -> String {
    value.replace("%3A", ":").replace("%3a", ":").replace("%2F", "/").replace("%2f", "/")
}

/// What an origin does.
#[cfg(feature = "origin")]
pub(crate) fn of_origin(origin: Handle) -> Control {
    Box::new(move |request| {
        let origin = origin.clone();
        Box::pin(async move { Some(end(&origin, &request, stream_to(request.uri.path(), "end")?).await) })
    })
}

#[cfg(feature = "origin")]
async fn end(origin: &Handle, request: &Parts, name: &str) -> Response<Body> {
    if request.method != Method::POST {
        return error(StatusCode::METHOD_NOT_ALLOWED, "ending a stream is a POST");
    }
    let name: StreamName = match name.parse() {
        Ok(name) => name,
        Err(bad) => return error(StatusCode::BAD_REQUEST, bad.to_string()),
    };
    if origin.end(&name).await {
        tracing::info!(stream = %name, "ended by /control");
        json(&serde_json::json!({ "ended": name }))
    } else {
        error(StatusCode::NOT_FOUND, format!("there is no stream {name}"))
    }
}

/// The stream in `/control/streams/NAME/ACT`.
fn stream_to<'a>(path: &'a str, act: &str) -> Option<&'a str> {
    let rest = path.strip_prefix("/control/streams/")?.strip_suffix(act)?;
    rest.strip_suffix('/').filter(|name| !name.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_path_is_an_act_on_a_stream() {
        for (path, expected) in [
            ("/control/streams/foo/end", Some("foo")),
            ("/control/streams/foo", None),
            ("/control/streams/fooend", None),
            ("/control/streams/foo/pin", None),
            ("/control/streams/a/b/end", None),
            ("/control/end", None),
        ] {
            assert_eq!(stream_to(path, "end"), expected, "{path}");
        }
    }
}
