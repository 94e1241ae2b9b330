//! Watch tokens: who has a link may see this and nothing else, until then and no longer.
//!
//! A token is `1.EXPIRES.PREFIX.MAC`: Unix seconds in decimal; the path that is granted, in base64url; HMAC-SHA256 of
//! `live360:1:EXPIRES:path` by a secret, in base64url, both without padding. There is one way to write each, so that a
//! token is one text. Pure: secrets and the time are arguments. Where a token stands in an address is [`crate::route`]'s
//! matter, who needs one the edge's. `tests/fixtures/tokens.json` holds cases for other implementations of this.

use crate::hls::date;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use std::fmt;

/// Longest token that is looked at, in bytes: what is longer is none of ours.
pub const TOKEN_BYTES_MAX: usize = 256;

/// Longest path that is granted, in bytes before it is encoded.
pub const PREFIX_BYTES_MAX: usize = 128;

/// Most digits of an expiry: until the year 33658, and a number that JavaScript can hold.
const EXPIRES_DIGITS_MAX: usize = 12;

/// How long a token is still taken after its expiry, in seconds: so far ahead may the clock of whoever checks it be.
pub const FAST_CLOCK_S: u64 = 5;

/// Length of a MAC: no shorter one is taken.
const MAC_BYTES: usize = 32;

/// The only version there is.
const VERSION: &str = "1";

/// What is signed begins with this, so that the same secret can sign other things without one passing for another.
const CONTEXT: &str = "live360:1:";

/// Secrets: the first signs, and what any of them signed is good.
#[derive(Clone, Default)]
pub struct Keys(Vec<Hmac<Sha256>>);

/// What a token grants, once its MAC was found right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// When it ends, in Unix seconds.
    pub expires_s: u64,
    /// The path that is granted.
    pub prefix: String,
}

/// Why somebody may not watch, in words for him.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No token where one is needed.
    #[error("this can be watched by a signed link only: ask whoever sent you here for one")]
    Missing,
    /// No token at all, or not written as one must be.
    #[error("this link is damaged: {0}. Copy it again, as a whole")]
    Damaged(&'static str),
    /// Nobody whom we know signed it.
    #[error("this link was not signed by this server, or was changed on its way")]
    NotOurs,
    /// It is past its time.
    #[error("this link has expired: it was good until {}. Ask for a new one", moment(*.0))]
    Expired(
        /// In Unix seconds.
        u64,
    ),
    /// It is for something else.
    #[error("this link is for {0:?}, not for what is asked for here")]
    OtherPath(
        /// What it grants.
        String,
    ),
}

/// Why nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotSign {
    /// A path that can't be granted.
    #[error("{0:?} can't be granted: a path begins with / and has at most {PREFIX_BYTES_MAX} bytes")]
    Prefix(String),
    /// A time that can't be written.
    #[error("{0} is too far in the future")]
    Expiry(u64),
    /// Nothing to sign with.
    #[error("there is no secret to sign with")]
    NoSecret,
}

impl Refusal {
    /// A name from a fixed set, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Damaged(_) => "damaged",
            Self::NotOurs => "not_ours",
            Self::Expired(_) => "expired",
            Self::OtherPath(_) => "other_path",
        }
    }
}

impl Keys {
    /// Takes secrets, the one that signs first.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        // HMAC takes keys of any length, so none is refused.
        Self(secrets.into_iter().filter_map(|secret| Hmac::new_from_slice(secret.as_bytes()).ok()).collect())
    }

    /// Makes a token that grants `prefix` until `expires_s` (Unix seconds).
    pub fn sign(&self, expires_s: u64, prefix: &str) -> Result<String, CannotSign> {
        if !prefix.starts_with('/') || prefix.len() > PREFIX_BYTES_MAX {
            return Err(CannotSign::Prefix(prefix.chars().take(PREFIX_BYTES_MAX).collect()));
        }
        let expires = expires_s.to_string();
        if expires.len() > EXPIRES_DIGITS_MAX {
            return Err(CannotSign::Expiry(expires_s));
        }
        let key = self.0.first().ok_or(CannotSign::NoSecret)?;
        let mac = feed(key, &expires, prefix).finalize().into_bytes();
        let [prefix, mac] = [prefix.as_bytes(), &mac].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        Ok(format!("{VERSION}.{expires}.{prefix}.{mac}"))
    }

    /// Reads a token and checks its MAC; not its time and its path. Takes the same time wherever a MAC is wrong.
    pub fn verify(&self, token: &str) -> Result<Pass, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Damaged("its token is too long"));
        }
        let [version, expires, prefix, mac] = token.split('.').collect::<Vec<_>>()[..] else {
            return Err(Refusal::Damaged("its token is not of four pieces"));
        };
        if version != VERSION {
            return Err(Refusal::Damaged("its token is of a version that this server does not know"));
        }
        let expires_s = read_expires(expires).ok_or(Refusal::Damaged("its token has no time that it ends at"))?;
        let prefix = read_prefix(prefix).ok_or(Refusal::Damaged("its token has no path that it is for"))?;
        // Strict: no padding, no other alphabet, no bits left over.
        let mac = URL_SAFE_NO_PAD.decode(mac).ok().filter(|mac| mac.len() == MAC_BYTES);
        let mac = mac.ok_or(Refusal::Damaged("its token has no signature"))?;
        let is_of = |key: &Hmac<Sha256>| feed(key, expires, &prefix).verify_slice(&mac).is_ok();
        if self.0.iter().any(is_of) { Ok(Pass { expires_s, prefix }) } else { Err(Refusal::NotOurs) }
    }
}

impl Pass {
    /// Whether this path (without a token) may be seen now (Unix seconds).
    pub fn admits(&self, path: &str, now_s: u64) -> Result<(), Refusal> {
        if now_s >= self.expires_s.saturating_add(FAST_CLOCK_S) {
            return Err(Refusal::Expired(self.expires_s));
        }
        let rest = path.strip_prefix(&self.prefix);
        // A name goes on until `/` or `.`: foo is not foobar.
        let within =
            rest.is_some_and(|rest| rest.is_empty() || self.prefix.ends_with('/') || rest.starts_with(['/', '.']));
        if within { Ok(()) } else { Err(Refusal::OtherPath(self.prefix.clone())) }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

fn feed(key: &Hmac<Sha256>, expires: &str, prefix: &str) -> Hmac<Sha256> {
    let mut mac = key.clone();
    for piece in [CONTEXT, expires, ":", prefix] {
        mac.update(piece.as_bytes());
    }
    mac
}

fn read_expires(text: &str) -> Option<u64> {
    let digits = (1..=EXPIRES_DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = digits && (text == "0" || !text.starts_with('0'));
    canonical.then(|| text.parse().ok()).flatten()
}

fn read_prefix(text: &str) -> Option<String> {
    let prefix = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    (prefix.starts_with('/') && prefix.len() <= PREFIX_BYTES_MAX).then_some(prefix)
}

/// A time in Unix seconds, to the second.
fn moment(seconds: u64) -> String {
    date(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000)).replace(".000Z", "Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Address;
    use proptest::prelude::*;

    const NOW: u64 = 1_790_000_000;

    /// What comes of a request for this path, which needs a token.
    fn judge(keys: &Keys, uri: &str, now_s: u64) -> Result<String, Refusal> {
        let address = Address::read(uri).ok_or(Refusal::Damaged("no address"))?;
        keys.verify(address.token.ok_or(Refusal::Missing)?)?.admits(&address.path, now_s)?;
        Ok(address.path.into_owned())
    }

    #[test]
    fn the_cases_for_every_implementation_hold() {
        let text = include_str!("../../../tests/fixtures/tokens.json");
        let all: serde_json::Value = serde_json::from_str(text).unwrap();
        let keys = Keys::new(all["secrets"].as_array().unwrap().iter().map(|secret| secret.as_str().unwrap()));
        let cases = all["cases"].as_array().unwrap();
        for case in cases {
            let verdict = judge(&keys, case["uri"].as_str().unwrap(), case["now"].as_u64().unwrap());
            assert_eq!(verdict.as_deref().ok(), case["bare"].as_str(), "{}: {verdict:?}", case["what"]);
            assert_eq!(verdict.is_ok(), case["allow"].as_bool().unwrap(), "{}", case["what"]);
        }
        assert!(cases.len() >= 20);
    }

    /// A token by the second of two secrets, as one by the second alone: what a rotation leaves.
    fn keys() -> (Keys, Keys) {
        (Keys::new(["the first of two secrets", "the second of two secrets"]), Keys::new(["the second of two secrets"]))
    }

    #[track_caller]
    fn check(expires_s: u64, prefix: &str, path: &str, expected: Result<(), &str>) {
        let (both, second) = keys();
        for signer in [&both, &second] {
            let token = signer.sign(expires_s, prefix).unwrap();
            let verdict = both.verify(&token).and_then(|pass| pass.admits(path, NOW));
            assert_eq!(
                verdict.map_err(|refusal| refusal.to_string()),
                expected.map_err(str::to_owned),
                "{prefix} {path}"
            );
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        check(NOW + 1, "/hls/foo", "/hls/foo/960w/7.m4s", Ok(()));
        check(NOW - 4, "/hls/foo", "/hls/foo.m3u8", Ok(()));
        let words = "this link has expired: it was good until 2026-09-21T14:13:15Z. Ask for a new one";
        check(NOW - 5, "/hls/foo", "/hls/foo.m3u8", Err(words));
        let words = "this link is for \"/hls/foo\", not for what is asked for here";
        check(NOW + 1, "/hls/foo", "/hls/foobar.m3u8", Err(words));
    }

    #[test]
    fn a_secret_that_is_no_longer_listed_signs_nothing() {
        let (both, second) = keys();
        let token = both.sign(NOW, "/hls/foo").unwrap();
        assert_eq!(second.verify(&token), Err(Refusal::NotOurs));
        assert_eq!(Keys::default().verify(&token), Err(Refusal::NotOurs));
        assert_eq!(format!("{both:?}"), "Keys(2)");
    }

    #[test]
    fn what_could_not_be_read_is_not_signed() {
        let keys = Keys::new(["a secret"]);
        for prefix in ["", "hls/foo", &format!("/{}", "a".repeat(PREFIX_BYTES_MAX))] {
            assert!(matches!(keys.sign(NOW, prefix), Err(CannotSign::Prefix(_))), "{prefix}");
        }
        assert_eq!(keys.sign(1_000_000_000_000, "/"), Err(CannotSign::Expiry(1_000_000_000_000)));
        assert_eq!(Keys::default().sign(NOW, "/"), Err(CannotSign::NoSecret));
        let longest = keys.sign(999_999_999_999, &format!("/{}", "é".repeat(63))).unwrap();
        assert!(longest.len() <= TOKEN_BYTES_MAX && keys.verify(&longest).is_ok(), "{longest}");
    }

    proptest! {
        #[test]
        fn what_is_signed_verifies_as_what_it_was(expires_s in 0..999_999_999_999_u64, prefix in "/[ -~é]{0,60}") {
            let (keys, _) = keys();
            let token = keys.sign(expires_s, &prefix).unwrap();
            prop_assert_eq!(keys.verify(&token), Ok(Pass { expires_s, prefix }));
        }

        #[test]
        fn no_text_but_the_signed_one_verifies(token in "[ -~]{0,300}", at in 0..200_usize, to in "[ -~é]") {
            let (keys, _) = keys();
            prop_assert!(keys.verify(&token).is_err());
            let good = keys.sign(NOW, "/hls/foo").unwrap();
            let at = at % good.len();
            let changed = format!("{}{to}{}", &good[..at], &good[at + 1..]);
            prop_assert_eq!(keys.verify(&changed).is_ok(), changed == good);
        }
    }
}
