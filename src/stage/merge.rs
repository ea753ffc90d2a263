//! The outcomes of the groups as one, in an order that doesn't tell how many they were.
//!
//! Rows of the view stand in the order that one group would give: pairs, left rows alone, right rows alone; each by
//! the left record, then the right one ([`place`]). An output that gives one `_id` twice keeps the first, so the
//! order is part of what a batch means.
//!
//! Before anything is stored, what the groups say is held against what they were given. Each check stands for a
//! failure that would otherwise be found by a customer:
//!
//! * [`each_unit_once`]: a read unit that is decoded or handed on twice counts its money twice
//! * [`each_group_once`]: a task that was lost or run twice loses or repeats its keys
//! * [`each_row_in_one_group`]: an exchange that drops a row loses it without a trace
//! * [`one_watermark`]: groups that let go by different watermarks disagree on what is unmatched
//!
//! That every record ever read has one fate, the balance, is asked once the state is known, before the commit.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;

use crate::batch::counts::RuleTally;
use crate::batch::{BatchId, BatchPlan};
use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::observe::example::MAX_OF_KIND;
use crate::query::rule::Violation;
use crate::query::view::number_rows;
use crate::stage::admission::DecodedRange;
use crate::stage::exchange::KeyGroup;
use crate::stage::group::GroupOutcome;
use crate::stage::joining::{FailedRow, place};
use crate::stage::verdict::{Judged, Origin};
use crate::state::SideChanges;

/// What all groups lead to together.
pub(crate) struct Merged {
    pub(crate) judged: Judged,
    pub(crate) origins: Vec<Origin>,
    pub(crate) changes: Vec<SideChanges>,
    pub(crate) failed: Vec<FailedRow>,
    pub(crate) num_joined: u64,
    pub(crate) num_unmatched: u64,
    pub(crate) num_pairs: u64,
}

/// Merges the outcomes of all groups; the rows of the view are numbered then.
pub(crate) fn merge(batch: BatchId, groups: Vec<GroupOutcome>) -> Result<Merged> {
    let mut groups = groups.into_iter();
    let first = groups.next().ok_or_else(|| Error::internal("a batch has no group"))?;
    let mut merged = Merged {
        judged: first.judged,
        origins: first.origins,
        changes: first.changes,
        failed: first.failed,
        num_joined: first.num_joined,
        num_unmatched: first.num_unmatched,
        num_pairs: first.num_pairs,
    };
    let mut batches = vec![merged.judged.rows.clone()];
    for group in groups {
        let before = merged.origins.len() as u32;
        merged.origins.extend(group.origins);
        for (changes, more) in merged.changes.iter_mut().zip(group.changes) {
            changes.extend(more)?;
        }
        merged.failed.extend(group.failed);
        merged.num_joined += group.num_joined;
        merged.num_unmatched += group.num_unmatched;
        merged.num_pairs += group.num_pairs;
        let Judged { rows, num_valid, num_rejected, tally, examples } = group.judged;
        batches.push(rows);
        merged.judged.num_valid += num_valid;
        merged.judged.num_rejected += num_rejected;
        add(&mut merged.judged.tally, tally);
        merged.judged.examples.extend(examples.into_iter().map(|(row, violation)| (before + row, violation)));
    }
    if batches.len() > 1 {
        put_in_order(batch, &batches.iter().collect::<Vec<_>>(), &mut merged)?;
    }
    merged.failed.sort_by_key(|failed| place(batch, &failed.origin));
    merged.judged.rows = number_rows(&merged.judged.rows)?;
    Ok(merged)
}

fn put_in_order(batch: BatchId, batches: &[&RecordBatch], merged: &mut Merged) -> Result<()> {
    let at = batches.iter().enumerate();
    let at: Vec<(usize, usize)> =
        at.flat_map(|(number, rows)| (0..rows.num_rows()).map(move |row| (number, row))).collect();
    let places: Vec<_> = merged.origins.iter().map(|origin| place(batch, origin)).collect();
    let mut order: Vec<usize> = (0..at.len()).collect();
    order.sort_by_key(|&row| places[row]);
    let places_of: Vec<(usize, usize)> = order.iter().map(|&row| at[row]).collect();
    if !at.is_empty() {
        merged.judged.rows = interleave_record_batch(batches, &places_of)?;
    }
    merged.origins = order.iter().map(|&row| merged.origins[row]).collect();
    let mut moved_to = vec![0_u32; order.len()];
    (0_u32..).zip(&order).for_each(|(to, &from)| moved_to[from] = to);
    merged.judged.examples.iter_mut().for_each(|(row, _)| *row = moved_to[*row as usize]);
    keep_last_of_each_rule(&mut merged.judged.examples);
    Ok(())
}

fn add(tally: &mut BTreeMap<String, RuleTally>, more: BTreeMap<String, RuleTally>) {
    for (rule, more) in more {
        let tally = tally.entry(rule).or_default();
        tally.reject += more.reject;
        tally.warn += more.warn;
    }
}

fn keep_last_of_each_rule(examples: &mut Vec<(u32, Violation)>) {
    examples.sort_by_key(|(row, violation)| (std::cmp::Reverse(*row), violation.rule));
    let mut of_rule: BTreeMap<usize, usize> = BTreeMap::new();
    examples.retain(|(_, violation)| {
        let number = of_rule.entry(violation.rule).or_default();
        *number += 1;
        *number <= MAX_OF_KIND
    });
}

/// Each partition was read at most once, within its range of the plan.
pub(crate) fn each_unit_once(plan: &BatchPlan, ranges: &[DecodedRange]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for range in ranges {
        let tp = &range.records.tp;
        if !seen.insert(tp) {
            return Err(bug(format!("{tp} was read twice in batch {}", plan.id)));
        }
        let planned = plan.ranges.get(tp);
        let is_planned =
            |offset: i64| planned.is_some_and(|range| (range.start..range.end).contains(&offset));
        if let Some(record) = range.records.iter().find(|record| !is_planned(record.offset())) {
            let offset = record.offset();
            return Err(bug(format!("{tp} has offset {offset} that batch {} did not plan", plan.id)));
        }
    }
    Ok(())
}

/// Every group of the plan answered, and once.
pub(crate) fn each_group_once(of: u32, groups: &[GroupOutcome]) -> Result<()> {
    let found: Vec<KeyGroup> = groups.iter().map(|outcome| outcome.group).collect();
    match found == KeyGroup::all(of).collect::<Vec<_>>() {
        true => Ok(()),
        false => Err(bug(format!("of {of} groups these answered: {found:?}"))),
    }
}

/// The groups had as many rows of each source as were admitted.
pub(crate) fn each_row_in_one_group(admitted: &[usize], groups: &[GroupOutcome]) -> Result<()> {
    for (source, &admitted) in admitted.iter().enumerate() {
        let exchanged: usize = groups.iter().filter_map(|outcome| outcome.num_new.get(source)).sum();
        if exchanged != admitted {
            return Err(bug(format!(
                "{admitted} rows of source {source} were admitted and {exchanged} reached a group"
            )));
        }
    }
    Ok(())
}

/// All groups let rows go by the watermark that the batch ends with.
pub(crate) fn one_watermark(watermark: Option<Nanos>, groups: &[GroupOutcome]) -> Result<()> {
    match groups.iter().find(|outcome| outcome.watermark != watermark) {
        None => Ok(()),
        Some(other) => Err(bug(format!(
            "group {} let rows go by the watermark {:?}, the batch ends with {watermark:?}",
            other.group.number, other.watermark
        ))),
    }
}

fn bug(what: String) -> Error {
    Error::internal(what).advise(
        "this is a bug of ecomm-batch: the batch was not committed; please report it with the checkpoint",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;

    use super::*;
    use crate::batch::SinkMode;
    use crate::batch::offset::{OffsetRange, TopicPartition};
    use crate::decode::Decoded;
    use crate::source::Records;

    fn outcome(number: u32, of: u32, num_new: usize, watermark: Option<Nanos>) -> GroupOutcome {
        let rows = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let (tally, examples) = (BTreeMap::new(), Vec::new());
        GroupOutcome {
            group: KeyGroup { number, of },
            watermark,
            num_new: vec![num_new],
            judged: Judged { rows, num_valid: 0, num_rejected: 0, tally, examples },
            origins: Vec::new(),
            changes: Vec::new(),
            failed: Vec::new(),
            num_joined: 0,
            num_unmatched: 0,
            num_pairs: 0,
        }
    }

    fn message(result: Result<()>) -> String {
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_unit_that_comes_twice_or_was_not_planned_is_found() {
        let tp = |partition| TopicPartition::new("orders", partition);
        let unit = |partition: i32, offsets: &[i64]| {
            let mut records = Records::new(tp(partition));
            offsets.iter().for_each(|&offset| records.push(offset, 0, None, None));
            let rows = RecordBatch::new_empty(Arc::new(Schema::empty()));
            let decoded = Decoded { rows, records: Vec::new(), rejects: Vec::new(), tombstones: Vec::new() };
            DecodedRange { records, decoded }
        };
        let range = OffsetRange { start: 5, end: 8, latest: 9 };
        let plan = BatchPlan {
            id: BatchId(3),
            ranges: [(tp(0), range), (tp(1), range)].into(),
            watermark: None,
            time_ms: 0,
            program: String::new(),
            sink: SinkMode::Idempotent,
            groups: 1,
            run: None,
        };
        assert_eq!(message(each_unit_once(&plan, &[unit(0, &[5, 7]), unit(1, &[])])), "");
        let twice = message(each_unit_once(&plan, &[unit(0, &[5]), unit(0, &[6])]));
        assert!(twice.contains("orders/0 was read twice in batch 3"), "{twice}");
        for wrong in [unit(0, &[4]), unit(1, &[7, 8]), unit(2, &[5])] {
            assert!(message(each_unit_once(&plan, &[wrong])).contains("did not plan"));
        }
    }

    #[test]
    fn a_group_that_is_missing_or_answers_twice_is_found() {
        let groups = |numbers: &[u32]| numbers.iter().map(|&n| outcome(n, 3, 0, None)).collect::<Vec<_>>();
        assert_eq!(message(each_group_once(3, &groups(&[0, 1, 2]))), "");
        for wrong in [&[0, 1][..], &[0, 1, 1], &[0, 1, 2, 2], &[]] {
            assert!(message(each_group_once(3, &groups(wrong))).contains("of 3 groups"), "{wrong:?}");
        }
    }

    #[test]
    fn a_row_that_no_group_or_that_two_had_is_found() {
        let groups = [outcome(0, 2, 4, None), outcome(1, 2, 3, None)];
        assert_eq!(message(each_row_in_one_group(&[7], &groups)), "");
        assert!(
            message(each_row_in_one_group(&[8], &groups)).contains("8 rows of source 0 were admitted and 7")
        );
        assert!(
            message(each_row_in_one_group(&[6], &groups)).contains("6 rows of source 0 were admitted and 7")
        );
    }

    #[test]
    fn a_group_with_a_watermark_of_its_own_is_found() {
        let groups = [outcome(0, 2, 0, Some(5)), outcome(1, 2, 0, Some(6))];
        assert!(message(one_watermark(Some(5), &groups)).contains("group 1"));
        assert!(message(one_watermark(None, &groups)).contains("group 0"));
        assert_eq!(message(one_watermark(Some(5), &groups[..1])), "");
    }
}
