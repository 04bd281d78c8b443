//! Weights in files: reading and writing GGUF, reading safetensors, and saying what is in them.
//!
//! Goes in: a path. Comes out: named tensors as byte slices over a memory mapping, in the block
//! formats of [`kernels::blocks`], and the metadata beside them. Nothing is copied on the way,
//! and nothing a file claims about itself is believed before it is checked: every count is held
//! against the bytes that are left, every range against the length of the file. A bad file gives
//! an [`Error`] that names the file, the field and the remedy.
//!
//! - [`gguf`]: GGUF versions 2 and 3, split files, a tolerant reader, a writer;
//! - [`safetensors`]: one file or a directory of shards with its `config.json` and tokenizer;
//! - [`checkpoint`]: either of the two behind one set of tensor names (GGUF's);
//! - [`inspect`]: a report on any of them, also where the file is not complete;
//! - [`quantize`]: f32 weights to block formats, and which tensor of a model gets which;
//! - [`convert`]: a model from one container to another, or to other types, a few rows at a time;
//! - [`catalogue`]: which models have a short name and where their files come from;
//! - [`pull`]: fetching them, resumed and verified, into the [`store`] on this disk.
//!
//! This crate must never know what a layer or a token *does*: the transformer is built from these
//! tensors in `model`, and text is made from the vocabulary in `text`.

#![deny(unsafe_code)]

pub mod catalogue;
pub mod checkpoint;
pub mod convert;
mod error;
pub mod gguf;
pub mod inspect;
#[allow(unsafe_code)]
mod mapping;
pub mod pull;
pub mod quantize;
pub mod safetensors;
pub mod store;
mod tensor;

pub use checkpoint::Checkpoint;
pub use error::Error;
pub use tensor::{Tensor, TensorInfo};

/// The example of the README, compiled with the other tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
