//! Why there is a dead letter.

use std::fmt;

use crate::batch::counts::Counts;

/// A reason, as the column `reason` of `dead_letters` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No row of its table, or one for which a view or a key can't be computed.
    Malformed,
    /// Below the watermark.
    Late,
    /// Its PRIMARY KEY was there before.
    Duplicate,
    /// Dated further ahead than is believed.
    Future,
    /// A null value, of a source that wants a letter for it.
    Tombstone,
    /// A row that could not be computed, or that a sink can't hold.
    Refused,
    /// A row whose `_id` another document has.
    Conflict,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Malformed,
        Self::Late,
        Self::Duplicate,
        Self::Future,
        Self::Tombstone,
        Self::Refused,
        Self::Conflict,
    ];

    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Late => "late",
            Self::Duplicate => "duplicate",
            Self::Future => "future",
            Self::Tombstone => "tombstone",
            Self::Refused => "refused",
            Self::Conflict => "conflict",
        }
    }

    /// How many records or rows met it; tombstones are counted whether there are letters of them or not.
    pub fn count(self, counts: &Counts) -> u64 {
        match self {
            Self::Malformed => counts.malformed,
            Self::Late => counts.late,
            Self::Duplicate => counts.duplicate,
            Self::Future => counts.future,
            Self::Tombstone => counts.tombstones,
            Self::Refused => counts.refused,
            Self::Conflict => counts.conflict,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
