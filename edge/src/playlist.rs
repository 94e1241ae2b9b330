//! What a media playlist says about how far a stream is, and what that means for who asks.
//!
//! Pure: text in, facts out; ask and facts in, decision out. The rules of blocking reload are
//! [`media::hls::reload`]'s, the same as the origin's. Reads the few tags it needs and leaves the rest alone.

use media::hls::reload::{Answer, Ask, Tip, judge};
use std::time::Duration;

/// Longest target duration or part that is believed.
const SECONDS_MAX: f64 = 3600.0;

/// What counts in a media playlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// How far it is.
    pub(crate) tip: Tip,
    /// EXT-X-TARGETDURATION.
    pub(crate) target: Duration,
    /// PART-TARGET, if there are parts.
    pub(crate) part: Option<Duration>,
    /// CAN-BLOCK-RELOAD: whether directives mean anything.
    pub(crate) blocking: bool,
}

/// What to do about a request for a media playlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Give what is at hand.
    Give,
    /// Get the playlist as it is now, then decide again.
    Refresh,
    /// Pass the wait on to the origin.
    Hold,
    /// 400, in words.
    Refuse(&'static str),
}

/// How old a playlist at hand may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// To be taken for the newest.
    pub(crate) newest: Duration,
    /// To be given to those who ask for something that is in it.
    pub(crate) satisfied: Duration,
}

impl Facts {
    /// Reads a media playlist. `None`: it is none.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut lines = text.lines();
        lines.next().filter(|first| first.trim_end() == "#EXTM3U")?;
        let (mut first, mut segments, mut target) = (0u64, 0u64, None);
        let (mut part, mut blocking, mut ended) = (None, false, false);
        let (mut parts, mut last_parts) = (0u32, 0u32);
        for line in lines {
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            match tag.trim_end() {
                "#EXTINF" => {
                    segments = segments.saturating_add(1);
                    last_parts = std::mem::take(&mut parts);
                }
                "#EXT-X-PART" => parts = parts.saturating_add(1),
                "#EXT-X-TARGETDURATION" => target = seconds(value),
                "#EXT-X-MEDIA-SEQUENCE" => first = value.trim().parse().ok()?,
                "#EXT-X-SKIP" => {
                    segments = segments.saturating_add(attribute(value, "SKIPPED-SEGMENTS")?.parse().ok()?);
                }
                "#EXT-X-PART-INF" => part = attribute(value, "PART-TARGET").and_then(seconds),
                "#EXT-X-SERVER-CONTROL" => blocking = attribute(value, "CAN-BLOCK-RELOAD") == Some("YES"),
                "#EXT-X-ENDLIST" => ended = true,
                _ => {}
            }
        }
        let open = first.checked_add(segments)?;
        Some(Self { tip: Tip { open, parts, last_parts, ended }, target: target?, part, blocking })
    }

    /// Whether `other` is a step back from this.
    pub(crate) fn is_ahead_of(&self, other: &Self) -> bool {
        (self.tip.open, self.tip.parts) > (other.tip.open, other.tip.parts)
    }

    /// Whether a request that waits for this would be answered at once: directives count, and what they name is there.
    pub(crate) fn satisfies(&self, msn: u64, part: Option<u32>) -> bool {
        self.blocking && !self.tip.ended && self.judge(msn, part) == Answer::Now
    }

    fn judge(&self, msn: u64, part: Option<u32>) -> Answer {
        let part_ms = self.part.unwrap_or(self.target).as_millis();
        judge(self.tip, Ask { msn: Some(msn), part }, u32::try_from(part_ms).unwrap_or(u32::MAX))
    }
}

/// Decides about a request that waits for `asked`, with a playlist of a certain age at hand.
pub(crate) fn decide(asked: Option<(u64, Option<u32>)>, seen: Option<(&Facts, Duration)>, fresh: Freshness) -> Step {
    let Some((facts, age)) = seen else { return Step::Refresh };
    let if_younger = |limit: Duration, step| if age < limit { step } else { Step::Refresh };
    let Some((msn, part)) = asked.filter(|_| facts.blocking) else { return if_younger(fresh.newest, Step::Give) };
    match facts.judge(msn, part) {
        Answer::Now => if_younger(fresh.satisfied.max(fresh.newest), Step::Give),
        Answer::Wait => Step::Hold,
        Answer::Bad(words) => if_younger(fresh.newest, Step::Refuse(words)),
    }
}

/// A decimal number of seconds.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim().parse().ok()?;
    (seconds > 0.0 && seconds <= SECONDS_MAX).then(|| Duration::from_secs_f64(seconds))
}

/// An attribute's value from a list (§4.2); quoted values may contain commas.
fn attribute<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    let mut quoted = false;
    let mut pairs = list.split(move |c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    pairs.find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::hls::{MediaPlaylist, PartLine, Segment};
    use proptest::prelude::*;

    const LIVE: &str = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n#EXT-X-PART-INF:PART-TARGET=0.5\n\
#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL=12.0,CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5\n#EXT-X-MEDIA-SEQUENCE:7\n\
#EXTINF:2.0,\n7.m4s\n#EXT-X-PART:DURATION=0.5,URI=\"8.0.m4s\"\n#EXT-X-PART:DURATION=0.5,URI=\"8.1.m4s\"\n\
#EXT-X-PART:DURATION=0.5,URI=\"8.2.m4s\"\n#EXT-X-PART:DURATION=0.5,URI=\"8.3.m4s\"\n#EXTINF:2.0,\n8.m4s\n\
#EXT-X-PART:DURATION=0.5,URI=\"9.0.m4s\"\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"9.1.m4s\"\n";

    fn live() -> Facts {
        Facts::parse(LIVE.as_bytes()).unwrap()
    }

    #[test]
    fn a_live_playlist_says_how_far_it_is() {
        let tip = Tip { open: 9, parts: 1, last_parts: 4, ended: false };
        let (target, part) = (Duration::from_secs(2), Some(Duration::from_millis(500)));
        assert_eq!(live(), Facts { tip, target, part, blocking: true });
    }

    #[test]
    fn skipped_segments_count() {
        let delta = LIVE.replace("#EXTINF:2.0,\n7.m4s\n", "#EXT-X-SKIP:SKIPPED-SEGMENTS=10\n");
        assert_eq!(Facts::parse(delta.as_bytes()).unwrap().tip.open, 18);
    }

    #[test]
    fn a_playlist_without_parts_has_no_directives() {
        let plain = "#EXTM3U\r\n#EXT-X-TARGETDURATION:6\r\n#EXTINF:6,\r\na.ts\r\n#EXT-X-ENDLIST\r\n";
        let facts = Facts::parse(plain.as_bytes()).unwrap();
        assert_eq!(facts.tip, Tip { open: 1, parts: 0, last_parts: 0, ended: true });
        assert_eq!((facts.part, facts.blocking), (None, false));
    }

    #[test]
    fn what_is_no_media_playlist_is_none() {
        for text in [
            "",
            "<html>",
            "#EXTM3U",
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8",
            "#EXTM3U\n#EXT-X-TARGETDURATION:-1",
            "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:x",
            "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:18446744073709551615\n#EXTINF:2,\na",
        ] {
            assert_eq!(Facts::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Facts::parse(&[0xff, 0xfe]), None);
    }

    #[test]
    fn attributes_are_found_behind_quoted_commas() {
        let list = "URI=\"a,PART-TARGET=9\",PART-TARGET=0.5";
        assert_eq!(attribute(list, "PART-TARGET"), Some("0.5"));
        assert_eq!(attribute("XPART-TARGET=1", "PART-TARGET"), None);
    }

    /// With the live playlist above at hand, of this age.
    #[track_caller]
    fn check(asked: Option<(u64, Option<u32>)>, age_ms: u64, expected: &str) {
        let fresh = Freshness { newest: Duration::from_millis(250), satisfied: Duration::from_secs(1) };
        let step = match decide(asked, Some((&live(), Duration::from_millis(age_ms))), fresh) {
            Step::Give => "give",
            Step::Refresh => "refresh",
            Step::Hold => "hold",
            Step::Refuse(_) => "refuse",
        };
        assert_eq!(step, expected, "{asked:?} at {age_ms} ms");
    }

    #[test]
    fn requests_are_decided_by_what_is_at_hand_and_its_age() {
        for (asked, age_ms, expected) in [
            (None, 249, "give"),
            (None, 250, "refresh"),
            (Some((8, None)), 999, "give"),
            (Some((8, None)), 1000, "refresh"),
            (Some((9, Some(0))), 999, "give"),
            (Some((9, Some(1))), 0, "hold"),
            (Some((9, Some(1))), 60_000, "hold"),
            (Some((8, Some(4))), 0, "give"),
            (Some((8, Some(3))), 0, "give"),
            (Some((10, None)), 0, "hold"),
            (Some((11, None)), 0, "refuse"),
            (Some((11, None)), 250, "refresh"),
            (Some((u64::MAX - 1, Some(999))), 0, "refuse"),
        ] {
            check(asked, age_ms, expected);
        }
    }

    #[test]
    fn directives_mean_nothing_where_the_origin_has_no_blocking_reload() {
        let facts = Facts { blocking: false, ..live() };
        let fresh = Freshness { newest: Duration::from_secs(1), satisfied: Duration::from_secs(1) };
        assert_eq!(decide(Some((99, None)), Some((&facts, Duration::ZERO)), fresh), Step::Give);
        assert!(!facts.satisfies(8, None));
    }

    #[test]
    fn what_our_own_origin_writes_is_understood() {
        let part = |i: u32| PartLine { uri: format!("5.{i}.m4s"), seconds: 0.5, independent: false };
        let segment = |msn: u64| Segment {
            uri: format!("{msn}.m4s"),
            seconds: 2.0,
            map: "init-0123456789abcdef.mp4".into(),
            parts: (0..4).map(part).collect(),
            ..Segment::default()
        };
        let open = Segment { parts: (0..3).map(part).collect(), ..segment(45) };
        let playlist = MediaPlaylist {
            target_s: 2,
            part_ms: 500,
            media_sequence: 5,
            segments: (5..45).map(segment).collect(),
            open: Some(open),
            ..MediaPlaylist::default()
        };
        let whole = Facts::parse(playlist.render().as_bytes()).unwrap();
        assert_eq!(whole.tip, Tip { open: 45, parts: 3, last_parts: 4, ended: false });
        assert_eq!((whole.part, whole.blocking), (Some(Duration::from_millis(500)), true));
        let delta = playlist.render_delta();
        assert!(delta.contains("#EXT-X-SKIP"));
        assert_eq!(Facts::parse(delta.as_bytes()), Some(whole));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_playlist_or_none(text in proptest::collection::vec(any::<u8>(), 0..200), tags in "(#EXT(M3U|INF|-X-(SKIP|PART|PART-INF|TARGETDURATION|MEDIA-SEQUENCE|ENDLIST))[:=,\"0-9A-Z-]{0,40}\n){0,12}") {
            Facts::parse(&text);
            Facts::parse(format!("#EXTM3U\n{tags}").as_bytes());
        }

        #[test]
        fn what_is_given_for_a_wait_has_what_was_waited_for(msn in 0u64..14, part in proptest::option::of(0u32..8), age_ms in 0u64..3000) {
            let fresh = Freshness { newest: Duration::from_millis(250), satisfied: Duration::from_secs(1) };
            if decide(Some((msn, part)), Some((&live(), Duration::from_millis(age_ms))), fresh) == Step::Give {
                prop_assert!(live().satisfies(msn, part));
                prop_assert!(msn <= 9);
            }
        }
    }
}
