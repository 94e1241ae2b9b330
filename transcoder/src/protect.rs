//! Which assets are to be protected, and with what. Pure.
//!
//! That is decided when a job is planned and stands in its plan, so that all workers make the same bytes, and whatever the
//! config says later. A recording that was protected when it was made stays so.

use crate::plan::Plan;
use crate::planning::SEGMENT_MS;
use crate::trouble::{Step, Trouble, fault};
use bytes::Bytes;
use media::name::StreamName;
use media::protect::{Keyring, Lock, Scope, Terms, every};
use service::config::{Config, Protection};
use std::collections::BTreeMap;

/// What the config says of protection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Protecting {
    keyring: Keyring,
    rotate_s: u64,
    method: Protection,
    /// Streams that have their own.
    streams: BTreeMap<StreamName, Protection>,
}

impl Protecting {
    pub(crate) fn new(config: &Config) -> Self {
        let own = |(name, stream): (&StreamName, &service::config::Stream)| Some((name.clone(), stream.protect?));
        Self {
            keyring: config.protect.keyring(),
            rotate_s: config.protect.rotate_s,
            method: config.protect.method,
            streams: config.streams.iter().filter_map(own).collect(),
        }
    }

    /// How an asset of this name is to be protected, if it is; it may be that what was recorded of it is.
    pub(crate) fn terms(&self, asset: &str, name: &str, recorded: bool) -> Step<Option<Terms>> {
        let own = name.parse().ok().and_then(|name: StreamName| self.streams.get(&name).copied());
        if own.unwrap_or(self.method) == Protection::Off && !recorded {
            return Ok(None);
        }
        let lock = self.keyring.lock(Scope::Made(asset), every(self.rotate_s, SEGMENT_MS));
        lock.map(|lock| Some(lock.terms())).ok_or_else(no_secret)
    }

    /// What a plan's segments are encrypted with, if they are.
    pub(crate) fn lock(&self, plan: &Plan) -> Step<Option<Lock>> {
        let Some(terms) = plan.protect else { return Ok(None) };
        self.keyring.resume(Scope::Made(&plan.job), terms).map(Some).ok_or_else(no_secret)
    }
}

/// A segment as it is stored.
pub(crate) fn seal(lock: Option<&Lock>, number: u32, bytes: Bytes) -> Bytes {
    lock.map_or_else(|| bytes.clone(), |lock| lock.seal(u64::from(number), &bytes))
}

/// A segment as it was made, of what is stored.
pub(crate) fn open(lock: Option<&Lock>, number: u32, stored: Bytes) -> Step<Bytes> {
    let Some(lock) = lock else { return Ok(stored) };
    lock.open(u64::from(number), &stored).ok_or_else(|| fault("a segment that is there was not encrypted by this job"))
}

/// Not the source's fault: a worker that has the secret can do it.
fn no_secret() -> Trouble {
    let words = "this asset is protected, and its secret is not among protect.secret and protect.old_secrets here";
    Trouble::Machine(words.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use service::config::parse;

    const SECRET: &str = "protect.secret=0123456789abcdef0123456789abcdef";

    fn protecting(sets: &[&str]) -> Protecting {
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        Protecting::new(&parse(None, std::iter::empty(), &sets).unwrap())
    }

    #[track_caller]
    fn check(sets: &[&str], name: &str, recorded: bool, expected: &str) {
        let shown = match protecting(sets).terms("foo-1", name, recorded) {
            Ok(None) => "clear".to_owned(),
            Ok(Some(terms)) => format!("every {}", terms.every),
            Err(Trouble::Machine(_)) => "not here".to_owned(),
            Err(Trouble::Fault(why)) => why,
        };
        assert_eq!(shown, expected, "{sets:?} {name} {recorded}");
    }

    #[test]
    fn what_the_config_says_is_protected_and_what_was_recorded_so_stays_so() {
        check(&[], "foo", false, "clear");
        check(&[SECRET], "foo", false, "clear");
        check(&[SECRET], "foo", true, "every 50");
        check(&[SECRET, "protect.method=aes-128", "protect.rotate_s=12"], "foo", false, "every 2");
        check(&[SECRET, "protect.method=aes-128", "streams.foo.protect=off"], "foo", false, "clear");
        check(&[SECRET, "streams.foo.protect=aes-128"], "foo", false, "every 50");
        check(&[SECRET, "streams.foo.protect=aes-128"], "bar", false, "clear");
        check(&[], "foo", true, "not here");
    }

    #[test]
    fn a_plan_keeps_its_secret_while_others_get_a_new_one() {
        let mut plan = crate::work::tests::plan();
        assert!(protecting(&[]).lock(&plan).unwrap().is_none());
        plan.protect = protecting(&[SECRET]).terms(&plan.job, &plan.name, true).unwrap();
        let new = "protect.secret=fedcba9876543210fedcba9876543210";
        let old = "protect.old_secrets=[\"0123456789abcdef0123456789abcdef\"]";
        let sealed = |sets: &[&str]| {
            let lock = protecting(sets).lock(&plan)?;
            Ok::<_, Trouble>(seal(lock.as_ref(), 3, Bytes::from_static(b"abc")))
        };
        assert_eq!(sealed(&[new, old]), sealed(&[SECRET]));
        assert!(matches!(sealed(&[new]), Err(Trouble::Machine(_))));
        let lock = protecting(&[SECRET]).lock(&plan).unwrap();
        assert_eq!(open(lock.as_ref(), 3, sealed(&[SECRET]).unwrap()).unwrap(), "abc");
        assert!(matches!(open(lock.as_ref(), 3, Bytes::from_static(b"abc")), Err(Trouble::Fault(_))));
    }
}
