//! The rows that rules and outputs read: the view's own columns and the engine's.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::TableProvider;
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

use crate::error::Result;
use crate::query::session::RunTable;
use crate::query::source_table::header_type;

/// How many earlier right rows of the same left row are valid.
pub(crate) const PRIOR_VALID: &str = "_prior_valid";
/// Joined and nothing rejected it; NULL without a partner.
pub(crate) const VALID: &str = "_valid";
/// The rules it violates.
pub(crate) const VIOLATIONS: &str = "_violations";
/// The batch that made the row.
pub(crate) const BATCH_ID: &str = "_batch_id";
/// That batch's time.
pub(crate) const BATCH_TIME: &str = "_batch_time";
/// The records behind the row: of the left side, then of the right.
pub(crate) const ORIGINS: &str = "_origins";
/// Names a row within a batch; SQL can't see it.
pub(crate) const ROW: &str = "_row";
/// The system table of records that became no row.
pub(crate) const DEAD_LETTERS: &str = "dead_letters";

/// The view (or the only source) as a table for rules and outputs.
#[derive(Clone, Debug)]
pub struct ViewTable {
    /// Its name in SQL.
    pub name: String,
    /// Its own columns.
    pub schema: SchemaRef,
}

impl ViewTable {
    fn extended(&self, columns: Vec<Field>) -> SchemaRef {
        let mut fields: Vec<Arc<Field>> = self.schema.fields().iter().cloned().collect();
        fields.extend(columns.into_iter().map(Arc::new));
        Arc::new(Schema::new(fields))
    }

    fn rule_columns() -> Vec<Field> {
        vec![
            Field::new(PRIOR_VALID, DataType::Int64, true),
            Field::new(BATCH_ID, DataType::Int64, false),
            Field::new(BATCH_TIME, DataType::Timestamp(TimeUnit::Millisecond, None), false),
        ]
    }

    /// What rules read.
    pub(crate) fn rule_table(&self) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(EmptyTable::new(self.extended(Self::rule_columns()))))
    }

    /// What rules read, and `_row`.
    pub(crate) fn rule_schema_with_row(&self) -> SchemaRef {
        let mut columns = Self::rule_columns();
        columns.push(Field::new(ROW, DataType::UInt32, false));
        self.extended(columns)
    }

    /// The columns that outputs read beside those that somebody declared or selected.
    pub(crate) fn system_columns(&self) -> Vec<String> {
        let schema = self.output_schema();
        let names = schema.fields().iter().map(|field| field.name());
        names.filter(|name| name.starts_with('_')).cloned().collect()
    }

    /// What outputs read.
    pub(crate) fn output_schema(&self) -> SchemaRef {
        let mut columns = Self::rule_columns();
        columns.push(Field::new(VALID, DataType::Boolean, true));
        columns.push(Field::new(VIOLATIONS, violations_type(), false));
        columns.push(Field::new(ORIGINS, origins_type(), false));
        self.extended(columns)
    }
}

/// The type of `_violations`.
pub(crate) fn violations_type() -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Struct(violation_fields()), false)))
}

/// The type of `_origins`.
pub(crate) fn origins_type() -> DataType {
    DataType::List(Arc::new(Field::new("item", DataType::Struct(origin_fields()), false)))
}

/// The fields of one record's place.
pub(crate) fn origin_fields() -> Fields {
    Fields::from(vec![
        Field::new("topic", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
    ])
}

/// The fields of one violation.
pub(crate) fn violation_fields() -> Fields {
    Fields::from(vec![
        Field::new("rule", DataType::Utf8, false),
        Field::new("severity", DataType::Utf8, false),
        Field::new("detail", DataType::Utf8, true),
    ])
}

/// The columns of `dead_letters`.
pub(crate) fn dead_letters_schema() -> SchemaRef {
    let headers = DataType::List(Arc::new(Field::new("item", header_type(), false)));
    Arc::new(Schema::new(vec![
        Field::new("topic", DataType::Utf8, false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        Field::new("timestamp", DataType::Timestamp(TimeUnit::Millisecond, None), false),
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
        Field::new("headers", headers, false),
        Field::new("reason", DataType::Utf8, false),
        Field::new("error", DataType::Utf8, true),
        Field::new("event_time", DataType::Timestamp(TimeUnit::Nanosecond, None), true),
        Field::new("watermark", DataType::Timestamp(TimeUnit::Nanosecond, None), true),
    ]))
}

/// `schema` and `_row` behind it.
pub(crate) fn with_row(schema: &Schema) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(ROW, DataType::UInt32, false)));
    Arc::new(Schema::new(fields))
}

/// `rows` and their numbers behind them, as a table of [`with_row`] takes them.
pub(crate) fn number_rows(rows: &RecordBatch) -> Result<RecordBatch> {
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(UInt32Array::from_iter_values(0..rows.num_rows() as u32)));
    Ok(RecordBatch::try_new(with_row(&rows.schema()), columns)?)
}

/// Rebuilds a plan over a table so that it reads a table with the hidden `_row` and returns it last.
///
/// DataFusion reorders rows, so what a plan says of a row travels with its id, never by position.
pub(crate) struct RowIdScan<'a> {
    run_table: &'a RunTable,
    table: &'a str,
}

impl<'a> RowIdScan<'a> {
    /// For plans over `table`; scans of other tables stay as they are.
    pub(crate) fn new(run_table: &'a RunTable, table: &'a str) -> Self {
        Self { run_table, table }
    }

    /// `plan` has one scan of the table; above it stand projections, filters, aliases and joins.
    pub(crate) fn rewrite(&self, plan: LogicalPlan) -> DataFusionResult<LogicalPlan> {
        let source = provider_as_source(
            self.run_table.table().map_err(|e| datafusion::error::DataFusionError::Plan(e.to_string()))?,
        );
        plan.transform_up(|node| {
            Ok(Transformed::yes(match node {
                LogicalPlan::TableScan(scan) if scan.table_name.table() == self.table => {
                    LogicalPlanBuilder::scan(scan.table_name, Arc::clone(&source), None)?.build()?
                }
                LogicalPlan::TableScan(_) => return Ok(Transformed::no(node)),
                LogicalPlan::Projection(projection) => {
                    let row = projection
                        .input
                        .schema()
                        .columns()
                        .into_iter()
                        .find(|column: &Column| column.name == ROW);
                    let mut exprs = projection.expr;
                    exprs.extend(row.map(Expr::Column));
                    LogicalPlanBuilder::from(projection.input).project(exprs)?.build()?
                }
                other => {
                    let inputs = other.inputs().into_iter().cloned().collect();
                    other.with_new_exprs(other.expressions(), inputs)?
                }
            }))
        })
        .map(|transformed| transformed.data)
    }
}
