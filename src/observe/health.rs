//! One judgement of how the engine does, in sentences. The console's banner, `/readyz`, `/api/status`, the
//! terminal's first word and the texts of the alerts are views of it.
//!
//! A pure function: the same facts give the same findings, so that what people are told is tested as a table.

use std::time::Duration;

use crate::batch::offset::TopicPartition;
use crate::batch::watermark::HeldBy;
use crate::clock::rfc3339_ms;
use crate::duration;
use crate::now::{Service, Step};
use crate::observe::history::Bucket;

/// A wait that is worth a word.
const WAIT_MS: u64 = 1_000;

/// Work for longer than this is being behind.
const BEHIND_SECONDS: f64 = 120.0;

/// Without a commit for so long, beside three triggers, a backlog is stuck.
const STUCK_MS: i64 = 60_000;

/// A watermark that stands for so long while records come is held.
const HELD_MS: i64 = 120_000;

/// A share of rejected, malformed or late records that is worth a word.
const SHARE: f64 = 0.01;

/// How many times a share must be what it was before.
const TIMES: f64 = 3.0;

/// Fewer are no trend.
const ENOUGH: u64 = 20;

/// Memory of state below which its growth is no concern.
const SMALL_STATE: u64 = 256 << 20;

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It is as it should be.
    Ok,
    /// A person should look.
    Look,
    /// Something is wrong.
    Wrong,
}

impl Severity {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Look => "look",
            Self::Wrong => "wrong",
        }
    }
}

/// How the engine does, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The checkpoint is being loaded.
    Starting,
    /// Nothing is to be done.
    Idle,
    /// The backlog is small.
    KeepingUp,
    /// The backlog takes longer than two minutes.
    Behind,
    /// A service is away.
    Waiting,
    /// There is a backlog, and no batch comes to its end.
    Stuck,
    /// The engine is no more.
    Stopped,
}

impl State {
    /// All of them; a dashboard maps the numbers of their order.
    pub const ALL: [Self; 7] = [
        Self::Starting,
        Self::Idle,
        Self::KeepingUp,
        Self::Behind,
        Self::Waiting,
        Self::Stuck,
        Self::Stopped,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Idle => "idle",
            Self::KeepingUp => "keeping up",
            Self::Behind => "behind",
            Self::Waiting => "waiting",
            Self::Stuck => "stuck",
            Self::Stopped => "stopped",
        }
    }

    /// Whether work is done as it comes: what `/readyz` says.
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Idle | Self::KeepingUp)
    }
}

/// One thing that a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How serious it is.
    pub severity: Severity,
    /// Names its kind, for machines.
    pub kind: &'static str,
    /// For people, one sentence or two.
    pub sentence: String,
    /// The page of the console that shows more.
    pub page: &'static str,
}

/// The judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// In one word.
    pub state: State,
    /// The state as a sentence, then what else there is, the most serious first.
    pub findings: Vec<Finding>,
}

impl Health {
    /// The most serious of the findings.
    pub fn severity(&self) -> Severity {
        self.findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok)
    }

    /// The state as a sentence.
    pub fn sentence(&self) -> &str {
        self.findings.first().map_or("", |finding| &finding.sentence)
    }
}

/// A wait for a service.
#[derive(Clone, Debug)]
pub struct Wait {
    /// Which.
    pub service: Service,
    /// For how long.
    pub for_ms: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// What came of the last try.
    pub error: String,
}

/// A partition that may be behind others in event time.
#[derive(Clone, Debug)]
pub struct Held {
    /// Who holds the watermark, and why.
    pub by: HeldBy,
    /// The highest event time of any other partition, in milliseconds.
    pub others_ms: Option<i64>,
    /// For how long the watermark has stood.
    pub for_ms: i64,
    /// After how long without records the holder no longer counts.
    pub idle_timeout: Option<Duration>,
    /// The time of the holder's last record, in milliseconds.
    pub last_record_ms: Option<i64>,
}

/// A partition that brings nothing while its topic goes on.
#[derive(Clone, Debug)]
pub struct Silent {
    /// Which.
    pub partition: TopicPartition,
    /// For how long.
    pub for_ms: i64,
}

/// What the judgement is made of.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The time, in milliseconds.
    pub now_ms: i64,
    /// What the engine does.
    pub step: Step,
    /// For how long.
    pub step_ms: u64,
    /// The batch under way, or the next.
    pub batch: u64,
    /// For how long the batch has been under way.
    pub batch_ms: Option<u64>,
    /// The service that is waited for.
    pub wait: Option<Wait>,
    /// The interval of the trigger.
    pub trigger: Duration,
    /// When the last batch was committed, in milliseconds.
    pub committed_ms: Option<i64>,
    /// Half of the last batches took less.
    pub median_ms: Option<u64>,
    /// Offsets that are not read yet; unknown while the broker can't be asked.
    pub lag: Option<u64>,
    /// By how many offsets a second that rises.
    pub slope: Option<f64>,
    /// Since when the lag can't be measured, and why.
    pub lag_failed: Option<(i64, String)>,
    /// The last ten minutes.
    pub recent: Bucket,
    /// The seconds of `recent` in which the engine was there.
    pub recent_seconds: f64,
    /// The day before that, as far as it is known.
    pub before: Bucket,
    /// The last minute.
    pub minute: Bucket,
    /// The nine minutes before that.
    pub nine_minutes: Bucket,
    /// The last hour.
    pub hour: Bucket,
    /// The state's memory an hour ago, in bytes.
    pub state_bytes_before: Option<u64>,
    /// What holds the watermark.
    pub held: Option<Held>,
    /// The partition that has fallen silent, of several the first that did.
    pub silent: Option<Silent>,
    /// The newest dead letter of a reason, in words: `payments/2@90,417: expected a number`.
    pub newest_letter: Option<String>,
    /// The delay of the watermark, of the source with the longest.
    pub delay: Duration,
    /// How far a record may be dated ahead.
    pub max_ahead: Duration,
}

/// Judges.
pub fn judge(facts: &Facts) -> Health {
    let (state, first) = verdict(facts);
    let mut others: Vec<Finding> = [
        batch_too_long(facts),
        lag_unknown(facts),
        offsets_lost(facts),
        rows_refused(facts),
        watermark_held(facts),
        partition_silent(facts),
        clock_ahead(facts),
        late(facts),
        malformed(facts),
        state_grows(facts),
    ]
    .into_iter()
    .flatten()
    .collect();
    others.extend(rejects_rise(facts));
    others.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let mut findings = vec![first];
    findings.extend(others);
    Health { state, findings }
}

fn verdict(facts: &Facts) -> (State, Finding) {
    let finding = |severity, kind, sentence: String| Finding { severity, kind, sentence, page: "/" };
    let batch = facts.batch;
    if let Step::Stopped(why) = &facts.step {
        let sentence = format!("Stopped {} ago: {why}.", age(facts.step_ms));
        return (State::Stopped, finding(Severity::Wrong, "stopped", sentence));
    }
    if facts.step == Step::Absent {
        let last = facts.committed_ms.map_or_else(
            || "there is none yet".to_owned(),
            |at| format!("the last batch was committed {} ago", age((facts.now_ms - at).max(0) as u64)),
        );
        let sentence = format!("No engine runs in this process. By the checkpoint, {last}.");
        return (State::Stopped, finding(Severity::Look, "absent", sentence));
    }
    if let Some(wait) = facts.wait.as_ref().filter(|wait| wait.for_ms >= WAIT_MS) {
        let severity = if wait.for_ms >= 10_000 { Severity::Wrong } else { Severity::Look };
        let sentence = format!(
            "Waiting for {} since {} ({}, {}): {}.",
            service_in_words(wait.service),
            rfc3339_ms((facts.now_ms - wait.for_ms as i64).div_euclid(1000) * 1000),
            age(wait.for_ms),
            counted(u64::from(wait.attempts), "try", "tries"),
            wait.error.trim_end_matches('.'),
        );
        return (State::Waiting, finding(severity, "waiting", sentence));
    }
    if facts.step == Step::Starting && facts.committed_ms.is_none() {
        let sentence = format!("Starting for {}.", age(facts.step_ms));
        return (State::Starting, finding(Severity::Ok, "starting", sentence));
    }
    let lag = facts.lag.unwrap_or(0);
    let patience = STUCK_MS + 3 * facts.trigger.as_millis() as i64;
    let busy = facts.median_ms.unwrap_or(0) as i64 * 10;
    if let Some(since) = facts.committed_ms.map(|at| facts.now_ms - at)
        && lag > 0
        && since > patience.max(busy)
    {
        let sentence = format!(
            "Stuck: {} are unread, and no batch was committed for {}; batch {batch} is in {}.",
            counted(lag, "record", "records"),
            age(since as u64),
            facts.step.name()
        );
        return (State::Stuck, finding(Severity::Wrong, "stuck", sentence));
    }
    let rate = facts.recent.counts.records as f64 / facts.recent_seconds.max(1.0);
    let work = if rate > 0.0 { lag as f64 / rate } else { 0.0 };
    if work > BEHIND_SECONDS {
        let (severity, trend) = match facts.slope {
            Some(slope) if slope > 0.0 => {
                (Severity::Wrong, format!("and rising by {} a second", number(slope as u64)))
            }
            _ => (Severity::Look, "and falling".to_owned()),
        };
        let sentence = format!(
            "Behind: {} are unread, {trend}; at {} a second that is {} of work.",
            counted(lag, "record", "records"),
            number(rate as u64),
            age((work * 1000.0) as u64)
        );
        return (State::Behind, finding(severity, "behind", sentence));
    }
    let Some(committed) = facts.committed_ms else {
        let sentence = match lag {
            0 => "No batch yet: the topics hold no records. `ecomm-batch produce --rate 500` sends some."
                .to_owned(),
            _ => format!("The first batch is under way: {}.", counted(lag, "record", "records")),
        };
        return (State::Idle, finding(Severity::Ok, "idle", sentence));
    };
    let since = age((facts.now_ms - committed).max(0) as u64);
    match (lag, facts.step.is_of_batch()) {
        (0, false) => {
            let sentence =
                format!("Up to date: everything is read. The last batch was committed {since} ago.");
            (State::Idle, finding(Severity::Ok, "idle", sentence))
        }
        _ => {
            let behind = match rate > 0.0 {
                true => format!(" ({} of work)", age((work * 1000.0) as u64)),
                false => String::new(),
            };
            let sentence = format!(
                "Keeping up: {} behind{behind}. The last batch was committed {since} ago.",
                counted(lag, "record", "records")
            );
            (State::KeepingUp, finding(Severity::Ok, "keeping-up", sentence))
        }
    }
}

fn batch_too_long(facts: &Facts) -> Option<Finding> {
    let median = facts.median_ms?;
    let batch_ms = facts.batch_ms.filter(|&ms| ms > 10_000 && ms > 10 * median.max(1))?;
    Some(Finding {
        severity: Severity::Look,
        kind: "batch-too-long",
        sentence: format!(
            "Batch {} has been under way for {}, in {} for {}; half of the last ones took less than {}.",
            facts.batch,
            age(batch_ms),
            facts.step.name(),
            age(facts.step_ms),
            age(median)
        ),
        page: "/checkpoint",
    })
}

fn lag_unknown(facts: &Facts) -> Option<Finding> {
    let (since, error) = facts.lag_failed.as_ref()?;
    Some(Finding {
        severity: Severity::Look,
        kind: "lag-unknown",
        sentence: format!("How far behind can't be told since {}: {error}.", rfc3339_ms(*since)),
        page: "/topics",
    })
}

fn offsets_lost(facts: &Facts) -> Option<Finding> {
    let lost = facts.hour.counts.lost;
    (lost > 0).then(|| Finding {
        severity: Severity::Wrong,
        kind: "offsets-lost",
        sentence: format!(
            "{} were gone from the broker before they were read, in the last hour: retention is too short, or a topic was made again.",
            counted(lost, "offset", "offsets")
        ),
        page: "/topics",
    })
}

fn rows_refused(facts: &Facts) -> Option<Finding> {
    let counts = &facts.recent.counts;
    let (refused, conflict) = (counts.refused, counts.conflict);
    (refused + conflict > 0).then(|| Finding {
        severity: Severity::Look,
        kind: "rows-refused",
        sentence: format!(
            "{} could not be stored in ten minutes ({refused} refused, {conflict} in conflict with a document that is there): each is a dead letter.",
            counted(refused + conflict, "row", "rows")
        ),
        page: "/outcomes",
    })
}

fn watermark_held(facts: &Facts) -> Option<Finding> {
    let held =
        facts.held.as_ref().filter(|held| held.for_ms >= HELD_MS && facts.recent.counts.records > 0)?;
    let stands = format!("The watermark has stood for {}", age(held.for_ms as u64));
    let why = match &held.by {
        HeldBy::Slowest(tp, max) => {
            let others = held.others_ms.map_or_else(String::new, |others| {
                format!(", another partition has come to {}", rfc3339_ms(others))
            });
            let max = rfc3339_ms(crate::observe::progress::to_ms(*max));
            let ends = match (held.idle_timeout, held.last_record_ms) {
                (Some(timeout), Some(last)) if facts.lag == Some(0) => {
                    let left = last + timeout.as_millis() as i64 - facts.now_ms;
                    match left > 0 {
                        true => format!("; without records it no longer counts in {}", age(left as u64)),
                        false => String::new(),
                    }
                }
                _ => String::new(),
            };
            format!(
                "{tp} has come to {max}{others}: it brings older records, or its producer's clock is slow{ends}"
            )
        }
        HeldBy::Silent(silence) => {
            let ends = match silence.source_idle_timeout {
                Some(timeout) => format!("it goes on without them after {}", duration::format(timeout)),
                None => "'watermark.source_idle_timeout' would let it go on without them".to_owned(),
            };
            format!("{silence}; {ends}")
        }
        other => other.to_string(),
    };
    Some(Finding {
        severity: Severity::Look,
        kind: "watermark-held",
        sentence: format!("{stands}: {why}."),
        page: "/query",
    })
}

fn partition_silent(facts: &Facts) -> Option<Finding> {
    let silent = facts.silent.as_ref()?;
    Some(Finding {
        severity: Severity::Look,
        kind: "partition-silent",
        sentence: format!(
            "{} has brought nothing for {} while its topic goes on: it no longer holds the watermark, and what it brings later may be late.",
            silent.partition,
            age(silent.for_ms as u64)
        ),
        page: "/topics",
    })
}

fn clock_ahead(facts: &Facts) -> Option<Finding> {
    let future = facts.recent.counts.future;
    (future > 0).then(|| Finding {
        severity: Severity::Look,
        kind: "clock-ahead",
        sentence: format!(
            "{} in ten minutes, dated more than {} ahead: the clock of a producer is wrong.",
            counted(future, "record is a dead letter", "records are dead letters"),
            duration::format(facts.max_ahead)
        ),
        page: "/outcomes",
    })
}

fn late(facts: &Facts) -> Option<Finding> {
    let counts = &facts.recent.counts;
    let share = share(counts.late, counts.records);
    if share <= SHARE {
        return None;
    }
    let advice = match facts.recent.lateness.seconds_for(0.99) {
        Some(seconds) => {
            let longer = facts.delay + Duration::from_secs(seconds);
            format!("a watermark.delay of {} would have caught 99 % of them", duration::format(longer))
        }
        None => "they are days below the watermark".to_owned(),
    };
    Some(Finding {
        severity: Severity::Look,
        kind: "late",
        sentence: format!("{} of the records of ten minutes came too late: {advice}.", percent(share)),
        page: "/outcomes",
    })
}

/// A share that has risen: within which time, to what, and what it was before.
struct Jump {
    within: &'static str,
    now: f64,
    /// Nothing if there was nothing before.
    before: Option<f64>,
}

/// Where a share is above `least` and three times what it was: in the last minute beside the nine before it, where
/// there are enough to tell, or in ten minutes beside the day before them. A minute shows it at once, a day shows what
/// rises slowly.
fn jumps(
    facts: &Facts,
    least: f64,
    part_and_whole: impl Fn(&Bucket) -> (u64, u64),
) -> impl Iterator<Item = Jump> {
    let windows =
        [("a minute", &facts.minute, &facts.nine_minutes), ("ten minutes", &facts.recent, &facts.before)];
    windows.into_iter().filter_map(move |(within, now, before)| {
        let ((part, whole), (part_before, whole_before)) = (part_and_whole(now), part_and_whole(before));
        let (now, before) = (share(part, whole), share(part_before, whole_before));
        let has_risen = part >= ENOUGH && now > least && now >= TIMES * before;
        has_risen.then_some(Jump { within, now, before: (whole_before > 0).then_some(before) })
    })
}

fn malformed(facts: &Facts) -> Option<Finding> {
    let jump = jumps(facts, SHARE, |bucket| (bucket.counts.malformed, bucket.counts.records)).next()?;
    let before = jump.before.map_or_else(String::new, |before| format!(", {} before", percent(before)));
    let newest =
        facts.newest_letter.as_ref().map_or_else(String::new, |newest| format!(" The last: {newest}."));
    Some(Finding {
        severity: Severity::Look,
        kind: "malformed",
        sentence: format!(
            "{} of the records of {} are malformed{before}.{newest}",
            percent(jump.now),
            jump.within,
        ),
        page: "/outcomes",
    })
}

fn rejects_rise(facts: &Facts) -> Vec<Finding> {
    let rules = facts.recent.tally.rules.keys();
    let rises = rules.filter_map(|rule| {
        let mut jumps = jumps(facts, 2.0 * SHARE, |bucket| {
            let tally = bucket.tally.rules.get(rule).copied().unwrap_or_default();
            (tally.reject, bucket.counts.valid + bucket.counts.rejected)
        });
        // What a rule rejects from the start on is what it is for.
        let (jump, before) = jumps.find_map(|jump| jump.before.map(|before| (jump, before)))?;
        Some(Finding {
            severity: Severity::Look,
            kind: "rejects-rise",
            sentence: format!(
                "The rule {rule} rejects {} of the pairs of {}, {} before.",
                percent(jump.now),
                jump.within,
                percent(before)
            ),
            page: "/rules",
        })
    });
    rises.collect()
}

fn state_grows(facts: &Facts) -> Option<Finding> {
    let before = facts.state_bytes_before?;
    let now = facts.recent.state_bytes;
    (now > SMALL_STATE && now > before + before / 2).then(|| Finding {
        severity: Severity::Look,
        kind: "state-grows",
        sentence: format!(
            "State has grown from {} to {} in an hour: {}.",
            bytes(before),
            bytes(now),
            match facts.held.as_ref().filter(|held| held.for_ms >= HELD_MS) {
                Some(_) => "the watermark stands, so no row leaves",
                None => "more rows come than leave",
            }
        ),
        page: "/query",
    })
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn service_in_words(service: Service) -> &'static str {
    match service {
        Service::Broker => "Kafka",
        Service::Sink => "MongoDB",
        Service::Checkpoint => "the checkpoint's store",
    }
}

/// `1 record`, `2,450 records`.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

/// With commas.
pub fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `0.9 %`; what happened is never nothing.
pub fn percent(share: f64) -> String {
    match share {
        0.0 => "0 %".to_owned(),
        share if share < 0.001 => "< 0.1 %".to_owned(),
        share => format!("{:.1} %", share * 100.0),
    }
}

/// `340 ms`, `1.24 s`, `9 min 58 s`, `3 h 4 min`, `2 d 3 h`.
pub fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{:.2} s", ms as f64 / 1000.0),
        10_000..60_000 => format!("{seconds} s"),
        60_000..3_600_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600_000..86_400_000 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// `512 B`, `9.1 MiB`.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::counts::{Counts, RuleTally};
    use crate::batch::watermark::Silence;
    use crate::observe::progress::Lateness;

    const NOW_MS: i64 = 1_767_609_362_000; // 2026-01-05T10:36:02Z

    const UP_TO_DATE: &str = "Up to date: everything is read. The last batch was committed 600 ms ago.";

    /// A quiet engine that read 60,000 records in the last ten minutes.
    fn quiet() -> Facts {
        let bucket = |records, rejected| {
            let counts = Counts { records, valid: records / 2 - rejected, rejected, ..Counts::default() };
            let mut bucket = Bucket { counts, batches: 10, ..Bucket::default() };
            bucket.tally.rules.insert("amount_matches".to_owned(), RuleTally { reject: rejected, warn: 0 });
            bucket
        };
        Facts {
            now_ms: NOW_MS,
            step: Step::Idle,
            step_ms: 600,
            batch: 413,
            batch_ms: None,
            wait: None,
            trigger: Duration::from_secs(5),
            committed_ms: Some(NOW_MS - 600),
            median_ms: Some(110),
            lag: Some(0),
            slope: Some(0.0),
            lag_failed: None,
            recent: bucket(60_000, 300),
            recent_seconds: 600.0,
            before: bucket(1_000_000, 5_000),
            minute: bucket(6_000, 30),
            nine_minutes: bucket(54_000, 270),
            hour: bucket(360_000, 1_800),
            state_bytes_before: Some(10 << 20),
            held: None,
            silent: None,
            newest_letter: Some("payments/2@90,417: \"amount\": expected a number".to_owned()),
            delay: Duration::from_secs(600),
            max_ahead: Duration::from_secs(3600),
        }
    }

    fn held(by: HeldBy) -> Option<Held> {
        Some(Held {
            by,
            others_ms: Some(NOW_MS),
            for_ms: 240_000,
            idle_timeout: Some(Duration::from_secs(60)),
            last_record_ms: Some(NOW_MS - 40_000),
        })
    }

    fn wait(for_ms: u64) -> Option<Wait> {
        let error = "could not write \"validated_orders\": no primary".to_owned();
        Some(Wait { service: Service::Sink, for_ms, attempts: 7, error })
    }

    /// The change of a quiet engine, the state that it leads to, and the findings with their severity.
    type Case = (fn(&mut Facts), State, &'static [(Severity, &'static str)]);

    #[test]
    fn findings_are_sentences() {
        use Severity::{Look, Ok, Wrong};
        let cases: &[Case] = &[
            (|_| {}, State::Idle, &[(Ok, UP_TO_DATE)]),
            (
                |facts| facts.lag = Some(312),
                State::KeepingUp,
                &[(
                    Ok,
                    "Keeping up: 312 records behind (3.12 s of work). The last batch was committed 600 ms ago.",
                )],
            ),
            (
                |facts| (facts.step, facts.committed_ms) = (Step::Starting, None),
                State::Starting,
                &[(Ok, "Starting for 600 ms.")],
            ),
            (
                |facts| (facts.committed_ms, facts.recent) = (None, Bucket::default()),
                State::Idle,
                &[(
                    Ok,
                    "No batch yet: the topics hold no records. `ecomm-batch produce --rate 500` sends some.",
                )],
            ),
            (
                |facts| {
                    let partition = TopicPartition::new("payments", 2);
                    facts.silent = Some(Silent { partition, for_ms: 192_000 });
                },
                State::Idle,
                &[
                    (Ok, UP_TO_DATE),
                    (
                        Look,
                        "payments/2 has brought nothing for 3 min 12 s while its topic goes on: it no longer holds the watermark, and what it brings later may be late.",
                    ),
                ],
            ),
            (
                |facts| facts.step = Step::Absent,
                State::Stopped,
                &[(
                    Look,
                    "No engine runs in this process. By the checkpoint, the last batch was committed 600 ms ago.",
                )],
            ),
            (
                |facts| facts.step = Step::Stopped("exit 5: another engine has taken over".to_owned()),
                State::Stopped,
                &[(Wrong, "Stopped 600 ms ago: exit 5: another engine has taken over.")],
            ),
            (|facts| facts.wait = wait(900), State::Idle, &[(Ok, UP_TO_DATE)]),
            (
                |facts| facts.wait = wait(9_000),
                State::Waiting,
                &[(
                    Look,
                    "Waiting for MongoDB since 2026-01-05T10:35:53Z (9.00 s, 7 tries): could not write \"validated_orders\": no primary.",
                )],
            ),
            (
                |facts| facts.wait = wait(58_000),
                State::Waiting,
                &[(
                    Wrong,
                    "Waiting for MongoDB since 2026-01-05T10:35:04Z (58 s, 7 tries): could not write \"validated_orders\": no primary.",
                )],
            ),
            (
                |facts| {
                    (facts.lag, facts.committed_ms, facts.step) =
                        (Some(4_711), Some(NOW_MS - 76_000), Step::Storing);
                },
                State::Stuck,
                &[(
                    Wrong,
                    "Stuck: 4,711 records are unread, and no batch was committed for 1 min 16 s; batch 413 is in writeSink.",
                )],
            ),
            (
                |facts| (facts.lag, facts.slope) = (Some(72_000), Some(500.0)),
                State::Behind,
                &[(
                    Wrong,
                    "Behind: 72,000 records are unread, and rising by 500 a second; at 100 a second that is 12 min 0 s of work.",
                )],
            ),
            (
                |facts| (facts.lag, facts.slope) = (Some(72_000), Some(-50.0)),
                State::Behind,
                &[(
                    Look,
                    "Behind: 72,000 records are unread, and falling; at 100 a second that is 12 min 0 s of work.",
                )],
            ),
            (
                |facts| (facts.batch_ms, facts.step, facts.step_ms) = (Some(48_000), Step::Storing, 47_000),
                State::KeepingUp,
                &[
                    (
                        Ok,
                        "Keeping up: 0 records behind (0 ms of work). The last batch was committed 600 ms ago.",
                    ),
                    (
                        Look,
                        "Batch 413 has been under way for 48 s, in writeSink for 47 s; half of the last ones took less than 110 ms.",
                    ),
                ],
            ),
            (
                |facts| facts.lag_failed = Some((NOW_MS - 20_000, "no broker answers".to_owned())),
                State::Idle,
                &[
                    (Ok, UP_TO_DATE),
                    (Look, "How far behind can't be told since 2026-01-05T10:35:42Z: no broker answers."),
                ],
            ),
            (
                |facts| facts.hour.counts.lost = 3,
                State::Idle,
                &[
                    (Ok, UP_TO_DATE),
                    (
                        Wrong,
                        "3 offsets were gone from the broker before they were read, in the last hour: retention is too short, or a topic was made again.",
                    ),
                ],
            ),
            (
                |facts| (facts.recent.counts.refused, facts.recent.counts.conflict) = (1, 2),
                State::Idle,
                &[
                    (Ok, UP_TO_DATE),
                    (
                        Look,
                        "3 rows could not be stored in ten minutes (1 refused, 2 in conflict with a document that is there): each is a dead letter.",
                    ),
                ],
            ),
            (
                |facts| {
                    facts.held = held(HeldBy::Slowest(
                        TopicPartition::new("orders", 1),
                        (NOW_MS - 300_000) * 1_000_000,
                    ))
                },
                State::Idle,
                &[
                    (Ok, UP_TO_DATE),
                    (
                        Look,
                        "The watermark has stood for 4 min 0 s: orders/1 has come to 2026-01-05T10:31:02Z, another partition has come to 2026-01-05T10:36:02Z: it brings older records, or its producer's clock is slow; without records it no longer counts in 20 s.",
                    ),
                ],
            ),
            (
                |facts| {
                    let topic = "payments".to_owned();
                    facts.held = held(HeldBy::Silent(Silence {
                        topic,
                        since_ms: NOW_MS - 400_000,
                        source_idle_timeout: None,
                    }));
                },
                State::Idle,
                &[
                    (Ok, UP_TO_DATE),
                    (
                        Look,
                        "The watermark has stood for 4 min 0 s: payments has been silent since 2026-01-05T10:29:22Z; 'watermark.source_idle_timeout' would let it go on without them.",
                    ),
                ],
            ),
            (
                |facts| facts.recent.counts.future = 12,
                State::Idle,
                &[
                    (Ok, UP_TO_DATE),
                    (
                        Look,
                        "12 records are dead letters in ten minutes, dated more than 1h ahead: the clock of a producer is wrong.",
                    ),
                ],
            ),
            (
                |facts| {
                    facts.recent.counts.late = 1_200;
                    facts.recent.lateness = Lateness::default();
                    facts.recent.lateness.push(192 * 1_000_000_000);
                },
                State::Idle,
                &[
                    (Ok, UP_TO_DATE),
                    (
                        Look,
                        "2.0 % of the records of ten minutes came too late: a watermark.delay of 14m 16s would have caught 99 % of them.",
                    ),
                ],
            ),
            (
                |facts| (facts.recent.counts.malformed, facts.before.counts.malformed) = (900, 1_000),
                State::Idle,
                &[
                    (Ok, UP_TO_DATE),
                    (
                        Look,
                        "1.5 % of the records of ten minutes are malformed, 0.1 % before. The last: payments/2@90,417: \"amount\": expected a number.",
                    ),
                ],
            ),
            // Not more than three times what it was.
            (
                |facts| (facts.recent.counts.malformed, facts.before.counts.malformed) = (900, 10_000),
                State::Idle,
                &[(Ok, UP_TO_DATE)],
            ),
            (
                |facts| {
                    facts
                        .recent
                        .tally
                        .rules
                        .insert("amount_matches".to_owned(), RuleTally { reject: 15_000, warn: 0 });
                },
                State::Idle,
                &[
                    (Ok, UP_TO_DATE),
                    (
                        Look,
                        "The rule amount_matches rejects 50.0 % of the pairs of ten minutes, 1.0 % before.",
                    ),
                ],
            ),
            // At once, of a process that has no yesterday.
            (
                |facts| {
                    let rule = RuleTally { reject: 600, warn: 0 };
                    facts.minute.tally.rules.insert("amount_matches".to_owned(), rule);
                    facts.before = Bucket::default();
                },
                State::Idle,
                &[
                    (Ok, UP_TO_DATE),
                    (Look, "The rule amount_matches rejects 20.0 % of the pairs of a minute, 1.0 % before."),
                ],
            ),
            // From the start on: a topic full of rubbish is news, a rule that rejects is none.
            (
                |facts| {
                    facts.recent.counts.malformed = 900;
                    facts.recent.tally.rules.insert("late".to_owned(), RuleTally { reject: 15_000, warn: 0 });
                    (facts.before, facts.nine_minutes) = (Bucket::default(), Bucket::default());
                },
                State::Idle,
                &[
                    (Ok, UP_TO_DATE),
                    (
                        Look,
                        "1.5 % of the records of ten minutes are malformed. The last: payments/2@90,417: \"amount\": expected a number.",
                    ),
                ],
            ),
            // Too few to tell.
            (
                |facts| (facts.recent, facts.minute.counts.malformed) = (Bucket::default(), 19),
                State::Idle,
                &[(Ok, UP_TO_DATE)],
            ),
            (
                |facts| (facts.recent.state_bytes, facts.state_bytes_before) = (600 << 20, Some(300 << 20)),
                State::Idle,
                &[
                    (Ok, UP_TO_DATE),
                    (
                        Look,
                        "State has grown from 300.0 MiB to 600.0 MiB in an hour: more rows come than leave.",
                    ),
                ],
            ),
        ];
        for (change, state, expected) in cases {
            let mut facts = quiet();
            change(&mut facts);
            let health = judge(&facts);
            let found: Vec<(Severity, &str)> =
                health.findings.iter().map(|finding| (finding.severity, finding.sentence.as_str())).collect();
            assert_eq!((health.state, found.as_slice()), (*state, *expected));
            assert_eq!(health.severity(), expected.iter().map(|finding| finding.0).max().expect("one"));
        }
    }

    #[test]
    fn numbers_are_written_as_people_write_them() {
        assert_eq!([0, 999, 1_000, 2_450_000].map(number), ["0", "999", "1,000", "2,450,000"]);
        assert_eq!([0.0, 0.0004, 0.0349].map(percent), ["0 %", "< 0.1 %", "3.5 %"]);
        assert_eq!(
            [340, 1_240, 58_000, 598_000, 11_040_000, 183_600_000].map(age),
            ["340 ms", "1.24 s", "58 s", "9 min 58 s", "3 h 4 min", "2 d 3 h"]
        );
        assert_eq!([512, 9_541_000].map(bytes), ["512 B", "9.1 MiB"]);
    }
}
