//! The same data through a real broker in one batch, in many, and in uneven ones with restarts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ecomm_batch::batch::SinkMode;
use ecomm_batch::cli::Shares;
use ecomm_batch::clock::{Clock, ManualClock, SystemClock};
use ecomm_batch::engine::{Engine, EngineOptions};
use ecomm_batch::mock::produce::{ProduceSettings, send};
use ecomm_batch::mock::reconcile::{self, Found};
use ecomm_batch::query::Program;
use ecomm_batch::query::folder::SqlFolder;
use ecomm_batch::ranges::StartingOffsets;
use ecomm_batch::sink::file::FileSink;
use ecomm_batch::source::kafka::{KafkaConfig, KafkaSource};
use ecomm_batch::source::topics;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::services::Services;

/// How many orders; `ECOMM_BATCH_TEST_ORDERS` asks for more.
fn num_orders() -> u64 {
    std::env::var("ECOMM_BATCH_TEST_ORDERS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000)
}

struct Pipeline<'a> {
    kafka: &'a KafkaConfig,
    folder: tempfile::TempDir,
    now_ms: i64,
}

impl Pipeline<'_> {
    async fn open(&self) -> Engine {
        let variable = |name: &str| match name {
            "ORDERS_TOPIC" => Some("orders-splits".to_owned()),
            "PAYMENTS_TOPIC" => Some("payments-splits".to_owned()),
            _ => None,
        };
        let folder = SqlFolder::read(Path::new("sql"), variable).expect("the shipped SQL");
        let program = Arc::new(Program::plan(folder).expect("plans"));
        let topics = program.sources.iter().map(|source| Arc::clone(&source.topic));
        let source = KafkaSource::new(self.kafka, topics, "splits").expect("a source");
        let sink = FileSink::all_under(&self.folder.path().join("outputs"));
        // Time stands still, so that nothing falls idle: the data alone decides.
        let clock = Arc::new(ManualClock::new(self.now_ms));
        let options = EngineOptions {
            checkpoint: self.folder.path().join("checkpoint").as_path().into(),
            new_query_id: "splits".to_owned(),
            max_offsets_per_trigger: None,
            starting_offsets: StartingOffsets::Earliest,
            fail_on_data_loss: true,
            retain_batches: 100,
            sink_mode: SinkMode::Idempotent,
            groups: None,
            replan: false,
            faults: Arc::default(),
        };
        let stop = tokio::sync::watch::channel(false).1;
        Engine::open(program, Arc::new(source), Arc::new(sink), clock, options, stop).await.expect("opens")
    }

    /// Reads everything; `max` says how large the next batch may be and whether a restart comes before it.
    async fn drain(&self, mut max: impl FnMut() -> (Option<u64>, bool)) -> u64 {
        let mut engine = self.open().await;
        let mut num_batches = 0;
        loop {
            let (max, restarts) = max();
            if restarts {
                drop(engine);
                engine = self.open().await;
            }
            match engine.batch(max, None).await.expect("a batch") {
                Some(_) => num_batches += 1,
                None => return num_batches,
            }
        }
    }

    /// What came out and what waits, as facts with their number.
    async fn outcome(&self) -> BTreeMap<Found, u64> {
        let mut facts = reconcile::documents_of_files(&self.folder.path().join("outputs")).expect("outputs");
        let checkpoint = self.folder.path().join("checkpoint").as_path().into();
        facts.extend(reconcile::waiting(&checkpoint).await.expect("the state"));
        let mut counted = BTreeMap::new();
        for fact in facts {
            *counted.entry(fact).or_default() += 1;
        }
        counted
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_batch_many_batches_and_uneven_ones_give_the_same() {
    let Some(services) = Services::start().await else { return };
    let kafka = KafkaConfig::new(&services.brokers, BTreeMap::new());
    for topic in ["orders-splits", "payments-splits"] {
        topics::create(&kafka, topic, 3, 1).await.expect("a topic");
    }
    let count = num_orders();
    let settings = ProduceSettings {
        kafka: kafka.clone(),
        rate: None,
        count: Some(count),
        span: Duration::from_secs(2 * 3600),
        seed: 3,
        shares: Shares::WITHOUT_LATE,
        orders_topic: "orders-splits".to_owned(),
        payments_topic: "payments-splits".to_owned(),
    };
    let ledger = send(settings, tokio::sync::watch::channel(false).1, false).await.expect("produces");
    let num_records = ledger.entries.len() as u64;
    let now_ms = SystemClock.now_ms();
    let pipeline = || Pipeline { kafka: &kafka, folder: tempfile::tempdir().expect("a folder"), now_ms };

    let started = Instant::now();
    let whole = pipeline();
    assert_eq!(whole.drain(|| (None, false)).await, 1);
    let facts: Vec<Found> =
        whole.outcome().await.into_iter().flat_map(|(fact, count)| vec![fact; count as usize]).collect();
    let report = reconcile::compare(&ledger, facts, reconcile::Scope::Exact);
    assert!(report.is_clean(), "{report}");

    let even = pipeline();
    let num_batches = even.drain(|| (Some(num_records.div_ceil(50)), false)).await;
    println!("{num_records} records in 1 and in {num_batches} batches ({:?})", started.elapsed());
    assert!(even.outcome().await == whole.outcome().await, "even batches differ");

    let seed: u64 = rand::random();
    println!("seed of the splits: {seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let uneven = pipeline();
    // Mostly small ones, some large; a tenth of them after a restart.
    let size = (num_records / 400).max(2);
    let num_batches = uneven
        .drain(|| {
            let max = if random.random_bool(0.1) { size * 3 } else { random.random_range(1..=size) };
            (Some(max), random.random_bool(0.1))
        })
        .await;
    println!("and in {num_batches} uneven ones with restarts ({:?})", started.elapsed());
    assert!(uneven.outcome().await == whole.outcome().await, "uneven batches differ");
}
