//! Settings from GGUF metadata (keys as laid down in the GGUF specification).

use kernels::ops::RopeLayout;
use weights::Checkpoint;
use weights::gguf::{Array, Gguf, Value};

use super::{Config, ExpertConfig, Traits, Window, all_but_every, ntk_theta};
use crate::load::read_f32;
use crate::{Error, RopeConfig, RopeScaling};

/// What frequencies are divided by for texts longer than the original context, and for others.
const LONG: &str = "rope_factors_long.weight";
const SHORT: &str = "rope_factors_short.weight";

/// The divisors of `dim / 2` frequencies.
fn read_divisors(checkpoint: &Checkpoint, name: &str, dim: usize) -> Result<Vec<f32>, Error> {
    let divisors = read_f32(checkpoint, name, &[dim / 2])?;
    match divisors.iter().find(|d| !(**d > 0.0 && d.is_finite())) {
        None => Ok(divisors),
        Some(wrong) => Err(Error::Config {
            path: checkpoint.path().to_owned(),
            key: name.to_owned(),
            problem: format!("a frequency can't be divided by {wrong}"),
        }),
    }
}

pub(super) fn read(checkpoint: &Checkpoint, file: &Gguf) -> Result<Config, Error> {
    let metadata = file.metadata();
    let architecture = metadata.require_str("general.architecture")?;
    let traits = Traits::of(file.path(), architecture)?;
    let key = |name: &str| format!("{architecture}.{name}");
    let bad = |name: &str, problem: String| Error::Config {
        path: file.path().to_owned(),
        key: key(name),
        problem,
    };
    let size = |name: &str| metadata.require_u32(&key(name)).map(|v| v as usize);
    let maybe_size = |name: &str| metadata.u32(&key(name)).map(|v| v.map(|v| v as usize));

    let hidden = size("embedding_length")?;
    let heads = size("attention.head_count")?;
    if heads == 0 {
        return Err(bad("attention.head_count", "0 is not within 1 to 16384".to_owned()));
    }
    let head_dim = maybe_size("attention.key_length")?.unwrap_or(hidden / heads);
    if let Some(value) = maybe_size("attention.value_length")?
        && value != head_dim
    {
        let problem = format!("values of {value} elements beside keys of {head_dim}");
        return Err(bad("attention.value_length", problem));
    }
    let context_length = size("context_length")?;
    let dim = maybe_size("rope.dimension_count")?.unwrap_or(head_dim);
    let factor = metadata.f32(&key("rope.scaling.factor"))?;
    let original = maybe_size("rope.scaling.original_context_length")?;
    let kind = metadata.str(&key("rope.scaling.type"))?;
    let scaling = match (kind, factor) {
        // That it is LongRoPE is seen from its tensors; few files say so.
        _ if checkpoint.tensor(LONG).is_some() => {
            let divisors = |name| read_divisors(checkpoint, name, dim);
            RopeScaling::LongRope {
                long: divisors(LONG)?,
                short: divisors(SHORT)?,
                original: original.unwrap_or(context_length),
                attention_factor: metadata.f32(&key("rope.scaling.attn_factor"))?.unwrap_or(1.0),
                stretched: true,
            }
        }
        (Some("longrope"), _) => {
            let problem = format!("is longrope, but there is no tensor `{LONG}`");
            return Err(bad("rope.scaling.type", problem));
        }
        (None | Some("none"), _) => RopeScaling::None,
        (Some("linear"), Some(factor)) if factor >= 1.0 => RopeScaling::Linear { factor },
        (Some("yarn"), Some(factor)) if factor >= 1.0 => {
            let beta = |name: &str, default| metadata.f32(&key(name)).map(|b| b.unwrap_or(default));
            // GGUF's attn_factor multiplies YaRN's own.
            let own = metadata.f32(&key("rope.scaling.attn_factor"))?;
            RopeScaling::Yarn {
                factor,
                original: original.unwrap_or(context_length),
                beta_fast: beta("rope.scaling.yarn_beta_fast", 32.0)?,
                beta_slow: beta("rope.scaling.yarn_beta_slow", 1.0)?,
                attention_factor: own.map(|a| a * (0.1 * factor.ln() + 1.0)),
            }
        }
        (Some("linear" | "yarn"), factor) => {
            let problem = format!("{factor:?} is no factor of at least 1");
            return Err(bad("rope.scaling.factor", problem));
        }
        (Some(other), _) => {
            let problem = format!("`{other}` is not one of none, linear, yarn");
            return Err(bad("rope.scaling.type", problem));
        }
    };
    let has_experts = architecture == "qwen3moe";
    let experts = match has_experts {
        // Files don't say whether weights are normalised: all models of this kind do it.
        true => Some(ExpertConfig {
            count: size("expert_count")?,
            used: size("expert_used_count")?,
            normalised: true,
        }),
        false => None,
    };
    let theta = metadata.f32(&key("rope.freq_base"))?.unwrap_or(10_000.0);
    // Most files have a base that is scaled already.
    let theta = match metadata.f32(&key("rope.scaling.alpha"))? {
        Some(alpha) if alpha > 0.0 => ntk_theta(theta, alpha, dim),
        _ => theta,
    };
    if metadata.f32(&key("final_logit_softcapping"))?.is_some_and(|cap| cap != 0.0) {
        let problem = "logits that are capped are not supported".to_owned();
        return Err(bad("final_logit_softcapping", problem));
    }
    let layers = size("block_count")?;
    // There 0 stands for none.
    let positions = maybe_size("attention.sliding_window")?.filter(|positions| *positions > 0);
    let window = match traits.windowed.zip(positions) {
        Some((every, positions)) => {
            let name = "attention.sliding_window_pattern";
            let layers = match metadata.get(&key(name)) {
                Some(Value::Array(Array::Bool(each))) => each.clone(),
                _ => all_but_every(maybe_size(name)?.unwrap_or(every), layers.min(1 << 12)),
            };
            // Where only some layers have the window, these have frequencies of their own.
            let rope = RopeConfig {
                theta: metadata.f32(&key("rope.freq_base_swa"))?.unwrap_or(10_000.0),
                dim,
                layout: layout(architecture),
                scaling: RopeScaling::None,
            };
            Some(Window { positions, layers, rope: (every > 0).then_some(rope) })
        }
        None => None,
    };
    // No key says so: of Gemma 3, the largest model alone has another scale, known by its layers.
    let scale = match (architecture, layers) {
        ("gemma3", 62) => hidden / heads,
        _ => head_dim,
    };
    Ok(Config {
        architecture: architecture.to_owned(),
        layers,
        hidden,
        heads,
        kv_heads: maybe_size("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        ffn: size(if has_experts { "expert_feed_forward_length" } else { "feed_forward_length" })?,
        experts,
        rms_norm_eps: metadata.require_f32(&key("attention.layer_norm_rms_epsilon"))?,
        context_length,
        rope: RopeConfig { theta, dim, layout: layout(architecture), scaling },
        qkv_bias: traits.qkv_bias,
        qk_norm: traits.qk_norm,
        norm_after_rope: traits.norm_after_rope,
        fused: traits.fused,
        window,
        attention_scale: 1.0 / (scale as f32).sqrt(),
        embedding_scale: if traits.scaled { (hidden as f32).sqrt() } else { 1.0 },
        activation: traits.activation,
        post_norms: traits.post_norms,
        norm_shift: 0.0,
    })
}

/// The order of q's and k's rows in a GGUF file.
pub(crate) fn layout(architecture: &str) -> RopeLayout {
    match architecture {
        // Converters permute q and k of `llama` so that neighbours are rotated together.
        "llama" => RopeLayout::Interleaved,
        _ => RopeLayout::Halves,
    }
}
