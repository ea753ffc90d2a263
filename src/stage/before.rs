//! What the tasks of a batch share: its plan, and what the last commit left behind. Nobody changes it.

use std::sync::Arc;

use crate::batch::BatchPlan;
use crate::batch::offset::PerPartition;
use crate::batch::watermark::PartitionClock;
use crate::query::Program;
use crate::state::SideState;

/// What a batch finds.
pub(crate) struct Before {
    pub(crate) program: Arc<Program>,
    pub(crate) plan: BatchPlan,
    /// Read by all tasks at once; it moves on when the last of them is done.
    pub(crate) sides: Arc<[SideState; 2]>,
    pub(crate) clocks: PerPartition<PartitionClock>,
    /// When the query began, in milliseconds; nothing before its first batch.
    pub(crate) started_ms: Option<i64>,
}
