//! The JSON files of a checkpoint: what they hold, and the checksum that seals them.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::batch::counts::{Counts, Tally};
use crate::batch::offset::{ByTopic, OffsetRange, TopicPartition, by_topic, per_partition};
use crate::batch::watermark::PartitionClock;
use crate::batch::{BatchId, BatchPlan, BoundedRun, SinkMode};
use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::query::fingerprint::Fingerprint;
use crate::query::folder::hex;
use crate::source::Record;

/// The version of the files' format that this engine writes and reads.
pub const FORMAT: u32 = 1;

/// `metadata`: who the query is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Metadata {
    /// Names the query in ledgers and group ids; random, made with the checkpoint.
    pub query_id: String,
    /// The offsets that the first batch starts from, as resolved then.
    pub starting_offsets: ByTopic<i64>,
    /// The batch time that idleness of a silent source is counted from.
    pub started_ms: i64,
}

/// `sql/<hash>/program.json`: the SQL as it was planned.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ProgramRecord {
    /// Path and text of each SQL file.
    pub(super) files: Vec<(String, String)>,
    /// LOCATION and name of each reference file; its copy is `reference-<index>` beside this.
    pub(super) references: Vec<(String, String)>,
    /// What state was kept under, for an engine that no longer accepts the text; format 1 was first written
    /// without it.
    #[serde(default)]
    pub(super) fingerprint: Option<Fingerprint>,
}

/// `offsets/<N>`: the intent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OffsetRecord {
    batch_id: BatchId,
    batch_time_ms: i64,
    watermark: Option<Nanos>,
    program: String,
    /// Format 1 was first written without it.
    #[serde(default)]
    sink: SinkMode,
    /// Format 1 was first written without it: by an engine that had one.
    #[serde(default = "one_group")]
    groups: u32,
    ranges: ByTopic<RangeRecord>,
    run: Option<RunRecord>,
}

fn one_group() -> u32 {
    1
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct RangeRecord {
    start: i64,
    end: i64,
    latest: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct RunRecord {
    trigger: String,
    targets: ByTopic<i64>,
    pinned: BTreeMap<String, BTreeSet<i32>>,
}

impl From<&BatchPlan> for OffsetRecord {
    fn from(plan: &BatchPlan) -> Self {
        let ranges = plan
            .ranges
            .iter()
            .map(|(tp, r)| (tp.clone(), RangeRecord { start: r.start, end: r.end, latest: r.latest }))
            .collect();
        let run = plan.run.as_ref().map(|run| {
            let mut pinned: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
            for tp in &run.pinned {
                pinned.entry(tp.topic.to_string()).or_default().insert(tp.partition);
            }
            RunRecord { trigger: run.trigger.clone(), targets: by_topic(&run.targets), pinned }
        });
        Self {
            batch_id: plan.id,
            batch_time_ms: plan.time_ms,
            watermark: plan.watermark,
            program: plan.program.clone(),
            sink: plan.sink,
            groups: plan.groups,
            ranges: by_topic(&ranges),
            run,
        }
    }
}

impl From<OffsetRecord> for BatchPlan {
    fn from(record: OffsetRecord) -> Self {
        let run = record.run.map(|run| BoundedRun {
            trigger: run.trigger,
            targets: per_partition(&run.targets),
            pinned: run
                .pinned
                .iter()
                .flat_map(|(topic, numbers)| {
                    numbers.iter().map(|&number| TopicPartition::new(topic.as_str(), number))
                })
                .collect(),
        });
        Self {
            id: record.batch_id,
            ranges: per_partition(&record.ranges)
                .into_iter()
                .map(|(tp, r)| (tp, OffsetRange { start: r.start, end: r.end, latest: r.latest }))
                .collect(),
            watermark: record.watermark,
            time_ms: record.batch_time_ms,
            program: record.program,
            sink: record.sink,
            groups: record.groups,
            run,
        }
    }
}

/// A state file that `commits/<N>` names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StateFile {
    /// Relative to the checkpoint.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its checksum.
    pub sha256: String,
}

impl StateFile {
    /// The entry of a file with this content.
    pub fn of(name: String, bytes: &[u8]) -> Self {
        Self { name, bytes: bytes.len() as u64, sha256: hex(&Sha256::digest(bytes)) }
    }
}

/// The last record read of a partition, to know a topic that was made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRecord {
    /// Its offset.
    pub offset: i64,
    /// Kafka's timestamp.
    pub timestamp_ms: i64,
    /// A checksum of key and value.
    pub sha256: String,
}

impl LastRecord {
    /// What is remembered of `record`.
    pub fn of(record: Record<'_>) -> Self {
        let mut hasher = Sha256::new();
        for part in [record.key(), record.value()] {
            hasher.update((part.map_or(-1, |part| part.len() as i64)).to_le_bytes());
            hasher.update(part.unwrap_or_default());
        }
        let sha256 = hex(&hasher.finalize());
        Self { offset: record.offset(), timestamp_ms: record.timestamp_ms(), sha256 }
    }
}

/// What a commit knows of a partition.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PartitionRecord {
    /// The next offset to read.
    pub next_offset: i64,
    /// Event time and idleness.
    pub clock: PartitionClock,
    /// The last record read.
    pub last_record: Option<LastRecord>,
}

/// `commits/<N>`: the outcome.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CommitRecord {
    /// The batch.
    pub batch_id: BatchId,
    /// The watermark that it ended with.
    pub watermark: Option<Nanos>,
    /// Every partition.
    pub partitions: ByTopic<PartitionRecord>,
    /// The files of each side: a snapshot, then deltas.
    pub state: Vec<Vec<StateFile>>,
    /// Rows of each side that can still match.
    #[serde(default)]
    pub rows: Vec<u64>,
    /// The oldest batch whose files are all kept; what lies below is being removed.
    #[serde(default)]
    pub retained_from: Option<BatchId>,
    /// The hash of the SQL that it was made with; format 1 was first written without it.
    #[serde(default)]
    pub program: Option<String>,
    /// This batch's counts.
    pub counts: Counts,
    /// Since the first batch.
    pub total: Counts,
    /// By topics, rules and outputs, since the first batch that was committed with it; format 1 was first written
    /// without it.
    #[serde(default)]
    pub tally: Tally,
}

/// `epochs/<n>`: an engine that took the checkpoint over; the newest one owns it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct EpochRecord {
    /// Random, so that two engines never write the same file.
    pub(super) engine: String,
}

/// `rollbacks/<M>`: commits up to M were removed on purpose, and their batches run again as planned.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RollbackRecord {
    /// The oldest batch whose files are all kept; commits from before the rollback may say less.
    pub(super) retained_from: BatchId,
}

/// `replans/<epoch>`: batches that run with other SQL than they were planned with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ReplanRecord {
    /// The first of them.
    pub(super) first: BatchId,
    /// The last of them.
    pub(super) last: BatchId,
    /// The hash of the SQL.
    pub(super) program: String,
}

/// Seals a record: format, its own name, and a checksum over the rest.
pub fn seal<T: Serialize>(name: &str, record: &T) -> Result<Vec<u8>> {
    let fail =
        |source: serde_json::Error| Error::internal(format!("could not write \"{name}\"")).because(source);
    let mut value = serde_json::to_value(record).map_err(fail)?;
    if let Value::Object(fields) = &mut value {
        fields.insert("format".to_owned(), FORMAT.into());
        fields.insert("name".to_owned(), name.into());
        let sum = checksum(fields);
        fields.insert("checksum".to_owned(), sum.into());
    }
    serde_json::to_vec_pretty(&value).map_err(fail)
}

/// Opens a sealed record.
///
/// # Errors
/// [`Checkpoint`](crate::error::ErrorKind::Checkpoint) if it is cut, changed, another file's, or
/// from a newer version.
pub fn open<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T> {
    let broken = |problem: String| {
        Error::checkpoint(format!("the checkpoint file \"{name}\" is broken: {problem}"))
            .advise("restore the checkpoint from a copy, or start a new one with --checkpoint")
    };
    let mut value: Value = serde_json::from_slice(bytes).map_err(|error| broken(error.to_string()))?;
    let fields = value.as_object_mut().ok_or_else(|| broken("it is no JSON object".to_owned()))?;
    let format = fields.get("format").and_then(Value::as_u64).unwrap_or(0);
    if format > u64::from(FORMAT) {
        return Err(Error::checkpoint(format!(
            "the checkpoint file \"{name}\" has format {format}, this engine knows {FORMAT}"
        ))
        .advise("run the newer version of ecomm-batch that wrote it"));
    }
    let sum = fields.remove("checksum").and_then(|sum| sum.as_str().map(str::to_owned));
    if sum.as_deref() != Some(checksum(fields).as_str()) {
        return Err(broken("its checksum does not fit".to_owned()));
    }
    if fields.get("name").and_then(Value::as_str) != Some(name) {
        return Err(broken(format!("it says it is {}", fields.get("name").unwrap_or(&Value::Null))));
    }
    serde_json::from_value(value).map_err(|error| broken(error.to_string()))
}

/// Over the compact form, whose keys serde_json keeps sorted.
fn checksum(fields: &serde_json::Map<String, Value>) -> String {
    let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
    hex(&Sha256::digest(serde_json::to_vec(&sorted).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_was_touched_is_refused() {
        let metadata = Metadata { query_id: "q".to_owned(), starting_offsets: ByTopic::new(), started_ms: 5 };
        let bytes = seal("metadata", &metadata).expect("sealed");
        assert_eq!(open::<Metadata>("metadata", &bytes).expect("opens").query_id, "q");
        for cut in 0..bytes.len() {
            assert!(open::<Metadata>("metadata", &bytes[..cut]).is_err(), "cut at {cut}");
        }
        let text = String::from_utf8(bytes.clone()).expect("JSON");
        assert!(open::<Metadata>("metadata", text.replace(": 5", ": 6").as_bytes()).is_err());
        assert!(
            open::<Metadata>("offsets/1", &bytes).expect_err("refused").to_string().contains("it says it is")
        );
        let newer = text.replace("\"format\": 1", "\"format\": 2");
        assert!(
            open::<Metadata>("metadata", newer.as_bytes())
                .expect_err("refused")
                .to_string()
                .contains("newer version")
        );
    }
}
