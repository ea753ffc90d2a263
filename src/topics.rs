//! `topics`: create, list, tail.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::cli::TopicsCommand;
use crate::error::{Error, Result};
use crate::ranges::missing_topic;
use crate::settings::kafka_config;
use crate::source::Extent;
use crate::source::kafka::{KafkaConfig, QuietContext, bad_property};
use crate::stdout::say;

/// How long the broker may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs a `topics` command.
pub async fn execute(command: TopicsCommand) -> Result<()> {
    match command {
        TopicsCommand::Create { kafka, topics, partitions, replication } => {
            let config = kafka_config(&kafka)?;
            let of_variable = |variable: &str, default: &str| {
                std::env::var(variable).unwrap_or_else(|_| default.to_owned())
            };
            let names = match topics.is_empty() {
                true => {
                    vec![of_variable("ORDERS_TOPIC", "orders"), of_variable("PAYMENTS_TOPIC", "payments")]
                }
                false => topics,
            };
            for topic in names {
                let is_new = create(&config, &topic, partitions, replication).await?;
                say!("{topic}: {}", if is_new { "created" } else { "was there" });
            }
            Ok(())
        }
        TopicsCommand::List { kafka } => {
            let config = kafka_config(&kafka)?;
            blocking(move || list(&config)).await
        }
        TopicsCommand::Tail { kafka, topic, last, follow } => {
            let config = kafka_config(&kafka)?;
            blocking(move || tail(&config, &topic, last, follow)).await
        }
    }
}

async fn blocking(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
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

fn unreachable(config: &KafkaConfig, source: &KafkaError) -> Error {
    Error::unavailable(format!("could not reach Kafka at \"{}\"", config.brokers))
        .because(source.to_string())
        .advise("start it, or give the right address with --brokers")
}

fn consumer(config: &KafkaConfig) -> Result<BaseConsumer<QuietContext>> {
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

fn list(config: &KafkaConfig) -> Result<()> {
    let consumer = consumer(config)?;
    let topics = with_extents(&consumer, ANSWER_TIMEOUT).map_err(|source| unreachable(config, &source))?;
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY).set_header([
        "topic",
        "partition",
        "earliest",
        "latest",
    ]);
    for (topic, partitions) in topics {
        for (partition, Extent { earliest, latest }) in partitions {
            table.add_row([topic.clone(), partition.to_string(), earliest.to_string(), latest.to_string()]);
        }
    }
    say!("{table}");
    Ok(())
}

/// The last records of each partition; with `follow` then those that come, until the process ends.
fn tail(config: &KafkaConfig, topic: &str, last: i64, follow: bool) -> Result<()> {
    let consumer = consumer(config)?;
    let fail = |source: KafkaError| unreachable(config, &source);
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER_TIMEOUT).map_err(fail)?;
    let mut list = TopicPartitionList::new();
    let mut unfinished = 0;
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let (earliest, latest) =
            consumer.fetch_watermarks(topic, partition.id(), ANSWER_TIMEOUT).map_err(fail)?;
        list.add_partition_offset(topic, partition.id(), Offset::Offset((latest - last).max(earliest)))
            .map_err(fail)?;
        unfinished += 1;
    }
    if unfinished == 0 {
        return Err(missing_topic(topic));
    }
    consumer.assign(&list).map_err(fail)?;
    while unfinished > 0 || follow {
        match consumer.poll(ANSWER_TIMEOUT) {
            Some(Ok(message)) => {
                let text =
                    |bytes: Option<&[u8]>| bytes.map_or("null".into(), String::from_utf8_lossy).into_owned();
                say!(
                    "{}/{} {} {}",
                    message.partition(),
                    message.offset(),
                    text(message.key()),
                    text(message.payload())
                );
            }
            Some(Err(KafkaError::PartitionEOF(_))) => unfinished -= 1,
            None if follow => {}
            Some(Err(error)) => return Err(fail(error)),
            None => return Err(Error::unavailable(format!("Kafka at \"{}\" sent nothing", config.brokers))),
        }
    }
    Ok(())
}
