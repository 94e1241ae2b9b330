//! Where a queue is: `local:`, or the URL of a queue of SQS.
//!
//! Pure.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Longest URL of a queue, in bytes.
const URL_BYTES_MAX: usize = 512;

/// Longest name of a queue of SQS, in characters, `.fifo` included.
const NAME_CHARS_MAX: usize = 80;

/// What the name of a queue with order and without doubles ends with.
const FIFO: &str = ".fifo";

/// Where a queue is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueAddress {
    /// `local:`: on disk, below the folder for data.
    Local,
    /// `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`, or the same at another server.
    Sqs(SqsUrl),
}

/// The URL of a queue of SQS, and what it says by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqsUrl {
    url: String,
    /// Scheme, host and port.
    server: String,
    /// What lies before the queue's name, with slashes at its ends.
    path: String,
    name: String,
    region: Option<String>,
    of_aws: bool,
}

/// Why an address of a queue was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given} is no queue: {why}")]
pub struct BadQueue {
    /// The address in quotes, cut to a length that is safe to log; not what looks like a password.
    pub given: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl FromStr for QueueAddress {
    type Err = BadQueue;

    fn from_str(text: &str) -> Result<Self, BadQueue> {
        if text == "local:" {
            return Ok(Self::Local);
        }
        sqs(text).map(Self::Sqs).map_err(|why| {
            let secret = text.contains(['@', '?']);
            let given =
                if secret { "this".to_owned() } else { format!("{:?}", text.chars().take(80).collect::<String>()) };
            BadQueue { given, why }
        })
    }
}

impl fmt::Display for QueueAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local:"),
            Self::Sqs(sqs) => f.write_str(&sqs.url),
        }
    }
}

impl SqsUrl {
    /// The whole URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whom to ask, if it is not AWS: `http://127.0.0.1:4566`.
    pub fn endpoint(&self) -> Option<&str> {
        (!self.of_aws).then_some(&self.server)
    }

    /// The region, if the host's name has it.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// Whether it is one with order and without doubles.
    pub fn is_fifo(&self) -> bool {
        self.name.ends_with(FIFO)
    }

    /// Another queue at the same server, from its ARN (`arn:aws:sqs:REGION:ACCOUNT:NAME`).
    #[cfg(feature = "aws")]
    pub(super) fn beside(&self, arn: &str) -> Option<Self> {
        let mut parts = arn.rsplit(':');
        let (name, account) = (parts.next()?, parts.next()?);
        // What stands before the account is kept: a server may lie below a path.
        let above = self.path.trim_end_matches('/').rsplit_once('/').map_or("", |(above, _)| above);
        sqs(&format!("{}{above}/{account}/{name}", self.server)).ok()
    }
}

fn sqs(text: &str) -> Result<SqsUrl, &'static str> {
    const WHAT: &str = "write local: or https://sqs.REGION.amazonaws.com/ACCOUNT/NAME";
    let (scheme, rest) = text.split_once("://").ok_or(WHAT)?;
    let (authority, path) = rest.split_once('/').ok_or(WHAT)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]/".contains(c);
    if text.len() > URL_BYTES_MAX || !rest.chars().all(plain) {
        return Err("a queue's URL is plain: no user, no query, no spaces");
    }
    let host = host(authority).ok_or("the host's name or its port is none")?;
    match scheme {
        "https" => {}
        // Credentials sign requests and never travel, but jobs do.
        "http" if is_loopback(host) => {}
        "http" => return Err("http:// only leads to this machine (127.0.0.1, [::1], localhost); write https://"),
        _ => return Err(WHAT),
    }
    let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = name.strip_suffix(FIFO).unwrap_or(name);
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if stem.is_empty() || name.len() > NAME_CHARS_MAX || !stem.chars().all(legal) {
        return Err("a queue's name is 1 to 80 of a-z A-Z 0-9 - _ and may end with .fifo");
    }
    if above.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("before the queue's name goes the account: https://sqs.REGION.amazonaws.com/ACCOUNT/NAME");
    }
    let (of_aws, region) = region(host);
    Ok(SqsUrl {
        url: text.to_owned(),
        server: format!("{scheme}://{authority}"),
        path: format!("/{above}/"),
        name: name.to_owned(),
        region,
        of_aws,
    })
}

/// The host of `HOST[:PORT]`, without brackets.
fn host(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, rest.strip_prefix(':').or(rest.is_empty().then_some("443"))?)
        }
        None => authority.split_once(':').unwrap_or((authority, "443")),
    };
    let good = !host.is_empty() && (authority.starts_with('[') || !host.contains(['[', ']', ':']));
    (good && port.parse::<u16>().is_ok_and(|port| port > 0)).then_some(host)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a host is AWS's, and the region that its name has: `sqs.REGION.amazonaws.com`, `sqs-fips.REGION…`,
/// `REGION.queue.amazonaws.com` (the old way), `VPCE.sqs.REGION.vpce.amazonaws.com`.
fn region(host: &str) -> (bool, Option<String>) {
    let host = host.to_ascii_lowercase();
    let Some(stem) = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"].iter().find_map(|end| host.strip_suffix(end))
    else {
        return (false, None);
    };
    let labels: Vec<&str> = stem.split('.').collect();
    let (region, public) = match labels[..] {
        ["sqs" | "sqs-fips", region] | [region, "queue"] => (Some(region), true),
        // An endpoint of one's own network is one that must be asked by its name.
        [.., "sqs", region, "vpce"] => (Some(region), false),
        _ => (None, false),
    };
    (public, region.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> SqsUrl {
        match text.parse() {
            Ok(QueueAddress::Sqs(sqs)) => sqs,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_url_of_aws_says_its_region_and_any_other_its_server() {
        for (text, region, endpoint) in [
            ("https://sqs.eu-west-1.amazonaws.com/123456789012/jobs", Some("eu-west-1"), None),
            ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/jobs", Some("cn-north-1"), None),
            ("https://us-east-2.queue.amazonaws.com/123456789012/jobs", Some("us-east-2"), None),
            (
                "https://vpce-0a-1b.sqs.eu-west-1.vpce.amazonaws.com/123456789012/jobs",
                Some("eu-west-1"),
                Some("https://vpce-0a-1b.sqs.eu-west-1.vpce.amazonaws.com"),
            ),
            ("https://sqs.example:9324/000000000000/jobs", None, Some("https://sqs.example:9324")),
            ("http://127.0.0.1:4566/000000000000/jobs", None, Some("http://127.0.0.1:4566")),
            ("http://[::1]:4566/queue/jobs", None, Some("http://[::1]:4566")),
            ("http://localhost/queue/jobs", None, Some("http://localhost")),
        ] {
            let sqs = parse(text);
            assert_eq!((sqs.region(), sqs.endpoint(), sqs.url()), (region, endpoint, text));
        }
        assert_eq!("local:".parse(), Ok(QueueAddress::Local));
        let fifo = parse("https://sqs.eu-west-1.amazonaws.com/123456789012/jobs.fifo");
        assert!(fifo.is_fifo() && !parse("http://127.0.0.1:1/a/fifo").is_fifo());
    }

    #[test]
    fn other_texts_are_no_queues() {
        for text in [
            "",
            "local",
            "local:/x",
            "sqs://a/b",
            "https://",
            "https://a",
            "https://a/b",
            "https://a//b",
            "https://a/../b",
            "https:///a/b",
            "https://a:0/a/b",
            "https://a:x/a/b",
            "https://[zz]/a/b",
            "https://a/a/b/",
            "https://a/a/b.c",
            "https://a/a/.fifo",
            "https://a/a/b?x",
            "https://a/a/b c",
            "http://10.0.0.1/a/b",
            "http://sqs.eu-west-1.amazonaws.com/123456789012/jobs",
            "http://localhost.example/a/b",
            &format!("https://a/a/{}", "x".repeat(81)),
        ] {
            assert!(text.parse::<QueueAddress>().is_err(), "{text}");
        }
        let words = "https://AKIA:hunter2@a/b/c".parse::<QueueAddress>().unwrap_err().to_string();
        assert!(words.starts_with("this is no queue"), "{words}");
    }

    #[cfg(feature = "aws")]
    #[test]
    fn the_queue_for_dead_letters_lies_beside() {
        let beside = |url: &str| parse(url).beside("arn:aws:sqs:eu-west-1:111122223333:dead").map(|sqs| sqs.url);
        assert_eq!(
            beside("https://sqs.eu-west-1.amazonaws.com/123456789012/jobs").as_deref(),
            Some("https://sqs.eu-west-1.amazonaws.com/111122223333/dead")
        );
        assert_eq!(beside("http://127.0.0.1:1/x/y/jobs").as_deref(), Some("http://127.0.0.1:1/x/111122223333/dead"));
        assert_eq!(parse("http://127.0.0.1:1/x/jobs").beside("nonsense"), None);
    }
}
