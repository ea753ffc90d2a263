//! What the flags mean: validated and typed, secrets apart from what is printed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::batch::trigger::Trigger;
use crate::checkpoint::Location;
use crate::cli::{KafkaArgs, MongoDbArgs, RunArgs};
use crate::clock::NANOS_PER_MS;
use crate::console::settings::ConsoleSettings;
use crate::decode::parse_timestamp;
use crate::error::{Error, Result};
use crate::observe::terminal::TerminalForm;
use crate::query::Program;
use crate::ranges::{StartingOffsets, TopicStart};
use crate::secret::{MongoDbUri, read_secret};
use crate::sink::mongodb::TakeOver;
use crate::source::kafka::KafkaConfig;

/// The settings of `run`.
#[derive(Clone, Debug)]
pub struct RunSettings {
    /// The cluster.
    pub kafka: KafkaConfig,
    /// The deployment.
    pub mongodb: MongoDbUri,
    /// The SQL folder.
    pub sql: PathBuf,
    /// The checkpoint, if one was given.
    pub checkpoint: Option<Location>,
    /// When batches start.
    pub trigger: Trigger,
    /// Offsets of a batch.
    pub max_offsets_per_trigger: Option<u64>,
    /// Into how many key groups a batch falls; without it by its size and the cores.
    pub groups: Option<u32>,
    /// Where a new checkpoint starts.
    pub starting_offsets: StartingOffsets,
    /// Stop when records are gone.
    pub fail_on_data_loss: bool,
    /// Batches that the checkpoint keeps.
    pub retain_batches: u64,
    /// Outputs as files.
    pub outputs: Option<PathBuf>,
    /// Take collections over.
    pub take_over: Option<TakeOver>,
    /// Take pending batches on with this SQL.
    pub replan: bool,
    /// Store batches in transactions.
    pub mongodb_atomic: bool,
    /// Progress as JSON lines.
    pub progress: Option<PathBuf>,
    /// The console.
    pub console: ConsoleSettings,
    /// What is drawn on a terminal.
    pub terminal: TerminalForm,
}

impl RunSettings {
    /// From the flags.
    ///
    /// # Errors
    /// [`Config`](crate::error::ErrorKind::Config) names the flag.
    pub fn new(args: &RunArgs) -> Result<Self> {
        let trigger =
            args.trigger.parse().map_err(|problem: String| bad_flag("trigger", &args.trigger, &problem))?;
        if args.max_offsets_per_trigger == Some(0) {
            return Err(bad_flag("max-offsets-per-trigger", "0", "a batch needs at least one offset"));
        }
        if let Some(groups) = args.groups.filter(|groups| !(1..=256).contains(groups)) {
            return Err(bad_flag("groups", &groups.to_string(), "a batch has 1 to 256 key groups"));
        }
        Ok(Self {
            kafka: kafka_config(&args.kafka)?,
            mongodb: mongodb_uri(&args.mongodb)?,
            sql: args.pipeline.sql.clone(),
            checkpoint: args.pipeline.checkpoint.clone(),
            trigger,
            max_offsets_per_trigger: args.max_offsets_per_trigger,
            groups: args.groups,
            starting_offsets: starting_offsets(&args.starting_offsets)?,
            fail_on_data_loss: args.fail_on_data_loss,
            retain_batches: args.retain_batches.max(1),
            outputs: args.outputs.clone(),
            take_over: args.take_over,
            replan: args.replan,
            mongodb_atomic: args.mongodb_atomic,
            progress: args.progress.clone(),
            console: ConsoleSettings::new(&args.console, |name| std::env::var(name).ok())?,
            terminal: TerminalForm::new(args.quiet, args.json),
        })
    }
}

/// Where a program's checkpoint is if nobody says.
pub(crate) fn default_checkpoint(program: &Program) -> Location {
    Location::Folder(Path::new("checkpoints").join(&program.view.name))
}

/// The connection string that the flags name.
///
/// # Errors
/// [`Config`](crate::error::ErrorKind::Config): a file that can't be read.
pub fn mongodb_uri(args: &MongoDbArgs) -> Result<MongoDbUri> {
    match &args.mongodb_uri_file {
        Some(path) => read_secret(path).map(MongoDbUri),
        None => Ok(MongoDbUri(args.mongodb.clone())),
    }
}

fn bad_flag(flag: &str, value: &str, problem: &str) -> Error {
    Error::config(format!("--{flag} \"{value}\": {problem}"))
}

/// `earliest`, `latest`, a time, or for each topic offsets of partitions and a time for the others.
///
/// # Errors
/// [`Config`](crate::error::ErrorKind::Config): it is none of them.
pub fn starting_offsets(text: &str) -> Result<StartingOffsets> {
    let bad = |problem: &str| {
        bad_flag("starting-offsets", text, problem).advise(
            "write earliest, latest, a time such as 2026-01-05T00:00:00Z, or for each topic \
             {\"orders\":{\"0\":23,\"1\":-2},\"payments\":{\"timestamp\":\"2026-01-05T00:00:00Z\"}}",
        )
    };
    if text.trim_start().starts_with('{') {
        let topics: ByTopicText = serde_json::from_str(text).map_err(|error| bad(&error.to_string()))?;
        let topics = topics.into_iter().map(|(topic, start)| {
            let start =
                topic_start(start).map_err(|problem| bad(&format!("topic \"{topic}\": {problem}")))?;
            Ok((topic, start))
        });
        return Ok(StartingOffsets::Given(topics.collect::<Result<_>>()?));
    }
    match text.to_lowercase().as_str() {
        "earliest" => Ok(StartingOffsets::Earliest),
        "latest" => Ok(StartingOffsets::Latest),
        _ => time_ms(text).map(StartingOffsets::Time).ok_or_else(|| bad("it is neither")),
    }
}

type ByTopicText = BTreeMap<String, BTreeMap<String, serde_json::Value>>;

fn topic_start(text: BTreeMap<String, serde_json::Value>) -> std::result::Result<TopicStart, String> {
    let mut start = TopicStart::default();
    for (key, value) in text {
        if key == "timestamp" {
            let time = value.as_str().and_then(time_ms);
            start.timestamp_ms = Some(time.ok_or_else(|| format!("{value} is no time"))?);
            continue;
        }
        let partition = key.parse().map_err(|_| format!("\"{key}\" is no number of a partition"))?;
        let offset = value.as_i64().filter(|&offset| offset >= -2);
        start.offsets.insert(partition, offset.ok_or_else(|| format!("{value} is no offset"))?);
    }
    Ok(start)
}

/// Milliseconds since 1970 of an RFC 3339 time; what lies between two is the later one.
fn time_ms(text: &str) -> Option<i64> {
    let nanos = parse_timestamp(text)?;
    let ms = -(-nanos).div_euclid(i128::from(NANOS_PER_MS));
    i64::try_from(ms).ok()
}

/// The cluster that the flags name.
///
/// # Errors
/// [`Config`](crate::error::ErrorKind::Config): a file that can't be read, or a line without `=`.
pub fn kafka_config(args: &KafkaArgs) -> Result<KafkaConfig> {
    let mut properties = BTreeMap::new();
    if let Some(path) = &args.kafka_config {
        let text = read_secret(path)?;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // The line may hold a secret: only its number is named.
            let (key, value) = line.split_once('=').ok_or_else(|| {
                Error::config(format!("line {number} of \"{}\" is not key=value", path.display()))
            })?;
            properties.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    for property in &args.properties {
        let (key, value) = property.split_once('=').ok_or_else(|| {
            Error::config("-X takes KEY=VALUE").advise("for example -X security.protocol=SASL_SSL")
        })?;
        properties.insert(key.trim().to_owned(), value.to_owned());
    }
    Ok(KafkaConfig::new(&args.brokers, properties))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_word_a_time_or_a_map() {
        let midnight = 1_767_571_200_000;
        let given = |topic: &str, offsets: &[(i32, i64)], timestamp_ms| {
            let start = TopicStart { offsets: offsets.iter().copied().collect(), timestamp_ms };
            StartingOffsets::Given([(topic.to_owned(), start)].into())
        };
        for (text, start) in [
            ("earliest", StartingOffsets::Earliest),
            ("LATEST", StartingOffsets::Latest),
            ("2026-01-05T00:00:00Z", StartingOffsets::Time(midnight)),
            ("2026-01-05T02:00:00+02:00", StartingOffsets::Time(midnight)),
            ("2026-01-05T00:00:00.0001Z", StartingOffsets::Time(midnight + 1)),
            (r#"{"a":{"0":23,"1":-2}}"#, given("a", &[(0, 23), (1, -2)], None)),
            (r#"{"a":{"timestamp":"2026-01-05T00:00:00Z"}}"#, given("a", &[], Some(midnight))),
            (r#"{"a":{"timestamp":"2026-01-05T00:00:00Z","1":-1}}"#, given("a", &[(1, -1)], Some(midnight))),
        ] {
            assert_eq!(starting_offsets(text).expect(text), start);
        }
        for text in [
            "",
            "yesterday",
            "2026-01-05",
            "1767571200000",
            r#"{"a":{"0":-3}}"#,
            r#"{"a":{"0":"23"}}"#,
            r#"{"a":{"0":1.5}}"#,
            r#"{"a":{"x":1}}"#,
            r#"{"a":{"timestamp":1767571200000}}"#,
            r#"{"a":"latest"}"#,
            "{",
        ] {
            let error = starting_offsets(text).expect_err(text).to_string();
            assert!(error.contains("--starting-offsets") && error.contains("timestamp"), "{error}");
        }
    }
}
