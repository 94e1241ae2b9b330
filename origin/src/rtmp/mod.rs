//! RTMP in: from a listening socket to parsed, claimed media.
//!
//! `chunk` makes messages of bytes, `session` makes decisions and media of messages (both without sockets), `connection`
//! drives a session over a byte stream, `listener` accepts and counts connections. What a stream does with its media is
//! none of their business: they claim a name at [`crate::ingest::Ingest`] and push into the claim.

mod amf;
pub mod chunk;
mod connection;
mod listener;
pub mod refusal;
mod reply;
pub mod session;
#[cfg(test)]
mod testkit;

pub use connection::{Ended, run};
pub(crate) use listener::party;
pub use listener::{Listeners, serve};

use std::time::Duration;

/// How much, how many and how long. Each is a defence: what a stranger can cost us is their product.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections in all; the next one is closed unheard.
    pub connections: usize,
    /// Connections from one IPv4 address or one IPv6 /64; the next one is closed unheard. Encoders behind one router
    /// share an address.
    pub connections_per_address: usize,
    /// From accepting to the end of the handshake.
    pub handshake: Duration,
    /// Without a byte while publishing, or without a publish before and after; then the connection is closed.
    pub idle: Duration,
    /// For the answer to a publish; then it is refused.
    pub claim: Duration,
    /// For the peer to take what we send (a few hundred bytes at a time); then the connection is closed.
    pub write: Duration,
    /// For the peer to read a refusal and hang up. Closing at once could reset the connection before it has read it.
    pub linger: Duration,
    /// What the chunk reader takes.
    pub chunk: chunk::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            connections_per_address: 32,
            handshake: Duration::from_secs(5),
            idle: Duration::from_secs(15),
            // A refusal may wait eight seconds, and who is asked about it ten.
            claim: Duration::from_secs(25),
            write: Duration::from_secs(5),
            linger: Duration::from_secs(2),
            chunk: chunk::Limits::default(),
        }
    }
}
