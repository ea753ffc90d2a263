//! The line at the bottom of a terminal that says how the run goes.

use std::io::Write;
use std::sync::OnceLock;

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use crate::clock::{Nanos, rfc3339};
use crate::progress::BatchProgress;

/// Columns at the right that a line leaves free: an echoed `^C` stays on it, and goes with it.
const FREE_COLUMNS: u16 = 4;

/// Draws in a second.
const DRAWS: u8 = 20;

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

/// A line that is drawn over; on anything but a terminal it shows nothing.
#[derive(Debug)]
pub struct LiveLine(ProgressBar);

impl LiveLine {
    /// An empty line on stderr.
    #[allow(clippy::new_without_default, reason = "making one draws on the terminal")]
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, on_terminal());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            bar.set_style(style);
        }
        Self(LINE.get_or_init(|| bar).clone())
    }

    /// Shows the last batch and the totals.
    pub fn show(&self, progress: &BatchProgress) {
        let total = &progress.total;
        self.0.set_message(format!(
            "batch {} · {} in · lag {} · to {} · {} valid {} rejected {} dead",
            progress.batch_id,
            total.records,
            progress.lag,
            progress.watermark.map_or_else(|| "-".to_owned(), clock_time),
            total.valid,
            total.rejected,
            total.dead() + total.refused + total.conflict,
        ));
        self.0.tick();
    }

    /// Takes the line away.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}

/// The time of day; the date is in the log.
fn clock_time(nanos: Nanos) -> String {
    rfc3339(nanos).chars().skip("2026-01-05T".len()).take("10:00:00".len()).collect()
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
