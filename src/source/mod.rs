//! Which records a batch is made of: the ends of the partitions, and the bytes of a range.
//!
//! A source knows topics, partitions and offsets; it never sees SQL. [`kafka`] is the real one,
//! [`memory`] keeps its records in the process, for case files and fault injection.

pub(crate) mod header;
pub mod kafka;
pub mod memory;
pub mod topics;

use std::ops::Range;

use async_trait::async_trait;

use crate::batch::offset::{OffsetRange, PerPartition, TopicPartition};
use crate::error::Result;

/// What to do about records that are gone.
pub(crate) const RESTORE_TOPIC: &str = "restore the topic; or go on with what is there by --fail-on-data-loss=false, which counts what is lost; \
     or start anew: `ecomm-batch reset` removes the checkpoint and what it stored";

/// The offsets that a partition holds at the moment: `[earliest, latest)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first offset that can still be read.
    pub earliest: i64,
    /// The last stable offset: everything below it is committed or will never be read.
    pub latest: i64,
}

/// Where records come from.
#[async_trait]
pub trait Source: Send + Sync {
    /// What each partition of each topic holds now; partitions that were added since the last
    /// call are in it, topics that do not exist are left out.
    ///
    /// # Errors
    /// * [`Unavailable`](crate::error::ErrorKind::Unavailable): no broker answers; ask again.
    /// * [`Config`](crate::error::ErrorKind::Config): the broker refuses the credentials.
    async fn extents(&self) -> Result<PerPartition<Extent>>;

    /// Reads exactly the records of `ranges`, of each in offset order. Offsets without a record
    /// (transaction markers, compaction) are passed over; a range ends by position. Reading the
    /// same ranges again gives the same records.
    ///
    /// # Errors
    /// * [`Unavailable`](crate::error::ErrorKind::Unavailable): ask again.
    /// * [`DataLoss`](crate::error::ErrorKind::DataLoss): the broker no longer has the range.
    async fn fetch(&self, ranges: &PerPartition<OffsetRange>) -> Result<Vec<Records>>;

    /// The offset of the first record of each partition whose timestamp is at or after the given one, in
    /// milliseconds; `None` where no record is that new.
    ///
    /// # Errors
    /// [`Unavailable`](crate::error::ErrorKind::Unavailable): ask again.
    async fn offsets_for_times(&self, times: &PerPartition<i64>) -> Result<PerPartition<Option<i64>>>;

    /// How many offsets at the end of each partition belong to, or follow, a transaction that is still open:
    /// they can't be read yet. Partitions without any are left out.
    ///
    /// # Errors
    /// [`Unavailable`](crate::error::ErrorKind::Unavailable): no broker answers.
    async fn held_back(&self) -> Result<PerPartition<i64>>;

    /// Tells lag tools how far the query has come; never read back. Failures are only logged.
    fn report_position(&self, position: &PerPartition<i64>);
}

/// The records of one partition's range, in offset order, their bytes in one arena.
#[derive(Debug)]
pub struct Records {
    /// Where they were read.
    pub tp: TopicPartition,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    headers: Vec<(String, Option<Range<usize>>)>,
}

#[derive(Debug)]
struct Entry {
    offset: i64,
    timestamp_ms: i64,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Range<usize>,
}

/// One record, borrowed from its [`Records`].
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    records: &'a Records,
    entry: &'a Entry,
}

impl Records {
    /// No records yet of `tp`.
    pub fn new(tp: TopicPartition) -> Self {
        Self { tp, entries: Vec::new(), bytes: Vec::new(), headers: Vec::new() }
    }

    /// Appends a record without headers; offsets must rise.
    pub fn push(&mut self, offset: i64, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>) {
        let key = key.map(|bytes| self.store(bytes));
        let value = value.map(|bytes| self.store(bytes));
        let headers = self.headers.len()..self.headers.len();
        self.entries.push(Entry { offset, timestamp_ms, key, value, headers });
    }

    /// Adds a header to the record pushed last.
    pub fn push_header(&mut self, name: &str, value: Option<&[u8]>) {
        let value = value.map(|bytes| self.store(bytes));
        self.headers.push((name.to_owned(), value));
        if let Some(entry) = self.entries.last_mut() {
            entry.headers.end = self.headers.len();
        }
    }

    /// Leaves the first record out; there must be one.
    pub fn remove_first(&mut self) {
        self.entries.remove(0);
    }

    fn store(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the range held no record.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of all keys, values and headers.
    pub fn num_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The `index`-th record.
    pub fn get(&self, index: usize) -> Record<'_> {
        Record { records: self, entry: &self.entries[index] }
    }

    /// All of them in offset order.
    pub fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        self.entries.iter().map(move |entry| Record { records: self, entry })
    }
}

impl<'a> Record<'a> {
    /// Its offset.
    pub fn offset(&self) -> i64 {
        self.entry.offset
    }

    /// Kafka's timestamp, milliseconds since 1970.
    pub fn timestamp_ms(&self) -> i64 {
        self.entry.timestamp_ms
    }

    /// The key's bytes.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.bytes(self.entry.key.as_ref())
    }

    /// The value's bytes; `None` is a tombstone.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.bytes(self.entry.value.as_ref())
    }

    /// Names and values of its headers.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a> {
        let records = self.records;
        records.headers[self.entry.headers.clone()].iter().map(move |(name, value)| {
            (name.as_str(), value.as_ref().map(|range| &records.bytes[range.clone()]))
        })
    }

    fn bytes(&self, range: Option<&Range<usize>>) -> Option<&'a [u8]> {
        range.map(|range| &self.records.bytes[range.clone()])
    }
}
