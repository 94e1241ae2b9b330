//! Blocking playlist reload (§6.2.5.2): is a request answered now, later, or never?
//!
//! Pure: the caller holds the request and its deadline.

/// How far a rendition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tip {
    /// Number of the segment in progress (or of the next one, if none has begun).
    pub open: u64,
    /// Parts of it that are listed.
    pub parts: u32,
    /// Parts that the segment before it had; 0 if it is a gap.
    pub last_parts: u32,
    /// Nothing will follow.
    pub ended: bool,
}

/// `_HLS_msn` and `_HLS_part`, as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ask {
    /// `_HLS_msn`
    pub msn: Option<u64>,
    /// `_HLS_part`
    pub part: Option<u32>,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The playlist as it is.
    Now,
    /// The playlist when it has come so far.
    Wait,
    /// 400, in words.
    Bad(&'static str),
}

/// Judges a request. `part_ms` is the part target.
pub fn judge(tip: Tip, ask: Ask, part_ms: u32) -> Answer {
    let Some(msn) = ask.msn else {
        return match ask.part {
            Some(_) => Answer::Bad("_HLS_part needs _HLS_msn beside it"),
            None => Answer::Now,
        };
    };
    // Directives are ignored once the playlist has ended (§6.2.5.2).
    if tip.ended || msn < tip.open.saturating_sub(1) {
        return Answer::Now;
    }
    // The last whole segment is open - 1, and two more than that may be asked for.
    if msn > tip.open.saturating_add(1) {
        return Answer::Bad("_HLS_msn is more than two segments ahead of the playlist");
    }
    // A part beyond the end of a whole segment means part 0 of the next one.
    let (msn, part) = match ask.part {
        Some(part) if msn < tip.open && part >= tip.last_parts => (tip.open, Some(0)),
        part => (msn, part),
    };
    let ahead = match part {
        _ if msn < tip.open => return Answer::Now,
        Some(part) if msn == tip.open && part < tip.parts => return Answer::Now,
        None => return Answer::Wait,
        Some(part) if msn == tip.open => part - tip.parts,
        Some(part) => part,
    };
    if ahead >= advance_limit(part_ms) {
        return Answer::Bad("_HLS_part is further ahead than the advance part limit");
    }
    Answer::Wait
}

/// Parts that may be asked for ahead: three, or three seconds' worth if parts are shorter than a second.
fn advance_limit(part_ms: u32) -> u32 {
    if part_ms < 1000 { 3000_u32.div_ceil(part_ms.max(1)) } else { 3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segment 10 is in progress with two parts; segment 9 had four. Parts of 500 ms.
    fn check(msn: Option<u64>, part: Option<u32>, expected: &str) {
        let tip = Tip { open: 10, parts: 2, last_parts: 4, ended: false };
        let answer = match judge(tip, Ask { msn, part }, 500) {
            Answer::Now => "now",
            Answer::Wait => "wait",
            Answer::Bad(_) => "bad",
        };
        assert_eq!(answer, expected, "msn {msn:?} part {part:?}");
    }

    #[test]
    fn requests_are_judged_by_how_far_the_playlist_is() {
        for (msn, part, expected) in [
            (None, None, "now"),
            (None, Some(0), "bad"),
            (Some(0), None, "now"),
            (Some(3), Some(99), "now"),
            (Some(9), None, "now"),
            (Some(9), Some(3), "now"),
            (Some(9), Some(4), "now"),
            (Some(10), Some(1), "now"),
            (Some(10), Some(2), "wait"),
            (Some(10), None, "wait"),
            (Some(10), Some(7), "wait"),
            (Some(10), Some(8), "bad"),
            (Some(11), None, "wait"),
            (Some(11), Some(0), "wait"),
            (Some(11), Some(6), "bad"),
            (Some(12), None, "bad"),
            (Some(u64::MAX), Some(u32::MAX), "bad"),
        ] {
            check(msn, part, expected);
        }
    }

    #[test]
    fn a_part_beyond_a_whole_segment_waits_for_the_next_ones_first() {
        let tip = Tip { open: 10, parts: 0, last_parts: 4, ended: false };
        assert_eq!(judge(tip, Ask { msn: Some(9), part: Some(4) }, 500), Answer::Wait);
        assert_eq!(judge(tip, Ask { msn: Some(9), part: Some(3) }, 500), Answer::Now);
    }

    #[test]
    fn an_ended_playlist_answers_everything() {
        let tip = Tip { ended: true, ..Tip::default() };
        assert_eq!(judge(tip, Ask { msn: Some(99), part: Some(99) }, 500), Answer::Now);
    }
}
