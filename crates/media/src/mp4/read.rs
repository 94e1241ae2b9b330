//! A strict reader of fragmented MP4, for tests and for `live360 lint`.
//!
//! Never panics, whatever it is given, and takes only what it can be sure of: a chunk that leans on defaults in another
//! file, or whose samples don't fill its `mdat` exactly, is an error.

use super::boxes::FourCc;
use crate::aac::AudioConfig;
use crate::error::Malformed;
use crate::h264::VideoConfig;
use bytes::{Buf, Bytes};

/// Most samples of one `trun` that are looked at.
pub const SAMPLES_MAX: u32 = 65_536;

/// What an init segment says of its first track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitInfo {
    /// Name of the sample entry, e.g. `avc1`.
    pub codec: FourCc,
    /// The codec as playlists spell it (RFC 6381); the FourCC alone for codecs that the project does not know.
    pub codec_string: String,
    /// Ticks per second.
    pub timescale: u32,
    /// Pixels across; 0 for audio.
    pub width: u32,
    /// Pixels down; 0 for audio.
    pub height: u32,
    /// Whether there is Apple's `vexu`.
    pub has_vexu: bool,
    /// Whether there is Google's `sv3d`.
    pub has_sv3d: bool,
}

/// What a file of chunks holds: a part or a segment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FragmentInfo {
    /// Every track fragment, in the order of the file.
    pub tracks: Vec<TrackFragment>,
}

/// One `traf`, and the chunk around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackFragment {
    /// `mfhd`: number of the chunk.
    pub sequence: u32,
    /// `tfhd`: which track.
    pub track_id: u32,
    /// `tfdt`: decoding time of the first sample, in ticks.
    pub base_decode_time: u64,
    /// How many samples.
    pub samples: u32,
    /// Whether decoding can start at the first sample.
    pub first_is_sync: bool,
    /// Sum of the samples' durations, in ticks.
    pub duration: u64,
    /// Earliest presentation time, in ticks; the base decode time if there are no samples.
    pub min_pts: i64,
    /// Where the chunk's `moof` begins in the file.
    pub offset: usize,
    /// Bytes of the chunk's `moof`, header included.
    pub moof_bytes: usize,
    /// Bytes of the chunk's `mdat`, header included.
    pub mdat_bytes: usize,
}

/// The boxes of a file or of a container box: name and content. A size that points outside the data is an error, and
/// the last item. A size of 0 reaches to the end.
pub fn boxes(data: &[u8]) -> impl Iterator<Item = Result<(FourCc, &[u8]), Malformed>> {
    located(data).map(|item| item.map(|found| (found.name, found.content)))
}

/// What an init segment says; `None` if it is none.
pub fn init_info(data: &[u8]) -> Option<InitInfo> {
    let media = path(data, &[b"moov", b"trak", b"mdia"])?;
    let timescale = mdhd_timescale(child(media, b"mdhd")?)?;
    let stsd = path(media, &[b"minf", b"stbl", b"stsd"])?;
    let (codec, entry) = boxes(stsd.get(8..)?).next()?.ok()?;
    match child(media, b"hdlr")?.get(8..12)? {
        b"vide" => video_info(codec, timescale, entry),
        b"soun" => audio_info(codec, timescale, entry),
        _ => None,
    }
}

/// What a part or a segment holds. Errors on anything that is not chunks of `moof` and `mdat` (with `styp`, `sidx`,
/// `emsg` and `prft` allowed around them).
pub fn fragment_info(data: &[u8]) -> Result<FragmentInfo, Malformed> {
    let mut info = FragmentInfo::default();
    let mut open: Option<Located<'_>> = None;
    for item in located(data) {
        let found = item?;
        match (&found.name, open.take()) {
            (b"moof", None) => open = Some(found),
            (b"mdat", Some(moof)) => read_chunk(&moof, &found, &mut info.tracks)?,
            (b"styp" | b"sidx" | b"emsg" | b"prft" | b"free", None) => {}
            _ => return Err(Malformed("a box where a moof or its mdat belongs")),
        }
    }
    if open.is_some() { Err(Malformed("a moof without mdat")) } else { Ok(info) }
}

/// A box and where it is.
struct Located<'a> {
    name: FourCc,
    content: &'a [u8],
    /// From the start of the data to the box.
    offset: usize,
    header_bytes: usize,
}

impl Located<'_> {
    fn bytes(&self) -> usize {
        self.header_bytes + self.content.len()
    }
}

fn located(data: &[u8]) -> impl Iterator<Item = Result<Located<'_>, Malformed>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let offset = data.len() - rest.len();
        let found = split_box(&mut rest, offset);
        if found.is_err() {
            rest = &[];
        }
        Some(found)
    })
}

/// Takes one box off the front (ISO/IEC 14496-12, 4.2).
fn split_box<'a>(rest: &mut &'a [u8], offset: usize) -> Result<Located<'a>, Malformed> {
    let whole = *rest;
    let mut header = whole;
    let short = |_| Malformed("a box header ends early");
    let size = header.try_get_u32().map_err(short)?;
    let name = header.try_get_u32().map_err(short)?.to_be_bytes();
    let size = match size {
        0 => whole.len() as u64,
        1 => header.try_get_u64().map_err(short)?,
        short => u64::from(short),
    };
    let header_bytes = whole.len() - header.len();
    let size = usize::try_from(size).map_err(|_| Malformed("a box larger than memory"))?;
    let content = whole.get(header_bytes..size).ok_or(Malformed("a box size that its data does not have"))?;
    *rest = whole.get(size..).unwrap_or_default();
    Ok(Located { name, content, offset, header_bytes })
}

/// The first box of this name.
fn child<'a>(data: &'a [u8], name: &FourCc) -> Option<&'a [u8]> {
    boxes(data).map_while(Result::ok).find(|(found, _)| found == name).map(|(_, content)| content)
}

fn path<'a>(data: &'a [u8], names: &[&FourCc]) -> Option<&'a [u8]> {
    names.iter().try_fold(data, |content, name| child(content, name))
}

fn mdhd_timescale(mut mdhd: &[u8]) -> Option<u32> {
    let version = mdhd.try_get_u32().ok()? >> 24;
    mdhd = mdhd.get(if version == 1 { 16 } else { 8 }..)?;
    mdhd.try_get_u32().ok()
}

/// `VisualSampleEntry`: 78 bytes, then boxes.
fn video_info(codec: FourCc, timescale: u32, entry: &[u8]) -> Option<InitInfo> {
    let mut size = entry.get(24..28)?;
    let (width, height) = (size.try_get_u16().ok()?, size.try_get_u16().ok()?);
    let inner = entry.get(78..)?;
    let config = child(inner, b"avcC").and_then(|avcc| VideoConfig::from_avcc(Bytes::copy_from_slice(avcc)).ok());
    Some(InitInfo {
        codec,
        codec_string: config.map_or_else(|| codec.escape_ascii().to_string(), |config| config.codec_string()),
        timescale,
        width: width.into(),
        height: height.into(),
        has_vexu: child(inner, b"vexu").is_some(),
        has_sv3d: child(inner, b"sv3d").is_some(),
    })
}

/// `AudioSampleEntry`: 28 bytes, then boxes.
fn audio_info(codec: FourCc, timescale: u32, entry: &[u8]) -> Option<InitInfo> {
    let esds = child(entry.get(28..)?, b"esds");
    let config = esds.and_then(specific_config).and_then(|asc| AudioConfig::from_asc(asc).ok());
    Some(InitInfo {
        codec,
        codec_string: config.map_or_else(|| codec.escape_ascii().to_string(), |config| config.codec_string()),
        timescale,
        width: 0,
        height: 0,
        has_vexu: false,
        has_sv3d: false,
    })
}

/// The AudioSpecificConfig in an `esds` (ISO/IEC 14496-1, 7.2.6), if it has none of the optional fields.
fn specific_config(esds: &[u8]) -> Option<Bytes> {
    let es = descriptor(esds.get(4..)?, 3)?;
    let decoder = descriptor(es.get(3..)?, 4)?;
    descriptor(decoder.get(13..)?, 5).map(Bytes::copy_from_slice)
}

/// The content of a descriptor with this tag; its length is in groups of seven bits, at most four.
fn descriptor(data: &[u8], tag: u8) -> Option<&[u8]> {
    let mut rest = data;
    if rest.try_get_u8().ok()? != tag {
        return None;
    }
    let mut length = 0;
    for _ in 0..4 {
        let byte = rest.try_get_u8().ok()?;
        length = length << 7 | usize::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            break;
        }
    }
    rest.get(..length)
}

/// Reads every `traf` of a chunk. Together their samples must fill the `mdat`, in order.
fn read_chunk(moof: &Located<'_>, mdat: &Located<'_>, tracks: &mut Vec<TrackFragment>) -> Result<(), Malformed> {
    let sequence = child(moof.content, b"mfhd").and_then(|mut mfhd| {
        mfhd.advance(mfhd.len().min(4));
        mfhd.try_get_u32().ok()
    });
    let sequence = sequence.ok_or(Malformed("a moof without mfhd"))?;
    // Data offsets count from the moof's first byte.
    let mut data_at = (mdat.offset - moof.offset + mdat.header_bytes) as u64;
    for item in boxes(moof.content) {
        let (name, traf) = item?;
        if &name != b"traf" {
            continue;
        }
        let mut fragment = TrackFragment {
            sequence,
            track_id: 0,
            base_decode_time: 0,
            samples: 0,
            first_is_sync: false,
            duration: 0,
            min_pts: 0,
            offset: moof.offset,
            moof_bytes: moof.bytes(),
            mdat_bytes: mdat.bytes(),
        };
        read_traf(traf, &mut fragment, &mut data_at)?;
        tracks.push(fragment);
    }
    let end = (mdat.offset - moof.offset + mdat.bytes()) as u64;
    if data_at == end { Ok(()) } else { Err(Malformed("samples do not fill the mdat")) }
}

/// What `tfhd` says for samples that don't say it themselves.
struct Defaults {
    duration: Option<u32>,
    size: Option<u32>,
    flags: Option<u32>,
}

fn read_traf(traf: &[u8], fragment: &mut TrackFragment, data_at: &mut u64) -> Result<(), Malformed> {
    let tfhd = child(traf, b"tfhd").ok_or(Malformed("a traf without tfhd"))?;
    let defaults = read_tfhd(tfhd, fragment).ok_or(Malformed("a tfhd ends early or is not relative to its moof"))?;
    let tfdt = child(traf, b"tfdt").and_then(read_tfdt);
    fragment.base_decode_time = tfdt.ok_or(Malformed("a traf without a whole tfdt"))?;
    fragment.min_pts = i64::MAX;
    for item in boxes(traf) {
        let (name, trun) = item?;
        if &name == b"trun" {
            read_trun(trun, &defaults, fragment, data_at)?;
        }
    }
    if fragment.samples == 0 {
        fragment.min_pts = i64::try_from(fragment.base_decode_time).unwrap_or(i64::MAX);
    }
    Ok(())
}

/// `None` if it ends early, or if `default-base-is-moof` is not set.
fn read_tfhd(mut tfhd: &[u8], fragment: &mut TrackFragment) -> Option<Defaults> {
    let flags = tfhd.try_get_u32().ok()?;
    fragment.track_id = tfhd.try_get_u32().ok()?;
    let relative = flags & 0x02_0000 != 0 && flags & 1 == 0;
    let mut field = |bit: u32| if flags & bit == 0 { Some(None) } else { tfhd.try_get_u32().ok().map(Some) };
    field(0x2)?; // sample_description_index
    let (duration, size, flags) = (field(0x8)?, field(0x10)?, field(0x20)?);
    relative.then_some(Defaults { duration, size, flags })
}

fn read_tfdt(mut tfdt: &[u8]) -> Option<u64> {
    match tfdt.try_get_u32().ok()? >> 24 {
        0 => tfdt.try_get_u32().ok().map(u64::from),
        _ => tfdt.try_get_u64().ok(),
    }
}

fn read_trun(
    mut trun: &[u8],
    defaults: &Defaults,
    fragment: &mut TrackFragment,
    data_at: &mut u64,
) -> Result<(), Malformed> {
    const SHORT: Malformed = Malformed("a trun ends early");
    let header = trun.try_get_u32().map_err(|_| SHORT)?;
    let count = trun.try_get_u32().map_err(|_| SHORT)?;
    if count > SAMPLES_MAX {
        return Err(Malformed("a trun with too many samples"));
    }
    let mut field = |bit: u32| match header & bit {
        0 => Ok(None),
        _ => trun.try_get_u32().map(Some).map_err(|_| SHORT),
    };
    if field(0x1)?.is_some_and(|offset| u64::from(offset) != *data_at) {
        return Err(Malformed("a trun whose data is not where the samples before it end"));
    }
    let first_flags = field(0x4)?;
    for index in 0..count {
        let duration = field(0x100)?.or(defaults.duration).ok_or(Malformed("a sample without duration"))?;
        let size = field(0x200)?.or(defaults.size).ok_or(Malformed("a sample without size"))?;
        let own_flags = field(0x400)?;
        let flags = first_flags.filter(|_| index == 0).or(own_flags).or(defaults.flags);
        let flags = flags.ok_or(Malformed("a sample without flags"))?;
        // Version 0 has unsigned offsets, which no encoder lets grow past the sign bit.
        let offset = field(0x800)?.unwrap_or(0).cast_signed();
        if fragment.samples == 0 {
            fragment.first_is_sync = flags & 0x0001_0000 == 0;
        }
        let dts = fragment.base_decode_time.saturating_add(fragment.duration);
        let pts = i64::try_from(dts).unwrap_or(i64::MAX).saturating_add(i64::from(offset));
        fragment.min_pts = fragment.min_pts.min(pts);
        fragment.duration = fragment.duration.saturating_add(duration.into());
        fragment.samples = fragment.samples.saturating_add(1);
        *data_at = data_at.saturating_add(size.into());
    }
    Ok(())
}
