//! A batch as one value: all that follows from its plan, its records and the rows that wait. Nothing is changed by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::batch::BatchPlan;
use crate::batch::counts::{Counts, Tally};
use crate::batch::offset::PerPartition;
use crate::batch::watermark::{Advanced, HeldBy, PartitionClock, WatermarkInput, WatermarkPolicy};
use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::observe::progress::SourceProgress;
use crate::query::Program;
use crate::query::side::Side;
use crate::stage::admission::{Admitted, DecodedRange, Entry, Letter, admit};
use crate::stage::joining::join;
use crate::stage::verdict::{Judged, Origin, judge_pairs, judge_rows};
use crate::state::{KeyRows, RowMeta, Rows, SideChanges, SideState};

/// What a batch finds: what the last commit left behind.
pub(crate) struct Before<'a> {
    pub(crate) sides: &'a [SideState; 2],
    pub(crate) clocks: PerPartition<PartitionClock>,
    /// When the query began, in milliseconds; nothing before its first batch.
    pub(crate) started_ms: Option<i64>,
}

/// What a batch leads to.
pub(crate) struct Outcome {
    pub(crate) judged: Judged,
    /// For each row of the view the records behind it.
    pub(crate) origins: Vec<[Option<RowMeta>; 2]>,
    /// Of each side; of a program without a join one.
    pub(crate) changes: Vec<SideChanges>,
    pub(crate) letters: Vec<Letter>,
    pub(crate) counts: Counts,
    pub(crate) tally: Tally,
    pub(crate) sources: Vec<SourceProgress>,
    pub(crate) clocks: PerPartition<PartitionClock>,
    pub(crate) watermark: Option<Nanos>,
    pub(crate) held_by: HeldBy,
}

/// Everything that follows from the plan, the records and the state; changes nothing.
///
/// * `ranges`: the records of all ranges of the plan, decoded
///
/// # Errors
/// [`Internal`](crate::error::ErrorKind::Internal): DataFusion failed in a way that no record explains.
pub(crate) async fn compute(
    program: &Program,
    before: &Before<'_>,
    plan: &BatchPlan,
    ranges: &[DecodedRange],
) -> Result<Outcome> {
    let mut counts = Counts::default();
    let mut clocks = before.clocks.clone();
    let mut letters = Vec::new();
    let mut admitted: Vec<Rows> = Vec::new();
    let mut filtered_keys = Vec::new();
    let mut sources = Vec::new();
    for (side, view) in Side::BOTH.into_iter().zip(program.inputs()) {
        let source = &program.sources[view.source];
        let of_source: Vec<&DecodedRange> =
            ranges.iter().filter(|range| *range.records.tp.topic == *source.topic).collect();
        let entry = Entry {
            source,
            view,
            side: program.join.as_ref().map(|join| join.side(side)),
            keys: &before.sides[side.index()].keys,
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
    let Advanced { watermark, held_by } = watermark_after(program, before.started_ms, plan, &clocks);
    let both = || Error::internal("a join has two sides");
    let (judged, origins, changes) = match &program.join {
        Some(view) => {
            let new: [Rows; 2] = admitted.try_into().map_err(|_| both())?;
            let filtered_keys: [KeyRows; 2] = filtered_keys.try_into().map_err(|_| both())?;
            let state = [&before.sides[0], &before.sides[1]];
            let mut joined = join(view, state, new, filtered_keys, watermark).await?;
            let judged = judge_pairs(program, plan, &mut joined).await?;
            counts.joined = joined.num_joined;
            counts.unmatched = joined.num_unmatched;
            counts.pairs = joined.num_pairs as u64;
            counts.refused = joined.failed.len() as u64;
            letters.extend(joined.failed.iter().map(|failed| failed.letter(program, plan)));
            (judged, joined.origins, joined.changes.into())
        }
        None => {
            let (rows, filtered) = admitted.pop().zip(filtered_keys.pop()).ok_or_else(both)?;
            let side = &before.sides[0];
            let all: Vec<usize> = (0..rows.len()).collect();
            let keys = side.keys.select(&rows, &all)?.followed_by(&filtered)?;
            let changes = vec![SideChanges::only_keys(side.schema(), keys)];
            let shown: Vec<usize> = (0..program.view.schema.fields().len()).collect();
            let origins: Vec<Origin> = rows.meta.iter().map(|&meta| [Some(meta), None]).collect();
            let judged = judge_rows(program, plan, &rows.columns.project(&shown)?, &origins).await?;
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

/// The watermark that a batch ends with, and what holds it there.
pub(crate) fn watermark_after(
    program: &Program,
    started_ms: Option<i64>,
    plan: &BatchPlan,
    clocks: &PerPartition<PartitionClock>,
) -> Advanced {
    let policies: Vec<WatermarkPolicy> =
        program.sources.iter().map(|source| source.watermark.clone()).collect();
    let none = BTreeSet::new();
    WatermarkInput {
        current: plan.watermark,
        clocks,
        ranges: &plan.ranges,
        pinned: plan.run.as_ref().map_or(&none, |run| &run.pinned),
        now_ms: plan.time_ms,
        query_start_ms: started_ms.unwrap_or(plan.time_ms),
    }
    .advance(&policies)
}
