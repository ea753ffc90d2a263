//! What a checkpoint forgets: batches beyond those that are retained, and files that nothing names.

use std::collections::BTreeSet;

use super::record::CommitRecord;
use super::{Checkpoint, STATE_FOLDERS};
use crate::batch::{BatchId, BatchPlan};
use crate::error::Result;

impl Checkpoint {
    /// Removes what lies below the oldest batch that the last commit retains, state files that no commit
    /// names, and SQL that no batch refers to.
    ///
    /// Only an engine that has committed may ask for it: until then an older engine, not yet fenced,
    /// could still commit what it wrote. What a newer one writes meanwhile is left alone.
    pub async fn clean(&self, last: &CommitRecord) -> Result<()> {
        let programs = self.store.list("sql").await?;
        let first_kept = last.retained_from.map_or(0, |id| id.0);
        for number in self.numbers("commits").await?.into_iter().filter(|&number| number < first_kept) {
            self.store.remove(&format!("commits/{number}")).await?;
        }
        for number in self.numbers("offsets").await?.into_iter().filter(|&number| number < first_kept) {
            self.store.remove(&format!("offsets/{number}")).await?;
        }
        self.clean_replans(BatchId(first_kept)).await?;
        let Some(records) = self.records().await? else { return Ok(()) };
        let named: BTreeSet<&str> = records
            .commits
            .values()
            .flat_map(|commit| commit.state.iter().flatten())
            .map(|file| file.name.as_str())
            .collect();
        for folder in STATE_FOLDERS {
            for name in self.store.list(folder).await? {
                let is_of_newer = epoch_of(&name).is_some_and(|epoch| epoch > self.epoch);
                let name = format!("{folder}/{name}");
                if !named.contains(name.as_str()) && !is_of_newer {
                    self.store.remove(&name).await?;
                }
            }
        }
        self.assert_newest().await?;
        self.clean_programs(&programs, records.plans.values()).await
    }

    /// Of the `stored` programs those that no plan refers to.
    async fn clean_programs(&self, stored: &[String], plans: impl Iterator<Item = &BatchPlan>) -> Result<()> {
        let named: BTreeSet<&str> = plans.map(|plan| plan.program.as_str()).collect();
        for hash in stored.iter().filter(|hash| !named.contains(hash.as_str())) {
            // The record first: what it names is rubbish without it.
            self.store.remove(&format!("sql/{hash}/program.json")).await?;
            for name in self.store.list(&format!("sql/{hash}")).await? {
                self.store.remove(&format!("sql/{hash}/{name}")).await?;
            }
        }
        Ok(())
    }
}

/// The engine that wrote a state file, `<batch>-<epoch>.<kind>.parquet`.
fn epoch_of(name: &str) -> Option<u64> {
    name.split_once('-')?.1.split_once('.')?.0.parse().ok()
}
