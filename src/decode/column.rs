//! Values become the array of their column.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder, Int8Builder,
    Int16Builder, Int32Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
    TimestampMillisecondBuilder, TimestampNanosecondBuilder, TimestampSecondBuilder,
};
use arrow::datatypes::{DataType, Field, TimeUnit};

use super::cell::Cell;
use crate::error::{Error, Result};

/// The Arrow builder of a column.
#[derive(Debug)]
pub(super) enum ColumnBuilder {
    Text(StringBuilder),
    Bool(BooleanBuilder),
    Int8(Int8Builder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder),
    Date(Date32Builder),
    Second(TimestampSecondBuilder),
    Millisecond(TimestampMillisecondBuilder),
    Microsecond(TimestampMicrosecondBuilder),
    Nanosecond(TimestampNanosecondBuilder),
}

/// The same call for the builder of any type.
macro_rules! each {
    ($column:expr, $builder:ident => $call:expr) => {
        match $column {
            ColumnBuilder::Text($builder) => $call,
            ColumnBuilder::Bool($builder) => $call,
            ColumnBuilder::Int8($builder) => $call,
            ColumnBuilder::Int16($builder) => $call,
            ColumnBuilder::Int32($builder) => $call,
            ColumnBuilder::Int64($builder) => $call,
            ColumnBuilder::Float32($builder) => $call,
            ColumnBuilder::Float64($builder) => $call,
            ColumnBuilder::Decimal($builder) => $call,
            ColumnBuilder::Date($builder) => $call,
            ColumnBuilder::Second($builder) => $call,
            ColumnBuilder::Millisecond($builder) => $call,
            ColumnBuilder::Microsecond($builder) => $call,
            ColumnBuilder::Nanosecond($builder) => $call,
        }
    };
}

impl ColumnBuilder {
    /// For a column of the declared type.
    ///
    /// # Errors
    /// [`Config`](crate::error::ErrorKind::Config): a type that records can't have.
    pub(super) fn try_new(field: &Field, capacity: usize) -> Result<Self> {
        Ok(match field.data_type() {
            DataType::Utf8 => Self::Text(StringBuilder::with_capacity(capacity, capacity * 12)),
            DataType::Boolean => Self::Bool(BooleanBuilder::with_capacity(capacity)),
            DataType::Int8 => Self::Int8(Int8Builder::with_capacity(capacity)),
            DataType::Int16 => Self::Int16(Int16Builder::with_capacity(capacity)),
            DataType::Int32 => Self::Int32(Int32Builder::with_capacity(capacity)),
            DataType::Int64 => Self::Int64(Int64Builder::with_capacity(capacity)),
            DataType::Float32 => Self::Float32(Float32Builder::with_capacity(capacity)),
            DataType::Float64 => Self::Float64(Float64Builder::with_capacity(capacity)),
            data_type @ DataType::Decimal128(_, scale) if *scale >= 0 => {
                Self::Decimal(Decimal128Builder::with_capacity(capacity).with_data_type(data_type.clone()))
            }
            DataType::Date32 => Self::Date(Date32Builder::with_capacity(capacity)),
            DataType::Timestamp(TimeUnit::Second, None) => {
                Self::Second(TimestampSecondBuilder::with_capacity(capacity))
            }
            DataType::Timestamp(TimeUnit::Millisecond, None) => {
                Self::Millisecond(TimestampMillisecondBuilder::with_capacity(capacity))
            }
            DataType::Timestamp(TimeUnit::Microsecond, None) => {
                Self::Microsecond(TimestampMicrosecondBuilder::with_capacity(capacity))
            }
            DataType::Timestamp(TimeUnit::Nanosecond, None) => {
                Self::Nanosecond(TimestampNanosecondBuilder::with_capacity(capacity))
            }
            other => {
                return Err(Error::config(format!(
                    "column \"{}\" has the type {other}, which can't be read",
                    field.name()
                ))
                .advise(
                    "use VARCHAR, BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, REAL, DOUBLE, DECIMAL(p, s) with p up to 38, \
                     DATE or TIMESTAMP (times are read as UTC)",
                ));
            }
        })
    }

    /// Appends a value of this column's type, whose range [`cell`](super::cell::cell) has checked.
    ///
    /// # Errors
    /// [`Internal`](crate::error::ErrorKind::Internal): a value of another type, which would be a bug; nothing is
    /// stored of the batch then.
    pub(super) fn append(&mut self, cell: Option<Cell<'_>>) -> Result<()> {
        let Some(cell) = cell else {
            each!(self, builder => builder.append_null());
            return Ok(());
        };
        match (self, cell) {
            (Self::Text(builder), Cell::Text(value)) => builder.append_value(value),
            (Self::Bool(builder), Cell::Bool(value)) => builder.append_value(value),
            (Self::Int8(builder), Cell::Int(value)) => builder.append_value(value as i8),
            (Self::Int16(builder), Cell::Int(value)) => builder.append_value(value as i16),
            (Self::Int32(builder), Cell::Int(value)) => builder.append_value(value as i32),
            (Self::Int64(builder), Cell::Int(value)) => builder.append_value(value),
            (Self::Float32(builder), Cell::Double(value)) => builder.append_value(value as f32),
            (Self::Float64(builder), Cell::Double(value)) => builder.append_value(value),
            (Self::Decimal(builder), Cell::Decimal(value)) => builder.append_value(value),
            (Self::Date(builder), Cell::Date(value)) => builder.append_value(value),
            (Self::Second(builder), Cell::Timestamp(value)) => builder.append_value(value),
            (Self::Millisecond(builder), Cell::Timestamp(value)) => builder.append_value(value),
            (Self::Microsecond(builder), Cell::Timestamp(value)) => builder.append_value(value),
            (Self::Nanosecond(builder), Cell::Timestamp(value)) => builder.append_value(value),
            (column, cell) => {
                return Err(Error::internal(format!("{cell:?} is no value of {column:?}")));
            }
        }
        Ok(())
    }

    /// The array of what was appended.
    pub(super) fn finish(&mut self) -> ArrayRef {
        each!(self, builder => Arc::new(builder.finish()))
    }
}
