//! What was shown against what the config asks for. Pure: a name, what came with it, where from and when; out comes leave,
//! a reason against it, or what else must be looked at.
//!
//! A stream's own key comes before the one for all. Where there is a key or tokens are taken, one of them must be right;
//! then the callback, if there is one, has the last word. Where none of the three is configured, only this machine may
//! publish, or anyone if the config says so.

use super::Error;
use super::token::{BadToken, Tokens};
use media::name::{PublishKey, StreamName};
use service::config::{Config, Open};
use service::hashed::Hashed;
use service::secret::Secret;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The parameters that are secrets. They go no further than this module and the callback.
pub(crate) const SECRET_PARAMS: [&str; 2] = ["key", "token"];

/// What the config asks for.
#[derive(Debug)]
pub(super) struct Rules {
    keys: BTreeMap<StreamName, Hashed>,
    everybodys: Option<Hashed>,
    tokens: Option<Tokens>,
    open: Open,
}

/// What somebody shows who wants to publish.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) name: &'a StreamName,
    pub(super) key: Option<&'a str>,
    pub(super) token: Option<&'a str>,
    pub(super) peer: IpAddr,
}

/// What speaks for whoever may publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The stream's key.
    Key,
    /// A token.
    Token,
    /// That it is on this machine, or that anyone may.
    Open,
    /// Nothing yet: the callback is to say.
    Nothing,
}

/// What comes of a look at what was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It may, for this reason; or the callback is to say.
    Granted(By),
    /// It may if this key, which takes time to compare, is right; else this is why not.
    Compare(Hashed, Why),
    /// It may not.
    Refused(Why),
}

/// Why somebody may not publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// There is a key, and none was shown.
    NoKey,
    /// Another key was shown.
    WrongKey,
    /// What was shown is no token of ours.
    Token(BadToken),
    /// Nothing is configured that could be shown, and it comes from elsewhere.
    NotOpen,
    /// The callback says no.
    Callback,
    /// The callback can't be asked.
    CallbackDown,
    /// Too many wrong guesses from its address.
    TooMany,
    /// Too many keys to compare at this moment.
    Busy,
}

impl<'a> Shown<'a> {
    /// What came in the encoder's address and key fields.
    pub(super) fn of(key: &'a PublishKey, peer: IpAddr) -> Self {
        let param = |name: &str| key.params.get(name).map(String::as_str);
        Self { name: &key.name, key: param("key"), token: param("token"), peer }
    }
}

impl Rules {
    /// Reads the config, and the files that it names. The config has checked that what looks like a hash is one.
    pub(super) fn new(config: &Config) -> Result<Self, Error> {
        let read = |secret: &Secret| Hashed::read(secret).ok();
        let own = |(name, stream): (&StreamName, &service::config::Stream)| {
            Some((name.clone(), stream.key.as_ref().and_then(read)?))
        };
        Ok(Self {
            keys: config.streams.iter().filter_map(own).collect(),
            everybodys: config.publish.key.as_ref().and_then(read),
            tokens: Tokens::new(&config.publish)?,
            open: config.publish.open,
        })
    }

    /// Judges what was shown, at this second (UTC). `asked`: a callback will be asked, too.
    pub(super) fn judge(&self, shown: &Shown<'_>, asked: bool, now_s: u64) -> Judgement {
        let key = self.keys.get(shown.name).or(self.everybodys.as_ref());
        if key.is_none() && self.tokens.is_none() {
            let here = shown.peer.to_canonical().is_loopback() || self.open == Open::Anyone;
            return match (asked, here) {
                (true, _) => Judgement::Granted(By::Nothing),
                (false, true) => Judgement::Granted(By::Open),
                (false, false) => Judgement::Refused(Why::NotOpen),
            };
        }
        let mut why = Why::NoKey;
        if let (Some(tokens), Some(token)) = (&self.tokens, shown.token) {
            match tokens.judge(token, shown.name, now_s) {
                Ok(()) => return Judgement::Granted(By::Token),
                Err(bad) => why = Why::Token(bad),
            }
        }
        match (key, shown.key) {
            (Some(key), Some(_)) if key.is_slow() => Judgement::Compare(key.clone(), Why::WrongKey),
            (Some(key), Some(given)) if key.matches(given) => Judgement::Granted(By::Key),
            (_, Some(_)) => Judgement::Refused(Why::WrongKey),
            (_, None) => Judgement::Refused(why),
        }
    }

    /// Words for the encoder's log, of at most 250 bytes with a name of 64. For whoever shows nothing that is right they
    /// are the same, whether or not there is such a stream, and whether or not it has a key.
    pub(super) fn words(&self, why: Why, name: &StreamName) -> String {
        match why {
            Why::Token(BadToken::Expired) => format!("the token for stream {name} has expired: get a new one"),
            Why::Token(BadToken::Early) => format!("the token for stream {name} does not hold yet: is a clock wrong?"),
            Why::Token(BadToken::OtherStream) => format!("this token is for another stream than {name}"),
            Why::Token(BadToken::OtherAudience) => {
                format!("this token is not meant for this server (claim aud), stream {name}")
            }
            Why::Callback => format!("stream {name} was refused by this server's callback"),
            Why::CallbackDown => format!("whom this server asks about stream {name} does not answer: try again later"),
            Why::TooMany => "too many wrong keys came from your address: wait a minute".to_owned(),
            // Busy, too: only streams that have such a key can be too busy to compare it.
            Why::NoKey | Why::WrongKey | Why::NotOpen | Why::Busy | Why::Token(BadToken::Foreign) => {
                let or_token = if self.tokens.is_some() { ", or NAME?token=JWT" } else { "" };
                format!(
                    "stream {name} needs its key: put NAME?key=SECRET{or_token} into the encoder's key field (the server \
                     takes it from streams.NAME.key, publish.key; or set publish.open)"
                )
            }
        }
    }

    /// Says in the log who may publish what.
    pub(super) fn announce(&self, reachable: bool, callback: bool) {
        let (own, tokens) = (self.keys.len(), self.tokens.is_some());
        let guarded = self.everybodys.is_some() || tokens || callback;
        let open = match (guarded, self.open) {
            (true, _) => "nothing",
            (false, Open::ThisMachine) => "to encoders on this machine",
            (false, Open::Anyone) => "TO ANYONE who can connect",
        };
        tracing::info!(
            key_for_all = self.everybodys.is_some(),
            streams_with_keys = own,
            tokens,
            callback,
            "publishing without showing anything is open: {open}"
        );
        if !guarded && reachable {
            match self.open {
                Open::Anyone => tracing::warn!(
                    "whoever reaches origin.rtmp may publish under any name without a key of its own: publish.open = \"anyone\""
                ),
                Open::ThisMachine => tracing::warn!(
                    "encoders on other machines need a key: set publish.key or streams.NAME.key (`live360 key` makes one)"
                ),
            }
        }
    }
}

impl By {
    /// Whether something was shown, which lets it take the stream over.
    pub(super) fn is_proof(self) -> bool {
        matches!(self, Self::Key | Self::Token)
    }

    /// Its name in what the callback is asked.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Key => Some("key"),
            Self::Token => Some("token"),
            Self::Open | Self::Nothing => None,
        }
    }
}

impl Why {
    /// The label of `live360_publish_refused_total`.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::WrongKey => "wrong_key",
            Self::Token(bad) => bad.label(),
            Self::NotOpen => "not_open",
            Self::Callback => "callback",
            Self::CallbackDown => "callback_down",
            Self::TooMany => "too_many",
            Self::Busy => "busy",
        }
    }

    /// Words for the log of whoever operates the server.
    pub(crate) fn for_operators(self) -> &'static str {
        match self {
            Self::NoKey => "it showed neither a key nor a token",
            Self::WrongKey => "it showed another key",
            Self::Token(bad) => bad.for_operators(),
            Self::NotOpen => {
                "there is no key for this stream, and publish.open lets only this machine publish: set publish.key or \
                 streams.NAME.key"
            }
            Self::Callback => "publish.callback refused it",
            Self::CallbackDown => "publish.callback could not be asked, and publish.callback_down is \"refuse\"",
            Self::TooMany => "too many wrong guesses from its address",
            Self::Busy => "too many keys are being compared at this moment",
        }
    }

    /// Whether it counts against the address that it came from.
    pub(super) fn is_a_guess(self) -> bool {
        match self {
            Self::NoKey | Self::WrongKey | Self::Token(_) | Self::NotOpen | Self::Callback => true,
            // These are our own trouble, or have been counted.
            Self::CallbackDown | Self::TooMany | Self::Busy => false,
        }
    }
}
