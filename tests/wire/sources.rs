//! What a topic can hold or become that no table foresees: read from a real broker by an engine at work.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ecomm_batch::batch::SinkMode;
use ecomm_batch::batch::offset::PerPartition;
use ecomm_batch::clock::{Clock, ManualClock, SystemClock};
use ecomm_batch::engine::{Engine, EngineOptions};
use ecomm_batch::error::{ErrorKind, Result};
use ecomm_batch::observe::progress::BatchProgress;
use ecomm_batch::query::Program;
use ecomm_batch::query::folder::SqlFolder;
use ecomm_batch::settings::starting_offsets;
use ecomm_batch::sink::file::FileSink;
use ecomm_batch::source::Source;
use ecomm_batch::source::kafka::{KafkaConfig, KafkaSource};
use ecomm_batch::source::topics;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::services::{Services, until};

/// A pipeline of one topic into files.
struct Pipeline {
    kafka: KafkaConfig,
    topic: String,
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    producer: BaseProducer,
    fails_on_data_loss: bool,
}

impl Pipeline {
    async fn new(services: &Services, topic: &str, fails_on_data_loss: bool) -> Self {
        let kafka = KafkaConfig::new(&services.brokers, Default::default());
        topics::create(&kafka, topic, 2, 1).await.expect("made");
        let folder = tempfile::tempdir().expect("a folder");
        let sql = format!(
            "CREATE UNBOUNDED EXTERNAL TABLE t (id VARCHAR NOT NULL, at TIMESTAMP NOT NULL)
             STORED AS KAFKA LOCATION '{topic}' OPTIONS ('watermark.column' 'at', 'watermark.delay' '10 minutes');
             CREATE VIEW v AS SELECT id, at, _headers AS headers FROM t;
             CREATE EXTERNAL TABLE joined STORED AS JSON LOCATION 'joined';
             INSERT INTO joined SELECT id, headers FROM v;"
        );
        std::fs::create_dir(folder.path().join("sql")).expect("a folder");
        std::fs::write(folder.path().join("sql/program.sql"), sql).expect("written");
        let producer = kafka.client(&[("linger.ms", "0")], &[]).create().expect("a producer");
        let clock = Arc::new(ManualClock::new(SystemClock.now_ms()));
        Self { kafka, topic: topic.to_owned(), folder, clock, producer, fails_on_data_loss }
    }

    fn source(&self) -> KafkaSource {
        KafkaSource::new(&self.kafka, [self.topic.as_str().into()].into_iter(), "sources").expect("a source")
    }

    async fn open(&self, starting: &str) -> Engine {
        let folder = SqlFolder::read(&self.folder.path().join("sql"), |_| None).expect("reads");
        let options = EngineOptions {
            checkpoint: self.folder.path().join("checkpoint").as_path().into(),
            new_query_id: "sources".to_owned(),
            max_offsets_per_trigger: None,
            starting_offsets: starting_offsets(starting).expect("a start"),
            fail_on_data_loss: self.fails_on_data_loss,
            retain_batches: 100,
            sink_mode: SinkMode::Idempotent,
            groups: None,
            replan: false,
            faults: Arc::default(),
        };
        let program = Arc::new(Program::plan(folder).expect("plans"));
        let sink = Arc::new(FileSink::all_under(&self.folder.path().join("outputs")));
        let clock = Arc::clone(&self.clock) as _;
        let stop = tokio::sync::watch::channel(false).1;
        Engine::open(program, Arc::new(self.source()), sink, clock, options, stop).await.expect("opens")
    }

    /// One record for each id, in partition 0, a second apart from `first` on.
    fn send(&self, ids: &[&str], first_ms: i64) {
        for (id, second) in ids.iter().zip(0..) {
            let value = format!("{{\"id\":\"{id}\",\"at\":\"2026-01-05T00:10:00Z\"}}");
            let record = BaseRecord::<(), _>::to(&self.topic)
                .payload(value.as_str())
                .partition(0)
                .timestamp(first_ms + second * 1000);
            self.producer.send(record).expect("queued");
        }
        self.producer.flush(Duration::from_secs(30)).expect("sent");
    }

    async fn make_again(&self) {
        let admin: AdminClient<DefaultClientContext> =
            self.kafka.client(&[], &[]).create().expect("a client");
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
        admin.delete_topics(&[&self.topic], &options).await.expect("asked");
        let consumer: BaseConsumer = self.kafka.client(&[], &[]).create().expect("a client");
        until("the topic is gone", async || {
            let metadata = consumer.fetch_metadata(Some(&self.topic), Duration::from_secs(5));
            metadata.is_ok_and(|metadata| metadata.topics()[0].partitions().is_empty())
        })
        .await;
        topics::create(&self.kafka, &self.topic, 2, 1).await.expect("made");
    }

    /// The ids that were written, in order.
    fn written(&self) -> Vec<String> {
        let mut ids: Vec<String> =
            self.rows().iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect();
        ids.sort();
        ids
    }

    fn rows(&self) -> Vec<serde_json::Value> {
        let folder = self.folder.path().join("outputs/joined");
        let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
        let text: String = files
            .map(|file| std::fs::read_to_string(file.expect("an entry").path()).expect("a file"))
            .collect();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}

async fn drain(engine: &mut Engine) -> Result<Option<BatchProgress>> {
    engine.batch(None, None).await
}

/// All tests of a broker share one.
#[tokio::test(flavor = "multi_thread")]
async fn topics_are_read_as_they_are() {
    let Some(services) = Services::start().await else { return };
    header_names_of_any_bytes(&services).await;
    made_again_between_two_triggers(&services).await;
    starts_by_time(&services).await;
    open_transactions(&services).await;
}

/// The name of a header is bytes by the protocol: what is no UTF-8 is escaped, and the record read.
async fn header_names_of_any_bytes(services: &Services) {
    let pipeline = Pipeline::new(services, "headers", true).await;
    let bytes = [b"trace".to_vec(), b"caf\xe9".to_vec(), Vec::new(), b"\xff\xfe".to_vec()];
    let mut headers = OwnedHeaders::new();
    for name in &bytes {
        // SAFETY: the name is only passed on to librdkafka, which takes any bytes.
        let name = unsafe { std::str::from_utf8_unchecked(name) };
        headers = headers.insert(Header { key: name, value: Some("v") });
    }
    let value = "{\"id\":\"a\",\"at\":\"2026-01-05T00:10:00Z\"}";
    let record = BaseRecord::<(), _>::to("headers").payload(value).partition(0).headers(headers);
    pipeline.producer.send(record).expect("queued");
    pipeline.producer.flush(Duration::from_secs(30)).expect("sent");
    drain(&mut pipeline.open("earliest").await).await.expect("read");
    let names: Vec<String> = pipeline.rows()[0]["headers"]
        .as_array()
        .expect("headers")
        .iter()
        .map(|header| header["key"].as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(names, ["trace", "caf\\xe9", "", "\\xff\\xfe"]);
}

/// Between two triggers of one engine a topic is deleted and made again, with fewer, as many and more records.
async fn made_again_between_two_triggers(services: &Services) {
    let now = SystemClock.now_ms();
    let letters: Vec<String> = ('a'..='z').map(|letter| letter.to_string()).collect();
    for (name, num_new, starts_again) in
        [("fewer", 4, false), ("equal", 10, false), ("more", 15, false), ("restart", 10, true)]
    {
        for is_strict in [true, false] {
            let topic = format!("again-{name}-{is_strict}");
            let pipeline = Pipeline::new(services, &topic, is_strict).await;
            let before: Vec<&str> = letters[..10].iter().map(String::as_str).collect();
            let after: Vec<&str> = letters[10..10 + num_new].iter().map(String::as_str).collect();
            pipeline.send(&before, now);
            let mut engine = pipeline.open("earliest").await;
            drain(&mut engine).await.expect("read").expect("a batch");
            pipeline.make_again().await;
            pipeline.send(&after, now);
            pipeline.clock.set(pipeline.clock.now_ms() + 10_000);
            if starts_again {
                drop(engine);
                engine = pipeline.open("earliest").await;
            }
            let outcome = drain(&mut engine).await;
            if is_strict {
                let error = outcome.expect_err("it is noticed");
                assert_eq!(error.kind(), ErrorKind::DataLoss, "{name}: {error}");
                assert!(error.to_string().contains("made again"), "{name}: {error}");
                assert_eq!(pipeline.written(), before, "{name}");
                continue;
            }
            // An offset is never read twice: what lies beyond those that were read is, the others are counted.
            outcome.expect("goes on");
            pipeline.send(&["z1", "z2", "z3", "z4", "z5", "z6", "z7"], now);
            let progress = drain(&mut engine).await.expect("goes on").expect("a batch");
            let beyond = &[after.as_slice(), &["z1", "z2", "z3", "z4", "z5", "z6", "z7"]].concat()[10..];
            assert_eq!(pipeline.written(), [&before, beyond].concat(), "{name}");
            assert_eq!(progress.total.lost, 10, "{name}");
            assert!(drain(&mut engine).await.expect("goes on").is_none(), "{name}");
        }
    }
}

/// Kafka itself finds the first record that is as new; resolved once, and nothing that new is an error.
async fn starts_by_time(services: &Services) {
    let midnight = 1_767_571_200_000;
    let log = async |topic: &str| {
        let pipeline = Pipeline::new(services, topic, true).await;
        pipeline.send(&["a", "b", "c", "d"], midnight);
        pipeline
    };
    let pipeline = log("times").await;
    let start = "{\"times\":{\"timestamp\":\"2026-01-05T00:00:02Z\",\"1\":-2}}";
    drain(&mut pipeline.open(start).await).await.expect("read");
    assert_eq!(pipeline.written(), ["c", "d"]);
    // The next start knows where it was left off.
    pipeline.send(&["e"], midnight);
    drain(&mut pipeline.open("2030-01-01T00:00:00Z").await).await.expect("read");
    assert_eq!(pipeline.written(), ["c", "d", "e"]);

    let pipeline = log("times-late").await;
    for (start, partition) in [
        ("2026-01-05T00:00:01.500Z", "times-late/1"),
        ("{\"times-late\":{\"timestamp\":\"2026-01-05T00:00:03.001Z\",\"1\":-1}}", "times-late/0"),
    ] {
        let error = drain(&mut pipeline.open(start).await).await.expect_err("nothing is that new");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(&format!("partition {partition} has no record")), "{error}");
    }
    assert!(!Path::new(&pipeline.folder.path().join("checkpoint/metadata")).exists());
}

/// An open transaction holds the end back; how many offsets lie behind it is known, and read once it is committed.
async fn open_transactions(services: &Services) {
    let pipeline = Pipeline::new(services, "transactions", true).await;
    let now = SystemClock.now_ms();
    pipeline.send(&["a"], now);
    assert_eq!(pipeline.source().held_back().await.expect("asked"), PerPartition::new());
    let config = pipeline.kafka.client(&[("transactional.id", "sources")], &[]);
    let transactional: BaseProducer = config.create().expect("a producer");
    transactional.init_transactions(Duration::from_secs(30)).expect("a session");
    transactional.begin_transaction().expect("begun");
    let value = "{\"id\":\"b\",\"at\":\"2026-01-05T00:10:00Z\"}";
    let record = BaseRecord::<(), _>::to("transactions").payload(value).partition(0);
    transactional.send(record).expect("queued");
    transactional.flush(Duration::from_secs(30)).expect("sent");
    pipeline.send(&["c"], now);
    let held = pipeline.source().held_back().await.expect("asked");
    assert_eq!(held.into_iter().map(|(tp, n)| (tp.partition, n)).collect::<Vec<_>>(), [(0, 2)]);
    let mut engine = pipeline.open("earliest").await;
    drain(&mut engine).await.expect("read");
    assert_eq!(pipeline.written(), ["a"]);

    let ran = super::ecomm_batch()
        .args(["run", "--trigger", "available-now", "--brokers", &services.brokers, "--sql"])
        .arg(pipeline.folder.path().join("sql"))
        .arg("--checkpoint")
        .arg(pipeline.folder.path().join("other"))
        .arg("--outputs")
        .arg(pipeline.folder.path().join("other-outputs"))
        .output()
        .expect("runs");
    let stderr = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{stderr}");
    assert!(stderr.contains("transactions/0: an open transaction holds the end back: 2 offsets"), "{stderr}");

    transactional.commit_transaction(Duration::from_secs(30)).expect("committed");
    until("the transaction is seen to have ended", async || {
        pipeline.source().held_back().await.is_ok_and(|held| held.is_empty())
    })
    .await;
    drain(&mut engine).await.expect("read");
    assert_eq!(pipeline.written(), ["a", "b", "c"]);
}
