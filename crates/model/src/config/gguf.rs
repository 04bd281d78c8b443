//! Settings from GGUF metadata (keys as laid down in the GGUF specification).

use kernels::ops::RopeLayout;
use weights::Checkpoint;
use weights::gguf::{Array, Gguf, Value};

use super::{Config, ExpertConfig, Gating, LatentConfig, Traits, Window, all_but_every, ntk_theta};
use crate::load::read_f32;
use crate::rope::DIVISORS;
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
    let latent = match architecture {
        "deepseek2" => Some(latent(file, &key)?),
        _ => None,
    };
    let head_dim = match latent {
        Some(latent) => latent.kv_lora_rank + size("rope.dimension_count")?,
        None => maybe_size("attention.key_length")?.unwrap_or(hidden / heads),
    };
    if let Some(value) = maybe_size("attention.value_length")?
        && value != head_dim
        && latent.is_none()
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
            let attention_factor = match latent {
                // Scores have all of it.
                Some(latent) if latent.mscale_all_dim > 0.0 => Some(own.unwrap_or(1.0)),
                _ => own.map(|a| a * (0.1 * factor.ln() + 1.0)),
            };
            RopeScaling::Yarn {
                factor,
                original: original.unwrap_or(context_length),
                beta_fast: beta("rope.scaling.yarn_beta_fast", 32.0)?,
                beta_slow: beta("rope.scaling.yarn_beta_slow", 1.0)?,
                attention_factor,
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
    let experts = experts(file, architecture, &key)?;
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
    // Layers behind the last one guess further tokens.
    let behind = maybe_size("nextn_predict_layers")?.unwrap_or(0);
    let layers = size("block_count")?.saturating_sub(behind);
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
            let theta = metadata.f32(&key("rope.freq_base_swa"))?.unwrap_or(10_000.0);
            let rope = RopeConfig::new(theta, dim, layout(architecture), RopeScaling::None);
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
        kv_heads: match latent {
            Some(_) => 1,
            None => maybe_size("attention.head_count_kv")?.unwrap_or(heads),
        },
        head_dim,
        latent,
        ffn: match experts {
            Some(experts) if experts.dense_layers == 0 => experts.ffn,
            _ => size("feed_forward_length")?,
        },
        experts,
        rms_norm_eps: metadata.require_f32(&key("attention.layer_norm_rms_epsilon"))?,
        context_length,
        rope: RopeConfig {
            divided: checkpoint.tensor(DIVISORS).is_some(),
            ..RopeConfig::new(theta, dim, layout(architecture), scaling)
        },
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

/// What keys and values are made from. Files with the matrix of both in two have the lengths of keys and values as
/// attention sees them under the usual names, and those of heads under names of their own.
fn latent(file: &Gguf, key: &impl Fn(&str) -> String) -> Result<LatentConfig, Error> {
    let metadata = file.metadata();
    let size = |name: &str| metadata.require_u32(&key(name)).map(|v| v as usize);
    let length = |name: &str| match metadata.u32(&key(&format!("{name}_mla")))? {
        Some(length) => Ok(length as usize),
        None => size(name),
    };
    let (whole, rotated) = (length("attention.key_length")?, size("rope.dimension_count")?);
    let Some(qk_nope_head_dim) = whole.checked_sub(rotated) else {
        return Err(Error::Config {
            path: file.path().to_owned(),
            key: key("rope.dimension_count"),
            problem: format!("{rotated} of a head's {whole} elements can't be rotated"),
        });
    };
    // A tenth of what it is to be.
    let multiplier = metadata.f32(&key("rope.scaling.yarn_log_multiplier"))?;
    let q_lora_rank = metadata.u32(&key("attention.q_lora_rank"))?;
    Ok(LatentConfig {
        q_lora_rank: q_lora_rank.filter(|rank| *rank > 0).map(|rank| rank as usize),
        kv_lora_rank: size("attention.kv_lora_rank")?,
        qk_nope_head_dim,
        v_head_dim: length("attention.value_length")?,
        mscale_all_dim: multiplier.map_or(0.0, |tenth| tenth / 0.1),
    })
}

fn experts(
    file: &Gguf,
    architecture: &str,
    key: &impl Fn(&str) -> String,
) -> Result<Option<ExpertConfig>, Error> {
    let metadata = file.metadata();
    let size = |name: &str| metadata.require_u32(&key(name)).map(|v| v as usize);
    let maybe_size = |name: &str| metadata.u32(&key(name)).map(|v| v.map(|v| v as usize));
    let plain = |normalised| -> Result<ExpertConfig, Error> {
        let (count, used) = (size("expert_count")?, size("expert_used_count")?);
        Ok(ExpertConfig::plain(count, used, size("expert_feed_forward_length")?, normalised))
    };
    let shared = maybe_size("expert_shared_count")?;
    match architecture {
        // Files don't say whether weights are normalised: all models of these kinds do it.
        "qwen3moe" => plain(true).map(Some),
        "hunyuan-moe" => {
            let plain = plain(true)?;
            let shared_ffn = maybe_size("expert_shared_feed_forward_length")?;
            Ok(Some(ExpertConfig { shared_ffn: shared_ffn.unwrap_or(plain.ffn), ..plain }))
        }
        "deepseek2" => {
            let normalised = metadata.bool(&key("expert_weights_norm"))?.unwrap_or(false);
            let plain = plain(normalised)?;
            let gating = match maybe_size("expert_gating_func")?.unwrap_or(0) {
                // The first files of DeepSeek-V2 don't say.
                0 | 1 => Gating::Softmax,
                2 => Gating::Sigmoid,
                other => {
                    return Err(Error::Config {
                        path: file.path().to_owned(),
                        key: key("expert_gating_func"),
                        problem: format!("{other} is not one of 1 (softmax), 2 (sigmoid)"),
                    });
                }
            };
            let one_or = |name: &str| maybe_size(name).map(|n| n.unwrap_or(0).max(1));
            let scale = metadata.f32(&key("expert_weights_scale"))?;
            Ok(Some(ExpertConfig {
                shared_ffn: plain.ffn.saturating_mul(shared.unwrap_or(0)),
                dense_layers: maybe_size("leading_dense_block_count")?.unwrap_or(0),
                gating,
                groups: one_or("expert_group_count")?,
                groups_used: one_or("expert_group_used_count")?,
                // There 0 stands for none.
                scale: scale.filter(|scale| *scale != 0.0).unwrap_or(1.0),
                ..plain
            }))
        }
        _ => Ok(None),
    }
}

/// The order of q's and k's rows in a GGUF file.
pub(crate) fn layout(architecture: &str) -> RopeLayout {
    match architecture {
        // Converters permute q and k of `llama` so that neighbours are rotated together; DeepSeek's are so anyway.
        "llama" | "deepseek2" => RopeLayout::Interleaved,
        _ => RopeLayout::Halves,
    }
}
