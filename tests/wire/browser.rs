//! The console in a real browser, on an engine that works off a backlog with every kind of trouble in it.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bson::doc;
use ecomm_batch::clock::{Clock, SystemClock, rfc3339_ms};
use rdkafka::producer::{FutureProducer, FutureRecord};

use super::pipeline::{Pipeline, text};
use super::services::{Services, free_port, installed, terminate, until};

/// Offsets of a batch, so that the backlog lasts longer than the look at it.
const PACE: &str = "100";

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_sees_everything() {
    let Some(services) = Services::start().await else { return };
    let Some(browser) = installed("BROWSER", "browser-1") else {
        assert!(std::env::var("CI").is_err(), "in CI a skip is a failure: run tests/services/install.sh");
        eprintln!("SKIPPED: no browser (BROWSER): run tests/services/install.sh");
        return;
    };
    let pipeline = Pipeline::new(&services, "browser");
    let created = pipeline.command("topics").arg("create").output().expect("runs");
    assert!(created.status.success(), "{}", text(&created));
    poison(&pipeline).await;
    pipeline.produce(&["--count", "20000", "--late", "0.01", "--mismatch", "0.1", "--malformed", "0.02"]);

    // An engine with users; and a console without engine, with a link.
    let (port, alone) = (free_port(), free_port());
    let users = super::console::users(&pipeline);
    let mut engine = pipeline
        .command("run")
        .args(["--trigger", "1s", "--max-offsets-per-trigger", PACE, "--checkpoint", &pipeline.checkpoint])
        .args(["--console", &format!("127.0.0.1:{port}"), "--console-users"])
        .arg(users)
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    until("something is stored", async || pipeline.count("validated_orders").await > 0).await;
    let alone = format!("127.0.0.1:{alone}");
    let mut console = pipeline
        .command("console")
        .args(["--checkpoint", &pipeline.checkpoint, "--console", &alone])
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let mut link = String::new();
    until("there is a link", async || {
        let output = pipeline.command("console").args(["link", "--console", &alone]).output().expect("runs");
        link = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success()
    })
    .await;

    let pictures = Path::new(env!("CARGO_TARGET_TMPDIR")).join("console");
    std::fs::create_dir_all(&pictures).expect("a folder");
    let tour = Command::new("node")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/tour.mjs"))
        .args([
            &format!("http://127.0.0.1:{port}"),
            &engine.id().to_string(),
            &link,
            &paid_order(&pipeline).await,
        ])
        .arg(&pictures)
        .env("BROWSER", browser)
        .output()
        .expect("node runs");
    assert!(tour.status.success(), "{}", text(&tour));
    println!("{}pictures: {}", String::from_utf8_lossy(&tour.stdout), pictures.display());

    // The last that the tour did was to kill the engine.
    assert_eq!(engine.wait().expect("reaped").signal(), Some(9));
    terminate(&console).await;
    assert!(console.wait().expect("reaped").success());
}

/// An order that was paid.
async fn paid_order(pipeline: &Pipeline<'_>) -> String {
    let document = pipeline.collection("validated_orders").await.find_one(doc! {}).await.expect("asked");
    document.and_then(|document| Some(document.get_str("order_id").ok()?.to_owned())).expect("an order")
}

/// What would do something on a page that takes it for its own: a pair that a rule rejects, and no JSON.
async fn poison(pipeline: &Pipeline<'_>) {
    let producer: FutureProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", &pipeline.services.brokers)
        .create()
        .expect("a client");
    let script = "<script>alert(1)</script>";
    // Two hours ago, as the first of what `produce` sends.
    let at = rfc3339_ms(SystemClock.now_ms() - 7_200_000);
    let order = format!(
        r#"{{"order_id":"{script}","order_date":"2026-01-05","created_at":"{at}","customer_id":"<img src=x onerror=alert(1)>","amount":12.50}}"#
    );
    let payment = format!(
        r#"{{"payment_id":"\u202E</pre>{script}","order_id":"{script}","payment_date":"2026-01-05","created_at":"{at}","amount":12.49}}"#
    );
    let malformed = format!("</script>{script}<svg/onload=alert(1)>");
    for (topic, value) in [("orders", &order), ("payments", &payment), ("payments", &malformed)] {
        let topic = format!("{topic}-{}", pipeline.name);
        let record = FutureRecord::to(&topic).key(script).payload(value);
        producer.send(record, Duration::from_secs(10)).await.expect("sent");
    }
}
