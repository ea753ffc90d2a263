//! Collections that an earlier checkpoint filled: what becomes of a document that is there and differs.
//!
//! `--take-over` makes a collection this query's. A document that is there already and is equal counts as
//! stored; one that differs stays, and the row is a dead letter `conflict`. With `--take-over=replace` the
//! row replaces it. But only what was there before may be replaced, never what this query has stored itself;
//! so the `_id`s of all documents are copied beside the collection while it is taken over, and each is
//! forgotten once its document was met:
//!
//! ```text
//! validated_orders                       _ecomm_batch.earlier.validated_orders
//! o-1 paid 5.00   (earlier checkpoint)   o-1      batch 3 stores o-1 paid 7.00: replaced, and o-1 forgotten
//! o-2 paid 5.00   (batch 2 of this one)           batch 3 stores o-2 paid 7.00: a conflict
//! ```
//!
//! An `_id` is forgotten after its document is stored by a majority: a batch that runs again after a crash
//! meets its own document as equal.

use std::collections::BTreeSet;
use std::str::FromStr;

use bson::raw::RawDocumentBuf;
use bson::{Bson, Document, doc};
use futures::TryStreamExt;
use mongodb::Collection;
use mongodb::error::Error as MongoError;

use super::MongoDbSink;
use super::document::{id_bytes, id_of};
use crate::error::{Error, Result};
use crate::sink::{Refusal, RefusalReason};

/// Before the name of a collection: the `_id`s of the documents that an earlier checkpoint left in it.
const EARLIER: &str = "_ecomm_batch.earlier.";

/// Documents of one command.
const CHUNK_DOCUMENTS: usize = 1_000;

/// Their bytes: a command is a document, which may have 16 MiB, and a little more than one document in it.
const CHUNK_BYTES: usize = 8 * 1024 * 1024;

/// What `--take-over` does with a document of an earlier checkpoint that differs from the row at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeOver {
    /// It stays; the row is a dead letter `conflict`.
    Keep,
    /// The row replaces it.
    Replace,
}

impl FromStr for TakeOver {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            // The flag was once without a value.
            "keep" | "true" => Ok(Self::Keep),
            "replace" => Ok(Self::Replace),
            _ => Err("write keep or replace".to_owned()),
        }
    }
}

/// Parts that an update command can hold.
fn of_one_command<'a, 'd>(
    documents: &'a [(&'d RawDocumentBuf, usize)],
) -> impl Iterator<Item = &'a [(&'d RawDocumentBuf, usize)]> {
    let mut bytes = 0;
    let mut count = 0;
    documents.chunk_by(move |(document, _), (next, _)| {
        bytes += document.as_bytes().len();
        count += 1;
        let fits = bytes + next.as_bytes().len() <= CHUNK_BYTES && count < CHUNK_DOCUMENTS;
        if !fits {
            (bytes, count) = (0, 0);
        }
        fits
    })
}

/// The name of the collection that lists what an earlier checkpoint left in `collection`.
pub(super) fn earlier_name(collection: &str) -> String {
    format!("{EARLIER}{collection}")
}

impl MongoDbSink {
    /// Before a collection becomes this query's: lists what is in it.
    pub(super) async fn list_earlier(&self, database: &str, collection: &str) -> Result<()> {
        // Written under another name and renamed: an interrupted one leaves the list before it.
        let copy = [doc! { "$project": { "_id": 1 } }, doc! { "$out": earlier_name(collection) }];
        let taken = self.client.database(database).collection::<Document>(collection);
        let copied = self.command(taken.aggregate(copy)).await?;
        copied.map_err(|error| self.failed("list the documents of", collection, &error)).map(drop)
    }

    /// A start without the flag ends the replacing: from then on documents are met as equal and not forgotten,
    /// so that the list no longer tells whose they are.
    pub(super) async fn forget_all_earlier(&self, database: &str, collection: &str) -> Result<()> {
        let name = earlier_name(collection);
        if !self.is_there(database, &name).await? {
            return Ok(());
        }
        let list = self.client.database(database).collection::<Document>(&name);
        self.command(list.drop())
            .await?
            .map_err(|error| self.failed("remove the list of", collection, &error))
    }

    /// A collection that is this query's already is not listed again.
    pub(super) async fn tell_unlisted(&self, database: &str, collection: &str) -> Result<()> {
        if !self.is_there(database, &earlier_name(collection)).await? {
            tracing::warn!(
                "\"{database}.{collection}\" is this checkpoint's already, and --take-over=replace was not given at each start since it took it over: its documents are not replaced; a new checkpoint with that flag takes it over again"
            );
        }
        Ok(())
    }

    fn earlier(&self, database: &str, collection: &str) -> Collection<RawDocumentBuf> {
        self.collection(database, &earlier_name(collection))
    }

    /// Forgets the `_id`s of documents that were met as equal.
    pub(super) async fn forget_earlier(
        &self,
        database: &str,
        collection: &str,
        met: impl Iterator<Item = &RawDocumentBuf>,
    ) -> Result<()> {
        let ids: Vec<Bson> = met.filter_map(id_of).collect();
        let fail = |error: MongoError| self.failed("update the list of", collection, &error);
        let earlier = self.earlier(database, collection);
        for chunk in ids.chunks(CHUNK_DOCUMENTS) {
            let delete = earlier.delete_many(doc! { "_id": { "$in": chunk.to_vec() } });
            self.command(delete).await?.map_err(fail)?;
        }
        Ok(())
    }

    /// Of the `conflicts` among `documents`, by index: replaces those that an earlier checkpoint left, and
    /// returns why the others could not be stored.
    pub(super) async fn replace_earlier(
        &self,
        database: &str,
        collection: &str,
        documents: &[RawDocumentBuf],
        mut conflicts: Vec<Refusal>,
    ) -> Result<Vec<Refusal>> {
        let (mut replace, mut refusals) = (Vec::new(), Vec::new());
        let mut seen: BTreeSet<Vec<u8>> = BTreeSet::new();
        // Of two rows of this batch the first replaces.
        conflicts.sort_by_key(|refusal| refusal.row);
        for chunk in conflicts.chunks(CHUNK_DOCUMENTS) {
            let met: Vec<&RawDocumentBuf> = chunk.iter().map(|refusal| &documents[refusal.row]).collect();
            let listed = self.listed(database, collection, &met).await?;
            for ((document, refusal), is_listed) in met.into_iter().zip(chunk).zip(listed) {
                match is_listed && id_bytes(document).is_some_and(|id| seen.insert(id)) {
                    true => replace.push((document, refusal.row)),
                    false => refusals.push(refusal.clone()),
                }
            }
        }
        for chunk in of_one_command(&replace) {
            let refused = self.replace(database, collection, chunk).await?;
            let stored = chunk.iter().filter(|(_, row)| !refused.iter().any(|refusal| refusal.row == *row));
            self.forget_earlier(database, collection, stored.map(|(document, _)| *document)).await?;
            refusals.extend(refused);
        }
        if !replace.is_empty() {
            tracing::info!(
                "\"{database}.{collection}\": {} documents of an earlier checkpoint are replaced",
                replace.len()
            );
        }
        Ok(refusals)
    }

    /// For each document whether its `_id` is one that an earlier checkpoint left.
    async fn listed(
        &self,
        database: &str,
        collection: &str,
        documents: &[&RawDocumentBuf],
    ) -> Result<Vec<bool>> {
        let fail = |error: MongoError| self.failed("read the list of", collection, &error);
        let earlier = self.earlier(database, collection);
        let ids: Vec<Bson> = documents.iter().filter_map(|document| id_of(document)).collect();
        let find = earlier.find(doc! { "_id": { "$in": ids } });
        let found: Vec<RawDocumentBuf> =
            self.command(find).await?.map_err(fail)?.try_collect().await.map_err(fail)?;
        let found: BTreeSet<Vec<u8>> = found.iter().filter_map(id_bytes).collect();
        let mut listed = Vec::new();
        for document in documents {
            let is_listed = id_bytes(document).is_some_and(|id| found.contains(&id));
            // MongoDB compares otherwise: 5 of any number type.
            listed.push(is_listed || (!found.is_empty() && self.has_equal_id(&earlier, document).await?));
        }
        Ok(listed)
    }

    /// Replaces documents by their `_id`s; returns what the server refused.
    async fn replace(
        &self,
        database: &str,
        collection: &str,
        documents: &[(&RawDocumentBuf, usize)],
    ) -> Result<Vec<Refusal>> {
        let fail = |error: MongoError| self.failed("replace in", collection, &error);
        let mut updates = Vec::new();
        for (document, _) in documents {
            let replacement = Document::try_from(document.as_ref())
                .map_err(|source| Error::internal("a document could not be read back").because(source))?;
            updates.push(doc! { "q": { "_id": id_of(document) }, "u": replacement });
        }
        let update = doc! {
            "update": collection,
            "updates": updates,
            "ordered": false,
            "writeConcern": { "w": "majority" },
        };
        let reply = self.command(self.client.database(database).run_command(update)).await?.map_err(fail)?;
        if reply.contains_key("writeConcernError") {
            return Err(Error::unavailable(format!(
                "MongoDB at \"{}\" did not confirm the writes to \"{collection}\" by a majority",
                self.hosts
            )));
        }
        let errors = reply.get_array("writeErrors").ok().into_iter().flatten();
        let refusal = |error: &Bson| {
            let error = error.as_document()?;
            let index = error.get_i32("index").ok().and_then(|index| usize::try_from(index).ok())?;
            Some(Refusal {
                row: documents.get(index)?.1,
                reason: RefusalReason::Refused,
                error: error.get_str("errmsg").unwrap_or("the server refused it").to_owned(),
            })
        };
        let refusal = |error| {
            refusal(error).ok_or_else(|| Error::internal("MongoDB named no document that it refused"))
        };
        errors.map(refusal).collect()
    }
}
