//! Documents into MongoDB, each once.
//!
//! Documents are inserted, unordered and with majority concern, under an `_id` that a replay makes
//! again. A duplicate key is success only if the stored document is equal, byte for byte. The
//! ledger `_ecomm_batch` says which query owns a collection, and under which epoch: an engine that
//! was replaced finds a higher one and stops.

mod deployment;
mod document;
mod failure;
mod ledger;
mod removal;
mod take_over;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bson::raw::RawDocumentBuf;
use bson::{Bson, Document, doc};
use futures::future::BoxFuture;
use mongodb::error::{
    Error as MongoError, ErrorKind as MongoErrorKind, TRANSIENT_TRANSACTION_ERROR,
    UNKNOWN_TRANSACTION_COMMIT_RESULT,
};
use mongodb::options::{CollectionOptions, ReadConcern, WriteConcern};
use mongodb::{Client, ClientSession, Collection};

use crate::batch::BatchId;
use crate::error::{Error, ErrorKind, Result};
use crate::faults::{FailPoint, Faults};
use crate::query::output::{Output, SinkTarget};
use crate::sink::{Atomic, OutputRows, Refusal, RefusalReason, Refused, Sink};
use deployment::Topology;
pub use deployment::client_of_primary;
use document::{conflict, documents, first_of_each_id, id_bytes, id_of};
pub(crate) use failure::unreadable;
use failure::{is_away, is_duplicate_id, is_too_large, is_transient, of_first_document, why_away, words};
pub use ledger::LEDGER;
use ledger::{Claim, done, taken_over};
pub use removal::Owned;
pub use take_over::TakeOver;

/// Documents of one insert command.
const CHUNK_ROWS: usize = 5_000;

/// Insert commands under way at once.
const PARALLEL: usize = 4;

/// Documents of one transaction; MongoDB ends one that runs for longer than a minute.
const MAX_ATOMIC_DOCUMENTS: usize = 100_000;

/// Their bytes.
const MAX_ATOMIC_BYTES: usize = 64 * 1024 * 1024;

/// For how long a commit whose outcome is unknown is asked for again, before the batch begins anew.
const COMMIT_PATIENCE: Duration = Duration::from_secs(120);

/// The pause between.
const COMMIT_POLL: Duration = Duration::from_millis(250);

/// A MongoDB deployment as a sink.
pub struct MongoDbSink {
    client: Client,
    hosts: String,
    options: MongoDbOptions,
    claim: Mutex<Option<Claim>>,
}

/// How the sink behaves, beside its URI.
#[derive(Clone, Debug, Default)]
pub struct MongoDbOptions {
    /// Take collections over from another query, and what becomes of its documents.
    pub take_over: Option<TakeOver>,
    /// New batches are to be stored in transactions.
    pub atomic: bool,
    /// Where it may be made to fail.
    pub faults: Arc<Faults>,
}

impl std::fmt::Debug for MongoDbSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MongoDbSink").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl MongoDbSink {
    /// A client of `uri`; connects in the background.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config): not a MongoDB URI. The URI itself is never repeated.
    pub async fn connect(uri: &str, own: MongoDbOptions) -> Result<Self> {
        let (client, hosts) = client_of_primary(uri).await?;
        Ok(Self { client, hosts, options: own, claim: Mutex::new(None) })
    }

    /// One command, between two points at which a test may let it fail.
    async fn command<T>(
        &self,
        command: impl IntoFuture<Output = mongodb::error::Result<T>>,
    ) -> Result<mongodb::error::Result<T>> {
        self.options.faults.pass(FailPoint::MongoDbCommand)?;
        let reply = command.await;
        self.options.faults.pass(FailPoint::MongoDbCommand)?;
        Ok(reply)
    }

    /// What a driver error asks for; the hosts are named, never the URI.
    fn failed(&self, action: &str, name: &str, error: &MongoError) -> Error {
        let place = format!("could not {action} \"{name}\" in MongoDB at \"{}\"", self.hosts);
        let refused =
            |kind, advice: &str| Error::new(kind, place.clone()).because(error.to_string()).advise(advice);
        match error.kind.as_ref() {
            MongoErrorKind::Authentication { .. } => {
                refused(ErrorKind::Sink, "check user, password and authSource of the MongoDB URI")
            }
            MongoErrorKind::Command(command) if command.code == 18 => {
                refused(ErrorKind::Sink, "check user, password and authSource of the MongoDB URI")
            }
            MongoErrorKind::Command(command) if command.code == 13 => {
                refused(ErrorKind::Sink, "grant the user readWrite on the database")
            }
            MongoErrorKind::InvalidTlsConfig { .. } => {
                refused(ErrorKind::Config, "check the TLS options of the MongoDB URI")
            }
            _ if is_away(error) => {
                let (why, advice) = why_away(&error.to_string(), &self.hosts);
                Error::unavailable(place).because(why).advise(advice)
            }
            _ if is_transient(error) => refused(ErrorKind::Unavailable, "it should pass by itself"),
            _ => refused(ErrorKind::Sink, "mend it in MongoDB and start again: the batch runs again"),
        }
    }

    /// Inserts one chunk; `row` of what could not be stored is the index in `documents`.
    async fn insert(
        &self,
        collection: &Collection<RawDocumentBuf>,
        documents: &[RawDocumentBuf],
    ) -> Result<Inserted> {
        let insert = collection.insert_many(documents).ordered(false);
        let Err(error) = self.command(insert).await? else {
            return Ok(Inserted::default());
        };
        let MongoErrorKind::InsertMany(failure) = error.kind.as_ref() else {
            return Err(self.failed("write to", collection.name(), &error));
        };
        let errors = failure.write_errors.as_deref().unwrap_or_default();
        if errors.is_empty() || failure.write_concern_error.is_some() || is_transient(&error) {
            // Nothing about the documents: ask again, those that are stored meet themselves as duplicates.
            return Err(Error::unavailable(format!(
                "MongoDB at \"{}\" did not confirm the writes to \"{}\" by a majority",
                self.hosts,
                collection.name()
            )));
        }
        let mut refusals = Vec::new();
        let (duplicates, others): (Vec<_>, Vec<_>) = errors.iter().partition(|error| is_duplicate_id(error));
        let mut equal: BTreeSet<usize> = duplicates.iter().map(|error| error.index).collect();
        for error in others {
            refusals.push(Refusal {
                row: error.index,
                reason: RefusalReason::Refused,
                error: error.message.clone(),
            });
        }
        for row in self.different(collection, documents, &equal).await? {
            equal.remove(&row);
            refusals.push(conflict(row));
        }
        Ok(Inserted { refusals, equal: equal.into_iter().collect() })
    }

    /// Which of `documents` at `rows`, whose `_id`s are taken, are stored otherwise than they are here.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if one is not yet stored by a majority: ask again.
    async fn different(
        &self,
        collection: &Collection<RawDocumentBuf>,
        documents: &[RawDocumentBuf],
        rows: &BTreeSet<usize>,
    ) -> Result<Vec<usize>> {
        use futures::TryStreamExt;
        let fail = |error: MongoError| self.failed("read back from", collection.name(), &error);
        let mut different = Vec::new();
        let rows: Vec<usize> = rows.iter().copied().collect();
        for chunk in rows.chunks(1000) {
            let ids: Vec<Bson> = chunk.iter().filter_map(|&row| id_of(&documents[row])).collect();
            let find = collection.find(doc! { "_id": { "$in": ids } });
            let found = self.command(find).await?.map_err(fail)?;
            let found: Vec<RawDocumentBuf> = found.try_collect().await.map_err(fail)?;
            let stored: BTreeSet<&[u8]> = found.iter().map(|document| document.as_bytes()).collect();
            let known: BTreeSet<Vec<u8>> = found.iter().filter_map(id_bytes).collect();
            for &row in chunk.iter().filter(|&&row| !stored.contains(documents[row].as_bytes())) {
                let is_known = id_bytes(&documents[row]).is_some_and(|id| known.contains(&id));
                // MongoDB compares otherwise: 5 of any number type, and whatever the collation says.
                if !is_known && !self.has_equal_id(collection, &documents[row]).await? {
                    return Err(Error::unavailable(format!(
                        "a document of \"{}\" is not yet stored by a majority of MongoDB at \"{}\"",
                        collection.name(),
                        self.hosts
                    )));
                }
                different.push(row);
            }
        }
        Ok(different)
    }

    /// Whether a majority stores a document of the same `_id`, as the collection compares them.
    async fn has_equal_id(
        &self,
        collection: &Collection<RawDocumentBuf>,
        document: &RawDocumentBuf,
    ) -> Result<bool> {
        let found = self.command(collection.find_one(doc! { "_id": id_of(document) })).await?;
        let found = found.map_err(|error| self.failed("read back from", collection.name(), &error))?;
        Ok(found.is_some())
    }

    fn collection(&self, database: &str, name: &str) -> Collection<RawDocumentBuf> {
        let options = CollectionOptions::builder()
            .read_concern(ReadConcern::majority())
            .write_concern(WriteConcern::majority())
            .build();
        self.client.database(database).collection_with_options(name, options)
    }

    /// Everything of a batch within a transaction that is under way.
    async fn write_in(
        &self,
        session: &mut ClientSession,
        batch: BatchId,
        parts: &[Part<'_>],
        refused: Refused,
    ) -> Result<InTransaction> {
        for part in parts {
            let Some(mine) = self.own_entry(part.database, part.name) else { continue };
            // The session's concerns hold; a collection's own would be refused.
            let ledger: Collection<Document> = self.client.database(part.database).collection(LEDGER);
            let end = |error| self.ended("record the batch of", part.name, &error).map(InTransaction::End);
            let found = ledger.find_one(mine.clone()).session(&mut *session);
            let entry = match self.command(found).await? {
                Ok(Some(entry)) => entry,
                Ok(None) => return Err(taken_over(part.database, part.name)),
                Err(error) => return end(error),
            };
            if entry.get_i64("batch").is_ok_and(|stored| stored >= batch.0 as i64) {
                let count = |name: &str| entry.get_i64(name).unwrap_or(0) as u64;
                let refused = Refused { refused: count("refused"), conflict: count("conflict") };
                return Ok(InTransaction::End(Atomic::StoredBefore(refused)));
            }
            let update = ledger.update_one(mine, done(batch, refused)).session(&mut *session);
            match self.command(update).await? {
                Ok(updated) if updated.matched_count == 1 => {}
                Ok(_) => return Err(taken_over(part.database, part.name)),
                Err(error) => return end(error),
            }
        }
        for (index, part) in parts.iter().enumerate() {
            let collection: Collection<RawDocumentBuf> =
                self.client.database(part.database).collection(part.name);
            for (chunk, first) in part.documents.chunks(CHUNK_ROWS).zip((0..).step_by(CHUNK_ROWS)) {
                let insert = collection.insert_many(chunk).session(&mut *session);
                let Err(error) = self.command(insert).await? else { continue };
                let is_of_transaction = is_transient(&error) || is_too_large(&error);
                let Some(problem) = of_first_document(&error).filter(|_| !is_of_transaction) else {
                    return self.ended("write to", part.name, &error).map(InTransaction::End);
                };
                let row = first + problem.index;
                return Ok(match is_duplicate_id(problem) {
                    true => InTransaction::Duplicate(index, row),
                    false => InTransaction::End(Atomic::Refused(
                        index,
                        vec![Refusal {
                            row: part.numbers[row],
                            reason: RefusalReason::Refused,
                            error: problem.message.clone(),
                        }],
                    )),
                });
            }
        }
        Ok(InTransaction::Written)
    }

    /// What an error means for the transaction that it has ended.
    fn ended(&self, action: &str, name: &str, error: &MongoError) -> Result<Atomic> {
        if is_too_large(error) {
            return Ok(Atomic::DoesNotFit(words(error)));
        }
        let failed = self.failed(action, name, error);
        match error.contains_label(TRANSIENT_TRANSACTION_ERROR) && !is_away(error) {
            true => Ok(Atomic::GivenUp(failed.to_string())),
            false => Err(failed),
        }
    }

    /// Commits; an outcome that is unknown is asked for again, and nothing else is done meanwhile.
    async fn commit(&self, session: &mut ClientSession) -> Result<Atomic> {
        let started = Instant::now();
        loop {
            match self.command(session.commit_transaction()).await? {
                Ok(()) => return Ok(Atomic::Stored),
                Err(error)
                    if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
                        && started.elapsed() < COMMIT_PATIENCE =>
                {
                    tracing::warn!(
                        "MongoDB at \"{}\" did not say whether the batch is stored; asking again",
                        self.hosts
                    );
                    tokio::time::sleep(COMMIT_POLL).await;
                }
                // The ledger tells the next attempt how it ended.
                Err(error) if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT) => {
                    return Err(Error::unavailable(format!(
                        "MongoDB at \"{}\" does not say whether the batch is stored",
                        self.hosts
                    )));
                }
                Err(error) => return self.ended("commit to", "the ledger", &error),
            }
        }
    }
}

/// What became of documents that were not new.
#[derive(Default)]
struct Inserted {
    /// They are not stored.
    refusals: Vec<Refusal>,
    /// The indices of those that were stored before.
    equal: Vec<usize>,
}

/// The documents of an output, in one transaction with others.
struct Part<'a> {
    database: &'a str,
    name: &'a str,
    documents: Vec<RawDocumentBuf>,
    /// For each the number of its row.
    numbers: Vec<usize>,
}

enum InTransaction {
    /// Everything is written, nothing committed.
    Written,
    /// The `_id` of this document of this part is taken.
    Duplicate(usize, usize),
    /// It has to be given up.
    End(Atomic),
}

/// Database and collection of an output, if it goes to MongoDB.
fn target(output: &Output) -> Option<(&str, &str, bool)> {
    match &output.target {
        SinkTarget::MongoDb { database, collection, shared } => Some((database, collection, *shared)),
        _ => None,
    }
}

#[async_trait]
impl Sink for MongoDbSink {
    async fn ask(&self, outputs: &[Output], query_id: &str) -> Result<()> {
        self.deployment().await?;
        for (database, collection, shared) in outputs.iter().filter_map(target) {
            self.is_there(database, collection).await?;
            if !shared {
                self.entry(database, collection, query_id).await?;
            }
        }
        Ok(())
    }

    async fn open(&self, outputs: &[Output], query_id: &str, last_planned: Option<BatchId>) -> Result<()> {
        if let Topology::Standalone = self.deployment().await? {
            tracing::warn!(
                "MongoDB at \"{}\" is a standalone server: documents are stored once, but a replica set is safer",
                self.hosts
            );
        }
        let mut epochs = BTreeMap::new();
        for (database, collection, shared) in outputs.iter().filter_map(target) {
            self.create(database, collection).await?;
            if !shared {
                let epoch = self.own(database, collection, query_id, last_planned).await?;
                epochs.insert((database.to_owned(), collection.to_owned()), epoch);
            }
        }
        *self.claim.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Some(Claim { query_id: query_id.to_owned(), epochs });
        Ok(())
    }

    async fn fence(&self, outputs: &[Output]) -> Result<()> {
        for (database, collection, _) in outputs.iter().filter_map(target) {
            let Some(mine) = self.own_entry(database, collection) else { continue };
            let found = self.command(self.ledger(database).find_one(mine)).await?;
            if found.map_err(|error| self.failed("check the ledger of", collection, &error))?.is_none() {
                return Err(taken_over(database, collection));
            }
        }
        Ok(())
    }

    async fn record(&self, outputs: &[Output], batch: BatchId, refused: Refused) -> Result<()> {
        for (database, collection, _) in outputs.iter().filter_map(target) {
            let Some(mine) = self.own_entry(database, collection) else { continue };
            let ledger = self.ledger(database);
            let updated = self.command(ledger.update_one(mine, done(batch, refused))).await?;
            let updated = updated.map_err(|error| self.failed("record the batch of", collection, &error))?;
            if updated.matched_count != 1 {
                return Err(taken_over(database, collection));
            }
        }
        Ok(())
    }

    async fn write_atomically(
        &self,
        batch: BatchId,
        outputs: &[(&Output, OutputRows)],
        refused: Refused,
    ) -> Result<Atomic> {
        let (mut parts, mut num_documents, mut num_bytes) = (Vec::new(), 0, 0);
        for (index, (output, rows)) in outputs.iter().enumerate() {
            let Some((database, name, _)) = target(output) else {
                return Err(Error::internal(format!("output \"{}\" does not go to MongoDB", output.name)));
            };
            let (documents, numbers, mut refusals) = documents(rows)?;
            let (documents, numbers, conflicts) = first_of_each_id(documents, numbers);
            refusals.extend(conflicts);
            if !refusals.is_empty() {
                return Ok(Atomic::Refused(index, refusals));
            }
            num_documents += documents.len();
            num_bytes += documents.iter().map(|document| document.as_bytes().len()).sum::<usize>();
            parts.push(Part { database, name, documents, numbers });
        }
        if num_documents > MAX_ATOMIC_DOCUMENTS || num_bytes > MAX_ATOMIC_BYTES {
            return Ok(Atomic::DoesNotFit(format!(
                "{num_documents} documents of {num_bytes} bytes; at most {MAX_ATOMIC_DOCUMENTS} of {MAX_ATOMIC_BYTES} fit"
            )));
        }
        let fail = |error: MongoError| self.failed("begin a transaction with", "the ledger", &error);
        let mut session = self.command(self.client.start_session()).await?.map_err(fail)?;
        session
            .start_transaction()
            .read_concern(ReadConcern::snapshot())
            .write_concern(WriteConcern::majority())
            .await
            .map_err(fail)?;
        let outcome = self.write_in(&mut session, batch, &parts, refused).await;
        if let Ok(InTransaction::Written) = outcome {
            return self.commit(&mut session).await;
        }
        if let Err(error) = self.command(session.abort_transaction()).await? {
            // The server ends it by itself.
            tracing::debug!("a transaction was not aborted: {error}");
        }
        match outcome? {
            InTransaction::Written => Ok(Atomic::Stored),
            InTransaction::End(end) => Ok(end),
            InTransaction::Duplicate(index, row) => {
                let part = &parts[index];
                let collection = self.collection(part.database, part.name);
                match self.different(&collection, &part.documents, &[row].into()).await {
                    Ok(rows) if rows.is_empty() => {
                        Ok(Atomic::DoesNotFit("a part of it is stored already".to_owned()))
                    }
                    Ok(_) if self.options.take_over == Some(TakeOver::Replace) => Ok(Atomic::DoesNotFit(
                        "documents of an earlier checkpoint are replaced one by one".to_owned(),
                    )),
                    Ok(_) => Ok(Atomic::Refused(index, vec![conflict(part.numbers[row])])),
                    // Perhaps never: two of the batch may be one to the collection.
                    Err(error) if error.kind() == ErrorKind::Unavailable => {
                        Ok(Atomic::GivenUp(error.to_string()))
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }

    async fn write(&self, output: &Output, _batch: BatchId, rows: &OutputRows) -> Result<Vec<Refusal>> {
        use futures::{StreamExt, TryStreamExt};
        let Some((database, name, _)) = target(output) else {
            return Err(Error::internal(format!("output \"{}\" does not go to MongoDB", output.name)));
        };
        let collection = self.collection(database, name);
        let (documents, numbers, mut refusals) = documents(rows)?;
        let mut writes: Vec<BoxFuture<'_, Result<Inserted>>> = Vec::new();
        for (chunk, first) in documents.chunks(CHUNK_ROWS).zip((0..).step_by(CHUNK_ROWS)) {
            let collection = &collection;
            writes.push(Box::pin(async move {
                let mut inserted = self.insert(collection, chunk).await?;
                inserted.refusals.iter_mut().for_each(|refusal| refusal.row += first);
                inserted.equal.iter_mut().for_each(|index| *index += first);
                Ok(inserted)
            }));
        }
        let inserted: Vec<Inserted> =
            futures::stream::iter(writes).buffer_unordered(PARALLEL).try_collect().await?;
        let (mut conflicts, mut others): (Vec<Refusal>, Vec<Refusal>) = (Vec::new(), Vec::new());
        let mut equal = Vec::new();
        for inserted in inserted {
            equal.extend(inserted.equal);
            for refusal in inserted.refusals {
                let is_conflict = refusal.reason == RefusalReason::Conflict;
                if is_conflict { conflicts.push(refusal) } else { others.push(refusal) }
            }
        }
        if self.options.take_over == Some(TakeOver::Replace) {
            self.forget_earlier(database, name, equal.iter().map(|&index| &documents[index])).await?;
            conflicts = self.replace_earlier(database, name, &documents, conflicts).await?;
        }
        let of_rows = conflicts.into_iter().chain(others);
        refusals.extend(of_rows.map(|refusal| Refusal { row: numbers[refusal.row], ..refusal }));
        refusals.sort_by_key(|refusal| refusal.row);
        Ok(refusals)
    }
}
