//! A model with the exact shape of another and noise for weights: what it says means nothing, what it costs to
//! load and to run is what the other costs.

use std::path::Path;

use kernels::blocks::BlockType;
use serde_json::{Value, json};

use super::draft::{Draft, DraftTensor};
use super::mixture::Form;
use super::rows::{Made, Rows};
use super::sentencepiece;
use super::settings;
use crate::Error;
use crate::gguf::Value as GgufValue;
use crate::gguf::{Array, Metadata, StrArray};
use crate::safetensors::names;

/// Shapes by name, as their makers' `config.json` has them: layers, width, width of the feed-forward layer,
/// heads, KV heads, vocabulary, positions, epsilon, and whether the output matrix is the embedding.
const SHAPES: &[(&str, [usize; 7], f64, bool)] = &[
    ("qwq-32b", [64, 5120, 27648, 40, 8, 152064, 40960], 1e-5, false),
    ("qwen2.5-32b", [64, 5120, 27648, 40, 8, 152064, 32768], 1e-6, false),
    ("qwen2.5-14b", [48, 5120, 13824, 40, 8, 152064, 32768], 1e-6, false),
    ("qwen2.5-7b", [28, 3584, 18944, 28, 4, 152064, 32768], 1e-6, false),
    ("qwen2.5-1.5b", [28, 1536, 8960, 12, 2, 151936, 32768], 1e-6, true),
    ("qwen2.5-0.5b", [24, 896, 4864, 14, 2, 151936, 32768], 1e-6, true),
];

/// GGUF's type for tokens that stand for nothing.
const UNUSED: i32 = 5;
/// The standard deviation of the sum of four numbers that are even in `-0.5..0.5`.
const DEVIATION: f32 = 0.577_350_26;

/// The names of shapes that are known.
pub fn shapes() -> impl Iterator<Item = &'static str> {
    SHAPES.iter().map(|(name, ..)| *name)
}

/// The `config.json` of a shape that is known.
pub fn config_of(name: &str) -> Option<Value> {
    let (_, sizes, epsilon, tied) = SHAPES.iter().find(|(known, ..)| *known == name)?;
    let [layers, hidden, ffn, heads, kv_heads, vocabulary, positions] = sizes;
    Some(json!({
        "model_type": "qwen2", "num_hidden_layers": layers, "hidden_size": hidden,
        "intermediate_size": ffn, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary, "max_position_embeddings": positions, "rms_norm_eps": epsilon,
        "rope_theta": 1e6, "tie_word_embeddings": tied, "hidden_act": "silu",
    }))
}

impl Draft<'static> {
    /// Noise in the shape that `config`, a `config.json`, describes; always the same from one `seed`.
    /// Tokenizer and template are those of `vocabulary`, the metadata of another GGUF file; tokens that it
    /// lacks are made up, and stand for nothing.
    ///
    /// # Errors
    /// The architecture is unknown, a setting is missing or makes no sense, or the vocabulary is too large.
    pub fn synthetic(
        name: &str,
        config: &Value,
        vocabulary: &Metadata,
        seed: u64,
    ) -> Result<Draft<'static>, Error> {
        let title = format!("{name} (noise from seed {seed})");
        let names = [name, &title];
        in_shape(names, config, vocabulary, &|name, shape, layers| {
            let cols = shape.last().copied().unwrap_or(1);
            let scale = match () {
                // States neither grow nor vanish on their way through the layers.
                () if ends_a_branch(name) => 1.0 / (2.0 * layers as f32 * cols as f32).sqrt(),
                () if shape.len() > 1 => 1.0 / (cols as f32).sqrt(),
                () => 0.1,
            };
            let middle = if name.contains("norm") { 1.0 } else { 0.0 };
            let hash = hash_of(seed ^ 0x5EED, name);
            Box::new(Noise { hash, cols, scale: scale / DEVIATION, middle })
        })
    }
}

/// Whether a tensor is the last of a residual branch: what it gives is added to the stream.
pub(super) fn ends_a_branch(name: &str) -> bool {
    let part = name.rsplit('.').nth(1);
    matches!(part, Some("attn_output" | "ffn_down" | "ffn_down_exps" | "ffn_down_shexp"))
}

/// A number for each tensor's name.
pub(super) fn hash_of(seed: u64, name: &str) -> u64 {
    name.bytes().fold(seed, |hash, byte| mixed(hash ^ u64::from(byte)))
}

/// Makes a tensor's numbers of its name, its shape and the number of layers.
type MakeRows<'a> = &'a dyn Fn(&str, &[usize], usize) -> Box<dyn Rows>;

/// A model in the shape that `config` describes, with the tokenizer of `vocabulary`. The names are what errors
/// call it, and what it is called.
pub(super) fn in_shape(
    [name, title]: [&str; 2],
    config: &Value,
    vocabulary: &Metadata,
    rows: MakeRows<'_>,
) -> Result<Draft<'static>, Error> {
    let path = Path::new(name);
    let mut metadata = Metadata::new();
    let architecture = config["model_type"].as_str().unwrap_or_default();
    let architecture = names::architecture(architecture);
    metadata.insert("general.architecture", architecture);
    metadata.insert("general.type", "model");
    metadata.insert("general.name", title);
    let settings = settings::read(path, config, &mut metadata)?;
    let tokens = config["vocab_size"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    if tokens == 0 {
        let problem = "is missing, or no whole number".to_owned();
        return Err(Error::malformed(path, "vocab_size", problem));
    }
    if matches!(architecture, "llama" | "deepseek2") {
        metadata.insert(format!("{architecture}.vocab_size"), tokens);
    }
    copy_vocabulary(vocabulary, tokens as usize, path, &mut metadata)?;

    let mut tensors = Vec::new();
    for (name, frequencies) in settings.frequencies {
        let rows = Made { cols: frequencies.len(), values: frequencies };
        let shape = vec![rows.cols];
        tensors.push(tensor(name, shape, Box::new(rows)));
    }
    let layers = settings.shape.layers;
    for (name, shape) in settings.shape.tensors(tokens as usize, settings.tied, Form::Stacked) {
        let rows = rows(&name, &shape, layers);
        tensors.push(tensor(&name, shape, rows));
    }
    Ok(Draft { path: path.to_owned(), metadata, tensors, importance: None })
}

fn tensor(name: &str, shape: Vec<usize>, rows: Box<dyn Rows>) -> DraftTensor<'static> {
    DraftTensor { name: name.to_owned(), shape, ty: BlockType::F32, rows }
}

/// Tokenizer and template, with as many tokens as the model has rows.
fn copy_vocabulary(
    from: &Metadata,
    tokens: usize,
    path: &Path,
    to: &mut Metadata,
) -> Result<(), Error> {
    for (key, value) in from.iter().filter(|(key, _)| key.starts_with("tokenizer.")) {
        let mut value = value.clone();
        match (key, &mut value) {
            ("tokenizer.ggml.tokens", GgufValue::Array(Array::Str(words))) => {
                if words.len() > tokens {
                    let problem = format!("has {} tokens, and the model {tokens}", words.len());
                    let remedy = "name a model with a smaller vocabulary";
                    return Err(Error::unsupported(path, "vocabulary", problem, remedy));
                }
                let made = (words.len()..tokens).map(|n| format!("[PAD{n}]"));
                let all: StrArray = words.iter().map(str::to_owned).chain(made).collect();
                *words = all;
            }
            ("tokenizer.ggml.token_type", GgufValue::Array(Array::I32(types))) => {
                types.resize(tokens, UNUSED);
            }
            ("tokenizer.ggml.scores", GgufValue::Array(Array::F32(scores))) => {
                scores.resize(tokens, sentencepiece::NONE);
            }
            _ => {}
        }
        to.insert(key, value);
    }
    Ok(())
}

/// Numbers without end, bell-shaped round `middle`.
struct Noise {
    hash: u64,
    cols: usize,
    scale: f32,
    middle: f32,
}

impl Rows for Noise {
    fn ty(&self) -> BlockType {
        BlockType::F32
    }

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
        let start = (first * self.cols) as u64;
        for (i, out) in (start..).zip(out) {
            let bits = mixed(self.hash.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
            // Four even numbers of 16 bits.
            let sum: i32 = (0..4).map(|k| i32::from((bits >> (16 * k)) as u16)).sum();
            *out = self.middle + self.scale * ((sum - 2 * 0xFFFF) as f32 / 65536.0);
        }
        Ok(())
    }
}

/// SplitMix64's finaliser (Steele et al. 2014).
pub(super) fn mixed(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::{Mix, Wanted};

    #[test]
    fn qwq_has_the_published_size() {
        let config = config_of("qwq-32b").unwrap();
        let mut draft = Draft::synthetic("qwq-32b", &config, &Metadata::new(), 1).unwrap();
        let weights: usize = draft.tensors.iter().map(|t| t.shape.iter().product::<usize>()).sum();
        assert_eq!(weights, 32_763_876_352);
        assert_eq!(draft.tensors.len(), 771);
        draft.choose_types(&Wanted::plain(Mix::Q4_K_M)).unwrap();
        // The published file, less its metadata.
        let bytes = draft.bytes().unwrap();
        assert!((19_840_000_000..19_860_000_000).contains(&bytes), "{bytes}");
        let m = &draft.metadata;
        assert_eq!(m.u32("qwen2.context_length").unwrap(), Some(40960));
        assert_eq!(m.u32("qwen2.attention.head_count_kv").unwrap(), Some(8));
    }

    /// The published numbers of weights; of the second without the layer that guesses a second token.
    #[test]
    fn mixtures_of_experts_have_the_published_size() {
        let lite = json!({
            "model_type": "deepseek_v2", "num_hidden_layers": 27, "hidden_size": 2048,
            "intermediate_size": 10944, "moe_intermediate_size": 1408, "num_attention_heads": 16,
            "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
            "n_routed_experts": 64, "n_shared_experts": 2, "num_experts_per_tok": 6,
            "first_k_dense_replace": 1, "vocab_size": 102_400, "max_position_embeddings": 163_840,
            "rms_norm_eps": 1e-6, "topk_method": "greedy",
        });
        let r1 = json!({
            "model_type": "deepseek_v3", "num_hidden_layers": 61, "hidden_size": 7168,
            "intermediate_size": 18432, "moe_intermediate_size": 2048, "num_attention_heads": 128,
            "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 256,
            "n_shared_experts": 1, "num_experts_per_tok": 8, "n_group": 8, "topk_group": 4,
            "first_k_dense_replace": 3, "vocab_size": 129_280, "max_position_embeddings": 163_840,
            "rms_norm_eps": 1e-6, "norm_topk_prob": true, "routed_scaling_factor": 2.5,
        });
        for (config, expected) in [(lite, 15_706_484_224), (r1, 671_026_419_200usize)] {
            let draft = Draft::synthetic("m", &config, &Metadata::new(), 1).unwrap();
            let sizes = draft.tensors.iter().map(|t| t.shape.iter().product::<usize>());
            assert_eq!(sizes.sum::<usize>(), expected);
        }
    }

    #[test]
    fn every_shape_is_sound_and_noise_is_noise() {
        for name in shapes() {
            let config = config_of(name).unwrap();
            let draft = Draft::synthetic(name, &config, &Metadata::new(), 7).unwrap();
            let q = draft.tensors.iter().find(|t| t.name == "blk.1.attn_q.weight").unwrap();
            let cols = q.cols();
            let mut two = vec![0.0; 2 * cols];
            q.rows.read(3, &mut two).unwrap();
            let mut second = vec![0.0; cols];
            q.rows.read(4, &mut second).unwrap();
            assert_eq!(second, two[cols..]);
            assert_ne!(second, two[..cols]);
            let power: f32 = second.iter().map(|x| x * x).sum();
            assert!((0.8..1.2).contains(&power), "{name}: {power}");
        }
        assert_eq!(config_of("gpt-5"), None);
    }

    #[test]
    fn a_vocabulary_is_filled_up_and_never_cut() {
        let mut vocabulary = Metadata::new();
        vocabulary.insert("tokenizer.ggml.tokens", StrArray::from_iter(["a", "b"]));
        vocabulary.insert("tokenizer.ggml.token_type", vec![1i32, 1]);
        vocabulary.insert("general.license", "x");
        let mut to = Metadata::new();
        copy_vocabulary(&vocabulary, 4, Path::new("m"), &mut to).unwrap();
        let tokens = to.require_str_array("tokenizer.ggml.tokens").unwrap();
        assert_eq!(tokens.iter().collect::<Vec<_>>(), ["a", "b", "[PAD2]", "[PAD3]"]);
        assert_eq!(to.require_i32_array("tokenizer.ggml.token_type").unwrap()[..], [1, 1, 5, 5]);
        assert!(!to.contains("general.license"));
        let error = copy_vocabulary(&vocabulary, 1, Path::new("m"), &mut to).unwrap_err();
        assert!(error.to_string().contains("has 2 tokens, and the model 1"), "{error}");
    }
}
