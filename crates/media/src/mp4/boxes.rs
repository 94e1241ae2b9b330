//! Writing boxes (ISO/IEC 14496-12, 4.2): sizes are filled in when a box closes.

/// Name of a box.
pub(super) type FourCc = [u8; 4];

/// A growing file.
#[derive(Default)]
pub(super) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes) }
    }

    /// Writes a box around what `content` writes. A box of 4 GiB has no size in 32 bits; nothing here comes near.
    pub(super) fn boxed(&mut self, name: &FourCc, content: impl FnOnce(&mut Self)) {
        let start = self.out.len();
        self.u32(0);
        self.bytes(name);
        content(self);
        let size = u32::try_from(self.out.len() - start).unwrap_or(u32::MAX);
        self.set_u32(start, size);
    }

    /// Writes a `FullBox`; `flags` has 24 bits.
    pub(super) fn full_box(&mut self, name: &FourCc, version: u8, flags: u32, content: impl FnOnce(&mut Self)) {
        self.boxed(name, |w| {
            w.u32(u32::from(version) << 24 | flags & 0x00FF_FFFF);
            content(w);
        });
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn zeros(&mut self, count: usize) {
        self.out.resize(self.out.len() + count, 0);
    }

    /// Bytes written so far.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// Overwrites four bytes written before.
    pub(super) fn set_u32(&mut self, at: usize, value: u32) {
        if let Some(place) = self.out.get_mut(at..at + 4) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }
}
