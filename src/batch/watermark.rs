//! How far event time has come: the bound below which no row is expected any more.
//!
//! Each partition counts with the highest event time seen in it. A source's watermark is the least
//! of its active partitions minus the delay; the query's is the least of its sources; it never goes
//! back. A partition is left out while it has nothing to say (never any row) and once it is idle while
//! another of its source is not; one with unread backlog is never left out, so a partition that is read
//! slowly loses nothing.
//!
//! ```text
//! orders/0    max 10:40 ┐
//! orders/1    max 10:31 ├ least 10:31 − 10 min = 10:21 ┐
//! orders/2    idle      ┘                              ├ query's watermark 10:20
//! payments/0  max 10:30 ─ least 10:30 − 10 min = 10:20 ┘
//! ```
//!
//! A source whose partitions are all idle keeps the watermark where it is: its records are on their
//! way, and a watermark that passed them would make dead letters of them. Only
//! `watermark.source_idle_timeout` lets it go on without that source.
//!
//! Batch N is judged by the watermark that batch N−1 ended with. Words and rules are Spark's
//! (`withWatermark`, `spark.sql.streaming.multipleWatermarkPolicy=min`) and Flink's (idle sources).

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::batch::offset::{OffsetRange, PerPartition, TopicPartition};
use crate::clock::{Nanos, rfc3339, rfc3339_ms};
use crate::duration;

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
    /// `watermark.idle_timeout`: after how long without records a partition no longer counts beside the
    /// others of its source.
    pub idle_timeout: Duration,
    /// `watermark.source_idle_timeout`: after how long without records in any partition the source no
    /// longer counts; never without it.
    pub source_idle_timeout: Option<Duration>,
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
    /// A source that is idle as a whole while another one is not.
    Silent(Silence),
    /// Nothing came for longer than the idle timeouts.
    AllIdle,
}

/// How long a source that is idle as a whole has been so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// The topic.
    pub topic: String,
    /// The batch time of its last record, in milliseconds; if there was none, when the query was started.
    pub since_ms: i64,
    /// `watermark.source_idle_timeout`.
    pub source_idle_timeout: Option<Duration>,
}

impl Silence {
    /// For the log, when the source begins to hold the watermark: what that means and what can be done.
    pub fn warning(&self) -> String {
        let what_ends_it = match self.source_idle_timeout {
            Some(timeout) => format!(
                "'watermark.source_idle_timeout' lets it go on without them after {}",
                duration::format(timeout)
            ),
            None => "to let it go on without them after a time, set 'watermark.source_idle_timeout' in the source's OPTIONS".to_owned(),
        };
        format!(
            "{self}: the watermark waits for its records, which would be late if it went on; {what_ends_it}"
        )
    }
}

impl std::fmt::Display for Silence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} has been silent since {}", self.topic, rfc3339_ms(self.since_ms))
    }
}

impl std::fmt::Display for HeldBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Slowest(tp, max) => write!(f, "{tp} has come to {}", rfc3339(*max)),
            Self::Unread(tp) => write!(f, "{tp} has backlog and nothing was read of it yet"),
            Self::NoData(topic) => write!(f, "{topic} has no rows yet"),
            Self::Silent(silence) => silence.fmt(f),
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
        let mut holds = None;
        let mut silent = None;
        for policy in policies {
            match self.source(policy) {
                SourceProgress::Holds(held_by) => holds = holds.or(Some(held_by)),
                SourceProgress::Silent(silence) => silent = silent.or(Some(silence)),
                SourceProgress::LetGo => {}
                SourceProgress::At(max, tp) => {
                    let time = max.saturating_sub(nanos(policy.delay));
                    if least.as_ref().is_none_or(|(other, _)| time < *other) {
                        least = Some((time, HeldBy::Slowest(tp, max)));
                    }
                }
            }
        }
        let stands = |held_by| Advanced { watermark: self.current, held_by };
        match (holds, silent, least) {
            (Some(held_by), _, _) => stands(held_by),
            (None, Some(silence), Some(_)) => stands(HeldBy::Silent(silence)),
            (None, None, Some((time, held_by))) => {
                Advanced { watermark: self.current.max(Some(time)), held_by }
            }
            (None, _, None) => stands(HeldBy::AllIdle),
        }
    }

    fn source(&self, policy: &WatermarkPolicy) -> SourceProgress {
        let (mut any_rows, mut all_idle, mut may_go) = (false, true, true);
        let mut least: Option<(Nanos, &TopicPartition)> = None;
        for (tp, range) in self.ranges.iter().filter(|(tp, _)| *tp.topic == *policy.topic) {
            let clock = self.clocks.get(tp).copied().unwrap_or_default();
            if range.has_backlog() && clock.max_event_time.is_none() {
                return SourceProgress::Holds(HeldBy::Unread(tp.clone()));
            }
            let ignores_time = range.has_backlog() || self.pinned.contains(tp);
            let counts = ignores_time || !self.is_idle(clock.last_record_ms, policy.idle_timeout);
            may_go &= !ignores_time;
            all_idle &= !counts;
            let Some(max) = clock.max_event_time else { continue };
            any_rows = true;
            if counts && least.is_none_or(|(other, _)| max < other) {
                least = Some((max, tp));
            }
        }
        let last_record_ms = self.clocks_of(policy).filter_map(|clock| clock.last_record_ms).max();
        if may_go && policy.source_idle_timeout.is_some_and(|timeout| self.is_idle(last_record_ms, timeout)) {
            return SourceProgress::LetGo;
        }
        match least {
            Some((max, tp)) => SourceProgress::At(max, tp.clone()),
            None if any_rows || all_idle => SourceProgress::Silent(self.silence(policy)),
            None => SourceProgress::Holds(HeldBy::NoData(policy.topic.clone())),
        }
    }

    /// A record that is no row, in a partition that never had one, breaks no silence.
    fn silence(&self, policy: &WatermarkPolicy) -> Silence {
        let speaks = |clock: &&PartitionClock| (clock.max_event_time.is_some(), clock.last_record_ms);
        let last_record_ms = self.clocks_of(policy).max_by_key(speaks).and_then(|clock| clock.last_record_ms);
        Silence {
            topic: policy.topic.clone(),
            since_ms: last_record_ms.unwrap_or(self.query_start_ms),
            source_idle_timeout: policy.source_idle_timeout,
        }
    }

    fn clocks_of(&self, policy: &WatermarkPolicy) -> impl Iterator<Item = &PartitionClock> {
        self.clocks.iter().filter(|(tp, _)| *tp.topic == *policy.topic).map(|(_, clock)| clock)
    }

    fn is_idle(&self, last_record_ms: Option<i64>, timeout: Duration) -> bool {
        let silent_ms = self.now_ms - last_record_ms.unwrap_or(self.query_start_ms);
        i128::from(silent_ms) >= timeout.as_millis() as i128
    }
}

enum SourceProgress {
    /// It keeps the query's watermark where it is.
    Holds(HeldBy),
    /// It is idle as a whole, and keeps it there too.
    Silent(Silence),
    /// It is idle for so long that it has no say.
    LetGo,
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

    /// A partition as (topic, number, max minutes, last record ms, unread offsets).
    type Partition = (&'static str, i32, Option<i64>, i64, i64);

    /// Source b has a `watermark.source_idle_timeout` of so many seconds.
    fn policies(source_idle_s: Option<u64>) -> Vec<WatermarkPolicy> {
        [("a", None), ("b", source_idle_s)]
            .map(|(topic, source_idle_s)| WatermarkPolicy {
                topic: topic.to_owned(),
                delay: Duration::from_secs(600),
                idle_timeout: Duration::from_secs(60),
                source_idle_timeout: source_idle_s.map(Duration::from_secs),
            })
            .to_vec()
    }

    fn advance_by(
        policies: &[WatermarkPolicy],
        current: Option<i64>,
        now_ms: i64,
        pinned: &[&str],
        partitions: &[Partition],
    ) -> Advanced {
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
        input.advance(policies)
    }

    fn advance(current: Option<i64>, now_ms: i64, pinned: &[&str], partitions: &[Partition]) -> Option<i64> {
        advance_by(&policies(None), current, now_ms, pinned, partitions).watermark.map(|time| time / MINUTE)
    }

    fn silent(topic: &str, since_ms: i64) -> HeldBy {
        HeldBy::Silent(Silence { topic: topic.to_owned(), since_ms, source_idle_timeout: None })
    }

    #[test]
    fn least_over_partitions_and_sources_and_never_back() {
        let partitions = [("a", 0, Some(40), 0, 0), ("a", 1, Some(31), 0, 0), ("b", 0, Some(35), 0, 0)];
        assert_eq!(advance(None, 0, &[], &partitions), Some(21));
        assert_eq!(advance(Some(25), 0, &[], &partitions), Some(25));
    }

    #[test]
    fn backlog_is_never_idle() {
        let slow = [("a", 0, Some(40), 90_000, 0), ("a", 1, Some(20), 0, 7), ("b", 0, Some(40), 90_000, 0)];
        assert_eq!(advance(None, 90_000, &[], &slow), Some(10));
        let unread = [("a", 0, Some(40), 90_000, 0), ("a", 1, None, 0, 7), ("b", 0, Some(40), 90_000, 0)];
        assert_eq!(advance(Some(3), 90_000, &[], &unread), Some(3));
    }

    #[test]
    fn an_idle_partition_is_left_out_beside_another_unless_pinned() {
        let partitions =
            [("a", 0, Some(20), 0, 0), ("a", 1, Some(30), 60_000, 0), ("b", 0, Some(40), 60_000, 0)];
        assert_eq!(advance(None, 59_999, &[], &partitions), Some(10));
        assert_eq!(advance(None, 60_000, &[], &partitions), Some(20));
        assert_eq!(advance(None, 60_000, &["a"], &partitions), Some(10));
    }

    #[test]
    fn a_silent_source_holds_it_however_long_unless_pinned() {
        let partitions = [("a", 0, Some(20), 0, 0), ("a", 1, Some(25), 7, 0)];
        for (now_ms, pinned, b, expected) in [
            (60_006, &[][..], 40, Some(15)),
            (60_007, &[], 40, Some(3)),
            (60_000_000_000, &[], 40, Some(3)),
            (60_000_000_000, &["a"], 40, Some(10)),
            (60_000_000_000, &["a", "b"], 40, Some(10)),
        ] {
            let of_b = ("b", 0, Some(b), now_ms, 0);
            let all = [partitions[0], partitions[1], of_b];
            assert_eq!(advance(Some(3), now_ms, pinned, &all), expected, "{now_ms} {pinned:?}");
        }
    }

    #[test]
    fn a_source_without_data_holds_it() {
        let partitions = |now_ms| [("a", 0, Some(40), now_ms, 0), ("b", 0, None, 0, 0)];
        for (now_ms, held_by) in
            [(59_999, HeldBy::NoData("b".to_owned())), (60_000, silent("b", 0)), (90_000_000, silent("b", 0))]
        {
            let advanced = advance_by(&policies(None), None, now_ms, &[], &partitions(now_ms));
            assert_eq!(advanced, Advanced { watermark: None, held_by });
        }
    }

    #[test]
    fn a_silent_source_is_let_go_by_its_own_timeout() {
        let partitions: [(&str, &[Partition]); 5] = [
            ("idle", &[("b", 0, Some(20), 0, 0), ("b", 1, Some(20), 5_000, 0)]),
            ("never spoke", &[("b", 0, None, 0, 0)]),
            ("one speaks", &[("b", 0, Some(20), 0, 0), ("b", 1, Some(22), 90_000, 0)]),
            ("backlog", &[("b", 0, Some(20), 0, 0), ("b", 1, Some(21), 0, 1)]),
            ("unread", &[("b", 0, Some(20), 0, 0), ("b", 1, None, 0, 1)]),
        ];
        // At 65 seconds b/0 and b/1 are idle; the timeout of the source is longer, the same, shorter.
        for (source_idle_s, now_ms, expected) in [
            (Some(90), 65_000, [Some(3), Some(3), Some(12), Some(11), Some(3)]),
            (Some(60), 64_999, [Some(10), Some(30), Some(12), Some(11), Some(3)]),
            (Some(60), 65_000, [Some(30), Some(30), Some(12), Some(11), Some(3)]),
            (Some(30), 34_999, [Some(10), Some(30), Some(10), Some(10), Some(3)]),
            (Some(30), 35_000, [Some(30), Some(30), Some(10), Some(10), Some(3)]),
            (Some(0), 0, [Some(10), Some(30), Some(10), Some(10), Some(3)]),
            (None, 34_999_999, [Some(3), Some(3), Some(3), Some(11), Some(3)]),
        ] {
            for ((case, of_b), expected) in partitions.iter().zip(expected) {
                let all = [&[("a", 0, Some(40), now_ms, 0)], *of_b].concat();
                let advanced = advance_by(&policies(source_idle_s), Some(3), now_ms, &[], &all);
                let watermark = advanced.watermark.map(|time| time / MINUTE);
                assert_eq!(watermark, expected, "{case}, let go after {source_idle_s:?} s, at {now_ms} ms");
            }
        }
    }

    /// Only the data of the run counts, however long it takes.
    #[test]
    fn a_pinned_partition_keeps_its_source() {
        let spoke = [("a", 0, Some(40), 90_000, 0), ("b", 0, Some(20), 0, 0)];
        let brought_no_row = [("a", 0, Some(40), 90_000, 0), ("b", 0, None, 0, 0)];
        for (partitions, pinned, expected) in [
            (spoke, &["a"][..], Some(30)),
            (spoke, &["a", "b"], Some(10)),
            (brought_no_row, &["a"], Some(30)),
            (brought_no_row, &["a", "b"], Some(3)),
        ] {
            let advanced = advance_by(&policies(Some(60)), Some(3), 90_000, pinned, &partitions);
            assert_eq!(advanced.watermark, expected.map(|minutes| minutes * MINUTE), "{pinned:?}");
        }
    }

    #[test]
    fn when_all_are_idle_it_stands_still() {
        let partitions = [("a", 0, Some(20), 0, 0), ("b", 0, Some(40), 0, 0)];
        for source_idle_s in [None, Some(60)] {
            let advanced = advance_by(&policies(source_idle_s), Some(7), 60_000, &[], &partitions);
            assert_eq!(advanced, Advanced { watermark: Some(7 * MINUTE), held_by: HeldBy::AllIdle });
        }
    }

    #[test]
    fn it_says_who_holds_it() {
        let b = ("b", 1, Some(7), 0, 0);
        let of_both = |now_ms, a| {
            advance_by(&policies(Some(3600)), None, now_ms, &[], &[b, ("a", 0, a, 50_000, 0)]).held_by
        };
        for (now_ms, a, expected) in [
            (0, None, "a has no rows yet"),
            (60_000, None, "all sources are idle"),
            (50_000, Some(8), "b/1 has come to 1970-01-01T00:07:00Z"),
            (60_000, Some(8), "b has been silent since 1970-01-01T00:00:00Z"),
            (110_000, Some(8), "all sources are idle"),
        ] {
            assert_eq!(of_both(now_ms, a).to_string(), expected);
        }
    }

    #[test]
    fn a_silence_is_warned_of_with_what_ends_it() {
        let mut silence = Silence { topic: "b".to_owned(), since_ms: 1500, source_idle_timeout: None };
        assert_eq!(
            silence.warning(),
            "b has been silent since 1970-01-01T00:00:01.500Z: the watermark waits for its records, which would \
             be late if it went on; to let it go on without them after a time, set 'watermark.source_idle_timeout' \
             in the source's OPTIONS"
        );
        silence.source_idle_timeout = Some(Duration::from_secs(3600));
        let ends = "'watermark.source_idle_timeout' lets it go on without them after 1h";
        assert!(silence.warning().ends_with(ends), "{}", silence.warning());
    }

    /// What brings no row in a partition that never had one does not break the silence of the others.
    #[test]
    fn a_silence_is_as_old_as_the_last_record_of_a_partition_with_rows() {
        let partition = |number| TopicPartition::new("a", number);
        let clocks: PerPartition<PartitionClock> = [
            (partition(0), PartitionClock { max_event_time: Some(MINUTE), last_record_ms: Some(5) }),
            (partition(1), PartitionClock { max_event_time: Some(MINUTE), last_record_ms: Some(9) }),
            (partition(2), PartitionClock { max_event_time: None, last_record_ms: Some(70_000) }),
            (
                TopicPartition::new("b", 0),
                PartitionClock { max_event_time: Some(MINUTE), last_record_ms: Some(70_000) },
            ),
        ]
        .into();
        let ranges =
            clocks.keys().map(|tp| (tp.clone(), OffsetRange { start: 0, end: 5, latest: 5 })).collect();
        let input = WatermarkInput {
            current: None,
            clocks: &clocks,
            ranges: &ranges,
            pinned: &BTreeSet::new(),
            now_ms: 70_000,
            query_start_ms: 0,
        };
        assert_eq!(input.advance(&policies(None)).held_by, silent("a", 9));
    }
}
