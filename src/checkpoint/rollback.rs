//! Back to an earlier batch: its commits are removed, and what was planned after it runs again as planned.
//!
//! The ranges, the SQL, the watermark and the time of those batches stay, so the documents that they
//! stored are met again as equal. What can't be promised is refused.

use super::record::{RollbackRecord, seal};
use super::{Checkpoint, Records};
use crate::batch::BatchId;
use crate::error::{Error, Result};

/// What a rollback would do.
#[derive(Debug)]
pub struct Rollback {
    /// The batch that will be the last one with an outcome.
    pub to: BatchId,
    /// Batches that will run again, in order.
    pub again: Vec<BatchId>,
    /// Outcomes that are removed, the last first.
    remove: Vec<BatchId>,
    retained_from: BatchId,
}

impl Checkpoint {
    /// Finds out whether everything is there that the way back to `to` needs.
    ///
    /// # Errors
    /// [`Checkpoint`](crate::error::ErrorKind::Checkpoint) says what is missing.
    pub async fn plan_rollback(&self, to: BatchId) -> Result<Rollback> {
        let records = self.records().await?.ok_or_else(|| self.refuse("there is no checkpoint"))?;
        let Records { plans, commits, retained_from, .. } = &records;
        let Some(last) = commits.keys().next_back() else {
            return Err(self.refuse("no batch has an outcome yet"));
        };
        if to >= *last {
            return Err(self.refuse(&format!("batch {last} is the last one that has an outcome")));
        }
        let Some(commit) = commits.get(&to).filter(|_| to >= *retained_from) else {
            return Err(
                self.refuse(&format!("batches before {retained_from} are no longer kept (--retain-batches)"))
            );
        };
        for file in commit.state.iter().flatten() {
            self.read_state(file).await?;
        }
        for plan in plans.range(to.next()..).map(|(_, plan)| plan) {
            self.program(&plan.program).await?;
        }
        Ok(Rollback {
            to,
            again: plans.range(to.next()..).map(|(id, _)| *id).collect(),
            remove: commits.range(to.next()..).map(|(id, _)| *id).rev().collect(),
            retained_from: *retained_from,
        })
    }

    /// Goes back. Interrupted, it leaves a checkpoint at some batch in between, sound all the same.
    pub async fn roll_back(&self, rollback: &Rollback) -> Result<()> {
        if let Some(last) = rollback.again.last() {
            let name = format!("rollbacks/{last}");
            // While batches run again nothing is removed: the record of a rollback before still holds.
            if self.store.read(&name).await?.is_none() {
                let record = RollbackRecord { retained_from: rollback.retained_from };
                self.publish(&name, &seal(&name, &record)?).await?;
            }
        }
        for id in &rollback.remove {
            self.store.remove(&format!("commits/{id}")).await?;
        }
        Ok(())
    }

    fn refuse(&self, problem: &str) -> Error {
        Error::checkpoint(format!("can't roll back: {problem}"))
            .with("checkpoint", &self.location)
            .advise("`ecomm-batch checkpoint show` lists the batches")
    }
}
