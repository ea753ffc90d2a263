//! Real Apache Kafka and real mongod, started for the tests.

mod services;

pub use services::ecomm_batch;

/// The main job, end to end, compared with the producer's ledger.
mod main_job;

/// Bad input: one clear message, the right exit code, no secret.
mod bad_input;

/// One batch, many batches, uneven ones with restarts: the same.
mod splits;

/// Killed at every step.
mod crashes;

/// Users, rights and passwords.
mod rights;
