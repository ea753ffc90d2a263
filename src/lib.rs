#![deny(missing_docs, unsafe_code)]
//! `ecomm-batch`: micro-batches from two Kafka topics, a SQL join bounded by a watermark, documents
//! in MongoDB, each exactly once.
//!
//! ```text
//! Kafka ─ source ─ decode ─ admission ─ joining ─ verdict ─ outputs ─ sink ─ MongoDB, files
//!                                │         │ │
//!                                │       state └ watermark
//!                                └─ dead letters ───────────────────────┘
//!                   checkpoint: offsets/<N> before, commits/<N> after
//! ```
//!
//! # Reading order
//! * what is asked for: [`cli`] (what was typed), [`settings`] (what it means), [`commands`] (a file each)
//! * the words: [`batch`] (with [`batch::offset`], [`batch::trigger`], [`batch::watermark`], [`batch::counts`]),
//!   [`duration`], [`clock`], [`now`], [`error`]
//! * the loop: [`engine`] reads like the protocol of a batch; how far a batch goes is in [`ranges`]
//! * its way: [`source`], [`decode`], [`stage`] (admission, joining, verdict, delivery), [`sink`]
//! * the SQL: [`query`] plans a folder into sources, a join view, rules and outputs, [`query::scalar`] is what
//!   their expressions mean
//! * what is remembered: [`state`], [`checkpoint`]
//! * how it waits, is stopped and made to fail: [`retry`], [`signals`], [`faults`]; what it keeps and hides: [`durable`],
//!   [`secret`]
//! * what people see: [`observe`] (progress, one judgement, terminal, metrics), [`console`] (pages), [`stdout`]
//! * around it: [`mock`] (data made up, and its ledger against the outcome), [`case`] (behaviour as data, compared as
//!   `exact_json`)
//!
//! # Invariants
//! * `source` never sees SQL; `query` never sees Kafka or MongoDB; no stage imports `engine`.
//! * Only [`sink::mongodb`] knows BSON documents; only `checkpoint` touches the checkpoint's files.
//! * Only [`clock`] reads the wall clock; what a batch depends on is in its [`batch::BatchPlan`].
//! * The engine's Rust has no column name of orders or payments; [`mock`] does.
//! * A stage computes a value; state changes once the sinks have the rows, and the commit comes last.
//! * Every record has exactly one fate, and the counts are balanced before they are committed.

pub mod batch;
pub mod case;
pub mod checkpoint;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod console;
pub mod decode;
pub mod durable;
pub mod duration;
pub mod engine;
pub mod error;
pub(crate) mod exact_json;
pub mod faults;
pub mod mock;
pub mod now;
pub mod observe;
pub mod query;
pub mod ranges;
pub mod retry;
pub mod runner;
mod s3;
pub mod secret;
pub mod settings;
pub mod signals;
pub mod sink;
pub mod source;
pub mod stage;
pub mod state;
pub mod stdout;
