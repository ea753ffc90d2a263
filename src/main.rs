//! Parse, start logging, call the library, turn the error's kind into an exit code.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use ecomm_batch::cli::{Cli, Command};
use ecomm_batch::commands;
use ecomm_batch::observe::terminal::AboveLine;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let is_json = start_logging(&cli.command);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: could not start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(commands::execute(cli.command));
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => {
            let exit_code = error.kind().exit_code();
            match is_json {
                true => tracing::error!(exit_code, kind = ?error.kind(), "{error}"),
                false => eprintln!("error: {error}"),
            }
            ExitCode::from(exit_code)
        }
    }
}

/// Whether lines are JSON: then each has its fields; as text they are in its words.
fn start_logging(command: &Command) -> bool {
    let default = match command {
        Command::Run(args) if args.quiet => "warn",
        Command::Run(_) | Command::Console(_) => "info",
        Command::Test(args) if args.verbose => "info",
        // What a case lets happen is what it expects.
        Command::Test(_) => "error",
        _ => "warn",
    };
    // The MongoDB driver and librdkafka say nothing below a warning that a person could use.
    let filter = EnvFilter::try_from_env("ECOMM_BATCH_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("warn,ecomm_batch={default}")));
    let is_json = matches!(command, Command::Run(args) if args.log_format == "json");
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| AboveLine)
        .with_ansi(
            std::io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        )
        .with_target(false);
    match is_json {
        true => builder.json().flatten_event(true).init(),
        false => builder.fmt_fields(format::debug_fn(only_message)).init(),
    }
    is_json
}

fn only_message(
    writer: &mut format::Writer<'_>,
    field: &Field,
    value: &dyn std::fmt::Debug,
) -> std::fmt::Result {
    match field.name() {
        "message" => write!(writer, "{value:?}"),
        _ => Ok(()),
    }
}
