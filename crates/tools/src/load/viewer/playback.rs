//! A viewer's playback clock: where it is, whether it runs, and how long it stood still.
//!
//! Pure. Media time begins with the first segment that was fetched, and runs on over whatever the dates say.

/// Media ahead with which playback begins and goes on after a stall, in seconds: a few pictures, as in browsers.
pub(super) const READY_S: f64 = 0.2;

/// How much is ahead of the playback clock, and what isn't there at all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ahead {
    /// Media time up to which every track is there.
    pub(super) until: f64,
    /// Nothing comes after that.
    pub(super) last: bool,
    /// The next stretch that some track lacks: where playback jumps, and to where.
    pub(super) hole: Option<(f64, f64)>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Turn {
    /// The first picture: seconds since the viewer came.
    Started(f64),
    /// Nothing more to play.
    Stalled,
    /// After so many seconds it goes on.
    Resumed(f64),
    /// A hole of so many seconds was jumped over.
    Jumped(f64),
    /// It has played to the end.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Starting { since: f64 },
    Playing,
    Stalled { since: f64 },
    Ended,
}

/// The clock.
#[derive(Debug)]
pub(super) struct Playback {
    state: State,
    /// Media time.
    pub(super) position: f64,
    /// Up to which moment it was moved on.
    at: f64,
    /// Media seconds a second: a little more than one to come nearer to the live edge.
    pub(super) rate: f64,
    played: f64,
    stalled: f64,
}

impl Playback {
    pub(super) fn new(now: f64) -> Self {
        Self { state: State::Starting { since: now }, position: 0.0, at: now, rate: 1.0, played: 0.0, stalled: 0.0 }
    }

    /// Moves on to `now` with what has been there since the last time.
    pub(super) fn advance(&mut self, now: f64, ahead: Ahead, turns: &mut Vec<Turn>) {
        let mut left = (now - self.at).max(0.0);
        self.at = now.max(self.at);
        while self.state == State::Playing && left > 0.0 {
            let until =
                ahead.hole.filter(|hole| hole.0 >= self.position).map_or(ahead.until, |hole| hole.0.min(ahead.until));
            let can = ((until - self.position) / self.rate).max(0.0);
            let moved = left.min(can);
            self.position += moved * self.rate;
            self.played += moved;
            left -= moved;
            if left <= 0.0 {
                break;
            }
            if !self.jump(ahead, turns) {
                self.run_dry(now - left, ahead, turns);
            }
        }
        if let State::Stalled { .. } = self.state {
            self.stalled += left;
        }
        self.begin(ahead, turns);
    }

    /// Begins or goes on, if there is enough to play.
    pub(super) fn begin(&mut self, ahead: Ahead, turns: &mut Vec<Turn>) {
        if !matches!(self.state, State::Starting { .. } | State::Stalled { .. }) {
            return;
        }
        self.jump(ahead, turns);
        let there = ahead.until - self.position;
        if there < READY_S && !(ahead.last && there > 0.0) {
            // Somebody who waits for what never comes has seen everything.
            if ahead.last && matches!(self.state, State::Stalled { .. }) {
                self.leave_stall(turns);
                self.state = State::Ended;
                turns.push(Turn::Ended);
            }
            return;
        }
        match self.state {
            State::Starting { since } => turns.push(Turn::Started(self.at - since)),
            _ => self.leave_stall(turns),
        }
        self.state = State::Playing;
    }

    /// Jumps over a hole that begins here.
    fn jump(&mut self, ahead: Ahead, turns: &mut Vec<Turn>) -> bool {
        let Some((from, to)) = ahead.hole.filter(|hole| hole.0 <= self.position + 1e-6 && hole.1 > self.position)
        else {
            return false;
        };
        // What follows must be there, or this is the end of what is.
        if to > ahead.until {
            return false;
        }
        turns.push(Turn::Jumped(to - self.position.max(from)));
        self.position = to;
        true
    }

    fn run_dry(&mut self, when: f64, ahead: Ahead, turns: &mut Vec<Turn>) {
        if ahead.last {
            self.state = State::Ended;
            turns.push(Turn::Ended);
        } else {
            self.state = State::Stalled { since: when };
            turns.push(Turn::Stalled);
        }
    }

    fn leave_stall(&self, turns: &mut Vec<Turn>) {
        if let State::Stalled { since } = self.state {
            turns.push(Turn::Resumed(self.at - since));
        }
    }

    /// Puts it elsewhere: what was there is gone, so it stands still until there is something.
    pub(super) fn seek(&mut self, position: f64, turns: &mut Vec<Turn>) {
        self.position = position;
        if self.state == State::Playing {
            self.state = State::Stalled { since: self.at };
            turns.push(Turn::Stalled);
        }
    }

    /// Ends it where it is; a stall that lasts is told as long as it was.
    pub(super) fn finish(&mut self, turns: &mut Vec<Turn>) {
        self.leave_stall(turns);
        self.state = State::Ended;
    }

    /// When something happens of itself: what there is runs out, or a hole begins.
    pub(super) fn next(&self, ahead: Ahead) -> f64 {
        match self.state {
            State::Playing => {
                let until = ahead.hole.filter(|hole| hole.0 >= self.position).map_or(ahead.until, |hole| hole.0);
                self.at + ((until.min(ahead.until) - self.position) / self.rate).max(0.0)
            }
            _ => f64::INFINITY,
        }
    }

    pub(super) fn playing(&self) -> bool {
        self.state == State::Playing
    }

    pub(super) fn started(&self) -> bool {
        !matches!(self.state, State::Starting { .. })
    }

    pub(super) fn ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Seconds played and stalled since the last time this was asked.
    pub(super) fn take_times(&mut self) -> (f64, f64) {
        (std::mem::take(&mut self.played), std::mem::take(&mut self.stalled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ahead(until: f64) -> Ahead {
        Ahead { until, last: false, hole: None }
    }

    /// Steps of (moment, what is ahead), and what became of it in all.
    fn check(steps: &[(f64, Ahead)], expected: &[Turn], times: (f64, f64)) {
        let (mut playback, mut turns) = (Playback::new(0.0), Vec::new());
        for (now, ahead) in steps {
            playback.advance(*now, *ahead, &mut turns);
        }
        assert_eq!(turns, expected);
        assert_eq!(playback.take_times(), times);
    }

    #[test]
    fn it_begins_with_enough_to_play() {
        check(&[(0.5, ahead(0.1)), (1.0, ahead(0.5))], &[Turn::Started(1.0)], (0.0, 0.0));
        let last = Ahead { last: true, ..ahead(0.1) };
        check(&[(0.5, last)], &[Turn::Started(0.5)], (0.0, 0.0));
    }

    #[test]
    fn a_stall_is_as_long_as_nothing_is_there() {
        let steps = [(1.0, ahead(2.0)), (5.0, ahead(2.0)), (6.0, ahead(2.1)), (6.5, ahead(4.0)), (7.5, ahead(4.0))];
        check(&steps, &[Turn::Started(1.0), Turn::Stalled, Turn::Resumed(3.5)], (3.0, 3.5));
    }

    #[test]
    fn the_end_is_no_stall() {
        let last = Ahead { last: true, ..ahead(2.0) };
        check(&[(0.0, ahead(2.0)), (5.0, last)], &[Turn::Started(0.0), Turn::Ended], (2.0, 0.0));
        // It turns out only in a stall that nothing more comes.
        let expected = [Turn::Started(0.0), Turn::Stalled, Turn::Resumed(2.0), Turn::Ended];
        check(&[(0.0, ahead(2.0)), (3.0, ahead(2.0)), (4.0, last)], &expected, (2.0, 2.0));
    }

    #[test]
    fn holes_are_jumped_over_once_what_follows_is_there() {
        let hole = |until| Ahead { hole: Some((2.0, 4.0)), ..ahead(until) };
        check(&[(0.0, hole(8.0)), (3.0, hole(8.0))], &[Turn::Started(0.0), Turn::Jumped(2.0)], (3.0, 0.0));
        let expected = [Turn::Started(0.0), Turn::Stalled, Turn::Jumped(2.0), Turn::Resumed(1.0)];
        check(&[(0.0, hole(2.0)), (2.5, hole(2.0)), (3.0, hole(6.0))], &expected, (2.0, 1.0));
    }

    #[test]
    fn a_viewer_that_leaves_in_a_stall_has_stalled() {
        let (mut playback, mut turns) = (Playback::new(0.0), Vec::new());
        playback.advance(0.0, ahead(1.0), &mut turns);
        assert_eq!(playback.next(ahead(1.0)), 1.0);
        playback.advance(3.0, ahead(1.0), &mut turns);
        playback.finish(&mut turns);
        assert_eq!(turns, [Turn::Started(0.0), Turn::Stalled, Turn::Resumed(2.0)]);
        assert!(playback.ended());
    }
}
