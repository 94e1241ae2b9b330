//! What systemd is told of this process: that it is ready, is leaving, is alive. Does nothing under anything else.
//!
//! Knows sd_notify(3) and nothing of what the process does. Children have no environment, so they tell systemd nothing.

use sd_notify::NotifyState;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Everything listens.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The process leaves, and why.
pub(crate) fn leaving(why: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(&format!("leaving: {why}"))]);
}

/// Says for ever that the process is alive, as often as systemd's watchdog (WatchdogSec) asks for; `None` if it doesn't.
/// That this runs shows that tasks run.
pub(crate) fn watchdog() -> Option<impl Future<Output = ()> + Send + 'static> {
    let every = pings(sd_notify::watchdog_enabled()?);
    Some(async move {
        let mut tick = interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            tell(&[NotifyState::Watchdog]);
        }
    })
}

/// How often to say so: twice in the time after which systemd ends the process.
fn pings(within: Duration) -> Duration {
    (within / 2).max(Duration::from_millis(1))
}

fn tell(states: &[NotifyState<'_>]) {
    // Without systemd there is nobody to tell, and it is no error.
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "can't tell systemd how this process is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_hears_twice_in_its_time() {
        assert_eq!(pings(Duration::from_secs(60)), Duration::from_secs(30));
        assert!(!pings(Duration::ZERO).is_zero(), "an interval of nothing is a panic");
    }
}
