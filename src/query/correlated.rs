//! Look-ups whose condition DataFusion can't take apart: ranges, OR, equalities of expressions, single rows.
//!
//! DataFusion turns a scalar subquery into a join where the row at hand is compared with plain columns by
//! `=` below an aggregate. Everything else is joined here, so that it means what it says:
//!
//! ```text
//! keys     the different values of the outer columns that the subquery names
//! found    keys LEFT JOIN rows ON condition, aggregated for each key over the rows that were met
//! result   rows at hand LEFT JOIN found, by the outer columns; a NULL meets a NULL
//! ```
//!
//! A subquery without an aggregate gives its only row; more than one is an error of the row at hand. One
//! without a row is NULL, whatever the column's declaration says.

use std::sync::{Arc, LazyLock};

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, NullEquality};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::count::count_all;
use datafusion::functions_aggregate::first_last::first_value;
use datafusion::logical_expr::expr_rewriter::{NamePreserver, strip_outer_reference};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Cast, ColumnarValue, Expr, JoinType, LogicalPlan, LogicalPlanBuilder, Operator,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Subquery, Volatility, lit,
};

use crate::query::plan_words::in_sql;

/// The column that says of a row of the looked-up table that it was met.
const MET: &str = "__met";

/// Before the names of the columns that a look-up adds.
const LOOKUP: &str = "__lookup_";

/// Rewrites the scalar subqueries of `plan` that DataFusion would refuse or misread; its columns stay.
///
/// # Errors
/// Says in SQL's words what of a subquery can't be joined.
pub(crate) fn take_apart(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(rewritten(plan, &mut 0)?.data)
}

fn rewritten(plan: LogicalPlan, num_lookups: &mut usize) -> Result<Transformed<LogicalPlan>> {
    plan.transform_up(|node| match node {
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) => rewrite(node, num_lookups),
        _ => Ok(Transformed::no(node)),
    })
}

fn rewrite(node: LogicalPlan, num_lookups: &mut usize) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&node);
    let mut input = node.inputs()[0].clone();
    let columns = input.schema().columns();
    let mut is_changed = false;
    let mut exprs = Vec::new();
    for expr in node.expressions() {
        let saved = names.save(&expr);
        let rewritten = expr.transform_down(|expr| {
            let Expr::ScalarSubquery(subquery) = &expr else { return Ok(Transformed::no(expr)) };
            let plan = split_filters(subquery.subquery.as_ref().clone())?;
            let Transformed { data: plan, transformed: is_rewritten, .. } = rewritten(plan, num_lookups)?;
            let subquery = Subquery { subquery: Arc::new(plan), ..subquery.clone() };
            let (value, is_changed) = if is_known_to_datafusion(&subquery.subquery) {
                let can_be_null = subquery.subquery.schema().field(0).is_nullable();
                let is_missing_known = can_be_null || has_one_row(&subquery.subquery);
                let value = Expr::ScalarSubquery(subquery);
                match is_missing_known {
                    true => (value, is_rewritten),
                    false => (PERHAPS_NULL.call(vec![value]), true),
                }
            } else {
                *num_lookups += 1;
                let name = format!("{LOOKUP}{num_lookups}");
                input = attach(input.clone(), &subquery.subquery, &name)?;
                (Expr::Column(Column::new_unqualified(name)), true)
            };
            Ok(Transformed::new(value, is_changed, TreeNodeRecursion::Jump))
        })?;
        is_changed |= rewritten.transformed;
        exprs.push(saved.restore(rewritten.data));
    }
    if !is_changed {
        return Ok(Transformed::no(node));
    }
    let builder = LogicalPlanBuilder::from(input);
    let builder = match node {
        LogicalPlan::Projection(_) => builder.project(exprs)?,
        _ => match conjunction(exprs) {
            Some(predicate) => builder.filter(predicate)?.project(columns.into_iter().map(Expr::Column))?,
            None => builder,
        },
    };
    Ok(Transformed::yes(builder.build()?))
}

/// Conditions on the looked-up table alone stand below those that name the row at hand.
fn split_filters(plan: LogicalPlan) -> Result<LogicalPlan> {
    let split = |node| {
        let LogicalPlan::Filter(filter) = &node else { return Ok(Transformed::no(node)) };
        let conjuncts = split_conjunction(&filter.predicate).into_iter().cloned();
        let (outer, own): (Vec<Expr>, Vec<Expr>) = conjuncts.partition(Expr::contains_outer);
        match (conjunction(outer), conjunction(own)) {
            (Some(outer), Some(own)) => {
                let below = LogicalPlanBuilder::from(filter.input.as_ref().clone()).filter(own)?;
                Ok(Transformed::yes(below.filter(outer)?.build()?))
            }
            _ => Ok(Transformed::no(node)),
        }
    };
    plan.transform_up(split).data()
}

/// Whether DataFusion joins the subquery rightly by itself: it does not depend on the row at hand, or only
/// by `column = …` below an aggregate.
fn is_known_to_datafusion(plan: &LogicalPlan) -> bool {
    if plan.all_out_ref_exprs().is_empty() {
        return true;
    }
    let mut node = plan;
    loop {
        node = match node {
            LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_)
                if !node.contains_outer_reference() =>
            {
                node.inputs()[0]
            }
            LogicalPlan::Aggregate(_) if !node.contains_outer_reference() => break,
            _ => return false,
        }
    }
    let mut is_plain = true;
    // Nothing here fails.
    let _ = node.apply(|below| {
        let conjuncts: Vec<Expr> = match below {
            LogicalPlan::Filter(filter) => {
                split_conjunction(&filter.predicate).into_iter().cloned().collect()
            }
            other => other.expressions(),
        };
        let is_filter = matches!(below, LogicalPlan::Filter(_));
        is_plain &= conjuncts
            .iter()
            .filter(|conjunct| conjunct.contains_outer())
            .all(|conjunct| is_filter && is_plain_equality(conjunct));
        Ok(TreeNodeRecursion::Continue)
    });
    is_plain
}

fn is_plain_equality(conjunct: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = conjunct else { return false };
    let is_column = |expr: &Expr| match expr {
        Expr::Cast(Cast { expr, .. }) => matches!(expr.as_ref(), Expr::Column(_)),
        expr => matches!(expr, Expr::Column(_)),
    };
    (is_column(left) && !right.any_column_refs()) || (is_column(right) && !left.any_column_refs())
}

/// An aggregate of everything: there is a row even where nothing was met.
fn has_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => has_one_row(&projection.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        _ => false,
    }
}

/// `input` with the value of the subquery as a column `name`.
fn attach(input: LogicalPlan, subquery: &LogicalPlan, name: &str) -> Result<LogicalPlan> {
    let outer: Vec<Column> = subquery
        .all_out_ref_exprs()
        .into_iter()
        .filter_map(|expr| match expr {
            Expr::OuterReferenceColumn(_, column) => Some(column),
            _ => None,
        })
        .collect();
    if let Some(stranger) = outer.iter().find(|column| input.schema().index_of_column(column).is_err()) {
        return refuse(format!("a subquery within a subquery names {stranger} of the row at hand"));
    }
    let as_exprs = || outer.iter().cloned().map(Expr::Column);
    let keys = LogicalPlanBuilder::from(input.clone()).aggregate(as_exprs(), Vec::<Expr>::new())?.build()?;
    let Some(value) = subquery.schema().columns().into_iter().next().map(Expr::Column) else {
        return refuse("a subquery gives one value".to_owned());
    };
    let Found { plan, is_aggregated } = find(subquery, &Keys { plan: keys, columns: &outer })?;
    let found = LogicalPlanBuilder::from(plan);
    let (found, value) = if is_aggregated {
        (found, value)
    } else {
        let (only, count) = (format!("{name}_only"), format!("{name}_count"));
        let first = first_value(value, Vec::new()).alias(&only);
        let found = found.aggregate(as_exprs(), [first, count_all().alias(&count)])?;
        let column = |name| Expr::Column(Column::new_unqualified(name));
        (found, AT_MOST_ONE.call(vec![column(only), column(count)]))
    };
    let key_names: Vec<String> = (0..outer.len()).map(|number| format!("{name}_key_{number}")).collect();
    let renamed = as_exprs().zip(&key_names).map(|(column, name)| column.alias(name));
    let found = found.project(std::iter::once(value.alias(name)).chain(renamed))?.build()?;
    let key_columns: Vec<Column> = key_names.into_iter().map(Column::new_unqualified).collect();
    LogicalPlanBuilder::from(input)
        .join_detailed(found, JoinType::Left, (outer, key_columns), None, NullEquality::NullEqualsNull)?
        .build()
}

/// The different values of the outer columns.
struct Keys<'a> {
    plan: LogicalPlan,
    columns: &'a [Column],
}

/// A part of a subquery for all keys at once: its own columns, and those of the keys.
struct Found {
    plan: LogicalPlan,
    /// It has one row at most for each key.
    is_aggregated: bool,
}

fn find(plan: &LogicalPlan, keys: &Keys<'_>) -> Result<Found> {
    let key_exprs = || keys.columns.iter().cloned().map(Expr::Column);
    if let Some((conditions, rows)) = correlated_rows(plan) {
        let plan = meet(keys, rows.clone(), conditions, JoinType::Inner)?;
        return Ok(Found { plan, is_aggregated: false });
    }
    match plan {
        LogicalPlan::Projection(projection) => {
            let found = find(&projection.input, keys)?;
            let names = NamePreserver::new(plan);
            let exprs = projection.expr.iter().map(|expr| {
                let saved = names.save(expr);
                saved.restore(strip_outer_reference(expr.clone()))
            });
            let plan = LogicalPlanBuilder::from(found.plan).project(exprs.chain(key_exprs()))?.build()?;
            Ok(Found { plan, ..found })
        }
        LogicalPlan::Filter(filter) => {
            let found = find(&filter.input, keys)?;
            let predicate = strip_outer_reference(filter.predicate.clone());
            Ok(Found { plan: LogicalPlanBuilder::from(found.plan).filter(predicate)?.build()?, ..found })
        }
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => {
            let Some((conditions, rows)) = correlated_rows(&aggregate.input) else {
                return refuse_below(&aggregate.input);
            };
            let met = rows.schema().columns().into_iter().map(Expr::Column).chain([lit(true).alias(MET)]);
            let rows = LogicalPlanBuilder::from(rows.clone()).project(met)?.build()?;
            let met = meet(keys, rows, conditions, JoinType::Left)?;
            let plan =
                LogicalPlanBuilder::from(met).aggregate(key_exprs(), of_met_rows(aggregate)?)?.build()?;
            Ok(Found { plan, is_aggregated: true })
        }
        other => refuse_below(other),
    }
}

/// Conditions that name the row at hand, directly above rows that do not depend on it.
fn correlated_rows(plan: &LogicalPlan) -> Option<(Vec<Expr>, &LogicalPlan)> {
    let (mut conditions, mut node) = (Vec::new(), plan);
    while !node.all_out_ref_exprs().is_empty() {
        let LogicalPlan::Filter(filter) = node else { return None };
        conditions
            .extend(split_conjunction(&filter.predicate).into_iter().cloned().map(strip_outer_reference));
        node = &filter.input;
    }
    Some((conditions, node))
}

/// The aggregates, over the rows that were met only: those of nothing where there are none.
fn of_met_rows(aggregate: &Aggregate) -> Result<Vec<Expr>> {
    let of_met = |expr: &Expr| {
        let name = expr.schema_name().to_string();
        let expr = strip_outer_reference(expr.clone()).transform_up(|expr| {
            let Expr::AggregateFunction(mut function) = expr else { return Ok(Transformed::no(expr)) };
            let met = Expr::Column(Column::new_unqualified(MET));
            let filter = match function.params.filter.take() {
                Some(filter) => filter.and(met),
                None => met,
            };
            function.params.filter = Some(Box::new(filter));
            Ok(Transformed::yes(Expr::AggregateFunction(function)))
        });
        Ok(expr.data()?.unalias().alias(name))
    };
    aggregate.aggr_expr.iter().map(of_met).collect()
}

/// Joins the keys with rows; equalities between the two become keys of a hash join.
fn meet(
    keys: &Keys<'_>,
    rows: LogicalPlan,
    conditions: Vec<Expr>,
    join_type: JoinType,
) -> Result<LogicalPlan> {
    let is_of = |expr: &Expr, plan: &LogicalPlan| {
        let columns = expr.column_refs();
        !columns.is_empty() && columns.iter().all(|column| plan.schema().index_of_column(column).is_ok())
    };
    let (mut left_keys, mut right_keys, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for condition in conditions {
        match &condition {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right })
                if is_of(left, &keys.plan) && is_of(right, &rows) =>
            {
                left_keys.push(left.as_ref().clone());
                right_keys.push(right.as_ref().clone());
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right })
                if is_of(right, &keys.plan) && is_of(left, &rows) =>
            {
                left_keys.push(right.as_ref().clone());
                right_keys.push(left.as_ref().clone());
            }
            _ => others.push(condition),
        }
    }
    let builder = LogicalPlanBuilder::from(keys.plan.clone());
    let builder = if left_keys.is_empty() {
        builder.join_on(rows, join_type, [conjunction(others).unwrap_or_else(|| lit(true))])?
    } else {
        builder.join_with_expr_keys(rows, join_type, (left_keys, right_keys), conjunction(others))?
    };
    builder.build()
}

fn refuse<T>(problem: String) -> Result<T> {
    Err(DataFusionError::Plan(problem))
}

fn refuse_below<T>(node: &LogicalPlan) -> Result<T> {
    let name = match node {
        LogicalPlan::Aggregate(_) => "GROUP BY".to_owned(),
        LogicalPlan::SubqueryAlias(_) => "a derived table".to_owned(),
        other => in_sql(other).0,
    };
    refuse(format!("a subquery that depends on the row at hand can't use {name}"))
}

static PERHAPS_NULL: LazyLock<ScalarUDF> = LazyLock::new(|| ScalarUDF::from(PerhapsNull(any(1))));
static AT_MOST_ONE: LazyLock<ScalarUDF> = LazyLock::new(|| ScalarUDF::from(AtMostOne(any(2))));

fn any(num_arguments: usize) -> Signature {
    Signature::any(num_arguments, Volatility::Immutable)
}

/// Its argument; DataFusion believes that a subquery over a NOT NULL column is never NULL.
#[derive(Debug, PartialEq, Eq, Hash)]
struct PerhapsNull(Signature);

impl ScalarUDFImpl for PerhapsNull {
    fn name(&self) -> &str {
        "perhaps_null"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(args.args[0].clone())
    }
}

/// Its first argument, unless the second counts more than one row.
#[derive(Debug, PartialEq, Eq, Hash)]
struct AtMostOne(Signature);

impl ScalarUDFImpl for AtMostOne {
    fn name(&self) -> &str {
        "at_most_one"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let counts = args.args[1].to_array(args.number_rows)?;
        match counts.as_primitive::<Int64Type>().iter().any(|count| count > Some(1)) {
            true => Err(DataFusionError::Execution(
                "more than one row returned by a subquery used as an expression".to_owned(),
            )),
            false => Ok(args.args[0].clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Decimal128Array, Int32Array, RecordBatch, StringArray};
    use arrow::datatypes::{Field, Schema};
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    use datafusion::datasource::MemTable;
    use datafusion::execution::SessionState;
    use datafusion::sql::parser::{DFParserBuilder, Statement};

    use super::*;
    use crate::query::scalar::{Scalars, compile};
    use crate::query::session::{Prepared, confined, plan_statement};
    use crate::query::sql_file::SqlFile;

    const NUMBERS: [Option<i32>; 8] = [Some(1), Some(2), None, Some(2), Some(5), Some(-3), Some(1), Some(0)];
    const WORDS: [Option<&str>; 8] =
        [Some("a"), Some("A"), Some("b"), None, Some("B"), Some("a"), Some("c"), Some("")];
    const MONEY: [Option<i128>; 8] =
        [Some(150), Some(-5), Some(200), Some(0), None, Some(150), Some(999), Some(200)];

    /// `num_rows` rows of the columns n, w, m, the `shift`-th first.
    fn table(num_rows: usize, shift: usize) -> Arc<MemTable> {
        let at = |row: usize| (row * 3 + shift) % 8;
        let rows = || (0..num_rows).map(at);
        let money = Decimal128Array::from(rows().map(|at| MONEY[at]).collect::<Vec<_>>());
        let columns: Vec<ArrayRef> = vec![
            Arc::new((0..num_rows).map(|row| Some(row as i32)).collect::<Int32Array>()),
            Arc::new(rows().map(|at| NUMBERS[(at + 1) % 8]).collect::<Int32Array>()),
            Arc::new(rows().map(|at| WORDS[at]).collect::<StringArray>()),
            Arc::new(money.with_precision_and_scale(10, 2).expect("fits")),
        ];
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int32, false),
            Field::new("n", DataType::Int32, true),
            Field::new("w", DataType::Utf8, true),
            Field::new("m", DataType::Decimal128(10, 2), true),
        ]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).expect("a batch");
        Arc::new(MemTable::try_new(schema, vec![vec![batch]]).expect("a table"))
    }

    /// The values of the first column in the order of the last; `None` where the query fails.
    fn values(state: &SessionState, sql: &str) -> Option<Vec<String>> {
        let mut parser = DFParserBuilder::new(sql).build().expect("parses");
        let Statement::Statement(statement) = parser.parse_statement().expect("a statement") else {
            panic!("{sql}")
        };
        let plan = plan_statement(state, Statement::Statement(statement)).expect(sql);
        let file = SqlFile { path: "test.sql".to_owned(), text: sql.to_owned() };
        let Scalars { plan, now, .. } = compile(&file, plan).expect(sql);
        let plan = take_apart(plan).expect(sql);
        let prepared = Prepared::try_new(state, &plan, now).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let rows =
            futures::executor::block_on(prepared.run(RecordBatch::new_empty(Arc::new(Schema::empty())), 0))
                .ok()?;
        let order = arrow::compute::sort_to_indices(rows.column(1), None, None).expect("sorted");
        let rows = arrow::compute::take_record_batch(&rows, &order).expect("taken");
        let format = FormatOptions::default().with_null("NULL");
        let formatter = ArrayFormatter::try_new(rows.column(0).as_ref(), &format).expect("can be shown");
        Some((0..rows.num_rows()).map(|row| formatter.value(row).to_string()).collect())
    }

    /// The copies of a physical plan share the results of its scalar subqueries.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn runs_of_one_query_side_by_side_know_nothing_of_each_other() {
        let state = confined(vec![("t".to_owned(), table(8, 0) as _), ("r".to_owned(), table(7, 2) as _)])
            .expect("made");
        let sql = "SELECT n + (SELECT max(r.n) FROM r) FROM t";
        let mut parser = DFParserBuilder::new(sql).build().expect("parses");
        let plan = plan_statement(&state, parser.parse_statement().expect("a statement")).expect(sql);
        let file = SqlFile { path: "test.sql".to_owned(), text: sql.to_owned() };
        let Scalars { plan, now, .. } = compile(&file, plan).expect(sql);
        let prepared = Arc::new(Prepared::try_new(&state, &plan, now).expect(sql));
        assert!(prepared.describe().contains("Subquery"), "{}", prepared.describe());
        let run = || {
            let prepared = Arc::clone(&prepared);
            tokio::spawn(async move {
                for _ in 0..200 {
                    let nothing = RecordBatch::new_empty(Arc::new(Schema::empty()));
                    assert_eq!(prepared.run(nothing, 0).await.expect("runs").num_rows(), 8);
                }
            })
        };
        for done in futures::future::join_all([run(), run(), run(), run()]).await {
            done.expect("every run succeeds");
        }
    }

    /// Each look-up says of a row what the same query says with the row's values written into it.
    #[test]
    fn a_lookup_says_what_the_query_says_with_the_values_of_the_row() {
        let state = confined(vec![("t".to_owned(), table(8, 0) as _), ("r".to_owned(), table(7, 2) as _)])
            .expect("made");
        let conditions = [
            "r.n = v.n",
            "lower(r.w) = lower(v.w)",
            "r.n + 1 = v.n AND r.m > 0",
            "r.m <= v.m",
            "r.m <= v.m AND v.m < r.m + 2",
            "r.n BETWEEN v.n - 1 AND v.n + 1 AND upper(r.w) = upper(v.w)",
            "r.n = v.n OR r.w = v.w",
            "r.n <> v.n",
            "(r.n IS NOT DISTINCT FROM v.n)",
            "r.w IS NULL OR v.w IS NULL",
            "NOT (r.n = v.n)",
            "v.n > 1",
            "r.n = v.n AND v.m > 1",
            "CASE WHEN v.n > 1 THEN r.n > 1 ELSE r.n < 1 END",
            "r.n IN (v.n, v.n + 1)",
            "r.w = v.w AND r.n > (SELECT min(s.n) FROM r AS s WHERE s.w = r.w)",
        ];
        let values_of = [
            "count(*)",
            "count(r.n)",
            "count(DISTINCT r.w)",
            "sum(r.m)",
            "max(r.w)",
            "min(r.n) + count(*)",
            "coalesce(sum(r.n), -1)",
            "count(*) FILTER (WHERE r.n > 1)",
            "sum(r.n + v.n)",
            "count(*) * v.n",
            "r.n",
            "7",
        ];
        let keys = values(&state, "SELECT v.n, v.id FROM t AS v").expect("runs");
        let words = values(&state, "SELECT v.w, v.id FROM t AS v").expect("runs");
        let money = values(&state, "SELECT v.m, v.id FROM t AS v").expect("runs");
        let (mut num_compared, mut num_failing) = (0, 0);
        for condition in conditions {
            for value in values_of {
                for having in ["", " HAVING count(*) > 1"] {
                    if !having.is_empty() && !value.contains('(') {
                        continue;
                    }
                    let lookup = format!("(SELECT {value} FROM r WHERE {condition}{having})");
                    let alone = |row: usize| {
                        let written = lookup
                            .replace("v.n", &format!("CAST({} AS INT)", keys[row]))
                            .replace("v.m", &format!("CAST({} AS DECIMAL(10, 2))", money[row]))
                            .replace(
                                "v.w",
                                &match words[row].as_str() {
                                    "NULL" => "CAST(NULL AS VARCHAR)".to_owned(),
                                    word => format!("'{word}'"),
                                },
                            );
                        values(&state, &format!("SELECT {written} AS s, 1 AS id"))
                    };
                    let expected: Option<Vec<String>> =
                        (0..8).map(|row| Some(alone(row)?.remove(0))).collect();
                    let sql = format!("SELECT {lookup} AS s, v.id FROM t AS v");
                    let came = values(&state, &sql);
                    num_failing += usize::from(expected.is_none());
                    num_compared += 1;
                    assert_eq!(came, expected, "{sql}");
                    if let Some(expected) = expected {
                        let is_null: Vec<String> =
                            expected.iter().map(|text| (text == "NULL").to_string()).collect();
                        let sql = format!("SELECT {lookup} IS NULL AS s, v.id FROM t AS v");
                        assert_eq!(values(&state, &sql), Some(is_null), "{sql}");
                    }
                }
            }
        }
        assert!(
            num_compared > 300 && num_failing < 40,
            "{num_compared} compared, {num_failing} of them fail"
        );
    }
}
