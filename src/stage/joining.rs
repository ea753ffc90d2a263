//! One key group's part of the join: new rows meet state, and the watermark lets go of what can't match.
//!
//! ```text
//! new left  ┐                      ┌ pairs ─────────────► verdicts
//! new right ┼ + state rows with    ┤
//! state     ┘   a key of the new   └ changes of state
//! watermark ─► rows that no partner can reach any more ─► alone, if the join keeps them
//! ```
//!
//! A pair, or a row alone, for which the view can't be computed gives no row. It is a dead letter
//! `refused`, beside the fates of its records: those have joined, or not, whatever the view shows of them.
//!
//! Nothing here changes the state: the outcome is a value, applied once the sinks have the rows.

use std::collections::{HashMap, HashSet};

use arrow::array::{RecordBatch, UInt32Array};

use crate::batch::{BatchId, BatchPlan};
use crate::clock::Nanos;
use crate::error::Result;
use crate::query::Program;
use crate::query::join_view::JoinView;
use crate::query::pair_match::{MatchInput, Matches};
use crate::query::pair_rows::Shown;
use crate::query::side::Side;
use crate::stage::exchange::KeyGroup;
use crate::stage::letter::Letter;
use crate::state::{KeyRows, RowMeta, RowRef, Rows, SideChanges, SideState};

/// What a batch of the join gives.
#[derive(Debug)]
pub struct Joined {
    /// Rows of the view: pairs first, then left rows alone, then right rows alone.
    pub rows: RecordBatch,
    /// For each row the left and right record behind it.
    pub origins: Vec<[Option<RowMeta>; 2]>,
    /// How many of the rows are pairs.
    pub num_pairs: usize,
    /// For each pair its left row, as an index of `left`.
    pub pair_left: UInt32Array,
    /// The left input: new rows, then rows of state.
    pub left: Vec<RowMeta>,
    /// Records that found their first partner.
    pub num_joined: u64,
    /// Records that went without one.
    pub num_unmatched: u64,
    /// What happens to each side; the counts of valid partners come from the verdicts.
    pub changes: [SideChanges; 2],
    /// For each left input row that is in `changes[0].matched` or `added`: where.
    pub left_slots: HashMap<u32, LeftSlot>,
    /// Pairs and rows alone for which the view could not be computed.
    pub failed: Vec<FailedRow>,
}

/// Where a row of the view stands among those of its batch: pairs, left rows alone, right rows alone; each by the
/// left record, then the right one. The records of a pair are new ones before those of state, of a row alone the
/// other way round, and then by arrival.
pub(crate) fn place(batch: BatchId, origin: &[Option<RowMeta>; 2]) -> impl Ord + Copy + use<> {
    let [left, right] = origin;
    let kind = match (left, right) {
        (Some(_), Some(_)) => 0_u8,
        (Some(_), None) => 1,
        (None, _) => 2,
    };
    let of_record = |meta: &RowMeta| ((meta.batch == batch) == (kind != 0), meta.arrival());
    (kind, left.as_ref().map(of_record), right.as_ref().map(of_record))
}

/// A row that the view should have and that could not be computed.
#[derive(Debug)]
pub struct FailedRow {
    /// The left and right record behind it.
    pub origin: [Option<RowMeta>; 2],
    /// What of the view failed.
    pub failed: &'static str,
    /// The expression's error.
    pub error: String,
}

impl FailedRow {
    /// Its letter, at the right record, else the left; told apart from others of the record by the left one.
    pub fn letter(&self, program: &Program, plan: &BatchPlan) -> Letter {
        let view = &program.view.name;
        let position = |side: Side| {
            let meta = self.origin[side.index()]?;
            Some(format!("{}/{}/{}", program.topic(side), meta.partition, meta.offset))
        };
        let records: Vec<String> = Side::BOTH.into_iter().filter_map(position).collect();
        let error = format!("the view \"{view}\" {} {}: {}", self.failed, records.join(" with "), self.error);
        let letter = Letter::of_row(program, plan, self.origin, view, error);
        tracing::warn!("{}", letter.error.as_deref().unwrap_or_default());
        letter
    }
}

/// Where a left row's count of valid partners is kept.
#[derive(Clone, Copy, Debug)]
pub enum LeftSlot {
    /// In `changes[0].added` at this index.
    Added(usize),
    /// In `changes[0].matched` at this index.
    Matched(usize),
}

/// Joins the new rows of one key group.
///
/// * `new`: admitted rows of each side, with their side's columns and the hashes of their keys.
/// * `after`: the watermark that the batch ends with; `None` evicts nothing.
pub async fn join(
    view: &JoinView,
    batch: BatchId,
    state: &[SideState; 2],
    new: [Rows; 2],
    group: KeyGroup,
    after: Option<Nanos>,
) -> Result<Joined> {
    let hashes = |side: Side| new[side.index()].meta.iter().filter_map(|meta| meta.key_hash);
    // Each side's state answers to the keys of the other side's new rows.
    let partners: [Vec<RowRef>; 2] = Side::BOTH.map(|side| state[side.index()].lookup(hashes(side.other())));
    let mut inputs = Vec::new();
    for side in Side::BOTH {
        let old = state[side.index()].rows(&partners[side.index()])?;
        inputs.push(new[side.index()].followed_by(&old)?);
    }
    let matches = match_inputs(view, &new, &inputs)?;
    // Who has matched is decided before the view's WHERE and SELECT; of a pair for which ON can't be
    // computed nobody can say that it has not.
    let mut matched: [HashSet<u32>; 2] =
        [&matches.left, &matches.right].map(|rows| rows.iter().copied().collect());
    for &((left, right), _) in &matches.failed {
        matched[0].insert(left);
        matched[1].insert(right);
    }
    let origin_of =
        |left: u32, right: u32| [Some(inputs[0].meta[left as usize]), Some(inputs[1].meta[right as usize])];
    let mut failed: Vec<FailedRow> = Vec::new();
    for ((left, right), error) in matches.failed {
        failed.push(FailedRow { origin: origin_of(left, right), failed: "could not compare", error });
    }
    let mut found: Vec<(u32, u32)> = matches.left.into_iter().zip(matches.right).collect();
    let in_place = |&(left, right): &(u32, u32)| place(batch, &origin_of(left, right));
    if !found.is_sorted_by_key(in_place) {
        found.sort_by_cached_key(in_place);
    }
    let (left, right): (Vec<u32>, Vec<u32>) = found.into_iter().unzip();
    let (left, right) = (UInt32Array::from(left), UInt32Array::from(right));
    let pairs = view.pairs((&inputs[0].columns, &left), (&inputs[1].columns, &right)).await?;
    let origin_of_pair = |pair: u32| origin_of(left.value(pair as usize), right.value(pair as usize));
    failed.extend(failed_rows(&pairs, origin_of_pair));
    let mut origins: Vec<[Option<RowMeta>; 2]> = pairs.at.iter().map(|&pair| origin_of_pair(pair)).collect();
    let pair_left = UInt32Array::from_iter_values(pairs.at.iter().map(|&pair| left.value(pair as usize)));
    let mut batches = vec![pairs.rows];
    let (mut num_joined, mut num_unmatched) = (0, 0);
    let mut changes = Vec::new();
    let mut left_slots = HashMap::new();
    for side in Side::BOTH {
        let of_side = OfSide {
            group,
            state: &state[side.index()],
            new: &new[side.index()],
            partners: &partners[side.index()],
            matched: &matched[side.index()],
        };
        let outcome = settle(view, side, of_side, after)?;
        num_joined += outcome.num_joined;
        num_unmatched += outcome.alone.len() as u64;
        if view.keeps_unmatched(side) && !outcome.alone.is_empty() {
            let alone = view.alone(side, &outcome.alone.columns).await?;
            let origin_of_row = |row: u32| {
                let mut origin = [None, None];
                origin[side.index()] = Some(outcome.alone.meta[row as usize]);
                origin
            };
            failed.extend(failed_rows(&alone, origin_of_row));
            origins.extend(alone.at.iter().map(|&row| origin_of_row(row)));
            batches.push(alone.rows);
        }
        if side == Side::Left {
            left_slots = outcome.slots;
        }
        changes.push(outcome.changes);
    }
    let num_pairs = pair_left.len();
    let rows = arrow::compute::concat_batches(&view.schema, &batches)?;
    let left = inputs[0].meta.clone();
    let [left_changes, right_changes]: [SideChanges; 2] =
        changes.try_into().map_err(|_| crate::error::Error::internal("a join has two sides"))?;
    Ok(Joined {
        rows,
        origins,
        num_pairs,
        pair_left,
        left,
        num_joined,
        num_unmatched,
        changes: [left_changes, right_changes],
        left_slots,
        failed,
    })
}

fn match_inputs(view: &JoinView, new: &[Rows; 2], inputs: &[Rows]) -> Result<Matches> {
    if inputs.iter().any(Rows::is_empty) {
        return Ok(Matches::default());
    }
    let event_times: Vec<Vec<Nanos>> =
        inputs.iter().map(|rows| rows.meta.iter().map(|meta| meta.event_time).collect()).collect();
    let input = |side: Side| MatchInput {
        columns: &inputs[side.index()].columns,
        event_times: &event_times[side.index()],
        num_new: new[side.index()].len(),
    };
    view.matches(input(Side::Left), input(Side::Right))
}

fn failed_rows(shown: &Shown, origin: impl Fn(u32) -> [Option<RowMeta>; 2]) -> Vec<FailedRow> {
    let failed = shown.failed.iter();
    failed
        .map(|(row, error)| FailedRow {
            origin: origin(*row),
            failed: "could not be computed for",
            error: error.clone(),
        })
        .collect()
}

struct Settled {
    changes: SideChanges,
    alone: Rows,
    num_joined: u64,
    slots: HashMap<u32, LeftSlot>,
}

/// The rows of one side that a batch has to do with.
struct OfSide<'a> {
    group: KeyGroup,
    state: &'a SideState,
    new: &'a Rows,
    /// Those of `state` with a key of the other side's new rows.
    partners: &'a [RowRef],
    /// The new rows, then `partners`, that met somebody.
    matched: &'a HashSet<u32>,
}

/// What becomes of one side: which rows stay, which leave, which of those never had a partner.
fn settle(view: &JoinView, side: Side, of_side: OfSide<'_>, after: Option<Nanos>) -> Result<Settled> {
    let OfSide { group, state, new, partners, matched } = of_side;
    let matches_once = view.side(side).matches_once;
    // Below this event time nothing can be matched any more.
    let bound = after.map_or(i64::MIN, |after| after.saturating_sub(view.reach(side)));
    let (mut kept, mut not_kept, mut alone_new) = (Vec::new(), Vec::new(), Vec::new());
    let (mut slots, mut num_joined) = (HashMap::new(), 0);
    let mut added = new.clone();
    for (row, meta) in added.meta.iter_mut().enumerate() {
        meta.matched = matched.contains(&(row as u32));
        num_joined += u64::from(meta.matched);
        let can_match =
            meta.key_hash.is_some() && meta.event_time >= bound && !(meta.matched && matches_once);
        if can_match {
            slots.insert(row as u32, LeftSlot::Added(kept.len()));
            kept.push(row);
        } else {
            not_kept.push(row);
            if !meta.matched {
                alone_new.push(row);
            }
        }
    }
    let (mut marks, mut removed, mut matched_now) = (Vec::new(), Vec::new(), HashSet::new());
    for (position, &reference) in partners.iter().enumerate() {
        let row = (new.len() + position) as u32;
        if !matched.contains(&row) {
            continue;
        }
        matched_now.insert(reference);
        let meta = state.meta(reference);
        num_joined += u64::from(!meta.matched);
        if matches_once {
            removed.push(reference);
        } else {
            slots.insert(row, LeftSlot::Matched(marks.len()));
            marks.push((reference, meta.valid_partners));
        }
    }
    let is_alone = |reference: &RowRef| {
        let meta = state.meta(*reference);
        !meta.matched && group.holds(&meta) && !matched_now.contains(reference)
    };
    let mut expired: Vec<RowRef> = state.older_than(bound).into_iter().filter(is_alone).collect();
    expired.sort_by_cached_key(|&reference| state.meta(reference).arrival());
    let alone = state.rows(&expired)?.followed_by(&new.take(&alone_new)?)?;
    let keys: KeyRows = state.keys.select(new, &not_kept)?;
    let changes = SideChanges { added: added.take(&kept)?, matched: marks, removed, keys };
    Ok(Settled { changes, alone, num_joined, slots })
}

/// For each pair in order of its left row's right rows: which round of `_prior_valid` it is in.
pub fn rounds(joined: &Joined) -> Vec<Vec<usize>> {
    let mut of_left: HashMap<u32, Vec<usize>> = HashMap::new();
    for (pair, &left) in joined.pair_left.values().iter().enumerate() {
        of_left.entry(left).or_default().push(pair);
    }
    let mut rounds: Vec<Vec<usize>> = Vec::new();
    for pairs in of_left.values_mut() {
        pairs.sort_by_key(|&pair| joined.origins[pair][1].map(|meta| meta.arrival()));
        for (round, &pair) in pairs.iter().enumerate() {
            if rounds.len() <= round {
                rounds.push(Vec::new());
            }
            rounds[round].push(pair);
        }
    }
    rounds.iter_mut().for_each(|round| round.sort_unstable());
    rounds
}
