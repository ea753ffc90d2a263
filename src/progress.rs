//! One record for each batch; the log line, the live line and `--progress` are views of it.
//!
//! Field names of the JSON are those of Spark's `StreamingQueryProgress`, so that known dashboards
//! read it.

use serde_json::{Value, json};

use crate::batch::BatchId;
use crate::checkpoint::record::Counts;
use crate::clock::{Nanos, rfc3339, rfc3339_ms};
use crate::watermark::HeldBy;

/// What a batch did and how long it took.
#[derive(Clone, Debug)]
pub struct BatchProgress {
    /// The query.
    pub query_id: String,
    /// The batch.
    pub batch_id: BatchId,
    /// Its time.
    pub time_ms: i64,
    /// What became of its records.
    pub counts: Counts,
    /// Since the first batch.
    pub total: Counts,
    /// The watermark that it ended with.
    pub watermark: Option<Nanos>,
    /// Whether this batch moved it.
    pub has_moved: bool,
    /// The source and partition that decide where it is, and why.
    pub held_by: HeldBy,
    /// Rows that can still match.
    pub state_rows: u64,
    /// Rows that wait for a first partner.
    pub waiting: u64,
    /// Offsets beyond the batch's ranges when it was planned.
    pub lag: u64,
    /// Milliseconds of each step, in order.
    pub steps_ms: Vec<(&'static str, u64)>,
}

impl BatchProgress {
    /// How long the whole batch took.
    pub fn duration_ms(&self) -> u64 {
        self.steps_ms.iter().map(|(_, ms)| ms).sum()
    }

    /// Records in a second of this batch.
    pub fn records_per_second(&self) -> u64 {
        self.counts.records * 1000 / self.duration_ms().max(1)
    }

    /// One line of the log, with its figures as fields.
    pub fn log(&self) {
        let counts = &self.counts;
        tracing::info!(
            batch_id = self.batch_id.0,
            records = counts.records,
            duration_ms = self.duration_ms(),
            valid = counts.valid,
            rejected = counts.rejected,
            unmatched = counts.unmatched,
            dead_letters = counts.dead() + counts.refused + counts.conflict,
            tombstones = counts.tombstones,
            lag = self.lag,
            watermark = self.watermark.map(rfc3339),
            state_rows = self.state_rows,
            waiting = self.waiting,
            "{self}"
        );
    }

    /// As Spark's progress.
    pub fn to_json(&self) -> Value {
        let mut durations = serde_json::Map::new();
        for (step, ms) in &self.steps_ms {
            durations.insert((*step).to_owned(), (*ms).into());
        }
        durations.insert("triggerExecution".to_owned(), self.duration_ms().into());
        json!({
            "id": self.query_id,
            "batchId": self.batch_id,
            "timestamp": rfc3339_ms(self.time_ms),
            "numInputRows": self.counts.records,
            "processedRowsPerSecond": self.records_per_second(),
            "durationMs": durations,
            "eventTime": { "watermark": self.watermark.map(rfc3339), "heldBy": self.held_by.to_string() },
            "stateOperators": [{
                "operatorName": "streamStreamJoin",
                "numRowsTotal": self.state_rows,
                "numRowsWaiting": self.waiting,
                "numRowsDroppedByWatermark": self.counts.late,
            }],
            "lag": self.lag,
            "counts": self.counts,
            "total": self.total,
        })
    }
}

impl std::fmt::Display for BatchProgress {
    /// One line for people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = &self.counts;
        write!(
            f,
            "batch {}: {} records in {} ms ({}/s), {} valid, {} rejected, {} unmatched, {} dead letters, lag {}, watermark {}, state {} rows",
            self.batch_id,
            counts.records,
            self.duration_ms(),
            self.records_per_second(),
            counts.valid,
            counts.rejected,
            counts.unmatched,
            counts.dead() + counts.refused + counts.conflict,
            self.lag,
            self.watermark.map_or_else(|| "none".to_owned(), rfc3339),
            self.state_rows,
        )?;
        for (count, word) in
            [(counts.tombstones, "tombstones"), (counts.filtered, "filtered"), (counts.lost, "lost")]
        {
            if count > 0 {
                write!(f, ", {count} {word}")?;
            }
        }
        if self.has_moved { Ok(()) } else { write!(f, ", the watermark waits: {}", self.held_by) }
    }
}
