//! What is allowed under each key. The only place that knows, both for checking and for telling.
//!
//! Pure. Types and defaults are the parent module's.

mod forms;

use forms::{
    ELSEWHERE, LONG_SECRET, is_directive, is_domain, is_host, is_https, is_long_secret, is_queue, is_server, is_store,
    is_target_group, is_url, may_be_long_secret,
};
use media::ladder::Ladder;
use media::name::StreamName;
use serde::Deserialize as _;
use std::net::SocketAddr;
use toml::Value;

/// What is allowed under one key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// A whole number within bounds, with its unit.
    Whole(i64, i64, &'static str),
    /// One of these words; those of the second list are known but not built yet.
    Word(&'static [&'static str], &'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// Any text but an empty one; what it is.
    Text(&'static str),
    /// The same, never shown; or where it is kept.
    Secret,
    /// A secret that must be hard to guess and may stand in a header.
    LongSecret,
    /// A list of such, or one alone.
    LongSecrets,
    /// A list of such.
    Secrets,
    /// An IP address and a port.
    Address,
    /// A list of other servers, each as `http://HOST:PORT`.
    Servers,
    /// One of these words, or another server as `http://HOST:PORT`.
    WordOrServer(&'static [&'static str]),
    /// The ARN of a load balancer's target group.
    TargetGroup,
    /// A list of DNS names, without wildcards.
    Domains,
    /// An `https://` URL.
    Https,
    /// A URL to ask, `http://` or `https://`.
    Url,
    /// One such URL, or a list of them.
    Urls,
    /// A list of these words.
    Words(&'static [&'static str]),
    /// A list of host names or addresses, without ports.
    Hosts,
    /// A list of rungs.
    Ladder,
    /// A log level or filter.
    LogLevel,
    /// A folder or a bucket.
    Store,
    /// The local job queue, or one of SQS.
    Queue,
    /// A key whose values are all for later versions.
    Later,
}

/// What a value is under a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    /// What is allowed instead.
    Bad(String),
    /// Right but not built yet; what is.
    NotYet(String),
}

/// Every key; `*` stands for a stream's name.
pub(super) const KEYS: &[(&str, Rule)] = &[
    ("data_dir", Rule::Text("the path of a folder")),
    ("ladder", Rule::Ladder),
    ("record", RECORD),
    ("record_lost_s", Rule::Whole(1, 86_400, "seconds")),
    ("tls", Rule::Word(&["off", "files", "self-signed", "acme"], &[])),
    ("log.level", Rule::LogLevel),
    ("log.format", Rule::Word(&["human", "json"], &[])),
    ("origin.rtmp", Rule::Address),
    ("origin.rtmps", Rule::Address),
    ("origin.http", Rule::Address),
    ("origin.peer", Rule::Later),
    ("origin.reconnect_s", Rule::Whole(0, 86_400, "seconds")),
    ("publish.key", Rule::Secret),
    ("publish.open", Rule::Word(&["this-machine", "anyone"], &[])),
    ("publish.callback", Rule::Url),
    ("publish.callback_secret", Rule::Secret),
    ("publish.callback_s", Rule::Whole(1, 10, "seconds")),
    ("publish.callback_down", Rule::Word(&["refuse", "allow"], &[])),
    ("publish.jwt_secret", Rule::Secret),
    ("publish.jwt_key", Rule::Text("the path of a PEM file")),
    ("publish.jwt_audience", Rule::Text("the name that tokens have in their claim \"aud\"")),
    ("publish.jwt_skew_s", Rule::Whole(0, 300, "seconds")),
    ("hooks.url", Rule::Urls),
    ("hooks.secret", Rule::Secret),
    ("hooks.events", Rule::Words(&["publish", "unpublish", "recording_ready", "vod_ready", "alarm"])),
    ("hooks.ca", Rule::Text("the path of a PEM file")),
    ("edge.http", Rule::Address),
    ("edge.https", Rule::Address),
    ("edge.tls_cert", Rule::Text("the path of a PEM file")),
    ("edge.tls_key", Rule::Text("the path of a PEM file")),
    ("edge.origins", Rule::Servers),
    ("edge.cache_bytes", Rule::Whole(1 << 20, 1 << 40, "bytes")),
    ("edge.idle_s", Rule::Whole(0, 3600, "seconds")),
    ("edge.hosts", Rule::Hosts),
    ("edge.target_group", Rule::TargetGroup),
    ("edge.target_id", Rule::Text("what the target group knows this edge by: an instance id or an IP address")),
    ("edge.leave_s", Rule::Whole(0, 60, "seconds")),
    ("acme.domains", Rule::Domains),
    ("acme.contact", Rule::Text("an e-mail address")),
    ("acme.directory", Rule::Https),
    ("acme.ca", Rule::Text("the path of a PEM file")),
    ("admin.http", Rule::Address),
    ("admin.https", Rule::Address),
    ("admin.token", Rule::Secret),
    ("admin.token_over_http", Rule::Flag),
    ("machine.metadata", Rule::WordOrServer(&["auto", "off"])),
    ("hls.segment_ms", Rule::Whole(500, 10_000, "milliseconds")),
    ("hls.part_ms", Rule::Whole(100, 2000, "milliseconds")),
    ("hls.window_s", Rule::Whole(10, 3600, "seconds")),
    ("hls.dvr_s", Rule::Whole(0, 43_200, "seconds")),
    ("protect.method", PROTECTION),
    ("protect.secret", Rule::Secret),
    ("protect.old_secrets", Rule::Secrets),
    ("protect.rotate_s", Rule::Whole(1, 86_400, "seconds")),
    ("storage.ingest", Rule::Store),
    ("storage.egress", Rule::Store),
    ("retention.ingest_days", DAYS),
    ("retention.egress_days", DAYS),
    ("queue.url", Rule::Queue),
    ("vod.sources", Rule::Word(&["all", "uploads"], &[])),
    ("vod.ladder", Rule::Ladder),
    ("vod.effort", Rule::Word(&["veryfast", "fast", "medium", "slow"], &[])),
    ("transcoder.hold_s", Rule::Whole(2, 43_200, "seconds")),
    ("transcoder.rescan_s", Rule::Whole(1, 86_400, "seconds")),
    ("watch.mode", WATCH),
    ("watch.secrets", Rule::LongSecrets),
    ("cluster.secret", Rule::LongSecret),
    ("streams.*.key", Rule::Secret),
    ("streams.*.record", RECORD),
    ("streams.*.ladder", Rule::Ladder),
    ("streams.*.projection", Rule::Word(&["equirect", "hequ", "dfisheye", "cubemap", "flat"], &[])),
    ("streams.*.stereo", Rule::Word(&["mono", "tb", "lr"], &[])),
    ("streams.*.watch", WATCH),
    ("streams.*.listed", Rule::Flag),
    ("streams.*.audio", Rule::Word(&["auto", "off"], &[])),
    ("streams.*.protect", PROTECTION),
];

/// Receivers of hooks: each is told everything.
const HOOKS_MAX: usize = 8;

const PROTECTION: Rule = Rule::Word(&["off", "aes-128"], &[]);

const DAYS: Rule = Rule::Whole(0, 36_500, "days; 0 for ever");

const WATCH: Rule = Rule::Word(&["open", "unlisted", "signed"], &[]);

/// Most secrets in a list: a link that nobody signed is checked against each.
const SECRETS_MAX: usize = 8;

const RECORD: Rule = Rule::Word(&["all", "source", "off"], &[]);

/// The rule for a key, if there is one.
pub(super) fn rule(key: &[String]) -> Option<Rule> {
    KEYS.iter().find(|(pattern, _)| matches(pattern, key)).map(|(_, rule)| *rule)
}

/// Whether a key is a table that holds other keys.
pub(super) fn is_table(key: &[String]) -> bool {
    KEYS.iter().any(|(pattern, _)| {
        let parts: Vec<&str> = pattern.split('.').collect();
        parts.len() > key.len() && parts.iter().zip(key).all(|(part, given)| part_matches(part, given))
    })
}

/// What there is beside a key that doesn't exist: a likely misspelling, else all that stands in the same table.
pub(super) fn instead_of(key: &[String]) -> String {
    if let [table, name, ..] = key
        && table == "streams"
        && let Err(bad) = name.parse::<StreamName>()
    {
        return bad.to_string();
    }
    let parent = key.split_last().map_or(&[][..], |(_, parent)| parent);
    // Below a key that is no table there is nothing: look beside that key.
    let Some(siblings) = siblings(parent) else {
        return instead_of(parent);
    };
    let last = key.last().map(String::as_str).unwrap_or_default();
    let near = siblings.iter().filter(|sibling| distance(sibling, last) <= 2);
    match near.min_by_key(|sibling| distance(sibling, last)) {
        Some(near) => format!("did you mean {}?", [parent, std::slice::from_ref(near)].concat().join(".")),
        None if parent.is_empty() => format!("there are {}", siblings.join(", ")),
        None => format!("below {} there are {}", parent.join("."), siblings.join(", ")),
    }
}

/// The names in a table, in order, if it is one.
fn siblings(parent: &[String]) -> Option<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for (pattern, _) in KEYS {
        let parts: Vec<&str> = pattern.split('.').collect();
        if let Some((head, tail)) = parts.split_at_checked(parent.len())
            && head.iter().zip(parent).all(|(part, given)| part_matches(part, given))
            && let Some(next) = tail.first()
        {
            let name = if *next == "*" { "NAME" } else { next };
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    (!names.is_empty()).then_some(names)
}

/// Whether a key is one of a pattern's.
pub(super) fn matches(pattern: &str, key: &[String]) -> bool {
    pattern.split('.').count() == key.len()
        && pattern.split('.').zip(key).all(|(part, given)| part_matches(part, given))
}

fn part_matches(part: &str, given: &str) -> bool {
    if part == "*" { given.parse::<StreamName>().is_ok() } else { part == given }
}

/// Edits (insert, delete, replace a character) between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((above_left, above), y) in row.iter().zip(row.iter().skip(1)).zip(&b) {
            let left = next.last().copied().unwrap_or_default();
            next.push((above_left + usize::from(x != *y)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

impl Rule {
    /// Whether values under it are text, so that `12` or `true` (which `value` was read as) from the command line is meant
    /// as text.
    pub(super) fn wants_text(self, value: &Value) -> bool {
        match self {
            Self::Text(_) | Self::Secret | Self::LongSecret => true,
            Self::LongSecrets => !value.is_array(),
            _ => false,
        }
    }

    /// Whether values under it must not be shown.
    pub(super) fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::Secrets | Self::LongSecret | Self::LongSecrets)
    }

    /// Judges a secret itself, wherever it was.
    pub(super) fn takes_secret(self, text: &str) -> bool {
        match self {
            Self::LongSecret | Self::LongSecrets => is_long_secret(text),
            _ => true,
        }
    }

    /// Judges one value.
    pub(super) fn judge(self, value: &Value) -> Verdict {
        let text = value.as_str();
        let good = match self {
            Self::Later => return Verdict::NotYet(self.allowed()),
            Self::Whole(low, high, _) => value.as_integer().is_some_and(|n| (low..=high).contains(&n)),
            Self::Word(built, planned) => {
                if text.is_some_and(|text| planned.contains(&text)) {
                    return Verdict::NotYet(self.allowed());
                }
                text.is_some_and(|text| built.contains(&text))
            }
            Self::Flag => value.is_bool(),
            Self::Text(_) | Self::Secret => text.is_some_and(|text| !text.is_empty()),
            // What is in a file is judged when it is read.
            Self::LongSecret => text.is_some_and(may_be_long_secret),
            Self::LongSecrets => match value.as_array() {
                Some(list) => {
                    list.len() <= SECRETS_MAX && list.iter().all(|text| text.as_str().is_some_and(may_be_long_secret))
                }
                None => text.is_some_and(may_be_long_secret),
            },
            Self::Secrets => value
                .as_array()
                .is_some_and(|list| list.iter().all(|secret| secret.as_str().is_some_and(|secret| !secret.is_empty()))),
            Self::Address => text.is_some_and(|text| text.parse::<SocketAddr>().is_ok()),
            Self::Servers => value.as_array().is_some_and(|list| {
                !list.is_empty() && list.iter().all(|server| server.as_str().is_some_and(is_server))
            }),
            Self::WordOrServer(words) => text.is_some_and(|text| words.contains(&text) || is_server(text)),
            Self::TargetGroup => text.is_some_and(is_target_group),
            Self::Domains => {
                value.as_array().is_some_and(|list| list.iter().all(|name| name.as_str().is_some_and(is_domain)))
            }
            Self::Https => text.is_some_and(is_https),
            Self::Url => text.is_some_and(is_url),
            Self::Urls => match value.as_array() {
                Some(list) => list.len() <= HOOKS_MAX && list.iter().all(|url| url.as_str().is_some_and(is_url)),
                None => text.is_some_and(is_url),
            },
            Self::Words(words) => value
                .as_array()
                .is_some_and(|list| list.iter().all(|word| word.as_str().is_some_and(|word| words.contains(&word)))),
            Self::Hosts => {
                value.as_array().is_some_and(|list| list.iter().all(|host| host.as_str().is_some_and(is_host)))
            }
            Self::Ladder => return judge_ladder(value, self),
            Self::LogLevel => text.is_some_and(is_log_level),
            Self::Store => text.is_some_and(is_store),
            Self::Queue => text.is_some_and(is_queue),
        };
        if good { Verdict::Good } else { Verdict::Bad(self.allowed()) }
    }

    pub(super) fn allowed(self) -> String {
        match self {
            Self::Whole(low, high, unit) if low == high => format!("{low} {unit}"),
            Self::Whole(low, high, unit) => format!("a whole number from {low} to {high} ({unit})"),
            Self::Word([word], _) => format!("\"{word}\""),
            Self::Word(words, _) => format!("one of \"{}\"", words.join("\", \"")),
            Self::Flag => "true or false".to_owned(),
            Self::Text(what) => what.to_owned(),
            Self::Secret => format!("a text that is not empty, {ELSEWHERE}"),
            Self::Secrets => format!("a list of texts that are not empty, {ELSEWHERE}"),
            Self::LongSecret => format!("{LONG_SECRET}, {ELSEWHERE}"),
            Self::LongSecrets => format!("{LONG_SECRET}, {ELSEWHERE}, or a list of at most {SECRETS_MAX} such"),
            Self::Address => {
                "an IP address and a port, as \"127.0.0.1:8080\", \"[::1]:8080\" or \"0.0.0.0:0\"".to_owned()
            }
            Self::Servers => "a list of servers, as [\"http://10.0.0.1:8080\", \"http://10.0.0.2:8080\"]".to_owned(),
            Self::WordOrServer(words) => {
                format!("\"{}\" or a server, as \"http://127.0.0.1:1338\"", words.join("\", \""))
            }
            Self::TargetGroup => "the ARN of a target group, as \"arn:aws:elasticloadbalancing:eu-west-1:123456789012:\
                                  targetgroup/edges/0123456789abcdef\""
                .to_owned(),
            Self::Domains => "a list of DNS names in lower case, as [\"live.example.org\"]".to_owned(),
            Self::Https => "an address that begins with \"https://\"".to_owned(),
            Self::Url => "a URL, as \"https://example.org/path\", without a user or password in it".to_owned(),
            Self::Urls => format!(
                "a URL, as \"https://example.org/path\", or a list of at most {HOOKS_MAX}, without users or passwords in them"
            ),
            Self::Words(words) => format!("a list of some of \"{}\"", words.join("\", \"")),
            Self::Hosts => "a list of host names, as [\"live.example.org\"]; [] for every name".to_owned(),
            Self::Ladder => "a list of rungs, as [\"source\", \"960w 2300k\"]".to_owned(),
            Self::LogLevel => {
                "one of \"error\", \"warn\", \"info\", \"debug\", \"trace\", also per module, as \"info,origin=debug\""
                    .to_owned()
            }
            Self::Later => "to leave it out".to_owned(),
            Self::Store => "\"file:PATH\" or \"s3://BUCKET/PREFIX\" (the prefix may be left out)".to_owned(),
            Self::Queue => {
                "\"local:\" or the URL of an SQS queue, as \"https://sqs.eu-west-1.amazonaws.com/123456789012/jobs\" \
                 (http:// only for a server on this machine)"
                    .to_owned()
            }
        }
    }
}

fn judge_ladder(value: &Value, rule: Rule) -> Verdict {
    let Some(lines) = value.as_array().and_then(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>())
    else {
        return Verdict::Bad(rule.allowed());
    };
    match (Ladder::parse(&lines), Ladder::deserialize(value.clone())) {
        (Err(why), _) => Verdict::Bad(format!("{}; {why}", rule.allowed())),
        (_, Err(why)) => Verdict::Bad(format!("{}; {why}", rule.allowed())),
        _ => Verdict::Good,
    }
}

/// What `log.level` may be, also where it comes from elsewhere.
pub fn is_log_level(text: &str) -> bool {
    text.split(',').all(is_directive)
}

/// What a log level may be, in words.
pub fn log_levels() -> String {
    Rule::LogLevel.allowed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspellings_are_few_edits_away() {
        for (a, b, expected) in [("", "", 0), ("part_ms", "part_ms", 0), ("prat_ms", "part_ms", 2), ("rtmp", "http", 2)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn domains_are_names_that_can_be_certified_one_by_one() {
        for good in ["live.example.org", "a.b", "xn--bcher-kva.example"] {
            assert!(is_domain(good), "{good}");
        }
        for bad in ["", "localhost", "*.example.org", "Live.example.org", "a..b", "-a.b", "a.b:443", "https://a.b"] {
            assert!(!is_domain(bad), "{bad}");
        }
    }

    #[test]
    fn stores_are_folders_and_buckets() {
        for good in ["file:/srv", "file:///srv", "file:./a b", "s3://abc", "s3://a.b-1/live/360/"] {
            assert!(is_store(good), "{good}");
        }
        for bad in ["", "/srv", "file:", "file://host/a", "s3://", "s3://ab", "s3://A_b", "s3://abc//x", "s3://abc/.x"]
        {
            assert!(!is_store(bad), "{bad}");
        }
    }

    #[test]
    fn queues_are_local_or_urls_of_sqs() {
        for good in [
            "local:",
            "https://sqs.eu-west-1.amazonaws.com/123456789012/jobs",
            "https://sqs.example:9324/queue/live360_jobs-1.fifo",
            "http://127.0.0.1:4566/000000000000/jobs",
            "http://[::1]:4566/000000000000/jobs",
            "http://localhost/a/b",
        ] {
            assert!(is_queue(good), "{good}");
        }
        for bad in [
            "",
            "local",
            "local:/x",
            "jobs",
            "https://sqs.example/jobs",
            "https://sqs.example/a/",
            "https://sqs.example/a//b",
            "https://sqs.example/../b",
            "https://sqs.example/a/b.c",
            "https://u@sqs.example/a/b",
            "https://sqs.example/a/b?c",
            "http://sqs.example/a/b",
            "http://10.0.0.1/a/b",
            "sqs://a/b/c",
        ] {
            assert!(!is_queue(bad), "{bad}");
        }
    }

    #[test]
    fn long_secrets_are_hard_to_guess_and_fit_in_a_header() {
        for good in ["0123456789abcdef", "four plain words here!", &"x".repeat(256)] {
            assert!(is_long_secret(good), "{good}");
        }
        for bad in
            ["", "0123456789abcde", " 0123456789abcdef", "0123456789abcdéf", "0123456789\nabcdef", &"x".repeat(257)]
        {
            assert!(!is_long_secret(bad), "{bad}");
        }
    }

    #[test]
    fn servers_are_bare_http_addresses() {
        for good in ["http://127.0.0.1:8080", "http://origin.example", "http://[::1]:80/"] {
            assert!(is_server(good), "{good}");
        }
        for bad in ["", "127.0.0.1:8080", "https://a", "http://", "http://a/b", "http://u@a", "http://a?b", "http:/a"] {
            assert!(!is_server(bad), "{bad}");
        }
    }

    #[test]
    fn urls_to_ask_name_a_host_and_hold_no_password() {
        for good in ["http://127.0.0.1:8000", "https://a.example/x/y?z=1", "http://[::1]:80/"] {
            assert!(is_url(good), "{good}");
        }
        for bad in ["", "a.example/x", "ftp://a/b", "https://", "https:///x", "https://u:p@a/b", "http://a/b#c"] {
            assert!(!is_url(bad), "{bad}");
        }
    }

    #[test]
    fn target_groups_are_whole_arns() {
        let good = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/edges/0123456789abcdef";
        assert!(is_target_group(good));
        for bad in ["", "edges", "arn:aws:s3:::bucket", &good.replace("eu-west-1", ""), &good.replace("/0123", "0123")]
        {
            assert!(!is_target_group(bad), "{bad}");
        }
    }
}
