//! A text that must not be seen: it compares and serialises, but never prints. And where the config may keep it.
//!
//! Whoever has a secret shows it with [`Secret::expose`] in the one place that needs it. Which keys are secrets is
//! `config`'s affair.

mod source;

pub(crate) use source::Source;
pub use source::{Files, NotRead, Read};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// What stands in place of a secret wherever one would be printed.
pub const HIDDEN: &str = "(hidden)";

/// A secret from the configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether `given` is the secret. Takes the same time wherever the two differ, and however long the secret is.
    pub fn matches(&self, given: &str) -> bool {
        let digest = |text: &str| Sha256::digest(text.as_bytes());
        same(&digest(&self.0), &digest(given))
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Whether two texts are the same, in a time that depends only on their lengths.
pub fn same(mine: &[u8], given: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(mine, given).is_ok()
}

/// Several secrets, in order; in a file also one alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Secrets(Vec<Secret>);

impl Secrets {
    /// Hides `texts`.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        Self(texts.into_iter().map(Secret::new).collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The texts themselves, for the one place that needs them.
    pub fn expose(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Secret::expose)
    }
}

impl<'de> Deserialize<'de> for Secrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            One(Secret),
            Many(Vec<Secret>),
        }
        Ok(match Given::deserialize(deserializer)? {
            Given::One(secret) => Self(vec![secret]),
            Given::Many(secrets) => Self(secrets),
        })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_matches_itself_only_and_never_prints() {
        let secret = Secret::new("hunter2");
        assert!(secret.matches("hunter2"));
        for wrong in ["", "hunter", "hunter22", "Hunter2"] {
            assert!(!secret.matches(wrong), "{wrong}");
        }
        assert_eq!(format!("{secret:?} {}", serde_json::to_string(&secret).unwrap()), "(hidden) \"(hidden)\"");
    }
}
