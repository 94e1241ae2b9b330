//! One set of promises, held by a folder and by servers that speak S3.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a panic there is the report")]

mod again;
mod bucket;
mod folder;
mod servers;
mod suite;
