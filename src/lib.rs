#![deny(missing_docs, unsafe_code)]
//! wip

pub mod clock;
pub mod decode;
pub mod error;
pub mod offset;
pub mod query;
pub mod source;
pub mod watermark;
