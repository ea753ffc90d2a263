//! Older engines, old copies of a checkpoint, records that are gone, S3-like stores, commands that fail.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bson::{Document, doc};
use ecomm_batch::source::kafka::KafkaConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};
use rustix::process::Signal;

use super::pipeline::{Pipeline, text};
use super::services::{Relay, S3, Services, free_port, signal, terminate, until};

fn copy(from: &str, to: &Path) {
    let status = Command::new("cp").args(["-r", from]).arg(to).status().expect("cp runs");
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_is_loud_and_harmless() {
    let Some(services) = Services::start().await else { return };
    let Some(s3) = S3::start().await else { return };
    old_copy_of_a_checkpoint(&services).await;
    checkpoint_in_a_bucket(&services, &s3);
    bucket_that_is_away(&services, &s3).await;
    collections_taken_over(&services).await;
    paused_engine(&services, &s3).await;
    records_that_are_gone(&services).await;
    failing_commands(&services).await;
}

/// The ledger knows of later batches than the checkpoint: exit 3, and the newest one goes on.
async fn old_copy_of_a_checkpoint(services: &Services) {
    let pipeline = Pipeline::new(services, "copy");
    pipeline.produce(&["--count", "500"]);
    pipeline.succeeds(&["--max-offsets-per-trigger", "400"]);
    let copied = pipeline.folder.path().join("copied");
    copy(&pipeline.checkpoint, &copied);
    pipeline.produce(&["--count", "500", "--seed", "2"]);
    let newest = pipeline.checkpoint.clone();
    pipeline.succeeds(&["--max-offsets-per-trigger", "400"]);
    let old = Pipeline { checkpoint: copied.display().to_string(), ..pipeline };
    old.fails(3, &["old copy", "restore the newest checkpoint"], &[]);

    // Rolled back on purpose it plans nothing anew, and stores nothing twice.
    let again = Pipeline { checkpoint: newest, ..old };
    let before = again.count("validated_orders").await;
    let tool = |arguments: &[&str]| {
        let output =
            again.command("checkpoint").args(arguments).arg(&again.checkpoint).output().expect("runs");
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    assert!(tool(&["rollback", "--to", "1"]).contains("nothing was changed"));
    tool(&["rollback", "--to", "1", "--yes"]);
    assert!(tool(&["show"]).contains("pending"));
    again.succeeds(&[]);
    assert!(tool(&["verify"]).contains("sound"));
    assert_eq!(again.count("validated_orders").await, before);
    let mut state = again.command("state");
    state.args([
        &again.checkpoint,
        "--sql",
        "SELECT count(*) AS waiting FROM orders_state WHERE NOT _row_matched",
    ]);
    let output = state.output().expect("runs");
    assert!(output.status.success() && text(&output).contains("waiting"), "{}", text(&output));
}

/// The same guarantees on an S3-like store, killed on the way.
fn checkpoint_in_a_bucket(services: &Services, s3: &S3) {
    let mut pipeline = Pipeline::new(services, "bucket");
    pipeline.checkpoint = "s3://checkpoints/bucket".to_owned();
    pipeline.variables = s3.variables().to_vec();
    pipeline.produce(&["--count", "2000"]);
    for skip in [20, 45, 40] {
        let mut command = pipeline.command("run");
        command.env("ECOMM_BATCH_FAULT", format!("checkpoint-file {skip} kill"));
        command.args(["--trigger", "available-now", "--max-offsets-per-trigger", "700"]);
        let output = command.args(["--checkpoint", &pipeline.checkpoint]).output().expect("runs");
        assert!(!output.status.success(), "{}", text(&output));
    }
    pipeline.succeeds(&["--max-offsets-per-trigger", "700"]);
    pipeline.succeeds(&[]);
    pipeline.reconciles();
    let output =
        pipeline.command("checkpoint").args(["verify", &pipeline.checkpoint]).output().expect("runs");
    assert!(output.status.success() && text(&output).contains("sound"), "{}", text(&output));
    pipeline.checkpoint = "s3://nowhere/bucket".to_owned();
    pipeline.fails(2, &["s3://nowhere/bucket", "create the bucket"], &[]);
}

/// Another checkpoint's collections, emptied by hand: with --take-over every batch is stored anew, whatever the
/// ledger says of the other query's.
async fn collections_taken_over(services: &Services) {
    let mut pipeline = Pipeline::new(services, "taken");
    let limit = ["--max-offsets-per-trigger", "300"];
    pipeline.produce(&["--count", "1000"]);
    pipeline.succeeds(&limit);
    let client = mongodb::Client::with_uri_str(&services.mongodb).await.expect("a client");
    for output in
        ["validated_orders", "rejected_payments", "unpaid_orders", "orphan_payments", "dead_letters"]
    {
        client
            .database("mart_taken")
            .collection::<Document>(output)
            .delete_many(doc! {})
            .await
            .expect("emptied");
    }
    pipeline.checkpoint = pipeline.folder.path().join("another").display().to_string();
    pipeline.fails(6, &["belongs to another checkpoint's query", "--take-over"], &limit);
    // Stopped before its first batch it is the owner, and needs no more flags.
    let mut command = pipeline.command("run");
    command.env("ECOMM_BATCH_FAULT", "before-offsets 0 kill").args(["--trigger", "available-now"]);
    command.args(["--take-over", "--checkpoint", &pipeline.checkpoint]);
    let killed = command.output().expect("runs");
    assert_eq!(killed.status.code(), None, "{}", text(&killed));
    let more = [&limit[..], &["--mongodb-atomic"]].concat();
    pipeline.succeeds(&more);
    pipeline.succeeds(&more);
    pipeline.reconciles();
}

/// The store can't be reached for a while, in the middle of batches and at the start: it is waited for.
async fn bucket_that_is_away(services: &Services, s3: &S3) {
    let mut pipeline = Pipeline::new(services, "away");
    let server = s3.endpoint.trim_start_matches("http://");
    let port = free_port();
    let endpoint = format!("http://127.0.0.1:{port}");
    pipeline.checkpoint = "s3://checkpoints/away".to_owned();
    pipeline.variables = s3.variables().to_vec();
    pipeline.produce(&["--count", "3000"]);
    let (progress, log) = (pipeline.folder.path().join("progress.jsonl"), pipeline.folder.path().join("log"));
    let engine = || {
        let log = std::fs::File::create(&log).expect("a log");
        let mut command = pipeline.command("run");
        command.env("AWS_ENDPOINT_URL", &endpoint).stderr(Stdio::from(log));
        command.args(["--trigger", "20ms", "--max-offsets-per-trigger", "300"]);
        command.args(["--checkpoint", &pipeline.checkpoint, "--progress"]).arg(&progress);
        command.spawn().expect("starts")
    };
    let batches = || std::fs::read_to_string(&progress).unwrap_or_default().lines().count();
    let log = || std::fs::read_to_string(&log).expect("a log");
    let mut waiting = engine();
    until("an engine that starts waits", async || log().contains("trying again")).await;
    for wanted in [3, 6] {
        let relay = Relay::start(port, server).await;
        until("the engine is at work", async || batches() >= wanted).await;
        drop(relay);
        let pauses = log().matches("trying again").count();
        until("the engine waits", async || log().matches("trying again").count() >= pauses + 2).await;
    }
    assert!(waiting.try_wait().expect("asked").is_none(), "it gave up: {}", log());
    terminate(&waiting).await;
    assert_eq!(waiting.wait().expect("reaped").code(), Some(0), "{}", log());
    assert!(log().contains("stopped while waiting for the checkpoint"), "{}", log());
    pipeline.succeeds(&[]);
    pipeline.succeeds(&[]);
    pipeline.reconciles();
}

/// An engine is paused, a newer one goes on, the older one wakes up and exits 5.
async fn paused_engine(services: &Services, s3: &S3) {
    // Each time at another moment of a batch.
    for round in 0..6 {
        let (name, bucket) = (format!("paused{round}"), round % 2 == 1);
        let mut pipeline = Pipeline::new(services, &name);
        if bucket {
            pipeline.checkpoint = format!("s3://checkpoints/{name}");
            pipeline.variables = s3.variables().to_vec();
        }
        pipeline.produce(&["--count", "3000"]);
        let progress = pipeline.folder.path().join("progress.jsonl");
        let old = pipeline
            .command("run")
            .args([
                "--trigger",
                "20ms",
                "--max-offsets-per-trigger",
                "300",
                "--checkpoint",
                &pipeline.checkpoint,
            ])
            .arg("--progress")
            .arg(&progress)
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        until("the old engine is at work", async || {
            std::fs::read_to_string(&progress).is_ok_and(|text| text.lines().count() >= 3)
        })
        .await;
        signal(&old, Signal::STOP);
        if !bucket {
            std::fs::remove_file(Path::new(&pipeline.checkpoint).join("lock")).expect("taken away");
        }
        pipeline.succeeds(&["--max-offsets-per-trigger", "700"]);
        pipeline.succeeds(&[]);
        pipeline.reconciles();
        signal(&old, Signal::CONT);
        let woken = old.wait_with_output().expect("reaped");
        assert_eq!(woken.status.code(), Some(5), "{}", text(&woken));
        pipeline.reconciles();
        let verify = pipeline.command("checkpoint").args(["verify", &pipeline.checkpoint]).output();
        assert!(verify.expect("runs").status.success());
    }
}

/// Offsets aged out, a topic deleted, made again with fewer and with more records: exit 4, or skipped and counted.
async fn records_that_are_gone(services: &Services) {
    let kafka = KafkaConfig::new(&services.brokers, Default::default());
    let admin: AdminClient<DefaultClientContext> = kafka.client(&[], &[]).create().expect("a client");
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    let pipeline = Pipeline::new(services, "gone");
    pipeline.produce(&["--count", "1000"]);
    pipeline.succeeds(&[]);
    pipeline.produce(&["--count", "1000", "--seed", "2"]);
    let mut before = TopicPartitionList::new();
    for partition in 0..3 {
        before.add_partition_offset("orders-gone", partition, Offset::End).expect("listed");
    }
    admin.delete_records(&before, &options).await.expect("deleted");
    pipeline.fails(4, &["are gone from the broker", "orders-gone/"], &[]);
    let progress = pipeline.folder.path().join("progress.jsonl");
    let path = progress.display().to_string();
    pipeline.succeeds(&["--fail-on-data-loss", "false", "--progress", &path]);
    let lines = std::fs::read_to_string(&progress).expect("progress");
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().expect("a batch")).expect("JSON");
    assert!(last["total"]["lost"].as_u64().is_some_and(|lost| (900..1200).contains(&lost)), "{last}");

    for (seed, count) in [("3", "100"), ("4", "6000")] {
        services.delete_topics(&["payments-gone"]).await;
        pipeline.fails(4, &["payments-gone"], &[]);
        pipeline.produce(&["--count", count, "--seed", seed]);
        pipeline.fails(4, &["payments-gone", "made again"], &[]);
        let before = pipeline.count("dead_letters").await;
        // What has the place of a record that was read is never read: no conflict, nothing twice.
        pipeline.succeeds(&["--fail-on-data-loss", "false"]);
        let client = mongodb::Client::with_uri_str(&services.mongodb).await.expect("a client");
        let letters = client.database("mart_gone").collection::<Document>("dead_letters");
        let conflicts = letters.count_documents(doc! { "reason": "conflict" }).await.expect("counted");
        assert_eq!(conflicts, 0, "{} letters, {before} before", pipeline.count("dead_letters").await);
    }
}

/// Inserts and commits that fail on the way: tried again, and everything is stored once.
async fn failing_commands(services: &Services) {
    let client = mongodb::Client::with_uri_str(&services.mongodb).await.expect("a client");
    let admin = client.database("admin");
    for (number, (fails, atomic)) in [
        (doc! { "failCommands": ["insert"], "errorCode": 11602 }, false),
        (doc! { "failCommands": ["insert"], "closeConnection": true }, false),
        (doc! { "failCommands": ["insert"], "writeConcernError": { "code": 91, "errmsg": "shutdown" } }, false),
        (doc! { "failCommands": ["insert"], "errorCode": 112, "errorLabels": ["TransientTransactionError"] }, true),
        (doc! { "failCommands": ["commitTransaction"], "closeConnection": true }, true),
        (doc! { "failCommands": ["commitTransaction"], "errorCode": 91, "errorLabels": ["UnknownTransactionCommitResult"] }, true),
        (doc! { "failCommands": ["find", "update"], "errorCode": 189 }, true),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("fails{number}");
        let pipeline = Pipeline::new(services, &name);
        pipeline.produce(&["--count", "500"]);
        let point = doc! { "configureFailPoint": "failCommand", "mode": { "times": 4 }, "data": fails.clone() };
        admin.run_command(point).await.expect("armed");
        let more: &[&str] = if atomic { &["--mongodb-atomic"] } else { &[] };
        pipeline.succeeds(more);
        let off = admin.run_command(doc! { "configureFailPoint": "failCommand", "mode": "off" }).await;
        let off = off.expect("disarmed");
        let struck = off.get_i64("count").or_else(|_| off.get_i32("count").map(i64::from)).unwrap_or(0);
        assert!(struck >= 4, "{fails} struck {struck} times");
        pipeline.reconciles();
    }
    // Everything is stored already, and MongoDB does not confirm that a majority has it: it is asked again.
    let pipeline = Pipeline::new(services, "fails0");
    let unconfirmed =
        doc! { "failCommands": ["insert"], "writeConcernError": { "code": 91, "errmsg": "shutdown" } };
    let point = doc! { "configureFailPoint": "failCommand", "mode": { "times": 4 }, "data": unconfirmed };
    admin.run_command(point).await.expect("armed");
    let output = pipeline.run(&["--take-over"]);
    admin.run_command(doc! { "configureFailPoint": "failCommand", "mode": "off" }).await.expect("disarmed");
    assert!(output.status.success() && text(&output).contains("did not confirm"), "{}", text(&output));
}
