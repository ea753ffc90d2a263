//! Rows out, harmless when repeated.
//!
//! A sink stores documents under ids that a replay makes again. [`mongodb`] is the real one, [`mod@file`]
//! writes JSON lines or Parquet, [`memory`] keeps rows for case files. What a document looks like
//! is the same for all: `_id` first, then the fields of the output's SELECT.

pub mod file;
pub mod json;
pub mod memory;
pub mod mongodb;
pub mod routed;

use std::sync::Arc;

use arrow::array::RecordBatch;
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

/// Where outputs go.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Claims the places of the outputs for the query and raises its epoch; once, before the first batch.
    ///
    /// # Errors
    /// [`Sink`](crate::error::ErrorKind::Sink) if another query owns one.
    async fn open(&self, outputs: &[Output], query_id: &str) -> Result<()>;

    /// Checks that no newer engine has taken over; before a batch's writes and after them, when
    /// `done` also records that the batch is stored.
    async fn fence(&self, outputs: &[Output], batch: BatchId, done: bool) -> Result<()>;

    /// Stores the rows of one output durably. Repeating it with the same batch and rows leaves the
    /// same documents; `Ok` with refusals means that all others are stored.
    async fn write(&self, output: &Output, batch: BatchId, rows: &OutputRows) -> Result<Vec<Refusal>>;
}

/// The sink as stages share it.
pub type SharedSink = Arc<dyn Sink>;
