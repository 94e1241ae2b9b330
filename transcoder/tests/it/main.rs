//! Jobs from source to asset, around folders as stores and a local queue, with the real child.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a panic there is the report")]

mod bench;
mod faults;
mod jobs;
