//! `publish.*` and `hooks.*`: who may publish, and who is told of what happens.

use super::Config;
use crate::secret::Secret;
use media::name::StreamName;
use serde::{Deserialize, Deserializer, Serialize};
use std::path::PathBuf;

/// `publish.*`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Publish {
    /// The key of every stream that has none of its own, as it is or hashed.
    pub key: Option<Secret>,
    /// Who may publish where nothing is to be shown: no key, no token, no callback.
    pub open: Open,
    /// A URL that is asked whether somebody may publish.
    pub callback: Option<String>,
    /// What requests to it are signed with. `None`: [`Config::callback_secret`] says.
    pub callback_secret: Option<Secret>,
    /// How long it may take to answer, in seconds.
    pub callback_s: u64,
    /// What happens when it doesn't answer, or answers that it is broken.
    pub callback_down: CallbackDown,
    /// What tokens are signed with (HS256).
    pub jwt_secret: Option<Secret>,
    /// A PEM file with the public key that tokens are checked against (EdDSA, ES256, RS256).
    pub jwt_key: Option<PathBuf>,
    /// Whom tokens must be meant for, if anybody.
    pub jwt_audience: Option<String>,
    /// How far the clock of who makes tokens may be from ours, in seconds.
    pub jwt_skew_s: u64,
}

/// Who may publish without showing anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Open {
    /// Who connects from this very machine.
    #[default]
    ThisMachine,
    /// Whoever can connect.
    Anyone,
}

/// What a publisher is told when the callback can't be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallbackDown {
    /// No.
    #[default]
    Refuse,
    /// Yes.
    Allow,
}

/// `hooks.*`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hooks {
    /// Who is told: URLs; one may be given without a list.
    #[serde(deserialize_with = "one_or_several")]
    pub url: Vec<String>,
    /// What requests are signed with.
    pub secret: Option<Secret>,
    /// Of what.
    pub events: Vec<HookEvent>,
    /// Certificates (PEM) that receivers' own are checked against, beside those that the system trusts.
    pub ca: Option<PathBuf>,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookEvent {
    /// Somebody began to publish.
    Publish,
    /// Nobody publishes any more.
    Unpublish,
    /// A recording can be watched.
    RecordingReady,
    /// Its better ladder can.
    VodReady,
    /// An operator should look.
    Alarm,
}

impl HookEvent {
    /// All of them, in the order of a recording's way.
    pub const ALL: [Self; 5] = [Self::Publish, Self::Unpublish, Self::RecordingReady, Self::VodReady, Self::Alarm];

    /// Its name in config, requests and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Unpublish => "unpublish",
            Self::RecordingReady => "recording_ready",
            Self::VodReady => "vod_ready",
            Self::Alarm => "alarm",
        }
    }
}

impl Config {
    /// The key that a publisher of this stream must show, if it must show one: its own, else everybody's.
    pub fn publish_key(&self, name: &StreamName) -> Option<&Secret> {
        self.streams.get(name).and_then(|stream| stream.key.as_ref()).or(self.publish.key.as_ref())
    }

    /// What requests to `publish.callback` are signed with, if with anything.
    pub fn callback_secret(&self) -> Option<&Secret> {
        self.publish.callback_secret.as_ref().or(self.hooks.secret.as_ref())
    }
}

impl Default for Publish {
    fn default() -> Self {
        Self {
            key: None,
            open: Open::default(),
            callback: None,
            callback_secret: None,
            callback_s: 5,
            callback_down: CallbackDown::default(),
            jwt_secret: None,
            jwt_key: None,
            jwt_audience: None,
            jwt_skew_s: 30,
        }
    }
}

impl Default for Hooks {
    fn default() -> Self {
        Self { url: Vec::new(), secret: None, events: HookEvent::ALL.to_vec(), ca: None }
    }
}

fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        One(String),
        Several(Vec<String>),
    }
    Ok(match Given::deserialize(deserializer)? {
        Given::One(url) => vec![url],
        Given::Several(urls) => urls,
    })
}
