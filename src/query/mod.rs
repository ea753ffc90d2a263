//! The SQL folder becomes a program: sources, the view, rules, outputs, all planned by DataFusion.
//!
//! What a statement is decides when it is planned, not where it lies. Nothing here knows Kafka or
//! MongoDB: a source is a name and columns, an output is rows and a target.
//!
//! ```text
//! sources ─ views of sources ─ join view ─ rules ─ _valid, _violations ─ outputs
//!    └──────── records that became no row ─ dead_letters ────────────────┘
//! reference tables ─ looked up by rules and outputs
//! ```
//!
//! What an expression means, wherever it stands, is decided in one place: [`scalar`].

pub(crate) mod around_time;
pub(crate) mod cast_types;
pub mod change;
pub mod comparison;
pub(crate) mod correlated;
pub(crate) mod dialect;
pub mod explain;
pub(crate) mod field_type;
pub mod fingerprint;
pub mod folder;
pub(crate) mod join_condition;
pub mod join_side;
pub mod join_view;
pub(crate) mod key_kinds;
pub(crate) mod lookup;
mod one_run;
pub(crate) mod other_functions;
pub mod output;
pub(crate) mod pair_match;
pub(crate) mod pair_rows;
pub(crate) mod plan_words;
mod planner_words;
pub mod reference;
pub(crate) mod reference_rows;
pub(crate) mod row_wise;
pub mod rule;
pub mod scalar;
pub(crate) mod session;
pub mod side;
mod sink_target;
pub mod source_table;
pub mod source_view;
pub mod sql_file;
pub(crate) mod star;
pub(crate) mod statement;
pub(crate) mod time_range;
pub mod view;

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::catalog::default_table_source::provider_as_source;
use datafusion::common::TableReference;
use datafusion::datasource::ViewTable as DfViewTable;
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::{DdlStatement, LogicalPlan, LogicalPlanBuilder, Volatility};
use datafusion::sql::parser::{CreateExternalTable, Statement as DfStatement};
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::{CreateView, Statement};

use crate::clock::Nanos;
use crate::error::{Error, Result};
use folder::SqlFolder;
use join_view::JoinView;
use lookup::{Lookup, Lookups, num_scans};
use output::Output;
use rule::Rule;
use scalar::{Note, Scalars};
use session::{least_volatility, plan_statement};
use side::Side;
use source_table::{SOURCE_COLUMNS, SourceTable};
use source_view::{SourceSubtree, SourceView};
use sql_file::{SqlFile, refuse, refuse_at, sql_error};
use star::exclude_system_columns;
use statement::{Located, Statements, insert_targets, plain_name, table_name};
use view::{DEAD_LETTERS, ViewTable};

/// A planned SQL folder.
#[derive(Debug)]
pub struct Program {
    /// The text it was planned from.
    pub folder: SqlFolder,
    /// The folder's hash, the program's name in the checkpoint; taken once, since reference files can be large.
    pub hash: String,
    /// The tables that records come from.
    pub sources: Vec<SourceTable>,
    /// The join; `None` for a program that only validates one source.
    pub join: Option<JoinView>,
    /// The rows of the only source; `None` for a program with a join.
    pub single: Option<SourceView>,
    /// The rows that rules and outputs read.
    pub view: ViewTable,
    /// The SQL of the join view and of views over reference tables, by name; a view over a source is part of
    /// what the [`fingerprint`] compares.
    pub view_texts: Vec<(String, String)>,
    /// What a reader of a view's SQL should know, by the view's name.
    pub view_notes: Vec<(String, Note)>,
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
        let statements = Statements::parse(&folder.files)?;
        let Tables { sources, sinks, mut lookups } = Tables::plan(&statements, &folder)?;
        let Stream { view, join, single, view_texts, view_notes } =
            Stream::plan(&statements, &sources, &mut lookups, &folder)?;
        let joined_schema =
            join.as_ref().map_or_else(|| Arc::clone(&view.schema), |join| Arc::clone(&join.joined_schema));
        let mut rules: Vec<Rule> = Vec::new();
        for located in &statements.rules {
            let rule = Rule::plan(located.file, &located.statement, &view, &lookups)?;
            if rules.iter().any(|other| other.name == rule.name) {
                return Err(refuse(located.file, format!("two rules are named \"{}\"", rule.name))
                    .advise("a rule is named by its file, whatever the folder: rename one"));
            }
            if join.is_none() && rule.reads_prior_valid {
                return Err(refuse_at(
                    located.file,
                    "_prior_valid",
                    "_prior_valid counts partners, and this program has no join",
                ));
            }
            rules.push(rule);
        }
        let mut outputs: Vec<Output> = Vec::new();
        for located in &statements.outputs {
            let mut located = Located { file: located.file, statement: located.statement.clone() };
            if let Some(query) = &mut located.statement.source {
                exclude_system_columns(query, &|table| {
                    if table == view.name { view.system_columns() } else { Vec::new() }
                });
            }
            let output = Output::plan(&located, &sinks, &view, &joined_schema, &lookups)?;
            let is_same =
                |other: &&Output| other.name == output.name || other.target.is_same_place(&output.target);
            if let Some(other) = outputs.iter().find(is_same) {
                let problem = match other.name == output.name {
                    true => format!("two INSERTs fill \"{}\"", output.name),
                    false => format!("\"{}\" and \"{}\" are stored in one place", other.name, output.name),
                };
                return Err(refuse_at(located.file, "INTO", problem)
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
        let hash = folder.hash();
        Ok(Self { sources, join, single, view, view_texts, view_notes, rules, outputs, hash, folder })
    }

    /// The rows that each source gives: of a join left, then right.
    pub fn inputs(&self) -> impl Iterator<Item = &SourceView> {
        let sides = self.join.iter().flat_map(|join| Side::BOTH.map(|side| &join.side(side).input));
        sides.chain(&self.single)
    }

    /// How far the watermark may pass an event time of `side` while a partner can still come; without a
    /// join there is nothing to wait for.
    pub fn reach(&self, side: Side) -> Nanos {
        self.join.as_ref().map_or(0, |join| join.reach(side))
    }

    /// The topic of one side.
    pub fn topic(&self, side: Side) -> &Arc<str> {
        let source = self.input(side).map_or(0, |input| input.source);
        &self.sources[source].topic
    }

    /// The rows of one side; of a program without a join the left one is the only source.
    pub fn input(&self, side: Side) -> Option<&SourceView> {
        self.inputs().nth(side.index())
    }
}

/// What the CREATE EXTERNAL TABLE statements declare.
struct Tables<'a> {
    sources: Vec<SourceTable>,
    sinks: Vec<Located<'a, CreateExternalTable>>,
    lookups: Lookups,
}

impl<'a> Tables<'a> {
    fn plan(statements: &Statements<'a>, folder: &SqlFolder) -> Result<Self> {
        let state = session::confined(Vec::new())?;
        let targets = insert_targets(statements)?;
        let mut tables = Self { sources: Vec::new(), sinks: Vec::new(), lookups: Vec::new() };
        let mut names: Vec<String> = Vec::new();
        for located in &statements.tables {
            let (file, table) = (located.file, &located.statement);
            let name = table_name(file, &table.name)?;
            if names.contains(&name) {
                return Err(
                    refuse_at(file, &name, format!("two tables are named \"{name}\"")).advise("rename one")
                );
            }
            if name == DEAD_LETTERS && !targets.contains(&name) {
                return Err(refuse_at(
                    file,
                    &name,
                    format!("\"{name}\" is the system table of records that became no row"),
                )
                .advise("choose another name; only a sink may have this one"));
            }
            names.push(name.clone());
            if table.file_type == "KAFKA" {
                let source = SourceTable::plan(file, table, &state)?;
                if let Some(other) = tables.sources.iter().find(|other| other.topic == source.topic) {
                    return Err(refuse_at(
                        file,
                        "LOCATION",
                        format!("\"{}\" and \"{name}\" read the same topic \"{}\"", other.name, source.topic),
                    )
                    .advise("a topic is read by one table"));
                }
                tables.sources.push(source);
            } else if reference::is_reference(table, &name, &targets) {
                tables.lookups.push(reference::load(file, &name, table, &folder.references)?);
            } else if targets.contains(&name) {
                tables.sinks.push(Located { file, statement: table.clone() });
            } else {
                return Err(refuse_at(file, &name, format!("nothing fills the sink table \"{name}\""))
                    .advise(format!("add INSERT INTO {name} SELECT …, or remove the table")));
            }
        }
        Ok(tables)
    }
}

/// What rules and outputs read, and what stands before it.
struct Stream {
    view: ViewTable,
    join: Option<JoinView>,
    single: Option<SourceView>,
    view_texts: Vec<(String, String)>,
    view_notes: Vec<(String, Note)>,
}

/// A view over one source.
struct SourceViewPlan<'a> {
    name: String,
    file: &'a SqlFile,
    plan: LogicalPlan,
    is_read: bool,
}

impl Stream {
    /// Plans the views, each after those that it names; views over reference tables join the lookups.
    fn plan(
        statements: &Statements<'_>,
        sources: &[SourceTable],
        lookups: &mut Lookups,
        folder: &SqlFolder,
    ) -> Result<Self> {
        let mut tables: Vec<(String, Arc<dyn TableProvider>)> = sources
            .iter()
            .map(|source| (source.name.clone(), Arc::new(EmptyTable::new(source.sql_schema())) as _))
            .collect();
        tables.extend(lookup::tables(lookups));
        let mut source_views: Vec<SourceViewPlan<'_>> = Vec::new();
        let mut join: Option<(String, JoinView)> = None;
        let mut view_texts: Vec<(String, String)> = Vec::new();
        let mut view_notes: Vec<(String, Note)> = Vec::new();
        for view in in_order_of_names(&statements.views)? {
            let name = table_name(view.file, &view.statement.name)?;
            if name == DEAD_LETTERS || tables.iter().any(|(other, _)| *other == name) {
                return Err(refuse_at(view.file, &name, format!("two tables are named \"{name}\""))
                    .advise("rename one"));
            }
            let names = table_names(view)?;
            if let Some((joined, _)) = join.as_ref().filter(|(joined, _)| names.contains(joined)) {
                return Err(refuse_at(
                    view.file,
                    joined,
                    format!("\"{name}\" is a view over the join view \"{joined}\""),
                )
                .advise(format!(
                    "rules and outputs read {joined} itself: write its SELECT and WHERE there"
                )));
            }
            let plan = plan_create_view(view, tables.clone(), sources)?;
            let num_streams = num_scans(&plan, |table| sources.iter().any(|source| source.name == table))?;
            let plan = match num_streams {
                0 | 1 => {
                    refuse_changing(view, &plan)?;
                    let Scalars { plan, notes, .. } = scalar::compile(view.file, plan)?;
                    view_notes.extend(notes.into_iter().map(|note| (name.clone(), note)));
                    plan
                }
                _ => plan,
            };
            if num_streams != 1 {
                view_texts.push((name.clone(), view.statement.to_string()));
            }
            let provider = || Arc::new(DfViewTable::new(plan.clone(), None)) as Arc<dyn TableProvider>;
            match num_streams {
                0 => {
                    tables.push((name.clone(), provider()));
                    lookups.push(Lookup { name, table: provider(), unique: Vec::new() });
                }
                1 => {
                    if SourceSubtree::read(view.file, &plan, sources)?.is_none() {
                        return Err(refuse_at(view.file, "FROM", format!("the view \"{name}\" looks values up in a reference table"))
                            .advise("do that in rules and outputs: they may read reference tables, a view over a stream may not"));
                    }
                    for other in source_views.iter_mut().filter(|other| names.contains(&other.name)) {
                        other.is_read = true;
                    }
                    tables.push((name.clone(), provider()));
                    source_views.push(SourceViewPlan { name, file: view.file, plan, is_read: false });
                }
                _ if join.is_some() => {
                    return Err(refuse_at(view.file, "JOIN", format!("\"{name}\" is a second stream join"))
                        .advise("a program has one; run another pipeline over its output, or join in the database"));
                }
                _ => join = Some((name, JoinView::plan(view.file, &plan, sources)?)),
            }
        }
        match (join, sources) {
            (Some((name, join)), [_, _]) => {
                view_notes.extend(join.notes().iter().map(|&note| (name.clone(), note)));
                let view = ViewTable { name, schema: Arc::clone(&join.schema) };
                Ok(Self { view, join: Some(join), single: None, view_texts, view_notes })
            }
            (None, [source]) => {
                let (view, single) = Self::without_join(source, sources, &source_views, folder)?;
                Ok(Self { view, join: None, single: Some(single), view_texts, view_notes })
            }
            (None, [left, right]) => Err(Error::config(format!(
                "the SQL folder \"{}\" has two Kafka tables and no view that joins them",
                folder.root.display()
            ))
            .advise(format!(
                "add CREATE VIEW … AS SELECT … FROM {l} JOIN {r} ON {r}.<key> = {l}.<key> AND {r}.{rt} BETWEEN {l}.{lt} - INTERVAL '5 minutes' AND {l}.{lt} + INTERVAL '10 minutes'",
                l = left.name, r = right.name, lt = left.event_time_name(), rt = right.event_time_name()
            ))),
            (_, []) => Err(Error::config(format!("the SQL folder \"{}\" has no Kafka table", folder.root.display()))
                .advise("add CREATE UNBOUNDED EXTERNAL TABLE … STORED AS KAFKA LOCATION '<topic>' OPTIONS ('watermark.column' '…')")),
            (_, sources) => Err(Error::config(format!(
                "the SQL folder \"{}\" has {} Kafka tables",
                folder.root.display(),
                sources.len()
            ))
            .advise("a program has two that a view joins, or one: run one pipeline for each pair of topics")),
        }
    }

    fn without_join(
        source: &SourceTable,
        sources: &[SourceTable],
        views: &[SourceViewPlan<'_>],
        folder: &SqlFolder,
    ) -> Result<(ViewTable, SourceView)> {
        let state = session::confined(Vec::new())?;
        let mut last = views.iter().filter(|view| !view.is_read);
        let (name, plan, file) = match (last.next(), last.next()) {
            (Some(one), Some(other)) => {
                return Err(refuse_at(
                    other.file,
                    &other.name,
                    format!("rules and outputs can't read both \"{}\" and \"{}\"", one.name, other.name),
                )
                .advise("a program has one view that they read; put the other's condition into an output"));
            }
            (Some(view), None) => (view.name.clone(), view.plan.clone(), view.file),
            (None, _) => {
                let table = provider_as_source(Arc::new(EmptyTable::new(source.sql_schema())));
                let plan = LogicalPlanBuilder::scan(TableReference::bare(source.name.clone()), table, None)?
                    .build()?;
                (source.name.clone(), plan, &folder.files[0])
            }
        };
        let subtree = SourceSubtree::read(file, &plan, sources)?
            .ok_or_else(|| Error::internal("a view over a stream reads no stream"))?;
        let single = subtree.build(file, &state, |_| true)?;
        let schema: SchemaRef =
            Arc::new(Schema::new(plan.schema().fields().iter().cloned().collect::<Vec<_>>()));
        Ok((ViewTable { name, schema }, single))
    }
}

/// The views, each behind those that it names.
fn in_order_of_names<'v, 'a>(
    views: &'v [Located<'a, CreateView>],
) -> Result<Vec<&'v Located<'a, CreateView>>> {
    let mut waiting: Vec<(String, &Located<'_, CreateView>)> = Vec::new();
    for view in views {
        waiting.push((plain_name(view.file, &view.statement.name)?, view));
    }
    let mut ordered = Vec::new();
    while !waiting.is_empty() {
        let mut ready = None;
        for (index, (name, view)) in waiting.iter().enumerate() {
            let names = table_names(view)?;
            if !waiting.iter().any(|(other, _)| other != name && names.contains(other)) {
                ready = Some(index);
                break;
            }
        }
        let Some(ready) = ready else {
            let (name, view) = &waiting[0];
            return Err(refuse_at(
                view.file,
                name,
                format!("the view \"{name}\" names itself, by way of others"),
            ));
        };
        ordered.push(waiting.remove(ready).1);
    }
    Ok(ordered)
}

/// The tables and views that a view names.
fn table_names(view: &Located<'_, CreateView>) -> Result<Vec<String>> {
    let statement = DfStatement::Statement(Box::new(Statement::CreateView(view.statement.clone())));
    let (names, _) =
        resolve_table_references(&statement, true).map_err(|error| sql_error(view.file, &error))?;
    Ok(names.iter().map(|name| name.table().to_owned()).collect())
}

fn refuse_changing(view: &Located<'_, CreateView>, plan: &LogicalPlan) -> Result<()> {
    if least_volatility(plan)? == Volatility::Immutable {
        return Ok(());
    }
    Err(refuse(view.file, "the view uses a function whose result changes")
        .advise("use _batch_time in rules and outputs; random() and uuid() are never the same at a replay"))
}

fn plan_create_view(
    view: &Located<'_, CreateView>,
    tables: Vec<(String, Arc<dyn TableProvider>)>,
    sources: &[SourceTable],
) -> Result<LogicalPlan> {
    let state = session::confined(tables)?;
    if view.statement.materialized
        || view.statement.or_replace
        || view.statement.if_not_exists
        || view.statement.temporary
    {
        return Err(refuse_at(
            view.file,
            "CREATE",
            "MATERIALIZED, OR REPLACE, IF NOT EXISTS and TEMPORARY mean nothing here",
        )
        .advise("write CREATE VIEW <name> AS SELECT …"));
    }
    let mut statement = view.statement.clone();
    exclude_system_columns(&mut statement.query, &|table| {
        let is_source = sources.iter().any(|source| source.name == table);
        if is_source { SOURCE_COLUMNS.map(str::to_owned).to_vec() } else { Vec::new() }
    });
    let statement = DfStatement::Statement(Box::new(Statement::CreateView(statement)));
    let plan = plan_statement(&state, statement).map_err(|e| sql_error(view.file, &e))?;
    match plan {
        LogicalPlan::Ddl(DdlStatement::CreateView(create)) => Ok(create.input.as_ref().clone()),
        _ => Err(Error::internal("CREATE VIEW was planned as something else")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::sql_file::SqlFile;

    /// A task of tokio has a budget, which hundreds of plans use up.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_task_may_plan_hundreds_of_rules() {
        let mut folder = SqlFolder::read(std::path::Path::new("sql"), |_| None).expect("reads");
        for number in 0..300 {
            let text = format!("SELECT payment_amount <> {number} AS holds FROM order_payments;");
            folder.files.push(SqlFile { path: format!("rules/many/not_{number}.sql"), text });
        }
        let planning = tokio::spawn(async move { Program::plan(folder).map(|program| program.rules.len()) });
        let planned = tokio::time::timeout(std::time::Duration::from_secs(120), planning).await;
        assert_eq!(planned.expect("in time").expect("no panic").expect("plans"), 304);
    }
}
