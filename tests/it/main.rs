//! End to end: real encoders, real servers, a real browser. One binary, so that it links once.

mod browser;
mod cli;
mod encoders;
mod lint;
mod live;
mod tidy;
