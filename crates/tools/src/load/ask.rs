//! What a viewer asks for and what comes of it: the words between the state machine and whoever has sockets.
//!
//! Knows neither sockets nor what a viewer does with answers.

use super::listing::{Ladder, Listing};
use crate::lint::parse::ByteRange;
use http::uri::PathAndQuery;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use url::Url;

/// A server: what connections are made to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) https: bool,
    /// A name or an address; IPv6 without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As it stands in a request's Host: the port only where it is not the scheme's own.
    pub(crate) authority: String,
}

/// An address, resolved once for all viewers: cloning and comparing are cheap.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) origin: Arc<Origin>,
    pub(crate) path: PathAndQuery,
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        (Arc::ptr_eq(&self.origin, &other.origin) || self.origin == other.origin) && self.path == other.path
    }
}

impl Place {
    /// The place of an http or https address; `near` lends its origin if it is the same.
    pub(crate) fn new(url: &Url, near: Option<&Self>) -> Option<Self> {
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let host = match url.host()? {
            url::Host::Domain(name) => name.to_owned(),
            url::Host::Ipv4(address) => address.to_string(),
            url::Host::Ipv6(address) => address.to_string(),
        };
        let authority = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str()?),
            None => url.host_str()?.to_owned(),
        };
        let origin = Origin { https, host, port: url.port_or_known_default()?, authority };
        let origin = match near {
            Some(near) if *near.origin == origin => Arc::clone(&near.origin),
            _ => Arc::new(origin),
        };
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        Some(Self { origin, path: path.parse().ok()? })
    }

    /// The same as a URL, to resolve others against.
    pub(crate) fn url(&self) -> Option<Url> {
        Url::parse(&self.to_string()).ok()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.origin.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.origin.authority, self.path)
    }
}

/// A file or bytes of one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resource {
    pub(crate) place: Place,
    pub(crate) range: Option<ByteRange>,
}

/// What a request is for. Reports count by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The multivariant playlist.
    Multivariant,
    /// A media playlist, answered at once.
    Playlist,
    /// A media playlist that the server may hold until there is news.
    Reload,
    /// An init segment.
    Init,
    /// A key of encrypted segments.
    Key,
    /// A whole segment.
    Segment,
    /// A part that was listed.
    Part,
    /// A part that was announced: the server holds the request until there are bytes.
    Hint,
    /// Whatever is at the address, in plain mode.
    Plain,
}

impl Kind {
    /// All, in the order of reports.
    pub const ALL: [Self; 9] = [
        Self::Multivariant,
        Self::Playlist,
        Self::Reload,
        Self::Init,
        Self::Key,
        Self::Segment,
        Self::Part,
        Self::Hint,
        Self::Plain,
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Multivariant => "multivariant",
            Self::Playlist => "playlist",
            Self::Reload => "reload",
            Self::Init => "init",
            Self::Key => "key",
            Self::Segment => "segment",
            Self::Part => "part",
            Self::Hint => "hint",
            Self::Plain => "plain",
        }
    }

    /// Whether the answer's bytes are read, and not only counted.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Self::Multivariant | Self::Playlist | Self::Reload)
    }

    /// Where it stands in tables by kind.
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// LL-HLS's delivery directives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Directives {
    pub(crate) msn: u64,
    pub(crate) part: Option<u64>,
    /// A delta update will do.
    pub(crate) skip: bool,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) id: u32,
    pub(crate) kind: Kind,
    pub(crate) resource: Resource,
    pub(crate) directives: Option<Directives>,
    /// What a delta update is one of.
    pub(crate) base: Option<Arc<Listing>>,
    /// How long the whole answer may take, in seconds.
    pub(crate) within_s: f64,
}

impl Ask {
    /// Path and query of the request.
    pub(crate) fn target(&self) -> PathAndQuery {
        let Some(Directives { msn, part, skip }) = self.directives else { return self.resource.place.path.clone() };
        let path = &self.resource.place.path;
        let joint = if path.query().is_some() { '&' } else { '?' };
        let part = part.map(|part| format!("&_HLS_part={part}")).unwrap_or_default();
        let skip = if skip { "&_HLS_skip=YES" } else { "" };
        // Digits and a fixed text behind a path that is one.
        format!("{path}{joint}_HLS_msn={msn}{part}{skip}").parse().unwrap_or_else(|_| path.clone())
    }
}

/// What came of a request. Moments are seconds since the run began.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) id: u32,
    /// When the first byte of the body came.
    pub(crate) first: f64,
    /// When the last one did, or when it failed.
    pub(crate) done: f64,
    /// Of the body.
    pub(crate) bytes: u64,
    pub(crate) result: Result<Content, Failure>,
}

/// What an answer was.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Ladder(Arc<Ladder>),
    Listing(Arc<Listing>),
    Media,
}

/// Why there is no answer that a viewer can use. Reports count by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// The server said no.
    Status(u16),
    /// It took too long.
    Timeout,
    /// There was no connection.
    Connect,
    /// The answer broke off.
    Broken,
    /// It should have been a playlist, and is none.
    NoPlaylist,
    /// A delta update of something else.
    Delta,
    /// A playlist leads to a host that may not be loaded.
    Elsewhere,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Timeout => f.write_str("timeout"),
            Self::Connect => f.write_str("no connection"),
            Self::Broken => f.write_str("broke off"),
            Self::NoPlaylist => f.write_str("no playlist"),
            Self::Delta => f.write_str("useless delta"),
            Self::Elsewhere => f.write_str("another host"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Place {
        Place::new(&Url::parse(text).unwrap(), None).unwrap()
    }

    #[test]
    fn places_are_addresses_with_the_host_as_requests_have_it() {
        for (text, authority, port) in [
            ("http://a/b?c=d", "a", 80),
            ("http://a:8088/b", "a:8088", 8088),
            ("https://[::1]:1/x", "[::1]:1", 1),
            ("https://127.0.0.1/", "127.0.0.1", 443),
        ] {
            let place = place(text);
            assert_eq!((place.origin.authority.as_str(), place.origin.port), (authority, port), "{text}");
            assert_eq!(place.to_string(), text);
        }
        assert_eq!(Place::new(&Url::parse("ftp://a/b").unwrap(), None), None);
    }

    #[test]
    fn directives_go_behind_what_the_address_has_in_alphabetical_order() {
        let check = |address: &str, part, skip, expected: &str| {
            let directives = Some(Directives { msn: 7, part, skip });
            let resource = Resource { place: place(address), range: None };
            let ask = Ask { id: 0, kind: Kind::Reload, resource, directives, base: None, within_s: 1.0 };
            assert_eq!(ask.target().as_str(), expected);
        };
        check("http://a/b.m3u8", Some(2), true, "/b.m3u8?_HLS_msn=7&_HLS_part=2&_HLS_skip=YES");
        check("http://a/b.m3u8?t=1", None, false, "/b.m3u8?t=1&_HLS_msn=7");
    }
}
