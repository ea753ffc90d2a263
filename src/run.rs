//! `run`: the settings become a source, a sink and an engine, which runs until it is done or told
//! to stop.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use crate::batch::SinkMode;
use crate::checkpoint::directory::NewFolders;
use crate::checkpoint::{Checkpoint, Location};
use crate::clock::SystemClock;
use crate::engine::{Engine, EngineOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::faults::Faults;
use crate::live::LiveLine;
use crate::progress::BatchProgress;
use crate::query::Program;
use crate::query::explain::unread_letters;
use crate::query::folder::SqlFolder;
use crate::settings::{RunSettings, default_checkpoint};
use crate::signals::asked_to_stop;
use crate::sink::SharedSink;
use crate::sink::file::FileSink;
use crate::sink::mongodb::{MongoDbOptions, MongoDbSink};
use crate::sink::routed::RoutedSink;
use crate::source::kafka::KafkaSource;

/// Runs the program until its trigger is done, or until SIGTERM or SIGINT: then the batch under way
/// is finished and committed. A second SIGINT ends the process at once, with exit code 130.
pub async fn run(settings: RunSettings) -> Result<()> {
    let stopped = asked_to_stop("the batch under way")?;
    run_until(settings, stopped, |_| {}).await
}

/// Runs until `stopped` says so; `observe` sees each batch.
pub async fn run_until(
    settings: RunSettings,
    stopped: watch::Receiver<bool>,
    observe: impl FnMut(&BatchProgress),
) -> Result<()> {
    match run_engine(settings, &stopped, observe).await {
        Err(error) if error.kind() == ErrorKind::Unavailable && *stopped.borrow() => {
            tracing::warn!("{error}: the batch under way runs again at the next start");
            Ok(())
        }
        other => other,
    }
}

async fn run_engine(
    settings: RunSettings,
    stopped: &watch::Receiver<bool>,
    observe: impl FnMut(&BatchProgress),
) -> Result<()> {
    let folder = SqlFolder::read(&settings.sql, |name| std::env::var(name).ok())?;
    let program = Arc::new(Program::plan(folder)?);
    let checkpoint = settings.checkpoint.clone().unwrap_or_else(|| default_checkpoint(&program));
    let query_id = known_query_id(&checkpoint, stopped).await?;
    let query_id = query_id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let source = KafkaSource::new(
        &settings.kafka,
        program.sources.iter().map(|source| Arc::clone(&source.topic)),
        &format!("ecomm-batch-{query_id}"),
    )?;
    let faults = Arc::new(Faults::of_process()?);
    let sink = connect_sink(&settings, &program, &faults).await?;
    tracing::info!(
        "starting: sql={} checkpoint={} trigger={:?} brokers={} outputs={}",
        settings.sql.display(),
        checkpoint,
        settings.trigger,
        settings.kafka.brokers,
        program.outputs.iter().map(|output| output.name.as_str()).collect::<Vec<_>>().join(",")
    );
    if let Some(note) = unread_letters(&program) {
        tracing::warn!("{note}");
    }
    let new_folders = match &checkpoint {
        Location::Folder(root) => Some(NewFolders::of(root)),
        Location::Bucket(_) => None,
    };
    let options = EngineOptions {
        checkpoint,
        new_query_id: query_id,
        max_offsets_per_trigger: settings.max_offsets_per_trigger,
        starting_offsets: settings.starting_offsets.clone(),
        fail_on_data_loss: settings.fail_on_data_loss,
        retain_batches: settings.retain_batches,
        sink_mode: if settings.mongodb_atomic { SinkMode::Atomic } else { SinkMode::Idempotent },
        replan: settings.replan,
        faults,
    };
    let engine =
        Engine::open(program, Arc::new(source), sink, Arc::new(SystemClock), options, stopped.clone());
    let result = match engine.await {
        Ok(engine) => run_to_end(engine, &settings, observe).await,
        Err(error) => Err(error),
    };
    if let (Err(_), Some(new_folders)) = (&result, new_folders) {
        new_folders.remove_unused()?;
    }
    result
}

async fn run_to_end(
    mut engine: Engine,
    settings: &RunSettings,
    mut observe: impl FnMut(&BatchProgress),
) -> Result<()> {
    let mut log = settings.progress.as_deref().map(open_progress).transpose()?;
    let live = LiveLine::new();
    let result = engine
        .run(settings.trigger, |progress| {
            live.show(progress);
            if let Some(file) = &mut log
                && let Err(error) = writeln!(file, "{}", progress.to_json())
            {
                tracing::warn!("could not write the progress: {error}");
            }
            observe(progress);
        })
        .await;
    live.clear();
    result
}

/// The query's id if the checkpoint has one already; read without the lock.
async fn known_query_id(checkpoint: &Location, stopped: &watch::Receiver<bool>) -> Result<Option<String>> {
    let metadata = Checkpoint::read_only(checkpoint)?.patient(stopped.clone()).metadata().await?;
    Ok(metadata.map(|metadata| metadata.query_id))
}

async fn connect_sink(settings: &RunSettings, program: &Program, faults: &Arc<Faults>) -> Result<SharedSink> {
    if let Some(folder) = &settings.outputs {
        return Ok(Arc::new(FileSink::all_under(folder)));
    }
    let needs_mongodb = program.outputs.iter().any(|output| output.target.is_mongodb());
    let mongodb = if needs_mongodb {
        let options = MongoDbOptions {
            take_over: settings.take_over,
            atomic: settings.mongodb_atomic,
            faults: Arc::clone(faults),
        };
        Some(MongoDbSink::connect(&settings.mongodb.0, options).await?)
    } else {
        None
    };
    Ok(Arc::new(RoutedSink { mongodb, files: FileSink::default() }))
}

fn open_progress(path: &Path) -> Result<std::fs::File> {
    std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(|source| {
        Error::config(format!("could not write the progress to \"{}\"", path.display())).because(source)
    })
}
