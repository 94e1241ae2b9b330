//! A rendition's media playlist.

use super::{Past, date};
use std::fmt::Write;

/// What a media playlist says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MediaPlaylist {
    /// EXT-X-TARGETDURATION, seconds.
    pub target_s: u32,
    /// PART-TARGET, ms.
    pub part_ms: u32,
    /// Number of the first of `segments`.
    pub media_sequence: u64,
    /// Discontinuities before the first of `segments`, listed in `past` or gone.
    pub discontinuity_sequence: u64,
    /// Segments that are listed before `segments`.
    pub past: Past,
    /// Whole segments and gaps, oldest first.
    pub segments: Vec<Segment>,
    /// The segment in progress: its parts so far. Its `seconds` is not known yet and not written.
    pub open: Option<Segment>,
    /// URI of the next part.
    pub hint: Option<String>,
    /// How far the other renditions are.
    pub reports: Vec<Report>,
    /// Nothing will follow.
    pub ended: bool,
}

/// A segment's lines.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Segment {
    /// Relative URI.
    pub uri: String,
    /// EXTINF.
    pub seconds: f64,
    /// It is missing, under its number.
    pub gap: bool,
    /// The timeline breaks before it.
    pub discontinuity: bool,
    /// URI of its init segment; empty for a gap that never had one.
    pub map: String,
    /// URI of the key that it and its parts are encrypted with; empty if they are not. Its initialisation vector is its
    /// number. Init segments are in clear.
    pub key: String,
    /// When it happened, UTC ms.
    pub date_ms: i64,
    /// Its parts, if they are still listed.
    pub parts: Vec<PartLine>,
    /// Size of the first chunk, in bytes; what an I-frame playlist points at.
    pub first_chunk: u64,
}

/// An EXT-X-PART line.
#[derive(Debug, Clone, PartialEq)]
pub struct PartLine {
    /// Relative URI.
    pub uri: String,
    /// DURATION.
    pub seconds: f64,
    /// INDEPENDENT=YES
    pub independent: bool,
}

/// An EXT-X-RENDITION-REPORT line.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Relative URI of the other playlist.
    pub uri: String,
    /// LAST-MSN
    pub last_msn: u64,
    /// LAST-PART
    pub last_part: Option<u32>,
}

/// How many target durations from the end CAN-SKIP-UNTIL is (§4.4.3.8: at least six).
const SKIP_TARGETS: u32 = 6;

impl MediaPlaylist {
    /// The whole playlist.
    pub fn render(&self) -> String {
        self.write(0, false)
    }

    /// The whole playlist as that of a recording, which never changes (§4.4.3.5).
    pub fn render_vod(&self) -> String {
        self.write(0, true)
    }

    /// A delta update (§6.2.5.1), or the whole playlist if nothing is old enough to skip.
    pub fn render_delta(&self) -> String {
        self.write(self.skippable(), false)
    }

    /// Segments that a delta update leaves out: those that end before the skip boundary.
    fn skippable(&self) -> usize {
        if self.ended {
            return 0;
        }
        let open: f64 = self.open.iter().flat_map(|segment| &segment.parts).map(|part| part.seconds).sum();
        let boundary = f64::from(SKIP_TARGETS * self.target_s);
        let mut from_end = open;
        let kept = self.segments.iter().rev().take_while(|segment| {
            let keep = from_end < boundary;
            from_end += segment.seconds;
            keep
        });
        let kept = kept.count();
        if kept < self.segments.len() {
            return self.past.len().saturating_add(self.segments.len() - kept);
        }
        self.past.len() - self.past.newest_within(boundary - from_end)
    }

    /// EXT-X-MEDIA-SEQUENCE and EXT-X-DISCONTINUITY-SEQUENCE.
    pub(super) fn write_sequences(&self, out: &mut String) {
        let first = self.media_sequence.saturating_sub(self.past.len() as u64);
        let discontinuities = self.discontinuity_sequence.saturating_sub(self.past.discontinuities());
        line(out, format_args!("#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuities}"));
    }

    fn write(&self, skipped: usize, vod: bool) -> String {
        let mut out = String::with_capacity(256 + 160 * self.segments.len());
        // Version 9 only where EXT-X-SKIP needs it, 6 for EXT-X-MAP (§8).
        let version = if skipped > 0 { 9 } else { 6 };
        line(&mut out, format_args!("#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{}", self.target_s));
        if vod {
            line(&mut out, format_args!("#EXT-X-PLAYLIST-TYPE:VOD"));
        }
        line(&mut out, format_args!("#EXT-X-INDEPENDENT-SEGMENTS"));
        if !self.ended {
            self.write_server_control(&mut out);
            line(&mut out, format_args!("#EXT-X-PART-INF:PART-TARGET={}", f64::from(self.part_ms) / 1000.0));
        }
        self.write_sequences(&mut out);
        if skipped > 0 {
            line(&mut out, format_args!("#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}"));
        }
        self.past.write(&mut out, skipped);
        // So is the key, but players (hls.js) don't take it over from there: it is said again.
        let key = if skipped > 0 && skipped >= self.past.len() { "" } else { self.past.key() };
        let skipped = skipped.saturating_sub(self.past.len());
        // After a skip the map in force is still that of the skipped segments.
        let mut before = self.segments.iter().take(skipped).rev().map(|segment| segment.map.as_str());
        let map = before.find(|map| !map.is_empty()).unwrap_or_else(|| self.past.map());
        let mut in_force = InForce { map, key };
        for segment in self.segments.iter().skip(skipped) {
            segment.write_head(&mut out, &mut in_force);
            segment.write_parts(&mut out);
            if segment.gap {
                line(&mut out, format_args!("#EXT-X-GAP"));
            }
            line(&mut out, format_args!("#EXTINF:{:.6},\n{}", segment.seconds, segment.uri));
        }
        if let Some(open) = self.open.as_ref().filter(|open| !open.parts.is_empty()) {
            open.write_head(&mut out, &mut in_force);
            open.write_parts(&mut out);
        }
        self.write_tail(&mut out);
        out
    }

    /// EXT-X-SERVER-CONTROL, the same in every playlist of a stream (§6.2.4).
    pub(super) fn write_server_control(&self, out: &mut String) {
        let part = f64::from(self.part_ms) / 1000.0;
        line(
            out,
            format_args!(
                "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL={},HOLD-BACK={},PART-HOLD-BACK={}",
                f64::from(SKIP_TARGETS * self.target_s),
                f64::from(3 * self.target_s),
                3.0 * part,
            ),
        );
    }

    fn write_tail(&self, out: &mut String) {
        if self.ended {
            line(out, format_args!("#EXT-X-ENDLIST"));
            return;
        }
        if let Some(hint) = &self.hint {
            line(out, format_args!("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{hint}\""));
        }
        for Report { uri, last_msn, last_part } in &self.reports {
            let part = last_part.map(|part| format!(",LAST-PART={part}")).unwrap_or_default();
            line(out, format_args!("#EXT-X-RENDITION-REPORT:URI=\"{uri}\",LAST-MSN={last_msn}{part}"));
        }
    }
}

impl Segment {
    /// What must stand before the first part of the segment. Says which of the tags that go on holding stand there.
    pub(super) fn write_head<'a>(&'a self, out: &mut String, in_force: &mut InForce<'a>) -> Said {
        if self.discontinuity {
            line(out, format_args!("#EXT-X-DISCONTINUITY"));
        }
        // A gap of which nothing is known needs no key, and ends none.
        let key = if self.gap && self.key.is_empty() { in_force.key } else { &self.key };
        let says_map = !self.map.is_empty() && (self.discontinuity || self.map != *in_force.map);
        if says_map {
            let protected = !key.is_empty() || !in_force.key.is_empty();
            write_map(out, &self.map, protected);
            *in_force = InForce { map: &self.map, key: "" };
        }
        let says_key = key != in_force.key;
        if says_key {
            write_key(out, key);
            in_force.key = key;
        }
        line(out, format_args!("#EXT-X-PROGRAM-DATE-TIME:{}", date(self.date_ms)));
        Said { map: says_map, key: says_key }
    }

    fn write_parts(&self, out: &mut String) {
        for part in &self.parts {
            let independent = if part.independent { ",INDEPENDENT=YES" } else { "" };
            line(out, format_args!("#EXT-X-PART:DURATION={:.6},URI=\"{}\"{independent}", part.seconds, part.uri));
        }
    }
}

/// What holds on from one segment to the next.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct InForce<'a> {
    /// URI of the init segment; empty if none was named.
    pub(super) map: &'a str,
    /// URI of the key; empty if there is none.
    pub(super) key: &'a str,
}

/// Which of these tags stand before a segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Said {
    pub(super) map: bool,
    pub(super) key: bool,
}

/// EXT-X-MAP. The init segment is in clear, so among `protected` segments no key may hold where it is named (§4.4.4.5); the
/// key follows.
pub(super) fn write_map(out: &mut String, map: &str, protected: bool) {
    if protected {
        write_key(out, "");
    }
    line(out, format_args!("#EXT-X-MAP:URI=\"{map}\""));
}

/// EXT-X-KEY (§4.4.4.4); for no key what ends one.
pub(super) fn write_key(out: &mut String, key: &str) {
    match key {
        "" => line(out, format_args!("#EXT-X-KEY:METHOD=NONE")),
        _ => line(out, format_args!("#EXT-X-KEY:METHOD=AES-128,URI=\"{key}\"")),
    }
}

/// Writing to a string cannot fail.
pub(super) fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn segment(number: u64) -> Segment {
        Segment {
            uri: format!("{number}.m4s"),
            seconds: 2.0,
            map: "init-00.mp4".to_owned(),
            date_ms: 1_795_195_500_000 + number as i64 * 2000,
            ..Segment::default()
        }
    }

    fn part(uri: &str, independent: bool) -> PartLine {
        PartLine { uri: uri.to_owned(), seconds: 0.5, independent }
    }

    fn live() -> MediaPlaylist {
        let mut gap = segment(11);
        (gap.gap, gap.discontinuity) = (true, true);
        let mut last = segment(12);
        last.parts = vec![part("12.0.m4s", true), part("12.1.m4s", false)];
        let open = Segment { parts: vec![part("13.0.m4s", true)], ..segment(13) };
        MediaPlaylist {
            target_s: 2,
            part_ms: 500,
            media_sequence: 10,
            discontinuity_sequence: 3,
            past: Past::default(),
            segments: vec![segment(10), gap, last],
            open: Some(open),
            hint: Some("13.1.m4s".to_owned()),
            reports: vec![Report { uri: "../audio/index.m3u8".to_owned(), last_msn: 13, last_part: Some(0) }],
            ended: false,
        }
    }

    #[test]
    fn a_live_playlist_as_text() {
        let expected = r#"#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:2
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=12,HOLD-BACK=6,PART-HOLD-BACK=1.5
#EXT-X-PART-INF:PART-TARGET=0.5
#EXT-X-MEDIA-SEQUENCE:10
#EXT-X-DISCONTINUITY-SEQUENCE:3
#EXT-X-MAP:URI="init-00.mp4"
#EXT-X-PROGRAM-DATE-TIME:2026-11-20T17:25:20.000Z
#EXTINF:2.000000,
10.m4s
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI="init-00.mp4"
#EXT-X-PROGRAM-DATE-TIME:2026-11-20T17:25:22.000Z
#EXT-X-GAP
#EXTINF:2.000000,
11.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-11-20T17:25:24.000Z
#EXT-X-PART:DURATION=0.500000,URI="12.0.m4s",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.500000,URI="12.1.m4s"
#EXTINF:2.000000,
12.m4s
#EXT-X-PROGRAM-DATE-TIME:2026-11-20T17:25:26.000Z
#EXT-X-PART:DURATION=0.500000,URI="13.0.m4s",INDEPENDENT=YES
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="13.1.m4s"
#EXT-X-RENDITION-REPORT:URI="../audio/index.m3u8",LAST-MSN=13,LAST-PART=0
"#;
        assert_eq!(live().render(), expected);
    }

    #[test]
    fn an_ended_playlist_has_endlist_and_no_live_tags() {
        let text = MediaPlaylist { ended: true, open: None, ..live() }.render();
        assert!(text.ends_with("#EXT-X-ENDLIST\n"), "{text}");
        for absent in ["SERVER-CONTROL", "PART-INF", "PRELOAD-HINT", "RENDITION-REPORT"] {
            assert!(!text.contains(absent), "{absent} in {text}");
        }
    }

    #[test]
    fn a_recordings_playlist_says_that_it_never_changes() {
        let text = MediaPlaylist { ended: true, open: None, ..live() }.render_vod();
        assert!(text.contains("#EXT-X-TARGETDURATION:2\n#EXT-X-PLAYLIST-TYPE:VOD\n"), "{text}");
        assert!(text.ends_with("#EXT-X-ENDLIST\n"), "{text}");
    }

    #[test]
    fn deltas_skip_what_ends_six_targets_before_the_end() {
        let long = MediaPlaylist { segments: (0..20).map(segment).collect(), ..live() };
        let text = long.render_delta();
        assert!(text.contains("#EXT-X-VERSION:9\n"), "{text}");
        assert!(text.contains("#EXT-X-SKIP:SKIPPED-SEGMENTS=14\n"), "{text}");
        assert!(!text.contains("#EXT-X-MAP"), "the skipped segments' map holds on: {text}");
        assert!(!text.contains("\n13.m4s") && text.contains("\n14.m4s"), "{text}");
    }

    #[test]
    fn a_short_playlist_is_sent_whole() {
        assert_eq!(live().render_delta(), live().render());
    }

    fn protected() -> MediaPlaylist {
        let key = |msn: u64| format!("../keys/{}-00.key", msn / 4);
        let locked = |segment: Segment, msn: u64| Segment { key: key(msn), ..segment };
        let part = |n: u32| PartLine { uri: format!("20.{n}.m4s"), seconds: 0.5, independent: n == 0 };
        let segments = (6..20).map(|msn| locked(segment(msn), msn));
        let mut segments: Vec<Segment> = segments.collect();
        segments[8] = Segment { discontinuity: true, map: "init-01.mp4".to_owned(), ..segments[8].clone() };
        segments[9..].iter_mut().for_each(|segment| segment.map = "init-01.mp4".to_owned());
        let open = Segment { parts: vec![part(0)], map: "init-01.mp4".to_owned(), ..locked(segment(20), 20) };
        MediaPlaylist { media_sequence: 6, segments, open: Some(open), ..live() }
    }

    /// The lines that say what holds, and the names of segments and parts.
    fn held(text: &str) -> Vec<&str> {
        let held = |line: &&str| {
            let tags = ["#EXT-X-KEY", "#EXT-X-MAP", "#EXT-X-DISC", "#EXT-X-SKIP", "#EXT-X-PART:", "#EXT-X-PRELOAD"];
            !line.starts_with('#')
                || tags.iter().any(|tag| line.starts_with(tag) && !line.starts_with("#EXT-X-DISCONTINUITY-S"))
        };
        let short = |line| match line {
            "#EXT-X-KEY:METHOD=NONE" => "none",
            "#EXT-X-MAP:URI=\"init-00.mp4\"" => "map 0",
            "#EXT-X-MAP:URI=\"init-01.mp4\"" => "map 1",
            "#EXT-X-DISCONTINUITY" => "break",
            "#EXT-X-PART:DURATION=0.500000,URI=\"20.0.m4s\",INDEPENDENT=YES" => "20.0",
            _ => line.strip_prefix("#EXT-X-KEY:METHOD=AES-128,URI=\"../keys/").map_or(line, |rest| &rest[..1]),
        };
        text.lines().filter(held).map(short).map(|line| line.trim_end_matches(".m4s")).collect()
    }

    #[test]
    fn each_key_is_named_once_and_never_holds_where_an_init_segment_is_named() {
        let text = protected().render();
        let expected = "none,map 0,1,6,7,2,8,9,10,11,3,12,13,break,none,map 1,3,14,15,4,16,17,18,19,5,20.0,\
                        #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"13.1.m4s\"";
        assert_eq!(held(&text).join(","), expected);
        assert!(text.contains("#EXT-X-KEY:METHOD=AES-128,URI=\"../keys/5-00.key\"\n"), "{text}");
        let (_, parsed) = m3u8_rs::parse_media_playlist(text.as_bytes()).unwrap();
        assert_eq!(parsed.segments.len(), 14);
    }

    #[test]
    fn a_delta_says_again_which_key_holds() {
        let text = protected().render_delta();
        let expected = "#EXT-X-SKIP:SKIPPED-SEGMENTS=8,break,none,map 1,3,14,15";
        assert!(held(&text).join(",").starts_with(expected), "{text}");
        let mut later = protected();
        later.segments.remove(0);
        later.segments.push(Segment {
            map: "init-01.mp4".to_owned(),
            key: "../keys/5-00.key".to_owned(),
            ..segment(20)
        });
        let text = MediaPlaylist { media_sequence: 7, open: None, ..later }.render_delta();
        let expected = "#EXT-X-SKIP:SKIPPED-SEGMENTS=8,3,15,4,16";
        assert!(held(&text).join(",").starts_with(expected), "{text}");
    }

    #[test]
    fn a_gap_of_which_nothing_is_known_ends_no_key_and_clear_segments_do() {
        let key = "../keys/1-00.key".to_owned();
        let locked = Segment { key: key.clone(), ..segment(6) };
        let gap = Segment { gap: true, map: String::new(), ..segment(7) };
        let segments = vec![locked.clone(), gap, Segment { key, ..segment(8) }, segment(9)];
        let text = MediaPlaylist { segments, open: None, hint: None, ..live() }.render();
        assert_eq!(held(&text).join(","), "none,map 0,1,6,7,8,none,9");
    }

    #[test]
    fn an_independent_parser_agrees() {
        let text = live().render();
        let (_, parsed) = m3u8_rs::parse_media_playlist(text.as_bytes()).unwrap();
        assert_eq!(parsed.media_sequence, 10);
        assert_eq!(parsed.segments.len(), 3);
        assert!(parsed.segments[1].discontinuity);
    }
}
