//! End to end: real encoders, real servers, a real browser. One binary, so that it links once.
#![allow(clippy::panic, reason = "a panic is a test's report, in its helpers too")]

mod access;
mod browser;
mod cli;
mod cloudformation;
mod dvr;
mod encoders;
mod failover;
mod leaving;
mod lint;
mod live;
mod load;
mod protect;
mod record;
mod secure;
mod steer;
mod tidy;
mod vod;
mod watch;
