//! What a change of the SQL means for a checkpoint that is in use.

use std::fmt;

/// What becomes of a change at the next start on the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// State is the same; batches that are planned from then on have it.
    NextBatch,
    /// It holds for records that come; rows in state have NULL there.
    NullInState,
    /// The checkpoint is refused: state was kept for something else.
    NewCheckpoint,
}

impl Effect {
    /// What to do about a change that the checkpoint refuses.
    pub(crate) const NEW_CHECKPOINT: &str = "start anew: `ecomm-batch reset` removes the checkpoint and what it stored; \
         or give another with --checkpoint, and collections of its own or --take-over";
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NextBatch => "takes effect with the next batch",
            Self::NullInState => "safe: rows in state have NULL there",
            Self::NewCheckpoint => "needs a new checkpoint",
        })
    }
}

/// One difference between two programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What differs, in words.
    pub what: String,
    /// What becomes of it.
    pub effect: Effect,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.effect)
    }
}
