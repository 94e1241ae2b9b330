//! A queue: what each kind of it promises, and what only one can.

mod local;
mod sqs;
mod suite;
