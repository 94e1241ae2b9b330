//! Which containers are taken, told by their first bytes.
//!
//! Pure. Whatever does not look like one of them is never given to libav.

use std::ffi::CStr;

/// Bytes that [`Container::sniff`] wants, if the file has as many.
pub(super) const SNIFF_BYTES: usize = 16;

/// A container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    Flv,
    Mov,
    Matroska,
}

/// First boxes of MP4 and MOV files (ISO/IEC 14496-12; QuickTime's older ones).
const BOXES: [&[u8; 4]; 10] =
    [b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid"];

/// What an FLV file begins with, and an EBML header.
const FLV: &[u8] = b"FLV";
const EBML: &[u8] = &[0x1A, 0x45, 0xDF, 0xA3];

impl Container {
    /// By a file's first [`SNIFF_BYTES`].
    pub(super) fn sniff(start: &[u8]) -> Option<Self> {
        if start.starts_with(FLV) {
            return Some(Self::Flv);
        }
        if start.starts_with(EBML) {
            return Some(Self::Matroska);
        }
        let kind = start.get(4..8)?;
        BOXES.iter().any(|known| known.as_slice() == kind).then_some(Self::Mov)
    }

    /// libav's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Flv => "flv",
            Self::Mov => "mov,mp4,m4a,3gp,3g2,mj2",
            Self::Matroska => "matroska,webm",
        }
    }

    /// One of libav's names, to find the demuxer by.
    pub(super) fn short_name(self) -> &'static CStr {
        match self {
            Self::Flv => c"flv",
            Self::Mov => c"mov",
            Self::Matroska => c"matroska",
        }
    }

    /// Whether jumping is of use: an FLV has no index, and libav would only look for its end.
    pub(super) fn is_seekable(self) -> bool {
        self != Self::Flv
    }
}

/// Bytes at the start of a box that tell what it is.
pub(super) const BOX_HEADER_BYTES: usize = 16;

/// A box's length, by its first [`BOX_HEADER_BYTES`]; `None` if it reaches to the file's end or is none. And whether it
/// is a movie fragment (ISO/IEC 14496-12, 4.2 and 8.8.4).
pub(super) fn box_header(start: &[u8]) -> (Option<u64>, bool) {
    let (Some(size), Some(kind)) = (start.first_chunk::<4>(), start.get(4..8)) else { return (None, false) };
    let length = match u32::from_be_bytes(*size) {
        1 => start.get(8..).and_then(<[u8]>::first_chunk::<8>).map(|size| u64::from_be_bytes(*size)),
        size => Some(u64::from(size)),
    };
    (length.filter(|&length| length >= 8), kind == b"moof")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_tell_their_length_and_whether_they_are_fragments() {
        let check = |start: &[u8], expected| assert_eq!(box_header(start), expected, "{start:?}");
        check(b"\0\0\0\x10moof\0\0\0\0\0\0\0\0", (Some(16), true));
        check(b"\0\0\0\x01mdat\0\0\0\x02\0\0\0\x03", (Some(0x2_0000_0003), false));
        check(b"\0\0\0\0mdat\0\0\0\0\0\0\0\0", (None, false));
        check(b"\0\0\0\x07free", (None, false));
        check(b"\0\0", (None, false));
    }

    #[test]
    fn containers_are_known_by_their_first_bytes_and_nothing_else_is_taken() {
        let check = |start: &[u8], expected| assert_eq!(Container::sniff(start), expected, "{start:?}");
        check(b"FLV\x01\x05\0\0\0\x09", Some(Container::Flv));
        check(b"\0\0\0\x20ftypisom", Some(Container::Mov));
        check(b"\0\0\0\x08wide\0\0", Some(Container::Mov));
        check(b"\x1A\x45\xDF\xA3\x9F\x42", Some(Container::Matroska));
        check(b"#EXTM3U\n#EXTINF", None);
        check(b"ffconcat version 1.0", None);
        check(b"RIFF\0\0\0\0AVI ", None);
        check(b"\0\0\0", None);
        check(b"", None);
    }
}
