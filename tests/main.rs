//! The one integration-test binary.

/// Case files run through the real engine.
mod cases;

/// Damaged, shared, rolled back checkpoints.
mod checkpoint;

/// The disk: what is synced when, full, read-only.
mod disk;

/// Output, exit codes, pipes.
mod cli;

/// Whatever comes, nothing panics.
mod fuzz;

/// The producer's data, read in different ways.
mod history;

/// Broken SQL folders and what is said of them.
mod refusals;

/// Streaming equals batch, against two oracles.
mod oracle;

/// SQL means what it says, against a real PostgreSQL.
mod postgres;

/// The rooms of the tree.
mod layout;

/// Real Kafka and real MongoDB.
mod wire;
