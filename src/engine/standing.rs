//! What the last commit left behind, in memory, and how a batch moves it on.
//!
//! The rows in memory move on just before the commit. Should that fail, nobody can say from here whether the commit
//! is durable: the engine reads the checkpoint again, as a restart does, and asks the batch again if it is pending.

use std::sync::Arc;

use crate::batch::counts::{Counts, Tally};
use crate::batch::offset::{ByTopic, OffsetRange, PerPartition, TopicPartition, by_topic, per_partition};
use crate::batch::watermark::PartitionClock;
use crate::batch::{BatchId, BatchPlan, BoundedRun};
use crate::checkpoint::record::{CommitRecord, LastRecord, PartitionRecord, StateFile};
use crate::checkpoint::{Checkpoint, Recovered};
use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::query::Program;
use crate::query::side::Side;
use crate::ranges::data_loss;
use crate::source::Extent;
use crate::stage::before::Before;
use crate::stage::outcome::Outcome;
use crate::state::{SideChanges, SideState, file, restore};

/// Deltas since the last snapshot before a new one is written, whatever their size.
const MAX_DELTAS: usize = 100;

/// Everything that the last commit left behind, in memory.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) next: BatchId,
    pub(super) started_ms: Option<i64>,
    pub(super) partitions: PerPartition<PartitionRecord>,
    pub(super) watermark: Option<Nanos>,
    /// Shared with the tasks of a batch, which read it.
    pub(super) sides: Arc<[SideState; 2]>,
    pub(super) files: [Vec<StateFile>; 2],
    pub(super) retained_from: BatchId,
    pub(super) total: Counts,
    pub(super) tally: Tally,
    /// The bounded run that a restart has to finish first.
    pub(super) run: Option<BoundedRun>,
}

impl Standing {
    /// Reads it, for a program.
    pub(super) async fn load(
        checkpoint: &Checkpoint,
        program: &Program,
        recovered: Option<&Recovered>,
    ) -> Result<Self> {
        let commit = recovered.and_then(|recovered| recovered.commit.as_ref());
        let sides = [
            restore::load(checkpoint, program, Side::Left, commit).await?,
            restore::load(checkpoint, program, Side::Right, commit).await?,
        ];
        let files = |side: Side| {
            commit.and_then(|commit| commit.state.get(side.index()).cloned()).unwrap_or_default()
        };
        // A batch that is pending still carries its run; the commit that follows decides.
        let last_run = recovered
            .filter(|recovered| recovered.pending.is_empty())
            .and_then(|recovered| recovered.last_plan.as_ref()?.unfinished_run());
        let starts = recovered
            .map(|recovered| partitions_from(&recovered.metadata.starting_offsets))
            .unwrap_or_default();
        Ok(Self {
            next: commit.map_or(BatchId(0), |commit| commit.batch_id.next()),
            started_ms: recovered.map(|recovered| recovered.metadata.started_ms),
            partitions: commit.map_or(starts, |commit| per_partition(&commit.partitions)),
            watermark: commit.and_then(|commit| commit.watermark),
            sides: Arc::new(sides),
            files: [files(Side::Left), files(Side::Right)],
            retained_from: recovered.map_or(BatchId(0), |recovered| recovered.retained_from),
            total: commit.map(|commit| commit.total).unwrap_or_default(),
            tally: commit.map(|commit| commit.tally.clone()).unwrap_or_default(),
            run: last_run,
        })
    }

    /// The clock of each partition.
    pub(super) fn clocks(&self) -> PerPartition<PartitionClock> {
        self.partitions.iter().map(|(tp, record)| (tp.clone(), record.clock)).collect()
    }

    /// What the next batch finds.
    pub(super) fn before(&self, program: &Arc<Program>, plan: &BatchPlan) -> Before {
        Before {
            program: Arc::clone(program),
            plan: plan.clone(),
            sides: Arc::clone(&self.sides),
            clocks: self.clocks(),
            started_ms: self.started_ms,
        }
    }

    /// Offsets between where the last batch ended and where this one begins: the broker had lost them.
    pub(super) fn skipped(&self, plan: &BatchPlan) -> u64 {
        let skipped = |(tp, range): (&TopicPartition, &OffsetRange)| {
            let record = self.partitions.get(tp)?;
            u64::try_from(range.start - record.next_offset).ok()
        };
        plan.ranges.iter().filter_map(skipped).sum()
    }

    /// The last record read of each partition that has one in front of its range, to be read again with it:
    /// should the topic have been made again, another one stands there.
    pub(super) fn witnesses(
        &self,
        ranges: &PerPartition<OffsetRange>,
        extents: &PerPartition<Extent>,
    ) -> PerPartition<i64> {
        let witness = |(tp, range): (&TopicPartition, &OffsetRange)| {
            let last = self.partitions.get(tp)?.last_record.as_ref()?;
            let is_there = last.offset >= extents.get(tp)?.earliest && last.offset < range.start;
            is_there.then(|| (tp.clone(), last.offset))
        };
        ranges.iter().filter_map(witness).collect()
    }

    /// Compares the record that stands where the last one was read. Of a topic that was made again: how many
    /// of its offsets lie below where reading goes on, if it may go on.
    pub(super) fn made_again(
        &self,
        tp: &TopicPartition,
        found: &LastRecord,
        extent: Extent,
        fail_on_data_loss: bool,
    ) -> Result<u64> {
        let record = &self.partitions[tp];
        if record.last_record.as_ref().is_none_or(|last| last == found) {
            return Ok(0);
        }
        let problem = format!("the topic was made again: offset {} holds another record now", found.offset);
        if fail_on_data_loss {
            return Err(data_loss(tp, problem));
        }
        let next = record.next_offset;
        tracing::warn!("{tp}: {problem}; going on at {next}, what lies below is passed over");
        Ok((next - extent.earliest).max(0).unsigned_abs())
    }

    /// The state in memory moves on, and its files are written. How many rows left each side.
    pub(super) async fn apply(
        &mut self,
        program: &Program,
        checkpoint: &Checkpoint,
        plan: &BatchPlan,
        outcome: &Outcome,
    ) -> Result<Vec<usize>> {
        let still_read = || Error::internal("a task of the batch still reads the state");
        let sides = Arc::get_mut(&mut self.sides).ok_or_else(still_read)?;
        let mut removed = Vec::new();
        for (side, changes) in Side::BOTH.into_iter().zip(&outcome.changes) {
            let files = &mut self.files[side.index()];
            let state = &mut sides[side.index()];
            let delta = if is_empty(changes) { None } else { Some(file::delta(state, changes)?) };
            let most = state.len() + changes.added.len();
            state.apply(changes)?;
            if let Some(watermark) = outcome.watermark {
                state.evict(watermark.saturating_sub(program.reach(side)));
                state.keys.sweep(Some(watermark));
            }
            removed.push(most - state.len());
            let Some(delta) = delta else { continue };
            if is_snapshot_due(files) {
                let snapshot = file::snapshot(state, outcome.watermark)?;
                *files = vec![checkpoint.write_state(side, plan.id, "snapshot", &snapshot).await?];
            } else {
                files.push(checkpoint.write_state(side, plan.id, "delta", &delta).await?);
            }
        }
        Ok(removed)
    }

    /// What `commits/<N>` will say.
    pub(super) fn next_commit(
        &self,
        plan: &BatchPlan,
        last_records: &PerPartition<LastRecord>,
        outcome: &Outcome,
        retained_from: BatchId,
    ) -> CommitRecord {
        let (mut total, mut tally) = (self.total, self.tally.clone());
        total.add(&outcome.counts);
        tally.add(&outcome.tally);
        let mut partitions = self.partitions.clone();
        for (tp, range) in &plan.ranges {
            let record = partitions.entry(tp.clone()).or_default();
            record.next_offset = range.end.max(range.start);
            record.clock = outcome.clocks.get(tp).copied().unwrap_or_default();
        }
        for (tp, last) in last_records {
            partitions.entry(tp.clone()).or_default().last_record = Some(last.clone());
        }
        CommitRecord {
            batch_id: plan.id,
            watermark: outcome.watermark,
            partitions: by_topic(&partitions),
            state: self.files.to_vec(),
            rows: self.sides.iter().map(|side| side.len() as u64).collect(),
            retained_from: Some(retained_from),
            program: Some(plan.program.clone()),
            counts: outcome.counts,
            total,
            tally,
        }
    }

    /// A commit is durable: the next batch stands on it.
    pub(super) fn move_on(&mut self, plan: &BatchPlan, commit: &CommitRecord) {
        self.next = plan.id.next();
        self.partitions = per_partition(&commit.partitions);
        self.watermark = commit.watermark;
        self.retained_from = commit.retained_from.unwrap_or(self.retained_from);
        self.total = commit.total;
        self.tally = commit.tally.clone();
        self.run = plan.unfinished_run();
    }

    /// Every record has exactly one fate; asserted before the outcome is written.
    pub(super) fn check_balance(&self, program: &Program, total: &Counts) -> Result<()> {
        let waiting: u64 = match &program.join {
            Some(_) => self.sides.iter().map(|side| side.num_waiting() as u64).sum(),
            None => 0,
        };
        let accounted = total.settled() + waiting;
        if total.records == accounted {
            return Ok(());
        }
        Err(Error::internal(format!("{} records were read and {accounted} are accounted for", total.records))
            .advise("this is a bug of ecomm-batch: the batch was not committed; please report it with the checkpoint"))
    }
}

/// Partitions of which nothing was read yet.
pub(super) fn partitions_from(starts: &ByTopic<i64>) -> PerPartition<PartitionRecord> {
    let unread = |next_offset| PartitionRecord { next_offset, ..PartitionRecord::default() };
    per_partition(starts).into_iter().map(|(tp, next_offset)| (tp, unread(next_offset))).collect()
}

fn is_empty(changes: &SideChanges) -> bool {
    changes.added.is_empty()
        && changes.matched.is_empty()
        && changes.removed.is_empty()
        && changes.keys.event_times.is_empty()
}

/// A snapshot pays once the deltas outweigh the one before, or are many.
fn is_snapshot_due(files: &[StateFile]) -> bool {
    let (snapshots, deltas): (Vec<&StateFile>, Vec<&StateFile>) =
        files.iter().partition(|file| file.name.ends_with(".snapshot.parquet"));
    let bytes = |files: &[&StateFile]| files.iter().map(|file| file.bytes).sum::<u64>();
    deltas.len() >= MAX_DELTAS || (deltas.len() >= 10 && bytes(&deltas) > 2 * bytes(&snapshots) + (1 << 20))
}
