//! Documents that MongoDB does not take: each alone is a dead letter, in a transaction or not.

use std::process::{Command, Output};

use bson::{Document, doc};
use mongodb::options::{Collation, CollationStrength};

use super::services::{Services, ecomm_batch};

fn command(services: &Services, database: &str, folder: &std::path::Path, arguments: &[&str]) -> Output {
    let mut command: Command = ecomm_batch();
    command
        .args(arguments)
        .env("KAFKA_BROKERS", &services.brokers)
        .env("MONGODB_URI", &services.mongodb)
        .env("ORDERS_TOPIC", "orders-refused")
        .env("PAYMENTS_TOPIC", "payments-refused")
        .env("MONGODB_DATABASE", database);
    if arguments[0] == "run" {
        command.env("ECOMM_BATCH_CHECKPOINT", folder.join("checkpoint"));
    }
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_document_is_refused_alone() {
    let Some(services) = Services::start().await else { return };
    let client = mongodb::Client::with_uri_str(&services.mongodb).await.expect("a client");
    let folder = tempfile::tempdir().expect("a folder");
    command(&services, "plain", folder.path(), &["produce", "--count", "400"]);
    command(&services, "plain", folder.path(), &["run", "--trigger", "available-now"]);
    let plain = client.database("plain").collection::<Document>("validated_orders");
    let ids: Vec<String> = {
        use futures::TryStreamExt;
        let found: Vec<Document> =
            plain.find(doc! {}).await.expect("reads").try_collect().await.expect("documents");
        found.iter().map(|document| document.get_str("_id").expect("an id").to_owned()).collect()
    };
    let (refused, taken, unique) = (&ids[0], &ids[1], &ids[2]);
    for atomic in [false, true] {
        let name = format!("refused_{atomic}");
        let database = client.database(&name);
        database
            .create_collection("validated_orders")
            .validator(doc! { "_id": { "$ne": refused } })
            // Upper and lower case are one to it.
            .collation(Collation::builder().locale("en").strength(CollationStrength::Secondary).build())
            .await
            .expect("made");
        let validated = database.collection::<Document>("validated_orders");
        validated.insert_one(doc! { "_id": taken.to_uppercase(), "somebody": "else" }).await.expect("stored");
        // A unique index of somebody else, met by one document.
        let customer = plain.find_one(doc! { "_id": unique }).await.expect("reads").expect("there");
        let partial = doc! { "_id": unique };
        let index = mongodb::IndexModel::builder()
            .keys(doc! { "order_amount": 1 })
            .options(
                mongodb::options::IndexOptions::builder()
                    .unique(true)
                    .partial_filter_expression(doc! { "$or": [partial, { "_id": "stranger" }] })
                    .build(),
            )
            .build();
        let amount = customer.get("order_amount").cloned();
        let has_index = validated.create_index(index).await.is_ok();
        if has_index {
            let stranger = doc! { "_id": "stranger", "order_amount": amount };
            validated.insert_one(stranger).await.expect("stored");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let mut arguments = vec!["run", "--trigger", "available-now", "--max-offsets-per-trigger", "300"];
        arguments.extend(atomic.then_some("--mongodb-atomic"));
        for _ in 0..2 {
            command(&services, &name, folder.path(), &arguments);
        }
        let letters = database.collection::<Document>("dead_letters");
        let count = async |filter| letters.count_documents(filter).await.expect("counted");
        assert_eq!(count(doc! { "reason": "conflict" }).await, 1, "atomic {atomic}");
        assert_eq!(count(doc! { "reason": "refused" }).await, 1 + u64::from(has_index), "atomic {atomic}");
        let stored = validated.count_documents(doc! { "order_id": { "$exists": true } }).await;
        assert_eq!(stored.expect("counted"), ids.len() as u64 - 2 - u64::from(has_index), "atomic {atomic}");
    }
}

/// Rows of one batch that ask for the same `_id`: the first is stored, each other is a conflict, and a
/// transaction gives the same as documents one by one.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_gives_what_single_documents_give() {
    let Some(services) = Services::start().await else { return };
    let client = mongodb::Client::with_uri_str(&services.mongodb).await.expect("a client");
    let folder = tempfile::tempdir().expect("a folder");
    command(&services, "ids", folder.path(), &["produce", "--count", "150"]);
    let sql = folder.path().join("sql");
    let copied = Command::new("cp").args(["-r", "sql"]).arg(&sql).status().expect("cp runs");
    assert!(copied.success());
    let path = sql.join("outputs/validated_orders.sql");
    let text = std::fs::read_to_string(&path).expect("the shipped SQL");
    let changed = text.replace("'id' 'order_id'", "'id' 'order_date'");
    let changed = changed.replace("WHERE _valid", "WHERE _valid AND order_date IS NOT NULL");
    assert_ne!(text, changed);
    std::fs::write(&path, changed).expect("written");
    let sql = sql.display().to_string();
    let outcomes = [
        stored(&services, &client, "ids_false", &sql, false).await,
        stored(&services, &client, "ids_true", &sql, true).await,
    ];
    let conflicts = outcomes[0].iter().filter(|text| text.contains("\"conflict\"")).count();
    assert!(conflicts > 0, "no two orders of one day");
    assert!(outcomes[0] == outcomes[1], "{:#?}", outcomes);
}

/// Pairs for which the view fails have letters of their own, the same with and without transactions.
#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_fails_is_a_letter_in_a_transaction_too() {
    let Some(services) = Services::start().await else { return };
    let client = mongodb::Client::with_uri_str(&services.mongodb).await.expect("a client");
    let folder = tempfile::tempdir().expect("a folder");
    command(&services, "pairs", folder.path(), &["produce", "--count", "150"]);
    let sql = folder.path().join("sql");
    let copied = Command::new("cp").args(["-r", "sql"]).arg(&sql).status().expect("cp runs");
    assert!(copied.success());
    let path = sql.join("order_payments.sql");
    let text = std::fs::read_to_string(&path).expect("the shipped SQL");
    let failing =
        "SELECT\n    CAST(CASE WHEN p.payment_id LIKE '%7' THEN 'seven' ELSE '1' END AS BIGINT) AS number,\n";
    let changed = text.replacen("SELECT\n", failing, 1);
    assert_ne!(text, changed);
    std::fs::write(&path, changed).expect("written");
    let sql = sql.display().to_string();
    let plain = stored(&services, &client, "pairs_false", &sql, false).await;
    let letters = plain.iter().filter(|text| text.contains("could not be computed for")).count();
    assert!(letters > 1, "no payment ends in 7");
    let atomic = stored(&services, &client, "pairs_true", &sql, true).await;
    assert!(plain == atomic, "{plain:#?} {atomic:#?}");
}

/// What a run of `sql` stores in a database of its own, as sorted texts.
async fn stored(
    services: &Services,
    client: &mongodb::Client,
    name: &str,
    sql: &str,
    atomic: bool,
) -> Vec<String> {
    let checkpoint = tempfile::tempdir().expect("a folder");
    let mut arguments =
        vec!["run", "--trigger", "available-now", "--max-offsets-per-trigger", "40", "--sql", sql];
    arguments.extend(atomic.then_some("--mongodb-atomic"));
    command(services, name, checkpoint.path(), &arguments);
    let mut stored: Vec<String> = Vec::new();
    for collection in ["validated_orders", "rejected_payments", "dead_letters"] {
        use futures::TryStreamExt;
        let found = client.database(name).collection::<Document>(collection).find(doc! {}).await;
        let found: Vec<Document> = found.expect("reads").try_collect().await.expect("documents");
        stored.extend(found.iter().map(|document| format!("{collection} {document}")));
    }
    stored.sort();
    stored
}
