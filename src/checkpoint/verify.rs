//! Reads a whole checkpoint and checks every checksum and the chain of batches. What its files mean to a program is
//! checked where state is restored.

use std::collections::BTreeSet;

use super::Checkpoint;
use super::record::StateFile;
use crate::error::{Error, ErrorKind, Result};

/// What a checkpoint was found to hold.
#[derive(Debug, Default)]
pub struct Verified {
    /// Batches with an outcome.
    pub batches: usize,
    /// State files that a commit names.
    pub state_files: usize,
    /// Their length together.
    pub state_bytes: u64,
    /// What is wrong; empty for a sound checkpoint.
    pub problems: Vec<Error>,
}

impl Checkpoint {
    /// Reads every record, program and file that a restart, a rollback or `state --sql` could need.
    ///
    /// # Errors
    /// Only what kept it from looking: the store is away. What is wrong is in the answer.
    pub async fn verify(&self) -> Result<Verified> {
        let mut verified = Verified::default();
        let records = match self.records().await {
            Ok(Some(records)) => records,
            Ok(None) => {
                verified.problems.push(Error::checkpoint(format!("\"{}\" is no checkpoint", self.location)));
                return Ok(verified);
            }
            Err(error) => {
                verified.note(error)?;
                return Ok(verified);
            }
        };
        verified.batches = records.commits.len();
        let hashes: BTreeSet<&String> = records.plans.values().map(|plan| &plan.program).collect();
        for hash in hashes {
            if let Err(error) = self.program(hash).await {
                verified.note(error)?;
            }
        }
        let mut seen: BTreeSet<&StateFile> = BTreeSet::new();
        for file in records.commits.values().flat_map(|commit| commit.state.iter().flatten()) {
            if seen.insert(file) {
                verified.state_files += 1;
                verified.state_bytes += file.bytes;
                if let Err(error) = self.read_state(file).await {
                    verified.note(error)?;
                }
            }
        }
        Ok(verified)
    }
}

impl Verified {
    /// Keeps what is wrong with the checkpoint; anything else kept it from being looked at.
    pub(crate) fn note(&mut self, error: Error) -> Result<()> {
        if error.kind() == ErrorKind::Checkpoint {
            self.problems.push(error);
            return Ok(());
        }
        Err(error)
    }
}
