//! Tokens: JWTs (RFC 7519) that say who may publish what, and until when. Pure: a token, a name and a time go in.
//!
//! Each key that the config names belongs to one algorithm; a token whose header names another one is not ours, whatever it is
//! signed with. So a public key can never serve as the secret of HS256, and `none` is no algorithm. The claims:
//!
//! - `exp` must be there, `nbf` may: seconds since 1970; the config says how far clocks may be apart.
//! - `stream` names the streams: a name, or with `*` at its end all that begin so; or a list of these. Without it `sub` is the
//!   one stream's name, to the letter.
//! - `aud`, if there, must have the config's `publish.jwt_audience` in it.
//!
//! A token that was used is not used up: an encoder that reconnects shows it again, until it expires.

use super::Error;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use media::name::StreamName;
use serde::Deserialize;
use service::config::Publish;
use std::path::Path;

/// The longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 4096;

/// Names in the claim `stream` that are looked at.
const NAMES_MAX: usize = 100;

/// Longest file with a public key, in bytes.
const PEM_BYTES_MAX: u64 = 64 * 1024;

/// How tokens are checked.
#[derive(Debug)]
pub(super) struct Tokens {
    keys: Vec<(Algorithm, DecodingKey)>,
    audience: Option<String>,
    skew_s: u64,
}

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadToken {
    /// No token, not signed by whom we know, or not in a way that we take. Nothing in it is believed.
    Foreign,
    /// Signed, and over.
    Expired,
    /// Signed, and not yet.
    Early,
    /// Signed, for another stream or none.
    OtherStream,
    /// Signed, for somebody else than us.
    OtherAudience,
}

/// What a token says. Other claims are its maker's own.
#[derive(Debug, Deserialize)]
struct Claims {
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    stream: Option<OneOrMany>,
    #[serde(default)]
    aud: Option<OneOrMany>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Tokens {
    /// As the config says; `None` if no tokens are taken.
    pub(super) fn new(config: &Publish) -> Result<Option<Self>, Error> {
        let mut keys = Vec::new();
        if let Some(secret) = &config.jwt_secret
            && let Ok(key) = DecodingKey::from_secret(secret.expose().as_bytes())
        {
            keys.push((Algorithm::HS256, key));
        }
        if let Some(path) = &config.jwt_key {
            keys.push(read(path).map_err(|why| Error::Key { path: path.clone(), why })?);
        }
        let (audience, skew_s) = (config.jwt_audience.clone(), config.jwt_skew_s);
        Ok((!keys.is_empty()).then_some(Self { keys, audience, skew_s }))
    }

    /// Whether a token lets its bearer publish this stream at this second (UTC).
    pub(super) fn judge(&self, token: &str, name: &StreamName, now_s: u64) -> Result<(), BadToken> {
        let claims = self.claims(token).ok_or(BadToken::Foreign)?;
        let (now, skew) = (now_s as f64, self.skew_s as f64);
        // RFC 7519 section 4.1.4: on or after is over. JSON has no NaN that would compare with nothing.
        if now >= claims.exp + skew {
            return Err(BadToken::Expired);
        }
        if claims.nbf.is_some_and(|nbf| now + skew < nbf) {
            return Err(BadToken::Early);
        }
        // Section 4.1.3: who is not among those that it is meant for must refuse it.
        let meant =
            claims.aud.is_none_or(|aud| self.audience.as_ref().is_some_and(|own| aud.iter().any(|to| to == own)));
        if !meant {
            return Err(BadToken::OtherAudience);
        }
        let named = match &claims.stream {
            Some(streams) => streams.iter().any(|pattern| covers(pattern, name)),
            None => claims.sub.as_deref() == Some(name.as_str()),
        };
        if named { Ok(()) } else { Err(BadToken::OtherStream) }
    }

    /// What a token says that one of our keys has signed.
    fn claims(&self, token: &str) -> Option<Claims> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let header = decode_header(token).ok()?;
        let (algorithm, key) = self.keys.iter().find(|(algorithm, _)| *algorithm == header.alg)?;
        // The library checks the signature, and that the algorithm is this one and the key made for it; times are judged
        // above, where a test can choose them.
        let mut validation = Validation::new(*algorithm);
        (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
        validation.required_spec_claims.clear();
        decode::<Claims>(token, key, &validation).ok().map(|token| token.claims)
    }
}

impl OneOrMany {
    fn iter(&self) -> impl Iterator<Item = &String> {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many.as_slice(),
        }
        .iter()
        .take(NAMES_MAX)
    }
}

/// Whether a claim's `NAME` or `BEGINNING*` covers a stream.
fn covers(pattern: &str, name: &StreamName) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.as_str().starts_with(beginning),
        None => name.as_str() == pattern,
    }
}

/// The public key in a PEM file, with the one algorithm that it is for.
fn read(path: &Path) -> Result<(Algorithm, DecodingKey), String> {
    let size = std::fs::metadata(path).map_err(|why| why.to_string())?.len();
    if size > PEM_BYTES_MAX {
        return Err(format!("it is longer than {PEM_BYTES_MAX} bytes"));
    }
    public_key(&std::fs::read(path).map_err(|why| why.to_string())?)
}

fn public_key(pem: &[u8]) -> Result<(Algorithm, DecodingKey), String> {
    if pem.windows(PRIVATE.len()).any(|words| words == PRIVATE) {
        return Err("this is a private key: give the public one, and keep that one where tokens are made".to_owned());
    }
    let kinds = [
        (Algorithm::EdDSA, DecodingKey::from_ed_pem(pem)),
        (Algorithm::ES256, DecodingKey::from_ec_pem(pem)),
        (Algorithm::RS256, DecodingKey::from_rsa_pem(pem)),
    ];
    let known = kinds.into_iter().find_map(|(algorithm, key)| Some((algorithm, key.ok()?)));
    let bytes = |key: &DecodingKey| key.try_get_as_bytes().map_or(0, <[u8]>::len);
    let fits = known.filter(|(algorithm, key)| match algorithm {
        Algorithm::ES256 => bytes(key) == P256_BYTES,
        Algorithm::RS256 => bytes(key) >= RSA_BYTES_MIN,
        _ => true,
    });
    fits.ok_or_else(|| {
        "there is no public key of Ed25519, P-256 or RSA (2048 bits or more) in it: give a PEM file".to_owned()
    })
}

/// What private keys have in their first line.
const PRIVATE: &[u8] = b"PRIVATE KEY";

/// A point of P-256, uncompressed, in bytes. Other curves have other sizes, and other algorithms.
const P256_BYTES: usize = 65;

/// A modulus of 2048 bits in bytes; its key is a little longer.
const RSA_BYTES_MIN: usize = 256;

impl BadToken {
    /// Its reason in `live360_publish_refused_total`.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Foreign => "bad_token",
            Self::Expired => "expired_token",
            Self::Early => "early_token",
            Self::OtherStream => "token_stream",
            Self::OtherAudience => "token_audience",
        }
    }

    /// Words for the log of whoever operates the server.
    pub(super) fn for_operators(self) -> &'static str {
        match self {
            Self::Foreign => "its token is not signed with publish.jwt_secret or for publish.jwt_key, or is no token",
            Self::Expired => "its token has expired",
            Self::Early => "its token does not hold yet (claim nbf): is a clock wrong?",
            Self::OtherStream => "its token is for another stream (claim stream, else sub)",
            Self::OtherAudience => "its token is meant for somebody else (claim aud, publish.jwt_audience)",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use rcgen::KeyPair;
    use serde_json::{Value, json};
    use service::secret::Secret;
    use std::io::Write as _;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NOW: u64 = 1_800_000_000;

    fn hs(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes()).unwrap()).unwrap()
    }

    fn with_secret() -> Publish {
        Publish { jwt_secret: Some(Secret::new(SECRET)), ..Publish::default() }
    }

    fn judge(config: &Publish, token: &str, now_s: u64) -> Result<(), BadToken> {
        Tokens::new(config).unwrap().unwrap().judge(token, &"foo".parse().unwrap(), now_s)
    }

    /// A token with these claims, for the stream `foo`, with a skew of 30 s and this audience.
    fn check(claims: Value, audience: Option<&str>, expected: Result<(), BadToken>) {
        let config = Publish { jwt_audience: audience.map(str::to_owned), ..with_secret() };
        assert_eq!(judge(&config, &hs(Algorithm::HS256, SECRET, &claims), NOW), expected, "{claims} {audience:?}");
    }

    #[test]
    fn a_token_holds_between_its_times_give_or_take_the_skew() {
        use BadToken::{Early, Expired, Foreign};
        for (exp, nbf, expected) in [
            (json!(NOW + 60), json!(null), Ok(())),
            (json!(NOW - 29), json!(null), Ok(())),
            (json!(NOW - 30), json!(null), Err(Expired)),
            (json!(NOW as f64 - 29.5), json!(null), Ok(())),
            (json!(0), json!(null), Err(Expired)),
            (json!(-1e300), json!(null), Err(Expired)),
            (json!(NOW + 60), json!(NOW + 30), Ok(())),
            (json!(NOW + 60), json!(NOW + 31), Err(Early)),
            (json!(NOW + 60), json!(NOW - 999), Ok(())),
            (json!(NOW - 30), json!(NOW + 31), Err(Expired)),
            (json!("1900000000"), json!(null), Err(Foreign)),
            (json!(null), json!(null), Err(Foreign)),
            (json!(NOW + 60), json!("soon"), Err(Foreign)),
        ] {
            check(json!({ "sub": "foo", "exp": exp, "nbf": nbf }), None, expected);
        }
        check(json!({ "sub": "foo" }), None, Err(Foreign));
    }

    #[test]
    fn a_token_names_its_streams_and_only_the_claim_stream_may_say_many() {
        let other = Err(BadToken::OtherStream);
        for (claims, expected) in [
            (json!({ "sub": "foo" }), Ok(())),
            (json!({ "sub": "Foo" }), other),
            (json!({ "sub": "*" }), other),
            (json!({ "sub": "f*" }), other),
            (json!({}), other),
            (json!({ "stream": "foo", "sub": "somebody" }), Ok(())),
            (json!({ "stream": "bar", "sub": "foo" }), other),
            (json!({ "stream": "*" }), Ok(())),
            (json!({ "stream": "fo*" }), Ok(())),
            (json!({ "stream": "foo*" }), Ok(())),
            (json!({ "stream": "*oo" }), other),
            (json!({ "stream": "f*o" }), other),
            (json!({ "stream": "" }), other),
            (json!({ "stream": ["bar", "foo"] }), Ok(())),
            (json!({ "stream": ["bar"] }), other),
            (json!({ "stream": [] }), other),
            (json!({ "stream": vec!["bar"; NAMES_MAX].into_iter().chain(["foo"]).collect::<Vec<_>>() }), other),
        ] {
            let mut claims = claims;
            claims["exp"] = json!(NOW + 60);
            check(claims, None, expected);
        }
    }

    #[test]
    fn a_token_that_is_meant_for_somebody_is_for_nobody_else() {
        for (aud, audience, expected) in [
            (json!(null), None, Ok(())),
            (json!(null), Some("us"), Ok(())),
            (json!("us"), Some("us"), Ok(())),
            (json!(["them", "us"]), Some("us"), Ok(())),
            (json!("them"), Some("us"), Err(BadToken::OtherAudience)),
            (json!("us"), None, Err(BadToken::OtherAudience)),
            (json!([]), Some("us"), Err(BadToken::OtherAudience)),
        ] {
            check(json!({ "sub": "foo", "exp": NOW + 60, "aud": aud }), audience, expected);
        }
    }

    #[test]
    fn a_token_that_was_used_serves_again_until_it_expires() {
        let token = hs(Algorithm::HS256, SECRET, &json!({ "sub": "foo", "exp": NOW }));
        let tokens = Tokens::new(&with_secret()).unwrap().unwrap();
        let at = |now_s| tokens.judge(&token, &"foo".parse().unwrap(), now_s);
        assert_eq!((at(NOW), at(NOW), at(NOW + 29)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(at(NOW + 30), Err(BadToken::Expired));
    }

    /// A folder with a public key in `key.pem`, the config that names it, and the private key.
    fn with_key(pair: &KeyPair) -> (tempfile::TempDir, Publish, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        std::fs::write(&path, pair.public_key_pem()).unwrap();
        (folder, Publish { jwt_key: Some(path), ..Publish::default() }, pair.serialize_pem())
    }

    fn good() -> Value {
        json!({ "sub": "foo", "exp": NOW + 60 })
    }

    fn signed(algorithm: Algorithm, key: &EncodingKey) -> String {
        encode(&Header::new(algorithm), &good(), key).unwrap()
    }

    #[test]
    fn each_kind_of_public_key_checks_its_own_algorithm_and_no_other() {
        let ed = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let ec = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let tokens = [
            signed(Algorithm::EdDSA, &EncodingKey::from_ed_pem(ed.serialize_pem().as_bytes()).unwrap()),
            signed(Algorithm::ES256, &EncodingKey::from_ec_pem(ec.serialize_pem().as_bytes()).unwrap()),
            signed(Algorithm::RS256, &EncodingKey::from_rsa_pem(rsa.serialize_pem().as_bytes()).unwrap()),
            signed(Algorithm::RS384, &EncodingKey::from_rsa_pem(rsa.serialize_pem().as_bytes()).unwrap()),
        ];
        for (mine, pair) in [&ed, &ec, &rsa].into_iter().enumerate() {
            let (_folder, config, _) = with_key(pair);
            for (number, token) in tokens.iter().enumerate() {
                assert_eq!(judge(&config, token, NOW).is_ok(), mine == number, "token {number} for key {mine}");
            }
        }
    }

    #[test]
    fn a_public_key_is_never_a_secret_and_none_is_no_algorithm() {
        let ed = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let (_folder, only_key, private) = with_key(&ed);
        let pem = ed.public_key_pem();
        let both = Publish { jwt_secret: Some(Secret::new(SECRET)), ..only_key.clone() };
        let eddsa = signed(Algorithm::EdDSA, &EncodingKey::from_ed_pem(private.as_bytes()).unwrap());
        let hs256 = hs(Algorithm::HS256, SECRET, &good());
        assert_eq!((judge(&both, &eddsa, NOW), judge(&both, &hs256, NOW)), (Ok(()), Ok(())));
        let forged = [
            hs(Algorithm::HS256, &pem, &good()),
            hs(Algorithm::HS256, pem.trim_end(), &good()),
            hs(Algorithm::HS256, "x", &good()),
            hs(Algorithm::HS384, SECRET, &good()),
            hs(Algorithm::HS512, SECRET, &good()),
            // {"alg":"none"}, with and without a signature.
            hs256.replacen(hs256.split('.').next().unwrap(), "eyJhbGciOiJub25lIn0", 1),
            format!("eyJhbGciOiJub25lIn0.{}.", hs256.split('.').nth(1).unwrap()),
            // The header says EdDSA, the signature is the secret's.
            hs256.replacen(hs256.split('.').next().unwrap(), eddsa.split('.').next().unwrap(), 1),
            String::new(),
            "..".to_owned(),
            "x".repeat(TOKEN_BYTES_MAX + 1),
        ];
        for token in &forged {
            for config in [&only_key, &both, &with_secret()] {
                assert_eq!(judge(config, token, NOW), Err(BadToken::Foreign), "{token}");
            }
        }
        assert_eq!(judge(&only_key, &hs256, NOW), Err(BadToken::Foreign));
    }

    #[test]
    fn a_key_file_must_hold_a_public_key_that_can_be_used() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_owned();
        let mut refused = |text: &str| {
            file.as_file_mut().set_len(0).unwrap();
            std::fs::write(&path, "").unwrap();
            file.reopen().unwrap().write_all(text.as_bytes()).unwrap();
            read(&path).err().unwrap_or_default()
        };
        let pair = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        assert_eq!(refused(&pair.public_key_pem()), "");
        assert!(refused(&pair.serialize_pem()).starts_with("this is a private key"));
        for text in ["", "key", &p384.public_key_pem()] {
            assert!(refused(text).starts_with("there is no public key of Ed25519, P-256 or RSA"), "{text}");
        }
        let missing = Publish { jwt_key: Some("/nonexistent/key.pem".into()), ..Publish::default() };
        let words = "publish.jwt_key = /nonexistent/key.pem: No such file or directory (os error 2)";
        assert_eq!(Tokens::new(&missing).unwrap_err().to_string(), words);
        assert!(Tokens::new(&Publish::default()).unwrap().is_none());
    }
}
