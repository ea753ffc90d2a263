//! Lookups: what rules and outputs may read beside the row at hand.
//!
//! Reference tables, and views over them, in subqueries and in an output's joins. A lookup never reads
//! the stream: what it says of a row must not depend on which other rows are in the batch.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, FetchType, Join, JoinType, LogicalPlan, Operator, SkipType,
};

use crate::error::{Error, Result};
use crate::query::correlated::take_apart;
use crate::query::sql_file::{SqlFile, find_word, refuse, refuse_at, sql_error};

/// What a subquery may look like that depends on the row at hand.
const LOOKUP_ADVICE: &str = "write (SELECT count(*) FROM b WHERE <condition on b and the row>) = 0, or (SELECT max(b.value) FROM b WHERE …): an aggregate \
     of one table, or the one value of a row, under any condition";

/// The tables that can be looked up.
pub(crate) type Lookups = Vec<Lookup>;

/// A table that can be looked up.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    pub(crate) name: String,
    pub(crate) table: Arc<dyn TableProvider>,
    /// The columns of its PRIMARY KEY; empty without one.
    pub(crate) unique: Vec<String>,
}

/// The tables as a session takes them.
pub(crate) fn tables(lookups: &Lookups) -> Vec<(String, Arc<dyn TableProvider>)> {
    lookups.iter().map(|lookup| (lookup.name.clone(), Arc::clone(&lookup.table))).collect()
}

/// Whether a row of the stream meets at most one row of `other` in `join`: its PRIMARY KEY is compared,
/// or the join only asks whether there is a partner.
pub(crate) fn meets_once(join: &Join, other: &LogicalPlan, lookups: &Lookups) -> bool {
    if matches!(
        join.join_type,
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::RightSemi | JoinType::RightAnti
    ) {
        return true;
    }
    let (scan, alias) = match other {
        LogicalPlan::SubqueryAlias(alias) => (alias.input.as_ref(), alias.alias.clone()),
        LogicalPlan::TableScan(scan) => (other, scan.table_name.clone()),
        _ => return false,
    };
    let LogicalPlan::TableScan(scan) = scan else { return false };
    let Some(lookup) = lookups.iter().find(|lookup| lookup.name == scan.table_name.table()) else {
        return false;
    };
    let conjuncts = join.filter.iter().flat_map(split_conjunction);
    let equalities = conjuncts.filter_map(|conjunct| match conjunct {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            Some([left.as_ref(), right.as_ref()])
        }
        _ => None,
    });
    let sides: Vec<[&Expr; 2]> =
        equalities.chain(join.on.iter().map(|(left, right)| [left, right])).collect();
    let is_of_other =
        |expr: &Expr| expr.column_refs().iter().any(|column| column.relation.as_ref() == Some(&alias));
    let is_compared = |name: &String| {
        let is_it = |expr: &Expr| matches!(expr, Expr::Column(column) if column.name == *name && column.relation.as_ref() == Some(&alias));
        sides
            .iter()
            .any(|[left, right]| (is_it(left) && !is_of_other(right)) || (is_it(right) && !is_of_other(left)))
    };
    !lookup.unique.is_empty() && lookup.unique.iter().all(is_compared)
}

/// Refuses subqueries that read the stream, and the kinds that DataFusion can't run in a select list.
pub(crate) fn check_lookups(file: &SqlFile, plan: &LogicalPlan, stream: &str) -> Result<()> {
    let mut unsupported = None;
    plan.apply(|node| {
        let in_select = matches!(node, LogicalPlan::Projection(_));
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                match expr {
                    Expr::Exists(_) if in_select => unsupported = Some("EXISTS"),
                    Expr::InSubquery(_) if in_select => unsupported = Some("IN"),
                    Expr::SetComparison(_) if in_select => unsupported = Some("ANY or ALL"),
                    Expr::SetComparison(compared) => refuse_stream(&compared.subquery.subquery, stream)?,
                    Expr::ScalarSubquery(subquery) => refuse_stream(&subquery.subquery, stream)?,
                    Expr::Exists(exists) => {
                        refuse_stream(&exists.subquery.subquery, stream)?;
                        unsupported = unsupported.or(lost_when_correlated(&exists.subquery.subquery));
                    }
                    Expr::InSubquery(within) => {
                        refuse_stream(&within.subquery.subquery, stream)?;
                        unsupported = unsupported.or(lost_when_correlated(&within.subquery.subquery));
                    }
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .map_err(|error| {
        sql_error(file, &error).advise("a subquery looks values up in reference tables, by the row at hand")
    })?;
    match unsupported {
        Some(words) => {
            let problem = match words {
                AGGREGATE => "EXISTS or IN of an aggregate by the row at hand".to_owned(),
                LIMIT => "EXISTS or IN with a LIMIT by the row at hand".to_owned(),
                words => format!("{words} (SELECT …) is not supported here"),
            };
            Err(refuse_at(file, first_of(file, words), problem).advise(match words {
                "ANY or ALL" => "compare with one value: (SELECT max(b.value) FROM b)",
                AGGREGATE => "compare with its value: (SELECT count(*) FROM b WHERE b.k = v.k) = …",
                _ => "count instead: (SELECT count(*) FROM b WHERE b.k = v.k) = 0",
            }))
        }
        None => Ok(()),
    }
}

/// An aggregate has a row where nothing is met, which a semi join does not know.
const AGGREGATE: &str = "count or sum or min or max or EXISTS";

/// A number of rows, which would be counted over all rows at hand.
const LIMIT: &str = "LIMIT or OFFSET or FETCH";

/// What DataFusion would lose of a subquery of EXISTS or IN that depends on the row at hand.
fn lost_when_correlated(subquery: &LogicalPlan) -> Option<&'static str> {
    if subquery.all_out_ref_exprs().is_empty() {
        return None;
    }
    let mut node = subquery;
    loop {
        node = match node {
            LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => return Some(AGGREGATE),
            LogicalPlan::Limit(limit) => {
                let skips = !matches!(limit.get_skip_type(), Ok(SkipType::Literal(0)));
                match limit.get_fetch_type() {
                    Ok(FetchType::Literal(_)) if !skips => limit.input.as_ref(),
                    _ => return Some(LIMIT),
                }
            }
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Distinct(_) => node.inputs()[0],
            _ => return None,
        }
    }
}

/// The plan with its look-ups as joins where DataFusion needs help; see [`take_apart`].
pub(crate) fn join_lookups(file: &SqlFile, plan: LogicalPlan) -> Result<LogicalPlan> {
    take_apart(plan).map_err(|error| sql_error(file, &error).advise(LOOKUP_ADVICE))
}

/// What can't be planned: of a look-up in words of SQL, not of a planner's rules.
pub(crate) fn planning_error(file: &SqlFile, plan: &LogicalPlan, error: &DataFusionError) -> Error {
    // The names are resolved by now: what is missing was lost on the way.
    let is_of_planner = match error.find_root() {
        DataFusionError::Internal(_)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::SchemaError(_, _) => true,
        other => ["subquery", " join "].iter().any(|word| other.strip_backtrace().contains(word)),
    };
    match is_of_planner && has_subquery(plan) {
        true => refuse(file, "a subquery can't be joined with the row at hand").advise(LOOKUP_ADVICE),
        false => sql_error(file, error),
    }
}

fn has_subquery(plan: &LogicalPlan) -> bool {
    let mut found = false;
    // Nothing here fails.
    let _ = plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::Subquery(_));
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// The first of the words that stands in the file.
fn first_of<'w>(file: &SqlFile, words: &'w str) -> &'w str {
    words.split(" or ").find(|word| find_word(&file.text, word).is_some()).unwrap_or(words)
}

fn refuse_stream(subquery: &LogicalPlan, stream: &str) -> datafusion::error::Result<()> {
    match num_scans(subquery, |table| table == stream)? {
        0 => Ok(()),
        _ => Err(DataFusionError::Plan(format!("a second read of {stream} would depend on the batch"))),
    }
}

/// How often a plan, its subqueries included, reads tables that `is_counted` names.
pub(crate) fn num_scans(
    plan: &LogicalPlan,
    is_counted: impl Fn(&str) -> bool,
) -> datafusion::error::Result<usize> {
    let mut scans = 0;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            scans += usize::from(is_counted(scan.table_name.table()));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(scans)
}
