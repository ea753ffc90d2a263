//! The bytes of a record become a row of its table, or a reject that says why not.
//!
//! Decoding is strict and per record: one JSON object, all required columns, the declared types,
//! no name twice. A reject costs itself only; the builders are touched after a record is known to
//! be good, so its neighbours can't shift.
//!
//! ```text
//! value bytes ─ UTF-8? ─ depth? ─ serde_json (each column's text, borrowed) ─ cells ─┬─ Arrow builders
//!                                                                                    └─ Reject
//! ```

mod number;
mod time;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder, Int8Builder,
    Int16Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
    TimestampMillisecondBuilder, TimestampNanosecondBuilder, TimestampSecondBuilder,
};
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::clock::nanos_per;
use crate::error::{Error, Result};
use crate::source::Records;

/// The deepest nesting of arrays and objects that a record may have.
const MAX_DEPTH: usize = 128;

/// Why a record did not become a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// It is not what its table declares.
    Malformed,
    /// Its event time is beyond what the column can hold.
    Future,
}

/// A record that is not a row.
#[derive(Debug, PartialEq, Eq)]
pub struct Reject {
    /// Its index in the [`Records`] it was decoded from.
    pub record: u32,
    /// Why.
    pub reason: RejectReason,
    /// The column, what was found and what was expected.
    pub error: String,
}

/// What became of the records of one range.
#[derive(Debug)]
pub struct Decoded {
    /// The good ones, in record order, with the table's columns.
    pub rows: RecordBatch,
    /// For each row the index of its record.
    pub records: Vec<u32>,
    /// The bad ones, in record order.
    pub rejects: Vec<Reject>,
    /// The indices of the records that have a null value.
    pub tombstones: Vec<u32>,
}

/// Decodes the records of one table.
#[derive(Debug)]
pub struct Decoder {
    schema: SchemaRef,
    event_time: Option<usize>,
    max_record_bytes: usize,
}

impl Decoder {
    /// A decoder into `schema`; `event_time` is the index of the watermark column, whose values
    /// beyond 2262 are [`RejectReason::Future`].
    ///
    /// # Errors
    /// [`Config`](crate::error::ErrorKind::Config) names a column whose type no JSON value can be read into.
    pub fn try_new(schema: SchemaRef, event_time: Option<usize>, max_record_bytes: usize) -> Result<Self> {
        for field in schema.fields() {
            ColumnBuilder::try_new(field, 0)?;
        }
        Ok(Self { schema, event_time, max_record_bytes })
    }

    /// Decodes all records, in their order.
    pub fn decode(&self, records: &Records) -> Result<Decoded> {
        let mut builders = self.builders(records.len())?;
        let mut decoded = Decoded {
            rows: RecordBatch::new_empty(Arc::clone(&self.schema)),
            records: Vec::with_capacity(records.len()),
            rejects: Vec::new(),
            tombstones: Vec::new(),
        };
        for (index, record) in (0u32..).zip(records.iter()) {
            let Some(value) = record.value() else {
                decoded.tombstones.push(index);
                continue;
            };
            match self.decode_value(value) {
                Ok(cells) => {
                    for (builder, cell) in builders.iter_mut().zip(cells) {
                        builder.append(cell);
                    }
                    decoded.records.push(index);
                }
                Err((reason, error)) => decoded.rejects.push(Reject { record: index, reason, error }),
            }
        }
        let columns = builders.iter_mut().map(ColumnBuilder::finish).collect();
        decoded.rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        Ok(decoded)
    }

    fn decode_value<'a>(&self, value: &'a [u8]) -> Result<Vec<Option<Cell<'a>>>, (RejectReason, String)> {
        let malformed = |error: String| (RejectReason::Malformed, error);
        if value.len() > self.max_record_bytes {
            return Err(malformed(format!(
                "the value has {} bytes, more than max.record.bytes ({})",
                value.len(),
                self.max_record_bytes
            )));
        }
        let text = std::str::from_utf8(value)
            .map_err(|error| malformed(format!("invalid UTF-8 at byte {}", error.valid_up_to())))?;
        if text.trim_ascii().is_empty() {
            return Err(malformed("the value is empty, expected a JSON object".to_owned()));
        }
        if !text.trim_ascii_start().starts_with('{') {
            return Err(malformed(format!("found {}, expected a JSON object", describe(text.trim_ascii()))));
        }
        check_depth(value).map_err(malformed)?;
        let texts = self.column_texts(text).map_err(malformed)?;
        self.cells(texts)
    }

    /// Rows whose values come as JSON texts, one for each column.
    ///
    /// The inner error is the first row that does not fit, by its index.
    pub fn decode_texts(
        &self,
        rows: &[Vec<String>],
    ) -> Result<std::result::Result<RecordBatch, (usize, String)>> {
        let mut builders = self.builders(rows.len())?;
        for (row, texts) in rows.iter().enumerate() {
            let columns = texts.iter().map(|text| Some(text.as_str())).collect();
            match self.cells(ObjectTexts { columns, unknown: Vec::new() }) {
                Ok(cells) => {
                    builders.iter_mut().zip(cells).for_each(|(builder, cell)| builder.append(cell));
                }
                Err((_, error)) => return Ok(Err((row, error))),
            }
        }
        let columns = builders.iter_mut().map(ColumnBuilder::finish).collect();
        Ok(Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?))
    }

    fn builders(&self, num_rows: usize) -> Result<Vec<ColumnBuilder>> {
        self.schema.fields().iter().map(|field| ColumnBuilder::try_new(field, num_rows)).collect()
    }

    fn cells<'a>(&self, texts: ObjectTexts<'a>) -> Result<Vec<Option<Cell<'a>>>, (RejectReason, String)> {
        let malformed = |error: String| (RejectReason::Malformed, error);
        let ObjectTexts { columns, unknown } = texts;
        let mut cells = Vec::with_capacity(columns.len());
        for (index, (field, text)) in self.schema.fields().iter().zip(columns).enumerate() {
            let is_event_time = self.event_time == Some(index);
            cells.push(cell(field, text, is_event_time).map_err(|problem| match problem {
                CellError::BeyondType if is_event_time => {
                    (RejectReason::Future, format!("column \"{}\" is beyond the year 2262", field.name()))
                }
                CellError::BeyondType => malformed(format!(
                    "column \"{}\": the time is out of the range of {}",
                    field.name(),
                    type_name(field.data_type())
                )),
                CellError::Missing => malformed(missing(field, &unknown)),
                CellError::Other(error) => malformed(format!("column \"{}\": {error}", field.name())),
            })?);
        }
        Ok(cells)
    }

    /// The JSON text of each column, `None` where the object does not name it, and the names that are no column.
    fn column_texts<'a>(&self, text: &'a str) -> Result<ObjectTexts<'a>, String> {
        let mut json = serde_json::Deserializer::from_str(text);
        let texts = json
            .deserialize_map(ObjectVisitor { schema: &self.schema })
            .and_then(|texts| json.end().map(|()| texts));
        texts.map_err(|error| error.to_string())
    }
}

/// What one object says of the columns.
struct ObjectTexts<'a> {
    columns: Vec<Option<&'a str>>,
    unknown: Vec<Cow<'a, str>>,
}

/// A required column is not there; perhaps under a name that differs in case, as SQL folds what is not quoted.
fn missing(field: &Field, unknown: &[Cow<'_, str>]) -> String {
    let (name, expected) = (field.name(), type_name(field.data_type()));
    let folded = name.to_lowercase();
    let similar = unknown.iter().find(|other| other.to_lowercase() == folded);
    let hint = similar.map(|other| format!("; the record has \"{other}\"")).unwrap_or_default();
    format!("column \"{name}\": missing, expected {expected}{hint}")
}

/// Reads one object into the texts of its known columns.
struct ObjectVisitor<'s> {
    schema: &'s SchemaRef,
}

impl<'de> Visitor<'de> for ObjectVisitor<'_> {
    type Value = ObjectTexts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let repeated = |name: &str| serde::de::Error::custom(format!("the name \"{name}\" is there twice"));
        let mut texts = vec![None; self.schema.fields().len()];
        let mut unknown: Vec<Cow<'de, str>> = Vec::new();
        while let Some(name) = map.next_key_seed(NameSeed)? {
            match self.schema.fields().iter().position(|field| *field.name() == *name) {
                Some(index) => {
                    let raw: &'de RawValue = map.next_value()?;
                    if texts[index].replace(raw.get()).is_some() {
                        return Err(repeated(&name));
                    }
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                    unknown.push(name);
                }
            }
        }
        unknown.sort_unstable();
        match unknown.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(repeated(&pair[0])),
            None => Ok(ObjectTexts { columns: texts, unknown }),
        }
    }
}

/// Borrows a name where it has no escapes.
struct NameSeed;

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// Refuses nesting beyond [`MAX_DEPTH`]; serde_json skips unknown fields without counting.
fn check_depth(value: &[u8]) -> Result<(), String> {
    let num_openings = value.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
    if num_openings <= MAX_DEPTH {
        return Ok(());
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in value {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(format!("nested deeper than {MAX_DEPTH} levels"));
        }
    }
    Ok(())
}

/// A value that fits its column.
enum Cell<'a> {
    Text(Cow<'a, str>),
    Bool(bool),
    Int(i64),
    Double(f64),
    Decimal(i128),
    Date(i32),
    /// In the unit of the column.
    Timestamp(i64),
}

enum CellError {
    /// A time that the type, or the watermark, can't hold.
    BeyondType,
    /// The record does not name the column.
    Missing,
    Other(String),
}

fn cell<'a>(
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
fn describe(json: &str) -> String {
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

/// Nanoseconds since 1970 UTC of an RFC 3339 text, as columns of type TIMESTAMP read it.
pub fn parse_timestamp(text: &str) -> Option<i128> {
    time::timestamp(text)
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

/// The Arrow builder of a column.
#[derive(Debug)]
enum ColumnBuilder {
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

impl ColumnBuilder {
    fn try_new(field: &Field, capacity: usize) -> Result<Self> {
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

    /// Appends a cell of this column's type; any other would be a bug of [`cell`] and becomes a null.
    fn append(&mut self, cell: Option<Cell<'_>>) {
        match (self, cell) {
            (Self::Text(builder), Some(Cell::Text(value))) => builder.append_value(value),
            (Self::Text(builder), _) => builder.append_null(),
            (Self::Bool(builder), cell) => builder.append_option(match cell {
                Some(Cell::Bool(value)) => Some(value),
                _ => None,
            }),
            (Self::Int8(builder), cell) => builder.append_option(int(cell).map(|value| value as i8)),
            (Self::Int16(builder), cell) => builder.append_option(int(cell).map(|value| value as i16)),
            (Self::Int32(builder), cell) => builder.append_option(int(cell).map(|value| value as i32)),
            (Self::Int64(builder), cell) => builder.append_option(int(cell)),
            (Self::Float32(builder), cell) => builder.append_option(double(cell).map(|value| value as f32)),
            (Self::Float64(builder), cell) => builder.append_option(double(cell)),
            (Self::Decimal(builder), cell) => builder.append_option(match cell {
                Some(Cell::Decimal(value)) => Some(value),
                _ => None,
            }),
            (Self::Date(builder), cell) => builder.append_option(match cell {
                Some(Cell::Date(value)) => Some(value),
                _ => None,
            }),
            (Self::Second(builder), cell) => builder.append_option(time_of(cell)),
            (Self::Millisecond(builder), cell) => builder.append_option(time_of(cell)),
            (Self::Microsecond(builder), cell) => builder.append_option(time_of(cell)),
            (Self::Nanosecond(builder), cell) => builder.append_option(time_of(cell)),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Int8(builder) => Arc::new(builder.finish()),
            Self::Int16(builder) => Arc::new(builder.finish()),
            Self::Int32(builder) => Arc::new(builder.finish()),
            Self::Int64(builder) => Arc::new(builder.finish()),
            Self::Float32(builder) => Arc::new(builder.finish()),
            Self::Float64(builder) => Arc::new(builder.finish()),
            Self::Decimal(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Second(builder) => Arc::new(builder.finish()),
            Self::Millisecond(builder) => Arc::new(builder.finish()),
            Self::Microsecond(builder) => Arc::new(builder.finish()),
            Self::Nanosecond(builder) => Arc::new(builder.finish()),
        }
    }
}

fn int(cell: Option<Cell<'_>>) -> Option<i64> {
    match cell {
        Some(Cell::Int(value)) => Some(value),
        _ => None,
    }
}

fn double(cell: Option<Cell<'_>>) -> Option<f64> {
    match cell {
        Some(Cell::Double(value)) => Some(value),
        _ => None,
    }
}

fn time_of(cell: Option<Cell<'_>>) -> Option<i64> {
    match cell {
        Some(Cell::Timestamp(value)) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Int64Type, Schema};

    use super::*;
    use crate::batch::offset::TopicPartition;

    fn decoder() -> Decoder {
        let schema = Schema::new(vec![
            Field::new("id", DataType::Utf8, false),
            Field::new("n", DataType::Int64, true),
            Field::new("at", DataType::Timestamp(TimeUnit::Nanosecond, None), true),
        ]);
        Decoder::try_new(Arc::new(schema), Some(2), 1000).expect("all types can be read")
    }

    fn error_of(value: &[u8]) -> String {
        match decoder().decode_value(value) {
            Ok(_) => "accepted".to_owned(),
            Err((_, error)) => error,
        }
    }

    #[test]
    fn a_bad_record_leaves_its_neighbours_alone() {
        let mut records = Records::new(TopicPartition::new("t", 0));
        records.push(5, 0, None, Some(br#"{"id":"a","n":1}"#));
        records.push(6, 0, None, Some(br#"{"id":"b","n":"#));
        records.push(8, 0, None, None);
        records.push(9, 0, None, Some(br#"{"n":1e2,"x":[{}],"id":"\u0063"}"#));
        let decoded = decoder().decode(&records).expect("decodes");
        assert_eq!(decoded.records, [0, 3]);
        assert_eq!(decoded.tombstones, [2]);
        assert_eq!(decoded.rejects.len(), 1);
        assert_eq!(decoded.rejects[0].record, 1);
        use arrow::array::AsArray;
        assert_eq!(decoded.rows.column(0).as_string::<i32>().value(1), "c");
        assert_eq!(decoded.rows.column(1).as_primitive::<Int64Type>().value(1), 100);
    }

    #[test]
    fn errors_say_column_found_and_expected() {
        assert_eq!(error_of(br#"{"n":1}"#), "column \"id\": missing, expected VARCHAR");
        assert_eq!(
            error_of(br#"{"ID":1,"x":2}"#),
            "column \"id\": missing, expected VARCHAR; the record has \"ID\""
        );
        assert_eq!(error_of(br#"{"id":7}"#), "column \"id\": found the number 7, expected VARCHAR");
        assert_eq!(error_of(br#"{"id":"a","n":1.5}"#), "column \"n\": 1.5 can't be held exactly by BIGINT");
        assert_eq!(
            error_of(br#"{"id":"a","n":"1"}"#),
            "column \"n\": found the string \"1\", expected BIGINT"
        );
        assert_eq!(error_of(br#"{"id":{"$ne":1}}"#), "column \"id\": found an object, expected VARCHAR");
        assert_eq!(error_of(br#"[1]"#), "found an array, expected a JSON object");
        assert_eq!(error_of(b"  "), "the value is empty, expected a JSON object");
        assert_eq!(error_of(b"{\"id\":\"\xff\"}"), "invalid UTF-8 at byte 7");
        assert!(error_of(br#"{"id":"a","z":1,"z":2}"#).contains("\"z\" is there twice"));
        assert!(error_of(br#"{"id":"a","i\u0064":"b"}"#).contains("\"id\" is there twice"));
        assert!(error_of(&[b'x'; 1001]).contains("max.record.bytes"));
        assert!(error_of("\u{feff}{\"id\":\"a\"}".as_bytes()).contains("expected a JSON object"));
        assert!(error_of(br#"{"id":"a"} {"id":"b"}"#).contains("trailing"));
    }

    #[test]
    fn depth_is_counted_outside_strings() {
        let nested =
            |levels: usize| format!(r#"{{"id":"a","x":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        assert_eq!(error_of(nested(MAX_DEPTH - 1).as_bytes()), "accepted");
        assert!(error_of(nested(MAX_DEPTH).as_bytes()).contains("nested deeper"));
        let quoted = format!(r#"{{"id":"\"{}"}}"#, "[".repeat(500));
        assert_eq!(error_of(quoted.as_bytes()), "accepted");
    }

    #[test]
    fn an_event_time_beyond_the_type_is_in_the_future() {
        let Err((reason, _)) = decoder().decode_value(br#"{"id":"a","at":"2999-01-01T00:00:00Z"}"#) else {
            panic!("accepted")
        };
        assert_eq!(reason, RejectReason::Future);
        let Err((reason, _)) = decoder().decode_value(br#"{"id":"a","at":"1500-01-01T00:00:00Z"}"#) else {
            panic!("accepted")
        };
        assert_eq!(reason, RejectReason::Malformed);
    }
}
