//! The words: one turn of the loop, with its number, the intent that it must follow at a replay too, and the values
//! that travel with it.

pub mod counts;
pub mod offset;
pub mod reason;
pub mod trigger;
pub mod watermark;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::batch::offset::{OffsetRange, PerPartition, TopicPartition};
use crate::clock::Nanos;

/// The number of a micro-batch, consecutive from 0; a replay keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(pub u64);

impl BatchId {
    /// The batch after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// All that the outcome of a batch depends on besides the records: what `offsets/<N>` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchPlan {
    /// The batch.
    pub id: BatchId,
    /// What is read, of every partition; empty ranges for those that had nothing.
    pub ranges: PerPartition<OffsetRange>,
    /// The watermark that judges the batch: the one that the batch before ended with.
    pub watermark: Option<Nanos>,
    /// The batch time.
    pub time_ms: i64,
    /// The hash of the SQL.
    pub program: String,
    /// How the sinks store it.
    pub sink: SinkMode,
    /// Into how many key groups it falls; nothing of its outcome depends on it.
    pub groups: u32,
    /// The bounded run that it belongs to, of `available-now` and `once`.
    pub run: Option<BoundedRun>,
}

/// How a batch's documents are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SinkMode {
    /// One by one; each is harmless when repeated.
    #[default]
    Idempotent,
    /// All of a batch in one transaction where it fits, else one by one.
    Atomic,
}

/// A run that ends: the offsets it goes to, fixed when it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundedRun {
    /// `available-now` or `once`.
    pub trigger: String,
    /// The end of each partition.
    pub targets: PerPartition<i64>,
    /// Partitions that had backlog when it began: the watermark waits for them, whatever the time.
    pub pinned: BTreeSet<TopicPartition>,
}

impl BatchPlan {
    /// How many offsets it spans.
    pub fn num_offsets(&self) -> i64 {
        self.ranges.values().map(OffsetRange::len).sum()
    }

    /// The run that goes on after this batch: one of `available-now` that has targets left. `once`
    /// is over with its batch, whatever it left.
    pub fn unfinished_run(&self) -> Option<BoundedRun> {
        let is_left = |(tp, &target): (&TopicPartition, &i64)| {
            self.ranges.get(tp).is_some_and(|range| range.end < target)
        };
        self.run.clone().filter(|run| run.trigger == "available-now" && run.targets.iter().any(is_left))
    }
}
