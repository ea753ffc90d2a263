//! The producer's data through the engine in memory: what must not depend on how it is read.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ecomm_batch::batch::SinkMode;
use ecomm_batch::batch::offset::TopicPartition;
use ecomm_batch::cli::Shares;
use ecomm_batch::clock::ManualClock;
use ecomm_batch::engine::{Engine, EngineOptions};
use ecomm_batch::mock::plan::{Planned, Planner, Timeline, Topic};
use ecomm_batch::mock::reconcile::OUTPUTS;
use ecomm_batch::query::Program;
use ecomm_batch::query::folder::SqlFolder;
use ecomm_batch::query::side::Side;
use ecomm_batch::ranges::StartingOffsets;
use ecomm_batch::sink::memory::MemorySink;
use ecomm_batch::source::memory::MemorySource;

/// 2026-01-05T12:00:00Z.
const NOW_MS: i64 = 1_767_614_400_000;

fn planned(count: u64, span: Duration) -> Vec<Planned> {
    Planner::new(7, &Shares::WITHOUT_LATE, Timeline::bounded(NOW_MS * 1_000_000, span, count)).collect()
}

struct History {
    source: Arc<MemorySource>,
    sink: Arc<MemorySink>,
    checkpoint: tempfile::TempDir,
    engine: Engine,
}

impl History {
    /// All records appended, `partition_of` says where.
    async fn new(records: &[Planned], partition_of: impl Fn(&Planned) -> i32) -> Self {
        let source = Arc::<MemorySource>::default();
        for record in records {
            let topic = topic(record.topic);
            let tp = TopicPartition::new(topic, partition_of(record));
            source.append(tp, NOW_MS, Some(record.key.clone()), Some(record.value.clone()));
        }
        let sink = Arc::<MemorySink>::default();
        let checkpoint = ecomm_batch::case::scratch_folder().expect("a folder");
        let engine = open(checkpoint.path(), &source, &sink).await;
        Self { source, sink, checkpoint, engine }
    }

    async fn drain(&mut self, max: Option<u64>) -> u64 {
        let mut late = 0;
        while let Some(progress) = self.engine.batch(max, None).await.expect("a batch") {
            late += progress.counts.late;
        }
        late
    }

    /// Every document without what names the batch, and the rows that wait, sorted.
    fn outcome(&self) -> BTreeMap<String, Vec<String>> {
        let mut outcome: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for output in OUTPUTS {
            let mut documents: Vec<String> = self
                .sink
                .since(output, 0)
                .iter()
                .map(|text| {
                    let mut document: serde_json::Value = serde_json::from_str(text).expect("JSON");
                    for field in ["batch_id", "watermark"] {
                        document.as_object_mut().expect("an object").remove(field);
                    }
                    document.to_string()
                })
                .collect();
            documents.sort();
            outcome.insert(output.to_owned(), documents);
        }
        for side in Side::BOTH {
            let state = self.engine.state(side);
            let waits = state.live().map(|row| state.meta(row)).filter(|meta| !meta.matched);
            let mut waiting: Vec<String> =
                waits.map(|meta| format!("{}/{}", meta.partition, meta.offset)).collect();
            waiting.sort();
            outcome.insert(format!("waiting {side:?}"), waiting);
        }
        outcome
    }
}

fn topic(topic: Topic) -> &'static str {
    match topic {
        Topic::Orders => "orders",
        Topic::Payments => "payments",
    }
}

async fn open(checkpoint: &Path, source: &Arc<MemorySource>, sink: &Arc<MemorySink>) -> Engine {
    let folder = SqlFolder::read(Path::new("sql"), |_| None).expect("the shipped SQL");
    let program = Arc::new(Program::plan(folder).expect("plans"));
    let options = EngineOptions {
        checkpoint: checkpoint.into(),
        new_query_id: "history".to_owned(),
        max_offsets_per_trigger: None,
        starting_offsets: StartingOffsets::Earliest,
        fail_on_data_loss: true,
        retain_batches: 100,
        sink_mode: SinkMode::Idempotent,
        groups: None,
        replan: false,
        faults: Arc::default(),
    };
    // Time stands still: nothing falls idle, so the data alone decides.
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let stop = tokio::sync::watch::channel(false).1;
    let (source, sink) = (Arc::clone(source), Arc::clone(sink));
    Engine::open(program, source, sink, clock, options, stop).await.expect("opens")
}

fn hash(record: &Planned) -> u32 {
    record.order_id.bytes().fold(7, |hash: u32, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)))
}

fn by_order(record: &Planned) -> i32 {
    (hash(record) % 3) as i32
}

/// A day of history in three partitions of very different size: each batch reads at least one record of
/// each, so the small ones are a day ahead of the large one. Nothing is late.
#[tokio::test(flavor = "multi_thread")]
async fn a_day_read_at_different_speeds_loses_nothing() {
    let records = planned(20_000, Duration::from_secs(24 * 3600));
    // By key, as Kafka's partitioner does, so that a repeat comes behind its first.
    let partition_of = |record: &Planned| match hash(record) % 100 {
        0 => 0,
        1..10 => 1,
        _ => 2,
    };
    let mut slow = History::new(&records, partition_of).await;
    assert_eq!(slow.drain(Some(1000)).await, 0, "late records");
    let mut at_once = History::new(&records, partition_of).await;
    at_once.drain(None).await;
    assert_eq!(slow.outcome(), at_once.outcome());
}

/// Neither one clock that is wrong by a thousand years nor a partition that says nothing changes an output.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_of_2999_and_a_silent_partition_change_nothing() {
    let records = planned(200_000, Duration::from_secs(2 * 3600));
    let mut plain = History::new(&records, by_order).await;
    plain.drain(Some(50_000)).await;
    let expected = plain.outcome();

    let mut fooled = History::new(&records, by_order).await;
    let silent = TopicPartition::new("payments", 3);
    fooled.source.create(silent);
    let tp = TopicPartition::new("payments", 0);
    let value = br#"{"payment_id":"p-2999","order_id":"o-7-00000001","created_at":"2999-01-01T00:00:00Z","amount":1.00}"#;
    let offset = fooled.source.append(tp, NOW_MS, None, Some(value.to_vec()));
    fooled.drain(Some(50_000)).await;
    let mut outcome = fooled.outcome();
    let letters = outcome.get_mut("dead_letters").expect("letters");
    let of_2999 = format!("\"_id\":\"payments/0/{offset}|future\"");
    let position = letters.iter().position(|letter| letter.contains(&of_2999)).expect("the letter of 2999");
    letters.remove(position);
    assert!(outcome == expected, "an output differs");
}

/// Restarts between batches of very different size change nothing.
#[tokio::test(flavor = "multi_thread")]
async fn splits_and_restarts_change_nothing() {
    let records = planned(10_000, Duration::from_secs(2 * 3600));
    let mut at_once = History::new(&records, by_order).await;
    at_once.drain(None).await;
    let mut split = History::new(&records, by_order).await;
    for number in 0.. {
        let max = 1 + (number * number * 37) % 450;
        if split.engine.batch(Some(max), None).await.expect("a batch").is_none() {
            break;
        }
        if number % 7 == 0 {
            let History { source, sink, checkpoint, engine } = split;
            drop(engine);
            let engine = open(checkpoint.path(), &source, &sink).await;
            split = History { source, sink, checkpoint, engine };
        }
    }
    assert_eq!(split.outcome(), at_once.outcome());
}
