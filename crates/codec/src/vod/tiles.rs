//! The first picture of each of a sheet's reels.

use super::demux::{Demuxer, Kind};
use super::reader::Source;
use super::serve::Give;
use super::{FromVod, Reel, SheetJob, sheet};
use crate::convert::Converter;
use crate::picture::Picture;
use crate::{Error, decode};
use std::sync::Arc;

/// Video packets that are tried for a first picture.
const PACKETS_MAX: usize = 64;

/// Makes the sheet.
pub(super) fn run(job: &SheetJob, source: &Arc<dyn Source>, give: &Give) -> Result<(), Error> {
    let mut failed = None;
    let pictures = (0..).zip(&job.reels).map(|(index, reel)| match first(index, *reel, source) {
        Ok(picture) => picture,
        // A reel that is no good leaves its tile black. What is wrong with memory or the parent is no reel's fault.
        Err(Error::Source(_)) => None,
        Err(error) => {
            failed.get_or_insert(error);
            None
        }
    });
    let jpeg = sheet::make(job, pictures);
    match failed {
        Some(error) => Err(error),
        None => give.give(FromVod::Sheet(jpeg?)),
    }
}

fn first(index: u32, reel: Reel, source: &Arc<dyn Source>) -> Result<Option<Picture>, Error> {
    if reel.bytes == 0 {
        return Ok(None);
    }
    let mut demuxer = Demuxer::open(Arc::clone(source), index, reel)?;
    let Some(parameters) = demuxer.parameters(Kind::Video) else { return Ok(None) };
    let (mut decoder, mut converter) = (decode::Video::open_any(parameters)?, Converter::default());
    let (mut first, mut tried) = (None, 0);
    let mut take = |frame| {
        if first.is_none() {
            first = Some(converter.convert(frame)?);
        }
        Ok(())
    };
    while let Some(sample) = demuxer.next()? {
        if sample.kind == Kind::Video {
            decoder.push_packet(&sample.packet, &mut take)?;
            tried += 1;
        }
        if tried >= PACKETS_MAX {
            break;
        }
    }
    decoder.finish_frames(&mut take)?;
    Ok(first)
}
