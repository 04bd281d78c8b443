//! A model as it is before it has learned anything.

use std::f64::consts::TAU;

use kernels::blocks::BlockType;
use serde_json::Value;

use super::draft::Draft;
use super::rows::Rows;
use super::synth::{ends_a_branch, hash_of, in_shape, mixed};
use crate::Error;
use crate::gguf::Metadata;

/// The standard deviation of a matrix: that of GPT-2 (Radford et al. 2019) and of `initializer_range` in
/// `transformers`.
const DEVIATION: f64 = 0.02;

impl Draft<'static> {
    /// A model to be trained from nothing, in the shape that `config`, a `config.json`, describes, with the
    /// tokenizer and the template of `vocabulary`, a GGUF file's metadata.
    ///
    /// Matrices are drawn from a normal distribution with a deviation of 0.02; those at the end of a residual
    /// branch (two a layer: `attn_output`, `ffn_down`) from one divided by `√(2 · layers)`, so that what is
    /// added up along the layers doesn't grow with their number (GPT-2: Radford et al. 2019, section 2.3).
    /// Norms are 1, biases 0. Each number depends on `seed`, its tensor's name and its place alone.
    ///
    /// # Errors
    /// The architecture is unknown, a setting is missing or makes no sense, or the vocabulary is too large.
    pub fn initial(
        name: &str,
        config: &Value,
        vocabulary: &Metadata,
        seed: u64,
    ) -> Result<Draft<'static>, Error> {
        in_shape([name, name], config, vocabulary, &|name, shape, layers| {
            let branch = if ends_a_branch(name) { (2.0 * layers as f64).sqrt() } else { 1.0 };
            Box::new(Initial {
                hash: hash_of(seed, name),
                cols: shape.last().copied().unwrap_or(1),
                deviation: if shape.len() > 1 { DEVIATION / branch } else { 0.0 },
                mean: if name.contains("norm") { 1.0 } else { 0.0 },
            })
        })
    }
}

/// Normally distributed numbers.
struct Initial {
    hash: u64,
    cols: usize,
    deviation: f64,
    mean: f64,
}

impl Rows for Initial {
    fn ty(&self) -> BlockType {
        BlockType::F32
    }

    fn read(&self, first: usize, out: &mut [f32]) -> Result<(), Error> {
        let start = (first * self.cols) as u64;
        for (i, out) in (start..).zip(out) {
            *out = (self.mean + self.deviation * normal(self.hash, i)) as f32;
        }
        Ok(())
    }
}

/// The `i`-th number of a standard normal distribution (Box and Muller 1958).
fn normal(hash: u64, i: u64) -> f64 {
    let bits = |k: u64| mixed(hash.wrapping_add((2 * i + k).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
    let unit = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    (-2.0 * unit(bits(0)).ln()).sqrt() * (TAU * unit(bits(1))).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn numbers(draft: &Draft<'_>, name: &str) -> Vec<f32> {
        let t = draft.tensors.iter().find(|t| t.name == name).unwrap();
        let mut all = vec![0.0; t.shape.iter().product()];
        t.rows.read(0, &mut all).unwrap();
        all
    }

    #[test]
    fn matrices_are_as_gpt_2_has_them() {
        let config = json!({
            "model_type": "qwen2", "num_hidden_layers": 8, "hidden_size": 128,
            "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2,
            "head_dim": 32, "vocab_size": 512, "max_position_embeddings": 64,
            "rms_norm_eps": 1e-6, "rope_theta": 1e4, "tie_word_embeddings": true,
        });
        let draft = |seed| Draft::initial("new", &config, &Metadata::new(), seed).unwrap();
        let (one, again, other) = (draft(1), draft(1), draft(2));
        for (name, wanted) in [
            ("token_embd.weight", 0.02),
            ("blk.3.attn_q.weight", 0.02),
            ("blk.0.ffn_down.weight", 0.005),
            ("blk.7.attn_output.weight", 0.005),
        ] {
            let all = numbers(&one, name);
            let n = all.len() as f64;
            let mean = all.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
            let moment =
                |k: i32| all.iter().map(|x| (f64::from(*x) - mean).powi(k)).sum::<f64>() / n;
            let deviation = moment(2).sqrt();
            assert!((deviation / wanted - 1.0).abs() < 0.03, "{name}: {deviation}");
            assert!(mean.abs() < 0.05 * wanted, "{name}: {mean}");
            // A normal distribution has a kurtosis of 3; four even numbers added up have 2.7.
            let kurtosis = moment(4) / moment(2).powi(2);
            assert!((kurtosis - 3.0).abs() < 0.15, "{name}: {kurtosis}");
            assert_eq!(all, numbers(&again, name));
            assert_ne!(all, numbers(&other, name));
        }
        assert_ne!(numbers(&one, "blk.0.attn_k.weight"), numbers(&one, "blk.0.attn_v.weight"));
        assert!(numbers(&one, "blk.0.attn_norm.weight").iter().all(|x| *x == 1.0));
        assert!(numbers(&one, "blk.0.attn_q.bias").iter().all(|x| *x == 0.0));
        assert!(one.tensors.iter().all(|t| t.name != "output.weight"));
    }
}
