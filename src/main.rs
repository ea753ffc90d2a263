//! Parse, start logging, call the library, turn the error's kind into an exit code.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use ecomm_batch::cli::{Cli, Command};
use ecomm_batch::error::Result;
use ecomm_batch::live::AboveLine;
use ecomm_batch::settings::RunSettings;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(&cli.command);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: could not start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(execute(cli.command));
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.kind().exit_code())
        }
    }
}

async fn execute(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(args) => {
            ecomm_batch::run::run(RunSettings::new(&args)?).await.map(|()| ExitCode::SUCCESS)
        }
        Command::Demo(args) => ecomm_batch::demo::demo(&args).await,
        Command::Produce(args) => ecomm_batch::producer::produce(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Topics(command) => ecomm_batch::topics::execute(command).await.map(|()| ExitCode::SUCCESS),
        Command::Check(args) => ecomm_batch::check::check(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Explain(args) => ecomm_batch::check::explain(&args).map(|()| ExitCode::SUCCESS),
        Command::Test(args) => ecomm_batch::case::test(&args).await,
        Command::Checkpoint(command) => ecomm_batch::inspect::checkpoint(command).await,
        Command::State(args) => ecomm_batch::inspect::state(&args).await.map(|()| ExitCode::SUCCESS),
        Command::Reconcile(args) => ecomm_batch::reconcile::reconcile(&args).await,
    }
}

fn start_logging(command: &Command) {
    let default = if matches!(command, Command::Run(_)) { "info" } else { "warn" };
    // The MongoDB driver and librdkafka say nothing below a warning that a person could use.
    let filter = EnvFilter::try_from_env("ECOMM_BATCH_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("warn,ecomm_batch={default}")));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| AboveLine)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    match command {
        Command::Run(args) if args.log_format == "json" => builder.json().init(),
        _ => builder.init(),
    }
}
