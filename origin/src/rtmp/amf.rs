//! AMF0 from strangers: a guard in front of rml_amf0, and what we take from onMetaData.
//!
//! rml_amf0 calls itself for every nested value without counting, and reads strings that end too early as if they were
//! padded with zeros. So bytes are walked here first, and it gets only what is whole, small and shallow.

use media::flv::Metadata;
use rml_amf0::Amf0Value;
use std::collections::HashMap;
use std::io::Cursor;

/// Longest command or data message that is looked into, in bytes. OBS's longest is below 1 KiB.
pub(super) const AMF_BYTES_MAX: usize = 64 * 1024;

/// Objects and arrays inside each other.
const DEPTH_MAX: usize = 16;

/// Longest text that is taken over from metadata, in characters.
const TEXT_CHARS_MAX: usize = 256;

/// Why a message body is no AMF0 that we take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum AmfError {
    /// Longer than `AMF_BYTES_MAX`.
    #[error("{0} bytes of AMF are too many: the limit is {AMF_BYTES_MAX}")]
    TooLong(usize),
    /// Deeper than `DEPTH_MAX`.
    #[error("AMF values are nested more than {DEPTH_MAX} deep")]
    TooDeep,
    /// A value's end is missing.
    #[error("an AMF value ends too early")]
    Truncated,
    /// A type that rml_amf0 doesn't read either (dates, XML, references, typed objects, long strings).
    #[error("AMF type {0} is not supported")]
    Unsupported(u8),
    /// Text that is not UTF-8, or an object without its end.
    #[error("malformed AMF: {0}")]
    Malformed(String),
}

/// Reads the first values of a message body, at most `count`. What follows them is not looked at.
pub(super) fn read(bytes: &[u8], count: usize) -> Result<Vec<Amf0Value>, AmfError> {
    if bytes.len() > AMF_BYTES_MAX {
        return Err(AmfError::TooLong(bytes.len()));
    }
    let mut rest = bytes;
    for _ in 0..count {
        if rest.is_empty() {
            break;
        }
        rest = skip_value(rest, 0)?;
    }
    let whole = bytes.get(..bytes.len() - rest.len()).unwrap_or_default();
    rml_amf0::deserialize(&mut Cursor::new(whole)).map_err(|error| AmfError::Malformed(error.to_string()))
}

/// What a data message says about the stream: `onMetaData` alone or behind `@setDataFrame`, with an object or an ECMA
/// array. `None` for any other data message.
pub(super) fn metadata(bytes: &[u8]) -> Result<Option<Metadata>, AmfError> {
    let mut values = read(bytes, 3)?.into_iter();
    let mut name = values.next();
    if is_text(name.as_ref(), "@setDataFrame") {
        name = values.next();
    }
    match (is_text(name.as_ref(), "onMetaData"), values.next()) {
        (true, Some(Amf0Value::Object(properties))) => Ok(Some(from_properties(&properties))),
        _ => Ok(None),
    }
}

fn is_text(value: Option<&Amf0Value>, expected: &str) -> bool {
    matches!(value, Some(Amf0Value::Utf8String(text)) if text == expected)
}

fn from_properties(properties: &HashMap<String, Amf0Value>) -> Metadata {
    let number = |key| match properties.get(key) {
        Some(Amf0Value::Number(number)) if number.is_finite() => Some(*number),
        _ => None,
    };
    let text = |key| match properties.get(key) {
        Some(Amf0Value::Utf8String(text)) => Some(text.chars().take(TEXT_CHARS_MAX).collect()),
        _ => None,
    };
    Metadata {
        encoder: text("encoder"),
        frame_rate: number("framerate"),
        width: number("width"),
        height: number("height"),
        video_kbits: number("videodatarate"),
        audio_kbits: number("audiodatarate"),
        projection: text("projection"),
        // `stereo` as a boolean is about the audio; the layout of two eyes is text.
        stereo: text("stereoMode").or_else(|| text("stereo")),
    }
}

/// Walks over one value as rml_amf0 will read it; what follows.
fn skip_value(bytes: &[u8], depth: usize) -> Result<&[u8], AmfError> {
    if depth > DEPTH_MAX {
        return Err(AmfError::TooDeep);
    }
    let (&marker, rest) = bytes.split_first().ok_or(AmfError::Truncated)?;
    match marker {
        0 => skip(rest, 8),
        1 => skip(rest, 1),
        2 => skip_text(rest).map(|(_, rest)| rest),
        3 => skip_properties(rest, depth),
        5 | 6 => Ok(rest),
        // An ECMA array is an object behind a count that nobody keeps.
        8 => skip_properties(skip(rest, 4)?, depth),
        10 => {
            let (count, mut rest) = rest.split_first_chunk::<4>().ok_or(AmfError::Truncated)?;
            for _ in 0..u32::from_be_bytes(*count) {
                rest = skip_value(rest, depth + 1)?;
            }
            Ok(rest)
        }
        other => Err(AmfError::Unsupported(other)),
    }
}

/// Walks over names and values to the object's end: an empty name and the marker 9.
fn skip_properties(mut bytes: &[u8], depth: usize) -> Result<&[u8], AmfError> {
    loop {
        let (name, rest) = skip_text(bytes)?;
        if name == 0 {
            return match rest.split_first() {
                Some((9, rest)) => Ok(rest),
                Some(_) => Err(AmfError::Malformed("a property has no name".to_owned())),
                None => Err(AmfError::Truncated),
            };
        }
        bytes = skip_value(rest, depth + 1)?;
    }
}

/// Walks over a text with a 16-bit length; its length and what follows.
fn skip_text(bytes: &[u8]) -> Result<(usize, &[u8]), AmfError> {
    let (length, rest) = bytes.split_first_chunk::<2>().ok_or(AmfError::Truncated)?;
    let length = usize::from(u16::from_be_bytes(*length));
    Ok((length, skip(rest, length)?))
}

fn skip(bytes: &[u8], count: usize) -> Result<&[u8], AmfError> {
    bytes.get(count..).ok_or(AmfError::Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Amf0Value {
        Amf0Value::Utf8String(text.to_owned())
    }

    fn bytes(values: Vec<Amf0Value>) -> Vec<u8> {
        rml_amf0::serialize(&values).unwrap()
    }

    /// A property list with an encoder, a frame rate and the audio's `stereo`, without its container's marker.
    fn properties() -> Vec<u8> {
        let mut out = b"\x00\x07encoder\x02\x00\x03OBS\x00\x09framerate\x00".to_vec();
        out.extend_from_slice(&29.97f64.to_be_bytes());
        out.extend_from_slice(b"\x00\x06stereo\x01\x01\x00\x00\x09");
        out
    }

    #[test]
    fn metadata_is_read_bare_and_behind_set_data_frame_from_objects_and_ecma_arrays() {
        let expected = Metadata { encoder: Some("OBS".into()), frame_rate: Some(29.97), ..Metadata::default() };
        let name = bytes(vec![text("onMetaData")]);
        let set = bytes(vec![text("@setDataFrame")]);
        let object = [&[3][..], &properties()].concat();
        let ecma = [&[8, 0, 0, 0, 3][..], &properties()].concat();
        for (rule, message) in [
            ("bare object", [&name[..], &object].concat()),
            ("bare ECMA array", [&name[..], &ecma].concat()),
            ("set object", [&set[..], &name, &object].concat()),
            ("set ECMA array", [&set[..], &name, &ecma].concat()),
            ("trailing bytes", [&set[..], &name, &ecma, &[0, 0, 9]].concat()),
        ] {
            assert_eq!(metadata(&message), Ok(Some(expected.clone())), "{rule}");
        }
    }

    #[test]
    fn layout_is_text_in_our_own_keys() {
        let properties = HashMap::from([
            ("projection".to_owned(), text("equirect")),
            ("stereoMode".to_owned(), text("tb")),
            ("width".to_owned(), Amf0Value::Number(f64::NAN)),
        ]);
        let read = metadata(&bytes(vec![text("onMetaData"), Amf0Value::Object(properties)])).unwrap().unwrap();
        assert_eq!((read.projection.as_deref(), read.stereo.as_deref()), (Some("equirect"), Some("tb")));
        assert_eq!(read.width, None, "what is no number is no width");
    }

    #[test]
    fn other_data_messages_are_no_metadata() {
        for values in [vec![], vec![text("@setDataFrame")], vec![text("onFI"), Amf0Value::Null], vec![Amf0Value::Null]]
        {
            assert_eq!(metadata(&bytes(values)), Ok(None));
        }
    }

    #[test]
    fn what_rml_amf0_would_choke_on_is_refused_before_it() {
        let nested = [3, 0, 1, b'a'].repeat(10_000);
        for (rule, message, expected) in [
            ("nesting", nested, AmfError::TooDeep),
            ("arrays in arrays", [10, 0xFF, 0xFF, 0xFF, 0xFF].repeat(10_000), AmfError::TooDeep),
            ("an array longer than the message", vec![10, 0xFF, 0xFF, 0xFF, 0xFF, 5], AmfError::Truncated),
            ("a short text", vec![2, 0, 9, b'a'], AmfError::Truncated),
            ("an unknown type", vec![11], AmfError::Unsupported(11)),
            ("size", vec![5; AMF_BYTES_MAX + 1], AmfError::TooLong(AMF_BYTES_MAX + 1)),
        ] {
            assert_eq!(read(&message, 8), Err(expected), "{rule}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(message in proptest::collection::vec(0u8..16, 0..200)) {
            let _ = read(&message, 8);
            let _ = metadata(&message);
        }

        #[test]
        fn what_we_write_is_what_we_read(number in any::<f64>(), name in "[a-z]{1,9}", word in ".{0,40}") {
            prop_assume!(!number.is_nan());
            let object = HashMap::from([(name, Amf0Value::Number(number)), ("x".to_owned(), text(&word))]);
            let values = vec![text(&word), Amf0Value::StrictArray(vec![Amf0Value::Object(object), Amf0Value::Null])];
            prop_assert_eq!(read(&bytes(values.clone()), 8).unwrap(), values);
        }
    }
}
