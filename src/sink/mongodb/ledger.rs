//! Which query owns a collection, under which epoch, and the last batch that it stored there.
//!
//! One document for each collection: `{ _id: "validated_orders", query: "1b3c…", epoch: 4, batch: 17, refused: 0,
//! conflict: 0 }`, in the same database. An engine raises the epoch when it starts, and looks before and after each
//! batch whether it is still its own: one that was replaced finds a higher one and stops.

use std::collections::BTreeMap;

use bson::{Bson, Document, doc};
use mongodb::Collection;
use mongodb::error::Error as MongoError;
use mongodb::options::{CollectionOptions, ReadConcern, ReturnDocument, WriteConcern};

use super::MongoDbSink;
use super::failure::{DUPLICATE_KEY, codes};
use super::take_over::TakeOver;
use crate::batch::BatchId;
use crate::error::{Error, ErrorKind, Result};
use crate::sink::Refused;

/// The ledger's name.
pub const LEDGER: &str = "_ecomm_batch";

#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) query_id: String,
    /// The epoch of each collection that this query owns alone.
    pub(super) epochs: BTreeMap<(String, String), i64>,
}

impl MongoDbSink {
    /// What the ledger says has to survive: it is read and written by a majority.
    pub(super) fn ledger(&self, database: &str) -> Collection<Document> {
        let options = CollectionOptions::builder()
            .read_concern(ReadConcern::majority())
            .write_concern(WriteConcern::majority())
            .build();
        self.client.database(database).collection_with_options(LEDGER, options)
    }

    pub(super) fn claim(&self) -> Option<Claim> {
        self.claim.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// What the ledger says of a collection that the query may have.
    ///
    /// # Errors
    /// [`Sink`](ErrorKind::Sink) if it is another query's.
    pub(super) async fn entry(
        &self,
        database: &str,
        collection: &str,
        query_id: &str,
    ) -> Result<Option<Document>> {
        let found = self.command(self.ledger(database).find_one(doc! { "_id": collection })).await?;
        let entry = found.map_err(|error| self.failed("claim", collection, &error))?;
        let owner = entry.as_ref().map(|entry| entry.get_str("query").unwrap_or_default());
        match owner.filter(|&owner| owner != query_id && self.options.take_over.is_none()) {
            None => Ok(entry),
            Some(owner) => Err(Error::new(
                ErrorKind::Sink,
                format!("the collection \"{database}.{collection}\" belongs to another checkpoint's query"),
            )
            .with("query", owner)
            .advise(format!(
                "if that checkpoint is lost or no longer wanted: `ecomm-batch reset --query {owner}` removes what it stored; \
                 or add --take-over, and documents that are there stay where they are equal, or --take-over=replace"
            ))
            .advise("if it is another pipeline's: choose another database or collection")),
        }
    }

    /// Raises the epoch of a collection, or refuses it.
    pub(super) async fn own(
        &self,
        database: &str,
        collection: &str,
        query_id: &str,
        last_planned: Option<BatchId>,
    ) -> Result<i64> {
        let ledger = self.ledger(database);
        let fail = |error: MongoError| self.failed("claim", collection, &error);
        loop {
            let entry = self.entry(database, collection, query_id).await?;
            let owner = entry.as_ref().map(|entry| entry.get_str("query").unwrap_or_default());
            let is_own = owner == Some(query_id);
            match (self.options.take_over, is_own) {
                (Some(TakeOver::Replace), false) => self.list_earlier(database, collection).await?,
                (Some(TakeOver::Replace), true) => self.tell_unlisted(database, collection).await?,
                _ => self.forget_all_earlier(database, collection).await?,
            }
            let stored = entry.as_ref().and_then(|entry| entry.get_i64("batch").ok()).filter(|_| is_own);
            let last = last_planned.map_or(-1, |id| id.0 as i64);
            if let Some(stored) = stored.filter(|&stored| stored > last) {
                return Err(Error::checkpoint(format!(
                    "batch {stored} is stored in \"{database}.{collection}\", and the checkpoint ends before it: it is an old copy"
                ))
                .with("last batch of the checkpoint", last)
                .advise("restore the newest checkpoint of this query, or start a new checkpoint with collections of its own"));
            }
            // Only what was read is replaced: the claim of an engine that was killed may still be under way. The
            // batches of another query say nothing about this one's.
            let read = match &entry {
                Some(entry) => {
                    let field = |name: &str| entry.get(name).cloned().unwrap_or(Bson::Null);
                    doc! { "_id": collection, "query": field("query"), "epoch": field("epoch") }
                }
                None => doc! { "_id": collection, "epoch": { "$exists": false } },
            };
            let mut raise = doc! { "$set": { "query": query_id }, "$inc": { "epoch": 1_i64 } };
            if entry.is_some() && !is_own {
                raise.insert("$unset", doc! { "batch": "", "refused": "", "conflict": "" });
            }
            let raise = ledger
                .find_one_and_update(read, raise)
                .upsert(entry.is_none())
                .return_document(ReturnDocument::After);
            match self.command(raise).await? {
                Ok(Some(raised)) => {
                    return raised.get_i64("epoch").map_err(|_| {
                        Error::internal(format!("the ledger entry of \"{collection}\" has no epoch"))
                    });
                }
                // Somebody was faster: what is there now?
                Ok(None) => {}
                Err(error) if codes(&error).contains(&DUPLICATE_KEY) => {}
                Err(error) => return Err(fail(error)),
            }
        }
    }

    /// The entry of a collection in the ledger, as this engine left it.
    pub(super) fn own_entry(&self, database: &str, collection: &str) -> Option<Document> {
        let claim = self.claim()?;
        let epoch = *claim.epochs.get(&(database.to_owned(), collection.to_owned()))?;
        Some(doc! { "_id": collection, "query": claim.query_id, "epoch": epoch })
    }
}

pub(super) fn taken_over(database: &str, collection: &str) -> Error {
    Error::new(
        ErrorKind::Fenced,
        format!("another engine has taken over the collection \"{database}.{collection}\""),
    )
    .advise("leave the work to it, or stop it and start this one again")
}

/// What the ledger learns of a stored batch.
pub(super) fn done(batch: BatchId, refused: Refused) -> Document {
    doc! { "$set": {
        "batch": batch.0 as i64,
        "refused": refused.refused as i64,
        "conflict": refused.conflict as i64,
    } }
}
