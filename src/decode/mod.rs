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

mod cell;
mod column;
mod number;
mod object;
mod time;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::Result;
use crate::source::Records;
use cell::{Cell, CellError, cell, describe, missing};
use column::ColumnBuilder;
use object::{ObjectTexts, check_depth, texts};

pub use cell::type_name;

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
                        builder.append(cell)?;
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
        self.cells(texts(&self.schema, text).map_err(malformed)?)
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
                    builders.iter_mut().zip(cells).try_for_each(|(builder, cell)| builder.append(cell))?;
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
}

/// Nanoseconds since 1970 UTC of an RFC 3339 text, as columns of type TIMESTAMP read it.
pub fn parse_timestamp(text: &str) -> Option<i128> {
    time::timestamp(text)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};

    use super::object::MAX_DEPTH;
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
