//! The rows of each side that can still match, and the keys that were seen.
//!
//! In memory: Arrow chunks, one for each batch, with a hash index on the join key, so that the work
//! of a batch grows with the batch and not with the state. On disk: a Parquet delta for each batch,
//! a snapshot now and then ([`mod@file`]). The watermark removes rows without a record of it: whoever
//! loads the state removes the same ones.
//!
//! Example, orders that wait for a payment up to 10 minutes after them. Batch 4 (watermark 12:00) adds A of 11:52 and
//! B of 11:58: `4-….delta` has two rows `added`. Batch 5 brings a payment of A, and the view lets an order match
//! once: `5-….delta` has A's position, `removed`. Batch 6 ends with the watermark 12:09: B, which could be met until
//! 12:08, is let go, and no file says so. Loaded from the commit of batch 6, whose watermark is 12:09: add A and B,
//! remove A, let go what 12:09 has passed; nothing waits, as in the engine that never stopped.
//!
//! The state is one, whatever the number of key groups: a group reads all of it and finds the rows of its own keys, so
//! their number may change from batch to batch. That serves one process; engines on several machines will have to
//! keep state by group.

pub mod file;
mod keys;
pub mod restore;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::interleave;
use arrow::datatypes::SchemaRef;

use crate::batch::BatchId;
use crate::clock::Nanos;
use crate::error::Result;

pub use keys::KeyRegistry;

/// What the engine knows of a row beside its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowMeta {
    /// Where its record lies; the topic is the side's.
    pub partition: i32,
    /// Where its record lies.
    pub offset: i64,
    /// Kafka's timestamp.
    pub timestamp_ms: i64,
    /// The batch that brought it.
    pub batch: BatchId,
    /// The watermark column, in nanoseconds.
    pub event_time: Nanos,
    /// A hash of the join key; `None` if it can never match.
    pub key_hash: Option<u64>,
    /// Whether it ever had a partner.
    pub matched: bool,
    /// How many of its partners were valid.
    pub valid_partners: u32,
}

impl RowMeta {
    /// What arrival is ordered by: batch, Kafka timestamp, partition, offset.
    pub fn arrival(&self) -> (BatchId, i64, i32, i64) {
        (self.batch, self.timestamp_ms, self.partition, self.offset)
    }
}

/// Rows of one side: their columns and what is known of each.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The side's columns.
    pub columns: RecordBatch,
    /// One for each row.
    pub meta: Vec<RowMeta>,
}

impl Rows {
    /// No rows of `schema`.
    pub fn empty(schema: &SchemaRef) -> Self {
        Self { columns: RecordBatch::new_empty(Arc::clone(schema)), meta: Vec::new() }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.meta.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.meta.is_empty()
    }

    /// The rows at `indices`, in that order.
    pub fn take(&self, indices: &[usize]) -> Result<Self> {
        let at = arrow::array::UInt64Array::from_iter_values(indices.iter().map(|&index| index as u64));
        let columns = arrow::compute::take_record_batch(&self.columns, &at)?;
        Ok(Self { columns, meta: indices.iter().map(|&index| self.meta[index]).collect() })
    }

    /// These rows, then `more`.
    pub fn followed_by(&self, more: &Self) -> Result<Self> {
        let schema = self.columns.schema();
        let columns = arrow::compute::concat_batches(&schema, [&self.columns, &more.columns])?;
        Ok(Self { columns, meta: self.meta.iter().chain(&more.meta).copied().collect() })
    }
}

/// Names a row in memory; not stable across restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowRef {
    chunk: u32,
    row: u32,
}

impl SideChanges {
    /// New keys and nothing else; what the only source of a program without a join remembers.
    pub fn only_keys(schema: &SchemaRef, keys: KeyRows) -> Self {
        Self { added: Rows::empty(schema), matched: Vec::new(), removed: Vec::new(), keys }
    }

    /// Adds what another part of the batch does to the side; no row is in both.
    pub fn extend(&mut self, more: Self) -> Result<()> {
        if !more.added.is_empty() {
            self.added = self.added.followed_by(&more.added)?;
        }
        self.matched.extend(more.matched);
        self.removed.extend(more.removed);
        self.extend_keys(&more.keys)
    }

    /// Adds keys.
    pub fn extend_keys(&mut self, more: &KeyRows) -> Result<()> {
        if !more.event_times.is_empty() {
            self.keys = self.keys.followed_by(more)?;
        }
        Ok(())
    }
}

/// What one batch does to a side.
#[derive(Debug)]
pub struct SideChanges {
    /// New rows that can still match.
    pub added: Rows,
    /// Rows in state that found partners: the reference, and how many partners are valid by now.
    pub matched: Vec<(RowRef, u32)>,
    /// Rows in state that can't match again, by declared keys.
    pub removed: Vec<RowRef>,
    /// PRIMARY KEY values first seen in this batch whose rows are not in `added`.
    pub keys: KeyRows,
}

/// PRIMARY KEY values and their event times.
#[derive(Clone, Debug)]
pub struct KeyRows {
    /// The PRIMARY KEY columns.
    pub columns: RecordBatch,
    /// One for each.
    pub event_times: Vec<Nanos>,
}

impl KeyRows {
    /// These keys, then `more`.
    pub fn followed_by(&self, more: &Self) -> Result<Self> {
        let columns = arrow::compute::concat_batches(&self.columns.schema(), [&self.columns, &more.columns])?;
        Ok(Self { columns, event_times: [self.event_times.as_slice(), &more.event_times].concat() })
    }
}

/// One side of the join in memory.
#[derive(Debug)]
pub struct SideState {
    schema: SchemaRef,
    chunks: Vec<Option<Chunk>>,
    index: HashMap<u64, Vec<RowRef>>,
    num_rows: usize,
    num_waiting: usize,
    num_stored: usize,
    num_bytes: usize,
    /// The keys seen, for finding repeats.
    pub keys: KeyRegistry,
}

#[derive(Debug)]
struct Chunk {
    rows: Rows,
    num_bytes: usize,
    alive: Vec<bool>,
    num_alive: usize,
    /// Row numbers by event time; those before `next` are gone.
    by_time: Vec<u32>,
    next: usize,
}

impl SideState {
    /// An empty side with the given columns and PRIMARY KEY.
    pub fn new(schema: SchemaRef, keys: KeyRegistry) -> Self {
        Self {
            schema,
            chunks: Vec::new(),
            index: HashMap::new(),
            num_rows: 0,
            num_waiting: 0,
            num_stored: 0,
            num_bytes: 0,
            keys,
        }
    }

    /// The columns of its rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many rows can still match.
    pub fn len(&self) -> usize {
        self.num_rows
    }

    /// Whether no row can match any more.
    pub fn is_empty(&self) -> bool {
        self.num_rows == 0
    }

    /// How many rows wait for a first partner.
    pub fn num_waiting(&self) -> usize {
        self.num_waiting
    }

    /// Memory of the columns of its rows and of what is known of them, in bytes; without the index.
    pub fn num_bytes(&self) -> usize {
        self.num_bytes
    }

    /// The least event time of its rows.
    pub fn oldest(&self) -> Option<Nanos> {
        let oldest = |chunk: &Chunk| {
            let &row = chunk.by_time.get(chunk.next)?;
            Some(chunk.rows.meta[row as usize].event_time)
        };
        self.chunks.iter().flatten().filter_map(oldest).min()
    }

    /// What is known of a row.
    pub fn meta(&self, reference: RowRef) -> RowMeta {
        self.chunk(reference).rows.meta[reference.row as usize]
    }

    fn chunk(&self, reference: RowRef) -> &Chunk {
        self.chunks[reference.chunk as usize].as_ref().expect("a reference lives no longer than its chunk")
    }

    /// All rows with one of the key hashes, each once, in a fixed order.
    pub fn lookup(&self, hashes: impl Iterator<Item = u64>) -> Vec<RowRef> {
        let found: BTreeSet<RowRef> =
            hashes.filter_map(|hash| self.index.get(&hash)).flatten().copied().collect();
        found.into_iter().collect()
    }

    /// All rows whose event time is below `bound`, by chunk, then event time.
    pub fn older_than(&self, bound: Nanos) -> Vec<RowRef> {
        let mut found = Vec::new();
        for (number, chunk) in (0u32..).zip(&self.chunks) {
            let Some(chunk) = chunk else { continue };
            for &row in &chunk.by_time[chunk.next..] {
                if chunk.rows.meta[row as usize].event_time >= bound {
                    break;
                }
                if chunk.alive[row as usize] {
                    found.push(RowRef { chunk: number, row });
                }
            }
        }
        found
    }

    /// The first `most` rows for whose columns `is_wanted` says so; and whether all were asked before `until`.
    pub(crate) fn find(
        &self,
        is_wanted: impl Fn(&RecordBatch) -> Result<BooleanArray>,
        most: usize,
        until: Instant,
    ) -> Result<(Vec<RowRef>, bool)> {
        let mut found = Vec::new();
        for (number, chunk) in (0u32..).zip(&self.chunks) {
            let Some(chunk) = chunk else { continue };
            if Instant::now() > until || found.len() >= most {
                return Ok((found, false));
            }
            let wanted = is_wanted(&chunk.rows.columns)?;
            let rows = (0u32..).zip(&wanted).zip(&chunk.alive);
            let rows = rows.filter(|((_, wanted), alive)| *wanted == Some(true) && **alive);
            found.extend(rows.map(|((row, _), _)| RowRef { chunk: number, row }));
        }
        let is_whole = found.len() <= most;
        found.truncate(most);
        Ok((found, is_whole))
    }

    /// The rows behind `references`, in that order.
    pub fn rows(&self, references: &[RowRef]) -> Result<Rows> {
        if references.is_empty() {
            return Ok(Rows::empty(&self.schema));
        }
        let mut numbers: Vec<u32> = references.iter().map(|reference| reference.chunk).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let position: HashMap<u32, usize> =
            numbers.iter().enumerate().map(|(at, &number)| (number, at)).collect();
        let indices: Vec<(usize, usize)> =
            references.iter().map(|reference| (position[&reference.chunk], reference.row as usize)).collect();
        let chunks: Vec<&RecordBatch> =
            numbers.iter().map(|&chunk| &self.chunk(RowRef { chunk, row: 0 }).rows.columns).collect();
        let columns = (0..self.schema.fields().len())
            .map(|column| {
                let arrays: Vec<&dyn arrow::array::Array> =
                    chunks.iter().map(|chunk| chunk.column(column).as_ref()).collect();
                interleave(&arrays, &indices)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let columns = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        Ok(Rows { columns, meta: references.iter().map(|&reference| self.meta(reference)).collect() })
    }

    /// Applies a batch: marks, removes, adds. Eviction follows by [`SideState::evict`].
    pub fn apply(&mut self, changes: &SideChanges) -> Result<()> {
        self.apply_without_compaction(changes)?;
        self.compact()
    }

    /// Like [`SideState::apply`]; references to rows stay valid.
    fn apply_without_compaction(&mut self, changes: &SideChanges) -> Result<()> {
        for &(reference, valid_partners) in &changes.matched {
            // A row that the watermark has passed by now is gone already when files are loaded.
            if let Some(chunk) = &mut self.chunks[reference.chunk as usize] {
                let meta = &mut chunk.rows.meta[reference.row as usize];
                self.num_waiting -= usize::from(!meta.matched);
                meta.matched = true;
                meta.valid_partners = valid_partners;
            }
        }
        for &reference in &changes.removed {
            self.remove(reference);
        }
        self.add(changes.added.clone());
        self.keys.insert_columns(&changes.keys.columns, &changes.keys.event_times)?;
        self.keys.insert_rows(&changes.added)
    }

    /// Adds rows as a chunk of their own.
    fn add(&mut self, rows: Rows) {
        if rows.is_empty() {
            return;
        }
        let chunk = self.chunks.len() as u32;
        for (row, meta) in (0u32..).zip(&rows.meta) {
            if let Some(hash) = meta.key_hash {
                self.index.entry(hash).or_default().push(RowRef { chunk, row });
            }
        }
        let mut by_time: Vec<u32> = (0..rows.len() as u32).collect();
        by_time.sort_by_key(|&row| rows.meta[row as usize].event_time);
        self.num_rows += rows.len();
        self.num_waiting += rows.meta.iter().filter(|meta| !meta.matched).count();
        self.num_stored += rows.len();
        let num_bytes = rows.columns.get_array_memory_size() + std::mem::size_of_val(rows.meta.as_slice());
        self.num_bytes += num_bytes;
        self.chunks.push(Some(Chunk {
            num_bytes,
            alive: vec![true; rows.len()],
            num_alive: rows.len(),
            by_time,
            next: 0,
            rows,
        }));
    }

    /// Removes a row, and its chunk with the last of its rows.
    pub fn remove(&mut self, reference: RowRef) {
        let Some(chunk) = &mut self.chunks[reference.chunk as usize] else { return };
        let alive = &mut chunk.alive[reference.row as usize];
        if !std::mem::take(alive) {
            return;
        }
        chunk.num_alive -= 1;
        self.num_rows -= 1;
        self.num_waiting -= usize::from(!chunk.rows.meta[reference.row as usize].matched);
        if let Some(hash) = chunk.rows.meta[reference.row as usize].key_hash
            && let Some(references) = self.index.get_mut(&hash)
        {
            references.retain(|other| *other != reference);
            if references.is_empty() {
                self.index.remove(&hash);
            }
        }
        while let Some(&row) = chunk.by_time.get(chunk.next)
            && !chunk.alive[row as usize]
        {
            chunk.next += 1;
        }
        if chunk.num_alive == 0 {
            self.num_stored -= chunk.rows.len();
            self.num_bytes -= chunk.num_bytes;
            self.chunks[reference.chunk as usize] = None;
        }
    }

    /// Removes all rows whose event time is below `bound`.
    pub fn evict(&mut self, bound: Nanos) {
        for reference in self.older_than(bound) {
            self.remove(reference);
        }
    }

    /// All rows, by chunk, then row.
    pub fn live(&self) -> impl Iterator<Item = RowRef> {
        (0u32..).zip(&self.chunks).flat_map(|(number, chunk)| {
            let alive = chunk.as_ref().map_or(&[][..], |chunk| chunk.alive.as_slice());
            (0u32..)
                .zip(alive)
                .filter(|(_, alive)| **alive)
                .map(move |(row, _)| RowRef { chunk: number, row })
        })
    }

    /// Copies the living rows together once most of what is stored is dead, or chunks are many.
    fn compact(&mut self) -> Result<()> {
        let num_chunks = self.chunks.iter().flatten().count();
        if self.num_stored < 2 * self.num_rows + 65_536 && num_chunks < 1024 && self.chunks.len() < 4096 {
            return Ok(());
        }
        let references: Vec<RowRef> = self.live().collect();
        let rows = self.rows(&references)?;
        self.chunks.clear();
        self.index.clear();
        self.num_rows = 0;
        self.num_waiting = 0;
        self.num_stored = 0;
        self.num_bytes = 0;
        self.add(rows);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;

    fn side() -> SideState {
        let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let keys = KeyRegistry::try_new(&schema, &[], 0).expect("no key");
        SideState::new(schema, keys)
    }

    fn rows(state: &SideState, values: &[(i64, u64, i64)]) -> SideChanges {
        let column = Int64Array::from_iter_values(values.iter().map(|value| value.0));
        let columns = RecordBatch::try_new(Arc::clone(&state.schema), vec![Arc::new(column)]).expect("fits");
        let meta = values
            .iter()
            .map(|&(n, hash, event_time)| RowMeta {
                partition: 0,
                offset: n,
                timestamp_ms: 0,
                batch: BatchId(0),
                event_time,
                key_hash: Some(hash),
                matched: false,
                valid_partners: 0,
            })
            .collect();
        let keys =
            KeyRows { columns: RecordBatch::new_empty(Arc::new(Schema::empty())), event_times: Vec::new() };
        SideChanges { added: Rows { columns, meta }, matched: Vec::new(), removed: Vec::new(), keys }
    }

    fn numbers(state: &SideState, references: &[RowRef]) -> Vec<i64> {
        let rows = state.rows(references).expect("rows");
        rows.columns.column(0).as_primitive::<Int64Type>().values().to_vec()
    }

    #[test]
    fn rows_are_found_by_key_across_batches_and_evicted_by_time() {
        let mut state = side();
        for values in [&[(1, 7, 30), (2, 8, 10)][..], &[(3, 7, 20), (4, 9, 40)]] {
            let changes = rows(&state, values);
            state.apply(&changes).expect("applies");
        }
        let found = state.lookup([7, 9, 100].into_iter());
        assert_eq!(numbers(&state, &found), [1, 3, 4]);
        assert_eq!(numbers(&state, &state.older_than(30)), [2, 3]);
        assert_eq!(state.oldest(), Some(10));
        assert!(state.num_bytes() > 4 * size_of::<RowMeta>());
        state.evict(30);
        assert_eq!(state.oldest(), Some(30));
        assert_eq!(state.len(), 2);
        assert_eq!(numbers(&state, &state.lookup([7, 8].into_iter())), [1]);
        state.evict(100);
        assert!(state.is_empty() && state.index.is_empty());
        assert_eq!((state.num_bytes(), state.oldest()), (0, None));
        assert!(state.chunks.iter().all(Option::is_none));
    }

    #[test]
    fn compaction_keeps_rows_and_their_marks() {
        let mut state = side();
        let values: Vec<(i64, u64, i64)> = (0..70_000).map(|n| (n, n as u64, n)).collect();
        let changes = rows(&state, &values);
        state.apply(&changes).expect("applies");
        state.evict(69_990);
        let mut changes = rows(&state, &[(70_000, 70_000, 70_000)]);
        changes.matched = vec![(state.lookup([69_995].into_iter())[0], 3)];
        state.apply(&changes).expect("applies");
        assert_eq!(state.chunks.len(), 1, "copied together");
        assert_eq!(state.len(), 11);
        let found = state.lookup([69_995].into_iter());
        assert_eq!(numbers(&state, &found), [69_995]);
        assert!(state.meta(found[0]).matched);
        assert_eq!(state.meta(found[0]).valid_partners, 3);
    }
}
