//! What the answers of S3 (and of SQS) mean: which is "not there", which passes by itself, and how it is said to people.

use crate::error::{Error, Trouble};
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::InterceptorContext;
use aws_sdk_s3::config::retry::{ClassifyRetry, RetryAction};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use std::error::Error as StdError;

/// Longest piece of somebody else's words that is passed on, in characters.
const WORDS_CHARS_MAX: usize = 200;

/// Has the SDK try again where a conditional write met another one: 409 says neither that the object is there nor that
/// it is not.
#[derive(Debug)]
pub(super) struct Conflict;

impl ClassifyRetry for Conflict {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response() {
            Some(response) if response.status().as_u16() == 409 => RetryAction::transient_error(),
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "conflicting conditional writes"
    }
}

/// The status of the last answer, if there was one.
pub(super) fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// Whether there is no such object, in a bucket that is there.
pub(super) fn is_missing<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    status(error) == Some(404) && code != Some("NoSuchBucket")
}

/// Wraps what went wrong.
pub(crate) fn trouble<E>(doing: &'static str, place: String, error: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let (why, trouble) = match error {
        SdkError::ServiceError(service) => {
            let (code, message) = (service.err().code(), service.err().message());
            let status = service.raw().status().as_u16();
            let hint = hint(&place, status, code);
            (format!("{}{hint}", said(status, code, message)), meaning(status, code))
        }
        SdkError::ConstructionFailure(_) => (innermost(error), Trouble::Refused),
        // The address is wrong, as opposed to: nobody answers there.
        SdkError::DispatchFailure(failure) if failure.is_user() => (innermost(error), Trouble::Refused),
        SdkError::TimeoutError(_) => ("no answer in time".to_owned(), Trouble::Away),
        SdkError::ResponseError(_) => (format!("the answer makes no sense: {}", innermost(error)), Trouble::Away),
        // No connection, or no credentials from where they come from.
        _ => (innermost(error), Trouble::Away),
    };
    Error::Remote { doing, place, why, trouble }
}

/// A body that broke.
pub(crate) fn broken(doing: &'static str, place: &str, error: &(dyn StdError + 'static)) -> Error {
    Error::Remote { doing, place: place.to_owned(), why: innermost(error), trouble: Trouble::Away }
}

fn meaning(status: u16, code: Option<&str>) -> Trouble {
    match (status, code.unwrap_or_default()) {
        // Not S3 itself: what stands in for it runs on disks.
        (507, _) | (_, "QuotaExceeded" | "XMinioStorageFull" | "StorageFull") => Trouble::Full,
        (500.. | 408 | 409 | 429, _) => Trouble::Away,
        (_, "SlowDown" | "RequestTimeout" | "Throttling" | "ThrottlingException" | "ExpiredToken") => Trouble::Away,
        // Of SQS; the second: too many messages are in flight.
        (_, "RequestThrottled" | "OverLimit" | "KmsThrottled") => Trouble::Away,
        _ => Trouble::Refused,
    }
}

fn hint(place: &str, status: u16, code: Option<&str>) -> &'static str {
    match (status, code) {
        (403, Some("AccessDenied") | None) if place.starts_with("s3://") => {
            " (S3 also says so of what is not there to those who may not list the bucket)"
        }
        _ => "",
    }
}

fn said(status: u16, code: Option<&str>, message: Option<&str>) -> String {
    let words = match (code, message) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(words), None) | (None, Some(words)) => words.to_owned(),
        (None, None) => "no reason given".to_owned(),
    };
    format!("{} (HTTP {status})", cut(&words))
}

/// The outer words are only "dispatch failure": the innermost cause is what helps.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cut(&cause.to_string())
}

fn cut(words: &str) -> String {
    words.chars().take(WORDS_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_stay_and_what_the_server_suffers_from_passes() {
        for (status, code, expected) in [
            (500, Some("InternalError"), Trouble::Away),
            (503, Some("SlowDown"), Trouble::Away),
            (503, None, Trouble::Away),
            (429, None, Trouble::Away),
            (409, Some("ConditionalRequestConflict"), Trouble::Away),
            (400, Some("RequestTimeout"), Trouble::Away),
            (400, Some("ExpiredToken"), Trouble::Away),
            (403, Some("OverLimit"), Trouble::Away),
            (400, Some("InvalidArgument"), Trouble::Refused),
            (403, Some("AccessDenied"), Trouble::Refused),
            (403, Some("QuotaExceeded"), Trouble::Full),
            (404, Some("NoSuchBucket"), Trouble::Refused),
            (412, Some("PreconditionFailed"), Trouble::Refused),
            (507, Some("XMinioStorageFull"), Trouble::Full),
        ] {
            assert_eq!(meaning(status, code), expected, "{status} {code:?}");
        }
    }

    #[test]
    fn words_are_the_servers_own_and_not_endless() {
        assert_eq!(said(500, Some("InternalError"), Some("Oh.")), "InternalError: Oh. (HTTP 500)");
        assert_eq!(said(503, None, None), "no reason given (HTTP 503)");
        assert!(hint("s3://b/k", 403, Some("AccessDenied")).contains("may not list the bucket"));
        assert_eq!(hint("https://sqs.example/a/b", 403, Some("AccessDenied")), "");
        assert!(said(400, None, Some(&"x".repeat(1000))).len() < 220);
    }
}
