//! What the join needs of one side: its columns, its key, and which rows can match at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::row::{Row, RowConverter, Rows, SortField};
use datafusion::common::DFSchema;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;

use crate::error::{Error, Result};
use crate::query::join_condition::JoinCondition;
use crate::query::row_wise::{ask, evaluate, physical};
use crate::query::side::Side;
use crate::query::source_view::{SourceSubtree, SourceView};
use crate::query::sql_file::SqlFile;

/// What the join needs of one side.
#[derive(Debug)]
pub struct SidePlan {
    /// The rows that enter the join: the columns of the side that the view uses, and its PRIMARY KEY.
    pub input: SourceView,
    /// What the view calls the side.
    pub alias: String,
    /// The other side's PRIMARY KEY is the join key: a row that has matched once can't match again.
    pub matches_once: bool,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    /// For each key whether NULL meets NULL.
    meets_null: Vec<bool>,
    types: Vec<DataType>,
    converter: RowConverter,
    /// The predicates of ON on this side alone.
    admits: Option<Arc<dyn PhysicalExpr>>,
}

/// The join keys of rows of one side.
pub(crate) struct SideKeys {
    encoded: Rows,
    can_match: Vec<bool>,
    /// The index of each row whose key or own predicates could not be computed, with the error.
    pub(crate) failed: Vec<(usize, String)>,
}

impl SideKeys {
    /// The key of a row, equal to that of the rows of either side that it can meet; `None` if it can
    /// never match: a NULL in a key that is compared by `=`, or a predicate of ON on this side alone
    /// that is not TRUE.
    pub(crate) fn get(&self, row: usize) -> Option<Row<'_>> {
        self.can_match[row].then(|| self.encoded.row(row))
    }

    /// A hash of each key. Equal keys have equal hashes in every run.
    pub(crate) fn hashes(&self) -> Vec<Option<u64>> {
        (0..self.can_match.len()).map(|row| self.get(row).map(|key| fnv1a(key.as_ref()))).collect()
    }
}

impl SidePlan {
    pub(crate) fn build(
        file: &SqlFile,
        state: &SessionState,
        side: Side,
        subtree: &SourceSubtree<'_>,
        input: SourceView,
        condition: &JoinCondition,
        matches_once: bool,
    ) -> Result<Self> {
        let schema = DFSchema::try_from_qualified_schema(subtree.alias.clone(), &input.columns)?;
        let physical = |expr: &Expr| physical(file, state, expr, &schema);
        let side = side.index();
        let keys: Vec<Arc<dyn PhysicalExpr>> =
            condition.keys.iter().map(|key| physical(&key.sides[side])).collect::<Result<_>>()?;
        let types = keys
            .iter()
            .map(|key| key.data_type(&input.columns))
            .collect::<datafusion::error::Result<Vec<_>>>()?;
        let sort_fields = types.iter().cloned().map(SortField::new).collect();
        let own = condition.own[side].iter().cloned().reduce(Expr::and);
        Ok(Self {
            alias: subtree.alias.to_string(),
            matches_once,
            keys,
            meets_null: condition.keys.iter().map(|key| key.meets_null).collect(),
            types,
            converter: RowConverter::new(sort_fields)?,
            admits: own.as_ref().map(physical).transpose()?,
            input,
        })
    }

    /// The types of the keys, which are those of the other side: equal values have equal bytes.
    pub(crate) fn key_types(&self) -> &[DataType] {
        &self.types
    }

    /// The join keys of rows with the side's columns.
    pub(crate) fn keys(&self, rows: &RecordBatch) -> Result<SideKeys> {
        let mut can_match = vec![true; rows.num_rows()];
        let mut failed: BTreeMap<usize, String> = BTreeMap::new();
        let mut fail = |rows: Vec<(usize, String)>| {
            rows.into_iter().for_each(|(row, error)| {
                failed.entry(row).or_insert(error);
            });
        };
        let mut columns = Vec::with_capacity(self.keys.len());
        for (key, &meets_null) in self.keys.iter().zip(&self.meets_null) {
            let of_key = evaluate(key, rows)?;
            fail(of_key.failed);
            if !meets_null && of_key.values.null_count() > 0 {
                let is_valid = (0..rows.num_rows()).map(|row| of_key.values.is_valid(row));
                can_match.iter_mut().zip(is_valid).for_each(|(can, valid)| *can &= valid);
            }
            columns.push(comparable(of_key.values));
        }
        if let Some(admits) = &self.admits {
            let (admitted, failed) = ask(admits, rows)?;
            fail(failed);
            can_match.iter_mut().zip(&admitted).for_each(|(can, admitted)| *can &= admitted);
        }
        failed.keys().for_each(|&row| can_match[row] = false);
        let encoded = self.converter.convert_columns(&columns)?;
        Ok(SideKeys { encoded, can_match, failed: failed.into_iter().collect() })
    }

    /// The hashes of the join keys of rows that were admitted before.
    pub(crate) fn key_hashes(&self, rows: &RecordBatch) -> Result<Vec<Option<u64>>> {
        let keys = self.keys(rows)?;
        match keys.failed.first() {
            None => Ok(keys.hashes()),
            Some((_, error)) => {
                Err(Error::internal("the key of a row in state could not be computed")
                    .because(error.as_str()))
            }
        }
    }
}

/// Floating point numbers so that equal ones have equal bytes: there is one zero and one NaN.
fn comparable(values: ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Float64 => {
            let one = |value: f64| if value.is_nan() { f64::NAN } else { value + 0.0 };
            Arc::new(values.as_primitive::<Float64Type>().unary::<_, Float64Type>(one))
        }
        DataType::Float32 => {
            let one = |value: f32| if value.is_nan() { f32::NAN } else { value + 0.0 };
            Arc::new(values.as_primitive::<Float32Type>().unary::<_, Float32Type>(one))
        }
        _ => values,
    }
}

/// FNV-1a with a final mix; fixed for ever, so that state can be indexed again after a restart.
fn fnv1a(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
