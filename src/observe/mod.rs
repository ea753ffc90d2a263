//! What is known of a running engine: its last batches, what it does now, how far it is behind, how it does.
//!
//! ```text
//! engine ── observe(&BatchProgress) ─► History ┐
//!    └───── NowCell ──────────────────────────►├─ Facts ─ judge ─► terminal, console, /readyz, /metrics
//! broker ── its own look every few seconds ──► Lag ┘
//! ```
//!
//! The engine pushes and never waits: a push takes a lock that viewers hold for the time of a copy.

pub mod example;
pub mod health;
pub mod history;
pub mod inspector;
pub mod lag;
pub mod metrics;
pub mod progress;
pub mod terminal;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::batch::offset::{PerPartition, TopicPartition};
use crate::batch::reason::Reason;
use crate::batch::trigger::Trigger;
use crate::batch::watermark::HeldBy;
use crate::checkpoint::{Location, Records};
use crate::clock::Clock;
use crate::error::Result;
use crate::now::NowCell;
use crate::observe::example::ExampleKind;
use crate::observe::progress::{BatchProgress, to_ms};
use crate::query::Program;
use crate::source::Extent;
use health::{Facts, Health, Held, Silent, Wait, judge};
use history::{COARSE, FINE, History};
use lag::Lag;
use metrics::Durations;

/// The span of [`Facts::recent`].
const RECENT_MS: i64 = 600_000;

/// What is compared with the minutes before.
const MINUTE_MS: i64 = 60_000;

/// For so long it is news that a partition fell silent.
const SILENCE_NEWS_MS: i64 = 3_600_000;

/// A topic goes on if any of its partitions brought a record within this time.
const GOES_ON_MS: i64 = 60_000;

/// What does not change while an engine runs.
#[derive(Debug)]
pub struct About {
    /// Its SQL.
    pub program: Arc<Program>,
    /// `bootstrap.servers`.
    pub brokers: String,
    /// The checkpoint.
    pub checkpoint: Location,
    /// When batches start.
    pub trigger: Trigger,
    /// When it was started, in milliseconds.
    pub started_ms: i64,
}

/// What is known of an engine, for whoever looks.
pub struct Telemetry {
    /// What does not change.
    pub about: About,
    /// What it does now.
    pub now: NowCell,
    clock: Arc<dyn Clock>,
    history: Mutex<History>,
    lag: Mutex<Lag>,
    next: Mutex<PerPartition<i64>>,
    durations: Durations,
    recovery: OnceLock<Duration>,
    /// Rises with each batch, so that a page knows that nothing is new.
    version: AtomicU64,
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").field("about", &self.about).finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Nothing is known yet.
    pub fn new(about: About, now: NowCell, clock: Arc<dyn Clock>) -> Self {
        Self {
            about,
            now,
            clock,
            history: Mutex::default(),
            lag: Mutex::default(),
            next: Mutex::default(),
            durations: Durations::default(),
            recovery: OnceLock::new(),
            version: AtomicU64::new(0),
        }
    }

    /// The batches that a checkpoint keeps and that are not known yet, so that a start has a past. Their durations
    /// are not known.
    pub fn preload(&self, records: &Records) {
        let known = self.history(|history| history.last().map(|batch| batch.batch_id));
        let mut before = None;
        for (id, commit) in &records.commits {
            if known.is_none_or(|known| *id > known)
                && let Some(plan) = records.plans.get(id)
            {
                let (program, metadata) = (&self.about.program, &records.metadata);
                self.observe(&BatchProgress::of_record(program, metadata, plan, commit, before));
            }
            before = Some(commit);
        }
    }

    /// The engine has opened its checkpoint.
    pub fn recovered(&self, took: Duration) {
        // There is one start.
        let _ = self.recovery.set(took);
    }

    /// How long that took; nothing before.
    pub(crate) fn recovery(&self) -> Option<Duration> {
        self.recovery.get().copied()
    }

    /// A batch was committed.
    pub fn observe(&self, batch: &BatchProgress) {
        self.durations.push(batch);
        lock(&self.history).push(batch);
        let ranges = batch.sources.iter().flat_map(|source| &source.ranges);
        lock(&self.next).extend(ranges.map(|(tp, range)| (tp.clone(), range.end.max(range.start))));
        self.version.fetch_add(1, Ordering::Relaxed);
    }

    /// What a look at the broker found.
    pub fn look(&self, found: Result<PerPartition<Extent>>) {
        let now_ms = self.clock.now_ms();
        let next = self.next_offsets();
        match found {
            Ok(extents) => lock(&self.lag).found(now_ms, extents, &next),
            Err(error) => lock(&self.lag).missed(now_ms, error.headline()),
        }
        self.version.fetch_add(1, Ordering::Relaxed);
    }

    /// Rises whenever something is new.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// The time, in milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Reads the past; the engine waits meanwhile, so what takes time is done with a copy.
    pub fn history<T>(&self, read: impl FnOnce(&History) -> T) -> T {
        read(&lock(&self.history))
    }

    /// How long batches took.
    pub(crate) fn durations(&self) -> &Durations {
        &self.durations
    }

    /// How far the engine is behind.
    pub fn lag(&self) -> Lag {
        lock(&self.lag).clone()
    }

    /// Where each partition is read from next.
    pub fn next_offsets(&self) -> PerPartition<i64> {
        lock(&self.next).clone()
    }

    /// How the engine does.
    pub fn health(&self) -> Health {
        judge(&self.facts())
    }

    /// What the judgement is made of.
    pub fn facts(&self) -> Facts {
        let (now_ms, now) = (self.now_ms(), self.now.get());
        let lag = self.lag();
        let next = self.next_offsets();
        let program = &self.about.program;
        let delays = program.sources.iter().map(|source| source.watermark.delay);
        let aheads = program.sources.iter().map(|source| source.max_ahead);
        self.history(|history| {
            let last = history.last();
            let recent = history.sum(FINE, now_ms - RECENT_MS, i64::MAX);
            let hour_ago = now_ms - 3_600_000;
            let since_start = now_ms - self.about.started_ms;
            Facts {
                now_ms,
                step_ms: elapsed_ms(now.since),
                batch: now.batch.0,
                batch_ms: now.batch_since.map(elapsed_ms),
                wait: now.waiting.as_ref().map(|waiting| Wait {
                    service: waiting.service,
                    for_ms: elapsed_ms(waiting.since),
                    attempts: waiting.attempts,
                    error: waiting.error.clone(),
                }),
                trigger: match self.about.trigger {
                    Trigger::ProcessingTime(interval) => interval,
                    Trigger::AvailableNow | Trigger::Once => Duration::ZERO,
                },
                committed_ms: last.map(|batch| batch.time_ms + batch.duration_ms() as i64),
                median_ms: history.median_ms(),
                lag: lag.at_ms.map(|_| lag.total(&next)),
                slope: lag.slope(60_000),
                lag_failed: lag.failed,
                recent_seconds: since_start.clamp(1_000, RECENT_MS) as f64 / 1000.0,
                recent,
                before: history.sum(COARSE, i64::MIN, now_ms - RECENT_MS),
                minute: history.sum(FINE, now_ms - MINUTE_MS, i64::MAX),
                nine_minutes: history.sum(FINE, now_ms - RECENT_MS, now_ms - MINUTE_MS),
                hour: history.sum(COARSE, hour_ago, i64::MAX),
                state_bytes_before: history
                    .series(COARSE)
                    .find(|bucket| bucket.start_ms >= hour_ago)
                    .filter(|bucket| bucket.start_ms < hour_ago + 600_000)
                    .map(|bucket| bucket.state_bytes),
                held: last
                    .zip(history.moved_ms())
                    .map(|(batch, moved_ms)| self.held(batch, moved_ms, now_ms)),
                silent: last.and_then(|batch| self.silent(batch, now_ms)),
                newest_letter: newest_letter(history),
                delay: delays.max().unwrap_or_default(),
                max_ahead: aheads.min().unwrap_or_default(),
                step: now.step,
            }
        })
    }

    /// The partition that fell silent first: it no longer counts, others of its topic go on.
    fn silent(&self, batch: &BatchProgress, now_ms: i64) -> Option<Silent> {
        let silent = self.about.program.sources.iter().flat_map(|source| {
            let silences: Vec<(&TopicPartition, i64)> = batch
                .clocks
                .iter()
                .filter(|(tp, _)| tp.topic == source.topic)
                .filter_map(|(tp, clock)| Some((tp, now_ms - clock.last_record_ms?)))
                .collect();
            let goes_on = silences.iter().any(|(_, for_ms)| *for_ms < GOES_ON_MS);
            let no_longer_counts = (source.watermark.idle_timeout.as_millis() as i64).max(GOES_ON_MS);
            silences
                .into_iter()
                .filter(move |(_, for_ms)| goes_on && (no_longer_counts..SILENCE_NEWS_MS).contains(for_ms))
        });
        let (partition, for_ms) = silent.max_by_key(|(_, for_ms)| *for_ms)?;
        Some(Silent { partition: partition.clone(), for_ms })
    }

    fn held(&self, batch: &BatchProgress, moved_ms: i64, now_ms: i64) -> Held {
        let holder = match &batch.held_by {
            HeldBy::Slowest(tp, _) => Some(tp),
            _ => None,
        };
        let others = batch.clocks.iter().filter(|(tp, _)| Some(*tp) != holder);
        let policy =
            holder.and_then(|tp| self.about.program.sources.iter().find(|source| source.topic == tp.topic));
        Held {
            by: batch.held_by.clone(),
            others_ms: others.filter_map(|(_, clock)| clock.max_event_time).max().map(to_ms),
            for_ms: now_ms - moved_ms,
            idle_timeout: policy.map(|source| source.watermark.idle_timeout),
            last_record_ms: holder.and_then(|tp| batch.clocks.get(tp)?.last_record_ms),
        }
    }
}

/// The newest dead letter that was malformed, in words.
fn newest_letter(history: &History) -> Option<String> {
    let example = history.examples(&ExampleKind::Letter(Reason::Malformed)).next()?;
    let (tp, offset) = example.origins.first()?;
    Some(format!(
        "{tp}@{}: {}",
        health::number(offset.unsigned_abs()),
        example.detail.as_deref().unwrap_or("")
    ))
}

fn elapsed_ms(since: Instant) -> u64 {
    since.elapsed().as_millis() as u64
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
