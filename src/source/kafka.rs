//! Kafka, read by explicit offset ranges.
//!
//! One consumer for each topic, assigned anew for each batch: the ends come from the broker's last
//! stable offsets, the starts from the checkpoint. Group offsets are never read; they are committed
//! for lag tools only. A range ends when a record at or beyond its end arrives, or when the broker
//! says that the partition ends here, so markers and compacted offsets at the end do no harm.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::batch::offset::{OffsetRange, PerPartition, TopicPartition};
use crate::error::{Error, ErrorKind, Result};
use crate::source::header::each_header;
use crate::source::{Extent, RESTORE_TOPIC, Records, Source};

/// How long the broker may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a range may bring nothing before the broker counts as away.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);

/// For how long a topic may be unknown to the broker before it counts as missing.
const METADATA_GRACE: Duration = Duration::from_secs(3);

/// How often the broker is asked for it meanwhile.
const METADATA_POLL: Duration = Duration::from_millis(200);

/// How to reach a cluster: librdkafka properties, which may hold secrets and are never printed.
#[derive(Clone)]
pub struct KafkaConfig {
    /// `bootstrap.servers`, for messages.
    pub brokers: String,
    properties: BTreeMap<String, String>,
}

impl std::fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be passwords.
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("keys", &self.properties.keys())
            .finish()
    }
}

impl KafkaConfig {
    /// A cluster at `brokers`; `properties` are librdkafka's, and win.
    pub fn new(brokers: &str, properties: BTreeMap<String, String>) -> Self {
        let brokers = properties.get("bootstrap.servers").cloned().unwrap_or_else(|| brokers.to_owned());
        Self { brokers, properties }
    }

    /// Properties that the engine sets itself, and that a user gave otherwise.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) names the property and why it is not obeyed.
    fn refuse_other(&self, fixed: &[(&str, &str)]) -> Result<()> {
        for (key, value) in fixed {
            let Some(given) = self.properties.get(*key).filter(|given| given != value) else { continue };
            let why = match *key {
                "group.id" => {
                    "offsets are in the checkpoint; the group ecomm-batch-<query id> only tells lag tools"
                }
                _ => "what is read would no longer be what the checkpoint says",
            };
            return Err(Error::config(format!("the Kafka property {key}={given} can't be set"))
                .because(why)
                .advise(format!("leave {key} out of the Kafka configuration")));
        }
        Ok(())
    }

    /// librdkafka's configuration with `settings` beneath the user's properties and `fixed` above them.
    pub fn client(&self, settings: &[(&str, &str)], fixed: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", "ecomm-batch");
        config.set_log_level(RDKafkaLogLevel::Warning);
        for (key, value) in settings {
            config.set(*key, *value);
        }
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        for (key, value) in fixed {
            config.set(*key, *value);
        }
        config
    }
}

/// Quiet logs, and memory of what can't be mended by waiting.
#[derive(Debug, Default)]
pub struct QuietContext {
    refused: Arc<AtomicBool>,
}

impl ClientContext for QuietContext {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!("librdkafka {facility}: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Authentication) {
            self.refused.store(true, Ordering::SeqCst);
        }
        tracing::debug!("librdkafka: {error}: {reason}");
    }
}

impl ConsumerContext for QuietContext {}

/// The topics of a program.
pub struct KafkaSource {
    brokers: String,
    topics: BTreeMap<Arc<str>, Arc<TopicReader>>,
}

struct TopicReader {
    topic: Arc<str>,
    brokers: String,
    consumer: Mutex<BaseConsumer<QuietContext>>,
    /// To see the ends of partitions behind open transactions.
    uncommitted: ClientConfig,
    refused: Arc<AtomicBool>,
}

impl KafkaSource {
    /// Consumers of `topics`; connects in the background.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config): a property that librdkafka does not know or can't use.
    pub fn new(config: &KafkaConfig, topics: impl Iterator<Item = Arc<str>>, group: &str) -> Result<Self> {
        let topics = topics
            .map(|topic| {
                let reader = TopicReader::new(config, Arc::clone(&topic), group)?;
                Ok((topic, Arc::new(reader)))
            })
            .collect::<Result<_>>()?;
        Ok(Self { brokers: config.brokers.clone(), topics })
    }

    /// Runs `work` for each topic at once, on threads that may block.
    async fn on_each<T: Send + 'static>(
        &self,
        work: impl Fn(&TopicReader) -> Result<T> + Clone + Send + 'static,
    ) -> Result<Vec<T>> {
        let tasks = self.topics.values().map(|reader| {
            let (reader, work) = (Arc::clone(reader), work.clone());
            tokio::task::spawn_blocking(move || work(&reader))
        });
        let results = futures::future::join_all(tasks).await;
        results
            .into_iter()
            .map(|result| {
                result.map_err(|source| Error::internal("the Kafka reader panicked").because(source))?
            })
            .collect()
    }
}

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource")
            .field("brokers", &self.brokers)
            .field("topics", &self.topics.keys())
            .finish()
    }
}

#[async_trait]
impl Source for KafkaSource {
    async fn extents(&self) -> Result<PerPartition<Extent>> {
        let started = Instant::now();
        loop {
            let found = self.on_each(TopicReader::extents).await?;
            // A topic that was just made is not known to every broker at once.
            if found.iter().all(|of_topic| !of_topic.is_empty()) || started.elapsed() > METADATA_GRACE {
                return Ok(found.into_iter().flatten().collect());
            }
            tokio::time::sleep(METADATA_POLL).await;
        }
    }

    async fn fetch(&self, ranges: &PerPartition<OffsetRange>) -> Result<Vec<Records>> {
        let ranges = ranges.clone();
        Ok(self.on_each(move |reader| reader.fetch(&ranges)).await?.into_iter().flatten().collect())
    }

    async fn offsets_for_times(&self, times: &PerPartition<i64>) -> Result<PerPartition<Option<i64>>> {
        let times = times.clone();
        Ok(self
            .on_each(move |reader| reader.offsets_for_times(&times))
            .await?
            .into_iter()
            .flatten()
            .collect())
    }

    async fn held_back(&self) -> Result<PerPartition<i64>> {
        Ok(self.on_each(TopicReader::held_back).await?.into_iter().flatten().collect())
    }

    fn report_position(&self, position: &PerPartition<i64>) {
        for (topic, reader) in &self.topics {
            let mut list = TopicPartitionList::new();
            for (tp, &offset) in position.iter().filter(|(tp, _)| tp.topic == *topic) {
                if let Err(error) = list.add_partition_offset(&tp.topic, tp.partition, Offset::Offset(offset))
                {
                    tracing::debug!("{tp}: {error}");
                }
            }
            if let Err(error) = reader.lock().commit(&list, CommitMode::Async) {
                tracing::debug!("group offsets were not committed: {error}");
            }
        }
    }
}

impl TopicReader {
    fn new(config: &KafkaConfig, topic: Arc<str>, group: &str) -> Result<Self> {
        let settings = [
            ("fetch.wait.max.ms", "100"),
            ("queued.max.messages.kbytes", "32768"),
            ("fetch.message.max.bytes", "4194304"),
            ("socket.keepalive.enable", "true"),
        ];
        let fixed = [
            ("group.id", group),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("isolation.level", "read_committed"),
            ("enable.partition.eof", "true"),
            ("allow.auto.create.topics", "false"),
        ];
        config.refuse_other(&fixed)?;
        let context = QuietContext::default();
        let refused = Arc::clone(&context.refused);
        let consumer: BaseConsumer<QuietContext> = config
            .client(&settings, &fixed)
            .create_with_context(context)
            .map_err(|source| bad_property(&source))?;
        let mut uncommitted = config.client(&settings, &fixed);
        uncommitted.set("isolation.level", "read_uncommitted");
        let brokers = config.brokers.clone();
        Ok(Self { topic, brokers, consumer: Mutex::new(consumer), uncommitted, refused })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BaseConsumer<QuietContext>> {
        self.consumer.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// First and last offset of each partition; nothing if the broker does not know the topic (yet).
    fn extents(&self) -> Result<Vec<(TopicPartition, Extent)>> {
        let consumer = self.lock();
        forget_events(&consumer);
        let metadata = consumer
            .fetch_metadata(Some(&self.topic), ANSWER_TIMEOUT)
            .map_err(|source| self.failed(&source))?;
        let Some(topic) = metadata.topics().first() else { return Ok(Vec::new()) };
        if let Some(code) = topic.error() {
            let error = KafkaError::MetadataFetch(RDKafkaErrorCode::from(code));
            return if is_unknown_topic(&error) { Ok(Vec::new()) } else { Err(self.failed(&error)) };
        }
        let mut extents = Vec::new();
        for partition in topic.partitions() {
            match consumer.fetch_watermarks(&self.topic, partition.id(), ANSWER_TIMEOUT) {
                Ok((earliest, latest)) => extents.push((
                    TopicPartition::new(Arc::clone(&self.topic), partition.id()),
                    Extent { earliest, latest },
                )),
                Err(error) if is_unknown_topic(&error) => return Ok(Vec::new()),
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Ok(extents)
    }

    /// The difference between the high watermark and the last stable offset.
    fn held_back(&self) -> Result<Vec<(TopicPartition, i64)>> {
        let uncommitted: BaseConsumer<QuietContext> = self
            .uncommitted
            .create_with_context(QuietContext::default())
            .map_err(|source| bad_property(&source))?;
        // The high watermarks first: what is committed meanwhile is not held back.
        let mut ends = Vec::new();
        for (tp, _) in self.extents()? {
            let (_, high) = uncommitted
                .fetch_watermarks(&self.topic, tp.partition, ANSWER_TIMEOUT)
                .map_err(|source| self.failed(&source))?;
            ends.push((tp, high));
        }
        let stable: PerPartition<Extent> = self.extents()?.into_iter().collect();
        let held = |(tp, high): (TopicPartition, i64)| {
            let num_offsets = high - stable.get(&tp)?.latest;
            (num_offsets > 0).then_some((tp, num_offsets))
        };
        Ok(ends.into_iter().filter_map(held).collect())
    }

    fn offsets_for_times(&self, times: &PerPartition<i64>) -> Result<Vec<(TopicPartition, Option<i64>)>> {
        let mut list = TopicPartitionList::new();
        for (tp, &time) in times.iter().filter(|(tp, _)| tp.topic == self.topic) {
            list.add_partition_offset(&tp.topic, tp.partition, Offset::Offset(time))
                .map_err(|source| self.failed(&source))?;
        }
        if list.count() == 0 {
            return Ok(Vec::new());
        }
        let found = self.lock().offsets_for_times(list, ANSWER_TIMEOUT).map_err(|e| self.failed(&e))?;
        let offset = |element: &TopicPartitionListElem<'_>| {
            element.error().map_err(|source| self.failed(&source))?;
            let offset = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                _ => None,
            };
            Ok((TopicPartition::new(Arc::clone(&self.topic), element.partition()), offset))
        };
        found.elements().iter().map(offset).collect()
    }

    fn fetch(&self, ranges: &PerPartition<OffsetRange>) -> Result<Vec<Records>> {
        let consumer = self.lock();
        forget_events(&consumer);
        let mut open: BTreeMap<i32, (OffsetRange, Records)> = ranges
            .iter()
            .filter(|(tp, range)| tp.topic == self.topic && !range.is_empty())
            .map(|(tp, range)| (tp.partition, (*range, Records::new(tp.clone()))))
            .collect();
        let mut list = TopicPartitionList::new();
        for (&partition, (range, _)) in &open {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(range.start))
                .map_err(|source| self.failed(&source))?;
        }
        if open.is_empty() {
            return Ok(Vec::new());
        }
        // A new assignment: whatever the one before had fetched or announced is void.
        consumer.assign(&list).map_err(|source| self.failed(&source))?;
        let result = self.read_to_the_ends(&consumer, &mut open);
        if let Err(source) = consumer.unassign() {
            tracing::debug!("{}: {source}", self.topic);
        }
        result?;
        Ok(open.into_values().map(|(_, records)| records).collect())
    }

    fn read_to_the_ends(
        &self,
        consumer: &BaseConsumer<QuietContext>,
        open: &mut BTreeMap<i32, (OffsetRange, Records)>,
    ) -> Result<()> {
        let mut unfinished: BTreeSet<i32> = open.keys().copied().collect();
        let started = Instant::now();
        let mut last_sign = started;
        while !unfinished.is_empty() {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    last_sign = Instant::now();
                    let partition = message.partition();
                    let Some((range, records)) = open.get_mut(&partition) else { continue };
                    if !unfinished.contains(&partition) {
                        continue;
                    }
                    if message.offset() < range.end {
                        push(records, &message);
                    }
                    if message.offset() + 1 >= range.end {
                        unfinished.remove(&partition);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    last_sign = Instant::now();
                    self.assert_reaches(consumer, partition, open)?;
                    unfinished.remove(&partition);
                }
                Some(Err(error)) if is_unknown_topic(&error) && started.elapsed() <= METADATA_GRACE => {}
                Some(Err(error)) if is_unknown_topic(&error) => {
                    return Err(Error::new(
                        ErrorKind::DataLoss,
                        format!("the topic \"{}\" was deleted while it was read", self.topic),
                    )
                    .because(error.to_string())
                    .advise(RESTORE_TOPIC));
                }
                Some(Err(error)) => return Err(self.failed(&error)),
                None if last_sign.elapsed() > SILENCE_TIMEOUT => {
                    return Err(Error::unavailable(format!(
                        "Kafka at \"{}\" sent nothing of topic \"{}\" for {} s",
                        self.brokers,
                        self.topic,
                        SILENCE_TIMEOUT.as_secs()
                    )));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// The end of a partition was met: it must be at or beyond the one that was planned with.
    fn assert_reaches(
        &self,
        consumer: &BaseConsumer<QuietContext>,
        partition: i32,
        open: &BTreeMap<i32, (OffsetRange, Records)>,
    ) -> Result<()> {
        let Some((range, _)) = open.get(&partition) else { return Ok(()) };
        let (_, end) = consumer
            .fetch_watermarks(&self.topic, partition, ANSWER_TIMEOUT)
            .map_err(|source| self.failed(&source))?;
        if end >= range.end {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::DataLoss,
            format!(
                "the topic \"{}\" was made again or cut: partition {partition} ends at {end}, records up to {} were planned",
                self.topic, range.end
            ),
        )
        .advise(RESTORE_TOPIC))
    }

    fn failed(&self, error: &KafkaError) -> Error {
        use RDKafkaErrorCode as Code;
        let code = error.rdkafka_error_code();
        if self.refused.load(Ordering::SeqCst) || code == Some(Code::Authentication) {
            return Error::config(format!("Kafka at \"{}\" refused the credentials", self.brokers))
                .advise("check sasl.username, sasl.password and sasl.mechanism in the --kafka-config file");
        }
        match code {
            Some(
                Code::TopicAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::ClusterAuthorizationFailed,
            ) => Error::config(format!(
                "Kafka at \"{}\" does not let us read \"{}\"",
                self.brokers, self.topic
            ))
            .because(error.to_string())
            .advise("grant READ and DESCRIBE on the topic"),
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => Error::new(
                ErrorKind::DataLoss,
                format!("the broker no longer has the offsets of \"{}\" that were planned", self.topic),
            )
            .because(error.to_string())
            .advise(RESTORE_TOPIC),
            _ => Error::unavailable(format!("could not reach Kafka at \"{}\"", self.brokers))
                .because(error.to_string())
                .advise("start it, or give the right address with --brokers"),
        }
    }
}

/// Takes what librdkafka has queued while nothing was assigned: it says once a second and more that a broker is
/// away, and the first of them would end a read after the broker has come back.
fn forget_events(consumer: &BaseConsumer<QuietContext>) {
    while consumer.poll(Duration::ZERO).is_some() {}
}

/// Not so a partition whose leader is away: it is waited for.
fn is_unknown_topic(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition)
    )
}

/// What librdkafka says of a property that it can't use.
pub fn bad_property(error: &KafkaError) -> Error {
    // The value may be a secret: only the property is named.
    match error {
        KafkaError::ClientConfig(_, problem, key, _) => {
            Error::config(format!("the Kafka property \"{key}\" can't be used: {problem}"))
        }
        other => Error::config("the Kafka properties can't be used").because(other.to_string()),
    }
    .advise("librdkafka's CONFIGURATION.md lists properties and values")
}

fn push(records: &mut Records, message: &BorrowedMessage<'_>) {
    let timestamp_ms = message.timestamp().to_millis().unwrap_or(0);
    records.push(message.offset(), timestamp_ms, message.key(), message.payload());
    each_header(message, |name, value| records.push_header(name, value));
}
