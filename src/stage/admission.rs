//! Which records become rows of the join: not malformed, not from the future, not late, no repeat.
//!
//! The questions are asked in that order, record by record in arrival order (Kafka timestamp,
//! partition, offset). Whoever fails one is a dead letter with the reason; every decoded row that
//! is not from the future moves its partition's clock. A record is malformed too when the view of its source, or
//! the join's key, can't be computed for it: it is not admitted, and registers no PRIMARY KEY.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::array::{
    Array, ArrayRef, BinaryBuilder, Int32Array, Int64Array, ListBuilder, RecordBatch, StringArray,
    StringBuilder, StructBuilder, TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::compute::{cast, interleave};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampNanosecondType};
use arrow::row::OwnedRow;

use crate::batch::BatchPlan;
use crate::batch::counts::Counts;
use crate::batch::offset::PerPartition;
use crate::batch::reason::Reason;
use crate::batch::watermark::{PartitionClock, nanos};
use crate::clock::{NANOS_PER_MS, Nanos, rfc3339};
use crate::decode::{Decoded, RejectReason};
use crate::error::{Error, Result};
use crate::observe::progress::EventTimes;
use crate::query::Program;
use crate::query::join_side::SidePlan;
use crate::query::side::Side;
use crate::query::source_table::{SourceTable, Tombstone, header_type};
use crate::query::source_view::{SourceView, Viewed};
use crate::query::view::dead_letters_schema;
use crate::source::{Record, Records};
use crate::state::{KeyRegistry, KeyRows, RowMeta, Rows};

/// The records of one partition and what decoding made of them.
#[derive(Debug)]
pub struct DecodedRange {
    /// The bytes.
    pub records: Records,
    /// The rows.
    pub decoded: Decoded,
}

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
    fn of(records: &Records, record: Record<'_>, reason: Reason, plan: &BatchPlan) -> Self {
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

/// What admission makes of the records of one source.
#[derive(Debug)]
pub struct Admitted {
    /// The rows in arrival order, with the columns of the source's view.
    pub rows: Rows,
    /// The PRIMARY KEY values of admitted rows that the view filtered out.
    pub filtered_keys: KeyRows,
    /// The others.
    pub letters: Vec<Letter>,
    /// The event times of decoded rows that were not from the future.
    pub event_times: Option<EventTimes>,
}

/// Where the records of one source go.
pub struct Entry<'a> {
    /// The source.
    pub source: &'a SourceTable,
    /// What stands between it and the join.
    pub view: &'a SourceView,
    /// Its side of the join; `None` in a program without one.
    pub side: Option<&'a SidePlan>,
    /// The PRIMARY KEY values that were seen.
    pub keys: &'a KeyRegistry,
}

/// Admits the records of one source, and filters and projects what was admitted.
///
/// * `clocks`: moved by what was seen.
pub async fn admit(
    entry: &Entry<'_>,
    ranges: &[&DecodedRange],
    plan: &BatchPlan,
    clocks: &mut PerPartition<PartitionClock>,
    counts: &mut Counts,
) -> Result<Admitted> {
    let &Entry { source, view, keys, .. } = entry;
    let mut letters = Vec::new();
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut key_rows: Vec<Vec<OwnedRow>> = Vec::new();
    let mut event_times: Vec<TimestampNanosecondArray> = Vec::new();
    for (number, range) in ranges.iter().enumerate() {
        let (records, decoded) = (&range.records, &range.decoded);
        counts.records += records.len() as u64;
        counts.tombstones += decoded.tombstones.len() as u64;
        if source.tombstone == Tombstone::DeadLetter {
            letters.extend(decoded.tombstones.iter().map(|&record| Letter {
                error: Some("the value is null (a tombstone)".to_owned()),
                ..Letter::of(records, records.get(record as usize), Reason::Tombstone, plan)
            }));
        }
        if !records.is_empty() {
            clocks.entry(records.tp.clone()).or_default().last_record_ms = Some(plan.time_ms);
        }
        for reject in &decoded.rejects {
            let reason = match reject.reason {
                RejectReason::Malformed => Reason::Malformed,
                RejectReason::Future => Reason::Future,
            };
            let letter = Letter::of(records, records.get(reject.record as usize), reason, plan);
            letters.push(Letter { error: Some(reject.error.clone()), ..letter });
        }
        let times =
            cast(decoded.rows.column(source.event_time), &DataType::Timestamp(TimeUnit::Nanosecond, None))?;
        event_times.push(times.as_primitive::<TimestampNanosecondType>().clone());
        key_rows.push(keys.encode_columns(&primary_key_columns(source, &decoded.rows))?);
        candidates.extend(decoded.records.iter().enumerate().map(|(row, &record)| {
            let record = records.get(record as usize);
            Candidate {
                timestamp_ms: record.timestamp_ms(),
                partition: records.tp.partition,
                offset: record.offset(),
                range: number,
                row,
            }
        }));
    }
    candidates.sort_unstable_by_key(|c| (c.timestamp_ms, c.partition, c.offset));
    let input = take_columns(ranges, &candidates, &view.input)?;
    let key_columns = primary_key_columns(source, &input);
    let Computed { columns, row_of, hashes, failed } = entry.compute(input).await?;

    let latest_believable = plan.time_ms.saturating_mul(NANOS_PER_MS).saturating_add(nanos(source.max_ahead));
    let mut seen: HashSet<&OwnedRow> = HashSet::new();
    let mut believable: Option<EventTimes> = None;
    let mut admitted: Vec<usize> = Vec::with_capacity(candidates.len());
    for (number, candidate) in candidates.iter().enumerate() {
        let range = ranges[candidate.range];
        let event_time = event_times[candidate.range].value(candidate.row);
        let mut refuse = |reason, error: String| {
            let record = range.records.get(range.decoded.records[candidate.row] as usize);
            let letter = Letter::of(&range.records, record, reason, plan);
            letters.push(Letter { error: Some(error), event_time: Some(event_time), ..letter });
        };
        let is_future = event_time > latest_believable;
        if !is_future {
            let clock = clocks.entry(range.records.tp.clone()).or_default();
            clock.max_event_time = clock.max_event_time.max(Some(event_time));
            let time = EventTimes::of(event_time);
            believable = Some(believable.map_or(time, |times| times.and(time)));
        }
        if let Some(error) = failed.get(&number) {
            refuse(Reason::Malformed, error.clone());
            continue;
        }
        if is_future {
            refuse(
                Reason::Future,
                format!(
                    "the event time {} is beyond the batch time plus watermark.max_ahead",
                    rfc3339(event_time)
                ),
            );
            continue;
        }
        if plan.watermark.is_some_and(|watermark| event_time < watermark) {
            refuse(
                Reason::Late,
                // The watermark, which depends on the batches, is a column of its own.
                format!("the event time {} is below the watermark", rfc3339(event_time)),
            );
            continue;
        }
        if let Some(key) = key_rows[candidate.range].get(candidate.row)
            && (keys.contains(key, plan.watermark) || !seen.insert(key))
        {
            refuse(Reason::Duplicate, format!("the key of \"{}\" was there before", source.name));
            continue;
        }
        admitted.push(number);
    }
    let meta: Vec<RowMeta> = candidates
        .iter()
        .enumerate()
        .map(|(number, candidate)| RowMeta {
            partition: candidate.partition,
            offset: candidate.offset,
            timestamp_ms: candidate.timestamp_ms,
            batch: plan.id,
            event_time: event_times[candidate.range].value(candidate.row),
            key_hash: row_of[number].and_then(|row| hashes[row]),
            matched: false,
            valid_partners: 0,
        })
        .collect();
    let (kept, dropped): (Vec<usize>, Vec<usize>) =
        admitted.into_iter().partition(|&number| row_of[number].is_some());
    counts.filtered += dropped.len() as u64;
    let filtered_keys = keys.select_columns(key_columns, &meta, &dropped)?;
    let at =
        UInt64Array::from_iter_values(kept.iter().filter_map(|&number| row_of[number]).map(|row| row as u64));
    let columns = arrow::compute::take_record_batch(&columns, &at)?;

    letters.sort_by_key(|letter| (letter.partition, letter.offset));
    for letter in &letters {
        match letter.reason {
            Reason::Malformed => counts.malformed += 1,
            Reason::Future => counts.future += 1,
            Reason::Late => counts.late += 1,
            Reason::Duplicate => counts.duplicate += 1,
            // Counted above, whether it is a letter or not.
            Reason::Tombstone => {}
            // Made of rows, later.
            Reason::Refused | Reason::Conflict => {}
        }
    }
    let meta = kept.iter().map(|&number| meta[number]).collect();
    Ok(Admitted { rows: Rows { columns, meta }, filtered_keys, letters, event_times: believable })
}

/// What the source's view and the join's key make of decoded rows.
struct Computed {
    /// The rows that the view lets through.
    columns: RecordBatch,
    /// For each decoded row its index in `columns`.
    row_of: Vec<Option<usize>>,
    /// Of each row of `columns` the hash of its join key.
    hashes: Vec<Option<u64>>,
    /// The decoded rows at which something could not be computed: records that are malformed.
    failed: BTreeMap<usize, String>,
}

impl Entry<'_> {
    /// Computes all that depends on a record alone, before it is asked whether it comes in time: whether
    /// a record is malformed must not depend on others.
    async fn compute(&self, input: RecordBatch) -> Result<Computed> {
        let name = &self.source.name;
        let num_rows = input.num_rows();
        let Viewed { columns, kept, failed } = self.view.apply(input).await?;
        let in_view = |error| format!("the view of \"{name}\" could not be computed: {error}");
        let mut failed: BTreeMap<usize, String> =
            failed.into_iter().map(|(number, error)| (number, in_view(error))).collect();
        let mut row_of = vec![None; num_rows];
        kept.iter().enumerate().for_each(|(row, &number)| row_of[number] = Some(row));
        let hashes = match self.side {
            None => vec![None; kept.len()],
            Some(side) => {
                let keys = side.keys(&columns)?;
                let in_join = |error: &String| {
                    format!("the condition of the join could not be computed for \"{name}\": {error}")
                };
                failed.extend(keys.failed.iter().map(|(row, error)| (kept[*row], in_join(error))));
                keys.hashes()
            }
        };
        Ok(Computed { columns, row_of, hashes, failed })
    }
}

/// The PRIMARY KEY columns of rows of a source, in key order.
fn primary_key_columns(source: &SourceTable, rows: &RecordBatch) -> Vec<ArrayRef> {
    source.primary_key_names().filter_map(|name| rows.column_by_name(name).cloned()).collect()
}

/// A decoded row on its way.
struct Candidate {
    timestamp_ms: i64,
    partition: i32,
    offset: i64,
    range: usize,
    row: usize,
}

/// The wanted columns of decoded rows, in their order.
fn take_columns(
    ranges: &[&DecodedRange],
    candidates: &[Candidate],
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    if candidates.is_empty() {
        return Ok(RecordBatch::new_empty(Arc::clone(schema)));
    }
    let at: Vec<(usize, usize)> =
        candidates.iter().map(|candidate| (candidate.range, candidate.row)).collect();
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            if field.name().starts_with('_') {
                return system_column(field.name(), ranges, candidates);
            }
            let arrays: Option<Vec<&dyn Array>> = ranges
                .iter()
                .map(|range| range.decoded.rows.column_by_name(field.name()).map(AsRef::as_ref))
                .collect();
            let arrays = arrays.ok_or_else(|| Error::internal(format!("no column \"{}\"", field.name())))?;
            Ok(interleave(&arrays, &at)?)
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

fn system_column(name: &str, ranges: &[&DecodedRange], candidates: &[Candidate]) -> Result<ArrayRef> {
    let records = || {
        candidates.iter().map(|candidate| {
            let range = ranges[candidate.range];
            (&range.records.tp, range.records.get(range.decoded.records[candidate.row] as usize))
        })
    };
    Ok(match name {
        "_topic" => Arc::new(StringArray::from_iter_values(records().map(|(tp, _)| tp.topic.as_ref()))),
        "_partition" => Arc::new(Int32Array::from_iter_values(records().map(|(tp, _)| tp.partition))),
        "_offset" => Arc::new(Int64Array::from_iter_values(records().map(|(_, record)| record.offset()))),
        "_timestamp" => Arc::new(TimestampMillisecondArray::from_iter_values(
            records().map(|(_, record)| record.timestamp_ms()),
        )),
        "_key" => {
            let mut builder = BinaryBuilder::new();
            records().for_each(|(_, record)| builder.append_option(record.key()));
            Arc::new(builder.finish())
        }
        _ => headers_array(records().map(|(_, record)| record.headers())),
    })
}

fn headers_array<'a, H: Iterator<Item = (&'a str, Option<&'a [u8]>)>>(
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
