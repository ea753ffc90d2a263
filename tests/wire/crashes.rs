//! SIGKILL, errors and damage at every step: the outcome is that of a run which never stopped.
//!
//! A script of six batches (Kafka's topics are filled once) is run with a fault at the k-th checkpoint file
//! operation or MongoDB command, then to its end; for k = 1, 2, 3 … until a fault no longer strikes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use bson::Document;
use ecomm_batch::checkpoint::{Checkpoint, Location};
use futures::TryStreamExt;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::services::{Services, ecomm_batch};

const OUTPUTS: [&str; 5] =
    ["validated_orders", "rejected_payments", "unpaid_orders", "orphan_payments", "dead_letters"];

/// Shares of trouble of which 200 orders of any seed leave documents in every output.
const ENOUGH_OF_EACH: [&str; 8] =
    ["--orphan", "0.1", "--unpaid", "0.1", "--malformed", "0.05", "--mismatch", "0.05"];

/// Each so many-th fault is tried; `ECOMM_BATCH_TEST_EVERY=1` tries all of them.
fn every() -> u64 {
    std::env::var("ECOMM_BATCH_TEST_EVERY").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

/// Six batches over topics that were filled once, into a database of its own each time.
struct Script<'a> {
    services: &'a Services,
    client: mongodb::Client,
    atomic: bool,
    max_offsets: u64,
}

/// What a run leaves behind.
#[derive(Debug, PartialEq)]
struct Left {
    documents: BTreeMap<&'static str, Vec<String>>,
    /// Counters, watermark and positions of the last commit.
    commit: String,
    batches: u64,
}

impl Script<'_> {
    fn command(&self, folder: &Path, subcommand: &str) -> Command {
        let mut command = ecomm_batch();
        command
            .arg(subcommand)
            .env("KAFKA_BROKERS", &self.services.brokers)
            .env("MONGODB_URI", &self.services.mongodb)
            .env("ORDERS_TOPIC", "orders-crashes")
            .env("PAYMENTS_TOPIC", "payments-crashes")
            .env("MONGODB_DATABASE", "mart_crashes");
        if subcommand == "run" {
            command
                .env("ECOMM_BATCH_CHECKPOINT", folder.join("checkpoint"))
                .args(["--trigger", "available-now", "--max-offsets-per-trigger"])
                .arg(self.max_offsets.to_string());
            if self.atomic {
                command.arg("--mongodb-atomic");
            }
        }
        command
    }

    async fn fresh(&self) -> tempfile::TempDir {
        self.client.database("mart_crashes").drop().await.expect("dropped");
        ecomm_batch::case::scratch_folder().expect("a folder")
    }

    fn run(&self, folder: &Path, fault: Option<&str>) -> Output {
        let mut command = self.command(folder, "run");
        if let Some(fault) = fault {
            command.env("ECOMM_BATCH_FAULT", fault);
        }
        command.output().expect("runs")
    }

    /// Ends transactions that a killed engine left open; MongoDB would by itself, after a while.
    async fn end_transactions(&self) {
        let ended = self.client.database("admin").run_command(bson::doc! { "killAllSessions": [] }).await;
        ended.expect("ended");
    }

    fn complete(&self, folder: &Path) {
        let output = self.run(folder, None);
        assert!(output.status.success(), "{}", text(&output));
    }

    async fn left(&self, folder: &Path) -> Left {
        let mut documents = BTreeMap::new();
        for name in OUTPUTS {
            let collection = self.client.database("mart_crashes").collection::<Document>(name);
            let found: Vec<Document> =
                collection.find(bson::doc! {}).await.expect("reads").try_collect().await.expect("documents");
            let mut texts: Vec<String> = found.iter().map(ToString::to_string).collect();
            texts.sort();
            documents.insert(name, texts);
        }
        let location = Location::Folder(folder.join("checkpoint"));
        let recovered = Checkpoint::read_only(&location).expect("opens").recover().await.expect("sound");
        let mut commit = recovered.expect("a checkpoint").commit.expect("a commit");
        for record in commit.partitions.values_mut().flat_map(BTreeMap::values_mut) {
            // The time of day differs from run to run; offsets and event times don't.
            record.clock.last_record_ms = None;
        }
        let summary = format!(
            "{:?} {:?} {:?} {:?} {:?} {:?}",
            commit.counts, commit.total, commit.tally, commit.watermark, commit.partitions, commit.rows
        );
        Left { documents, commit: summary, batches: commit.batch_id.0 + 1 }
    }
}

fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn was_killed(output: &Output) -> bool {
    use std::os::unix::process::ExitStatusExt;
    output.status.signal() == Some(9)
}

async fn sweep(script: &Script<'_>, wanted: &Left, point: &str, action: &str, second: bool) -> u64 {
    let seed: u64 = rand::random();
    println!("{point} {action}, atomic {}, seed {seed}", script.atomic);
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut survived = 0;
    for skip in (0..).step_by(every() as usize) {
        let folder = script.fresh().await;
        let output = script.run(folder.path(), Some(&format!("{point} {skip} {action}")));
        if output.status.success() {
            assert!(skip > 100, "the sweep ended after {skip} steps: {}", text(&output));
            return survived;
        }
        match action {
            "kill" => assert!(was_killed(&output), "{}", text(&output)),
            _ => assert_eq!(output.status.code(), Some(1), "{}", text(&output)),
        }
        survived += 1;
        script.end_transactions().await;
        if second {
            let again = format!("checkpoint-file {} kill", random.random_range(0..60));
            let output = script.run(folder.path(), Some(&again));
            assert!(was_killed(&output) || output.status.success(), "{}", text(&output));
            survived += u64::from(was_killed(&output));
            script.end_transactions().await;
        }
        script.complete(folder.path());
        let left = script.left(folder.path()).await;
        assert!(left == *wanted, "{point} {skip} {action}: {left:?}\nwanted {wanted:?}");
    }
    unreachable!("the steps of a run are finite")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_may_be_the_last() {
    let Some(services) = Services::start().await else { return };
    let client = mongodb::Client::with_uri_str(&services.mongodb).await.expect("a client");
    let mut script = Script { services: &services, client, atomic: false, max_offsets: 75 };
    let mut produce = script.command(Path::new("."), "produce");
    let produced = produce.args(["--count", "200"]).args(ENOUGH_OF_EACH).output().expect("runs");
    assert!(produced.status.success(), "{}", text(&produced));
    println!("{}", text(&produced));

    let folder = script.fresh().await;
    script.complete(folder.path());
    let wanted = script.left(folder.path()).await;
    assert_eq!(wanted.batches, 6);
    assert!(wanted.documents.values().all(|documents| !documents.is_empty()), "{wanted:?}");

    let mut survived = 0;
    for atomic in [false, true] {
        script.atomic = atomic;
        survived += sweep(&script, &wanted, "checkpoint-file", "kill", false).await;
        survived += sweep(&script, &wanted, "mongodb-command", "kill", false).await;
        // The short sweep leaves these out, to stay within ten minutes.
        if atomic && every() > 1 {
            continue;
        }
        survived += sweep(&script, &wanted, "checkpoint-file", "kill", true).await;
        survived += sweep(&script, &wanted, "mongodb-command", "kill", true).await;
        survived += sweep(&script, &wanted, "checkpoint-file", "error", false).await;
        survived += sweep(&script, &wanted, "mongodb-command", "error", false).await;
    }
    println!("{survived} kills and errors survived (every {}th)", every());
}
