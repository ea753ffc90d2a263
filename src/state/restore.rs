//! The state of a side as a commit left it, from the files that the commit names.

use std::sync::Arc;

use arrow::datatypes::Schema;

use crate::checkpoint::record::CommitRecord;
use crate::checkpoint::{Checkpoint, Verified};
use crate::error::Result;
use crate::query::Program;
use crate::query::join_view::JoinView;
use crate::query::side::Side;
use crate::state::file::Loader;
use crate::state::{KeyRegistry, SideState};

/// Loads a side as of `commit`; without one it is empty.
///
/// # Errors
/// [`Checkpoint`](crate::error::ErrorKind::Checkpoint): a file is gone, or other than the commit says.
pub async fn load(
    checkpoint: &Checkpoint,
    program: &Program,
    side: Side,
    commit: Option<&CommitRecord>,
) -> Result<SideState> {
    let state = empty(program, side)?;
    let Some(commit) = commit else { return Ok(state) };
    let watermark = commit.watermark;
    let mut loader = Loader::new(program.join.as_ref().map(|join| join.side(side)), state);
    for file in commit.state.get(side.index()).into_iter().flatten() {
        loader.apply(&file.name, checkpoint.read_state(file).await?)?;
    }
    let bound = watermark.map(|watermark| watermark.saturating_sub(program.reach(side)));
    Ok(loader.finish(bound, watermark))
}

/// An empty side of `program`; without a join the left one stands for the only source, which keeps keys only.
fn empty(program: &Program, side: Side) -> Result<SideState> {
    let Some(input) = program.input(side) else {
        let schema = Arc::new(Schema::empty());
        let keys = KeyRegistry::try_new(&schema, &[], 0)?;
        return Ok(SideState::new(schema, keys));
    };
    let memory = program.join.as_ref().map_or(0, JoinView::width);
    let names: Vec<String> = input.keys.iter().map(|(_, name)| name.clone()).collect();
    let keys = KeyRegistry::try_new(&input.columns, &names, memory)?;
    Ok(SideState::new(Arc::clone(&input.columns), keys))
}

/// Verifies a whole checkpoint; if its files are sound, the newest state is loaded too.
///
/// # Errors
/// Only what kept it from looking: the store is away. What is wrong is in the answer.
pub async fn verify(checkpoint: &Checkpoint) -> Result<Verified> {
    let mut verified = checkpoint.verify().await?;
    if verified.problems.is_empty()
        && let Some(records) = checkpoint.records().await?
        && let Some((id, commit)) = records.commits.last_key_value()
        && let Some(plan) = records.plans.get(id)
    {
        let program = Program::plan(checkpoint.program(&plan.program).await?)?;
        for side in Side::BOTH {
            if let Err(error) = load(checkpoint, &program, side, Some(commit)).await {
                verified.note(error)?;
            }
        }
    }
    Ok(verified)
}
