//! Where a record lies in Kafka, and which stretch of a partition a batch reads.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A partition of a topic; ordered by topic, then number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// The offsets `[start, end)` of one partition, and where the partition ended when they were chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetRange {
    /// The first offset to read.
    pub start: i64,
    /// The first offset not to read.
    pub end: i64,
    /// The end of the partition (its last stable offset) when the batch was planned.
    pub latest: i64,
}

impl OffsetRange {
    /// How many offsets it spans; an upper bound of its records, since offsets can have gaps.
    pub fn len(&self) -> i64 {
        self.end - self.start
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// Whether the partition holds offsets beyond this range.
    pub fn has_backlog(&self) -> bool {
        self.latest > self.end
    }
}

/// A value for each partition.
pub type PerPartition<T> = BTreeMap<TopicPartition, T>;

/// A value for each partition as the checkpoint and `--starting-offsets` write it: topic, partition, value.
pub type ByTopic<T> = BTreeMap<String, BTreeMap<i32, T>>;

/// From the engine's form to the written one.
pub fn by_topic<T: Clone>(map: &PerPartition<T>) -> ByTopic<T> {
    let mut nested = ByTopic::new();
    for (tp, value) in map {
        nested.entry(tp.topic.to_string()).or_default().insert(tp.partition, value.clone());
    }
    nested
}

/// From the written form to the engine's.
pub fn per_partition<T: Clone>(nested: &ByTopic<T>) -> PerPartition<T> {
    nested
        .iter()
        .flat_map(|(topic, partitions)| {
            let topic: Arc<str> = topic.as_str().into();
            partitions.iter().map(move |(&partition, value)| {
                (TopicPartition { topic: Arc::clone(&topic), partition }, value.clone())
            })
        })
        .collect()
}
