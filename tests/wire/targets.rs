//! Collections that can't hold each document once, and URIs that would read from a secondary.

use std::path::Path;
use std::process::Output;

use bson::{Document, doc};
use ecomm_batch::cli::Shares;
use ecomm_batch::mock::produce::{ProduceSettings, send};
use ecomm_batch::source::kafka::KafkaConfig;

use super::services::{Services, ecomm_batch};

fn run(services: &Services, database: &str, uri: &str, checkpoint: &Path) -> Output {
    ecomm_batch()
        .args(["run", "--trigger", "available-now", "--brokers", &services.brokers, "--mongodb", uri])
        .arg("--checkpoint")
        .arg(checkpoint)
        .env("ORDERS_TOPIC", "orders-targets")
        .env("PAYMENTS_TOPIC", "payments-targets")
        .env("MONGODB_DATABASE", database)
        .output()
        .expect("runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn only_plain_collections_are_filled_and_the_primary_is_read() {
    let Some(services) = Services::start().await else { return };
    let settings = ProduceSettings {
        kafka: KafkaConfig::new(&services.brokers, Default::default()),
        rate: None,
        count: Some(50),
        span: std::time::Duration::from_secs(3600),
        seed: 1,
        shares: Shares::NONE,
        orders_topic: "orders-targets".to_owned(),
        payments_topic: "payments-targets".to_owned(),
    };
    for topic in [&settings.orders_topic, &settings.payments_topic] {
        ecomm_batch::source::topics::create(&settings.kafka, topic, 3, 1).await.expect("made");
    }
    send(settings, tokio::sync::watch::channel(false).1, false).await.expect("produced");
    let client = mongodb::Client::with_uri_str(&services.mongodb).await.expect("a client");
    let folder = tempfile::tempdir().expect("a folder");
    for (name, create, words) in [
        (
            "series",
            doc! { "create": "validated_orders", "timeseries": { "timeField": "order_date" } },
            "is a time series collection",
        ),
        (
            "capped",
            doc! { "create": "validated_orders", "capped": true, "size": 1_000_000 },
            "is a capped collection",
        ),
        ("view", doc! { "create": "validated_orders", "viewOn": "others", "pipeline": [] }, "is a view"),
    ] {
        client.database(name).run_command(create).await.expect("made");
        for _ in 0..2 {
            let refused = run(&services, name, &services.mongodb, &folder.path().join(name));
            let stderr = String::from_utf8_lossy(&refused.stderr);
            assert_eq!(refused.status.code(), Some(6), "{stderr}");
            let place = format!("\"{name}.validated_orders\" {words}");
            assert!(stderr.contains(&place) && stderr.contains("LOCATION"), "{stderr}");
        }
        let checked = ecomm_batch()
            .args(["check", "--connect", "--brokers", &services.brokers, "--mongodb", &services.mongodb])
            .env("ORDERS_TOPIC", "orders-targets")
            .env("PAYMENTS_TOPIC", "payments-targets")
            .env("MONGODB_DATABASE", name)
            .output()
            .expect("runs");
        assert_eq!(checked.status.code(), Some(6), "{}", String::from_utf8_lossy(&checked.stderr));
        // Once it is out of the way, the same command works.
        client.database(name).collection::<Document>("validated_orders").drop().await.expect("dropped");
        let ran = run(&services, name, &services.mongodb, &folder.path().join(name));
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
    // The set has no secondary: whatever would read from one waits in vain.
    let uri = format!("{}&readPreference=secondary&serverSelectionTimeoutMS=2000", services.mongodb);
    let checkpoint = folder.path().join("secondary");
    for _ in 0..2 {
        let ran = run(&services, "secondary", &uri, &checkpoint);
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
    let validated = client.database("secondary").collection::<Document>("validated_orders");
    assert!(validated.count_documents(doc! {}).await.expect("counted") > 0);
}
