//! Two sets of promises, of an object store and of a queue, each held by a folder and by servers that speak S3 and SQS.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a panic there is the report")]

mod again;
mod bucket;
mod folder;
mod queue;
mod servers;
mod suite;
