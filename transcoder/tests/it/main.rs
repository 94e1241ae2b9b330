//! Jobs from source to asset, around folders as stores and a local queue, with the real child.

mod bench;
mod faults;
mod jobs;
