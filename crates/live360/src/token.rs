//! `live360 token`: an address in, the same with a token in it out.
//!
//! Knows how people write addresses: a path, a URL, or the watch page's with the playlist in its query. What a token is, and
//! where it stands, is `media`'s.

use crate::cli::{self, Token};
use anyhow::{Context as _, bail};
use media::pass::{Keys, Pass};
use media::route::{Address, Route};
use percent_encoding::percent_decode_str;
use service::config::{Config, Watch};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Prints the address with a token in it.
pub(crate) fn run(options: &Token) -> anyhow::Result<ExitCode> {
    let config = service::config::load(options.config.config.as_deref(), crate::environment(), &options.config.set)?;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).context("this machine's clock is before 1970")?.as_secs();
    let expires_s = now_s.saturating_add(options.expires_in.as_secs());
    match sign(&options.address, options.prefix.as_deref(), expires_s, &config) {
        Ok(Signed { address, needless }) => {
            // Who gives the secret alone need not tell who may watch.
            if needless && options.config.config.is_some() {
                eprintln!(
                    "live360: by this configuration it can be watched without a token, too (watch.mode, streams.NAME.watch)"
                );
            }
            // Whoever closed the pipe has read enough.
            let _ = writeln!(std::io::stdout(), "{address}");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("live360: {error:#}");
            Ok(ExitCode::from(crate::WRONG_USAGE))
        }
    }
}

/// What comes of it.
#[derive(Debug, PartialEq, Eq)]
struct Signed {
    address: String,
    /// Whether anybody may watch without it.
    needless: bool,
}

fn sign(address: &str, prefix: Option<&str>, expires_s: u64, config: &Config) -> anyhow::Result<Signed> {
    let keys = Keys::new(config.watch.secrets.expose());
    let (before, target) = split(address);
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let unknown = || anyhow::anyhow!("{address} has no playlist in it: {}", cli::TOKEN_ADDRESSES);
    let one = |path: &str| {
        let given = Address::read(path).with_context(unknown)?;
        let route = Route::parse(&given.path).with_context(unknown)?;
        let whole = route.whole().with_context(unknown)?;
        let prefix = prefix.unwrap_or(&whole);
        let pass = Pass { expires_s, prefix: prefix.to_owned() };
        if pass.admits(&given.path, 0).is_err() {
            bail!("--prefix {prefix} does not grant {}: {whole} does", given.path);
        }
        if config.watch.secrets.is_empty() {
            bail!(
                "watch.secrets = nothing: give this command the secret that edges check links with, by --config FILE or the \
                   environment (LIVE360_WATCH__SECRETS)"
            );
        }
        let token = keys.sign(expires_s, prefix)?;
        let needless = config.watching(route.owner()).0 != Watch::Signed;
        Ok((route.with_token(&token).with_context(unknown)?, needless))
    };
    if Route::parse(path) != Some(Route::Page) {
        let (path, needless) = one(path)?;
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        return Ok(Signed { address: format!("{before}{path}{query}"), needless });
    }
    // The watch page: the playlist stands in its query, and all else there stays as it is.
    let (mut pairs, mut found) = (Vec::new(), None);
    for pair in query.unwrap_or_default().split('&') {
        match pair.strip_prefix("url=") {
            Some(playlist) => {
                let playlist = percent_decode_str(playlist).decode_utf8().with_context(unknown)?;
                let (before, path) = split(&playlist);
                let (path, needless) = one(path)?;
                found = Some(needless);
                pairs.push(format!("url={before}{path}"));
            }
            None => pairs.push(pair.to_owned()),
        }
    }
    let needless = found.with_context(unknown)?;
    Ok(Signed { address: format!("{before}{path}?{}", pairs.join("&")), needless })
}

/// `https://host` and what comes behind it; nothing before a path.
fn split(address: &str) -> (&str, &str) {
    let Some((scheme, rest)) = address.split_once("://") else { return ("", address) };
    let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    address.split_at((scheme.len() + 3 + host).min(address.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPIRES: u64 = 1_790_000_000;

    fn config(sets: &[&str]) -> Config {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        service::config::parse(None, std::iter::empty(), &sets).unwrap()
    }

    const SECRETS: &str = "watch.secrets=[\"what signs links now\", \"what signed them before\"]";

    /// An address in, the one that comes out with TOKEN for its token, and what that grants.
    #[track_caller]
    fn check(address: &str, prefix: Option<&str>, expected: &str, granted: &str) {
        let config = config(&[SECRETS, "watch.mode=signed"]);
        let Signed { address, needless } = sign(address, prefix, EXPIRES, &config).unwrap();
        let token = address.split('~').nth(1).unwrap().split('/').next().unwrap();
        assert_eq!((address.replace(token, "TOKEN").as_str(), needless), (expected, false));
        let pass = Keys::new(["what signs links now"]).verify(token);
        assert_eq!(pass, Ok(Pass { expires_s: EXPIRES, prefix: granted.to_owned() }));
    }

    #[test]
    fn addresses_get_a_token_as_people_write_them() {
        check("/hls/foo.m3u8", None, "/hls/~TOKEN/foo.m3u8", "/hls/foo");
        check("/hls/foo/960w/index.m3u8", None, "/hls/~TOKEN/foo/960w/index.m3u8", "/hls/foo");
        check("https://a.b:8443/hls/foo.m3u8?x=1", None, "https://a.b:8443/hls/~TOKEN/foo.m3u8?x=1", "/hls/foo");
        let asset = "/vod/foo-20261120T172500Z";
        check(&format!("{asset}/index.m3u8"), None, "/vod/~TOKEN/foo-20261120T172500Z/index.m3u8", asset);
        check("/hls/foo.m3u8", Some("/"), "/hls/~TOKEN/foo.m3u8", "/");
        let page = "https://a.b/?yaw=9&url=/hls/~TOKEN/foo.m3u8&proj=hequ";
        check("https://a.b/?yaw=9&url=/hls/foo.m3u8&proj=hequ", None, page, "/hls/foo");
        check("https://a.b/?yaw=9&url=%2Fhls%2Ffoo.m3u8&proj=hequ", None, page, "/hls/foo");
        let elsewhere = "http://a/?url=https://b/hls/~TOKEN/foo.m3u8";
        check("http://a/?url=https://b/hls/foo.m3u8", None, elsewhere, "/hls/foo");
    }

    #[test]
    fn an_address_that_has_a_token_gets_a_new_one() {
        check("/hls/~1.2.3.4/foo.m3u8", None, "/hls/~TOKEN/foo.m3u8", "/hls/foo");
        check("http://a/?url=/hls/~1.2.3.4/foo.m3u8", None, "http://a/?url=/hls/~TOKEN/foo.m3u8", "/hls/foo");
    }

    #[track_caller]
    fn check_refusal(address: &str, prefix: Option<&str>, sets: &[&str], words: &str) {
        let error = sign(address, prefix, EXPIRES, &config(sets)).unwrap_err().to_string();
        assert!(error.contains(words), "{address}: {error}");
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        for nonsense in [
            "",
            "foo",
            "/hls/foo",
            "/hls/foo.m3u9",
            "/hls/../x.m3u8",
            "/vod/x",
            "/",
            "https://a.b",
            "https://a.b/",
            "/?url=",
            "/?url=/api/streams",
            "/api/streams",
            "/?x=/hls/foo.m3u8",
            "/?url=javascript:x",
        ] {
            check_refusal(nonsense, None, &[SECRETS], &format!("{nonsense} has no playlist in it: "));
        }
        let words = "--prefix /hls/bar does not grant /hls/foo.m3u8: /hls/foo does";
        check_refusal("/hls/foo.m3u8", Some("/hls/bar"), &[SECRETS], words);
        check_refusal("/hls/foo.m3u8", Some("/hls/fo"), &[SECRETS], "does not grant");
        check_refusal("/hls/foo.m3u8", None, &[], "watch.secrets = nothing: ");
    }

    #[test]
    fn it_is_told_when_a_link_is_not_needed() {
        let needless = |sets: &[&str]| sign("/hls/foo.m3u8", None, EXPIRES, &config(sets)).unwrap().needless;
        assert!(needless(&[SECRETS]) && needless(&[SECRETS, "streams.bar.watch=signed"]));
        assert!(!needless(&[SECRETS, "streams.foo.watch=signed"]));
    }
}
