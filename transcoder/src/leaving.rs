//! When a worker that is to leave lets go of what it has in hand. The decision is pure; [`Leaving`] only waits for it.
//!
//! A segment that can be finished within the budget is finished, so that nobody encodes it again; what can't is given back
//! at once. How long a segment takes is what the ones before it took: without any, it isn't known, and nothing is waited for.

use service::machine::{Leave, Notice};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// The most that a segment in hand may still take.
pub(crate) const BUDGET: Duration = Duration::from_secs(90);

/// How long before the machine is gone the message must be back: giving back and ending take time too.
const SPARE: Duration = Duration::from_secs(15);

/// What a worker has in hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct InHand {
    /// When the segment in hand was begun; none: there is nothing that would be worth finishing.
    pub(crate) begun: Option<Instant>,
    /// How long segments of this task take.
    pub(crate) usual: Option<Duration>,
    /// It is made, and only being stored.
    pub(crate) made: bool,
}

/// What the worker was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing.
    #[default]
    Nothing,
    /// The machine may be taken away soon: take nothing new, finish the task.
    Rebalance,
    /// To leave.
    Leave {
        /// When that was.
        at: Instant,
        /// When the machine is gone, if that was said.
        by: Option<Instant>,
    },
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Go on, and take new messages.
    GoOn,
    /// Go on with what is in hand, and take nothing new.
    TakeNothing,
    /// Finish the segment in hand, but only until then.
    FinishSegment(Instant),
    /// Kill the encoder and give the message back.
    GiveBack,
}

/// Decides.
pub(crate) fn decide(hand: InHand, told: Told, now: Instant) -> Decision {
    let (at, by) = match told {
        Told::Nothing => return Decision::GoOn,
        Told::Rebalance => return Decision::TakeNothing,
        Told::Leave { at, by } => (at, by),
    };
    let budget = at.checked_add(BUDGET).unwrap_or(at);
    let until = by.map_or(budget, |by| by.checked_sub(SPARE).unwrap_or(at).min(budget));
    if hand.made && now < until {
        return Decision::FinishSegment(until);
    }
    let (Some(begun), Some(usual)) = (hand.begun, hand.usual) else { return Decision::GiveBack };
    // Segments differ: one that takes up to half as long again is still waited for.
    let end = begun.checked_add(usual).unwrap_or(begun);
    let latest = end.checked_add(usual / 2).unwrap_or(end);
    if end.max(now) >= until || now >= latest {
        return Decision::GiveBack;
    }
    Decision::FinishSegment(until.min(latest))
}

/// What a worker was told, and what it has in hand.
#[derive(Debug, Clone)]
pub(crate) struct Leaving {
    shutdown: CancellationToken,
    notices: Option<watch::Receiver<Notice>>,
    /// When the shutdown was seen first.
    at: Arc<Mutex<Option<Instant>>>,
    hand: watch::Sender<InHand>,
}

impl Leaving {
    /// `shutdown` says when; `notices` are the machine's own, if it can be asked.
    pub(crate) fn new(shutdown: CancellationToken, notices: Option<watch::Receiver<Notice>>) -> Self {
        Self { shutdown, notices, at: Arc::default(), hand: watch::Sender::default() }
    }

    /// What is in hand from now on.
    pub(crate) fn hold(&self, hand: InHand) {
        self.hand.send_replace(hand);
    }

    /// What is in hand.
    pub(crate) fn in_hand(&self) -> InHand {
        *self.hand.borrow()
    }

    /// What is to be done now.
    pub(crate) fn decision(&self) -> Decision {
        decide(self.in_hand(), self.told(), Instant::now())
    }

    /// Whether it is to leave.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self.told(), Told::Leave { .. })
    }

    /// Waits until it is to leave.
    pub(crate) async fn told_to_leave(&self) {
        self.shutdown.cancelled().await;
    }

    /// Waits until what is in hand must be let go of.
    pub(crate) async fn let_go(&self) {
        self.told_to_leave().await;
        let mut hand = self.hand.subscribe();
        loop {
            hand.borrow_and_update();
            let Decision::FinishSegment(until) = self.decision() else { return };
            tokio::select! {
                () = sleep_until(until) => {}
                // Never an error: this has the sender.
                _ = hand.changed() => {}
            }
        }
    }

    /// Waits until new messages may be taken. `false`: never again.
    pub(crate) async fn may_take(&self) -> bool {
        loop {
            match self.told() {
                Told::Nothing => return true,
                Told::Leave { .. } => return false,
                Told::Rebalance => {}
            }
            // Changes for the better are rare: metadata never take a recommendation back.
            let Some(mut notices) = self.notices.clone() else { return true };
            tokio::select! {
                () = self.told_to_leave() => return false,
                changed = notices.changed() => if changed.is_err() {
                    self.told_to_leave().await;
                    return false;
                },
            }
        }
    }

    fn told(&self) -> Told {
        let notice = self.notices.as_ref().map(|notices| notices.borrow().clone()).unwrap_or_default();
        if self.shutdown.is_cancelled() {
            let now = Instant::now();
            let at = *self.at.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(now);
            return Told::Leave { at, by: notice.leave.as_ref().and_then(|leave| gone_by(leave, now)) };
        }
        if notice.rebalance_recommended { Told::Rebalance } else { Told::Nothing }
    }
}

/// When the machine is gone, by tokio's clock.
fn gone_by(leave: &Leave, now: Instant) -> Option<Instant> {
    let left = leave.by?.duration_since(SystemTime::now()).unwrap_or_default();
    now.checked_add(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use service::machine::Why;

    /// A segment that was begun `since` seconds ago and usually takes `usual`; told `told` seconds ago, gone in `left`.
    /// Gives for how many seconds it is finished.
    fn finish(since: Option<u64>, usual: Option<u64>, told: u64, left: Option<u64>) -> Option<u64> {
        let now = Instant::now() + Duration::from_secs(1000);
        let ago = |seconds| now - Duration::from_secs(seconds);
        let hand = InHand { begun: since.map(ago), usual: usual.map(Duration::from_secs), made: false };
        let by = left.map(|left| now + Duration::from_secs(left));
        match decide(hand, Told::Leave { at: ago(told), by }, now) {
            Decision::FinishSegment(until) => Some((until - now).as_secs()),
            Decision::GiveBack => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_segment_is_finished_if_that_takes_less_than_the_budget() {
        for (since, usual, told, left, expected) in [
            // Nothing is in hand, or nobody knows how long it takes.
            (None, Some(10), 0, None, None),
            (Some(3), None, 0, None, None),
            (None, None, 0, Some(120), None),
            // Ten seconds to go, of which half as many again are granted.
            (Some(10), Some(20), 0, None, Some(20)),
            (Some(0), Some(60), 0, None, Some(90)),
            (Some(0), Some(89), 0, None, Some(90)),
            (Some(0), Some(90), 0, None, None),
            (Some(200), Some(280), 0, None, Some(90)),
            // It was told a while ago.
            (Some(60), Some(100), 45, None, Some(45)),
            (Some(45), Some(100), 45, None, None),
            // Overdue, and much too long.
            (Some(22), Some(20), 5, None, Some(8)),
            (Some(30), Some(20), 5, None, None),
            // The machine is gone before the budget is.
            (Some(0), Some(20), 0, Some(120), Some(30)),
            (Some(0), Some(20), 0, Some(40), Some(25)),
            (Some(0), Some(20), 0, Some(35), None),
            (Some(0), Some(20), 0, Some(3), None),
        ] {
            assert_eq!(finish(since, usual, told, left), expected, "{since:?} {usual:?} {told} {left:?}");
        }
    }

    #[test]
    fn a_segment_that_is_made_is_stored_however_long_the_next_would_take() {
        let at = Instant::now();
        let hand = InHand { begun: Some(at), usual: Some(Duration::from_secs(1000)), made: true };
        let told = Told::Leave { at, by: None };
        assert_eq!(decide(hand, told, at + Duration::from_secs(89)), Decision::FinishSegment(at + BUDGET));
        assert_eq!(decide(hand, told, at + BUDGET), Decision::GiveBack);
    }

    #[test]
    fn without_a_word_to_leave_it_goes_on() {
        let now = Instant::now();
        let hand = InHand { begun: Some(now), usual: Some(Duration::from_secs(1000)), made: false };
        assert_eq!(decide(hand, Told::Nothing, now), Decision::GoOn);
        assert_eq!(decide(hand, Told::Rebalance, now), Decision::TakeNothing);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_in_hand_is_let_go_of_when_the_segment_is_done_or_its_time_is_over() {
        for (done_after, expected) in [(4, 4), (1000, 15)] {
            let stop = CancellationToken::new();
            let leaving = Leaving::new(stop.clone(), None);
            let begun = Instant::now();
            leaving.hold(InHand { begun: Some(begun), usual: Some(Duration::from_secs(10)), made: false });
            stop.cancel();
            let finishing = async {
                tokio::time::sleep(Duration::from_secs(done_after)).await;
                leaving.hold(InHand::default());
                std::future::pending().await
            };
            tokio::select! {
                () = finishing => {}
                () = leaving.let_go() => {}
            }
            assert_eq!(begun.elapsed(), Duration::from_secs(expected));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_recommendation_stops_new_messages_until_the_process_leaves() {
        let (stop, said) = (CancellationToken::new(), watch::Sender::new(Notice::default()));
        let leaving = Leaving::new(stop.clone(), Some(said.subscribe()));
        assert!(leaving.may_take().await);
        said.send_modify(|notice| notice.rebalance_recommended = true);
        let waiting = tokio::spawn({
            let leaving = leaving.clone();
            async move { leaving.may_take().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        assert_eq!(leaving.decision(), Decision::TakeNothing);
        said.send_modify(|notice| {
            notice.leave = Some(Leave { why: Why::Terminated, by: None });
        });
        stop.cancel();
        assert!(!waiting.await.unwrap());
        assert_eq!(leaving.decision(), Decision::GiveBack);
    }
}
