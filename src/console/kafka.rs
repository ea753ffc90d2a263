//! Topics and records for people: clients of their own, which read little and give up soon.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::Semaphore;

use crate::batch::offset::TopicPartition;
use crate::error::{Error, ErrorKind, Result};
use crate::source::header::each_header;
use crate::source::kafka::{KafkaConfig, QuietContext, bad_property};
use crate::source::topics::{Topics, with_extents};
use crate::source::{Extent, Records};

/// How long the broker may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// For how long one read looks for records.
const READ_TIME: Duration = Duration::from_secs(2);

/// Bytes that one read looks at.
const READ_BYTES: usize = 64 << 20;

/// Records of one answer.
pub(super) const MAX_RECORDS: usize = 500;

/// Bytes of the records of one answer.
const MAX_BYTES: usize = 4 << 20;

/// Reads at once; others wait for a moment.
const READERS: usize = 2;

/// Reads that wait.
const WAITING: usize = 4;

/// Where a read begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// So many records from the end of the partitions together.
    Newest,
    /// This offset of each partition.
    Offset(i64),
    /// The first record at or after a time, by Kafka's timestamp, in milliseconds.
    Time(i64),
    /// These offsets: where the read before ended.
    Cursor(BTreeMap<i32, i64>),
}

/// Which records are wanted.
#[derive(Clone, Debug)]
pub(super) struct Search {
    /// The topic.
    pub(super) topic: String,
    /// One partition, or all.
    pub(super) partition: Option<i32>,
    /// From where.
    pub(super) from: From,
    /// How many.
    pub(super) limit: usize,
    /// Only those whose key or value has these bytes.
    pub(super) contains: Option<String>,
    /// Only those whose value is a JSON object with this field and text.
    pub(super) field: Option<(String, String)>,
    /// Records of transactions that are open, too.
    pub(super) uncommitted: bool,
}

/// Why a read ended that has seen all that there is.
pub(super) const AT_THE_ENDS: &str = "at the ends";

/// What a read found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Each by itself, by Kafka's timestamp, the newest first.
    pub(super) records: Vec<Records>,
    /// Records looked at.
    pub(super) looked_at: u64,
    /// Their bytes.
    pub(super) bytes: usize,
    /// Milliseconds.
    pub(super) took_ms: u64,
    /// Why it ended.
    pub(super) ended: &'static str,
    /// Where to go on, by partition; nothing at the ends.
    pub(super) next: BTreeMap<i32, i64>,
}

/// Reads for people.
pub(super) struct Browser {
    clients: Arc<Clients>,
    readers: Arc<Semaphore>,
    waiting: Semaphore,
}

/// Clients that are lent to one read after the other: a new one takes longer to connect than most reads take.
struct Clients {
    config: KafkaConfig,
    /// Those that read what is committed, and those that read open transactions too.
    idle: [Mutex<Vec<BaseConsumer<QuietContext>>>; 2],
}

impl Clients {
    /// Lends one to `work`; one with which something failed is not lent again.
    fn with<T>(
        &self,
        uncommitted: bool,
        work: impl FnOnce(&BaseConsumer<QuietContext>) -> Result<T>,
    ) -> Result<T> {
        let idle = &self.idle[usize::from(uncommitted)];
        let lent = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let consumer = lent.map_or_else(|| consumer(&self.config, uncommitted), Ok)?;
        let done = work(&consumer)?;
        if consumer.unassign().is_ok() {
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(consumer);
        }
        Ok(done)
    }
}

impl Browser {
    pub(super) fn new(config: KafkaConfig) -> Self {
        Self {
            clients: Arc::new(Clients { config, idle: Default::default() }),
            readers: Arc::new(Semaphore::new(READERS)),
            waiting: Semaphore::new(WAITING + READERS),
        }
    }

    /// The cluster.
    pub(super) fn config(&self) -> &KafkaConfig {
        &self.clients.config
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Clients) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let _place = self.waiting.try_acquire().map_err(|_| {
            Error::unavailable("too many pages read the topics at once").advise("try again in a moment")
        })?;
        let reader = Arc::clone(&self.readers).acquire_owned().await;
        let reader = reader.map_err(|_| Error::internal("the console is closed"))?;
        let clients = Arc::clone(&self.clients);
        let task = tokio::task::spawn_blocking(move || {
            let _reader = reader;
            work(&clients)
        });
        task.await.map_err(|source| Error::internal("reading the topics panicked").because(source))?
    }

    /// All topics that are not Kafka's own, with the ends of their partitions.
    pub(super) async fn topics(&self) -> Result<Topics> {
        self.blocking(|clients| {
            clients.with(false, |consumer| {
                with_extents(consumer, ANSWER_TIMEOUT).map_err(|error| away(&clients.config, &error))
            })
        })
        .await
    }

    /// Records of a topic.
    pub(super) async fn read(&self, search: Search) -> Result<Found> {
        self.blocking(move |clients| {
            clients.with(search.uncommitted, |consumer| read(&clients.config, consumer, &search))
        })
        .await
    }

    /// One record whole.
    pub(super) async fn record(&self, topic: &str, partition: i32, offset: i64) -> Result<Option<Records>> {
        let search = Search {
            topic: topic.to_owned(),
            partition: Some(partition),
            from: From::Offset(offset),
            limit: 1,
            contains: None,
            field: None,
            uncommitted: false,
        };
        let found = self.read(search).await?.records.into_iter().next();
        Ok(found.filter(|records| records.iter().next().is_some_and(|record| record.offset() == offset)))
    }
}

fn consumer(config: &KafkaConfig, uncommitted: bool) -> Result<BaseConsumer<QuietContext>> {
    let settings = [
        ("queued.max.messages.kbytes", "4096"),
        ("fetch.message.max.bytes", "1048576"),
        // A broker answers one connection in order: what is asked next would wait for a fetch at the end of a partition.
        ("fetch.wait.max.ms", "10"),
    ];
    let isolation = if uncommitted { "read_uncommitted" } else { "read_committed" };
    let fixed = [
        // A group is asked for to assign partitions; nothing is ever committed to it.
        ("group.id", "ecomm-batch-console"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "earliest"),
        ("isolation.level", isolation),
        ("enable.partition.eof", "true"),
        ("allow.auto.create.topics", "false"),
    ];
    config
        .client(&settings, &fixed)
        .create_with_context(QuietContext::default())
        .map_err(|source| bad_property(&source))
}

fn away(config: &KafkaConfig, error: &KafkaError) -> Error {
    Error::unavailable(format!("could not reach Kafka at \"{}\"", config.brokers)).because(error.to_string())
}

fn read(config: &KafkaConfig, consumer: &BaseConsumer<QuietContext>, search: &Search) -> Result<Found> {
    let started = Instant::now();
    let fail = |error: KafkaError| away(config, &error);
    let metadata = consumer.fetch_metadata(Some(&search.topic), ANSWER_TIMEOUT).map_err(fail)?;
    let partitions: Vec<i32> = metadata
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions())
        .map(|partition| partition.id())
        .filter(|&id| search.partition.is_none_or(|wanted| wanted == id))
        .collect();
    if partitions.is_empty() {
        return Err(Error::new(
            ErrorKind::Config,
            format!("there is no topic \"{}\" with that partition", search.topic),
        ));
    }
    let mut ends: BTreeMap<i32, Extent> = BTreeMap::new();
    for &id in &partitions {
        let (earliest, latest) =
            consumer.fetch_watermarks(&search.topic, id, ANSWER_TIMEOUT).map_err(fail)?;
        ends.insert(id, Extent { earliest, latest });
    }
    let starts = starts(config, consumer, search, &ends)?;
    let mut open: BTreeMap<i32, i64> = BTreeMap::new();
    let mut list = TopicPartitionList::new();
    for (&id, &start) in &starts {
        if start < ends[&id].latest {
            list.add_partition_offset(&search.topic, id, Offset::Offset(start)).map_err(fail)?;
            open.insert(id, start);
        }
    }
    let mut found = Found { ended: AT_THE_ENDS, next: starts, ..Found::default() };
    let is_newest = search.from == From::Newest;
    let mut kept: BTreeMap<(i64, i32, i64), (Records, usize)> = BTreeMap::new();
    let mut kept_bytes = 0;
    if !open.is_empty() {
        consumer.assign(&list).map_err(fail)?;
    }
    while !open.is_empty() {
        if started.elapsed() > READ_TIME {
            found.ended = "after two seconds";
            break;
        }
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let id = message.partition();
                let (key, value) = (message.key(), message.payload());
                let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
                found.looked_at += 1;
                found.bytes += bytes;
                found.next.insert(id, message.offset() + 1);
                if is_wanted(search, key, value) {
                    let tp = TopicPartition::new(search.topic.as_str(), id);
                    let mut record = Records::new(tp);
                    let timestamp_ms = message.timestamp().to_millis().unwrap_or(0);
                    record.push(message.offset(), timestamp_ms, key, value);
                    each_header(&message, |name, value| record.push_header(name, value));
                    kept.insert((timestamp_ms, id, message.offset()), (record, bytes));
                    kept_bytes += bytes;
                }
                if message.offset() + 1 >= ends[&id].latest {
                    open.remove(&id);
                }
                // Which are the newest is known at the ends: older ones make room.
                while is_newest && (kept.len() > search.limit || kept_bytes > MAX_BYTES) {
                    let Some((_, (_, bytes))) = kept.pop_first() else { break };
                    kept_bytes -= bytes;
                }
                if !is_newest && kept.len() >= search.limit {
                    found.ended = "at the number asked for";
                    break;
                }
                if !is_newest && kept_bytes >= MAX_BYTES || found.bytes >= READ_BYTES {
                    found.ended = "at the number of bytes that one page reads";
                    break;
                }
            }
            Some(Err(KafkaError::PartitionEOF(id))) => {
                found.next.insert(id, ends[&id].latest);
                open.remove(&id);
            }
            Some(Err(error)) => return Err(fail(error)),
            None => {}
        }
    }
    found.next.retain(|id, next| *next < ends[id].latest);
    found.records = kept.into_values().rev().map(|(record, _)| record).collect();
    found.took_ms = started.elapsed().as_millis() as u64;
    Ok(found)
}

fn starts(
    config: &KafkaConfig,
    consumer: &BaseConsumer<QuietContext>,
    search: &Search,
    ends: &BTreeMap<i32, Extent>,
) -> Result<BTreeMap<i32, i64>> {
    let clamp = |id: &i32, offset: i64| offset.clamp(ends[id].earliest, ends[id].latest);
    Ok(match &search.from {
        From::Newest => {
            // One partition may have all of them.
            ends.iter().map(|(id, extent)| (*id, clamp(id, extent.latest - search.limit as i64))).collect()
        }
        From::Offset(offset) => ends.keys().map(|id| (*id, clamp(id, *offset))).collect(),
        From::Cursor(cursor) => cursor
            .iter()
            .filter(|(id, _)| ends.contains_key(id))
            .map(|(id, offset)| (*id, clamp(id, *offset)))
            .collect(),
        From::Time(time_ms) => {
            let fail = |error: KafkaError| away(config, &error);
            let mut list = TopicPartitionList::new();
            for &id in ends.keys() {
                list.add_partition_offset(&search.topic, id, Offset::Offset(*time_ms)).map_err(fail)?;
            }
            let found = consumer.offsets_for_times(list, ANSWER_TIMEOUT).map_err(fail)?;
            let start = |id: i32, offset: Offset| match offset {
                Offset::Offset(offset) => clamp(&id, offset),
                _ => ends[&id].latest,
            };
            found.elements().iter().map(|e| (e.partition(), start(e.partition(), e.offset()))).collect()
        }
    })
}

fn is_wanted(search: &Search, key: Option<&[u8]>, value: Option<&[u8]>) -> bool {
    let has = |bytes: Option<&[u8]>, wanted: &str| {
        bytes.is_some_and(|bytes| {
            wanted.is_empty() || bytes.windows(wanted.len()).any(|part| part == wanted.as_bytes())
        })
    };
    let contains = search.contains.as_deref().is_none_or(|wanted| has(key, wanted) || has(value, wanted));
    contains
        && search
            .field
            .as_ref()
            .is_none_or(|(name, wanted)| has_field(value.unwrap_or_default(), name, wanted))
}

/// Whether a JSON object has a field with this text: a string's content, else the value as it is written.
fn has_field(value: &[u8], name: &str, wanted: &str) -> bool {
    let fields: std::result::Result<BTreeMap<String, &serde_json::value::RawValue>, _> =
        serde_json::from_slice(value);
    let Some(raw) = fields.ok().and_then(|fields| fields.get(name).map(|raw| raw.get().to_owned())) else {
        return false;
    };
    serde_json::from_str::<String>(&raw).map_or(raw == wanted, |text| text == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_compared_by_its_text() {
        let value = br#"{"order_id":"o-\u0031","amount":12.50,"n":null,"o":{"a":1}}"#;
        for (name, wanted, is_found) in [
            ("order_id", "o-1", true),
            ("amount", "12.50", true),
            ("amount", "12.5", false),
            ("n", "null", true),
            ("o", "{\"a\":1}", true),
            ("x", "", false),
        ] {
            assert_eq!(has_field(value, name, wanted), is_found, "{name}");
        }
        assert!(!has_field(b"\xff", "a", "a") && !has_field(b"[1]", "a", "1"));
    }
}
