//! What was typed becomes a call of the library, and its result what is printed: a file for each subcommand.

mod check;
mod console;
mod demo;
mod inspect;
mod reset;
mod run;
mod topics;

use std::process::ExitCode;

use crate::case::test;
use crate::cli::Command;
use crate::error::Result;
use crate::mock::produce::produce;
use crate::mock::reconcile::reconcile;
use crate::settings::RunSettings;

/// Runs a subcommand; its exit code where it is done without an error.
pub async fn execute(command: Command) -> Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Run(args) => run::run(RunSettings::new(&args)?).await.map(done),
        Command::Console(args) => console::execute(args).await.map(done),
        Command::Demo(args) => demo::demo(&args).await,
        Command::Produce(args) => produce(&args).await.map(done),
        Command::Topics(command) => topics::execute(command).await.map(done),
        Command::Check(args) => check::check(&args).await,
        Command::Explain(args) => check::explain(&args).map(done),
        Command::Test(args) => test(&args).await,
        Command::Checkpoint(command) => inspect::checkpoint(command).await,
        Command::State(args) => inspect::state(&args).await.map(done),
        Command::Reset(args) => reset::reset(&args).await,
        Command::Reconcile(args) => reconcile(&args).await,
    }
}
