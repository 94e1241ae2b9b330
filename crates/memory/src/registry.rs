//! Which addresses are which file's. What is looked up is only ever an address, and the answer only ever a file.

use crate::mapping::Mapping;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};

/// Files by the first address of their memory.
static FILES: RwLock<BTreeMap<usize, Weak<Mapping>>> = RwLock::new(BTreeMap::new());

/// Lists a file, unless there are `most` already. It is there until [`forget`].
pub(crate) fn list(mapping: &Arc<Mapping>, most: usize) -> bool {
    let mut files = FILES.write().unwrap_or_else(PoisonError::into_inner);
    let room = files.len() < most;
    if room {
        files.insert(mapping.addresses().start, Arc::downgrade(mapping));
    }
    room
}

/// Takes out the file whose memory begins there, if it is listed.
pub(crate) fn forget(start: usize) {
    FILES.write().unwrap_or_else(PoisonError::into_inner).remove(&start);
}

/// The file that these bytes are a stretch of, and the stretch's offset in it.
pub(crate) fn find(bytes: &[u8]) -> Option<(Arc<Mapping>, u64)> {
    let start = bytes.as_ptr().addr();
    let mapping = {
        let files = FILES.read().unwrap_or_else(PoisonError::into_inner);
        files.range(..=start).next_back()?.1.upgrade()?
    };
    let addresses = mapping.addresses();
    let offset = u64::try_from(start.checked_sub(addresses.start)?).ok()?;
    let within = start.checked_add(bytes.len())? <= addresses.end;
    within.then_some((mapping, offset))
}

/// How many files there are.
pub(crate) fn count() -> usize {
    FILES.read().unwrap_or_else(PoisonError::into_inner).len()
}
