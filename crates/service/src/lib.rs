//! What every process needs: config, telemetry, HTTP listeners, the admin listener, shutdown, the READY line.
//!
//! Knows nothing of streams beyond their names. Nothing here exits the process or reads the environment: [`config`] is
//! handed both, and what is global ([`telemetry`]) is installed only by functions that the binary calls.
#![forbid(unsafe_code)]

pub mod admin;
pub mod cluster;
pub mod config;
pub mod hashed;
pub mod hooks;
pub mod host;
pub mod http;
pub mod keys;
pub mod machine;
pub mod outbound;
pub mod ready;
pub mod secret;
pub mod shutdown;
pub mod signature;
#[cfg(feature = "aws")]
pub mod target_group;
pub mod telemetry;
pub mod tls;
