//! One byte range of a file that lies in memory in several chunks (RFC 9110 section 14).
//!
//! Pure. Several ranges in one request are ignored, which the RFC allows: the whole file is sent.

use bytes::Bytes;
use std::ops::Range;

/// What a `Range` header asks of a file of a known length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// Send everything: not a byte range, several ranges, or not understood.
    Whole,
    /// Send these bytes, never none.
    Part(Range<u64>),
    /// Nothing of it is there: 416.
    Unsatisfiable,
}

/// Reads a `Range` header's value for a file of `length` bytes.
pub(super) fn parse(header: &str, length: u64) -> Asked {
    let Some((unit, spec)) = header.split_once('=') else {
        return Asked::Whole;
    };
    let Some((first, last)) = spec.trim().split_once('-') else {
        return Asked::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") || spec.contains(',') {
        return Asked::Whole;
    }
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if last < first => return Asked::Whole,
        (Some(first), Some(last)) => first..last.saturating_add(1).min(length),
        (Some(first), None) if last.is_empty() => first..length,
        (None, Some(suffix)) if first.is_empty() => length.saturating_sub(suffix)..length,
        _ => return Asked::Whole,
    };
    if range.is_empty() { Asked::Unsatisfiable } else { Asked::Part(range) }
}

/// The bytes of `range`, as slices of the chunks, without copying.
pub(super) fn slice(chunks: &[Bytes], range: &Range<u64>) -> Vec<Bytes> {
    let mut start = 0u64;
    let mut out = Vec::new();
    for chunk in chunks {
        let end = start.saturating_add(chunk.len() as u64);
        let (from, to) = (range.start.max(start), range.end.min(end));
        if from < to {
            // Both lie within the chunk, so they fit a usize as its length does.
            out.push(chunk.slice((from - start) as usize..(to - start) as usize));
        }
        start = end;
    }
    out
}

/// Digits only: `+1` is a number for Rust but not for HTTP. One too large for us is beyond every file.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, expected: &Asked) {
        assert_eq!(&parse(header, 10), expected, "{header}");
    }

    #[test]
    fn one_range_is_understood_in_its_three_forms() {
        check("bytes=2-4", &Asked::Part(2..5));
        check("bytes=0-0", &Asked::Part(0..1));
        check("bytes=7-", &Asked::Part(7..10));
        check("bytes=-3", &Asked::Part(7..10));
        check("Bytes = 2-4", &Asked::Part(2..5));
    }

    #[test]
    fn ends_beyond_the_file_are_cut() {
        check("bytes=8-99", &Asked::Part(8..10));
        check("bytes=8-99999999999999999999999", &Asked::Part(8..10));
        check("bytes=-99", &Asked::Part(0..10));
    }

    #[test]
    fn what_holds_no_byte_is_unsatisfiable() {
        for header in ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=99999999999999999999999-"] {
            check(header, &Asked::Unsatisfiable);
        }
    }

    #[test]
    fn several_ranges_and_nonsense_mean_the_whole_file() {
        for header in ["bytes=0-1,3-4", "bytes=", "bytes=-", "bytes=a-b", "bytes=+1-2", "bytes=4-2", "lines=1-2", "0-1"]
        {
            check(header, &Asked::Whole);
        }
    }

    #[test]
    fn slices_cross_chunks() {
        let chunks = [Bytes::from("abc"), Bytes::from(""), Bytes::from("defg"), Bytes::from("hij")];
        let text = |range| slice(&chunks, &range).concat();
        assert_eq!(text(0..10), b"abcdefghij");
        assert_eq!(text(2..8), b"cdefgh");
        assert_eq!(text(3..4), b"d");
        assert_eq!(text(9..10), b"j");
    }
}
