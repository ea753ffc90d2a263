//! The lines at the bottom of a terminal that say how the run goes.

use std::io::Write;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use crate::clock::{Nanos, rfc3339};
use crate::observe::Telemetry;
use crate::observe::health::{Severity, age, number};
use crate::observe::history::FINE;
use crate::observe::progress::to_ms;

/// Columns at the right that a line leaves free: an echoed `^C` stays on it, and goes with it.
const FREE_COLUMNS: u16 = 4;

/// Draws in a second.
const DRAWS: u8 = 20;

/// How often the lines are drawn without a batch.
const REFRESH: Duration = Duration::from_millis(500);

/// Lines at most.
const MAX_LINES: usize = 4;

/// Pieces of five seconds whose rates are drawn.
const SPARKS: i64 = 12;

/// The line of this process, so that log lines are written above it.
static LINE: OnceLock<ProgressBar> = OnceLock::new();

/// Where log lines go: to stderr, above the live line if there is one.
#[derive(Debug)]
pub struct AboveLine;

impl Write for AboveLine {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let write = || std::io::stderr().write(line);
        LINE.get().map_or_else(write, |bar| bar.suspend(write))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// What is shown of a run on a terminal or a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerminalForm {
    /// Lines that are drawn over, on a terminal; the log has a line for each batch.
    Lines,
    /// Warnings and errors alone.
    Quiet,
    /// Each batch's progress on stdout, as JSON.
    Json,
}

impl TerminalForm {
    /// From the flags.
    pub fn new(is_quiet: bool, is_json: bool) -> Self {
        match (is_quiet, is_json) {
            (_, true) => Self::Json,
            (true, false) => Self::Quiet,
            (false, false) => Self::Lines,
        }
    }
}

/// Four lines that are drawn over; on anything but a terminal they show nothing.
#[derive(Clone, Debug)]
pub struct LiveLines {
    bar: ProgressBar,
    telemetry: Arc<Telemetry>,
    console: Option<String>,
}

impl LiveLines {
    /// Empty lines on stderr, unless another form is asked for.
    pub fn new(form: TerminalForm, telemetry: Arc<Telemetry>, console: Option<String>) -> Self {
        let target = if form == TerminalForm::Lines { on_terminal() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self { bar: LINE.get_or_init(|| bar).clone(), telemetry, console }
    }

    /// Draws them anew, again and again; for a task beside the engine.
    pub async fn refresh(self) {
        if self.bar.is_hidden() {
            return;
        }
        let mut ticks = tokio::time::interval(REFRESH);
        loop {
            ticks.tick().await;
            self.show();
        }
    }

    /// Shows what is known now.
    pub fn show(&self) {
        if !self.bar.is_hidden() {
            let columns = usize::from(Term::stderr().size().1.saturating_sub(FREE_COLUMNS)).max(20);
            let lines = lines(&self.telemetry, self.console.as_deref());
            let cut: Vec<String> = lines.iter().map(|line| line.chars().take(columns).collect()).collect();
            self.bar.set_message(cut.join("\n"));
            self.bar.tick();
        }
    }

    /// Takes the lines away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// The lines: how it does, how fast, where all records are, what rules reject.
fn lines(telemetry: &Telemetry, console: Option<&str>) -> Vec<String> {
    let (health, now) = (telemetry.health(), telemetry.now.get());
    let mark = match health.severity() {
        Severity::Ok => "✓",
        Severity::Look => "!",
        Severity::Wrong => "✕",
    };
    let (last, median, p95) = telemetry
        .history(|history| (history.last().cloned(), history.median_ms(), history.percentile_ms(95)));
    let mut first = format!("{mark} {}  batch {}", health.state.name(), now.batch);
    if now.step.is_of_batch() {
        first.push_str(&format!(" {} {}", now.step.name(), age(now.since.elapsed().as_millis() as u64)));
    }
    let lag = telemetry.lag();
    if lag.at_ms.is_some() {
        first.push_str(&format!("  lag {}", number(lag.total(&telemetry.next_offsets()))));
    }
    if let (Some(median), Some(p95)) = (median, p95) {
        first.push_str(&format!("  p50 {} p95 {}", age(median), age(p95)));
    }
    if let Some(console) = console {
        first.push_str(&format!("  {console}"));
    }
    let mut lines = vec![first];
    if let Some(finding) = health.findings.iter().find(|finding| finding.severity > Severity::Ok) {
        lines.push(finding.sentence.clone());
    }
    let Some(last) = last else { return lines };
    let rates = rates(telemetry);
    let watermark = last.watermark.map_or_else(
        || "no watermark yet".to_owned(),
        |watermark| {
            let behind = (telemetry.now_ms() - to_ms(watermark)).max(0) as u64;
            format!("watermark {}, {} behind", clock_time(watermark), age(behind))
        },
    );
    lines.push(format!(
        "in {}/s {}  {watermark}",
        number(rates.last().copied().unwrap_or(0)),
        sparks(&rates)
    ));
    let total = &last.total;
    lines.push(format!(
        "{} in = {} joined + {} alone + {} waiting + {} dead + {} filtered",
        number(total.records),
        number(total.joined),
        number(total.unmatched),
        number(last.waiting()),
        number(total.dead()),
        number(total.filtered + total.tombstones),
    ));
    let mut rules: Vec<(&String, u64)> = last
        .total_tally
        .rules
        .iter()
        .map(|(name, count)| (name, count.reject))
        .filter(|(_, n)| *n > 0)
        .collect();
    rules.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    if !rules.is_empty() {
        let rules: Vec<String> =
            rules.iter().map(|(name, count)| format!("{name} {}", number(*count))).collect();
        lines.push(format!("{} rejected: {}", number(total.rejected), rules.join(" · ")));
    }
    lines.truncate(MAX_LINES);
    lines
}

/// Records a second in each of the last pieces of five seconds, the oldest first.
fn rates(telemetry: &Telemetry) -> Vec<u64> {
    let now_ms = telemetry.now_ms();
    let span = (now_ms - SPARKS * FINE.width_ms, now_ms);
    let counts = telemetry.history(|history| history.filled(FINE, span, |bucket| bucket.counts.records));
    counts.into_iter().map(|(_, count)| count * 1000 / FINE.width_ms as u64).collect()
}

fn sparks(values: &[u64]) -> String {
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    values.iter().filter_map(|value| "▁▂▃▄▅▆▇█".chars().nth((value * 7 / most) as usize)).collect()
}

/// The time of day; the date is in the log.
fn clock_time(nanos: Nanos) -> String {
    rfc3339(nanos).chars().skip("2026-01-05T".len()).take("10:00:00".len()).chain(['Z']).collect()
}

/// Where lines are drawn over: stderr, if it is a terminal.
pub(crate) fn on_terminal() -> ProgressDrawTarget {
    let terminal = Term::buffered_stderr();
    match terminal.is_term() {
        true => ProgressDrawTarget::term_like_with_hz(Box::new(Narrow(terminal)), DRAWS),
        false => ProgressDrawTarget::hidden(),
    }
}

/// A terminal of which a line does not take the last columns.
#[derive(Debug)]
struct Narrow(Term);

impl TermLike for Narrow {
    fn width(&self) -> u16 {
        self.0.size().1.saturating_sub(FREE_COLUMNS)
    }

    fn height(&self) -> u16 {
        self.0.size().0
    }

    fn move_cursor_up(&self, lines: usize) -> std::io::Result<()> {
        self.0.move_cursor_up(lines)
    }

    fn move_cursor_down(&self, lines: usize) -> std::io::Result<()> {
        self.0.move_cursor_down(lines)
    }

    fn move_cursor_right(&self, columns: usize) -> std::io::Result<()> {
        self.0.move_cursor_right(columns)
    }

    fn move_cursor_left(&self, columns: usize) -> std::io::Result<()> {
        self.0.move_cursor_left(columns)
    }

    fn write_line(&self, text: &str) -> std::io::Result<()> {
        self.0.write_line(text)
    }

    fn write_str(&self, text: &str) -> std::io::Result<()> {
        self.0.write_str(text)
    }

    fn clear_line(&self) -> std::io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> std::io::Result<()> {
        self.0.flush()
    }
}
