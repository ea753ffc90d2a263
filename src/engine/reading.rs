//! What the broker holds, and the records of a batch, decoded; lost offsets and topics that were made again are found.

use std::sync::Arc;

use crate::batch::BatchPlan;
use crate::batch::offset::{OffsetRange, PerPartition, TopicPartition};
use crate::checkpoint::record::LastRecord;
use crate::decode::Decoder;
use crate::engine::standing::Standing;
use crate::error::{Error, ErrorKind, Result};
use crate::now::Service;
use crate::query::Program;
use crate::ranges::{data_loss, missing_topic, positions};
use crate::retry::Patience;
use crate::runner::LocalRunner;
use crate::source::{Extent, Records, Source};
use crate::stage::admission::DecodedRange;

/// The source as a batch asks it, from where the last commit left off.
pub(super) struct Reading<'a> {
    pub(super) program: &'a Program,
    pub(super) source: &'a dyn Source,
    pub(super) standing: &'a Standing,
    pub(super) patience: &'a Patience,
    pub(super) fail_on_data_loss: bool,
    pub(super) runner: &'a LocalRunner,
}

/// What was read for a batch.
pub(super) struct Read {
    pub(super) decoded: Vec<DecodedRange>,
    /// Of each partition that had any the last one.
    pub(super) last_records: PerPartition<LastRecord>,
    /// Offsets of the plan that the broker no longer had.
    pub(super) lost: u64,
}

impl Reading<'_> {
    /// What each partition holds now; topics that were read before must still be there.
    pub(super) async fn extents(&self) -> Result<PerPartition<Extent>> {
        let extents = self.patience.retry(Service::Broker, || self.source.extents()).await?;
        for table in &self.program.sources {
            let of_topic = |tp: &TopicPartition| tp.topic == table.topic;
            if extents.keys().any(of_topic) {
                continue;
            }
            let Some(tp) = self.standing.partitions.keys().find(|tp| of_topic(tp)) else {
                return Err(missing_topic(&table.topic));
            };
            if self.fail_on_data_loss {
                return Err(data_loss(tp, format!("the topic \"{}\" was deleted", table.topic)));
            }
            tracing::warn!("the topic \"{}\" was deleted; nothing is read of it", table.topic);
        }
        Ok(extents)
    }

    /// These ranges; the broker is waited for.
    pub(super) async fn fetch(&self, ranges: &PerPartition<OffsetRange>) -> Result<Vec<Records>> {
        self.patience.retry(Service::Broker, || self.source.fetch(ranges)).await
    }

    /// Where each partition is read from next; the broker must still have it.
    pub(super) fn positions(&self, extents: &PerPartition<Extent>) -> Result<PerPartition<i64>> {
        positions(extents, &self.standing.partitions, self.fail_on_data_loss)
    }

    /// The records of all ranges; partitions are decoded side by side.
    pub(super) async fn read(&self, plan: &BatchPlan, extents: &PerPartition<Extent>) -> Result<Read> {
        let mut ranges = plan.ranges.clone();
        ranges.retain(|_, range| !range.is_empty());
        let mut witnesses = self.standing.witnesses(&ranges, extents);
        let mut lost = 0;
        let mut fetched = loop {
            if ranges.is_empty() {
                return Ok(Read { decoded: Vec::new(), last_records: PerPartition::new(), lost });
            }
            let mut asked = ranges.clone();
            for (tp, range) in &mut asked {
                range.start = witnesses.get(tp).copied().unwrap_or(range.start);
            }
            match self.fetch(&asked).await {
                // A witness may have aged out since.
                Err(error) if error.kind() == ErrorKind::DataLoss && !witnesses.is_empty() => {
                    witnesses.clear();
                }
                Err(error) if error.kind() == ErrorKind::DataLoss && !self.fail_on_data_loss => {
                    let gone = clip(&mut ranges, &self.extents().await?);
                    if gone == 0 {
                        return Err(error);
                    }
                    tracing::warn!("{error}; {gone} offsets of batch {} are skipped", plan.id);
                    lost += gone;
                }
                other => break other?,
            }
        };
        for records in &mut fetched {
            let witness = witnesses.get(&records.tp);
            if witness.is_some() && records.iter().next().map(|first| first.offset()) == witness.copied() {
                let found = LastRecord::of(records.get(0));
                lost += self.standing.made_again(
                    &records.tp,
                    &found,
                    extents[&records.tp],
                    self.fail_on_data_loss,
                )?;
                records.remove_first();
            }
        }
        let (mut tasks, mut last_records) = (Vec::new(), PerPartition::new());
        for records in fetched {
            if !records.is_empty() {
                last_records.insert(records.tp.clone(), LastRecord::of(records.get(records.len() - 1)));
            }
            let table = self.program.sources.iter().find(|table| *table.topic == *records.tp.topic);
            let table = table.ok_or_else(|| Error::internal(format!("no table reads \"{}\"", records.tp)))?;
            let decoder =
                Decoder::try_new(Arc::clone(&table.columns), Some(table.event_time), table.max_record_bytes)?;
            tasks.push(async move {
                let decoded = decoder.decode(&records)?;
                Ok(DecodedRange { records, decoded })
            });
        }
        Ok(Read { decoded: self.runner.run(tasks).await?, last_records, lost })
    }
}

/// Leaves of `ranges` what the broker still has; how many offsets that costs.
fn clip(ranges: &mut PerPartition<OffsetRange>, extents: &PerPartition<Extent>) -> u64 {
    let mut gone = 0;
    for (tp, range) in ranges.iter_mut() {
        let before = range.len();
        let extent = extents.get(tp).copied().unwrap_or(Extent { earliest: range.end, latest: range.end });
        range.start = range.start.max(extent.earliest);
        range.end = range.end.min(extent.latest);
        gone += (before - range.len().max(0)).unsigned_abs();
    }
    ranges.retain(|_, range| !range.is_empty());
    gone
}
