//! The types that a field of a document or a file can have.

use arrow::datatypes::DataType;

use crate::error::Result;
use crate::query::scalar::SqlType;
use crate::query::sql_file::{SqlFile, refuse_at};

/// Refuses a type that no document and no file can hold, with what to write instead.
pub(crate) fn check(file: &SqlFile, name: &str, data_type: &DataType) -> Result<()> {
    let advice = match unholdable(data_type) {
        None => return Ok(()),
        Some(DataType::Interval(_) | DataType::Duration(_)) => {
            "write EXTRACT(EPOCH FROM …) for its length in seconds, or store both times"
        }
        Some(DataType::Time32(_) | DataType::Time64(_)) => "write CAST(… AS VARCHAR)",
        Some(DataType::Map(..)) => "write named_struct('name', value, …)",
        Some(_) => "CAST it to VARCHAR, DECIMAL, TIMESTAMP or another type that a document has",
    };
    let found = SqlType::name(data_type);
    Err(refuse_at(file, name, format!("\"{name}\" is {found}, which no document or file can hold"))
        .advise(advice))
}

/// The type, or the part of it, that has no place.
fn unholdable(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::Null
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::Date32
        | DataType::Timestamp(..) => None,
        DataType::List(item) => unholdable(item.data_type()),
        DataType::Struct(fields) => fields.iter().find_map(|field| unholdable(field.data_type())),
        other => Some(other),
    }
}
