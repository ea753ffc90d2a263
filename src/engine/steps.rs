//! How long each step of a batch takes, and which one is under way.

use std::time::Instant;

use crate::batch::BatchId;
use crate::now::{NowCell, Step};

/// The steps of one batch.
pub(crate) struct Steps<'a> {
    now: &'a NowCell,
    batch: BatchId,
    done_ms: Vec<(&'static str, u64)>,
    current: Step,
    since: Instant,
}

impl<'a> Steps<'a> {
    /// The first step of `batch` begins.
    pub(crate) fn plan(now: &'a NowCell, batch: BatchId) -> Self {
        now.enter(batch, Step::Planning);
        Self { now, batch, done_ms: Vec::new(), current: Step::Planning, since: Instant::now() }
    }

    /// One step is done, the next begins.
    pub(crate) fn next(&mut self, step: Step) {
        self.done_ms.push((self.current.name(), self.since.elapsed().as_millis() as u64));
        self.now.enter(self.batch, step.clone());
        (self.current, self.since) = (step, Instant::now());
    }

    /// The last step is done; milliseconds of each, in order.
    pub(crate) fn end(mut self) -> Vec<(&'static str, u64)> {
        self.next(Step::Idle);
        self.done_ms
    }
}
