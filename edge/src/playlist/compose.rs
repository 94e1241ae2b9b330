//! Playlists for viewers out of those of origins: renumbered, joined to what was listed before, shortened to deltas.
//!
//! Pure text work. What is passed on unchanged never gets here. Why there is something to join is [`crate::follow`]'s
//! affair: another origin took over whose numbers and media are its own.

use super::Facts;
use super::text::{Block, Text, attribute};
use media::route::File;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

/// From an origin's numbers to those that viewers know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Shift {
    /// Added to media sequence numbers.
    pub(crate) number: i64,
    /// Added to discontinuity sequence numbers.
    pub(crate) disc: i64,
}

/// A segment that viewers were told of by an origin that is no longer followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Media sequence number, as viewers know it.
    pub(crate) number: u64,
    /// Discontinuity sequence number, as viewers know it.
    pub(crate) disc: u64,
    /// Duration.
    pub(crate) length: Duration,
    map: Option<String>,
    /// Its EXT-X-KEY.
    key: Option<String>,
    /// Its lines but EXT-X-DISCONTINUITY, EXT-X-MAP, EXT-X-KEY and parts.
    body: String,
}

impl Shift {
    /// A media sequence number as viewers know it.
    pub(crate) fn number(self, number: u64) -> u64 {
        number.saturating_add_signed(self.number)
    }

    /// A media sequence number as the origin knows it.
    pub(crate) fn back(self, number: u64) -> u64 {
        number.saturating_add_signed(self.number.saturating_neg())
    }

    fn disc(self, disc: u64) -> u64 {
        disc.saturating_add_signed(self.disc)
    }
}

impl Piece {
    /// A number under which viewers will never get anything.
    pub(crate) fn gap(number: u64, disc: u64, length: Duration) -> Self {
        let uri = File::Segment(number);
        let body = format!("#EXT-X-GAP\n#EXTINF:{:.6},\n{uri}\n", length.as_secs_f64());
        Self { number, disc, length, map: None, key: None, body }
    }

    fn of(text: &Text, block: &Block, shift: Shift) -> Self {
        let mut body = String::new();
        copy(&mut body, text.lines(&block.lines), shift, true);
        let map = block.map.as_ref().map(|map| text.lines(map).to_owned());
        let key = key_line(text, block, shift).map(Cow::into_owned);
        Self { number: shift.number(block.number), disc: shift.disc(block.disc), length: block.length, map, key, body }
    }
}

/// What a playlist lists whole, to be listed on when another origin follows. `from` is the origin's number.
pub(crate) fn pieces(text: &Text, from: u64, shift: Shift) -> Vec<Piece> {
    let listed = text.blocks.iter().filter(|block| block.number >= from);
    listed.map(|block| Piece::of(text, block, shift)).collect()
}

/// What a playlist says once and for all (§4.4.3.1, §4.4.3.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Told {
    /// EXT-X-TARGETDURATION.
    pub(crate) target: Duration,
    /// PART-TARGET, if there was one.
    pub(crate) part: Option<Duration>,
}

/// The playlist for viewers: `past`, then what `text` lists from its number `from` on, under viewers' numbers.
///
/// Its durations are those that were `told` before, if the new origin's are not longer. If they are, theirs are told from
/// now on, against the rule: what is told must be true of what is listed, and a player that was told too little stalls.
pub(crate) fn compose(past: &[Piece], text: &Text, from: u64, shift: Shift, told: Told) -> String {
    let blocks: Vec<&Block> = text.blocks.iter().filter(|block| block.number >= from).collect();
    let open = Some(&text.next).filter(|open| open.number >= from);
    let first = past.first().map(|piece| (piece.number, piece.disc));
    let current = blocks.first().copied().or(open).unwrap_or(&text.next);
    let (number, disc) = first.unwrap_or((shift.number(current.number.max(from)), shift.disc(current.disc)));
    let mut out = String::with_capacity(text.all.len().saturating_mul(2));
    head(&mut out, text, (number, disc), told);
    let mut state = InForce { disc, map: None, key: None };
    for piece in past {
        between(&mut out, &mut state, piece.disc, piece.map.as_deref(), piece.key.as_deref().map(Cow::Borrowed));
        out.push_str(&piece.body);
    }
    for block in blocks {
        let map = block.map.as_ref().map(|map| text.lines(map));
        between(&mut out, &mut state, shift.disc(block.disc), map, key_line(text, block, shift));
        copy(&mut out, text.lines(&block.lines), shift, false);
    }
    let tail = text.lines(&text.tail);
    if let Some(open) = open {
        if !open.lines.is_empty() {
            let map = open.map.as_ref().map(|map| text.lines(map));
            between(&mut out, &mut state, shift.disc(open.disc), map, key_line(text, open, shift));
            copy(&mut out, text.lines(&open.lines), shift, false);
        }
        copy(&mut out, tail, shift, false);
    } else {
        let kept = tail.split_inclusive('\n').filter(|line| !line.starts_with("#EXT-X-PRELOAD-HINT"));
        kept.for_each(|line| copy(&mut out, line, shift, false));
    }
    out
}

/// A delta update (§6.2.5.1). `None`: the playlist allows none, or nothing in it is old enough to be left out.
pub(crate) fn delta(text: &Text) -> Option<String> {
    let boundary = text.skip_until.filter(|_| !text.facts.tip.ended)?;
    let mut from_end = text.next.length;
    let kept = text.blocks.iter().rev().take_while(|block| {
        let keep = from_end < boundary;
        from_end = from_end.saturating_add(block.length);
        keep
    });
    let skipped = text.blocks.len().saturating_sub(kept.count());
    let last = text.blocks.get(skipped.checked_sub(1)?)?;
    let mut out = String::with_capacity(text.all.len());
    for line in text.lines(&text.head).split_inclusive('\n') {
        match line.strip_prefix("#EXT-X-VERSION:").and_then(|version| version.trim().parse::<u32>().ok()) {
            // EXT-X-SKIP needs version 9 (§8).
            Some(version) => line_out(&mut out, format_args!("#EXT-X-VERSION:{}", version.max(9))),
            None => out.push_str(line),
        }
    }
    line_out(&mut out, format_args!("#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}"));
    // Players (hls.js) don't take the key over from what is left out.
    let first = text.blocks.get(skipped).unwrap_or(&text.next);
    if let Some(key) = first.key.as_ref().filter(|key| key.start < last.lines.end) {
        line_out(&mut out, format_args!("{}", text.lines(key)));
    }
    out.push_str(text.all.get(last.lines.end..).unwrap_or_default());
    Some(out)
}

/// The playlist's own tags, with these numbers and durations that are at least those that were told.
fn head(out: &mut String, text: &Text, (number, disc): (u64, u64), told: Told) {
    let Facts { target, part, .. } = text.facts;
    let longer = Some(told.target).filter(|told| *told > target);
    let longer_part = told.part.filter(|told| part.is_some_and(|part| *told > part));
    for line in text.lines(&text.head).split_inclusive('\n') {
        let tag = line.trim_end().split(':').next().unwrap_or_default();
        match tag {
            "#EXT-X-MEDIA-SEQUENCE" | "#EXT-X-DISCONTINUITY-SEQUENCE" => {}
            "#EXT-X-TARGETDURATION" => {
                line_out(out, format_args!("{tag}:{}", longer.unwrap_or(target).as_secs_f64().round()));
            }
            "#EXT-X-PART-INF" => at_least(out, line, &[("PART-TARGET", longer_part)]),
            // What is said in multiples of them (§4.4.3.8).
            "#EXT-X-SERVER-CONTROL" => {
                let times = |unit: Option<Duration>, times| unit.map(|unit| unit.saturating_mul(times));
                let least = [
                    ("CAN-SKIP-UNTIL", times(longer, 6)),
                    ("HOLD-BACK", times(longer, 3)),
                    ("PART-HOLD-BACK", times(longer_part, 3)),
                ];
                at_least(out, line, &least);
            }
            _ => out.push_str(line),
        }
    }
    line_out(out, format_args!("#EXT-X-MEDIA-SEQUENCE:{number}\n#EXT-X-DISCONTINUITY-SEQUENCE:{disc}"));
}

/// Copies a tag with an attribute list without quotes, in which these attributes, where they are, are at least so long.
fn at_least(out: &mut String, line: &str, least: &[(&str, Option<Duration>)]) {
    let (tag, list) = line.trim_end().split_once(':').unwrap_or((line.trim_end(), ""));
    let raised = list.split(',').map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let least = least.iter().find(|(other, _)| *other == name.trim()).and_then(|(_, least)| *least)?.as_secs_f64();
        let low = value.trim().parse::<f64>().is_ok_and(|value| value < least);
        low.then(|| format!("{name}={least}"))
    });
    if raised.clone().all(|pair| pair.is_none()) {
        out.push_str(line);
        return;
    }
    let pairs: Vec<String> =
        raised.zip(list.split(',')).map(|(raised, pair)| raised.unwrap_or(pair.to_owned())).collect();
    line_out(out, format_args!("{tag}:{}", pairs.join(",")));
}

/// What holds on from one segment to the next, as viewers were told.
struct InForce<'a> {
    disc: u64,
    map: Option<&'a str>,
    key: Option<Cow<'a, str>>,
}

/// Writes what must stand between one segment and the next: a break, its init segment and its key where they change. As
/// [`media::hls`] does, so that an init segment is never named where a key holds.
fn between<'a>(out: &mut String, before: &mut InForce<'a>, disc: u64, map: Option<&'a str>, key: Option<Cow<'a, str>>) {
    const CLEAR: &str = "#EXT-X-KEY:METHOD=NONE";
    let breaks = disc > before.disc;
    if breaks {
        line_out(out, format_args!("#EXT-X-DISCONTINUITY"));
    }
    if let Some(map) = map
        && (breaks || before.map != Some(map))
    {
        if key.is_some() || before.key.is_some() {
            line_out(out, format_args!("{CLEAR}"));
        }
        line_out(out, format_args!("{map}"));
        (before.map, before.key) = (Some(map), None);
    }
    if before.key != key {
        line_out(out, format_args!("{}", key.as_deref().unwrap_or(CLEAR)));
        before.key = key;
    }
    before.disc = disc;
}

/// A segment's EXT-X-KEY line. Where it gives no initialisation vector that is the segment's number (§4.4.4.4): the origin's,
/// which must be said where viewers know the segment by another.
fn key_line<'a>(text: &'a Text, block: &Block, shift: Shift) -> Option<Cow<'a, str>> {
    let line = text.lines(block.key.as_ref()?);
    let list = line.split_once(':').map_or("", |(_, list)| list);
    if shift.number == 0 || attribute(list, "IV").is_some() {
        return Some(line.into());
    }
    Some(format!("{line},IV=0x{:032x}", block.number).into())
}

/// Copies a segment's lines under viewers' numbers, but for what [`between`] writes; without its parts if it is `old`.
fn copy(out: &mut String, lines: &str, shift: Shift, old: bool) {
    for line in lines.lines() {
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        match tag {
            "#EXT-X-DISCONTINUITY" | "#EXT-X-MAP" | "#EXT-X-KEY" => {}
            "#EXT-X-PART" if old => {}
            "#EXT-X-PART" | "#EXT-X-PRELOAD-HINT" => match attribute(value, "URI") {
                Some(quoted) => line_out(out, format_args!("{}", line.replacen(quoted, &uri(quoted, shift), 1))),
                None => line_out(out, format_args!("{line}")),
            },
            "#EXT-X-RENDITION-REPORT" => match attribute(value, "LAST-MSN").and_then(|msn| msn.parse().ok()) {
                Some(msn) => {
                    let (old, new) = (format!("LAST-MSN={msn}"), format!("LAST-MSN={}", shift.number(msn)));
                    line_out(out, format_args!("{}", line.replacen(&old, &new, 1)));
                }
                None => line_out(out, format_args!("{line}")),
            },
            _ if !line.starts_with('#') => line_out(out, format_args!("{}", uri(line, shift))),
            _ => line_out(out, format_args!("{line}")),
        }
    }
}

/// A file's name under viewers' numbers, with its quotes if it has some.
fn uri(name: &str, shift: Shift) -> String {
    let bare = name.trim_matches('"');
    let file = match File::parse(bare) {
        Some(File::Segment(msn)) => File::Segment(shift.number(msn)),
        Some(File::Part(msn, part)) => File::Part(shift.number(msn), part),
        _ => return name.to_owned(),
    };
    if bare.len() == name.len() { file.to_string() } else { format!("\"{file}\"") }
}

/// Writing to a string cannot fail.
fn line_out(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{text}");
}
