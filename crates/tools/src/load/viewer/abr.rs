//! Which rung a viewer takes: two moving averages of what its connection brings, and the buffer as a safety.
//!
//! Pure. What hls.js does by default, in its essentials.

/// What is believed before anything was measured, in bits a second: small rungs first.
const FIRST_GUESS: f64 = 1_000_000.0;

/// Seconds of downloading after which a sample counts half, in the quick and in the slow average.
const HALF_LIVES_S: [f64; 2] = [3.0, 9.0];

/// A download counts as no shorter than this, in seconds: what comes in one packet tells nothing of the connection.
const SHORTEST_S: f64 = 0.05;

/// Which share of the estimate a rung may need to go up to it, and to stay on it.
const UP: f64 = 0.7;
const STAY: f64 = 0.95;

/// What a connection brings.
#[derive(Debug, Default)]
pub(super) struct Abr {
    averages: [Average; 2],
}

#[derive(Debug, Default)]
struct Average {
    estimate: f64,
    weight: f64,
}

impl Abr {
    /// Bytes that took this long from the first to the last of them.
    pub(super) fn sample(&mut self, bytes: u64, seconds: f64) {
        let seconds = seconds.max(SHORTEST_S);
        let rate = bytes as f64 * 8.0 / seconds;
        for (average, half_life) in self.averages.iter_mut().zip(HALF_LIVES_S) {
            let old = 0.5f64.powf(seconds / half_life);
            average.estimate = rate * (1.0 - old) + average.estimate * old;
            average.weight = 1.0 - old + average.weight * old;
        }
    }

    /// Bits a second.
    pub(super) fn estimate(&self) -> f64 {
        let values = self.averages.iter().filter(|average| average.weight > 0.0);
        values.map(|average| average.estimate / average.weight).reduce(f64::min).unwrap_or(FIRST_GUESS)
    }

    /// The rung to go on with, of these bit rates (the smallest first). Who has just stalled goes down in any case.
    pub(super) fn choose(&self, rates: impl Iterator<Item = f64>, now: Option<usize>, stalled: bool) -> usize {
        let estimate = self.estimate();
        let fits = |(index, rate): &(usize, f64)| {
            let share = if now.is_some_and(|now| *index > now) { UP } else { STAY };
            *rate <= estimate * share
        };
        let best = rates.enumerate().filter(fits).map(|(index, _)| index).max().unwrap_or(0);
        match now {
            Some(now) if stalled => best.min(now.saturating_sub(1)),
            _ => best,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: [f64; 3] = [500e3, 2300e3, 5800e3];

    fn check(samples: &[(u64, f64)], now: Option<usize>, stalled: bool, expected: usize) {
        let mut abr = Abr::default();
        for (bytes, seconds) in samples {
            abr.sample(*bytes, *seconds);
        }
        let words = format!("{samples:?} {now:?} {stalled}: {} bit/s", abr.estimate());
        assert_eq!(abr.choose(RATES.into_iter(), now, stalled), expected, "{words}");
    }

    #[test]
    fn a_rung_is_chosen_by_what_the_connection_brings() {
        check(&[], None, false, 0);
        check(&[(1_000_000, 1.0)], Some(0), false, 1);
        check(&[(2_000_000, 1.0)], Some(0), false, 2);
        // Enough to stay, not enough to go up.
        check(&[(800_000, 1.0)], Some(2), false, 2);
        check(&[(800_000, 1.0)], Some(1), false, 1);
        check(&[(350_000, 1.0)], Some(2), false, 1);
        check(&[(1_000, 1.0)], Some(2), false, 0);
        // What comes in a packet counts as 50 ms.
        check(&[(40_000, 0.000_1)], Some(0), false, 1);
    }

    #[test]
    fn bad_news_count_soon_and_good_ones_after_a_while() {
        check(&[(4_000_000, 1.0), (300_000, 3.0), (300_000, 3.0)], Some(2), false, 1);
        check(&[(300_000, 3.0), (600_000, 0.3)], Some(0), false, 0);
    }

    #[test]
    fn who_stalls_goes_down() {
        check(&[(4_000_000, 1.0)], Some(2), true, 1);
        check(&[(4_000_000, 1.0)], Some(0), true, 0);
    }
}
