//! Streaming equals batch: random programs, data, splits, restarts and crashes, against two oracles.
//!
//! After each batch the engine's outputs, dead letters, watermark and state must be those of the
//! [`model`]; at the end outputs and waiting rows together must be what DataFusion gives for the same
//! SQL over all admitted records at once.

mod model;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::TimestampNanosecondArray;
use arrow::array::{Array, AsArray, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, TimeUnit};
use datafusion::prelude::{SessionConfig, SessionContext};
use ecomm_batch::batch::SinkMode;
use ecomm_batch::batch::offset::TopicPartition;
use ecomm_batch::clock::ManualClock;
use ecomm_batch::engine::{Engine, EngineOptions};
use ecomm_batch::faults::{Action, FailPoint, Faults};
use ecomm_batch::query::Program;
use ecomm_batch::query::folder::SqlFolder;
use ecomm_batch::query::side::Side;
use ecomm_batch::query::sql_file::SqlFile;
use ecomm_batch::ranges::StartingOffsets;
use ecomm_batch::sink::memory::MemorySink;
use ecomm_batch::source::memory::MemorySource;
use model::{Body, Fails, Joined, Keys, Message, Model, Place, Predicate, Range, Row, Shape, Times};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::Value;

/// 2026-01-05T00:00:00Z, where event times begin.
const BASE_S: i64 = 1_767_571_200;
/// Two hours later, where the clock begins.
const START_MS: i64 = (BASE_S + 7200) * 1000;
const TOPICS: [&str; 2] = ["l", "r"];

#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Message>),
    /// At most so many offsets; or all there is.
    Trigger(Option<u64>),
    /// The next batch dies at the point, and a restart finishes it.
    Crash(FailPoint),
    /// The batch gives an error, and the same engine is asked again.
    Fail(FailPoint),
    Restart,
    /// Seconds.
    Clock(i64),
}

fn messages(base: i64, sides: [usize; 2]) -> impl Strategy<Value = Vec<Message>> {
    let body = prop_oneof![
        30 => (0..40u8, prop::option::weighted(0.9, 0..4u8), -600..600i64, 1..6i64, prop::bool::weighted(0.1)).prop_map(
            move |(id, key, ahead, amount, bad)| Body::Row { id, key, at: base + ahead, amount, bad }
        ),
        1 => Just(Body::Malformed),
        1 => Just(Body::Tombstone),
        1 => (0..40u8, 0..4u8, any::<bool>()).prop_map(
            |(id, key, bad)| Body::Row { id, key: Some(key), at: 86_400, amount: 1, bad }
        ),
    ];
    let message = (0..2usize, 0..3i32, 0..3i64, body).prop_map(move |(side, partition, timestamp, body)| {
        Message { side: sides[side], partition, timestamp_ms: START_MS + timestamp, body }
    });
    prop::collection::vec(message, 1..12)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let points = prop::sample::select(vec![
        FailPoint::BeforeOffsets,
        FailPoint::AfterOffsets,
        FailPoint::AfterRead,
        FailPoint::AfterSink,
        FailPoint::AfterState,
        FailPoint::BeforeCommit,
        FailPoint::AfterCommit,
    ]);
    // Most rounds speak of both sources, some of one: the other is silent.
    let speaks = prop_oneof![4 => Just([0, 1]), 1 => Just([0, 0]), 1 => Just([1, 1])];
    let round = (0..900i64, speaks).prop_flat_map(move |(ahead, sides)| {
        let then = prop_oneof![
            6 => Just(Step::Trigger(None)),
            4 => (1..8u64).prop_map(|max| Step::Trigger(Some(max))),
            1 => points.clone().prop_map(Step::Crash),
            1 => points.clone().prop_map(Step::Fail),
            1 => Just(Step::Restart),
            3 => (10..150i64).prop_map(Step::Clock),
        ];
        (messages(0, sides), Just(ahead), then)
    });
    prop::collection::vec(round, 1..7).prop_map(|rounds| {
        let mut base = 600;
        let mut steps = Vec::new();
        for (mut messages, ahead, then) in rounds {
            for message in &mut messages {
                if let Body::Row { at, .. } = &mut message.body
                    && *at < 86_400
                {
                    *at += base;
                }
            }
            base += ahead;
            let triggers = matches!(then, Step::Trigger(_) | Step::Crash(_) | Step::Fail(_));
            steps.extend([Step::Append(messages), then]);
            if !triggers {
                steps.push(Step::Trigger(None));
            }
        }
        steps.push(Step::Trigger(None));
        steps
    })
}

fn shape(keeps: [bool; 2]) -> impl Strategy<Value = Shape> {
    let keys = prop::sample::select(vec![Keys::None, Keys::Ids, Keys::JoinKey]);
    let predicate = prop::sample::select(vec![
        Predicate::None,
        Predicate::None,
        Predicate::LeftAmount,
        Predicate::RightAmount,
        Predicate::SameAmount,
    ]);
    let times = prop::sample::select(vec![
        Times::Range(-300, 300),
        Times::Range(0, 600),
        Times::Range(-30, 30),
        Times::Range(300, 600),
        Times::Range(-600, -120),
        Times::Same { unit: "minute", seconds: 60 },
        Times::Same { unit: "hour", seconds: 3600 },
    ]);
    let fails = prop_oneof![
        5 => Just(Fails::None),
        1 => Just(Fails::Key),
        1 => (0..2usize).prop_map(Fails::Own),
        1 => Just(Fails::On),
        1 => Just(Fails::Where),
        1 => Just(Fails::Select),
    ];
    let delay = prop::sample::select(vec![0, 300, 600]);
    // Shorter than the idle timeout of a partition, the same, longer.
    let source_idle = prop::option::of(prop::sample::select(vec![0, 30, 60, 120]));
    let source_idle = [source_idle.clone(), source_idle];
    let rare = [0.3, 0.2, 0.2].map(prop::bool::weighted);
    (keys, predicate, times, fails, [delay.clone(), delay], source_idle, rare).prop_map(
        move |(keys, predicate, times, fails, delay, source_idle, [source_view, view_where, meets_null])| {
            Shape {
                keeps,
                keys,
                predicate,
                meets_null,
                times,
                fails,
                delay,
                source_idle,
                source_view,
                view_where,
            }
        },
    )
}

/// The view's SELECT. That of the oracle has TRY_CAST in place of CAST, and NULL in `n` where the view fails.
fn view_sql(shape: &Shape, is_oracle: bool) -> String {
    let cast = if is_oracle { "TRY_CAST" } else { "CAST" };
    let join = match shape.keeps {
        [false, false] => "INNER",
        [true, false] => "LEFT",
        [false, true] => "RIGHT",
        [true, true] => "FULL",
    };
    let predicate = match shape.predicate {
        Predicate::None => "",
        Predicate::LeftAmount => " AND a.amount > 3",
        Predicate::RightAmount => " AND b.amount > 3",
        Predicate::SameAmount => " AND a.amount = b.amount",
    };
    // A view that renames its columns and hides the PRIMARY KEY, or the table as it stands.
    let (left, key, at) = if shape.source_view {
        ("(SELECT k AS k2, at AS at2, amount, n, _partition, _offset FROM l WHERE amount <> 2)", "k2", "at2")
    } else {
        ("l", "k", "at")
    };
    let compared = if shape.meets_null { "IS NOT DISTINCT FROM" } else { "=" };
    let times = match shape.times {
        Times::Range(least, greatest) => format!(
            "b.at >= a.{at} + INTERVAL '{least} seconds' AND b.at <= a.{at} + INTERVAL '{greatest} seconds'"
        ),
        Times::Same { unit, .. } => format!("date_trunc('{unit}', b.at) = date_trunc('{unit}', a.{at})"),
    };
    let number = |text: &str| format!("{cast}({text} AS BIGINT)");
    let of_both = number("concat(COALESCE(a.n, '1'), COALESCE(b.n, '1'))");
    let failing_on = match shape.fails {
        Fails::Key => format!(" AND {} * 0 = {} * 0", number("a.n"), number("b.n")),
        Fails::Own(side) => format!(" AND {} > 0", number(["a.n", "b.n"][side])),
        Fails::On if is_oracle => format!(" AND COALESCE({of_both} > 0, TRUE)"),
        Fails::On => format!(" AND {of_both} > 0"),
        _ => String::new(),
    };
    let sum = "COALESCE(a.amount, 0) + COALESCE(b.amount, 0) <> 4";
    // In an AND it would be open which is asked first.
    let view_where = match (shape.fails == Fails::Where, shape.view_where) {
        (false, false) => String::new(),
        (false, true) => format!(" WHERE {sum}"),
        (true, false) => format!(" WHERE {of_both} > 0"),
        (true, true) => format!(" WHERE CASE WHEN {sum} THEN {of_both} > 0 ELSE FALSE END"),
    };
    let shown = match shape.fails {
        Fails::Select => of_both,
        Fails::On if is_oracle => {
            format!("CASE WHEN a._offset IS NOT NULL AND b._offset IS NOT NULL THEN {of_both} ELSE 1 END")
        }
        _ => "1".to_owned(),
    };
    format!(
        "SELECT a._partition AS lp, a._offset AS lo, b._partition AS rp, b._offset AS ro, {shown} AS n \
         FROM {left} AS a {join} JOIN r AS b ON (a.{key} {compared} b.k) AND {times}{predicate}{failing_on}{view_where}"
    )
}

fn folder(shape: &Shape) -> SqlFolder {
    let table = |side: usize| {
        let primary = match (shape.keys, side) {
            (Keys::None, _) => "",
            (Keys::JoinKey, 0) => ", PRIMARY KEY (k)",
            _ => ", PRIMARY KEY (id)",
        };
        let source_idle = shape.source_idle[side]
            .map_or_else(String::new, |seconds| format!(", 'watermark.source_idle_timeout' '{seconds}s'"));
        let not_null = if shape.keys == Keys::JoinKey && side == 0 { " NOT NULL" } else { "" };
        format!(
            "CREATE UNBOUNDED EXTERNAL TABLE {name} (id VARCHAR NOT NULL, k VARCHAR{not_null}, at TIMESTAMP NOT NULL, \
             amount DECIMAL(10, 2) NOT NULL, n VARCHAR NOT NULL{primary}) STORED AS KAFKA LOCATION '{name}' \
             OPTIONS ('watermark.column' 'at', 'watermark.delay' '{delay} seconds'{source_idle})",
            name = TOPICS[side],
            delay = shape.delay[side],
        )
    };
    let output = |name: &str, select: &str| {
        format!(
            "CREATE EXTERNAL TABLE {name} STORED AS MONGODB LOCATION 't.{name}'; INSERT INTO {name} {select}"
        )
    };
    let texts = [
        ("l.sql", table(0)),
        ("r.sql", table(1)),
        ("v.sql", format!("CREATE VIEW v AS {}", view_sql(shape, false))),
        ("joined.sql", output("joined", "SELECT lp, lo, rp, ro FROM v")),
        (
            "letters.sql",
            output("letters", "SELECT topic, \"partition\", \"offset\", reason FROM dead_letters"),
        ),
    ];
    let files = texts.map(|(path, text)| SqlFile { path: path.to_owned(), text }).to_vec();
    SqlFolder { root: PathBuf::from("oracle"), files, references: Vec::new() }
}

/// An engine with everything around it.
struct Pipeline {
    shape: Shape,
    program: Arc<Program>,
    checkpoint: tempfile::TempDir,
    source: Arc<MemorySource>,
    sink: Arc<MemorySink>,
    clock: Arc<ManualClock>,
    faults: Arc<Faults>,
    /// Gone for a moment while it is opened again: the lock goes with it.
    engine: Option<Engine>,
    num_opened: usize,
    model: Model,
    log: BTreeMap<Place, Vec<Message>>,
    num_checked: u64,
    seen: [usize; 2],
    outputs: Vec<Joined>,
}

fn failed(error: impl ToString) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

/// The key groups of a batch: each start of the engine has another number.
const GROUPS: [u32; 3] = [3, 1, 8];

impl Pipeline {
    async fn new(shape: &Shape) -> Result<Self, TestCaseError> {
        let checkpoint = ecomm_batch::case::scratch_folder().map_err(failed)?;
        let (source, sink) = (Arc::<MemorySource>::default(), Arc::<MemorySink>::default());
        let clock = Arc::new(ManualClock::new(START_MS));
        let faults = Arc::<Faults>::default();
        for topic in TOPICS {
            source.create(TopicPartition::new(topic, 0));
        }
        let program = Arc::new(Program::plan(folder(shape)).map_err(failed)?);
        let engine = open(&program, checkpoint.path(), &source, &sink, &clock, &faults, GROUPS[0]).await?;
        let mut log = BTreeMap::new();
        log.insert((0, 0), Vec::new());
        log.insert((1, 0), Vec::new());
        Ok(Self {
            model: Model::new(shape.clone()),
            shape: shape.clone(),
            program,
            checkpoint,
            source,
            sink,
            clock,
            faults,
            engine: Some(engine),
            num_opened: 0,
            log,
            num_checked: 0,
            seen: [0, 0],
            outputs: Vec::new(),
        })
    }

    async fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Append(messages) => messages.iter().for_each(|message| self.append(message)),
            Step::Clock(seconds) => {
                use ecomm_batch::clock::Clock;
                self.clock.set(self.clock.now_ms() + seconds * 1000);
            }
            Step::Restart => self.reopen().await?,
            Step::Trigger(max) => {
                self.engine()?.batch(*max, None).await.map_err(failed)?;
            }
            Step::Fail(point) => {
                self.faults.arm(*point, 0, Action::Error);
                if self.engine()?.batch(None, None).await.is_err() {
                    self.engine()?.batch(None, None).await.map_err(failed)?;
                }
            }
            Step::Crash(point) => {
                self.faults.arm(*point, 0, Action::Error);
                // Without records and without time there is no batch to die in.
                let died = self.engine()?.batch(None, None).await.is_err();
                self.reopen().await?;
                if died {
                    self.engine()?.finish_pending().await.map_err(failed)?;
                }
            }
        }
        self.compare_batches()
    }

    fn append(&mut self, message: &Message) {
        let value = match &message.body {
            Body::Row { id, key, at, amount, bad } => {
                let at = chrono_text(BASE_S + at);
                let mut key = key.map_or("null".to_owned(), |key| format!("\"k{key}\""));
                if key == "null" && self.shape.keys == Keys::JoinKey && message.side == 0 {
                    key = "\"none\"".to_owned();
                }
                let n = if *bad { "x" } else { "7" };
                let json =
                    format!(r#"{{"id":"i{id}","k":{key},"at":"{at}","amount":{amount}.00,"n":"{n}"}}"#);
                Some(json.into_bytes())
            }
            Body::Malformed => Some(b"{".to_vec()),
            Body::Tombstone => None,
        };
        let tp = TopicPartition::new(TOPICS[message.side], message.partition);
        self.source.append(tp, message.timestamp_ms, None, value);
        let mut message = message.clone();
        if let Body::Row { key: key @ None, .. } = &mut message.body
            && self.shape.keys == Keys::JoinKey
            && message.side == 0
        {
            *key = Some(99);
        }
        self.log.entry((message.side, message.partition)).or_default().push(message);
    }

    fn engine(&mut self) -> Result<&mut Engine, TestCaseError> {
        self.engine.as_mut().ok_or_else(|| failed("there is no engine"))
    }

    async fn reopen(&mut self) -> Result<(), TestCaseError> {
        self.engine = None;
        self.num_opened += 1;
        let groups = GROUPS[self.num_opened % GROUPS.len()];
        let Self { program, checkpoint, source, sink, clock, faults, .. } = &*self;
        let engine = open(program, checkpoint.path(), source, sink, clock, faults, groups).await?;
        self.engine = Some(engine);
        Ok(())
    }

    /// Lets the model follow the batches that were committed since, and compares.
    fn compare_batches(&mut self) -> Result<(), TestCaseError> {
        let (mut joined, mut letters) = (Vec::new(), Vec::new());
        let mut any = false;
        while self.checkpoint.path().join(format!("commits/{}", self.num_checked)).exists() {
            let path = self.checkpoint.path().join(format!("offsets/{}", self.num_checked));
            let plan: Value =
                serde_json::from_slice(&std::fs::read(path).map_err(failed)?).map_err(failed)?;
            let ranges = ranges(&plan);
            let time_ms = plan["batch_time_ms"].as_i64().unwrap_or(0) - BASE_S * 1000;
            self.model.start_ms = self.started_ms()?;
            let outcome = self.model.batch(time_ms, &ranges, &self.log);
            joined.extend(outcome.joined);
            letters.extend(outcome.letters.into_iter().map(|(side, partition, offset, reason)| {
                format!("{} {partition} {offset} {reason}", TOPICS[side])
            }));
            self.num_checked += 1;
            any = true;
        }
        if !any {
            return Ok(());
        }
        let mut came: Vec<Joined> = self.documents("joined", 0).iter().map(joined_of).collect();
        let mut letters_came: Vec<String> = self.documents("letters", 1).iter().map(letter_of).collect();
        self.outputs.extend(came.iter().copied());
        joined.sort_unstable();
        came.sort_unstable();
        letters.sort_unstable();
        letters_came.sort_unstable();
        prop_assert_eq!(&came, &joined, "rows of the batches up to {}", self.num_checked);
        prop_assert_eq!(&letters_came, &letters, "letters of the batches up to {}", self.num_checked);
        let watermark = self.engine()?.watermark().map(|nanos| nanos / 1_000_000_000 - BASE_S);
        prop_assert_eq!(watermark, self.model.watermark, "watermark after batch {}", self.num_checked);
        for side in Side::BOTH {
            let in_state = self.engine()?.state(side).len();
            prop_assert_eq!(in_state, self.model.num_in_state(side.index()), "state {:?}", side);
        }
        Ok(())
    }

    /// When the query was started, which may be before its first batch.
    fn started_ms(&self) -> Result<i64, TestCaseError> {
        let metadata = std::fs::read(self.checkpoint.path().join("metadata")).map_err(failed)?;
        let metadata: Value = serde_json::from_slice(&metadata).map_err(failed)?;
        Ok(metadata["started_ms"].as_i64().unwrap_or(0) - BASE_S * 1000)
    }

    fn documents(&mut self, output: &str, number: usize) -> Vec<Value> {
        let documents = self.sink.since(output, self.seen[number]);
        self.seen[number] += documents.len();
        documents.iter().map(|text| serde_json::from_str(text).unwrap_or(Value::Null)).collect()
    }

    /// The law: outputs and waiting rows are what one query over everything admitted gives.
    async fn compare_with_one_query(&mut self) -> Result<(), TestCaseError> {
        let mut streamed = self.outputs.clone();
        streamed.extend(self.model.waiting());
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        for side in [0, 1] {
            let batch = admitted_rows(&self.model.admitted[side]).map_err(failed)?;
            context.register_batch(TOPICS[side], batch).map_err(failed)?;
        }
        // Where the view fails there is no row.
        let sql = format!("SELECT * FROM ({}) WHERE n IS NOT NULL", view_sql(&self.shape, true));
        let batches = context.sql(&sql).await.map_err(failed)?.collect().await.map_err(failed)?;
        let mut at_once: Vec<Joined> = batches.iter().flat_map(origins).collect();
        streamed.sort_unstable();
        at_once.sort_unstable();
        prop_assert_eq!(streamed, at_once, "streaming differs from one query over everything");
        Ok(())
    }
}

async fn open(
    program: &Arc<Program>,
    checkpoint: &Path,
    source: &Arc<MemorySource>,
    sink: &Arc<MemorySink>,
    clock: &Arc<ManualClock>,
    faults: &Arc<Faults>,
    groups: u32,
) -> Result<Engine, TestCaseError> {
    let options = EngineOptions {
        checkpoint: checkpoint.into(),
        new_query_id: "oracle".to_owned(),
        max_offsets_per_trigger: None,
        starting_offsets: StartingOffsets::Earliest,
        fail_on_data_loss: true,
        retain_batches: 100,
        sink_mode: SinkMode::Idempotent,
        groups: Some(groups),
        replan: false,
        faults: Arc::clone(faults),
    };
    let stop = tokio::sync::watch::channel(false).1;
    let (source, sink, clock) = (Arc::clone(source), Arc::clone(sink), Arc::clone(clock));
    Engine::open(Arc::clone(program), source, sink, clock, options, stop).await.map_err(failed)
}

fn chrono_text(seconds: i64) -> String {
    ecomm_batch::clock::rfc3339_ms(seconds * 1000)
}

fn ranges(plan: &Value) -> BTreeMap<Place, Range> {
    let mut ranges = BTreeMap::new();
    for (side, topic) in TOPICS.iter().enumerate() {
        for (partition, range) in plan["ranges"][topic].as_object().into_iter().flatten() {
            let number = |name: &str| range[name].as_i64().unwrap_or(-1);
            let range = Range { start: number("start"), end: number("end"), latest: number("latest") };
            ranges.insert((side, partition.parse().unwrap_or(-1)), range);
        }
    }
    ranges
}

fn joined_of(document: &Value) -> Joined {
    let origin = |partition: &str, offset: &str| {
        Some((document[partition].as_i64()? as i32, document[offset].as_i64()?))
    };
    (origin("lp", "lo"), origin("rp", "ro"))
}

fn letter_of(document: &Value) -> String {
    let text = |name: &str| document[name].as_str().unwrap_or("?").to_owned();
    format!("{} {} {} {}", text("topic"), document["partition"], document["offset"], text("reason"))
}

fn origins(batch: &RecordBatch) -> Vec<Joined> {
    let origin = |first: usize, row: usize| {
        let (partition, offset) = (batch.column(first), batch.column(first + 1));
        partition.is_valid(row).then(|| {
            (partition.as_primitive::<Int32Type>().value(row), offset.as_primitive::<Int64Type>().value(row))
        })
    };
    (0..batch.num_rows()).map(|row| (origin(0, row), origin(2, row))).collect()
}

fn admitted_rows(rows: &[Row]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("k", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Nanosecond, None), false),
        Field::new("amount", DataType::Decimal128(10, 2), false),
        Field::new("n", DataType::Utf8, false),
        Field::new("_partition", DataType::Int32, false),
        Field::new("_offset", DataType::Int64, false),
    ]);
    let amounts = Decimal128Array::from_iter_values(rows.iter().map(|row| i128::from(row.amount) * 100));
    RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| format!("i{}", row.id)))),
            Arc::new(StringArray::from_iter(rows.iter().map(|row| row.key.map(|key| format!("k{key}"))))),
            Arc::new(TimestampNanosecondArray::from_iter_values(
                rows.iter().map(|row| (BASE_S + row.at) * 1_000_000_000),
            )),
            Arc::new(amounts.with_precision_and_scale(10, 2)?),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| if row.bad { "x" } else { "7" }))),
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.origin.0))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.origin.1))),
        ],
    )
}

/// `PROPTEST_CASES` sets how many; failing seeds are kept under `tests/oracle/regressions`.
fn streaming_equals_batch(keeps: [bool; 2], name: &'static str) {
    let default = Config::default();
    let cases = if std::env::var("PROPTEST_CASES").is_ok() { default.cases } else { 1000 };
    let path: &'static str = Box::leak(format!("tests/oracle/regressions/{name}.txt").into_boxed_str());
    let persistence = proptest::test_runner::FileFailurePersistence::Direct(path);
    let config =
        Config { cases, failure_persistence: Some(Box::new(persistence)), max_shrink_iters: 2000, ..default };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&(shape(keeps), steps()), |(shape, steps)| {
        runtime.block_on(async {
            let mut pipeline = Pipeline::new(&shape).await?;
            for step in &steps {
                pipeline.step(step).await?;
            }
            pipeline.compare_with_one_query().await
        })
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn inner_joins() {
    streaming_equals_batch([false, false], "inner");
}

#[test]
fn left_joins() {
    streaming_equals_batch([true, false], "left");
}

#[test]
fn right_joins() {
    streaming_equals_batch([false, true], "right");
}

#[test]
fn full_joins() {
    streaming_equals_batch([true, true], "full");
}
