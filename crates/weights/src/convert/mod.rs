//! Models from one container to another, and into other types.
//!
//! Everything goes through a [`Draft`]: the model in GGUF's terms, its metadata ready and its
//! tensors still where they are. Whatever is done to a model on its way (other types, rows in
//! another order, something added) is done to the few rows that are in memory at a time.

mod config_json;
mod draft;
mod from_safetensors;
mod initial;
mod mixture;
mod output;
pub(crate) mod rows;
mod sentencepiece;
mod settings;
mod shape;
mod stacked;
mod synth;
mod to_safetensors;
mod tokenizer_json;
mod vocabulary;

pub use draft::{Draft, DraftTensor};
pub use output::check_output;
pub use rows::{Made, Rows, row_of};
pub use synth::{config_of, shapes};
pub use to_safetensors::{Beside, SHARD_BYTES, SafetensorsOptions};
