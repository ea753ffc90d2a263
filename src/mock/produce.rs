//! The mock data producer: seeded orders and payments, with a share of everything that goes wrong.
//!
//! Records go out in the order of their event times; a bounded run spreads those evenly over `--span` ending
//! now, whatever the rate, an endless one lives in the present.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use tokio::sync::watch;

use crate::cli::{ProduceArgs, Shares};
use crate::clock::{Clock, NANOS_PER_MS, SystemClock};
use crate::error::{Error, Result};
use crate::mock::ledger::{Entry, Ledger};
use crate::mock::plan::{Planned, Planner, Timeline, Topic};
use crate::observe::terminal::on_terminal;
use crate::settings::kafka_config;
use crate::signals::asked_to_stop;
use crate::source::kafka::{KafkaConfig, bad_property};
use crate::source::topics;
use crate::stdout::say;

/// Partitions of a topic that the producer has to create.
const PARTITIONS: i32 = 3;

/// Orders a second of an endless run without `--rate`.
const ENDLESS_RATE: u64 = 500;

/// What is produced, and where to.
#[derive(Clone, Debug)]
pub struct ProduceSettings {
    /// The cluster.
    pub kafka: KafkaConfig,
    /// Orders a second.
    pub rate: Option<u64>,
    /// Orders in all; `None` is endless.
    pub count: Option<u64>,
    /// The event time that a bounded run covers.
    pub span: Duration,
    /// The same seed makes the same data.
    pub seed: u64,
    /// What goes wrong.
    pub shares: Shares,
    /// The topic of orders.
    pub orders_topic: String,
    /// The topic of payments.
    pub payments_topic: String,
}

/// `produce`.
pub async fn produce(args: &ProduceArgs) -> Result<()> {
    let rate = args.rate.filter(|&rate| rate > 0);
    let by_duration = args.duration.map(|duration| {
        let rate = rate.unwrap_or(ENDLESS_RATE);
        (duration.as_millis() as u64 * rate).div_ceil(1000)
    });
    let count = match (args.count, by_duration) {
        (Some(count), Some(other)) => Some(count.min(other)),
        (count, other) => count.or(other),
    };
    let rate = if count.is_none() || (args.duration.is_some() && rate.is_none()) {
        rate.or(Some(ENDLESS_RATE))
    } else {
        rate
    };
    let settings = ProduceSettings {
        kafka: kafka_config(&args.kafka)?,
        rate,
        count,
        span: args.span,
        seed: args.seed.unwrap_or_else(|| rand::random_range(1..=999_999)),
        shares: args.shares.clone(),
        orders_topic: args.orders_topic.clone(),
        payments_topic: args.payments_topic.clone(),
    };
    for topic in [&settings.orders_topic, &settings.payments_topic] {
        topics::create(&settings.kafka, topic, PARTITIONS, 1).await?;
    }
    let stopped = asked_to_stop(|| "what is on its way to the broker".to_owned())?;
    let seed = settings.seed;
    let ledger = send(settings, stopped, true).await?;
    if let Some(path) = &args.ledger {
        ledger.write(path)?;
    }
    say!("{}, of --seed {seed}", ledger.summary());
    Ok(())
}

/// Sends everything and returns the ledger, complete: each record's place is known.
pub async fn send(settings: ProduceSettings, stopped: watch::Receiver<bool>, show: bool) -> Result<Ledger> {
    tokio::task::spawn_blocking(move || send_blocking(&settings, &stopped, show))
        .await
        .map_err(|source| Error::internal("the producer panicked").because(source))?
}

fn send_blocking(settings: &ProduceSettings, stopped: &watch::Receiver<bool>, show: bool) -> Result<Ledger> {
    let delivered = Arc::new(Mutex::new(Vec::new()));
    let producer: ThreadedProducer<Deliveries> = settings
        .kafka
        .client(
            &[("linger.ms", "5"), ("queue.buffering.max.messages", "500000"), ("compression.type", "none")],
            &[("enable.idempotence", "true"), ("partitioner", "murmur2_random")],
        )
        .create_with_context(Deliveries { entries: Arc::clone(&delivered) })
        .map_err(|source| bad_property(&source))?;
    let now = SystemClock.now_ms().saturating_mul(NANOS_PER_MS);
    let timeline = match settings.count {
        Some(count) => Timeline::bounded(now, settings.span, count),
        None => Timeline::endless(now, settings.rate.unwrap_or(ENDLESS_RATE)),
    };
    let bar = if show { progress_bar(settings.count) } else { ProgressBar::hidden() };
    let started = Instant::now();
    for planned in Planner::new(settings.seed, &settings.shares, timeline) {
        if *stopped.borrow() {
            break;
        }
        if let Some(rate) = settings.rate {
            let due = Duration::from_nanos(
                (planned.order_number as u128 * 1_000_000_000 / u128::from(rate)) as u64,
            );
            while started.elapsed() < due && !*stopped.borrow() {
                std::thread::sleep((due - started.elapsed().min(due)).min(Duration::from_millis(20)));
            }
        }
        bar.set_position(planned.order_number);
        enqueue(&producer, settings, planned)?;
    }
    producer.flush(Duration::from_secs(60)).map_err(|source| failed(settings, &source))?;
    bar.finish_and_clear();
    let entries = std::mem::take(&mut *delivered.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    let entries = entries.into_iter().collect::<Result<Vec<Entry>>>()?;
    Ok(Ledger::new(entries, &settings.orders_topic, &settings.payments_topic))
}

/// Counts orders on a terminal.
fn progress_bar(count: Option<u64>) -> ProgressBar {
    let (bar, template) = match count {
        Some(count) => (
            ProgressBar::with_draw_target(Some(count), on_terminal()),
            "{bar:30} {pos}/{len} orders, {eta} left",
        ),
        None => (
            ProgressBar::with_draw_target(None, on_terminal()),
            "{spinner} {pos} orders in {elapsed}; Ctrl-C ends it",
        ),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn enqueue(
    producer: &ThreadedProducer<Deliveries>,
    settings: &ProduceSettings,
    planned: Planned,
) -> Result<()> {
    let topic = match planned.topic {
        Topic::Orders => &settings.orders_topic,
        Topic::Payments => &settings.payments_topic,
    };
    let (key, value) = (planned.key.clone(), planned.value.clone());
    let mut record = BaseRecord::with_opaque_to(topic, Box::new(planned)).key(&key).payload(&value);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            // librdkafka's queue is full: it empties as the broker answers.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                std::thread::sleep(Duration::from_millis(5));
                record = again;
            }
            Err((error, _)) => return Err(failed(settings, &error)),
        }
    }
}

fn failed(settings: &ProduceSettings, source: &KafkaError) -> Error {
    Error::unavailable(format!("could not produce to Kafka at \"{}\"", settings.kafka.brokers))
        .because(source.to_string())
}

/// Learns from the broker's answers where each record went.
struct Deliveries {
    entries: Arc<Mutex<Vec<Result<Entry>>>>,
}

impl ClientContext for Deliveries {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!("librdkafka {facility}: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("librdkafka: {error}: {reason}");
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Planned>;

    fn delivery(&self, result: &DeliveryResult<'_>, planned: Self::DeliveryOpaque) {
        let entry = match result {
            Ok(message) => Ok(Entry::new(*planned, message.topic(), message.partition(), message.offset())),
            Err((error, _)) => {
                Err(Error::unavailable("a record was not delivered").because(error.to_string()))
            }
        };
        self.entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(entry);
    }
}
