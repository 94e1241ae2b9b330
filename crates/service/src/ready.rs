//! Whether a process is ready, and the line that says so.
//!
//! Readiness is a latch: starting, ready, leaving; it never goes back.

use serde::Serialize;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Every address that a process bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Bound {
    /// Where encoders publish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtmp: Option<SocketAddr>,
    /// Where encoders publish over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtmps: Option<SocketAddr>,
    /// Where edges pull.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin_http: Option<SocketAddr>,
    /// Where viewers pull.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge_http: Option<SocketAddr>,
    /// Where viewers pull over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge_https: Option<SocketAddr>,
    /// The private listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_http: Option<SocketAddr>,
    /// The same over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_https: Option<SocketAddr>,
}

impl Bound {
    /// `READY {json}`, without a line end.
    pub fn line(&self) -> String {
        // Addresses have only texts for keys and values, so they always serialise.
        format!("READY {}", serde_json::to_string(self).unwrap_or_default())
    }

    /// Writes the line and flushes it, since who waits for it may be at the other end of a pipe.
    pub fn announce(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}", self.line())?;
        out.flush()
    }
}

/// How far a process is. Cloning gives another handle to the same one.
#[derive(Debug, Clone, Default)]
pub struct Latch(Arc<AtomicU8>);

/// A process's stage of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Not everything is bound yet.
    Starting,
    /// Everything is.
    Ready,
    /// It is shutting down: send nobody here any more.
    Leaving,
}

impl Latch {
    /// Everything is bound. Without effect on a process that is leaving.
    pub fn ready(&self) {
        self.0.fetch_max(1, Ordering::AcqRel);
    }

    /// The process is shutting down.
    pub fn leaving(&self) {
        self.0.fetch_max(2, Ordering::AcqRel);
    }

    /// How far it is.
    pub fn stage(&self) -> Stage {
        match self.0.load(Ordering::Acquire) {
            0 => Stage::Starting,
            1 => Stage::Ready,
            _ => Stage::Leaving,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_only_what_was_bound() {
        let addr = |port| Some(SocketAddr::from(([127, 0, 0, 1], port)));
        assert_eq!(Bound::default().line(), "READY {}");
        let bound = Bound { rtmp: addr(1935), admin_http: "[::1]:9091".parse().ok(), ..Bound::default() };
        assert_eq!(bound.line(), r#"READY {"rtmp":"127.0.0.1:1935","admin_http":"[::1]:9091"}"#);
        let mut out = Vec::new();
        Bound { edge_http: addr(8088), ..Bound::default() }.announce(&mut out).unwrap();
        assert_eq!(out, b"READY {\"edge_http\":\"127.0.0.1:8088\"}\n");
    }

    #[test]
    fn readiness_never_goes_back() {
        let latch = Latch::default();
        assert_eq!(latch.stage(), Stage::Starting);
        latch.ready();
        assert_eq!(latch.stage(), Stage::Ready);
        latch.leaving();
        latch.ready();
        assert_eq!(latch.stage(), Stage::Leaving);
    }
}
