//! Everything is killed, paused and brought back at random while records come in; then the books are balanced.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;

use super::services::{Services, ecomm_batch, signal, terminate};

/// For how long; `ECOMM_BATCH_TEST_TORTURE=3600` is the long one.
fn duration() -> Duration {
    let seconds = std::env::var("ECOMM_BATCH_TEST_TORTURE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(180))
}

struct Pipeline<'a> {
    brokers: &'a str,
    mongodb: &'a str,
    folder: &'a Path,
}

impl Pipeline<'_> {
    fn command(&self, subcommand: &str) -> Command {
        let mut command = ecomm_batch();
        command
            .arg(subcommand)
            .env("KAFKA_BROKERS", self.brokers)
            .env("MONGODB_URI", self.mongodb)
            .env("ORDERS_TOPIC", "orders-torture")
            .env("PAYMENTS_TOPIC", "payments-torture")
            .env("MONGODB_DATABASE", "mart_torture")
            .stdin(Stdio::null());
        command
    }

    fn engine(&self, atomic: bool) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("engine.log"));
        let mut command = self.command("run");
        command
            .args(["--trigger", "200ms", "--max-offsets-per-trigger", "3000", "--checkpoint"])
            .arg(self.folder.join("checkpoint"))
            .stderr(Stdio::from(log.expect("a log")));
        if atomic {
            command.arg("--mongodb-atomic");
        }
        command.spawn().expect("starts")
    }

    fn producer(&self, seconds: u64) -> Child {
        self.command("produce")
            .args(["--rate", "300", "--duration", &format!("{seconds}s"), "--ledger"])
            .arg(self.folder.join("ledger.jsonl"))
            .stdout(Stdio::null())
            .spawn()
            .expect("starts")
    }

    /// Reads what is left and compares MongoDB with the producer's ledger.
    fn balance(&self) {
        for _ in 0..2 {
            let mut drain = self.command("run");
            drain.args(["--trigger", "available-now", "--checkpoint"]).arg(self.folder.join("checkpoint"));
            let drained = drain.output().expect("runs");
            assert!(drained.status.success(), "{}", String::from_utf8_lossy(&drained.stderr));
        }
        let mut audit = self.command("reconcile");
        audit.arg("--exact").arg("--ledger").arg(self.folder.join("ledger.jsonl"));
        audit.arg("--checkpoint").arg(self.folder.join("checkpoint"));
        let audit = audit.output().expect("runs");
        let report = String::from_utf8_lossy(&audit.stdout);
        println!("{report}");
        assert!(audit.status.success(), "{report}{}", String::from_utf8_lossy(&audit.stderr));
    }

    fn engine_log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.join("engine.log")).unwrap_or_default();
        log[log.len().saturating_sub(3000)..].to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_doubled_or_wrong() {
    let Some(mut services) = Services::start().await else { return };
    let (brokers, mongodb) = (services.brokers.clone(), services.mongodb.clone());
    let folder = tempfile::tempdir().expect("a folder");
    let pipeline = Pipeline { brokers: &brokers, mongodb: &mongodb, folder: folder.path() };
    let topics = ["create", "orders-torture", "payments-torture"];
    assert!(pipeline.command("topics").args(topics).status().expect("runs").success());
    let seed: u64 = rand::random();
    println!("seed of the torture: {seed}, {} s", duration().as_secs());
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut producer = pipeline.producer(duration().as_secs());
    let mut engine = pipeline.engine(false);
    let started = Instant::now();
    let mut counts = [0; 4];
    while started.elapsed() < duration() {
        let pause = |random: &mut ChaCha8Rng, most| Duration::from_millis(random.random_range(50..most));
        tokio::time::sleep(pause(&mut random, 3000)).await;
        if let Some(status) = engine.try_wait().expect("asked") {
            panic!("the engine gave up with {status}: {}", pipeline.engine_log());
        }
        match random.random_range(0..10) {
            0..6 => {
                engine.kill().expect("killed");
                engine.wait().expect("reaped");
                engine = pipeline.engine(random.random_bool(0.5));
                counts[0] += 1;
            }
            6..8 => {
                signal(&engine, Signal::STOP);
                tokio::time::sleep(pause(&mut random, 4000)).await;
                signal(&engine, Signal::CONT);
                counts[1] += 1;
            }
            8 => {
                services.mongod().kill();
                tokio::time::sleep(pause(&mut random, 5000)).await;
                services.mongod().start_again();
                counts[2] += 1;
            }
            _ => {
                services.kafka().kill();
                tokio::time::sleep(pause(&mut random, 3000)).await;
                services.kafka().start_again();
                services.wait_for_kafka().await;
                counts[3] += 1;
            }
        }
    }
    println!(
        "{} kills and {} pauses of the engine, {} kills of mongod, {} of Kafka",
        counts[0], counts[1], counts[2], counts[3]
    );
    let produced = producer.wait().expect("reaped");
    assert!(produced.success(), "the producer gave up with {produced}");
    terminate(&engine).await;
    assert_eq!(engine.wait().expect("reaped").code(), Some(0), "{}", pipeline.engine_log());
    pipeline.balance();
}

/// MongoDB away, then Kafka: the engine waits, says so, and goes on. `ECOMM_BATCH_TEST_AWAY` sets for how
/// many seconds each.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_away_is_waited_for() {
    let Some(mut services) = Services::start().await else { return };
    let away = std::env::var("ECOMM_BATCH_TEST_AWAY").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let away = Duration::from_secs(away);
    let (brokers, mongodb) = (services.brokers.clone(), services.mongodb.clone());
    let folder = tempfile::tempdir().expect("a folder");
    let pipeline = Pipeline { brokers: &brokers, mongodb: &mongodb, folder: folder.path() };
    let topics = ["create", "orders-torture", "payments-torture"];
    assert!(pipeline.command("topics").args(topics).status().expect("runs").success());
    let seconds = (away * 2).as_secs() + 10;
    let mut producer = pipeline.producer(seconds);
    let mut engine = pipeline.engine(false);
    tokio::time::sleep(Duration::from_secs(3)).await;
    services.mongod().kill();
    tokio::time::sleep(away).await;
    services.mongod().start_again();
    tokio::time::sleep(Duration::from_secs(3)).await;
    services.kafka().kill();
    tokio::time::sleep(away).await;
    services.kafka().start_again();
    services.wait_for_kafka().await;
    let produced = producer.wait().expect("reaped");
    assert!(produced.success(), "the producer gave up with {produced}");
    assert!(engine.try_wait().expect("asked").is_none(), "the engine gave up: {}", pipeline.engine_log());
    terminate(&engine).await;
    assert_eq!(engine.wait().expect("reaped").code(), Some(0), "{}", pipeline.engine_log());
    let log = std::fs::read_to_string(folder.path().join("engine.log")).expect("a log");
    for words in ["MongoDB at", "Kafka at", "trying again"] {
        assert!(log.contains(words), "\"{words}\" is not in the log: {}", pipeline.engine_log());
    }
    pipeline.balance();
}
