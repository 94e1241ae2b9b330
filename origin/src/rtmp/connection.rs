//! One connection's life: waits for one thing, feeds it to the session, does all that the session says, waits again.
//!
//! Works over any byte stream. Decides nothing about RTMP; owns the clock, the claim and the socket.

use super::Limits;
use super::refusal::{Reason, Refused};
use super::session::{Closed, Input, Output, Session, Stage};
use crate::ingest::{Claim, Ingest, Ingested, PublishRequest};
use bytes::BytesMut;
use media::name::PublishKey;
use service::tls::NoHandshake;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

#[cfg(test)]
mod tests;

/// Read at a time, in bytes. Also the most that is read ahead of a stream that makes its encoder wait.
const READ_BYTES: usize = 64 * 1024;

/// Read and thrown away after a refusal, in bytes, so that a peer in full flow gets to read it.
const LINGER_BYTES: usize = 16 << 20;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The peer hung up.
    #[error("the encoder hung up")]
    PeerClosed,
    /// There was no TLS where it must be.
    #[error(transparent)]
    Tls(#[from] NoHandshake),
    /// The peer was too slow to begin.
    #[error("no handshake in time")]
    HandshakeTimeout,
    /// The peer didn't take what we sent.
    #[error("the encoder doesn't read our answers")]
    WriteTimeout,
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The session said so.
    #[error(transparent)]
    Session(#[from] Closed),
}

impl Ended {
    /// Whether it ended somebody who never showed that it may be here.
    pub fn is_a_stranger(&self) -> bool {
        matches!(self, Self::Session(Closed::Refused(refused)) if refused.reason == Reason::Key)
    }

    /// The label of `live360_rtmp_closed_total`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::PeerClosed => "peer",
            Self::Tls(_) => "tls",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::WriteTimeout => "write_timeout",
            Self::Io(_) => "io",
            Self::Session(Closed::NotRtmp(_)) => "not_rtmp",
            Self::Session(Closed::Refused(_)) => "refused",
        }
    }
}

/// Serves one connection to its end. Whatever it had claimed is let go by then.
pub async fn run<S, I>(socket: S, peer: SocketAddr, ingest: &I, limits: &Limits, shutdown: &CancellationToken) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin,
    I: Ingest,
{
    let session = Session::new(limits.chunk.clone());
    let received = metrics::counter!("live360_rtmp_received_bytes_total");
    let mut connection =
        Connection { socket, peer, ingest, limits, shutdown, session, claim: None, said: false, received };
    let ended = connection.drive().await;
    if let Ended::Session(Closed::Refused(refused)) = &ended {
        metrics::counter!("live360_rtmp_refusals_total", "reason" => refused.reason.label()).increment(1);
    }
    ended
}

struct Connection<'a, S, I> {
    socket: S,
    peer: SocketAddr,
    ingest: &'a I,
    limits: &'a Limits,
    shutdown: &'a CancellationToken,
    session: Session,
    claim: Option<Claim>,
    /// The peer has something of ours to read.
    said: bool,
    received: metrics::Counter,
}

/// What a connection waits for.
enum Event {
    Read(io::Result<usize>),
    TooLate,
    Refuse(Refused),
}

impl<S, I> Connection<'_, S, I>
where
    S: AsyncRead + AsyncWrite + Unpin,
    I: Ingest,
{
    async fn drive(&mut self) -> Ended {
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        let mut stage = Stage::Handshake;
        let mut deadline = Instant::now() + self.limits.handshake;
        loop {
            buffer.clear();
            match self.event(&mut buffer, deadline).await {
                Event::Read(Ok(0)) => return Ended::PeerClosed,
                Event::Read(Ok(count)) => {
                    self.received.increment(count as u64);
                    self.session.handle(Input::Bytes(&buffer));
                }
                Event::Read(Err(error)) => return Ended::Io(error),
                Event::TooLate if stage == Stage::Handshake => return Ended::HandshakeTimeout,
                Event::TooLate => self.session.handle(Input::Refuse(too_late(stage, self.limits))),
                Event::Refuse(refused) => self.session.handle(Input::Refuse(refused)),
            }
            if let Err(ended) = self.drain().await {
                return ended;
            }
            // A publisher has the idle time from byte to byte, everybody else from stage to stage: a peer that keeps
            // a connection open by a byte now and then is no encoder.
            let now = self.session.stage();
            if now == Stage::Publishing || now != stage {
                deadline = Instant::now() + self.limits.idle;
            }
            stage = now;
        }
    }

    /// Waits for bytes, for the time to pass, or for a reason to end.
    async fn event(&mut self, buffer: &mut BytesMut, deadline: Instant) -> Event {
        tokio::select! {
            biased;
            refused = interrupted(self.shutdown, self.claim.as_ref()) => Event::Refuse(refused),
            read = timeout_at(deadline, self.socket.read_buf(buffer)) => read.map_or(Event::TooLate, Event::Read),
        }
    }

    /// Does what the session says, until it says no more. An error is the connection's end.
    async fn drain(&mut self) -> Result<(), Ended> {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Send(bytes) => match self.send(&bytes).await {
                    // Of two reasons to end, the session's own is the one to log.
                    Err(ended) if self.session.stage() != Stage::Closed => return Err(ended),
                    Ok(()) | Err(_) => {}
                },
                Output::Publish(key) => {
                    let decision = self.claim(key).await;
                    self.session.handle(decision);
                }
                Output::Media(ingested) => {
                    if let Err(refused) = self.deliver(ingested).await {
                        self.session.handle(Input::Refuse(refused));
                    }
                }
                Output::Unpublished => {
                    tracing::info!("unpublished");
                    self.claim = None;
                }
                Output::Close(closed) => {
                    self.claim = None;
                    self.linger(&closed).await;
                    return Err(closed.into());
                }
            }
        }
        Ok(())
    }

    async fn claim(&mut self, key: PublishKey) -> Input<'static> {
        let name = key.name.clone();
        let request = PublishRequest { key, peer: self.peer };
        let claim = tokio::select! {
            biased;
            refused = interrupted(self.shutdown, None) => Err(refused),
            claim = timeout(self.limits.claim, self.ingest.claim(request)) => match claim {
                Ok(claim) => claim.map_err(Refused::from),
                Err(_) => Err(Refused::new(Reason::Full, "the server is too busy to answer: try again")),
            },
        };
        match claim {
            Ok(claim) => {
                tracing::info!(stream = %name, "publishing");
                self.claim = Some(claim);
                Input::Accept
            }
            Err(refused) => Input::Refuse(refused),
        }
    }

    /// Hands media to the stream and waits while it is full: the encoder then sees a slow network, and nothing is
    /// lost here. Media after the claim is gone have nowhere to go.
    async fn deliver(&self, ingested: Ingested) -> Result<(), Refused> {
        let Some(claim) = &self.claim else { return Ok(()) };
        tokio::select! {
            biased;
            refused = interrupted(self.shutdown, Some(claim)) => Err(refused),
            sent = claim.media.send(ingested) => sent.map_err(|_| let_go(claim)),
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.said = true;
        let write = async {
            self.socket.write_all(bytes).await?;
            self.socket.flush().await
        };
        match timeout(self.limits.write, write).await {
            Ok(written) => written.map_err(Ended::Io),
            Err(_) => Err(Ended::WriteTimeout),
        }
    }

    /// Closes our half and waits for the peer to close its own. What goes wrong now is no news.
    async fn linger(&mut self, closed: &Closed) {
        if !self.said || matches!(closed, Closed::NotRtmp(_)) {
            return;
        }
        let wait = async {
            self.socket.shutdown().await?;
            let mut rest = (&mut self.socket).take(LINGER_BYTES as u64);
            tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
        };
        let _ = timeout(self.limits.linger, wait).await;
    }
}

/// Waits until the server or the stream wants the connection to end.
async fn interrupted(shutdown: &CancellationToken, claim: Option<&Claim>) -> Refused {
    let revoked = async {
        match claim {
            Some(claim) => claim.revoked.cancelled().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => crate::ingest::Refusal::ShuttingDown.into(),
        () = revoked => claim.map_or_else(|| Refused::new(Reason::Ended, STREAM_ENDED), let_go),
    }
}

const STREAM_ENDED: &str = "the stream has ended on the server";

/// The stream let its publisher go, with a reason or without.
fn let_go(claim: &Claim) -> Refused {
    Refused::new(Reason::Ended, claim.reason.get().map_or(STREAM_ENDED, String::as_str))
}

fn too_late(stage: Stage, limits: &Limits) -> Refused {
    let seconds = limits.idle.as_secs();
    let words = match stage {
        Stage::Publishing => format!("nothing came for {seconds} s"),
        _ => format!("no publish within {seconds} s"),
    };
    Refused::new(Reason::Idle, words)
}
