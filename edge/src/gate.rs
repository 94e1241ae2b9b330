//! Who may have what: other tiers by the secret that all share, viewers of signed streams by the token in the address.
//!
//! Decides from a request's address, headers and the time; does no waiting. What a token must be is [`media::pass`]'s. What
//! comes behind the gate knows nothing of tokens: everybody gets the same bytes under the same key, fetched once.

use http::HeaderMap;
use media::pass::{Keys, Pass, Refusal};
use media::route::{Address, Owner, Route};
use service::cluster::{Caller, Trust};
use service::config::{Config, Watch};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

/// Tokens whose signatures are remembered. Viewers beyond that cost a signature's check (some microseconds) here and there;
/// what a place holds (a token, what it grants) is less than 500 bytes.
const PLACES: usize = 4096;

/// Decides who is let in.
#[derive(Debug)]
pub(crate) struct Gate {
    trust: Trust,
    keys: Keys,
    /// Whether a token is needed for what is no stream's or whose stream has no entry of its own.
    signed: bool,
    /// The same for the others, by name.
    streams: HashMap<String, bool>,
    known: Known,
}

/// Why somebody was turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Away {
    /// He says that he is another tier, and isn't.
    Impostor,
    /// He may not watch this.
    Viewer(Refusal),
}

/// Tokens that were found to be ours. Only such get in: nobody fills it with what he made up.
#[derive(Debug)]
struct Known {
    /// Each token has one place, and the last one that came has it.
    places: Box<[Mutex<Place>]>,
    hasher: RandomState,
}

/// A token and what it grants.
type Place = Option<(Box<str>, Arc<Pass>)>;

impl Gate {
    /// As the config has it. `Err` is the key that asks for signed links while there is nothing to check them with.
    pub(crate) fn new(config: &Config) -> Result<Self, String> {
        if let Some(key) = config.signed_by().filter(|_| config.watch.secrets.is_empty()) {
            return Err(key);
        }
        let signed = |owner| config.watching(owner).0 == Watch::Signed;
        let streams = config.streams.keys().map(|name| (name.to_string(), signed(Owner::Stream(name.as_str()))));
        Ok(Self {
            trust: Trust::new(config.cluster.secret.clone()),
            keys: Keys::new(config.watch.secrets.expose()),
            signed: signed(Owner::Upload),
            streams: streams.collect(),
            known: Known::new(),
        })
    }

    /// Whether a request may have what it asks for now (Unix seconds). A token that is there must be good, also where none
    /// is needed.
    pub(crate) fn admit(
        &self,
        headers: &HeaderMap,
        address: &Address<'_>,
        route: &Route,
        now_s: u64,
    ) -> Result<(), Away> {
        match (self.trust.judge(headers), address.token) {
            (Caller::Impostor, _) => Err(Away::Impostor),
            // An edge has looked at its viewers itself.
            (Caller::Tier, _) => Ok(()),
            (Caller::Stranger, None) if self.needs_token(route) => Err(Away::Viewer(Refusal::Missing)),
            (Caller::Stranger, None) => Ok(()),
            (Caller::Stranger, Some(token)) => {
                let pass = self.known.verify(token, &self.keys).map_err(Away::Viewer)?;
                pass.admits(&address.path, now_s).map_err(Away::Viewer)
            }
        }
    }

    fn needs_token(&self, route: &Route) -> bool {
        match route.owner() {
            Owner::Nobody => false,
            Owner::Upload => self.signed,
            Owner::Stream(name) => self.streams.get(name).copied().unwrap_or(self.signed),
        }
    }
}

impl Known {
    fn new() -> Self {
        Self { places: (0..PLACES).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }

    /// What a token grants, if it is one of ours.
    fn verify(&self, token: &str, keys: &Keys) -> Result<Arc<Pass>, Refusal> {
        let hash = usize::try_from(self.hasher.hash_one(token) % PLACES as u64).unwrap_or(0);
        let Some(place) = self.places.get(hash) else { return keys.verify(token).map(Arc::new) };
        // A place is changed as a whole, so a panic elsewhere leaves nothing half done.
        let lock = || place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, pass)) = &*lock()
            && **known == *token
        {
            return Ok(Arc::clone(pass));
        }
        let pass = Arc::new(keys.verify(token)?);
        *lock() = Some((token.into(), Arc::clone(&pass)));
        Ok(pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    const NOW: u64 = 1_790_000_000;
    const SECRET: &str = "what signs links here";
    const SHARED: &str = "what the tiers share";

    fn config(sets: &[&str]) -> Config {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        service::config::parse(None, std::iter::empty(), &sets).unwrap()
    }

    fn gate() -> Gate {
        let gate = Gate::new(&config(&[
            "watch.mode=unlisted",
            &format!("watch.secrets={SECRET}"),
            &format!("cluster.secret={SHARED}"),
            "streams.shut.watch=signed",
            "streams.open.watch=open",
        ]));
        gate.unwrap()
    }

    fn shared(secret: &str) -> HeaderMap {
        HeaderMap::from_iter(Trust::new(Some(service::secret::Secret::new(secret))).header())
    }

    fn token(expires_s: u64, prefix: &str) -> String {
        Keys::new([SECRET]).sign(expires_s, prefix).unwrap()
    }

    fn ask(gate: &Gate, headers: &HeaderMap, path: &str) -> Result<(), &'static str> {
        let address = Address::read(path).unwrap();
        let route = Route::parse(&address.path).unwrap();
        gate.admit(headers, &address, &route, NOW).map_err(|away| match away {
            Away::Impostor => "impostor",
            Away::Viewer(refusal) => refusal.label(),
        })
    }

    #[track_caller]
    fn check(path: &str, expected: Result<(), &str>) {
        let gate = gate();
        // The second time it may be known.
        for _ in 0..2 {
            assert_eq!(ask(&gate, &HeaderMap::new(), path), expected, "{path}");
        }
    }

    #[test]
    fn only_what_is_signed_needs_a_token() {
        for path in ["/", "/api/streams", "/hls/open.m3u8", "/hls/other.m3u8", "/vod/film/index.m3u8"] {
            check(path, Ok(()));
        }
        check("/vod/open-20261120T172500Z/index.m3u8", Ok(()));
        for path in
            ["/hls/shut.m3u8", "/hls/shut/source/7.m4s", "/hls/shut/source/7.1.m4s", "/hls/shut/audio/index.m3u8"]
        {
            check(path, Err("missing"));
        }
        check("/vod/shut-20261120T172500Z/index.m3u8", Err("missing"));
    }

    #[test]
    fn a_token_lets_in_where_it_is_for_until_it_ends() {
        let (good, all) = (token(NOW + 60, "/hls/shut"), token(NOW + 60, "/"));
        check(&format!("/hls/~{good}/shut.m3u8"), Ok(()));
        check(&format!("/hls/~{good}/shut/source/7.1.m4s"), Ok(()));
        check(&format!("/vod/~{all}/shut-20261120T172500Z/index.m3u8"), Ok(()));
        check(&format!("/vod/~{good}/shut-20261120T172500Z/index.m3u8"), Err("other_path"));
        check(&format!("/hls/~{}/shut.m3u8", token(NOW - 5, "/hls/shut")), Err("expired"));
        check(&format!("/hls/~{good}x/shut.m3u8"), Err("damaged"));
        check(
            &format!("/hls/~{}/shut.m3u8", Keys::new(["another secret"]).sign(NOW + 60, "/").unwrap()),
            Err("not_ours"),
        );
    }

    #[test]
    fn a_token_on_an_open_stream_must_be_good_too() {
        check(&format!("/hls/~{}/open.m3u8", token(NOW + 60, "/hls/open")), Ok(()));
        check(&format!("/hls/~{}/open.m3u8", token(NOW - 60, "/hls/open")), Err("expired"));
    }

    #[test]
    fn other_tiers_are_let_in_by_their_secret() {
        let gate = gate();
        let expired = format!("/hls/~{}/shut.m3u8", token(NOW - 60, "/hls/shut"));
        for path in ["/hls/shut.m3u8", "/hls/open.m3u8", "/api/streams", &expired] {
            assert_eq!(ask(&gate, &shared(SHARED), path), Ok(()), "{path}");
            assert_eq!(ask(&gate, &shared("what others share"), path), Err("impostor"), "{path}");
        }
        let alone = Gate::new(&config(&["watch.mode=signed", &format!("watch.secrets={SECRET}")])).unwrap();
        assert_eq!(ask(&alone, &shared(SHARED), "/hls/foo.m3u8"), Err("missing"));
        assert_eq!(ask(&alone, &HeaderMap::new(), "/vod/film/index.m3u8"), Err("missing"));
    }

    #[test]
    fn a_known_token_still_ends_and_still_is_for_its_path() {
        let gate = gate();
        let good = token(NOW + 60, "/hls/shut");
        let at = |path: &str, now_s: u64| {
            let path = path.replace('~', &format!("~{good}"));
            let address = Address::read(&path).unwrap();
            gate.admit(&HeaderMap::new(), &address, &Route::parse(&address.path).unwrap(), now_s)
        };
        assert_eq!(at("/hls/~/shut.m3u8", NOW), Ok(()));
        assert_eq!(at("/hls/~/shut.m3u8", NOW + 64), Ok(()));
        assert_eq!(at("/hls/~/shut.m3u8", NOW + 65), Err(Away::Viewer(Refusal::Expired(NOW + 60))));
        assert_eq!(at("/hls/~/other.m3u8", NOW), Err(Away::Viewer(Refusal::OtherPath("/hls/shut".to_owned()))));
        assert_eq!(at("/hls/~/shut.m3u8", NOW), Ok(()));
    }

    #[test]
    fn no_more_tokens_are_known_than_there_are_places_and_each_still_counts() {
        let (known, keys) = (Known::new(), Keys::new([SECRET]));
        for number in 0..PLACES as u64 * 2 {
            let token = token(NOW + number, "/hls/shut");
            assert_eq!(known.verify(&token, &keys).unwrap().expires_s, NOW + number);
        }
        assert!(known.verify("made.up.by.somebody", &keys).is_err());
        assert_eq!(known.places.len(), PLACES);
    }

    #[test]
    fn signed_streams_need_something_to_check_links_with() {
        for (set, key) in [("watch.mode=signed", "watch.mode"), ("streams.foo.watch=signed", "streams.foo.watch")] {
            assert_eq!(Gate::new(&config(&[set])).err().as_deref(), Some(key));
        }
    }
}
