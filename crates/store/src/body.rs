//! An object's bytes on their way.

use crate::error::{Error, io_error};
use bytes::{Bytes, BytesMut};
use std::fs::File;
use std::io::Read as _;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Bytes read from a file at a time.
const READ_BYTES: u64 = 256 * 1024;

/// An object's bytes, piece by piece. Ends with an error where the object has not come whole, and then for good.
#[derive(Debug)]
pub struct Body {
    source: Source,
    place: String,
    length: u64,
    got: u64,
    stall: Duration,
}

#[derive(Debug)]
enum Source {
    File(File),
    #[cfg(feature = "aws")]
    Bucket(aws_sdk_s3::primitives::ByteStream),
    Ended,
}

impl Body {
    /// The next `length` bytes of a file.
    pub(crate) fn file(file: File, place: String, length: u64, stall: Duration) -> Self {
        Self { source: Source::File(file), place, length, got: 0, stall }
    }

    /// What a bucket sends.
    #[cfg(feature = "aws")]
    pub(crate) fn bucket(
        stream: aws_sdk_s3::primitives::ByteStream,
        place: String,
        length: u64,
        stall: Duration,
    ) -> Self {
        Self { source: Source::Bucket(stream), place, length, got: 0, stall }
    }

    /// The next bytes, never none of them; `None` when all have come. Dropped while it waits, the body has ended.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        // Taken out for the wait: whoever drops the future may have dropped bytes with it.
        let source = std::mem::replace(&mut self.source, Source::Ended);
        let next = match timeout(self.stall, source.next(&self.place, self.length.saturating_sub(self.got))).await {
            Ok(next) => next,
            Err(_) => Err(Error::Slow { doing: "read on in", place: self.place.clone(), after: self.stall }),
        };
        match next {
            Ok(Some((bytes, source))) => {
                self.got = self.got.saturating_add(bytes.len() as u64);
                if self.got > self.length {
                    return Some(Err(Error::TooLarge { place: self.place.clone(), limit: self.length }));
                }
                self.source = source;
                Some(Ok(bytes))
            }
            Ok(None) if self.got == self.length => None,
            Ok(None) => {
                let (got, length) = (self.got, self.length);
                // Said once: the next call finds it ended like any other.
                self.got = self.length;
                Some(Err(Error::Short { place: self.place.clone(), got, length }))
            }
            Err(error) => {
                self.got = self.length;
                Some(Err(error))
            }
        }
    }

    /// All of it, of at most `limit` bytes.
    pub async fn collect(mut self, limit: u64) -> Result<Bytes, Error> {
        if self.length > limit {
            return Err(Error::TooLarge { place: self.place, limit });
        }
        let first = match self.next().await {
            None => return Ok(Bytes::new()),
            Some(first) => first?,
        };
        if first.len() as u64 == self.length {
            return Ok(first);
        }
        let mut all = BytesMut::with_capacity(usize::try_from(self.length).unwrap_or(first.len()));
        all.extend_from_slice(&first);
        while let Some(bytes) = self.next().await {
            all.extend_from_slice(&bytes?);
        }
        Ok(all.freeze())
    }
}

impl Source {
    /// The next bytes, and the source again; `None` at its end. Of a file no more than `left` bytes are wanted.
    async fn next(self, place: &str, left: u64) -> Result<Option<(Bytes, Self)>, Error> {
        match self {
            Self::Ended => Ok(None),
            Self::File(file) => {
                let read = spawn_blocking(move || read_on(file, left.min(READ_BYTES))).await;
                let (bytes, file) =
                    read.map_err(std::io::Error::other).and_then(|read| read).map_err(io_error("read", place))?;
                Ok((!bytes.is_empty()).then_some((bytes, Self::File(file))))
            }
            #[cfg(feature = "aws")]
            Self::Bucket(mut stream) => loop {
                match stream.next().await {
                    None => return Ok(None),
                    Some(Ok(bytes)) if bytes.is_empty() => {}
                    Some(Ok(bytes)) => return Ok(Some((bytes, Self::Bucket(stream)))),
                    Some(Err(error)) => return Err(crate::s3::broken("read on in", place, &error)),
                }
            },
        }
    }
}

fn read_on(file: File, limit: u64) -> std::io::Result<(Bytes, File)> {
    let mut bytes = Vec::with_capacity(usize::try_from(limit).unwrap_or_default());
    let mut some = file.take(limit);
    some.read_to_end(&mut bytes)?;
    Ok((bytes.into(), some.into_inner()))
}
