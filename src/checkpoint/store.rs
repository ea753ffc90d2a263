//! Where a checkpoint's files lie: a local directory, or an S3-like store.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;

/// Files that are there whole or not at all, are never overwritten, and stay.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// Publishes a file that must not exist yet. On return it is durable.
    ///
    /// # Errors
    /// [`Fenced`](crate::error::ErrorKind::Fenced) if it exists: another engine wrote it.
    async fn publish(&self, name: &str, bytes: &[u8]) -> Result<()>;

    /// The bytes of a file; `None` if there is none of that name.
    async fn read(&self, name: &str) -> Result<Option<Bytes>>;

    /// The names of the files and folders in a folder, sorted; unpublished ones are left out.
    async fn list(&self, folder: &str) -> Result<Vec<String>>;

    /// Removes a file; one that is not there is no error.
    async fn remove(&self, name: &str) -> Result<()>;

    /// Removes a folder, or the root by the name of nothing, if there is nothing in it.
    async fn remove_folder(&self, name: &str) -> Result<()>;
}
