//! Playlists, written down: plain snapshots in, text out (draft-pantos-hls-rfc8216bis).
//!
//! Renderers take structs and return strings; what stands in the structs is decided by [`crate::window`].

mod iframes;
mod media;
mod multivariant;
mod past;
pub mod reload;

pub use iframes::{iframes, iframes_vod};
pub use media::{MediaPlaylist, PartLine, Report, Segment};
pub use multivariant::{AudioGroup, Multivariant, Variant};
pub use past::Past;

use std::time::{Duration, UNIX_EPOCH};

/// The last millisecond of the year 9999, UTC ms: what comes after it has no date in four digits.
const DATE_MS_MAX: i64 = 253_402_300_799_999;

/// `2026-11-20T17:25:00.123Z`; what lies before 1970 or after 9999 is the nearest that doesn't.
pub fn date(utc_ms: i64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + since_epoch(utc_ms)).to_string()
}

/// `20261120T172500Z`, as it stands in asset names, with the same limits.
pub fn compact_date(utc_ms: i64) -> String {
    let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + since_epoch(utc_ms)).to_string();
    text.chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

fn since_epoch(utc_ms: i64) -> Duration {
    Duration::from_millis(utc_ms.clamp(0, DATE_MS_MAX).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_utc_with_milliseconds() {
        assert_eq!(date(1_795_195_500_123), "2026-11-20T17:25:00.123Z");
        assert_eq!(compact_date(1_795_195_500_123), "20261120T172500Z");
    }

    #[test]
    fn a_date_that_no_calendar_has_is_the_nearest_one_that_it_has() {
        for (utc_ms, expected, compact) in [
            (i64::MIN, "1970-01-01T00:00:00.000Z", "19700101T000000Z"),
            (DATE_MS_MAX, "9999-12-31T23:59:59.999Z", "99991231T235959Z"),
            (DATE_MS_MAX + 1, "9999-12-31T23:59:59.999Z", "99991231T235959Z"),
            (i64::MAX, "9999-12-31T23:59:59.999Z", "99991231T235959Z"),
        ] {
            assert_eq!((date(utc_ms).as_str(), compact_date(utc_ms).as_str()), (expected, compact), "{utc_ms}");
        }
    }
}
