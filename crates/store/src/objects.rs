//! The object store: one set of operations over a folder or a bucket.
//!
//! Objects are whole or absent, and created once by whoever comes first. What differs between the two kinds of place is
//! said at each operation; nothing else may.

use crate::body::Body;
use crate::error::Error;
use crate::files::Entry;
use crate::key;
use crate::limits::Limits;
use crate::local::Local;
use crate::place::Place;
#[cfg(feature = "aws")]
use crate::s3::{Pages, S3};
use bytes::Bytes;
use std::ops::Range;
use std::path::Path;
use std::time::SystemTime;

/// Most objects in one page of a listing.
pub const PAGE_MAX: usize = 1000;

/// An object store. Cloning gives another handle to the same.
///
/// Keys are as [`crate::check_key`] allows, in both kinds of place; what others put there under other names is not seen.
/// A folder can't hold one key that is a file and another below it (`a` and `a/b`: [`Error::Clash`]); a bucket could, and
/// nobody may count on it.
#[derive(Debug, Clone)]
pub struct Objects {
    place: Place,
    store: Store,
}

#[derive(Debug, Clone)]
enum Store {
    Folder(Local),
    #[cfg(feature = "aws")]
    Bucket(S3),
}

/// Who created an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// This call.
    Created,
    /// Another one, with what content ever. Nothing was written.
    AlreadyThere,
}

/// What is known of an object beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its length in bytes.
    pub bytes: u64,
    /// Its ETag, in quotes: another whenever it was written again.
    pub etag: Option<String>,
    /// What it was created as. A folder doesn't keep it.
    pub content_type: Option<String>,
    /// When it was written.
    pub modified: Option<SystemTime>,
}

/// An object that is being read.
#[derive(Debug)]
pub struct Object {
    /// What is known before the bytes.
    pub facts: Facts,
    /// The bytes.
    pub body: Body,
}

/// A listing, page by page.
#[derive(Debug)]
pub struct Listing {
    pages: Source,
}

#[derive(Debug)]
enum Source {
    /// Not begun yet.
    Folder(Local, String),
    Read(std::vec::IntoIter<Entry>),
    #[cfg(feature = "aws")]
    Bucket(Pages),
}

impl Objects {
    /// Opens `file:PATH` or `s3://bucket/prefix`; region, credentials and endpoint of a bucket come from where every AWS
    /// program looks for them. Whether the place is there shows when it is used.
    pub async fn open(url: &str, limits: Limits) -> Result<Self, Error> {
        let place: Place = url.parse()?;
        let store = match &place {
            Place::Folder(path) => Store::Folder(Local::new(path.clone(), limits)),
            #[cfg(feature = "aws")]
            Place::Bucket { bucket, prefix } => Store::Bucket(S3::open(bucket, prefix, limits).await?),
            #[cfg(not(feature = "aws"))]
            Place::Bucket { .. } => {
                let why = "this program was built without AWS; write file:PATH";
                return Err(crate::BadPlace { given: place.to_string(), why }.into());
            }
        };
        Ok(Self { place, store })
    }

    /// Where it is, for people.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Writes an object unless there is one. Of several writers at once just one is told [`Creation::Created`], and the
    /// object is his. When this comes back, a power cut can't undo it.
    pub async fn create(&self, key: &str, content: Bytes, content_type: &str) -> Result<Creation, Error> {
        key::check(key)?;
        match &self.store {
            Store::Folder(folder) => folder.create(key, content, content_type).await,
            #[cfg(feature = "aws")]
            Store::Bucket(bucket) => bucket.create(key, content, content_type).await,
        }
    }

    /// Writes an object, in place of the one that may be there.
    pub async fn put(&self, key: &str, content: Bytes, content_type: &str) -> Result<(), Error> {
        key::check(key)?;
        match &self.store {
            Store::Folder(folder) => folder.put(key, content, content_type).await,
            #[cfg(feature = "aws")]
            Store::Bucket(bucket) => bucket.put(key, content, content_type).await,
        }
    }

    /// [`Objects::create`] of what a file has, which must not change meanwhile. Large ones go up in several parts.
    pub async fn create_file(&self, key: &str, path: &Path, content_type: &str) -> Result<Creation, Error> {
        key::check(key)?;
        let length = length(path).await?;
        match &self.store {
            Store::Folder(folder) => folder.create_file(key, path, length, content_type).await,
            #[cfg(feature = "aws")]
            Store::Bucket(bucket) => bucket.create_file(key, path, length, content_type).await,
        }
    }

    /// [`Objects::put`] of what a file has, which must not change meanwhile. Large ones go up in several parts.
    pub async fn put_file(&self, key: &str, path: &Path, content_type: &str) -> Result<(), Error> {
        key::check(key)?;
        let length = length(path).await?;
        match &self.store {
            Store::Folder(folder) => folder.put_file(key, path, length, content_type).await,
            #[cfg(feature = "aws")]
            Store::Bucket(bucket) => bucket.put_file(key, path, length, content_type).await,
        }
    }

    /// Begins to read an object, if it is there. What is put in its place later doesn't show in it.
    pub async fn get(&self, key: &str) -> Result<Option<Object>, Error> {
        key::check(key)?;
        match &self.store {
            Store::Folder(folder) => folder.get(key).await,
            #[cfg(feature = "aws")]
            Store::Bucket(bucket) => bucket.get(key).await,
        }
    }

    /// Begins to read these bytes of an object, if it is there; [`Facts`] are those of the whole. A range that ends beyond
    /// the object gives what there is of it; one that begins there is an error or empty.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Option<Object>, Error> {
        key::check(key)?;
        match &self.store {
            Store::Folder(folder) => folder.get_range(key, range).await,
            #[cfg(feature = "aws")]
            Store::Bucket(bucket) => bucket.get_range(key, range).await,
        }
    }

    /// Reads a whole object of at most `limit` bytes, if it is there.
    pub async fn get_all(&self, key: &str, limit: u64) -> Result<Option<Bytes>, Error> {
        match self.get(key).await? {
            Some(object) => object.body.collect(limit).await.map(Some),
            None => Ok(None),
        }
    }

    /// What is known of an object, if it is there.
    pub async fn head(&self, key: &str) -> Result<Option<Facts>, Error> {
        key::check(key)?;
        match &self.store {
            Store::Folder(folder) => folder.head(key).await,
            #[cfg(feature = "aws")]
            Store::Bucket(bucket) => bucket.head(key).await,
        }
    }

    /// All objects whose keys begin with `folder` and a slash, or all if it is empty, in order of key.
    pub fn list(&self, folder: &str) -> Result<Listing, Error> {
        if !folder.is_empty() {
            key::check(folder)?;
        }
        let pages = match &self.store {
            Store::Folder(local) => Source::Folder(local.clone(), folder.to_owned()),
            #[cfg(feature = "aws")]
            Store::Bucket(bucket) => Source::Bucket(bucket.list(folder)),
        };
        Ok(Listing { pages })
    }

    /// Removes an object; that there is none is no error.
    pub async fn remove(&self, key: &str) -> Result<(), Error> {
        key::check(key)?;
        match &self.store {
            Store::Folder(folder) => folder.remove(key).await,
            #[cfg(feature = "aws")]
            Store::Bucket(bucket) => bucket.remove(key).await,
        }
    }
}

impl Listing {
    /// The next objects, [`PAGE_MAX`] at most; none when all have come.
    pub async fn next(&mut self) -> Result<Vec<Entry>, Error> {
        if let Source::Folder(folder, name) = &self.pages {
            self.pages = Source::Read(folder.list(name).await?.into_iter());
        }
        match &mut self.pages {
            Source::Read(entries) => Ok(entries.take(PAGE_MAX).collect()),
            #[cfg(feature = "aws")]
            Source::Bucket(pages) => pages.next().await,
            Source::Folder(..) => Ok(Vec::new()),
        }
    }

    /// All that are left.
    pub async fn collect(mut self) -> Result<Vec<Entry>, Error> {
        let mut all = Vec::new();
        loop {
            let mut page = self.next().await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.append(&mut page);
        }
    }
}

async fn length(path: &Path) -> Result<u64, Error> {
    let metadata = tokio::fs::metadata(path).await.map_err(crate::error::io_error("read", path))?;
    Ok(metadata.len())
}
