//! `check` and `explain`: what a SQL folder means, before anything runs.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use crate::checkpoint::{Checkpoint, Location};
use crate::cli::{CheckArgs, ExplainArgs};
use crate::engine::resume;
use crate::error::{ErrorKind, Result};
use crate::query::Program;
use crate::query::change::Effect;
use crate::query::explain::{explain as in_words, notes};
use crate::query::folder::SqlFolder;
use crate::query::output::SinkTarget;
use crate::ranges::missing_topic;
use crate::settings::{kafka_config, mongodb_uri};
use crate::sink::mongodb::{MongoDbOptions, MongoDbSink};
use crate::source::Source;
use crate::source::kafka::KafkaSource;
use crate::stdout::say;

/// `check`: plans everything; with `--connect` also asks the broker and MongoDB.
pub async fn check(args: &CheckArgs) -> Result<ExitCode> {
    let program = Arc::new(plan(&args.sql)?);
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
    let fits = match &args.checkpoint {
        Some(checkpoint) => compare(checkpoint, &program).await?,
        None => true,
    };
    if args.connect {
        connect(args, &program).await?;
    }
    Ok(if fits { ExitCode::SUCCESS } else { ExitCode::from(ErrorKind::Checkpoint.exit_code()) })
}

/// Tells what each difference between the SQL folder and a checkpoint's SQL does; whether the checkpoint
/// can be gone on with.
async fn compare(location: &Location, program: &Arc<Program>) -> Result<bool> {
    let checkpoint = Checkpoint::read_only(location)?;
    let Some(found) = checkpoint.recover().await? else {
        say!("checkpoint \"{location}\": new, everything starts with this SQL");
        return Ok(true);
    };
    let changes = resume::changes(&checkpoint, &found, program, false).await?;
    let count = changes.len();
    say!("checkpoint \"{location}\": {count} change{} of the SQL", if count == 1 { "" } else { "s" });
    for effect in [Effect::NewCheckpoint, Effect::NullInState, Effect::NextBatch] {
        let of_effect: Vec<_> = changes.iter().filter(|change| change.effect == effect).collect();
        if !of_effect.is_empty() {
            say!("{effect}:");
        }
        for change in of_effect {
            say!("  {}", change.what);
        }
    }
    if let Some(plan) = found.pending.first().filter(|plan| plan.program != program.hash) {
        say!("pending: {}", resume::way_out(plan.id));
    }
    let fits = changes.iter().all(|change| change.effect != Effect::NewCheckpoint);
    if !fits {
        say!("undo the change, or {}", Effect::NEW_CHECKPOINT);
    }
    Ok(fits)
}

/// Asks the broker and MongoDB.
async fn connect(args: &CheckArgs, program: &Program) -> Result<()> {
    let kafka = kafka_config(&args.kafka)?;
    let topics = program.sources.iter().map(|source| Arc::clone(&source.topic));
    let extents = KafkaSource::new(&kafka, topics, "ecomm-batch-check")?.extents().await?;
    for source in &program.sources {
        let of_topic = || extents.iter().filter(|(tp, _)| tp.topic == source.topic);
        if of_topic().next().is_none() {
            return Err(missing_topic(&source.topic));
        }
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
