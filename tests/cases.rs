//! Case files: behaviour as data, through the real engine without services.

use std::path::Path;

use ecomm_batch::case;

/// Every case of a folder holds.
async fn all_hold(folder: &Path, groups: &[u32]) {
    let paths = case::discover(folder).expect("case files");
    let mut failures = Vec::new();
    let mut programs = case::Programs::new();
    for path in &paths {
        if let Err(failure) = case::run(path, Path::new("sql"), &mut programs, groups).await {
            failures.push(failure.to_string());
        }
    }
    assert!(
        failures.is_empty(),
        "with {groups:?} groups {} of {} cases fail:\n{}",
        failures.len(),
        paths.len(),
        failures.join("\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn all_cases_hold() {
    all_hold(Path::new("tests/cases"), &[1]).await;
}

/// Into how many key groups a batch falls is nobody's business; not even that of a batch that is run again.
#[tokio::test(flavor = "multi_thread")]
async fn all_cases_hold_with_any_number_of_key_groups() {
    for groups in [&[3][..], &[8], &[8, 1, 3]] {
        all_hold(Path::new("tests/cases"), groups).await;
    }
}

/// A runner that can't fail would prove nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_expectation_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let sql = std::path::absolute("tests/cases/sql/left-after-5m").expect("a path");
    let head = format!(
        "sql {}\norders {{\"order_id\":\"K1\",\"amount\":2.00,\"created_at\":\"2026-01-05T00:01:00Z\"}}\n\
         payments {{\"payment_id\":\"P1\",\"order_id\":\"K1\",\"amount\":6.00,\"created_at\":\"2026-01-05T00:02:00Z\"}}\ntrigger\n",
        sql.display()
    );
    for (expectation, message) in [
        ("expect joined {\"order_id\":\"K1\",\"payment_id\":\"P1\"}\nexpect nothing else", None),
        ("expect joined {\"order_id\":\"K2\"}", Some("expected in joined")),
        ("expect joined {\"order_id\":\"K1\",\"order_amount\":2.01}", Some("expected in joined")),
        (
            "expect joined {\"order_id\":\"K1\"}\nexpect joined {\"order_id\":\"K1\"}",
            Some("expected in joined"),
        ),
        ("expect joined nothing", Some("not expected in joined")),
        ("expect nothing else", Some("not expected in joined")),
        ("expect watermark 2026-01-05T00:00:00Z", Some("expected watermark")),
        ("expect state orders 2", Some("expected 2 rows")),
        ("crash after-sink\ntrigger", Some("crash point was not reached")),
        ("refuse time", Some("it was accepted")),
    ] {
        let path = folder.path().join("a.case");
        std::fs::write(&path, format!("{head}{expectation}\n")).expect("written");
        let outcome = case::run(&path, Path::new("sql"), &mut case::Programs::new(), &[1])
            .await
            .err()
            .map(|failure| failure.to_string());
        match message {
            None => assert_eq!(outcome, None),
            Some(message) => assert!(
                outcome.as_deref().is_some_and(|text| text.contains(message)),
                "{expectation}: {outcome:?}"
            ),
        }
    }
}
