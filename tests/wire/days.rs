//! Bad days, as somebody has them who runs the job for years: a checkpoint that was lost, SQL that can't do a
//! batch, a topic that falls silent, a deploy that is undone. Each goes on as the message says, and ends with
//! every record accounted for.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use bson::{Document, doc};
use ecomm_batch::clock::{Clock, SystemClock, rfc3339_ms};
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::pipeline::{Pipeline, text};
use super::services::{Services, terminate, until};

/// Records that are late are so in one run and not in another.
const NOT_LATE: [&str; 4] = ["--count", "1500", "--late", "0"];

/// Another cut into batches than the first run's.
const OTHERWISE: [&str; 2] = ["--max-offsets-per-trigger", "450"];

#[tokio::test(flavor = "multi_thread")]
async fn every_day_has_a_way_out() {
    let Some(services) = Services::start().await else { return };
    lost_and_taken_over(&services).await;
    lost_and_reset(&services).await;
    reset_is_killed(&services).await;
    foreign_documents(&services).await;
    sql_that_stops_a_batch(&services).await;
    deploy_that_is_undone(&services);
    silent_topic(&services).await;
    broker_that_was_reset(&services).await;
    start_that_fails(&services);
    first_day(&services).await;
}

fn database(services: &Services, name: &str) -> mongodb::Database {
    let client = futures::executor::block_on(mongodb::Client::with_uri_str(&services.mongodb));
    client.expect("a client").database(name)
}

async fn count(pipeline: &Pipeline<'_>, collection: &str, filter: Document) -> u64 {
    let database = database(pipeline.services, &format!("mart_{}", pipeline.name));
    database.collection::<Document>(collection).count_documents(filter).await.expect("counted")
}

fn lose_checkpoint(pipeline: &Pipeline<'_>) {
    std::fs::remove_dir_all(&pipeline.checkpoint).expect("lost");
}

/// Killed by the fault, not ended.
fn is_killed(output: &Output) {
    assert_eq!(output.status.code(), None, "{}", text(output));
}

/// The documents are met as equal, however the batches are cut; killed in the middle, too.
async fn lost_and_taken_over(services: &Services) {
    let pipeline = Pipeline::new(services, "takenover");
    pipeline.produce(&NOT_LATE);
    pipeline.succeeds(&[]);
    pipeline.reconciles();
    lose_checkpoint(&pipeline);
    pipeline.fails(6, &["belongs to another checkpoint's query", "reset --query", "--take-over"], &[]);
    assert!(!Path::new(&pipeline.checkpoint).exists(), "a start that failed left a folder");
    // While some collections are taken over, and others not; then in the middle of batches.
    for fault in ["mongodb-command 61 kill", "after-sink 1 kill"] {
        let mut command = pipeline.command("run");
        command.env("ECOMM_BATCH_FAULT", fault).args(["--trigger", "available-now"]);
        command.args(OTHERWISE).args(["--take-over", "--checkpoint", &pipeline.checkpoint]);
        is_killed(&command.output().expect("runs"));
    }
    let output = pipeline.run(&OTHERWISE);
    assert!(output.status.success() && !text(&output).contains("conflict"), "{}", text(&output));
    pipeline.succeeds(&OTHERWISE);
    pipeline.reconciles();
}

/// Whose collections they are is listed; a dry run changes nothing.
async fn lost_and_reset(services: &Services) {
    let pipeline = Pipeline::new(services, "lost");
    pipeline.produce(&NOT_LATE);
    pipeline.succeeds(&[]);
    let stored = pipeline.count("validated_orders").await;
    lose_checkpoint(&pipeline);
    // Another pipeline's, in the same database.
    let mart = database(services, "mart_lost");
    mart.collection("others").insert_one(doc! { "_id": 1 }).await.expect("stored");
    let stranger = doc! { "_id": "others", "query": "stranger", "epoch": 1_i64 };
    mart.collection("_ecomm_batch").insert_one(stranger.clone()).await.expect("stored");

    let reset = |more: &[&str]| {
        let mut command = pipeline.command("reset");
        let output = command.args(["--checkpoint", &pipeline.checkpoint]).args(more).output().expect("runs");
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    let shown = reset(&[]);
    assert!(
        shown.contains("nothing to remove") && shown.contains("validated_orders belongs to query"),
        "{shown}"
    );
    let query = shown.lines().find_map(|line| line.split("validated_orders belongs to query ").nth(1));
    let query = query.and_then(|rest| rest.split(':').next()).expect("the id is listed").to_owned();
    let shown = reset(&["--query", &query]);
    assert!(shown.contains("nothing was removed: add --yes"), "{shown}");
    assert_eq!(pipeline.count("validated_orders").await, stored);
    let done = reset(&["--query", &query, "--yes"]);
    assert!(done.contains("done") && done.contains("others belongs to query stranger"), "{done}");
    assert_eq!(pipeline.count("validated_orders").await, 0);
    assert_eq!(pipeline.count("others").await, 1);
    let left = mart.collection::<Document>("_ecomm_batch").find_one(doc! {}).await.expect("read");
    assert_eq!(left, Some(stranger));
    pipeline.succeeds(&OTHERWISE);
    pipeline.reconciles();
}

/// Interrupted at any of its steps, the same command goes on where it was.
async fn reset_is_killed(services: &Services) {
    let pipeline = Pipeline::new(services, "again");
    pipeline.produce(&["--count", "300", "--late", "0"]);
    for fault in [
        "mongodb-command 8 kill",
        "mongodb-command 17 kill",
        "mongodb-command 30 kill",
        "checkpoint-file 22 kill",
        "checkpoint-file 27 kill",
        "checkpoint-file 40 kill",
    ] {
        pipeline.succeeds(&["--max-offsets-per-trigger", "200"]);
        pipeline.reconciles();
        let reset = || {
            let mut command = pipeline.command("reset");
            command.args(["--checkpoint", &pipeline.checkpoint, "--yes"]);
            command
        };
        is_killed(&reset().env("ECOMM_BATCH_FAULT", fault).output().expect("runs"));
        let output = reset().output().expect("runs");
        assert!(output.status.success(), "{fault}: {}", text(&output));
        assert!(!Path::new(&pipeline.checkpoint).exists(), "{fault}: {}", text(&output));
        let collections = database(services, "mart_again").list_collection_names().await.expect("listed");
        assert_eq!(collections, ["_ecomm_batch"], "{fault}");
        assert_eq!(pipeline.count("_ecomm_batch").await, 0, "{fault}");
    }
}

/// Two records with one id, of a program that lets them through, and a document that was there before.
async fn foreign_documents(services: &Services) {
    let pipeline = Pipeline::new(services, "foreign");
    pipeline.produce(&["--count", "400", "--late", "0"]);
    pipeline.succeeds(&[]);
    let mart = database(services, "mart_foreign");
    let validated = mart.collection::<Document>("validated_orders");
    let some = validated.find_one(doc! {}).await.expect("read").expect("there");
    let id = some.get_str("_id").expect("an id");
    let foreign = doc! { "_id": id, "written": "by hand" };
    for (more, is_replaced) in [(&["--take-over"][..], false), (&["--take-over=replace"], true)] {
        validated.replace_one(doc! { "_id": id }, foreign.clone()).await.expect("written");
        lose_checkpoint(&pipeline);
        let output = pipeline.run(more);
        assert!(output.status.success(), "{}", text(&output));
        let found = validated.find_one(doc! { "_id": id }).await.expect("read").expect("there");
        let conflicts = count(&pipeline, "dead_letters", doc! { "reason": "conflict" }).await;
        if is_replaced {
            assert_eq!(found, some);
            assert!(
                text(&output).contains("1 documents of an earlier checkpoint are replaced"),
                "{}",
                text(&output)
            );
        } else {
            assert_eq!(found, foreign);
            let warning =
                format!("1 row not stored (conflict), each is a dead letter now; for example _id \"{id}\"");
            assert!(text(&output).contains(&warning), "{}", text(&output));
        }
        assert_eq!(conflicts, 1);
    }

    // What this query has stored itself is never replaced, in whatever batch it comes again.
    let folder = pipeline.folder.path().join("twice");
    std::fs::create_dir(&folder).expect("made");
    let sql = "CREATE UNBOUNDED EXTERNAL TABLE orders (order_id VARCHAR NOT NULL, amount DECIMAL(18, 2) NOT NULL, \
                 created_at TIMESTAMP NOT NULL) STORED AS KAFKA LOCATION 'twice' OPTIONS ('watermark.column' 'created_at'); \
               CREATE EXTERNAL TABLE amounts STORED AS MONGODB LOCATION 'mart_foreign.amounts' OPTIONS ('id' 'order_id'); \
               INSERT INTO amounts SELECT order_id, amount FROM orders; \
               CREATE EXTERNAL TABLE refused STORED AS MONGODB LOCATION 'mart_foreign.refused'; \
               INSERT INTO refused SELECT reason, error FROM dead_letters;";
    std::fs::write(folder.join("program.sql"), sql).expect("written");
    let topics =
        pipeline.command("topics").args(["create", "--partitions", "1", "twice"]).output().expect("runs");
    assert!(topics.status.success());
    for (id, amount) in [("a", 1), ("a", 2), ("b", 3), ("c", 4), ("c", 5)] {
        send(services, "twice", &order(id, amount, 0)).await;
    }
    let amounts = mart.collection::<Document>("amounts");
    let sql = folder.display().to_string();
    for (limit, atomic) in [("1", &[][..]), ("1", &["--mongodb-atomic"]), ("5", &[])] {
        lose_checkpoint(&pipeline);
        amounts.delete_many(doc! {}).await.expect("emptied");
        for id in ["a", "b"] {
            amounts.insert_one(doc! { "_id": id, "written": "by hand" }).await.expect("stored");
        }
        let more = ["--sql", &sql, "--take-over=replace", "--max-offsets-per-trigger", limit];
        // Killed between a document and what remembers that it was replaced, too.
        for step in (0..12).map(|step| 30 + 3 * step) {
            let mut command = pipeline.command("run");
            command.env("ECOMM_BATCH_FAULT", format!("mongodb-command {step} kill"));
            command.args(["--trigger", "available-now", "--checkpoint", &pipeline.checkpoint]);
            command.args(more).args(atomic).output().expect("runs");
        }
        pipeline.succeeds(&[&more[..], atomic].concat());
        for (id, amount) in [("a", "1.00"), ("b", "3.00"), ("c", "4.00")] {
            let found = amounts.find_one(doc! { "_id": id }).await.expect("read").expect("there");
            assert_eq!(found.get("amount").map(ToString::to_string).as_deref(), Some(amount), "{found}");
        }
        assert_eq!(count(&pipeline, "refused", doc! { "reason": "conflict" }).await, 2);
    }
    // A start without the flag ends the replacing, and a later one with it says that it does nothing.
    let lists = || async { mart.list_collection_names().await.expect("listed").join(" ") };
    assert!(lists().await.contains("_ecomm_batch.earlier.amounts"));
    pipeline.succeeds(&["--sql", &sql]);
    assert!(!lists().await.contains("_ecomm_batch.earlier.amounts"));
    let output = pipeline.run(&["--sql", &sql, "--take-over=replace"]);
    assert!(text(&output).contains("its documents are not replaced"), "{}", text(&output));
}

fn order(id: &str, amount: i64, minute: i64) -> String {
    let at = from_now(minute);
    format!(r#"{{"order_id":"{id}","amount":{amount}.00,"created_at":"{at}"}}"#)
}

/// Minutes from now, in UTC.
fn from_now(minutes: i64) -> String {
    rfc3339_ms(SystemClock.now_ms() + minutes * 60_000)
}

async fn send(services: &Services, topic: &str, value: &str) {
    let producer: FutureProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", &services.brokers)
        .create()
        .expect("a producer");
    let record = FutureRecord::<(), str>::to(topic).payload(value);
    producer.send(record, Duration::from_secs(10)).await.expect("sent");
}

/// The shipped SQL with one text in it replaced.
fn changed_sql(folder: &Path, name: &str, file: &str, from: &str, to: &str) -> PathBuf {
    let copied = folder.join(name);
    let status =
        std::process::Command::new("cp").arg("-r").arg("sql").arg(&copied).status().expect("cp runs");
    assert!(status.success());
    let path = copied.join(file);
    let sql = std::fs::read_to_string(&path).expect("read");
    assert!(sql.contains(from), "{sql}");
    std::fs::write(&path, sql.replacen(from, to, 1)).expect("written");
    copied
}

/// An output of dead letters that fails for some: the batch stops at each start, until it is taken on.
async fn sql_that_stops_a_batch(services: &Services) {
    let pipeline = Pipeline::new(services, "stuck");
    pipeline.produce(&NOT_LATE);
    let folder = pipeline.folder.path();
    let broken = changed_sql(
        folder,
        "broken",
        "outputs/dead_letters.sql",
        "    reason,",
        "    reason, 1 / (\"offset\" - \"offset\") AS share,",
    );
    let (broken, limit) = (broken.display().to_string(), ["--max-offsets-per-trigger", "400"]);
    let advice = ["could not be computed", "TRY_CAST or CASE", "start once with --replan"];
    pipeline.fails(2, &advice, &[&["--sql", &broken][..], &limit].concat());
    // The mended SQL alone does not help: the batch has its own.
    pipeline.fails(2, &advice, &limit);
    let check =
        pipeline.command("check").args(["--checkpoint", &pipeline.checkpoint]).output().expect("runs");
    let told = text(&check);
    assert!(check.status.success() && told.contains("output \"dead_letters\" has changed"), "{told}");
    assert!(told.contains("pending: batch 0 stays planned") && told.contains("--replan"), "{told}");
    for fault in ["checkpoint-file 60 kill", "after-sink 0 kill"] {
        let mut command = pipeline.command("run");
        command.env("ECOMM_BATCH_FAULT", fault).args(["--trigger", "available-now", "--replan"]).args(limit);
        is_killed(&command.args(["--checkpoint", &pipeline.checkpoint]).output().expect("runs"));
    }
    // It was taken on: no flag is needed any more.
    pipeline.succeeds(&limit);
    pipeline.succeeds(&[]);
    pipeline.reconciles();
    let verify =
        pipeline.command("checkpoint").args(["verify", &pipeline.checkpoint]).output().expect("runs");
    assert!(text(&verify).contains("sound"), "{}", text(&verify));
}

/// A nullable column comes and goes again; a change that needs another checkpoint is told in words.
fn deploy_that_is_undone(services: &Services) {
    let pipeline = Pipeline::new(services, "undone");
    let folder = pipeline.folder.path();
    let column = changed_sql(
        folder,
        "column",
        "sources/orders.sql",
        "    customer_id VARCHAR,",
        "    customer_id VARCHAR,\n    note VARCHAR,",
    );
    let view = std::fs::read_to_string(column.join("order_payments.sql")).expect("read");
    std::fs::write(
        column.join("order_payments.sql"),
        view.replacen("    o.customer_id,", "    o.customer_id,\n    o.note,", 1),
    )
    .expect("written");
    let column = column.display().to_string();
    let check = |sql: &str| {
        let mut command = pipeline.command("check");
        let output =
            command.args(["--sql", sql, "--checkpoint", &pipeline.checkpoint]).output().expect("runs");
        (output.status.code(), text(&output))
    };
    pipeline.produce(&NOT_LATE);
    pipeline.succeeds(&["--max-offsets-per-trigger", "700"]);
    let (code, told) = check(&column);
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains(
            "safe: rows in state have NULL there:\n  column \"note\" of \"orders\", VARCHAR, is new"
        ),
        "{told}"
    );
    pipeline.produce(&NOT_LATE);
    pipeline.succeeds(&["--sql", &column, "--max-offsets-per-trigger", "700"]);
    let (code, told) = check("sql");
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("column \"note\" of \"orders\" is gone"), "{told}");
    let output = pipeline.run(&[]);
    assert!(output.status.success() && text(&output).contains("the SQL has changed"), "{}", text(&output));

    let wider =
        changed_sql(folder, "wider", "order_payments.sql", "INTERVAL '10 minutes'", "INTERVAL '1 hour'");
    let (code, told) = check(&wider.display().to_string());
    assert_eq!(code, Some(3), "{told}");
    let words = "the right row is 5m before to 1h after its left row; until now the right row is 5m before to 10m after its left row";
    assert!(
        told.contains("needs a new checkpoint:") && told.contains(words) && told.contains("reset"),
        "{told}"
    );
    pipeline.fails(3, &[words, "reset"], &["--sql", &wider.display().to_string()]);
}

/// Payments are silent for longer than any idle timeout, and come then: none is late.
async fn silent_topic(services: &Services) {
    let pipeline = Pipeline::new(services, "silent");
    let sql = changed_sql(
        pipeline.folder.path(),
        "impatient",
        "sources/payments.sql",
        "'watermark.delay' '10 minutes'",
        "'watermark.delay' '1 minute', 'watermark.idle_timeout' '1s'",
    );
    let orders = std::fs::read_to_string(sql.join("sources/orders.sql")).expect("read");
    let orders = orders.replacen(
        "'watermark.delay' '10 minutes'",
        "'watermark.delay' '1 minute', 'watermark.idle_timeout' '1s'",
        1,
    );
    std::fs::write(sql.join("sources/orders.sql"), orders).expect("written");
    let topics = pipeline.command("topics").arg("create").output().expect("runs");
    assert!(text(&topics).contains("orders-silent: created"), "{}", text(&topics));
    let log = pipeline.folder.path().join("log");
    let mut command = pipeline.command("run");
    command.args(["--trigger", "200ms", "--checkpoint", &pipeline.checkpoint, "--sql"]).arg(&sql);
    let mut engine = command.stderr(std::fs::File::create(&log).expect("a log")).spawn().expect("starts");
    let log = || std::fs::read_to_string(&log).expect("a log");
    let payment = |id: &str, order: &str, minute: i64| {
        let at = from_now(minute);
        format!(r#"{{"payment_id":"{id}","order_id":"{order}","amount":5.00,"created_at":"{at}"}}"#)
    };
    send(services, "orders-silent", &order("o-0", 5, -50)).await;
    send(services, "payments-silent", &payment("p-0", "o-0", -50)).await;
    // Half an hour of orders within seconds.
    for number in 1..=30 {
        send(services, "orders-silent", &order(&format!("o-{number}"), 5, number - 45)).await;
    }
    until("the silence is warned of", async || log().contains("payments-silent has been silent since")).await;
    assert!(log().contains("'watermark.source_idle_timeout'"), "{}", log());
    for number in 1..=30 {
        send(
            services,
            "payments-silent",
            &payment(&format!("p-{number}"), &format!("o-{number}"), number - 44),
        )
        .await;
    }
    until("all are paid", async || pipeline.count("validated_orders").await == 31).await;
    terminate(&engine).await;
    assert_eq!(engine.wait().expect("reaped").code(), Some(0), "{}", log());
    assert_eq!(pipeline.count("dead_letters").await, 0);
}

/// The topics were made again, with other records: exit 4, and a reset starts anew.
async fn broker_that_was_reset(services: &Services) {
    let pipeline = Pipeline::new(services, "brokerreset");
    pipeline.produce(&["--count", "500", "--late", "0"]);
    pipeline.succeeds(&[]);
    services.delete_topics(&["orders-brokerreset", "payments-brokerreset"]).await;
    pipeline.produce(&["--count", "800", "--late", "0"]);
    pipeline.fails(4, &["made again", "ecomm-batch reset"], &[]);
    let reset = pipeline.command("reset").args(["--checkpoint", &pipeline.checkpoint, "--yes"]).output();
    let reset = reset.expect("runs");
    assert!(reset.status.success(), "{}", text(&reset));
    pipeline.succeeds(&[]);
    pipeline.reconciles();
}

/// What is found at once leaves nothing behind.
fn start_that_fails(services: &Services) {
    let pipeline = Pipeline::new(services, "nothing");
    let checkpoint = pipeline.folder.path().join("checkpoints/of/nothing");
    let run = |more: &[&str]| {
        let mut command = pipeline.command("run");
        command.args(["--trigger", "available-now", "--checkpoint"]).arg(&checkpoint).args(more);
        command.output().expect("runs")
    };
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("ecomm-batch topics create orders-nothing"), "{}", text(&output));
    let check = pipeline.command("check").arg("--connect").output().expect("runs");
    assert_eq!(check.status.code(), Some(2), "{}", text(&check));
    assert!(text(&check).contains("the topic \"orders-nothing\" does not exist"), "{}", text(&check));
    pipeline.produce(&["--count", "10"]);
    let output = run(&["--starting-offsets", r#"{"orders-nothing":{"7":0}}"#]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let output = run(&["-X", "group.id=mine"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("group.id=mine can't be set"), "{}", text(&output));
    assert!(!pipeline.folder.path().join("checkpoints").exists());
    let output = pipeline.command("run").args(["--trigger", "5"]).output().expect("runs");
    assert!(text(&output).contains("write '5s'"), "{}", text(&output));
}

/// In the order of the README: what is late by then is told apart from what is lost.
async fn first_day(services: &Services) {
    let pipeline = Pipeline::new(services, "first");
    pipeline.produce(&NOT_LATE);
    pipeline.succeeds(&[]);
    pipeline.reconciles();
    // Live, and nobody writes it down.
    let mut producer = pipeline.command("produce").args(["--rate", "500"]).spawn().expect("starts");
    let before = pipeline.count("validated_orders").await;
    until("live orders are paid", async || {
        pipeline.succeeds(&[]);
        pipeline.count("validated_orders").await > before
    })
    .await;
    terminate(&producer).await;
    assert!(producer.wait().expect("reaped").success());
    pipeline.succeeds(&[]);
    let reconcile = |more: &[&str]| {
        let mut command = pipeline.command("reconcile");
        command
            .arg("--ledger")
            .arg(pipeline.ledger())
            .args(["--checkpoint", &pipeline.checkpoint])
            .args(more);
        command.output().expect("runs")
    };
    let report = reconcile(&[]);
    assert!(report.status.success(), "{}", text(&report));
    assert!(text(&report).contains("are of records that the ledger does not know"), "{}", text(&report));
    assert!(!reconcile(&["--exact"]).status.success());
    // Within the delay nothing is late, two hours ago everything is.
    pipeline.produce(&["--count", "300", "--span", "5m", "--late", "0"]);
    pipeline.succeeds(&[]);
    let report = reconcile(&[]);
    assert!(report.status.success(), "{}", text(&report));
    pipeline.produce(&["--count", "300"]);
    pipeline.succeeds(&[]);
    let report = reconcile(&[]);
    assert_eq!(report.status.code(), Some(1), "{}", text(&report));
    assert!(text(&report).contains("is a dead letter: late"), "{}", text(&report));
}
