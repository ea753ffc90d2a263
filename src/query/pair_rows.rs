//! The rows that the join view makes of pairs, and of rows alone: its SELECT and WHERE, row by row.
//!
//! What stands above the join in the view's plan is planned over one table with the columns of both
//! sides. A pair is a row of it, a row alone is one with NULLs for the other side. So a row at which
//! SELECT or WHERE fails is found like anywhere else, and costs nobody but itself.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::Column;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

use crate::error::{Error, Result};
use crate::query::join_side::SidePlan;
use crate::query::scalar::{Note, Scalars, compile};
use crate::query::session::{Prepared, RowWise, RunTable};
use crate::query::source_view::SourceSubtree;
use crate::query::sql_file::{SqlFile, sql_error};
use crate::query::view::ROW;

/// The name of the table of pairs, for people who read plans.
const PAIRS: &str = "pairs";

/// The plan that makes rows of the view.
#[derive(Debug)]
pub(crate) struct PairRows {
    run_table: RunTable,
    plan: Prepared,
    /// How many of the table's columns are the left side's.
    num_left: usize,
    /// The columns of the view.
    schema: SchemaRef,
    /// What a reader of its SELECT and WHERE should know.
    pub(crate) notes: Vec<Note>,
}

/// Rows of the view.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Those that the view's WHERE lets through.
    pub(crate) rows: RecordBatch,
    /// For each the index of its pair, or of its row alone, in rising order.
    pub(crate) at: Vec<u32>,
    /// The index of each pair or row at which the view failed to compute, with the error.
    pub(crate) failed: Vec<(u32, String)>,
}

impl PairRows {
    /// Plans what stands above the join in `plan`.
    pub(crate) fn plan(
        file: &SqlFile,
        state: &SessionState,
        plan: &LogicalPlan,
        inputs: &[SourceSubtree<'_>; 2],
        sides: &[SidePlan; 2],
        schema: &SchemaRef,
    ) -> Result<Self> {
        let as_sql = |source| sql_error(file, &source);
        let mut fields = fields_of_both(inputs, sides, [true, true]);
        fields.push(Field::new(ROW, DataType::UInt32, false));
        let run_table = RunTable::new(Arc::new(Schema::new(fields)));
        let pairs = scan(&run_table, inputs, sides)?;
        let Scalars { plan: rows, now, notes } = compile(file, above_join(plan, pairs).map_err(as_sql)?)?;
        let plan = Prepared::try_new(state, &rows, now).map_err(as_sql)?;
        let num_left = sides[0].input.columns.fields().len();
        Ok(Self { run_table, plan, num_left, schema: Arc::clone(schema), notes })
    }

    /// The columns of the view over a join whose sides may be missing.
    pub(crate) fn schema(
        file: &SqlFile,
        plan: &LogicalPlan,
        inputs: &[SourceSubtree<'_>; 2],
        sides: &[SidePlan; 2],
        may_be_missing: [bool; 2],
    ) -> Result<SchemaRef> {
        let run_table = RunTable::new(Arc::new(Schema::new(fields_of_both(inputs, sides, may_be_missing))));
        let rows = compile(file, above_join(plan, scan(&run_table, inputs, sides)?)?)?.plan;
        Ok(Arc::new(Schema::new(rows.schema().fields().iter().cloned().collect::<Vec<_>>())))
    }

    /// The physical plan, for people.
    pub(crate) fn describe(&self) -> String {
        self.plan.describe()
    }

    /// The rows of pairs: of each side its columns, and for each pair the index of its row in them;
    /// without them the side is missing.
    pub(crate) async fn show(
        &self,
        num_pairs: usize,
        sides: [Option<(&RecordBatch, &UInt32Array)>; 2],
    ) -> Result<Shown> {
        let fields = self.run_table.schema().fields();
        let (left, right) = fields[..fields.len() - 1].split_at(self.num_left);
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(fields.len());
        for (fields, rows) in [left, right].into_iter().zip(sides) {
            match rows {
                Some((rows, at)) => {
                    for column in rows.columns() {
                        columns.push(arrow::compute::take(column, at, None)?);
                    }
                }
                None => {
                    columns.extend(fields.iter().map(|field| new_null_array(field.data_type(), num_pairs)));
                }
            }
        }
        columns.push(Arc::new(UInt32Array::from_iter_values(0..num_pairs as u32)));
        let pairs = RecordBatch::try_new(Arc::clone(self.run_table.schema()), columns)?;
        let RowWise { batches, failed } = self.plan.run_row_wise(&pairs, 0).await?;
        let failed = failed.into_iter().map(|(row, error)| (row as u32, error)).collect();
        let Some(first) = batches.first() else {
            return Ok(Shown {
                rows: RecordBatch::new_empty(Arc::clone(&self.schema)),
                at: Vec::new(),
                failed,
            });
        };
        let shown = arrow::compute::concat_batches(&first.schema(), &batches)?;
        let ids = shown.num_columns() - 1;
        let order = arrow::compute::sort_to_indices(shown.column(ids), None, None)?;
        let shown = arrow::compute::take_record_batch(&shown, &order)?;
        let at = shown.column(ids).as_primitive::<UInt32Type>().values().to_vec();
        if at.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::internal("the view made two rows of one pair"));
        }
        let rows = RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            shown.columns()[..ids].to_vec(),
            &RecordBatchOptions::new().with_row_count(Some(at.len())),
        )?;
        Ok(Shown { rows, at, failed })
    }
}

/// The columns of both sides, each under its own name in full.
fn fields_of_both(
    inputs: &[SourceSubtree<'_>; 2],
    sides: &[SidePlan; 2],
    may_be_missing: [bool; 2],
) -> Vec<Field> {
    let mut fields = Vec::new();
    for ((input, side), may_be_missing) in inputs.iter().zip(sides).zip(may_be_missing) {
        for field in side.input.columns.fields() {
            let is_nullable = field.is_nullable() || may_be_missing;
            let name = full_name(input, field.name());
            fields.push(field.as_ref().clone().with_name(name).with_nullable(is_nullable));
        }
    }
    fields
}

fn full_name(input: &SourceSubtree<'_>, column: &str) -> String {
    format!("{}.{column}", input.alias)
}

/// The table of pairs with the names that the columns have in the view's plan.
fn scan(run_table: &RunTable, inputs: &[SourceSubtree<'_>; 2], sides: &[SidePlan; 2]) -> Result<LogicalPlan> {
    let mut exprs = Vec::new();
    for (input, side) in inputs.iter().zip(sides) {
        for field in side.input.columns.fields() {
            let column = Column::new(Some(PAIRS), full_name(input, field.name()));
            exprs.push(Expr::Column(column).alias_qualified(Some(input.alias.clone()), field.name()));
        }
    }
    if run_table.schema().field_with_name(ROW).is_ok() {
        exprs.push(Expr::Column(Column::new(Some(PAIRS), ROW)));
    }
    let table = provider_as_source(run_table.table()?);
    Ok(LogicalPlanBuilder::scan(PAIRS, table, None)?.project(exprs)?.build()?)
}

/// Rebuilds what stands above the join over `pairs`; a row id among its columns stays the last one.
fn above_join(plan: &LogicalPlan, pairs: LogicalPlan) -> DataFusionResult<LogicalPlan> {
    if matches!(plan, LogicalPlan::Join(_)) {
        return Ok(pairs);
    }
    let input = above_join(plan.inputs()[0], pairs)?;
    let row = input.schema().columns().into_iter().find(|column| column.name == ROW);
    match plan {
        LogicalPlan::Projection(projection) => {
            let exprs = projection.expr.iter().cloned().chain(row.map(Expr::Column));
            LogicalPlanBuilder::from(input).project(exprs)?.build()
        }
        LogicalPlan::SubqueryAlias(alias) => {
            LogicalPlanBuilder::from(input).alias(alias.alias.clone())?.build()
        }
        other => other.with_new_exprs(other.expressions(), vec![input]),
    }
}
