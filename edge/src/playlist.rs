//! What a media playlist says about how far a stream is, and what that means for who asks.
//!
//! Pure: text in, facts out; ask and facts in, decision out. The rules of blocking reload are
//! [`media::hls::reload`]'s, the same as the origin's. Reads the few tags it needs and leaves the rest alone.

mod compose;
mod text;

pub(crate) use compose::{Piece, Shift, Told, compose, delta, pieces};
pub(crate) use text::Text;

use media::hls::reload::{Answer, Ask, Tip, judge};
use std::time::Duration;

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
    /// Let it wait for the next one.
    Wait,
    /// 400, in words.
    Refuse(&'static str),
}

impl Facts {
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

/// Decides about a request that waits for `asked`, with the newest playlist there is at hand.
pub(crate) fn decide(asked: Option<(u64, Option<u32>)>, facts: &Facts) -> Step {
    // Without blocking reload directives mean nothing (§6.2.5.2).
    let Some((msn, part)) = asked.filter(|_| facts.blocking) else { return Step::Give };
    match facts.judge(msn, part) {
        Answer::Now => Step::Give,
        Answer::Wait => Step::Wait,
        Answer::Bad(words) => Step::Refuse(words),
    }
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

    fn read(text: &str) -> Option<Text> {
        Text::parse(text.to_owned())
    }

    fn live() -> Facts {
        read(LIVE).unwrap().facts
    }

    #[test]
    fn a_live_playlist_says_how_far_it_is() {
        let tip = Tip { open: 9, parts: 1, last_parts: 4, ended: false };
        let (target, part) = (Duration::from_secs(2), Some(Duration::from_millis(500)));
        assert_eq!(live(), Facts { tip, target, part, blocking: true });
    }

    #[test]
    fn a_playlist_without_parts_has_no_directives() {
        let plain = "#EXTM3U\r\n#EXT-X-TARGETDURATION:6\r\n#EXTINF:6,\r\na.ts\r\n#EXT-X-ENDLIST\r\n";
        let facts = read(plain).unwrap().facts;
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
            // A delta update: followers never ask for one.
            "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n#EXTINF:2,\na",
            "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:x",
            "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:18446744073709551615\n#EXTINF:2,\na",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    /// With the live playlist above at hand.
    #[track_caller]
    fn check(asked: Option<(u64, Option<u32>)>, expected: &str) {
        let step = match decide(asked, &live()) {
            Step::Give => "give",
            Step::Wait => "wait",
            Step::Refuse(_) => "refuse",
        };
        assert_eq!(step, expected, "{asked:?}");
    }

    #[test]
    fn requests_are_decided_by_what_is_at_hand() {
        for (asked, expected) in [
            (None, "give"),
            (Some((8, None)), "give"),
            (Some((9, Some(0))), "give"),
            (Some((9, Some(1))), "wait"),
            (Some((8, Some(4))), "give"),
            (Some((8, Some(3))), "give"),
            (Some((10, None)), "wait"),
            (Some((11, None)), "refuse"),
            (Some((u64::MAX - 1, Some(999))), "refuse"),
        ] {
            check(asked, expected);
        }
    }

    #[test]
    fn directives_mean_nothing_where_the_origin_has_no_blocking_reload() {
        let facts = Facts { blocking: false, ..live() };
        assert_eq!(decide(Some((99, None)), &facts), Step::Give);
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
        let text = read(&playlist.render()).unwrap();
        let whole = text.facts;
        assert_eq!(whole.tip, Tip { open: 45, parts: 3, last_parts: 4, ended: false });
        assert_eq!((whole.part, whole.blocking), (Some(Duration::from_millis(500)), true));
        // What is made of it here is what the origin would have made.
        assert_eq!(delta(&text).unwrap(), playlist.render_delta());
        assert_eq!(compose(&[], &text, 0, Shift::default(), Told::default()), playlist.render());
    }

    /// A playlist of an encrypted stream whose key changes with every fifth segment.
    fn sealed(first: u64) -> MediaPlaylist {
        let key = |msn: u64| format!("../keys/{}-0123456789abcdef.key", msn / 5);
        let part = |msn: u64, n: u32| PartLine { uri: format!("{msn}.{n}.m4s"), seconds: 0.5, independent: n == 0 };
        let segment = |msn: u64| Segment {
            uri: format!("{msn}.m4s"),
            seconds: 2.0,
            map: format!("init-{:016x}.mp4", msn / 22),
            key: key(msn),
            discontinuity: msn.is_multiple_of(22),
            parts: if msn > 38 { (0..4).map(|n| part(msn, n)).collect() } else { Vec::new() },
            ..Segment::default()
        };
        let open = Segment { parts: vec![part(45, 0)], ..segment(45) };
        MediaPlaylist {
            target_s: 2,
            part_ms: 500,
            media_sequence: first,
            discontinuity_sequence: (first - 1) / 22,
            segments: (first..45).map(segment).collect(),
            open: Some(open),
            ..MediaPlaylist::default()
        }
    }

    #[test]
    fn keys_of_our_own_origin_are_passed_on_as_it_says_them() {
        for first in [5, 20, 21, 23] {
            let playlist = sealed(first);
            let text = read(&playlist.render()).unwrap();
            assert_eq!(delta(&text).unwrap(), playlist.render_delta(), "{first}");
            assert_eq!(compose(&[], &text, 0, Shift::default(), Told::default()), playlist.render(), "{first}");
        }
    }

    #[test]
    fn origins_agree_that_have_the_same_keys_wherever_their_lists_begin() {
        let text = |playlist: &MediaPlaylist| read(&playlist.render()).unwrap();
        let one = text(&sealed(5));
        assert_eq!(one.agrees_with(&text(&sealed(23))), Some(true));
        let mut other = sealed(23);
        other.segments.iter_mut().for_each(|segment| segment.key = segment.key.replace("abcdef", "abcdee"));
        assert_eq!(one.agrees_with(&text(&other)), Some(false));
        other.segments.iter_mut().for_each(|segment| segment.key.clear());
        assert_eq!(one.agrees_with(&text(&other)), Some(false));
    }

    #[test]
    fn under_another_number_a_segment_keeps_the_iv_that_it_was_encrypted_with() {
        let text = read(&sealed(41).render()).unwrap();
        let shift = Shift { number: 60, disc: 0 };
        let past = pieces(&read(&sealed(38).render()).unwrap(), 0, Shift { number: 57, disc: 0 });
        let shown = compose(&past[..2], &text, 0, shift, Told::default());
        let lines: Vec<&str> = shown.lines().collect();
        for (file, key, iv) in [("95.m4s", 7, 38), ("96.m4s", 7, 39), ("101.m4s", 8, 41), ("104.m4s", 8, 44)] {
            let at = lines.iter().position(|line| *line == file).unwrap();
            let last = lines[..at].iter().rfind(|line| line.starts_with("#EXT-X-KEY")).unwrap();
            let uri = format!("../keys/{key}-0123456789abcdef.key");
            assert_eq!(*last, format!("#EXT-X-KEY:METHOD=AES-128,URI=\"{uri}\",IV=0x{iv:032x}"), "{file} in {shown}");
        }
        let part = lines.iter().position(|line| line.contains("105.0.m4s")).unwrap();
        let last = lines[..part].iter().rfind(|line| line.starts_with("#EXT-X-KEY")).unwrap();
        assert!(last.contains("/9-") && last.ends_with(&format!("IV=0x{:032x}", 45)), "{last}");
    }

    /// What is told after an origin with these durations took over from one that told `told`, in seconds.
    #[track_caller]
    fn check_told(told: (f64, Option<f64>), expected: &str) {
        let seconds = Duration::from_secs_f64;
        let told = Told { target: seconds(told.0), part: told.1.map(seconds) };
        let head = compose(&[], &read(LIVE).unwrap(), 0, Shift::default(), told);
        let tags = ["#EXT-X-TARGETDURATION:", "#EXT-X-PART-INF:", "#EXT-X-SERVER-CONTROL:"];
        let told: Vec<&str> =
            tags.iter().map(|tag| head.lines().find_map(|line| line.strip_prefix(tag)).unwrap()).collect();
        assert_eq!(told.join(" "), expected);
    }

    #[test]
    fn what_was_told_of_durations_stays_unless_it_is_not_true_any_more() {
        let control = "CAN-SKIP-UNTIL=12.0,CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5";
        check_told((2.0, Some(0.5)), &format!("2 PART-TARGET=0.5 {control}"));
        check_told((0.0, None), &format!("2 PART-TARGET=0.5 {control}"));
        check_told((1.0, Some(0.25)), &format!("2 PART-TARGET=0.5 {control}"));
        let longer = "CAN-SKIP-UNTIL=12.0,CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=3";
        check_told((2.0, Some(1.0)), &format!("2 PART-TARGET=1 {longer}"));
        let longer = "CAN-SKIP-UNTIL=36,CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.536";
        check_told((6.0, Some(0.512)), &format!("6 PART-TARGET=0.512 {longer}"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_playlist_or_none(text in proptest::collection::vec(any::<u8>(), 0..200), tags in "(#EXT(M3U|INF|-X-(SKIP|PART|PART-INF|TARGETDURATION|MEDIA-SEQUENCE|ENDLIST))[:=,\"0-9A-Z-]{0,40}\n){0,12}") {
            read(&String::from_utf8_lossy(&text));
            read(&format!("#EXTM3U\n{tags}"));
        }

        #[test]
        fn what_is_given_for_a_wait_has_what_was_waited_for(msn in 0u64..14, part in proptest::option::of(0u32..8)) {
            if decide(Some((msn, part)), &live()) == Step::Give {
                prop_assert!(live().satisfies(msn, part));
                prop_assert!(msn <= 9);
            }
        }
    }
}
