//! Which fields of an output another run over the same records would not give again.
//!
//! How records are cut into batches, and when, decides `_batch_id`, `_batch_time`, `now()` and a dead letter's
//! `watermark`. A field that is computed from one of them is of one run.

use std::collections::BTreeSet;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};

use crate::query::view::{BATCH_ID, BATCH_TIME, DEAD_LETTERS};

/// Of a dead letter.
const WATERMARK: &str = "watermark";

/// The indices of the fields of `plan`, as it is written, that are of one run.
pub(crate) fn fields_of_one_run(plan: &LogicalPlan) -> Result<Vec<usize>> {
    Ok(match plan {
        LogicalPlan::TableScan(scan) => {
            let is_of_letters = scan.table_name.table() == DEAD_LETTERS;
            let is_of_one_run =
                |name: &str| name == BATCH_ID || name == BATCH_TIME || (is_of_letters && name == WATERMARK);
            indices(scan.projected_schema.fields().iter().map(|field| is_of_one_run(field.name())))
        }
        LogicalPlan::Projection(projection) => {
            let below = names(&projection.input)?;
            let of_one_run = projection.expr.iter().map(|expr| reads_any(expr, &below));
            indices(of_one_run.collect::<Result<Vec<bool>>>()?.into_iter())
        }
        other => {
            let mut below: BTreeSet<String> = BTreeSet::new();
            for input in other.inputs() {
                below.extend(names(input)?);
            }
            indices(other.schema().fields().iter().map(|field| below.contains(field.name())))
        }
    })
}

fn names(plan: &LogicalPlan) -> Result<BTreeSet<String>> {
    let fields = plan.schema().fields();
    Ok(fields_of_one_run(plan)?.into_iter().map(|index| fields[index].name().clone()).collect())
}

fn reads_any(expr: &Expr, names: &BTreeSet<String>) -> Result<bool> {
    let mut found = false;
    expr.apply(|part| {
        found |= match part {
            Expr::Column(column) => names.contains(&column.name),
            // now() and its kin.
            Expr::ScalarFunction(function) => function.func.signature().volatility == Volatility::Stable,
            _ => false,
        };
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn indices(is_it: impl Iterator<Item = bool>) -> Vec<usize> {
    is_it.enumerate().filter_map(|(index, is_it)| is_it.then_some(index)).collect()
}
