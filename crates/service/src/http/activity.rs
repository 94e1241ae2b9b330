//! What a connection is doing, and by when it must have done something else.
//!
//! hyper's own header timeout runs while a kept-alive connection idles, does not run before the protocol is known, and
//! knows nothing of a reader that stands still. So the connection is watched from outside: by its socket's reads and
//! writes, its requests and the frames of its bodies.

use super::{Body, Limits};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// One connection's activity. Cloning gives another handle to the same one.
#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

/// Why a connection was closed on its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// No request for too long.
    Idle,
    /// A request's head took too long.
    Header,
    /// The client took nothing of what waited for it.
    WriteStall,
}

#[derive(Debug)]
struct State {
    /// Requests whose answers are not finished.
    in_flight: u32,
    /// Since when there is no request.
    idle_since: Instant,
    /// When the first byte of the request to come arrived.
    head_since: Option<Instant>,
    /// HTTP/2 sends frames of its own between requests: there a byte doesn't mean a request.
    multiplexed: bool,
    /// Bodies of which a frame was handed out and the next not yet asked for: they wait for the client.
    waiting_bodies: u32,
    /// When a body last handed out or was asked for a frame.
    body_progress: Instant,
    /// Since when the socket takes no bytes.
    blocked_since: Option<Instant>,
}

impl Activity {
    /// A connection that was just accepted.
    pub(super) fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(State {
            in_flight: 0,
            idle_since: now,
            head_since: None,
            multiplexed: false,
            waiting_bodies: 0,
            body_progress: now,
            blocked_since: None,
        })))
    }

    /// The protocol is known to be HTTP/2 before anything of it has come.
    pub(super) fn multiplexed(&self) {
        self.lock().multiplexed = true;
    }

    /// By when something must have happened, and what it means if not. `None` while a handler works.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<(Instant, Cause)> {
        let state = self.lock();
        let request = match (state.in_flight, state.head_since) {
            (0, Some(since)) => Some((since + limits.header, Cause::Header)),
            (0, None) => Some((state.idle_since + limits.idle, Cause::Idle)),
            _ => None,
        };
        let body = (state.waiting_bodies > 0).then(|| (state.body_progress + limits.write_stall, Cause::WriteStall));
        let socket = state.blocked_since.map(|since| (since + limits.write_stall, Cause::WriteStall));
        [request, body, socket].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Waits until a deadline has passed.
    pub(super) async fn watch(&self, limits: &Limits) -> Cause {
        loop {
            let now = Instant::now();
            let deadline = self.deadline(limits);
            if let Some((at, cause)) = deadline
                && at <= now
            {
                return cause;
            }
            // A deadline that comes up meanwhile is at least the shortest limit away, so looking that often is enough.
            let look_again = now + limits.header.min(limits.write_stall).min(limits.idle);
            tokio::time::sleep_until(deadline.map_or(look_again, |(at, _)| at.min(look_again))).await;
        }
    }

    /// A request's head is complete. What is returned lives as long as its answer.
    pub(super) fn request(&self, multiplexed: bool) -> InFlight {
        let mut state = self.lock();
        state.in_flight = state.in_flight.saturating_add(1);
        state.head_since = None;
        state.multiplexed |= multiplexed;
        InFlight { activity: self.clone(), waiting: false }
    }

    fn read(&self, now: Instant) {
        let mut state = self.lock();
        if state.in_flight == 0 && !state.multiplexed && state.head_since.is_none() {
            state.head_since = Some(now);
        }
    }

    fn wrote(&self, now: Instant, blocked: bool) {
        let mut state = self.lock();
        if blocked {
            state.blocked_since.get_or_insert(now);
        } else {
            state.blocked_since = None;
        }
    }

    /// Nothing is done under the lock that can panic half way, so a poisoned one is still right.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request whose answer is not finished.
#[derive(Debug)]
pub(super) struct InFlight {
    activity: Activity,
    /// Whether its body is counted among those that wait for the client.
    waiting: bool,
}

impl InFlight {
    fn body(&mut self, now: Instant, waiting: bool) {
        let mut state = self.activity.lock();
        state.body_progress = now;
        match (self.waiting, waiting) {
            (false, true) => state.waiting_bodies = state.waiting_bodies.saturating_add(1),
            (true, false) => state.waiting_bodies = state.waiting_bodies.saturating_sub(1),
            _ => {}
        }
        self.waiting = waiting;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let now = Instant::now();
        self.body(now, false);
        let mut state = self.activity.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        state.idle_since = now;
    }
}

/// A body that reports when its client takes a piece of it.
#[derive(Debug)]
pub(super) struct Watched {
    body: Body,
    in_flight: InFlight,
}

impl Watched {
    /// Watches `body` as the answer to a request.
    pub(super) fn new(body: Body, in_flight: InFlight) -> Self {
        Self { body, in_flight }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let waiting = matches!(polled, Poll::Ready(Some(_)));
        self.in_flight.body(Instant::now(), waiting);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}

/// A socket that reports what goes through it.
#[derive(Debug)]
pub(super) struct Socket<S> {
    inner: S,
    activity: Activity,
}

impl<S> Socket<S> {
    /// Watches `inner`.
    pub(super) fn new(inner: S, activity: Activity) -> Self {
        Self { inner, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.read(Instant::now());
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.activity.wrote(Instant::now(), polled.is_pending());
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.activity.wrote(Instant::now(), polled.is_pending());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS writes what it holds only now; over a bare socket, which holds nothing, nothing is left when this is asked.
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        self.activity.wrote(Instant::now(), polled.is_pending());
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.activity.wrote(Instant::now(), polled.is_pending());
        polled
    }
}

impl Cause {
    /// The word for logs and metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Header => "slow_header",
            Self::WriteStall => "write_stall",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn limits() -> Limits {
        let seconds = Duration::from_secs;
        Limits { header: seconds(5), idle: seconds(60), write_stall: seconds(20), ..Limits::new("test") }
    }

    /// Runs `steps` on a fresh connection under a paused clock; gives the deadline in seconds from its start.
    fn check(steps: impl FnOnce(&Activity, Instant), expected: Option<(u64, Cause)>) {
        let start = Instant::now();
        let activity = Activity::new(start);
        steps(&activity, start);
        let deadline = activity.deadline(&limits()).map(|(at, cause)| (at.duration_since(start).as_secs(), cause));
        assert_eq!(deadline, expected);
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_may_idle() {
        check(|_, _| {}, Some((60, Cause::Idle)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_is_due_from_its_first_byte_however_slowly_more_come() {
        let steps = |activity: &Activity, start| {
            activity.read(after(start, 10));
            activity.read(after(start, 14));
        };
        check(steps, Some((15, Cause::Header)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_may_think() {
        check(|activity, _| std::mem::forget(activity.request(false)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_finished_answer_starts_the_idle_time() {
        check(|activity, _| drop(activity.request(false)), Some((60, Cause::Idle)));
    }

    #[tokio::test(start_paused = true)]
    async fn between_requests_http2_frames_are_no_head() {
        let steps = |activity: &Activity, start| {
            drop(activity.request(true));
            activity.read(after(start, 10));
        };
        check(steps, Some((60, Cause::Idle)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_nobody_takes_stalls_and_any_progress_resets_it() {
        let steps = |activity: &Activity, start| {
            let (mut one, mut two) = (activity.request(true), activity.request(true));
            one.body(start, true);
            two.body(after(start, 7), true);
            std::mem::forget((one, two));
        };
        check(steps, Some((27, Cause::WriteStall)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_waits_for_its_source_is_no_stall() {
        let steps = |activity: &Activity, start| {
            let mut one = activity.request(false);
            one.body(start, true);
            one.body(start, false);
            std::mem::forget(one);
        };
        check(steps, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_blocked_socket_stalls_also_after_the_last_frame() {
        let steps = |activity: &Activity, start| {
            drop(activity.request(false));
            activity.wrote(after(start, 1), true);
            activity.wrote(after(start, 9), true);
        };
        check(steps, Some((21, Cause::WriteStall)));
    }

    /// A layer that holds what was written until it is let go.
    #[derive(Debug)]
    struct Layer {
        held: bool,
    }

    impl AsyncWrite for Layer {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.held { Poll::Pending } else { Poll::Ready(Ok(())) }
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.poll_flush(cx)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_layer_like_tls_holds_stalls_until_it_is_gone() {
        let steps = |held: bool| {
            move |activity: &Activity, _: Instant| {
                let mut socket = Socket::new(Layer { held: true }, activity.clone());
                let mut cx = Context::from_waker(std::task::Waker::noop());
                drop(activity.request(false));
                assert!(Pin::new(&mut socket).poll_write(&mut cx, b"answer").is_ready());
                assert!(Pin::new(&mut socket).poll_flush(&mut cx).is_pending());
                socket.inner.held = held;
                assert_eq!(Pin::new(&mut socket).poll_flush(&mut cx).is_pending(), held);
            }
        };
        check(steps(true), Some((20, Cause::WriteStall)));
        check(steps(false), Some((60, Cause::Idle)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_watch_ends_at_the_deadline_that_came_up_while_it_slept() {
        let activity = Activity::new(Instant::now());
        let limits = limits();
        let start = Instant::now();
        let reader = async {
            tokio::time::sleep(Duration::from_secs(42)).await;
            activity.read(Instant::now());
            std::future::pending::<()>().await;
        };
        let cause = tokio::select! {
            cause = activity.watch(&limits) => cause,
            () = reader => unreachable!("it never ends"),
        };
        assert_eq!((cause, start.elapsed().as_secs()), (Cause::Header, 47));
    }
}
