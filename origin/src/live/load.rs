//! How much of the ladder this machine can afford.
//!
//! Pure. Rungs are suspended from the largest encoded one down, the smallest last, and come back one at a time when the
//! ladder has kept up for a while. Does not know what a rung is: it counts them.

/// No change within so many target durations of the last one: its effect must show first.
const SETTLE_TARGETS: i64 = 3;

/// Nor within this time of the ladder's start, in ms: it begins with what came before the second key frame.
const START_MS: i64 = 15_000;

/// How long the ladder must have kept up before a rung comes back, in ms: at first, and at most. Doubled each time that
/// a rung which came back was too much.
const CALM_MS: i64 = 60_000;
const CALM_MS_MAX: i64 = 600_000;

/// What the ladder is to do with the segment that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Afford {
    /// Encode all but so many of the largest rungs.
    AllBut(usize),
    /// Nothing: what waits is too much already.
    Nothing,
}

/// The state of the judgement.
#[derive(Debug, Clone)]
pub(super) struct Load {
    suspended: usize,
    /// When the number of suspended rungs last changed, UTC ms.
    changed: i64,
    /// When the ladder was last behind, UTC ms.
    behind: i64,
    calm_ms: i64,
    resumed: bool,
}

impl Load {
    /// A ladder that starts at `now` (UTC ms).
    pub(super) fn new(now: i64) -> Self {
        Self { suspended: 0, changed: now + START_MS, behind: now, calm_ms: CALM_MS, resumed: false }
    }

    /// How many rungs are suspended.
    pub(super) fn suspended(&self) -> usize {
        self.suspended
    }

    /// Judges when a segment begins. `owed_ms` is for how long the ladder has owed the oldest segment that it was sent.
    pub(super) fn judge(&mut self, rungs: usize, owed_ms: i64, target_ms: i64, now: i64) -> Afford {
        let settled = now - self.changed >= SETTLE_TARGETS * target_ms;
        if owed_ms > target_ms {
            self.behind = now;
            if settled && self.suspended + 1 < rungs {
                if self.resumed {
                    self.calm_ms = (self.calm_ms * 2).min(CALM_MS_MAX);
                }
                (self.suspended, self.changed, self.resumed) = (self.suspended + 1, now, false);
            }
        } else if self.suspended > 0 && now - self.behind >= self.calm_ms && now - self.changed >= self.calm_ms {
            (self.suspended, self.changed, self.resumed) = (self.suspended - 1, now, true);
        }
        // Beyond two targets everything would come too late, and where nothing is left to suspend one is enough: let it
        // catch up first.
        let last = self.suspended + 1 >= rungs;
        let patience_ms = if last { target_ms } else { 2 * target_ms };
        if owed_ms > patience_ms { Afford::Nothing } else { Afford::AllBut(self.suspended) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges every 2 s with three rungs; `owed(second, suspended)` is what is owed then. Prints changes as
    /// `second:suspended`, `x` for a segment that nobody encodes.
    fn check(seconds: i64, owed: impl Fn(i64, usize) -> i64, expected: &str) {
        let mut load = Load::new(0);
        let (mut out, mut last) = (Vec::new(), Afford::AllBut(0));
        for second in (0..seconds).step_by(2) {
            let owed_ms = owed(second, load.suspended());
            let afford = load.judge(3, owed_ms, 2000, second * 1000);
            if afford != last {
                out.push(match afford {
                    Afford::AllBut(suspended) => format!("{second}:{suspended}"),
                    Afford::Nothing => format!("{second}:x"),
                });
                last = afford;
            }
        }
        assert_eq!(out.join(" "), expected);
    }

    #[test]
    fn a_ladder_that_keeps_up_keeps_all_its_rungs() {
        check(600, |_, _| 500, "");
    }

    #[test]
    fn the_backlog_of_the_start_is_forgiven() {
        check(60, |second, _| if second < 14 { 3000 } else { 0 }, "");
    }

    #[test]
    fn rungs_go_one_by_one_until_it_keeps_up_and_come_back_after_calm() {
        check(86, |_, suspended| if suspended < 1 { 2500 } else { 0 }, "22:1 82:0");
        check(60, |_, suspended| if suspended < 2 { 2500 } else { 0 }, "22:1 28:x 30:2");
    }

    #[test]
    fn a_rung_that_came_back_for_nothing_waits_twice_as_long() {
        check(300, |_, suspended| if suspended < 1 { 2500 } else { 0 }, "22:1 82:0 88:1 208:0 214:1");
    }

    #[test]
    fn the_smallest_is_never_suspended_but_may_skip_segments() {
        check(40, |second, _| if second < 30 { 5000 } else { 0 }, "0:x 30:2");
    }
}
