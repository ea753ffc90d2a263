//! Columns of a batch as values, and values as a column.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int16Array, Int32Array, Int64Array, ListArray, NullArray, StringBuilder, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast as arrow_cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use num_bigint::BigInt;

use super::fault::Fault;
use super::numeric::Numeric;
use super::value::Value;
use crate::clock::nanos_per;

/// The value at `row`, borrowed from the column.
pub(crate) fn value_at<'a>(array: &'a dyn Array, row: usize) -> Value<'a> {
    if array.is_null(row) {
        return Value::Null;
    }
    let int = |value: i64| Value::Int(value);
    let decimal = |value: i128, scale: i8| Value::Numeric(Numeric::new(value, scale.max(0) as u32));
    match array.data_type() {
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Int8 => int(array.as_primitive::<Int8Type>().value(row).into()),
        DataType::Int16 => int(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => int(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => int(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => int(array.as_primitive::<UInt8Type>().value(row).into()),
        DataType::UInt16 => int(array.as_primitive::<UInt16Type>().value(row).into()),
        DataType::UInt32 => int(array.as_primitive::<UInt32Type>().value(row).into()),
        DataType::UInt64 => decimal(array.as_primitive::<UInt64Type>().value(row).into(), 0),
        DataType::Float32 => Value::Double(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => Value::Double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => decimal(array.as_primitive::<Decimal128Type>().value(row), *scale),
        DataType::Decimal256(_, scale) => {
            let bytes = array.as_primitive::<Decimal256Type>().value(row).to_le_bytes();
            let value = BigInt::from_signed_bytes_le(&bytes);
            Value::Numeric(Numeric::from_big(value, (*scale).max(0) as u32))
        }
        DataType::Utf8 => Value::text(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Value::text(array.as_string::<i64>().value(row)),
        DataType::Utf8View => Value::text(array.as_string_view().value(row)),
        DataType::Binary => Value::Bytes(Cow::Borrowed(array.as_binary::<i32>().value(row))),
        DataType::LargeBinary => Value::Bytes(Cow::Borrowed(array.as_binary::<i64>().value(row))),
        DataType::Date32 => Value::Date(array.as_primitive::<Date32Type>().value(row).into()),
        DataType::Timestamp(unit, _) => Value::Timestamp(timestamp_nanos(array, *unit, row)),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (start, end) = (list.value_offsets()[row] as usize, list.value_offsets()[row + 1] as usize);
            Value::List((start..end).map(|item| value_at(list.values().as_ref(), item)).collect())
        }
        DataType::Struct(_) => Value::Struct(
            array.as_struct().columns().iter().map(|column| value_at(column.as_ref(), row)).collect(),
        ),
        // The planner lets no other type into an expression that computes.
        _ => Value::Null,
    }
}

/// The time at `row` of a column of times in `unit`, in nanoseconds; coarse units reach beyond 64 bits of them.
pub(crate) fn timestamp_nanos(array: &dyn Array, unit: TimeUnit, row: usize) -> i128 {
    let value = match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().value(row),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().value(row),
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().value(row),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().value(row),
    };
    i128::from(value) * nanos_per(unit)
}

/// The values as a column of `to`.
///
/// # Errors
/// A value that the type can't hold, with the name of the type.
pub(crate) fn column(values: Vec<Value<'_>>, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let too_large = |value: String| {
        ArrowError::ComputeError(
            Fault::new(format!("{value} is out of the range of {}", name(to))).message().to_owned(),
        )
    };
    Ok(match to {
        DataType::Null => Arc::new(NullArray::new(values.len())),
        DataType::Boolean => {
            let mut builder = BooleanBuilder::with_capacity(values.len());
            values.iter().for_each(|value| builder.append_option(value.as_bool()));
            Arc::new(builder.finish())
        }
        DataType::Int16 => {
            Arc::new(values.iter().map(|value| int(value).map(|int| int as i16)).collect::<Int16Array>())
        }
        DataType::Int32 => {
            Arc::new(values.iter().map(|value| int(value).map(|int| int as i32)).collect::<Int32Array>())
        }
        DataType::Int64 => Arc::new(values.iter().map(int).collect::<Int64Array>()),
        DataType::Float32 => Arc::new(
            values.iter().map(|value| float(value).map(|float| float as f32)).collect::<Float32Array>(),
        ),
        DataType::Float64 => Arc::new(values.iter().map(float).collect::<Float64Array>()),
        DataType::Decimal128(precision, scale) => {
            let exact = values
                .iter()
                .map(|value| match value {
                    Value::Null => Ok(None),
                    value => {
                        let number = value.numeric();
                        let unscaled = number.exactly_at((*scale).max(0) as u32);
                        unscaled.map(Some).ok_or_else(|| too_large(number.to_string()))
                    }
                })
                .collect::<Result<Vec<Option<i128>>, _>>()?;
            Arc::new(Decimal128Array::from(exact).with_precision_and_scale(*precision, *scale)?)
        }
        DataType::Utf8 => {
            let mut builder = StringBuilder::with_capacity(values.len(), values.len() * 16);
            for value in &values {
                match value {
                    Value::Text(text) => builder.append_value(text),
                    _ => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }
        DataType::Binary => {
            let mut builder = BinaryBuilder::new();
            for value in &values {
                match value {
                    Value::Bytes(bytes) => builder.append_value(bytes),
                    _ => builder.append_null(),
                }
            }
            Arc::new(builder.finish())
        }
        DataType::Date32 => {
            let days = values
                .iter()
                .map(|value| match value {
                    Value::Date(days) => {
                        i32::try_from(*days).map(Some).map_err(|_| too_large(days.to_string()))
                    }
                    _ => Ok(None),
                })
                .collect::<Result<Vec<_>, _>>()?;
            Arc::new(Date32Array::from(days))
        }
        DataType::Timestamp(unit, zone) => {
            let step = nanos_per(*unit);
            let counts = values
                .iter()
                .map(|value| match value {
                    Value::Null => Ok(None),
                    value if value.nanos() % step != 0 => Err(ArrowError::ComputeError(format!(
                        "{} has more fraction digits than its type",
                        super::time::format_timestamp(value.nanos())
                    ))),
                    value => i64::try_from(value.nanos() / step)
                        .map(Some)
                        .map_err(|_| too_large(super::time::format_timestamp(value.nanos()))),
                })
                .collect::<Result<Vec<_>, _>>()?;
            let counts: ArrayRef = Arc::new(Int64Array::from(counts));
            arrow_cast(&counts, &DataType::Timestamp(*unit, zone.clone()))?
        }
        DataType::List(field) => {
            let nulls: NullBuffer = values.iter().map(|value| !value.is_null()).collect();
            let (mut items, mut lengths) = (Vec::new(), Vec::with_capacity(values.len()));
            for value in values {
                let before = items.len();
                if let Value::List(list) = value {
                    items.extend(list);
                }
                lengths.push(items.len() - before);
            }
            let items = column(items, field.data_type())?;
            let offsets = OffsetBuffer::from_lengths(lengths);
            Arc::new(ListArray::try_new(Arc::clone(field), offsets, items, Some(nulls))?)
        }
        DataType::Struct(fields) => {
            let nulls: NullBuffer = values.iter().map(|value| !value.is_null()).collect();
            let num_rows = values.len();
            let mut columns: Vec<Vec<Value<'_>>> =
                fields.iter().map(|_| Vec::with_capacity(num_rows)).collect();
            for value in values {
                let mut parts = match value {
                    Value::Struct(parts) => parts.into_iter(),
                    _ => Vec::new().into_iter(),
                };
                columns.iter_mut().for_each(|column| column.push(parts.next().unwrap_or(Value::Null)));
            }
            let columns = columns
                .into_iter()
                .zip(fields)
                .map(|(values, field)| column(values, field.data_type()))
                .collect::<Result<Vec<_>, _>>()?;
            Arc::new(StructArray::try_new(fields.clone(), columns, Some(nulls))?)
        }
        other => return Err(ArrowError::NotYetImplemented(format!("a column of {other}"))),
    })
}

/// The type's name, for people.
fn name(data_type: &DataType) -> String {
    match data_type {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => "TIMESTAMP (years 1678 to 2261)".to_owned(),
        other => super::types::SqlType::of(other).to_string(),
    }
}

fn int(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Int(value) => Some(*value),
        _ => None,
    }
}

fn float(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Double(value) => Some(*value),
        _ => None,
    }
}
