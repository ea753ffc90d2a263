//! Which rows of both sides meet: equal keys, times within the range, and what else ON asks of both.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;

use crate::clock::{Nanos, rfc3339};
use crate::error::Result;
use crate::query::join_condition::JoinCondition;
use crate::query::join_side::SidePlan;
use crate::query::row_wise::{ask, physical};
use crate::query::source_view::SourceSubtree;
use crate::query::sql_file::SqlFile;
use crate::query::time_range::Sums;

/// How many pairs the predicates on both sides are asked of at a time.
const PAIRS_AT_A_TIME: usize = 8192;

/// The rows of one side of a batch.
#[derive(Clone, Copy)]
pub(crate) struct MatchInput<'a> {
    /// The side's columns; new rows first, then rows of state.
    pub(crate) columns: &'a RecordBatch,
    /// Their event times.
    pub(crate) event_times: &'a [Nanos],
    /// How many of them came in this batch.
    pub(crate) num_new: usize,
}

/// The pairs of which at least one row is new, by left row, then right.
#[derive(Debug, Default)]
pub(crate) struct Matches {
    /// For each the index of its left row.
    pub(crate) left: Vec<u32>,
    /// For each the index of its right row.
    pub(crate) right: Vec<u32>,
    /// Pairs for which ON could not be computed, with the error.
    pub(crate) failed: Vec<((u32, u32), String)>,
}

/// The predicates of ON that ask for columns of both sides.
#[derive(Debug)]
pub(crate) struct PairPredicate {
    expr: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    /// For each side the columns that it asks for.
    columns: [Vec<usize>; 2],
}

impl PairPredicate {
    pub(crate) fn build(
        file: &SqlFile,
        state: &SessionState,
        condition: &JoinCondition,
        inputs: &[SourceSubtree<'_>; 2],
        sides: &[SidePlan; 2],
    ) -> Result<Option<Self>> {
        let Some(predicate) = condition.both.iter().cloned().reduce(Expr::and) else { return Ok(None) };
        let asked = predicate.column_refs();
        let (mut fields, mut columns) = (Vec::new(), [Vec::new(), Vec::new()]);
        for ((input, side), columns) in inputs.iter().zip(sides).zip(&mut columns) {
            for (index, field) in side.input.columns.fields().iter().enumerate() {
                let is_asked = asked.iter().any(|column| {
                    column.relation.as_ref() == Some(&input.alias) && column.name == *field.name()
                });
                if is_asked {
                    columns.push(index);
                    fields.push((Some(input.alias.clone()), Arc::clone(field)));
                }
            }
        }
        let schema =
            Arc::new(Schema::new(fields.iter().map(|(_, field)| Arc::clone(field)).collect::<Vec<_>>()));
        let qualified = DFSchema::new_with_metadata(fields, Default::default())?;
        let expr = physical(file, state, &predicate, &qualified)?;
        Ok(Some(Self { expr, schema, columns }))
    }

    /// Moves the pairs that match from `candidates` to `matches`.
    fn ask(
        &self,
        inputs: [MatchInput<'_>; 2],
        candidates: &mut Matches,
        matches: &mut Matches,
    ) -> Result<()> {
        let Matches { left, right, .. } = std::mem::take(candidates);
        let at = [UInt32Array::from(left), UInt32Array::from(right)];
        let mut columns = Vec::new();
        for ((input, at), indices) in inputs.iter().zip(&at).zip(&self.columns) {
            for &index in indices {
                columns.push(arrow::compute::take(input.columns.column(index), at, None)?);
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(at[0].len()));
        let pairs = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        let (answers, failed) = ask(&self.expr, &pairs)?;
        let pair = |row: usize| (at[0].value(row), at[1].value(row));
        answers.set_indices().for_each(|row| matches.push(pair(row)));
        matches.failed.extend(failed.into_iter().map(|(row, error)| (pair(row), error)));
        Ok(())
    }
}

impl Matches {
    fn push(&mut self, (left, right): (u32, u32)) {
        self.left.push(left);
        self.right.push(right);
    }
}

/// Which times meet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeRange {
    /// Least and greatest right event time minus left event time.
    pub(crate) bounds: (Nanos, Nanos),
    /// What is added to the times of either side to compare them.
    pub(crate) sums: [Sums; 2],
}

/// Matches rows; at least one of each pair is new, so that no pair comes out twice.
pub(crate) fn match_rows(
    sides: &[SidePlan; 2],
    time_range: TimeRange,
    predicate: Option<&PairPredicate>,
    inputs: [MatchInput<'_>; 2],
) -> Result<Matches> {
    let [left, right] = inputs;
    let (left_keys, right_keys) = (sides[0].keys(left.columns)?, sides[1].keys(right.columns)?);
    let mut by_key: HashMap<&[u8], Vec<u32>> = HashMap::new();
    let encoded: Vec<_> = (0..right.event_times.len()).map(|row| right_keys.get(row)).collect();
    for (row, key) in (0u32..).zip(&encoded) {
        if let Some(key) = key {
            by_key.entry(key.as_ref()).or_default().push(row);
        }
    }
    let (least, greatest) = time_range.bounds;
    let within = i128::from(least)..=i128::from(greatest);
    let (mut matches, mut candidates) = (Matches::default(), Matches::default());
    for (row, &left_time) in left.event_times.iter().enumerate() {
        let Some(key) = left_keys.get(row) else { continue };
        let Some(partners) = by_key.get(key.as_ref()) else { continue };
        // New rows stand first; a row of state has met the others.
        let end = if row < left.num_new {
            partners.len()
        } else {
            partners.partition_point(|&partner| (partner as usize) < right.num_new)
        };
        for &partner in &partners[..end] {
            let times = [left_time, right.event_times[partner as usize]];
            if !within.contains(&(i128::from(times[1]) - i128::from(times[0]))) {
                continue;
            }
            let mut sums = time_range.sums.iter().zip(times);
            if let Some((_, time)) = sums.find(|(sums, time)| sums.overflow(*time)) {
                let error =
                    format!("the time range around {} is beyond what a TIMESTAMP holds", rfc3339(time));
                matches.failed.push(((row as u32, partner), error));
                continue;
            }
            match predicate {
                None => matches.push((row as u32, partner)),
                Some(predicate) => {
                    candidates.push((row as u32, partner));
                    if candidates.left.len() == PAIRS_AT_A_TIME {
                        predicate.ask(inputs, &mut candidates, &mut matches)?;
                    }
                }
            }
        }
    }
    if let Some(predicate) = predicate.filter(|_| !candidates.left.is_empty()) {
        predicate.ask(inputs, &mut candidates, &mut matches)?;
    }
    Ok(matches)
}
