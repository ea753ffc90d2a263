//! Orders and payments that are made up: [`plan`] decides what is sent and where it must come out, [`produce`] sends
//! it, [`ledger`] writes it down, [`reconcile`] compares that with what came out.
//!
//! The only Rust that knows columns of orders and payments.

pub mod ledger;
pub mod plan;
pub mod produce;
pub mod reconcile;
