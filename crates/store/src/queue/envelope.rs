//! What a message's file holds: one line that says how long and how the body is, then the body.
//!
//! Pure. Files are written whole, but what a broken disk, a full one or a curious person leaves is recognised.

use super::BODY_BYTES_MAX;

/// What the first line begins with: format and version.
const MAGIC: &str = "live360-message 1";

/// Longest first line, in bytes.
const HEAD_BYTES_MAX: usize = 128;

/// Longest file of a message, in bytes.
pub(super) const FILE_BYTES_MAX: u64 = (BODY_BYTES_MAX + HEAD_BYTES_MAX) as u64;

/// A message's file.
pub(super) fn wrap(body: &str) -> String {
    format!("{}\n{body}", head(body))
}

/// The body in a file, or what is wrong with it.
pub(super) fn unwrap(content: &[u8]) -> Result<&str, &'static str> {
    let content = std::str::from_utf8(content).map_err(|_| "it is no UTF-8")?;
    let (first, body) = content.split_once('\n').ok_or("it has no first line")?;
    if !first.starts_with(MAGIC) {
        return Err("it is none of ours, or of a later version");
    }
    if first != head(body) {
        return Err("it is torn: length or checksum differ");
    }
    Ok(body)
}

fn head(body: &str) -> String {
    format!("{MAGIC} {} {:032x}", body.len(), checksum(body.as_bytes()))
}

/// FNV-1a of 128 bits: against accidents, not against people.
pub(super) fn checksum(bytes: &[u8]) -> u128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_wrapped_is_unwrapped() {
        for body in ["x", "{\"a\": 1}\n", "two\nlines", "é🎥"] {
            assert_eq!(unwrap(wrap(body).as_bytes()), Ok(body));
        }
        let long = "x".repeat(BODY_BYTES_MAX);
        assert!(wrap(&long).len() as u64 <= FILE_BYTES_MAX);
    }

    #[test]
    fn any_cut_and_any_changed_byte_is_noticed() {
        let whole = wrap("{\"task\": 17}").into_bytes();
        for end in 0..whole.len() {
            assert!(unwrap(&whole[..end]).is_err(), "{end}");
            let mut changed = whole.clone();
            changed[end] ^= 1;
            assert!(unwrap(&changed).is_err(), "{end}");
            // What a power cut may leave: the length is there, the bytes are not.
            let mut zeroed = whole.clone();
            zeroed[end..].fill(0);
            assert!(unwrap(&zeroed).is_err(), "{end}");
        }
        assert!(unwrap(&[whole, b"x".to_vec()].concat()).is_err());
    }

    #[test]
    fn the_checksum_is_fnv_1a() {
        // The test vectors of draft-eastlake-fnv.
        assert_eq!(checksum(b""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(checksum(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }
}
