//! An output: a sink table and the SELECT that fills it, row by row.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::{Field, Schema, SchemaRef, UInt32Type};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, Volatility};
use datafusion::sql::parser::{CreateExternalTable, Statement as DfStatement};
use datafusion::sql::sqlparser::ast::{Insert, Statement};

use crate::error::Result;
use crate::query::field_type;
use crate::query::lookup::{
    self, Lookups, check_lookups, join_lookups, meets_once, num_scans, planning_error,
};
use crate::query::one_run::fields_of_one_run;
use crate::query::plan_words::refuse_node;
use crate::query::scalar::{Note, Scalars, compile};
use crate::query::session::{Prepared, RowWise, RunTable, confined, least_volatility, plan_statement};
pub use crate::query::sink_target::{Compression, FileFormat, SinkTarget};
use crate::query::sql_file::{SqlFile, refuse, refuse_at, sql_error};
use crate::query::statement::{Located, insert_target, plain_name};
use crate::query::view::{DEAD_LETTERS, RowIdScan, VALID, ViewTable, dead_letters_schema, with_row};

/// Which table an output reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// The view's rows.
    View,
    /// The records that became no row.
    DeadLetters,
}

/// One output of the program.
#[derive(Debug)]
pub struct Output {
    /// The sink table's name.
    pub name: String,
    /// Where its rows go.
    pub target: SinkTarget,
    /// What it reads.
    pub reads: Reads,
    /// The fields of its documents.
    pub schema: SchemaRef,
    /// The declared id: indices of fields; empty when ids are derived.
    pub id: Vec<usize>,
    /// One row of the view can be behind several documents.
    pub may_repeat: bool,
    /// The names of the fields that another run over the same records would not give again.
    pub of_one_run: Vec<String>,
    /// What its sink table and its INSERT say, without comments.
    pub text: String,
    /// What a reader of its SQL should know.
    pub notes: Vec<Note>,
    plan: Prepared,
}

impl Output {
    pub(crate) fn plan(
        insert: &Located<'_, Insert>,
        sinks: &[Located<'_, CreateExternalTable>],
        view: &ViewTable,
        joined_schema: &SchemaRef,
        lookups: &Lookups,
    ) -> Result<Self> {
        let file = insert.file;
        let name = insert_target(file, &insert.statement)?;
        let mut sink = None;
        for candidate in sinks {
            if plain_name(candidate.file, &candidate.statement.name)? == name {
                sink = Some(candidate);
            }
        }
        let sink = sink.ok_or_else(|| {
            refuse_at(file, &name, format!("\"{name}\" is no sink table")).advise(format!(
                "add CREATE EXTERNAL TABLE {name} STORED AS MONGODB LOCATION 'database.collection'"
            ))
        })?;
        let (target, id_names) = SinkTarget::read(sink.file, &name, &sink.statement)?;
        let query =
            insert.statement.source.clone().ok_or_else(|| refuse(file, "the INSERT has no SELECT"))?;
        if query.to_string().contains("TABLESAMPLE") {
            return Err(refuse(
                file,
                "an output has no TABLESAMPLE: it would break the law that streaming equals batch",
            ));
        }
        let mut tables = lookup::tables(lookups);
        tables.push((view.name.clone(), Arc::new(EmptyTable::new(view.output_schema()))));
        tables.push((DEAD_LETTERS.to_owned(), Arc::new(EmptyTable::new(dead_letters_schema()))));
        let state = confined(tables)?;
        let statement = DfStatement::Statement(Box::new(Statement::Query(query)));
        let plan = plan_statement(&state, statement).map_err(|e| sql_error(file, &e))?;
        if least_volatility(&plan)? == Volatility::Volatile {
            return Err(refuse(file, "the output uses a function that is never the same at a replay")
                .advise("leave out random() and uuid(); now() is the batch time"));
        }
        let Shape { reads, may_repeat } = check_plan(file, &plan, view, lookups)?;
        let written = plan.clone();
        let Scalars { plan, now, notes } = compile(file, plan)?;
        // A look-up that finds nothing is NULL, whatever its column is declared.
        let schema = document_schema(file, &insert.statement, &join_lookups(file, plan.clone())?)?;
        let id = id_names
            .iter()
            .map(|name| {
                schema.index_of(name).map_err(|_| {
                    let fields: Vec<&str> =
                        schema.fields().iter().map(|field| field.name().as_str()).collect();
                    refuse_at(sink.file, name, format!("the id '{name}' is no field of the output"))
                        .advise(format!("its fields are {}", fields.join(", ")))
                })
            })
            .collect::<Result<Vec<usize>>>()?;
        if may_repeat && id.is_empty() {
            return Err(refuse_at(
                file,
                "SELECT",
                format!("the output \"{name}\" can make several rows of one, and they need ids of their own"),
            )
            .advise(format!(
                "declare one on the sink table: OPTIONS ('id' '<fields that tell them apart>'), in {}",
                sink.file.path
            )));
        }
        refuse_null_ids(file, &written, &id, &schema, joined_schema)?;
        let of_one_run = fields_of_one_run(&written).map_err(|error| sql_error(file, &error))?;
        let of_one_run = of_one_run.into_iter().map(|index| schema.field(index).name().clone()).collect();
        let (table_schema, table) = match reads {
            Reads::View => (view.output_schema(), view.name.as_str()),
            Reads::DeadLetters => (dead_letters_schema(), DEAD_LETTERS),
        };
        let run_table = RunTable::new(with_row(&table_schema));
        let rewritten = RowIdScan::new(&run_table, table).rewrite(plan).map_err(|e| sql_error(file, &e))?;
        let joined = join_lookups(file, rewritten.clone())?;
        let plan =
            Prepared::try_new(&state, &joined, now).map_err(|e| planning_error(file, &rewritten, &e))?;
        let text = format!("{} {:?}; {}", sink.statement, sink.statement.options, insert.statement);
        Ok(Self { name, target, reads, schema, id, may_repeat, of_one_run, text, notes, plan })
    }

    /// Its physical plan, for people.
    pub fn describe(&self) -> String {
        self.plan.describe()
    }

    /// The output's rows for `rows` (of the table it reads, `_row` last).
    pub(crate) async fn select(&self, rows: &RecordBatch, now_ms: i64) -> Result<Selected> {
        let RowWise { batches, failed } = self.plan.run_row_wise(rows, now_ms).await?;
        let row_of =
            |index: usize| rows.column(rows.num_columns() - 1).as_primitive::<UInt32Type>().value(index);
        let failed = failed.into_iter().map(|(index, error)| (row_of(index), error)).collect();
        let Some(first) = batches.first() else {
            let rows = RecordBatch::new_empty(Arc::clone(&self.schema));
            return Ok(Selected { rows, at: UInt32Array::from(Vec::<u32>::new()), failed });
        };
        let selected = arrow::compute::concat_batches(&first.schema(), &batches)?;
        let num_columns = self.schema.fields().len();
        let order = arrow::compute::sort_to_indices(selected.column(num_columns), None, None)?;
        let selected = arrow::compute::take_record_batch(&selected, &order)?;
        let at = selected.column(num_columns).as_primitive::<UInt32Type>().clone();
        let rows =
            RecordBatch::try_new(Arc::clone(&self.schema), selected.columns()[..num_columns].to_vec())?;
        Ok(Selected { rows, at, failed })
    }
}

/// What an output makes of the rows of a batch.
#[derive(Debug)]
pub(crate) struct Selected {
    /// The documents' fields.
    pub(crate) rows: RecordBatch,
    /// For each the `_row` it came from, in rising order.
    pub(crate) at: UInt32Array,
    /// The `_row` of each row at which the SELECT fails to compute, with the error.
    pub(crate) failed: Vec<(u32, String)>,
}

/// What an output's plan reads and does.
struct Shape {
    reads: Reads,
    /// One row can become several.
    may_repeat: bool,
}

fn check_plan(file: &SqlFile, plan: &LogicalPlan, view: &ViewTable, lookups: &Lookups) -> Result<Shape> {
    let law = "an output works row by row; what depends on several rows would differ from batch to batch: do it in the database";
    let streams = [view.name.as_str(), DEAD_LETTERS];
    let mut shape = Shape { reads: Reads::View, may_repeat: false };
    let mut node = plan;
    let table = loop {
        node = match node {
            LogicalPlan::TableScan(scan) => break scan.table_name.table(),
            LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_) => {
                node.inputs()[0]
            }
            LogicalPlan::Unnest(_) => {
                shape.may_repeat = true;
                node.inputs()[0]
            }
            LogicalPlan::Join(join) => {
                let num_reads = |side: &LogicalPlan| num_scans(side, |table| streams.contains(&table));
                let (left, right) = (num_reads(&join.left)?, num_reads(&join.right)?);
                let (stream, keeps_strangers) = match (left, right) {
                    (0, _) => (&join.right, matches!(join.join_type, JoinType::Left | JoinType::Full)),
                    (_, 0) => (&join.left, matches!(join.join_type, JoinType::Right | JoinType::Full)),
                    _ => {
                        return Err(refuse_at(
                            file,
                            "JOIN",
                            format!("an output reads {} or {DEAD_LETTERS}, once", view.name),
                        )
                        .advise(law));
                    }
                };
                if keeps_strangers {
                    return Err(refuse_at(
                        file,
                        "JOIN",
                        "the join would bring out rows of the reference table alone, in every batch",
                    )
                    .advise(format!("write {} LEFT JOIN <reference table>, or an inner JOIN", view.name)));
                }
                let other = if left == 0 { &join.left } else { &join.right };
                shape.may_repeat |= !meets_once(join, other, lookups);
                stream
            }
            other => return Err(refuse_node(file, "an output", other).advise(law)),
        }
    };
    shape.reads = match table {
        DEAD_LETTERS => Reads::DeadLetters,
        table if table == view.name => Reads::View,
        _ => {
            return Err(refuse_at(
                file,
                "FROM",
                format!("an output reads {} or {DEAD_LETTERS}, once", view.name),
            )
            .advise(law));
        }
    };
    for stream in streams {
        check_lookups(file, plan, stream)?;
    }
    Ok(shape)
}

/// The SELECT's fields, renamed by the column list of the INSERT.
fn document_schema(file: &SqlFile, insert: &Insert, plan: &LogicalPlan) -> Result<SchemaRef> {
    let fields = plan.schema().fields();
    let names = insert.columns.iter().map(|name| plain_name(file, name)).collect::<Result<Vec<_>>>()?;
    if !names.is_empty() && names.len() != fields.len() {
        return Err(refuse(
            file,
            format!("the INSERT names {} columns and selects {}", names.len(), fields.len()),
        ));
    }
    let mut seen = BTreeSet::new();
    let fields: Vec<Field> = fields
        .iter()
        .enumerate()
        .map(|(index, field)| {
            let name = names.get(index).unwrap_or(field.name());
            if !seen.insert(name.clone()) {
                return Err(refuse_at(file, name, format!("the field \"{name}\" is there twice"))
                    .advise("rename one with AS"));
            }
            if name.is_empty() || name == "_id" || name.contains(['.', '$', '\0']) {
                return Err(refuse_at(file, name, format!("\"{name}\" can't be a field of a document"))
                    .advise("give it a plain name with AS; _id is set by OPTIONS ('id' '<field>')"));
            }
            field_type::check(file, name, field.data_type())?;
            Ok(field.as_ref().clone().with_name(name))
        })
        .collect::<Result<_>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

/// An id that can be NULL is refused, unless WHERE excludes it: `_valid` is never TRUE or FALSE
/// without both rows, so there the columns are as the inner join declares them.
fn refuse_null_ids(
    file: &SqlFile,
    plan: &LogicalPlan,
    id: &[usize],
    schema: &Schema,
    joined: &SchemaRef,
) -> Result<()> {
    let mut present = BTreeSet::new();
    let mut joined_only = false;
    plan.apply(|node| {
        if let LogicalPlan::Filter(filter) = node {
            for conjunct in split_conjunction(&filter.predicate) {
                let mut conjunct = conjunct;
                while let Expr::Not(inner) = conjunct {
                    conjunct = inner;
                }
                match conjunct {
                    Expr::Column(column) if column.name == VALID => joined_only = true,
                    Expr::IsNotNull(inner) => {
                        if let Expr::Column(column) = inner.as_ref() {
                            joined_only |= column.name == VALID;
                            present.insert(column.name.clone());
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    for &index in id {
        let expr = match plan {
            LogicalPlan::Projection(projection) => projection.expr.get(index),
            _ => None,
        };
        let column = match expr {
            Some(Expr::Column(column)) => Some(column.name.as_str()),
            Some(Expr::Alias(alias)) => match alias.expr.as_ref() {
                Expr::Column(column) => Some(column.name.as_str()),
                _ => None,
            },
            _ => None,
        };
        let declared = column
            .and_then(|name| joined.field_with_name(name).ok())
            .is_some_and(|field| !field.is_nullable());
        let excluded = column.is_some_and(|name| present.contains(name)) || (joined_only && declared);
        if schema.field(index).is_nullable() && !excluded {
            let name = schema.field(index).name();
            return Err(refuse_at(file, name, format!("the id '{name}' can be NULL"))
                .advise(format!("add WHERE {} IS NOT NULL, or choose another id", column.unwrap_or(name))));
        }
    }
    Ok(())
}
