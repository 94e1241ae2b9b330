//! What a key may look like: a relative path that can't climb, hide or surprise on any file system.
//!
//! Pure. The same keys name objects in a bucket.

/// Longest key, in bytes. S3's own limit is 1024.
pub const KEY_BYTES_MAX: usize = 1024;

/// Longest part between two slashes, in bytes: what file systems take.
const PART_BYTES_MAX: usize = 255;

/// Why a key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key:?} is no key: {why}")]
pub struct BadKey {
    /// The key, cut to a length that is safe to log.
    pub key: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Checks a key: parts between single slashes, none empty, none with a dot in front, no control characters.
pub fn check(key: &str) -> Result<(), BadKey> {
    let bad = |why| Err(BadKey { key: key.chars().take(80).collect(), why });
    if key.len() > KEY_BYTES_MAX {
        return bad("it is longer than 1024 bytes");
    }
    if key.chars().any(|c| c.is_control() || c == '\\') {
        return bad("it holds a control character or a backslash");
    }
    for part in key.split('/') {
        if part.is_empty() {
            return bad("a part of it is empty");
        }
        // Also our temporary files begin so: they are never anyone's key.
        if part.starts_with('.') {
            return bad("a part of it begins with a dot");
        }
        if part.len() > PART_BYTES_MAX {
            return bad("a part of it is longer than 255 bytes");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_plain_relative_paths() {
        for good in [
            "a",
            "a/b.m4s",
            "rec/foo/2026-11-20T17:25:00Z/ended.json",
            "a b/ü",
            "100%+é&?#",
            &vec!["x"; 99].join("/"),
            &"x".repeat(255),
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn keys_that_climb_hide_or_surprise_are_refused() {
        for (bad, why) in [
            ("", "a part of it is empty"),
            ("/a", "a part of it is empty"),
            ("a//b", "a part of it is empty"),
            ("a/", "a part of it is empty"),
            ("..", "a part of it begins with a dot"),
            ("a/../b", "a part of it begins with a dot"),
            ("a/.", "a part of it begins with a dot"),
            (".hidden", "a part of it begins with a dot"),
            ("a\0b", "it holds a control character or a backslash"),
            ("a\nb", "it holds a control character or a backslash"),
            ("a\\b", "it holds a control character or a backslash"),
            (&"x".repeat(256), "a part of it is longer than 255 bytes"),
            (&"x/".repeat(600), "it is longer than 1024 bytes"),
        ] {
            assert_eq!(check(bad).map_err(|error| error.why), Err(why), "{bad}");
        }
    }
}
