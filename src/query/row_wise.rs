//! An expression over rows of which some may fail: the others are computed as ever.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;

use crate::error::Result;
use crate::query::scalar::compile_expr;
use crate::query::session::data_error;
use crate::query::sql_file::{SqlFile, sql_error};

/// `plan` with all types decided; its expressions stay as they are written.
pub(crate) fn typed(file: &SqlFile, state: &SessionState, plan: LogicalPlan) -> Result<LogicalPlan> {
    let analyzed = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {});
    analyzed.map_err(|error| sql_error(file, &error))
}

/// `expr` over rows of `schema`, compiled as all expressions are.
pub(crate) fn physical(
    file: &SqlFile,
    state: &SessionState,
    expr: &Expr,
    schema: &DFSchema,
) -> Result<Arc<dyn PhysicalExpr>> {
    let compiled = compile_expr(file, expr, schema)?;
    state.create_physical_expr(compiled, schema).map_err(|error| sql_error(file, &error))
}

/// What an expression made of rows.
pub(crate) struct Evaluated {
    /// One value for each row; NULL where it failed.
    pub(crate) values: ArrayRef,
    /// The index of each row at which it failed, with the error; in rising order.
    pub(crate) failed: Vec<(usize, String)>,
}

/// The rows for which a predicate is TRUE, and those at which it failed.
pub(crate) fn ask(
    predicate: &Arc<dyn PhysicalExpr>,
    rows: &RecordBatch,
) -> Result<(BooleanBuffer, Vec<(usize, String)>)> {
    let Evaluated { values, failed } = evaluate(predicate, rows)?;
    // A bare NULL has a type of its own.
    let answers = arrow::compute::cast(&values, &DataType::Boolean)?;
    let answers = answers.as_boolean();
    let is_true = match answers.nulls() {
        Some(nulls) => answers.values() & nulls.inner(),
        None => answers.values().clone(),
    };
    Ok((is_true, failed))
}

/// Evaluates `expr` over `rows`; where that fails over halves of them, until the rows that fail stand alone.
///
/// # Errors
/// Lack of memory and bugs; an error that comes from a row's values is part of the result.
pub(crate) fn evaluate(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<Evaluated> {
    let (mut pieces, mut failed) = (Vec::new(), Vec::new());
    let mut todo = vec![(0, rows.num_rows())];
    while let Some((first, length)) = todo.pop() {
        let computed = expr.evaluate(&rows.slice(first, length)).and_then(|value| value.into_array(length));
        match computed {
            Ok(values) => pieces.push(values),
            Err(error) if length <= 1 => {
                failed.push((first, data_error(&error)?));
                pieces.push(new_null_array(&expr.data_type(&rows.schema())?, length));
            }
            Err(error) => {
                data_error(&error)?;
                let half = length / 2;
                todo.extend([(first + half, length - half), (first, half)]);
            }
        }
    }
    let values = match pieces.as_slice() {
        [whole] => Arc::clone(whole),
        pieces => {
            let pieces: Vec<&dyn Array> = pieces.iter().map(AsRef::as_ref).collect();
            arrow::compute::concat(&pieces)?
        }
    };
    Ok(Evaluated { values, failed })
}
