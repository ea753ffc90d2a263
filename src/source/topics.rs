//! The topics of a cluster: what there is, and new ones.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::error::{Error, Result};
use crate::source::Extent;
use crate::source::kafka::{KafkaConfig, QuietContext, bad_property};

/// How long the broker may take to answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs what waits for the broker, on a thread that may.
pub(crate) async fn blocking(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|source| Error::internal("the command panicked").because(source))?
}

/// Creates a topic; `false` if it was there.
pub async fn create(config: &KafkaConfig, topic: &str, partitions: i32, replication: i32) -> Result<bool> {
    let admin: AdminClient<DefaultClientContext> =
        config.client(&[("log_level", "0")], &[]).create().map_err(|source| bad_property(&source))?;
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replication));
    let options =
        AdminOptions::new().request_timeout(Some(ANSWER_TIMEOUT)).operation_timeout(Some(ANSWER_TIMEOUT));
    let results =
        admin.create_topics([&new], &options).await.map_err(|source| unreachable(config, &source))?;
    match results.into_iter().next() {
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(false),
        Some(Err((_, code))) => {
            Err(Error::config(format!("could not create the topic \"{topic}\"")).because(code.to_string()))
        }
        _ => {
            let (config, topic) = (config.clone(), topic.to_owned());
            blocking(move || wait_until_known(&config, &topic, partitions)).await?;
            Ok(true)
        }
    }
}

/// Brokers learn of a new topic one after the other: waits until it has a leader for each partition.
fn wait_until_known(config: &KafkaConfig, topic: &str, partitions: i32) -> Result<()> {
    let consumer = consumer(config)?;
    let started = Instant::now();
    loop {
        let metadata = consumer
            .fetch_metadata(Some(topic), ANSWER_TIMEOUT)
            .map_err(|source| unreachable(config, &source))?;
        let leaders =
            metadata.topics().iter().flat_map(|topic| topic.partitions()).filter(|p| p.leader() >= 0);
        if leaders.count() >= partitions as usize {
            return Ok(());
        }
        if started.elapsed() > ANSWER_TIMEOUT {
            return Err(Error::unavailable(format!(
                "the new topic \"{topic}\" has no leader for each partition yet"
            ))
            .advise("ask again with: ecomm-batch topics list"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The broker does not answer.
pub(crate) fn unreachable(config: &KafkaConfig, source: &KafkaError) -> Error {
    Error::unavailable(format!("could not reach Kafka at \"{}\"", config.brokers))
        .because(source.to_string())
        .advise("start it, or give the right address with --brokers")
}

/// A consumer for people: it commits nothing.
pub(crate) fn consumer(config: &KafkaConfig) -> Result<BaseConsumer<QuietContext>> {
    let fixed = [
        ("group.id", "ecomm-batch-topics"),
        ("enable.auto.commit", "false"),
        ("enable.partition.eof", "true"),
    ];
    config
        .client(&[], &fixed)
        .create_with_context(QuietContext::default())
        .map_err(|source| bad_property(&source))
}

/// Topics by name with what each of their partitions holds; without Kafka's own.
pub(crate) type Topics = BTreeMap<String, BTreeMap<i32, Extent>>;

/// All topics of a cluster.
pub(crate) fn with_extents(
    consumer: &BaseConsumer<QuietContext>,
    timeout: Duration,
) -> std::result::Result<Topics, KafkaError> {
    let metadata = consumer.fetch_metadata(None, timeout)?;
    let mut topics = Topics::new();
    for topic in metadata.topics().iter().filter(|topic| !topic.name().starts_with("__")) {
        let of_topic = topics.entry(topic.name().to_owned()).or_default();
        for partition in topic.partitions() {
            let (earliest, latest) = consumer.fetch_watermarks(topic.name(), partition.id(), timeout)?;
            of_topic.insert(partition.id(), Extent { earliest, latest });
        }
    }
    Ok(topics)
}
