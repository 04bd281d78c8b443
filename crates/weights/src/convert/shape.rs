//! The tensors a transformer of given settings has, and their shapes.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::mixture::{Experts, Form, Latent};
use crate::Error;
use crate::gguf::Metadata;
use crate::tensor::shorten;

/// The architectures that can be converted, either way.
pub(super) const ARCHITECTURES: [&str; 6] =
    ["llama", "qwen2", "qwen3", "hunyuan-dense", "phi3", "gemma3"];

/// Those that can be converted to GGUF, but not back.
const TO_GGUF: [&str; 3] = ["qwen3moe", "deepseek2", "hunyuan-moe"];

/// Tensors with what LongRoPE divides frequencies by, for long texts and for others.
pub(super) const LONG: &str = "rope_factors_long.weight";
pub(super) const SHORT: &str = "rope_factors_short.weight";

/// Sizes of a transformer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Shape {
    pub(super) architecture: String,
    pub(super) layers: usize,
    pub(super) hidden: usize,
    pub(super) ffn: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    /// Elements of a head that are turned.
    pub(super) rotated: usize,
    /// What keys and values are made from, if not from states.
    pub(super) latent: Option<Latent>,
    pub(super) experts: Option<Experts>,
}

/// Whether a tensor has to be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Need {
    Always,
    Perhaps,
}

/// What a layer may have.
const PARTS: [&str; 17] = [
    "attn_norm.weight",
    "attn_qkv.weight",
    "attn_q.weight",
    "attn_k.weight",
    "attn_v.weight",
    "attn_q.bias",
    "attn_k.bias",
    "attn_v.bias",
    "attn_q_norm.weight",
    "attn_k_norm.weight",
    "attn_output.weight",
    "post_attention_norm.weight",
    "post_ffw_norm.weight",
    "ffn_norm.weight",
    "ffn_gate.weight",
    "ffn_up.weight",
    "ffn_down.weight",
];

impl Shape {
    /// From GGUF's keys.
    pub(super) fn of(metadata: &Metadata, path: &Path) -> Result<Shape, Error> {
        let architecture = metadata.require_str("general.architecture")?;
        if !ARCHITECTURES.contains(&architecture) {
            return Err(unknown(path, "general.architecture", architecture));
        }
        let key = |name: &str| format!("{architecture}.{name}");
        let size = |name: &str| metadata.require_u32(&key(name)).map(|v| v as usize);
        let (hidden, heads) = (size("embedding_length")?, size("attention.head_count")?);
        let kv_heads = metadata.u32(&key("attention.head_count_kv"))?.map(|v| v as usize);
        let head_dim = metadata.u32(&key("attention.key_length"))?.map(|v| v as usize);
        let head_dim = head_dim.or(hidden.checked_div(heads)).unwrap_or(0);
        let rotated = metadata.u32(&key("rope.dimension_count"))?.map(|v| v as usize);
        let shape = Shape {
            architecture: architecture.to_owned(),
            layers: size("block_count")?,
            hidden,
            ffn: size("feed_forward_length")?,
            heads,
            kv_heads: kv_heads.unwrap_or(heads),
            head_dim,
            rotated: rotated.unwrap_or(head_dim),
            latent: None,
            experts: None,
        };
        shape.check(path)?;
        Ok(shape)
    }

    /// Refuses what can't be: the products of these sizes are taken without a second look.
    pub(super) fn check(&self, path: &Path) -> Result<(), Error> {
        for (name, value, limit) in [
            ("number of layers", self.layers, 1 << 12),
            ("width of the embedding", self.hidden, 1 << 20),
            ("width of the feed-forward layer", self.ffn, 1 << 22),
            ("number of heads", self.heads, 1 << 14),
            ("number of key-value heads", self.kv_heads, 1 << 14),
            ("length of a head", self.head_dim, 1 << 12),
            ("part of a head that is rotated", self.rotated, self.head_dim.min(1 << 12)),
        ] {
            if value == 0 || value > limit {
                let problem = format!("{value} is not within 1 to {limit}");
                return Err(Error::malformed(path, name, problem));
            }
        }
        for (name, value) in
            [("length of a head", self.head_dim), ("part of a head that is rotated", self.rotated)]
        {
            if !value.is_multiple_of(2) {
                let problem = format!("{value} is odd, and can't be rotated in pairs");
                return Err(Error::malformed(path, name, problem));
            }
        }
        Ok(())
    }

    /// Whether q and k have another order of rows in GGUF than in safetensors.
    pub(super) fn is_permuted(&self, name: &str) -> bool {
        let part = name.rsplit('.').nth(1).unwrap_or_default();
        self.architecture == "llama" && matches!(part, "attn_q" | "attn_k")
    }

    /// Whether each head of q and k has a norm.
    pub(super) fn has_head_norms(&self) -> bool {
        let normed = ["qwen3", "qwen3moe", "hunyuan-dense", "hunyuan-moe", "gemma3"];
        normed.contains(&&self.architecture[..])
    }

    /// Whether there are norms after attention and the feed-forward layer, too, and safetensors have all norms
    /// less one.
    pub(super) fn is_gemma(&self) -> bool {
        self.architecture == "gemma3"
    }

    /// What scores of attention are divided by the root of, as readers of GGUF know without a key: of Gemma 3's
    /// models, the one of 62 layers alone has another than the length of a head.
    pub(super) fn scale(&self) -> usize {
        match self.is_gemma() && self.layers == 62 {
            true => self.hidden / self.heads,
            false => self.head_dim,
        }
    }

    /// Whether q, k and v are one matrix, and gate and up another.
    pub(super) fn is_fused(&self) -> bool {
        self.architecture == "phi3"
    }

    /// What a layer has of latents and of experts.
    fn mixed_parts(&self, layer: usize, form: Form) -> Vec<(String, Vec<usize>)> {
        let mut parts = self.latent.map_or(Vec::new(), |latent| latent.parts(self, form));
        if let Some(experts) = self.experts_of(layer) {
            parts.extend(experts.parts(self.hidden, form));
        }
        parts
    }

    fn experts_of(&self, layer: usize) -> Option<Experts> {
        self.experts.filter(|experts| layer >= experts.dense_layers)
    }

    /// What it has of everything else.
    fn part(&self, layer: usize, part: &str) -> Option<(Need, Vec<usize>)> {
        let from_latents = part.starts_with("attn_") && part != "attn_norm.weight";
        let of_experts = part.starts_with("ffn_") && part != "ffn_norm.weight";
        if from_latents && self.latent.is_some() || of_experts && self.experts_of(layer).is_some() {
            return None;
        }

        use Need::{Always, Perhaps};
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let bias = if self.architecture == "qwen2" { Always } else { Perhaps };
        let (need, shape) = match part {
            "attn_norm.weight" | "ffn_norm.weight" => (Always, vec![self.hidden]),
            "post_attention_norm.weight" | "post_ffw_norm.weight" if self.is_gemma() => {
                (Always, vec![self.hidden])
            }
            "attn_qkv.weight" if self.is_fused() => (Always, vec![q + 2 * kv, self.hidden]),
            "ffn_up.weight" if self.is_fused() => (Always, vec![2 * self.ffn, self.hidden]),
            "attn_q.weight" | "attn_k.weight" | "attn_v.weight" | "ffn_gate.weight"
            | "attn_q.bias" | "attn_k.bias" | "attn_v.bias"
                if self.is_fused() =>
            {
                return None;
            }
            "attn_q.weight" => (Always, vec![q, self.hidden]),
            "attn_k.weight" | "attn_v.weight" => (Always, vec![kv, self.hidden]),
            "attn_output.weight" => (Always, vec![self.hidden, q]),
            "ffn_gate.weight" | "ffn_up.weight" => (Always, vec![self.ffn, self.hidden]),
            "ffn_down.weight" => (Always, vec![self.hidden, self.ffn]),
            "attn_q.bias" => (bias, vec![q]),
            "attn_k.bias" | "attn_v.bias" => (bias, vec![kv]),
            "attn_q_norm.weight" | "attn_k_norm.weight" if self.has_head_norms() => {
                (Always, vec![self.head_dim])
            }
            _ => return None,
        };
        Some((need, shape))
    }

    /// The shape that the tensor `name` of a loose model has in a vocabulary of `vocab`, if there is one.
    fn expected(&self, name: &str, vocab: usize) -> Option<Vec<usize>> {
        match name {
            "token_embd.weight" | "output.weight" => return Some(vec![vocab, self.hidden]),
            "output_norm.weight" => return Some(vec![self.hidden]),
            "rope_freqs.weight" => return Some(vec![self.head_dim / 2]),
            LONG | SHORT if self.is_fused() => return Some(vec![self.rotated / 2]),
            _ => {}
        }
        let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
        let number: usize = layer.parse().ok()?;
        (number < self.layers).then(|| self.part(number, part)).flatten().map(|(_, shape)| shape)
    }

    /// Every tensor that such a model must have, with its shape; the output matrix too, unless it is the
    /// embedding (`tied`).
    pub(super) fn tensors(
        &self,
        vocab: usize,
        tied: bool,
        form: Form,
    ) -> Vec<(String, Vec<usize>)> {
        let mut tensors = vec![("token_embd.weight".to_owned(), vec![vocab, self.hidden])];
        for layer in 0..self.layers {
            let plain = PARTS.into_iter().filter_map(|part| match self.part(layer, part) {
                Some((Need::Always, shape)) => Some((part.to_owned(), shape)),
                _ => None,
            });
            let all = plain.chain(self.mixed_parts(layer, form));
            tensors.extend(all.map(|(part, shape)| (format!("blk.{layer}.{part}"), shape)));
        }
        tensors.push(("output_norm.weight".to_owned(), vec![self.hidden]));
        if !tied {
            tensors.push(("output.weight".to_owned(), vec![vocab, self.hidden]));
        }
        tensors
    }

    /// Holds a model's tensors against its settings: each one known and of its shape, none
    /// missing.
    pub(super) fn check_tensors<'t>(
        &self,
        tensors: impl Iterator<Item = (&'t str, &'t [usize])> + Clone,
        path: &Path,
    ) -> Result<(), Error> {
        let embedding = tensors.clone().find(|(name, _)| *name == "token_embd.weight");
        let vocab = embedding.and_then(|(_, shape)| shape.first()).copied().unwrap_or(0);
        let needed = self.tensors(vocab, true, Form::Loose);
        let known: HashMap<&str, &[usize]> =
            needed.iter().map(|(name, shape)| (&name[..], &shape[..])).collect();
        for (name, shape) in tensors.clone() {
            let field = || format!("tensor `{}`", shorten(name));
            let expected = known.get(name).map(|shape| shape.to_vec());
            let Some(expected) = expected.or_else(|| self.expected(name, vocab)) else {
                let problem =
                    format!("is no part of `{}` as this version knows it", self.architecture);
                let remedy = "only models of the layers it knows can be converted";
                return Err(Error::unsupported(path, field(), problem, remedy));
            };
            if shape != expected {
                let problem =
                    format!("has shape {shape:?} where the model's settings call for {expected:?}");
                return Err(Error::malformed(path, field(), problem));
            }
        }
        let there: HashSet<&str> = tensors.map(|(name, _)| name).collect();
        match needed.into_iter().find(|(name, _)| !there.contains(name.as_str())) {
            Some((name, _)) => Err(Error::Missing {
                path: path.to_owned(),
                what: format!("tensor `{name}`"),
                remedy: "the model is incomplete, fetch it again",
            }),
            None => Ok(()),
        }
    }
}

/// Whether such a model can be converted to GGUF.
pub(super) fn goes_to_gguf(architecture: &str) -> bool {
    ARCHITECTURES.contains(&architecture) || TO_GGUF.contains(&architecture)
}

/// The error for an architecture that can't be converted.
pub(super) fn unknown(path: &Path, field: &str, found: &str) -> Error {
    let problem = format!("`{}` can't be converted", shorten(found));
    let remedy = "only llama, qwen2, qwen3, hunyuan-dense, phi3 and gemma3 can, and to GGUF qwen3moe, deepseek2 \
                  and hunyuan-moe";
    Error::unsupported(path, field, problem, remedy)
}
