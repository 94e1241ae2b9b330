//! What an operator runs against a server.

pub mod lint;
pub mod load;
pub mod testsource;
mod trust;

pub use trust::BadCertificates;
