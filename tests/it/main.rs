//! End to end: real encoders, real servers, a real browser. One binary, so that it links once.

mod live;
mod tidy;
