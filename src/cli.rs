//! What the user typed: one variant for each subcommand, no I/O.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::checkpoint::Location;
use crate::sink::mongodb::TakeOver;

/// Where the console is by default.
pub(crate) const DEFAULT_CONSOLE: &str = "127.0.0.1:9021";

/// Micro-batch stream processor: two Kafka topics, a SQL join with a watermark, exactly-once
/// documents in MongoDB.
#[derive(Debug, Parser)]
#[command(name = "ecomm-batch", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the SQL folder's program on Kafka and MongoDB.
    Run(RunArgs),
    /// Show everything in 20 seconds without any service: an in-process Kafka, generated data, results in files.
    Demo(DemoArgs),
    /// Produce mock orders and payments.
    Produce(ProduceArgs),
    /// Create, list or follow topics.
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Plan the SQL folder, without services; --connect also asks the broker and MongoDB.
    Check(CheckArgs),
    /// Show the SQL folder in plain words: sources, keys, how long rows are kept and why, rules, outputs, plans.
    Explain(ExplainArgs),
    /// Run case files through the real engine, without services.
    Test(TestArgs),
    /// Compare what a run stored with the producer's ledger, record for record.
    Reconcile(ReconcileArgs),
    /// Look into a checkpoint, verify it, or go back to an earlier batch.
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
    /// Query the rows that wait in a checkpoint.
    State(StateArgs),
    /// The console alone, on topics, checkpoint and collections, without an engine; its link, and hashes for its users.
    Console(ConsoleCommandArgs),
    /// Remove a pipeline's checkpoint, its collections and their ledger entries, and nothing else. Shows what it would remove; --yes does it.
    Reset(ResetArgs),
}

/// What to do with a checkpoint.
#[derive(Debug, Subcommand)]
pub enum CheckpointCommand {
    /// Show its batches: records, offsets, watermark, state, SQL.
    Show {
        /// The checkpoint: a folder, or s3://bucket/prefix.
        #[arg(value_name = "DIR|URL")]
        checkpoint: Location,
        /// How many batches, from the last one back.
        #[arg(short = 'n', long, default_value_t = 10)]
        last: usize,
    },
    /// Read everything and check every checksum and the chain of batches; exit code 3 if something is wrong.
    Verify {
        /// The checkpoint: a folder, or s3://bucket/prefix.
        #[arg(value_name = "DIR|URL")]
        checkpoint: Location,
    },
    /// Go back to a batch: later ones run again as they were planned. Shows what it would do; --yes does it.
    Rollback {
        /// The checkpoint: a folder, or s3://bucket/prefix.
        #[arg(value_name = "DIR|URL")]
        checkpoint: Location,
        /// The batch that will be the last one with an outcome.
        #[arg(long, value_name = "N")]
        to: u64,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
}

/// Flags of `state`.
#[derive(Args, Clone, Debug)]
pub struct StateArgs {
    /// The checkpoint: a folder, or s3://bucket/prefix.
    #[arg(value_name = "DIR|URL")]
    pub checkpoint: Location,
    /// A SELECT over <source>_state, such as orders_state.
    #[arg(long)]
    pub sql: String,
    /// The state as that batch left it; by default the last one.
    #[arg(long, value_name = "N")]
    pub batch: Option<u64>,
}

/// Flags of `console`.
#[derive(Args, Clone, Debug)]
pub struct ConsoleCommandArgs {
    /// Something else than the console itself.
    #[command(subcommand)]
    pub command: Option<ConsoleCommand>,
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// MongoDB.
    #[command(flatten)]
    pub mongodb: MongoDbArgs,
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// The console.
    #[command(flatten)]
    pub console: ConsoleArgs,
}

/// The console's flags.
#[derive(Args, Clone, Debug)]
pub struct ConsoleArgs {
    /// Where the console listens; off for none.
    #[arg(long, env = "ECOMM_BATCH_CONSOLE", value_name = "HOST:PORT|off", default_value = DEFAULT_CONSOLE)]
    pub console: String,
    /// Who may log in: a file of lines name:read|full:hash, 0600; without it admin, by a link that is printed at the start.
    #[arg(long, env = "ECOMM_BATCH_CONSOLE_USERS", value_name = "FILE")]
    pub console_users: Option<PathBuf>,
    /// The address by which browsers reach the console through a proxy, which has to speak TLS: https://host.
    #[arg(long, env = "ECOMM_BATCH_CONSOLE_BEHIND_PROXY", value_name = "URL")]
    pub console_behind_proxy: Option<String>,
    /// Serve /metrics, /healthz and /readyz at another address too, without login.
    #[arg(long, env = "ECOMM_BATCH_METRICS", value_name = "HOST:PORT")]
    pub metrics: Option<SocketAddr>,
}

/// What else is there for the console.
#[derive(Clone, Debug, Subcommand)]
pub enum ConsoleCommand {
    /// Print the link that logs in once to the console of an engine that this user started.
    Link {
        /// The console.
        #[command(flatten)]
        console: ConsoleArgs,
    },
    /// Read a password from stdin and print its hash, for a users file.
    HashPassword,
}

/// Flags of `reset`.
#[derive(Args, Clone, Debug)]
pub struct ResetArgs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Remove what belongs to this query too, whose checkpoint is lost; without --yes the ids are listed.
    #[arg(long, value_name = "ID")]
    pub query: Option<String>,
    /// MongoDB.
    #[command(flatten)]
    pub mongodb: MongoDbArgs,
    /// Do it.
    #[arg(long)]
    pub yes: bool,
}

/// Which pipeline: its SQL and its checkpoint.
#[derive(Args, Clone, Debug)]
pub struct PipelineArgs {
    /// The folder of the SQL program.
    #[arg(long, env = "ECOMM_BATCH_SQL", default_value = "sql")]
    pub sql: PathBuf,
    /// The checkpoint: a folder, or s3://bucket/prefix; by default checkpoints/ and the name of the join view.
    #[arg(long, env = "ECOMM_BATCH_CHECKPOINT", value_name = "DIR|URL")]
    pub checkpoint: Option<Location>,
}

/// How to reach Kafka.
#[derive(Args, Clone, Debug)]
pub struct KafkaArgs {
    /// Kafka brokers, host:port, separated by commas.
    #[arg(long, env = "KAFKA_BROKERS", default_value = "localhost:9092")]
    pub brokers: String,
    /// A properties file of librdkafka settings (key=value lines): the place for passwords.
    #[arg(long, env = "ECOMM_BATCH_KAFKA_CONFIG", value_name = "FILE")]
    pub kafka_config: Option<PathBuf>,
    /// A librdkafka setting, as kcat takes it; visible in the process list, so not for passwords.
    #[arg(short = 'X', value_name = "KEY=VALUE")]
    pub properties: Vec<String>,
}

/// How to reach MongoDB.
#[derive(Args, Clone, Debug)]
pub struct MongoDbArgs {
    /// MongoDB connection string; with a password better in MONGODB_URI or MONGODB_URI_FILE.
    #[arg(long, env = "MONGODB_URI", default_value = "mongodb://localhost:27017", hide_env_values = true)]
    pub mongodb: String,
    /// A file that holds the MongoDB connection string; wins over --mongodb.
    #[arg(long, env = "MONGODB_URI_FILE", value_name = "FILE")]
    pub mongodb_uri_file: Option<PathBuf>,
}

/// Flags of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// MongoDB.
    #[command(flatten)]
    pub mongodb: MongoDbArgs,
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// When a batch starts: an interval such as 5s (0s: at once), available-now, or once.
    #[arg(long, env = "ECOMM_BATCH_TRIGGER", default_value = "0s")]
    pub trigger: String,
    /// How many offsets a batch may span, shared by backlog; without it, all there is.
    #[arg(long, env = "ECOMM_BATCH_MAX_OFFSETS_PER_TRIGGER", value_name = "N")]
    pub max_offsets_per_trigger: Option<u64>,
    /// Into how many key groups, worked on side by side, a batch falls; without it by its size and the cores. No result depends on it.
    #[arg(long, env = "ECOMM_BATCH_GROUPS", value_name = "K")]
    pub groups: Option<u32>,
    /// Where a new checkpoint starts: earliest, latest, a time such as 2026-01-05T00:00:00Z, or {"topic":{"0":23,"1":-2}}, {"topic":{"timestamp":TIME}}.
    #[arg(long, env = "ECOMM_BATCH_STARTING_OFFSETS", default_value = "earliest")]
    pub starting_offsets: String,
    /// Stop (exit 4) when records that were to be read are gone from the broker.
    #[arg(long, env = "ECOMM_BATCH_FAIL_ON_DATA_LOSS", default_value_t = true, action = clap::ArgAction::Set)]
    pub fail_on_data_loss: bool,
    /// How many batches the checkpoint keeps.
    #[arg(long, env = "ECOMM_BATCH_RETAIN_BATCHES", default_value_t = 100)]
    pub retain_batches: u64,
    /// Write every output to DIR as JSON lines, a folder each, whatever its STORED AS; needs no MongoDB.
    #[arg(long, env = "ECOMM_BATCH_OUTPUTS", value_name = "DIR")]
    pub outputs: Option<PathBuf>,
    /// Take collections over from another checkpoint; documents that are there and differ are kept, or replaced.
    #[arg(
        long,
        env = "ECOMM_BATCH_TAKE_OVER",
        value_name = "keep|replace",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "keep"
    )]
    pub take_over: Option<TakeOver>,
    /// Take a batch that was planned and can't be done on with this SQL instead of its own: same records, watermark and time.
    #[arg(long, env = "ECOMM_BATCH_REPLAN")]
    pub replan: bool,
    /// Store each batch's documents in one transaction where it fits, so that readers never see a part; needs a replica set.
    #[arg(long, env = "ECOMM_BATCH_MONGODB_ATOMIC")]
    pub mongodb_atomic: bool,
    /// The console.
    #[command(flatten)]
    pub console: ConsoleArgs,
    /// Say nothing but warnings and errors.
    #[arg(short, long, env = "ECOMM_BATCH_QUIET")]
    pub quiet: bool,
    /// Print each batch's progress on stdout, as JSON lines with Spark's field names.
    #[arg(long, env = "ECOMM_BATCH_JSON")]
    pub json: bool,
    /// Append each batch's progress to a file, as JSON lines with Spark's field names.
    #[arg(long, env = "ECOMM_BATCH_PROGRESS", value_name = "FILE")]
    pub progress: Option<PathBuf>,
    /// The form of the log on stderr: text or json. ECOMM_BATCH_LOG says how much: info, debug, warn, or by module.
    #[arg(long, env = "ECOMM_BATCH_LOG_FORMAT", default_value = "text", value_parser = ["text", "json"])]
    pub log_format: String,
}

/// Flags of `demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// The folder of the SQL program.
    #[arg(long, env = "ECOMM_BATCH_SQL", default_value = "sql")]
    pub sql: PathBuf,
    /// How many orders to produce.
    #[arg(long, default_value_t = 20_000)]
    pub count: u64,
    /// The seed of the generated data.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where results, ledger and checkpoint go; a fresh folder without it.
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// The console.
    #[command(flatten)]
    pub console: ConsoleArgs,
}

/// Flags of `produce`.
#[derive(Args, Clone, Debug)]
pub struct ProduceArgs {
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Orders a second; without it a bounded run goes as fast as it can, an endless one at 500.
    #[arg(long)]
    pub rate: Option<u64>,
    /// How many orders; with neither --count nor --duration the run is endless.
    #[arg(long)]
    pub count: Option<u64>,
    /// For how long, such as 60s.
    #[arg(long, value_parser = crate::duration::parse)]
    pub duration: Option<Duration>,
    /// The event time that a bounded run spreads over, ending now.
    #[arg(long, default_value = "2h", value_parser = crate::duration::parse)]
    pub span: Duration,
    /// The seed: the same seed makes the same records, with the same ids; by default each run has its own.
    #[arg(long)]
    pub seed: Option<u64>,
    /// What goes wrong, and how often.
    #[command(flatten)]
    pub shares: Shares,
    /// The orders topic.
    #[arg(long, env = "ORDERS_TOPIC", default_value = "orders")]
    pub orders_topic: String,
    /// The payments topic.
    #[arg(long, env = "PAYMENTS_TOPIC", default_value = "payments")]
    pub payments_topic: String,
    /// Write one line for each record: where it went and where it must come out.
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
}

/// Shares of troublesome records, of the number of orders.
#[derive(Args, Clone, Debug)]
pub struct Shares {
    /// Orders paid with another amount.
    #[arg(long, default_value_t = 0.02)]
    pub mismatch: f64,
    /// Orders that nobody pays.
    #[arg(long, default_value_t = 0.03)]
    pub unpaid: f64,
    /// Extra payments of no order.
    #[arg(long, default_value_t = 0.01)]
    pub orphan: f64,
    /// Records sent twice.
    #[arg(long, default_value_t = 0.01)]
    pub duplicate: f64,
    /// Extra payments of no order, far below the watermark.
    #[arg(long, default_value_t = 0.005)]
    pub late: f64,
    /// Extra records that are no valid JSON of their table.
    #[arg(long, default_value_t = 0.005)]
    pub malformed: f64,
    /// Payments dated before their order.
    #[arg(long, default_value_t = 0.01)]
    pub early: f64,
    /// Orders that are paid twice.
    #[arg(long, default_value_t = 0.01)]
    pub paid_twice: f64,
}

impl Shares {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        mismatch: 0.0,
        unpaid: 0.0,
        orphan: 0.0,
        duplicate: 0.0,
        late: 0.0,
        malformed: 0.0,
        early: 0.0,
        paid_twice: 0.0,
    };

    /// As the flags' defaults have it, but for late records, whose fate depends on the batches.
    pub const WITHOUT_LATE: Self = Self {
        mismatch: 0.02,
        unpaid: 0.03,
        orphan: 0.01,
        duplicate: 0.01,
        malformed: 0.005,
        early: 0.01,
        paid_twice: 0.01,
        ..Self::NONE
    };
}

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// Create the topics if they are missing.
    Create {
        /// Kafka.
        #[command(flatten)]
        kafka: KafkaArgs,
        /// Names; without any: ORDERS_TOPIC and PAYMENTS_TOPIC, else orders and payments.
        topics: Vec<String>,
        /// Partitions of each.
        #[arg(long, default_value_t = 3)]
        partitions: i32,
        /// Copies of each.
        #[arg(long, default_value_t = 1)]
        replication: i32,
    },
    /// List topics with partitions and offsets.
    List {
        /// Kafka.
        #[command(flatten)]
        kafka: KafkaArgs,
    },
    /// Print the last records of a topic.
    Tail {
        /// Kafka.
        #[command(flatten)]
        kafka: KafkaArgs,
        /// The topic.
        topic: String,
        /// How many records of each partition.
        #[arg(short = 'n', long, default_value_t = 10)]
        last: i64,
        /// Go on with what comes, until interrupted.
        #[arg(short = 'f', long)]
        follow: bool,
    },
}

/// Flags of `check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The folder of the SQL program.
    #[arg(long, env = "ECOMM_BATCH_SQL", default_value = "sql")]
    pub sql: PathBuf,
    /// Compare with a checkpoint: what each change of the SQL does at the next start; exit code 3 if one is refused.
    #[arg(long, value_name = "DIR|URL")]
    pub checkpoint: Option<Location>,
    /// Ask the broker for the topics, and MongoDB for its kind and the user's rights.
    #[arg(long)]
    pub connect: bool,
    /// Kafka.
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// MongoDB.
    #[command(flatten)]
    pub mongodb: MongoDbArgs,
}

/// Flags of `explain`.
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// The folder of the SQL program.
    #[arg(long, env = "ECOMM_BATCH_SQL", default_value = "sql")]
    pub sql: PathBuf,
}

/// Flags of `test`.
#[derive(Args, Clone, Debug)]
pub struct TestArgs {
    /// Case files, or folders that hold some.
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    /// The SQL folder of cases that name none.
    #[arg(long, env = "ECOMM_BATCH_SQL", default_value = "sql")]
    pub sql: PathBuf,
    /// Show what the engine logs.
    #[arg(short, long)]
    pub verbose: bool,
}

/// Flags of `reconcile`.
#[derive(Args, Clone, Debug)]
pub struct ReconcileArgs {
    /// The producer's ledger; of several runs into the same topics, several.
    #[arg(long, required = true, value_name = "FILE")]
    pub ledger: Vec<PathBuf>,
    /// The ledgers know all records of the topics: anything else that is there is a difference.
    #[arg(long)]
    pub exact: bool,
    /// The checkpoint, for the rows that still wait.
    #[arg(long, value_name = "DIR|URL")]
    pub checkpoint: Location,
    /// The files of `run --outputs`; without it MongoDB is read.
    #[arg(long, value_name = "DIR")]
    pub outputs: Option<PathBuf>,
    /// MongoDB.
    #[command(flatten)]
    pub mongodb: MongoDbArgs,
    /// The database of the collections.
    #[arg(long, env = "MONGODB_DATABASE", default_value = "ecomm_mart")]
    pub database: String,
}
