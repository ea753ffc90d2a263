//! A checkpoint in a bucket of Amazon S3 or a store that speaks its protocol.
//!
//! A put is atomic and durable when it is answered; `If-None-Match: *` keeps it from overwriting. There
//! is no lock: the newest engine wins, see [`Checkpoint::claim`](super::Checkpoint::claim).

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::{Error as Cause, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::store::Store;
use crate::error::{Error, Result};
use crate::faults::{FailPoint, Faults};
use crate::s3::Prefix;

/// Objects under a prefix of a bucket.
#[derive(Debug)]
pub struct Bucket {
    prefix: Prefix,
    faults: Arc<Faults>,
}

impl Bucket {
    /// # Errors
    /// [`Config`](crate::error::ErrorKind::Config) if URL or environment can't be used.
    pub fn open(url: &str, faults: Arc<Faults>) -> Result<Self> {
        Ok(Self { prefix: Prefix::open("checkpoint", url)?, faults })
    }

    fn step(&self) -> Result<()> {
        self.faults.pass(FailPoint::CheckpointFile)
    }
}

#[async_trait]
impl Store for Bucket {
    async fn publish(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.step()?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.prefix.client.put_opts(&self.prefix.path(name), bytes.to_vec().into(), options).await {
            Ok(_) => Ok(()),
            Err(error @ (Cause::AlreadyExists { .. } | Cause::Precondition { .. })) => {
                // An answer that was lost on its way, then repeated: the object is our own.
                match self.read(name).await? {
                    Some(stored) if stored == bytes => Ok(()),
                    Some(_) => Err(self.prefix.failed("publish", name, error)),
                    // A put of the same name is still under way, perhaps our own.
                    None => Err(Error::unavailable(format!(
                        "could not publish \"{}\" yet",
                        self.prefix.url(name)
                    ))
                    .because(error)),
                }
            }
            Err(error) => Err(self.prefix.failed("publish", name, error)),
        }
    }

    async fn read(&self, name: &str) -> Result<Option<Bytes>> {
        self.step()?;
        let fail = |error| self.prefix.failed("read", name, error);
        match self.prefix.client.get(&self.prefix.path(name)).await {
            Ok(found) => found.bytes().await.map(Some).map_err(fail),
            // A bucket that is not there is another thing than an object that is not there.
            Err(Cause::NotFound { source, .. }) if !source.to_string().contains("NoSuchBucket") => Ok(None),
            Err(error) => Err(fail(error)),
        }
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.step()?;
        let found = self.prefix.client.list_with_delimiter(Some(&self.prefix.path(folder))).await;
        let found = found.map_err(|error| self.prefix.failed("list", folder, error))?;
        let files = found.objects.iter().filter_map(|object| object.location.filename());
        let folders = found.common_prefixes.iter().filter_map(|prefix| prefix.filename());
        let mut names: Vec<String> = files.chain(folders).map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    async fn remove(&self, name: &str) -> Result<()> {
        self.step()?;
        match self.prefix.client.delete(&self.prefix.path(name)).await {
            Ok(()) | Err(Cause::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.prefix.failed("remove", name, error)),
        }
    }

    /// A bucket has no folders.
    async fn remove_folder(&self, _name: &str) -> Result<()> {
        Ok(())
    }
}
