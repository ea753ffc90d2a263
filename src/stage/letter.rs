//! Dead letters: what a batch says of a record that became no row, or of a row that no sink could store.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Array, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
    StructBuilder, TimestampMillisecondArray, TimestampNanosecondArray,
};
use arrow::datatypes::DataType;

use crate::batch::BatchPlan;
use crate::batch::reason::Reason;
use crate::clock::Nanos;
use crate::error::Result;
use crate::query::Program;
use crate::query::side::Side;
use crate::query::source_table::header_type;
use crate::query::view::dead_letters_schema;
use crate::source::{Record, Records};
use crate::state::RowMeta;

/// A record that became no row, or a row that a sink could not store.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Where the record lies.
    pub topic: Arc<str>,
    /// Where the record lies.
    pub partition: i32,
    /// Where the record lies.
    pub offset: i64,
    /// Kafka's timestamp.
    pub timestamp_ms: i64,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes; of a refused row its document.
    pub value: Option<Vec<u8>>,
    /// The headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Why it is one.
    pub reason: Reason,
    /// What was found and what was expected.
    pub error: Option<String>,
    /// The watermark column.
    pub event_time: Option<Nanos>,
    /// The watermark that judged it.
    pub watermark: Option<Nanos>,
    /// The view or output that refused it; with what tells its rows apart, where a record can be behind several.
    pub output: Option<String>,
}

/// Bytes that a header costs in a document besides its name and value.
const HEADER_OVERHEAD: usize = 32;

/// Bytes of key, value and headers that a letter keeps: with its other fields it fits a document of MongoDB.
const MAX_LETTER_BYTES: usize = 12 * 1024 * 1024;

impl Letter {
    pub(super) fn of(records: &Records, record: Record<'_>, reason: Reason, plan: &BatchPlan) -> Self {
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        Self {
            topic: Arc::clone(&records.tp.topic),
            partition: records.tp.partition,
            offset: record.offset(),
            timestamp_ms: record.timestamp_ms(),
            key: owned(record.key()),
            value: owned(record.value()),
            headers: record.headers().map(|(name, value)| (name.to_owned(), owned(value))).collect(),
            reason,
            error: None,
            event_time: None,
            watermark: plan.watermark,
            output: None,
        }
    }

    /// The letter of a row that `maker`, the view or an output, could not give: at the right record, else the
    /// left; a pair is told apart from others of its right record by the left one.
    pub(crate) fn of_row(
        program: &Program,
        plan: &BatchPlan,
        origin: [Option<RowMeta>; 2],
        maker: &str,
        error: String,
    ) -> Self {
        let side = if origin[1].is_some() { Side::Right } else { Side::Left };
        let meta = origin[side.index()];
        let mut output = maker.to_owned();
        if let (Some(left), Side::Right) = (origin[0], side)
            && program.join.as_ref().is_some_and(|join| !join.side(Side::Right).matches_once)
        {
            output.push_str(&format!("|{}/{}/{}", program.topic(Side::Left), left.partition, left.offset));
        }
        Self {
            topic: Arc::clone(program.topic(side)),
            partition: meta.map_or(-1, |meta| meta.partition),
            offset: meta.map_or(-1, |meta| meta.offset),
            timestamp_ms: meta.map_or(0, |meta| meta.timestamp_ms),
            key: None,
            value: None,
            headers: Vec::new(),
            reason: Reason::Refused,
            error: Some(error),
            event_time: meta.map(|meta| meta.event_time),
            watermark: plan.watermark,
            output: Some(output),
        }
    }

    /// What of it is stored: all, or as much as a sink can hold, with a mark.
    fn cut(&self) -> Cow<'_, Self> {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let of_headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + length(value) + HEADER_OVERHEAD).sum();
        let bytes = length(&self.key) + length(&self.value) + of_headers;
        if bytes <= MAX_LETTER_BYTES {
            return Cow::Borrowed(self);
        }
        let mut cut = self.clone();
        let mark = format!("cut: the record has {bytes} bytes, {MAX_LETTER_BYTES} are kept at most");
        cut.error = Some(cut.error.map_or_else(|| mark.clone(), |error| format!("{error}; {mark}")));
        let mut room = MAX_LETTER_BYTES;
        for kept in [&mut cut.key, &mut cut.value] {
            kept.iter_mut().for_each(|bytes| bytes.truncate(room));
            room -= length(kept);
        }
        if of_headers > room {
            cut.headers.clear();
        }
        Cow::Owned(cut)
    }

    /// The `_id` that a sink derives: position, reason and output.
    pub fn id(&self) -> String {
        let position = format!("{}/{}/{}|{}", self.topic, self.partition, self.offset, self.reason);
        match &self.output {
            Some(output) => format!("{position}|{output}"),
            None => position,
        }
    }
}

/// Letters as rows of the system table `dead_letters`.
pub fn letters_batch(letters: &[Letter]) -> Result<RecordBatch> {
    let letters: Vec<Cow<'_, Letter>> = letters.iter().map(Letter::cut).collect();
    let optional_bytes = |value: &dyn Fn(&Letter) -> Option<Vec<u8>>| -> ArrayRef {
        let mut builder = BinaryBuilder::new();
        letters.iter().for_each(|letter| builder.append_option(value(letter)));
        Arc::new(builder.finish())
    };
    let headers = letters
        .iter()
        .map(|letter| letter.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(letters.iter().map(|letter| letter.topic.as_ref()))),
        Arc::new(Int32Array::from_iter_values(letters.iter().map(|letter| letter.partition))),
        Arc::new(Int64Array::from_iter_values(letters.iter().map(|letter| letter.offset))),
        Arc::new(TimestampMillisecondArray::from_iter_values(
            letters.iter().map(|letter| letter.timestamp_ms),
        )),
        optional_bytes(&|letter| letter.key.clone()),
        optional_bytes(&|letter| letter.value.clone()),
        headers_array(headers),
        Arc::new(StringArray::from_iter_values(letters.iter().map(|letter| letter.reason.name()))),
        Arc::new(StringArray::from_iter(letters.iter().map(|letter| letter.error.as_deref()))),
        Arc::new(TimestampNanosecondArray::from_iter(letters.iter().map(|letter| letter.event_time))),
        Arc::new(TimestampNanosecondArray::from_iter(letters.iter().map(|letter| letter.watermark))),
    ];
    Ok(RecordBatch::try_new(dead_letters_schema(), columns)?)
}

/// Headers as a list of names and values.
pub(super) fn headers_array<'a, H: Iterator<Item = (&'a str, Option<&'a [u8]>)>>(
    headers: impl Iterator<Item = H>,
) -> ArrayRef {
    let DataType::Struct(fields) = header_type() else { unreachable!("a header is a struct") };
    let item = arrow::datatypes::Field::new("item", header_type(), false);
    let builders: Vec<Box<dyn arrow::array::ArrayBuilder>> =
        vec![Box::new(StringBuilder::new()), Box::new(BinaryBuilder::new())];
    let mut builder = ListBuilder::new(StructBuilder::new(fields, builders)).with_field(item);
    for headers in headers {
        for (name, value) in headers {
            let entry = builder.values();
            if let Some(names) = entry.field_builder::<StringBuilder>(0) {
                names.append_value(name);
            }
            if let Some(values) = entry.field_builder::<BinaryBuilder>(1) {
                values.append_option(value);
            }
            entry.append(true);
        }
        builder.append(true);
    }
    Arc::new(builder.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_that_no_sink_can_hold_is_cut_with_a_mark() {
        let letter = |value: usize, header: usize| Letter {
            topic: "orders".into(),
            partition: 0,
            offset: 1,
            timestamp_ms: 0,
            key: Some(b"key".to_vec()),
            value: Some(vec![b'x'; value]),
            headers: vec![("h".to_owned(), Some(vec![b'h'; header]))],
            reason: Reason::Malformed,
            error: Some("too large".to_owned()),
            event_time: None,
            watermark: None,
            output: None,
        };
        let kept = |letter: &Letter| {
            let cut = letter.cut().into_owned();
            (cut.value.map(|value| value.len()), cut.headers.len(), cut.error)
        };
        let whole = letter(MAX_LETTER_BYTES - 1000, 10);
        assert_eq!(kept(&whole), (Some(MAX_LETTER_BYTES - 1000), 1, Some("too large".to_owned())));
        let (value, headers, error) = kept(&letter(20 * 1024 * 1024, 10));
        assert_eq!((value, headers), (Some(MAX_LETTER_BYTES - 3), 0));
        assert_eq!(
            error.as_deref(),
            Some("too large; cut: the record has 20971566 bytes, 12582912 are kept at most")
        );
        let (value, headers, _) = kept(&letter(10, 20 * 1024 * 1024));
        assert_eq!((value, headers), (Some(10), 0));
    }
}
