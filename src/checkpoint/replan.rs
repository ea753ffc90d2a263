//! Pending batches that are taken on with other SQL than they were planned with.
//!
//! `offsets/<N>` is never overwritten. A record beside it, numbered by the engine that was told to, says
//! which batches run with which SQL from then on; the newest one that names a batch holds:
//!
//! ```text
//! offsets/7    ranges, watermark, time, SQL 3f2a…     planned; its view can't be computed, no commits/7
//! replans/12   batches 7 to 7, SQL 91c0…              `run --replan` with mended SQL, engine 12
//! commits/7    the outcome of SQL 91c0… over the same records
//! ```
//!
//! Such a batch is stored document by document: what an earlier attempt stored under the old SQL is met as
//! equal, or told as a conflict.

use super::Checkpoint;
use super::record::{ReplanRecord, seal};
use crate::batch::{BatchId, BatchPlan, SinkMode};
use crate::error::Result;
use crate::query::Program;

impl Checkpoint {
    /// Takes `pending` batches on with `program`, for good: a crash changes nothing about it.
    ///
    /// # Errors
    /// [`Fenced`](crate::error::ErrorKind::Fenced) if a newer engine has taken over.
    pub async fn replan(&self, pending: &mut [BatchPlan], program: &Program) -> Result<()> {
        let (Some(first), Some(last)) = (pending.first(), pending.last()) else { return Ok(()) };
        let record = ReplanRecord { first: first.id, last: last.id, program: program.hash.clone() };
        self.assert_newest().await?;
        self.store_program(program).await?;
        let name = format!("replans/{}", self.epoch);
        self.publish(&name, &seal(&name, &record)?).await?;
        pending.iter_mut().for_each(|plan| record.apply(plan));
        Ok(())
    }

    /// In the order in which they were made.
    pub(super) async fn replans(&self) -> Result<Vec<(u64, ReplanRecord)>> {
        let mut replans = Vec::new();
        for number in self.numbers("replans").await? {
            replans.push((number, self.read_record(&format!("replans/{number}")).await?));
        }
        Ok(replans)
    }

    /// Forgets the records whose batches are all below `first_kept`.
    pub(super) async fn clean_replans(&self, first_kept: BatchId) -> Result<()> {
        for (number, record) in self.replans().await? {
            if record.last < first_kept {
                self.store.remove(&format!("replans/{number}")).await?;
            }
        }
        Ok(())
    }
}

impl ReplanRecord {
    /// Changes the plan of a batch that it names.
    pub(super) fn apply(&self, plan: &mut BatchPlan) {
        if (self.first..=self.last).contains(&plan.id) {
            plan.program.clone_from(&self.program);
            plan.sink = SinkMode::Idempotent;
        }
    }
}
