//! What the console is asked, and who tries to come in, as metrics.

use std::collections::BTreeMap;
use std::fmt::Error as FmtError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::observe::metrics::{Writer, label};

/// What came of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// Somebody is in.
    Ok,
    /// A wrong name, password or link.
    Wrong,
    /// Too many wrong ones before.
    Slowed,
}

impl Login {
    const NAMES: [&str; 3] = ["ok", "wrong", "slowed"];
}

/// Counts requests and logins since the start. Routes are those of the program text, so their number is bounded.
#[derive(Debug)]
pub(super) struct Traffic {
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    durations: Histogram,
    logins: [AtomicU64; 3],
}

impl Default for Traffic {
    fn default() -> Self {
        // 1 ms to 16 s.
        let durations = Histogram::new(exponential_buckets(0.001, 2.0, 15));
        Self { requests: Mutex::default(), durations, logins: Default::default() }
    }
}

impl Traffic {
    /// An answer with this status, on a route as [`routes`](super::routes) writes it.
    pub(super) fn answered(&self, route: &str, status: u16, took: Duration) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((route.to_owned(), status / 100)).or_default() += 1;
        drop(requests);
        self.durations.observe(took.as_secs_f64());
    }

    /// Somebody tried to log in.
    pub(super) fn login(&self, outcome: Login) {
        self.logins[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Shows them to a scrape.
#[derive(Debug)]
pub(super) struct TrafficCollector(pub(super) Arc<Traffic>);

impl Collector for TrafficCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), FmtError> {
        let mut writer = Writer(encoder);
        let requests = self.0.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        writer.counters(
            "ecomm_batch_console_requests",
            "Answers of the console",
            requests.into_iter().map(|((route, class), count)| {
                (vec![("route", route), ("code", format!("{class}xx"))], count)
            }),
        )?;
        let metric = writer.0.encode_descriptor(
            "ecomm_batch_console_request_duration_seconds",
            "How long the console took to answer",
            None,
            MetricType::Histogram,
        )?;
        self.0.durations.encode(metric)?;
        writer.counters(
            "ecomm_batch_console_logins",
            "Tries to log in",
            Login::NAMES
                .iter()
                .zip(&self.0.logins)
                .map(|(outcome, count)| (label("outcome", outcome), count.load(Ordering::Relaxed))),
        )
    }
}
