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
        let skipped = skipped.saturating_sub(self.past.len());
        // After a skip the map in force is still that of the skipped segments.
        let mut before = self.segments.iter().take(skipped).rev().map(|segment| segment.map.as_str());
        let mut map = before.find(|map| !map.is_empty()).unwrap_or_else(|| self.past.map());
        for segment in self.segments.iter().skip(skipped) {
            segment.write_head(&mut out, &mut map);
            segment.write_parts(&mut out);
            if segment.gap {
                line(&mut out, format_args!("#EXT-X-GAP"));
            }
            line(&mut out, format_args!("#EXTINF:{:.6},\n{}", segment.seconds, segment.uri));
        }
        if let Some(open) = self.open.as_ref().filter(|open| !open.parts.is_empty()) {
            open.write_head(&mut out, &mut map);
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
    /// What must stand before the first part of the segment. Says whether the init segment stands there.
    pub(super) fn write_head<'a>(&'a self, out: &mut String, map: &mut &'a str) -> bool {
        if self.discontinuity {
            line(out, format_args!("#EXT-X-DISCONTINUITY"));
        }
        let says_map = !self.map.is_empty() && (self.discontinuity || self.map != *map);
        if says_map {
            line(out, format_args!("#EXT-X-MAP:URI=\"{}\"", self.map));
            *map = &self.map;
        }
        line(out, format_args!("#EXT-X-PROGRAM-DATE-TIME:{}", date(self.date_ms)));
        says_map
    }

    fn write_parts(&self, out: &mut String) {
        for part in &self.parts {
            let independent = if part.independent { ",INDEPENDENT=YES" } else { "" };
            line(out, format_args!("#EXT-X-PART:DURATION={:.6},URI=\"{}\"{independent}", part.seconds, part.uri));
        }
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

    #[test]
    fn an_independent_parser_agrees() {
        let text = live().render();
        let (_, parsed) = m3u8_rs::parse_media_playlist(text.as_bytes()).unwrap();
        assert_eq!(parsed.media_sequence, 10);
        assert_eq!(parsed.segments.len(), 3);
        assert!(parsed.segments[1].discontinuity);
    }
}
