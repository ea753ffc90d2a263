//! A source whose records live in the process: for case files and for tests.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;

use crate::batch::offset::{OffsetRange, PerPartition, TopicPartition};
use crate::error::{Error, Result};
use crate::source::{Extent, Records, Source};

/// Topics in memory; records are appended and never removed.
#[derive(Debug, Default)]
pub struct MemorySource {
    logs: Mutex<BTreeMap<TopicPartition, Vec<Stored>>>,
}

#[derive(Debug, Clone)]
struct Stored {
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
}

impl MemorySource {
    /// Creates the partition if it is new.
    pub fn create(&self, tp: TopicPartition) {
        self.lock().entry(tp).or_default();
    }

    /// Appends a record and returns its offset; creates the partition if it is new.
    pub fn append(
        &self,
        tp: TopicPartition,
        timestamp_ms: i64,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
    ) -> i64 {
        let mut logs = self.lock();
        let log = logs.entry(tp).or_default();
        log.push(Stored { timestamp_ms, key, value });
        log.len() as i64 - 1
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<TopicPartition, Vec<Stored>>> {
        self.logs.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[async_trait]
impl Source for MemorySource {
    async fn extents(&self) -> Result<PerPartition<Extent>> {
        let extent = |log: &Vec<Stored>| Extent { earliest: 0, latest: log.len() as i64 };
        Ok(self.lock().iter().map(|(tp, log)| (tp.clone(), extent(log))).collect())
    }

    async fn fetch(&self, ranges: &PerPartition<OffsetRange>) -> Result<Vec<Records>> {
        let logs = self.lock();
        let read = |(tp, range): (&TopicPartition, &OffsetRange)| {
            let log = logs.get(tp).ok_or_else(|| Error::config(format!("no topic partition \"{tp}\"")))?;
            let mut records = Records::new(tp.clone());
            for offset in range.start..range.end {
                let stored = log.get(offset as usize).ok_or_else(|| {
                    Error::internal(format!("offset {offset} of \"{tp}\" is beyond the log"))
                })?;
                records.push(offset, stored.timestamp_ms, stored.key.as_deref(), stored.value.as_deref());
            }
            Ok(records)
        };
        ranges.iter().map(read).collect()
    }

    async fn offsets_for_times(&self, times: &PerPartition<i64>) -> Result<PerPartition<Option<i64>>> {
        let logs = self.lock();
        let first = |(tp, &time): (&TopicPartition, &i64)| {
            let log = logs.get(tp).map(Vec::as_slice).unwrap_or_default();
            let at = log.iter().position(|stored| stored.timestamp_ms >= time);
            (tp.clone(), at.map(|offset| offset as i64))
        };
        Ok(times.iter().map(first).collect())
    }

    async fn held_back(&self) -> Result<PerPartition<i64>> {
        Ok(PerPartition::new())
    }

    fn report_position(&self, _position: &PerPartition<i64>) {}
}
