#![deny(missing_docs, unsafe_code)]
//! wip

pub mod clock;
pub mod decode;
pub mod error;
pub mod offset;
pub mod query;
pub mod source;
pub mod watermark;
pub mod admission;
pub mod batch;
pub mod checkpoint;
pub mod joining;
pub mod sink;
pub mod state;
pub mod verdict;
pub mod engine;
pub mod progress;
pub mod trigger;
pub mod case;
pub mod cli;
pub mod live;
pub mod run;
pub mod settings;
pub mod producer;
pub mod topics;
pub mod demo;
pub mod reconcile;
