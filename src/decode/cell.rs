//! The JSON text of a column becomes a value that fits its type, exactly; or what was found and what was expected.

use std::borrow::Cow;

use arrow::datatypes::{DataType, Field};

use super::{number, time};
use crate::clock::nanos_per;

/// A value that fits its column.
#[derive(Debug)]
pub(super) enum Cell<'a> {
    Text(Cow<'a, str>),
    Bool(bool),
    Int(i64),
    Double(f64),
    Decimal(i128),
    Date(i32),
    /// In the unit of the column.
    Timestamp(i64),
}

/// Why a text is no value of its column.
pub(super) enum CellError {
    /// A time that the type, or the watermark, can't hold.
    BeyondType,
    /// The record does not name the column.
    Missing,
    Other(String),
}

/// A text as a value of its column's type; `None` is NULL.
pub(super) fn cell<'a>(
    field: &Field,
    text: Option<&'a str>,
    is_event_time: bool,
) -> Result<Option<Cell<'a>>, CellError> {
    let expected = || type_name(field.data_type());
    let text = match text {
        None | Some("null") if field.is_nullable() => return Ok(None),
        None => return Err(CellError::Missing),
        Some("null") => return Err(CellError::Other(format!("null, expected {}", expected()))),
        Some(text) => text,
    };
    let mismatch = || CellError::Other(format!("found {}, expected {}", describe(text), expected()));
    let number = |precision, scale| {
        number::scaled(text, precision, scale)
            .map_err(|problem| number_error(problem, text, field.data_type()))
    };
    Ok(Some(match field.data_type() {
        DataType::Utf8 => Cell::Text(string(text).ok_or_else(mismatch)?),
        DataType::Boolean => Cell::Bool(text.parse().map_err(|_| mismatch())?),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            let value = number(19, 0)?;
            let (least, greatest) = int_range(field.data_type());
            match i64::try_from(value) {
                Ok(value) if (least..=greatest).contains(&value) => Cell::Int(value),
                _ => return Err(number_error(number::NumberError::TooLarge, text, field.data_type())),
            }
        }
        DataType::Float32 | DataType::Float64 => {
            if !text.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
                return Err(mismatch());
            }
            let value: f64 = text.parse().map_err(|_| mismatch())?;
            let greatest =
                if field.data_type() == &DataType::Float32 { f64::from(f32::MAX) } else { f64::MAX };
            if value.abs() > greatest {
                return Err(number_error(number::NumberError::TooLarge, text, field.data_type()));
            }
            Cell::Double(value)
        }
        DataType::Decimal128(precision, scale) => {
            let inner =
                if text.starts_with('"') { string(text).ok_or_else(mismatch)? } else { Cow::Borrowed(text) };
            let value = number::scaled(&inner, *precision, *scale)
                .map_err(|problem| number_error(problem, text, field.data_type()))?;
            Cell::Decimal(value)
        }
        DataType::Date32 => {
            let text = string(text).ok_or_else(mismatch)?;
            Cell::Date(time::date(&text).ok_or_else(mismatch)?)
        }
        DataType::Timestamp(unit, _) => {
            let text = string(text).ok_or_else(mismatch)?;
            let nanos = time::timestamp(&text).ok_or_else(mismatch)?;
            let nanos_per_unit = nanos_per(*unit);
            if nanos % nanos_per_unit != 0 {
                return Err(CellError::Other(format!("{text} has more fraction digits than {}", expected())));
            }
            // Whatever their unit, event times are compared in nanoseconds.
            if is_event_time && i64::try_from(nanos).is_err() {
                return Err(if nanos > 0 { CellError::BeyondType } else { mismatch() });
            }
            Cell::Timestamp(i64::try_from(nanos / nanos_per_unit).map_err(|_| CellError::BeyondType)?)
        }
        _ => return Err(mismatch()),
    }))
}

/// The text of a JSON string, borrowed where it has no escapes.
fn string(json: &str) -> Option<Cow<'_, str>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str(json).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

fn number_error(problem: number::NumberError, text: &str, data_type: &DataType) -> CellError {
    let expected = type_name(data_type);
    CellError::Other(match problem {
        number::NumberError::Syntax => format!("found {}, expected {expected}", describe(text)),
        number::NumberError::Inexact => format!("{} can't be held exactly by {expected}", clip(text)),
        number::NumberError::TooLarge => format!("{} is out of the range of {expected}", clip(text)),
    })
}

fn int_range(data_type: &DataType) -> (i64, i64) {
    match data_type {
        DataType::Int8 => (i64::from(i8::MIN), i64::from(i8::MAX)),
        DataType::Int16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
        DataType::Int32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        _ => (i64::MIN, i64::MAX),
    }
}

/// What a JSON text is, for a person.
pub(super) fn describe(json: &str) -> String {
    let kind = match json.as_bytes().first() {
        Some(b'"') => "the string",
        Some(b'{') => return "an object".to_owned(),
        Some(b'[') => return "an array".to_owned(),
        Some(b'-' | b'0'..=b'9') => "the number",
        _ => "",
    };
    format!("{kind} {}", clip(json)).trim_start().to_owned()
}

fn clip(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The SQL name of a column type.
pub fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => "VARCHAR".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "REAL".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Date32 => "DATE (YYYY-MM-DD)".to_owned(),
        DataType::Timestamp(_, _) => "TIMESTAMP (RFC 3339)".to_owned(),
        other => other.to_string(),
    }
}

/// A required column is not there; perhaps under a name that differs in case, as SQL folds what is not quoted.
pub(super) fn missing(field: &Field, unknown: &[Cow<'_, str>]) -> String {
    let (name, expected) = (field.name(), type_name(field.data_type()));
    let folded = name.to_lowercase();
    let similar = unknown.iter().find(|other| other.to_lowercase() == folded);
    let hint = similar.map(|other| format!("; the record has \"{other}\"")).unwrap_or_default();
    format!("column \"{name}\": missing, expected {expected}{hint}")
}
