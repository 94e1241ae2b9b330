//! A bucket of S3, or of anything that speaks like it.
//!
//! The SDK retries (standard mode) within the limits; what it can't know is here: who won a conditional write, how keys
//! come back from listings, and which answers mean "not there". Large files are [`upload`]'s.

mod open;
mod upload;
mod words;

pub(crate) use open::{BACKOFF_MAX, behavior, endpoint, http_client, timeouts};
pub(crate) use words::{broken, trouble};

use crate::body::Body;
use crate::error::Error;
use crate::files::Entry;
use crate::key::{self, BadKey, KEY_BYTES_MAX};
use crate::limits::Limits;
use crate::objects::{Creation, Facts, Object, PAGE_MAX};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::EncodingType;
use bytes::Bytes;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use words::{is_missing, status};

/// Files up to this length, in bytes, are written by one request.
const WHOLE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// User metadata that says which call wrote an object.
const WRITER: &str = "live360-writer";

/// A bucket, and what our keys in it begin with.
#[derive(Debug, Clone)]
pub(crate) struct S3 {
    client: Client,
    bucket: Arc<str>,
    /// Empty, or ends with a slash.
    prefix: Arc<str>,
    limits: Limits,
}

/// A listing in progress.
#[derive(Debug)]
pub(crate) struct Pages {
    store: S3,
    prefix: String,
    /// `Some(None)` before the first page; `None` after the last.
    token: Option<Option<String>>,
}

/// Which of the operations that write is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Unless it is there.
    Create,
    /// Also over it.
    Replace,
}

impl S3 {
    pub(crate) async fn create(&self, key: &str, content: Bytes, content_type: &str) -> Result<Creation, Error> {
        let length = content.len() as u64;
        self.write(&self.name(key)?, Mode::Create, content.into(), length, content_type).await
    }

    pub(crate) async fn put(&self, key: &str, content: Bytes, content_type: &str) -> Result<(), Error> {
        let length = content.len() as u64;
        self.write(&self.name(key)?, Mode::Replace, content.into(), length, content_type).await.map(drop)
    }

    pub(crate) async fn create_file(
        &self,
        key: &str,
        path: &Path,
        length: u64,
        content_type: &str,
    ) -> Result<Creation, Error> {
        // Sending gigabytes to learn that they are there already helps nobody.
        if self.head(key).await?.is_some() {
            return Ok(Creation::AlreadyThere);
        }
        self.write_file(&self.name(key)?, Mode::Create, path, length, content_type).await
    }

    pub(crate) async fn put_file(&self, key: &str, path: &Path, length: u64, content_type: &str) -> Result<(), Error> {
        self.write_file(&self.name(key)?, Mode::Replace, path, length, content_type).await.map(drop)
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Object>, Error> {
        let name = self.name(key)?;
        let got = match self.client.get_object().bucket(&*self.bucket).key(&name).send().await {
            Ok(got) => got,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(trouble("read", self.place(&name), &error)),
        };
        let facts = Facts {
            bytes: bytes(got.content_length),
            etag: got.e_tag,
            content_type: got.content_type,
            modified: time(got.last_modified.as_ref()),
        };
        let body = Body::bucket(got.body, self.place(&name), facts.bytes, self.limits.stall);
        Ok(Some(Object { facts, body }))
    }

    pub(crate) async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Object>, Error> {
        let name = self.name(key)?;
        let (first, last) = (range.start, range.end.saturating_sub(1).max(range.start));
        let asked = self.client.get_object().bucket(&*self.bucket).key(&name).range(format!("bytes={first}-{last}"));
        let got = match asked.send().await {
            Ok(got) => got,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(trouble("read", self.place(&name), &error)),
        };
        let length = bytes(got.content_length);
        // `bytes 0-9/1234`; one that sends all of it although asked for a piece does not say so.
        let whole = got.content_range.as_deref().and_then(|range| range.rsplit('/').next()?.parse().ok());
        let facts = Facts {
            bytes: whole.unwrap_or(length),
            etag: got.e_tag,
            content_type: got.content_type,
            modified: time(got.last_modified.as_ref()),
        };
        let body = Body::bucket(got.body, self.place(&name), length, self.limits.stall);
        Ok(Some(Object { facts, body }))
    }

    pub(crate) async fn head(&self, key: &str) -> Result<Option<Facts>, Error> {
        let name = self.name(key)?;
        match self.client.head_object().bucket(&*self.bucket).key(&name).send().await {
            Ok(head) => Ok(Some(Facts {
                bytes: bytes(head.content_length),
                etag: head.e_tag,
                content_type: head.content_type,
                modified: time(head.last_modified.as_ref()),
            })),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(trouble("look at", self.place(&name), &error)),
        }
    }

    pub(crate) fn list(&self, folder: &str) -> Pages {
        let prefix = if folder.is_empty() { self.prefix.to_string() } else { format!("{}{folder}/", self.prefix) };
        Pages { store: self.clone(), prefix, token: Some(None) }
    }

    pub(crate) async fn remove(&self, key: &str) -> Result<(), Error> {
        let name = self.name(key)?;
        match self.client.delete_object().bucket(&*self.bucket).key(&name).send().await {
            Ok(_) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(trouble("remove", self.place(&name), &error)),
        }
    }

    /// One request that writes a whole object.
    async fn write(
        &self,
        name: &str,
        mode: Mode,
        content: ByteStream,
        length: u64,
        content_type: &str,
    ) -> Result<Creation, Error> {
        let writer = writer();
        let put = self
            .client
            .put_object()
            .bucket(&*self.bucket)
            .key(name)
            .content_type(content_type)
            .metadata(WRITER, &writer)
            .body(content);
        let with = Builder::new().timeout_config(open::timeouts(self.limits.stretched(length)));
        let sent = match mode {
            Mode::Create => {
                let with = with.retry_classifier(words::Conflict);
                put.if_none_match("*").customize().config_override(with).send().await
            }
            Mode::Replace => put.customize().config_override(with).send().await,
        };
        match sent {
            Ok(_) => Ok(Creation::Created),
            Err(error) if status(&error) == Some(412) => self.whose(name, &writer).await,
            Err(error) => Err(trouble("write", self.place(name), &error)),
        }
    }

    async fn write_file(
        &self,
        name: &str,
        mode: Mode,
        path: &Path,
        length: u64,
        content_type: &str,
    ) -> Result<Creation, Error> {
        if length > WHOLE_BYTES_MAX {
            return self.upload(name, mode, path, length, content_type).await;
        }
        let content = upload::piece(path, 0, length).await?;
        self.write(name, mode, content, length, content_type).await
    }

    /// Who wrote what is there: an attempt whose answer was lost may have been ours.
    async fn whose(&self, name: &str, writer: &str) -> Result<Creation, Error> {
        match self.client.head_object().bucket(&*self.bucket).key(name).send().await {
            Ok(head) => {
                let ours = head.metadata().and_then(|metadata| metadata.get(WRITER)).is_some_and(|w| w == writer);
                Ok(if ours { Creation::Created } else { Creation::AlreadyThere })
            }
            Err(error) => match trouble("look at", self.place(name), &error) {
                away if away.is_away() => Err(away),
                // Who may write but not read, or what was removed meanwhile: it was there, that much is known.
                _ => Ok(Creation::AlreadyThere),
            },
        }
    }

    /// The name of a key in the bucket.
    fn name(&self, key: &str) -> Result<String, Error> {
        let name = format!("{}{key}", self.prefix);
        if name.len() > KEY_BYTES_MAX {
            let key = key.chars().take(80).collect();
            return Err(BadKey { key, why: "with the bucket's prefix it is longer than 1024 bytes" }.into());
        }
        Ok(name)
    }

    /// For people.
    fn place(&self, name: &str) -> String {
        format!("s3://{}/{name}", self.bucket)
    }
}

impl Pages {
    /// The next page that has anything in it; nothing after the last.
    pub(crate) async fn next(&mut self) -> Result<Vec<Entry>, Error> {
        while let Some(token) = &self.token {
            let S3 { client, bucket, .. } = &self.store;
            let listed = client
                .list_objects_v2()
                .bucket(&**bucket)
                .prefix(&self.prefix)
                .max_keys(PAGE_MAX as i32)
                // As they are, keys with control characters (anyone may put one there) make the answer no XML.
                .encoding_type(EncodingType::Url)
                .set_continuation_token(token.clone())
                .send()
                .await;
            let listed = listed.map_err(|error| trouble("list", self.store.place(&self.prefix), &error))?;
            self.token = listed.next_continuation_token.clone().filter(|_| listed.is_truncated == Some(true)).map(Some);
            let page = page(listed, &self.store.prefix);
            if !page.is_empty() {
                return Ok(page);
            }
        }
        Ok(Vec::new())
    }
}

/// What of a page is ours.
fn page(listed: ListObjectsV2Output, prefix: &str) -> Vec<Entry> {
    let encoded = listed.encoding_type == Some(EncodingType::Url);
    let objects = listed.contents.unwrap_or_default().into_iter();
    let entry = |object: aws_sdk_s3::types::Object| {
        let name = object.key?;
        let name = if encoded { decode(&name)? } else { name };
        let key = name.strip_prefix(prefix)?;
        key::check(key).ok()?;
        let modified = time(object.last_modified.as_ref()).unwrap_or(SystemTime::UNIX_EPOCH);
        Some(Entry { key: key.to_owned(), bytes: bytes(object.size), modified, etag: object.e_tag })
    };
    objects.filter_map(entry).collect()
}

/// Decodes a key from a listing: `+` is a space there. `None` if it is no UTF-8 or no encoding.
fn decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

fn bytes(length: Option<i64>) -> u64 {
    length.and_then(|length| u64::try_from(length).ok()).unwrap_or(0)
}

fn time(time: Option<&DateTime>) -> Option<SystemTime> {
    time.and_then(|time| SystemTime::try_from(*time).ok())
}

/// A name for one call that writes, as good as never given twice.
fn writer() -> String {
    format!("{:032x}", fastrand::u128(..))
}

#[cfg(test)]
mod tests;
