//! What an operator runs against a server.

pub mod lint;
pub mod testsource;
