//! A validation rule: one SELECT over the view that gives every joined row a verdict.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, UInt32Type};
use datafusion::common::Column;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{GroupByExpr, Query, SetExpr, Statement};

use crate::error::{Error, Result};
use crate::query::lookup::{self, Lookups, check_lookups, join_lookups, planning_error};
use crate::query::plan_words::refuse_node;
use crate::query::scalar::{Note, Scalars, compile};
use crate::query::session::{Prepared, RowWise, RunTable, confined, least_volatility, plan_statement};
use crate::query::sql_file::{SqlFile, refuse, refuse_at, sql_error};
use crate::query::view::{PRIOR_VALID, RowIdScan, ViewTable};

/// Whether a violated rule rejects the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The row is not valid.
    Reject,
    /// The row stays valid; a person should look.
    Warn,
}

impl Severity {
    /// As it is written in SQL and in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Warn => "warn",
        }
    }
}

/// A rule that a row violates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The index of the rule in the program.
    pub rule: usize,
    /// Whether it rejects.
    pub severity: Severity,
    /// What a person is told.
    pub detail: Option<String>,
}

/// One rule file.
#[derive(Debug)]
pub struct Rule {
    /// The file's stem.
    pub name: String,
    /// It counts the valid partners before, so it runs in rounds after all others.
    pub reads_prior_valid: bool,
    /// Its SQL, without comments.
    pub text: String,
    /// What a reader of its SQL should know.
    pub notes: Vec<Note>,
    plan: Prepared,
    has_detail: bool,
    has_severity: bool,
}

impl Rule {
    pub(crate) fn plan(file: &SqlFile, query: &Query, view: &ViewTable, lookups: &Lookups) -> Result<Self> {
        let stem =
            file.path.rsplit('/').next().and_then(|name| name.strip_suffix(".sql")).unwrap_or(&file.path);
        check_shape(file, query)?;
        let mut tables = lookup::tables(lookups);
        tables.push((view.name.clone(), view.rule_table()?));
        let state = confined(tables)?;
        let statement = DfStatement::Statement(Box::new(Statement::Query(Box::new(query.clone()))));
        let plan = plan_statement(&state, statement).map_err(|e| sql_error(file, &e))?;
        if least_volatility(&plan)? == Volatility::Volatile {
            return Err(refuse(file, "the rule uses a function that is never the same at a replay")
                .advise("leave out random() and uuid(); now() is the batch time"));
        }
        check_plan(file, &plan, &view.name)?;
        let Scalars { plan, now, notes } = compile(file, plan)?;
        let columns = check_columns(file, &plan)?;
        let reads_prior_valid = reads_column(&plan, PRIOR_VALID)?;
        let run_table = RunTable::new(view.rule_schema_with_row());
        let rewritten =
            RowIdScan::new(&run_table, &view.name).rewrite(plan).map_err(|e| sql_error(file, &e))?;
        let joined = join_lookups(file, rewritten.clone())?;
        let plan = Prepared::try_new(&state, &joined, now)
            .map_err(|error| planning_error(file, &rewritten, &error))?;
        let RuleColumns { has_detail, has_severity } = columns;
        Ok(Self {
            name: stem.to_owned(),
            reads_prior_valid,
            text: query.to_string(),
            notes,
            plan,
            has_detail,
            has_severity,
        })
    }

    /// The violations among `rows` (of the rule table, `_row` last) by the value of `_row`.
    ///
    /// A row at which the rule fails to compute violates it, with the error as detail.
    pub(crate) async fn violations(
        &self,
        index: usize,
        rows: &RecordBatch,
        now_ms: i64,
    ) -> Result<Vec<(u32, Violation)>> {
        let mut found = Vec::new();
        let RowWise { batches, failed } = self.plan.run_row_wise(rows, now_ms).await?;
        let num_verdicts: usize = batches.iter().map(RecordBatch::num_rows).sum();
        if num_verdicts + failed.len() != rows.num_rows() {
            return Err(Error::internal(format!(
                "rule \"{}\" gave no verdict, or two, for a row",
                self.name
            )));
        }
        for verdicts in &batches {
            self.read(index, verdicts, &mut found)?;
        }
        for (row, error) in failed {
            let detail = Some(format!("could not be computed: {error}"));
            let violation = Violation { rule: index, severity: Severity::Reject, detail };
            found.push((row_ids(rows).value(row), violation));
        }
        Ok(found)
    }

    fn read(&self, index: usize, verdicts: &RecordBatch, found: &mut Vec<(u32, Violation)>) -> Result<()> {
        let holds = verdicts.column(0).as_boolean();
        let text = |present: bool, name: &str| -> Result<Option<ArrayRef>> {
            let column = verdicts.column_by_name(name).filter(|_| present);
            Ok(column.map(|column| arrow::compute::cast(column, &DataType::Utf8)).transpose()?)
        };
        let (detail, severity) = (text(self.has_detail, "detail")?, text(self.has_severity, "severity")?);
        let value = |array: &Option<ArrayRef>, row: usize| {
            array
                .as_ref()
                .filter(|array| array.is_valid(row))
                .map(|array| array.as_string::<i32>().value(row).to_owned())
        };
        let ids = row_ids(verdicts);
        for row in (0..verdicts.num_rows()).filter(|&row| holds.is_null(row) || !holds.value(row)) {
            let severity = match value(&severity, row).as_deref() {
                Some("warn") => Severity::Warn,
                _ => Severity::Reject,
            };
            found.push((ids.value(row), Violation { rule: index, severity, detail: value(&detail, row) }));
        }
        Ok(())
    }
}

fn row_ids(rows: &RecordBatch) -> &UInt32Array {
    rows.column(rows.num_columns() - 1).as_primitive::<UInt32Type>()
}

fn check_shape(file: &SqlFile, query: &Query) -> Result<()> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return Err(refuse(file, "a rule is one plain SELECT"));
    };
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(exprs, modifiers) if exprs.is_empty() && modifiers.is_empty());
    let clauses = [
        (query.with.is_some(), "WITH"),
        (query.order_by.is_some(), "ORDER BY"),
        (query.limit_clause.is_some() || query.fetch.is_some() || select.top.is_some(), "LIMIT"),
        (select.selection.is_some() || select.prewhere.is_some(), "WHERE"),
        (grouped, "GROUP BY"),
        (select.having.is_some(), "HAVING"),
        (select.qualify.is_some(), "QUALIFY"),
        (select.distinct.is_some(), "DISTINCT"),
        (select.from.len() != 1 || select.from.iter().any(|from| !from.joins.is_empty()), "JOIN"),
        (select.from.iter().any(|from| from.relation.to_string().contains("TABLESAMPLE")), "TABLESAMPLE"),
    ];
    match clauses.iter().find(|(present, _)| *present) {
        Some((_, clause)) => Err(refuse_at(
            file,
            clause.split(' ').next().unwrap_or(clause),
            format!("a rule has no {clause}: every joined row gets a verdict"),
        )
        .advise("put the condition into the SELECT: a row where it is not TRUE violates the rule")),
        None => Ok(()),
    }
}

/// The statement itself reads the view once and nothing else; subqueries look values up.
fn check_plan(file: &SqlFile, plan: &LogicalPlan, view: &str) -> Result<()> {
    let (mut reads, mut refused) = (0, None);
    plan.apply(|node| {
        match node {
            LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {}
            LogicalPlan::TableScan(scan) if scan.table_name.table() == view => reads += 1,
            LogicalPlan::TableScan(scan) => {
                let table = scan.table_name.table();
                refused = Some(refuse_at(file, table, format!("a rule reads {view}, not \"{table}\"")));
            }
            other => refused = Some(refuse_node(file, "a rule", other)),
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if let Some(error) = refused {
        return Err(error.advise(format!("a rule is SELECT <boolean>, … FROM {view}")));
    }
    if reads != 1 {
        return Err(refuse_at(file, "FROM", format!("a rule reads {view} once, this one {reads} times")));
    }
    check_lookups(file, plan, view)
}

/// The flags of a rule, from the columns it returns.
fn check_columns(file: &SqlFile, plan: &LogicalPlan) -> Result<RuleColumns> {
    let fields = plan.schema().fields();
    if fields[0].data_type() != &DataType::Boolean {
        return Err(refuse_at(
            file,
            "SELECT",
            format!(
                "the first column \"{}\" is {}, not a boolean",
                fields[0].name(),
                crate::decode::type_name(fields[0].data_type())
            ),
        )
        .advise("select a condition first: TRUE holds, FALSE and NULL violate"));
    }
    for field in fields.iter().skip(1) {
        let is_text = matches!(
            field.data_type(),
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Null
        );
        if !["detail", "severity"].contains(&field.name().as_str()) || !is_text {
            return Err(refuse_at(file, field.name(), format!("a rule has no column \"{}\"", field.name())).advise(
                "beside the condition a rule may have detail and severity ('reject' or 'warn'), both text",
            ));
        }
    }
    let severities = severity_literals(plan);
    if let Some(other) = severities.iter().find(|text| !["reject", "warn"].contains(&text.as_str())) {
        return Err(refuse_at(file, other, format!("the severity '{other}' is unknown"))
            .advise("use 'reject' or 'warn'"));
    }
    let has = |name: &str| fields.iter().any(|field| field.name() == name);
    Ok(RuleColumns { has_detail: has("detail"), has_severity: has("severity") })
}

struct RuleColumns {
    has_detail: bool,
    has_severity: bool,
}

fn severity_literals(plan: &LogicalPlan) -> Vec<String> {
    let LogicalPlan::Projection(projection) = plan else { return Vec::new() };
    let is_severity = |expr: &&Expr| matches!(expr, Expr::Alias(alias) if alias.name == "severity");
    let literal = |expr: &Expr| match expr {
        Expr::Alias(alias) => match alias.expr.as_ref() {
            Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
            _ => None,
        },
        _ => None,
    };
    projection.expr.iter().filter(is_severity).filter_map(literal).collect()
}

fn reads_column(plan: &LogicalPlan, name: &str) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        for expr in node.expressions() {
            found |= expr.column_refs().iter().any(|column: &&Column| column.name == name);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}
