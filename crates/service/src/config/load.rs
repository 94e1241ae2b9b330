//! From file, environment and `--set` to one [`Config`]: defaults ← file ← environment ← `--set`.
//!
//! [`parse`] is pure; [`load`] only reads the file for it. Every value remembers where it came from, so that an error can
//! say which of the three to mend.

use super::keys::{self, Rule, Verdict};
use super::{Config, ConfigError, Metadata, Tls};
use crate::secret::HIDDEN;
use std::collections::BTreeMap;
use std::path::Path;
use toml::{Table, Value};

/// What the names of our environment variables begin with, in whatever case.
pub const ENV_PREFIX: &str = "LIVE360_";

/// Segments that playlists list at most.
const DVR_SEGMENTS_MAX: u32 = media::window::PAST_SEGMENTS_MAX as u32;

/// Reads the file, if there is one, and merges it with the environment and the `--set` options.
pub fn load(
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
    sets: &[String],
) -> Result<Config, ConfigError> {
    let Some(path) = file else {
        return parse(None, env, sets);
    };
    let unreadable = |why: std::io::Error| ConfigError::File { path: path.to_owned(), why: why.to_string() };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(Some((path, &text)), env, sets)
}

/// Merges a file's text (with its path, for errors), the environment and the `--set` options; checks everything.
///
/// Of the environment only names that begin with [`ENV_PREFIX`] count: the rest of the name, in lower case and with each
/// `__` for a dot, is the key.
pub fn parse(
    file: Option<(&Path, &str)>,
    env: impl Iterator<Item = (String, String)>,
    sets: &[String],
) -> Result<Config, ConfigError> {
    let mut given = Given::default();
    if let Some((path, text)) = file {
        given.file(path, text)?;
    }
    // In order of name, so that the same environment always gives the same error.
    for (name, value) in env.collect::<BTreeMap<_, _>>() {
        given.env(&name, &value)?;
    }
    for set in sets {
        given.set(set)?;
    }
    given.config()
}

type Key = Vec<String>;

/// All values that were given, each by its whole key, with where it came from.
#[derive(Default)]
struct Given(BTreeMap<Key, (Value, String)>);

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
            Ok(_) if keys::rule(&key).is_some_and(Rule::wants_text) => plain(),
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
                self.0.insert(key, (value, from));
                Ok(())
            }
            Verdict::Bad(allowed) => Err(ConfigError::Value { key: name, value: shown, from, allowed }),
            Verdict::NotYet(allowed) => Err(ConfigError::NotYet { key: name, value: shown, from, allowed }),
        }
    }

    /// Puts the values over the defaults and checks what needs more than one of them.
    fn config(self) -> Result<Config, ConfigError> {
        let mut root = Table::new();
        for (key, (value, _)) in &self.0 {
            insert(&mut root, key, value.clone());
        }
        // Each value was judged by its rule, so this finds only what a rule forgot.
        let config: Config = serde_path_to_error::deserialize(Value::Table(root)).map_err(|error| {
            let key = error.path().to_string();
            self.refuse(&key, "?".to_owned(), error.inner().message().to_owned())
        })?;
        self.cross_check(&config)?;
        Ok(config)
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
        self.check_tls(config)
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
        let from = self.0.get(&path).map_or_else(|| "default".to_owned(), |(_, from)| from.clone());
        ConfigError::Value { key: key.to_owned(), value, from, allowed }
    }
}

fn unknown(key: &Key, value: &Value, from: &str) -> ConfigError {
    // A misspelt secret is still one.
    let may_be_secret = matches!(key.first().map(String::as_str), Some("streams" | "admin"));
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
