//! One key group of a batch: its rows meet state, and the rules judge them.
//!
//! A group reads the whole state, and finds in it the rows of its own keys only; what it would change is a value, to
//! be merged with the others'. Groups share nothing that changes, so they run side by side.

use std::sync::Arc;

use crate::clock::Nanos;
use crate::error::Result;
use crate::stage::before::Before;
use crate::stage::exchange::{KeyGroup, Part};
use crate::stage::joining::{FailedRow, join};
use crate::stage::verdict::{Judged, Origin, judge_pairs, judge_rows};
use crate::state::{Rows, SideChanges};

/// The work of one group.
pub(crate) struct GroupTask {
    pub(crate) before: Arc<Before>,
    pub(crate) group: KeyGroup,
    /// The admitted rows of each source that belong to it.
    pub(crate) new: Vec<Part>,
    /// The watermark that the batch ends with.
    pub(crate) watermark: Option<Nanos>,
}

/// What one group leads to.
pub(crate) struct GroupOutcome {
    pub(crate) group: KeyGroup,
    /// The watermark that it let rows go by.
    pub(crate) watermark: Option<Nanos>,
    /// How many new rows it had of each source.
    pub(crate) num_new: Vec<usize>,
    pub(crate) judged: Judged,
    /// For each row of `judged` the records behind it.
    pub(crate) origins: Vec<Origin>,
    /// Of each side; of a program without a join one.
    pub(crate) changes: Vec<SideChanges>,
    pub(crate) failed: Vec<FailedRow>,
    pub(crate) num_joined: u64,
    pub(crate) num_unmatched: u64,
    pub(crate) num_pairs: u64,
}

impl GroupTask {
    /// Does it; changes nothing.
    pub(crate) async fn run(self) -> Result<GroupOutcome> {
        let Self { before, group, new, watermark } = self;
        let Before { program, plan, sides, .. } = before.as_ref();
        let new = new.into_iter().map(Part::take).collect::<Result<Vec<Rows>>>()?;
        let num_new = new.iter().map(Rows::len).collect();
        let outcome = match (&program.join, <[Rows; 2]>::try_from(new)) {
            (Some(view), Ok(new)) => {
                let mut joined = join(view, plan.id, sides, new, group, watermark).await?;
                let judged = judge_pairs(program, plan, &mut joined).await?;
                GroupOutcome {
                    group,
                    watermark,
                    num_new,
                    judged,
                    origins: joined.origins,
                    changes: joined.changes.into(),
                    failed: joined.failed,
                    num_joined: joined.num_joined,
                    num_unmatched: joined.num_unmatched,
                    num_pairs: joined.num_pairs as u64,
                }
            }
            (_, new) => {
                let rows = new.map_or_else(|mut new| new.pop(), |_| None);
                let side = &sides[0];
                let rows = rows.unwrap_or_else(|| Rows::empty(side.schema()));
                let all: Vec<usize> = (0..rows.len()).collect();
                let changes = vec![SideChanges::only_keys(side.schema(), side.keys.select(&rows, &all)?)];
                let shown: Vec<usize> = (0..program.view.schema.fields().len()).collect();
                let origins: Vec<Origin> = rows.meta.iter().map(|&meta| [Some(meta), None]).collect();
                let judged = judge_rows(program, plan, &rows.columns.project(&shown)?, &origins).await?;
                GroupOutcome {
                    group,
                    watermark,
                    num_new,
                    judged,
                    origins,
                    changes,
                    failed: Vec::new(),
                    num_joined: rows.len() as u64,
                    num_unmatched: 0,
                    num_pairs: 0,
                }
            }
        };
        Ok(outcome)
    }
}
