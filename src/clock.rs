//! The only place that asks what time it is.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::datatypes::TimeUnit;

/// A time as nanoseconds since 1970 UTC, the unit of every event time and watermark in here.
pub type Nanos = i64;

/// Nanoseconds of a millisecond.
pub const NANOS_PER_MS: i64 = 1_000_000;

/// Nanoseconds of a unit.
pub const fn nanos_per(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// Tells the processing time.
pub trait Clock: Send + Sync {
    /// Now, in milliseconds since 1970 UTC, the resolution of a batch time.
    fn now_ms(&self) -> i64;
}

/// The machine's clock.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// A clock that moves only when it is told to; for case files and tests.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `now_ms`.
    pub fn new(now_ms: i64) -> Self {
        Self(AtomicI64::new(now_ms))
    }

    /// Moves it to `now_ms`, back or forth.
    pub fn set(&self, now_ms: i64) {
        self.0.store(now_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// `nanos` as RFC 3339 in UTC, with as many fraction digits as it needs.
pub fn rfc3339(nanos: Nanos) -> String {
    chrono::DateTime::from_timestamp_nanos(nanos).to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

/// `ms` since 1970 as RFC 3339 in UTC.
pub fn rfc3339_ms(ms: i64) -> String {
    rfc3339_wide(i128::from(ms) * i128::from(NANOS_PER_MS))
}

/// As [`rfc3339`], of times beyond the 64 bits of [`Nanos`] too; what no calendar reaches is a number.
pub fn rfc3339_wide(nanos: i128) -> String {
    let (seconds, rest) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    let time = i64::try_from(seconds).ok().and_then(|s| chrono::DateTime::from_timestamp(s, rest as u32));
    match time {
        Some(time) => time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
        None => format!("{} ms since 1970", nanos.div_euclid(i128::from(NANOS_PER_MS))),
    }
}
