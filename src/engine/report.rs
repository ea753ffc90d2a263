//! What a batch tells of itself: examples, the rows that wait, how late the late ones were.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::batch::BatchPlan;
use crate::batch::offset::TopicPartition;
use crate::batch::reason::Reason;
use crate::observe::example::{Example, ExampleKind, MAX_OF_KIND, cut};
use crate::observe::progress::{Lateness, StateProgress};
use crate::query::Program;
use crate::query::side::Side;
use crate::stage::delivery::records_behind;
use crate::stage::letter::Letter;
use crate::stage::outcome::Outcome;
use crate::state::{SideChanges, SideState};

/// Batches give examples of their rows no more often.
const EXAMPLES_EVERY: Duration = Duration::from_millis(200);

/// What is remembered of the batch before.
#[derive(Debug, Default)]
pub(super) struct LastBatch {
    pub(super) began: Option<Instant>,
    /// Milliseconds between its start and the one before.
    pub(super) since_last_ms: Option<u64>,
    /// When a batch gave examples.
    gave_examples: Option<Instant>,
}

impl LastBatch {
    pub(super) fn begin(&mut self, at: Instant) {
        self.since_last_ms = self.began.map(|began| at.duration_since(began).as_millis() as u64);
        self.began = Some(at);
    }

    /// Not more often than somebody could read them.
    pub(super) fn wants_examples(&mut self) -> bool {
        let wants = self.gave_examples.is_none_or(|at| at.elapsed() >= EXAMPLES_EVERY);
        if wants {
            self.gave_examples = Some(Instant::now());
        }
        wants
    }
}

/// A few dead letters, and rows that rules found fault with.
pub(super) fn examples(program: &Program, plan: &BatchPlan, outcome: &Outcome) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut num_of_reason: BTreeMap<Reason, usize> = BTreeMap::new();
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
            origins: vec![(TopicPartition::new(Arc::clone(&letter.topic), letter.partition), letter.offset)],
            id: None,
            severity: None,
            detail: letter.error.clone(),
            body: cut(letter.value.as_deref().unwrap_or_default()),
        });
    }
    examples.extend(outcome.judged.examples.iter().map(|(row, violation)| Example {
        kind: ExampleKind::Rule(program.rules[violation.rule].name.clone()),
        batch: plan.id,
        time_ms: plan.time_ms,
        origins: records_behind(program, outcome.origins[*row as usize]),
        id: None,
        severity: Some(violation.severity),
        detail: violation.detail.clone(),
        body: Vec::new(),
    }));
    examples
}

/// What waits on each side.
pub(super) fn state_progress(
    program: &Program,
    sides: &[SideState; 2],
    changes: &[SideChanges],
    removed: &[usize],
) -> Vec<StateProgress> {
    let numbered = Side::BOTH.into_iter().zip(program.inputs()).zip(changes).zip(removed);
    numbered
        .map(|(((side, input), changes), &removed)| {
            let state = &sides[side.index()];
            StateProgress {
                source: program.sources[input.source].name.clone(),
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

/// How late the late ones among letters are.
pub(super) fn lateness(letters: &[Letter]) -> Lateness {
    let mut lateness = Lateness::default();
    for letter in letters.iter().filter(|letter| letter.reason == Reason::Late) {
        if let (Some(watermark), Some(event_time)) = (letter.watermark, letter.event_time) {
            lateness.push(watermark.saturating_sub(event_time));
        }
    }
    lateness
}
