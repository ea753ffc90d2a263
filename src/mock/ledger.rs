//! What was sent, where it lies, and where it must come out: one JSON line for each record.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock::Nanos;
use crate::error::{Error, Result};
use crate::mock::plan::{Class, Destination, Planned, Topic};

/// How far the watermark lags behind the least partition maximum: `watermark.delay` of the shipped SQL.
const DELAY: Nanos = 600 * 1_000_000_000;

/// The join's time range in the shipped SQL: payments from 5 minutes before to 10 minutes after their order.
const BEFORE: Nanos = 300 * 1_000_000_000;
const AFTER: Nanos = 600 * 1_000_000_000;

/// One record of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its topic.
    pub topic: String,
    /// Where it lies.
    pub partition: i32,
    /// Where it lies.
    pub offset: i64,
    /// An order or a payment.
    pub kind: Topic,
    /// Its kind of trouble.
    pub class: Class,
    /// The output that it must come out in.
    pub output: Destination,
    /// The order.
    pub order_id: String,
    /// The payment, of a payment.
    pub payment_id: Option<String>,
    /// The amount, in hundredths.
    pub amount_cents: i64,
    /// The event time, in nanoseconds, if it is a row.
    pub event_time: Option<Nanos>,
}

impl Entry {
    /// A record that was delivered.
    pub fn new(planned: Planned, topic: &str, partition: i32, offset: i64) -> Self {
        Self {
            topic: topic.to_owned(),
            partition,
            offset,
            kind: planned.topic,
            class: planned.class,
            output: planned.destination,
            order_id: planned.order_id,
            payment_id: planned.payment_id,
            amount_cents: planned.amount_cents,
            event_time: planned.event_time,
        }
    }
}

/// All records of a run.
#[derive(Debug)]
pub struct Ledger {
    /// By topic, partition, offset.
    pub entries: Vec<Entry>,
}

impl Ledger {
    /// Completes the entries: unmatched ones that the final watermark has not passed are waiting.
    pub fn new(mut entries: Vec<Entry>, orders_topic: &str, payments_topic: &str) -> Self {
        entries.sort_by(|a, b| (&a.topic, a.partition, a.offset).cmp(&(&b.topic, b.partition, b.offset)));
        let mut maxima: BTreeMap<(&str, i32), Nanos> = BTreeMap::new();
        for entry in &entries {
            if let Some(time) = entry.event_time {
                let max = maxima.entry((&entry.topic, entry.partition)).or_insert(time);
                *max = time.max(*max);
            }
        }
        let least =
            |topic: &str| maxima.iter().filter(|((name, _), _)| *name == topic).map(|(_, max)| *max).min();
        // Until both topics have data there is no watermark.
        let watermark = least(orders_topic)
            .zip(least(payments_topic))
            .map(|(orders, payments)| orders.min(payments) - DELAY);
        for entry in &mut entries {
            let reach = match entry.output {
                Destination::UnpaidOrders => AFTER,
                Destination::OrphanPayments => BEFORE,
                _ => continue,
            };
            let gone =
                watermark.zip(entry.event_time).is_some_and(|(watermark, time)| time + reach < watermark);
            if !gone {
                entry.output = Destination::Waiting;
            }
        }
        Self { entries }
    }

    /// Writes one JSON line for each record.
    pub fn write(&self, path: &Path) -> Result<()> {
        let write = || -> std::io::Result<()> {
            let mut file = BufWriter::new(std::fs::File::create(path)?);
            for entry in &self.entries {
                serde_json::to_writer(&mut file, entry)?;
                file.write_all(b"\n")?;
            }
            file.flush()
        };
        write().map_err(|source| {
            Error::config(format!("could not write the ledger \"{}\"", path.display())).because(source)
        })
    }

    /// Reads the ledgers of several runs into the same topics as one; which of their records still wait is
    /// decided by all of them.
    pub fn read_all(paths: &[PathBuf]) -> Result<Self> {
        let mut entries = Vec::new();
        for path in paths {
            entries.extend(Self::read(path)?.entries);
        }
        let topic =
            |kind: Topic| entries.iter().find(|entry| entry.kind == kind).map(|entry| entry.topic.clone());
        let (orders, payments) = (topic(Topic::Orders), topic(Topic::Payments));
        for entry in entries.iter_mut().filter(|entry| entry.output == Destination::Waiting) {
            entry.output = match entry.kind {
                Topic::Orders => Destination::UnpaidOrders,
                Topic::Payments => Destination::OrphanPayments,
            };
        }
        Ok(Self::new(entries, &orders.unwrap_or_default(), &payments.unwrap_or_default()))
    }

    /// Reads what [`Ledger::write`] wrote.
    pub fn read(path: &Path) -> Result<Self> {
        let read = || -> std::io::Result<Vec<Entry>> {
            let file = BufReader::new(std::fs::File::open(path)?);
            file.lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect()
        };
        let entries = read().map_err(|source| {
            Error::config(format!("could not read the ledger \"{}\"", path.display())).because(source)
        })?;
        Ok(Self { entries })
    }

    /// How many records of each class go where.
    pub fn summary(&self) -> String {
        let mut counts: BTreeMap<(Class, Destination), u64> = BTreeMap::new();
        for entry in &self.entries {
            *counts.entry((entry.class, entry.output)).or_default() += 1;
        }
        let mut table = comfy_table::Table::new();
        table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY).set_header([
            "records",
            "class",
            "expected in",
        ]);
        for ((class, output), count) in counts {
            table.add_row([count.to_string(), name(&class), name(&output)]);
        }
        format!("{table}\n{} records", self.entries.len())
    }
}

/// The name of a class or a destination in the ledger's JSON.
pub(crate) fn name<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
