//! The MongoDB that was given: what it is, what it lets the user do, and which collections are there.

use std::time::Duration;

use bson::{Document, doc};
use mongodb::Client;
use mongodb::error::{Error as MongoError, ErrorKind as MongoErrorKind};
use mongodb::options::{ClientOptions, ReadPreference, SelectionCriteria, WriteConcern};

use super::MongoDbSink;
use crate::error::{Error, ErrorKind, Result};

#[derive(Debug)]
pub(super) enum Topology {
    ReplicaSet(String),
    Sharded,
    Standalone,
}

impl MongoDbSink {
    /// Asks the deployment what it is, and whether the user may write to `targets`: databases with their
    /// collections, which may not be there yet; a line for people.
    ///
    /// # Errors
    /// [`Sink`](ErrorKind::Sink) names the right that is missing, or the collection that can't be filled.
    pub async fn check(&self, targets: &[(&str, &str)]) -> Result<String> {
        const ACTIONS: [&str; 5] = ["find", "insert", "update", "createCollection", "listCollections"];
        let admin = self.client.database("admin");
        let fail = |error: MongoError| self.failed("ask about", "admin", &error);
        let kind = match self.topology().await? {
            Topology::ReplicaSet(name) => format!("replica set \"{name}\""),
            Topology::Sharded => "sharded cluster".to_owned(),
            Topology::Standalone => {
                "standalone server (a replica set is safer: its writes survive the loss of a node)".to_owned()
            }
        };
        let status =
            admin.run_command(doc! { "connectionStatus": 1, "showPrivileges": true }).await.map_err(fail)?;
        let list = |name: &str| -> Vec<Document> {
            let info = status.get_document("authInfo").ok();
            let array = info.and_then(|info| info.get_array(name).ok());
            array.into_iter().flatten().filter_map(|item| item.as_document().cloned()).collect()
        };
        let privileges = list("authenticatedUserPrivileges");
        let is_anonymous = list("authenticatedUsers").is_empty();
        let may = |database: &str, action: &str| {
            privileges.iter().any(|privilege| {
                let covers = privilege.get_document("resource").is_ok_and(|resource| {
                    resource.get_str("db").is_ok_and(|db| db.is_empty() || db == database)
                        && resource.get_str("collection").is_ok_and(str::is_empty)
                        || resource.get_bool("anyResource").unwrap_or(false)
                });
                let actions = privilege.get_array("actions").ok();
                covers
                    && actions
                        .is_some_and(|actions| actions.iter().any(|known| known.as_str() == Some(action)))
            })
        };
        for (database, _) in targets.iter().filter(|_| !is_anonymous) {
            if let Some(action) = ACTIONS.iter().find(|action| !may(database, action)) {
                return Err(Error::new(
                    ErrorKind::Sink,
                    format!("the user of the MongoDB URI has no right to {action} in \"{database}\""),
                )
                .advise("grant the user readWrite on the database"));
            }
        }
        for (database, collection) in targets {
            self.is_there(database, collection).await?;
        }
        let who = if is_anonymous { "no login" } else { "the user may write" };
        Ok(format!("MongoDB at {}: {kind}, {who}", self.hosts))
    }

    /// What kind of deployment it is.
    pub(super) async fn topology(&self) -> Result<Topology> {
        let hello = self
            .command(self.client.database("admin").run_command(doc! { "hello": 1 }))
            .await?
            .map_err(|error| self.failed("ask about", "admin", &error))?;
        Ok(match hello.get_str("setName") {
            Ok(name) => Topology::ReplicaSet(name.to_owned()),
            Err(_) if hello.get_str("msg").is_ok_and(|message| message == "isdbgrid") => Topology::Sharded,
            Err(_) => Topology::Standalone,
        })
    }

    /// As [`Self::topology`].
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if it has no transactions, and they are asked for.
    pub(super) async fn deployment(&self) -> Result<Topology> {
        let topology = self.topology().await?;
        if self.options.atomic && matches!(topology, Topology::Standalone) {
            return Err(Error::config(format!(
                "--mongodb-atomic needs transactions, and MongoDB at \"{}\" is a standalone server",
                self.hosts
            ))
            .advise("make it a replica set (one node is enough), or leave the option out"));
        }
        Ok(topology)
    }

    /// Whether the collection is there; what can't hold each document once, for good, is refused.
    pub(super) async fn is_there(&self, database: &str, collection: &str) -> Result<bool> {
        let list = doc! { "listCollections": 1, "filter": { "name": collection } };
        let listed = self.command(self.client.database(database).run_command(list)).await?;
        let listed = listed.map_err(|error| self.failed("ask about the collection", collection, &error))?;
        let found = listed.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch")).ok();
        match found.and_then(|found| found.first()?.as_document()) {
            Some(found) => refuse_kind(database, collection, found).map(|()| true),
            None => Ok(false),
        }
    }

    /// Makes the collection if it is not there.
    pub(super) async fn create(&self, database: &str, collection: &str) -> Result<()> {
        if self.is_there(database, collection).await? {
            return Ok(());
        }
        match self.command(self.client.database(database).create_collection(collection)).await? {
            // 48: somebody was faster.
            Err(error) if matches!(error.kind.as_ref(), MongoErrorKind::Command(command) if command.code == 48) => {
                self.is_there(database, collection).await.map(drop)
            }
            Err(error) => Err(self.failed("create the collection", collection, &error)),
            Ok(()) => Ok(()),
        }
    }
}

/// A client of `uri`, and its hosts; connects in the background.
///
/// # Errors
/// [`Config`](ErrorKind::Config): not a MongoDB URI. The URI itself is never repeated.
pub async fn client_of_primary(uri: &str) -> Result<(Client, String)> {
    // The driver's message may hold the URI, and the URI a password.
    let bad = || {
        Error::config("the MongoDB URI can't be used")
            .advise("write mongodb://user:password@host:27017/?authSource=admin, with special characters percent-encoded")
    };
    let mut options = ClientOptions::parse(uri).await.map_err(|_| bad())?;
    let hosts = options.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    options.app_name = Some("ecomm-batch".to_owned());
    options.server_selection_timeout.get_or_insert(Duration::from_secs(5));
    options.write_concern = Some(WriteConcern::majority());
    // A secondary may lag: claims, stored documents and results are read where they are written.
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    Ok((Client::with_options(options).map_err(|_| bad())?, hosts))
}

/// Refuses what listCollections describes, unless it is a plain collection.
fn refuse_kind(database: &str, collection: &str, found: &Document) -> Result<()> {
    let is_capped = found.get_document("options").is_ok_and(|o| o.get_bool("capped").unwrap_or(false));
    let (kind, why) = match found.get_str("type").unwrap_or_default() {
        "timeseries" => {
            ("a time series collection", "has no unique _id: a replay would double its documents")
        }
        "view" => ("a view", "can't be written to"),
        _ if is_capped => ("a capped collection", "removes its oldest documents by itself"),
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::Sink, format!("\"{database}.{collection}\" is {kind}, which {why}"))
        .advise("choose another LOCATION, or drop it: a plain collection is made by itself"))
}
