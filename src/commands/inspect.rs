//! `checkpoint show`, `verify`, `rollback`, and `state`: what people do with a checkpoint by hand.

use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::TableReference;
use datafusion::execution::context::SQLOptions;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::batch::{BatchId, BatchPlan};
use crate::checkpoint::record::CommitRecord;
use crate::checkpoint::{Checkpoint, Location, Records};
use crate::cli::{CheckpointCommand, StateArgs};
use crate::clock::{rfc3339, rfc3339_ms};
use crate::error::{Error, ErrorKind, Result};
use crate::query::Program;
use crate::query::side::Side;
use crate::state::{SideState, restore};
use crate::stdout::say;

/// Runs a `checkpoint` command.
pub async fn checkpoint(command: CheckpointCommand) -> Result<ExitCode> {
    match command {
        CheckpointCommand::Show { checkpoint, last } => show(&checkpoint, last).await,
        CheckpointCommand::Verify { checkpoint } => verify(&checkpoint).await,
        CheckpointCommand::Rollback { checkpoint, to, yes } => rollback(&checkpoint, BatchId(to), yes).await,
    }
}

async fn records_of(checkpoint: &Checkpoint) -> Result<Records> {
    let no_checkpoint = || Error::checkpoint(format!("\"{}\" is no checkpoint", checkpoint.location()));
    checkpoint.records().await?.ok_or_else(no_checkpoint)
}

async fn show(location: &Location, last: usize) -> Result<ExitCode> {
    let Records { metadata, plans, commits, .. } = records_of(&Checkpoint::read_only(location)?).await?;
    say!("query {}, since {}", metadata.query_id, rfc3339_ms(metadata.started_ms));
    say!(
        "{} batches kept, {} of them without an outcome",
        plans.len(),
        plans.len() - commits.len().min(plans.len())
    );
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY).set_header([
        "batch",
        "time",
        "records",
        "offsets",
        "watermark",
        "state rows",
        "state bytes",
        "SQL",
        "outcome",
    ]);
    for (id, plan) in plans.iter().rev().take(last).rev() {
        table.add_row(row_of(*id, plan, commits.get(id)));
    }
    say!("{table}");
    if let Some(commit) = commits.values().next_back() {
        say!("next offsets after batch {}:", commit.batch_id);
        for (topic, partitions) in &commit.partitions {
            for (partition, record) in partitions {
                say!("  {topic}/{partition}: {}", record.next_offset);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row_of(id: BatchId, plan: &BatchPlan, commit: Option<&CommitRecord>) -> [String; 9] {
    let of_commit = |text: &dyn Fn(&CommitRecord) -> String| commit.map_or_else(|| "-".to_owned(), text);
    [
        id.to_string(),
        rfc3339_ms(plan.time_ms),
        of_commit(&|commit| commit.counts.records.to_string()),
        plan.num_offsets().to_string(),
        of_commit(&|commit| commit.watermark.map_or_else(|| "none".to_owned(), rfc3339)),
        of_commit(&|commit| commit.rows.iter().map(u64::to_string).collect::<Vec<_>>().join(" + ")),
        of_commit(&|commit| commit.state.iter().flatten().map(|file| file.bytes).sum::<u64>().to_string()),
        plan.program.chars().take(8).collect(),
        if commit.is_some() { "done" } else { "pending" }.to_owned(),
    ]
}

async fn verify(location: &Location) -> Result<ExitCode> {
    let verified = restore::verify(&Checkpoint::read_only(location)?).await?;
    for problem in &verified.problems {
        say!("{problem}");
    }
    say!(
        "{} batches, {} state files of {} bytes: {}",
        verified.batches,
        verified.state_files,
        verified.state_bytes,
        match verified.problems.len() {
            0 => "sound".to_owned(),
            count => format!("{count} problems"),
        }
    );
    Ok(match verified.problems.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(ErrorKind::Checkpoint.exit_code()),
    })
}

async fn rollback(location: &Location, to: BatchId, yes: bool) -> Result<ExitCode> {
    let plan = Checkpoint::read_only(location)?.plan_rollback(to).await?;
    let again: Vec<String> = plan.again.iter().map(BatchId::to_string).collect();
    say!(
        "back to batch {to}; these run again with the records and the SQL they were planned with: {}",
        again.join(", ")
    );
    if !yes {
        say!("nothing was changed: add --yes to do it");
        return Ok(ExitCode::SUCCESS);
    }
    let mut checkpoint = Checkpoint::open(location, Arc::default())?;
    checkpoint.claim().await?;
    // Once more, now that no engine can go on meanwhile.
    let plan = checkpoint.plan_rollback(to).await?;
    checkpoint.roll_back(&plan).await?;
    say!("done: start the engine, and documents that are stored already are met as equal");
    Ok(ExitCode::SUCCESS)
}

/// `state`: SQL over the rows in state.
pub async fn state(args: &StateArgs) -> Result<()> {
    let checkpoint = Checkpoint::read_only(&args.checkpoint)?;
    let Records { plans, commits, .. } = records_of(&checkpoint).await?;
    let commit = match args.batch {
        Some(batch) => commits.get(&BatchId(batch)),
        None => commits.values().next_back(),
    };
    let found = commit.and_then(|commit| Some((commit, plans.get(&commit.batch_id)?)));
    let Some((commit, plan)) = found else {
        return Err(Error::config("the checkpoint has no such batch")
            .advise("`ecomm-batch checkpoint show` lists the batches"));
    };
    let program = Program::plan(checkpoint.program(&plan.program).await?)?;
    let context = SessionContext::new_with_config(SessionConfig::new().with_information_schema(false));
    for (side, input) in Side::BOTH.into_iter().zip(program.inputs()) {
        let state = restore::load(&checkpoint, &program, side, Some(commit)).await?;
        let name = format!("{}_state", program.sources[input.source].name);
        context.register_batch(TableReference::bare(name), table_of(&state)?)?;
    }
    let refused = |source: datafusion::error::DataFusionError| {
        Error::config("the SQL can't be used").because(source.strip_backtrace())
    };
    let only_queries =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let frame = context.sql_with_options(&args.sql, only_queries).await.map_err(refused)?;
    say!("{}", frame.to_string().await.map_err(refused)?);
    Ok(())
}

/// The rows of a side with what the engine knows of each.
fn table_of(state: &SideState) -> Result<RecordBatch> {
    let rows = state.rows(&state.live().collect::<Vec<_>>())?;
    let ints = |value: &dyn Fn(usize) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values((0..rows.len()).map(value)))
    };
    let mut fields: Vec<Field> =
        rows.columns.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    let mut columns = rows.columns.columns().to_vec();
    let known: [(&str, DataType, ArrayRef); 6] = [
        (
            "_row_partition",
            DataType::Int32,
            Arc::new(Int32Array::from_iter_values(rows.meta.iter().map(|meta| meta.partition))),
        ),
        ("_row_offset", DataType::Int64, ints(&|row| rows.meta[row].offset)),
        ("_row_timestamp", DataType::Int64, ints(&|row| rows.meta[row].timestamp_ms)),
        ("_row_batch", DataType::Int64, ints(&|row| rows.meta[row].batch.0 as i64)),
        (
            "_row_matched",
            DataType::Boolean,
            Arc::new(BooleanArray::from_iter(rows.meta.iter().map(|meta| Some(meta.matched)))),
        ),
        (
            "_row_valid_partners",
            DataType::UInt32,
            Arc::new(UInt32Array::from_iter_values(rows.meta.iter().map(|meta| meta.valid_partners))),
        ),
    ];
    for (name, data_type, column) in known {
        fields.push(Field::new(name, data_type, false));
        columns.push(column);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
