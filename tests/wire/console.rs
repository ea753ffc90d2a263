//! The console of an engine that runs, as a browser and a scraper meet it.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use super::http::{ask, log_in, post};
use super::pipeline::Pipeline;
use super::services::{Services, ecomm_batch, free_port, terminate, until};

/// What `console hash-password` prints.
pub fn hash(password: &str) -> String {
    let mut child = ecomm_batch()
        .args(["console", "hash-password"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    writeln!(child.stdin.take().expect("a pipe"), "{password}").expect("written");
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// A file of users: ada may everything, bob may look.
pub fn users(pipeline: &Pipeline<'_>) -> PathBuf {
    let users = pipeline.folder.path().join("users");
    let lines = format!("ada:full:{}\nbob:read:{}\n", hash("correct horse"), hash("battery staple"));
    std::fs::write(&users, lines).expect("written");
    users
}

/// An engine with a console.
fn start(pipeline: &Pipeline<'_>, port: u16, metrics: u16) -> Child {
    let users = users(pipeline);
    pipeline
        .command("run")
        // Longer than who asks for a record's life waits for the engine: it answers while it is idle.
        .args(["--trigger", "3s", "--checkpoint", &pipeline.checkpoint])
        .args(["--console", &format!("127.0.0.1:{port}"), "--metrics", &format!("127.0.0.1:{metrics}")])
        .arg("--console-users")
        .arg(&users)
        .stderr(Stdio::null())
        .spawn()
        .expect("starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_what_the_engine_does() {
    let Some(services) = Services::start().await else { return };
    let pipeline = Pipeline::new(&services, "console");
    pipeline.produce(&["--count", "2000", "--late", "0", "--mismatch", "0.1", "--malformed", "0.05"]);
    let (port, metrics) = (free_port(), free_port());
    let mut engine = start(&pipeline, port, metrics);
    until("the console answers", async || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    let ada = log_in(port, "name=ada&password=correct+horse");
    let bob = log_in(port, "name=bob&password=battery+staple");
    let get = |path: &str| ask(port, "GET", path, &[("Cookie", &ada)], "");
    until("everything is read", async || {
        let text = get("/api/status").body;
        text.contains("\"state\":\"idle\"") && text.contains("Up to date")
    })
    .await;
    assert_eq!(get("/readyz").body, "idle\n");

    // Every page has what it is for.
    let validated = pipeline.count("validated_orders").await;
    for (path, words) in [
        ("/", &["Where every record went", "accounted for"][..]),
        ("/live/overview", &["Last batches", "<svg"]),
        ("/topics", &["orders-console", "read next", "Create a topic"]),
        ("/topics/orders-console/messages?from=newest&n=5", &["batch 0", "order_id"]),
        ("/query", &["CREATE VIEW order_payments", "watermark"]),
        ("/rules", &["amount_matches", "paid "]),
        ("/rules/amount_matches", &["order_amount = payment_amount", "orders-console/"]),
        ("/outcomes", &["validated_orders", "&quot;origins&quot;"]),
        ("/outcomes?kind=malformed", &["s-console/"]),
        ("/checkpoint", &["ecomm-batch checkpoint verify", "done"]),
        ("/checkpoint/0", &["Offsets", "joined"]),
        ("/api/progress", &["\"runId\"", "\"sources\"", "\"numInputRows\""]),
        ("/api/rules", &["amount_matches"]),
    ] {
        let answer = get(path);
        assert_eq!(answer.status, 200, "{path}");
        for word in words {
            assert!(answer.body.contains(word), "\"{word}\" is not in {path}: {}", answer.body);
        }
        assert!(!answer.body.contains("style=\"") && !answer.body.contains("onclick"), "{path}");
    }
    let life = get("/api/record?by=payment_id&value=nobody").body;
    assert!(life.contains("\"state\":[]") && life.contains("\"outputs\":[]"), "{life}");

    // Counters are those of the checkpoint.
    let scraped = ask(metrics, "GET", "/metrics", &[], "");
    let line = format!("ecomm_batch_output_rows_total{{output=\"validated_orders\"}} {validated}\n");
    assert!(scraped.body.contains(&line), "no {line} in {}", scraped.body);
    assert_eq!(ask(metrics, "GET", "/topics", &[], "").status, 404);

    // Who only looks changes nothing; who may, makes a topic.
    let new = "topic=made-by-hand&partitions=2&replication=1";
    assert_eq!(post(port, "/topics", &bob, new).status, 403);
    assert_eq!(post(port, "/topics", &ada, new).status, 303);
    assert!(get("/topics").body.contains("made-by-hand"));
    assert_eq!(post(port, "/logout", &bob, "").status, 303);
    assert_eq!(ask(port, "GET", "/live/overview", &[("Cookie", &bob)], "").status, 401);

    terminate(&engine).await;
    assert!(engine.wait().expect("reaped").success());
    without_an_engine(&pipeline).await;
}

/// What the checkpoint says stands for the engine: the same counts, and every record accounted for.
async fn without_an_engine(pipeline: &Pipeline<'_>) {
    let port = free_port();
    let mut console = pipeline
        .command("console")
        .args(["--checkpoint", &pipeline.checkpoint, "--console", &format!("127.0.0.1:{port}")])
        .arg("--console-users")
        .arg(pipeline.folder.path().join("users"))
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    until("the console answers", async || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    let bob = log_in(port, "name=bob&password=battery+staple");
    let get = |path: &str| ask(port, "GET", path, &[("Cookie", &bob)], "").body;
    until("the checkpoint is read", async || get("/").contains("accounted for")).await;
    assert!(get("/").contains("accounted for <strong class=\"ok-text\">"), "{}", get("/"));
    let validated = pipeline.count("validated_orders").await;
    assert!(
        get("/api/outcomes").contains(&format!("\"validated_orders\":{validated}")),
        "{}",
        get("/api/outcomes")
    );
    assert!(get("/api/status").contains("No engine runs in this process"), "{}", get("/api/status"));
    terminate(&console).await;
    assert!(console.wait().expect("reaped").success());
}
