//! A store that is waited for while it is away, as a broker or a database is.

use async_trait::async_trait;
use bytes::Bytes;

use super::store::Store;
use crate::error::Result;
use crate::now::Service;
use crate::retry::Patience;

/// Each step is tried until it works, or a person stops the engine; any step of a store may be repeated.
#[derive(Debug)]
pub struct Patient {
    /// The store itself, which gives up soon.
    pub store: Box<dyn Store>,
    /// Says when to stop.
    pub patience: Patience,
}

#[async_trait]
impl Store for Patient {
    async fn publish(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.patience.retry(Service::Checkpoint, || self.store.publish(name, bytes)).await
    }

    async fn read(&self, name: &str) -> Result<Option<Bytes>> {
        self.patience.retry(Service::Checkpoint, || self.store.read(name)).await
    }

    async fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.patience.retry(Service::Checkpoint, || self.store.list(folder)).await
    }

    async fn remove(&self, name: &str) -> Result<()> {
        self.patience.retry(Service::Checkpoint, || self.store.remove(name)).await
    }

    async fn remove_folder(&self, name: &str) -> Result<()> {
        self.patience.retry(Service::Checkpoint, || self.store.remove_folder(name)).await
    }
}
