//! What a person gets wrong, and what the engine says to it.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::services::{Services, ecomm_batch, terminate};

/// A password that must not be seen anywhere.
const SENTINEL: &str = "s3ntinel-7f3a";

fn copy_sql(to: &Path) {
    let status = Command::new("cp").args(["-r", "sql"]).arg(to).status().expect("cp runs");
    assert!(status.success());
}

fn run(sql: &Path, checkpoint: &Path, more: &[&str]) -> Output {
    ecomm_batch()
        .args(["run", "--trigger", "once", "--sql"])
        .arg(sql)
        .arg("--checkpoint")
        .arg(checkpoint)
        .args(more)
        .stdin(Stdio::null())
        .output()
        .expect("runs")
}

#[track_caller]
fn refuses(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "\"{word}\" is not in: {text}");
    }
    assert!(
        !text.contains("panicked") && !text.contains("stack backtrace") && !text.contains(SENTINEL),
        "{text}"
    );
}

#[test]
fn sql_that_is_wrong_is_refused_with_file_and_advice() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases: [(&str, &str, &str, &[&str]); 6] = [
        (
            "rules/amount_matches.sql",
            "order_amount = payment_amount",
            "order_amount = payment_amunt",
            &["rules/amount_matches.sql:4:", "payment_amunt"],
        ),
        ("rules/amount_matches.sql", "SELECT", "SELCT", &["rules/amount_matches.sql:3:1", "SELCT"]),
        (
            "rules/amount_positive.sql",
            "payment_amount > 0 AS holds",
            "payment_amount AS holds",
            &["rules/amount_positive.sql", "not a boolean"],
        ),
        (
            "order_payments.sql",
            "AND p.created_at BETWEEN o.created_at - INTERVAL '5 minutes' AND o.created_at + INTERVAL '10 minutes'",
            "",
            &["order_payments.sql", "time bound", "add to ON", "BETWEEN"],
        ),
        (
            "outputs/unpaid_orders.sql",
            "order_id IS NOT NULL\n    AND ",
            "",
            &["outputs/unpaid_orders.sql", "can be NULL", "IS NOT NULL"],
        ),
        (
            "sources/orders.sql",
            "'watermark.delay'",
            "'watermark.dealy'",
            &["sources/orders.sql", "watermark.dealy", "known are"],
        ),
    ];
    for (number, (file, from, to, words)) in cases.into_iter().enumerate() {
        let sql = folder.path().join(format!("sql-{number}"));
        copy_sql(&sql);
        let path = sql.join(file);
        let text = std::fs::read_to_string(&path).expect("the shipped SQL");
        assert!(text.contains(from), "{file} has no \"{from}\"");
        std::fs::write(&path, text.replacen(from, to, 1)).expect("written");
        refuses(&run(&sql, &folder.path().join("checkpoint"), &[]), 2, words);
    }
    let chain =
        format!("SELECT {} > 0 AS holds FROM order_payments", vec!["payment_amount"; 5000].join(" + "));
    let sql = folder.path().join("sql-chain");
    copy_sql(&sql);
    std::fs::write(sql.join("rules/chain.sql"), chain).expect("written");
    refuses(&run(&sql, &folder.path().join("checkpoint"), &[]), 2, &["rules/chain.sql", "operators"]);
    for (name, text) in [
        ("file", "SELECT true AS holds FROM '/etc/passwd.csv'"),
        ("copy", "COPY (SELECT 1) TO 'out.csv'"),
        ("set", "SET datafusion.execution.batch_size = 1"),
    ] {
        let sql = folder.path().join(format!("sql-{name}"));
        copy_sql(&sql);
        std::fs::write(sql.join("rules/reach.sql"), text).expect("written");
        refuses(&run(&sql, &folder.path().join("checkpoint"), &[]), 2, &["rules/reach.sql"]);
    }
}

#[test]
fn a_uri_that_is_wrong_is_refused_without_its_password() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint = folder.path().join("checkpoint");
    for uri in [
        format!("mongo://user:{SENTINEL}@localhost"),
        format!("mongodb://user:{SENTINEL}@local host:port/?x=y"),
    ] {
        refuses(&run(Path::new("sql"), &checkpoint, &["--mongodb", &uri]), 2, &["MongoDB URI"]);
    }
    refuses(
        &run(Path::new("sql"), &checkpoint, &["-X", &format!("sasl.pasword={SENTINEL}")]),
        2,
        &["sasl.pasword"],
    );
    for (flag, value, words) in [
        ("--trigger", "soon", &["--trigger", "available-now"][..]),
        ("--trigger", "1 Month", &["--trigger", "no fixed length", "30 days"]),
        ("--trigger", "5", &["--trigger", "no unit"]),
        ("--starting-offsets", "yesterday", &["--starting-offsets", "2026-01-05T00:00:00Z"]),
        (
            "--starting-offsets",
            "{\"orders\":{\"timestamp\":1767571200000}}",
            &["topic \"orders\"", "no time"],
        ),
    ] {
        let output = ecomm_batch().args(["run", flag, value]).output().expect("runs");
        refuses(&output, 2, words);
    }
    for duration in ["1Y", "2 months"] {
        let output = ecomm_batch().args(["produce", "--duration", duration]).output().expect("runs");
        refuses(&output, 2, &["--duration", "no fixed length"]);
    }
    refuses(&run(&folder.path().join("none"), &checkpoint, &[]), 2, &["none"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_refused_and_a_missing_service_is_waited_for() {
    let Some(services) = Services::start().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint = folder.path().join("checkpoint");
    let (brokers, mongodb) = (services.brokers.clone(), services.mongodb.clone());
    refuses(
        &run(Path::new("sql"), &checkpoint, &["--brokers", &brokers, "--mongodb", &mongodb]),
        2,
        &["topic \"orders\" does not exist", "topics create"],
    );
    // Once the topics are there, the same command works: nothing of the first try is in the way.
    let created = ecomm_batch().args(["topics", "create", "--brokers", &brokers]).status().expect("runs");
    assert!(created.success());
    for _ in 0..2 {
        refuses(&run(Path::new("sql"), &checkpoint, &["--brokers", &brokers, "--mongodb", &mongodb]), 0, &[]);
    }
    for (brokers, mongodb, words) in [
        ("127.0.0.1:1", mongodb.as_str(), "could not reach Kafka at \"127.0.0.1:1\""),
        (brokers.as_str(), &format!("mongodb://user:{SENTINEL}@127.0.0.1:1/"), "MongoDB at \"127.0.0.1:1\""),
    ] {
        let mut child = ecomm_batch()
            .args(["run", "--checkpoint"])
            .arg(folder.path().join("other"))
            .args(["--brokers", brokers, "--mongodb", mongodb])
            .env("MONGODB_DATABASE", "mart_of_the_other")
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        // Longer than the first answer may take: it has said why it waits, and waits.
        tokio::time::sleep(Duration::from_secs(14)).await;
        assert!(child.try_wait().expect("asked").is_none(), "it gave up");
        terminate(&child).await;
        refuses(&child.wait_with_output().expect("reaped"), 0, &[words, "trying again"]);
    }
}
