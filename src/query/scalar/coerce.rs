//! Types that meet: what becomes of both sides, unasked, by PostgreSQL's rules.

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;

use super::cast::parse;
use super::node::{Comparison, Kind, Node, OnFault};
use super::numeric::{Numeric, Rounding};
use super::refusal::{Refusal, refuse};
use super::time::Interval;
use super::types::{Digits, SqlType};
use super::value::Value;

/// `left comparison right` in their common type.
pub(crate) fn compare(left: Node, comparison: Comparison, right: Node) -> Result<Node, Refusal> {
    let Some(common) = left.sql_type.compared(&right.sql_type) else {
        let (left, right) = (left.sql_type, right.sql_type);
        return Err(refuse(format!("{left} can't be compared with {right}")).advise(format!(
            "write CAST(… AS {right}) or CAST(… AS {left}), TRY_CAST where a value may not fit"
        )));
    };
    comparable(&common)?;
    // A date is compared with a time as its midnight, however far off: it need not be a TIMESTAMP.
    let is_mixed =
        |one: &SqlType, other: &SqlType| *one == SqlType::Date && matches!(other, SqlType::Timestamp(_));
    let (left, right) =
        match is_mixed(&left.sql_type, &right.sql_type) || is_mixed(&right.sql_type, &left.sql_type) {
            true => (left, right),
            false => (coerce(left, &common)?, coerce(right, &common)?),
        };
    let nullable = !matches!(comparison, Comparison::Distinct | Comparison::NotDistinct)
        && (left.nullable || right.nullable);
    fold(Node {
        kind: Kind::Compare(Box::new(left), comparison, Box::new(right)),
        sql_type: SqlType::Bool,
        nullable,
    })
}

pub(crate) fn comparable(sql_type: &SqlType) -> Result<(), Refusal> {
    match sql_type {
        SqlType::Other(other) => Err(refuse(format!("{other} can't be compared"))),
        SqlType::Struct(_) => {
            Err(refuse("rows can't be compared").advise("compare their fields, value['name']"))
        }
        SqlType::List(item) => comparable(item),
        _ => Ok(()),
    }
}

/// The terms in their common type.
pub(crate) fn common_of(terms: Vec<Node>, what: &str) -> Result<(Vec<Node>, SqlType), Refusal> {
    let mut common = SqlType::Unknown;
    for term in &terms {
        common = common.common(&term.sql_type).ok_or_else(|| {
            refuse(format!("{what} has values of {common} and of {}", term.sql_type))
                .at(what)
                .advise("CAST them to one type")
        })?;
    }
    if common == SqlType::Unknown {
        common = SqlType::Text;
    }
    // What is compared with exact numbers by value needs no conversion; what comes out of CASE does.
    let terms = terms.into_iter().map(|term| coerce(term, &common)).collect::<Result<Vec<_>, _>>()?;
    Ok((terms, common))
}

/// The node as one of `to`, as PostgreSQL converts unasked; the planner has checked that it does.
pub(crate) fn coerce(node: Node, to: &SqlType) -> Result<Node, Refusal> {
    if node.sql_type == *to {
        return Ok(node);
    }
    if node.sql_type == SqlType::Unknown {
        return untyped(node, to);
    }
    let same_values = match (&node.sql_type, to) {
        // Exact numbers compute and compare by value, whatever their type.
        (from, SqlType::Numeric(_)) => from.is_exact(),
        (SqlType::Int(from), SqlType::Int(to)) => from <= to,
        (SqlType::Timestamp(_), SqlType::Timestamp(_)) => true,
        _ => false,
    };
    if same_values {
        return Ok(Node { sql_type: to.clone(), ..node });
    }
    let nullable = node.nullable;
    fold(Node { kind: Kind::Cast(Box::new(node), to.clone(), OnFault::Fail), sql_type: to.clone(), nullable })
}

/// A quoted literal, read as what it stands beside.
fn untyped(node: Node, to: &SqlType) -> Result<Node, Refusal> {
    let Some(literal) = literal_text(&node) else {
        return Ok(Node { sql_type: to.clone(), ..node });
    };
    if *to == SqlType::Interval {
        return interval_literal(&ScalarValue::Utf8(Some(literal.to_owned())));
    }
    let read_as = match to {
        SqlType::Timestamp(_) => SqlType::Timestamp(TimeUnit::Nanosecond),
        SqlType::Numeric(_) => SqlType::Numeric(None),
        other => other.clone(),
    };
    let value = parse(literal, &read_as).map_err(|fault| refuse(fault.message()).at(literal))?;
    Ok(match value {
        Value::Numeric(number) => exact_literal(number),
        value => Node::literal(value, to.clone()),
    })
}

/// What is constant as a literal.
pub(crate) fn fold(node: Node) -> Result<Node, Refusal> {
    node.folded().map_err(|fault| refuse(format!("a constant can't be computed: {}", fault.message())))
}

/// The argument as a number of type `to`, if PostgreSQL converts it unasked.
pub(crate) fn coerce_number(name: &str, node: Node, to: &SqlType) -> Result<Node, Refusal> {
    let fits = match (&node.sql_type, to) {
        (SqlType::Unknown, _) => true,
        (SqlType::Int(from), SqlType::Int(to)) => from <= to,
        (from, SqlType::Double) => from.is_number(),
        (from, SqlType::Numeric(_)) => from.is_exact(),
        _ => false,
    };
    match fits {
        true => coerce(node, to),
        false => Err(refuse(format!("{name} takes {to}, not {}", node.sql_type))
            .at(name)
            .advise(format!("write CAST(… AS {to})"))),
    }
}

/// The text of a quoted literal.
pub(crate) fn literal_text(node: &Node) -> Option<&str> {
    match node.as_literal() {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

/// A number literal with just its own digits.
pub(crate) fn exact_literal(value: Numeric) -> Node {
    let digits = literal_digits(&value);
    Node::literal(Value::Numeric(value), SqlType::Numeric(Some(digits)))
}

/// The digits of one number.
pub(crate) fn literal_digits(number: &Numeric) -> Digits {
    let whole = number.abs().rescale(0, Rounding::Truncate);
    let whole = if whole.is_zero() { 0 } else { whole.to_string().len() as u32 };
    Digits { whole, scale: number.scale() }
}

/// An interval as DataFusion reads it.
pub(crate) fn interval_literal(value: &ScalarValue) -> Result<Node, Refusal> {
    let cast = value
        .cast_to(&DataType::Interval(IntervalUnit::MonthDayNano))
        .map_err(|error| refuse(error.strip_backtrace()).at("INTERVAL"))?;
    let ScalarValue::IntervalMonthDayNano(Some(interval)) = cast else {
        return Ok(Node::literal(Value::Null, SqlType::Interval));
    };
    let interval = Interval {
        months: interval.months.into(),
        days: interval.days.into(),
        nanos: interval.nanoseconds.into(),
    };
    Ok(Node::literal(Value::Interval(interval), SqlType::Interval))
}
