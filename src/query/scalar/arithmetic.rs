//! `+ - * / %` and the sign, by the types on both sides.

use arrow::datatypes::TimeUnit;
use datafusion::logical_expr::Operator;

use super::cast::{fits, out_of_range};
use super::coerce::{coerce, literal_digits};
use super::fault::Fault;
use super::node::Node;
use super::numeric::MAX_QUOTIENT_SCALE;
use super::refusal::{Refusal, refuse};
use super::time::{self, Interval};
use super::types::{Digits, SqlType};
use super::value::{Outcome, Value, float, int, interval};

/// `left op right`; both are resolved, and numbers of the same kind stand on both sides.
pub(crate) fn binary(left: Node, op: Operator, right: Node) -> Result<Node, Refusal> {
    use SqlType as T;
    let (left_type, right_type) = (left.sql_type.clone(), right.sql_type.clone());
    if left_type.is_number() && right_type.is_number() {
        return numbers(left, op, right);
    }
    let of_time = |unit: TimeUnit| T::Timestamp(unit.max(TimeUnit::Microsecond));
    let both = vec![left, right];
    Ok(match (&left_type, op, &right_type) {
        (T::Date, Operator::Plus | Operator::Minus, T::Int(2 | 4)) => {
            let sign = if op == Operator::Plus { 1 } else { -1 };
            Node::strict(T::Date, both, move |values| shift(&values[0], sign * i128::from(int(&values[1]))))
        }
        (T::Int(2 | 4), Operator::Plus, T::Date) => {
            Node::strict(T::Date, both, |values| shift(&values[1], i128::from(int(&values[0]))))
        }
        (T::Date, Operator::Minus, T::Date) => Node::strict(T::Int(4), both, |values| match values {
            [Value::Date(left), Value::Date(right)] => Ok(Value::Int(left - right)),
            _ => Ok(Value::Null),
        }),
        (T::Date | T::Timestamp(_), Operator::Minus, T::Date | T::Timestamp(_)) => {
            Node::strict(T::Interval, both, |values| {
                let (later, earlier) =
                    (time::in_range(values[0].nanos())?, time::in_range(values[1].nanos())?);
                Ok(Value::Interval(Interval::between(later, earlier)))
            })
        }
        (T::Date, Operator::Plus | Operator::Minus, T::Interval)
        | (T::Timestamp(_), Operator::Plus | Operator::Minus, T::Interval) => {
            let unit = match left_type {
                T::Timestamp(unit) => unit,
                _ => TimeUnit::Microsecond,
            };
            let negative = op == Operator::Minus;
            Node::strict(of_time(unit), both, move |values| {
                let by = interval(&values[1]);
                let by = if negative { by.negate() } else { by };
                time::add(values[0].nanos(), &by).map(Value::Timestamp)
            })
        }
        (T::Interval, Operator::Plus, T::Date | T::Timestamp(_)) => {
            let unit = match right_type {
                T::Timestamp(unit) => unit,
                _ => TimeUnit::Microsecond,
            };
            Node::strict(of_time(unit), both, |values| {
                time::add(values[1].nanos(), &interval(&values[0])).map(Value::Timestamp)
            })
        }
        (T::Interval, Operator::Plus | Operator::Minus, T::Interval) => {
            let negative = op == Operator::Minus;
            Node::strict(T::Interval, both, move |values| {
                let right = interval(&values[1]);
                let right = if negative { right.negate() } else { right };
                Ok(Value::Interval(interval(&values[0]).add(&right)))
            })
        }
        _ => {
            return Err(refuse(format!("there is no {left_type} {op} {right_type}"))
                .advise("CAST one side to the type that is meant"));
        }
    })
}

fn numbers(left: Node, op: Operator, right: Node) -> Result<Node, Refusal> {
    use SqlType as T;
    let common = left.sql_type.common(&right.sql_type).unwrap_or(T::Double);
    let digits = result_digits(&left, op, &right);
    let (left_type, right_type) = (left.sql_type.clone(), right.sql_type.clone());
    if op == Operator::Modulo && !common.is_exact() {
        return Err(
            refuse(format!("there is no {left_type} % {right_type}")).advise("CAST both sides to DECIMAL")
        );
    }
    let both = vec![left, right];
    Ok(match common {
        T::Int(width) => Node::strict(T::Int(width), both, move |values| {
            let (left, right) = (int(&values[0]), int(&values[1]));
            if right == 0 && matches!(op, Operator::Divide | Operator::Modulo) {
                return Err(Fault::division_by_zero());
            }
            let result = match op {
                Operator::Plus => left.checked_add(right),
                Operator::Minus => left.checked_sub(right),
                Operator::Multiply => left.checked_mul(right),
                Operator::Divide => left.checked_div(right),
                // The one remainder that would overflow is 0.
                _ => Some(left.checked_rem(right).unwrap_or(0)),
            };
            let result = result.and_then(|result| fits(result, width));
            result.map(Value::Int).ok_or_else(|| out_of_range(&T::Int(width)))
        }),
        T::Numeric(_) => Node::strict(T::Numeric(digits), both, move |values| {
            let (left, right) = (values[0].numeric(), values[1].numeric());
            Ok(Value::Numeric(match op {
                Operator::Plus => left.add(&right),
                Operator::Minus => left.subtract(&right),
                Operator::Multiply => left.multiply(&right),
                Operator::Divide => left.divide(&right)?,
                _ => left.remainder(&right)?,
            }))
        }),
        T::Real => Node::strict(T::Real, both, move |values| {
            let (left, right) = (float(&values[0]), float(&values[1]));
            let rounded = |value: f64| f64::from(value as f32);
            floats(left, op, right, rounded)
        }),
        _ => Node::strict(T::Double, both, move |values| {
            floats(float(&values[0]), op, float(&values[1]), |value| value)
        }),
    })
}

/// How many digits a result has at most; a quotient has as many behind the point as its values need.
fn result_digits(left: &Node, op: Operator, right: &Node) -> Option<Digits> {
    let (l, r) = (digits_of(left)?, digits_of(right)?);
    match op {
        Operator::Plus | Operator::Minus => {
            let both = l.union(r);
            Some(Digits { whole: both.whole + 1, ..both })
        }
        Operator::Multiply => Some(Digits { whole: l.whole + r.whole, scale: l.scale + r.scale }),
        Operator::Modulo => Some(Digits { whole: l.whole.min(r.whole), scale: l.scale.max(r.scale) }),
        _ => Some(Digits { whole: l.whole + r.scale + 1, scale: MAX_QUOTIENT_SCALE }),
    }
}

/// A literal has just its own digits: `amount * 2` is one digit longer than `amount`.
fn digits_of(node: &Node) -> Option<Digits> {
    match node.as_literal() {
        Some(value @ (Value::Int(_) | Value::Numeric(_))) => Some(literal_digits(&value.numeric())),
        _ => node.sql_type.digits(),
    }
}

/// PostgreSQL stops at an overflow, at an underflow to zero and at a division by zero, which IEEE 754 does not.
fn floats<'a>(left: f64, op: Operator, right: f64, rounded: impl Fn(f64) -> f64) -> Outcome<'a> {
    if op == Operator::Divide && right == 0.0 && !left.is_nan() {
        return Err(Fault::division_by_zero());
    }
    let result = rounded(match op {
        Operator::Plus => left + right,
        Operator::Minus => left - right,
        Operator::Multiply => left * right,
        _ => left / right,
    });
    if result.is_infinite() && left.is_finite() && right.is_finite() {
        return Err(Fault::new("value out of range: overflow"));
    }
    let vanished = match op {
        Operator::Multiply => left != 0.0 && right != 0.0,
        Operator::Divide => left != 0.0 && right.is_finite(),
        _ => false,
    };
    if result == 0.0 && vanished {
        return Err(Fault::new("value out of range: underflow"));
    }
    Ok(Value::Double(result))
}

/// `-x`.
pub(crate) fn negate(node: Node) -> Result<Node, Refusal> {
    Ok(match node.sql_type.clone() {
        SqlType::Int(width) => Node::strict(SqlType::Int(width), vec![node], move |values| {
            let negated = int(&values[0]).checked_neg().and_then(|value| fits(value, width));
            negated.map(Value::Int).ok_or_else(|| out_of_range(&SqlType::Int(width)))
        }),
        numeric @ SqlType::Numeric(_) => {
            Node::strict(numeric, vec![node], |values| Ok(Value::Numeric(values[0].numeric().negate())))
        }
        double @ (SqlType::Real | SqlType::Double) => {
            Node::strict(double, vec![node], |values| Ok(Value::Double(-float(&values[0]))))
        }
        SqlType::Interval => Node::strict(SqlType::Interval, vec![node], |values| {
            Ok(Value::Interval(interval(&values[0]).negate()))
        }),
        other => return Err(refuse(format!("there is no - {other}"))),
    })
}

fn shift<'a>(date: &Value<'a>, days: i128) -> Outcome<'a> {
    let Value::Date(date) = date else { return Ok(Value::Null) };
    let shifted = i128::from(*date) + days;
    // PostgreSQL's dates go from 4714 BC to 5874897; those of Arrow begin and end later still.
    match (-2_440_588..2_145_031_949).contains(&shifted) {
        true => Ok(Value::Date(shifted as i64)),
        false => Err(Fault::new("date out of range")),
    }
}

/// `+ - * / %`; an untyped side takes the type of the other.
pub(crate) fn arithmetic(left: Node, op: Operator, right: Node) -> Result<Node, Refusal> {
    let is_unknown = |node: &Node| node.sql_type == SqlType::Unknown;
    let (left, right) = match (is_unknown(&left), is_unknown(&right)) {
        (true, false) if right.sql_type.is_number() => {
            let to = right.sql_type.clone();
            (coerce(left, &to)?, right)
        }
        (false, true) if left.sql_type.is_number() => {
            let to = left.sql_type.clone();
            (left, coerce(right, &to)?)
        }
        (true, _) | (_, true) => {
            return Err(refuse(format!("the type of one side of {op} is not known"))
                .advise("write CAST(… AS …), or INTERVAL '…'"));
        }
        _ => (left, right),
    };
    // DOUBLE meets an exact number as DOUBLE; REAL meets REAL.
    let common = match left.sql_type.is_number() && right.sql_type.is_number() {
        true => left.sql_type.compared(&right.sql_type),
        false => None,
    };
    match common {
        Some(common @ (SqlType::Double | SqlType::Real)) => {
            binary(coerce(left, &common)?, op, coerce(right, &common)?)
        }
        _ => binary(left, op, right),
    }
}

/// An operator over two arguments, for its type.
pub(crate) fn arithmetic_of(arguments: Vec<Node>, op: Operator) -> Result<Node, Refusal> {
    match <[Node; 2]>::try_from(arguments) {
        Ok([left, right]) => arithmetic(left, op, right),
        Err(_) => Err(refuse(format!("{op} has two sides"))),
    }
}

/// Before the sign of an operator whose types DataFusion does not know, as a function's name.
pub(crate) const OPERATOR: &str = "operator ";

pub(crate) const OPERATORS: [(&str, Operator); 11] = [
    ("=", Operator::Eq),
    ("<>", Operator::NotEq),
    ("<", Operator::Lt),
    ("<=", Operator::LtEq),
    (">", Operator::Gt),
    (">=", Operator::GtEq),
    ("+", Operator::Plus),
    ("-", Operator::Minus),
    ("*", Operator::Multiply),
    ("/", Operator::Divide),
    ("%", Operator::Modulo),
];

/// The operator behind a function's name.
pub(crate) fn operator_of(name: &str) -> Option<Operator> {
    let sign = name.strip_prefix(OPERATOR)?;
    OPERATORS.iter().find(|(known, _)| *known == sign).map(|(_, op)| *op)
}
