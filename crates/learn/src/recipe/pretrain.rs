//! What is said of a model that is made from nothing.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::settings::Lora;
use crate::Error;
use crate::error::recipe;

/// More numbers than a model has that is trained on one machine: each takes 16 bytes.
const MOST_PARAMETERS: u128 = 1 << 33;

/// Texts to be gone on with, by a model that knows nothing yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pretrain {
    /// Files of texts, plain or gzipped: JSON lines with a field `text`, or plain text, which is one document or
    /// several with a line `<|endoftext|>` between them; see [`crate::data::documents`].
    pub data: Vec<PathBuf>,
    /// Files held out, which [`super::Evaluate`] takes its documents from. Without them documents of `data` are
    /// held out.
    #[serde(default)]
    pub held_out: Vec<PathBuf>,
    /// The share of the documents that is held out where no files are: which ones depends on their text alone.
    #[serde(default = "held_out_share")]
    pub held_out_share: f64,
    /// Most tokens of a sequence: documents that fit one together share it, and longer ones are cut.
    pub sequence_tokens: usize,
    /// Sequences of a step.
    #[serde(default = "batch")]
    pub batch: usize,
    /// Whether what looks like a control token in a document is one.
    #[serde(default)]
    pub control_tokens: ControlTokens,
    /// The new model's tokenizer.
    pub tokenizer: Tokenizer,
    /// The new model's sizes.
    pub shape: Shape,
}

/// Whether what looks like a control token in a document, such as `<|im_start|>`, is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlTokens {
    /// It is text like any other: for documents from outside.
    #[default]
    Text,
    /// It is: for documents written as conversations.
    Parsed,
}

/// Where a new model's tokenizer comes from: one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokenizer {
    /// A model whose vocabulary, control tokens and chat template are taken: a name of the catalogue, or a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Tokens of a vocabulary that is learned from the data, with ChatML for a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<usize>,
    /// How texts are cut into words before a vocabulary is learned, by GGUF's name for it: `smollm` cuts digits
    /// off one by one, as `qwen2` does; `gpt-2` and `llama-bpe` (threes) don't.
    #[serde(default = "pre")]
    pub pre: String,
}

/// A new model's sizes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// `llama`, `qwen2` or `qwen3`.
    #[serde(default = "architecture")]
    pub architecture: String,
    /// Transformer layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads; as many as query heads if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<usize>,
    /// Elements of a head; `hidden / heads` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_dim: Option<usize>,
    /// Width of the feed-forward layer.
    pub ffn: usize,
    /// Whether the output matrix is the embedding.
    #[serde(default = "yes")]
    pub tied_embeddings: bool,
    /// The base of the rotary frequencies.
    #[serde(default = "rope_theta")]
    pub rope_theta: f64,
    /// Positions.
    pub context: usize,
}

fn held_out_share() -> f64 {
    0.01
}

fn batch() -> usize {
    16
}

fn pre() -> String {
    "smollm".to_owned()
}

fn architecture() -> String {
    "qwen3".to_owned()
}

fn yes() -> bool {
    true
}

fn rope_theta() -> f64 {
    10_000.0
}

impl Shape {
    /// Key-value heads.
    pub fn kv_heads(&self) -> usize {
        self.kv_heads.unwrap_or(self.heads)
    }

    /// Elements of a head.
    pub fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden / self.heads.max(1))
    }

    /// The same as a `config.json`, for a vocabulary of so many tokens.
    pub fn config(&self, vocabulary: usize) -> Value {
        json!({
            "model_type": self.architecture,
            "vocab_size": vocabulary,
            "hidden_size": self.hidden,
            "intermediate_size": self.ffn,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads(),
            "head_dim": self.head_dim(),
            "hidden_act": "silu",
            "max_position_embeddings": self.context,
            "rms_norm_eps": 1e-6,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tied_embeddings,
        })
    }

    fn check(&self) -> Result<(), Error> {
        let bad =
            |field: &str, problem: String| Err(recipe(format!("pretrain.shape.{field}"), problem));
        let known = ["llama", "qwen2", "qwen3"];
        if !known.contains(&&*self.architecture) {
            let problem = format!("{:?} is none of {}", self.architecture, known.join(", "));
            return bad("architecture", problem);
        }
        for (field, n, most) in [
            ("layers", self.layers, 1 << 10),
            ("hidden", self.hidden, 1 << 16),
            ("heads", self.heads, 1 << 10),
            ("kv_heads", self.kv_heads(), 1 << 10),
            ("head_dim", self.head_dim(), 1 << 10),
            ("ffn", self.ffn, 1 << 18),
            ("context", self.context, 1 << 20),
        ] {
            if n == 0 || n > most {
                return bad(field, format!("{n} is not within 1 to {most}"));
            }
        }
        for (field, n) in
            [("hidden", self.hidden), ("head_dim", self.head_dim()), ("ffn", self.ffn)]
        {
            if !n.is_multiple_of(16) {
                return bad(field, format!("{n} is no multiple of 16"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads()) {
            let problem = format!("{} heads can't share {}", self.heads, self.kv_heads());
            return bad("kv_heads", problem);
        }
        if !(self.rope_theta > 1.0 && self.rope_theta.is_finite()) {
            return bad("rope_theta", format!("{} is not above 1", self.rope_theta));
        }
        let wide = |n: usize| n as u128;
        let heads = 2 * wide(self.heads + self.kv_heads()) * wide(self.head_dim());
        let layer = wide(self.hidden) * (heads + 3 * wide(self.ffn));
        let all = wide(self.layers) * layer;
        if all > MOST_PARAMETERS {
            let problem = format!("{all} numbers in the layers are more than {MOST_PARAMETERS}");
            return bad("layers", problem);
        }
        Ok(())
    }
}

impl Pretrain {
    pub(super) fn check(&self, lora: &Lora) -> Result<(), Error> {
        let bad = |field: &str, problem: String| Err(recipe(format!("pretrain.{field}"), problem));
        if *lora != Lora::default() {
            return Err(recipe("lora", "is there, but a new model learns every weight"));
        }
        if self.data.is_empty() {
            return bad("data", "names no file".to_owned());
        }
        if self.batch == 0 {
            return bad("batch", "must be at least 1".to_owned());
        }
        if self.sequence_tokens < 2 || self.sequence_tokens > self.shape.context {
            let problem = format!(
                "{} is not within 2 and the context of {}",
                self.sequence_tokens, self.shape.context
            );
            return bad("sequence_tokens", problem);
        }
        if !(0.0..1.0).contains(&self.held_out_share) {
            let problem = format!("{} is not from 0 to below 1", self.held_out_share);
            return bad("held_out_share", problem);
        }
        match (&self.tokenizer.from, self.tokenizer.vocabulary) {
            (Some(_), None) | (None, Some(_)) => self.shape.check(),
            _ => bad("tokenizer", "needs one of `from` and `vocabulary`".to_owned()),
        }
    }
}
