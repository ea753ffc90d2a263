//! `topics`: create, list, tail.

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::cli::TopicsCommand;
use crate::error::{Error, Result};
use crate::ranges::missing_topic;
use crate::settings::kafka_config;
use crate::source::Extent;
use crate::source::kafka::KafkaConfig;
use crate::source::topics::{ANSWER_TIMEOUT, blocking, consumer, create, unreachable, with_extents};
use crate::stdout::say;

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
