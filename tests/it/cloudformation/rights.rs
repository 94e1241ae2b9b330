//! What a request to S3 or SQS takes, and whether statements of a policy allow it. Pure.
//!
//! Knows only what the template's policies are made of: actions by name, resources with `*`, no conditions.

use e2e::witness::Asked;
use serde_json::Value;

/// An action and what it is done to.
pub(super) type Deed = (String, String);

/// What a request does; `queue` is the ARN of the queue that SQS is asked about.
pub(super) fn deed(asked: &Asked, queue: &str) -> Deed {
    if let Some(target) = &asked.target {
        let action = target.rsplit_once('.').map_or(target.as_str(), |(_, action)| action);
        return (format!("sqs:{}", action.trim_end_matches("Batch")), queue.to_owned());
    }
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    let place = path.trim_matches('/');
    let is_part = query.split('&').any(|pair| pair.starts_with("uploadId="));
    let action = match (asked.method.as_str(), place.contains('/')) {
        ("GET" | "HEAD", true) => "GetObject",
        ("GET" | "HEAD", false) => "ListBucket",
        ("DELETE", _) if is_part => "AbortMultipartUpload",
        ("DELETE", _) => "DeleteObject",
        _ => "PutObject",
    };
    (format!("s3:{action}"), format!("arn:aws:s3:::{place}"))
}

/// Whether one of these statements allows it.
pub(super) fn allows(statements: &Value, (action, resource): &Deed) -> bool {
    let has = |value: &Value, test: &dyn Fn(&str) -> bool| match value {
        Value::Array(list) => list.iter().filter_map(Value::as_str).any(test),
        value => value.as_str().is_some_and(test),
    };
    statements.as_array().into_iter().flatten().any(|statement| {
        statement["Effect"] == "Allow"
            && has(&statement["Action"], &|allowed| allowed == action)
            && has(&statement["Resource"], &|pattern| fits(pattern, resource))
    })
}

/// Whether a text is of a pattern in which `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            text.char_indices().map(|(at, _)| at).chain([text.len()]).any(|at| fits(rest, &text[at..]))
        }),
    }
}

#[test]
fn requests_are_told_apart() {
    let check = |method: &str, path: &str, target: Option<&str>, expected: (&str, &str)| {
        let asked = Asked { method: method.to_owned(), path: path.to_owned(), target: target.map(str::to_owned) };
        assert_eq!(deed(&asked, "queue"), (expected.0.to_owned(), expected.1.to_owned()));
    };
    check("GET", "/b?list-type=2&prefix=rec", None, ("s3:ListBucket", "arn:aws:s3:::b"));
    check("GET", "/b/?list-type=2", None, ("s3:ListBucket", "arn:aws:s3:::b"));
    check("HEAD", "/b/rec/foo", None, ("s3:GetObject", "arn:aws:s3:::b/rec/foo"));
    check("PUT", "/b/k?partNumber=1&uploadId=x", None, ("s3:PutObject", "arn:aws:s3:::b/k"));
    check("POST", "/b/k?uploads", None, ("s3:PutObject", "arn:aws:s3:::b/k"));
    check("DELETE", "/b/k?uploadId=x", None, ("s3:AbortMultipartUpload", "arn:aws:s3:::b/k"));
    check("DELETE", "/b/k", None, ("s3:DeleteObject", "arn:aws:s3:::b/k"));
    check("POST", "/", Some("AmazonSQS.SendMessageBatch"), ("sqs:SendMessage", "queue"));
}

#[test]
fn only_what_a_statement_says_is_allowed() {
    let statements = serde_json::json!([
        { "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::b/rec/*", "arn:aws:s3:::b/x"] },
        { "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::b" },
    ]);
    let check = |action: &str, resource: &str, expected: bool| {
        assert_eq!(allows(&statements, &(action.to_owned(), resource.to_owned())), expected, "{action} {resource}");
    };
    check("s3:GetObject", "arn:aws:s3:::b/rec/foo/1.flv", true);
    check("s3:GetObject", "arn:aws:s3:::b/x", true);
    check("s3:GetObject", "arn:aws:s3:::b/xy", false);
    check("s3:GetObject", "arn:aws:s3:::b/uploads/rec/", false);
    check("s3:PutObject", "arn:aws:s3:::b/rec/foo", false);
    check("s3:ListBucket", "arn:aws:s3:::b", true);
    check("s3:ListBucket", "arn:aws:s3:::c", false);
}
