//! What a batch computes, one stage after the other; each takes values and gives a value.
//!
//! ```text
//! decoded ranges ─ admission ─┬─ rows ─ joining ─ pairs, rows alone ─ verdict ─ rows of the view ─ delivery ─ outputs
//!                             └─ dead letters ────────────────────────────────────────────────────────┘
//! ```
//!
//! `outcome` calls admission, joining and verdict in turn, and gives their result as one value. No stage knows the
//! engine or the checkpoint's log; state changes once the sinks have the rows.

pub mod admission;
pub(crate) mod before;
pub(crate) mod delivery;
pub mod exchange;
pub(crate) mod group;
pub mod joining;
pub mod letter;
pub(crate) mod merge;
pub(crate) mod outcome;
pub mod verdict;
