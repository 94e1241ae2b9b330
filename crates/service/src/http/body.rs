//! Response bodies: nothing, chunks that are at hand, or chunks that are still to come.
//!
//! A body that fails breaks its connection: a reader never takes half a file for a whole one.

use bytes::Bytes;
use futures_core::Stream;
use http_body::{Frame, SizeHint};
use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// What has to stay as long as bytes are being sent, such as what pays for their memory.
pub(super) type Keeper = Arc<dyn Any + Send + Sync>;

/// A response's body.
#[derive(Debug)]
pub struct Body {
    kind: Kind,
    keeper: Option<Kept>,
}

enum Kind {
    /// Pieces, which of them is next, and how many bytes are left to send.
    Chunks(Pieces, usize, u64),
    Stream(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>),
}

/// Pieces of a file in memory. Cloning copies none.
#[derive(Debug, Clone)]
pub(super) enum Pieces {
    /// All in one, as most are.
    One(Bytes),
    Many(Arc<[Bytes]>),
}

impl Pieces {
    pub(super) fn as_slice(&self) -> &[Bytes] {
        match self {
            Self::One(bytes) => std::slice::from_ref(bytes),
            Self::Many(pieces) => pieces,
        }
    }
}

impl From<Vec<Bytes>> for Pieces {
    fn from(mut pieces: Vec<Bytes>) -> Self {
        match pieces.pop() {
            None => Self::One(Bytes::new()),
            Some(last) if pieces.is_empty() => Self::One(last),
            Some(last) => {
                pieces.push(last);
                Self::Many(pieces.into())
            }
        }
    }
}

struct Kept(Keeper);

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a keeper")
    }
}

/// Bytes with their keeper: the connection may hold them long after the body's end.
struct KeptBytes {
    bytes: Bytes,
    _keeper: Keeper,
}

impl AsRef<[u8]> for KeptBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self::chunks(Vec::new())
    }

    /// One piece.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self::chunks(vec![bytes.into()])
    }

    /// Pieces that are all there, sent in order without being copied together.
    pub fn chunks(chunks: Vec<Bytes>) -> Self {
        Self::pieces(chunks.into())
    }

    /// The same of pieces that many bodies share.
    pub fn shared(pieces: Arc<[Bytes]>) -> Self {
        Self::pieces(Pieces::Many(pieces))
    }

    pub(super) fn pieces(pieces: Pieces) -> Self {
        let length = pieces.as_slice().iter().map(|chunk| chunk.len() as u64).sum();
        Self { kind: Kind::Chunks(pieces, 0, length), keeper: None }
    }

    /// Keeps `keeper` until the last of its pieces is sent, or dropped unsent. For pieces that are at hand; a stream keeps
    /// what it needs itself, so there it only lasts as long as the body.
    #[must_use]
    pub fn keeping<K: Send + Sync + 'static>(self, keeper: Arc<K>) -> Self {
        self.kept(Some(keeper))
    }

    pub(super) fn kept(mut self, keeper: Option<Keeper>) -> Self {
        self.keeper = keeper.map(Kept);
        self
    }

    /// Pieces as they come. The length is not known unless the handler sets `Content-Length`.
    pub fn stream(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self { kind: Kind::Stream(Box::pin(stream)), keeper: None }
    }

    /// Pieces as `next` finds them: it is handed the state and gives a piece with the state for the one after it, or
    /// `None` at the end.
    pub fn unfold<S, N, F>(state: S, next: N) -> Self
    where
        S: Send + 'static,
        N: FnMut(S) -> F + Send + 'static,
        F: Future<Output = Option<(io::Result<Bytes>, S)>> + Send + 'static,
    {
        Self::stream(Unfold { state: Some(state), next, step: None })
    }

    /// The length in bytes, if it is known.
    pub fn length(&self) -> Option<u64> {
        match &self.kind {
            Kind::Chunks(_, _, length) => Some(*length),
            Kind::Stream(_) => None,
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Self { kind, keeper } = &mut *self;
        match kind {
            Kind::Chunks(pieces, next, left) => {
                let rest = pieces.as_slice().iter().skip(*next);
                let Some((skipped, chunk)) = rest.enumerate().find(|(_, chunk)| !chunk.is_empty()) else {
                    return Poll::Ready(None);
                };
                let (chunk, bytes) = (chunk.clone(), chunk.len() as u64);
                *next = next.saturating_add(skipped).saturating_add(1);
                *left = left.saturating_sub(bytes);
                let chunk = match keeper {
                    Some(Kept(keeper)) => Bytes::from_owner(KeptBytes { bytes: chunk, _keeper: Arc::clone(keeper) }),
                    None => chunk,
                };
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
            Kind::Stream(stream) => {
                let item = ready!(stream.as_mut().poll_next(cx));
                Poll::Ready(item.map(|chunk| chunk.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.kind, Kind::Chunks(_, _, 0))
    }

    fn size_hint(&self) -> SizeHint {
        self.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chunks(pieces, next, left) => {
                write!(f, "{} chunks, {left} bytes left from the {next}th on", pieces.as_slice().len())
            }
            Self::Stream(_) => f.write_str("a stream"),
        }
    }
}

/// A stream out of a function from state to the next piece.
struct Unfold<S, N, F> {
    /// `None` while a step runs, and after the end.
    state: Option<S>,
    next: N,
    step: Option<Pin<Box<F>>>,
}

/// Nothing in it is ever pinned in place: the step under way has its own box.
impl<S, N, F> Unpin for Unfold<S, N, F> {}

impl<S, N, F> Stream for Unfold<S, N, F>
where
    N: FnMut(S) -> F,
    F: Future<Output = Option<(io::Result<Bytes>, S)>>,
{
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let this = &mut *self;
        if let Some(state) = this.state.take() {
            this.step = Some(Box::pin((this.next)(state)));
        }
        let Some(step) = this.step.as_mut() else {
            return Poll::Ready(None);
        };
        let item = ready!(step.as_mut().poll(cx));
        this.step = None;
        Poll::Ready(item.map(|(chunk, state)| {
            this.state = Some(state);
            chunk
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn chunks_come_in_order_and_their_length_is_known() {
        let body = Body::chunks(vec!["ab".into(), Bytes::new(), "cde".into()]);
        assert_eq!(body.length(), Some(5));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "abcde");
        assert!(http_body::Body::is_end_stream(&Body::empty()));
        let shared = Body::shared(["ab".into(), Bytes::new(), "cde".into(), Bytes::new()].into());
        assert_eq!(shared.length(), Some(5));
        assert_eq!(shared.collect().await.unwrap().to_bytes(), "abcde");
    }

    #[tokio::test]
    async fn a_keeper_stays_until_the_last_piece_is_let_go_and_not_only_the_body() {
        let keeper = Arc::new(());
        let mut body = Body::chunks(vec!["ab".into(), "cde".into()]).keeping(Arc::clone(&keeper));
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let last = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(http_body::Body::is_end_stream(&body));
        drop((body, first));
        assert_eq!((Arc::strong_count(&keeper), &last[..]), (2, &b"cde"[..]));
        drop(last);
        assert_eq!(Arc::strong_count(&keeper), 1);
    }

    #[tokio::test]
    async fn an_unfolded_body_ends_or_fails_where_its_steps_do() {
        let count = |last: u32, fail: bool| {
            Body::unfold(0, move |n: u32| async move {
                if n < last {
                    Some((Ok(Bytes::from(n.to_string())), n + 1))
                } else {
                    fail.then(|| (Err(io::Error::other("broken")), n))
                }
            })
        };
        assert_eq!(count(3, false).collect().await.unwrap().to_bytes(), "012");
        assert_eq!(count(3, true).collect().await.unwrap_err().to_string(), "broken");
    }
}
