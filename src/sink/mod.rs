//! Rows out, harmless when repeated.
//!
//! A sink stores documents under ids that a replay makes again. [`mongodb`] is the real one, [`mod@file`]
//! writes JSON lines or Parquet, [`memory`] keeps rows for case files. What a document looks like
//! is the same for all: `_id` first, then the fields of the output's SELECT.

mod decimal;
pub mod file;
pub mod json;
pub mod memory;
pub mod mongodb;
mod parquet;
pub mod routed;

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt64Array};
use async_trait::async_trait;

use crate::batch::BatchId;
use crate::error::Result;
use crate::query::output::Output;

/// The rows of one output in one batch.
#[derive(Clone, Debug)]
pub struct OutputRows {
    /// The fields.
    pub rows: RecordBatch,
    /// For each row its id: the declared columns, or a text made of the positions of its records.
    pub ids: DocumentIds,
}

impl OutputRows {
    /// The rows at `indices`, in that order.
    pub fn take(&self, indices: &[usize]) -> Result<Self> {
        let at = UInt64Array::from_iter_values(indices.iter().map(|&index| index as u64));
        let ids = match &self.ids {
            DocumentIds::Columns(columns) => DocumentIds::Columns(columns.clone()),
            DocumentIds::Derived(ids) => {
                DocumentIds::Derived(indices.iter().map(|&index| ids[index].clone()).collect())
            }
        };
        Ok(Self { rows: arrow::compute::take_record_batch(&self.rows, &at)?, ids })
    }
}

/// Where the `_id` of a document comes from.
#[derive(Clone, Debug)]
pub enum DocumentIds {
    /// Columns of the rows: one is the value itself, several a document in that order.
    Columns(Vec<usize>),
    /// A text for each row.
    Derived(Vec<String>),
}

/// Why a sink did not store a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// The sink can't hold it.
    Refused,
    /// Another document has its `_id`.
    Conflict,
}

impl RefusalReason {
    /// As `dead_letters` says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Conflict => "conflict",
        }
    }
}

/// A row that a sink could not store.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Its index in the rows.
    pub row: usize,
    /// Why.
    pub reason: RefusalReason,
    /// The sink's words.
    pub error: String,
}

/// What became of a batch that was to be stored whole.
#[derive(Debug)]
pub enum Atomic {
    /// Everything is stored, and the ledger says so.
    Stored,
    /// The ledger says that it was stored before.
    StoredBefore(Refused),
    /// Nothing is stored: rows of the output at this index can't be.
    Refused(usize, Vec<Refusal>),
    /// Nothing is stored: why it has to go one by one.
    DoesNotFit(String),
    /// Nothing is stored: the server gave it up and says why; again it may work.
    GivenUp(String),
}

/// How many rows of a batch the sinks did not store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// The sink can't hold them.
    pub refused: u64,
    /// Other documents have their `_id`.
    pub conflict: u64,
}

/// Where outputs go.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Asks whether [`Sink::open`] could claim the places of the outputs, and changes nothing.
    ///
    /// # Errors
    /// Those of [`Sink::open`].
    async fn ask(&self, _outputs: &[Output], _query_id: &str) -> Result<()> {
        Ok(())
    }

    /// Claims the places of the outputs for the query and raises its epoch; once, before the first batch.
    /// `last_planned` is the last batch that the checkpoint knows.
    ///
    /// # Errors
    /// * [`Sink`](crate::error::ErrorKind::Sink) if another query owns one.
    /// * [`Checkpoint`](crate::error::ErrorKind::Checkpoint) if a later batch was stored than the checkpoint
    ///   knows of: it is an old copy.
    async fn open(&self, outputs: &[Output], query_id: &str, last_planned: Option<BatchId>) -> Result<()>;

    /// Checks that no newer engine has taken over; before a batch's writes.
    ///
    /// # Errors
    /// [`Fenced`](crate::error::ErrorKind::Fenced) if one has.
    async fn fence(&self, outputs: &[Output]) -> Result<()>;

    /// Records that the batch is stored, if no newer engine has taken over meanwhile.
    ///
    /// # Errors
    /// [`Fenced`](crate::error::ErrorKind::Fenced) if one has.
    async fn record(&self, outputs: &[Output], batch: BatchId, refused: Refused) -> Result<()>;

    /// Stores the rows of one output durably. Repeating it with the same batch and rows leaves the
    /// same documents; `Ok` with refusals means that all others are stored. Without rows nothing is asked for,
    /// but of a batch that runs again: what it left otherwise goes.
    async fn write(&self, output: &Output, batch: BatchId, rows: &OutputRows) -> Result<Vec<Refusal>>;

    /// Stores all rows of a batch and its entry in the ledger, or nothing. `refused` were left out before.
    ///
    /// # Errors
    /// [`Fenced`](crate::error::ErrorKind::Fenced) if a newer engine has taken over.
    async fn write_atomically(
        &self,
        _batch: BatchId,
        _outputs: &[(&Output, OutputRows)],
        _refused: Refused,
    ) -> Result<Atomic> {
        Ok(Atomic::DoesNotFit("only MongoDB has transactions".to_owned()))
    }
}

/// The sink as stages share it.
pub type SharedSink = Arc<dyn Sink>;
