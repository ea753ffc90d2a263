//! What happens beside the batches and is worth one line of the log, once: not each time that it is met.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::batch::offset::{PerPartition, TopicPartition};
use crate::batch::reason::Reason;
use crate::batch::watermark::{HeldBy, Silence};
use crate::checkpoint::record::PartitionRecord;
use crate::observe::progress::SourceProgress;
use crate::source::Extent;
use crate::stage::letter::Letter;

/// What was told so far.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    /// The silence of a source that was warned of last.
    silence: Option<Silence>,
    /// Partitions that were told to be new.
    partitions: BTreeSet<TopicPartition>,
    /// Topics whose last records were all malformed.
    malformed: BTreeSet<Arc<str>>,
}

impl Notices {
    /// A source begins to hold the watermark by being silent.
    pub(crate) fn silence(&mut self, held_by: &HeldBy) {
        if let HeldBy::Silent(silence) = held_by
            && self.silence.as_ref() != Some(silence)
        {
            tracing::warn!("{}", silence.warning());
            self.silence = Some(silence.clone());
        }
    }

    /// A topic has partitions that no batch knew of. All those of a topic that is read for the first time are none.
    pub(crate) fn new_partitions(
        &mut self,
        known: &PerPartition<PartitionRecord>,
        extents: &PerPartition<Extent>,
    ) {
        let is_of_known_topic = |tp: &TopicPartition| known.keys().any(|known| known.topic == tp.topic);
        let mut new: BTreeMap<&Arc<str>, Vec<String>> = BTreeMap::new();
        for tp in extents.keys().filter(|tp| !known.contains_key(*tp) && is_of_known_topic(tp)) {
            if self.partitions.insert(tp.clone()) {
                new.entry(&tp.topic).or_default().push(tp.partition.to_string());
            }
        }
        for (topic, partitions) in new {
            tracing::info!(
                "the topic \"{topic}\" has new partitions, read from their beginning: {}",
                partitions.join(", ")
            );
        }
    }

    /// A topic of which nothing can be read is more than a bad record: another format, or another table's topic.
    pub(crate) fn all_malformed(&mut self, sources: &[SourceProgress], letters: &[Letter]) {
        for SourceProgress { topic, counts, .. } in sources {
            let num_values = counts.records - counts.tombstones;
            if num_values == 0 {
                continue;
            }
            if counts.malformed < num_values {
                self.malformed.remove(topic);
            } else if self.malformed.insert(Arc::clone(topic)) {
                let mut malformed = letters
                    .iter()
                    .filter(|letter| letter.reason == Reason::Malformed && letter.topic == *topic);
                tracing::warn!(
                    "all {num_values} records of topic \"{topic}\" in this batch are malformed, dead letters; the first: {}",
                    malformed.next().and_then(|letter| letter.error.as_deref()).unwrap_or_default()
                );
            }
        }
    }
}
