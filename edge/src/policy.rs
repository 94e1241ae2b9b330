//! The policy table: per class of object, how long it is fresh here, what is done about missing and broken ones, and
//! what the next cache is told.
//!
//! Pure. Origins' own Cache-Control is not looked at: they are ours, and this is the table. Not in it is how live media
//! playlists are followed (how often one is polled that is missing, how long one stands in): that goes by what the
//! playlist says of itself, in [`crate::follow`].

use http::HeaderValue;
use media::route::{File, Route};
use std::time::Duration;

/// How long an origin may take from a request to the first header, if nothing is to be waited for.
pub(crate) const QUICK_WAIT: Duration = Duration::from_millis(2000);

/// How long a failed fetch is not tried again: collapses what arrives while an origin is down.
const BROKEN: Duration = Duration::from_millis(100);

/// What is missing now may be there in a moment: never remembered longer than this.
const MISSING_MAX: Duration = Duration::from_millis(500);

/// What kind of thing an address names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    /// The watch page and its files: they come from this program.
    Page,
    /// `/api/streams`
    Streams,
    /// A multivariant playlist.
    Multivariant,
    /// A media playlist.
    Playlist,
    /// An I-frame playlist.
    IFrames,
    /// An init segment.
    Init,
    /// A segment.
    Segment,
    /// A part of a segment.
    Part,
    /// A key of protected segments.
    Key,
    /// Any playlist of a recording.
    VodPlaylist,
    /// Any other file of a recording.
    VodMedia,
}

/// How a class is treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rules {
    /// How long a good answer is given again without asking. (Live media playlists are always the newest there is;
    /// for them it only says when the next is due.)
    pub(crate) fresh: Duration,
    /// How long a 4xx is given again without asking.
    pub(crate) missing: Duration,
    /// How long a failure is given again without asking.
    pub(crate) broken: Duration,
    /// Up to which age a good answer stands in where the origins fail, or say that there is no such thing. Of
    /// documents only.
    pub(crate) stale: Duration,
    /// How long a viewer waits for a fresh answer where such a stale one is at hand, and how long an origin may hold
    /// back a file of a stream that nobody follows here before the next is asked too.
    pub(crate) patience: Duration,
    /// Whether origins hold requests of this class until what is asked for is there.
    pub(crate) held: bool,
    /// `Cache-Control` of a good answer.
    pub(crate) told: HeaderValue,
}

/// The table, for the timing that the config gives.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    segment: Duration,
    part: Duration,
    window: Duration,
    six_targets: HeaderValue,
}

/// `Cache-Control` of what changes.
const BRIEF: HeaderValue = HeaderValue::from_static("public, max-age=1");

/// `Cache-Control` of what never does: a file name never comes back with other content.
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=86400, immutable");

impl Class {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::VodMedia as usize + 1;

    /// The class of an address.
    pub(crate) fn of(route: &Route) -> Self {
        match route {
            Route::Page | Route::PageFile(_) => Self::Page,
            Route::Streams => Self::Streams,
            Route::Multivariant(_) => Self::Multivariant,
            Route::Hls(_, _, File::Playlist) => Self::Playlist,
            Route::Hls(_, _, File::IFrames) => Self::IFrames,
            Route::Hls(_, _, File::Init(_)) => Self::Init,
            Route::Hls(_, _, File::Segment(_)) => Self::Segment,
            Route::Hls(_, _, File::Part(..)) => Self::Part,
            Route::Key(..) | Route::VodKey { .. } => Self::Key,
            Route::Vod(path) if path.ends_with(".m3u8") => Self::VodPlaylist,
            Route::Vod(_) => Self::VodMedia,
        }
    }

    /// Whether it is a small text that changes, or one that must not be kept (a document), not a file that doesn't (a flight).
    pub(crate) fn is_document(self) -> bool {
        use Class::{IFrames, Key, Multivariant, Playlist, Streams, VodPlaylist};
        matches!(self, Streams | Multivariant | Playlist | IFrames | Key | VodPlaylist)
    }

    /// A name from a fixed set, for metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Streams => "streams",
            Self::Multivariant => "multivariant",
            Self::Playlist => "playlist",
            Self::IFrames => "iframes",
            Self::Init => "init",
            Self::Segment => "segment",
            Self::Part => "part",
            Self::Key => "key",
            Self::VodPlaylist => "vod_playlist",
            Self::VodMedia => "vod_media",
        }
    }
}

impl Policy {
    /// The table for these target durations and this live window.
    pub(crate) fn new(segment: Duration, part: Duration, window: Duration) -> Self {
        let six_targets = format!("public, max-age={}", six(segment).as_secs().max(1));
        // Digits and letters always make a header value.
        let six_targets = HeaderValue::from_str(&six_targets).unwrap_or(BRIEF);
        Self { segment, part, window, six_targets }
    }

    /// The row of a class.
    pub(crate) fn rules(&self, class: Class) -> Rules {
        let second = Duration::from_secs(1);
        let row = |fresh, stale, told| Rules {
            fresh,
            missing: self.part.min(MISSING_MAX),
            broken: BROKEN,
            stale,
            patience: self.part,
            held: false,
            told,
        };
        // What left the window is asked for by those who are as far behind as one may be, for a while.
        let retained = self.window.saturating_add(Duration::from_secs(60));
        match class {
            // Neither is asked for by this table: the page is in this program, live playlists are followed.
            Class::Page => row(Duration::ZERO, Duration::ZERO, BRIEF),
            Class::Playlist | Class::IFrames => row(self.part / 2, Duration::ZERO, BRIEF),
            Class::Streams => row(second, second * 30, BRIEF),
            Class::Multivariant | Class::VodPlaylist => row(second, second * 60, BRIEF),
            // Everybody wants a new one at the same moment. It is kept for no longer than that takes.
            Class::Key => row(second * 10, second * 60, HeaderValue::from_static(service::keys::CACHE)),
            Class::Init => row(retained, Duration::ZERO, FOREVER),
            Class::Segment => Rules { held: true, ..row(retained, Duration::ZERO, FOREVER) },
            Class::Part => Rules { held: true, ..row(retained, Duration::ZERO, self.six_targets.clone()) },
            Class::VodMedia => row(second * 3600, Duration::ZERO, FOREVER),
        }
    }

    /// Target duration by config, for streams that nothing is known of.
    pub(crate) fn segment(&self) -> Duration {
        self.segment
    }

    /// Part target by config.
    pub(crate) fn part(&self) -> Duration {
        self.part
    }

    /// How long a viewer may wait for a playlist: three target durations (§6.2.5.2), then 503.
    pub(crate) fn parked(&self, target: Duration) -> Duration {
        target.saturating_mul(3)
    }

    /// How long a request that an origin holds may take to its first header: three target durations, after which the
    /// origin itself says 503, and a second for that to get here.
    pub(crate) fn held_wait(&self, target: Option<Duration>) -> Duration {
        target.unwrap_or(self.segment).saturating_mul(3).saturating_add(Duration::from_secs(1))
    }

    /// `Cache-Control` of a playlist that has what its URL waits for: that URL's answer stays right.
    pub(crate) fn told_reload(&self) -> HeaderValue {
        self.six_targets.clone()
    }
}

fn six(target: Duration) -> Duration {
    target.saturating_mul(6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy::new(Duration::from_secs(2), Duration::from_millis(500), Duration::from_secs(120))
    }

    /// Fresh and stale in ms, whether held, and what the next cache is told.
    #[track_caller]
    fn check(path: &str, expected: (&str, u128, u128, bool, &str)) {
        let class = Class::of(&Route::parse(path).unwrap());
        let rules = policy().rules(class);
        let told = rules.told.to_str().unwrap();
        assert_eq!((class.label(), rules.fresh.as_millis(), rules.stale.as_millis(), rules.held, told), expected);
    }

    #[test]
    fn the_table() {
        let brief = "public, max-age=1";
        let forever = "public, max-age=86400, immutable";
        check("/api/streams", ("streams", 1000, 30_000, false, brief));
        check("/hls/a.m3u8", ("multivariant", 1000, 60_000, false, brief));
        check("/hls/a/source/index.m3u8", ("playlist", 250, 0, false, brief));
        check("/hls/a/source/iframes.m3u8", ("iframes", 250, 0, false, brief));
        check("/hls/a/source/init-0123456789abcdef.mp4", ("init", 180_000, 0, false, forever));
        check("/hls/a/source/1.m4s", ("segment", 180_000, 0, true, forever));
        check("/hls/a/source/1.0.m4s", ("part", 180_000, 0, true, "public, max-age=12"));
        check("/vod/a-20261120T172500Z/source/index.m3u8", ("vod_playlist", 1000, 60_000, false, brief));
        let tag = "0123456789abcdef";
        for folder in ["/hls/a", "/vod/a-20261120T172500Z", "/vod/a-20261120T172500Z/hq"] {
            check(&format!("{folder}/keys/7-{tag}.key"), ("key", 10_000, 60_000, false, "private, no-store"));
        }
        check("/vod/a-20261120T172500Z/source/1.m4s", ("vod_media", 3_600_000, 0, false, forever));
    }

    #[test]
    fn what_is_missing_is_remembered_for_a_part_at_most_and_never_for_more_than_half_a_second() {
        for part in [100, 500, 2000] {
            let policy = Policy::new(Duration::from_secs(2), Duration::from_millis(part), Duration::ZERO);
            for class in [Class::Multivariant, Class::Playlist, Class::Segment, Class::Part, Class::VodMedia] {
                let missing = policy.rules(class).missing;
                assert!(missing <= Duration::from_millis(part.min(500)), "{class:?}: {missing:?}");
            }
        }
    }

    #[test]
    fn an_origin_may_hold_a_question_for_three_targets_of_its_own_stream() {
        for (target, expected) in [(None, 7), (Some(1), 4), (Some(6), 19)] {
            assert_eq!(policy().held_wait(target.map(Duration::from_secs)).as_secs(), expected);
        }
    }
}
