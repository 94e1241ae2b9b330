//! From file, environment and `--set` to one [`Config`]: defaults ← file ← environment ← `--set`.
//!
//! [`parse`] reads nothing but the files that secrets are kept in; [`load`] reads the config's own file for it. Every value
//! remembers where it came from, so that an error can say which of the three to mend.

use super::keys::{self, Rule, Verdict};
use super::{Config, ConfigError, Metadata, Protection, Tls, Watch};
use crate::hashed::Hashed;
use crate::secret::{Files, HIDDEN, Secret};
use std::collections::BTreeMap;
use std::path::Path;
use toml::{Table, Value};

/// What the names of our environment variables begin with, in whatever case.
pub const ENV_PREFIX: &str = "LIVE360_";

/// Where systemd says which folder a service's credentials are in.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// A key for HS256 is at least as long as the hash (RFC 7518 section 3.2), in bytes.
const JWT_SECRET_BYTES_MIN: usize = 32;

/// Segments that playlists list at most.
const DVR_SEGMENTS_MAX: u32 = media::window::PAST_SEGMENTS_MAX as u32;

/// Shortest secret that keys are made from, in bytes.
const SECRET_BYTES_MIN: usize = 32;

/// A configuration, and what can't be seen in it: which secrets were given.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Every secret by its whole key.
    pub(super) secrets: BTreeMap<String, Secret>,
}

/// Reads the file, if there is one, and merges it with the environment and the `--set` options.
pub fn load(
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
    sets: &[String],
) -> Result<Config, ConfigError> {
    read(file, env, sets).map(|loaded| loaded.config)
}

/// The same, for who reads it again later and asks what changed.
pub fn read(
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
    sets: &[String],
) -> Result<Loaded, ConfigError> {
    let Some(path) = file else {
        return read_text(None, env, sets);
    };
    let unreadable = |why: std::io::Error| ConfigError::File { path: path.to_owned(), why: why.to_string() };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    read_text(Some((path, &text)), env, sets)
}

/// Merges a file's text (with its path, for errors), the environment and the `--set` options; checks everything.
///
/// Of the environment only names that begin with [`ENV_PREFIX`] count (the rest of the name, in lower case and with each
/// `__` for a dot, is the key), and the folder where systemd puts credentials.
pub fn parse(
    file: Option<(&Path, &str)>,
    env: impl Iterator<Item = (String, String)>,
    sets: &[String],
) -> Result<Config, ConfigError> {
    read_text(file, env, sets).map(|loaded| loaded.config)
}

/// [`parse`], with the secrets.
pub(super) fn read_text(
    file: Option<(&Path, &str)>,
    env: impl Iterator<Item = (String, String)>,
    sets: &[String],
) -> Result<Loaded, ConfigError> {
    let mut given = Given::default();
    if let Some((path, text)) = file {
        given.file(path, text)?;
    }
    // In order of name, so that the same environment always gives the same error.
    for (name, value) in env.collect::<BTreeMap<_, _>>() {
        if name == CREDENTIALS {
            given.secrets.credentials = Some(value.into());
        } else {
            given.env(&name, &value)?;
        }
    }
    for set in sets {
        given.set(set)?;
    }
    given.config()
}

type Key = Vec<String>;

/// All values that were given, each by its whole key, with where it came from.
#[derive(Default)]
struct Given {
    values: BTreeMap<Key, (Value, String)>,
    /// How those that are secrets are found.
    secrets: Files,
}

impl Given {
    fn file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            ConfigError::Syntax { path: path.to_owned(), line, why: error.message().to_owned() }
        })?;
        self.table(&mut Vec::new(), table, &path.display().to_string())
    }

    fn table(&mut self, key: &mut Key, table: Table, from: &str) -> Result<(), ConfigError> {
        for (name, value) in table {
            key.push(name);
            match value {
                Value::Table(inner) if keys::is_table(key) => self.table(key, inner, from)?,
                value => self.put(key.clone(), value, from)?,
            }
            key.pop();
        }
        Ok(())
    }

    fn env(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let Some((prefix, rest)) = name.split_at_checked(ENV_PREFIX.len()) else { return Ok(()) };
        if !prefix.eq_ignore_ascii_case(ENV_PREFIX) {
            return Ok(());
        }
        let key: Key = rest.to_ascii_lowercase().split("__").map(str::to_owned).collect();
        self.text(key, text, &format!("environment {name}"))
    }

    fn set(&mut self, given: &str) -> Result<(), ConfigError> {
        let bad = || ConfigError::Set { given: given.split('=').next().unwrap_or_default().to_owned() };
        let (key, text) = given.split_once('=').ok_or_else(bad)?;
        let key: Key = key.trim().split('.').map(str::to_owned).collect();
        if key.iter().any(String::is_empty) {
            return Err(bad());
        }
        self.text(key, text, "--set")
    }

    /// A value from outside TOML: read as a TOML value if it is one, else as text.
    fn text(&mut self, key: Key, text: &str, from: &str) -> Result<(), ConfigError> {
        let plain = || Value::String(text.to_owned());
        let value = match text.trim().parse::<Value>() {
            Ok(Value::String(quoted)) => Value::String(quoted),
            Ok(value) if keys::rule(&key).is_some_and(|rule| rule.wants_text(&value)) => plain(),
            Ok(value) => value,
            Err(_) => plain(),
        };
        match value {
            Value::Table(inner) if keys::is_table(&key) => self.table(&mut key.clone(), inner, from),
            value => self.put(key, value, from),
        }
    }

    /// Takes one value, if there is such a key and it may have it.
    fn put(&mut self, key: Key, value: Value, from: &str) -> Result<(), ConfigError> {
        let Some(rule) = keys::rule(&key) else {
            return Err(unknown(&key, &value, from));
        };
        let shown = if rule.is_secret() { HIDDEN.to_owned() } else { value.to_string() };
        let (name, from) = (key.join("."), from.to_owned());
        match rule.judge(&value) {
            Verdict::Good => {
                self.values.insert(key, (value, from));
                Ok(())
            }
            Verdict::Bad(allowed) => Err(ConfigError::Value { key: name, value: shown, from, allowed }),
            Verdict::NotYet(allowed) => Err(ConfigError::NotYet { key: name, value: shown, from, allowed }),
        }
    }

    /// Puts the values over the defaults and checks what needs more than one of them.
    fn config(self) -> Result<Loaded, ConfigError> {
        let (mut root, mut warnings, mut secrets) = (Table::new(), Vec::new(), BTreeMap::new());
        for (key, (value, from)) in &self.values {
            let value = match keys::rule(key).filter(|rule| rule.is_secret()) {
                Some(rule) => {
                    let secret = self.secret(key, rule, (value, from), &mut warnings)?;
                    secrets.insert(key.join("."), Secret::new(secret.to_string()));
                    secret
                }
                None => value.clone(),
            };
            insert(&mut root, key, value);
        }
        // Each value was judged by its rule, so this finds only what a rule forgot.
        let mut config: Config = serde_path_to_error::deserialize(Value::Table(root)).map_err(|error| {
            let key = error.path().to_string();
            self.refuse(&key, "?".to_owned(), error.inner().message().to_owned())
        })?;
        self.cross_check(&config)?;
        config.warnings = warnings;
        Ok(Loaded { config, secrets })
    }

    /// What a secret's key stands for: the text itself, or what is in a file; or a list of such.
    fn secret(
        &self,
        key: &Key,
        rule: Rule,
        (value, from): (&Value, &str),
        warnings: &mut Vec<String>,
    ) -> Result<Value, ConfigError> {
        if let Some(list) = value.as_array() {
            let all = list.iter().map(|value| self.secret(key, rule, (value, from), warnings));
            return Ok(Value::Array(all.collect::<Result<_, _>>()?));
        }
        let (name, from) = (key.join("."), from.to_owned());
        let read = match self.secrets.resolve(value.as_str().unwrap_or_default()) {
            Ok(read) => read,
            Err(why) => return Err(ConfigError::Secret { key: name, from, why }),
        };
        if !rule.takes_secret(&read.text) {
            return Err(ConfigError::Value { key: name, value: HIDDEN.to_owned(), from, allowed: rule.allowed() });
        }
        warnings.extend(read.warning.map(|words| format!("{name}: {words}")));
        Ok(Value::String(read.text))
    }

    fn cross_check(&self, config: &Config) -> Result<(), ConfigError> {
        let hls = &config.hls;
        if hls.part_ms > hls.segment_ms {
            let allowed = format!("at most hls.segment_ms, which is {}", hls.segment_ms);
            return Err(self.refuse("hls.part_ms", hls.part_ms.to_string(), allowed));
        }
        // RFC 8216 section 6.2.2: a live playlist holds at least three target durations.
        let least_s = hls.segment_ms.saturating_mul(3).div_ceil(1000);
        if hls.window_s < least_s {
            let allowed = format!("at least {least_s}, three times hls.segment_ms, which is {}", hls.segment_ms);
            return Err(self.refuse("hls.window_s", hls.window_s.to_string(), allowed));
        }
        let longest_s = DVR_SEGMENTS_MAX.saturating_mul(hls.segment_ms) / 1000;
        if hls.dvr_s > longest_s {
            let allowed = format!(
                "at most {longest_s}, {DVR_SEGMENTS_MAX} times hls.segment_ms, which is {}: every playlist lists them all",
                hls.segment_ms
            );
            return Err(self.refuse("hls.dvr_s", hls.dvr_s.to_string(), allowed));
        }
        let edge = &config.edge;
        if let (Some(group), None, Metadata::Off) = (&edge.target_group, &edge.target_id, &config.machine.metadata) {
            let allowed = "a target group if edge.target_id or machine.metadata (which is off) says what it knows this \
                           edge by";
            return Err(self.refuse("edge.target_group", format!("\"{group}\""), allowed.to_owned()));
        }
        self.check_publish(config)?;
        self.check_protect(config)?;
        for (name, stream) in &config.streams {
            if (stream.watch, stream.listed) == (Some(Watch::Unlisted), Some(true)) {
                let (key, watch) = (format!("streams.{name}.listed"), format!("streams.{name}.watch"));
                let allowed = format!("false, or to leave it out, since {watch} is \"unlisted\"");
                return Err(self.refuse(&key, "true".to_owned(), allowed));
            }
        }
        self.check_tls(config)
    }

    /// Keys that are hashed are hashes, and what tokens are signed with can't be guessed.
    fn check_publish(&self, config: &Config) -> Result<(), ConfigError> {
        let hidden = |key: &str, allowed: String| Err(self.refuse(key, HIDDEN.to_owned(), allowed));
        let own = config.streams.iter().map(|(name, stream)| (format!("streams.{name}.key"), stream.key.as_ref()));
        for (key, secret) in own.chain([("publish.key".to_owned(), config.publish.key.as_ref())]) {
            if let Some(Err(bad)) = secret.map(Hashed::read) {
                return hidden(&key, bad.to_string());
            }
        }
        match &config.publish.jwt_secret {
            Some(secret) if secret.expose().len() < JWT_SECRET_BYTES_MIN => hidden(
                "publish.jwt_secret",
                format!("a text of at least {JWT_SECRET_BYTES_MIN} bytes: whoever guesses it can publish everything"),
            ),
            _ => Ok(()),
        }
    }

    /// What is to be encrypted needs a secret, and a secret must not be guessed: whoever has a key could try.
    fn check_protect(&self, config: &Config) -> Result<(), ConfigError> {
        let protect = &config.protect;
        let on = |protection: Option<Protection>| protection == Some(Protection::Aes128);
        let stream = config.streams.iter().find(|(_, stream)| on(stream.protect));
        let switch = match stream {
            _ if on(Some(protect.method)) => Some("protect.method".to_owned()),
            stream => stream.map(|(name, _)| format!("streams.{name}.protect")),
        };
        if let (Some(switch), None) = (switch, &protect.secret) {
            let allowed = format!(
                "a secret, since {switch} is \"aes-128\": make one with `openssl rand -hex 32`, and give the same to all \
                 origins and transcoders, best as LIVE360_PROTECT__SECRET"
            );
            return Err(self.refuse("protect.secret", "nothing".to_owned(), allowed));
        }
        let secrets = protect.secret.iter().map(|secret| ("protect.secret", secret));
        let old = protect.old_secrets.iter().map(|secret| ("protect.old_secrets", secret));
        let short = secrets.chain(old).find(|(_, secret)| secret.expose().len() < SECRET_BYTES_MIN);
        short.map_or(Ok(()), |(key, _)| {
            let allowed = format!("{SECRET_BYTES_MIN} characters or more, as `openssl rand -hex 32` prints them");
            Err(self.refuse(key, HIDDEN.to_owned(), allowed))
        })
    }

    /// Where certificates come from must be said.
    fn check_tls(&self, config: &Config) -> Result<(), ConfigError> {
        let missing = |key: &str, allowed: &str| Err(self.refuse(key, "nothing".to_owned(), allowed.to_owned()));
        for (key, addr) in [("origin.rtmps", config.origin.rtmps), ("admin.https", config.admin.https)] {
            if let (Some(addr), Tls::Off) = (addr, config.tls) {
                let allowed = "an address where tls says which certificate to show there, and it is \"off\"";
                return Err(self.refuse(key, format!("\"{addr}\""), allowed.to_owned()));
            }
        }
        if let (Some(addr), None) = (config.admin.https, &config.admin.token) {
            let allowed = "an address where admin.token is set, since nobody else is answered there";
            return Err(self.refuse("admin.https", format!("\"{addr}\""), allowed.to_owned()));
        }
        match config.tls {
            Tls::Files if config.edge.tls_cert.is_none() => {
                missing("edge.tls_cert", "the path of a PEM file, since tls is \"files\"")
            }
            Tls::Files if config.edge.tls_key.is_none() => {
                missing("edge.tls_key", "the path of a PEM file, since tls is \"files\"")
            }
            Tls::Acme if config.acme.domains.is_empty() => {
                missing("acme.domains", "at least one name, as [\"live.example.org\"], since tls is \"acme\"")
            }
            _ => Ok(()),
        }
    }

    fn refuse(&self, key: &str, value: String, allowed: String) -> ConfigError {
        let path: Key = key.split('.').map(str::to_owned).collect();
        let from = self.values.get(&path).map_or_else(|| "default".to_owned(), |(_, from)| from.clone());
        ConfigError::Value { key: key.to_owned(), value, from, allowed }
    }
}

fn unknown(key: &Key, value: &Value, from: &str) -> ConfigError {
    // A misspelt secret is still one.
    let may_be_secret = matches!(
        key.first().map(String::as_str),
        Some("streams" | "admin" | "publish" | "hooks" | "watch" | "cluster" | "protect")
    );
    let value = if may_be_secret { HIDDEN.to_owned() } else { value.to_string() };
    let instead =
        if keys::is_table(key) { "it is a table that holds other keys".to_owned() } else { keys::instead_of(key) };
    ConfigError::Unknown { key: key.join("."), value, from: from.to_owned(), instead }
}

/// Puts a value under its whole key. Keys have rules, and no rule lies below another, so no value is in the way.
fn insert(table: &mut Table, key: &[String], value: Value) {
    match key {
        [] => {}
        [last] => {
            table.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let inner = table.entry(first.clone()).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}
