//! One record for each batch; the log line, the terminal, the console, the metrics and `--progress` are views of it.
//!
//! Field names of the JSON are those of Spark's `StreamingQueryProgress`, so that known dashboards
//! read it; what Spark does not have is beside them (`counts`, `total`, `rules`, `outputs`, `heldBy`).

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::batch::counts::{Counts, Tally};
use crate::batch::offset::{OffsetRange, PerPartition, per_partition};
use crate::batch::watermark::{HeldBy, PartitionClock, WatermarkInput, WatermarkPolicy};
use crate::batch::{BatchId, BatchPlan};
use crate::checkpoint::record::{CommitRecord, Metadata};
use crate::clock::{NANOS_PER_MS, Nanos, rfc3339, rfc3339_ms};
use crate::observe::example::Example;
use crate::query::Program;
use crate::query::source_table::SourceTable;
use crate::query::source_view::SourceView;

/// What a batch did and how long it took.
#[derive(Clone, Debug)]
pub struct BatchProgress {
    /// The query.
    pub query_id: String,
    /// The start of the engine that ran it.
    pub run_id: String,
    /// The join view, or the only source.
    pub name: String,
    /// The batch.
    pub batch_id: BatchId,
    /// Its time.
    pub time_ms: i64,
    /// The hash of its SQL.
    pub program: String,
    /// Milliseconds between the start of the batch before and its own; `None` of the first of a run.
    pub since_last_ms: Option<u64>,
    /// What became of its records.
    pub counts: Counts,
    /// Since the first batch.
    pub total: Counts,
    /// By topics, rules and outputs.
    pub tally: Tally,
    /// The same since the first batch.
    pub total_tally: Tally,
    /// Of each source, as the program has them.
    pub sources: Vec<SourceProgress>,
    /// Of each side of the join; of a program without one of its source.
    pub state: Vec<StateProgress>,
    /// How far each partition has come.
    pub clocks: PerPartition<PartitionClock>,
    /// The watermark that it ended with.
    pub watermark: Option<Nanos>,
    /// Whether this batch moved it.
    pub has_moved: bool,
    /// The source and partition that decide where it is, and why.
    pub held_by: HeldBy,
    /// Offsets beyond the batch's ranges when it was planned.
    pub lag: u64,
    /// Bytes of the state's files.
    pub checkpoint_bytes: u64,
    /// Milliseconds of each step, in order.
    pub steps_ms: Vec<(&'static str, u64)>,
    /// How late its late records were.
    pub lateness: Lateness,
    /// A few of its rows, now and then.
    pub examples: Arc<[Example]>,
}

/// What a batch read of one source.
#[derive(Clone, Debug)]
pub struct SourceProgress {
    /// The topic.
    pub topic: Arc<str>,
    /// What became of its records up to the join.
    pub counts: Counts,
    /// The offsets of its partitions.
    pub ranges: PerPartition<OffsetRange>,
    /// The event times of its rows that were not from the future.
    pub event_times: Option<EventTimes>,
}

/// Event times of some rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTimes {
    /// The least.
    pub min: Nanos,
    /// The greatest.
    pub max: Nanos,
    /// Of all.
    pub sum: i128,
    /// How many.
    pub count: u64,
}

impl EventTimes {
    /// One row's.
    pub fn of(time: Nanos) -> Self {
        Self { min: time, max: time, sum: i128::from(time), count: 1 }
    }

    /// Those of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            sum: self.sum + other.sum,
            count: self.count + other.count,
        }
    }

    fn mean(&self) -> Nanos {
        i64::try_from(self.sum / i128::from(self.count.max(1))).unwrap_or(self.max)
    }
}

/// One side's rows in state after a batch.
#[derive(Clone, Debug)]
pub struct StateProgress {
    /// The source's name.
    pub source: String,
    /// Rows that can still match.
    pub rows: u64,
    /// Rows that wait for a first partner; a checkpoint does not say how many of each side do.
    pub waiting: Option<u64>,
    /// PRIMARY KEY values that are remembered.
    pub keys: u64,
    /// Memory of the rows' columns, in bytes.
    pub bytes: u64,
    /// Rows that this batch added.
    pub added: u64,
    /// Rows that left with this batch.
    pub removed: u64,
    /// The least event time of its rows.
    pub oldest: Option<Nanos>,
}

/// How far below the watermark late records were: in slot i those below 2^i seconds, in the last all others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lateness([u64; 20]);

impl Lateness {
    /// One record, so many nanoseconds below the watermark.
    pub fn push(&mut self, late: Nanos) {
        let seconds = u64::try_from(late).unwrap_or(0) / 1_000_000_000;
        let slot = (u64::BITS - seconds.leading_zeros()) as usize;
        self.0[slot.min(self.0.len() - 1)] += 1;
    }

    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, others)| *mine += others);
    }

    /// The seconds by which the delay would have to be longer for `share` of them to be in time; `None` if there
    /// are none, or if they are later than is counted.
    pub fn seconds_for(&self, share: f64) -> Option<u64> {
        let wanted = self.0.iter().sum::<u64>() as f64 * share;
        let mut sum = 0;
        let slot = self.0.iter().position(|&count| {
            sum += count;
            count > 0 && sum as f64 >= wanted
        })?;
        (slot + 1 < self.0.len()).then(|| 1 << slot)
    }
}

impl BatchProgress {
    /// What a checkpoint tells of a batch: no durations, no event times, no examples.
    pub fn of_record(
        program: &Program,
        metadata: &Metadata,
        plan: &BatchPlan,
        commit: &CommitRecord,
        before: Option<&CommitRecord>,
    ) -> Self {
        let clocks: PerPartition<PartitionClock> =
            per_partition(&commit.partitions).into_iter().map(|(tp, record)| (tp, record.clock)).collect();
        let none = BTreeSet::new();
        let policies: Vec<WatermarkPolicy> =
            program.sources.iter().map(|source| source.watermark.clone()).collect();
        let held_by = WatermarkInput {
            current: plan.watermark,
            clocks: &clocks,
            ranges: &plan.ranges,
            pinned: plan.run.as_ref().map_or(&none, |run| &run.pinned),
            now_ms: plan.time_ms,
            query_start_ms: metadata.started_ms,
        }
        .advance(&policies)
        .held_by;
        let of_topic = |topic: &str| {
            let ranges = plan.ranges.iter().filter(|(tp, _)| *tp.topic == *topic);
            ranges.map(|(tp, range)| (tp.clone(), *range)).collect()
        };
        let tally = before.map_or_else(Tally::default, |before| commit.tally.since(&before.tally));
        let source = |source: &SourceTable| SourceProgress {
            topic: Arc::clone(&source.topic),
            counts: Counts {
                records: tally.topics.get(&*source.topic).copied().unwrap_or(0),
                ..Counts::default()
            },
            ranges: of_topic(&source.topic),
            event_times: None,
        };
        let side = |(input, &rows): (&SourceView, &u64)| StateProgress {
            source: program.sources[input.source].name.clone(),
            rows,
            waiting: None,
            keys: 0,
            bytes: 0,
            added: 0,
            removed: 0,
            oldest: None,
        };
        Self {
            query_id: metadata.query_id.clone(),
            run_id: String::new(),
            name: program.view.name.clone(),
            batch_id: plan.id,
            time_ms: plan.time_ms,
            program: plan.program.clone(),
            since_last_ms: None,
            counts: commit.counts,
            total: commit.total,
            total_tally: commit.tally.clone(),
            sources: program.sources.iter().map(source).collect(),
            tally,
            state: program.inputs().zip(&commit.rows).map(side).collect(),
            clocks,
            watermark: commit.watermark,
            has_moved: commit.watermark != plan.watermark,
            held_by,
            lag: plan.ranges.values().map(behind).sum(),
            checkpoint_bytes: commit.state.iter().flatten().map(|file| file.bytes).sum(),
            steps_ms: Vec::new(),
            lateness: Lateness::default(),
            examples: Arc::default(),
        }
    }

    /// How long the whole batch took.
    pub fn duration_ms(&self) -> u64 {
        self.steps_ms.iter().map(|(_, ms)| ms).sum()
    }

    /// Records in a second of this batch.
    pub fn records_per_second(&self) -> u64 {
        self.counts.records * 1000 / self.duration_ms().max(1)
    }

    /// Rows that can still match.
    pub fn state_rows(&self) -> u64 {
        self.state.iter().map(|side| side.rows).sum()
    }

    /// Rows that wait for a first partner.
    pub fn waiting(&self) -> u64 {
        let of_sides: Option<u64> = self.state.iter().map(|side| side.waiting).sum();
        of_sides.unwrap_or_else(|| self.total.records.saturating_sub(self.total.settled()))
    }

    /// Letters of the batch.
    pub fn dead_letters(&self) -> u64 {
        self.counts.dead_letters()
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
            dead_letters = self.dead_letters(),
            tombstones = counts.tombstones,
            lag = self.lag,
            watermark = self.watermark.map(rfc3339),
            state_rows = self.state_rows(),
            waiting = self.waiting(),
            "{self}"
        );
    }

    /// As Spark's progress.
    pub fn to_json(&self) -> Value {
        let mut durations = Map::new();
        for (step, ms) in &self.steps_ms {
            durations.insert((*step).to_owned(), (*ms).into());
        }
        durations.insert("triggerExecution".to_owned(), self.duration_ms().into());
        json!({
            "id": self.query_id,
            "runId": self.run_id,
            "name": self.name,
            "batchId": self.batch_id,
            "timestamp": rfc3339_ms(self.time_ms),
            "batchDuration": self.duration_ms(),
            "numInputRows": self.counts.records,
            "inputRowsPerSecond": self.since_last_ms.map(|ms| per_second(self.counts.records, ms)),
            "processedRowsPerSecond": self.records_per_second(),
            "durationMs": durations,
            "eventTime": self.event_time_json(),
            "stateOperators": self.state.iter().map(|side| self.state_json(side)).collect::<Vec<_>>(),
            "sources": self.sources.iter().map(|source| self.source_json(source)).collect::<Vec<_>>(),
            "sink": {
                "description": self.tally.outputs.keys().cloned().collect::<Vec<_>>().join(", "),
                "numOutputRows": self.tally.outputs.values().sum::<u64>(),
            },
            "observedMetrics": { "outputs": self.tally.outputs, "rules": self.tally.rules },
            "lag": self.lag,
            "program": self.program,
            "counts": self.counts,
            "total": self.total,
            "totals": self.total_tally,
        })
    }

    fn event_time_json(&self) -> Value {
        let mut fields = Map::new();
        let times = self.sources.iter().filter_map(|source| source.event_times).reduce(EventTimes::and);
        if let Some(times) = times {
            for (name, time) in [("avg", times.mean()), ("max", times.max), ("min", times.min)] {
                fields.insert(name.to_owned(), rfc3339(time).into());
            }
        }
        fields.insert("watermark".to_owned(), self.watermark.map(rfc3339).into());
        fields.insert("heldBy".to_owned(), self.held_by.to_string().into());
        fields.into()
    }

    fn state_json(&self, side: &StateProgress) -> Value {
        json!({
            "operatorName": "streamStreamJoin",
            "source": side.source,
            "numRowsTotal": side.rows,
            "numRowsUpdated": side.added,
            "numRowsRemoved": side.removed,
            "numRowsWaiting": side.waiting,
            "numKeys": side.keys,
            "memoryUsedBytes": side.bytes,
            "numRowsDroppedByWatermark": self.counts.late,
        })
    }

    fn source_json(&self, source: &SourceProgress) -> Value {
        let offsets = |value: fn(&OffsetRange) -> i64| {
            let mut partitions = Map::new();
            for (tp, range) in &source.ranges {
                partitions.insert(tp.partition.to_string(), value(range).into());
            }
            json!({ &*source.topic: partitions })
        };
        let behind: Vec<u64> = source.ranges.values().map(behind).collect();
        let mean = behind.iter().sum::<u64>() / (behind.len() as u64).max(1);
        json!({
            "description": format!("KafkaV2[Subscribe[{}]]", source.topic),
            "startOffset": offsets(|range| range.start),
            "endOffset": offsets(|range| range.end),
            "latestOffset": offsets(|range| range.latest),
            "numInputRows": source.counts.records,
            "inputRowsPerSecond": self.since_last_ms.map(|ms| per_second(source.counts.records, ms)),
            "processedRowsPerSecond": per_second(source.counts.records, self.duration_ms()),
            "metrics": {
                "minOffsetsBehindLatest": behind.iter().min().copied().unwrap_or(0).to_string(),
                "avgOffsetsBehindLatest": mean.to_string(),
                "maxOffsetsBehindLatest": behind.iter().max().copied().unwrap_or(0).to_string(),
            },
            "counts": source.counts,
        })
    }
}

/// Offsets that were there and not in the range.
pub(crate) fn behind(range: &OffsetRange) -> u64 {
    u64::try_from(range.latest - range.end).unwrap_or(0)
}

fn per_second(count: u64, ms: u64) -> u64 {
    count * 1000 / ms.max(1)
}

/// Milliseconds since 1970.
pub(crate) fn to_ms(nanos: Nanos) -> i64 {
    nanos.div_euclid(NANOS_PER_MS)
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
            self.dead_letters(),
            self.lag,
            self.watermark.map_or_else(|| "none".to_owned(), rfc3339),
            self.state_rows(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_delay_catches_a_share_of_the_late() {
        let mut lateness = Lateness::default();
        assert_eq!(lateness.seconds_for(0.99), None);
        (0..98).for_each(|_| lateness.push(500_000_000));
        lateness.push(70 * 1_000_000_000);
        lateness.push(3000 * 1_000_000_000);
        assert_eq!(lateness.seconds_for(0.5), Some(1));
        assert_eq!(lateness.seconds_for(0.99), Some(128));
        assert_eq!(lateness.seconds_for(1.0), Some(4096));
        lateness.push(i64::MAX);
        assert_eq!(lateness.seconds_for(1.0), None);
    }
}
