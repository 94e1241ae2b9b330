//! `/control/…` of the admin listener: which request means which act of a tier.
//!
//! `POST /control/streams/NAME/end` ends a stream without waiting for its encoder to come back.

use http::request::Parts;
use http::{Method, Response, StatusCode};
use media::name::StreamName;
use origin::Handle;
use service::admin::Control;
use service::http::{Body, error, json};

/// What an origin does.
pub(crate) fn of_origin(origin: Handle) -> Control {
    Box::new(move |request| {
        let origin = origin.clone();
        Box::pin(async move { Some(end(&origin, &request, stream_to_end(request.uri.path())?).await) })
    })
}

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

fn stream_to_end(path: &str) -> Option<&str> {
    path.strip_prefix("/control/streams/")?.strip_suffix("/end").filter(|name| !name.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_path_ends_a_stream() {
        for (path, expected) in [
            ("/control/streams/foo/end", Some("foo")),
            ("/control/streams/foo", None),
            ("/control/streams/a/b/end", None),
            ("/control/end", None),
        ] {
            assert_eq!(stream_to_end(path), expected, "{path}");
        }
    }
}
