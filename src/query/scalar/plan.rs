//! All expressions of a plan compiled, each into one function; what stays DataFusion's is relational.
//!
//! ```text
//! Projection: round(amount * 1.19, 2) = paid AS holds   →  compiled(amount, paid) AS holds
//! Filter:     _valid AND amount > 0                     →  _valid AND compiled(amount)
//! Join:       lower(b.k) = lower(v.k) AND b.lo <= v.a   →  compiled(b.k) = compiled(v.k) AND compiled(b.lo, v.a)
//! ```
//!
//! A column alone and a constant stay what they are. An equality between two sides stays an equality, so
//! that DataFusion finds the keys of joins and of correlated subqueries; its sides have one type already.

use std::sync::Arc;

use arrow::datatypes::TimeUnit;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::{AggregateFunction, InSubquery, Sort as SortExpr};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, ExprSchemable, Filter, Join, LogicalPlan, LogicalPlanBuilder, Operator,
    Projection, Sort, Subquery,
};

use super::bind::Binder;
use super::coerce::coerce;
use super::compiled::Compiled;
use super::node::{Kind, Node, Now};
use super::note::Note;
use super::numeric::{MAX_QUOTIENT_SCALE, Numeric};
use super::refusal::{Refusal, refuse};
use super::types::{Digits, MAX_DIGITS, SqlType};
use super::value::{Value, float};
use crate::error::{Error, Result};
use crate::query::sql_file::{SqlFile, refuse as refuse_file, refuse_at, sql_error};

/// A plan whose expressions are compiled.
#[derive(Clone, Debug)]
pub(crate) struct Scalars {
    pub(crate) plan: LogicalPlan,
    /// The time that `now()` gives; to be set before each run.
    pub(crate) now: Now,
    /// What a reader of the SQL should know; each once.
    pub(crate) notes: Vec<Note>,
}

/// Compiles all expressions of a plan, those of its subqueries too.
///
/// # Errors
/// [`Config`](crate::error::ErrorKind::Config) names what PostgreSQL would refuse, or would compute otherwise.
pub(crate) fn compile(file: &SqlFile, plan: LogicalPlan) -> Result<Scalars> {
    let now = Now::default();
    let mut notes = Vec::new();
    let mut refusal = None;
    let compiled = plan.transform_up_with_subqueries(|node| {
        let mut compiler = Compiler { now: &now, notes: &mut notes };
        match compiler.node(node) {
            Ok(node) => Ok(Transformed::yes(node)),
            Err(Failure::Refused(refused)) => {
                refusal = Some(refused);
                Err(DataFusionError::Plan("an expression was refused".to_owned()))
            }
            Err(Failure::Planning(error)) => Err(error),
        }
    });
    if let Some(refusal) = refusal {
        return Err(error_of(file, refusal));
    }
    let plan = compiled.map_err(|error| sql_error(file, &error))?.data;
    notes.sort();
    notes.dedup();
    Ok(Scalars { plan, now, notes })
}

/// Compiles an expression over `schema`, as [`compile`] does those of a plan.
///
/// # Errors
/// As [`compile`].
pub(crate) fn compile_expr(file: &SqlFile, expr: &Expr, schema: &DFSchema) -> Result<Expr> {
    let now = Now::default();
    let mut compiler = Compiler { now: &now, notes: &mut Vec::new() };
    compiler.value(expr, schema).map_err(|failure| failure.in_file(file))
}

/// Compiles the sides of an equality into one type in which equal values have equal bytes (but for the two
/// zeros and the NaNs of a DOUBLE); `None` if there is no such type.
///
/// # Errors
/// As [`compile`].
pub(crate) fn compile_key(
    file: &SqlFile,
    [left, right]: [&Expr; 2],
    schema: &DFSchema,
) -> Result<Option<[Expr; 2]>> {
    let now = Now::default();
    let mut compiler = Compiler { now: &now, notes: &mut Vec::new() };
    let sides =
        compiler.equality(left, right, schema, Floats::Too).map_err(|failure| failure.in_file(file))?;
    Ok(sides.map(|(left, right)| [left, right]))
}

/// Whether an equality of floating point numbers stays one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Floats {
    /// DataFusion compares their bits, which two zeros differ in.
    Not,
    Too,
}

/// A refusal that points at its place in the file.
fn error_of(file: &SqlFile, refusal: Refusal) -> Error {
    let Refusal { message, word, advice } = refusal;
    let error = match word.filter(|word| !word.is_empty()) {
        Some(word) => refuse_at(file, &word, message),
        None => refuse_file(file, message),
    };
    match advice {
        Some(advice) => error.advise(advice),
        None => error,
    }
}

/// Digits of which a sum of ten thousand million rows has no more than 38.
const MAX_SUMMED_DIGITS: u32 = 28;

enum Failure {
    Refused(Refusal),
    Planning(DataFusionError),
}

impl Failure {
    fn in_file(self, file: &SqlFile) -> Error {
        match self {
            Self::Refused(refusal) => error_of(file, refusal),
            Self::Planning(error) => sql_error(file, &error),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<DataFusionError> for Failure {
    fn from(error: DataFusionError) -> Self {
        Self::Planning(error)
    }
}

struct Compiler<'c> {
    now: &'c Now,
    notes: &'c mut Vec<Note>,
}

impl Compiler<'_> {
    fn node(&mut self, node: LogicalPlan) -> Result<LogicalPlan, Failure> {
        Ok(match node {
            LogicalPlan::Projection(Projection { expr, input, .. }) => {
                let exprs = expr
                    .iter()
                    .map(|expr| self.named(expr, input.schema()))
                    .collect::<Result<Vec<_>, _>>()?;
                LogicalPlan::Projection(Projection::try_new(exprs, input)?)
            }
            LogicalPlan::Filter(Filter { predicate, input, .. }) => {
                let predicate = self.predicate(predicate, input.schema())?;
                LogicalPlan::Filter(Filter::try_new(predicate, input)?)
            }
            LogicalPlan::Join(join) => {
                let schema = join.left.schema().join(join.right.schema())?;
                let filter = join.filter.clone().map(|filter| self.predicate(filter, &schema)).transpose()?;
                LogicalPlan::Join(Join { filter, ..join }).recompute_schema()?
            }
            LogicalPlan::Aggregate(Aggregate { input, group_expr, aggr_expr, .. }) => {
                let schema = input.schema();
                let groups =
                    group_expr.iter().map(|expr| self.named(expr, schema)).collect::<Result<Vec<_>, _>>()?;
                let values = aggr_expr
                    .iter()
                    .map(|expr| self.aggregate(expr, schema))
                    .collect::<Result<Vec<_>, _>>()?;
                LogicalPlan::Aggregate(Aggregate::try_new(input, groups, values)?)
            }
            LogicalPlan::Sort(Sort { expr, input, fetch }) => {
                let schema = Arc::clone(input.schema());
                let expr = expr
                    .into_iter()
                    .map(|sort| Ok(SortExpr { expr: self.sort_key(&sort.expr, &schema)?, ..sort }))
                    .collect::<Result<Vec<_>, Failure>>()?;
                LogicalPlan::Sort(Sort { expr, input, fetch })
            }
            // What DataFusion would compute by itself, in its own arithmetic.
            LogicalPlan::Window(_) => {
                return Err(refuse("a window function can't be used here")
                    .at("OVER")
                    .advise("write a subquery with an aggregate")
                    .into());
            }
            LogicalPlan::Values(ref values) if !values.values.iter().flatten().all(is_settled) => {
                return Err(refuse("VALUES with an expression")
                    .at("VALUES")
                    .advise("write constants")
                    .into());
            }
            other => other.recompute_schema()?,
        })
    }

    /// An expression of a select list, under the name that it had.
    fn named(&mut self, expr: &Expr, schema: &DFSchema) -> Result<Expr, Failure> {
        match expr {
            Expr::Alias(alias) => {
                let value = self.value(&alias.expr, schema)?;
                Ok(Expr::Alias(datafusion::logical_expr::expr::Alias {
                    expr: Box::new(value),
                    ..alias.clone()
                }))
            }
            _ => {
                let value = self.value(expr, schema)?;
                Ok(if value == *expr { value } else { value.alias(expr.schema_name().to_string()) })
            }
        }
    }

    /// An expression as a column of a batch.
    fn value(&mut self, expr: &Expr, schema: &DFSchema) -> Result<Expr, Failure> {
        if is_settled(expr) {
            return Ok(expr.clone());
        }
        let (node, arguments) = self.bind(expr, schema)?;
        Ok(lift(expr, node, arguments, schema)?)
    }

    fn bind(&mut self, expr: &Expr, schema: &DFSchema) -> Result<(Node, Vec<Expr>), Refusal> {
        let mut binder = Binder::new(schema, self.now);
        let node = binder.bind(expr)?;
        self.notes.append(&mut binder.notes);
        Ok((node, binder.arguments))
    }

    fn aggregate(&mut self, expr: &Expr, schema: &DFSchema) -> Result<Expr, Failure> {
        let name = expr.schema_name().to_string();
        let Expr::AggregateFunction(function) = expr else {
            return match expr {
                Expr::Alias(alias) => Ok(self.aggregate(&alias.expr, schema)?.alias(alias.name.clone())),
                other => Ok(other.clone()),
            };
        };
        let AggregateFunction { func, mut params } = function.clone();
        let is_sum = func.name() == "sum";
        for argument in &mut params.args {
            let (node, arguments) = match is_settled(argument) && !matches!(argument, Expr::Column(_)) {
                true => continue,
                false => self.bind(argument, schema)?,
            };
            let node = match node.sql_type.clone() {
                // A sum of BIGINT is exact beyond BIGINT in PostgreSQL.
                SqlType::Int(8) if is_sum => {
                    coerce(node, &SqlType::Numeric(Some(Digits { whole: 19, scale: 0 })))?
                }
                // DataFusion adds within 38 digits, and goes round beyond them.
                SqlType::Numeric(Some(digits))
                    if is_sum && digits.whole + digits.scale > MAX_SUMMED_DIGITS =>
                {
                    return Err(refuse(format!(
                        "sum of {} may have more than {MAX_DIGITS} digits",
                        node.sql_type
                    ))
                    .at("sum")
                    .advise(format!("CAST its argument to at most {MAX_SUMMED_DIGITS} digits"))
                    .into());
                }
                SqlType::Real if is_sum => {
                    return Err(refuse("sum of REAL").at("sum").advise("CAST its argument to DOUBLE").into());
                }
                SqlType::Real | SqlType::Double => one_zero(node),
                _ => node,
            };
            *argument = lift(argument, node, arguments, schema)?;
        }
        if let Some(filter) = params.filter.take() {
            params.filter = Some(Box::new(self.predicate(*filter, schema)?));
        }
        for sort in &mut params.order_by {
            sort.expr = self.sort_key(&sort.expr, schema)?;
        }
        let compiled = Expr::AggregateFunction(AggregateFunction { func, params });
        Ok(if compiled == *expr { compiled } else { compiled.alias(name) })
    }

    fn sort_key(&mut self, expr: &Expr, schema: &DFSchema) -> Result<Expr, Failure> {
        let (node, arguments) = self.bind(expr, schema)?;
        let node = match node.sql_type {
            SqlType::Real | SqlType::Double => one_zero(node),
            _ => node,
        };
        Ok(lift(expr, node, arguments, schema)?)
    }

    /// A condition, each of its conjuncts by itself.
    fn predicate(&mut self, predicate: Expr, schema: &DFSchema) -> Result<Expr, Failure> {
        let terms = split_conjunction_owned(predicate)
            .into_iter()
            .map(|term| self.conjunct(term, schema))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(conjunction(terms).unwrap_or_else(|| datafusion::logical_expr::lit(true)))
    }

    fn conjunct(&mut self, term: Expr, schema: &DFSchema) -> Result<Expr, Failure> {
        match &term {
            Expr::Not(inner) if matches!(inner.as_ref(), Expr::Exists(_) | Expr::InSubquery(_)) => {
                let inner = self.conjunct(inner.as_ref().clone(), schema)?;
                return Ok(Expr::Not(Box::new(inner)));
            }
            Expr::Exists(_) => return Ok(term),
            Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                return self.within(expr, subquery, *negated, schema);
            }
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: op @ (Operator::Eq | Operator::IsNotDistinctFrom),
                right,
            }) => {
                if let Some((left, right)) = self.equality(left, right, schema, Floats::Not)? {
                    return Ok(Expr::BinaryExpr(BinaryExpr {
                        left: Box::new(left),
                        op: *op,
                        right: Box::new(right),
                    }));
                }
            }
            _ => {}
        }
        if is_settled(&term) && !matches!(term, Expr::Literal(..)) {
            return Ok(term);
        }
        let mut binder = Binder::new(schema, self.now);
        let node = binder.condition(&term)?;
        self.notes.append(&mut binder.notes);
        Ok(lift(&term, node, binder.arguments, schema)?)
    }

    /// `value IN (SELECT …)`, both in one type.
    fn within(
        &mut self,
        value: &Expr,
        subquery: &Subquery,
        negated: bool,
        schema: &DFSchema,
    ) -> Result<Expr, Failure> {
        let rows = subquery.subquery.as_ref();
        let Some(column) = rows.schema().columns().into_iter().next().map(Expr::Column) else {
            return Err(refuse("a subquery gives one value").at("IN").into());
        };
        let (node, arguments) = self.bind(value, schema)?;
        let (found, found_arguments) = self.bind(&column, rows.schema())?;
        let Some(common) =
            node.sql_type.compared(&found.sql_type).filter(|common| common.to_arrow().is_some())
        else {
            return Err(refuse(format!("{} IN (SELECT {})", node.sql_type, found.sql_type))
                .at("IN")
                .advise("CAST one side to the type of the other")
                .into());
        };
        let found = lift(&column, coerce(found, &common)?, found_arguments, rows.schema())?;
        let subquery = match found == column {
            true => subquery.clone(),
            false => {
                let name = column.schema_name().to_string();
                let rows = LogicalPlanBuilder::from(rows.clone()).project([found.alias(name)])?.build()?;
                Subquery { subquery: Arc::new(rows), ..subquery.clone() }
            }
        };
        let value = lift(value, coerce(node, &common)?, arguments, schema)?;
        Ok(Expr::InSubquery(InSubquery { expr: Box::new(value), subquery, negated }))
    }

    /// The sides of an equality in one type, where equal values have equal bytes.
    fn equality(
        &mut self,
        left: &Expr,
        right: &Expr,
        schema: &DFSchema,
        floats: Floats,
    ) -> Result<Option<(Expr, Expr)>, Failure> {
        let (one, one_arguments) = self.bind(left, schema)?;
        let (other, other_arguments) = self.bind(right, schema)?;
        let Some(common) = one.sql_type.compared(&other.sql_type) else { return Ok(None) };
        let units: Vec<Option<TimeUnit>> = [&one.sql_type, &other.sql_type, &common]
            .map(|sql_type| if let SqlType::Timestamp(unit) = sql_type { Some(*unit) } else { None })
            .into();
        let is_plain = match &common {
            SqlType::Bool | SqlType::Int(_) | SqlType::Text | SqlType::Date | SqlType::Bytes => true,
            SqlType::Real | SqlType::Double => floats == Floats::Too,
            SqlType::Numeric(_) => common.to_arrow().is_some(),
            // A unit that is finer may not reach as far: those are compared, not converted.
            SqlType::Timestamp(_) => units.iter().all(|unit| *unit == units[0]),
            _ => false,
        };
        if one_arguments.is_empty() || other_arguments.is_empty() {
            return Ok(None);
        }
        // Times of different reach meet as numbers, which both are.
        if !is_plain && matches!(common, SqlType::Timestamp(_)) {
            let one = lift(left, as_nanos(one), one_arguments, schema)?;
            let other = lift(right, as_nanos(other), other_arguments, schema)?;
            return Ok(Some((one, other)));
        }
        if !is_plain {
            return Ok(None);
        }
        let one = lift(left, coerce(one, &common)?, one_arguments, schema)?;
        let other = lift(right, coerce(other, &common)?, other_arguments, schema)?;
        Ok(Some((one, other)))
    }
}

/// −0 as 0: DataFusion counts and sorts doubles by their bits.
fn one_zero(node: Node) -> Node {
    Node::strict(node.sql_type.clone(), vec![node], |values| Ok(Value::Double(float(&values[0]) + 0.0)))
}

/// A date or time as nanoseconds since 1970.
fn as_nanos(node: Node) -> Node {
    let nanos = SqlType::Numeric(Some(Digits { whole: MAX_DIGITS, scale: 0 }));
    Node::strict(nanos, vec![node], |values| Ok(Value::Numeric(Numeric::new(values[0].nanos(), 0))))
}

/// What is no computation: a column, a constant, a compiled expression.
fn is_settled(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) | Expr::OuterReferenceColumn(..) | Expr::Literal(..) | Expr::ScalarSubquery(_) => {
            true
        }
        Expr::ScalarFunction(function) => function.func.inner().is::<Compiled>(),
        Expr::Unnest(_) | Expr::WindowFunction(_) | Expr::AggregateFunction(_) => true,
        _ => false,
    }
}

/// The call that computes `node` into a column.
fn lift(expr: &Expr, node: Node, arguments: Vec<Expr>, schema: &DFSchema) -> Result<Expr, Refusal> {
    let node = match (&node.sql_type, node.as_literal()) {
        (SqlType::Unknown, Some(Value::Text(_))) => coerce(node, &SqlType::Text)?,
        _ => node,
    };
    let Some(result) = node.sql_type.to_arrow() else { return Err(too_long(expr, &node.sql_type)) };
    if let (Kind::Argument(_), [argument]) = (&node.kind, arguments.as_slice())
        && argument.get_type(schema).is_ok_and(|data_type| data_type == result)
    {
        return Ok(argument.clone());
    }
    // A column that is converted needs another name than the column's own.
    let text = match is_settled(expr) {
        true => format!("CAST({expr} AS {})", node.sql_type),
        false => expr.to_string(),
    };
    Ok(Compiled::call(expr.clone(), text, node, result, arguments))
}

fn too_long(expr: &Expr, sql_type: &SqlType) -> Refusal {
    let text = expr.human_display().to_string();
    let word = expr.column_refs().iter().map(|column| column.name.clone()).min().unwrap_or_default();
    let refusal = match sql_type {
        SqlType::Numeric(Some(Digits { whole, scale })) if *scale < MAX_QUOTIENT_SCALE => {
            refuse(format!("\"{text}\" can have {} digits, a DECIMAL has {MAX_DIGITS}", whole + scale))
        }
        SqlType::Numeric(_) => refuse(format!(
            "\"{text}\" has as many digits as its values need, and a field needs a fixed number"
        )),
        other => refuse(format!("\"{text}\" is {other}, which no field can hold")),
    };
    refusal.at(&word).advise("write round(…, 2), or CAST(… AS DECIMAL(18, 2))")
}
