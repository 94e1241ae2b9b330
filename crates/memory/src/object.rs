//! Objects in memory files: one who fills, any number who look at what is there.

use crate::mapping::{Mapping, Region};
use crate::registry;
use bytes::Bytes;
use rustix::fd::{AsFd, BorrowedFd};
use std::ops::Range;
use std::sync::Arc;

/// The one who fills an object.
#[derive(Debug)]
pub struct Filler {
    region: Arc<Region>,
}

/// An object, or what is there of it. Cloning gives another handle to the same.
#[derive(Debug, Clone)]
pub struct Object {
    region: Arc<Region>,
}

/// A stretch of a memory file: what some bytes are besides. While it is held the file stays.
#[derive(Debug, Clone)]
pub struct Stretch {
    mapping: Arc<Mapping>,
    offset: u64,
}

/// The memory file that these bytes are a stretch of, if they are.
pub fn find(bytes: &[u8]) -> Option<Stretch> {
    registry::find(bytes).map(|(mapping, offset)| Stretch { mapping, offset })
}

/// How many memory files there are.
pub fn count() -> usize {
    registry::count()
}

pub(crate) fn new(region: Region) -> (Filler, Object) {
    let region = Arc::new(region);
    (Filler { region: Arc::clone(&region) }, Object { region })
}

impl Filler {
    /// Appends bytes. `false`: not all of them fit, or the system has no memory for them.
    pub fn append(&mut self, bytes: &[u8]) -> bool {
        let before = self.region.written();
        self.region.append(bytes).is_ok_and(|after| after.checked_sub(before) == Some(bytes.len()))
    }
}

impl Object {
    /// These of its bytes, if they are there.
    pub fn bytes(&self, range: Range<u64>) -> Option<Bytes> {
        let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
        self.region.bytes(&range)?;
        Some(Bytes::from_owner(View { region: Arc::clone(&self.region), range }))
    }
}

impl Stretch {
    /// The file.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.mapping.file().as_fd()
    }

    /// Where in it the stretch begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

/// Bytes of an object that are there.
struct View {
    region: Arc<Region>,
    range: Range<usize>,
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        // They were there when the view was made, and stay.
        self.region.bytes(&self.range).unwrap_or_default()
    }
}
