//! Where a store is: `file:PATH` or `s3://bucket/prefix`.
//!
//! Pure.

use crate::key;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `file:PATH`: a folder. A relative path starts where the process was started; nothing in it is decoded.
    Folder(PathBuf),
    /// `s3://bucket/prefix`
    Bucket {
        /// Its name.
        bucket: String,
        /// What every key begins with, without slashes at its ends; empty for the whole bucket.
        prefix: String,
    },
}

/// Why an address of a store was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given} is no place to store things: {why}")]
pub struct BadPlace {
    /// The address in quotes, cut to a length that is safe to log; not what looks like a password.
    pub given: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl FromStr for Place {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        let given = if text.contains('@') {
            "this".to_owned()
        } else {
            format!("{:?}", text.chars().take(80).collect::<String>())
        };
        let bad = |why| BadPlace { given, why };
        if let Some(path) = text.strip_prefix("file:") {
            return folder(path).map_err(bad);
        }
        if let Some(rest) = text.strip_prefix("s3://") {
            return bucket(rest).map_err(bad);
        }
        Err(bad("write file:PATH or s3://BUCKET/PREFIX"))
    }
}

fn folder(path: &str) -> Result<Place, &'static str> {
    // `file:///srv` is how URLs spell `/srv`.
    let path = match path.strip_prefix("//") {
        Some(rest) if rest.starts_with('/') => rest,
        Some(_) => return Err("write file:/PATH, with one slash or three"),
        None => path,
    };
    if path.is_empty() || path.contains('\0') {
        return Err("a path is missing behind file:");
    }
    Ok(Place::Folder(PathBuf::from(path)))
}

fn bucket(rest: &str) -> Result<Place, &'static str> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !(3..=63).contains(&bucket.len())
        || !bucket.chars().all(legal)
        || !bucket.starts_with(ends)
        || !bucket.ends_with(ends)
    {
        return Err("a bucket's name is 3 to 63 of a-z 0-9 . - and begins and ends with a letter or digit");
    }
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    if !prefix.is_empty() && key::check(prefix).is_err() {
        return Err("behind the bucket's name goes nothing, or a prefix that could be a key");
    }
    Ok(Place::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "file:{}", path.display()),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, printed: &str) {
        assert_eq!(text.parse::<Place>().map(|place| place.to_string()).as_deref(), Ok(printed), "{text}");
    }

    #[test]
    fn places_are_folders_and_buckets() {
        check("file:/srv/live", "file:/srv/live");
        check("file:///srv/live", "file:/srv/live");
        check("file:./data/a b%20", "file:./data/a b%20");
        check("s3://my-bucket.1", "s3://my-bucket.1");
        check("s3://abc/", "s3://abc");
        check("s3://abc/live/360/", "s3://abc/live/360");
    }

    #[test]
    fn other_texts_are_no_places() {
        for text in [
            "",
            "/srv",
            "file:",
            "file://host/srv",
            "file:a\0b",
            "s3:abc",
            "s3://",
            "s3://ab",
            "s3://ABC",
            "s3://-abc",
            "s3://a_bc",
            "s3://abc//x",
            "s3://abc/../x",
            "s3://abc/.x",
            "https://abc.s3.amazonaws.com/",
            &format!("s3://{}", "a".repeat(64)),
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_in_a_place_is_not_shown() {
        let words = "s3://AKIA:hunter2@abc".parse::<Place>().unwrap_err().to_string();
        assert!(!words.contains("hunter2") && words.starts_with("this is no place"), "{words}");
    }
}
