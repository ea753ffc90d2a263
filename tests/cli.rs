//! The command line as a person and a script meet it: output, exit codes, pipes.

use std::process::Stdio;

use super::wire::{ecomm_batch, terminate};

#[test]
fn check_says_what_it_planned_and_what_to_know() {
    let output = ecomm_batch().args(["check", "--sql", "sql"]).output().expect("runs");
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("sql: 2 sources, 4 rules, 5 outputs: planned\n"), "{text}");
    assert!(
        text.contains("note: MongoDB stores times in milliseconds, rounded down: dead_letters"),
        "{text}"
    );
    assert!(output.stderr.is_empty());
}

/// A difference from PostgreSQL on purpose is said where it is used.
#[test]
fn check_notes_where_a_result_may_surprise() {
    let noted = |expression: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        write(
            "t.sql",
            "CREATE UNBOUNDED EXTERNAL TABLE t (id VARCHAR NOT NULL, at TIMESTAMP NOT NULL, amount DECIMAL(18, 2), \
             qty BIGINT, PRIMARY KEY (id)) STORED AS KAFKA LOCATION 't' \
             OPTIONS ('watermark.column' 'at', 'watermark.delay' '10 minutes');",
        );
        write("rule.sql", &format!("SELECT {expression} AS holds FROM t;"));
        write(
            "out.sql",
            "CREATE EXTERNAL TABLE o STORED AS JSON LOCATION 'o'; INSERT INTO o SELECT id FROM t;",
        );
        write(
            "letters.sql",
            "CREATE EXTERNAL TABLE d STORED AS JSON LOCATION 'd'; INSERT INTO d SELECT reason FROM dead_letters;",
        );
        let output = ecomm_batch().args(["check", "--sql"]).arg(folder.path()).output().expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    for (expression, note) in [
        ("CAST(amount AS INT) = 12", "CAST to a whole number drops the fraction"),
        ("qty / 2 > 1", "a quotient of whole numbers is whole"),
        ("id < 'K5'", "texts are ordered by their bytes"),
    ] {
        let notes = noted(expression);
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].starts_with(&format!("note: rule rule: {note}")), "{notes:?}");
    }
    assert_eq!(noted("amount = 12.40 AND qty = 2 AND id = 'K1'"), Vec::<String>::new());
}

/// `ecomm-batch explain | head -1`
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child =
        ecomm_batch().arg("explain").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_case_that_fails_is_named_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("wrong.case");
    let message = r#"orders {"order_id":"K1","amount":1.00,"created_at":"2026-01-05T00:01:00Z"}"#;
    std::fs::write(&path, format!("{message}\ntrigger\nexpect validated_orders {{\"order_id\":\"K1\"}}\n"))
        .expect("written");
    let output = ecomm_batch().arg("test").arg(&path).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("wrong.case:3: expected in validated_orders"), "{text}");
    assert!(text.ends_with("0 passed, 1 failed\n"), "{text}");

    let output = ecomm_batch().arg("test").arg(folder.path().join("none")).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
}

/// A silence is told once, not with each batch that it holds.
#[test]
fn a_silent_source_is_warned_of_once() {
    let warnings = |case: &str| {
        let path = format!("tests/cases/watermark/{case}.case");
        let output = ecomm_batch().args(["test", "-v", &path]).output().expect("runs");
        assert!(output.status.success());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let warnings = text.lines().filter_map(|line| Some(line.split_once(" WARN ")?.1.to_owned()));
        warnings.filter(|warning| warning.contains("silent")).collect::<Vec<_>>()
    };
    assert_eq!(
        warnings("silent-source"),
        [
            "payments has been silent since 2026-01-05T06:00:00Z: the watermark waits for its records, which would \
          be late if it went on; to let it go on without them after a time, set 'watermark.source_idle_timeout' in \
          the source's OPTIONS"
        ]
    );
    // Of two silent sources, one at a time, and never while both are.
    let of_both = warnings("silent-both");
    assert_eq!(of_both.len(), 1, "{of_both:?}");
    assert!(of_both[0].starts_with("orders has been silent since 2026-01-05T06:00:00Z"), "{of_both:?}");
    // Let go at once.
    assert_eq!(warnings("idle-source"), [""; 0]);
}

#[test]
fn what_clap_refuses_has_the_exit_code_of_configuration() {
    for arguments in [&["run", "--no-such-flag"][..], &["walk"], &["run", "--retain-batches", "many"]] {
        assert_eq!(
            ecomm_batch().args(arguments).output().expect("runs").status.code(),
            Some(2),
            "{arguments:?}"
        );
    }
}

/// It has not even found its broker.
#[tokio::test]
async fn a_signal_at_the_start_is_heeded() {
    let folder = tempfile::tempdir().expect("a folder");
    let child = ecomm_batch()
        .args(["run", "--brokers", "127.0.0.1:1", "--mongodb", "mongodb://127.0.0.1:1", "--checkpoint"])
        .arg(folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    terminate(&child).await;
    let output = child.wait_with_output().expect("reaped");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("stopping: the batch under way is finished first"), "{text}");
}
