//! A report on a model file or directory, also where it is not complete: what it is, how it is
//! stored, what memory it needs, what is missing.
//!
//! The report is data ([`serde::Serialize`]); its [`std::fmt::Display`] is an aligned table.

mod gguf;
mod safetensors;
mod table;
mod template;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::Error;
use crate::checkpoint::{Kind, kind};
pub use template::{Template, Thinking};

/// Tokens of a prompt that are computed at once, in the estimate of work space.
const CHUNK: u64 = 512;
/// The context that memory is reported for where none is asked for.
const DEFAULT_CONTEXT: u64 = 4096;

/// What [`inspect`] found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The file or directory that was looked at.
    pub path: PathBuf,
    /// The container: "GGUF 3" or "safetensors".
    pub format: String,
    /// Files the model is made of (or should be).
    pub files: usize,
    /// Bytes of those that are there.
    pub file_bytes: u64,
    /// The architecture as the file names it: `qwen2`, `llama`.
    pub architecture: Option<String>,
    /// The model's own name.
    pub name: Option<String>,
    /// Number of weights in all tensors.
    pub parameters: u64,
    /// Number of tensors.
    pub tensors: u64,
    /// Bytes of all tensors when complete.
    pub tensor_bytes: u64,
    /// Bytes of all weights in memory once loaded.
    pub loaded_bytes: u64,
    /// Stored bits for each weight, over all tensors.
    pub bits_per_weight: f64,
    /// Storage types, the one with the most bytes first.
    pub types: Vec<TypeUse>,
    /// Sizes of the transformer.
    pub shape: Shape,
    /// The longest context the model was made for, in tokens.
    pub context: Option<u64>,
    /// Rotary position settings.
    pub rope: Rope,
    /// The tokenizer, where there is one.
    pub tokenizer: Option<Tokenizer>,
    /// The chat template, where there is one.
    pub chat_template: Option<Template>,
    /// Memory needed, for one or more lengths of context. Empty where the
    /// sizes are not known.
    pub memory: Vec<Memory>,
    /// Whether a header is cut, so that there are more tensors than could be counted.
    pub header_cut: bool,
    /// What is missing or wrong, one sentence each; empty for a model that can be used.
    pub problems: Vec<String>,
}

/// How much of a model is stored in one type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TypeUse {
    /// The type's name, for example "Q4_K".
    pub ty: String,
    /// Number of tensors.
    pub tensors: u64,
    /// Number of weights.
    pub parameters: u64,
    /// Bytes they take.
    pub bytes: u64,
}

/// Sizes of a transformer, as far as the file gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Number of layers.
    pub layers: Option<u64>,
    /// Width of the residual stream.
    pub width: Option<u64>,
    /// Query heads in a layer.
    pub heads: Option<u64>,
    /// Key and value heads in a layer.
    pub kv_heads: Option<u64>,
    /// Width of a head.
    pub head_dim: Option<u64>,
    /// Numbers that the cache holds of a token in a layer, where these are a latent and a rotated key (multi-head
    /// latent attention) instead of keys and values.
    pub latent: Option<u64>,
    /// Width of the feed-forward layer.
    pub ffn: Option<u64>,
    /// Rows of the embedding.
    pub vocab: Option<u64>,
}

impl Shape {
    /// Attention sees one key, whatever the file says of heads.
    fn have_latents_of(&mut self, rank: u64, rotated: u64) {
        let latent = rank.saturating_add(rotated);
        (self.latent, self.kv_heads, self.head_dim) = (Some(latent), Some(1), Some(latent));
    }
}

/// Rotary position settings, as far as the file gives them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rope {
    /// The base of the frequencies.
    pub theta: Option<f64>,
    /// The kind of scaling: "yarn", "linear", "llama3".
    pub scaling: Option<String>,
    /// By how much the context is stretched.
    pub factor: Option<f64>,
    /// The context before stretching.
    pub original_context: Option<u64>,
}

/// What turns text into tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tokenizer {
    /// The kind: "gpt2" and "llama" in GGUF, "BPE" in `tokenizer.json`.
    pub kind: String,
    /// The rules by which text is cut before merging, where named.
    pub pre: Option<String>,
    /// Number of tokens.
    pub entries: u64,
}

/// Memory needed at one length of context, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Tokens of context.
    pub context: u64,
    /// The weights as they lie in memory: matrices repacked, vectors in f32, and of an embedding that is no
    /// output matrix the file's own pages.
    pub weights: u64,
    /// Keys and values of every layer in 16 bits.
    pub kv_cache: u64,
    /// Activations and logits while a prompt is computed: an estimate.
    pub work: u64,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.kv_cache).saturating_add(self.work)
    }
}

/// Looks at the model at `path`: a GGUF file, a safetensors file or a directory. `context` is the
/// number of tokens to tell the memory for; without it a usual one and the model's own are taken.
/// Fails only where there is nothing to report on at all.
pub fn inspect(path: &Path, context: Option<u64>) -> Result<Report, Error> {
    let mut report = match kind(path)? {
        Kind::Gguf(file) => gguf::report(&file)?,
        Kind::Safetensors(path) => safetensors::report(&path)?,
    };
    report.path = path.to_owned();
    report.add_memory(context);
    Ok(report)
}

impl Report {
    /// Whether everything the model needs is there.
    pub fn is_complete(&self) -> bool {
        self.problems.is_empty()
    }

    /// Counts one tensor in, which is to take `loaded` bytes in memory.
    fn add_tensor(&mut self, ty: String, parameters: u64, bytes: u64, loaded: u64) {
        self.tensors += 1;
        self.parameters = self.parameters.saturating_add(parameters);
        self.tensor_bytes = self.tensor_bytes.saturating_add(bytes);
        self.loaded_bytes = self.loaded_bytes.saturating_add(loaded);
        match self.types.iter_mut().find(|t| t.ty == ty) {
            Some(t) => {
                t.tensors += 1;
                t.parameters = t.parameters.saturating_add(parameters);
                t.bytes = t.bytes.saturating_add(bytes);
            }
            None => self.types.push(TypeUse { ty, tensors: 1, parameters, bytes }),
        }
    }

    /// Closes the count of tensors.
    fn finish_tensors(&mut self) {
        self.types.sort_by_key(|t| std::cmp::Reverse(t.bytes));
        if self.parameters > 0 {
            self.bits_per_weight = self.tensor_bytes as f64 * 8.0 / self.parameters as f64;
        }
    }

    fn add_memory(&mut self, context: Option<u64>) {
        if self.header_cut {
            return;
        }
        let contexts = match (context, self.context) {
            (Some(asked), _) => vec![asked],
            (None, Some(own)) if own > DEFAULT_CONTEXT => vec![DEFAULT_CONTEXT, own],
            (None, Some(own)) => vec![own],
            (None, None) => vec![DEFAULT_CONTEXT],
        };
        self.memory = contexts.into_iter().filter_map(|context| self.memory_at(context)).collect();
    }

    /// The longest context for which `bytes` of memory are enough, with keys and values in 16 bits: 0 if they are
    /// not enough for the weights; none, where the report doesn't say what a context takes.
    pub fn fitting(&self, bytes: u64) -> Option<u64> {
        let Memory { context, weights, kv_cache, work } = *self.memory.last()?;
        let left = bytes.saturating_sub(weights.saturating_add(work));
        let tokens = u128::from(left) * u128::from(context) / u128::from(kv_cache.max(1));
        Some(u64::try_from(tokens).unwrap_or(u64::MAX))
    }

    fn memory_at(&self, context: u64) -> Option<Memory> {
        let Shape { layers, width, heads, kv_heads, head_dim, latent, ffn, vocab } = self.shape;
        let product = |factors: &[u64]| factors.iter().fold(1u64, |n, &f| n.saturating_mul(f));
        // Keys and values, or what is both, two bytes each.
        let cached = match latent {
            Some(latent) => latent,
            None => product(&[kv_heads?, head_dim?, 2]),
        };
        let kv_cache = product(&[layers?, cached, 2, context]);
        // Of a chunk in f32: the residual and its norm, queries and attention output, the two
        // halves of the feed-forward layer and their product; and one row of logits.
        let row = product(&[2, width?])
            .saturating_add(product(&[2, heads?, head_dim?]))
            .saturating_add(product(&[3, ffn.unwrap_or(0)]));
        let work = product(&[4, row, CHUNK.min(context)])
            .saturating_add(product(&[4, vocab.unwrap_or(0)]));
        Some(Memory { context, weights: self.loaded_bytes, kv_cache, work })
    }
}
