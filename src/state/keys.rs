//! The PRIMARY KEY values seen so far, so that a repeat is found.
//!
//! A key is remembered until the watermark has passed its event time plus the width of the join's
//! time range; the answer depends on the watermark alone, never on when the memory was swept.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, SortField};

use crate::clock::Nanos;
use crate::error::Result;
use crate::state::{KeyRows, RowMeta, Rows};

/// The keys of one source.
#[derive(Debug)]
pub struct KeyRegistry {
    /// The key's columns, as the side's rows name them; empty for a source without a PRIMARY KEY.
    pub schema: SchemaRef,
    converter: RowConverter,
    /// How long a key is remembered beyond its event time.
    memory: Nanos,
    seen: HashMap<OwnedRow, Nanos>,
    swept_at: Nanos,
}

impl KeyRegistry {
    /// Keys of the columns `names` of `schema`, remembered for `memory` nanoseconds beyond their event time.
    pub fn try_new(schema: &Schema, names: &[String], memory: Nanos) -> Result<Self> {
        let fields =
            names.iter().map(|name| schema.field_with_name(name).cloned()).collect::<Result<Vec<_>, _>>()?;
        let sort_fields = fields.iter().map(|field| SortField::new(field.data_type().clone())).collect();
        Ok(Self {
            schema: Arc::new(Schema::new(fields)),
            converter: RowConverter::new(sort_fields)?,
            memory,
            seen: HashMap::new(),
            swept_at: i64::MIN,
        })
    }

    /// How many keys are remembered.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// The key of each row of a side, comparable with others of this registry; nothing without a PRIMARY KEY.
    pub fn encode(&self, rows: &RecordBatch) -> Result<Vec<OwnedRow>> {
        self.encode_columns(&self.columns_of(rows)?)
    }

    /// The same for the key's columns alone, in key order.
    pub fn encode_columns(&self, columns: &[ArrayRef]) -> Result<Vec<OwnedRow>> {
        if self.schema.fields().is_empty() {
            return Ok(Vec::new());
        }
        let encoded = self.converter.convert_columns(columns)?;
        Ok(encoded.iter().map(|row| row.owned()).collect())
    }

    fn columns_of(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let indices = self.schema.fields().iter().map(|field| rows.schema().index_of(field.name()));
        Ok(indices
            .map(|index| index.map(|index| Arc::clone(rows.column(index))))
            .collect::<Result<_, _>>()?)
    }

    /// Whether `key` is remembered under `watermark`.
    pub fn contains(&self, key: &OwnedRow, watermark: Option<Nanos>) -> bool {
        self.seen.get(key).is_some_and(|&event_time| !self.is_over(event_time, watermark))
    }

    fn is_over(&self, event_time: Nanos, watermark: Option<Nanos>) -> bool {
        watermark.is_some_and(|watermark| event_time.saturating_add(self.memory) < watermark)
    }

    /// The keys of the rows at `indices`.
    pub fn select(&self, rows: &Rows, indices: &[usize]) -> Result<KeyRows> {
        self.select_columns(self.columns_of(&rows.columns)?, &rows.meta, indices)
    }

    /// The same for the key's columns alone.
    pub fn select_columns(
        &self,
        columns: Vec<ArrayRef>,
        meta: &[RowMeta],
        indices: &[usize],
    ) -> Result<KeyRows> {
        if self.schema.fields().is_empty() {
            return Ok(self.none());
        }
        let at = UInt64Array::from_iter_values(indices.iter().map(|&index| index as u64));
        let columns = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        Ok(KeyRows {
            columns: arrow::compute::take_record_batch(&columns, &at)?,
            event_times: indices.iter().map(|&index| meta[index].event_time).collect(),
        })
    }

    /// No keys.
    pub fn none(&self) -> KeyRows {
        KeyRows { columns: RecordBatch::new_empty(Arc::clone(&self.schema)), event_times: Vec::new() }
    }

    /// Remembers the keys of rows.
    pub fn insert_rows(&mut self, rows: &Rows) -> Result<()> {
        let keys = self.encode(&rows.columns)?;
        self.seen.extend(keys.into_iter().zip(rows.meta.iter().map(|meta| meta.event_time)));
        Ok(())
    }

    /// Remembers keys given by their columns.
    pub fn insert_columns(&mut self, columns: &RecordBatch, event_times: &[Nanos]) -> Result<()> {
        if !event_times.is_empty() {
            let keys = self.encode(columns)?;
            self.seen.extend(keys.into_iter().zip(event_times.iter().copied()));
        }
        Ok(())
    }

    /// Forgets keys that are over, once that is worth a pass over all of them.
    pub fn sweep(&mut self, watermark: Option<Nanos>) {
        let Some(now) = watermark else { return };
        if now.saturating_sub(self.swept_at) > self.memory / 4 {
            self.swept_at = now;
            let memory = self.memory;
            self.seen.retain(|_, event_time| event_time.saturating_add(memory) >= now);
        }
    }

    /// All keys that `watermark` still remembers, except those of `rows`.
    pub fn beside(&self, rows: &Rows, watermark: Option<Nanos>) -> Result<KeyRows> {
        let of_rows: std::collections::HashSet<OwnedRow> = self.encode(&rows.columns)?.into_iter().collect();
        let mut keys: Vec<(&OwnedRow, Nanos)> = self
            .seen
            .iter()
            .filter(|(key, event_time)| !self.is_over(**event_time, watermark) && !of_rows.contains(*key))
            .map(|(key, &event_time)| (key, event_time))
            .collect();
        keys.sort();
        if keys.is_empty() {
            return Ok(self.none());
        }
        let columns = self.converter.convert_rows(keys.iter().map(|(key, _)| key.row()))?;
        debug_assert!(columns.iter().all(|column| column.null_count() == 0));
        Ok(KeyRows {
            columns: RecordBatch::try_new(Arc::clone(&self.schema), columns)?,
            event_times: keys.iter().map(|(_, event_time)| *event_time).collect(),
        })
    }
}
