//! Figures that others can check.
//!
//! A benchmark's items are put to a model, every sample is kept in a *run folder*, and every figure
//! is worked out from run folders and from nothing else:
//!
//! - [`benchmark`]: what is asked and how it is checked, as data; [`rows`]: the items' files;
//! - [`measure`]: asking; [`score`]: judging, and judging again;
//! - [`run`]: the folder: a manifest that says what was measured and how, and the samples;
//! - [`stats`]: pass@k and its kin, how sure they are, and whether two runs differ;
//! - [`replay`]: what other rules would have made of the same thoughts;
//! - [`report`]: a page, Markdown and JSON made from a run.
#![forbid(unsafe_code)]

pub mod benchmark;
mod error;
pub mod measure;
pub mod replay;
pub mod report;
pub mod rows;
pub mod run;
pub mod score;
pub mod stats;

pub use error::Error;
