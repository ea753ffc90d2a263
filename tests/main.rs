//! The one integration-test binary.

/// Case files run through the real engine.
mod cases;

/// Real Kafka and real MongoDB.
mod wire;
