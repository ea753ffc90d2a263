//! The loop, and in it the protocol of a batch:
//!
//! 1. plan: choose ranges, append the offset log
//! 2. read exactly those ranges, decode, admit
//! 3. join with state, rules, outputs
//! 4. write the sinks, then the state
//! 5. append the commit log
//! 6. report progress; tell Kafka's group offsets to lag tools
//!
//! Whatever happens between 1 and 5, a restart runs the same batch again, with the same ranges,
//! watermark, time and SQL; sinks store what is there already once.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{RecordBatch, UInt32Array};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::admission::{Admitted, DecodedRange, Letter, admit, letters_batch};
use crate::batch::{BatchId, BatchPlan, BoundedRun};
use crate::checkpoint::record::{CommitRecord, Counts, LastRecord, Metadata, PartitionRecord, StateFile};
use crate::checkpoint::{Checkpoint, Recovered};
use crate::clock::{Clock, Nanos};
use crate::decode::Decoder;
use crate::error::{Error, ErrorKind, Result};
use crate::joining::join;
use crate::offset::{ByTopic, OffsetRange, PerPartition, TopicPartition, by_topic, per_partition};
use crate::progress::BatchProgress;
use crate::query::fingerprint::Fingerprint;
use crate::query::folder::hex;
use crate::query::join_view::Side;
use crate::query::output::{Output, Reads, Selected, SinkTarget};
use crate::query::{Program, view};
use crate::sink::{DocumentIds, OutputRows, Refusal, RefusalReason, SharedSink, json};
use crate::source::{Extent, Source};
use crate::state::{KeyRows, RowMeta, Rows, SideChanges, SideState, file};
use crate::trigger::Trigger;
use crate::verdict::{Judged, judge_pairs, judge_rows};
use crate::watermark::{Advanced, HeldBy, PartitionClock, WatermarkInput, WatermarkPolicy};

/// Deltas since the last snapshot before a new one is written, whatever their size.
const MAX_DELTAS: usize = 100;

/// Where the first batch of a new checkpoint starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartingOffsets {
    /// The first offset that each partition still has.
    Earliest,
    /// The end of each partition.
    Latest,
    /// Given per partition; −2 is earliest, −1 latest, as in Spark; others start at earliest.
    Given(ByTopic<i64>),
}

/// What an engine is told beside its program.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The checkpoint's folder.
    pub checkpoint: PathBuf,
    /// The query's id, should the checkpoint be new.
    pub new_query_id: String,
    /// How many offsets a batch may span.
    pub max_offsets_per_trigger: Option<u64>,
    /// Where a new checkpoint starts.
    pub starting_offsets: StartingOffsets,
    /// Stop when the broker no longer has what is to be read.
    pub fail_on_data_loss: bool,
    /// How many batches the checkpoint keeps.
    pub retain_batches: u64,
}

/// A step of a batch at which a test lets the engine die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each name says after or before which step")]
pub enum FailPoint {
    BeforeOffsets,
    AfterOffsets,
    AfterRead,
    AfterSink,
    AfterState,
    BeforeCommit,
    AfterCommit,
}

/// Runs a program's batches.
pub struct Engine {
    program: Arc<Program>,
    source: Arc<dyn Source>,
    sink: SharedSink,
    clock: Arc<dyn Clock>,
    options: EngineOptions,
    checkpoint: Checkpoint,
    stop: watch::Receiver<bool>,
    query_id: String,
    committed: Committed,
    pending: Option<BatchPlan>,
    /// The program to go on with once the pending batch is done.
    next_program: Option<Arc<Program>>,
    fail_at: Option<FailPoint>,
}

/// Everything that the last commit left behind, in memory.
#[derive(Debug)]
struct Committed {
    next: BatchId,
    started_ms: Option<i64>,
    partitions: PerPartition<PartitionRecord>,
    watermark: Option<Nanos>,
    sides: [SideState; 2],
    files: [Vec<StateFile>; 2],
    total: Counts,
    /// The bounded run that a restart has to finish first.
    run: Option<BoundedRun>,
}

impl Engine {
    /// Opens the checkpoint and takes up where it was left.
    ///
    /// A program runs in one engine at a time; the next one may use it again.
    ///
    /// # Errors
    /// * [`Fenced`](ErrorKind::Fenced): another engine holds the checkpoint.
    /// * [`Checkpoint`](ErrorKind::Checkpoint): it is broken, or was written by a program whose
    ///   state this one can't read.
    pub fn open(
        program: Arc<Program>,
        source: Arc<dyn Source>,
        sink: SharedSink,
        clock: Arc<dyn Clock>,
        options: EngineOptions,
        stop: watch::Receiver<bool>,
    ) -> Result<Self> {
        let mut checkpoint = Checkpoint::lock(&options.checkpoint)?;
        let recovered = checkpoint.recover()?;
        let (mut program, mut next_program, mut pending) = (program, None, None);
        if let Some(Recovered { last_plan: Some(plan), pending: left, .. }) = &recovered {
            let is_same = plan.program == program.folder.hash();
            let stored = checkpoint.program(&plan.program)?;
            let before = if is_same { Arc::clone(&program) } else { Arc::new(Program::plan(stored)?) };
            Fingerprint::of(&before).allows(&Fingerprint::of(&program)).map_err(|change| {
                Error::checkpoint(format!("the SQL does not fit the checkpoint: {change}"))
                    .with("checkpoint", options.checkpoint.display())
                    .advise("undo the change, or start a new checkpoint with --checkpoint; rules, outputs and watermark.delay may change")
            })?;
            if left.is_some() {
                next_program = Some(std::mem::replace(&mut program, before));
                pending = left.clone();
            }
        }
        let committed = Committed::load(&checkpoint, &program, recovered.as_ref())?;
        let query_id =
            recovered.map_or_else(|| options.new_query_id.clone(), |recovered| recovered.metadata.query_id);
        Ok(Self {
            program,
            source,
            sink,
            clock,
            options,
            checkpoint,
            stop,
            query_id,
            committed,
            pending,
            next_program,
            fail_at: None,
        })
    }

    /// Lets the next batch die at `point`.
    pub fn fail_at(&mut self, point: FailPoint) {
        self.fail_at = Some(point);
    }

    /// The program of the next batch.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The query's watermark.
    pub fn watermark(&self) -> Option<Nanos> {
        self.committed.watermark
    }

    /// Rows of a side that can still match.
    pub fn state(&self, side: Side) -> &SideState {
        &self.committed.sides[side.index()]
    }

    /// Whether a batch was planned and has no outcome.
    pub fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Runs batches as `trigger` says, until it is done or a stop is asked for.
    pub async fn run(&mut self, trigger: Trigger, mut observe: impl FnMut(&BatchProgress)) -> Result<()> {
        self.begin().await?;
        self.open_outputs().await?;
        let outputs_change = self.next_program.is_some();
        if let Some(progress) = self.finish_pending().await? {
            observe(&progress);
            if trigger == Trigger::Once {
                return Ok(());
            }
        }
        if outputs_change {
            self.open_outputs().await?;
        }
        while !self.is_stopping()
            && let Some(progress) = self.next_of_run().await?
        {
            observe(&progress);
        }
        match trigger {
            Trigger::ProcessingTime(interval) => {
                let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(1)));
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
                while !self.is_stopping() {
                    let mut stop = self.stop.clone();
                    tokio::select! {
                        _ = ticks.tick() => {}
                        _ = stop.wait_for(|stop| *stop) => break,
                    }
                    match self.batch(self.options.max_offsets_per_trigger, None).await? {
                        Some(progress) => observe(&progress),
                        // With nothing to read, zero means soon, not in a busy loop.
                        None if interval.is_zero() => tokio::time::sleep(Duration::from_millis(20)).await,
                        None => {}
                    }
                }
            }
            Trigger::AvailableNow => {
                self.begin_run("available-now").await?;
                while !self.is_stopping()
                    && let Some(progress) = self.next_of_run().await?
                {
                    observe(&progress);
                }
            }
            Trigger::Once => {
                self.begin_run("once").await?;
                let run = self.committed.run.take();
                if let Some(progress) = self.batch(self.options.max_offsets_per_trigger, run).await? {
                    observe(&progress);
                }
            }
        }
        Ok(())
    }

    /// Writes down who the query is and where it starts; once, before anything else is written or
    /// claimed, so that every later start is the same query.
    async fn begin(&mut self) -> Result<()> {
        if self.committed.started_ms.is_some() {
            return Ok(());
        }
        let extents = self.extents().await?;
        let starts = self.positions(&extents)?;
        let metadata = Metadata {
            query_id: self.query_id.clone(),
            starting_offsets: by_topic(&starts),
            started_ms: self.clock.now_ms(),
        };
        self.checkpoint.begin(&metadata)?;
        self.committed.started_ms = Some(metadata.started_ms);
        self.committed.partitions = partitions_from(&metadata.starting_offsets);
        Ok(())
    }

    /// Claims the outputs for this query, before the first batch.
    pub async fn open_outputs(&mut self) -> Result<()> {
        let query_id = self.query_id.clone();
        let sink = Arc::clone(&self.sink);
        self.retry("the sink", async |engine| sink.open(&engine.program.outputs, &query_id).await).await
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// The next batch of a bounded run; `None` when it is done.
    async fn next_of_run(&mut self) -> Result<Option<BatchProgress>> {
        let Some(run) = self.committed.run.clone() else { return Ok(None) };
        let progress = self.batch(self.options.max_offsets_per_trigger, Some(run)).await?;
        if progress.is_none() {
            self.committed.run = None;
        }
        Ok(progress)
    }

    /// Fixes the targets of a bounded run.
    async fn begin_run(&mut self, trigger: &str) -> Result<()> {
        let extents = self.extents().await?;
        let positions = self.positions(&extents)?;
        let targets: PerPartition<i64> =
            extents.iter().map(|(tp, extent)| (tp.clone(), extent.latest)).collect();
        let pinned: BTreeSet<TopicPartition> = targets
            .iter()
            .filter(|(tp, target)| positions.get(tp) < Some(target))
            .map(|(tp, _)| tp.clone())
            .collect();
        tracing::info!("{trigger}: reading up to {}", describe_offsets(&targets));
        self.committed.run = Some(BoundedRun { trigger: trigger.to_owned(), targets, pinned });
        Ok(())
    }

    /// Runs the batch that was planned and has no outcome, as it was planned.
    pub async fn finish_pending(&mut self) -> Result<Option<BatchProgress>> {
        let Some(plan) = self.pending.take() else { return Ok(None) };
        tracing::info!(
            "batch {} was planned before the restart: running it again as it was planned",
            plan.id
        );
        let progress = self.execute(&plan, 0).await?;
        self.change_program()?;
        Ok(Some(progress))
    }

    /// From the next batch on the SQL of this start holds; state keeps its rows.
    fn change_program(&mut self) -> Result<()> {
        if let Some(program) = self.next_program.take() {
            let recovered = self.checkpoint.recover()?;
            self.committed = Committed::load(&self.checkpoint, &program, recovered.as_ref())?;
            self.program = program;
        }
        Ok(())
    }

    /// Plans and runs one batch; `None` if there is nothing to do.
    pub async fn batch(
        &mut self,
        max_offsets: Option<u64>,
        run: Option<BoundedRun>,
    ) -> Result<Option<BatchProgress>> {
        let started = Instant::now();
        self.begin().await?;
        let Some(plan) = self.plan(max_offsets, run).await? else { return Ok(None) };
        self.fail(FailPoint::BeforeOffsets)?;
        self.checkpoint.append_plan(&plan, &self.program.folder)?;
        self.fail(FailPoint::AfterOffsets)?;
        let planned_ms = started.elapsed().as_millis() as u64;
        Ok(Some(self.execute(&plan, planned_ms).await?))
    }

    /// Step 1: the ranges of the next batch.
    async fn plan(&mut self, max_offsets: Option<u64>, run: Option<BoundedRun>) -> Result<Option<BatchPlan>> {
        let mut extents = self.extents().await?;
        let positions = self.positions(&extents)?;
        if let Some(run) = &run {
            extents.retain(|tp, _| run.targets.contains_key(tp));
            for (tp, extent) in &mut extents {
                extent.latest = extent.latest.min(run.targets[tp]);
            }
        }
        let plan = BatchPlan {
            id: self.committed.next,
            ranges: choose_ranges(&extents, &positions, max_offsets),
            watermark: self.committed.watermark,
            time_ms: self.clock.now_ms(),
            program: self.program.folder.hash(),
            run,
        };
        if plan.num_offsets() > 0 {
            return Ok(Some(plan));
        }
        // Without records only time can move the watermark, by sources that fall idle.
        let clocks = self.clocks();
        let moves = self.next_watermark(&plan, &clocks).watermark != plan.watermark;
        Ok(moves.then_some(plan))
    }

    async fn extents(&mut self) -> Result<PerPartition<Extent>> {
        let source = Arc::clone(&self.source);
        self.retry("the broker", async |_| source.extents().await).await
    }

    /// Where each partition is read from next; the broker must still have it.
    fn positions(&self, extents: &PerPartition<Extent>) -> Result<PerPartition<i64>> {
        let lost = |tp: &TopicPartition, problem: String| {
            Error::new(ErrorKind::DataLoss, problem).with("partition", tp).advise(
                "restore the topic or start a new checkpoint; --fail-on-data-loss=false goes on with what is there",
            )
        };
        let strict = self.options.fail_on_data_loss;
        let mut positions = PerPartition::new();
        for (tp, extent) in extents {
            let position = match self.committed.partitions.get(tp) {
                None => self.first_position(tp, extent),
                Some(record) if record.next_offset < extent.earliest => {
                    let gone = format!(
                        "offsets {} to {} are gone from the broker",
                        record.next_offset, extent.earliest
                    );
                    if strict {
                        return Err(lost(tp, gone));
                    }
                    tracing::warn!("{tp}: {gone}, skipped");
                    extent.earliest
                }
                Some(record) if record.next_offset > extent.latest => {
                    let shrunk = format!(
                        "the topic was made again or cut: {} is to be read next, it ends at {}",
                        record.next_offset, extent.latest
                    );
                    if strict {
                        return Err(lost(tp, shrunk));
                    }
                    tracing::warn!("{tp}: {shrunk}, reading on from its beginning");
                    extent.earliest
                }
                Some(record) => record.next_offset,
            };
            positions.insert(tp.clone(), position);
        }
        for tp in self.committed.partitions.keys() {
            let topic_is_read = self.program.sources.iter().any(|source| *source.topic == *tp.topic);
            if strict && topic_is_read && !extents.contains_key(tp) && self.committed.run.is_none() {
                return Err(lost(tp, "a partition that was read before is not there any more".to_owned()));
            }
        }
        Ok(positions)
    }

    fn first_position(&self, tp: &TopicPartition, extent: &Extent) -> i64 {
        // A partition that appears later is read from its beginning: nothing of it was seen.
        if self.committed.started_ms.is_some() {
            return extent.earliest;
        }
        match &self.options.starting_offsets {
            StartingOffsets::Earliest => extent.earliest,
            StartingOffsets::Latest => extent.latest,
            StartingOffsets::Given(given) => {
                match given.get(tp.topic.as_ref()).and_then(|topic| topic.get(&tp.partition)) {
                    None | Some(-2) => extent.earliest,
                    Some(-1) => extent.latest,
                    Some(&offset) => offset.clamp(extent.earliest, extent.latest),
                }
            }
        }
    }

    fn clocks(&self) -> PerPartition<PartitionClock> {
        self.committed.partitions.iter().map(|(tp, record)| (tp.clone(), record.clock)).collect()
    }

    /// The watermark that a batch ends with, and what holds it there.
    fn next_watermark(&self, plan: &BatchPlan, clocks: &PerPartition<PartitionClock>) -> Advanced {
        let policies: Vec<WatermarkPolicy> =
            self.program.sources.iter().map(|source| source.watermark.clone()).collect();
        let none = BTreeSet::new();
        WatermarkInput {
            current: plan.watermark,
            clocks,
            ranges: &plan.ranges,
            pinned: plan.run.as_ref().map_or(&none, |run| &run.pinned),
            now_ms: plan.time_ms,
            query_start_ms: self.committed.started_ms.unwrap_or(plan.time_ms),
        }
        .advance(&policies)
    }

    /// Steps 2 to 6 of a planned batch.
    async fn execute(&mut self, plan: &BatchPlan, planned_ms: u64) -> Result<BatchProgress> {
        let mut steps = Steps::new(planned_ms);
        let ranges = self.read(plan).await?;
        self.fail(FailPoint::AfterRead)?;
        steps.done("getBatch");

        let mut outcome = self.compute(plan, &ranges).await?;
        steps.done("addBatch");

        self.write_outputs(plan, &mut outcome).await?;
        self.fail(FailPoint::AfterSink)?;
        steps.done("writeSink");

        self.apply_state(plan, &outcome)?;
        self.fail(FailPoint::AfterState)?;
        self.fail(FailPoint::BeforeCommit)?;
        let held_by = outcome.held_by.clone();
        let commit = self.commit(plan, &ranges, outcome)?;
        self.fail(FailPoint::AfterCommit)?;
        steps.done("walCommit");

        let positions =
            self.committed.partitions.iter().map(|(tp, record)| (tp.clone(), record.next_offset)).collect();
        self.source.report_position(&positions);
        let progress = self.progress(plan, &commit, held_by, steps.done);
        tracing::info!("{progress}");
        Ok(progress)
    }

    /// Step 2: the records of all ranges; partitions are decoded side by side.
    async fn read(&mut self, plan: &BatchPlan) -> Result<Vec<DecodedRange>> {
        let ranges: PerPartition<OffsetRange> = plan
            .ranges
            .iter()
            .filter(|(_, range)| !range.is_empty())
            .map(|(tp, range)| (tp.clone(), *range))
            .collect();
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let source = Arc::clone(&self.source);
        let fetched = self.retry("the broker", async |_| source.fetch(&ranges).await).await?;
        let mut tasks = Vec::new();
        for records in fetched {
            let table = self.program.sources.iter().find(|table| *table.topic == *records.tp.topic);
            let table = table.ok_or_else(|| Error::internal(format!("no table reads \"{}\"", records.tp)))?;
            let decoder =
                Decoder::try_new(Arc::clone(&table.columns), Some(table.event_time), table.max_record_bytes)?;
            tasks.push(tokio::task::spawn_blocking(move || {
                let decoded = decoder.decode(&records)?;
                Ok(DecodedRange { records, decoded })
            }));
        }
        let results = futures::future::join_all(tasks).await;
        let flatten = |result: std::result::Result<Result<DecodedRange>, tokio::task::JoinError>| {
            result.map_err(|source| Error::internal("decoding panicked").because(source))?
        };
        results.into_iter().map(flatten).collect()
    }

    /// Step 3: everything that follows from the plan, the records and the state; changes nothing.
    async fn compute(&self, plan: &BatchPlan, ranges: &[DecodedRange]) -> Result<Outcome> {
        let mut counts = Counts::default();
        let mut clocks = self.clocks();
        let mut letters = Vec::new();
        let mut admitted: Vec<Rows> = Vec::new();
        let mut filtered_keys = Vec::new();
        for (side, view) in Side::BOTH.into_iter().zip(self.program.inputs()) {
            let source = &self.program.sources[view.source];
            let of_source: Vec<&DecodedRange> =
                ranges.iter().filter(|range| *range.records.tp.topic == *source.topic).collect();
            let keys = &self.committed.sides[side.index()].keys;
            let Admitted { rows, filtered_keys: filtered, letters: refused } =
                admit(source, view, &of_source, keys, plan, &mut clocks, &mut counts).await?;
            letters.extend(refused);
            admitted.push(rows);
            filtered_keys.push(filtered);
        }
        let Advanced { watermark, held_by } = self.next_watermark(plan, &clocks);
        let both = || Error::internal("a join has two sides");
        let (judged, origins, changes) = match &self.program.join {
            Some(view) => {
                let new: [Rows; 2] = admitted.try_into().map_err(|_| both())?;
                let filtered_keys: [KeyRows; 2] = filtered_keys.try_into().map_err(|_| both())?;
                let state = [&self.committed.sides[0], &self.committed.sides[1]];
                let mut joined = join(view, state, new, filtered_keys, watermark).await?;
                let judged = judge_pairs(&self.program, plan, &mut joined).await?;
                counts.joined = joined.num_joined;
                counts.unmatched = joined.num_unmatched;
                counts.pairs = joined.num_pairs as u64;
                (judged, joined.origins, joined.changes.into())
            }
            None => {
                let (rows, filtered) = admitted.pop().zip(filtered_keys.pop()).ok_or_else(both)?;
                let side = &self.committed.sides[0];
                let all: Vec<usize> = (0..rows.len()).collect();
                let keys = side.keys.select(&rows, &all)?.followed_by(&filtered)?;
                let changes = vec![SideChanges::only_keys(side.schema(), keys)];
                let shown: Vec<usize> = (0..self.program.view.schema.fields().len()).collect();
                let judged = judge_rows(&self.program, plan, &rows.columns.project(&shown)?).await?;
                counts.joined = rows.len() as u64;
                (judged, rows.meta.iter().map(|&meta| [Some(meta), None]).collect(), changes)
            }
        };
        counts.valid = judged.num_valid;
        counts.rejected = judged.num_rejected;
        Ok(Outcome { judged, origins, changes, letters, counts, clocks, watermark, held_by })
    }

    /// Step 4, first half: outputs over the view, then the dead letters, with those of the sinks.
    async fn write_outputs(&mut self, plan: &BatchPlan, outcome: &mut Outcome) -> Result<()> {
        let sink = Arc::clone(&self.sink);
        let query_id = self.query_id.clone();
        self.retry("the sink", async |engine| sink.fence(&engine.program.outputs, plan.id, false).await)
            .await?;
        for reads in [Reads::View, Reads::DeadLetters] {
            let mut refused = Vec::new();
            for number in 0..self.program.outputs.len() {
                let output = &self.program.outputs[number];
                if output.reads != reads {
                    continue;
                }
                let Selected { rows, at, failed } = match reads {
                    Reads::View => output.select(&outcome.judged.rows, plan.time_ms).await?,
                    Reads::DeadLetters => output.select(&outcome.letter_rows()?, plan.time_ms).await?,
                };
                for (row, error) in failed {
                    let error = format!("output \"{}\" could not be computed: {error}", output.name);
                    tracing::warn!("{error}");
                    if reads == Reads::DeadLetters {
                        return Err(Error::config(error).advise("an output of dead letters has to compute for every row: use TRY_CAST or CASE, start again, and the batch runs again"));
                    }
                    let refusal = Refusal { row: 0, reason: RefusalReason::Refused, error };
                    let origin = outcome.origins[row as usize];
                    refused.push(self.refused_letter(origin, None, &refusal, &output.name, plan));
                    outcome.counts.refused += 1;
                }
                if rows.num_rows() == 0 {
                    continue;
                }
                let ids = self.document_ids(output, &at, outcome, &query_id);
                let rows = OutputRows { rows, ids };
                let refusals = self
                    .retry("the sink", async |engine| {
                        sink.write(&engine.program.outputs[number], plan.id, &rows).await
                    })
                    .await?;
                for refusal in refusals {
                    let output = &self.program.outputs[number];
                    tracing::warn!(
                        "output \"{}\": a row was not stored ({}): {}",
                        output.name,
                        refusal.reason.name(),
                        refusal.error
                    );
                    if reads == Reads::DeadLetters {
                        return Err(Error::new(ErrorKind::Sink, format!("output \"{}\" refused a dead letter", output.name))
                            .because(refusal.error)
                            .advise("mend the collection (validator, size limit) and start again: the batch runs again"));
                    }
                    let origin = outcome.origins[at.value(refusal.row) as usize];
                    let document = json::object(&rows, refusal.row)?;
                    refused.push(self.refused_letter(origin, Some(document), &refusal, &output.name, plan));
                    match refusal.reason {
                        RefusalReason::Refused => outcome.counts.refused += 1,
                        RefusalReason::Conflict => outcome.counts.conflict += 1,
                    }
                }
            }
            outcome.letters.extend(refused);
        }
        self.retry("the sink", async |engine| sink.fence(&engine.program.outputs, plan.id, true).await).await
    }

    fn refused_letter(
        &self,
        origin: [Option<RowMeta>; 2],
        document: Option<String>,
        refusal: &Refusal,
        output: &str,
        plan: &BatchPlan,
    ) -> Letter {
        let side = if origin[1].is_some() { Side::Right } else { Side::Left };
        let meta = origin[side.index()];
        Letter {
            topic: self.topic(side),
            partition: meta.map_or(-1, |meta| meta.partition),
            offset: meta.map_or(-1, |meta| meta.offset),
            timestamp_ms: meta.map_or(0, |meta| meta.timestamp_ms),
            key: None,
            value: document.map(String::into_bytes),
            headers: Vec::new(),
            reason: refusal.reason.name(),
            error: Some(format!("output \"{output}\": {}", refusal.error)),
            event_time: meta.map(|meta| meta.event_time),
            watermark: plan.watermark,
            output: Some(output.to_owned()),
        }
    }

    fn topic(&self, side: Side) -> Arc<str> {
        let source = self.program.input(side).map_or(0, |input| input.source);
        Arc::clone(&self.program.sources[source].topic)
    }

    fn document_ids(
        &self,
        output: &Output,
        at: &UInt32Array,
        outcome: &Outcome,
        query_id: &str,
    ) -> DocumentIds {
        if !output.id.is_empty() {
            return DocumentIds::Columns(output.id.clone());
        }
        let prefix = match &output.target {
            SinkTarget::MongoDb { shared: true, .. } => format!("{query_id}:"),
            _ => String::new(),
        };
        let position = |row: u32| -> String {
            match output.reads {
                Reads::DeadLetters => outcome.letters[row as usize].id(),
                Reads::View => Side::BOTH
                    .iter()
                    .filter_map(|&side| {
                        outcome.origins[row as usize][side.index()]
                            .map(|meta| format!("{}/{}/{}", self.topic(side), meta.partition, meta.offset))
                    })
                    .collect::<Vec<_>>()
                    .join("|"),
            }
        };
        DocumentIds::Derived(at.values().iter().map(|&row| format!("{prefix}{}", position(row))).collect())
    }

    /// Step 4, second half: the state in memory moves on, and its files are written.
    fn apply_state(&mut self, plan: &BatchPlan, outcome: &Outcome) -> Result<()> {
        for (side, changes) in Side::BOTH.into_iter().zip(&outcome.changes) {
            let files = &mut self.committed.files[side.index()];
            let state = &mut self.committed.sides[side.index()];
            let delta = if is_empty(changes) { None } else { Some(file::delta(state, changes)?) };
            state.apply(changes)?;
            if let Some(watermark) = outcome.watermark {
                let reach = self.program.join.as_ref().map_or(0, |view| view.reach(side));
                state.evict(watermark.saturating_sub(reach));
                state.keys.sweep(Some(watermark));
            }
            let Some(delta) = delta else { continue };
            if is_snapshot_due(files) {
                let snapshot = file::snapshot(state, outcome.watermark)?;
                *files = vec![self.checkpoint.write_state(side, plan.id, "snapshot", &snapshot)?];
            } else {
                files.push(self.checkpoint.write_state(side, plan.id, "delta", &delta)?);
            }
        }
        Ok(())
    }

    /// Step 5: the outcome becomes durable, and with it the batch is done.
    fn commit(
        &mut self,
        plan: &BatchPlan,
        ranges: &[DecodedRange],
        outcome: Outcome,
    ) -> Result<CommitRecord> {
        let mut total = self.committed.total;
        total.add(&outcome.counts);
        self.check_balance(&total)?;
        let mut partitions = self.committed.partitions.clone();
        for (tp, range) in &plan.ranges {
            let record = partitions.entry(tp.clone()).or_default();
            record.next_offset = range.end.max(range.start);
            record.clock = outcome.clocks.get(tp).copied().unwrap_or_default();
        }
        for range in ranges.iter().filter(|range| !range.records.is_empty()) {
            let last = range.records.get(range.records.len() - 1);
            let mut hasher = Sha256::new();
            for part in [last.key(), last.value()] {
                hasher.update((part.map_or(-1, |part| part.len() as i64)).to_le_bytes());
                hasher.update(part.unwrap_or_default());
            }
            let sha256 = hex(&hasher.finalize());
            partitions.entry(range.records.tp.clone()).or_default().last_record =
                Some(LastRecord { offset: last.offset(), timestamp_ms: last.timestamp_ms(), sha256 });
        }
        let commit = CommitRecord {
            batch_id: plan.id,
            watermark: outcome.watermark,
            partitions: by_topic(&partitions),
            state: self.committed.files.to_vec(),
            counts: outcome.counts,
            total,
        };
        self.checkpoint.append_commit(&commit)?;
        self.committed.next = plan.id.next();
        self.committed.partitions = partitions;
        self.committed.watermark = outcome.watermark;
        self.committed.total = total;
        self.committed.run = plan.unfinished_run();
        if plan.id.0 % 10 == 9 {
            self.checkpoint.clean(&commit, self.options.retain_batches)?;
        }
        Ok(commit)
    }

    /// Every record has exactly one fate; asserted before the outcome is written.
    fn check_balance(&self, total: &Counts) -> Result<()> {
        let waiting: u64 = match &self.program.join {
            Some(_) => self.committed.sides.iter().map(|side| side.num_waiting() as u64).sum(),
            None => 0,
        };
        let accounted =
            total.tombstones + total.dead() + total.filtered + total.joined + total.unmatched + waiting;
        if total.records == accounted {
            return Ok(());
        }
        Err(Error::internal(format!("{} records were read and {accounted} are accounted for", total.records))
            .advise("this is a bug of ecomm-batch: the batch was not committed; please report it with the checkpoint"))
    }

    fn progress(
        &self,
        plan: &BatchPlan,
        commit: &CommitRecord,
        held_by: HeldBy,
        steps_ms: Vec<(&'static str, u64)>,
    ) -> BatchProgress {
        let sides = &self.committed.sides;
        BatchProgress {
            query_id: self.query_id.clone(),
            batch_id: plan.id,
            time_ms: plan.time_ms,
            counts: commit.counts,
            total: commit.total,
            watermark: commit.watermark,
            has_moved: commit.watermark != plan.watermark,
            held_by,
            state_rows: sides.iter().map(|side| side.len() as u64).sum(),
            waiting: sides.iter().map(|side| side.num_waiting() as u64).sum(),
            lag: plan.ranges.values().map(|range| (range.latest - range.end).max(0) as u64).sum(),
            steps_ms,
        }
    }

    fn fail(&self, point: FailPoint) -> Result<()> {
        match self.fail_at {
            Some(at) if at == point => Err(Error::internal(format!("stopped at the fail point {point:?}"))),
            _ => Ok(()),
        }
    }

    /// Tries until it works, a person stops the engine, or the error is one that waiting won't mend.
    async fn retry<T>(&mut self, what: &str, mut attempt: impl AsyncFnMut(&Self) -> Result<T>) -> Result<T> {
        let mut delay = Duration::from_millis(250);
        loop {
            match attempt(self).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    tracing::warn!("{error}; trying again in {}", humantime::format_duration(delay));
                    let mut stop = self.stop.clone();
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        _ = stop.wait_for(|stop| *stop) => {
                            return Err(Error::unavailable(format!("stopped while waiting for {what}")));
                        }
                    }
                    delay = (delay * 2).min(Duration::from_secs(10));
                }
                other => return other,
            }
        }
    }
}

/// What a batch leads to.
struct Outcome {
    judged: Judged,
    /// For each row of the view the records behind it.
    origins: Vec<[Option<RowMeta>; 2]>,
    /// Of each side; of a program without a join one.
    changes: Vec<SideChanges>,
    letters: Vec<Letter>,
    counts: Counts,
    clocks: PerPartition<PartitionClock>,
    watermark: Option<Nanos>,
    held_by: HeldBy,
}

impl Outcome {
    /// The letters as rows, `_row` last.
    fn letter_rows(&self) -> Result<RecordBatch> {
        let rows = letters_batch(&self.letters)?;
        let mut columns = rows.columns().to_vec();
        columns.push(Arc::new(UInt32Array::from_iter_values(0..rows.num_rows() as u32)));
        Ok(RecordBatch::try_new(view::with_row(&rows.schema()), columns)?)
    }
}

impl Committed {
    fn load(checkpoint: &Checkpoint, program: &Program, recovered: Option<&Recovered>) -> Result<Self> {
        let commit = recovered.and_then(|recovered| recovered.commit.as_ref());
        let sides = [
            checkpoint.load_state(program, Side::Left, commit)?,
            checkpoint.load_state(program, Side::Right, commit)?,
        ];
        let files = |side: Side| {
            commit.and_then(|commit| commit.state.get(side.index()).cloned()).unwrap_or_default()
        };
        // A batch that is pending still carries its run; the commit that follows decides.
        let last_run = recovered
            .filter(|recovered| recovered.pending.is_none())
            .and_then(|recovered| recovered.last_plan.as_ref()?.unfinished_run());
        let starts = recovered
            .map(|recovered| partitions_from(&recovered.metadata.starting_offsets))
            .unwrap_or_default();
        Ok(Self {
            next: commit.map_or(BatchId(0), |commit| commit.batch_id.next()),
            started_ms: recovered.map(|recovered| recovered.metadata.started_ms),
            partitions: commit.map_or(starts, |commit| per_partition(&commit.partitions)),
            watermark: commit.and_then(|commit| commit.watermark),
            sides,
            files: [files(Side::Left), files(Side::Right)],
            total: commit.map(|commit| commit.total).unwrap_or_default(),
            run: last_run,
        })
    }
}

/// Partitions of which nothing was read yet.
fn partitions_from(starts: &ByTopic<i64>) -> PerPartition<PartitionRecord> {
    let unread = |next_offset| PartitionRecord { next_offset, ..PartitionRecord::default() };
    per_partition(starts).into_iter().map(|(tp, next_offset)| (tp, unread(next_offset))).collect()
}

/// Milliseconds of each step.
struct Steps {
    done: Vec<(&'static str, u64)>,
    since: Instant,
}

impl Steps {
    fn new(planned_ms: u64) -> Self {
        Self { done: vec![("queryPlanning", planned_ms)], since: Instant::now() }
    }

    fn done(&mut self, step: &'static str) {
        self.done.push((step, self.since.elapsed().as_millis() as u64));
        self.since = Instant::now();
    }
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

/// The ranges of a batch: everything, or `max_offsets` shared by backlog with at least one offset
/// for each partition that has any.
fn choose_ranges(
    extents: &PerPartition<Extent>,
    positions: &PerPartition<i64>,
    max_offsets: Option<u64>,
) -> PerPartition<OffsetRange> {
    let start = |tp: &TopicPartition, extent: &Extent| positions.get(tp).copied().unwrap_or(extent.earliest);
    let backlog = |tp: &TopicPartition, extent: &Extent| (extent.latest - start(tp, extent)).max(0);
    let total: i128 = extents.iter().map(|(tp, extent)| i128::from(backlog(tp, extent))).sum();
    let limit = i128::from(max_offsets.unwrap_or(u64::MAX).max(1));
    let mut left = limit;
    extents
        .iter()
        .map(|(tp, extent)| {
            let (start, backlog) = (start(tp, extent), i128::from(backlog(tp, extent)));
            let share = if total <= limit {
                backlog
            } else {
                (backlog * limit / total).max(1).min(backlog).min(left.max(1))
            };
            left -= share;
            let range = OffsetRange { start, end: start + share as i64, latest: extent.latest.max(start) };
            (tp.clone(), range)
        })
        .collect()
}

fn describe_offsets(offsets: &PerPartition<i64>) -> String {
    offsets.iter().map(|(tp, offset)| format!("{tp}: {offset}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_shared_by_backlog_and_every_partition_moves() {
        let extents: PerPartition<Extent> = [("a", 0, 900), ("a", 1, 99), ("b", 0, 1), ("b", 1, 0)]
            .into_iter()
            .map(|(topic, number, latest)| {
                (TopicPartition::new(topic, number), Extent { earliest: 0, latest })
            })
            .collect();
        let lengths = |max| -> Vec<i64> {
            choose_ranges(&extents, &PerPartition::new(), max).values().map(OffsetRange::len).collect()
        };
        assert_eq!(lengths(None), [900, 99, 1, 0]);
        assert_eq!(lengths(Some(100)), [90, 9, 1, 0]);
        assert_eq!(lengths(Some(1)), [1, 1, 1, 0]);
    }
}
