//! Real Apache Kafka and real mongod, started for the tests.

mod http;
mod pipeline;
mod services;

pub use services::{ecomm_batch, terminate};

/// The main job, end to end, compared with the producer's ledger.
mod main_job;

/// Bad input: one clear message, the right exit code, no secret.
mod bad_input;

/// One batch, many batches, uneven ones with restarts: the same.
mod splits;

/// The console, as a browser and a scraper meet it.
mod console;

/// What goes wrong, in words and as alerts.
mod seen;

/// A real Prometheus: alerts and dashboard.
mod prometheus;

/// The console, attacked.
mod attacks;

/// The console, in a real browser.
mod browser;

/// Killed at every step.
mod crashes;

/// Services and engine killed, paused and brought back at random.
mod torture;

/// Older engines, old copies, lost records, S3-like stores, failing commands.
mod trouble;

/// Lost checkpoints, SQL that can't do a batch, silent topics, deploys that are undone: each ends well.
mod days;

/// Outputs as files, read by others.
mod files;

/// Documents that MongoDB does not take.
mod refused;

/// Users, rights and passwords.
mod rights;

/// Headers, times, transactions, topics that are made again.
mod sources;

/// Collections that are no plain ones, secondaries.
mod targets;
