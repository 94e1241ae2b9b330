//! Why the edge could not get something from the origins, and what the viewer is told.
//!
//! Knows status codes and words; not who retries.

use http::StatusCode;

/// What went wrong. Cheap to clone: everybody who waited for the same fetch gets it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// Nobody answered.
    #[error("no origin can be reached ({0})")]
    Unreachable(String),
    /// An origin took the request and sent no answer in time.
    #[error("the origin sent no answer within {0} ms")]
    Silent(u64),
    /// The origin answered with an error of its own.
    #[error("the origin answered {0}")]
    Origin(StatusCode),
    /// The origin does not know this edge: its secret is another one.
    #[error("the origin does not answer this edge")]
    Untrusted,
    /// The origin's answer is not one that can be passed on.
    #[error("the origin's answer makes no sense: {0}")]
    Nonsense(&'static str),
    /// More than the edge takes.
    #[error("the object is larger than {limit} bytes")]
    TooLarge {
        /// The most, in bytes.
        limit: u64,
    },
    /// The body ended before its length.
    #[error("the origin sent {got} of {length} bytes")]
    Short {
        /// Bytes that came.
        got: u64,
        /// Bytes that were announced.
        length: u64,
    },
    /// The connection broke in the middle of the body.
    #[error("the connection to the origin broke in the middle")]
    Broken,
    /// The body stopped coming.
    #[error("the origin sent nothing for {0} ms in the middle of the body")]
    Stalled(u64),
    /// Nothing came of what a viewer waited for.
    #[error("nothing new came for {0} ms: the stream stands still")]
    StandsStill(u64),
    /// What was waited for will never come under this name.
    #[error("there is nothing at this address: another origin took over before it came")]
    Overtaken,
    /// The store of recordings does not answer, or not in time.
    #[error("the store of recordings does not answer")]
    StoreAway,
    /// The store of recordings answers, but not with what it has.
    #[error("the store of recordings refuses to give this")]
    StoreRefused,
    /// Every slot for requests to the origins is taken.
    #[error("too many requests wait for the origin or the store")]
    Busy,
    /// As many wait here as may, in all or from one address.
    #[error("as many wait here as may, or as many from one address: try again in a moment")]
    Crowd,
    /// The edge's memory is full of what viewers are still reading.
    #[error("the edge has no memory left for this")]
    NoRoom,
    /// The edge is shutting down.
    #[error("this edge is shutting down")]
    Leaving,
    /// Whoever fetched is gone without a word: a defect here, never a clean end.
    #[error("the fetch was abandoned")]
    Abandoned,
}

impl Failure {
    /// The status that viewers get.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Silent(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Overtaken => StatusCode::NOT_FOUND,
            Self::Origin(StatusCode::LOOP_DETECTED) => StatusCode::LOOP_DETECTED,
            Self::Origin(StatusCode::SERVICE_UNAVAILABLE)
            | Self::StandsStill(_)
            | Self::StoreAway
            | Self::Busy
            | Self::Crowd
            | Self::NoRoom
            | Self::Leaving => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// Whether this was refused because of the way by which a request came here that named so many edges (a ring, or too
    /// many of them), and one that named only `own` may fare better. What a request says of its way may be made up: it must
    /// not be told to others.
    pub(crate) fn is_of_a_longer_way(&self, hops: usize, own: usize) -> bool {
        *self == Self::Origin(StatusCode::LOOP_DETECTED) && own < hops
    }

    /// A short name from a fixed set, for metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Silent(_) => "silent",
            Self::Origin(_) => "origin_error",
            Self::Untrusted => "untrusted",
            Self::Nonsense(_) => "nonsense",
            Self::TooLarge { .. } => "too_large",
            Self::Short { .. } => "short",
            Self::Broken => "broken",
            Self::Stalled(_) => "stalled",
            Self::StandsStill(_) => "stands_still",
            Self::Overtaken => "overtaken",
            Self::StoreAway => "store_away",
            Self::StoreRefused => "store_refused",
            Self::Busy => "busy",
            Self::Crowd => "crowd",
            Self::NoRoom => "no_room",
            Self::Leaving => "leaving",
            Self::Abandoned => "abandoned",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_503_and_what_is_broken_is_502() {
        for (failure, status) in [
            (Failure::Unreachable("connection refused".into()), 502),
            (Failure::Silent(2000), 504),
            (Failure::Origin(StatusCode::SERVICE_UNAVAILABLE), 503),
            (Failure::Origin(StatusCode::INTERNAL_SERVER_ERROR), 502),
            (Failure::Untrusted, 502),
            (Failure::Busy, 503),
            (Failure::Crowd, 503),
            (Failure::NoRoom, 503),
            (Failure::Short { got: 1, length: 2 }, 502),
        ] {
            assert_eq!(failure.status().as_u16(), status, "{failure}");
        }
    }
}
