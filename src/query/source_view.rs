//! What a program makes of the rows of one source before they meet others: a filter, a projection.
//!
//! ```text
//! admitted rows ─ the view's WHERE and SELECT ─┬─ rows of the join (or of the rules)
//!                                              ├─ filtered
//!                                              └─ could not be computed: malformed
//! ```
//!
//! A table that is read as it stands is the simplest case: nothing is computed, unused columns are
//! left out. The PRIMARY KEY stays with the rows whatever the view selects, under a hidden name where
//! the view hides it.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt64Array};
use arrow::datatypes::{Field, Schema, SchemaRef, UInt32Type};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, TableReference};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Cast, Expr, LogicalPlan, LogicalPlanBuilder};

use crate::error::{Error, Result};
use crate::query::plan_words::refuse_node;
use crate::query::scalar::{Scalars, compile, written};
use crate::query::session::{Prepared, RowWise, RunTable};
use crate::query::source_table::SourceTable;
use crate::query::sql_file::{SqlFile, sql_error};
use crate::query::view::{ROW, RowIdScan, number_rows, with_row};

/// Before the name of a PRIMARY KEY column that the view hides.
const HIDDEN_KEY: &str = "_pk_";

/// A subtree of a plan over one Kafka table: what stands between the table and the join.
pub(crate) struct SourceSubtree<'a> {
    pub(crate) source_index: usize,
    pub(crate) source: &'a SourceTable,
    /// What the rest of the plan calls it.
    pub(crate) alias: TableReference,
    plan: LogicalPlan,
    /// The table itself, perhaps under another name.
    is_bare: bool,
}

impl<'a> SourceSubtree<'a> {
    /// Reads a side of a join, or all of a program without one.
    pub(crate) fn read(
        file: &SqlFile,
        plan: &LogicalPlan,
        sources: &'a [SourceTable],
    ) -> Result<Option<Self>> {
        let mut scans = Vec::new();
        let mut foreign = None;
        plan.apply_with_subqueries(|node| {
            match node {
                LogicalPlan::TableScan(scan) => scans.push(scan.table_name.table().to_owned()),
                LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {}
                other => foreign = foreign.take().or_else(|| Some(other.clone())),
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        let [table] = scans.as_slice() else { return Ok(None) };
        let Some(source_index) = sources.iter().position(|source| source.name == *table) else {
            return Ok(None);
        };
        if let Some(node) = foreign {
            return Err(refuse_node(file, &format!("what stands between the stream \"{table}\" and the join"), &node).advise(
                "a source may be filtered and projected row by row; what depends on several rows would differ from batch to batch: \
                 do it in the database, or look values up in a reference table from rules and outputs",
            ));
        }
        let source = &sources[source_index];
        let (alias, is_bare) = match plan {
            LogicalPlan::TableScan(scan) => (scan.table_name.clone(), true),
            LogicalPlan::SubqueryAlias(alias) => {
                (alias.alias.clone(), matches!(alias.input.as_ref(), LogicalPlan::TableScan(_)))
            }
            _ => (TableReference::bare(table.as_str()), false),
        };
        Ok(Some(Self { source_index, source, alias, plan: plan.clone(), is_bare }))
    }

    /// What a column of the subtree is, in the columns that the source declares.
    pub(crate) fn definition(&self, name: &str) -> Option<Expr> {
        definition(&self.plan, name)
    }

    /// The columns that a [`definition`](Self::definition) names.
    pub(crate) fn source_schema(&self) -> Result<DFSchemaRef> {
        Ok(Arc::new(DFSchema::try_from(self.source.sql_schema())?))
    }

    /// The column of the source that a column of the subtree is, unchanged; `None` if it is computed.
    pub(crate) fn lineage(&self, name: &str) -> Option<String> {
        match self.definition(name)? {
            Expr::Column(column) => Some(column.name),
            Expr::Cast(Cast { expr, field }) => match *expr {
                Expr::Column(column) => {
                    let declared = self.source.sql_schema();
                    let same = declared.field_with_name(&column.name).ok()?.data_type() == field.data_type();
                    same.then_some(column.name)
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether `column` of the rest of the plan is the watermark column.
    pub(crate) fn is_event_time(&self, column: &Column) -> bool {
        column.relation.as_ref() == Some(&self.alias)
            && self.lineage(&column.name).as_deref() == Some(self.source.event_time_name())
    }

    /// The name that the watermark column has in the subtree, for advice.
    pub(crate) fn event_time_name(&self) -> String {
        let names = self.plan.schema().fields().iter().map(|field| field.name().clone());
        let mut names =
            names.filter(|name| self.lineage(name).as_deref() == Some(self.source.event_time_name()));
        names.next().unwrap_or_else(|| self.source.event_time_name().to_owned())
    }

    /// Whether the PRIMARY KEY is among `keys`, so that a key names one row at most.
    pub(crate) fn is_identified_by(&self, keys: &[&Expr]) -> bool {
        !self.source.primary_key.is_empty()
            && self.source.primary_key_names().all(|name| {
                keys.iter().any(|key| {
                    matches!(key, Expr::Column(column) if self.lineage(&column.name).as_deref() == Some(name))
                })
            })
    }

    /// Plans the subtree, with the columns of it that `is_used` names.
    pub(crate) fn build(
        &self,
        file: &SqlFile,
        state: &SessionState,
        is_used: impl Fn(&str) -> bool,
    ) -> Result<SourceView> {
        let fields: Vec<Arc<Field>> =
            self.plan.schema().fields().iter().filter(|field| is_used(field.name())).cloned().collect();
        let declared = self.source.sql_schema();
        let mut columns = fields.clone();
        let mut keys = Vec::new();
        for name in self.source.primary_key_names() {
            let shown = fields.iter().find(|field| self.lineage(field.name()).as_deref() == Some(name));
            let in_columns = match shown {
                Some(field) => field.name().clone(),
                None => {
                    let hidden = if self.is_bare { name.to_owned() } else { format!("{HIDDEN_KEY}{name}") };
                    let field = declared.field_with_name(name)?.clone().with_name(&hidden);
                    columns.push(Arc::new(field));
                    hidden
                }
            };
            keys.push((name.to_owned(), in_columns));
        }
        let columns: SchemaRef = Arc::new(Schema::new(columns));
        let source = self.source_index;
        if self.is_bare {
            // Declared order, so that the file's columns stand as the table's do.
            let kept = declared.fields().iter().filter(|field| columns.field_with_name(field.name()).is_ok());
            let input: SchemaRef = Arc::new(Schema::new(kept.cloned().collect::<Vec<_>>()));
            let columns = Arc::clone(&input);
            return Ok(SourceView { source, input, columns, keys, description: None, steps: None });
        }
        let (input, steps) = self.steps(file, state, &fields, &declared)?;
        let description = Some(self.plan.display_indent().to_string());
        Ok(SourceView { source, input, columns, keys, description, steps: Some(steps) })
    }

    fn steps(
        &self,
        file: &SqlFile,
        state: &SessionState,
        fields: &[Arc<Field>],
        declared: &SchemaRef,
    ) -> Result<(SchemaRef, Steps)> {
        let as_sql = |source| sql_error(file, &source);
        let mentioned = mentioned_names(&self.plan)?;
        let is_key = |name: &str| self.source.primary_key_names().any(|key| key == name);
        let input: Vec<Arc<Field>> = declared
            .fields()
            .iter()
            .filter(|field| {
                let name = field.name().as_str();
                mentioned.contains(name) || is_key(name) || fields.iter().any(|used| used.name() == name)
            })
            .cloned()
            .collect();
        let input: SchemaRef = Arc::new(Schema::new(input));
        let run_table = RunTable::new(with_row(&input));
        let rewritten =
            RowIdScan::new(&run_table, &self.source.name).rewrite(self.plan.clone()).map_err(as_sql)?;
        let wanted = |name: &str| {
            rewritten.schema().columns().into_iter().find(|column| column.name == name).map(Expr::Column)
        };
        let mut select: Vec<Expr> = fields.iter().filter_map(|field| wanted(field.name())).collect();
        select.extend(wanted(ROW));
        let plan =
            LogicalPlanBuilder::from(rewritten.clone()).project(select).and_then(LogicalPlanBuilder::build);
        let Scalars { plan, now, .. } = compile(file, plan.map_err(as_sql)?)?;
        let plan = Prepared::try_new(state, &plan, now).map_err(as_sql)?;
        Ok((input, Steps { plan }))
    }
}

/// What the rows of one source become before the join, or before the rules of a program without one.
#[derive(Debug)]
pub struct SourceView {
    /// The index of the source in the program.
    pub source: usize,
    /// The columns that it needs: declared ones and the source's system columns.
    pub input: SchemaRef,
    /// The columns that it gives; those of the PRIMARY KEY are always among them.
    pub columns: SchemaRef,
    /// Each PRIMARY KEY column of the source, with its name in `columns`.
    pub keys: Vec<(String, String)>,
    /// Its filter and projection, for people and for the fingerprint; `None` for a table as it stands.
    pub description: Option<String>,
    steps: Option<Steps>,
}

#[derive(Debug)]
struct Steps {
    plan: Prepared,
}

/// What became of rows.
#[derive(Debug)]
pub struct Viewed {
    /// The rows that came through, in their order, with the view's columns.
    pub columns: RecordBatch,
    /// For each of them its index in the input.
    pub kept: Vec<usize>,
    /// Rows at which the view failed to compute, with the error.
    pub failed: Vec<(usize, String)>,
}

impl SourceView {
    /// Filters and projects rows of [`SourceView::input`].
    pub async fn apply(&self, rows: RecordBatch) -> Result<Viewed> {
        let Some(steps) = &self.steps else {
            let kept = (0..rows.num_rows()).collect();
            return Ok(Viewed { columns: rows, kept, failed: Vec::new() });
        };
        let RowWise { batches, failed } = steps.plan.run_row_wise(&number_rows(&rows)?, 0).await?;
        let ids =
            |batch: &RecordBatch| batch.column(batch.num_columns() - 1).as_primitive::<UInt32Type>().clone();
        let kept: Vec<usize> = batches
            .iter()
            .flat_map(|batch| ids(batch).values().iter().map(|&id| id as usize).collect::<Vec<_>>())
            .collect();
        let columns = self.columns_of(&rows, &batches, &kept)?;
        Ok(Viewed { columns, kept, failed })
    }

    fn columns_of(&self, rows: &RecordBatch, batches: &[RecordBatch], kept: &[usize]) -> Result<RecordBatch> {
        let Some(first) = batches.first() else {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.columns)));
        };
        let viewed = arrow::compute::concat_batches(&first.schema(), batches)?;
        let mut columns = viewed.columns()[..viewed.num_columns() - 1].to_vec();
        let at = UInt64Array::from_iter_values(kept.iter().map(|&row| row as u64));
        for (name, hidden) in self.keys.iter().filter(|(_, hidden)| hidden.starts_with(HIDDEN_KEY)) {
            let key =
                rows.column_by_name(name).ok_or_else(|| Error::internal(format!("no key for {hidden}")))?;
            columns.push(arrow::compute::take(key, &at, None)?);
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.columns), columns)?)
    }
}

fn definition(plan: &LogicalPlan, name: &str) -> Option<Expr> {
    match plan {
        LogicalPlan::TableScan(_) => Some(Expr::Column(Column::from_name(name))),
        LogicalPlan::SubqueryAlias(alias) => definition(&alias.input, name),
        LogicalPlan::Filter(filter) => definition(&filter.input, name),
        LogicalPlan::Projection(projection) => {
            let position = projection.schema.fields().iter().position(|field| field.name() == name)?;
            let defined = projection.expr[position].clone().unalias();
            let defined = written(&defined).cloned().unwrap_or(defined).transform(|expr| {
                Ok(match &expr {
                    Expr::Column(column) => match definition(&projection.input, &column.name) {
                        Some(below) => Transformed::yes(below),
                        None => Transformed::no(expr),
                    },
                    _ => Transformed::no(expr),
                })
            });
            defined.ok().map(|defined| defined.data)
        }
        _ => None,
    }
}

/// All column names that the expressions of a plan mention.
fn mentioned_names(plan: &LogicalPlan) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    plan.apply(|node| {
        for expr in node.expressions() {
            names.extend(expr.column_refs().iter().map(|column| column.name.clone()));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(names)
}
