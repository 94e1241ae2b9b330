//! Reading and writing bit by bit, most significant first, as H.264 and AAC headers are written.
//!
//! Knows no syntax element of either, beyond the Exp-Golomb codes of H.264 9.1.

use crate::error::Malformed;

/// Reads bits off a slice. Reading past the end is an error, never a panic.
pub(crate) struct BitReader<'a> {
    data: &'a [u8],
    /// Bits read so far.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Malformed> {
        let byte = self.data.get(self.at / 8).ok_or(Malformed("a header ends early"))?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit == 1)
    }

    /// An unsigned number of `count` bits, at most 32.
    pub(crate) fn bits(&mut self, count: u32) -> Result<u32, Malformed> {
        let mut value = 0;
        for _ in 0..count.min(32) {
            value = value << 1 | u32::from(self.flag()?);
        }
        Ok(value)
    }

    pub(crate) fn skip(&mut self, count: u32) -> Result<(), Malformed> {
        for _ in 0..count {
            self.flag()?;
        }
        Ok(())
    }

    /// `ue(v)`
    pub(crate) fn ue(&mut self) -> Result<u32, Malformed> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return Err(Malformed("an Exp-Golomb code is longer than 63 bits"));
            }
        }
        // 1 followed by `zeros` bits, less one: at most 2^32 - 2.
        let tail = u64::from(self.bits(zeros)?);
        u32::try_from((1u64 << zeros) - 1 + tail).map_err(|_| Malformed("an Exp-Golomb code is too large"))
    }

    /// `se(v)`
    pub(crate) fn se(&mut self) -> Result<i64, Malformed> {
        let code = i64::from(self.ue()?);
        Ok(if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) })
    }

    /// Bits not read yet.
    pub(crate) fn left(&self) -> usize {
        (self.data.len() * 8).saturating_sub(self.at)
    }
}

/// Collects bits; [`finish`](Self::finish) fills the last byte with zeros.
#[derive(Default)]
pub(crate) struct BitWriter {
    out: Vec<u8>,
    /// Bits written so far.
    at: usize,
}

impl BitWriter {
    /// Appends the low `count` bits of `value`, at most 32.
    pub(crate) fn bits(&mut self, count: u32, value: u32) {
        for shift in (0..count.min(32)).rev() {
            if self.at.is_multiple_of(8) {
                self.out.push(0);
            }
            let bit = (value >> shift & 1) as u8;
            if let Some(last) = self.out.last_mut() {
                *last |= bit << (7 - self.at % 8);
            }
            self.at += 1;
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_follow_table_9_2() {
        // 1 010 011 00100 00101, as codeNum 0 to 4.
        let data = [0b1010_0110, 0b0100_0010, 0b1000_0000];
        let mut unsigned = BitReader::new(&data);
        assert_eq!([0; 5].map(|_| unsigned.ue().unwrap()), [0, 1, 2, 3, 4]);
        let mut signed = BitReader::new(&data);
        assert_eq!([0; 5].map(|_| signed.se().unwrap()), [0, 1, -1, 2, -2]);
    }

    #[test]
    fn the_largest_code_fits_and_a_longer_one_is_refused() {
        let largest = [0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFE];
        assert_eq!(BitReader::new(&largest).ue(), Ok(u32::MAX - 1));
        assert!(BitReader::new(&[0, 0, 0, 0, 0x80, 0, 0, 0, 0]).ue().is_err());
    }

    #[test]
    fn reading_past_the_end_is_an_error() {
        let mut reader = BitReader::new(&[0xA5]);
        assert_eq!(reader.bits(8), Ok(0xA5));
        assert_eq!(reader.left(), 0);
        assert!(reader.flag().is_err());
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut writer = BitWriter::default();
        writer.bits(5, 2);
        writer.bits(12, 0xABC);
        let bytes = writer.finish();
        assert_eq!(bytes.len(), 3);
        let mut reader = BitReader::new(&bytes);
        assert_eq!((reader.bits(5), reader.bits(12)), (Ok(2), Ok(0xABC)));
    }
}
