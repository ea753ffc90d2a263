//! How far the engine is behind, measured from outside: its own look at the broker, which goes on while a batch hangs.

use std::collections::VecDeque;

use crate::batch::offset::PerPartition;
use crate::source::Extent;

/// Looks that are kept, for the trend.
const MAX_LOOKS: usize = 720;

/// What the looks at the broker found.
#[derive(Clone, Debug, Default)]
pub struct Lag {
    /// The ends of the partitions at the last look that worked.
    pub extents: PerPartition<Extent>,
    /// When that was, in milliseconds.
    pub at_ms: Option<i64>,
    /// Why the last look failed, and since when none works.
    pub failed: Option<(i64, String)>,
    /// Offsets behind, of the last looks: time in milliseconds and number.
    pub looks: VecDeque<(i64, u64)>,
}

impl Lag {
    /// A look that worked; `next` is where each partition is read from next, if that is known.
    pub fn found(&mut self, at_ms: i64, extents: PerPartition<Extent>, next: &PerPartition<i64>) {
        self.extents = extents;
        self.at_ms = Some(at_ms);
        self.failed = None;
        if self.looks.len() == MAX_LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back((at_ms, self.total(next)));
    }

    /// A look that failed.
    pub fn missed(&mut self, at_ms: i64, error: String) {
        let since = self.failed.take().map_or(at_ms, |(since, _)| since);
        self.failed = Some((since, error));
    }

    /// Offsets of a partition beyond `next`; of one that was never read all that it holds.
    pub fn of(extent: Extent, next: Option<i64>) -> u64 {
        let from = next.unwrap_or(extent.earliest).max(extent.earliest);
        u64::try_from(extent.latest - from).unwrap_or(0)
    }

    /// Offsets behind, of all partitions.
    pub fn total(&self, next: &PerPartition<i64>) -> u64 {
        self.extents.iter().map(|(tp, &extent)| Self::of(extent, next.get(tp).copied())).sum()
    }

    /// By how many offsets a second the lag rises (or falls) over the last `over_ms`; `None` before two looks.
    pub fn slope(&self, over_ms: i64) -> Option<f64> {
        let &(last_ms, last) = self.looks.back()?;
        let &(first_ms, first) = self.looks.iter().find(|(at_ms, _)| last_ms - at_ms <= over_ms)?;
        let seconds = (last_ms - first_ms) as f64 / 1000.0;
        (seconds > 0.0).then(|| (last as f64 - first as f64) / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::offset::TopicPartition;

    #[test]
    fn a_partition_that_was_never_read_counts_whole() {
        let (a, b) = (TopicPartition::new("a", 0), TopicPartition::new("a", 1));
        let extents: PerPartition<Extent> =
            [(a.clone(), Extent { earliest: 5, latest: 20 }), (b, Extent { earliest: 5, latest: 7 })].into();
        let mut lag = Lag::default();
        assert_eq!(lag.slope(60_000), None);
        lag.found(1_000, extents.clone(), &[(a.clone(), 18)].into());
        assert_eq!(lag.looks.back(), Some(&(1_000, 4)));
        lag.missed(2_000, "away".to_owned());
        lag.missed(3_000, "still away".to_owned());
        assert_eq!(lag.failed, Some((2_000, "still away".to_owned())));
        lag.found(6_000, extents, &[(a, 0)].into());
        assert_eq!((lag.failed.clone(), lag.looks.back()), (None, Some(&(6_000, 17))));
        assert_eq!(lag.slope(60_000), Some(13.0 / 5.0));
    }
}
