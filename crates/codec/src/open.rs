//! Opening an encoder so that no option gets lost.
//!
//! libav ignores private options it does not know and says so only in the dictionary it hands back, which
//! ffmpeg-next drops. Here what is left over is an error. Knows no particular codec.
#![allow(unsafe_code)]

use crate::Error;
use ffmpeg_next::Codec;
use ffmpeg_next::codec;
use ffmpeg_next::{Dictionary, ffi};

/// Opens `context` with `options`. Errors if the codec refuses a value or does not know a name.
pub(crate) fn open(
    context: &mut codec::Context,
    codec: Codec,
    name: &'static str,
    options: &[(&str, String)],
) -> Result<(), Error> {
    let mut dictionary = Dictionary::new();
    for (key, value) in options {
        dictionary.set(key, value);
    }
    // SAFETY: `disown` gives up the dictionary's pointer; avcodec_open2 frees it and writes back a new one with
    // what it did not use, which `own` takes again. `context` was allocated for this codec and is not open yet.
    let (result, left_over) = unsafe {
        let mut raw = dictionary.disown();
        let result = ffi::avcodec_open2(context.as_mut_ptr(), codec.as_ptr(), &mut raw);
        (result, Dictionary::own(raw))
    };
    if result < 0 {
        return Err(Error::Libav { what: "opening an encoder", why: result.into() });
    }
    match left_over.iter().next() {
        Some((key, value)) => Err(Error::UnknownOption { codec: name, option: format!("{key}={value}") }),
        None => Ok(()),
    }
}

/// The codec configuration that an open encoder wrote (with `AV_CODEC_FLAG_GLOBAL_HEADER`).
pub(crate) fn extradata(context: &codec::Context) -> &[u8] {
    // SAFETY: libav keeps `extradata_size` readable bytes there for as long as the context lives, and we hold it.
    unsafe {
        let raw = context.as_ptr();
        match ((*raw).extradata.is_null(), usize::try_from((*raw).extradata_size)) {
            (false, Ok(size)) => std::slice::from_raw_parts((*raw).extradata, size),
            _ => &[],
        }
    }
}
