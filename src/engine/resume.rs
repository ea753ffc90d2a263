//! How a checkpoint is taken up: whether the SQL of this start fits what is in state, and with which SQL the
//! batches run that were planned before.
//!
//! ```text
//!                                         as ever                              --replan
//! compared with the SQL of                the last batch that was planned      the last batch with an outcome
//! a pending batch runs with               the SQL that it was planned with     the SQL of this start
//! the next batch runs with                the SQL of this start                the SQL of this start
//! ```

use std::sync::Arc;

use crate::batch::{BatchId, BatchPlan};
use crate::checkpoint::{Checkpoint, Recovered};
use crate::error::{Error, ErrorKind, Result};
use crate::query::Program;
use crate::query::change::{Change, Effect};
use crate::query::comparison::differences;
use crate::query::fingerprint::Fingerprint;

/// The program that a batch was planned with: the given one, or what the checkpoint stored of another.
pub(crate) async fn planned_with(
    checkpoint: &Checkpoint,
    hash: &str,
    given: &Arc<Program>,
) -> Result<Arc<Program>> {
    let stored = checkpoint.program(hash).await?;
    if given.hash == hash { Ok(Arc::clone(given)) } else { Ok(Arc::new(Program::plan(stored)?)) }
}

/// What the SQL of this start changes: compared with what the rows in state, or the batches that wait, were
/// planned with.
///
/// # Errors
/// * [`Config`](ErrorKind::Config): this version no longer accepts the SQL to compare with.
/// * [`Checkpoint`](ErrorKind::Checkpoint): a pending batch reads a topic that `program` does not.
pub(crate) async fn changes(
    checkpoint: &Checkpoint,
    found: &Recovered,
    program: &Arc<Program>,
    is_replan: bool,
) -> Result<Vec<Change>> {
    let last_planned = || found.last_plan.as_ref().map(|plan| plan.program.clone());
    let hash = if is_replan { found.state_program.clone() } else { last_planned() };
    let Some(hash) = hash else {
        return reads_what_was_planned(checkpoint, found, program).map(|()| Vec::new());
    };
    match planned_with(checkpoint, &hash, program).await {
        Ok(before) => Ok(differences(&before, program)),
        Err(error) if error.kind() == ErrorKind::Config => match checkpoint.fingerprint(&hash).await? {
            Some(before) if is_replan || found.pending.is_empty() => {
                Ok(before.changes(&Fingerprint::of(program)))
            }
            None if is_replan => {
                tracing::warn!(
                    "{error}\nwhat the rows in state were kept under is not known, and not compared"
                );
                Ok(Vec::new())
            }
            _ => Err(error.advise(match found.pending.first() {
                Some(plan) => way_out(plan.id),
                None => "this version no longer accepts the SQL that the checkpoint was written with: \
                         start once with --replan, and it goes on with the SQL of this start"
                    .to_owned(),
            })),
        },
        Err(error) => Err(error),
    }
}

/// Whether what is in state can be gone on with under `program`; what changes is logged.
///
/// # Errors
/// Beside those of [`changes`], [`Checkpoint`](ErrorKind::Checkpoint) names all that would have to stay.
pub(crate) async fn fits(
    checkpoint: &Checkpoint,
    found: &Recovered,
    program: &Arc<Program>,
    is_replan: bool,
) -> Result<()> {
    let changes = changes(checkpoint, found, program, is_replan).await?;
    let refused: Vec<&str> = changes
        .iter()
        .filter(|change| change.effect == Effect::NewCheckpoint)
        .map(|change| change.what.as_str())
        .collect();
    if !refused.is_empty() {
        return Err(Error::checkpoint(format!("the SQL does not fit the checkpoint: {}", refused.join("; ")))
            .with("checkpoint", checkpoint.location())
            .advise(format!("undo the change, or {}", Effect::NEW_CHECKPOINT))
            .advise("rules, outputs, OPTIONS of sources and the view's select list may change: `ecomm-batch check --checkpoint` tells what each change does"));
    }
    if !changes.is_empty() {
        let told: Vec<String> = changes.iter().map(ToString::to_string).collect();
        tracing::info!("the SQL has changed: {}", told.join("; "));
    }
    Ok(())
}

/// Nothing is in state yet: all that pending batches ask of a program is their topics.
fn reads_what_was_planned(checkpoint: &Checkpoint, found: &Recovered, program: &Program) -> Result<()> {
    let planned = found.pending.iter().flat_map(|plan| plan.ranges.keys()).map(|tp| &tp.topic);
    let is_read = |topic: &Arc<str>| program.sources.iter().any(|source| source.topic == *topic);
    match planned.into_iter().find(|topic| !is_read(topic)) {
        None => Ok(()),
        Some(other) => Err(Error::checkpoint(format!(
            "the pending batch reads the topic \"{other}\", which no table of the SQL does"
        ))
        .with("checkpoint", checkpoint.location())
        .advise("undo the change, or start a new checkpoint with --checkpoint")),
    }
}

/// Takes pending batches on with `program`, for good.
pub(crate) async fn take_on(
    checkpoint: &Checkpoint,
    pending: &mut [BatchPlan],
    program: &Program,
) -> Result<()> {
    let others: Vec<String> =
        pending.iter().filter(|plan| plan.program != program.hash).map(|plan| plan.id.to_string()).collect();
    if others.is_empty() {
        tracing::info!("--replan: no batch is pending with other SQL");
        return Ok(());
    }
    checkpoint.replan(pending, program).await?;
    tracing::warn!(
        "--replan: batch {} is taken on with the SQL of this start; records, watermark and time stay as planned",
        others.join(", ")
    );
    Ok(())
}

/// How to get past a batch that was planned and can't be done.
pub(crate) fn way_out(batch: BatchId) -> String {
    format!(
        "batch {batch} stays planned and runs again at each start, with the SQL that it was planned with; \
         where that SQL is the reason, mend it and start once with --replan: the batch is taken on with the mended SQL, \
         over the same records"
    )
}

/// An error that no waiting mends, and that the SQL may be the reason of, says how to get past it.
pub(crate) fn stays_pending(batch: BatchId, error: Error) -> Error {
    match error.kind() {
        ErrorKind::Config | ErrorKind::Sink | ErrorKind::Internal => error.advise(way_out(batch)),
        ErrorKind::Unavailable | ErrorKind::Checkpoint | ErrorKind::DataLoss | ErrorKind::Fenced => error,
    }
}
