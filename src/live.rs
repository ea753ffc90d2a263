//! The line at the bottom of a terminal that says how the run goes.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock::rfc3339;
use crate::progress::BatchProgress;

/// A line that is drawn over; on anything but a terminal it shows nothing.
#[derive(Debug)]
pub struct LiveLine(ProgressBar);

impl LiveLine {
    /// An empty line on stderr.
    #[allow(clippy::new_without_default, reason = "making one draws on the terminal")]
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Shows the last batch and the totals.
    pub fn show(&self, progress: &BatchProgress) {
        let total = &progress.total;
        self.0.set_message(format!(
            "batch {} | {} in, {}/s, lag {} | watermark {} | state {} | valid {} rejected {} unmatched {} dead {}",
            progress.batch_id,
            total.records,
            progress.records_per_second(),
            progress.lag,
            progress.watermark.map_or_else(|| "none".to_owned(), rfc3339),
            progress.state_rows,
            total.valid,
            total.rejected,
            total.unmatched,
            total.dead() + total.refused + total.conflict,
        ));
        self.0.tick();
    }

    /// Takes the line away.
    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}
