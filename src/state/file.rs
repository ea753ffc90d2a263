//! State as Parquet: the delta of a batch, the snapshot of a side.
//!
//! One row for each change. `_change` says which: `added` (all columns), `matched` (position, how
//! many valid partners), `removed` (position), `key` (the PRIMARY KEY columns and the event time). A
//! snapshot has `added` and `key` only. The row's own columns stand under their names, so any
//! Parquet reader can look in.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampNanosecondArray, UInt32Array, UInt64Array, new_null_array,
};
use arrow::datatypes::{
    DataType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampNanosecondType, UInt32Type,
};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::batch::BatchId;
use crate::error::{Error, Result};
use crate::query::join_side::SidePlan;
use crate::state::{KeyRows, RowMeta, RowRef, Rows, SideChanges, SideState};

const CHANGE: &str = "_change";
const META: [&str; 6] =
    ["_row_partition", "_row_offset", "_row_timestamp", "_row_batch", "_row_matched", "_row_valid_partners"];
const EVENT_TIME: &str = "_row_event_time";

fn file_schema(columns: &SchemaRef) -> SchemaRef {
    let mut fields = vec![
        Field::new(CHANGE, DataType::Utf8, false),
        Field::new(META[0], DataType::Int32, true),
        Field::new(META[1], DataType::Int64, true),
        Field::new(META[2], DataType::Int64, true),
        Field::new(META[3], DataType::Int64, true),
        Field::new(META[4], DataType::Boolean, true),
        Field::new(META[5], DataType::UInt32, true),
        Field::new(EVENT_TIME, DataType::Timestamp(TimeUnit::Nanosecond, None), true),
    ];
    fields.extend(columns.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)));
    Arc::new(Schema::new(fields))
}

/// The bytes of a batch's delta; `state` is the side before the batch.
pub fn delta(state: &SideState, changes: &SideChanges) -> Result<Bytes> {
    let position = |reference: RowRef| {
        let meta = state.meta(reference);
        (meta.partition, meta.offset)
    };
    let marks: Vec<Mark> = changes
        .matched
        .iter()
        .map(|&(reference, valid)| Mark {
            change: "matched",
            position: position(reference),
            valid: Some(valid),
        })
        .chain(changes.removed.iter().map(|&reference| Mark {
            change: "removed",
            position: position(reference),
            valid: None,
        }))
        .collect();
    write(&changes.added, &marks, &changes.keys)
}

/// The bytes of a snapshot of `state`, whose keys `watermark` still remembers.
pub fn snapshot(state: &SideState, watermark: Option<i64>) -> Result<Bytes> {
    let rows = state.rows(&state.live().collect::<Vec<_>>())?;
    let keys = state.keys.beside(&rows, watermark)?;
    write(&rows, &[], &keys)
}

struct Mark {
    change: &'static str,
    position: (i32, i64),
    valid: Option<u32>,
}

fn write(rows: &Rows, marks: &[Mark], keys: &KeyRows) -> Result<Bytes> {
    let schema = file_schema(&rows.columns.schema());
    let mut batches = Vec::new();
    let meta = |value: &dyn Fn(&RowMeta) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows.meta.iter().map(value)))
    };
    let mut added: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["added"; rows.len()])),
        Arc::new(Int32Array::from_iter_values(rows.meta.iter().map(|meta| meta.partition))),
        meta(&|meta| meta.offset),
        meta(&|meta| meta.timestamp_ms),
        meta(&|meta| meta.batch.0 as i64),
        Arc::new(BooleanArray::from_iter(rows.meta.iter().map(|meta| Some(meta.matched)))),
        Arc::new(UInt32Array::from_iter_values(rows.meta.iter().map(|meta| meta.valid_partners))),
        Arc::new(TimestampNanosecondArray::from_iter_values(rows.meta.iter().map(|meta| meta.event_time))),
    ];
    added.extend(rows.columns.columns().iter().cloned());
    batches.push(RecordBatch::try_new(Arc::clone(&schema), added)?);
    batches.push(partial(&schema, marks.len(), |name| {
        Some(match name {
            CHANGE => {
                Arc::new(StringArray::from_iter_values(marks.iter().map(|mark| mark.change))) as ArrayRef
            }
            "_row_partition" => {
                Arc::new(Int32Array::from_iter_values(marks.iter().map(|mark| mark.position.0)))
            }
            "_row_offset" => Arc::new(Int64Array::from_iter_values(marks.iter().map(|mark| mark.position.1))),
            "_row_valid_partners" => Arc::new(UInt32Array::from_iter(marks.iter().map(|mark| mark.valid))),
            _ => return None,
        })
    })?);
    batches.push(partial(&schema, keys.event_times.len(), |name| {
        Some(match name {
            CHANGE => Arc::new(StringArray::from(vec!["key"; keys.event_times.len()])) as ArrayRef,
            EVENT_TIME => Arc::new(TimestampNanosecondArray::from(keys.event_times.clone())),
            name => Arc::clone(keys.columns.column_by_name(name)?),
        })
    })?);
    let properties = WriterProperties::builder().set_compression(Compression::LZ4_RAW).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(properties)).map_err(parquet_error)?;
    for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
        writer.write(batch).map_err(parquet_error)?;
    }
    writer.close().map_err(parquet_error)?;
    Ok(bytes.into())
}

/// Rows of `schema` with the columns that `column` gives and NULL in the others.
fn partial(
    schema: &SchemaRef,
    num_rows: usize,
    column: impl Fn(&str) -> Option<ArrayRef>,
) -> Result<RecordBatch> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| column(field.name()).unwrap_or_else(|| new_null_array(field.data_type(), num_rows)))
        .collect();
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

fn parquet_error(source: parquet::errors::ParquetError) -> Error {
    Error::internal("Parquet failed").because(source)
}

/// Puts the files of a side together: the snapshot first, then the deltas in order.
#[derive(Debug)]
pub struct Loader<'a> {
    plan: Option<&'a SidePlan>,
    state: SideState,
    at: HashMap<(i32, i64), RowRef>,
}

impl<'a> Loader<'a> {
    /// Loads into `state`, which is empty; without a join there is no `plan` and only keys are kept.
    pub fn new(plan: Option<&'a SidePlan>, state: SideState) -> Self {
        Self { plan, state, at: HashMap::new() }
    }

    /// Applies one file.
    ///
    /// # Errors
    /// [`Checkpoint`](crate::error::ErrorKind::Checkpoint) if it is no state file of this side.
    pub fn apply(&mut self, name: &str, bytes: Bytes) -> Result<()> {
        let broken = |source: &dyn std::fmt::Display| {
            Error::checkpoint(format!("could not read the state file \"{name}\": {source}"))
                .advise("restore the checkpoint from a copy, or start a new one with --checkpoint")
        };
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|e| broken(&e))?;
        let reader = reader.with_batch_size(65_536).build().map_err(|e| broken(&e))?;
        for batch in reader {
            self.apply_batch(&batch.map_err(|e| broken(&e))?).map_err(|e| broken(&e))?;
        }
        Ok(())
    }

    fn apply_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        let column = |name: &str| {
            batch
                .column_by_name(name)
                .ok_or_else(|| Error::checkpoint(format!("the column \"{name}\" is missing")))
        };
        let change = column(CHANGE)?.as_string::<i32>();
        let select = |wanted: &str| {
            UInt64Array::from_iter_values(
                (0..batch.num_rows()).filter(|&row| change.value(row) == wanted).map(|row| row as u64),
            )
        };
        let take = |name: &str, at: &UInt64Array| -> Result<ArrayRef> {
            Ok(arrow::compute::take(column(name)?, at, None)?)
        };
        let positions = |at: &UInt64Array| -> Result<Vec<(i32, i64)>> {
            let (partition, offset) = (take(META[0], at)?, take(META[1], at)?);
            let (partition, offset) =
                (partition.as_primitive::<Int32Type>(), offset.as_primitive::<Int64Type>());
            Ok(partition.values().iter().copied().zip(offset.values().iter().copied()).collect())
        };
        let find = |at: &HashMap<(i32, i64), RowRef>, position: (i32, i64)| at.get(&position).copied();

        let at = select("matched");
        let valid = take(META[5], &at)?;
        let valid = valid.as_primitive::<UInt32Type>();
        let matched: Vec<(RowRef, u32)> = positions(&at)?
            .into_iter()
            .zip(valid.values())
            .filter_map(|(position, &valid)| find(&self.at, position).map(|reference| (reference, valid)))
            .collect();
        let removed = positions(&select("removed"))?
            .into_iter()
            .filter_map(|position| find(&self.at, position))
            .collect();

        let at = select("key");
        let event_times = take(EVENT_TIME, &at)?.as_primitive::<TimestampNanosecondType>().values().to_vec();
        let key_schema = Arc::clone(&self.state.keys.schema);
        let keys = if event_times.is_empty() {
            self.state.keys.none()
        } else {
            let columns =
                key_schema.fields().iter().map(|field| take(field.name(), &at)).collect::<Result<_>>()?;
            KeyRows { columns: RecordBatch::try_new(key_schema, columns)?, event_times }
        };

        let added = self.added(batch, &select("added"), &take)?;
        let first = self.state.chunks.len() as u32;
        for (row, meta) in (0u32..).zip(&added.meta) {
            self.at.insert((meta.partition, meta.offset), RowRef { chunk: first, row });
        }
        // Loading must not move rows that later files name.
        let changes = SideChanges { added, matched, removed, keys };
        self.state.apply_without_compaction(&changes)
    }

    fn added(
        &self,
        batch: &RecordBatch,
        at: &UInt64Array,
        take: &dyn Fn(&str, &UInt64Array) -> Result<ArrayRef>,
    ) -> Result<Rows> {
        let schema = Arc::clone(self.state.schema());
        let columns = schema
            .fields()
            .iter()
            .map(|field| match batch.column_by_name(field.name()) {
                Some(_) => take(field.name(), at),
                // The view uses a column that was added later: rows from before have none.
                None => Ok(new_null_array(field.data_type(), at.len())),
            })
            .collect::<Result<Vec<_>>>()?;
        let columns = RecordBatch::try_new(schema, columns)?;
        let key_hashes = match self.plan {
            Some(plan) => plan.key_hashes(&columns)?,
            None => vec![None; at.len()],
        };
        let int =
            |name: &str| -> Result<Int64Array> { Ok(take(name, at)?.as_primitive::<Int64Type>().clone()) };
        let partition = take(META[0], at)?;
        let (offset, timestamp, batch_id) = (int(META[1])?, int(META[2])?, int(META[3])?);
        let (matched, valid, event_time) = (take(META[4], at)?, take(META[5], at)?, take(EVENT_TIME, at)?);
        let meta = (0..at.len())
            .map(|row| RowMeta {
                partition: partition.as_primitive::<Int32Type>().value(row),
                offset: offset.value(row),
                timestamp_ms: timestamp.value(row),
                batch: BatchId(batch_id.value(row) as u64),
                event_time: event_time.as_primitive::<TimestampNanosecondType>().value(row),
                key_hash: key_hashes[row],
                matched: matched.as_boolean().value(row),
                valid_partners: valid.as_primitive::<UInt32Type>().value(row),
            })
            .collect();
        Ok(Rows { columns, meta })
    }

    /// The side, with the rows and keys that `bound` and `watermark` have passed removed.
    pub fn finish(mut self, bound: Option<i64>, watermark: Option<i64>) -> SideState {
        if let Some(bound) = bound {
            self.state.evict(bound);
        }
        self.state.keys.sweep(watermark);
        self.state
    }
}
