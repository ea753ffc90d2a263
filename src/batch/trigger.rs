//! When the next batch starts.

use std::str::FromStr;
use std::time::Duration;

use crate::duration;

/// Spark's triggers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A batch every interval, on a fixed grid; a slow batch delays the next, batches never
    /// overlap. Zero: as soon as the one before is done.
    ProcessingTime(Duration),
    /// Everything there is when the run begins, in as many batches as the limit asks for; then stop.
    AvailableNow,
    /// One batch of everything there is; then stop.
    Once,
}

impl FromStr for Trigger {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_lowercase().as_str() {
            "available-now" => Ok(Self::AvailableNow),
            "once" => Ok(Self::Once),
            interval => duration::parse(interval)
                .map(Self::ProcessingTime)
                .map_err(|error| format!("{error}; or available-now or once")),
        }
    }
}
