//! What the rules say of each row of the view: `_violations`, `_valid`, and `_prior_valid` before.
//!
//! Rules that count earlier valid partners run after all others, in rounds: round k judges the k-th
//! right row of every left row, when the verdicts on the k−1 before it are known.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
    TimestampMillisecondArray, UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};

use crate::batch::BatchPlan;
use crate::batch::counts::RuleTally;
use crate::error::Result;
use crate::observe::example::MAX_OF_KIND;
use crate::query::Program;
use crate::query::rule::{Rule, Severity, Violation};
use crate::query::side::Side;
use crate::query::view::{origin_fields, violation_fields};
use crate::stage::joining::{Joined, LeftSlot, rounds};
use crate::state::RowMeta;

/// What is known of the records behind a row, left and right.
pub type Origin = [Option<RowMeta>; 2];

/// The rows of the view with all system columns; outputs read them once they are numbered.
#[derive(Debug)]
pub struct Judged {
    /// In the order of the rows that were judged.
    pub rows: RecordBatch,
    /// How many pairs no rule rejected.
    pub num_valid: u64,
    /// How many pairs a rule rejected.
    pub num_rejected: u64,
    /// How many pairs each rule found fault with, of all rules.
    pub tally: BTreeMap<String, RuleTally>,
    /// The last few of each rule: the row and what is wrong with it.
    pub examples: Vec<(u32, Violation)>,
}

/// Judges the pairs of a join; the counts of valid partners go into its changes.
pub async fn judge_pairs(program: &Program, plan: &BatchPlan, joined: &mut Joined) -> Result<Judged> {
    let mut judge = Judge::new(program, plan, &joined.rows, &joined.origins, joined.num_pairs);
    let all: Vec<usize> = (0..joined.num_pairs).collect();
    judge.apply(|rule| !rule.reads_prior_valid, &all).await?;
    let mut valid: HashMap<u32, u32> = HashMap::new();
    let before = |left: u32| joined.left[left as usize].valid_partners;
    let needs_rounds = program.rules.iter().any(|rule| rule.reads_prior_valid);
    for round in rounds(joined) {
        for &pair in &round {
            let left = joined.pair_left.value(pair);
            let count = valid.get(&left).copied().unwrap_or_else(|| before(left));
            judge.prior_valid[pair] = Some(i64::from(count));
        }
        if needs_rounds {
            judge.apply(|rule| rule.reads_prior_valid, &round).await?;
        }
        for &pair in &round {
            let left = joined.pair_left.value(pair);
            *valid.entry(left).or_insert_with(|| before(left)) += u32::from(judge.is_valid(pair));
        }
    }
    for (left, count) in valid {
        match joined.left_slots.get(&left) {
            Some(&LeftSlot::Added(index)) => joined.changes[0].added.meta[index].valid_partners = count,
            Some(&LeftSlot::Matched(index)) => joined.changes[0].matched[index].1 = count,
            None => {}
        }
    }
    judge.finish()
}

/// Judges the rows of a program without a join: every row is asked.
pub async fn judge_rows(
    program: &Program,
    plan: &BatchPlan,
    rows: &RecordBatch,
    origins: &[Origin],
) -> Result<Judged> {
    let mut judge = Judge::new(program, plan, rows, origins, rows.num_rows());
    let all: Vec<usize> = (0..rows.num_rows()).collect();
    judge.apply(|_| true, &all).await?;
    judge.finish()
}

struct Judge<'a> {
    program: &'a Program,
    plan: &'a BatchPlan,
    rows: &'a RecordBatch,
    /// For each of them the records behind it.
    origins: &'a [Origin],
    /// Only the first rows are pairs, which rules judge.
    num_judged: usize,
    prior_valid: Vec<Option<i64>>,
    violations: Vec<Vec<Violation>>,
}

impl<'a> Judge<'a> {
    fn new(
        program: &'a Program,
        plan: &'a BatchPlan,
        rows: &'a RecordBatch,
        origins: &'a [Origin],
        num_judged: usize,
    ) -> Self {
        let num_rows = rows.num_rows();
        Self {
            program,
            plan,
            rows,
            origins,
            num_judged,
            prior_valid: vec![None; num_rows],
            violations: vec![Vec::new(); num_rows],
        }
    }

    fn is_valid(&self, row: usize) -> bool {
        self.violations[row].iter().all(|violation| violation.severity != Severity::Reject)
    }

    async fn apply(&mut self, wanted: impl Fn(&Rule) -> bool, rows: &[usize]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let at = UInt32Array::from_iter_values(rows.iter().map(|&row| row as u32));
        let view_rows = arrow::compute::take_record_batch(self.rows, &at)?;
        let prior_valid = rows.iter().map(|&row| self.prior_valid[row]).collect();
        let mut columns = self.rule_columns(&view_rows, prior_valid);
        columns.push(Arc::new(at));
        let input = RecordBatch::try_new(self.program.view.rule_schema_with_row(), columns)?;
        for (index, rule) in self.program.rules.iter().enumerate().filter(|(_, rule)| wanted(rule)) {
            for (row, violation) in rule.violations(index, &input, self.plan.time_ms).await? {
                self.violations[row as usize].push(violation);
            }
        }
        Ok(())
    }

    fn rule_columns(&self, rows: &RecordBatch, prior_valid: Vec<Option<i64>>) -> Vec<ArrayRef> {
        let num_rows = rows.num_rows();
        let mut columns = rows.columns().to_vec();
        columns.push(Arc::new(Int64Array::from(prior_valid)));
        columns.push(Arc::new(Int64Array::from(vec![self.plan.id.0 as i64; num_rows])));
        columns.push(Arc::new(TimestampMillisecondArray::from(vec![self.plan.time_ms; num_rows])));
        columns
    }

    fn finish(mut self) -> Result<Judged> {
        let num_rows = self.rows.num_rows();
        for violations in &mut self.violations {
            violations.sort_by_key(|violation| violation.rule);
        }
        let valid: Vec<Option<bool>> =
            (0..num_rows).map(|row| (row < self.num_judged).then(|| self.is_valid(row))).collect();
        let num_valid = valid.iter().filter(|valid| **valid == Some(true)).count() as u64;
        let (tally, examples) = self.count_violations();
        let prior_valid = std::mem::take(&mut self.prior_valid);
        let mut columns = self.rule_columns(self.rows, prior_valid);
        columns.push(Arc::new(BooleanArray::from(valid)));
        columns.push(self.violations_array()?);
        columns.push(self.origins_array()?);
        let schema = self.program.view.output_schema();
        Ok(Judged {
            rows: RecordBatch::try_new(schema, columns)?,
            num_valid,
            num_rejected: self.num_judged as u64 - num_valid,
            tally,
            examples,
        })
    }

    fn count_violations(&self) -> (BTreeMap<String, RuleTally>, Vec<(u32, Violation)>) {
        let mut of_rule = vec![RuleTally::default(); self.program.rules.len()];
        let mut num_examples = vec![0; self.program.rules.len()];
        let mut examples = Vec::new();
        for (row, violations) in self.violations.iter().enumerate().rev() {
            for violation in violations {
                match violation.severity {
                    Severity::Reject => of_rule[violation.rule].reject += 1,
                    Severity::Warn => of_rule[violation.rule].warn += 1,
                }
                if num_examples[violation.rule] < MAX_OF_KIND {
                    num_examples[violation.rule] += 1;
                    examples.push((row as u32, violation.clone()));
                }
            }
        }
        (self.program.rules.iter().map(|rule| rule.name.clone()).zip(of_rule).collect(), examples)
    }

    fn origins_array(&self) -> Result<ArrayRef> {
        let record = |origin: &Origin, side: Side| origin[side.index()].map(|meta| (side, meta));
        let records = |origin: &Origin| Side::BOTH.map(|side| record(origin, side)).into_iter().flatten();
        let flat: Vec<(Side, RowMeta)> = self.origins.iter().flat_map(records).collect();
        let topics = StringArray::from_iter_values(flat.iter().map(|(side, _)| self.program.topic(*side)));
        let partitions = Int32Array::from_iter_values(flat.iter().map(|(_, meta)| meta.partition));
        let offsets = Int64Array::from_iter_values(flat.iter().map(|(_, meta)| meta.offset));
        let items = StructArray::try_new(
            origin_fields(),
            vec![Arc::new(topics), Arc::new(partitions), Arc::new(offsets)],
            None,
        )?;
        let lengths = OffsetBuffer::from_lengths(self.origins.iter().map(|origin| records(origin).count()));
        let field = Field::new("item", DataType::Struct(origin_fields()), false);
        Ok(Arc::new(ListArray::try_new(Arc::new(field), lengths, Arc::new(items), None)?))
    }

    fn violations_array(&self) -> Result<ArrayRef> {
        let flat: Vec<&Violation> = self.violations.iter().flatten().collect();
        let rules =
            StringArray::from_iter_values(flat.iter().map(|v| self.program.rules[v.rule].name.as_str()));
        let severities = StringArray::from_iter_values(flat.iter().map(|v| v.severity.name()));
        let details = StringArray::from_iter(flat.iter().map(|v| v.detail.as_deref()));
        let items = StructArray::try_new(
            violation_fields(),
            vec![Arc::new(rules), Arc::new(severities), Arc::new(details)],
            None,
        )?;
        let lengths = OffsetBuffer::from_lengths(self.violations.iter().map(Vec::len));
        let field = Field::new("item", DataType::Struct(violation_fields()), false);
        Ok(Arc::new(ListArray::try_new(Arc::new(field), lengths, Arc::new(items), None)?))
    }
}
