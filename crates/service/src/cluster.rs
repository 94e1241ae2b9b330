//! How the tiers know each other: by a secret in a header of its own.
//!
//! Knows one secret and headers, not who asks for what. The header is marked as sensitive and logged nowhere.

use crate::http::{Body, error};
use crate::secret::Secret;
use http::header::{HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use metrics::counter;

/// The header.
const HEADER: HeaderName = HeaderName::from_static("live360-cluster");

/// The secret that the tiers share, if they do.
#[derive(Debug, Clone, Default)]
pub struct Trust(Option<Secret>);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// One of us.
    Tier,
    /// Somebody who does not say so.
    Stranger,
    /// Somebody who says so and has another secret, or the secret twice.
    Impostor,
}

impl Trust {
    /// By this secret; `None`: nobody can be known.
    pub fn new(secret: Option<Secret>) -> Self {
        Self(secret)
    }

    /// Whether there is a secret to be known by.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Says who we are, to put into a request.
    pub fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        // The config takes only what fits in a header.
        let mut value = HeaderValue::from_str(self.0.as_ref()?.expose()).ok()?;
        value.set_sensitive(true);
        Some((HEADER, value))
    }

    /// Who sends these headers. Without a secret of our own everybody is a stranger.
    pub fn judge(&self, headers: &HeaderMap) -> Caller {
        let Some(secret) = &self.0 else { return Caller::Stranger };
        let mut given = headers.get_all(HEADER).iter();
        match (given.next().map(|value| value.to_str().unwrap_or_default()), given.next()) {
            (None, _) => Caller::Stranger,
            (Some(given), None) if secret.matches(given) => Caller::Tier,
            _ => Caller::Impostor,
        }
    }
}

impl Caller {
    /// Refuses him, at the listener of this name; counted.
    pub fn refuse(self, listener: &'static str) -> Response<Body> {
        let (reason, words) = match self {
            Self::Impostor => ("wrong", "cluster.secret is another one here than where this request comes from"),
            _ => ("missing", "only tiers of this cluster are answered here: those with the same cluster.secret"),
        };
        counter!("live360_cluster_refused_total", "listener" => listener, "reason" => reason).increment(1);
        let mut response = error(StatusCode::UNAUTHORIZED, words);
        // RFC 9110 section 11.6.1: it must be said how one could be let in.
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Live360-Cluster"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "what the tiers share";

    #[track_caller]
    fn check(secret: Option<&str>, given: &[&str], expected: Caller) {
        let headers = given.iter().map(|value| (HEADER, HeaderValue::from_str(value).unwrap())).collect::<Vec<_>>();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        assert_eq!(Trust::new(secret.map(Secret::new)).judge(&map), expected, "{secret:?} {given:?}");
    }

    #[test]
    fn who_has_the_secret_is_one_of_us_and_nobody_else() {
        check(Some(SECRET), &[SECRET], Caller::Tier);
        check(Some(SECRET), &[], Caller::Stranger);
        for wrong in [&[""][..], &["what the tiers shar"], &["what the tiers share!"], &["What the tiers share"]] {
            check(Some(SECRET), wrong, Caller::Impostor);
        }
        check(Some(SECRET), &[SECRET, SECRET], Caller::Impostor);
        check(None, &[SECRET], Caller::Stranger);
        check(None, &[""], Caller::Stranger);
    }

    #[test]
    fn what_is_sent_is_taken_and_does_not_print() {
        let trust = Trust::new(Some(Secret::new(SECRET)));
        let headers = HeaderMap::from_iter(trust.header());
        assert_eq!(trust.judge(&headers), Caller::Tier);
        assert!(!format!("{headers:?} {trust:?}").contains(SECRET));
        assert_eq!(Trust::default().header(), None);
    }
}
