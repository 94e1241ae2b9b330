//! Texts of certain forms: whether one is an address, a host, a store, a secret.
//!
//! Pure, and knows no keys.

use crate::secret::Source;

/// Length of a [`super::Rule::LongSecret`], in characters: what tells of it (a signed link, an answer) must not be enough to guess
/// it, and it must fit in a header.
const SECRET_CHARS: std::ops::RangeInclusive<usize> = 16..=256;

/// How a secret is kept elsewhere than in the config.
pub(super) const ELSEWHERE: &str = "or where it is, as \"file:PATH\" or \"credential:NAME\"";

/// What [`is_long_secret`] takes.
pub(super) const LONG_SECRET: &str = "a text of 16 to 256 letters, digits and signs (ASCII; blanks not at its ends)";

/// Whether it is one, or says where one is.
pub(super) fn may_be_long_secret(text: &str) -> bool {
    is_long_secret(text) || !matches!(Source::of(text), Ok(Source::Given))
}

pub(super) fn is_long_secret(text: &str) -> bool {
    let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    SECRET_CHARS.contains(&text.len()) && plain && text.trim() == text
}

/// `http://HOST[:PORT]` and nothing behind it.
pub(super) fn is_server(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    let host = uri.host().is_some_and(|host| !host.is_empty());
    let bare = !text.contains(['@', '?', '#']) && matches!(uri.path(), "" | "/");
    uri.scheme_str() == Some("http") && host && bare
}

/// `arn:PARTITION:elasticloadbalancing:REGION:ACCOUNT:targetgroup/NAME/ID`.
pub(super) fn is_target_group(text: &str) -> bool {
    let group = |resource: &str| resource.strip_prefix("targetgroup/").is_some_and(|rest| rest.split('/').count() == 2);
    match text.split(':').collect::<Vec<_>>()[..] {
        ["arn", partition, "elasticloadbalancing", region, account, resource] => {
            [partition, region, account].iter().all(|part| !part.is_empty()) && group(resource)
        }
        _ => false,
    }
}

/// A host's name of at least two labels (RFC 1123 section 2.1).
pub(super) fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.contains('.') && text.split('.').all(label)
}

pub(super) fn is_https(text: &str) -> bool {
    text.parse::<http::Uri>().is_ok_and(|uri| uri.scheme_str() == Some("https") && uri.host().is_some())
}

/// An `http://` or `https://` URL that names a host and holds no password.
pub(super) fn is_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    let host = uri.host().is_some_and(|host| !host.is_empty());
    let user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    matches!(uri.scheme_str(), Some("http" | "https")) && host && !user && !text.contains('#')
}

/// A name or an address as it stands in a URL, without a port.
pub(super) fn is_host(text: &str) -> bool {
    let authority = text.parse::<http::uri::Authority>();
    authority.is_ok_and(|authority| authority.port().is_none() && !text.contains('@') && authority.host() == text)
}

/// `file:PATH`, or `s3://BUCKET` with or without a prefix of plain parts. What `store::Place` reads.
pub(super) fn is_store(text: &str) -> bool {
    if let Some(path) = text.strip_prefix("file:") {
        return !path.is_empty() && (!path.starts_with("//") || path.starts_with("///"));
    }
    let Some(rest) = text.strip_prefix("s3://") else { return false };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let legal = |c: char| end(c) || matches!(c, '.' | '-');
    let named = bucket.chars().all(legal) && bucket.starts_with(end) && bucket.ends_with(end);
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.');
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    (3..=63).contains(&bucket.len()) && named && (prefix.is_empty() || prefix.split('/').all(plain))
}

/// `local:`, or `https://HOST[:PORT]/ACCOUNT/NAME`, also `http://` on this machine. What `store::QueueAddress` reads.
pub(super) fn is_queue(text: &str) -> bool {
    if text == "local:" {
        return true;
    }
    let Ok(uri) = text.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let here = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let scheme = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => here,
        _ => false,
    };
    let plain = |part: &str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.is_empty() && !part.starts_with('.') && part.chars().all(legal)
    };
    let (account, name) = uri.path().strip_prefix('/').and_then(|path| path.rsplit_once('/')).unwrap_or_default();
    let named = !name.strip_suffix(".fifo").unwrap_or(name).contains('.') && (1..=80).contains(&name.len());
    scheme
        && !host.is_empty()
        && !text.contains(['@', '?', '#'])
        && plain(name)
        && named
        && account.split('/').all(plain)
}

/// `LEVEL` or `MODULE=LEVEL`.
pub(super) fn is_directive(text: &str) -> bool {
    let (module, level) = text.split_once('=').map_or((None, text), |(module, level)| (Some(module), level));
    let name = |module: &str| {
        !module.is_empty() && module.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
    };
    module.is_none_or(name) && matches!(level, "off" | "error" | "warn" | "info" | "debug" | "trace")
}
