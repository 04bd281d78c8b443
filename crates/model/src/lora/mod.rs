//! Low-rank adapters (LoRA, Hu et al. 2021, arXiv:2106.09685): what a fine-tune adds to a model's
//! matrices, `W x + s · B (A x)`, kept beside the weights and worked out beside their products.
//!
//! The base is never merged in memory: one model serves any number of adapters at once, each span
//! of a batch with its own ([`crate::Span::adapter`]). On the way from one file to another it can
//! be ([`Factors`]).

mod apply;
mod build;
mod gguf;
mod merge;
mod pairs;
mod peft;
mod save;

use std::path::{Path, PathBuf};

use kernels::matmul::Matrix;
use kernels::ops::RopeLayout;

pub use apply::AdapterUse;
pub(crate) use apply::{Run, Scratch, runs};
use build::Loose;
pub use build::StoredPair;
pub use merge::{Factors, Merged};
pub use pairs::TrainedPair;
pub use save::PeftSettings;

use crate::{Config, Error, Model};

/// A matrix of a layer, any of which an adapter may add to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Target {
    /// Queries, `[heads · head_dim, hidden]`.
    Q,
    /// Keys, `[kv_heads · head_dim, hidden]`.
    K,
    /// Values, `[kv_heads · head_dim, hidden]`.
    V,
    /// Attention's output, `[hidden, heads · head_dim]`.
    O,
    /// The feed-forward layer's gate, `[ffn, hidden]`.
    Gate,
    /// What the gate lets through, `[ffn, hidden]`.
    Up,
    /// Back to the residual stream, `[hidden, ffn]`.
    Down,
}

impl Target {
    /// All of them, in the order in which a layer uses them.
    pub const ALL: [Target; 7] =
        [Target::Q, Target::K, Target::V, Target::O, Target::Gate, Target::Up, Target::Down];

    /// What GGUF calls the module: `attn_q` in `blk.3.attn_q.weight`.
    pub fn gguf(self) -> &'static str {
        match self {
            Target::Q => "attn_q",
            Target::K => "attn_k",
            Target::V => "attn_v",
            Target::O => "attn_output",
            Target::Gate => "ffn_gate",
            Target::Up => "ffn_up",
            Target::Down => "ffn_down",
        }
    }

    /// Whether it is one of the feed-forward part.
    pub fn is_feed_forward(self) -> bool {
        matches!(self, Target::Gate | Target::Up | Target::Down)
    }

    /// What GGUF calls the module of a layer: `blk.3.attn_q`.
    pub fn module(self, layer: usize) -> String {
        format!("blk.{layer}.{}", self.gguf())
    }

    /// The layer and the matrix behind a GGUF name, such as `blk.3.attn_q.weight`.
    fn parse(name: &str) -> Option<(usize, Target)> {
        let (layer, module) =
            name.strip_prefix("blk.")?.strip_suffix(".weight")?.split_once('.')?;
        let number: usize = layer.parse().ok()?;
        let target = Target::ALL.into_iter().find(|t| t.gguf() == module)?;
        (number.to_string() == layer).then_some((number, target))
    }

    /// Outputs and inputs of the matrix.
    pub fn shape(self, c: &Config) -> (usize, usize) {
        let (q, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
        match self {
            Target::Q => (q, c.hidden),
            Target::K | Target::V => (kv, c.hidden),
            Target::O => (c.hidden, q),
            Target::Gate | Target::Up => (c.ffn, c.hidden),
            Target::Down => (c.hidden, c.ffn),
        }
    }
}

/// Why a pair of the feed-forward part can't be used.
const EXPERTS: &str = "the model has experts there, which can't be adapted; only adapters of attention \
                       can be used with it";

/// Why a pair of attention can't be used.
const LATENT: &str =
    "the model's keys and values are made from latents, which can't be adapted; use it without";

/// Why the matrix of a model can't be adapted, if it can't.
fn refusal(c: &Config, target: Target) -> Option<&'static str> {
    match target.is_feed_forward() {
        true => c.experts.map(|_| EXPERTS),
        false => c.latent.map(|_| LATENT),
    }
}

/// One matrix's adaptation.
struct Pair {
    /// `[rank, inputs]`.
    a: Matrix,
    /// `[outputs, rank]`.
    b: Matrix,
    /// What `B A` is multiplied with.
    scale: f32,
}

/// The adaptations of a layer, by [`Target`].
#[derive(Default)]
struct LayerPairs([Option<Pair>; 7]);

impl LayerPairs {
    /// One for each layer of the model, with nothing in it.
    fn all(c: &Config) -> Vec<LayerPairs> {
        (0..c.layers).map(|_| LayerPairs::default()).collect()
    }

    fn get(&self, target: Target) -> Option<&Pair> {
        self.0[target as usize].as_ref()
    }
}

/// What of a model an adapter depends on: matrices of another shape can't be added to, and rows in
/// another order would be added in the wrong places.
#[derive(Clone, PartialEq, Debug)]
struct Fit {
    architecture: String,
    layers: usize,
    hidden: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    ffn: usize,
    layout: RopeLayout,
}

impl Fit {
    fn of(c: &Config) -> Fit {
        Fit {
            architecture: c.architecture.clone(),
            layers: c.layers,
            hidden: c.hidden,
            heads: c.heads,
            kv_heads: c.kv_heads,
            head_dim: c.head_dim,
            ffn: c.ffn,
            layout: c.rope.layout,
        }
    }

    /// Whether the model is one of this kind; asked on every pass, so nothing is copied.
    fn is(&self, c: &Config) -> bool {
        self.architecture == c.architecture
            && [self.layers, self.hidden, self.heads, self.kv_heads, self.head_dim, self.ffn]
                == [c.layers, c.hidden, c.heads, c.kv_heads, c.head_dim, c.ffn]
            && self.layout == c.rope.layout
    }
}

/// A low-rank adapter: for any of each layer's q, k, v, o, gate, up and down matrices a pair
/// `A [rank, inputs]`, `B [outputs, rank]` and a scale. Immutable, so that it can be shared (in an
/// `Arc`) between requests and threads; held in f32, whatever the file has.
pub struct Adapter {
    path: PathBuf,
    fit: Fit,
    layers: Vec<LayerPairs>,
    score: Option<Vec<f32>>,
}

impl Adapter {
    /// Reads an adapter for `model`, repacked for this machine on the model's threads.
    ///
    /// `path` is one of
    /// - a directory as PEFT saves it, or the `.safetensors` file in it; beside that lies
    ///   `adapter_config.json`. The scale is `lora_alpha / r`, with `use_rslora`
    ///   `lora_alpha / √r` (Kalajdzievski 2023, arXiv:2312.03732), each as `rank_pattern` and
    ///   `alpha_pattern` have it for the module;
    /// - a GGUF file as llama.cpp's `convert_lora_to_gguf.py` writes it. The scale is
    ///   `adapter.lora.alpha` over the pair's rank, and 1 where alpha is missing or 0.
    ///
    /// Either goes with a base from either container: where the rows of q and k are in another
    /// order (`llama` in GGUF), those of the adapter are put into the base's.
    ///
    /// # Errors
    /// A file can't be read, a tensor is missing, unknown or of another shape than the model's
    /// layers call for, or the adapter is more than plain LoRA (DoRA, trained biases, whole modules
    /// beside the pairs other than the head of one score, …): the message names the file and the
    /// field.
    pub fn load(path: &Path, model: &Model) -> Result<Adapter, Error> {
        Adapter::pack(model, path, read(path, &model.config)?)
    }

    /// Reads the pairs alone, for going on to train them: rows in the order of `model`'s matrices.
    ///
    /// # Errors
    /// As for [`Adapter::load`]; and it has a head that scores texts.
    pub fn stored_pairs(path: &Path, model: &Model) -> Result<Vec<StoredPair>, Error> {
        read_pairs(path, &model.config)
    }

    /// The same of an adapter that scores texts: its pairs and its head, `[hidden]`.
    ///
    /// # Errors
    /// As for [`Adapter::load`]; and it has no such head.
    pub fn stored_scorer(path: &Path, model: &Model) -> Result<(Vec<StoredPair>, Vec<f32>), Error> {
        let Loose { pairs, score } = read(path, &model.config)?;
        match score {
            Some(score) => Ok((pairs, score)),
            None => Err(bad(path, peft::SCORE, "is not there: it was saved without a head")),
        }
    }

    /// The file or directory it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The head of an adapter that scores texts (PEFT's task type `SEQ_CLS` with one label), `[hidden]`:
    /// a text's score is its product with the last token's final state, after the last norm.
    pub fn score(&self) -> Option<&[f32]> {
        self.score.as_deref()
    }

    /// Matrices that are adapted, all layers together.
    pub fn pairs(&self) -> usize {
        self.all().count()
    }

    /// The largest rank of a pair.
    pub fn rank(&self) -> usize {
        self.all().map(|pair| pair.a.rows()).max().unwrap_or(0)
    }

    /// Bytes in memory, repacked.
    pub fn bytes(&self) -> usize {
        self.all().map(|pair| pair.a.bytes() + pair.b.bytes()).sum()
    }

    fn all(&self) -> impl Iterator<Item = &Pair> {
        self.layers.iter().flat_map(|layer| layer.0.iter().flatten())
    }
}

/// The numbers of the adapter at `path`, for a model of these settings.
fn read(path: &Path, config: &Config) -> Result<Loose, Error> {
    let safetensors = path.extension().is_some_and(|e| e == "safetensors");
    if safetensors || path.is_dir() {
        return peft::read(path, config);
    }
    Ok(Loose { pairs: gguf::read(path, config)?, score: None })
}

/// The same, of an adapter that is pairs and nothing else.
fn read_pairs(path: &Path, config: &Config) -> Result<Vec<StoredPair>, Error> {
    let Loose { pairs, score } = read(path, config)?;
    match score {
        None => Ok(pairs),
        Some(_) => {
            let problem = "has a head that scores texts, for which a model has no place";
            Err(bad(path, peft::SCORE, problem))
        }
    }
}

/// An error about `field` of the adapter at `path`.
fn bad(path: &Path, field: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::Adapter { path: path.to_owned(), field: field.into(), problem: problem.into() }
}

/// A name out of a file, fit for a message: a hostile one must not fill the terminal, or speak to
/// it in control characters.
fn named(name: &str) -> String {
    format!("tensor `{}`", name.escape_debug().take(120).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_of_adapted_matrices_are_understood() {
        assert_eq!(Target::parse("blk.0.attn_q.weight"), Some((0, Target::Q)));
        assert_eq!(Target::parse("blk.12.ffn_down.weight"), Some((12, Target::Down)));
        for name in [
            "blk.00.attn_q.weight",
            "blk.+1.attn_q.weight",
            "blk.99999999999999999999999.attn_q.weight",
            "blk.0.attn_q.bias",
            "blk.0.attn_norm.weight",
            "blk.0.weight",
            "token_embd.weight",
            "",
        ] {
            assert_eq!(Target::parse(name), None, "{name}");
        }
    }
}
