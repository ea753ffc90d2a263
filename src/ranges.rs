//! Which offsets a batch reads: where each partition goes on, and how far.
//!
//! The checkpoint knows where a partition goes on; the broker must still have it. Nothing here asks a
//! consumer group.

use crate::checkpoint::record::PartitionRecord;
use crate::error::{Error, ErrorKind, Result};
use crate::offset::{ByTopic, OffsetRange, PerPartition, TopicPartition};
use crate::source::Extent;

/// Where the first batch of a new checkpoint starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartingOffsets {
    /// The first offset that each partition still has.
    Earliest,
    /// The end of each partition.
    Latest,
    /// Given per partition; −2 is earliest, −1 latest, as in Spark; others start at earliest.
    Given(ByTopic<i64>),
}

impl StartingOffsets {
    fn of(&self, tp: &TopicPartition, extent: &Extent) -> i64 {
        match self {
            Self::Earliest => extent.earliest,
            Self::Latest => extent.latest,
            Self::Given(given) => {
                match given.get(tp.topic.as_ref()).and_then(|topic| topic.get(&tp.partition)) {
                    None | Some(-2) => extent.earliest,
                    Some(-1) => extent.latest,
                    Some(&offset) => offset.clamp(extent.earliest, extent.latest),
                }
            }
        }
    }
}

/// Where each partition is read from next.
///
/// * `committed`: what the last commit says, or where a query that has not run yet starts.
/// * `starting`: of a query that has not begun; a partition that appears later is read from its
///   beginning, since nothing of it was seen.
///
/// # Errors
/// [`DataLoss`](ErrorKind::DataLoss) if the broker no longer has what comes next. With
/// `fail_on_data_loss` off it is skipped, with a warning; an offset is never read twice, so a partition
/// that was made again or cut goes on where it was left off, once it has grown that far.
pub fn positions(
    extents: &PerPartition<Extent>,
    committed: &PerPartition<PartitionRecord>,
    starting: Option<&StartingOffsets>,
    fail_on_data_loss: bool,
) -> Result<PerPartition<i64>> {
    let mut positions = PerPartition::new();
    for (tp, extent) in extents {
        let position = match (committed.get(tp), starting) {
            (None, Some(starting)) => starting.of(tp, extent),
            (None, None) => extent.earliest,
            (Some(record), _) => match lost(record.next_offset, extent) {
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

/// What is to be read of `tp` is gone, or is not what it was.
pub fn data_loss(tp: &TopicPartition, problem: String) -> Error {
    Error::new(ErrorKind::DataLoss, problem).with("partition", tp).advise(
        "restore the topic or start a new checkpoint; --fail-on-data-loss=false goes on with what is there and counts what is lost",
    )
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
            positions(&extents, &[(tp.clone(), record)].into(), None, strict).map(|positions| positions[&tp])
        };
        for offset in [10, 15, 20] {
            assert_eq!(at(offset, true).expect("there"), offset);
        }
        for offset in [9, 21] {
            assert_eq!(at(offset, true).expect_err("lost").kind(), ErrorKind::DataLoss);
            assert_eq!(at(offset, false).expect("skipped"), offset.max(10));
        }
        let gone = [(TopicPartition::new("a", 1), PartitionRecord::default())].into();
        assert_eq!(positions(&extents, &gone, None, true).expect_err("lost").kind(), ErrorKind::DataLoss);
        assert_eq!(positions(&extents, &gone, None, false).expect("skipped").len(), 1);
    }

    #[test]
    fn a_new_query_starts_where_it_is_told() {
        let tp = |number| TopicPartition::new("a", number);
        let extents: PerPartition<Extent> =
            (0..4).map(|number| (tp(number), Extent { earliest: 10, latest: 20 })).collect();
        let given = StartingOffsets::Given([("a".to_owned(), [(0, 15), (1, -1), (2, -2)].into())].into());
        let start = |starting| -> Vec<i64> {
            positions(&extents, &PerPartition::new(), starting, true).expect("starts").into_values().collect()
        };
        assert_eq!(start(Some(&given)), [15, 20, 10, 10]);
        assert_eq!(start(Some(&StartingOffsets::Latest)), [20; 4]);
        assert_eq!(start(None), [10; 4]);
    }
}
