//! What the last batches did: each of them, and sums over time for a day. Everything is bounded.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::batch::counts::{Counts, Tally};
use crate::clock::Nanos;
use crate::observe::example::{Example, ExampleKind};
use crate::observe::progress::{BatchProgress, Lateness};

/// Batches that are kept whole.
const MAX_BATCHES: usize = 1_200;

/// Examples of a kind that are kept.
const MAX_EXAMPLES: usize = 50;

/// One width of [`Bucket`]s, in milliseconds, and how many are kept.
#[derive(Clone, Copy, Debug)]
pub struct Resolution {
    /// The time that a bucket spans.
    pub width_ms: i64,
    /// How many.
    pub len: usize,
}

/// A quarter of an hour in steps of five seconds.
pub const FINE: Resolution = Resolution { width_ms: 5_000, len: 180 };

/// A day in minutes.
pub const COARSE: Resolution = Resolution { width_ms: 60_000, len: 1_440 };

/// The batches whose time lies in `[start_ms, start_ms + width)`, added up.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    /// Where it begins.
    pub start_ms: i64,
    /// How many batches.
    pub batches: u64,
    /// What became of their records.
    pub counts: Counts,
    /// By topics, rules and outputs.
    pub tally: Tally,
    /// Milliseconds of each step, by Spark's names.
    pub steps_ms: BTreeMap<&'static str, u64>,
    /// The longest batch.
    pub longest_ms: u64,
    /// How late the late records were.
    pub lateness: Lateness,
    /// The watermark after the last batch.
    pub watermark: Option<Nanos>,
    /// Rows in state of each side after the last batch.
    pub state_rows: Vec<u64>,
    /// Their memory.
    pub state_bytes: u64,
}

impl Bucket {
    /// Rows that went to outputs over the view.
    pub fn rows_out(&self) -> u64 {
        self.tally.outputs.values().sum()
    }

    fn of(batch: &BatchProgress) -> Self {
        Self {
            start_ms: batch.time_ms,
            batches: 1,
            counts: batch.counts,
            tally: batch.tally.clone(),
            steps_ms: batch.steps_ms.iter().copied().collect(),
            longest_ms: batch.duration_ms(),
            lateness: batch.lateness.clone(),
            watermark: batch.watermark,
            state_rows: batch.state.iter().map(|side| side.rows).collect(),
            state_bytes: batch.state.iter().map(|side| side.bytes).sum(),
        }
    }

    fn add(&mut self, later: &Self) {
        self.batches += later.batches;
        self.counts.add(&later.counts);
        self.tally.add(&later.tally);
        for (step, ms) in &later.steps_ms {
            *self.steps_ms.entry(step).or_default() += ms;
        }
        self.longest_ms = self.longest_ms.max(later.longest_ms);
        self.lateness.add(&later.lateness);
        self.watermark = later.watermark;
        self.state_rows.clone_from(&later.state_rows);
        self.state_bytes = later.state_bytes;
    }
}

/// Buckets of one width, in order; those without a batch are left out.
#[derive(Debug)]
struct Series {
    resolution: Resolution,
    buckets: VecDeque<Bucket>,
}

impl Series {
    fn new(resolution: Resolution) -> Self {
        Self { resolution, buckets: VecDeque::new() }
    }

    fn push(&mut self, batch: &BatchProgress) {
        let start_ms = batch.time_ms.div_euclid(self.resolution.width_ms) * self.resolution.width_ms;
        // A clock that was set back goes on in the bucket that is there.
        if self.buckets.back().is_none_or(|last| last.start_ms < start_ms) {
            self.buckets.push_back(Bucket { start_ms, ..Bucket::default() });
        }
        if let Some(last) = self.buckets.back_mut() {
            last.add(&Bucket::of(batch));
        }
        let oldest = start_ms - self.resolution.width_ms * self.resolution.len as i64;
        while self.buckets.len() > self.resolution.len
            || self.buckets.front().is_some_and(|first| first.start_ms <= oldest)
        {
            self.buckets.pop_front();
        }
    }
}

/// The past of one engine, as far as it is kept.
#[derive(Debug)]
pub struct History {
    batches: VecDeque<Arc<BatchProgress>>,
    fine: Series,
    coarse: Series,
    examples: BTreeMap<ExampleKind, VecDeque<Example>>,
    /// When a batch last moved the watermark, by batch time.
    moved_ms: Option<i64>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            batches: VecDeque::new(),
            fine: Series::new(FINE),
            coarse: Series::new(COARSE),
            examples: BTreeMap::new(),
            moved_ms: None,
        }
    }
}

impl History {
    /// Adds a batch; old ones go.
    pub fn push(&mut self, batch: &BatchProgress) {
        self.fine.push(batch);
        self.coarse.push(batch);
        if batch.has_moved || self.moved_ms.is_none() {
            self.moved_ms = Some(batch.time_ms);
        }
        for example in batch.examples.iter() {
            let of_kind = self.examples.entry(example.kind.clone()).or_default();
            of_kind.push_front(example.clone());
            of_kind.truncate(MAX_EXAMPLES);
        }
        if self.batches.len() == MAX_BATCHES {
            self.batches.pop_front();
        }
        // The examples are kept by kind.
        self.batches.push_back(Arc::new(BatchProgress { examples: Arc::default(), ..batch.clone() }));
    }

    /// The last batch.
    pub fn last(&self) -> Option<&Arc<BatchProgress>> {
        self.batches.back()
    }

    /// The last batches, the newest first.
    pub fn batches(&self) -> impl Iterator<Item = &Arc<BatchProgress>> {
        self.batches.iter().rev()
    }

    /// The buckets of a width, the oldest first.
    pub fn series(&self, resolution: Resolution) -> impl Iterator<Item = &Bucket> {
        let series = match resolution.width_ms == FINE.width_ms {
            true => &self.fine,
            false => &self.coarse,
        };
        series.buckets.iter()
    }

    /// A value for each whole bucket's time in `[from_ms, to_ms)`, the oldest first, with 0 where there was no batch.
    pub fn filled(
        &self,
        resolution: Resolution,
        (from_ms, to_ms): (i64, i64),
        value: impl Fn(&Bucket) -> u64,
    ) -> Vec<(i64, u64)> {
        let start = |ms: i64| ms.div_euclid(resolution.width_ms) * resolution.width_ms;
        let mut found =
            self.series(resolution).skip_while(|bucket| bucket.start_ms < start(from_ms)).peekable();
        (start(from_ms)..start(to_ms))
            .step_by(resolution.width_ms as usize)
            .map(|at| (at, found.next_if(|bucket| bucket.start_ms == at).map_or(0, &value)))
            .collect()
    }

    /// The batches of `[from_ms, to_ms)` added up, in whole buckets.
    pub fn sum(&self, resolution: Resolution, from_ms: i64, to_ms: i64) -> Bucket {
        let mut sum = Bucket { start_ms: from_ms, ..Bucket::default() };
        self.series(resolution)
            .filter(|bucket| (from_ms..to_ms).contains(&bucket.start_ms))
            .for_each(|bucket| sum.add(bucket));
        sum
    }

    /// Examples of a kind, the newest first.
    pub fn examples(&self, kind: &ExampleKind) -> impl Iterator<Item = &Example> {
        self.examples.get(kind).into_iter().flatten()
    }

    /// The batch time at which the watermark last moved.
    pub fn moved_ms(&self) -> Option<i64> {
        self.moved_ms
    }

    /// Half of the last hundred batches took less, in milliseconds.
    pub fn median_ms(&self) -> Option<u64> {
        self.percentile_ms(50)
    }

    /// So many percent of the last hundred batches took less, in milliseconds.
    pub fn percentile_ms(&self, percent: usize) -> Option<u64> {
        let mut durations: Vec<u64> = self.batches().take(100).map(|batch| batch.duration_ms()).collect();
        durations.sort_unstable();
        durations.get(durations.len() * percent / 100).or(durations.last()).copied()
    }
}
