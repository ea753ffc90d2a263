//! `run`: the settings become a source, a sink and an engine, which runs until it is done or told
//! to stop.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::batch::SinkMode;
use crate::checkpoint::directory::NewFolders;
use crate::checkpoint::{Checkpoint, Location};
use crate::clock::{Clock, SystemClock};
use crate::console::{self, Console, Places};
use crate::engine::{Engine, EngineOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::faults::Faults;
use crate::now::NowCell;
use crate::observe::inspector::{self, Questions};
use crate::observe::progress::BatchProgress;
use crate::observe::terminal::{LiveLines, TerminalForm};
use crate::observe::{About, Telemetry};
use crate::query::Program;
use crate::query::explain::unread_letters;
use crate::query::folder::SqlFolder;
use crate::retry::Patience;
use crate::settings::{RunSettings, default_checkpoint};
use crate::signals::asked_to_stop;
use crate::sink::SharedSink;
use crate::sink::file::FileSink;
use crate::sink::mongodb::{MongoDbOptions, MongoDbSink};
use crate::sink::routed::RoutedSink;
use crate::source::kafka::KafkaSource;
use crate::stdout::say;

/// Runs the program until its trigger is done, or until SIGTERM or SIGINT: then the batch under way
/// is finished and committed. A second SIGINT ends the process at once, with exit code 130.
pub async fn run(settings: RunSettings) -> Result<()> {
    let now = NowCell::default();
    let under_way = now.clone();
    let stopped = asked_to_stop(move || under_way.under_way())?;
    run_until(settings, Patience { stop: stopped, now }, |_| {}).await?;
    Ok(())
}

/// Runs as long as `patience` lasts; `observe` sees each batch. The console, if there is one, goes on until it is
/// dropped.
pub async fn run_until(
    settings: RunSettings,
    patience: Patience,
    observe: impl FnMut(&BatchProgress),
) -> Result<Option<Console>> {
    match run_engine(settings, &patience, observe).await {
        Err(error) if error.kind() == ErrorKind::Unavailable && patience.is_stopping() => {
            tracing::warn!("{error}: the batch under way runs again at the next start");
            Ok(None)
        }
        other => other,
    }
}

async fn run_engine(
    settings: RunSettings,
    patience: &Patience,
    observe: impl FnMut(&BatchProgress),
) -> Result<Option<Console>> {
    let folder = SqlFolder::read(&settings.sql, |name| std::env::var(name).ok())?;
    let program = Arc::new(Program::plan(folder)?);
    let checkpoint = settings.checkpoint.clone().unwrap_or_else(|| default_checkpoint(&program));
    let telemetry = Arc::new(Telemetry::new(
        About {
            program: Arc::clone(&program),
            brokers: settings.kafka.brokers.clone(),
            checkpoint: checkpoint.clone(),
            trigger: settings.trigger,
            started_ms: SystemClock.now_ms(),
        },
        patience.now.clone(),
        Arc::new(SystemClock),
    ));
    let (asker, questions) = inspector::channel();
    let needs_mongodb =
        settings.outputs.is_none() && program.outputs.iter().any(|output| output.target.is_mongodb());
    let places = Places {
        telemetry: Arc::clone(&telemetry),
        asker: Some(asker),
        kafka: settings.kafka.clone(),
        mongodb: needs_mongodb.then(|| settings.mongodb.clone()),
    };
    let console = console::start(&settings.console, places)?;
    let address = console.as_ref().and_then(|console| Some(format!("http://{}", console.address?)));
    if let Some(console) = &console {
        console.tell();
    }
    let lines = LiveLines::new(settings.terminal, Arc::clone(&telemetry), address);
    let refresh = tokio::spawn(lines.clone().refresh());
    let result = open_and_run(settings, program, checkpoint, patience, &telemetry, questions, observe).await;
    refresh.abort();
    lines.clear();
    let why = match &result {
        Ok(()) => "it has done what it was asked for".to_owned(),
        Err(error) => format!("exit {}: {}", error.kind().exit_code(), error.headline()),
    };
    patience.now.stop(why);
    result.map(|()| console)
}

async fn open_and_run(
    settings: RunSettings,
    program: Arc<Program>,
    checkpoint: Location,
    patience: &Patience,
    telemetry: &Telemetry,
    questions: Questions,
    observe: impl FnMut(&BatchProgress),
) -> Result<()> {
    let before = Checkpoint::read_only(&checkpoint)?.patient(patience.clone());
    let metadata = before.metadata().await?;
    let query_id = metadata.map_or_else(|| uuid::Uuid::new_v4().to_string(), |metadata| metadata.query_id);
    // For who looks at the console; what is broken, the engine says when it opens it.
    if settings.console.is_on()
        && let Ok(Some(records)) = before.records().await
    {
        telemetry.preload(&records);
    }
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
        groups: settings.groups,
        replan: settings.replan,
        faults,
    };
    let started = Instant::now();
    let engine =
        Engine::open(program, Arc::new(source), sink, Arc::new(SystemClock), options, patience.clone());
    let result = match engine.await {
        Ok(mut engine) => {
            telemetry.recovered(started.elapsed());
            engine.answer(questions);
            run_to_end(engine, &settings, telemetry, observe).await
        }
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
    telemetry: &Telemetry,
    mut observe: impl FnMut(&BatchProgress),
) -> Result<()> {
    let mut log = settings.progress.as_deref().map(open_progress).transpose()?;
    engine
        .run(settings.trigger, |progress| {
            telemetry.observe(progress);
            if settings.terminal == TerminalForm::Json {
                say!("{}", progress.to_json());
            }
            if let Some(file) = &mut log
                && let Err(error) = writeln!(file, "{}", progress.to_json())
            {
                tracing::warn!("could not write the progress: {error}");
            }
            observe(progress);
        })
        .await
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
