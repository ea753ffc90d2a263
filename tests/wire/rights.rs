//! A MongoDB that asks for a password: who may write, what is said to who may not, and where secrets don't go.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use bson::doc;
use ecomm_batch::cli::Shares;
use ecomm_batch::mock::produce::{ProduceSettings, send};
use ecomm_batch::source::kafka::KafkaConfig;
use rdkafka::mocking::MockCluster;

use super::http::{PAGES, ask, log_in};
use super::services::{Mongod, ecomm_batch, free_port, until};

/// A password that must not be seen anywhere, with a character that a URI has to encode.
const SENTINEL: &str = "s3ntinel-%4091c2";

struct Pipeline {
    brokers: String,
    mongodb: String,
    folder: tempfile::TempDir,
}

impl Pipeline {
    fn uri(&self, user: &str, password: &str) -> String {
        format!("mongodb://{user}:{password}@{}/?authSource=admin", self.mongodb)
    }

    fn command(&self, arguments: &[&str], uri: &str) -> Output {
        let mut command = ecomm_batch();
        command.args(arguments).args(["--brokers", &self.brokers]).env("MONGODB_URI", uri);
        command.env("ECOMM_BATCH_LOG", "trace");
        if arguments[0] == "run" {
            command.arg("--checkpoint").arg(self.folder.path().join("checkpoint"));
        }
        let output = command.output().expect("runs");
        assert!(!holds_secret(&output.stdout) && !holds_secret(&output.stderr), "{}", text(&output));
        output
    }
}

fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The password as it is written, as it is meant, and in base64.
fn holds_secret(bytes: &[u8]) -> bool {
    use base64::Engine;
    let meant = SENTINEL.replace("%40", "@");
    let encoded = base64::engine::general_purpose::STANDARD.encode(&meant);
    [SENTINEL.as_bytes(), meant.as_bytes(), encoded.trim_end_matches('=').as_bytes()]
        .iter()
        .any(|secret| bytes.windows(secret.len()).any(|window| window == *secret))
}

fn files_below(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files_below(&path, files) } else { files.push(path) }
    }
}

/// A hundred orders; the mock broker has its topics already.
async fn produce(brokers: &str) {
    let settings = ProduceSettings {
        kafka: KafkaConfig::new(brokers, BTreeMap::new()),
        rate: None,
        count: Some(100),
        span: Duration::from_secs(3600),
        seed: 1,
        shares: Shares::NONE,
        orders_topic: "orders".to_owned(),
        payments_topic: "payments".to_owned(),
    };
    send(settings, tokio::sync::watch::channel(false).1, false).await.expect("produces");
}

/// Every page, every answer for machines and the log, while MongoDB is there and when it is gone.
async fn a_console_tells_no_secret(pipeline: &Pipeline, uri: &str, mongod: Mongod) {
    let meant = SENTINEL.replace("%40", "@");
    let (port, log) = (free_port(), pipeline.folder.path().join("log"));
    let kafka = pipeline.folder.path().join("kafka.properties");
    std::fs::write(&kafka, format!("sasl.username=writer\nsasl.password={meant}\n")).expect("written");
    let mut engine = ecomm_batch()
        .args(["run", "--trigger", "1s", "--brokers", &pipeline.brokers])
        .arg("--kafka-config")
        .arg(kafka)
        .arg("--checkpoint")
        .arg(pipeline.folder.path().join("checkpoint"))
        .args(["--console", &format!("127.0.0.1:{port}")])
        .env("MONGODB_URI", uri)
        .env("ECOMM_BATCH_CONSOLE_PASSWORD_HASH", super::console::hash(&meant))
        .env("ECOMM_BATCH_LOG", "trace")
        .stderr(std::fs::File::create(&log).expect("a file"))
        .spawn()
        .expect("starts");
    until("the console answers", async || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
    let cookie = log_in(port, "name=admin&password=s3ntinel-%4091c2");
    let get = |path: &str| ask(port, "GET", path, &[("Cookie", &cookie)], "");
    let look = || {
        for path in PAGES {
            let answer = get(path);
            assert_eq!(answer.status, 200, "{path}");
            assert!(
                !holds_secret(answer.head.as_bytes()) && !holds_secret(answer.body.as_bytes()),
                "{path}: {}",
                answer.body
            );
            assert!(!answer.body.contains("argon2id"), "{path}: {}", answer.body);
        }
    };
    until("the engine is at work", async || get("/api/status").body.contains("Up to date")).await;
    look();
    drop(mongod);
    produce(&pipeline.brokers).await;
    until("it waits for MongoDB", async || get("/api/status").body.contains("Waiting for MongoDB")).await;
    look();
    engine.kill().expect("killed");
    engine.wait().expect("reaped");
    let log = std::fs::read(&log).expect("a log");
    assert!(log.len() > 10_000, "trace says much");
    assert!(!holds_secret(&log), "{}", String::from_utf8_lossy(&log));
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_asked_for_and_passwords_stay_secret() {
    let Some(mongod) = Mongod::start_with_auth() else { return };
    let meant = SENTINEL.replace("%40", "@");
    let admin = mongod.create_admin("admin", &meant).await;
    for (user, role) in [("writer", "readWrite"), ("reader", "read")] {
        let command =
            doc! { "createUser": user, "pwd": &meant, "roles": [{ "role": role, "db": "ecomm_mart" }] };
        admin.database("admin").run_command(command).await.expect("a user");
    }
    let cluster = MockCluster::new(1).expect("a broker");
    for topic in ["orders", "payments"] {
        cluster.create_topic(topic, 3, 1).expect("a topic");
    }
    let pipeline = Pipeline {
        brokers: cluster.bootstrap_servers(),
        mongodb: mongod.address.clone(),
        folder: tempfile::tempdir().expect("a folder"),
    };
    let writer = pipeline.uri("writer", SENTINEL);

    let checked = pipeline.command(&["check", "--connect"], &writer);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked));
    for part in ["topic \"orders\"", "3 partitions", "standalone server", "the user may write"] {
        assert!(text(&checked).contains(part), "no \"{part}\" in {}", text(&checked));
    }
    let refused = pipeline.command(&["check", "--connect"], &pipeline.uri("reader", SENTINEL));
    assert_eq!(refused.status.code(), Some(6), "{}", text(&refused));
    assert!(
        text(&refused).contains("no right to insert") && text(&refused).contains("readWrite"),
        "{}",
        text(&refused)
    );

    for (user, password, advice) in [("writer", "wrong", "authSource"), ("reader", SENTINEL, "readWrite")] {
        let refused = pipeline.command(&["run", "--trigger", "once"], &pipeline.uri(user, password));
        assert_eq!(refused.status.code(), Some(6), "{}", text(&refused));
        assert!(text(&refused).contains(advice), "{}", text(&refused));
    }

    produce(&pipeline.brokers).await;
    let ran = pipeline.command(&["run", "--trigger", "once"], &writer);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran));
    let validated = admin.database("ecomm_mart").collection::<bson::Document>("validated_orders");
    assert!(validated.count_documents(doc! {}).await.expect("counted") > 50);

    a_console_tells_no_secret(&pipeline, &writer, mongod).await;

    let mut files = Vec::new();
    files_below(&pipeline.folder.path().join("checkpoint"), &mut files);
    assert!(files.len() > 4);
    for file in files {
        use std::os::unix::fs::PermissionsExt;
        assert!(!holds_secret(&std::fs::read(&file).expect("a file")), "{}", file.display());
        let mode = file.metadata().expect("a file").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} can be read by others", file.display());
    }
}
