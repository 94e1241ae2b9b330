//! `watch.*` and `cluster.*`: who may watch, and how tiers know each other.
//!
//! Knows what the keys mean for each other, not who checks a request.

use super::Config;
use crate::secret::{Secret, Secrets};
use media::name::StreamName;
use media::route::Owner;
use serde::{Deserialize, Serialize};

/// `watch.*`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Watching {
    /// Who may watch a stream, unless its own entry says otherwise, and what was uploaded.
    pub mode: Watch,
    /// What signs links, the first one, and what has signed those that are still good.
    pub secrets: Secrets,
}

/// `cluster.*`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// What edges send to the origins that they pull from, which answer nobody else.
    pub secret: Option<Secret>,
}

/// Who may watch a stream and its recordings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Watch {
    /// Everybody.
    #[default]
    Open,
    /// Everybody who knows the address; it is listed nowhere.
    Unlisted,
    /// Who has a link that was signed by one of [`Watching::secrets`].
    Signed,
}

impl Config {
    /// Who may have what has this owner, and whether it is listed.
    pub fn watching(&self, owner: Owner<'_>) -> (Watch, bool) {
        let stream = match owner {
            Owner::Nobody => return (Watch::Open, true),
            Owner::Upload => None,
            Owner::Stream(name) => name.parse().ok().and_then(|name: StreamName| self.streams.get(&name)),
        };
        let watch = stream.and_then(|stream| stream.watch).unwrap_or(self.watch.mode);
        (watch, stream.and_then(|stream| stream.listed).unwrap_or(watch != Watch::Unlisted))
    }

    /// The key that asks for signed links, if one does.
    pub fn signed_by(&self) -> Option<String> {
        if self.watch.mode == Watch::Signed {
            return Some("watch.mode".to_owned());
        }
        let (name, _) = self.streams.iter().find(|(_, stream)| stream.watch == Some(Watch::Signed))?;
        Some(format!("streams.{name}.watch"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Stream;

    #[test]
    fn a_stream_is_listed_unless_it_or_how_it_is_watched_says_otherwise() {
        let name: StreamName = "foo".parse().unwrap();
        for (mode, own, listed, expected) in [
            (Watch::Open, None, None, (Watch::Open, true)),
            (Watch::Open, None, Some(false), (Watch::Open, false)),
            (Watch::Open, Some(Watch::Unlisted), None, (Watch::Unlisted, false)),
            (Watch::Unlisted, None, None, (Watch::Unlisted, false)),
            (Watch::Unlisted, None, Some(true), (Watch::Unlisted, true)),
            (Watch::Unlisted, Some(Watch::Signed), None, (Watch::Signed, true)),
            (Watch::Signed, Some(Watch::Open), None, (Watch::Open, true)),
            (Watch::Signed, None, Some(false), (Watch::Signed, false)),
        ] {
            let mut config = Config::default();
            config.watch.mode = mode;
            config.streams.insert(name.clone(), Stream { watch: own, listed, ..Stream::default() });
            assert_eq!(config.watching(Owner::Stream("foo")), expected, "{mode:?} {own:?} {listed:?}");
            assert_eq!(config.watching(Owner::Stream("bar")), (mode, mode != Watch::Unlisted));
            assert_eq!(config.watching(Owner::Upload), (mode, mode != Watch::Unlisted));
            assert_eq!(config.watching(Owner::Nobody), (Watch::Open, true));
            let key = match (mode, own) {
                (Watch::Signed, _) => Some("watch.mode"),
                (_, Some(Watch::Signed)) => Some("streams.foo.watch"),
                _ => None,
            };
            assert_eq!(config.signed_by().as_deref(), key);
        }
    }
}
