//! NAL units: behind lengths (ISO/IEC 14496-15), behind start codes (H.264 Annex B), and their types.

use crate::error::Malformed;
use bytes::{BufMut, Bytes, BytesMut};

/// `nal_unit_type` of a slice of an IDR picture (H.264 table 7-1).
const IDR: u8 = 5;
const SEI: u8 = 6;
pub(super) const SPS: u8 = 7;
pub(super) const PPS: u8 = 8;
const ACCESS_UNIT_DELIMITER: u8 = 9;
const FILLER: u8 = 12;

/// The NAL units of a picture whose lengths take `length_size` bytes (1, 2 or 4), without copying. Empty ones are left
/// out; a length that points outside the data is an error, and the last item.
pub fn nal_units(data: &Bytes, length_size: u8) -> impl Iterator<Item = Result<Bytes, Malformed>> + use<> {
    let mut rest = data.clone();
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let unit = split_unit(&mut rest, length_size);
            match &unit {
                Ok(unit) if unit.is_empty() => continue,
                Ok(_) => {}
                Err(_) => rest.clear(),
            }
            return Some(unit);
        }
        None
    })
}

/// Takes one length and its NAL unit off the front.
fn split_unit(rest: &mut Bytes, length_size: u8) -> Result<Bytes, Malformed> {
    let size = usize::from(length_size);
    if !matches!(size, 1 | 2 | 4) {
        return Err(Malformed("NAL lengths of a size other than 1, 2 and 4 bytes"));
    }
    let prefix = rest.get(..size).ok_or(Malformed("a NAL length ends early"))?;
    let length = prefix.iter().fold(0usize, |value, &byte| value << 8 | usize::from(byte));
    if rest.len() - size < length {
        return Err(Malformed("a NAL unit ends early"));
    }
    let mut unit = rest.split_to(size + length);
    Ok(unit.split_off(size))
}

/// Whether the picture has a slice of NAL type 5: a real key frame, whatever a container says.
pub fn contains_idr(data: &Bytes, length_size: u8) -> bool {
    nal_units(data, length_size).map_while(Result::ok).any(|unit| kind(&unit) == Some(IDR))
}

/// Takes an Annex B stream apart: its SPS, its PPS, and its other NAL units behind 4-byte lengths, without access unit
/// delimiters, SEI and filler. Bytes before the first start code are skipped.
pub fn annexb_to_lengths(data: &[u8]) -> (Vec<Bytes>, Vec<Bytes>, Bytes) {
    let (mut sps, mut pps) = (Vec::new(), Vec::new());
    let mut units = BytesMut::with_capacity(data.len());
    for unit in annexb_units(data) {
        match kind(unit) {
            Some(SPS) => sps.push(Bytes::copy_from_slice(unit)),
            Some(PPS) => pps.push(Bytes::copy_from_slice(unit)),
            None | Some(ACCESS_UNIT_DELIMITER | SEI | FILLER) => {}
            // A unit of 4 GiB has no length to be written; no encoder makes one.
            Some(_) => {
                if let Ok(length) = u32::try_from(unit.len()) {
                    units.put_u32(length);
                    units.put_slice(unit);
                }
            }
        }
    }
    (sps, pps, units.freeze())
}

/// The NAL units between start codes (00 00 01), without the zero bytes that may follow them (B.1.1).
fn annexb_units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(data);
    std::iter::from_fn(move || {
        let here = rest?;
        rest = after_start_code(here);
        let unit = match rest {
            Some(next) => here.get(..here.len().saturating_sub(next.len() + START_CODE.len()))?,
            None => here,
        };
        let length = unit.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        unit.get(..length)
    })
}

const START_CODE: [u8; 3] = [0, 0, 1];

/// What follows the first start code.
fn after_start_code(data: &[u8]) -> Option<&[u8]> {
    let at = data.windows(START_CODE.len()).position(|window| window == START_CODE)?;
    data.get(at + START_CODE.len()..)
}

/// `nal_unit_type`; `None` for no bytes.
fn kind(unit: &[u8]) -> Option<u8> {
    unit.first().map(|header| header & 0x1F)
}

/// Errors unless the NAL unit has this type.
pub(super) fn check_kind(unit: &[u8], wanted: u8, error: Malformed) -> Result<(), Malformed> {
    if kind(unit) == Some(wanted) { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const END: Malformed = Malformed("a NAL unit ends early");

    fn check(data: &'static [u8], length_size: u8, expected: &[Result<&'static [u8], Malformed>]) {
        let got: Vec<_> = nal_units(&Bytes::from_static(data), length_size).collect();
        let expected: Vec<_> = expected.iter().map(|unit| unit.map(Bytes::from_static)).collect();
        assert_eq!(got, expected, "{data:02x?}");
    }

    #[test]
    fn units_stand_behind_their_lengths() {
        check(&[], 4, &[]);
        check(&[0, 0, 0, 2, 0x65, 1, 0, 0, 0, 1, 0x41], 4, &[Ok(&[0x65, 1]), Ok(&[0x41])]);
        check(&[0, 1, 0x65, 0, 0, 0, 1, 0x41], 2, &[Ok(&[0x65]), Ok(&[0x41])]);
        check(&[1, 0x65, 1, 0x41], 1, &[Ok(&[0x65]), Ok(&[0x41])]);
    }

    #[test]
    fn an_error_is_the_last_item() {
        check(&[0, 0, 0, 1, 0x41, 0, 0, 0, 9, 1, 1], 4, &[Ok(&[0x41]), Err(END)]);
        check(&[0xFF, 0xFF, 0xFF, 0xFF, 1], 4, &[Err(END)]);
        check(&[0, 0], 4, &[Err(Malformed("a NAL length ends early"))]);
        check(&[0, 0, 1, 9], 3, &[Err(Malformed("NAL lengths of a size other than 1, 2 and 4 bytes"))]);
    }

    #[test]
    fn only_type_5_is_a_key_frame() {
        let has_idr = |data: &'static [u8]| contains_idr(&Bytes::from_static(data), 1);
        assert!(has_idr(&[1, 0x67, 1, 0x06, 1, 0x65]));
        assert!(has_idr(&[1, 0x25]));
        assert!(!has_idr(&[1, 0x67, 1, 0x41]));
        assert!(!has_idr(&[1, 0x41, 9, 0x65]), "behind a broken length");
        assert!(!has_idr(&[]));
    }

    #[test]
    fn annex_b_is_taken_apart() {
        let stream = [
            &[0xAA, 0, 0, 0, 1, 0x09, 0x10][..], // junk, then a delimiter
            &[0, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 1, 0x68, 3],
            &[0, 0, 1, 0x06, 5, 0x80, 0, 0, 1, 0x0C, 0xFF, 0x80],
            &[0, 0, 1, 0x65, 8, 0, 0, 3, 1, 0, 0, 0, 0, 1, 0x65, 9, 0, 0],
        ];
        let (sps, pps, units) = annexb_to_lengths(&stream.concat());
        assert_eq!(sps, [&[0x67, 1, 2][..]]);
        assert_eq!(pps, [&[0x68, 3][..]]);
        assert_eq!(units[..], [0, 0, 0, 6, 0x65, 8, 0, 0, 3, 1, 0, 0, 0, 2, 0x65, 9]);
    }

    proptest! {
        #[test]
        fn no_lengths_panic(data: Vec<u8>, length_size in 0u8..6) {
            let data = Bytes::from(data);
            let taken: usize = nal_units(&data, length_size).flatten().map(|unit| unit.len()).sum();
            prop_assert!(taken <= data.len());
            contains_idr(&data, length_size);
        }

        #[test]
        fn no_annex_b_panics(data in proptest::collection::vec(0u8..4, 0..300)) {
            annexb_to_lengths(&data);
        }

        #[test]
        fn lengths_read_back_what_start_codes_parted(
            units in proptest::collection::vec(proptest::collection::vec(4u8..255, 1..20), 0..8),
        ) {
            let units: Vec<Vec<u8>> = units.into_iter().map(|tail| [&[0x41][..], &tail].concat()).collect();
            let stream: Vec<u8> = units.iter().flat_map(|unit| [&[0, 0, 0, 1], &unit[..]].concat()).collect();
            let (_, _, lengths) = annexb_to_lengths(&stream);
            let back: Vec<Vec<u8>> = nal_units(&lengths, 4).map(|unit| unit.unwrap().to_vec()).collect();
            prop_assert_eq!(back, units);
        }
    }
}
