//! Init segments: `ftyp` and `moov` with one track and no samples.

use super::boxes::{FourCc, Writer};
use super::spherical;
use crate::aac::AudioConfig;
use crate::h264::VideoConfig;
use crate::projection::Layout;
use crate::unit::VIDEO_TIMESCALE;
use bytes::Bytes;

/// The only track of a file.
pub(super) const TRACK_ID: u32 = 1;

/// Ticks per second of `mvhd`, whose duration is unknown (0) anyway.
const MOVIE_TIMESCALE: u32 = 1000;

/// No rotation, no scaling: the matrix of 16.16 and 2.30 fixed point numbers in `mvhd` and `tkhd`.
const UNITY_MATRIX: [u32; 9] = [0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000];

/// Language `und`, five bits per letter.
const UNDETERMINED: u16 = 0x55C4;

/// What differs between the two kinds of track.
struct TrackHeader {
    timescale: u32,
    handler: &'static FourCc,
    /// 16.16 fixed point; 1.0 for audio.
    volume: u16,
    /// Pixels; 0 for audio.
    width: u32,
    height: u32,
}

/// The init segment of a video rendition: timescale 90000, the decoder configuration, and the layout's boxes.
pub fn init_video(config: &VideoConfig, layout: Layout) -> Bytes {
    let header = TrackHeader {
        timescale: VIDEO_TIMESCALE,
        handler: b"vide",
        volume: 0,
        width: config.width(),
        height: config.height(),
    };
    init(&header, |w| avc1(w, config, layout))
}

/// The init segment of the audio rendition: the timescale is the sample rate of the core coder.
pub fn init_audio(config: &AudioConfig) -> Bytes {
    let header = TrackHeader { timescale: config.sample_rate(), handler: b"soun", volume: 0x0100, width: 0, height: 0 };
    init(&header, |w| mp4a(w, config))
}

fn init(header: &TrackHeader, sample_entry: impl FnOnce(&mut Writer)) -> Bytes {
    let mut w = Writer::with_capacity(1024);
    w.boxed(b"ftyp", |w| {
        w.bytes(b"iso6");
        w.u32(0);
        // cmf2: composition offsets are signed and there is no edit list.
        w.bytes(b"iso6cmfccmf2");
    });
    w.boxed(b"moov", |w| {
        mvhd(w);
        w.boxed(b"trak", |w| {
            tkhd(w, header);
            w.boxed(b"mdia", |w| mdia(w, header, sample_entry));
        });
        w.boxed(b"mvex", |w| {
            w.full_box(b"trex", 0, 0, |w| {
                w.u32(TRACK_ID);
                w.u32(1); // default_sample_description_index
                w.zeros(12); // duration, size and flags stand in the chunks
            });
        });
    });
    w.finish().into()
}

fn mvhd(w: &mut Writer) {
    w.full_box(b"mvhd", 0, 0, |w| {
        w.zeros(8); // creation and modification time: none, so that equal inputs give equal bytes
        w.u32(MOVIE_TIMESCALE);
        w.u32(0); // duration
        w.u32(0x0001_0000); // rate
        w.u16(0x0100); // volume
        w.zeros(10);
        matrix(w);
        w.zeros(24);
        w.u32(TRACK_ID + 1); // next_track_ID
    });
}

fn tkhd(w: &mut Writer, header: &TrackHeader) {
    const ENABLED_IN_MOVIE_AND_PREVIEW: u32 = 7;
    w.full_box(b"tkhd", 0, ENABLED_IN_MOVIE_AND_PREVIEW, |w| {
        w.zeros(8);
        w.u32(TRACK_ID);
        w.u32(0);
        w.u32(0); // duration
        w.zeros(8);
        w.u16(0); // layer
        w.u16(0); // alternate_group
        w.u16(header.volume);
        w.u16(0);
        matrix(w);
        w.u32(header.width << 16);
        w.u32(header.height << 16);
    });
}

fn matrix(w: &mut Writer) {
    for value in UNITY_MATRIX {
        w.u32(value);
    }
}

fn mdia(w: &mut Writer, header: &TrackHeader, sample_entry: impl FnOnce(&mut Writer)) {
    w.full_box(b"mdhd", 0, 0, |w| {
        w.zeros(8);
        w.u32(header.timescale);
        w.u32(0); // duration
        w.u16(UNDETERMINED);
        w.u16(0);
    });
    w.full_box(b"hdlr", 0, 0, |w| {
        w.u32(0);
        w.bytes(header.handler);
        w.zeros(12);
        w.bytes(b"live360\0");
    });
    w.boxed(b"minf", |w| {
        match header.handler {
            b"vide" => w.full_box(b"vmhd", 0, 1, |w| w.zeros(8)),
            _ => w.full_box(b"smhd", 0, 0, |w| w.zeros(4)),
        }
        w.boxed(b"dinf", |w| {
            w.full_box(b"dref", 0, 0, |w| {
                w.u32(1);
                w.full_box(b"url ", 0, 1, |_| {}); // flag 1: the media is in this file
            });
        });
        w.boxed(b"stbl", |w| {
            w.full_box(b"stsd", 0, 0, |w| {
                w.u32(1);
                sample_entry(w);
            });
            w.full_box(b"stts", 0, 0, |w| w.u32(0));
            w.full_box(b"stsc", 0, 0, |w| w.u32(0));
            w.full_box(b"stsz", 0, 0, |w| w.zeros(8));
            w.full_box(b"stco", 0, 0, |w| w.u32(0));
        });
    });
}

/// `VisualSampleEntry` (ISO/IEC 14496-12, 12.1.3)
fn avc1(w: &mut Writer, config: &VideoConfig, layout: Layout) {
    const DPI_72: u32 = 0x0048_0000;
    let side = |pixels: u32| u16::try_from(pixels).unwrap_or(u16::MAX);
    w.boxed(b"avc1", |w| {
        w.zeros(6);
        w.u16(1); // data_reference_index
        w.zeros(16);
        w.u16(side(config.width()));
        w.u16(side(config.height()));
        w.u32(DPI_72);
        w.u32(DPI_72);
        w.u32(0);
        w.u16(1); // frame_count
        w.zeros(32); // compressorname
        w.u16(0x0018); // depth
        w.u16(0xFFFF);
        w.boxed(b"avcC", |w| w.bytes(config.avcc()));
        spherical::write(w, layout);
    });
}

/// `AudioSampleEntry` (ISO/IEC 14496-12, 12.2.3)
fn mp4a(w: &mut Writer, config: &AudioConfig) {
    w.boxed(b"mp4a", |w| {
        w.zeros(6);
        w.u16(1); // data_reference_index
        w.zeros(8);
        w.u16(u16::from(config.channels()));
        w.u16(16); // samplesize
        w.zeros(4);
        // 16.16 fixed point; 0 for a rate that does not fit, which `esds` tells anyway.
        w.u32(u16::try_from(config.sample_rate()).map_or(0, |rate| u32::from(rate) << 16));
        w.full_box(b"esds", 0, 0, |w| es_descriptor(w, config.asc()));
    });
}

/// `ES_Descriptor` (ISO/IEC 14496-1, 7.2.6.5) around an AudioSpecificConfig
fn es_descriptor(w: &mut Writer, asc: &[u8]) {
    const ES: u8 = 3;
    const DECODER_CONFIG: u8 = 4;
    const DECODER_SPECIFIC: u8 = 5;
    const SYNC_LAYER: u8 = 6;
    const MPEG4_AUDIO: u8 = 0x40;
    const AUDIO_STREAM: u8 = 0x15;
    /// A tag and four bytes of length.
    const HEADER_BYTES: usize = 5;
    let decoder_bytes = 13 + HEADER_BYTES + asc.len();
    descriptor(w, ES, 3 + HEADER_BYTES + decoder_bytes + HEADER_BYTES + 1);
    w.u16(0); // ES_ID: always 0 in a file
    w.u8(0);
    descriptor(w, DECODER_CONFIG, decoder_bytes);
    w.u8(MPEG4_AUDIO);
    w.u8(AUDIO_STREAM);
    w.zeros(3); // bufferSizeDB
    w.zeros(8); // maxBitrate, avgBitrate: unknown
    descriptor(w, DECODER_SPECIFIC, asc.len());
    w.bytes(asc);
    descriptor(w, SYNC_LAYER, 1);
    w.u8(2); // predefined: MP4
}

/// A descriptor's tag, and its length in four groups of seven bits.
fn descriptor(w: &mut Writer, tag: u8, length: usize) {
    w.u8(tag);
    for (shift, more) in [(21, 0x80), (14, 0x80), (7, 0x80), (0, 0)] {
        w.u8((length >> shift & 0x7F) as u8 | more);
    }
}
