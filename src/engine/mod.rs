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

mod notices;
pub(crate) mod resume;
mod steps;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::counts::{Counts, Tally};
use crate::batch::offset::{ByTopic, OffsetRange, PerPartition, TopicPartition, by_topic, per_partition};
use crate::batch::trigger::Trigger;
use crate::batch::watermark::{Advanced, HeldBy, PartitionClock, WatermarkInput, WatermarkPolicy};
use crate::batch::{BatchId, BatchPlan, BoundedRun, SinkMode};
use crate::checkpoint::record::{CommitRecord, LastRecord, Metadata, PartitionRecord, StateFile};
use crate::checkpoint::{Checkpoint, Location, Recovered};
use crate::clock::{Clock, Nanos};
use crate::decode::Decoder;
use crate::engine::notices::Notices;
use crate::engine::resume::{fits, planned_with, stays_pending, take_on, way_out};
use crate::engine::steps::Steps;
use crate::error::{Error, ErrorKind, Result};
use crate::faults::{FailPoint, Faults};
use crate::now::{Service, Step};
use crate::observe::example::{Example, ExampleKind, MAX_OF_KIND, cut};
use crate::observe::inspector::Questions;
use crate::observe::progress::{BatchProgress, Lateness, SourceProgress, StateProgress, behind};
use crate::query::Program;
use crate::query::side::Side;
use crate::ranges::{StartingOffsets, choose_ranges, data_loss, missing_topic, positions};
use crate::retry::Patience;
use crate::sink::SharedSink;
use crate::source::{Extent, Records, Source};
use crate::stage::admission::{Admitted, DecodedRange, Entry, Letter, admit};
use crate::stage::delivery::{Delivered, Delivery, records_behind};
use crate::stage::joining::join;
use crate::stage::verdict::{Judged, Origin, judge_pairs, judge_rows};
use crate::state::{KeyRows, RowMeta, Rows, SideChanges, SideState, file};

/// Deltas since the last snapshot before a new one is written, whatever their size.
const MAX_DELTAS: usize = 100;

/// After every so many batches what is no longer retained is removed.
const CLEAN_EVERY: u64 = 10;

/// At a trigger of zero: the pause before the broker is asked again when it had nothing; each further one is
/// twice as long.
const FIRST_IDLE_PAUSE: Duration = Duration::from_millis(10);

/// The longest of these pauses.
const LONGEST_IDLE_PAUSE: Duration = Duration::from_millis(320);

/// Batches give examples of their rows no more often.
const EXAMPLES_EVERY: Duration = Duration::from_millis(200);

/// How often, in milliseconds, a partition without new records is asked for the last one that was read.
const KNOW_EVERY_MS: i64 = 5_000;

/// What an engine is told beside its program.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The checkpoint.
    pub checkpoint: Location,
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
    /// How new batches are stored.
    pub sink_mode: SinkMode,
    /// Take pending batches on with the given program instead of the one that they were planned with.
    pub replan: bool,
    /// Where it may be made to fail.
    pub faults: Arc<Faults>,
}

/// Runs a program's batches.
pub struct Engine {
    /// The program of the next batch: the given one, or the one that a pending batch was planned with.
    program: Arc<Program>,
    given: Arc<Program>,
    source: Arc<dyn Source>,
    sink: SharedSink,
    clock: Arc<dyn Clock>,
    options: EngineOptions,
    checkpoint: Checkpoint,
    patience: Patience,
    query_id: String,
    run_id: String,
    last_batch: LastBatch,
    /// What people ask of the rows in state.
    questions: Option<Questions>,
    committed: Committed,
    pending: VecDeque<BatchPlan>,
    /// The hash of the program whose outputs are claimed.
    claimed: Option<String>,
    /// When the source was found to be the one that was read before, in milliseconds.
    known_ms: Option<i64>,
    /// Records below where reading goes on in a topic that was made again; the next commit counts them.
    passed_over: u64,
    notices: Notices,
    /// Whether rubbish of earlier engines was removed.
    is_clean: bool,
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
    retained_from: BatchId,
    total: Counts,
    tally: Tally,
    /// The bounded run that a restart has to finish first.
    run: Option<BoundedRun>,
}

impl Engine {
    /// Opens the checkpoint and takes up where it was left.
    ///
    /// A program runs in one engine at a time; the next one may use it again.
    ///
    /// # Errors
    /// * [`Fenced`](crate::error::ErrorKind::Fenced): another engine holds the checkpoint.
    /// * [`Checkpoint`](crate::error::ErrorKind::Checkpoint): it is broken, or was written by a program whose
    ///   state this one can't read.
    pub async fn open(
        program: Arc<Program>,
        source: Arc<dyn Source>,
        sink: SharedSink,
        clock: Arc<dyn Clock>,
        options: EngineOptions,
        patience: impl Into<Patience>,
    ) -> Result<Self> {
        let patience = patience.into();
        let faults = Arc::clone(&options.faults);
        let mut checkpoint = Checkpoint::open(&options.checkpoint, faults)?.patient(patience.clone());
        let mut recovered = checkpoint.recover().await?;
        if let Some(recovered) = &recovered {
            fits(&checkpoint, recovered, &program, options.replan).await?;
        }
        // What is refused so far leaves an engine at work alone; from here on it is replaced.
        checkpoint.claim().await?;
        if !checkpoint.is_still(recovered.as_ref()).await? {
            recovered = checkpoint.recover().await?;
        }
        let mut pending = recovered.as_ref().map(|recovered| recovered.pending.clone()).unwrap_or_default();
        if options.replan {
            take_on(&checkpoint, &mut pending, &program).await?;
        }
        let first = match pending.first() {
            Some(plan) => planned_with(&checkpoint, &plan.program, &program)
                .await
                .map_err(|error| error.advise(way_out(plan.id)))?,
            None => Arc::clone(&program),
        };
        let committed = Committed::load(&checkpoint, &first, recovered.as_ref()).await?;
        let query_id =
            recovered.map_or_else(|| options.new_query_id.clone(), |recovered| recovered.metadata.query_id);
        Ok(Self {
            program: first,
            given: program,
            source,
            sink,
            clock,
            options,
            checkpoint,
            patience,
            query_id,
            run_id: uuid::Uuid::new_v4().to_string(),
            last_batch: LastBatch::default(),
            questions: None,
            committed,
            pending: pending.into(),
            claimed: None,
            known_ms: None,
            passed_over: 0,
            notices: Notices::default(),
            is_clean: false,
        })
    }

    /// Answers questions about the rows in state, between batches and while the next one is waited for.
    pub fn answer(&mut self, questions: Questions) {
        self.questions = Some(questions);
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
        !self.pending.is_empty()
    }

    /// Runs batches as `trigger` says, until it is done or a stop is asked for.
    pub async fn run(&mut self, trigger: Trigger, mut observe: impl FnMut(&BatchProgress)) -> Result<()> {
        if self.committed.started_ms.is_none() {
            // What can't be stored is found before anything is written down.
            let ask = || self.sink.ask(&self.program.outputs, &self.query_id);
            self.patience.retry(Service::Sink, ask).await?;
        }
        self.begin().await?;
        self.claim_outputs().await.map_err(|error| match self.pending.front() {
            Some(plan) => stays_pending(plan.id, error),
            None => error,
        })?;
        let was_pending = self.has_pending();
        while !self.is_stopping()
            && let Some(progress) = self.finish_pending().await?
        {
            observe(&progress);
        }
        if was_pending && trigger == Trigger::Once {
            return Ok(());
        }
        while !self.is_stopping()
            && let Some(progress) = self.next_of_run().await?
        {
            observe(&progress);
        }
        if self.is_stopping() {
            return Ok(());
        }
        match trigger {
            Trigger::ProcessingTime(interval) => {
                let mut idle_pause = FIRST_IDLE_PAUSE;
                let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(1)));
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
                while !self.is_stopping() {
                    let mut stop = self.patience.stop.clone();
                    tokio::select! {
                        _ = ticks.tick() => {}
                        _ = stop.wait_for(|stop| *stop) => break,
                        () = asked(&mut self.questions) => {
                            self.answer_questions();
                            continue;
                        }
                    }
                    match self.batch(self.options.max_offsets_per_trigger, None).await? {
                        Some(progress) => {
                            idle_pause = FIRST_IDLE_PAUSE;
                            observe(&progress);
                        }
                        // With nothing to read, zero means soon, not in a busy loop.
                        None if interval.is_zero() => {
                            tokio::time::sleep(idle_pause).await;
                            idle_pause = (idle_pause * 2).min(LONGEST_IDLE_PAUSE);
                        }
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
                self.tell_what_is_held_back().await;
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
    /// claimed, so that every later start is the same query. A later start makes sure that the source is
    /// still the same.
    async fn begin(&mut self) -> Result<()> {
        let extents = match (self.committed.started_ms, self.known_ms) {
            (Some(_), Some(_)) => return Ok(()),
            _ => self.extents().await?,
        };
        if self.committed.started_ms.is_some() {
            return self.know_source(&extents, |_, _| true).await;
        }
        let starting = &self.options.starting_offsets;
        let times = starting.times(&extents);
        let found = match times.is_empty() {
            true => PerPartition::new(),
            false => self.patience.retry(Service::Broker, || self.source.offsets_for_times(&times)).await?,
        };
        let starts = starting.starts(&extents, &found)?;
        let metadata = Metadata {
            query_id: self.query_id.clone(),
            starting_offsets: by_topic(&starts),
            started_ms: self.clock.now_ms(),
        };
        self.checkpoint.begin(&metadata).await?;
        self.committed.started_ms = Some(metadata.started_ms);
        self.committed.partitions = partitions_from(&metadata.starting_offsets);
        self.known_ms = Some(metadata.started_ms);
        Ok(())
    }

    /// Reads the last record of each partition that `is_asked` names again: a topic that was made again has
    /// another one there.
    async fn know_source(
        &mut self,
        extents: &PerPartition<Extent>,
        is_asked: impl Fn(&PartitionRecord, &Extent) -> bool,
    ) -> Result<()> {
        let mut lasts: PerPartition<OffsetRange> = PerPartition::new();
        for (tp, extent) in extents {
            let record = self.committed.partitions.get(tp).filter(|record| is_asked(record, extent));
            let last = record.and_then(|record| record.last_record.as_ref());
            // Aged out since, or cut: positions are compared when a batch is planned.
            if let Some(last) = last.filter(|last| (extent.earliest..extent.latest).contains(&last.offset)) {
                let range = OffsetRange { start: last.offset, end: last.offset + 1, latest: extent.latest };
                lasts.insert(tp.clone(), range);
            }
        }
        let found = if lasts.is_empty() { Vec::new() } else { self.fetch(&lasts).await? };
        for records in found.iter().filter(|records| !records.is_empty()) {
            let found = LastRecord::of(records.get(0));
            let passed_over = self.made_again(&records.tp, &found, extents[&records.tp])?;
            if passed_over > 0
                && let Some(record) = self.committed.partitions.get_mut(&records.tp)
            {
                record.last_record = Some(found);
            }
            self.passed_over += passed_over;
        }
        self.known_ms = Some(self.clock.now_ms());
        Ok(())
    }

    /// Compares the record that stands where the last one was read. Of a topic that was made again: how many
    /// of its offsets lie below where reading goes on, if it may go on.
    fn made_again(&self, tp: &TopicPartition, found: &LastRecord, extent: Extent) -> Result<u64> {
        let record = &self.committed.partitions[tp];
        if record.last_record.as_ref().is_none_or(|last| last == found) {
            return Ok(0);
        }
        let problem = format!("the topic was made again: offset {} holds another record now", found.offset);
        if self.options.fail_on_data_loss {
            return Err(data_loss(tp, problem));
        }
        let next = record.next_offset;
        tracing::warn!("{tp}: {problem}; going on at {next}, what lies below is passed over");
        Ok((next - extent.earliest).max(0).unsigned_abs())
    }

    /// Claims the outputs of the program for this query, once, before its first batch.
    async fn claim_outputs(&mut self) -> Result<()> {
        if self.claimed.as_ref() == Some(&self.program.hash) {
            return Ok(());
        }
        let last_planned = match self.pending.back() {
            Some(plan) => Some(plan.id),
            None => self.committed.next.0.checked_sub(1).map(BatchId),
        };
        let claim = || self.sink.open(&self.program.outputs, &self.query_id, last_planned);
        self.patience.retry(Service::Sink, claim).await?;
        self.claimed = Some(self.program.hash.clone());
        Ok(())
    }

    fn is_stopping(&self) -> bool {
        self.patience.is_stopping()
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

    /// A bounded run ends at the last stable offsets: says so where records lie behind them.
    async fn tell_what_is_held_back(&self) {
        match self.source.held_back().await {
            Ok(held) => held.iter().for_each(|(tp, num_offsets)| {
                tracing::warn!(
                    "{tp}: an open transaction holds the end back: {num_offsets} offsets were not read; a later run reads them once it has ended"
                );
            }),
            Err(error) => tracing::debug!("{error}"),
        }
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

    /// Runs the first batch that was planned and has no outcome, as it was planned; `None` if there is none.
    pub async fn finish_pending(&mut self) -> Result<Option<BatchProgress>> {
        let Some(plan) = self.pending.front().cloned() else { return Ok(None) };
        self.begin().await?;
        let program = planned_with(&self.checkpoint, &plan.program, &self.given).await?;
        self.go_on_with(program).await?;
        tracing::info!("batch {} was planned before: running it again as it was planned", plan.id);
        let now = self.patience.now.clone();
        self.last_batch.begin(Instant::now());
        let progress = self.execute(&plan, &PerPartition::new(), Steps::plan(&now, plan.id)).await;
        let progress = progress.map_err(|error| stays_pending(plan.id, error))?;
        self.pending.pop_front();
        if self.pending.is_empty() {
            // From the next batch on the SQL of this start holds.
            self.go_on_with(Arc::clone(&self.given)).await?;
        }
        Ok(Some(progress))
    }

    /// The next batch has another program; state keeps its rows.
    async fn go_on_with(&mut self, program: Arc<Program>) -> Result<()> {
        if self.program.hash != program.hash {
            let recovered = self.checkpoint.recover().await?;
            self.committed = Committed::load(&self.checkpoint, &program, recovered.as_ref()).await?;
            self.program = program;
        }
        Ok(())
    }

    fn answer_questions(&mut self) {
        if let Some(questions) = &mut self.questions {
            questions.answer(&self.committed.sides);
        }
    }

    /// Plans and runs one batch; `None` if there is nothing to do.
    pub async fn batch(
        &mut self,
        max_offsets: Option<u64>,
        run: Option<BoundedRun>,
    ) -> Result<Option<BatchProgress>> {
        self.answer_questions();
        let now = self.patience.now.clone();
        let steps = Steps::plan(&now, self.committed.next);
        let progress = self.plan_and_run(max_offsets, run, steps).await?;
        if progress.is_none() {
            now.enter(self.committed.next, Step::Idle);
        }
        Ok(progress)
    }

    async fn plan_and_run(
        &mut self,
        max_offsets: Option<u64>,
        run: Option<BoundedRun>,
        steps: Steps<'_>,
    ) -> Result<Option<BatchProgress>> {
        let began = Instant::now();
        self.begin().await?;
        let extents = self.extents().await?;
        if self.known_ms.is_none_or(|known| (self.clock.now_ms() - known).abs() >= KNOW_EVERY_MS) {
            self.know_source(&extents, |record, extent| extent.latest <= record.next_offset).await?;
        }
        self.notices.new_partitions(&self.committed.partitions, &extents);
        let Some(plan) = self.plan(&extents, max_offsets, run)? else { return Ok(None) };
        self.pass(FailPoint::BeforeOffsets)?;
        self.checkpoint.append_plan(&plan, &self.program).await?;
        self.pass(FailPoint::AfterOffsets)?;
        self.last_batch.begin(began);
        let progress = self.execute(&plan, &extents, steps).await;
        progress.map(Some).map_err(|error| stays_pending(plan.id, error))
    }

    /// Step 1: the ranges of the next batch.
    fn plan(
        &self,
        extents: &PerPartition<Extent>,
        max_offsets: Option<u64>,
        run: Option<BoundedRun>,
    ) -> Result<Option<BatchPlan>> {
        let mut extents = extents.clone();
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
            program: self.program.hash.clone(),
            sink: self.options.sink_mode,
            run,
        };
        if plan.num_offsets() > 0 {
            return Ok(Some(plan));
        }
        // Without records only time can move the watermark, by partitions and sources that are let go.
        let clocks = self.clocks();
        let moves = self.next_watermark(&plan, &clocks).watermark != plan.watermark;
        Ok(moves.then_some(plan))
    }

    /// What each partition holds now; topics that were read before must still be there.
    async fn extents(&self) -> Result<PerPartition<Extent>> {
        let extents = self.patience.retry(Service::Broker, || self.source.extents()).await?;
        for table in &self.program.sources {
            let of_topic = |tp: &TopicPartition| tp.topic == table.topic;
            if extents.keys().any(of_topic) {
                continue;
            }
            let Some(tp) = self.committed.partitions.keys().find(|tp| of_topic(tp)) else {
                return Err(missing_topic(&table.topic));
            };
            if self.options.fail_on_data_loss {
                return Err(data_loss(tp, format!("the topic \"{}\" was deleted", table.topic)));
            }
            tracing::warn!("the topic \"{}\" was deleted; nothing is read of it", table.topic);
        }
        Ok(extents)
    }

    async fn fetch(&self, ranges: &PerPartition<OffsetRange>) -> Result<Vec<Records>> {
        self.patience.retry(Service::Broker, || self.source.fetch(ranges)).await
    }

    /// Where each partition is read from next; the broker must still have it.
    fn positions(&self, extents: &PerPartition<Extent>) -> Result<PerPartition<i64>> {
        positions(extents, &self.committed.partitions, self.options.fail_on_data_loss)
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
    ///
    /// * `extents`: what it was planned from; nothing for a batch that was planned by an earlier engine.
    async fn execute(
        &mut self,
        plan: &BatchPlan,
        extents: &PerPartition<Extent>,
        mut steps: Steps<'_>,
    ) -> Result<BatchProgress> {
        self.claim_outputs().await?;
        let is_again = extents.is_empty();
        steps.next(Step::Reading);
        let ranges = self.read(plan, extents).await?;
        self.pass(FailPoint::AfterRead)?;

        steps.next(Step::Joining);
        let mut outcome = self.compute(plan, &ranges.decoded).await?;
        self.notices.all_malformed(&ranges.decoded, &outcome.letters);
        outcome.counts.lost = ranges.lost + self.skipped(plan) + self.passed_over;

        steps.next(Step::Storing);
        let wants_examples = self.last_batch.wants_examples();
        let delivery = Delivery {
            program: &self.program,
            sink: &self.sink,
            query_id: &self.query_id,
            plan,
            patience: &self.patience,
            rows: &outcome.judged.rows,
            origins: &outcome.origins,
            is_again,
            wants_examples,
        };
        let Delivered { tally, mut examples } =
            delivery.deliver(&mut outcome.letters, &mut outcome.counts).await?;
        self.pass(FailPoint::AfterSink)?;
        if wants_examples {
            examples.extend(self.examples(plan, &outcome));
        }
        outcome.tally.outputs = tally;

        steps.next(Step::Committing);
        let removed = self.apply_state(plan, &outcome).await?;
        self.pass(FailPoint::AfterState)?;
        self.pass(FailPoint::BeforeCommit)?;
        let commit = self.commit(plan, &ranges.decoded, &outcome).await?;
        self.passed_over = 0;
        self.pass(FailPoint::AfterCommit)?;
        let steps_ms = steps.end();

        let positions =
            self.committed.partitions.iter().map(|(tp, record)| (tp.clone(), record.next_offset)).collect();
        self.source.report_position(&positions);
        self.notices.silence(&outcome.held_by);
        let progress = BatchProgress {
            query_id: self.query_id.clone(),
            run_id: self.run_id.clone(),
            name: self.program.view.name.clone(),
            batch_id: plan.id,
            time_ms: plan.time_ms,
            program: plan.program.clone(),
            since_last_ms: self.last_batch.since_last_ms,
            counts: commit.counts,
            total: commit.total,
            state: self.state_progress(&outcome.changes, &removed),
            tally: outcome.tally,
            total_tally: commit.tally,
            sources: outcome.sources,
            clocks: outcome.clocks,
            watermark: commit.watermark,
            has_moved: commit.watermark != plan.watermark,
            held_by: outcome.held_by,
            lag: plan.ranges.values().map(behind).sum(),
            checkpoint_bytes: commit.state.iter().flatten().map(|file| file.bytes).sum(),
            steps_ms,
            lateness: lateness(&outcome.letters),
            examples: examples.into(),
        };
        progress.log();
        Ok(progress)
    }

    /// A few dead letters, and rows that rules found fault with.
    fn examples(&self, plan: &BatchPlan, outcome: &Outcome) -> Vec<Example> {
        let mut examples = Vec::new();
        let mut num_of_reason: BTreeMap<&str, usize> = BTreeMap::new();
        for letter in outcome.letters.iter().rev() {
            let num = num_of_reason.entry(letter.reason).or_default();
            *num += 1;
            if *num > MAX_OF_KIND {
                continue;
            }
            examples.push(Example {
                kind: ExampleKind::Letter(letter.reason),
                batch: plan.id,
                time_ms: plan.time_ms,
                origins: vec![(
                    TopicPartition::new(Arc::clone(&letter.topic), letter.partition),
                    letter.offset,
                )],
                id: None,
                severity: None,
                detail: letter.error.clone(),
                body: cut(letter.value.as_deref().unwrap_or_default()),
            });
        }
        examples.extend(outcome.judged.examples.iter().map(|(row, violation)| Example {
            kind: ExampleKind::Rule(self.program.rules[violation.rule].name.clone()),
            batch: plan.id,
            time_ms: plan.time_ms,
            origins: records_behind(&self.program, outcome.origins[*row as usize]),
            id: None,
            severity: Some(violation.severity),
            detail: violation.detail.clone(),
            body: Vec::new(),
        }));
        examples
    }

    fn state_progress(&self, changes: &[SideChanges], removed: &[usize]) -> Vec<StateProgress> {
        let sides = Side::BOTH.into_iter().zip(self.program.inputs()).zip(changes).zip(removed);
        sides
            .map(|(((side, input), changes), &removed)| {
                let state = &self.committed.sides[side.index()];
                StateProgress {
                    source: self.program.sources[input.source].name.clone(),
                    rows: state.len() as u64,
                    waiting: Some(state.num_waiting() as u64),
                    keys: state.keys.len() as u64,
                    bytes: state.num_bytes() as u64,
                    added: changes.added.len() as u64,
                    removed: removed as u64,
                    oldest: state.oldest(),
                }
            })
            .collect()
    }

    /// Offsets between where the last batch ended and where this one begins: the broker had lost them.
    fn skipped(&self, plan: &BatchPlan) -> u64 {
        let skipped = |(tp, range): (&TopicPartition, &OffsetRange)| {
            let record = self.committed.partitions.get(tp)?;
            u64::try_from(range.start - record.next_offset).ok()
        };
        plan.ranges.iter().filter_map(skipped).sum()
    }

    /// The last record read of each partition that has one in front of its range, to be read again with it:
    /// should the topic have been made again, another one stands there.
    fn witnesses(
        &self,
        ranges: &PerPartition<OffsetRange>,
        extents: &PerPartition<Extent>,
    ) -> PerPartition<i64> {
        let witness = |(tp, range): (&TopicPartition, &OffsetRange)| {
            let last = self.committed.partitions.get(tp)?.last_record.as_ref()?;
            let is_there = last.offset >= extents.get(tp)?.earliest && last.offset < range.start;
            is_there.then(|| (tp.clone(), last.offset))
        };
        ranges.iter().filter_map(witness).collect()
    }

    /// Step 2: the records of all ranges; partitions are decoded side by side.
    async fn read(&self, plan: &BatchPlan, extents: &PerPartition<Extent>) -> Result<Read> {
        let mut ranges = plan.ranges.clone();
        ranges.retain(|_, range| !range.is_empty());
        let mut witnesses = self.witnesses(&ranges, extents);
        let mut lost = 0;
        let mut fetched = loop {
            if ranges.is_empty() {
                return Ok(Read { decoded: Vec::new(), lost });
            }
            let mut asked = ranges.clone();
            for (tp, range) in &mut asked {
                range.start = witnesses.get(tp).copied().unwrap_or(range.start);
            }
            match self.fetch(&asked).await {
                // A witness may have aged out since.
                Err(error) if error.kind() == ErrorKind::DataLoss && !witnesses.is_empty() => {
                    witnesses.clear();
                }
                Err(error) if error.kind() == ErrorKind::DataLoss && !self.options.fail_on_data_loss => {
                    let gone = clip(&mut ranges, &self.extents().await?);
                    if gone == 0 {
                        return Err(error);
                    }
                    tracing::warn!("{error}; {gone} offsets of batch {} are skipped", plan.id);
                    lost += gone;
                }
                other => break other?,
            }
        };
        for records in &mut fetched {
            let witness = witnesses.get(&records.tp);
            if witness.is_some() && records.iter().next().map(|first| first.offset()) == witness.copied() {
                let found = LastRecord::of(records.get(0));
                lost += self.made_again(&records.tp, &found, extents[&records.tp])?;
                records.remove_first();
            }
        }
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
        Ok(Read { decoded: results.into_iter().map(flatten).collect::<Result<_>>()?, lost })
    }

    /// Step 3: everything that follows from the plan, the records and the state; changes nothing.
    async fn compute(&self, plan: &BatchPlan, ranges: &[DecodedRange]) -> Result<Outcome> {
        let mut counts = Counts::default();
        let mut clocks = self.clocks();
        let mut letters = Vec::new();
        let mut admitted: Vec<Rows> = Vec::new();
        let mut filtered_keys = Vec::new();
        let mut sources = Vec::new();
        for (side, view) in Side::BOTH.into_iter().zip(self.program.inputs()) {
            let source = &self.program.sources[view.source];
            let of_source: Vec<&DecodedRange> =
                ranges.iter().filter(|range| *range.records.tp.topic == *source.topic).collect();
            let entry = Entry {
                source,
                view,
                side: self.program.join.as_ref().map(|join| join.side(side)),
                keys: &self.committed.sides[side.index()].keys,
            };
            let mut of_source_counts = Counts::default();
            let Admitted { rows, filtered_keys: filtered, letters: refused, event_times } =
                admit(&entry, &of_source, plan, &mut clocks, &mut of_source_counts).await?;
            counts.add(&of_source_counts);
            let ranges = plan.ranges.iter().filter(|(tp, _)| tp.topic == source.topic);
            sources.push(SourceProgress {
                topic: Arc::clone(&source.topic),
                counts: of_source_counts,
                ranges: ranges.map(|(tp, range)| (tp.clone(), *range)).collect(),
                event_times,
            });
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
                counts.refused = joined.failed.len() as u64;
                letters.extend(joined.failed.iter().map(|failed| failed.letter(&self.program, plan)));
                (judged, joined.origins, joined.changes.into())
            }
            None => {
                let (rows, filtered) = admitted.pop().zip(filtered_keys.pop()).ok_or_else(both)?;
                let side = &self.committed.sides[0];
                let all: Vec<usize> = (0..rows.len()).collect();
                let keys = side.keys.select(&rows, &all)?.followed_by(&filtered)?;
                let changes = vec![SideChanges::only_keys(side.schema(), keys)];
                let shown: Vec<usize> = (0..self.program.view.schema.fields().len()).collect();
                let origins: Vec<Origin> = rows.meta.iter().map(|&meta| [Some(meta), None]).collect();
                let judged =
                    judge_rows(&self.program, plan, &rows.columns.project(&shown)?, &origins).await?;
                counts.joined = rows.len() as u64;
                (judged, origins, changes)
            }
        };
        counts.valid = judged.num_valid;
        counts.rejected = judged.num_rejected;
        let tally = Tally {
            topics: sources.iter().map(|source| (source.topic.to_string(), source.counts.records)).collect(),
            rules: judged.tally.clone(),
            outputs: BTreeMap::new(),
        };
        Ok(Outcome { judged, origins, changes, letters, counts, tally, sources, clocks, watermark, held_by })
    }

    /// Step 4, second half: the state in memory moves on, and its files are written. How many rows left each side.
    async fn apply_state(&mut self, plan: &BatchPlan, outcome: &Outcome) -> Result<Vec<usize>> {
        let mut removed = Vec::new();
        for (side, changes) in Side::BOTH.into_iter().zip(&outcome.changes) {
            let files = &mut self.committed.files[side.index()];
            let state = &mut self.committed.sides[side.index()];
            let delta = if is_empty(changes) { None } else { Some(file::delta(state, changes)?) };
            let most = state.len() + changes.added.len();
            state.apply(changes)?;
            if let Some(watermark) = outcome.watermark {
                state.evict(watermark.saturating_sub(self.program.reach(side)));
                state.keys.sweep(Some(watermark));
            }
            removed.push(most - state.len());
            let Some(delta) = delta else { continue };
            if is_snapshot_due(files) {
                let snapshot = file::snapshot(state, outcome.watermark)?;
                *files = vec![self.checkpoint.write_state(side, plan.id, "snapshot", &snapshot).await?];
            } else {
                files.push(self.checkpoint.write_state(side, plan.id, "delta", &delta).await?);
            }
        }
        Ok(removed)
    }

    /// Step 5: the outcome becomes durable, and with it the batch is done.
    async fn commit(
        &mut self,
        plan: &BatchPlan,
        ranges: &[DecodedRange],
        outcome: &Outcome,
    ) -> Result<CommitRecord> {
        let mut total = self.committed.total;
        total.add(&outcome.counts);
        self.check_balance(&total)?;
        let mut tally = self.committed.tally.clone();
        tally.add(&outcome.tally);
        let mut partitions = self.committed.partitions.clone();
        for (tp, range) in &plan.ranges {
            let record = partitions.entry(tp.clone()).or_default();
            record.next_offset = range.end.max(range.start);
            record.clock = outcome.clocks.get(tp).copied().unwrap_or_default();
        }
        for range in ranges.iter().filter(|range| !range.records.is_empty()) {
            let last = LastRecord::of(range.records.get(range.records.len() - 1));
            partitions.entry(range.records.tp.clone()).or_default().last_record = Some(last);
        }
        // While batches run again after a rollback, everything stays.
        let is_cleaning = plan.id.0 % CLEAN_EVERY == CLEAN_EVERY - 1 && self.pending.len() <= 1;
        let oldest = BatchId(plan.id.0.saturating_sub(self.options.retain_batches));
        let retained_from = match is_cleaning {
            true => self.committed.retained_from.max(oldest),
            false => self.committed.retained_from,
        };
        let commit = CommitRecord {
            batch_id: plan.id,
            watermark: outcome.watermark,
            partitions: by_topic(&partitions),
            state: self.committed.files.to_vec(),
            rows: self.committed.sides.iter().map(|side| side.len() as u64).collect(),
            retained_from: Some(retained_from),
            program: Some(plan.program.clone()),
            counts: outcome.counts,
            total,
            tally,
        };
        self.checkpoint.append_commit(&commit).await?;
        self.committed.next = plan.id.next();
        self.committed.partitions = partitions;
        self.committed.watermark = outcome.watermark;
        self.committed.retained_from = retained_from;
        self.committed.total = total;
        self.committed.tally = commit.tally.clone();
        self.committed.run = plan.unfinished_run();
        if is_cleaning || !self.is_clean {
            if let Err(error) = self.checkpoint.clean(&commit).await {
                // A newer engine may have removed what was about to be looked at.
                self.checkpoint.assert_newest().await?;
                return Err(error);
            }
            self.is_clean = true;
        }
        Ok(commit)
    }

    /// Every record has exactly one fate; asserted before the outcome is written.
    fn check_balance(&self, total: &Counts) -> Result<()> {
        let waiting: u64 = match &self.program.join {
            Some(_) => self.committed.sides.iter().map(|side| side.num_waiting() as u64).sum(),
            None => 0,
        };
        let accounted = total.settled() + waiting;
        if total.records == accounted {
            return Ok(());
        }
        Err(Error::internal(format!("{} records were read and {accounted} are accounted for", total.records))
            .advise("this is a bug of ecomm-batch: the batch was not committed; please report it with the checkpoint"))
    }

    fn pass(&self, point: FailPoint) -> Result<()> {
        self.options.faults.pass(point)
    }
}

/// What was read for a batch.
struct Read {
    decoded: Vec<DecodedRange>,
    /// Offsets of the plan that the broker no longer had.
    lost: u64,
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
    tally: Tally,
    sources: Vec<SourceProgress>,
    clocks: PerPartition<PartitionClock>,
    watermark: Option<Nanos>,
    held_by: HeldBy,
}

/// What is remembered of the batch before.
#[derive(Debug, Default)]
struct LastBatch {
    began: Option<Instant>,
    /// Milliseconds between its start and the one before.
    since_last_ms: Option<u64>,
    /// When a batch gave examples.
    gave_examples: Option<Instant>,
}

impl LastBatch {
    fn begin(&mut self, at: Instant) {
        self.since_last_ms = self.began.map(|began| at.duration_since(began).as_millis() as u64);
        self.began = Some(at);
    }

    /// Not more often than somebody could read them.
    fn wants_examples(&mut self) -> bool {
        let wants = self.gave_examples.is_none_or(|at| at.elapsed() >= EXAMPLES_EVERY);
        if wants {
            self.gave_examples = Some(Instant::now());
        }
        wants
    }
}

impl Committed {
    async fn load(checkpoint: &Checkpoint, program: &Program, recovered: Option<&Recovered>) -> Result<Self> {
        let commit = recovered.and_then(|recovered| recovered.commit.as_ref());
        let sides = [
            checkpoint.load_state(program, Side::Left, commit).await?,
            checkpoint.load_state(program, Side::Right, commit).await?,
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
            sides,
            files: [files(Side::Left), files(Side::Right)],
            retained_from: recovered.map_or(BatchId(0), |recovered| recovered.retained_from),
            total: commit.map(|commit| commit.total).unwrap_or_default(),
            tally: commit.map(|commit| commit.tally.clone()).unwrap_or_default(),
            run: last_run,
        })
    }
}

/// Leaves of `ranges` what the broker still has; how many offsets that costs.
/// Waits until somebody asks; for ever where nobody can.
async fn asked(questions: &mut Option<Questions>) {
    match questions {
        Some(questions) => questions.arrive().await,
        None => std::future::pending().await,
    }
}

fn clip(ranges: &mut PerPartition<OffsetRange>, extents: &PerPartition<Extent>) -> u64 {
    let mut gone = 0;
    for (tp, range) in ranges.iter_mut() {
        let before = range.len();
        let extent = extents.get(tp).copied().unwrap_or(Extent { earliest: range.end, latest: range.end });
        range.start = range.start.max(extent.earliest);
        range.end = range.end.min(extent.latest);
        gone += (before - range.len().max(0)).unsigned_abs();
    }
    ranges.retain(|_, range| !range.is_empty());
    gone
}

/// Partitions of which nothing was read yet.
fn partitions_from(starts: &ByTopic<i64>) -> PerPartition<PartitionRecord> {
    let unread = |next_offset| PartitionRecord { next_offset, ..PartitionRecord::default() };
    per_partition(starts).into_iter().map(|(tp, next_offset)| (tp, unread(next_offset))).collect()
}

/// How late the late ones among letters are.
fn lateness(letters: &[Letter]) -> Lateness {
    let mut lateness = Lateness::default();
    for letter in letters.iter().filter(|letter| letter.reason == "late") {
        if let (Some(watermark), Some(event_time)) = (letter.watermark, letter.event_time) {
            lateness.push(watermark.saturating_sub(event_time));
        }
    }
    lateness
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

fn describe_offsets(offsets: &PerPartition<i64>) -> String {
    offsets.iter().map(|(tp, offset)| format!("{tp}: {offset}")).collect::<Vec<_>>().join(", ")
}
