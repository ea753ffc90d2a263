//! Which offsets a batch reads: where each partition goes on, and how far.
//!
//! The checkpoint knows where a partition goes on; the broker must still have it. Nothing here asks a
//! consumer group.

use std::collections::BTreeMap;

use crate::batch::offset::{OffsetRange, PerPartition, TopicPartition};
use crate::checkpoint::record::PartitionRecord;
use crate::clock::rfc3339_ms;
use crate::error::{Error, ErrorKind, Result};
use crate::source::{Extent, RESTORE_TOPIC};

/// Where the first batch of a new checkpoint starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartingOffsets {
    /// The first offset that each partition still has.
    Earliest,
    /// The end of each partition.
    Latest,
    /// The first record whose Kafka timestamp, in milliseconds, is at or after this one.
    Time(i64),
    /// Given per topic; others start at earliest.
    Given(BTreeMap<String, TopicStart>),
}

/// Where the partitions of one topic start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicStart {
    /// Given per partition; −2 is earliest, −1 latest, as in Spark.
    pub offsets: BTreeMap<i32, i64>,
    /// Of the other partitions: as [`StartingOffsets::Time`]; without it they start at earliest.
    pub timestamp_ms: Option<i64>,
}

impl StartingOffsets {
    /// The partitions that start by time, with it, in milliseconds.
    pub fn times(&self, extents: &PerPartition<Extent>) -> PerPartition<i64> {
        let time = |tp: &TopicPartition| match self {
            Self::Earliest | Self::Latest => None,
            Self::Time(ms) => Some(*ms),
            Self::Given(given) => {
                let topic = given.get(tp.topic.as_ref())?;
                topic.timestamp_ms.filter(|_| !topic.offsets.contains_key(&tp.partition))
            }
        };
        extents.keys().filter_map(|tp| Some((tp.clone(), time(tp)?))).collect()
    }

    /// Where each partition starts.
    ///
    /// * `found`: of [`StartingOffsets::times`], the offset of the first record that is new enough.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config): a topic or partition that is not there, or has nothing that new.
    pub fn starts(
        &self,
        extents: &PerPartition<Extent>,
        found: &PerPartition<Option<i64>>,
    ) -> Result<PerPartition<i64>> {
        if let Self::Given(given) = self {
            refuse_strangers(given, extents)?;
        }
        let times = self.times(extents);
        let start = |(tp, extent): (&TopicPartition, &Extent)| {
            if let Some(&ms) = times.get(tp) {
                let offset = found.get(tp).copied().flatten().ok_or_else(|| nothing_that_new(tp, ms))?;
                return Ok((tp.clone(), offset.clamp(extent.earliest, extent.latest)));
            }
            let given = match self {
                Self::Given(given) => given.get(tp.topic.as_ref()).and_then(|t| t.offsets.get(&tp.partition)),
                Self::Latest => Some(&-1),
                Self::Earliest | Self::Time(_) => None,
            };
            let offset = match given {
                None | Some(-2) => extent.earliest,
                Some(-1) => extent.latest,
                Some(&offset) => offset.clamp(extent.earliest, extent.latest),
            };
            Ok((tp.clone(), offset))
        };
        extents.iter().map(start).collect()
    }
}

/// A topic that no table reads, or a partition that it has not, would be left out silently.
fn refuse_strangers(given: &BTreeMap<String, TopicStart>, extents: &PerPartition<Extent>) -> Result<()> {
    for (topic, start) in given {
        let partitions: Vec<i32> =
            extents.keys().filter(|tp| *tp.topic == **topic).map(|tp| tp.partition).collect();
        let mut topics: Vec<&str> = extents.keys().map(|tp| tp.topic.as_ref()).collect();
        topics.dedup();
        if partitions.is_empty() {
            return Err(Error::config(format!("--starting-offsets: no table reads the topic \"{topic}\""))
                .advise(format!("the topics are {}", topics.join(", "))));
        }
        if let Some(partition) = start.offsets.keys().find(|partition| !partitions.contains(partition)) {
            return Err(Error::config(format!(
                "--starting-offsets: the topic \"{topic}\" has no partition {partition}"
            ))
            .advise(format!("it has {} partitions, from 0", partitions.len())));
        }
    }
    Ok(())
}

fn nothing_that_new(tp: &TopicPartition, ms: i64) -> Error {
    let time = rfc3339_ms(ms);
    let TopicPartition { topic, partition } = tp;
    Error::config(format!("--starting-offsets: partition {tp} has no record as new as {time}")).advise(format!(
        "give an earlier time, or say where that partition starts (-1: at its end, -2: at its beginning): \
         {{\"{topic}\":{{\"timestamp\":\"{time}\",\"{partition}\":-1}}}}"
    ))
}

/// Where each partition is read from next.
///
/// * `committed`: what the last commit says, or where a query that has not run yet starts; a partition that
///   appears later is read from its beginning, since nothing of it was seen.
///
/// # Errors
/// [`DataLoss`](ErrorKind::DataLoss) if the broker no longer has what comes next. With
/// `fail_on_data_loss` off it is skipped, with a warning; an offset is never read twice, so a partition
/// that was made again or cut goes on where it was left off, once it has grown that far.
pub fn positions(
    extents: &PerPartition<Extent>,
    committed: &PerPartition<PartitionRecord>,
    fail_on_data_loss: bool,
) -> Result<PerPartition<i64>> {
    let mut positions = PerPartition::new();
    for (tp, extent) in extents {
        let position = match committed.get(tp) {
            None => extent.earliest,
            Some(record) => match lost(record.next_offset, extent) {
                None => record.next_offset,
                Some(problem) if fail_on_data_loss => return Err(data_loss(tp, problem)),
                Some(problem) => {
                    let next = record.next_offset.max(extent.earliest);
                    tracing::warn!("{tp}: {problem}; going on at {next}");
                    next
                }
            },
        };
        positions.insert(tp.clone(), position);
    }
    match committed.keys().find(|tp| !extents.contains_key(*tp)) {
        Some(tp) if fail_on_data_loss => {
            Err(data_loss(tp, "a partition that was read before is not there any more".to_owned()))
        }
        _ => Ok(positions),
    }
}

/// What is wrong if `next` can't be read.
fn lost(next: i64, extent: &Extent) -> Option<String> {
    if next < extent.earliest {
        return Some(format!("offsets {next} to {} are gone from the broker", extent.earliest));
    }
    (next > extent.latest).then(|| {
        format!("the topic was made again or cut: {next} is to be read next, it ends at {}", extent.latest)
    })
}

/// A topic that a table of the SQL reads is not there.
pub(crate) fn missing_topic(topic: &str) -> Error {
    Error::config(format!("the topic \"{topic}\" does not exist"))
        .advise(format!("create it with `ecomm-batch topics create {topic}`, or correct --brokers"))
}

/// What is to be read of `tp` is gone, or is not what it was.
pub fn data_loss(tp: &TopicPartition, problem: String) -> Error {
    Error::new(ErrorKind::DataLoss, problem).with("partition", tp).advise(RESTORE_TOPIC)
}

/// The ranges of a batch: everything, or `max_offsets` shared by backlog with at least one offset
/// for each partition that has any.
pub fn choose_ranges(
    extents: &PerPartition<Extent>,
    positions: &PerPartition<i64>,
    max_offsets: Option<u64>,
) -> PerPartition<OffsetRange> {
    let start = |tp: &TopicPartition, extent: &Extent| positions.get(tp).copied().unwrap_or(extent.earliest);
    let backlog = |tp: &TopicPartition, extent: &Extent| (extent.latest - start(tp, extent)).max(0);
    let total: i128 = extents.iter().map(|(tp, extent)| i128::from(backlog(tp, extent))).sum();
    let limit = i128::from(max_offsets.unwrap_or(u64::MAX).max(1));
    let mut left = limit;
    extents
        .iter()
        .map(|(tp, extent)| {
            let (start, backlog) = (start(tp, extent), i128::from(backlog(tp, extent)));
            let share = if total <= limit {
                backlog
            } else {
                (backlog * limit / total).max(1).min(backlog).min(left.max(1))
            };
            left -= share;
            let range = OffsetRange { start, end: start + share as i64, latest: extent.latest.max(start) };
            (tp.clone(), range)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_shared_by_backlog_and_every_partition_moves() {
        let extents: PerPartition<Extent> = [("a", 0, 900), ("a", 1, 99), ("b", 0, 1), ("b", 1, 0)]
            .into_iter()
            .map(|(topic, number, latest)| {
                (TopicPartition::new(topic, number), Extent { earliest: 0, latest })
            })
            .collect();
        let lengths = |max| -> Vec<i64> {
            choose_ranges(&extents, &PerPartition::new(), max).values().map(OffsetRange::len).collect()
        };
        assert_eq!(lengths(None), [900, 99, 1, 0]);
        assert_eq!(lengths(Some(100)), [90, 9, 1, 0]);
        assert_eq!(lengths(Some(1)), [1, 1, 1, 0]);
    }

    #[test]
    fn what_the_broker_has_lost_is_refused_or_skipped() {
        let tp = TopicPartition::new("a", 0);
        let extents: PerPartition<Extent> = [(tp.clone(), Extent { earliest: 10, latest: 20 })].into();
        let at = |next_offset, strict| {
            let record = PartitionRecord { next_offset, ..PartitionRecord::default() };
            positions(&extents, &[(tp.clone(), record)].into(), strict).map(|positions| positions[&tp])
        };
        for offset in [10, 15, 20] {
            assert_eq!(at(offset, true).expect("there"), offset);
        }
        for offset in [9, 21] {
            assert_eq!(at(offset, true).expect_err("lost").kind(), ErrorKind::DataLoss);
            assert_eq!(at(offset, false).expect("skipped"), offset.max(10));
        }
        let gone = [(TopicPartition::new("a", 1), PartitionRecord::default())].into();
        assert_eq!(positions(&extents, &gone, true).expect_err("lost").kind(), ErrorKind::DataLoss);
        assert_eq!(positions(&extents, &gone, false).expect("skipped").len(), 1);
    }

    #[test]
    fn a_new_query_starts_where_it_is_told() {
        let tp = |number| TopicPartition::new("a", number);
        let extents: PerPartition<Extent> =
            (0..4).map(|number| (tp(number), Extent { earliest: 10, latest: 20 })).collect();
        let offsets: BTreeMap<i32, i64> = [(0, 15), (1, -1), (2, -2)].into();
        let given = |timestamp_ms| {
            StartingOffsets::Given(
                [("a".to_owned(), TopicStart { offsets: offsets.clone(), timestamp_ms })].into(),
            )
        };
        let start = |starting: StartingOffsets, found: Option<i64>| -> Result<Vec<i64>> {
            let found = starting.times(&extents).into_keys().map(|tp| (tp, found)).collect();
            Ok(starting.starts(&extents, &found)?.into_values().collect())
        };
        assert_eq!(start(given(None), None).expect("starts"), [15, 20, 10, 10]);
        assert_eq!(start(given(Some(5)), Some(12)).expect("starts"), [15, 20, 10, 12]);
        assert_eq!(start(StartingOffsets::Time(5), Some(12)).expect("starts"), [12; 4]);
        assert_eq!(start(StartingOffsets::Latest, None).expect("starts"), [20; 4]);
        assert_eq!(start(StartingOffsets::Earliest, None).expect("starts"), [10; 4]);
        for (starting, words) in [
            (StartingOffsets::Time(5), "partition a/0 has no record as new as 1970-01-01T00:00:00.005Z"),
            (given(Some(5)), "partition a/3 has no record"),
            (StartingOffsets::Given([("b".to_owned(), TopicStart::default())].into()), "topic \"b\""),
            (
                StartingOffsets::Given(
                    [("a".to_owned(), TopicStart { offsets: [(4, 0)].into(), timestamp_ms: None })].into(),
                ),
                "no partition 4",
            ),
        ] {
            let error = start(starting, None).expect_err(words);
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.kind(), ErrorKind::Config);
        }
    }
}
