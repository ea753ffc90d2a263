//! The types of SQL as PostgreSQL resolves expressions by them, and the Arrow types that hold their values.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};

/// What a DECIMAL column can hold at most.
pub(crate) const MAX_DIGITS: u32 = 38;

/// How many digits a number has at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digits {
    /// Before the point.
    pub(crate) whole: u32,
    /// Behind it.
    pub(crate) scale: u32,
}

impl Digits {
    /// Enough for both.
    pub(crate) fn union(self, other: Self) -> Self {
        Self { whole: self.whole.max(other.whole), scale: self.scale.max(other.scale) }
    }
}

/// A type of SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SqlType {
    /// `NULL`, or a quoted literal that takes the type of what it stands beside.
    Unknown,
    Bool,
    /// SMALLINT, INT, BIGINT by their bytes.
    Int(u8),
    /// An exact number; `None` when its digits follow from the values (a quotient).
    Numeric(Option<Digits>),
    Real,
    Double,
    Text,
    Bytes,
    Date,
    /// Without time zone (or in UTC, which is the same here).
    Timestamp(TimeUnit),
    Interval,
    List(Box<SqlType>),
    Struct(Vec<(String, SqlType)>),
    /// A type that expressions only pass on.
    Other(DataType),
}

impl SqlType {
    pub(crate) fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Null => Self::Unknown,
            DataType::Boolean => Self::Bool,
            DataType::Int8 | DataType::Int16 | DataType::UInt8 => Self::Int(2),
            DataType::Int32 | DataType::UInt16 => Self::Int(4),
            DataType::Int64 | DataType::UInt32 => Self::Int(8),
            DataType::UInt64 => Self::Numeric(Some(Digits { whole: 20, scale: 0 })),
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale)
            | DataType::Decimal256(precision, scale)
                if *scale >= 0 =>
            {
                let scale = u32::from(scale.unsigned_abs());
                Self::Numeric(Some(Digits { whole: u32::from(*precision).saturating_sub(scale), scale }))
            }
            DataType::Float16 | DataType::Float32 => Self::Real,
            DataType::Float64 => Self::Double,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Self::Bytes,
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Timestamp(unit, _) => Self::Timestamp(*unit),
            DataType::Interval(_) | DataType::Duration(_) => Self::Interval,
            DataType::List(item) | DataType::LargeList(item) => {
                Self::List(Box::new(Self::of(item.data_type())))
            }
            DataType::Struct(fields) => Self::Struct(
                fields.iter().map(|field| (field.name().clone(), Self::of(field.data_type()))).collect(),
            ),
            other => Self::Other(other.clone()),
        }
    }

    /// The name of an Arrow type, as people write it.
    pub(crate) fn name(data_type: &DataType) -> String {
        Self::of(data_type).to_string()
    }

    /// The Arrow type that holds its values in a batch; `None` where no more than 38 digits or no
    /// column can.
    pub(crate) fn to_arrow(&self) -> Option<DataType> {
        Some(match self {
            Self::Unknown => DataType::Null,
            Self::Bool => DataType::Boolean,
            Self::Int(2) => DataType::Int16,
            Self::Int(4) => DataType::Int32,
            Self::Int(_) => DataType::Int64,
            Self::Numeric(Some(Digits { whole, scale })) if whole + scale <= MAX_DIGITS => {
                DataType::Decimal128((whole + scale).max(1) as u8, *scale as i8)
            }
            Self::Numeric(_) => return None,
            Self::Real => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Text => DataType::Utf8,
            Self::Bytes => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Timestamp(unit) => DataType::Timestamp(*unit, None),
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Self::List(item) => DataType::List(Arc::new(Field::new_list_field(item.to_arrow()?, true))),
            Self::Struct(fields) => DataType::Struct(
                fields
                    .iter()
                    .map(|(name, item)| Some(Field::new(name, item.to_arrow()?, true)))
                    .collect::<Option<Fields>>()?,
            ),
            Self::Other(data_type) => data_type.clone(),
        })
    }

    /// A type that DataFusion may believe in while it resolves names; values are never computed in it.
    pub(crate) fn stand_in(&self) -> DataType {
        self.to_arrow().unwrap_or(DataType::Decimal128(MAX_DIGITS as u8, 10))
    }

    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Numeric(_) | Self::Real | Self::Double)
    }

    /// INT or DECIMAL.
    pub(crate) fn is_exact(&self) -> bool {
        matches!(self, Self::Int(_) | Self::Numeric(_))
    }

    pub(crate) fn is_time(&self) -> bool {
        matches!(self, Self::Date | Self::Timestamp(_))
    }

    /// The digits of an exact number; `None` if they follow from the values.
    pub(crate) fn digits(&self) -> Option<Digits> {
        match self {
            Self::Int(2) => Some(Digits { whole: 5, scale: 0 }),
            Self::Int(4) => Some(Digits { whole: 10, scale: 0 }),
            Self::Int(_) => Some(Digits { whole: 19, scale: 0 }),
            Self::Numeric(digits) => *digits,
            _ => None,
        }
    }

    /// The type in which an operator compares or computes: a REAL meets an exact number as DOUBLE.
    pub(crate) fn compared(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Real, right) | (right, Self::Real) if right.is_exact() => Some(Self::Double),
            _ => self.common(other),
        }
    }

    /// What CASE, COALESCE, IN and the like make of values of both types; `None` if PostgreSQL refuses.
    pub(crate) fn common(&self, other: &Self) -> Option<Self> {
        Some(match (self, other) {
            (left, right) if left == right => left.clone(),
            (Self::Unknown, known) | (known, Self::Unknown) => known.clone(),
            (Self::Int(left), Self::Int(right)) => Self::Int(*left.max(right)),
            (left, right) if left.is_exact() && right.is_exact() => {
                Self::Numeric(left.digits().zip(right.digits()).map(|(left, right)| left.union(right)))
            }
            (Self::Real, right) | (right, Self::Real) if right.is_exact() => Self::Real,
            (left, right) if left.is_number() && right.is_number() => Self::Double,
            // Microseconds reach as far as dates and coarser times do; nanoseconds end in 2262.
            (Self::Date, Self::Timestamp(_)) | (Self::Timestamp(_), Self::Date) => {
                Self::Timestamp(TimeUnit::Microsecond)
            }
            (Self::Timestamp(left), Self::Timestamp(right)) => {
                Self::Timestamp(left.max(right).min(&TimeUnit::Microsecond).to_owned())
            }
            (Self::List(left), Self::List(right)) => Self::List(Box::new(left.common(right)?)),
            (Self::Struct(left), Self::Struct(right)) if left.len() == right.len() => Self::Struct(
                left.iter()
                    .zip(right)
                    .map(|((name, left), (_, right))| Some((name.clone(), left.common(right)?)))
                    .collect::<Option<_>>()?,
            ),
            _ => return None,
        })
    }
}

impl fmt::Display for SqlType {
    /// As people write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("NULL"),
            Self::Interval => f.write_str("INTERVAL"),
            Self::Numeric(Some(Digits { whole, scale })) => {
                write!(f, "DECIMAL({}, {scale})", (whole + scale).max(1))
            }
            Self::Numeric(None) => f.write_str("DECIMAL"),
            Self::List(item) => write!(f, "a list of {item}"),
            Self::Struct(_) => f.write_str("a struct"),
            Self::Other(DataType::Time32(_) | DataType::Time64(_)) => f.write_str("TIME"),
            Self::Other(DataType::Map(..)) => f.write_str("MAP"),
            Self::Other(data_type) => write!(f, "{data_type}"),
            Self::Bool => f.write_str("BOOLEAN"),
            Self::Int(2) => f.write_str("SMALLINT"),
            Self::Int(4) => f.write_str("INT"),
            Self::Int(_) => f.write_str("BIGINT"),
            Self::Real => f.write_str("REAL"),
            Self::Double => f.write_str("DOUBLE"),
            Self::Text => f.write_str("VARCHAR"),
            Self::Bytes => f.write_str("BYTEA"),
            Self::Date => f.write_str("DATE"),
            Self::Timestamp(_) => f.write_str("TIMESTAMP"),
        }
    }
}
