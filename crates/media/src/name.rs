//! Stream names and the key field of an encoder (`NAME?key=SECRET&proj=…`).
//!
//! Only the name is public. Knows nothing about who may publish.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Longest stream name, in characters.
pub const NAME_CHARS_MAX: usize = 64;

/// Longest key field that is looked at, in bytes. Tokens signed with RSA are long.
const KEY_BYTES_MAX: usize = 4096;

/// A stream's public name: 1–64 of `a-z A-Z 0-9 _ -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct StreamName(String);

/// Why a name was refused, in words for the broadcaster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stream name {given:?} is not allowed: use 1 to 64 of a-z A-Z 0-9 _ -")]
pub struct BadName {
    /// What was given, cut to a length that is safe to log.
    pub given: String,
}

impl StreamName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StreamName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let length = text.chars().take(NAME_CHARS_MAX + 1).count();
        if (1..=NAME_CHARS_MAX).contains(&length) && text.chars().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadName { given: text.chars().take(NAME_CHARS_MAX).collect() })
        }
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for StreamName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What an encoder put into its address and key fields. Prints its parameters' names only: a value may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct PublishKey {
    /// The public name.
    pub name: StreamName,
    /// Query parameters of the application and of the key; the key's win. Values are percent-decoded.
    pub params: BTreeMap<String, String>,
}

impl PublishKey {
    /// Reads `NAME?a=b` from the key field and further parameters from `app?c=d`.
    pub fn parse(app: &str, key: &str) -> Result<Self, BadName> {
        if key.len() > KEY_BYTES_MAX {
            return Err(bad_name(key));
        }
        let (name, query) = key.split_once('?').unwrap_or((key, ""));
        let mut params = BTreeMap::new();
        if let Some((_, app_query)) = app.split_once('?') {
            params.extend(pairs(app_query));
        }
        params.extend(pairs(query));
        Ok(Self { name: name.parse().map_err(|_| bad_name(name))?, params })
    }
}

impl fmt::Debug for PublishKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}?{}", self.name, self.params.keys().cloned().collect::<Vec<_>>().join("&"))
    }
}

/// A key field's name as far as it looks like one: behind a `&` or `/` there may be a secret whose `?` is missing.
fn bad_name(key: &str) -> BadName {
    let name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
    let beginning = key.chars().take_while(|c| name(*c)).count();
    BadName { given: key.chars().take(beginning + 1).take(NAME_CHARS_MAX).collect() }
}

/// The application without its query and slashes: `/live/?x=y` is `live`.
pub fn application(app: &str) -> &str {
    app.split_once('?').map_or(app, |(path, _)| path).trim_matches('/')
}

fn pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key), decode(value))
    })
}

/// Percent-decodes; bytes that are no UTF-8 become the replacement character.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        let hex = |b: u8| char::from(b).to_digit(16);
        if let (b'%', [a, b, after @ ..]) = (first, tail)
            && let (Some(high), Some(low)) = (hex(*a), hex(*b))
        {
            out.push((high * 16 + low) as u8);
            rest = after;
            continue;
        }
        out.push(first);
        rest = tail;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_1_to_64_plain_characters() {
        for good in ["a", "foo", "Foo_1-b", &"x".repeat(64)] {
            assert!(good.parse::<StreamName>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "é", "..", "a.b", &"x".repeat(65)] {
            assert!(bad.parse::<StreamName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn queries_of_application_and_key_are_both_read_and_the_key_wins() {
        let key = PublishKey::parse("live?key=app&proj=equirect", "foo?key=a%20b&x").unwrap();
        assert_eq!(key.name.as_str(), "foo");
        assert_eq!(key.params["key"], "a b");
        assert_eq!(key.params["proj"], "equirect");
        assert_eq!(key.params["x"], "");
    }

    #[test]
    fn what_may_be_secret_is_never_shown() {
        for (app, key) in
            [("live", "foo&key=hunter2"), ("live?key=hunter2", "a b"), ("live", &"é?key=hunter2".repeat(400))]
        {
            let error = PublishKey::parse(app, key).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert_eq!(PublishKey::parse("live", "foo&key=hunter2").unwrap_err().given, "foo&");
        let key = PublishKey::parse("live?token=hunter2", "foo?key=hunter2&proj=x").unwrap();
        assert_eq!(format!("{key:?}"), "foo?key&proj&token");
    }

    #[test]
    fn applications_lose_slashes_and_queries() {
        assert_eq!(application("/live/?x=1"), "live");
        assert_eq!(application("live"), "live");
    }

    #[test]
    fn broken_escapes_stay_as_they_are() {
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz%41"), "%zzA");
    }
}
