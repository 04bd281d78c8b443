//! A small model with large biases of keys, and reading texts with it.

use std::path::Path;

use model::{CacheOptions, KvCache, Model, Sequence, Span, Want, Workspace};
use serde_json::json;

use crate::support::*;

pub const VOCAB: usize = 97;
const HIDDEN: usize = 64;
/// Four query heads and two of keys and values, of 32 elements each.
const Q: usize = 128;
const KV: usize = 64;

/// Numbers in [-1, 1), another list for each seed.
fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

/// A model of `qwen2`'s kind with large biases of keys, in the slowly turning pairs above all as in the
/// real ones, and biases of values that differ between heads.
pub fn model(dir: &Path, rope_scaling: serde_json::Value, layers: usize) -> Model {
    let config = json!({
        "model_type": "qwen2", "hidden_act": "silu", "hidden_size": HIDDEN, "head_dim": 32,
        "intermediate_size": 96, "num_hidden_layers": layers, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "rope_scaling": rope_scaling, "vocab_size": VOCAB,
        "tie_word_embeddings": true,
    });
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let mut all = Vec::new();
    let mut add = |name: String, shape: &[usize], of: &dyn Fn(usize, f32) -> f32| {
        let values = noise(all.len() as u64 + 7, shape.iter().product());
        let values = values.into_iter().enumerate().map(|(i, x)| of(i, x)).collect();
        all.push(Weights { name, shape: shape.to_vec(), values });
    };
    add("model.embed_tokens.weight".to_owned(), &[VOCAB, HIDDEN], &|_, x| x);
    add("model.norm.weight".to_owned(), &[HIDDEN], &|_, _| 1.0);
    for layer in 0..layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        for part in ["input_layernorm", "post_attention_layernorm"] {
            add(name(&format!("{part}.weight")), &[HIDDEN], &|_, _| 1.0);
        }
        for (part, rows, cols) in [
            ("self_attn.q_proj", Q, HIDDEN),
            ("self_attn.k_proj", KV, HIDDEN),
            ("self_attn.v_proj", KV, HIDDEN),
            ("self_attn.o_proj", HIDDEN, Q),
            ("mlp.gate_proj", 96, HIDDEN),
            ("mlp.up_proj", 96, HIDDEN),
            ("mlp.down_proj", HIDDEN, 96),
        ] {
            let scale = 2.0 / (cols as f32).sqrt();
            add(name(&format!("{part}.weight")), &[rows, cols], &|_, x| scale * x);
        }
        add(name("self_attn.q_proj.bias"), &[Q], &|_, x| 0.2 * x);
        // The last pairs of a head turn slowest.
        let large = |i: usize, x: f32| if i % 16 > 11 { 80.0 * x } else { x };
        add(name("self_attn.k_proj.bias"), &[KV], &large);
        add(name("self_attn.v_proj.bias"), &[KV], &|i, x| if i < 32 { 6.0 * x } else { -2.0 });
    }
    write_safetensors(&dir.join("model.safetensors"), &all);
    open(dir)
}

/// Logits after every token, read in pieces.
pub fn every(
    model: &Model,
    cache: impl Into<CacheOptions>,
    text: &[u32],
    piece: usize,
) -> Vec<f32> {
    let mut cache = KvCache::new(model.config(), cache, 4096);
    go_on(model, &mut cache, &mut Sequence::default(), text, piece)
}

/// The same, of a text that goes on from what a sequence holds.
pub fn go_on(
    model: &Model,
    cache: &mut KvCache,
    sequence: &mut Sequence,
    text: &[u32],
    piece: usize,
) -> Vec<f32> {
    let (mut work, mut all) = (Workspace::default(), Vec::new());
    for tokens in text.chunks(piece) {
        let span = Span { sequence, tokens, want: Want::All, adapter: None };
        let n = model.forward(cache, &mut [span], &mut work).unwrap();
        let mut out = vec![0.0; n * VOCAB];
        model.logits(&mut work, 0..n, &mut out);
        all.extend(out);
    }
    all
}

pub fn text(seed: u64, n: usize) -> Vec<u32> {
    noise(seed, n).into_iter().map(|x| ((x + 1.0) * 0.5 * (VOCAB - 1) as f32) as u32).collect()
}
