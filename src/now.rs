//! What the engine is doing at this moment, for whoever looks. The engine never waits for a viewer.
//!
//! A batch that hangs has no progress to report; this says which step it is in, since when, and which service
//! it waits for.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use crate::batch::BatchId;

/// A service that may be away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Kafka.
    Broker,
    /// MongoDB or files.
    Sink,
    /// The store of the checkpoint.
    Checkpoint,
}

impl Service {
    /// All of them, in the order of [`Now::retries`].
    pub const ALL: [Self; 3] = [Self::Broker, Self::Sink, Self::Checkpoint];

    /// As labels of metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Sink => "sink",
            Self::Checkpoint => "checkpoint",
        }
    }
}

/// The steps of a batch, and what lies between batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The checkpoint is being loaded, the outputs claimed.
    Starting,
    /// The next trigger is waited for.
    Idle,
    /// Ranges are chosen and written down.
    Planning,
    /// Records are read and decoded.
    Reading,
    /// Join and rules.
    Joining,
    /// Outputs are stored.
    Storing,
    /// State and commit are written.
    Committing,
    /// The engine is no more: why.
    Stopped(String),
    /// No engine runs in this process.
    Absent,
}

impl Step {
    /// The name of its duration in Spark's progress; of the others a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Idle => "idle",
            Self::Planning => "queryPlanning",
            Self::Reading => "getBatch",
            Self::Joining => "addBatch",
            Self::Storing => "writeSink",
            Self::Committing => "walCommit",
            Self::Stopped(_) => "stopped",
            Self::Absent => "absent",
        }
    }

    /// Whether a batch is under way in it.
    pub fn is_of_batch(&self) -> bool {
        matches!(self, Self::Planning | Self::Reading | Self::Joining | Self::Storing | Self::Committing)
    }
}

/// A service that did not answer, and is asked again.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Which.
    pub service: Service,
    /// Since the first failure.
    pub since: Instant,
    /// How often it was tried in vain.
    pub attempts: u32,
    /// What came of the last try.
    pub error: String,
}

/// A look at the engine.
#[derive(Clone, Debug)]
pub struct Now {
    /// The batch under way, or the next one.
    pub batch: BatchId,
    /// Its step.
    pub step: Step,
    /// When the step began.
    pub since: Instant,
    /// When the batch under way began.
    pub batch_since: Option<Instant>,
    /// The service that is waited for.
    pub waiting: Option<Waiting>,
    /// How often each service was asked again since the start, as [`Service::ALL`] has them.
    pub retries: [u64; 3],
}

/// Where the engine writes [`Now`], and others read it.
#[derive(Clone, Debug)]
pub struct NowCell(Arc<watch::Sender<Now>>);

impl Default for NowCell {
    fn default() -> Self {
        let starting = Now {
            batch: BatchId(0),
            step: Step::Starting,
            since: Instant::now(),
            batch_since: None,
            waiting: None,
            retries: [0; 3],
        };
        Self(Arc::new(watch::Sender::new(starting)))
    }
}

impl NowCell {
    /// What would be finished before a stop.
    pub fn under_way(&self) -> String {
        let now = self.0.borrow();
        match (now.step.is_of_batch(), &now.waiting) {
            (true, None) => format!("batch {} (in {})", now.batch, now.step.name()),
            (true, Some(waiting)) => {
                format!("batch {} (waiting for the {})", now.batch, waiting.service.name())
            }
            (false, _) => "the batch under way".to_owned(),
        }
    }

    /// The latest word.
    pub fn get(&self) -> Now {
        self.0.borrow().clone()
    }

    /// Batch `batch` comes to `step`.
    pub fn enter(&self, batch: BatchId, step: Step) {
        let since = Instant::now();
        self.0.send_modify(|now| {
            now.batch_since = step.is_of_batch().then(|| match now.step.is_of_batch() {
                true => now.batch_since.unwrap_or(since),
                false => since,
            });
            (now.batch, now.step, now.since) = (batch, step, since);
        });
    }

    /// The engine is no more.
    pub fn stop(&self, why: impl Into<String>) {
        self.0.send_modify(|now| {
            (now.step, now.since) = (Step::Stopped(why.into()), Instant::now());
            (now.batch_since, now.waiting) = (None, None);
        });
    }

    /// There is no engine, and there will be none.
    pub fn absent(&self) {
        self.0.send_modify(|now| (now.step, now.since) = (Step::Absent, Instant::now()));
    }

    /// `service` did not answer.
    pub fn wait_for(&self, service: Service, error: String) {
        self.0.send_modify(|now| {
            now.retries[service as usize] += 1;
            let before = now.waiting.as_ref().filter(|waiting| waiting.service == service);
            now.waiting = Some(Waiting {
                service,
                since: before.map_or_else(Instant::now, |waiting| waiting.since),
                attempts: before.map_or(1, |waiting| waiting.attempts + 1),
                error,
            });
        });
    }

    /// `service` answered.
    pub fn answered(&self, service: Service) {
        self.0.send_if_modified(|now| {
            let was_waiting = now.waiting.as_ref().is_some_and(|waiting| waiting.service == service);
            if was_waiting {
                now.waiting = None;
            }
            was_waiting
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_begins_with_its_first_step_and_a_wait_with_its_first_failure() {
        let cell = NowCell::default();
        assert_eq!(cell.get().step, Step::Starting);
        cell.enter(BatchId(7), Step::Planning);
        let began = cell.get().batch_since.expect("a batch");
        cell.enter(BatchId(7), Step::Storing);
        let now = cell.get();
        assert_eq!((now.batch, now.step, now.batch_since), (BatchId(7), Step::Storing, Some(began)));
        cell.wait_for(Service::Sink, "no primary".to_owned());
        let first = cell.get().waiting.expect("waiting");
        cell.wait_for(Service::Sink, "still none".to_owned());
        let second = cell.get().waiting.expect("waiting");
        assert_eq!((second.since, second.attempts, second.error.as_str()), (first.since, 2, "still none"));
        cell.answered(Service::Broker);
        assert!(cell.get().waiting.is_some());
        cell.answered(Service::Sink);
        cell.enter(BatchId(8), Step::Idle);
        let now = cell.get();
        assert!(now.waiting.is_none() && now.batch_since.is_none());
        assert_eq!(now.retries, [0, 2, 0]);
        cell.stop("exit 5");
        assert_eq!(cell.get().step, Step::Stopped("exit 5".to_owned()));
    }
}
