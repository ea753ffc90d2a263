//! Names and types are resolved: an expression of DataFusion becomes a [`Node`], by PostgreSQL's rules.
//!
//! The types of both sides decide what an operator means, never a rewriting: a DOUBLE beside a number
//! literal compares as DOUBLE, a DECIMAL beside a whole number exactly, a quoted literal takes the type of
//! what it stands beside, a text never becomes a number unasked. What PostgreSQL refuses is refused.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{Case, InList, Like, ScalarFunction};
use datafusion::logical_expr::{Between, BinaryExpr, Cast, Expr, ExprSchemable, Operator, TryCast};

use super::arithmetic;
use super::cast::{drops_fraction, is_allowed, parse};
use super::coerce::{
    coerce, common_of, comparable, compare, exact_literal, fold, interval_literal, literal_text,
};
use super::functions::{self, call};
use super::node::{Comparison, Kind, Node, Now, OnFault, Test};
use super::note::Note;
use super::numeric::Numeric;
use super::pattern;
use super::refusal::{Refusal, refuse};
use super::text::{concatenate, text};
use super::types::SqlType;
use super::value::{Value, str_of};

/// Resolves expressions over one input.
pub(crate) struct Binder<'s> {
    schema: &'s DFSchema,
    now: &'s Now,
    /// What the resolved expression takes from the row: columns and subqueries.
    pub(crate) arguments: Vec<Expr>,
    pub(crate) notes: Vec<Note>,
}

impl<'s> Binder<'s> {
    pub(crate) fn new(schema: &'s DFSchema, now: &'s Now) -> Self {
        Self { schema, now, arguments: Vec::new(), notes: Vec::new() }
    }

    /// The expression with its types; what is constant is computed.
    pub(crate) fn bind(&mut self, expr: &Expr) -> Result<Node, Refusal> {
        fold(self.resolve(expr)?).map_err(|refusal| refusal.at(&last_literal(expr)))
    }

    fn resolve(&mut self, expr: &Expr) -> Result<Node, Refusal> {
        match expr {
            Expr::Alias(alias) => self.bind(&alias.expr),
            Expr::Column(_) | Expr::OuterReferenceColumn(..) | Expr::ScalarSubquery(_) => self.argument(expr),
            Expr::Literal(value, _) => literal(value),
            Expr::BinaryExpr(BinaryExpr { op: op @ (Operator::And | Operator::Or), .. }) => {
                self.chain(*op, expr)
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => self.binary(left, *op, right),
            Expr::Not(term) => self.condition(term).map(not),
            Expr::IsNull(term) => self.is(term, Test::Null),
            Expr::IsNotNull(term) => self.is(term, Test::NotNull),
            Expr::IsTrue(term) => self.is(term, Test::True),
            Expr::IsNotTrue(term) => self.is(term, Test::NotTrue),
            Expr::IsFalse(term) => self.is(term, Test::False),
            Expr::IsNotFalse(term) => self.is(term, Test::NotFalse),
            Expr::IsUnknown(term) => Ok(self.condition(term)?.is(Test::Null)),
            Expr::IsNotUnknown(term) => Ok(self.condition(term)?.is(Test::NotNull)),
            Expr::Negative(term) => arithmetic::negate(self.bind(term)?),
            Expr::Between(between) => self.between(between),
            Expr::Like(like) => self.like(like),
            Expr::SimilarTo(like) => self.similar(like),
            Expr::Case(case) => self.case(case),
            Expr::Cast(Cast { expr, field }) => self.cast(expr, field.data_type(), OnFault::Fail),
            Expr::TryCast(TryCast { expr, field }) => self.cast(expr, field.data_type(), OnFault::Null),
            Expr::InList(list) => self.in_list(list),
            Expr::ScalarFunction(function) => self.function(function),
            Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_) => {
                Err(refuse("a subquery with IN, EXISTS, ANY or ALL within an expression")
                    .advise("write (SELECT count(*) FROM … WHERE …) > 0"))
            }
            other => Err(refuse(format!("\"{other}\" can't be a part of an expression"))),
        }
    }

    /// A chain of AND or OR, flat, so that a long one is not deep.
    fn chain(&mut self, op: Operator, expr: &Expr) -> Result<Node, Refusal> {
        let mut terms = Vec::new();
        let mut rest = expr;
        while let Expr::BinaryExpr(BinaryExpr { left, op: other, right }) = rest
            && *other == op
        {
            terms.push(right.as_ref());
            rest = left;
        }
        terms.push(rest);
        let terms =
            terms.into_iter().rev().map(|term| self.condition(term)).collect::<Result<Vec<_>, _>>()?;
        Ok(connected(op, terms))
    }

    /// A column or a subquery, whose value comes with the row.
    fn argument(&mut self, expr: &Expr) -> Result<Node, Refusal> {
        let field = expr.to_field(self.schema).map_err(|error| refuse(error.strip_backtrace()))?.1;
        let at = match self.arguments.iter().position(|known| known == expr) {
            Some(at) => at,
            None => {
                self.arguments.push(expr.clone());
                self.arguments.len() - 1
            }
        };
        let nullable = field.is_nullable() || matches!(expr, Expr::ScalarSubquery(_));
        Ok(Node { kind: Kind::Argument(at), sql_type: SqlType::of(field.data_type()), nullable })
    }

    /// A boolean.
    pub(crate) fn condition(&mut self, expr: &Expr) -> Result<Node, Refusal> {
        let node = self.bind(expr)?;
        match node.sql_type {
            SqlType::Bool | SqlType::Unknown => coerce(node, &SqlType::Bool),
            other => Err(refuse(format!("a condition is expected, not {other}"))
                .at(&last_name(expr))
                .advise("compare it with something")),
        }
    }

    fn is(&mut self, term: &Expr, test: Test) -> Result<Node, Refusal> {
        let term = match test {
            Test::Null | Test::NotNull => {
                let node = self.bind(term)?;
                if matches!(node.sql_type, SqlType::Struct(_)) {
                    return Err(refuse("a row IS NULL").advise("ask of its fields, value['name'] IS NULL"));
                }
                node
            }
            _ => self.condition(term)?,
        };
        Ok(term.is(test))
    }

    fn binary(&mut self, left: &Expr, op: Operator, right: &Expr) -> Result<Node, Refusal> {
        let (left_node, right_node) = (self.bind(left)?, self.bind(right)?);
        self.operator(left_node, op, right_node)
            .map_err(|refusal| refusal.at(&last_name(left)).at(&last_name(right)))
    }

    fn operator(&mut self, left: Node, op: Operator, right: Node) -> Result<Node, Refusal> {
        match op {
            Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo => {
                let whole = |node: &Node| matches!(node.sql_type, SqlType::Int(_));
                if op == Operator::Divide && whole(&left) && whole(&right) {
                    self.notes.push(Note::WholeQuotient);
                }
                arithmetic::arithmetic(left, op, right)
            }
            Operator::StringConcat => concatenate(left, right),
            Operator::RegexMatch => functions::matches(left, &right, false, false),
            Operator::RegexIMatch => functions::matches(left, &right, true, false),
            Operator::RegexNotMatch => functions::matches(left, &right, false, false).map(not),
            Operator::RegexNotIMatch => functions::matches(left, &right, true, false).map(not),
            Operator::LikeMatch => like(left, right, Some('\\'), false),
            Operator::ILikeMatch => like(left, right, Some('\\'), true),
            Operator::NotLikeMatch => like(left, right, Some('\\'), false).map(not),
            Operator::NotILikeMatch => like(left, right, Some('\\'), true).map(not),
            Operator::AtArrow => call("array_has_all", vec![left, right], self.now),
            Operator::ArrowAt => call("array_has_all", vec![right, left], self.now),
            op => match comparison_of(op) {
                Some(comparison) => self.compare(left, comparison, right),
                None if op == Operator::BitwiseXor => {
                    Err(refuse("^ is no operator here").advise("write power(…, …) over DOUBLE, or x * x"))
                }
                None => Err(refuse(format!(
                    "the operator {op} means nothing here, or something else than in PostgreSQL"
                ))),
            },
        }
    }

    fn compare(&mut self, left: Node, comparison: Comparison, right: Node) -> Result<Node, Refusal> {
        let node = compare(left, comparison, right)?;
        if comparison.is_ordering()
            && let Kind::Compare(left, ..) = &node.kind
            && left.sql_type == SqlType::Text
        {
            self.notes.push(Note::OrdersTexts);
        }
        Ok(node)
    }

    fn between(&mut self, between: &Between) -> Result<Node, Refusal> {
        let value = self.bind(&between.expr)?;
        let (low, high) = (self.bind(&between.low)?, self.bind(&between.high)?);
        let place = |refusal: Refusal| refusal.at(&last_name(&between.expr));
        let terms = vec![
            self.compare(value.clone(), Comparison::GreaterOrEqual, low).map_err(place)?,
            self.compare(value, Comparison::LessOrEqual, high).map_err(place)?,
        ];
        let node = fold(connected(Operator::And, terms))?;
        Ok(if between.negated { not(node) } else { node })
    }

    fn like(&mut self, expr: &Like) -> Result<Node, Refusal> {
        let (value, pattern) = (self.bind(&expr.expr)?, self.bind(&expr.pattern)?);
        let node = like(value, pattern, expr.escape_char.or(Some('\\')), expr.case_insensitive)
            .map_err(|refusal| refusal.at(&last_name(&expr.expr)))?;
        Ok(if expr.negated { not(node) } else { node })
    }

    fn similar(&mut self, expr: &Like) -> Result<Node, Refusal> {
        if expr.escape_char.is_some() {
            return Err(refuse("SIMILAR TO with ESCAPE is not supported")
                .at("ESCAPE")
                .advise("the escape character is \\"));
        }
        let (value, pattern) = (self.bind(&expr.expr)?, self.bind(&expr.pattern)?);
        let node = functions::matches(value, &pattern, false, true)?;
        Ok(if expr.negated { not(node) } else { node })
    }

    fn case(&mut self, case: &Case) -> Result<Node, Refusal> {
        let operand = case.expr.as_ref().map(|operand| self.bind(operand)).transpose()?;
        let (mut conditions, mut values) = (Vec::new(), Vec::new());
        for (when, then) in &case.when_then_expr {
            conditions.push(match &operand {
                Some(operand) => {
                    let when = self.bind(when)?;
                    self.compare(operand.clone(), Comparison::Equal, when)?
                }
                None => self.condition(when)?,
            });
            values.push(self.bind(then)?);
        }
        let has_else = case.else_expr.is_some();
        if let Some(otherwise) = &case.else_expr {
            values.push(self.bind(otherwise)?);
        }
        let (mut values, sql_type) = common_of(values, "CASE")?;
        let otherwise = if has_else { values.pop().map(Box::new) } else { None };
        let nullable = !has_else
            || values.iter().any(|value| value.nullable)
            || otherwise.as_ref().is_some_and(|value| value.nullable);
        let branches = conditions.into_iter().zip(values).collect();
        Ok(Node { kind: Kind::Case(branches, otherwise), sql_type, nullable })
    }

    fn cast(&mut self, expr: &Expr, to: &DataType, on_fault: OnFault) -> Result<Node, Refusal> {
        if let (DataType::Interval(_), Expr::Literal(value, _)) = (to, expr) {
            return interval_literal(value);
        }
        if let DataType::Timestamp(_, Some(zone)) = to
            && !["UTC", "+00:00"].contains(&zone.as_ref())
        {
            return Err(refuse(format!("the time zone {zone}: times are in UTC here")).at(zone));
        }
        if matches!(to, DataType::Int8 | DataType::Float16) || to.is_unsigned_integer() {
            return Err(
                refuse(format!("CAST to {to} is not supported")).advise("CAST to SMALLINT, INT or BIGINT")
            );
        }
        let to = match SqlType::of(to) {
            // PostgreSQL's TIMESTAMP has microseconds, and reaches further than nanoseconds do.
            SqlType::Timestamp(TimeUnit::Nanosecond) => SqlType::Timestamp(TimeUnit::Microsecond),
            SqlType::Other(other) => {
                let name = SqlType::Other(other);
                return Err(refuse(format!("CAST to {name} is not supported")).at("CAST"));
            }
            known => known,
        };
        let node = self.bind(expr)?;
        let from = match node.sql_type.clone() {
            SqlType::Unknown if !matches!(node.as_literal(), Some(Value::Null)) => SqlType::Text,
            other => other,
        };
        if let (SqlType::Unknown, Some(text)) = (&node.sql_type, literal_text(&node)) {
            return match (parse(text, &to), on_fault) {
                (Ok(value), _) => Ok(Node::literal(value, to)),
                (Err(_), OnFault::Null) => Ok(Node::literal(Value::Null, to)),
                (Err(fault), OnFault::Fail) => {
                    Err(refuse(format!("a constant can't be computed: {}", fault.message())).at(text))
                }
            };
        }
        if !is_allowed(&from, &to) {
            let refusal = refuse(format!("{from} can't be CAST to {to}")).at(&last_name(expr));
            return Err(match to {
                SqlType::Bytes => refusal.advise("write decode(…, 'hex') or decode(…, 'base64')"),
                _ => refusal,
            });
        }
        if drops_fraction(&from, &to) {
            self.notes.push(Note::DropsFraction);
        }
        let node = Node { sql_type: from, ..node };
        let nullable = node.nullable || on_fault == OnFault::Null;
        Ok(Node { kind: Kind::Cast(Box::new(node), to.clone(), on_fault), sql_type: to, nullable })
    }

    /// As PostgreSQL does: several constants are converted to one type with the left side and all computed, then
    /// the others are compared one by one.
    fn in_list(&mut self, list: &InList) -> Result<Node, Refusal> {
        let place = |refusal: Refusal| refusal.at(&last_name(&list.expr));
        let needle = self.bind(&list.expr)?;
        let items = list.list.iter().map(|item| self.bind(item)).collect::<Result<Vec<_>, _>>()?;
        // What is written without a column; that it comes to a constant does not count.
        let is_constant = |item: &Expr| !item.any_column_refs();
        let has_several = list.list.iter().filter(|item| is_constant(item)).count() > 1;
        let (mut constants, mut others) = (Vec::new(), Vec::new());
        for (item, node) in list.list.iter().zip(items) {
            if has_several && is_constant(item) { constants.push(node) } else { others.push(node) }
        }
        let mut terms = Vec::new();
        if !constants.is_empty() {
            let all = std::iter::once(needle.clone()).chain(constants).collect();
            let (mut all, sql_type) = common_of(all, "IN").map_err(place)?;
            comparable(&sql_type)?;
            let needle = all.remove(0);
            let nullable = needle.nullable || all.iter().any(|item| item.nullable);
            let kind = Kind::InList(Box::new(needle), all);
            terms.push(fold(Node { kind, sql_type: SqlType::Bool, nullable })?);
        }
        for item in others {
            terms.push(compare(needle.clone(), Comparison::Equal, item).map_err(place)?);
        }
        let node = match <[Node; 1]>::try_from(terms) {
            Ok([only]) => only,
            Err(terms) => fold(connected(Operator::Or, terms))?,
        };
        Ok(if list.negated { not(node) } else { node })
    }

    fn function(&mut self, function: &ScalarFunction) -> Result<Node, Refusal> {
        let mut arguments =
            function.args.iter().map(|argument| self.bind(argument)).collect::<Result<Vec<_>, _>>()?;
        let name = function.func.name();
        if let Some(op) = arithmetic::operator_of(name)
            && arguments.len() == 2
            && let (Some(right), Some(left)) = (arguments.pop(), arguments.pop())
        {
            let word = function.args.iter().map(last_name).find(|word| !word.is_empty()).unwrap_or_default();
            return self.operator(left, op, right).map_err(|refusal| refusal.at(&word));
        }
        call(name, arguments, self.now).map_err(|refusal| refusal.at(name))
    }
}

fn not(node: Node) -> Node {
    Node { nullable: node.nullable, kind: Kind::Not(Box::new(node)), sql_type: SqlType::Bool }
}

fn connected(op: Operator, terms: Vec<Node>) -> Node {
    let nullable = terms.iter().any(|term| term.nullable);
    let kind = if op == Operator::And { Kind::And(terms) } else { Kind::Or(terms) };
    Node { kind, sql_type: SqlType::Bool, nullable }
}

fn comparison_of(op: Operator) -> Option<Comparison> {
    Some(match op {
        Operator::Eq => Comparison::Equal,
        Operator::NotEq => Comparison::NotEqual,
        Operator::Lt => Comparison::Less,
        Operator::LtEq => Comparison::LessOrEqual,
        Operator::Gt => Comparison::Greater,
        Operator::GtEq => Comparison::GreaterOrEqual,
        Operator::IsDistinctFrom => Comparison::Distinct,
        Operator::IsNotDistinctFrom => Comparison::NotDistinct,
        _ => return None,
    })
}

fn like(value: Node, pattern: Node, escape: Option<char>, ignore_case: bool) -> Result<Node, Refusal> {
    let both = vec![text(value)?, text(pattern)?];
    Ok(Node::strict(SqlType::Bool, both, move |values| {
        let (text, pattern) = (str_of(&values[0]), str_of(&values[1]));
        pattern::like(text, pattern, escape, ignore_case).map(Value::Bool)
    }))
}

/// A constant as DataFusion has read it from the SQL.
fn literal(value: &ScalarValue) -> Result<Node, Refusal> {
    if value.is_null() {
        return Ok(Node::literal(Value::Null, SqlType::of(&value.data_type())));
    }
    let int = |value: i64| {
        let width = if i32::try_from(value).is_ok() { 4 } else { 8 };
        Node::literal(Value::Int(value), SqlType::Int(width))
    };
    Ok(match value {
        ScalarValue::Boolean(Some(value)) => Node::literal(Value::Bool(*value), SqlType::Bool),
        ScalarValue::Int64(Some(value)) => int(*value),
        ScalarValue::UInt64(Some(value)) => exact_literal(Numeric::new(i128::from(*value), 0)),
        ScalarValue::Decimal128(Some(value), _, scale) => {
            let number = match u32::try_from(*scale) {
                Ok(scale) => Numeric::new(*value, scale),
                Err(_) => Numeric::parse(&format!("{value}e{}", -i32::from(*scale)))
                    .ok_or_else(|| refuse(format!("\"{value}\" is no number")))?,
            };
            exact_literal(number)
        }
        ScalarValue::Decimal256(Some(value), _, scale) => {
            let number = Numeric::parse(&format!("{value}e{}", -i32::from(*scale)))
                .ok_or_else(|| refuse(format!("\"{value}\" is no number")))?;
            exact_literal(number)
        }
        ScalarValue::Float64(Some(value)) => Node::literal(Value::Double(*value), SqlType::Double),
        ScalarValue::Utf8(Some(text))
        | ScalarValue::Utf8View(Some(text))
        | ScalarValue::LargeUtf8(Some(text)) => Node::literal(Value::text(text.clone()), SqlType::Unknown),
        ScalarValue::Binary(Some(bytes)) => Node::literal(Value::Bytes(bytes.clone().into()), SqlType::Bytes),
        interval @ (ScalarValue::IntervalMonthDayNano(_)
        | ScalarValue::IntervalDayTime(_)
        | ScalarValue::IntervalYearMonth(_)) => interval_literal(interval)?,
        other => return Err(refuse(format!("the literal {other} has a type that is not supported"))),
    })
}

/// The last constant in the expression, to point at.
fn last_literal(expr: &Expr) -> String {
    let mut word = String::new();
    // Nothing here fails.
    let _ = expr.apply(|expr| {
        if let Expr::Literal(value, _) = expr {
            word = value.to_string();
        }
        Ok(TreeNodeRecursion::Continue)
    });
    word
}

/// A name in the expression, to point at.
fn last_name(expr: &Expr) -> String {
    let mut columns: Vec<String> = expr.column_refs().iter().map(|column| column.name.clone()).collect();
    columns.sort();
    columns.pop().unwrap_or_default()
}
