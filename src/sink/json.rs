//! A row as JSON, for files, for people and for comparing.
//!
//! Decimals are numbers with their digits as stored, times RFC 3339 in UTC, bytes UTF-8 text where
//! they are and base64 where not, NULL an explicit null.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::clock::rfc3339_wide;
use crate::error::{Error, Result};
use crate::query::scalar::time::iso_date;
use crate::query::scalar::timestamp_nanos;
use crate::sink::{DocumentIds, OutputRows};

/// The documents as JSON objects, one a row, `_id` first.
pub fn lines(output: &OutputRows) -> Result<Vec<String>> {
    (0..output.rows.num_rows()).map(|row| object(output, row)).collect()
}

/// One document.
pub fn object(output: &OutputRows, row: usize) -> Result<String> {
    let mut text = format!("{{\"_id\":{},", id(output, row)?);
    let all: Vec<usize> = (0..output.rows.num_columns()).collect();
    let mut fields = String::new();
    write_fields(&output.rows, &all, row, &mut fields)?;
    text.push_str(&fields[1..]);
    Ok(text)
}

/// The `_id` of one document.
pub fn id(output: &OutputRows, row: usize) -> Result<String> {
    let mut text = String::new();
    match &output.ids {
        DocumentIds::Derived(ids) => write_string(&ids[row], &mut text),
        DocumentIds::Columns(columns) => match columns.as_slice() {
            [column] => write_value(output.rows.column(*column).as_ref(), row, &mut text)?,
            columns => write_fields(&output.rows, columns, row, &mut text)?,
        },
    }
    Ok(text)
}

fn write_fields(rows: &RecordBatch, columns: &[usize], row: usize, text: &mut String) -> Result<()> {
    text.push('{');
    for (position, &column) in columns.iter().enumerate() {
        if position > 0 {
            text.push(',');
        }
        write_string(rows.schema().field(column).name(), text);
        text.push(':');
        write_value(rows.column(column).as_ref(), row, text)?;
    }
    text.push('}');
    Ok(())
}

fn write_string(value: &str, text: &mut String) {
    // A string can always be written as JSON.
    text.push_str(&serde_json::Value::from(value).to_string());
}

fn write_value(array: &dyn Array, row: usize, text: &mut String) -> Result<()> {
    use std::fmt::Write;
    if array.is_null(row) {
        text.push_str("null");
        return Ok(());
    }
    let mut put = |value: &dyn std::fmt::Display| {
        // Writing to a String can't fail.
        let _ = write!(text, "{value}");
    };
    match array.data_type() {
        DataType::Null => put(&"null"),
        DataType::Boolean => put(&array.as_boolean().value(row)),
        DataType::Int8 => put(&array.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => put(&array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => put(&array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => put(&array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt8 => put(&array.as_primitive::<UInt8Type>().value(row)),
        DataType::UInt16 => put(&array.as_primitive::<UInt16Type>().value(row)),
        DataType::UInt32 => put(&array.as_primitive::<UInt32Type>().value(row)),
        DataType::UInt64 => put(&array.as_primitive::<UInt64Type>().value(row)),
        DataType::Float32 => {
            put(&serde_json::Value::from(f64::from(array.as_primitive::<Float32Type>().value(row))))
        }
        DataType::Float64 => put(&serde_json::Value::from(array.as_primitive::<Float64Type>().value(row))),
        DataType::Decimal128(_, _) => put(&array.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Date32 => {
            put(&format!("\"{}\"", iso_date(array.as_primitive::<Date32Type>().value(row).into())))
        }
        DataType::Timestamp(unit, _) => {
            put(&format!("\"{}\"", rfc3339_wide(timestamp_nanos(array, *unit, row))))
        }
        DataType::Utf8 => write_string(array.as_string::<i32>().value(row), text),
        DataType::LargeUtf8 => write_string(array.as_string::<i64>().value(row), text),
        DataType::Utf8View => write_string(array.as_string_view().value(row), text),
        DataType::Binary => write_bytes(array.as_binary::<i32>().value(row), text),
        DataType::LargeBinary => write_bytes(array.as_binary::<i64>().value(row), text),
        DataType::BinaryView => write_bytes(array.as_binary_view().value(row), text),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            text.push('[');
            for item in 0..items.len() {
                if item > 0 {
                    text.push(',');
                }
                write_value(items.as_ref(), item, text)?;
            }
            text.push(']');
        }
        DataType::Struct(_) => {
            let fields = RecordBatch::from(array.as_struct().slice(row, 1));
            let all: Vec<usize> = (0..fields.num_columns()).collect();
            write_fields(&fields, &all, 0, text)?;
        }
        other => return Err(unsupported(other)),
    }
    Ok(())
}

/// No sink can store this type.
pub(super) fn unsupported(data_type: &DataType) -> Error {
    Error::config(format!("a document can't hold a value of type {data_type}"))
        .advise("CAST it in the output's SELECT")
}

fn write_bytes(bytes: &[u8], text: &mut String) {
    match std::str::from_utf8(bytes) {
        Ok(value) => write_string(value, text),
        Err(_) => write_string(&STANDARD.encode(bytes), text),
    }
}
