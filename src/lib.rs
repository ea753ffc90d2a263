#![deny(missing_docs, unsafe_code)]
//! `ecomm-batch`: micro-batches from two Kafka topics, a SQL join bounded by a watermark, documents
//! in MongoDB, each exactly once.
//!
//! ```text
//!                                       ┌ group: joining, verdict ┐
//! Kafka ─ source ─ decode ─ admission ─ exchange                  merge ─ delivery ─ sink ─ MongoDB, files
//!                                │      └ group: joining, verdict ┘          │
//!                                │          │ state, watermark               │
//!                                └─ dead letters ────────────────────────────┘
//!                   checkpoint: offsets/<N> before, commits/<N> after
//! ```
//!
//! # Reading order
//! * what is asked for: [`cli`] (what was typed), [`settings`] (what it means), [`commands`] (a file each)
//! * the words: [`batch`] (with [`batch::offset`], [`batch::trigger`], [`batch::watermark`], [`batch::counts`]),
//!   [`duration`], [`clock`], [`now`], [`error`]
//! * the loop: [`engine`] reads like the protocol of a batch; how far a batch goes is in [`ranges`]
//! * its way: [`source`], [`decode`], [`stage`] (with a batch worked out in numbers), [`runner`] (on which cores), [`sink`]
//! * the SQL: [`query`] plans a folder into sources, a join view, rules and outputs, [`query::scalar`] is what
//!   their expressions mean
//! * what is remembered: [`state`], [`checkpoint`]
//! * how it waits, is stopped and made to fail: [`retry`], [`signals`], [`faults`]; what it keeps and hides: [`durable`],
//!   [`secret`]
//! * what people see: [`observe`] (progress, one judgement, terminal, metrics), [`console`] (pages), [`stdout`]
//! * around it: [`mock`] (data made up, and its ledger against the outcome), [`case`] (behaviour as data, compared as
//!   `exact_json`)
//!
//! # Words
//! * *micro-batch*: the records of an offset range of each partition; *plan*: that it is to be run, in `offsets/<N>`;
//!   *commit*: that it is done, in `commits/<N>`; *pending*: planned without a commit
//! * *read unit*: one partition's range of a batch; *arrival order*: by Kafka timestamp, partition, offset
//! * *event time*: the watermark column; *clock*: the highest event time of a partition; *watermark*: below it a record
//!   is late; *reach*: how far the watermark may pass a row that can still be met
//! * *side*: left or right of the join; *state*: the rows of each side that can still match, and PRIMARY KEYs seen
//! * *key group*: one of K parts of a batch that share no join key; *exchange*: which rows go to which
//! * *pair*, *alone*: a row of the view of two records, or of one that found no partner; *verdict*: what the rules say
//! * *dead letter*: a record that became no row, or a row that no sink could store; *reason*: why
//! * *replay*: the same batch again, after a crash; *replan*: a pending batch with other SQL
//!
//! # Where a change goes
//! * a sink: a folder beside [`sink::mongodb`] that implements [`sink::Sink`], its location in `query::sink_target`, a
//!   line in [`commands`]
//! * a source: a file beside [`source::kafka`] that implements [`source::Source`]; what it is asked for is in [`ranges`]
//! * a reason of a dead letter: [`batch::reason`], whose counter follows by the compiler, and the stage that finds it
//! * a question at admission: in [`stage::admission`], `admit_range` if a record answers it alone, else `admit_keys`
//! * a stage: a file in [`stage`] with a value in and a value out, called from its `outcome`
//!
//! # Invariants
//! * `source` never sees SQL; `query` never sees Kafka or MongoDB; no stage imports `engine`.
//! * Only [`sink::mongodb`] knows BSON documents; only `checkpoint` touches the checkpoint's files.
//! * Only [`clock`] reads the wall clock; what a batch depends on is in its [`batch::BatchPlan`].
//! * The engine's Rust has no column name of orders or payments; [`mock`] does.
//! * A stage computes a value; state changes once the sinks have the rows, and the commit comes last.
//! * Groups share nothing that changes, and no outcome tells how many there were.
//! * After an error the checkpoint says what holds, not the memory.
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
