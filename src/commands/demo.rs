//! `demo`: the whole pipeline in one process, without any service, compared with the ledger.
//!
//! An in-process Kafka-protocol broker (librdkafka's mock cluster), the producer, and the engine
//! with the shipped SQL, which writes its outputs as files.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rdkafka::mocking::MockCluster;
use tokio::sync::watch;

use super::run::run_until;
use crate::batch::trigger::Trigger;
use crate::checkpoint::Location;
use crate::cli::{DemoArgs, Shares};
use crate::console::settings::ConsoleSettings;
use crate::error::{Error, Result};
use crate::mock::produce::{ProduceSettings, send};
use crate::mock::reconcile::{Scope, compare, documents_of_files, waiting};
use crate::observe::terminal::TerminalForm;
use crate::ranges::StartingOffsets;
use crate::secret::MongoDbUri;
use crate::settings::RunSettings;
use crate::source::kafka::KafkaConfig;
use crate::stdout::say;

/// How long the producer takes.
const PRODUCE_SECONDS: u64 = 15;

/// Shares of trouble, larger than `produce` has them, so that each kind is seen.
const SHARES: Shares = Shares {
    mismatch: 0.02,
    unpaid: 0.03,
    orphan: 0.01,
    duplicate: 0.01,
    late: 0.005,
    malformed: 0.005,
    early: 0.01,
    paid_twice: 0.01,
};

/// Runs the demo; exit code 1 if anything came out otherwise than the ledger says.
pub async fn demo(args: &DemoArgs) -> Result<ExitCode> {
    let folder = demo_folder(args.folder.as_deref())?;
    let (outputs, checkpoint, ledger_file) =
        (folder.join("outputs"), Location::Folder(folder.join("checkpoint")), folder.join("ledger.jsonl"));
    let cluster = MockCluster::new(1).map_err(broker_failed)?;
    for topic in ["orders", "payments"] {
        cluster.create_topic(topic, 3, 1).map_err(broker_failed)?;
    }
    let kafka = KafkaConfig::new(&cluster.bootstrap_servers(), Default::default());
    say!(
        "A Kafka broker inside this process, topics orders and payments with 3 partitions each;\n\
         {} orders and their payments over two hours of event time; the SQL of \"{}\".\n",
        args.count,
        args.sql.display()
    );
    let settings = RunSettings {
        kafka: kafka.clone(),
        mongodb: MongoDbUri(String::new()),
        sql: args.sql.clone(),
        checkpoint: Some(checkpoint.clone()),
        replan: false,
        mongodb_atomic: false,
        trigger: Trigger::ProcessingTime(Duration::from_secs(1)),
        max_offsets_per_trigger: None,
        groups: None,
        starting_offsets: StartingOffsets::Earliest,
        fail_on_data_loss: true,
        retain_batches: 100,
        outputs: Some(outputs.clone()),
        take_over: None,
        progress: Some(folder.join("progress.jsonl")),
        console: ConsoleSettings::new(&args.console, |name| std::env::var(name).ok())?,
        terminal: TerminalForm::Lines,
    };
    let (stop, stopped) = watch::channel(false);
    let produce = send(
        ProduceSettings {
            kafka,
            rate: Some(args.count.div_ceil(PRODUCE_SECONDS).max(1)),
            count: Some(args.count),
            span: Duration::from_secs(7200),
            seed: args.seed,
            shares: SHARES,
            orders_topic: "orders".to_owned(),
            payments_topic: "payments".to_owned(),
        },
        stopped.clone(),
        false,
    );
    let (read, records_read) = watch::channel(0u64);
    let engine = run_until(settings, stopped.into(), move |progress| {
        say!("{progress}");
        // The other end is gone only when nobody waits any more.
        let _ = read.send(progress.total.records);
    });
    let work = async {
        let ledger = produce.await?;
        // Everything is sent: the engine stops once it has read it all.
        let total = ledger.entries.len() as u64;
        let mut records_read = records_read;
        let caught_up = records_read.wait_for(|&read| read >= total).await.is_ok();
        let _ = stop.send(true);
        if caught_up {
            Ok(ledger)
        } else {
            Err(Error::internal("the engine stopped before it had read everything"))
        }
    };
    let (ran, ledger) = tokio::join!(engine, work);
    let console = ran?;
    let ledger = ledger?;
    ledger.write(&ledger_file)?;
    let mut found = documents_of_files(&outputs)?;
    found.extend(waiting(&checkpoint).await?);
    let report = compare(&ledger, found, Scope::Exact);
    say!("\nWhat was sent:\n{}\n\nWhat came out, compared record by record:\n{report}\n", ledger.summary());
    let verdict = if report.is_clean() {
        "Everything is where the ledger expects it."
    } else {
        "There are differences."
    };
    say!("{verdict}\n");
    say!("Where to look next:\n  head -n 3 {}/validated_orders/*.jsonl", outputs.display());
    say!("  head -n 3 {}/rejected_payments/*.jsonl    with the rules that were broken", outputs.display());
    say!("  ls {}/rules    add a rule: a new file, nothing else", args.sql.display());
    say!("  ecomm-batch run --trigger 5s    the same on your Kafka and MongoDB");
    let address = console.as_ref().and_then(|console| console.address);
    if let Some(address) = address.filter(|_| std::io::stdout().is_terminal()) {
        say!("  http://{address}    the console, until Ctrl-C");
        tokio::signal::ctrl_c()
            .await
            .map_err(|source| Error::internal("could not wait for Ctrl-C").because(source))?;
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn broker_failed(source: rdkafka::error::KafkaError) -> Error {
    Error::internal("the in-process broker did not start").because(source)
}

/// A fresh folder, which stays so that results can be looked at.
fn demo_folder(given: Option<&Path>) -> Result<PathBuf> {
    match given {
        Some(folder) if folder.exists() => {
            Err(Error::config(format!("\"{}\" exists already", folder.display()))
                .advise("a demo starts afresh: give a folder that does not exist, or none"))
        }
        Some(folder) => {
            crate::durable::make_folder(folder)?;
            Ok(folder.to_owned())
        }
        None => tempfile::Builder::new()
            .prefix("ecomm-batch-demo-")
            .tempdir()
            .map(tempfile::TempDir::keep)
            .map_err(|source| Error::internal("could not make a folder for the demo").because(source)),
    }
}
