//! Documents into MongoDB, each once.
//!
//! Documents are inserted, unordered and with majority concern, under an `_id` that a replay makes
//! again. A duplicate key is success only if the stored document is equal, byte for byte. The
//! ledger `_ecomm_batch` says which query owns a collection, and under which epoch: an engine that
//! was replaced finds a higher one and stops.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use async_trait::async_trait;
use bson::raw::{CString, RawArrayBuf, RawBson, RawDocumentBuf};
use bson::{Bson, DateTime, Decimal128, Document, doc};
use futures::future::BoxFuture;
use mongodb::error::{Error as MongoError, ErrorKind as MongoErrorKind};
use mongodb::options::{ClientOptions, CollectionOptions, ReturnDocument, WriteConcern};
use mongodb::{Client, Collection};

use crate::batch::BatchId;
use crate::clock::NANOS_PER_MS;
use crate::error::{Error, ErrorKind, Result};
use crate::query::output::{Output, SinkTarget};
use crate::sink::json::{timestamp_nanos, unsupported};
use crate::sink::{DocumentIds, OutputRows, Refusal, RefusalReason, Sink};

/// The ledger's name.
pub const LEDGER: &str = "_ecomm_batch";

/// Documents of one insert command.
const CHUNK_ROWS: usize = 5_000;

/// Insert commands under way at once.
const PARALLEL: usize = 4;

/// The largest document that MongoDB stores.
const MAX_DOCUMENT_BYTES: usize = 16 * 1024 * 1024;

/// A MongoDB deployment as a sink.
pub struct MongoDbSink {
    client: Client,
    hosts: String,
    take_over: bool,
    claim: Mutex<Option<Claim>>,
}

#[derive(Clone, Debug)]
struct Claim {
    query_id: String,
    /// The epoch of each collection that this query owns alone.
    epochs: BTreeMap<(String, String), i64>,
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
    pub async fn connect(uri: &str, take_over: bool) -> Result<Self> {
        // The driver's message may hold the URI, and the URI a password.
        let bad = || {
            Error::config("the MongoDB URI can't be used")
                .advise("write mongodb://user:password@host:27017/?authSource=admin, with special characters percent-encoded")
        };
        let mut options = ClientOptions::parse(uri).await.map_err(|_| bad())?;
        let hosts = options.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        options.app_name = Some("ecomm-batch".to_owned());
        options.server_selection_timeout.get_or_insert(Duration::from_secs(5));
        options.write_concern = Some(WriteConcern::majority());
        let client = Client::with_options(options).map_err(|_| bad())?;
        Ok(Self { client, hosts, take_over, claim: Mutex::new(None) })
    }

    /// Asks the deployment what it is and whether the user may write to `databases`; a line for people.
    ///
    /// # Errors
    /// [`Sink`](ErrorKind::Sink) names the right that is missing.
    pub async fn check(&self, databases: &[&str]) -> Result<String> {
        const ACTIONS: [&str; 4] = ["find", "insert", "update", "createCollection"];
        let admin = self.client.database("admin");
        let fail = |error: MongoError| self.failed("ask about", "admin", &error);
        let hello = admin.run_command(doc! { "hello": 1 }).await.map_err(fail)?;
        let kind = match hello.get_str("setName") {
            Ok(name) => format!("replica set \"{name}\""),
            Err(_) if hello.get_str("msg").is_ok_and(|message| message == "isdbgrid") => {
                "sharded cluster".to_owned()
            }
            Err(_) => {
                "standalone server (a replica set is safer: its writes survive the loss of a node)".to_owned()
            }
        };
        let status =
            admin.run_command(doc! { "connectionStatus": 1, "showPrivileges": true }).await.map_err(fail)?;
        let list = |name: &str| -> Vec<Document> {
            let info = status.get_document("authInfo").ok();
            let array = info.and_then(|info| info.get_array(name).ok());
            array.into_iter().flatten().filter_map(|item| item.as_document().cloned()).collect()
        };
        let privileges = list("authenticatedUserPrivileges");
        let is_anonymous = list("authenticatedUsers").is_empty();
        let may = |database: &str, action: &str| {
            privileges.iter().any(|privilege| {
                let covers = privilege.get_document("resource").is_ok_and(|resource| {
                    resource.get_str("db").is_ok_and(|db| db.is_empty() || db == database)
                        && resource.get_str("collection").is_ok_and(str::is_empty)
                        || resource.get_bool("anyResource").unwrap_or(false)
                });
                let actions = privilege.get_array("actions").ok();
                covers
                    && actions
                        .is_some_and(|actions| actions.iter().any(|known| known.as_str() == Some(action)))
            })
        };
        for database in databases.iter().filter(|_| !is_anonymous) {
            if let Some(action) = ACTIONS.iter().find(|action| !may(database, action)) {
                return Err(Error::new(
                    ErrorKind::Sink,
                    format!("the user of the MongoDB URI has no right to {action} in \"{database}\""),
                )
                .advise("grant the user readWrite on the database"));
            }
        }
        let who = if is_anonymous { "no login" } else { "the user may write" };
        Ok(format!("MongoDB at {}: {kind}, {who}", self.hosts))
    }

    fn ledger(&self, database: &str) -> Collection<Document> {
        self.client.database(database).collection(LEDGER)
    }

    fn claim(&self) -> Option<Claim> {
        self.claim.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    async fn create(&self, database: &str, collection: &str) -> Result<()> {
        match self.client.database(database).create_collection(collection).await {
            // 48: it is there already.
            Err(error) if !matches!(error.kind.as_ref(), MongoErrorKind::Command(command) if command.code == 48) => {
                Err(self.failed("create the collection", collection, &error))
            }
            _ => Ok(()),
        }
    }

    /// Raises the epoch of a collection, or refuses it.
    async fn own(&self, database: &str, collection: &str, query_id: &str) -> Result<i64> {
        let ledger = self.ledger(database);
        let fail = |error: MongoError| self.failed("claim", collection, &error);
        if let Some(entry) = ledger.find_one(doc! { "_id": collection }).await.map_err(fail)? {
            let owner = entry.get_str("query").unwrap_or_default();
            if owner != query_id && !self.take_over {
                return Err(Error::new(
                    ErrorKind::Sink,
                    format!("the collection \"{database}.{collection}\" belongs to another checkpoint's query"),
                )
                .with("query", owner)
                .advise("drop the collection and its ledger entry, choose another database or collection, or add --take-over"));
            }
        }
        let entry = ledger
            .find_one_and_update(
                doc! { "_id": collection },
                doc! { "$set": { "query": query_id }, "$inc": { "epoch": 1_i64 } },
            )
            .upsert(true)
            .return_document(ReturnDocument::After)
            .await
            .map_err(fail)?;
        entry
            .and_then(|entry| entry.get_i64("epoch").ok())
            .ok_or_else(|| Error::internal(format!("the ledger entry of \"{collection}\" has no epoch")))
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
            MongoErrorKind::DnsResolve { .. }
            | MongoErrorKind::Io(_)
            | MongoErrorKind::ServerSelection { .. }
            | MongoErrorKind::ConnectionPoolCleared { .. } => {
                refused(ErrorKind::Unavailable, "start it, or give the right address with --mongodb")
            }
            _ if is_transient(error) => refused(ErrorKind::Unavailable, "it should pass by itself"),
            _ => refused(ErrorKind::Sink, "mend it in MongoDB and start again: the batch runs again"),
        }
    }

    /// Inserts one chunk; returns what could not be stored, by the index in `documents`.
    async fn insert(
        &self,
        collection: &Collection<RawDocumentBuf>,
        documents: &[RawDocumentBuf],
    ) -> Result<Vec<Refusal>> {
        let Err(error) = collection.insert_many(documents).ordered(false).await else {
            return Ok(Vec::new());
        };
        let MongoErrorKind::InsertMany(failure) = error.kind.as_ref() else {
            return Err(self.failed("write to", collection.name(), &error));
        };
        let errors = failure.write_errors.as_deref().unwrap_or_default();
        if errors.is_empty() {
            // Only the concern failed: ask again, the inserts meet themselves as duplicates.
            return Err(Error::unavailable(format!(
                "MongoDB at \"{}\" did not confirm the writes to \"{}\" by a majority",
                self.hosts,
                collection.name()
            )));
        }
        let mut refusals = Vec::new();
        let duplicates: BTreeSet<usize> =
            errors.iter().filter(|error| error.code == 11000).map(|error| error.index).collect();
        for error in errors.iter().filter(|error| error.code != 11000) {
            refusals.push(Refusal {
                row: error.index,
                reason: RefusalReason::Refused,
                error: error.message.clone(),
            });
        }
        for row in self.different(collection, documents, &duplicates).await? {
            let error = "another document has that _id".to_owned();
            refusals.push(Refusal { row, reason: RefusalReason::Conflict, error });
        }
        Ok(refusals)
    }

    /// Which of `documents` at `rows` are stored otherwise than they are here.
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
            let id =
                |document: &RawDocumentBuf| -> Option<Bson> { document.get("_id").ok()??.try_into().ok() };
            let ids: Vec<Bson> = chunk.iter().filter_map(|&row| id(&documents[row])).collect();
            let found: Vec<RawDocumentBuf> = collection
                .find(doc! { "_id": { "$in": ids } })
                .await
                .map_err(fail)?
                .try_collect()
                .await
                .map_err(fail)?;
            let stored: BTreeSet<&[u8]> = found.iter().map(|document| document.as_bytes()).collect();
            different
                .extend(chunk.iter().copied().filter(|&row| !stored.contains(documents[row].as_bytes())));
        }
        Ok(different)
    }
}

fn is_transient(error: &MongoError) -> bool {
    // Codes of the driver specifications: not primary, shutting down, network, interrupted, time out.
    const CODES: [i32; 16] =
        [6, 7, 64, 89, 91, 112, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436, 50];
    let code = match error.kind.as_ref() {
        MongoErrorKind::Command(command) => Some(command.code),
        _ => None,
    };
    ["RetryableWriteError", "TransientTransactionError"].iter().any(|label| error.contains_label(label))
        || code.is_some_and(|code| CODES.contains(&code))
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
    async fn open(&self, outputs: &[Output], query_id: &str) -> Result<()> {
        let mut epochs = BTreeMap::new();
        for (database, collection, shared) in outputs.iter().filter_map(target) {
            self.create(database, collection).await?;
            if !shared {
                let epoch = self.own(database, collection, query_id).await?;
                epochs.insert((database.to_owned(), collection.to_owned()), epoch);
            }
        }
        *self.claim.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Some(Claim { query_id: query_id.to_owned(), epochs });
        Ok(())
    }

    async fn fence(&self, outputs: &[Output], batch: BatchId, done: bool) -> Result<()> {
        let Some(claim) = self.claim() else { return Ok(()) };
        for (database, collection, shared) in outputs.iter().filter_map(target) {
            let Some(&epoch) =
                claim.epochs.get(&(database.to_owned(), collection.to_owned())).filter(|_| !shared)
            else {
                continue;
            };
            let mine = doc! { "_id": collection, "query": &claim.query_id, "epoch": epoch };
            let ledger = self.ledger(database);
            let fail = |error: MongoError| self.failed("check the ledger of", collection, &error);
            let is_mine = if done {
                let update = doc! { "$set": { "batch": batch.0 as i64 } };
                ledger.update_one(mine, update).await.map_err(fail)?.matched_count == 1
            } else {
                ledger.find_one(mine).await.map_err(fail)?.is_some()
            };
            if !is_mine {
                return Err(Error::new(
                    ErrorKind::Fenced,
                    format!("another engine has taken over the collection \"{database}.{collection}\""),
                )
                .advise("leave the work to it, or stop it and start this one again"));
            }
        }
        Ok(())
    }

    async fn write(&self, output: &Output, _batch: BatchId, rows: &OutputRows) -> Result<Vec<Refusal>> {
        use futures::{StreamExt, TryStreamExt};
        let Some((database, name, _)) = target(output) else {
            return Err(Error::internal(format!("output \"{}\" does not go to MongoDB", output.name)));
        };
        let options = CollectionOptions::builder().write_concern(WriteConcern::majority()).build();
        let collection: Collection<RawDocumentBuf> =
            self.client.database(database).collection_with_options(name, options);
        let mut refusals = Vec::new();
        let (mut documents, mut numbers) = (Vec::new(), Vec::new());
        for row in 0..rows.rows.num_rows() {
            let document = document(rows, row)?;
            let bytes = document.as_bytes().len();
            if bytes > MAX_DOCUMENT_BYTES {
                let error = format!("the document has {bytes} bytes, more than {MAX_DOCUMENT_BYTES}");
                refusals.push(Refusal { row, reason: RefusalReason::Refused, error });
            } else {
                documents.push(document);
                numbers.push(row);
            }
        }
        let mut writes: Vec<BoxFuture<'_, Result<Vec<Refusal>>>> = Vec::new();
        for (documents, numbers) in documents.chunks(CHUNK_ROWS).zip(numbers.chunks(CHUNK_ROWS)) {
            let collection = &collection;
            writes.push(Box::pin(async move {
                let refusals = self.insert(collection, documents).await?;
                Ok(refusals
                    .into_iter()
                    .map(|refusal| Refusal { row: numbers[refusal.row], ..refusal })
                    .collect())
            }));
        }
        let more: Vec<Vec<Refusal>> =
            futures::stream::iter(writes).buffer_unordered(PARALLEL).try_collect().await?;
        refusals.extend(more.into_iter().flatten());
        refusals.sort_by_key(|refusal| refusal.row);
        Ok(refusals)
    }
}

/// One row as a document, `_id` first.
fn document(output: &OutputRows, row: usize) -> Result<RawDocumentBuf> {
    let id = match &output.ids {
        DocumentIds::Derived(ids) => RawBson::String(ids[row].clone()),
        DocumentIds::Columns(columns) => match columns.as_slice() {
            [column] => value(output.rows.column(*column).as_ref(), row)?,
            columns => {
                let mut id = RawDocumentBuf::new();
                append_fields(&mut id, &output.rows, columns.iter().copied(), row)?;
                RawBson::Document(id)
            }
        },
    };
    let mut document = RawDocumentBuf::new();
    document.append(bson::cstr!("_id"), id);
    append_fields(&mut document, &output.rows, 0..output.rows.num_columns(), row)?;
    Ok(document)
}

fn append_fields(
    into: &mut RawDocumentBuf,
    rows: &RecordBatch,
    columns: impl Iterator<Item = usize>,
    row: usize,
) -> Result<()> {
    for column in columns {
        let schema = rows.schema();
        let name = schema.field(column).name();
        let name = CString::try_from(name.as_str())
            .map_err(|_| Error::config(format!("\"{name}\" can't be a field's name")))?;
        into.append(name, value(rows.column(column).as_ref(), row)?);
    }
    Ok(())
}

fn value(array: &dyn Array, row: usize) -> Result<RawBson> {
    if array.is_null(row) {
        return Ok(RawBson::Null);
    }
    let binary = |bytes: &[u8]| {
        RawBson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: bytes.to_vec() })
    };
    Ok(match array.data_type() {
        DataType::Null => RawBson::Null,
        DataType::Boolean => RawBson::Boolean(array.as_boolean().value(row)),
        DataType::Int8 => RawBson::Int32(i32::from(array.as_primitive::<Int8Type>().value(row))),
        DataType::Int16 => RawBson::Int32(i32::from(array.as_primitive::<Int16Type>().value(row))),
        DataType::Int32 => RawBson::Int32(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => RawBson::Int64(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => RawBson::Int32(i32::from(array.as_primitive::<UInt8Type>().value(row))),
        DataType::UInt16 => RawBson::Int32(i32::from(array.as_primitive::<UInt16Type>().value(row))),
        DataType::UInt32 => RawBson::Int64(i64::from(array.as_primitive::<UInt32Type>().value(row))),
        DataType::UInt64 => {
            RawBson::Decimal128(decimal128(i128::from(array.as_primitive::<UInt64Type>().value(row)), 0))
        }
        DataType::Float32 => RawBson::Double(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => RawBson::Double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => {
            RawBson::Decimal128(decimal128(array.as_primitive::<Decimal128Type>().value(row), *scale))
        }
        DataType::Date32 => {
            let days = i64::from(array.as_primitive::<Date32Type>().value(row));
            RawBson::DateTime(DateTime::from_millis(days * 86_400_000))
        }
        DataType::Timestamp(_, _) => {
            RawBson::DateTime(DateTime::from_millis(timestamp_nanos(array, row).div_euclid(NANOS_PER_MS)))
        }
        DataType::Utf8 => RawBson::String(array.as_string::<i32>().value(row).to_owned()),
        DataType::LargeUtf8 => RawBson::String(array.as_string::<i64>().value(row).to_owned()),
        DataType::Utf8View => RawBson::String(array.as_string_view().value(row).to_owned()),
        DataType::Binary => binary(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => binary(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => binary(array.as_binary_view().value(row)),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            let mut list = RawArrayBuf::new();
            for item in 0..items.len() {
                list.push(value(items.as_ref(), item)?);
            }
            RawBson::Array(list)
        }
        DataType::Struct(_) => {
            let fields = RecordBatch::from(array.as_struct().slice(row, 1));
            let mut document = RawDocumentBuf::new();
            append_fields(&mut document, &fields, 0..fields.num_columns(), 0)?;
            RawBson::Document(document)
        }
        other => return Err(unsupported(other)),
    })
}

/// `unscaled` × 10^−`scale` in the binary integer form of IEEE 754: sign, exponent + 6176, coefficient.
///
/// At most 34 digits, which planning has made sure of; they fit the 113 bits of the coefficient.
fn decimal128(unscaled: i128, scale: i8) -> Decimal128 {
    let sign = if unscaled < 0 { 1u128 << 127 } else { 0 };
    let exponent = (6176 - i128::from(scale)) as u128;
    Decimal128::from_bytes((sign | (exponent << 113) | unscaled.unsigned_abs()).to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::decimal128;

    #[test]
    fn decimals_keep_digits_and_scale() {
        for (unscaled, scale, text) in [
            (1234, 2, "12.34"),
            (1250, 2, "12.50"),
            (-1, 2, "-0.01"),
            (0, 2, "0.00"),
            (7, 0, "7"),
            (10i128.pow(34) - 1, 4, "999999999999999999999999999999.9999"),
        ] {
            assert_eq!(decimal128(unscaled, scale).to_string(), text);
        }
    }
}
