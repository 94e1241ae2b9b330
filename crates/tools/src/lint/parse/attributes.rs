//! Attribute lists (RFC 8216bis §4.2): `NAME=value,NAME="quoted, value"`.
//!
//! Order and quotes are kept. What values mean is the caller's affair.

use super::{decimal, short};

/// An attribute list, in the order written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes(Vec<Attribute>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Attribute {
    name: String,
    value: String,
    quoted: bool,
}

impl Attributes {
    /// Reads a list; with it comes what is wrong with it, if anything is.
    pub(super) fn parse(text: &str) -> (Self, Option<String>) {
        let mut list: Vec<Attribute> = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let Some((name, after)) = rest.split_once('=') else {
                return (Self(list), Some(format!("{:?} has no value", short(rest))));
            };
            let (value, quoted, tail) = match after.strip_prefix('"') {
                Some(inner) => match inner.split_once('"') {
                    Some((value, tail)) => (value, true, tail),
                    None => return (Self(list), Some(format!("the quote of {} is never closed", short(name)))),
                },
                None => match after.find(',') {
                    Some(end) => (after.get(..end).unwrap_or(""), false, after.get(end..).unwrap_or("")),
                    None => (after, false, ""),
                },
            };
            let name = name.trim().to_owned();
            if list.iter().any(|other| other.name == name) {
                return (Self(list), Some(format!("{} stands twice", short(&name))));
            }
            if !name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-') || name.is_empty() {
                return (Self(list), Some(format!("{:?} is no attribute name", short(&name))));
            }
            list.push(Attribute { name, value: value.trim_end().to_owned(), quoted });
            rest = match tail.trim_start().strip_prefix(',') {
                Some(next) => next.trim_start(),
                None if tail.trim().is_empty() => "",
                None => return (Self(list), Some(format!("{:?} after a closing quote", short(tail)))),
            };
        }
        (Self(list), None)
    }

    /// A value, without its quotes.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.find(name).map(|attribute| attribute.value.as_str())
    }

    /// Whether the value stands in quotes. `false` also where there is none.
    pub fn is_quoted(&self, name: &str) -> bool {
        self.find(name).is_some_and(|attribute| attribute.quoted)
    }

    /// A decimal number.
    pub fn number(&self, name: &str) -> Option<f64> {
        decimal(self.get(name)?)
    }

    /// A decimal integer.
    pub fn integer(&self, name: &str) -> Option<u64> {
        let text = self.get(name)?;
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
    }

    /// Whether the value is `YES`.
    pub fn yes(&self, name: &str) -> bool {
        self.get(name) == Some("YES")
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|attribute| attribute.name.as_str())
    }

    /// Names and values, sorted by name: equal for lists that say the same.
    pub fn sorted(&self) -> Vec<(&str, &str)> {
        let mut pairs: Vec<_> = self.0.iter().map(|a| (a.name.as_str(), a.value.as_str())).collect();
        pairs.sort_unstable();
        pairs
    }

    fn find(&self, name: &str) -> Option<&Attribute> {
        self.0.iter().find(|attribute| attribute.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_may_hold_commas_and_equals_signs() {
        let (list, fault) = Attributes::parse("A=1,B=\"x,y=z\",C-2=1.5,D=YES");
        assert_eq!(fault, None);
        assert_eq!(list.integer("A"), Some(1));
        assert_eq!(list.get("B"), Some("x,y=z"));
        assert!(list.is_quoted("B") && !list.is_quoted("A") && !list.is_quoted("Z"));
        assert_eq!(list.number("C-2"), Some(1.5));
        assert!(list.yes("D") && !list.yes("A"));
        assert_eq!(list.names().count(), 4);
    }

    #[test]
    fn what_is_no_list_is_said_and_what_came_before_it_kept() {
        for (text, kept) in [("A=1,B", 1), ("A=\"x", 0), ("A=1,A=2", 1), ("a=1", 0), ("A=\"x\"y,B=1", 1), ("=1", 0)] {
            let (list, fault) = Attributes::parse(text);
            assert!(fault.is_some(), "{text}");
            assert_eq!(list.names().count(), kept, "{text}");
        }
    }
}
