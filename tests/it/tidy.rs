//! House rules that a text search can hold true. What the compiler or clippy can hold true is left to them.
//!
//! Looks at what is on disk, not at what git knows, so that a rule bites before the commit.

#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic there is the report")]

pub(crate) mod metrics;

use std::path::{Path, PathBuf};

/// Longest Rust file.
const LINES_MAX: usize = 600;

/// A Rust source file.
struct Source {
    /// Relative to the repository, with `/`.
    path: String,
    text: String,
}

/// Text that must not stand in some files' code.
struct Ban {
    /// Any of these.
    words: &'static [&'static str],
    /// In files whose paths begin so.
    within: &'static [&'static str],
    /// But not in those whose paths begin so.
    except: &'static [&'static str],
    /// Whether tests are held to it too.
    in_tests: bool,
    why: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        words: &[
            "tokio",
            "Instant::now",
            "SystemTime",
            "std::fs",
            "std::net",
            "std::env",
            "std::thread",
            "std::process",
        ],
        within: &["crates/media/src/"],
        except: &[],
        in_tests: false,
        why: "media does no I/O and reads no clock: time and bytes are arguments",
    },
    Ban {
        words: &["ffmpeg_next", "ffmpeg_sys"],
        within: &[""],
        except: &["crates/codec/"],
        in_tests: true,
        why: "FFmpeg is behind codec's door",
    },
    Ban {
        words: &["unsafe"],
        within: &[""],
        except: &["crates/codec/", "crates/memory/"],
        in_tests: true,
        why: "unsafe code belongs to codec and memory, where each use says why it is sound",
    },
    Ban {
        words: &["process::exit", "process::abort", "env::var", "env::args", "env::set_var"],
        within: &[""],
        except: &["crates/live360/src/", "player/embed/build.rs", "crates/codec/src/bin/"],
        in_tests: false,
        why: "only the binary ends the process or reads the environment",
    },
    Ban {
        words: &["tracing_subscriber", "set_global_default", "install_recorder"],
        within: &[""],
        except: &["crates/service/src/telemetry.rs"],
        in_tests: false,
        why: "logger and recorder are global: service::telemetry has what installs them",
    },
    Ban {
        words: &["install_logger(", "install_metrics("],
        within: &[""],
        except: &["crates/live360/src/", "crates/service/src/telemetry.rs"],
        in_tests: false,
        why: "only the binary installs logger and recorder",
    },
    Ban {
        words: &["/hls/", "/vod/", "/api/streams", "/assets/"],
        within: &[""],
        // The command line's help shows an address as an example.
        except: &["crates/media/src/route.rs", "crates/live360/src/cli.rs"],
        in_tests: false,
        why: "URL shapes stand in media::route only: use Route's Display",
    },
];

#[test]
fn every_file_says_what_it_is_for() {
    complain(sources().iter().filter(|source| !source.text.starts_with("//! ")).map(|source| {
        format!("{}: begin with //! and what the file is for and deliberately doesn't know", source.path)
    }));
}

#[test]
fn no_file_is_too_long() {
    complain(sources().iter().filter_map(|source| {
        let lines = source.text.lines().count();
        let words = format!("{}: {lines} lines, at most {LINES_MAX}; which two things does it do?", source.path);
        (lines > LINES_MAX).then_some(words)
    }));
}

#[test]
fn what_is_banned_is_nowhere() {
    // This file lists what is banned.
    complain(sources().iter().filter(|source| source.path != "tests/it/tidy.rs").flat_map(breaches));
}

#[test]
fn media_depends_on_no_runtime() {
    let manifest = std::fs::read_to_string(root().join("crates/media/Cargo.toml")).unwrap();
    for name in ["tokio", "hyper", "ffmpeg", "metrics", "tracing"] {
        assert!(!manifest.contains(name), "crates/media/Cargo.toml names {name}");
    }
}

#[test]
fn comments_texts_and_tests_are_told_from_code() {
    let check = |text: &str, expected: &[&str]| {
        let source = Source { path: "edge/src/x.rs".to_owned(), text: text.to_owned() };
        let found: Vec<String> = breaches(&source).collect();
        let matches = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| a.starts_with(b));
        assert!(matches, "{text}: {found:?}");
    };
    check("let a = 1; // unsafe, as /hls/ is\n/// /hls/foo", &[]);
    check("let words = \"it is at /hls/NAME.m3u8\";", &[]);
    check("#![forbid(unsafe_code)]", &[]);
    check("let a = 1;\nunsafe { b() }", &["edge/src/x.rs:2: `unsafe`"]);
    check("format!(\"http://{host}/hls/{name}\")", &["edge/src/x.rs:1: `/hls/`"]);
    check("#[cfg(test)]\nmod tests { fn a() { get(\"/hls/x\") } }", &[]);
    check("#[cfg(test)]\nmod tests { unsafe { b() } }", &["edge/src/x.rs:2: `unsafe`"]);
    check("#[cfg(test)]\nmod tests;\nfn f() { get(\"/hls/x\") }", &["edge/src/x.rs:3: `/hls/`"]);
}

/// What a file says that it must not, with line and reason.
fn breaches(source: &Source) -> impl Iterator<Item = String> {
    let starts = |list: &[&str]| list.iter().any(|start| source.path.starts_with(start));
    let tests_from = if is_test_file(&source.path) { 0 } else { tests_begin(&source.text) };
    BANS.iter().filter(move |ban| starts(ban.within) && !starts(ban.except)).flat_map(move |ban| {
        source.text.lines().enumerate().filter_map(move |(index, line)| {
            // With NAME in it, it is a word to a person, not an address.
            let code = code_of(line).replace("/hls/NAME.m3u8", "");
            let word = ban.words.iter().find(|word| has_word(&code, word))?;
            let held = ban.in_tests || index < tests_from;
            held.then(|| format!("{}:{}: `{word}`: {}", source.path, index + 1, ban.why))
        })
    })
}

/// A line without its comment. `//` within a text, as in `http://`, is none.
fn code_of(line: &str) -> &str {
    let comment = line.match_indices("//").find(|(at, _)| !line[..*at].ends_with(':'));
    comment.map_or(line, |(at, _)| &line[..at])
}

/// Whether a line holds a word, not as a part of a longer one: `unsafe_code` is not `unsafe`.
fn has_word(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let (before, after) = (code[..at].chars().next_back(), code[at + word.len()..].chars().next());
        let joined = |own: Option<char>, other: Option<char>| own.is_some_and(part) && other.is_some_and(part);
        // `env::vars` is `env::var` and more, and just as wrong.
        let plural = word.contains("::");
        !joined(word.chars().next(), before) && (plural || !joined(word.chars().next_back(), after))
    })
}

/// The line (from 0) where a file's tests begin: the inline module at its end.
fn tests_begin(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let inline = |at: usize| {
        lines[at].trim() == "#[cfg(test)]"
            && lines.get(at + 1).is_some_and(|next| next.contains("mod ") && !next.ends_with(';'))
    };
    (0..lines.len()).find(|at| inline(*at)).unwrap_or(lines.len())
}

/// Files that only tests are made of.
fn is_test_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let stem = name.trim_end_matches(".rs");
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.contains("/examples/")
        || path.contains("/testing/")
        || matches!(stem, "tests" | "testing" | "fixture")
        || stem.ends_with("_tests")
}

fn complain(found: impl Iterator<Item = String>) {
    let found: Vec<String> = found.collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file of ours.
fn sources() -> Vec<Source> {
    let root = root();
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap_or_default().to_owned();
            let ours = !name.starts_with('.') && !matches!(name.as_str(), "target" | "node_modules" | "dist" | "data");
            if path.is_dir() && ours {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let relative = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
                sources.push(Source { path: relative, text: std::fs::read_to_string(&path).unwrap() });
            }
        }
    }
    assert!(sources.len() > 30, "found only {} files below {}", sources.len(), root.display());
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}
