//! RTMP's millisecond clocks, made one continuous line for both tracks.
//!
//! RTMP stamps wrap at 2^32 ms (49.7 days), encoders rebase one track but not the other, and some restart their clock
//! in mid-publish. Here every stamp becomes milliseconds since the session's first message; a stamp that cannot be
//! meant is re-anchored and reported. Does not know frame rates ([`crate::rate`]) or where segments are cut.

/// How far the two tracks may be apart, and a track may leap, before its clock counts as restarted, in ms.
const LEAP_MS_MAX: i64 = 10_000;

/// How far a track's stamps may go back before its clock counts as restarted, in ms.
const BACK_MS_MAX: i64 = 1_000;

/// Where some encoders' clocks wrap, in ms.
const HALF_WRAP_MS: i64 = 1 << 31;

/// Which of the two tracks a stamp belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Track {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// A stamp on the session's line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Milliseconds since the session's first message; may be slightly negative for the other track's first ones.
    pub ms: i64,
    /// Whether the track's clock restarted here.
    pub restarted: bool,
}

/// Both tracks' clocks within one publish.
#[derive(Debug, Clone, Default)]
pub struct SessionClock {
    video: Option<Mark>,
    audio: Option<Mark>,
}

/// A stamp as it came and where it was placed.
#[derive(Debug, Clone, Copy)]
struct Mark {
    raw: u32,
    ms: i64,
}

impl SessionClock {
    /// Places the next stamp of a track.
    pub fn place(&mut self, track: Track, raw: u32) -> Placed {
        let (own, other) = match track {
            Track::Video => (self.video, self.audio),
            Track::Audio => (self.audio, self.video),
        };
        let placed = place(track, own, other, raw);
        let mark = Some(Mark { raw, ms: placed.ms });
        match track {
            Track::Video => self.video = mark,
            Track::Audio => self.audio = mark,
        }
        placed
    }
}

fn place(track: Track, own: Option<Mark>, other: Option<Mark>, raw: u32) -> Placed {
    let Some(reference) = own.or(other) else {
        return Placed { ms: 0, restarted: false };
    };
    let mut step = i64::from(raw.wrapping_sub(reference.raw).cast_signed());
    // FFmpeg's FLV muxer wraps at 2^31 ms already (24.9 days).
    if step < -HALF_WRAP_MS / 2 {
        step += HALF_WRAP_MS;
    }
    let candidate = reference.ms.saturating_add(step);
    let near_other = other.is_none_or(|mark| (candidate - mark.ms).abs() <= LEAP_MS_MAX);
    let plausible = match own {
        // A long pause of one track is no restart while the other track's clock agrees with it.
        Some(_) if step > LEAP_MS_MAX => other.is_some() && near_other,
        Some(_) => step >= -BACK_MS_MAX,
        None => near_other,
    };
    if plausible {
        // Sound may pause and nobody minds (silence fills it); pictures that stay away are a break.
        let restarted = track == Track::Video && own.is_some() && step > LEAP_MS_MAX;
        return Placed { ms: candidate, restarted };
    }
    let resume = own.map_or(i64::MIN, |mark| mark.ms).max(other.map_or(i64::MIN, |mark| mark.ms));
    // The other track's first message may use another base: that is no break in what was sent.
    Placed { ms: resume, restarted: own.is_some() }
}

#[cfg(test)]
mod tests {
    use super::Track::{Audio, Video};
    use super::*;

    /// Feeds stamps and compares where they were placed; `!` marks a restart.
    fn check(stamps: &[(Track, u32)], expected: &str) {
        let mut clock = SessionClock::default();
        let placed: Vec<String> = stamps
            .iter()
            .map(|&(track, raw)| {
                let placed = clock.place(track, raw);
                format!("{}{}", placed.ms, if placed.restarted { "!" } else { "" })
            })
            .collect();
        assert_eq!(placed.join(" "), expected);
    }

    #[test]
    fn the_first_message_is_zero_and_the_other_track_shares_its_base() {
        check(&[(Video, 5000), (Audio, 5010), (Video, 5033)], "0 10 33");
        check(&[(Audio, 23), (Video, 0), (Video, 33)], "0 -23 10");
    }

    #[test]
    fn stamps_run_on_past_the_extended_timestamp_and_past_the_wrap() {
        check(&[(Video, 0xFF_FFF0), (Video, 0x100_0010)], "0 32");
        check(&[(Video, u32::MAX - 9), (Audio, u32::MAX), (Video, 23), (Audio, 30)], "0 9 33 40");
    }

    #[test]
    fn stamps_run_on_past_the_wrap_of_encoders_with_31_bits() {
        check(&[(Video, 0x7FFF_FFF0), (Audio, 0x7FFF_FFF8), (Video, 16), (Audio, 24)], "0 8 32 40");
    }

    #[test]
    fn a_tracks_own_restart_joins_the_other_tracks_clock() {
        check(&[(Video, 90_000), (Audio, 90_000), (Audio, 90_500), (Video, 0), (Video, 33)], "0 0 500 500! 533");
    }

    #[test]
    fn a_long_pause_of_one_track_is_no_restart() {
        check(
            &[(Video, 0), (Audio, 0), (Video, 9_000), (Video, 18_000), (Video, 27_000), (Audio, 27_010)],
            "0 0 9000 18000 27000 27010",
        );
        check(&[(Audio, 0), (Video, 0), (Video, 8_000), (Video, 9_999), (Audio, 9_998)], "0 0 8000 9999 9998");
    }

    #[test]
    fn pictures_that_stay_away_are_a_break_though_sound_went_on() {
        check(&[(Video, 0), (Audio, 0), (Audio, 9_000), (Audio, 18_000), (Video, 18_010)], "0 0 9000 18000 18010!");
    }

    #[test]
    fn small_steps_back_are_kept() {
        check(&[(Video, 100), (Video, 90), (Video, 133)], "0 -10 33");
    }

    #[test]
    fn tracks_with_bases_far_apart_start_together() {
        check(&[(Video, 0), (Audio, 900_000), (Audio, 900_021), (Video, 33)], "0 0 21 33");
    }
}
