//! A MongoDB that asks for a password: who may write, what is said to who may not, and where secrets don't go.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use bson::doc;
use ecomm_batch::cli::Shares;
use ecomm_batch::producer::{ProduceSettings, send};
use ecomm_batch::source::kafka::KafkaConfig;
use rdkafka::mocking::MockCluster;

use super::services::{Mongod, ecomm_batch};

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
