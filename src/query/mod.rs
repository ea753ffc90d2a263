//! The SQL folder becomes a program: sources, the view, rules, outputs, all planned by DataFusion.
//!
//! What a statement is decides when it is planned, not where it lies. Nothing here knows Kafka or
//! MongoDB: a source is a name and columns, an output is rows and a target.
//!
//! ```text
//! sources ─ join view ─ rules ─ _valid, _violations ─ outputs
//!    └──────── records that became no row ─ dead_letters ─┘
//! ```

pub mod folder;
pub mod join_view;
pub mod output;
pub mod rule;
pub(crate) mod session;
pub mod source_table;
pub(crate) mod statement;
pub mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::{DdlStatement, LogicalPlan};
use datafusion::sql::parser::{CreateExternalTable, Statement as DfStatement};
use datafusion::sql::sqlparser::ast::{CreateView, Statement};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use folder::SqlFolder;
use join_view::{JoinView, Side};
use output::Output;
use rule::Rule;
use source_table::SourceTable;
use statement::{Located, Statements, insert_target, plain_name, refuse, sql_error};
use view::{DEAD_LETTERS, ViewTable};

/// A planned SQL folder.
#[derive(Debug)]
pub struct Program {
    /// The text it was planned from.
    pub folder: SqlFolder,
    /// The tables that records come from.
    pub sources: Vec<SourceTable>,
    /// The join; `None` for a program that only validates one source.
    pub join: Option<JoinView>,
    /// The rows that rules and outputs read.
    pub view: ViewTable,
    /// In path order.
    pub rules: Vec<Rule>,
    /// In path order.
    pub outputs: Vec<Output>,
}

impl Program {
    /// Plans all statements down to physical plans.
    ///
    /// # Errors
    /// [`Config`](crate::error::ErrorKind::Config) names the file, the place and what to write instead.
    pub fn plan(folder: SqlFolder) -> Result<Self> {
        let statements = Statements::parse(&folder)?;
        let (sources, sinks) = plan_tables(&statements)?;
        let (view, join) = plan_view(&statements, &sources)?;
        let joined_schema =
            join.as_ref().map_or_else(|| Arc::clone(&view.schema), |join| Arc::clone(&join.joined_schema));
        let mut rules: Vec<Rule> = Vec::new();
        for located in &statements.rules {
            let rule = Rule::plan(located.file, &located.statement, &view)?;
            if rules.iter().any(|other| other.name == rule.name) {
                return Err(refuse(located.file, format!("two rules are named \"{}\"", rule.name))
                    .advise("a rule is named by its file, whatever the folder: rename one"));
            }
            if join.is_none() && rule.reads_prior_valid {
                return Err(refuse(
                    located.file,
                    "_prior_valid counts partners, and this program has no join",
                ));
            }
            rules.push(rule);
        }
        let mut outputs: Vec<Output> = Vec::new();
        for located in &statements.outputs {
            let output = Output::plan(located, &sinks, &view, &joined_schema)?;
            if outputs.iter().any(|other| other.name == output.name || other.target == output.target) {
                return Err(refuse(located.file, format!("two INSERTs fill \"{}\"", output.name))
                    .advise("one INSERT fills one sink table; combine their conditions, or give each a sink of its own"));
            }
            outputs.push(output);
        }
        if outputs.is_empty() {
            return Err(Error::config(format!("the SQL folder \"{}\" has no output", folder.root.display()))
                .advise(
                    "add CREATE EXTERNAL TABLE <name> STORED AS MONGODB … and INSERT INTO <name> SELECT …",
                ));
        }
        Ok(Self { sources, join, view, rules, outputs, folder: folder.clone() })
    }

    /// What must stay as it is while a checkpoint is in use.
    pub fn fingerprint(&self) -> Fingerprint {
        let columns = |schema: &SchemaRef| -> BTreeMap<String, String> {
            schema
                .fields()
                .iter()
                .map(|field| {
                    let null = if field.is_nullable() { "" } else { " NOT NULL" };
                    (field.name().clone(), format!("{}{null}", field.data_type()))
                })
                .collect()
        };
        let sources = self
            .sources
            .iter()
            .map(|source| SourceFingerprint {
                table: source.name.clone(),
                topic: source.topic.to_string(),
                columns: columns(&source.columns),
                primary_key: source
                    .primary_key
                    .iter()
                    .map(|&i| source.columns.field(i).name().clone())
                    .collect(),
                event_time: source.columns.field(source.event_time).name().clone(),
            })
            .collect();
        let state = Side::BOTH
            .iter()
            .filter_map(|&side| self.join.as_ref().map(|join| columns(&join.side(side).columns)))
            .collect();
        Fingerprint {
            sources,
            join_type: self.join.as_ref().map(|join| join.join_type.to_string()),
            keys: self.join.as_ref().map(|join| join.keys.clone()).unwrap_or_default(),
            time_range: self.join.as_ref().map(|join| join.time_range),
            state,
        }
    }
}

/// The parts of a program that state and offsets depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    sources: Vec<SourceFingerprint>,
    join_type: Option<String>,
    keys: Vec<(String, String)>,
    time_range: Option<(i64, i64)>,
    /// The columns that state keeps of each side.
    state: Vec<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SourceFingerprint {
    table: String,
    topic: String,
    columns: BTreeMap<String, String>,
    primary_key: Vec<String>,
    event_time: String,
}

impl Fingerprint {
    /// Whether a checkpoint written under `self` can go on under `next`; otherwise what changed.
    pub fn allows(&self, next: &Self) -> Result<(), String> {
        let changed = |what: &str, old: &dyn std::fmt::Debug, new: &dyn std::fmt::Debug| {
            Err(format!("the {what} changed from {old:?} to {new:?}"))
        };
        if self.join_type != next.join_type {
            return changed("join type", &self.join_type, &next.join_type);
        }
        if self.keys != next.keys {
            return changed("join key", &self.keys, &next.keys);
        }
        if self.time_range != next.time_range {
            return changed("join's time range (nanoseconds)", &self.time_range, &next.time_range);
        }
        if self.sources.len() != next.sources.len() {
            return changed("number of sources", &self.sources.len(), &next.sources.len());
        }
        for (old, new) in self.sources.iter().zip(&next.sources) {
            let head = |source: &SourceFingerprint| {
                (
                    source.table.clone(),
                    source.topic.clone(),
                    source.primary_key.clone(),
                    source.event_time.clone(),
                )
            };
            if head(old) != head(new) {
                return changed("table, topic, PRIMARY KEY or watermark column", &head(old), &head(new));
            }
            if let Some((name, data_type)) =
                old.columns.iter().find(|(name, data_type)| new.columns.get(*name) != Some(*data_type))
            {
                return changed(
                    &format!("column \"{name}\" of \"{}\"", old.table),
                    data_type,
                    &new.columns.get(name),
                );
            }
            let added = new
                .columns
                .iter()
                .find(|(name, data_type)| !old.columns.contains_key(*name) && data_type.contains("NOT NULL"));
            if let Some((name, _)) = added {
                return Err(format!(
                    "the new column \"{name}\" of \"{}\" is NOT NULL, and rows in state have none",
                    old.table
                ));
            }
        }
        for ((old, new), source) in self.state.iter().zip(&next.state).zip(&self.sources) {
            let lost = new.keys().find(|name| {
                !old.contains_key(*name) && (name.starts_with('_') || source.columns.contains_key(*name))
            });
            if let Some(name) = lost {
                return Err(format!(
                    "the view uses column \"{name}\" of \"{}\", which rows in state were stored without",
                    source.table
                ));
            }
        }
        Ok(())
    }
}

/// The sources, and the statements of the sinks.
fn plan_tables<'a>(
    statements: &Statements<'a>,
) -> Result<(Vec<SourceTable>, Vec<Located<'a, CreateExternalTable>>)> {
    let state = session::confined(Vec::new())?;
    let mut targets = Vec::new();
    for insert in &statements.outputs {
        targets.push(insert_target(insert.file, &insert.statement)?);
    }
    let (mut sources, mut sinks, mut names): (Vec<SourceTable>, _, Vec<String>) =
        (Vec::new(), Vec::new(), Vec::new());
    for located in &statements.tables {
        let (file, table) = (located.file, &located.statement);
        let name = plain_name(file, &table.name)?;
        if names.contains(&name) || name == DEAD_LETTERS && table.file_type == "KAFKA" {
            return Err(refuse(file, format!("two tables are named \"{name}\"")).advise("rename one"));
        }
        names.push(name.clone());
        match table.file_type.as_str() {
            "KAFKA" => sources.push(SourceTable::plan(file, table, &state)?),
            _ if targets.contains(&name) => sinks.push(Located { file, statement: table.clone() }),
            "MONGODB" => {
                return Err(refuse(file, format!("nothing fills the sink table \"{name}\""))
                    .advise(format!("add INSERT INTO {name} SELECT …, or remove the table")));
            }
            other => {
                return Err(refuse(
                    file,
                    format!(
                        "\"{name}\" is a reference table STORED AS {other}, which this version can't read"
                    ),
                )
                .advise("write the values into the rule for now: … IN ('a', 'b')"));
            }
        }
    }
    Ok((sources, sinks))
}

/// The view that rules and outputs read, and the join behind it.
fn plan_view(statements: &Statements<'_>, sources: &[SourceTable]) -> Result<(ViewTable, Option<JoinView>)> {
    match (statements.views.as_slice(), sources) {
        ([], [source]) if source.primary_key.is_empty() => {
            Ok((ViewTable { name: source.name.clone(), schema: source.sql_schema() }, None))
        }
        ([], [source]) => Err(Error::config(format!(
            "table \"{}\" has a PRIMARY KEY and the program has no join",
            source.name
        ))
        .advise(
            "leave the key out: without a join this version does not remember keys, and repeats come out",
        )),
        ([view], [_, _]) => {
            let file = view.file;
            let name = plain_name(file, &view.statement.name)?;
            let plan = plan_create_view(view, sources)?;
            let join = JoinView::plan(file, &plan, sources)?;
            Ok((ViewTable { name, schema: Arc::clone(&join.schema) }, Some(join)))
        }
        (views, sources) => Err(Error::config(format!(
            "the SQL folder has {} Kafka tables and {} views",
            sources.len(),
            views.len()
        ))
        .advise(
            "a program has two Kafka tables and one view that joins them, or one Kafka table and no view",
        )),
    }
}

fn plan_create_view(view: &Located<'_, CreateView>, sources: &[SourceTable]) -> Result<LogicalPlan> {
    let tables = sources
        .iter()
        .map(|source| -> (String, Arc<dyn TableProvider>) {
            (source.name.clone(), Arc::new(EmptyTable::new(source.sql_schema())))
        })
        .collect();
    let state = session::confined(tables)?;
    let statement = DfStatement::Statement(Box::new(Statement::CreateView(view.statement.clone())));
    let plan = futures::executor::block_on(state.statement_to_plan(statement))
        .map_err(|e| sql_error(view.file, &e))?;
    match plan {
        LogicalPlan::Ddl(DdlStatement::CreateView(create)) => Ok(create.input.as_ref().clone()),
        _ => Err(Error::internal("CREATE VIEW was planned as something else")),
    }
}
