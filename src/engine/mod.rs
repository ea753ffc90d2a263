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
//! watermark, time and SQL; sinks store what is there already once. So does the same engine, should it be asked again
//! after an error: it reads the checkpoint as a restart does.

mod notices;
mod reading;
mod report;
pub(crate) mod resume;
mod standing;
mod steps;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::offset::{OffsetRange, PerPartition, TopicPartition, by_topic};
use crate::batch::trigger::Trigger;
use crate::batch::{BatchId, BatchPlan, BoundedRun, SinkMode};
use crate::checkpoint::record::{CommitRecord, LastRecord, Metadata, PartitionRecord};
use crate::checkpoint::{Checkpoint, Location};
use crate::clock::{Clock, Nanos};
use crate::engine::notices::Notices;
use crate::engine::reading::{Read, Reading};
use crate::engine::report::{LastBatch, examples, lateness, state_progress};
use crate::engine::resume::{fits, planned_with, stays_pending, take_on, way_out};
use crate::engine::standing::{Standing, partitions_from};
use crate::engine::steps::Steps;
use crate::error::Result;
use crate::faults::{FailPoint, Faults};
use crate::now::{Service, Step};
use crate::observe::inspector::Questions;
use crate::observe::progress::{BatchProgress, behind};
use crate::query::Program;
use crate::query::side::Side;
use crate::ranges::{StartingOffsets, choose_ranges};
use crate::retry::Patience;
use crate::runner::LocalRunner;
use crate::sink::SharedSink;
use crate::source::{Extent, Source};
use crate::stage::delivery::{Delivered, Delivery};
use crate::stage::exchange::KEY_BUCKETS;
use crate::stage::outcome::{Outcome, compute, watermark_after};
use crate::state::SideState;

/// After every so many batches what is no longer retained is removed.
const CLEAN_EVERY: u64 = 10;

/// At a trigger of zero: the pause before the broker is asked again when it had nothing; each further one is
/// twice as long.
const FIRST_IDLE_PAUSE: Duration = Duration::from_millis(10);

/// The longest of these pauses.
const LONGEST_IDLE_PAUSE: Duration = Duration::from_millis(320);

/// How many offsets a batch has for each further key group: with fewer, starting the plans of another group costs
/// more than a core saves.
const OFFSETS_OF_A_GROUP: i64 = 4_000;

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
    /// Into how many key groups a new batch falls; without it by its size and the cores. No outcome depends on it.
    pub groups: Option<u32>,
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
    standing: Standing,
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
    runner: LocalRunner,
    /// A batch was begun and gave an error: what is in memory may be ahead of the checkpoint, or behind it.
    is_in_doubt: bool,
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
        let standing = Standing::load(&checkpoint, &first, recovered.as_ref()).await?;
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
            standing,
            pending: pending.into(),
            claimed: None,
            known_ms: None,
            passed_over: 0,
            notices: Notices::default(),
            is_clean: false,
            runner: LocalRunner::of_this_machine()?,
            is_in_doubt: false,
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
        self.standing.watermark
    }

    /// Rows of a side that can still match.
    pub fn state(&self, side: Side) -> &SideState {
        &self.standing.sides[side.index()]
    }

    /// Whether a batch was planned and has no outcome.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Runs batches as `trigger` says, until it is done or a stop is asked for.
    pub async fn run(&mut self, trigger: Trigger, mut observe: impl FnMut(&BatchProgress)) -> Result<()> {
        self.leave_doubt().await?;
        if self.standing.started_ms.is_none() {
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
                let run = self.standing.run.take();
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
        let extents = match (self.standing.started_ms, self.known_ms) {
            (Some(_), Some(_)) => return Ok(()),
            _ => self.reading().extents().await?,
        };
        if self.standing.started_ms.is_some() {
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
        self.standing.started_ms = Some(metadata.started_ms);
        self.standing.partitions = partitions_from(&metadata.starting_offsets);
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
            let record = self.standing.partitions.get(tp).filter(|record| is_asked(record, extent));
            let last = record.and_then(|record| record.last_record.as_ref());
            // Aged out since, or cut: positions are compared when a batch is planned.
            if let Some(last) = last.filter(|last| (extent.earliest..extent.latest).contains(&last.offset)) {
                let range = OffsetRange { start: last.offset, end: last.offset + 1, latest: extent.latest };
                lasts.insert(tp.clone(), range);
            }
        }
        let found = if lasts.is_empty() { Vec::new() } else { self.reading().fetch(&lasts).await? };
        for records in found.iter().filter(|records| !records.is_empty()) {
            let found = LastRecord::of(records.get(0));
            let passed_over = self.standing.made_again(
                &records.tp,
                &found,
                extents[&records.tp],
                self.options.fail_on_data_loss,
            )?;
            if passed_over > 0
                && let Some(record) = self.standing.partitions.get_mut(&records.tp)
            {
                record.last_record = Some(found);
            }
            self.passed_over += passed_over;
        }
        self.known_ms = Some(self.clock.now_ms());
        Ok(())
    }

    /// Claims the outputs of the program for this query, once, before its first batch.
    async fn claim_outputs(&mut self) -> Result<()> {
        if self.claimed.as_ref() == Some(&self.program.hash) {
            return Ok(());
        }
        let last_planned = match self.pending.back() {
            Some(plan) => Some(plan.id),
            None => self.standing.next.0.checked_sub(1).map(BatchId),
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
        let Some(run) = self.standing.run.clone() else { return Ok(None) };
        let progress = self.batch(self.options.max_offsets_per_trigger, Some(run)).await?;
        if progress.is_none() {
            self.standing.run = None;
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
        let extents = self.reading().extents().await?;
        let positions = self.reading().positions(&extents)?;
        let targets: PerPartition<i64> =
            extents.iter().map(|(tp, extent)| (tp.clone(), extent.latest)).collect();
        let pinned: BTreeSet<TopicPartition> = targets
            .iter()
            .filter(|(tp, target)| positions.get(tp) < Some(target))
            .map(|(tp, _)| tp.clone())
            .collect();
        tracing::info!("{trigger}: reading up to {}", describe_offsets(&targets));
        self.standing.run = Some(BoundedRun { trigger: trigger.to_owned(), targets, pinned });
        Ok(())
    }

    /// Runs the first batch that was planned and has no outcome, as it was planned; `None` if there is none.
    pub async fn finish_pending(&mut self) -> Result<Option<BatchProgress>> {
        self.leave_doubt().await?;
        let Some(plan) = self.pending.front().cloned() else { return Ok(None) };
        self.begin().await?;
        let program = planned_with(&self.checkpoint, &plan.program, &self.given).await?;
        self.go_on_with(program).await?;
        tracing::info!("batch {} was planned before: running it again as it was planned", plan.id);
        let now = self.patience.now.clone();
        self.last_batch.begin(Instant::now());
        self.is_in_doubt = true;
        let progress = self.execute(&plan, &PerPartition::new(), Steps::plan(&now, plan.id)).await;
        let progress = progress.map_err(|error| stays_pending(plan.id, error))?;
        self.is_in_doubt = false;
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
            self.standing = Standing::load(&self.checkpoint, &program, recovered.as_ref()).await?;
            self.program = program;
        }
        Ok(())
    }

    fn answer_questions(&mut self) {
        if let Some(questions) = &mut self.questions {
            questions.answer(self.standing.sides.as_slice());
        }
    }

    /// After a batch that gave an error the checkpoint says what holds: claims and reads it as a restart does,
    /// unless another engine has it. The batch is pending then, or committed.
    async fn leave_doubt(&mut self) -> Result<()> {
        if !self.is_in_doubt {
            return Ok(());
        }
        self.checkpoint.assert_newest().await?;
        self.checkpoint.claim().await?;
        let recovered = self.checkpoint.recover().await?;
        self.pending =
            recovered.as_ref().map(|recovered| recovered.pending.clone()).unwrap_or_default().into();
        let program = match self.pending.front() {
            Some(plan) => planned_with(&self.checkpoint, &plan.program, &self.given).await?,
            None => Arc::clone(&self.given),
        };
        self.standing = Standing::load(&self.checkpoint, &program, recovered.as_ref()).await?;
        self.program = program;
        (self.known_ms, self.passed_over) = (None, 0);
        self.is_in_doubt = false;
        Ok(())
    }

    /// Plans and runs one batch; `None` if there is nothing to do. One that gave an error before is run again,
    /// as it was planned.
    pub async fn batch(
        &mut self,
        max_offsets: Option<u64>,
        run: Option<BoundedRun>,
    ) -> Result<Option<BatchProgress>> {
        if self.is_in_doubt {
            self.leave_doubt().await?;
            if let Some(progress) = self.finish_pending().await? {
                return Ok(Some(progress));
            }
        }
        self.answer_questions();
        let now = self.patience.now.clone();
        let steps = Steps::plan(&now, self.standing.next);
        let progress = self.plan_and_run(max_offsets, run, steps).await?;
        if progress.is_none() {
            now.enter(self.standing.next, Step::Idle);
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
        let extents = self.reading().extents().await?;
        if self.known_ms.is_none_or(|known| (self.clock.now_ms() - known).abs() >= KNOW_EVERY_MS) {
            self.know_source(&extents, |record, extent| extent.latest <= record.next_offset).await?;
        }
        self.notices.new_partitions(&self.standing.partitions, &extents);
        let Some(plan) = self.plan(&extents, max_offsets, run)? else { return Ok(None) };
        self.pass(FailPoint::BeforeOffsets)?;
        self.is_in_doubt = true;
        self.checkpoint.append_plan(&plan, &self.program).await?;
        self.pass(FailPoint::AfterOffsets)?;
        self.last_batch.begin(began);
        let progress = self.execute(&plan, &extents, steps).await;
        let progress = progress.map_err(|error| stays_pending(plan.id, error))?;
        self.is_in_doubt = false;
        Ok(Some(progress))
    }

    fn reading(&self) -> Reading<'_> {
        Reading {
            program: &self.program,
            source: self.source.as_ref(),
            standing: &self.standing,
            patience: &self.patience,
            fail_on_data_loss: self.options.fail_on_data_loss,
            runner: &self.runner,
        }
    }

    /// Step 1: the ranges of the next batch.
    fn plan(
        &self,
        extents: &PerPartition<Extent>,
        max_offsets: Option<u64>,
        run: Option<BoundedRun>,
    ) -> Result<Option<BatchPlan>> {
        let mut extents = extents.clone();
        let positions = self.reading().positions(&extents)?;
        if let Some(run) = &run {
            extents.retain(|tp, _| run.targets.contains_key(tp));
            for (tp, extent) in &mut extents {
                extent.latest = extent.latest.min(run.targets[tp]);
            }
        }
        let ranges = choose_ranges(&extents, &positions, max_offsets);
        let plan = BatchPlan {
            id: self.standing.next,
            groups: self.groups_of(&ranges),
            ranges,
            watermark: self.standing.watermark,
            time_ms: self.clock.now_ms(),
            program: self.program.hash.clone(),
            sink: self.options.sink_mode,
            run,
        };
        if plan.num_offsets() > 0 {
            return Ok(Some(plan));
        }
        // Without records only time can move the watermark, by partitions and sources that are let go.
        let clocks = self.standing.clocks();
        let moves = watermark_after(&self.program, self.standing.started_ms, &plan, &clocks).watermark
            != plan.watermark;
        Ok(moves.then_some(plan))
    }

    /// How many key groups a batch over `ranges` falls into.
    fn groups_of(&self, ranges: &PerPartition<OffsetRange>) -> u32 {
        let num_offsets: i64 = ranges.values().map(OffsetRange::len).sum();
        let by_size = 1 + num_offsets / OFFSETS_OF_A_GROUP;
        let groups = self.options.groups.map_or(by_size.min(self.runner.cores() as i64), i64::from);
        groups.clamp(1, i64::from(KEY_BUCKETS)) as u32
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
        let Read { decoded, last_records, lost } = self.reading().read(plan, extents).await?;
        self.pass(FailPoint::AfterRead)?;

        steps.next(Step::Joining);
        let before = self.standing.before(&self.program, plan);
        let mut outcome = compute(before, decoded, &self.runner).await?;
        self.notices.all_malformed(&outcome.sources, &outcome.letters);
        outcome.counts.lost = lost + self.standing.skipped(plan) + self.passed_over;

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
        let Delivered { tally, examples: mut shown } =
            delivery.deliver(&mut outcome.letters, &mut outcome.counts).await?;
        self.pass(FailPoint::AfterSink)?;
        if wants_examples {
            shown.extend(examples(&self.program, plan, &outcome));
        }
        outcome.tally.outputs = tally;

        steps.next(Step::Committing);
        let removed = self.standing.apply(&self.program, &self.checkpoint, plan, &outcome).await?;
        self.pass(FailPoint::AfterState)?;
        self.pass(FailPoint::BeforeCommit)?;
        let commit = self.commit(plan, &last_records, &outcome).await?;
        self.passed_over = 0;
        self.pass(FailPoint::AfterCommit)?;
        let steps_ms = steps.end();

        let positions =
            self.standing.partitions.iter().map(|(tp, record)| (tp.clone(), record.next_offset)).collect();
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
            state: state_progress(&self.program, &self.standing.sides, &outcome.changes, &removed),
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
            examples: shown.into(),
        };
        progress.log();
        Ok(progress)
    }

    /// Step 5: the outcome becomes durable, and with it the batch is done.
    async fn commit(
        &mut self,
        plan: &BatchPlan,
        last_records: &PerPartition<LastRecord>,
        outcome: &Outcome,
    ) -> Result<CommitRecord> {
        // While batches run again after a rollback, everything stays.
        let is_cleaning = plan.id.0 % CLEAN_EVERY == CLEAN_EVERY - 1 && self.pending.len() <= 1;
        let oldest = BatchId(plan.id.0.saturating_sub(self.options.retain_batches));
        let retained_from = match is_cleaning {
            true => self.standing.retained_from.max(oldest),
            false => self.standing.retained_from,
        };
        let commit = self.standing.next_commit(plan, last_records, outcome, retained_from);
        self.standing.check_balance(&self.program, &commit.total)?;
        self.checkpoint.append_commit(&commit).await?;
        self.standing.move_on(plan, &commit);
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

    fn pass(&self, point: FailPoint) -> Result<()> {
        self.options.faults.pass(point)
    }
}

/// Waits until somebody asks; for ever where nobody can.
async fn asked(questions: &mut Option<Questions>) {
    match questions {
        Some(questions) => questions.arrive().await,
        None => std::future::pending().await,
    }
}

fn describe_offsets(offsets: &PerPartition<i64>) -> String {
    offsets.iter().map(|(tp, offset)| format!("{tp}: {offset}")).collect::<Vec<_>>().join(", ")
}
