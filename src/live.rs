//! The line at the bottom of a terminal that says how the run goes.

use std::io::Write;
use std::sync::OnceLock;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock::{Nanos, rfc3339};
use crate::progress::BatchProgress;

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
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
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
