//! Content protection: which key a segment is encrypted with, what that key is called, and what a playlist says of it.
//!
//! Nothing is kept. A key is a function of a secret, of whose it is ([`Scope`]) and of its number, and its number is one of
//! the segment's: two origins make the same bytes, and whoever has the secret can answer for any key. A key's *name* carries
//! a tag that is a function of the same: only who has seen a playlist that lists a key can ask for it, so tomorrow's key is
//! refused today by a process that knows neither streams nor clocks. The cipher itself is in `cipher`. Knows no HTTP.

mod cipher;

pub use cipher::{Sealing, sealed_len};

use crate::route::{KeyFile, Route};
use bytes::Bytes;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fmt;

/// Bytes of a key and of an initialisation vector: AES-128's block.
pub const KEY_BYTES: usize = 16;

/// Whose keys: no two of these share any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// A stream's, live and as it was recorded.
    Stream(&'a str),
    /// Those of what transcoders made of an asset.
    Made(&'a str),
}

/// What is fixed about a stream's or an asset's protection when it begins, so that it stays what it was when the config
/// changes. Holds no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Segments in a row that share a key; at least 1.
    pub every: u32,
    /// By which the secret is found again among several.
    pub mark: u64,
}

/// The secrets that keys are made from: that for what is new first, then those that older things still need.
#[derive(Clone, Default)]
pub struct Keyring(Vec<Vec<u8>>);

/// Encrypts and decrypts what belongs to one scope.
#[derive(Clone)]
pub struct Lock {
    keys: Keys,
    every: u32,
}

/// All keys of a scope.
#[derive(Clone)]
struct Keys([u8; 32]);

/// How many segments of `segment_ms` share a key that changes every `rotate_s` seconds.
pub fn every(rotate_s: u64, segment_ms: u32) -> u32 {
    let segments = rotate_s.saturating_mul(1000) / u64::from(segment_ms.max(1));
    u32::try_from(segments).unwrap_or(u32::MAX).max(1)
}

impl Keyring {
    /// These secrets, the one for what is new first.
    pub fn new<'s>(secrets: impl IntoIterator<Item = &'s str>) -> Self {
        Self(secrets.into_iter().map(|secret| secret.as_bytes().to_vec()).collect())
    }

    /// For something new whose key changes after `every` segments. `None`: there is no secret.
    pub fn lock(&self, scope: Scope<'_>, every: u32) -> Option<Lock> {
        let keys = Keys::new(self.0.first()?, scope);
        Some(Lock { keys, every: every.max(1) })
    }

    /// For something that began under these terms. `None`: its secret is not among these.
    pub fn resume(&self, scope: Scope<'_>, terms: Terms) -> Option<Lock> {
        let keys = self.0.iter().map(|secret| Keys::new(secret, scope)).find(|keys| keys.mark() == terms.mark)?;
        Some(Lock { keys, every: terms.every.max(1) })
    }

    /// The key at an address. `None`: it is no key's, or its tag is not one that any of these secrets makes.
    pub fn key(&self, route: &Route) -> Option<[u8; KEY_BYTES]> {
        let (scope, file) = match route {
            Route::Key(name, file) => (Scope::Stream(name.as_str()), file),
            // An asset that was recorded is named after its stream: `{name}-{start}`.
            Route::VodKey { asset, made: false, file } => (Scope::Stream(asset.rsplit_once('-')?.0), file),
            Route::VodKey { asset, made: true, file } => (Scope::Made(asset), file),
            _ => return None,
        };
        let keys = self.0.iter().map(|secret| Keys::new(secret, scope));
        // Whoever guesses learns nothing from how long this takes: tags are compared as whole words.
        let mut known = keys.filter(|keys| keys.tag(file.index) == file.tag);
        known.next().map(|keys| keys.key(file.index))
    }
}

impl Lock {
    /// What is to be remembered of it.
    pub fn terms(&self) -> Terms {
        Terms { every: self.every, mark: self.keys.mark() }
    }

    /// The name of a segment's key.
    pub fn key_file(&self, segment: u64) -> KeyFile {
        let index = self.index(segment);
        KeyFile { index, tag: self.keys.tag(index) }
    }

    /// Begins to encrypt a segment, or a part of it: both have the segment's key and initialisation vector (RFC 8216bis
    /// §6.2.3).
    pub fn sealing(&self, segment: u64) -> Sealing {
        Sealing::new(&self.keys.key(self.index(segment)), &iv(segment))
    }

    /// A whole segment or part, encrypted.
    pub fn seal(&self, segment: u64, plain: &[u8]) -> Bytes {
        let mut sealing = self.sealing(segment);
        let mut out = bytes::BytesMut::with_capacity(plain.len().saturating_add(KEY_BYTES));
        out.extend_from_slice(&sealing.push(plain));
        out.extend_from_slice(&sealing.finish());
        out.freeze()
    }

    /// What was encrypted as this segment. `None`: it was not.
    pub fn open(&self, segment: u64, sealed: &[u8]) -> Option<Bytes> {
        open(&self.keys.key(self.index(segment)), &iv(segment), sealed)
    }

    fn index(&self, segment: u64) -> u64 {
        segment / u64::from(self.every)
    }
}

/// The initialisation vector where EXT-X-KEY gives none: the media sequence number (RFC 8216bis §5.2).
pub fn iv(segment: u64) -> [u8; KEY_BYTES] {
    u128::from(segment).to_be_bytes()
}

/// What was encrypted with this key and initialisation vector. `None`: it was not, or it is not whole.
pub fn open(key: &[u8; KEY_BYTES], iv: &[u8; KEY_BYTES], sealed: &[u8]) -> Option<Bytes> {
    cipher::open(key, iv, sealed)
}

impl Keys {
    fn new(secret: &[u8], scope: Scope<'_>) -> Self {
        let (kind, name) = match scope {
            Scope::Stream(name) => ("stream", name),
            Scope::Made(asset) => ("made", asset),
        };
        // No name has a zero byte in it, so that no two scopes make the same text.
        Self(mac(secret, &[b"live360 protect 1\0", kind.as_bytes(), b"\0", name.as_bytes()]))
    }

    fn key(&self, index: u64) -> [u8; KEY_BYTES] {
        let whole = mac(&self.0, &[b"key\0", &index.to_be_bytes()]);
        let mut key = [0; KEY_BYTES];
        key.iter_mut().zip(whole).for_each(|(to, from)| *to = from);
        key
    }

    fn tag(&self, index: u64) -> u64 {
        self.word(&[b"name\0", &index.to_be_bytes()])
    }

    fn mark(&self) -> u64 {
        self.word(&[b"mark\0"])
    }

    fn word(&self, text: &[&[u8]]) -> u64 {
        mac(&self.0, text).iter().take(8).fold(0, |word, byte| word << 8 | u64::from(*byte))
    }
}

/// HMAC-SHA256 (RFC 2104) of these texts, one after the other.
fn mac(key: &[u8], texts: &[&[u8]]) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(key);
    let mut mac = mac.unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    texts.iter().for_each(|text| mac.update(text));
    mac.finalize().into_bytes().into()
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} hidden)", self.0.len())
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("every", &self.every).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
