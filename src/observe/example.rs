//! A few rows of each kind, for people: what an output got, what a rule rejected, what became a dead letter.

use crate::batch::BatchId;
use crate::batch::offset::TopicPartition;
use crate::batch::reason::Reason;
use crate::query::rule::Severity;

/// Rows of one kind that a batch gives at most.
pub const MAX_OF_KIND: usize = 5;

/// Bytes of a row that are kept.
pub const MAX_BYTES: usize = 4 * 1024;

/// What a row is an example of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExampleKind {
    /// It went to this output.
    Output(String),
    /// It violates this rule.
    Rule(String),
    /// It is a dead letter for this reason.
    Letter(Reason),
}

/// One row.
#[derive(Clone, Debug)]
pub struct Example {
    /// Of what.
    pub kind: ExampleKind,
    /// The batch that made it.
    pub batch: BatchId,
    /// That batch's time, in milliseconds.
    pub time_ms: i64,
    /// The records behind it: topic, partition, offset.
    pub origins: Vec<(TopicPartition, i64)>,
    /// The document's `_id`, as JSON.
    pub id: Option<String>,
    /// Of a rule: how serious it is.
    pub severity: Option<Severity>,
    /// The rule's detail; of a dead letter what was found.
    pub detail: Option<String>,
    /// The document as JSON; of a dead letter the record's value. At most [`MAX_BYTES`].
    pub body: Vec<u8>,
}

/// The first [`MAX_BYTES`] of `bytes`.
pub(crate) fn cut(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len().min(MAX_BYTES)].to_vec()
}
