//! What became of the records of a batch, or of all batches: each has one fate, so the counts balance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What became of the records; every record has exactly one fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Records read.
    pub records: u64,
    /// Null values.
    pub tombstones: u64,
    /// Dead letters, by reason.
    pub malformed: u64,
    /// Below the watermark.
    pub late: u64,
    /// A key that was there before.
    pub duplicate: u64,
    /// Beyond what is believable.
    pub future: u64,
    /// Admitted records that a view over their source filtered out.
    pub filtered: u64,
    /// Records that found their first partner, or passed on in a program without a join.
    pub joined: u64,
    /// Records that went without a partner.
    pub unmatched: u64,
    /// Pairs.
    pub pairs: u64,
    /// Pairs that no rule rejected.
    pub valid: u64,
    /// Pairs that a rule rejected.
    pub rejected: u64,
    /// Rows of the view or of an output that could not be computed, or that a sink could not store.
    pub refused: u64,
    /// Rows whose `_id` another document has.
    pub conflict: u64,
    /// Offsets that were to be read and are gone, with `--fail-on-data-loss=false`; no records, so they
    /// are outside of the balance.
    pub lost: u64,
}

impl Counts {
    /// Adds another batch's.
    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.tombstones += other.tombstones;
        self.malformed += other.malformed;
        self.late += other.late;
        self.duplicate += other.duplicate;
        self.future += other.future;
        self.filtered += other.filtered;
        self.joined += other.joined;
        self.unmatched += other.unmatched;
        self.pairs += other.pairs;
        self.valid += other.valid;
        self.rejected += other.rejected;
        self.refused += other.refused;
        self.conflict += other.conflict;
        self.lost += other.lost;
    }

    /// Records that don't wait any more: with those that do they are all that were read.
    pub fn settled(&self) -> u64 {
        self.tombstones + self.dead() + self.filtered + self.joined + self.unmatched
    }

    /// Letters: records that became no row, and rows that could not be stored.
    pub fn dead_letters(&self) -> u64 {
        self.dead() + self.refused + self.conflict
    }

    /// Records that became no row.
    pub fn dead(&self) -> u64 {
        self.malformed + self.late + self.duplicate + self.future
    }
}

/// What went through each part of the program, by the part's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Records of each topic.
    pub topics: BTreeMap<String, u64>,
    /// Rows that each rule found fault with.
    pub rules: BTreeMap<String, RuleTally>,
    /// Rows that went to each output, those that its sink refused too.
    pub outputs: BTreeMap<String, u64>,
}

/// Rows that a rule found fault with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuleTally {
    /// Rejected by it.
    pub reject: u64,
    /// Warned of.
    pub warn: u64,
}

impl Tally {
    /// What came since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let less = |mine: &BTreeMap<String, u64>, others: &BTreeMap<String, u64>| {
            let before = |name: &String| others.get(name).copied().unwrap_or(0);
            mine.iter().map(|(name, count)| (name.clone(), count.saturating_sub(before(name)))).collect()
        };
        let rules = self.rules.iter().map(|(name, count)| {
            let before = earlier.rules.get(name).copied().unwrap_or_default();
            let since = RuleTally {
                reject: count.reject.saturating_sub(before.reject),
                warn: count.warn.saturating_sub(before.warn),
            };
            (name.clone(), since)
        });
        Self {
            topics: less(&self.topics, &earlier.topics),
            rules: rules.collect(),
            outputs: less(&self.outputs, &earlier.outputs),
        }
    }

    /// Adds another batch's.
    pub fn add(&mut self, other: &Self) {
        for (mine, others) in [(&mut self.topics, &other.topics), (&mut self.outputs, &other.outputs)] {
            for (name, count) in others {
                *mine.entry(name.clone()).or_default() += count;
            }
        }
        for (name, count) in &other.rules {
            let mine = self.rules.entry(name.clone()).or_default();
            mine.reject += count.reject;
            mine.warn += count.warn;
        }
    }
}
