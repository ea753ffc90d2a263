//! Reading MongoDB for people: few documents, and no longer than they wait.

use std::time::Duration;

use bson::{Bson, Document, doc};
use futures::TryStreamExt;
use mongodb::Client;
use mongodb::options::{FindOptions, ReadConcern, SelectionCriteria};

use super::page::bytes_as_text;
use crate::batch::offset::TopicPartition;
use crate::clock::rfc3339_ms;
use crate::error::Result;
use crate::sink::mongodb::client_of_primary;

/// For how long the server looks.
const MAX_TIME: Duration = Duration::from_millis(500);

/// For how long the console waits for the server.
const PATIENCE: Duration = Duration::from_secs(2);

/// Documents of one answer.
const MAX_DOCUMENTS: i64 = 20;

/// A client of its own.
pub(super) struct Documents {
    client: Client,
    hosts: String,
}

impl Documents {
    /// Connects in the background.
    ///
    /// # Errors
    /// [`Config`](crate::error::ErrorKind::Config): not a MongoDB URI.
    pub(super) async fn connect(uri: &str) -> Result<Self> {
        let (client, hosts) = client_of_primary(uri).await?;
        Ok(Self { client, hosts })
    }

    /// The documents that were stored last, as far as the server can tell.
    pub(super) async fn newest(
        &self,
        database: &str,
        collection: &str,
        filter: Document,
    ) -> std::result::Result<Vec<Document>, String> {
        self.find(database, collection, filter, Some(doc! { "$natural": -1 })).await
    }

    /// The documents whose field `name` has this text or number.
    pub(super) async fn with_field(
        &self,
        database: &str,
        collection: &str,
        name: &str,
        value: &str,
    ) -> std::result::Result<Vec<Document>, String> {
        let mut values = vec![Bson::String(value.to_owned())];
        values.extend(value.parse::<i64>().ok().map(Bson::Int64));
        self.find(database, collection, doc! { name: { "$in": values } }, None).await
    }

    /// The dead letters of records with this key.
    pub(super) async fn with_key(
        &self,
        database: &str,
        collection: &str,
        key: &str,
    ) -> std::result::Result<Vec<Document>, String> {
        let bytes =
            bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: key.as_bytes().to_vec() };
        self.find(database, collection, doc! { "key": bytes }, None).await
    }

    async fn find(
        &self,
        database: &str,
        collection: &str,
        filter: Document,
        sort: Option<Document>,
    ) -> std::result::Result<Vec<Document>, String> {
        let collection = self.client.database(database).collection::<Document>(collection);
        let options = FindOptions::builder()
            .limit(MAX_DOCUMENTS)
            .max_time(MAX_TIME)
            .sort(sort)
            .read_concern(ReadConcern::majority())
            .selection_criteria(SelectionCriteria::ReadPreference(mongodb::options::ReadPreference::Primary))
            .build();
        let read = async {
            collection.find(filter).with_options(options).await?.try_collect::<Vec<Document>>().await
        };
        let found = match tokio::time::timeout(PATIENCE, read).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(self.problem(&error.to_string())),
            Err(_) => return Err(self.problem("it did not answer in time")),
        };
        Ok(found)
    }

    fn problem(&self, error: &str) -> String {
        let why = match error.contains("MaxTimeMSExpired") || error.contains("operation exceeded time limit")
        {
            true => "not looked further: there is no index for this question, and the collection is large",
            false => error,
        };
        format!("MongoDB at \"{}\": {why}", self.hosts)
    }
}

/// The positions of records that a document names: an object with `topic`, `partition` and `offset`, as `_origins` and
/// dead letters have them, whatever the output calls its columns.
pub(super) fn positions(document: &Document) -> Vec<(TopicPartition, i64)> {
    let mut found = Vec::new();
    let integer = |name: &str| match document.get(name) {
        Some(Bson::Int32(number)) => Some(i64::from(*number)),
        Some(Bson::Int64(number)) => Some(*number),
        _ => None,
    };
    if let (Ok(topic), Some(partition), Some(offset)) =
        (document.get_str("topic"), integer("partition"), integer("offset"))
        && let Ok(partition) = i32::try_from(partition)
    {
        found.push((TopicPartition::new(topic, partition), offset));
    }
    for value in document.values() {
        match value {
            Bson::Document(inner) => found.extend(positions(inner)),
            Bson::Array(items) => {
                found.extend(items.iter().filter_map(Bson::as_document).flat_map(positions))
            }
            _ => {}
        }
    }
    found
}

/// A document as people read it: JSON, with times, decimals and bytes as text; what machines get says which they are.
pub(super) fn text(document: &Document) -> String {
    let mut text = String::new();
    write_object(&mut text, document);
    text
}

fn write_object(text: &mut String, document: &Document) {
    text.push('{');
    for (number, (name, value)) in document.iter().enumerate() {
        if number > 0 {
            text.push_str(", ");
        }
        text.push_str(&quoted(name));
        text.push_str(": ");
        write_value(text, value);
    }
    text.push('}');
}

fn write_value(text: &mut String, value: &Bson) {
    match value {
        Bson::Document(document) => write_object(text, document),
        Bson::Array(items) => {
            text.push('[');
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    text.push_str(", ");
                }
                write_value(text, item);
            }
            text.push(']');
        }
        Bson::String(value) => text.push_str(&quoted(value)),
        Bson::DateTime(time) => text.push_str(&quoted(&rfc3339_ms(time.timestamp_millis()))),
        Bson::Binary(binary) => text.push_str(&quoted(&bytes_as_text(&binary.bytes))),
        other => text.push_str(&other.to_string()),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_found_by_their_shape() {
        let document = doc! {
            "topic": "payments", "partition": 2, "offset": 7_i64, "reason": "late",
            "behind": [{ "topic": "orders", "partition": 0, "offset": 5 }, { "topic": "orders" }, 1],
        };
        let expected = [(TopicPartition::new("payments", 2), 7), (TopicPartition::new("orders", 0), 5)];
        assert_eq!(positions(&document), expected);
    }

    #[test]
    fn documents_are_read_by_people() {
        let bytes = |bytes: &[u8]| bson::Binary {
            subtype: bson::spec::BinarySubtype::Generic,
            bytes: bytes.to_vec(),
        };
        let document = doc! {
            "_id": "p-\"9\"",
            "amount": Bson::Decimal128("12.50".parse().expect("a decimal")),
            "count": 9_007_199_254_740_993_i64,
            "at": bson::DateTime::from_millis(1_767_609_064_020),
            "rules": [{ "rule": "amount_matches", "holds": false, "detail": Bson::Null }],
            "value": bytes(b"{\"a\":1}"),
            "key": bytes(b"\xff"),
        };
        assert_eq!(
            text(&document),
            r#"{"_id": "p-\"9\"", "amount": 12.50, "count": 9007199254740993, "at": "2026-01-05T10:31:04.020Z", "rules": [{"rule": "amount_matches", "holds": false, "detail": null}], "value": "{\"a\":1}", "key": "00000000  ff                                               ."}"#
        );
    }
}
