//! Response bodies: nothing, chunks that are at hand, or chunks that are still to come.
//!
//! A body that fails breaks its connection: a reader never takes half a file for a whole one.

use bytes::Bytes;
use futures_core::Stream;
use http_body::{Frame, SizeHint};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A response's body.
#[derive(Debug)]
pub struct Body(Kind);

enum Kind {
    /// What is left to send, and its length in bytes.
    Chunks(VecDeque<Bytes>, u64),
    Stream(Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>),
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
        let chunks: VecDeque<Bytes> = chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect();
        let length = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Self(Kind::Chunks(chunks, length))
    }

    /// Pieces as they come. The length is not known unless the handler sets `Content-Length`.
    pub fn stream(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self(Kind::Stream(Box::pin(stream)))
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
        match &self.0 {
            Kind::Chunks(_, length) => Some(*length),
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
        match &mut self.0 {
            Kind::Chunks(chunks, left) => {
                let chunk = chunks.pop_front();
                *left = left.saturating_sub(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64));
                Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
            }
            Kind::Stream(stream) => {
                let item = ready!(stream.as_mut().poll_next(cx));
                Poll::Ready(item.map(|chunk| chunk.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Kind::Chunks(chunks, _) if chunks.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        self.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chunks(chunks, left) => write!(f, "{} chunks, {left} bytes", chunks.len()),
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
