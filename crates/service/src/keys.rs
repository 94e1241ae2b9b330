//! Keys of protected streams and assets, as answers: 16 bytes to whoever knows a key's name.
//!
//! Which names are right is [`media::protect`]'s to say. That they can't be guessed keeps the keys of segments that are not
//! listed yet from whoever asks; nothing is looked up. Who may see the playlists that name them is not known here.

use crate::http::{Body, Content};
use bytes::Bytes;
use http::Response;
use http::request::Parts;
use media::protect::Keyring;
use media::route::Route;
use metrics::counter;

/// Keys stay with whoever asked: a cache that they pass through must not give them to others.
pub const CACHE: &str = "private, no-store";

/// What a key is told to be.
const TYPE: &str = "application/octet-stream";

/// The key at an address, if these secrets make it.
pub fn answer(keyring: &Keyring, route: &Route, request: &Parts) -> Option<Response<Body>> {
    let key = keyring.key(route)?;
    counter!("live360_keys_given_total").increment(1);
    Some(Content::full(TYPE, CACHE, Bytes::copy_from_slice(&key)).answer(request))
}
