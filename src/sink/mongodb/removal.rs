//! What a query has stored, to be removed: the collections that the ledger says are its own.

use bson::{Document, doc};
use futures::TryStreamExt;
use mongodb::error::Error as MongoError;

use super::MongoDbSink;
use super::take_over::earlier_name;
use crate::error::Result;

/// A collection that the ledger knows.
#[derive(Clone, Debug)]
pub struct Owned {
    /// Its database.
    pub database: String,
    /// Its name.
    pub collection: String,
    /// The query that it belongs to.
    pub query: String,
    /// How many documents it holds, about.
    pub documents: u64,
}

impl MongoDbSink {
    /// The collections of a database that the ledger names, with their queries.
    pub async fn owned(&self, database: &str) -> Result<Vec<Owned>> {
        let fail = |error: MongoError| self.failed("read the ledger of", database, &error);
        let entries = self.command(self.ledger(database).find(doc! {}).sort(doc! { "_id": 1 })).await?;
        let entries: Vec<Document> = entries.map_err(fail)?.try_collect().await.map_err(fail)?;
        let mut owned = Vec::new();
        for entry in &entries {
            let text = |name: &str| entry.get_str(name).unwrap_or_default().to_owned();
            let collection = text("_id");
            let of_entry = self.client.database(database).collection::<Document>(&collection);
            let documents = self.command(of_entry.estimated_document_count()).await?.map_err(fail)?;
            owned.push(Owned { database: database.to_owned(), collection, query: text("query"), documents });
        }
        Ok(owned)
    }

    /// Removes a collection of a query with its ledger entry, which goes last: an interrupted removal is
    /// taken up by the next one. An engine of the query that is still at work finds a higher epoch, and stops.
    pub async fn remove(&self, owned: &Owned) -> Result<()> {
        let Owned { database, collection, query, .. } = owned;
        let fail = |error: MongoError| self.failed("remove", collection, &error);
        let ledger = self.ledger(database);
        let entry = doc! { "_id": collection, "query": query };
        let fence = ledger.update_one(entry.clone(), doc! { "$inc": { "epoch": 1_i64 } });
        if self.command(fence).await?.map_err(fail)?.matched_count == 0 {
            return Ok(());
        }
        let of_database = self.client.database(database);
        for name in [collection.clone(), earlier_name(collection)] {
            self.command(of_database.collection::<Document>(&name).drop()).await?.map_err(fail)?;
        }
        self.command(ledger.delete_one(entry)).await?.map_err(fail).map(drop)
    }

    /// How many documents of a shared collection carry a query's id.
    pub async fn count_shared(&self, database: &str, collection: &str, query: &str) -> Result<u64> {
        let fail = |error: MongoError| self.failed("count the documents of", collection, &error);
        let of_query = self.client.database(database).collection::<Document>(collection);
        self.command(of_query.count_documents(shared_by(query))).await?.map_err(fail)
    }

    /// Removes the documents of a shared collection that carry a query's id.
    pub async fn remove_shared(&self, database: &str, collection: &str, query: &str) -> Result<()> {
        let fail = |error: MongoError| self.failed("remove documents of", collection, &error);
        let of_query = self.client.database(database).collection::<Document>(collection);
        self.command(of_query.delete_many(shared_by(query))).await?.map_err(fail).map(drop)
    }
}

/// Derived ids of a shared collection begin with the query's id and a colon, which `;` follows.
fn shared_by(query: &str) -> Document {
    doc! { "_id": { "$gte": format!("{query}:"), "$lt": format!("{query};") } }
}
