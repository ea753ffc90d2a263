//! `check` and `explain`: what a SQL folder means, before anything runs.

use std::path::Path;
use std::sync::Arc;

use crate::cli::{CheckArgs, ExplainArgs};
use crate::error::Result;
use crate::query::Program;
use crate::query::explain::{explain as in_words, notes};
use crate::query::folder::SqlFolder;
use crate::query::output::SinkTarget;
use crate::settings::{kafka_config, mongodb_uri};
use crate::sink::mongodb::{MongoDbOptions, MongoDbSink};
use crate::source::Source;
use crate::source::kafka::KafkaSource;
use crate::stdout::say;

/// `check`: plans everything; with `--connect` also asks the broker and MongoDB.
pub async fn check(args: &CheckArgs) -> Result<()> {
    let program = plan(&args.sql)?;
    say!(
        "{}: {} sources, {} rules, {} outputs: planned",
        args.sql.display(),
        program.sources.len(),
        program.rules.len(),
        program.outputs.len()
    );
    for note in notes(&program) {
        say!("note: {note}");
    }
    if !args.connect {
        return Ok(());
    }
    let kafka = kafka_config(&args.kafka)?;
    let topics = program.sources.iter().map(|source| Arc::clone(&source.topic));
    let extents = KafkaSource::new(&kafka, topics, "ecomm-batch-check")?.extents().await?;
    for source in &program.sources {
        let of_topic = || extents.iter().filter(|(tp, _)| tp.topic == source.topic);
        let offsets: i64 = of_topic().map(|(_, extent)| extent.latest - extent.earliest).sum();
        say!(
            "topic \"{}\" at {}: {} partitions, {offsets} offsets",
            source.topic,
            kafka.brokers,
            of_topic().count()
        );
    }
    let targets: Vec<(&str, &str)> = program
        .outputs
        .iter()
        .filter_map(|output| match &output.target {
            SinkTarget::MongoDb { database, collection, .. } => {
                Some((database.as_str(), collection.as_str()))
            }
            _ => None,
        })
        .collect();
    if !targets.is_empty() {
        let uri = mongodb_uri(&args.mongodb)?;
        say!("{}", MongoDbSink::connect(&uri.0, MongoDbOptions::default()).await?.check(&targets).await?);
    }
    Ok(())
}

/// `explain`: prints the program in plain words.
pub fn explain(args: &ExplainArgs) -> Result<()> {
    say!("{}", in_words(&plan(&args.sql)?));
    Ok(())
}

fn plan(sql: &Path) -> Result<Program> {
    Program::plan(SqlFolder::read(sql, |name| std::env::var(name).ok())?)
}
