//! How far event time has come: the bound below which no row is expected any more.
//!
//! Each partition counts with the highest event time seen in it. A source's watermark is the least
//! of its active partitions minus the delay; the query's is the least of its sources; it never goes
//! back. A partition is left out while it has nothing to say (never any row) and once it is idle;
//! one with unread backlog is never left out, so a partition that is read slowly loses nothing.
//!
//! ```text
//! orders/0    max 10:40 ┐
//! orders/1    max 10:31 ├ least 10:31 − 10 min = 10:21 ┐
//! orders/2    idle      ┘                              ├ query's watermark 10:20
//! payments/0  max 10:30 ─ least 10:30 − 10 min = 10:20 ┘
//! ```
//!
//! Batch N is judged by the watermark that batch N−1 ended with. Words and rules are Spark's
//! (`withWatermark`, `spark.sql.streaming.multipleWatermarkPolicy=min`) and Flink's (idle sources).

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Nanos, rfc3339};
use crate::offset::{OffsetRange, PerPartition, TopicPartition};

/// What a partition has told so far; kept in the commit log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionClock {
    /// The highest event time of a decoded row that was not from the future.
    pub max_event_time: Option<Nanos>,
    /// The batch time of the last batch that brought a record, in milliseconds.
    pub last_record_ms: Option<i64>,
}

/// How a source's watermark follows its event times.
#[derive(Clone, Debug)]
pub struct WatermarkPolicy {
    /// The topic.
    pub topic: String,
    /// `watermark.delay`: how far below the maximum a row may still come.
    pub delay: Duration,
    /// `watermark.idle_timeout`: after how long without records a partition no longer counts.
    pub idle_timeout: Duration,
}

/// What a batch knows when it computes the watermark that it ends with.
#[derive(Debug)]
pub struct WatermarkInput<'a> {
    /// The watermark so far.
    pub current: Option<Nanos>,
    /// All partitions' clocks after this batch.
    pub clocks: &'a PerPartition<PartitionClock>,
    /// All partitions' ranges in this batch, empty ones too.
    pub ranges: &'a PerPartition<OffsetRange>,
    /// Partitions that count to the end of the run without idleness by time (`available-now`, `once`).
    pub pinned: &'a BTreeSet<TopicPartition>,
    /// The batch time.
    pub now_ms: i64,
    /// When the query was started, as its checkpoint says.
    pub query_start_ms: i64,
}

/// Why the watermark is where it is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldBy {
    /// The partition that is furthest behind, at its highest event time.
    Slowest(TopicPartition, Nanos),
    /// A partition with unread backlog of which nothing was read yet.
    Unread(TopicPartition),
    /// A topic without any row yet.
    NoData(String),
    /// Nothing came for longer than the idle timeouts.
    AllIdle,
}

impl std::fmt::Display for HeldBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Slowest(tp, max) => write!(f, "{tp} has come to {}", rfc3339(*max)),
            Self::Unread(tp) => write!(f, "{tp} has backlog and nothing was read of it yet"),
            Self::NoData(topic) => write!(f, "{topic} has no rows yet"),
            Self::AllIdle => f.write_str("all sources are idle"),
        }
    }
}

/// The watermark after a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advanced {
    /// The query's.
    pub watermark: Option<Nanos>,
    /// What decided it.
    pub held_by: HeldBy,
}

impl WatermarkInput<'_> {
    /// The query's watermark after the batch.
    pub fn advance(&self, policies: &[WatermarkPolicy]) -> Advanced {
        let mut least: Option<(Nanos, HeldBy)> = None;
        for policy in policies {
            match self.source(policy) {
                SourceProgress::Holds(held_by) => return Advanced { watermark: self.current, held_by },
                SourceProgress::Idle => {}
                SourceProgress::At(max, tp) => {
                    let time = max.saturating_sub(nanos(policy.delay));
                    if least.as_ref().is_none_or(|(other, _)| time < *other) {
                        least = Some((time, HeldBy::Slowest(tp, max)));
                    }
                }
            }
        }
        match least {
            Some((time, held_by)) => Advanced { watermark: self.current.max(Some(time)), held_by },
            None => Advanced { watermark: self.current, held_by: HeldBy::AllIdle },
        }
    }

    fn source(&self, policy: &WatermarkPolicy) -> SourceProgress {
        let mut least: Option<(Nanos, &TopicPartition)> = None;
        let (mut any_rows, mut all_silent) = (false, self.is_idle(None, policy));
        for (tp, range) in self.ranges.iter().filter(|(tp, _)| *tp.topic == *policy.topic) {
            let clock = self.clocks.get(tp).copied().unwrap_or_default();
            let unread = range.has_backlog();
            let is_idle = self.is_idle(clock.last_record_ms, policy);
            all_silent &= is_idle;
            let Some(max) = clock.max_event_time else {
                if unread {
                    return SourceProgress::Holds(HeldBy::Unread(tp.clone()));
                }
                continue;
            };
            any_rows = true;
            let counts = unread || self.pinned.contains(tp) || !is_idle;
            if counts && least.is_none_or(|(other, _)| max < other) {
                least = Some((max, tp));
            }
        }
        match least {
            Some((max, tp)) => SourceProgress::At(max, tp.clone()),
            None if any_rows || all_silent => SourceProgress::Idle,
            None => SourceProgress::Holds(HeldBy::NoData(policy.topic.clone())),
        }
    }

    fn is_idle(&self, last_record_ms: Option<i64>, policy: &WatermarkPolicy) -> bool {
        let silent_ms = self.now_ms - last_record_ms.unwrap_or(self.query_start_ms);
        i128::from(silent_ms) >= policy.idle_timeout.as_millis() as i128
    }
}

enum SourceProgress {
    /// It keeps the query's watermark where it is.
    Holds(HeldBy),
    /// It has no say.
    Idle,
    /// The least of its partitions' highest event times, and whose that is.
    At(Nanos, TopicPartition),
}

/// A duration in the unit of event times.
pub fn nanos(duration: Duration) -> Nanos {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000_000;

    fn policies() -> Vec<WatermarkPolicy> {
        ["a", "b"]
            .map(|topic| WatermarkPolicy {
                topic: topic.to_owned(),
                delay: Duration::from_secs(600),
                idle_timeout: Duration::from_secs(60),
            })
            .to_vec()
    }

    /// Partitions as (topic, number, max minutes, last record ms, unread offsets).
    fn advance(
        current: Option<i64>,
        now_ms: i64,
        pinned: &[&str],
        partitions: &[(&str, i32, Option<i64>, i64, i64)],
    ) -> Option<i64> {
        let mut clocks = PerPartition::new();
        let mut ranges = PerPartition::new();
        for &(topic, number, max, last, unread) in partitions {
            let tp = TopicPartition::new(topic, number);
            let max_event_time = max.map(|minutes| minutes * MINUTE);
            clocks.insert(tp.clone(), PartitionClock { max_event_time, last_record_ms: max.map(|_| last) });
            ranges.insert(tp, OffsetRange { start: 0, end: 5, latest: 5 + unread });
        }
        let pinned = pinned.iter().map(|topic| TopicPartition::new(*topic, 0)).collect();
        let input = WatermarkInput {
            current: current.map(|minutes| minutes * MINUTE),
            clocks: &clocks,
            ranges: &ranges,
            pinned: &pinned,
            now_ms,
            query_start_ms: 0,
        };
        input.advance(&policies()).watermark.map(|time| time / MINUTE)
    }

    #[test]
    fn least_over_partitions_and_sources_and_never_back() {
        let partitions = [("a", 0, Some(40), 0, 0), ("a", 1, Some(31), 0, 0), ("b", 0, Some(35), 0, 0)];
        assert_eq!(advance(None, 0, &[], &partitions), Some(21));
        assert_eq!(advance(Some(25), 0, &[], &partitions), Some(25));
    }

    #[test]
    fn a_source_without_data_holds_until_it_is_idle() {
        let partitions = [("a", 0, Some(40), 59_999, 0), ("b", 0, None, 0, 0)];
        assert_eq!(advance(None, 59_999, &[], &partitions), None);
        assert_eq!(advance(None, 60_000, &[], &partitions), Some(30));
    }

    #[test]
    fn backlog_is_never_idle() {
        let slow = [("a", 0, Some(40), 90_000, 0), ("a", 1, Some(20), 0, 7), ("b", 0, Some(40), 90_000, 0)];
        assert_eq!(advance(None, 90_000, &[], &slow), Some(10));
        let unread = [("a", 0, Some(40), 90_000, 0), ("a", 1, None, 0, 7), ("b", 0, Some(40), 90_000, 0)];
        assert_eq!(advance(Some(3), 90_000, &[], &unread), Some(3));
    }

    #[test]
    fn idle_partitions_are_left_out_unless_pinned() {
        let partitions = [("a", 0, Some(20), 0, 0), ("b", 0, Some(40), 60_000, 0)];
        assert_eq!(advance(None, 60_000, &[], &partitions), Some(30));
        assert_eq!(advance(None, 60_000, &["a"], &partitions), Some(10));
    }

    #[test]
    fn it_says_who_holds_it() {
        let tp = TopicPartition::new("b", 1);
        let clock = PartitionClock { max_event_time: Some(7 * MINUTE), last_record_ms: Some(0) };
        let clocks: PerPartition<PartitionClock> = [(tp.clone(), clock)].into();
        let ranges: PerPartition<OffsetRange> =
            [(tp.clone(), OffsetRange { start: 0, end: 5, latest: 5 })].into();
        let input = |now_ms| {
            WatermarkInput {
                current: None,
                clocks: &clocks,
                ranges: &ranges,
                pinned: &BTreeSet::new(),
                now_ms,
                query_start_ms: 0,
            }
            .advance(&policies())
            .held_by
        };
        assert_eq!(input(0), HeldBy::NoData("a".to_owned()));
        assert_eq!(input(60_000), HeldBy::AllIdle);
        let one = &policies()[1..];
        let held_by = WatermarkInput {
            now_ms: 0,
            current: None,
            clocks: &clocks,
            ranges: &ranges,
            pinned: &BTreeSet::new(),
            query_start_ms: 0,
        }
        .advance(one)
        .held_by;
        assert_eq!(held_by, HeldBy::Slowest(tp, 7 * MINUTE));
        assert_eq!(held_by.to_string(), "b/1 has come to 1970-01-01T00:07:00Z");
    }

    #[test]
    fn when_all_are_idle_it_stands_still() {
        let partitions = [("a", 0, Some(20), 0, 0), ("b", 0, Some(40), 0, 0)];
        assert_eq!(advance(Some(7), 60_000, &[], &partitions), Some(7));
    }
}
