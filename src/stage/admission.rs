//! Which records become rows of the join: not malformed, not from the future, not late, no repeat.
//!
//! ```text
//! read unit (one partition's range) ─ admit_range ─┐
//! read unit                         ─ admit_range ─┼─ admit_keys ─ rows of a source, in arrival order
//! read unit                         ─ admit_range ─┘
//! ```
//!
//! `admit_range` asks what a record answers alone, side by side for all read units: can it be decoded, and the
//! view of its source and the join's key be computed; is it from the future; is it late. Whoever fails one is a dead
//! letter with the reason; every decoded row that is not from the future moves its partition's clock.
//! `admit_keys` asks what depends on the others, in arrival order (Kafka timestamp, partition, offset): was the
//! PRIMARY KEY there before. A record that is refused registers none.
//!
//! Example, watermark 12:00, PRIMARY KEY id. Partition 0 brings id 7 of 12:03 (timestamp 12:05), partition 1 id 7 of
//! 11:58 (timestamp 12:04) and id 7 of 12:04 (timestamp 12:06). The second is late, so it holds no key; the first
//! is admitted; the third, which arrived after it, is a duplicate, whichever partition was read first.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryBuilder, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use arrow::compute::{cast, interleave_record_batch};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampNanosecondType};
use arrow::row::OwnedRow;

use crate::batch::counts::Counts;
use crate::batch::offset::TopicPartition;
use crate::batch::reason::Reason;
use crate::batch::watermark::{PartitionClock, nanos};
use crate::clock::{NANOS_PER_MS, rfc3339};
use crate::decode::{Decoded, RejectReason};
use crate::error::{Error, Result};
use crate::observe::progress::EventTimes;
use crate::query::join_side::SidePlan;
use crate::query::side::Side;
use crate::query::source_table::{SourceTable, Tombstone};
use crate::query::source_view::{SourceView, Viewed};
use crate::source::Records;
use crate::stage::before::Before;
use crate::stage::letter::{Letter, headers_array};
use crate::state::{KeyRows, RowMeta, Rows};

/// The records of one partition and what decoding made of them.
#[derive(Debug)]
pub struct DecodedRange {
    /// The bytes.
    pub records: Records,
    /// The rows.
    pub decoded: Decoded,
}

/// What a read unit answers alone.
pub(crate) struct AdmittedRange {
    range: DecodedRange,
    letters: Vec<Letter>,
    counts: Counts,
    /// The partition's clock, moved by what was seen.
    clock: PartitionClock,
    event_times: Option<EventTimes>,
    /// The rows that the view lets through.
    columns: RecordBatch,
    /// For each decoded row its index in `columns`.
    row_of: Vec<Option<usize>>,
    /// One for each decoded row.
    meta: Vec<RowMeta>,
    /// The decoded rows that are neither malformed nor from the future nor late.
    in_time: Vec<usize>,
    /// The PRIMARY KEY of each decoded row, if there is one.
    keys: Vec<OwnedRow>,
    key_columns: Vec<ArrayRef>,
}

impl AdmittedRange {
    /// The partition and where its clock stands now.
    pub(crate) fn clock(&self) -> (TopicPartition, PartitionClock) {
        (self.range.records.tp.clone(), self.clock)
    }
}

/// What admission makes of the records of one source.
pub(crate) struct Admitted {
    /// The rows in arrival order, with the columns of the source's view.
    pub(crate) rows: Rows,
    /// The PRIMARY KEY values of admitted rows that the view filtered out.
    pub(crate) filtered_keys: KeyRows,
    /// The others.
    pub(crate) letters: Vec<Letter>,
    /// The event times of decoded rows that were not from the future.
    pub(crate) event_times: Option<EventTimes>,
    /// Records by their fate so far.
    pub(crate) counts: Counts,
}

/// Asks the records of one partition what each answers alone.
pub(crate) async fn admit_range(before: &Before, side: Side, range: DecodedRange) -> Result<AdmittedRange> {
    let Before { program, plan, .. } = before;
    let view = program.input(side).ok_or_else(|| Error::internal("a source has no view"))?;
    let source = &program.sources[view.source];
    let (records, decoded) = (&range.records, &range.decoded);
    let mut letters = Vec::new();
    if source.tombstone == Tombstone::DeadLetter {
        letters.extend(decoded.tombstones.iter().map(|&record| Letter {
            error: Some("the value is null (a tombstone)".to_owned()),
            ..Letter::of(records, records.get(record as usize), Reason::Tombstone, plan)
        }));
    }
    letters.extend(decoded.rejects.iter().map(|reject| {
        let reason = match reject.reason {
            RejectReason::Malformed => Reason::Malformed,
            RejectReason::Future => Reason::Future,
        };
        let letter = Letter::of(records, records.get(reject.record as usize), reason, plan);
        Letter { error: Some(reject.error.clone()), ..letter }
    }));
    let times =
        cast(decoded.rows.column(source.event_time), &DataType::Timestamp(TimeUnit::Nanosecond, None))?;
    let times = times.as_primitive::<TimestampNanosecondType>();
    let key_columns = primary_key_columns(source, &decoded.rows);
    let keys = before.sides[side.index()].keys.encode_columns(&key_columns)?;
    let input = columns_of(&range, &view.input)?;
    let Computed { columns, row_of, hashes, failed } =
        compute(source, view, program.join.as_ref().map(|join| join.side(side)), input).await?;

    let latest_believable = plan.time_ms.saturating_mul(NANOS_PER_MS).saturating_add(nanos(source.max_ahead));
    let mut clock = before.clocks.get(&records.tp).copied().unwrap_or_default();
    if !records.is_empty() {
        clock.last_record_ms = Some(plan.time_ms);
    }
    let mut believable: Option<EventTimes> = None;
    let mut in_time = Vec::with_capacity(times.len());
    for (row, &event_time) in times.values().iter().enumerate() {
        let is_future = event_time > latest_believable;
        if !is_future {
            clock.max_event_time = clock.max_event_time.max(Some(event_time));
            let time = EventTimes::of(event_time);
            believable = Some(believable.map_or(time, |times| times.and(time)));
        }
        let (reason, error) = if let Some(error) = failed.get(&row) {
            (Reason::Malformed, error.clone())
        } else if is_future {
            let time = rfc3339(event_time);
            (
                Reason::Future,
                format!("the event time {time} is beyond the batch time plus watermark.max_ahead"),
            )
        } else if plan.watermark.is_some_and(|watermark| event_time < watermark) {
            // The watermark, which depends on the batches, is a column of its own.
            (Reason::Late, format!("the event time {} is below the watermark", rfc3339(event_time)))
        } else {
            in_time.push(row);
            continue;
        };
        let letter = Letter::of(records, records.get(decoded.records[row] as usize), reason, plan);
        letters.push(Letter { error: Some(error), event_time: Some(event_time), ..letter });
    }
    let meta = decoded.records.iter().enumerate().map(|(row, &record)| {
        let record = records.get(record as usize);
        RowMeta {
            partition: records.tp.partition,
            offset: record.offset(),
            timestamp_ms: record.timestamp_ms(),
            batch: plan.id,
            event_time: times.value(row),
            key_hash: row_of[row].and_then(|row| hashes[row]),
            matched: false,
            valid_partners: 0,
        }
    });
    let counts = Counts {
        records: records.len() as u64,
        tombstones: decoded.tombstones.len() as u64,
        ..Counts::default()
    };
    let meta = meta.collect();
    Ok(AdmittedRange {
        letters,
        counts,
        clock,
        event_times: believable,
        columns,
        row_of,
        meta,
        in_time,
        keys,
        key_columns,
        range,
    })
}

/// Refuses repeats among the rows of one source, and puts the others in arrival order.
pub(crate) fn admit_keys(before: &Before, side: Side, ranges: Vec<AdmittedRange>) -> Result<Admitted> {
    let Before { program, plan, sides, .. } = before;
    let keys = &sides[side.index()].keys;
    let view = program.input(side).ok_or_else(|| Error::internal("a source has no view"))?;
    let source = &program.sources[view.source];
    let mut arrivals: Vec<(usize, usize)> = Vec::new();
    for (number, range) in ranges.iter().enumerate() {
        arrivals.extend(range.in_time.iter().map(|&row| (number, row)));
    }
    arrivals.sort_unstable_by_key(|&(range, row)| ranges[range].meta[row].arrival());
    let mut letters = Vec::new();
    let mut seen: HashSet<&OwnedRow> = HashSet::new();
    let mut meta = Vec::with_capacity(arrivals.len());
    let mut at = Vec::with_capacity(arrivals.len());
    let mut filtered: Vec<Vec<usize>> = vec![Vec::new(); ranges.len()];
    for (number, row) in arrivals {
        let range = &ranges[number];
        if let Some(key) = range.keys.get(row)
            && (keys.contains(key, plan.watermark) || !seen.insert(key))
        {
            let DecodedRange { records, decoded } = &range.range;
            let record = records.get(decoded.records[row] as usize);
            letters.push(Letter {
                error: Some(format!("the key of \"{}\" was there before", source.name)),
                event_time: Some(range.meta[row].event_time),
                ..Letter::of(records, record, Reason::Duplicate, plan)
            });
            continue;
        }
        match range.row_of[row] {
            Some(shown) => {
                at.push((number, shown));
                meta.push(range.meta[row]);
            }
            None => filtered[number].push(row),
        }
    }
    let mut counts =
        Counts { filtered: filtered.iter().map(Vec::len).sum::<usize>() as u64, ..Counts::default() };
    let mut filtered_keys = keys.none();
    for (range, rows) in ranges.iter().zip(&filtered).filter(|(_, rows)| !rows.is_empty()) {
        let of_range = keys.select_columns(range.key_columns.clone(), &range.meta, rows)?;
        filtered_keys = filtered_keys.followed_by(&of_range)?;
    }
    let columns = in_order(&view.columns, &ranges, &at)?;
    let mut event_times: Option<EventTimes> = None;
    for range in ranges {
        counts.add(&range.counts);
        letters.extend(range.letters);
        event_times = match (event_times, range.event_times) {
            (Some(before), Some(times)) => Some(before.and(times)),
            (before, times) => before.or(times),
        };
    }
    letters.sort_by_key(|letter| (letter.partition, letter.offset));
    count_letters(&letters, &mut counts);
    Ok(Admitted { rows: Rows { columns, meta }, filtered_keys, letters, event_times, counts })
}

fn count_letters(letters: &[Letter], counts: &mut Counts) {
    for letter in letters {
        match letter.reason {
            Reason::Malformed => counts.malformed += 1,
            Reason::Future => counts.future += 1,
            Reason::Late => counts.late += 1,
            Reason::Duplicate => counts.duplicate += 1,
            // Counted with the records, whether it is a letter or not.
            Reason::Tombstone => {}
            // Made of rows, later.
            Reason::Refused | Reason::Conflict => {}
        }
    }
}

/// The rows of the views at (range, row); not copied where one range has them in this order already.
fn in_order(schema: &SchemaRef, ranges: &[AdmittedRange], at: &[(usize, usize)]) -> Result<RecordBatch> {
    let columns: Vec<&RecordBatch> = ranges.iter().map(|range| &range.columns).collect();
    let Some(&(first, _)) = at.first() else { return Ok(RecordBatch::new_empty(Arc::clone(schema))) };
    let is_as_it_stands = at.iter().enumerate().all(|(row, &place)| place == (first, row));
    if is_as_it_stands && at.len() == columns[first].num_rows() {
        return Ok(columns[first].clone());
    }
    Ok(interleave_record_batch(&columns, at)?)
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

/// Computes all that depends on a record alone, before it is asked whether it comes in time: whether
/// a record is malformed must not depend on others.
async fn compute(
    source: &SourceTable,
    view: &SourceView,
    side: Option<&SidePlan>,
    input: RecordBatch,
) -> Result<Computed> {
    let name = &source.name;
    let num_rows = input.num_rows();
    let Viewed { columns, kept, failed } = view.apply(input).await?;
    let in_view = |error| format!("the view of \"{name}\" could not be computed: {error}");
    let mut failed: BTreeMap<usize, String> =
        failed.into_iter().map(|(number, error)| (number, in_view(error))).collect();
    let mut row_of = vec![None; num_rows];
    kept.iter().enumerate().for_each(|(row, &number)| row_of[number] = Some(row));
    let hashes = match side {
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

/// The PRIMARY KEY columns of rows of a source, in key order.
fn primary_key_columns(source: &SourceTable, rows: &RecordBatch) -> Vec<ArrayRef> {
    source.primary_key_names().filter_map(|name| rows.column_by_name(name).cloned()).collect()
}

/// The wanted columns of decoded rows, in their order.
fn columns_of(range: &DecodedRange, schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |name: &str| {
        if name.starts_with('_') {
            return Ok(system_column(name, range));
        }
        let column = range.decoded.rows.column_by_name(name);
        column.cloned().ok_or_else(|| Error::internal(format!("no column \"{name}\"")))
    };
    let columns =
        schema.fields().iter().map(|field| column(field.name())).collect::<Result<Vec<ArrayRef>>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(range.decoded.rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

fn system_column(name: &str, range: &DecodedRange) -> ArrayRef {
    let DecodedRange { records, decoded } = range;
    let num_rows = decoded.records.len();
    let of_rows = || decoded.records.iter().map(|&record| records.get(record as usize));
    match name {
        "_topic" => Arc::new(StringArray::from_iter_values(of_rows().map(|_| records.tp.topic.as_ref()))),
        "_partition" => Arc::new(Int32Array::from(vec![records.tp.partition; num_rows])),
        "_offset" => Arc::new(Int64Array::from_iter_values(of_rows().map(|record| record.offset()))),
        "_timestamp" => Arc::new(TimestampMillisecondArray::from_iter_values(
            of_rows().map(|record| record.timestamp_ms()),
        )),
        "_key" => {
            let mut builder = BinaryBuilder::new();
            of_rows().for_each(|record| builder.append_option(record.key()));
            Arc::new(builder.finish())
        }
        _ => headers_array(of_rows().map(|record| record.headers())),
    }
}
