//! Reading MongoDB for people: few documents, and no longer than they wait.

use std::time::Duration;

use bson::{Bson, Document, doc};
use futures::TryStreamExt;
use mongodb::Client;
use mongodb::options::{FindOptions, ReadConcern, SelectionCriteria};

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

    /// The documents that were stored last, as far as the server can tell, as text.
    pub(super) async fn newest(
        &self,
        database: &str,
        collection: &str,
        filter: Document,
    ) -> std::result::Result<Vec<String>, String> {
        self.find(database, collection, filter, Some(doc! { "$natural": -1 })).await
    }

    /// The documents whose field `name` has this text or number, as text.
    pub(super) async fn with_field(
        &self,
        database: &str,
        collection: &str,
        name: &str,
        value: &str,
    ) -> std::result::Result<Vec<String>, String> {
        let mut values = vec![Bson::String(value.to_owned())];
        values.extend(value.parse::<i64>().ok().map(Bson::Int64));
        self.find(database, collection, doc! { name: { "$in": values } }, None).await
    }

    /// The dead letters of records with this key, as text.
    pub(super) async fn with_key(
        &self,
        database: &str,
        collection: &str,
        key: &str,
    ) -> std::result::Result<Vec<String>, String> {
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
    ) -> std::result::Result<Vec<String>, String> {
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
        Ok(found.iter().map(ToString::to_string).collect())
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
