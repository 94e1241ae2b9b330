//! A stream's key as the config may keep it: as it is, or hashed, so that who reads the config can't publish.
//!
//! Pure but for randomness. Keys that [`random_key`] made are too long to be guessed, so one round of SHA-256 hides them;
//! what people think up needs Argon2id, which takes its time on purpose: compare those away from async threads.

use crate::secret::{Secret, same};
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Argon2, Params};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Longest key that is compared, in bytes; longer ones are wrong.
pub const KEY_BYTES_MAX: usize = 512;

/// Of a key that we make, in bytes: 256 bits.
const RANDOM_BYTES: usize = 32;

/// Of the salt of a hash that we make, in bytes (RFC 9106 section 3.1).
const SALT_BYTES: usize = 16;

/// Most memory that one comparison may take, in KiB: 64 MiB.
const MEMORY_KIB_MAX: u32 = 64 * 1024;

/// Most passes over that memory.
const PASSES_MAX: u32 = 10;

/// Most lanes.
const LANES_MAX: u32 = 4;

/// What a hash begins with.
const FAST: &str = "sha256:";
const SLOW: &str = "$";

/// A key as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum Hashed {
    /// As it is.
    Plain(Secret),
    /// Its SHA-256.
    Fast([u8; 32]),
    /// Its Argon2id, as a PHC string.
    Slow(String),
}

/// Why what looks like a hash is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHash {
    /// Not 64 hexadecimal digits.
    #[error("\"sha256:\" and 64 hexadecimal digits, as `live360 key` prints it")]
    Fast,
    /// Not a PHC string of Argon2id, or one that takes too much.
    #[error(
        "\"$argon2id$v=19$m=…,t=…,p=…$SALT$HASH\", as `live360 key --own` prints it, with m of at most {MEMORY_KIB_MAX}, t of \
         at most {PASSES_MAX} and p of at most {LANES_MAX}; a key that is no hash begins with neither \"$\" nor \"sha256:\""
    )]
    Slow,
}

/// No randomness, or no memory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("can't make a key: {0}")]
pub struct NotMade(String);

impl Hashed {
    /// What a secret of the config is.
    pub fn read(secret: &Secret) -> Result<Self, BadHash> {
        let text = secret.expose();
        if let Some(digits) = text.strip_prefix(FAST) {
            return from_hex(digits).map(Self::Fast).ok_or(BadHash::Fast);
        }
        if !text.starts_with(SLOW) {
            return Ok(Self::Plain(secret.clone()));
        }
        let phc = PasswordHash::new(text).map_err(|_| BadHash::Slow)?;
        let params = Params::try_from(&phc).map_err(|_| BadHash::Slow)?;
        let known = phc.algorithm.as_str() == "argon2id" && phc.version == Some(19);
        let whole = phc.salt.is_some() && phc.hash.is_some();
        let bounded =
            params.m_cost() <= MEMORY_KIB_MAX && params.t_cost() <= PASSES_MAX && params.p_cost() <= LANES_MAX;
        if known && whole && bounded { Ok(Self::Slow(text.to_owned())) } else { Err(BadHash::Slow) }
    }

    /// Whether comparing takes tens of milliseconds and megabytes.
    pub fn is_slow(&self) -> bool {
        matches!(self, Self::Slow(_))
    }

    /// Whether `given` is the key. Takes the same time wherever the two differ.
    pub fn matches(&self, given: &str) -> bool {
        if given.len() > KEY_BYTES_MAX {
            return false;
        }
        match self {
            Self::Plain(secret) => secret.matches(given),
            Self::Fast(digest) => same(digest, &Sha256::digest(given.as_bytes())),
            Self::Slow(phc) => PasswordHash::new(phc)
                .is_ok_and(|phc| Argon2::default().verify_password(given.as_bytes(), &phc).is_ok()),
        }
    }
}

impl fmt::Debug for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "plain",
            Self::Fast(_) => "sha256",
            Self::Slow(_) => "argon2id",
        })
    }
}

/// A key that nobody can guess, of characters that need no escaping in a URL.
pub fn random_key() -> Result<String, NotMade> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letter = |byte: u8| LETTERS.get(usize::from(byte & 63)).copied().unwrap_or_default();
    // Six of eight bits each, so there are as many bytes more.
    random::<{ RANDOM_BYTES * 8 / 6 + 1 }>().map(|bytes| bytes.map(|byte| char::from(letter(byte))).iter().collect())
}

/// The hash of a key that [`random_key`] made.
pub fn fast(key: &str) -> String {
    format!("{FAST}{}", hex(&Sha256::digest(key.as_bytes())))
}

/// The hash of a key that somebody thought up.
pub fn slow(key: &str) -> Result<String, NotMade> {
    let salt = random::<SALT_BYTES>()?;
    let hash: Result<PasswordHash, _> = Argon2::default().hash_password_with_salt(key.as_bytes(), &salt);
    hash.map(|hash| hash.to_string()).map_err(|why| NotMade(why.to_string()))
}

/// Bytes that nobody can guess.
pub fn random<const N: usize>() -> Result<[u8; N], NotMade> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NotMade("the system gives no random numbers".to_owned()))?;
    Ok(bytes)
}

/// In lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    /// Without its hash.
    const CUT_OFF: &str = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ";

    fn read(text: &str) -> Result<Hashed, BadHash> {
        Hashed::read(&Secret::new(text))
    }

    fn check(kept: &str, given: &str, expected: bool) {
        assert_eq!(read(kept).unwrap().matches(given), expected, "{given} against {kept}");
    }

    #[test]
    fn a_key_is_compared_with_what_is_kept_of_it() {
        let slow = slow("abc").unwrap();
        for kept in ["abc", ABC, &ABC.to_uppercase().replace("SHA", "sha"), &slow] {
            check(kept, "abc", true);
            for wrong in ["", "ab", "abcd", "ABC", ABC, &slow] {
                check(kept, wrong, false);
            }
        }
        let long = "x".repeat(KEY_BYTES_MAX + 1);
        check(&fast(&long), &long, false);
    }

    #[test]
    fn what_looks_like_a_hash_must_be_one() {
        let digits = ABC.strip_prefix(FAST).unwrap();
        for bad in ["sha256:", "sha256:abc", &format!("sha256:{digits}0"), &format!("sha256:+{}", &digits[1..])] {
            assert_eq!(read(bad), Err(BadHash::Fast), "{bad}");
        }
        let good = slow("abc").unwrap();
        assert!(read(&good).unwrap().is_slow());
        for bad in [
            "$",
            "$argon2id$",
            CUT_OFF,
            &good.replace("argon2id", "argon2i"),
            &good.replace("v=19", "v=16"),
            &good.replace("m=19456", "m=65537"),
            &good.replace("t=2", "t=11"),
            &good.replace("p=1", "p=5"),
            "$2b$12$abcdefghijklmnopqrstuv",
        ] {
            assert_eq!(read(bad), Err(BadHash::Slow), "{bad}");
        }
    }

    #[test]
    fn keys_that_are_made_differ_and_fit_into_a_url() {
        let (one, other) = (random_key().unwrap(), random_key().unwrap());
        assert!(one != other && one.len() == 43, "{one}");
        assert!(one.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_')), "{one}");
        check(&fast(&one), &one, true);
        assert!(slow("abc").unwrap() != slow("abc").unwrap(), "each hash has a salt of its own");
    }

    #[test]
    fn what_is_kept_never_prints() {
        for kept in ["hunter2", ABC, &slow("abc").unwrap()] {
            let shown = format!("{:?}", read(kept).unwrap());
            assert!(!shown.contains("hunter2") && !shown.contains("ba78") && !shown.contains('$'), "{shown}");
        }
    }
}
