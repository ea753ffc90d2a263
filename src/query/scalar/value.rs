//! A value of SQL while an expression computes: NULL, or one of the kinds that PostgreSQL knows.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::fault::Fault;
use super::numeric::Numeric;
use super::time::{Interval, NANOS_PER_DAY};

/// The value of an expression at a row, or why there is none.
pub(crate) type Outcome<'a> = Result<Value<'a>, Fault>;

/// A value; texts and bytes are borrowed from the batch where they stand in a column.
#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    /// Of any width.
    Int(i64),
    Numeric(Numeric),
    /// Double precision; a REAL is one that has a `f32`'s value.
    Double(f64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// Days since 1970-01-01.
    Date(i64),
    /// Nanoseconds since 1970-01-01T00:00:00Z, whatever the unit of the type.
    Timestamp(i128),
    Interval(Interval),
    List(Vec<Value<'a>>),
    /// In the order of the type's fields.
    Struct(Vec<Value<'a>>),
}

impl<'a> Value<'a> {
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// `None` for NULL; the planner lets no other kind through.
    pub(crate) fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    /// The exact number that an INT or a DECIMAL is.
    pub(crate) fn numeric(&self) -> Cow<'_, Numeric> {
        match self {
            Self::Numeric(value) => Cow::Borrowed(value),
            Self::Int(value) => Cow::Owned(Numeric::new(i128::from(*value), 0)),
            _ => Cow::Owned(Numeric::new(0, 0)),
        }
    }

    /// How two values of kinds that compare stand to each other; NULLs (in lists) are last and equal.
    ///
    /// Numbers compare by value, −0 is 0, NaN is above all numbers and equal to itself; texts by the
    /// bytes of UTF-8 (PostgreSQL's collation "C"); a date is the time at its midnight.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(left), Self::Bool(right)) => left.cmp(right),
            (Self::Int(left), Self::Int(right)) => left.cmp(right),
            (Self::Int(_) | Self::Numeric(_), Self::Int(_) | Self::Numeric(_)) => {
                self.numeric().compare(&other.numeric())
            }
            (Self::Double(left), Self::Double(right)) => compare_doubles(*left, *right),
            (Self::Text(left), Self::Text(right)) => left.as_bytes().cmp(right.as_bytes()),
            (Self::Bytes(left), Self::Bytes(right)) => left.cmp(right),
            (Self::Date(left), Self::Date(right)) => left.cmp(right),
            (Self::Interval(left), Self::Interval(right)) => left.span().cmp(&right.span()),
            (Self::Date(_) | Self::Timestamp(_), Self::Date(_) | Self::Timestamp(_)) => {
                self.nanos().cmp(&other.nanos())
            }
            (Self::List(left), Self::List(right)) | (Self::Struct(left), Self::Struct(right)) => {
                let different = left.iter().zip(right).map(|(left, right)| left.compare(right));
                different
                    .into_iter()
                    .find(|order| order.is_ne())
                    .unwrap_or_else(|| left.len().cmp(&right.len()))
            }
            (Self::Null, Self::Null) => Ordering::Equal,
            (Self::Null, _) => Ordering::Greater,
            _ => Ordering::Less,
        }
    }

    /// Nanoseconds since 1970 of a date or time.
    pub(crate) fn nanos(&self) -> i128 {
        match self {
            Self::Date(days) => i128::from(*days) * NANOS_PER_DAY,
            Self::Timestamp(nanos) => *nanos,
            _ => 0,
        }
    }

    /// The same value, its texts borrowed from this one.
    pub(crate) fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::Bytes(bytes) => Value::Bytes(Cow::Borrowed(bytes)),
            other => other.clone(),
        }
    }

    /// Without borrowed parts.
    pub(crate) fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Int(value),
            Self::Numeric(value) => Value::Numeric(value),
            Self::Double(value) => Value::Double(value),
            Self::Text(value) => Value::Text(Cow::Owned(value.into_owned())),
            Self::Bytes(value) => Value::Bytes(Cow::Owned(value.into_owned())),
            Self::Date(value) => Value::Date(value),
            Self::Timestamp(value) => Value::Timestamp(value),
            Self::Interval(value) => Value::Interval(value),
            Self::List(items) => Value::List(items.into_iter().map(Value::into_owned).collect()),
            Self::Struct(items) => Value::Struct(items.into_iter().map(Value::into_owned).collect()),
        }
    }
}

/// The whole number that a value of an INT type is.
pub(crate) fn int(value: &Value<'_>) -> i64 {
    match value {
        Value::Int(value) => *value,
        _ => 0,
    }
}

/// The double that a value of a floating type is.
pub(crate) fn float(value: &Value<'_>) -> f64 {
    match value {
        Value::Double(value) => *value,
        _ => f64::NAN,
    }
}

/// The interval that a value of type INTERVAL is.
pub(crate) fn interval(value: &Value<'_>) -> Interval {
    match value {
        Value::Interval(interval) => *interval,
        _ => Interval::default(),
    }
}

/// The text that a value of type VARCHAR is.
pub(crate) fn str_of<'v>(value: &'v Value<'_>) -> &'v str {
    match value {
        Value::Text(text) => text,
        _ => "",
    }
}

fn compare_doubles(left: f64, right: f64) -> Ordering {
    match left.partial_cmp(&right) {
        Some(order) => order,
        None => left.is_nan().cmp(&right.is_nan()),
    }
}
