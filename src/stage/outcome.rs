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
use crate::runner::LocalRunner;
use crate::stage::admission::{AdmittedRange, DecodedRange, admit_keys, admit_range};
use crate::stage::before::Before;
use crate::stage::exchange::{KeyGroup, Part, by_arrival, by_key};
use crate::stage::group::GroupTask;
use crate::stage::letter::Letter;
use crate::stage::merge::{each_group_once, each_row_in_one_group, each_unit_once, merge, one_watermark};
use crate::stage::verdict::{Judged, Origin};
use crate::state::{Rows, SideChanges};

/// What a batch leads to.
pub(crate) struct Outcome {
    pub(crate) judged: Judged,
    /// For each row of the view the records behind it.
    pub(crate) origins: Vec<Origin>,
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
/// * `ranges`: the records of all ranges of the plan, decoded; let go once they are admitted
///
/// # Errors
/// [`Internal`](crate::error::ErrorKind::Internal): DataFusion failed in a way that no record explains, or the
/// parts of the batch contradict each other.
pub(crate) async fn compute(
    before: Before,
    ranges: Vec<DecodedRange>,
    runner: &LocalRunner,
) -> Result<Outcome> {
    each_unit_once(&before.plan, &ranges)?;
    let before = Arc::new(before);
    let Before { program, plan, .. } = before.as_ref();
    let of_side = admit_units(&before, ranges, runner).await?;
    let mut clocks = before.clocks.clone();
    clocks.extend(of_side.iter().flatten().map(AdmittedRange::clock));

    let mut rows: Vec<Rows> = Vec::new();
    let (mut filtered_keys, mut letters, mut counts) = (Vec::new(), Vec::new(), Counts::default());
    let (mut sources, mut topics) = (Vec::new(), BTreeMap::new());
    for ((side, view), ranges) in Side::BOTH.into_iter().zip(program.inputs()).zip(of_side) {
        let topic = &program.sources[view.source].topic;
        let of_source = admit_keys(&before, side, ranges)?;
        counts.add(&of_source.counts);
        topics.insert(topic.to_string(), of_source.counts.records);
        let ranges = plan.ranges.iter().filter(|(tp, _)| tp.topic == *topic);
        sources.push(SourceProgress {
            topic: Arc::clone(topic),
            counts: of_source.counts,
            ranges: ranges.map(|(tp, range)| (tp.clone(), *range)).collect(),
            event_times: of_source.event_times,
        });
        letters.extend(of_source.letters);
        rows.push(of_source.rows);
        filtered_keys.push(of_source.filtered_keys);
    }
    let Advanced { watermark, held_by } = watermark_after(program, before.started_ms, plan, &clocks);

    let num_admitted: Vec<usize> = rows.iter().map(Rows::len).collect();
    let tasks = exchange(&before, rows, watermark);
    let groups = runner.run(tasks.into_iter().map(GroupTask::run).collect()).await?;
    each_group_once(plan.groups, &groups)?;
    each_row_in_one_group(&num_admitted, &groups)?;
    one_watermark(watermark, &groups)?;
    let mut merged = merge(plan.id, groups)?;
    for (changes, keys) in merged.changes.iter_mut().zip(&filtered_keys) {
        changes.extend_keys(keys)?;
    }
    letters.extend(merged.failed.iter().map(|failed| failed.letter(program, plan)));
    counts.joined = merged.num_joined;
    counts.unmatched = merged.num_unmatched;
    counts.pairs = merged.num_pairs;
    counts.refused = merged.failed.len() as u64;
    counts.valid = merged.judged.num_valid;
    counts.rejected = merged.judged.num_rejected;
    let tally = Tally { topics, rules: merged.judged.tally.clone(), outputs: BTreeMap::new() };
    Ok(Outcome {
        judged: merged.judged,
        origins: merged.origins,
        changes: merged.changes,
        letters,
        counts,
        tally,
        sources,
        clocks,
        watermark,
        held_by,
    })
}

/// The read units of each side, each asked what its records answer alone.
async fn admit_units(
    before: &Arc<Before>,
    ranges: Vec<DecodedRange>,
    runner: &LocalRunner,
) -> Result<[Vec<AdmittedRange>; 2]> {
    let program = &before.program;
    let topics: Vec<&Arc<str>> = program.inputs().map(|view| &program.sources[view.source].topic).collect();
    let mut tasks = Vec::new();
    for range in ranges {
        let tp = &range.records.tp;
        let mut sides = Side::BOTH.into_iter().zip(&topics);
        let Some((side, _)) = sides.find(|(_, topic)| ***topic == tp.topic) else {
            return Err(Error::internal(format!("nothing reads the records of {tp}")));
        };
        let before = Arc::clone(before);
        tasks.push(async move { Ok((side, admit_range(&before, side, range).await?)) });
    }
    let mut of_side: [Vec<AdmittedRange>; 2] = Default::default();
    for (side, admitted) in runner.run(tasks).await? {
        of_side[side.index()].push(admitted);
    }
    Ok(of_side)
}

/// The task of each key group, with its rows of each source.
fn exchange(before: &Arc<Before>, admitted: Vec<Rows>, watermark: Option<Nanos>) -> Vec<GroupTask> {
    let groups: Vec<KeyGroup> = KeyGroup::all(before.plan.groups).collect();
    let of = groups.len() as u32;
    let mut new: Vec<Vec<Part>> = groups.iter().map(|_| Vec::new()).collect();
    for rows in admitted {
        let parts = match &before.program.join {
            Some(_) => by_key(rows, of),
            None => by_arrival(&rows, of),
        };
        new.iter_mut().zip(parts).for_each(|(new, part)| new.push(part));
    }
    let task = |(group, new)| GroupTask { before: Arc::clone(before), group, new, watermark };
    groups.into_iter().zip(new).map(task).collect()
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
