//! `console`: the console alone, on topics, checkpoint and collections; its link; hashes for its users.

use std::sync::Arc;
use std::time::Duration;

use crate::batch::trigger::Trigger;
use crate::checkpoint::Checkpoint;
use crate::cli::{ConsoleCommand, ConsoleCommandArgs};
use crate::clock::{Clock, SystemClock};
use crate::console::settings::ConsoleSettings;
use crate::console::users::hash_password;
use crate::console::{Places, link, start};
use crate::error::{Error, Result};
use crate::now::NowCell;
use crate::observe::{About, Telemetry};
use crate::query::Program;
use crate::query::folder::SqlFolder;
use crate::settings::{default_checkpoint, kafka_config, mongodb_uri};
use crate::signals::asked_to_stop;
use crate::stdout::say;

/// How often the checkpoint is read again.
const READ_EVERY: Duration = Duration::from_secs(5);

/// Runs a `console` command.
pub async fn execute(args: ConsoleCommandArgs) -> Result<()> {
    match &args.command {
        Some(ConsoleCommand::Link { console }) => link::print(console),
        Some(ConsoleCommand::HashPassword) => print_hash(),
        None => alone(&args).await,
    }
}

fn print_hash() -> Result<()> {
    let mut password = String::new();
    std::io::stdin()
        .read_line(&mut password)
        .map_err(|source| Error::config("no password could be read from stdin").because(source))?;
    say!("{}", hash_password(password.trim_end_matches(['\r', '\n']))?);
    Ok(())
}

/// The console without an engine, until it is asked to stop: what the checkpoint says stands for the engine.
async fn alone(args: &ConsoleCommandArgs) -> Result<()> {
    let mut stopped = asked_to_stop(|| "the console".to_owned())?;
    let settings = ConsoleSettings::new(&args.console, |name| std::env::var(name).ok())?;
    let folder = SqlFolder::read(&args.pipeline.sql, |name| std::env::var(name).ok())?;
    let program = Arc::new(Program::plan(folder)?);
    let kafka = kafka_config(&args.kafka)?;
    let checkpoint = args.pipeline.checkpoint.clone().unwrap_or_else(|| default_checkpoint(&program));
    let needs_mongodb = program.outputs.iter().any(|output| output.target.is_mongodb());
    let now = NowCell::default();
    now.absent();
    let telemetry = Arc::new(Telemetry::new(
        About {
            program,
            brokers: kafka.brokers.clone(),
            checkpoint: checkpoint.clone(),
            trigger: Trigger::Once,
            started_ms: SystemClock.now_ms(),
        },
        now,
        Arc::new(SystemClock),
    ));
    let places = Places {
        telemetry: Arc::clone(&telemetry),
        asker: None,
        kafka,
        mongodb: needs_mongodb.then(|| mongodb_uri(&args.mongodb)).transpose()?,
    };
    let Some(console) = start(&settings, places)?.filter(|console| console.address.is_some()) else {
        return Err(
            Error::config("there is no console to run").advise("give a free port: --console 127.0.0.1:PORT")
        );
    };
    console.tell();
    let mut ticks = tokio::time::interval(READ_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.wait_for(|stop| *stop) => return Ok(()),
        }
        match Checkpoint::read_only(&checkpoint)?.records().await {
            Ok(Some(records)) => telemetry.preload(&records),
            Ok(None) => {}
            Err(error) => tracing::warn!("{error}"),
        }
    }
}
