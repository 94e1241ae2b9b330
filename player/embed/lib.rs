//! The watch page's built files, inside the binary.
//!
//! `page` is served at `/`, every other file by its name below `/assets/`. Knows nothing of HTTP beyond what a file needs
//! said about it; the build script makes the table from `player/dist`.
#![forbid(unsafe_code)]

use bytes::Bytes;

/// One file of the page.
#[derive(Debug, Clone)]
pub struct File {
    /// Its name, without any folder.
    pub name: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// A hash of its content, without quotes.
    pub etag: &'static str,
    /// Whether its name changes with its content, so that it may be cached for ever.
    pub immutable: bool,
    /// Its content.
    pub bytes: Bytes,
}

include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// What stands in for the page in a binary that was built without it.
static MISSING: File = File {
    name: "index.html",
    content_type: "text/html; charset=utf-8",
    etag: "page-not-built",
    immutable: false,
    bytes: Bytes::from_static(
        b"<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>live360</title>\n\
        <h1>The watch page is not in this binary</h1>\n\
        <p>Run <code>make player</code>, then build again. Streams are served all the same.</p>\n</html>\n",
    ),
};

/// The page itself, or one that says how to get it into the binary.
pub fn page() -> &'static File {
    BUILT.as_ref().unwrap_or(&MISSING)
}

/// The file of this name, if the page has one.
pub fn file(name: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    #[test]
    fn there_is_always_a_page() {
        assert!(page().content_type.starts_with("text/html"));
        assert!(!page().immutable);
        assert!(page().bytes.starts_with(b"<!"));
    }

    #[test]
    fn files_are_found_by_name_and_tagged_by_content() {
        assert!(file("").is_none() && file("../index.html").is_none());
        for expected in &FILES {
            let found = file(expected.name).unwrap();
            let hash = Sha256::digest(&found.bytes);
            let etag: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found.etag, etag, "{}", found.name);
            assert!(found.immutable);
        }
    }
}
