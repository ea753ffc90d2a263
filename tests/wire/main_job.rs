//! Topics in, documents out: every record of the ledger where it belongs, also through kills.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use super::services::{Services, ecomm_batch, terminate, until};

/// Orders of a run; the closing check on 200,000 is done by hand with the same commands.
const ORDERS: &str = "20000";

struct Pipeline<'a> {
    services: &'a Services,
    name: &'a str,
    folder: &'a Path,
}

impl Pipeline<'_> {
    fn command(&self, subcommand: &str) -> Command {
        let mut command = ecomm_batch();
        command
            .arg(subcommand)
            .env("KAFKA_BROKERS", &self.services.brokers)
            .env("MONGODB_URI", &self.services.mongodb)
            .env("ORDERS_TOPIC", format!("orders-{}", self.name))
            .env("PAYMENTS_TOPIC", format!("payments-{}", self.name))
            .env("MONGODB_DATABASE", format!("mart_{}", self.name))
            .env("ECOMM_BATCH_CHECKPOINT", self.folder.join("checkpoint"))
            .stdin(Stdio::null());
        if subcommand == "reconcile" {
            command.env_remove("ECOMM_BATCH_CHECKPOINT");
            command.arg("--exact").arg("--ledger").arg(self.folder.join("ledger.jsonl"));
            command.arg("--checkpoint").arg(self.folder.join("checkpoint"));
        }
        command
    }

    fn produce(&self, more: &[&str]) {
        let output = self
            .command("produce")
            .arg("--ledger")
            .arg(self.folder.join("ledger.jsonl"))
            .args(more)
            .output()
            .expect("runs");
        assert!(output.status.success(), "{}", text(&output));
    }

    fn run(&self, more: &[&str]) -> Output {
        self.command("run").args(more).output().expect("runs")
    }

    fn reconcile(&self) {
        let output = self.command("reconcile").output().expect("runs");
        assert!(output.status.success(), "{}", text(&output));
    }
}

fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_comes_out_where_the_ledger_says() {
    let Some(services) = Services::start().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let whole = Pipeline { services: &services, name: "whole", folder: folder.path() };
    whole.produce(&["--count", ORDERS]);
    let output = whole.run(&["--trigger", "available-now", "--max-offsets-per-trigger", "5000"]);
    assert!(output.status.success(), "{}", text(&output));
    whole.reconcile();

    // A second run finds nothing new and changes nothing.
    let output = whole.run(&["--trigger", "available-now"]);
    assert!(output.status.success(), "{}", text(&output));
    whole.reconcile();

    // Another checkpoint may not write into these collections.
    let other = tempfile::tempdir().expect("a folder");
    let stranger = Pipeline { folder: other.path(), ..whole };
    let output = stranger.run(&["--trigger", "available-now"]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    assert!(text(&output).contains("belongs to another checkpoint"), "{}", text(&output));

    killed_and_restarted(&services).await;
    live(&services).await;
}

/// SIGKILL at random moments: the same documents, none twice.
async fn killed_and_restarted(services: &Services) {
    let folder = tempfile::tempdir().expect("a folder");
    let pipeline = Pipeline { services, name: "killed", folder: folder.path() };
    pipeline.produce(&["--count", ORDERS, "--seed", "2"]);
    let seed: u64 = rand::random();
    println!("seed of the kills: {seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let arguments = ["--trigger", "available-now", "--max-offsets-per-trigger", "500"];
    for _ in 0..3 {
        let mut child =
            pipeline.command("run").args(arguments).stderr(Stdio::null()).spawn().expect("starts");
        tokio::time::sleep(Duration::from_millis(random.random_range(100..900))).await;
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }
    let output = pipeline.run(&arguments);
    assert!(output.status.success(), "{}", text(&output));
    // The run that was killed is finished first; one more sees whatever was left.
    assert!(pipeline.run(&["--trigger", "available-now"]).status.success());
    pipeline.reconcile();
}

/// A producer at work: the engine keeps up, and unmatched orders come out while it runs.
async fn live(services: &Services) {
    let folder = tempfile::tempdir().expect("a folder");
    let pipeline = Pipeline { services, name: "live", folder: folder.path() };
    assert!(
        pipeline
            .command("topics")
            .args(["create", "orders-live", "payments-live"])
            .status()
            .expect("runs")
            .success()
    );
    let progress = folder.path().join("progress.jsonl");
    let mut engine = pipeline
        .command("run")
        .args(["--trigger", "500ms", "--progress"])
        .arg(&progress)
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    pipeline.produce(&["--rate", "2000", "--duration", "8s"]);
    let records =
        std::fs::read_to_string(folder.path().join("ledger.jsonl")).expect("a ledger").lines().count() as u64;
    let batches = || -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(&progress).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    until("the engine has read everything", async || {
        batches().last().is_some_and(|last| last["total"]["records"] == records && last["lag"] == 0)
    })
    .await;
    let unmatched_early =
        batches().iter().rev().skip(1).any(|batch| batch["total"]["unmatched"].as_u64() > Some(0));
    assert!(unmatched_early, "no unmatched row came out while the producer ran");
    terminate(&engine).await;
    assert_eq!(engine.wait().expect("reaped").code(), Some(0), "SIGTERM finishes the batch and exits 0");
    pipeline.reconcile();
}
