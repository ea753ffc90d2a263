//! Which key group a row belongs to, and the rows of each.
//!
//! Rows can only meet where their join keys are equal, and equal keys have equal hashes
//! ([`join_side`](crate::query::join_side)); so a batch falls into parts that know nothing of each other. As in Flink,
//! a hash names one of [`KEY_BUCKETS`] buckets for ever, and a group is a run of neighbouring buckets: how many groups
//! there are (K of `offsets/<N>`) is a choice of each batch, and moves no row of state.
//!
//! Example with K = 3: the hash 0x5B… lies in bucket 0x5B = 91, and 91 · 3 / 256 = 1: group 1 has it, in state as in
//! every batch. With K = 8 it is 91 · 8 / 256 = 2.
//!
//! A row whose key can't match (it has no hash) belongs to group 0, which finds that it stays alone.

use std::sync::Arc;

use crate::error::Result;
use crate::state::{RowMeta, Rows};

/// How many parts the hashes of keys fall into; at most so many groups can have work.
pub const KEY_BUCKETS: u32 = 256;

/// One of the parts of a batch that share no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyGroup {
    /// From 0.
    pub number: u32,
    /// How many there are.
    pub of: u32,
}

impl KeyGroup {
    /// All groups of a batch with `of` of them.
    pub fn all(of: u32) -> impl Iterator<Item = Self> {
        let of = of.clamp(1, KEY_BUCKETS);
        (0..of).map(move |number| Self { number, of })
    }

    /// The number of the group that a row belongs to, of `of`.
    fn number_of(meta: &RowMeta, of: u32) -> u32 {
        // The upper bits of the hash are its best mixed ones.
        let bucket = (meta.key_hash.unwrap_or(0) >> 56) as u32;
        bucket * of / KEY_BUCKETS
    }

    /// Whether a row belongs to it.
    pub fn holds(self, meta: &RowMeta) -> bool {
        Self::number_of(meta, self.of) == self.number
    }
}

/// The rows of one source that one group has; copied by the group's task, so that groups copy side by side.
#[derive(Clone, Debug)]
pub struct Part {
    rows: Arc<Rows>,
    /// Without it all of them.
    at: Option<Vec<usize>>,
}

impl Part {
    /// The rows, in the order in which they came.
    pub fn take(self) -> Result<Rows> {
        match self.at {
            Some(at) => self.rows.take(&at),
            None => Ok(Arc::unwrap_or_clone(self.rows)),
        }
    }
}

/// The rows of each group.
pub fn by_key(rows: Rows, of: u32) -> Vec<Part> {
    let rows = Arc::new(rows);
    if of <= 1 {
        return vec![Part { rows, at: None }];
    }
    let mut indices: Vec<Vec<usize>> = vec![Vec::new(); of as usize];
    for (row, meta) in rows.meta.iter().enumerate() {
        indices[KeyGroup::number_of(meta, of) as usize].push(row);
    }
    indices.into_iter().map(|at| Part { rows: Arc::clone(&rows), at: Some(at) }).collect()
}

/// Rows that meet no others, as they do without a join: `of` runs of neighbours.
pub fn by_arrival(rows: &Rows, of: u32) -> Vec<Part> {
    let (len, of) = (rows.len(), of.max(1) as usize);
    let cut = |number: usize| number * len / of;
    let run = |number: usize| Rows {
        columns: rows.columns.slice(cut(number), cut(number + 1) - cut(number)),
        meta: rows.meta[cut(number)..cut(number + 1)].to_vec(),
    };
    (0..of).map(|number| Part { rows: Arc::new(run(number)), at: None }).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;
    use crate::batch::BatchId;

    fn rows(hashes: &[Option<u64>]) -> Rows {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let numbers = Int64Array::from_iter_values(0..hashes.len() as i64);
        let meta = hashes.iter().map(|&key_hash| RowMeta {
            partition: 0,
            offset: 0,
            timestamp_ms: 0,
            batch: BatchId(0),
            event_time: 0,
            key_hash,
            matched: false,
            valid_partners: 0,
        });
        let columns = RecordBatch::try_new(schema, vec![Arc::new(numbers)]).expect("fits");
        Rows { columns, meta: meta.collect() }
    }

    fn numbers(parts: Vec<Part>) -> Vec<Vec<i64>> {
        let of_part = |part: Part| {
            let rows = part.take().expect("taken");
            rows.columns.column(0).as_primitive::<Int64Type>().values().to_vec()
        };
        parts.into_iter().map(of_part).collect()
    }

    #[test]
    fn each_row_is_in_the_one_group_that_holds_it_in_the_order_of_arrival() {
        let hashes = [Some(0x5B << 56), None, Some(u64::MAX), Some(0x5B << 56 | 7), Some(0)];
        assert_eq!(numbers(by_key(rows(&hashes), 1)), [vec![0, 1, 2, 3, 4]]);
        assert_eq!(numbers(by_key(rows(&hashes), 3)), [vec![1, 4], vec![0, 3], vec![2]]);
        for of in [1, 2, 3, 8, 256] {
            for meta in &rows(&hashes).meta {
                assert_eq!(KeyGroup::all(of).filter(|group| group.holds(meta)).count(), 1);
            }
        }
    }

    #[test]
    fn rows_without_a_key_are_cut_into_runs_that_follow_each_other() {
        let parts = numbers(by_arrival(&rows(&[None; 7]), 3));
        assert_eq!(parts, [vec![0, 1], vec![2, 3], vec![4, 5, 6]]);
    }
}
