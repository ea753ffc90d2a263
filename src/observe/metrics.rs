//! What Prometheus scrapes. Counters start from the committed totals: a crash between commit and scrape loses
//! nothing, and a batch that runs again counts nothing twice.
//!
//! Label values come from the program and its topics only, never from records. Times are exported as timestamps,
//! so that an exporter that hangs shows as a growing lag and not as the last good number.

use std::fmt::Error as FmtError;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::batch::counts::Counts;
use crate::batch::reason::Reason;
use crate::batch::trigger::Trigger;
use crate::batch::watermark::HeldBy;
use crate::now::{Service, Step};
use crate::observe::Telemetry;
use crate::observe::lag::Lag;
use crate::observe::progress::{BatchProgress, StateProgress, to_ms};

/// The steps of a batch as labels have them, with Spark's names of their durations.
const PHASES: [(&str, &str); 5] = [
    ("query_planning", "queryPlanning"),
    ("get_batch", "getBatch"),
    ("add_batch", "addBatch"),
    ("write_sink", "writeSink"),
    ("wal_commit", "walCommit"),
];

/// The form that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Version 0.0.4.
    Prometheus,
    /// Version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// By the Accept header of a scrape.
    pub fn accepted(accept: &str) -> Self {
        match accept.contains("application/openmetrics-text") {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }

    /// For the answer's Content-Type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// How long batches and their steps took, since the start of the process.
#[derive(Clone, Debug)]
pub(crate) struct Durations {
    batch: Histogram,
    phases: [Histogram; 5],
}

impl Default for Durations {
    fn default() -> Self {
        // 5 ms to 164 s.
        let histogram = || Histogram::new(exponential_buckets(0.005, 2.0, 16));
        Self { batch: histogram(), phases: std::array::from_fn(|_| histogram()) }
    }
}

impl Durations {
    pub(crate) fn push(&self, batch: &BatchProgress) {
        // A batch that the checkpoint tells of has none.
        if batch.steps_ms.is_empty() {
            return;
        }
        let seconds = |ms: u64| ms as f64 / 1000.0;
        self.batch.observe(seconds(batch.duration_ms()));
        for (phase, (_, step)) in self.phases.iter().zip(PHASES) {
            let ms = batch.steps_ms.iter().filter(|(name, _)| *name == step).map(|(_, ms)| ms).sum();
            phase.observe(seconds(ms));
        }
    }
}

/// The text of a scrape: of the engine, and of whatever else counts.
///
/// # Errors
/// Never: writing to a text can't fail.
pub fn scrape(
    telemetry: &Arc<Telemetry>,
    others: impl IntoIterator<Item = Box<dyn Collector>>,
    format: Format,
) -> Result<String, FmtError> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(Arc::clone(telemetry))));
    for other in others {
        registry.register_collector(other);
    }
    let mut text = String::new();
    match format {
        Format::Prometheus => prometheus_client::encoding::prometheus_text::encode(&mut text, &registry)?,
        Format::OpenMetrics => prometheus_client::encoding::text::encode(&mut text, &registry)?,
    }
    Ok(text)
}

#[derive(Debug)]
struct Scrape(Arc<Telemetry>);

type Labels = Vec<(&'static str, String)>;

/// Writes one metric after the other.
pub(crate) struct Writer<'a>(pub(crate) DescriptorEncoder<'a>);

impl Writer<'_> {
    pub(crate) fn counters(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels, u64)>,
    ) -> Result<(), FmtError> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        series.into_iter().try_for_each(|(labels, value)| {
            with(&mut metric, &labels, |encoder| encoder.encode_counter::<NoLabelSet, u64, f64>(&value, None))
        })
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels, f64)>,
    ) -> Result<(), FmtError> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        series.into_iter().try_for_each(|(labels, value)| {
            with(&mut metric, &labels, |encoder| encoder.encode_gauge(&value))
        })
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Into<Option<f64>>) -> Result<(), FmtError> {
        match value.into() {
            Some(value) => self.gauges(name, help, [(Labels::new(), value)]),
            None => Ok(()),
        }
    }
}

fn with(
    metric: &mut MetricEncoder<'_>,
    labels: &Labels,
    encode: impl FnOnce(&mut MetricEncoder<'_>) -> Result<(), FmtError>,
) -> Result<(), FmtError> {
    match labels.is_empty() {
        true => encode(metric),
        false => encode(&mut metric.encode_family(labels)?),
    }
}

pub(crate) fn label(name: &'static str, value: impl ToString) -> Labels {
    vec![(name, value.to_string())]
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), FmtError> {
        let mut writer = Writer(encoder);
        let last = self.0.history(|history| history.last().cloned());
        self.engine(&mut writer)?;
        if let Some(batch) = &last {
            counts(&mut writer, batch)?;
            watermark(&mut writer, batch)?;
            state(&mut writer, batch)?;
        }
        self.durations(&mut writer)?;
        writer.gauge(
            "ecomm_batch_recovery_duration_seconds",
            "How long the engine took to open its checkpoint at this start",
            self.0.recovery().map(|took| took.as_secs_f64()),
        )?;
        self.lag(&mut writer)?;
        process(&mut writer)
    }
}

impl Scrape {
    fn engine(&self, writer: &mut Writer<'_>) -> Result<(), FmtError> {
        let telemetry = &self.0;
        let (now, health) = (telemetry.now.get(), telemetry.health());
        writer.gauges(
            "ecomm_batch_build_info",
            "The version of ecomm-batch",
            [(label("version", env!("CARGO_PKG_VERSION")), 1.0)],
        )?;
        let program = &telemetry.about.program;
        let mut query = label("view", &program.view.name);
        query.push(("sql", program.hash.chars().take(8).collect()));
        writer.gauges("ecomm_batch_query_info", "The program that runs", [(query, 1.0)])?;
        writer.gauge(
            "ecomm_batch_state_code",
            "How the engine does: 0 starting, 1 idle, 2 keeping up, 3 behind, 4 waiting, 5 stuck, 6 stopped",
            crate::observe::health::State::ALL
                .iter()
                .position(|state| *state == health.state)
                .map(|code| code as f64),
        )?;
        let interval = match telemetry.about.trigger {
            Trigger::ProcessingTime(interval) => interval.as_secs_f64(),
            Trigger::AvailableNow | Trigger::Once => 0.0,
        };
        writer.gauge("ecomm_batch_trigger_interval_seconds", "The interval of the trigger", interval)?;
        let running = now.batch_since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        writer.gauge(
            "ecomm_batch_batch_running_seconds",
            "For how long the batch under way has run; 0 between batches",
            running,
        )?;
        writer.gauges(
            "ecomm_batch_waiting_seconds",
            "For how long a service that does not answer has been waited for; 0 if it answers",
            Service::ALL.map(|service| {
                let waiting = now.waiting.as_ref().filter(|waiting| waiting.service == service);
                let seconds = waiting.map_or(0.0, |waiting| waiting.since.elapsed().as_secs_f64());
                (label("service", service.name()), seconds)
            }),
        )?;
        writer.counters(
            "ecomm_batch_retries",
            "How often a service was asked again",
            Service::ALL.map(|service| (label("service", service.name()), now.retries[service as usize])),
        )?;
        writer.gauge(
            "ecomm_batch_stopped",
            "1 once the engine has stopped while its process is there",
            if matches!(now.step, Step::Stopped(_) | Step::Absent) { 1.0 } else { 0.0 },
        )
    }

    fn durations(&self, writer: &mut Writer<'_>) -> Result<(), FmtError> {
        let durations = self.0.durations();
        let metric = writer.0.encode_descriptor(
            "ecomm_batch_batch_duration_seconds",
            "How long batches took",
            None,
            MetricType::Histogram,
        )?;
        durations.batch.encode(metric)?;
        let mut metric = writer.0.encode_descriptor(
            "ecomm_batch_batch_phase_duration_seconds",
            "How long each step of the batches took",
            None,
            MetricType::Histogram,
        )?;
        for (histogram, (phase, _)) in durations.phases.iter().zip(PHASES) {
            histogram.encode(metric.encode_family(&label("phase", phase))?)?;
        }
        Ok(())
    }

    fn lag(&self, writer: &mut Writer<'_>) -> Result<(), FmtError> {
        let (lag, next) = (self.0.lag(), self.0.next_offsets());
        let partitions = |value: &dyn Fn(&crate::batch::offset::TopicPartition) -> Option<f64>| {
            let series = lag.extents.keys().filter_map(|tp| {
                Some((
                    vec![("topic", tp.topic.to_string()), ("partition", tp.partition.to_string())],
                    value(tp)?,
                ))
            });
            series.collect::<Vec<_>>()
        };
        writer.gauges(
            "ecomm_batch_consumer_lag_offsets",
            "Offsets of a partition that are not read yet",
            partitions(&|tp| Some(Lag::of(lag.extents[tp], next.get(tp).copied()) as f64)),
        )?;
        writer.gauges(
            "ecomm_batch_partition_end_offset",
            "The last stable offset of a partition",
            partitions(&|tp| Some(lag.extents[tp].latest as f64)),
        )?;
        writer.gauges(
            "ecomm_batch_partition_next_offset",
            "The offset of a partition that is read next",
            partitions(&|tp| next.get(tp).map(|&offset| offset as f64)),
        )?;
        writer.gauge(
            "ecomm_batch_extents_timestamp_seconds",
            "When the ends of the partitions were last seen",
            lag.at_ms.map(seconds),
        )
    }
}

fn counts(writer: &mut Writer<'_>, batch: &BatchProgress) -> Result<(), FmtError> {
    let (total, tally): (&Counts, _) = (&batch.total, &batch.total_tally);
    writer.counters(
        "ecomm_batch_input_rows",
        "Records read",
        tally.topics.iter().map(|(topic, &count)| (label("topic", topic), count)),
    )?;
    writer.counters(
        "ecomm_batch_record_fates",
        "What became of the records; with those that wait they are all that were read",
        [
            ("joined", total.joined),
            ("unmatched", total.unmatched),
            ("filtered", total.filtered),
            ("tombstone", total.tombstones),
            ("malformed", total.malformed),
            ("late", total.late),
            ("duplicate", total.duplicate),
            ("future", total.future),
        ]
        .map(|(fate, count)| (label("fate", fate), count)),
    )?;
    writer.counters(
        "ecomm_batch_pairs",
        "Pairs by the verdict of the rules",
        [("valid", total.valid), ("rejected", total.rejected)]
            .map(|(verdict, count)| (label("verdict", verdict), count)),
    )?;
    let of_severity = tally.rules.iter().flat_map(|(rule, count)| {
        [("reject", count.reject), ("warn", count.warn)]
            .map(|(severity, count)| (vec![("rule", rule.clone()), ("severity", severity.to_owned())], count))
    });
    writer.counters(
        "ecomm_batch_rule_violations",
        "Pairs that a rule found fault with; one pair can violate several",
        of_severity,
    )?;
    writer.counters(
        "ecomm_batch_output_rows",
        "Rows that went to an output",
        tally.outputs.iter().map(|(output, &count)| (label("output", output), count)),
    )?;
    writer.counters(
        "ecomm_batch_dead_letters",
        "Dead letters by reason",
        // Of tombstones there may be letters or not: they are among the fates.
        Reason::ALL
            .into_iter()
            .filter(|reason| *reason != Reason::Tombstone)
            .map(|reason| (label("reason", reason), reason.count(total))),
    )?;
    writer.counters(
        "ecomm_batch_lost_offsets",
        "Offsets that were gone before they were read",
        [(Labels::new(), total.lost)],
    )?;
    writer.counters("ecomm_batch_batches", "Batches committed", [(Labels::new(), batch.batch_id.0 + 1)])
}

fn watermark(writer: &mut Writer<'_>, batch: &BatchProgress) -> Result<(), FmtError> {
    writer.gauge(
        "ecomm_batch_last_commit_timestamp_seconds",
        "When the last batch was committed",
        seconds(batch.time_ms + batch.duration_ms() as i64),
    )?;
    writer.gauge(
        "ecomm_batch_watermark_timestamp_seconds",
        "The watermark, in event time",
        batch.watermark.map(|watermark| seconds(to_ms(watermark))),
    )?;
    let of_partition = batch.clocks.iter().filter_map(|(tp, clock)| {
        let labels = vec![("topic", tp.topic.to_string()), ("partition", tp.partition.to_string())];
        Some((labels, seconds(to_ms(clock.max_event_time?))))
    });
    writer.gauges(
        "ecomm_batch_partition_event_timestamp_seconds",
        "The highest event time of a partition",
        of_partition,
    )?;
    let (reason, topic, partition) = match &batch.held_by {
        HeldBy::Slowest(tp, _) => ("slowest", tp.topic.to_string(), tp.partition.to_string()),
        HeldBy::Unread(tp) => ("unread", tp.topic.to_string(), tp.partition.to_string()),
        HeldBy::NoData(topic) => ("no_data", topic.clone(), String::new()),
        HeldBy::Silent(silence) => ("silent", silence.topic.clone(), String::new()),
        HeldBy::AllIdle => ("all_idle", String::new(), String::new()),
    };
    writer.gauges(
        "ecomm_batch_watermark_held",
        "1 for what decides where the watermark is",
        [(vec![("topic", topic), ("partition", partition), ("reason", reason.to_owned())], 1.0)],
    )
}

/// Name, help and value of a gauge of a side.
type Gauge = (&'static str, &'static str, fn(&StateProgress) -> Option<u64>);

fn state(writer: &mut Writer<'_>, batch: &BatchProgress) -> Result<(), FmtError> {
    let gauges: [Gauge; 4] = [
        ("ecomm_batch_state_rows", "Rows that can still match", |side| Some(side.rows)),
        ("ecomm_batch_state_waiting_rows", "Rows that wait for a first partner", |side| side.waiting),
        ("ecomm_batch_state_keys", "PRIMARY KEY values that are remembered", |side| Some(side.keys)),
        ("ecomm_batch_state_bytes", "Memory of the rows", |side| Some(side.bytes)),
    ];
    for (name, help, value) in gauges {
        let series =
            batch.state.iter().filter_map(|side| Some((label("source", &side.source), value(side)? as f64)));
        writer.gauges(name, help, series)?;
    }
    writer.gauge(
        "ecomm_batch_checkpoint_bytes",
        "Bytes of the state's files in the checkpoint",
        batch.checkpoint_bytes as f64,
    )
}

/// What Prometheus' clients say of a process, from /proc; nothing where that is not there.
fn process(writer: &mut Writer<'_>) -> Result<(), FmtError> {
    let Some(process) = Process::read() else { return Ok(()) };
    let mut metric = writer.0.encode_descriptor(
        "process_cpu_seconds",
        "Total user and system CPU time spent in seconds",
        None,
        MetricType::Counter,
    )?;
    metric.encode_counter::<NoLabelSet, f64, f64>(&process.cpu_seconds, None)?;
    writer.gauge("process_resident_memory_bytes", "Resident memory size in bytes", process.resident_bytes)?;
    writer.gauge("process_open_fds", "Number of open file descriptors", process.open_files)?;
    writer.gauge(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds",
        process.start_seconds,
    )
}

struct Process {
    cpu_seconds: f64,
    resident_bytes: f64,
    open_files: f64,
    start_seconds: f64,
}

impl Process {
    fn read() -> Option<Self> {
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program, in brackets, may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let boot = std::fs::read_to_string("/proc/stat").ok()?;
        let boot_seconds =
            boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<f64>().ok()?;
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / ticks,
            resident_bytes: field(24)? * rustix::param::page_size() as f64,
            open_files: std::fs::read_dir("/proc/self/fd").ok()?.count() as f64,
            start_seconds: boot_seconds + field(22)? / ticks,
        })
    }
}
