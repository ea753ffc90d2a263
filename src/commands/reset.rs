//! `reset`: removes a pipeline's checkpoint and what it stored in MongoDB, so that it starts anew.
//!
//! The collections go first, each with its ledger entry, then the checkpoint: interrupted anywhere, the same
//! command goes on where it was. What belongs to another query is left alone and named.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use crate::checkpoint::{Checkpoint, Location};
use crate::cli::ResetArgs;
use crate::error::Result;
use crate::faults::Faults;
use crate::query::Program;
use crate::query::folder::SqlFolder;
use crate::query::output::{Output, SinkTarget};
use crate::settings::{default_checkpoint, mongodb_uri};
use crate::sink::mongodb::{MongoDbOptions, MongoDbSink, Owned};
use crate::stdout::say;

/// What is there, sorted into what goes and what stays.
struct Plan {
    /// How many files the checkpoint has; nothing if there is no checkpoint.
    files: Option<usize>,
    /// Collections that go, with their ledger entries.
    collections: Vec<Owned>,
    /// Of shared collections: database, collection, query, how many documents go.
    shared: Vec<(String, String, String, u64)>,
    /// What stays, and why.
    left: Vec<String>,
}

/// Shows what it would remove; with `--yes` removes it.
pub async fn reset(args: &ResetArgs) -> Result<ExitCode> {
    let program = Program::plan(SqlFolder::read(&args.pipeline.sql, |name| std::env::var(name).ok())?)?;
    let location = args.pipeline.checkpoint.clone().unwrap_or_else(|| default_checkpoint(&program));
    let checkpoint = Checkpoint::read_only(&location)?;
    // One that has lost it is what an interrupted reset leaves.
    let metadata = checkpoint.metadata().await?;
    let mut queries: BTreeSet<String> = args.query.iter().cloned().collect();
    queries.extend(metadata.map(|metadata| metadata.query_id));
    let databases: BTreeSet<&str> = program.outputs.iter().filter_map(database).collect();
    let faults = Arc::new(Faults::of_process()?);
    let sink = match databases.is_empty() {
        true => None,
        false => {
            let options = MongoDbOptions { faults: Arc::clone(&faults), ..MongoDbOptions::default() };
            Some(MongoDbSink::connect(&mongodb_uri(&args.mongodb)?.0, options).await?)
        }
    };
    let files = checkpoint.files().await?.len();
    let mut plan = Plan {
        files: (files > 0 || checkpoint.is_own_folder()).then_some(files),
        collections: Vec::new(),
        shared: Vec::new(),
        left: Vec::new(),
    };
    if let Some(sink) = &sink {
        plan.collections(sink, &databases, &queries).await?;
        plan.shared(sink, &program, &queries).await?;
    }
    plan.left.extend(program.outputs.iter().filter_map(left_files));
    plan.tell(&location, &queries, args.yes);
    if plan.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if !args.yes {
        say!("nothing was removed: add --yes to do it");
        return Ok(ExitCode::SUCCESS);
    }
    let checkpoint = match plan.files {
        None => None,
        Some(_) => {
            // An engine that is at work keeps everything, or finds out that the checkpoint is no longer its own.
            let mut checkpoint = Checkpoint::open(&location, faults)?;
            checkpoint.claim().await?;
            Some(checkpoint)
        }
    };
    if let Some(sink) = &sink {
        for owned in &plan.collections {
            sink.remove(owned).await?;
            say!("removed {}.{}", owned.database, owned.collection);
        }
        for (database, collection, query, _) in &plan.shared {
            sink.remove_shared(database, collection, query).await?;
            say!("removed the documents of query {query} from {database}.{collection}");
        }
    }
    if let Some(checkpoint) = &checkpoint {
        checkpoint.remove().await?;
        say!("removed {location}");
    }
    say!("done: the next `run` starts anew");
    Ok(ExitCode::SUCCESS)
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.files.is_none() && self.collections.is_empty() && self.shared.is_empty()
    }

    /// What the ledgers say is a query's own, and of the program's collections what is not.
    async fn collections(
        &mut self,
        sink: &MongoDbSink,
        databases: &BTreeSet<&str>,
        queries: &BTreeSet<String>,
    ) -> Result<()> {
        for database in databases {
            for owned in sink.owned(database).await? {
                if queries.contains(&owned.query) {
                    self.collections.push(owned);
                    continue;
                }
                self.left.push(format!(
                    "{database}.{} belongs to query {}: `--query {}` removes what is that one's",
                    owned.collection, owned.query, owned.query
                ));
            }
        }
        Ok(())
    }

    /// Documents of shared collections, told by their ids.
    async fn shared(
        &mut self,
        sink: &MongoDbSink,
        program: &Program,
        queries: &BTreeSet<String>,
    ) -> Result<()> {
        for output in &program.outputs {
            let SinkTarget::MongoDb { database, collection, shared: true } = &output.target else { continue };
            if !output.id.is_empty() {
                self.left.push(format!(
                    "{database}.{collection} is shared, and its declared ids do not tell whose a document is"
                ));
                continue;
            }
            for query in queries {
                let count = sink.count_shared(database, collection, query).await?;
                if count > 0 {
                    self.shared.push((database.clone(), collection.clone(), query.clone(), count));
                }
            }
        }
        Ok(())
    }

    fn tell(&self, location: &Location, queries: &BTreeSet<String>, yes: bool) {
        if self.is_empty() {
            say!("nothing to remove: no checkpoint at \"{location}\", no collections of its query");
        } else {
            let whose = queries.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            say!("{} (query {whose}):", if yes { "removing" } else { "this would be removed" });
        }
        for owned in &self.collections {
            let Owned { database, collection, documents, .. } = owned;
            say!("  {database}.{collection}: {documents} documents, and its ledger entry");
        }
        for (database, collection, query, count) in &self.shared {
            say!("  {database}.{collection}, shared: the {count} documents of query {query}");
        }
        if let Some(files) = self.files {
            say!("  checkpoint {location}: {files} files");
        }
        if !self.left.is_empty() {
            say!("left alone:");
        }
        for left in &self.left {
            say!("  {left}");
        }
    }
}

fn database(output: &Output) -> Option<&str> {
    match &output.target {
        SinkTarget::MongoDb { database, .. } => Some(database),
        _ => None,
    }
}

fn left_files(output: &Output) -> Option<String> {
    match &output.target {
        SinkTarget::MongoDb { .. } => None,
        SinkTarget::Files { location, .. } => Some(format!(
            "the files of output \"{}\" in {location}: a new run begins with batch 0 there, so move them away",
            output.name
        )),
    }
}
