//! Large files go up in parts, several at a time, and appear as a whole when the last is there.
//!
//! An upload that is broken off by the end of the process leaves parts behind that nobody sees; the bucket's lifecycle
//! rule for incomplete uploads removes them.

use super::words::{is_missing, status, trouble};
use super::{Mode, S3, WRITER, open, writer};
use crate::error::{Error, io_error};
use crate::objects::Creation;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::primitives::{ByteStream, Length};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use std::ops::Range;
use std::path::Path;
use tokio::task::JoinSet;

/// Length of a part in bytes, unless there would be too many: S3 takes parts from 5 MiB.
const PART_BYTES: u64 = 16 * 1024 * 1024;

/// Most parts of one upload; S3's own limit.
const PARTS_MAX: u64 = 10_000;

/// Parts on their way at a time.
const PARTS_AT_ONCE: usize = 4;

/// Bytes read from a file at a time.
const READ_BYTES: usize = 128 * 1024;

/// Times an upload is begun again because its end met another conditional write.
const UPLOADS_MAX: u32 = 3;

/// How an upload ended.
enum End {
    Written,
    /// The object is there; whose it is has to be looked at.
    There,
    /// It met another write and counts for nothing.
    Conflict(Error),
}

impl S3 {
    /// Writes a file in parts.
    pub(super) async fn upload(
        &self,
        name: &str,
        mode: Mode,
        path: &Path,
        length: u64,
        content_type: &str,
    ) -> Result<Creation, Error> {
        let mut uploads = 1;
        loop {
            let writer = writer();
            let created = self
                .client
                .create_multipart_upload()
                .bucket(&*self.bucket)
                .key(name)
                .content_type(content_type)
                .metadata(WRITER, &writer)
                .send()
                .await;
            let created = created.map_err(|error| trouble("write", self.place(name), &error))?;
            let id = created.upload_id.unwrap_or_default();
            let sent = async { self.complete(name, mode, &id, self.send(name, &id, path, length).await?).await };
            let end = sent.await;
            if !matches!(end, Ok(End::Written)) {
                self.abort(name, &id).await;
            }
            match end? {
                End::Written => return Ok(Creation::Created),
                End::There => return self.whose(name, &writer).await,
                End::Conflict(_) if uploads < UPLOADS_MAX => uploads += 1,
                End::Conflict(error) => return Err(error),
            }
        }
    }

    /// Sends all parts.
    async fn send(&self, name: &str, id: &str, path: &Path, length: u64) -> Result<Vec<CompletedPart>, Error> {
        let mut tasks = JoinSet::new();
        let sent = self.send_in(&mut tasks, name, id, path, length).await;
        // Where one part failed, the others are in vain.
        tasks.shutdown().await;
        sent
    }

    async fn send_in(
        &self,
        tasks: &mut JoinSet<Result<CompletedPart, Error>>,
        name: &str,
        id: &str,
        path: &Path,
        length: u64,
    ) -> Result<Vec<CompletedPart>, Error> {
        let mut done = Vec::new();
        for (number, range) in (1..).zip(parts(length)) {
            if tasks.len() >= PARTS_AT_ONCE {
                done.extend(next(tasks).await?);
            }
            let (store, name, id, path) = (self.clone(), name.to_owned(), id.to_owned(), path.to_owned());
            tasks.spawn(async move { store.send_part(&name, &id, &path, number, range).await });
        }
        while let Some(part) = next(tasks).await? {
            done.push(part);
        }
        done.sort_by_key(|part| part.part_number);
        Ok(done)
    }

    async fn send_part(
        &self,
        name: &str,
        id: &str,
        path: &Path,
        number: i32,
        range: Range<u64>,
    ) -> Result<CompletedPart, Error> {
        let length = range.end.saturating_sub(range.start);
        let sent = self
            .client
            .upload_part()
            .bucket(&*self.bucket)
            .key(name)
            .upload_id(id)
            .part_number(number)
            .body(piece(path, range.start, length).await?)
            .customize()
            .config_override(Builder::new().timeout_config(open::timeouts(self.limits.stretched(length))))
            .send()
            .await;
        let sent = sent.map_err(|error| trouble("write", self.place(name), &error))?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .set_checksum_crc32(sent.checksum_crc32)
            .build())
    }

    async fn complete(&self, name: &str, mode: Mode, id: &str, parts: Vec<CompletedPart>) -> Result<End, Error> {
        let upload = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let condition = (mode == Mode::Create).then(|| "*".to_owned());
        let completed = self
            .client
            .complete_multipart_upload()
            .bucket(&*self.bucket)
            .key(name)
            .upload_id(id)
            .multipart_upload(upload)
            .set_if_none_match(condition)
            .send()
            .await;
        let Err(error) = completed else { return Ok(End::Written) };
        let code = error.as_service_error().and_then(|error| error.code()).unwrap_or_default();
        match status(&error) {
            Some(412) => Ok(End::There),
            // An attempt whose answer was lost had completed it, or somebody aborted it.
            Some(404) if is_missing(&error) && code == "NoSuchUpload" => Ok(End::There),
            Some(409) => Ok(End::Conflict(trouble("write", self.place(name), &error))),
            _ => Err(trouble("write", self.place(name), &error)),
        }
    }

    /// What can't be removed now, the bucket's lifecycle removes.
    async fn abort(&self, name: &str, id: &str) {
        let aborted = self.client.abort_multipart_upload().bucket(&*self.bucket).key(name).upload_id(id).send().await;
        if let Err(error) = aborted {
            let error = trouble("abort the upload of", self.place(name), &error);
            tracing::debug!(%error, "parts of an upload are left behind");
        }
    }
}

/// A piece of a file as a request's body, read as it is sent, from the start again at each attempt.
pub(super) async fn piece(path: &Path, offset: u64, length: u64) -> Result<ByteStream, Error> {
    let piece = ByteStream::read_from().path(path).offset(offset).length(Length::Exact(length));
    let piece = piece.buffer_size(READ_BYTES).build().await;
    piece.map_err(|error| io_error("read", path)(std::io::Error::other(error)))
}

/// Where the parts of a file begin and end.
fn parts(length: u64) -> impl Iterator<Item = Range<u64>> {
    let part = PART_BYTES.max(length.div_ceil(PARTS_MAX));
    let starts = std::iter::successors(Some(0), move |start: &u64| start.checked_add(part));
    starts.take_while(move |start| *start < length).map(move |start| start..start.saturating_add(part).min(length))
}

async fn next(tasks: &mut JoinSet<Result<CompletedPart, Error>>) -> Result<Option<CompletedPart>, Error> {
    match tasks.join_next().await {
        None => Ok(None),
        Some(Ok(part)) => part.map(Some),
        Some(Err(lost)) => Err(io_error("send", "a part")(std::io::Error::other(lost))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_file_and_are_never_too_many() {
        const MIB: u64 = 1024 * 1024;
        for (length, count) in [(16 * MIB + 1, 2), (32 * MIB, 2), (40 * MIB, 3), (5 << 40, 10_000), (1 << 40, 10_000)] {
            let parts: Vec<_> = parts(length).collect();
            assert_eq!(parts.len(), count, "{length}");
            assert!(parts.iter().zip(parts.iter().skip(1)).all(|(a, b)| a.end == b.start));
            assert_eq!((parts[0].start, parts[count - 1].end), (0, length));
        }
        assert!(parts(10).eq(std::iter::once(0..10)) && parts(0).next().is_none());
    }
}
