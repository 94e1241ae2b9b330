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

/// `2026-11-20T17:25:00.123Z`
pub fn date(utc_ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(utc_ms).unwrap_or(0));
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}

/// `20261120T172500Z`, as it stands in asset names.
pub fn compact_date(utc_ms: i64) -> String {
    let since = Duration::from_secs(u64::try_from(utc_ms / 1000).unwrap_or(0));
    let text = humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string();
    text.chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_utc_with_milliseconds() {
        assert_eq!(date(1_795_195_500_123), "2026-11-20T17:25:00.123Z");
        assert_eq!(compact_date(1_795_195_500_123), "20261120T172500Z");
    }
}
