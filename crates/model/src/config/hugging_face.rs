//! Settings from a `config.json` as `transformers` writes it.

use std::path::Path;

use kernels::ops::RopeLayout;
use serde_json::Value;
use weights::safetensors::names;

use super::{
    Activation, Config, ExpertConfig, Gating, LatentConfig, Traits, Window, all_but_every,
    ntk_theta, yarn_mscale,
};
use crate::rope::long_rope_attention;
use crate::{Error, RopeConfig, RopeScaling};

/// An object of `config.json` and where it is.
struct Object<'a> {
    path: &'a Path,
    prefix: &'a str,
    value: &'a Value,
}

impl Object<'_> {
    fn bad(&self, key: &str, problem: impl Into<String>) -> Error {
        Error::Config {
            path: self.path.to_owned(),
            key: format!("config.json: {}{key}", self.prefix),
            problem: problem.into(),
        }
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.value.get(key).filter(|v| !v.is_null())
    }

    fn size(&self, key: &str) -> Result<Option<usize>, Error> {
        self.get(key)
            .map(|v| {
                v.as_u64()
                    .and_then(|v| usize::try_from(v).ok())
                    .ok_or_else(|| self.bad(key, format!("{v} is no whole number")))
            })
            .transpose()
    }

    /// A whole number, or one for each layer: they have to be the same.
    fn same_size(&self, key: &str) -> Result<Option<usize>, Error> {
        match self.get(key).and_then(Value::as_array).map(Vec::as_slice) {
            None => self.size(key),
            Some([first, rest @ ..]) if rest.iter().all(|size| size == first) => {
                Object { value: &serde_json::json!({ key: first }), ..*self }.size(key)
            }
            Some(_) => Err(self.bad(key, "differs from layer to layer, which is not supported")),
        }
    }

    /// Refuses a setting that is there with another value.
    fn refuse_unless(&self, key: &str, wanted: &Value) -> Result<(), Error> {
        match self.get(key).filter(|found| *found != wanted) {
            Some(found) => Err(self.bad(key, format!("{found} is not supported, only {wanted}"))),
            None => Ok(()),
        }
    }

    fn number(&self, key: &str) -> Result<Option<f32>, Error> {
        self.get(key)
            .map(|v| match v.as_f64() {
                Some(v) => Ok(v as f32),
                None => Err(self.bad(key, format!("{v} is no number"))),
            })
            .transpose()
    }

    /// The kind of scaling, of an object that says how positions are stretched.
    fn kind(&self) -> &str {
        let kind = ["rope_type", "type"].into_iter().find_map(|key| self.get(key)?.as_str());
        kind.unwrap_or("default")
    }

    fn need<T>(&self, key: &str, value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| self.bad(key, "is missing; fetch or convert the model again"))
    }
}

pub(super) fn read(path: &Path, value: &Value) -> Result<Config, Error> {
    let config = Object { path, prefix: "", value };
    let model_type = config.need("model_type", value.get("model_type").and_then(Value::as_str))?;
    // One name for both kinds of file.
    let architecture = names::architecture(model_type);
    let traits = Traits::of(path, architecture)?;
    let experts = match architecture {
        "qwen3moe" => Some(experts(&config)?),
        "deepseek2" => Some(deepseek_experts(&config, model_type)?),
        "hunyuan-moe" => Some(hunyuan_experts(&config)?),
        _ => None,
    };
    let activation = match traits.activation {
        Activation::Silu => ("hidden_act", Value::from("silu")),
        Activation::Gelu => ("hidden_activation", Value::from("gelu_pytorch_tanh")),
    };
    for (key, wanted) in [
        activation,
        ("mlp_bias", Value::from(false)),
        ("use_bidirectional_attention", Value::from(false)),
        ("attn_logit_softcapping", Value::Null),
        ("final_logit_softcapping", Value::Null),
    ] {
        config.refuse_unless(key, &wanted)?;
    }
    if config.get("use_sliding_window") == Some(&Value::Bool(true)) {
        return Err(config.bad("use_sliding_window", "sliding windows are not supported"));
    }
    let size = |key: &str| config.need(key, config.size(key)?);

    let hidden = size("hidden_size")?;
    let heads = size("num_attention_heads")?;
    if heads == 0 {
        return Err(config.bad("num_attention_heads", "0 is not within 1 to 16384"));
    }
    let rotated = match architecture {
        "deepseek2" => Some(size("qk_rope_head_dim")?),
        _ => None,
    };
    let head_dim = match rotated {
        Some(rotated) => size("kv_lora_rank")?.saturating_add(rotated),
        None => config.size("head_dim")?.unwrap_or(hidden / heads),
    };
    let max_positions = size("max_position_embeddings")?;

    // Newer files keep theta and scaling together in `rope_parameters`.
    let (name, rope) = ["rope_parameters", "rope_scaling"]
        .into_iter()
        .find_map(|name| config.get(name).map(|v| (name, v)))
        .unwrap_or(("", &Value::Null));
    // The newest have one for each kind of layer.
    let (name, local, rope) = match rope.get("full_attention").filter(|_| traits.windowed.is_some())
    {
        Some(full) => (format!("{name}.full_attention"), rope.get("sliding_attention"), full),
        None => (name.to_owned(), None, rope),
    };
    let prefix = format!("{name}.");
    let rope = Object { path, prefix: &prefix, value: rope };
    let theta = match rope.number("rope_theta")? {
        Some(theta) => theta,
        None => config.number("rope_theta")?.unwrap_or(10_000.0),
    };
    let part = match rope.number("partial_rotary_factor")? {
        Some(part) => part,
        None => config.number("partial_rotary_factor")?.unwrap_or(1.0),
    };
    let dim = rotated.unwrap_or((head_dim as f32 * part) as usize);
    // Hunyuan's "dynamic" scaling is always the same: another base.
    let (theta, scaling) = match rope.number("alpha")? {
        Some(alpha) if rope.kind() == "dynamic" => {
            if !(1.0..=1e6).contains(&alpha) {
                return Err(rope.bad("alpha", format!("{alpha} is not within 1 to 1000000")));
            }
            (ntk_theta(theta, alpha, dim), RopeScaling::None)
        }
        // Phi-3's first files had other names for it.
        _ if matches!(rope.kind(), "longrope" | "su") || rope.get("long_factor").is_some() => {
            (theta, long_rope(&rope, &config, dim, max_positions)?)
        }
        _ => (theta, scaling(&rope, &config, max_positions)?),
    };
    // A model whose file says nothing about the stretched length can still use it.
    let context_length = match scaling {
        RopeScaling::Yarn { factor, original, .. } => {
            max_positions.max((original as f32 * factor) as usize)
        }
        _ => max_positions,
    };
    let layers = size("num_hidden_layers")?;
    let window = match traits.windowed.zip(config.size("sliding_window")?) {
        Some((every, positions)) => Some(Window {
            positions,
            layers: windowed(&config, every, layers)?,
            rope: match every {
                0 => None,
                _ => {
                    let theta = local_theta(&config, local)?;
                    Some(RopeConfig::new(theta, dim, RopeLayout::Halves, RopeScaling::None))
                }
            },
        }),
        None => None,
    };
    let scale = config.number("query_pre_attn_scalar")?.unwrap_or(head_dim as f32);
    Ok(Config {
        architecture: architecture.to_owned(),
        layers,
        hidden,
        heads,
        kv_heads: match rotated {
            Some(_) => 1,
            None => config.size("num_key_value_heads")?.unwrap_or(heads),
        },
        head_dim,
        latent: rotated.map(|_| latent(&config, &rope)).transpose()?,
        ffn: match experts {
            Some(experts) if experts.dense_layers == 0 => experts.ffn,
            _ => size("intermediate_size")?,
        },
        experts,
        rms_norm_eps: config.need("rms_norm_eps", config.number("rms_norm_eps")?)?,
        context_length,
        rope: RopeConfig::new(theta, dim, layout(&config, architecture), scaling),
        qkv_bias: traits.qkv_bias,
        qk_norm: traits.qk_norm,
        norm_after_rope: traits.norm_after_rope,
        fused: traits.fused,
        window,
        attention_scale: 1.0 / scale.sqrt(),
        embedding_scale: if traits.scaled { (hidden as f32).sqrt() } else { 1.0 },
        activation: traits.activation,
        post_norms: traits.post_norms,
        // Gemma's norms multiply by one and what is in the file.
        norm_shift: if traits.post_norms { 1.0 } else { 0.0 },
    })
}

/// Of each layer, whether it has the window: as the file lists them, or all but every so many.
fn windowed(config: &Object<'_>, every: usize, layers: usize) -> Result<Vec<bool>, Error> {
    if let Some(types) = config.get("layer_types").filter(|_| every > 0) {
        let each = types.as_array().map(|types| {
            types.iter().map(|ty| match ty.as_str() {
                Some("sliding_attention") => Some(true),
                Some("full_attention") => Some(false),
                _ => None,
            })
        });
        let each: Option<Vec<bool>> = each.and_then(Iterator::collect);
        let problem = "is no list of sliding_attention and full_attention";
        return each.ok_or_else(|| config.bad("layer_types", problem));
    }
    let own = match config.size("sliding_window_pattern")? {
        Some(own) => Some(own),
        None => config.size("_sliding_window_pattern")?,
    };
    Ok(all_but_every(own.filter(|_| every > 0).unwrap_or(every), layers.min(1 << 12)))
}

/// The base of RoPE of layers that have the window.
fn local_theta(config: &Object<'_>, local: Option<&Value>) -> Result<f32, Error> {
    let local = local.and_then(|local| local.get("rope_theta")?.as_f64()).map(|theta| theta as f32);
    match local {
        Some(theta) => Ok(theta),
        None => Ok(config.number("rope_local_base_freq")?.unwrap_or(10_000.0)),
    }
}

/// The experts, which every layer has to have.
fn experts(config: &Object<'_>) -> Result<ExpertConfig, Error> {
    if let Some(step) = config.size("decoder_sparse_step")?.filter(|step| *step != 1) {
        let problem = format!("{step} is not supported: every layer has to have experts");
        return Err(config.bad("decoder_sparse_step", problem));
    }
    if config.get("mlp_only_layers").is_some_and(|layers| layers.as_array() != Some(&vec![])) {
        let problem = "layers without experts beside such with them are not supported";
        return Err(config.bad("mlp_only_layers", problem));
    }
    let size = |key: &str| config.need(key, config.size(key)?);
    let normalised = config.get("norm_topk_prob").and_then(Value::as_bool);
    Ok(ExpertConfig::plain(
        size("num_experts")?,
        size("num_experts_per_tok")?,
        size("moe_intermediate_size")?,
        normalised.unwrap_or(false),
    ))
}

/// Those of DeepSeek-V2 and, with a sigmoid, of V3.
fn deepseek_experts(config: &Object<'_>, model_type: &str) -> Result<ExpertConfig, Error> {
    let size = |key: &str| config.need(key, config.size(key)?);
    config.refuse_unless("moe_layer_freq", &Value::from(1))?;
    let third = model_type == "deepseek_v3";
    let grouped = match (third, config.get("topk_method").and_then(Value::as_str)) {
        (true, None | Some("noaux_tc")) | (false, Some("group_limited_greedy")) => true,
        (false, None | Some("greedy")) => false,
        (_, Some(other)) => {
            let problem = format!("`{other}` is not supported for {model_type}");
            return Err(config.bad("topk_method", problem));
        }
    };
    let (groups, groups_used) =
        if grouped { (size("n_group")?, size("topk_group")?) } else { (1, 1) };
    let normalised = config.get("norm_topk_prob").and_then(Value::as_bool).unwrap_or(third);
    if normalised && !third {
        // Its makers then don't scale what is normalised, and `transformers` doesn't normalise.
        return Err(config.bad("norm_topk_prob", "true is not supported, only false"));
    }
    let ffn = size("moe_intermediate_size")?;
    Ok(ExpertConfig {
        shared_ffn: ffn.saturating_mul(config.size("n_shared_experts")?.unwrap_or(0)),
        dense_layers: config.size("first_k_dense_replace")?.unwrap_or(0),
        gating: if third { Gating::Sigmoid } else { Gating::Softmax },
        groups,
        groups_used,
        scale: config.number("routed_scaling_factor")?.unwrap_or(1.0),
        ..ExpertConfig::plain(
            size("n_routed_experts")?,
            size("num_experts_per_tok")?,
            ffn,
            normalised,
        )
    })
}

fn hunyuan_experts(config: &Object<'_>) -> Result<ExpertConfig, Error> {
    config.refuse_unless("moe_layer_num_skipped", &Value::from(0))?;
    config.refuse_unless("use_cla", &Value::from(false))?;
    let need = |key: &str| config.need(key, config.same_size(key)?);
    let ffn = need("intermediate_size")?;
    let own = config.same_size("moe_intermediate_size")?;
    let shared = config.same_size("num_shared_expert")?.unwrap_or(1);
    let plain =
        ExpertConfig::plain(need("num_experts")?, need("moe_topk")?, own.unwrap_or(ffn), true);
    Ok(ExpertConfig { shared_ffn: ffn.saturating_mul(shared), ..plain })
}

fn latent(config: &Object<'_>, rope: &Object<'_>) -> Result<LatentConfig, Error> {
    config.refuse_unless("attention_bias", &Value::from(false))?;
    let size = |key: &str| config.need(key, config.size(key)?);
    Ok(LatentConfig {
        q_lora_rank: config.size("q_lora_rank")?,
        kv_lora_rank: size("kv_lora_rank")?,
        qk_nope_head_dim: size("qk_nope_head_dim")?,
        v_head_dim: size("v_head_dim")?,
        mscale_all_dim: rope.number("mscale_all_dim")?.unwrap_or(0.0),
    })
}

/// Which elements of a head are rotated together.
fn layout(config: &Object<'_>, architecture: &str) -> RopeLayout {
    let interleaved = config.get("rope_interleave").and_then(Value::as_bool).unwrap_or(true);
    match architecture {
        "deepseek2" if interleaved => RopeLayout::Interleaved,
        _ => RopeLayout::Halves,
    }
}

fn long_rope(
    rope: &Object<'_>,
    config: &Object<'_>,
    dim: usize,
    max_positions: usize,
) -> Result<RopeScaling, Error> {
    let original = match rope.size("original_max_position_embeddings")? {
        Some(original) => Some(original),
        None => config.size("original_max_position_embeddings")?,
    };
    let original = rope.need("original_max_position_embeddings", original)?;
    if original < 2 {
        return Err(rope.bad("original_max_position_embeddings", format!("{original} is too few")));
    }
    let factor = match rope.number("factor")? {
        Some(factor) => factor,
        None => max_positions as f32 / original as f32,
    };
    let own = rope.number("attention_factor")?;
    let divisors = |key: &str| -> Result<Vec<f32>, Error> {
        let list = rope.need(key, rope.get(key))?;
        let numbers = list.as_array().map(|list| list.iter().map(Value::as_f64));
        let numbers: Option<Vec<f64>> = numbers.and_then(Iterator::collect);
        let usable = |numbers: &Vec<f64>| {
            numbers.len() == dim / 2 && numbers.iter().all(|d| *d > 0.0 && (*d as f32).is_finite())
        };
        let numbers = numbers.filter(usable);
        let problem = format!("is no list of {} numbers above 0", dim / 2);
        let numbers = numbers.ok_or_else(|| rope.bad(key, problem))?;
        Ok(numbers.into_iter().map(|d| d as f32).collect())
    };
    Ok(RopeScaling::LongRope {
        long: divisors("long_factor")?,
        short: divisors("short_factor")?,
        original,
        attention_factor: own.unwrap_or_else(|| long_rope_attention(factor, original)),
    })
}

fn scaling(
    rope: &Object<'_>,
    config: &Object<'_>,
    max_positions: usize,
) -> Result<RopeScaling, Error> {
    let kind = rope.kind();
    if kind == "default" {
        return Ok(RopeScaling::None);
    }
    let factor = rope.need("factor", rope.number("factor")?)?;
    if !(1.0..=1024.0).contains(&factor) {
        return Err(rope.bad("factor", format!("{factor} is not within 1 to 1024")));
    }
    let original = match rope.size("original_max_position_embeddings")? {
        Some(original) => original,
        None => config.size("original_max_position_embeddings")?.unwrap_or(max_positions),
    };
    match kind {
        "linear" => Ok(RopeScaling::Linear { factor }),
        "llama3" => {
            let need = |key: &str| rope.need(key, rope.number(key)?);
            Ok(RopeScaling::Llama3 {
                factor,
                low_freq_factor: need("low_freq_factor")?,
                high_freq_factor: need("high_freq_factor")?,
                original,
            })
        }
        "yarn" => {
            let mscale = [rope.number("mscale")?, rope.number("mscale_all_dim")?];
            let attention_factor = match (rope.number("attention_factor")?, mscale) {
                (None, [Some(some), Some(all)]) if some != 0.0 && all != 0.0 => {
                    Some(yarn_mscale(factor, some) / yarn_mscale(factor, all))
                }
                (own, _) => own,
            };
            Ok(RopeScaling::Yarn {
                factor,
                original,
                beta_fast: rope.number("beta_fast")?.unwrap_or(32.0),
                beta_slow: rope.number("beta_slow")?.unwrap_or(1.0),
                attention_factor,
            })
        }
        other => {
            Err(rope
                .bad("rope_type", format!("`{other}` is not one of default, linear, llama3, yarn")))
        }
    }
}
