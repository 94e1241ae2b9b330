//! Where bytes are kept: a folder or a bucket of objects that are whole or absent; and the queue that says what is to be
//! done with them.
//!
//! [`Objects`] is either, and what tiers use for what is kept; [`Files`] is a folder alone, for what a process keeps to
//! itself; [`Queue`] is a folder or a queue of SQS. Knows keys, bytes and messages, nothing of streams. What [`Files`] does blocks: call it from `spawn_blocking` or a
//! thread of your own.
#![forbid(unsafe_code)]

mod body;
mod error;
mod files;
mod key;
mod limits;
mod local;
mod objects;
mod place;
mod queue;
#[cfg(feature = "aws")]
mod s3;

pub use body::Body;
pub use error::{Error, Trouble};
pub use files::{Entry, Files, Sync};
pub use key::{BadKey, KEY_BYTES_MAX, check as check_key};
pub use limits::Limits;
pub use objects::{Creation, Facts, Listing, Object, Objects, PAGE_MAX};
pub use place::{BadPlace, Place};
pub use queue::{
    BATCH_MESSAGES_MAX, BODY_BYTES_MAX, BadQueue, Beat, Clock, DEAD_MAX, Dead, Depth, Heartbeat, Hold, MESSAGES_MAX,
    Message, Outgoing, Queue, QueueAddress, QueueSettings, RECEIVE_MAX, RECEIVES_MAX, Receipt, SqsUrl, VISIBILITY_MAX,
    WAIT_MAX,
};
