//! AES-128 in cipher block chaining with PKCS#7 padding (RFC 8216bis §4.4.4.4), piece by piece. Knows no keys' names.

use super::KEY_BYTES;
use aes::Aes128;
use bytes::{Bytes, BytesMut};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};

/// Encrypts one file as it grows.
pub struct Sealing {
    cipher: cbc::Encryptor<Aes128>,
    /// What does not fill a block yet.
    rest: BytesMut,
}

impl Sealing {
    pub(super) fn new(key: &[u8; KEY_BYTES], iv: &[u8; KEY_BYTES]) -> Self {
        let cipher = cbc::Encryptor::new(&Array(*key), &Array(*iv));
        Self { cipher, rest: BytesMut::with_capacity(KEY_BYTES) }
    }

    /// Takes more of the file. Gives what can be encrypted of it: whole blocks.
    pub fn push(&mut self, plain: &[u8]) -> Bytes {
        let mut buffer = BytesMut::with_capacity(self.rest.len().saturating_add(plain.len()));
        buffer.extend_from_slice(&self.rest);
        buffer.extend_from_slice(plain);
        let whole = buffer.len() / KEY_BYTES * KEY_BYTES;
        self.rest = buffer.split_off(whole);
        let (blocks, _) = Array::slice_as_chunks_mut(&mut buffer);
        self.cipher.encrypt_blocks(blocks);
        buffer.freeze()
    }

    /// The file ends: its last block, padded.
    pub fn finish(self) -> Bytes {
        let mut block = [0; KEY_BYTES];
        let length = self.rest.len();
        block.iter_mut().zip(&self.rest).for_each(|(to, from)| *to = *from);
        // Less than a block always has room for its padding.
        let padded = self.cipher.encrypt_padded::<Pkcs7>(&mut block, length).unwrap_or_default();
        Bytes::copy_from_slice(padded)
    }
}

impl std::fmt::Debug for Sealing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealing").finish_non_exhaustive()
    }
}

/// How long a file of `plain` bytes is when it is encrypted: there is always some padding.
pub fn sealed_len(plain: u64) -> u64 {
    (plain / KEY_BYTES as u64).saturating_add(1).saturating_mul(KEY_BYTES as u64)
}

pub(super) fn open(key: &[u8; KEY_BYTES], iv: &[u8; KEY_BYTES], sealed: &[u8]) -> Option<Bytes> {
    let cipher = cbc::Decryptor::<Aes128>::new(&Array(*key), &Array(*iv));
    let mut buffer = sealed.to_vec();
    let length = cipher.decrypt_padded::<Pkcs7>(&mut buffer).ok()?.len();
    buffer.truncate(length);
    Some(buffer.into())
}
