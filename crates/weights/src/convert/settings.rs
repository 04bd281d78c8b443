//! `config.json` to GGUF's keys.

use std::f32::consts::PI;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::mixture::{Experts, Latent};
use super::shape::{LONG, SHORT, Shape, goes_to_gguf, unknown};
use crate::Error;
use crate::gguf::Metadata;
use crate::safetensors::names;

/// What `config.json` says that GGUF has no key for: it goes into tensors of its own.
pub(super) struct Settings {
    pub(super) shape: Shape,
    /// What each frequency of `rope` is divided by, where that isn't 1 (Llama 3.1, LongRoPE), by the names
    /// of the tensors.
    pub(super) frequencies: Vec<(&'static str, Vec<f32>)>,
    /// The output matrix is the embedding, whatever other copy there is.
    pub(super) tied: bool,
}

/// An object of `config.json`.
pub(super) struct Object<'a> {
    path: &'a Path,
    prefix: &'a str,
    value: &'a Value,
}

impl Object<'_> {
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.value.get(key).filter(|v| !v.is_null())
    }

    fn bad(&self, key: &str, problem: impl ToString) -> Error {
        Error::malformed(self.path, format!("{}{key}", self.prefix), problem)
    }

    pub(super) fn size(&self, key: &str) -> Result<Option<usize>, Error> {
        let read = |v: &Value| {
            let number = v.as_u64().and_then(|v| u32::try_from(v).ok());
            number.map(|v| v as usize).ok_or_else(|| self.bad(key, "is no whole number"))
        };
        self.get(key).map(read).transpose()
    }

    /// A whole number, or one for each layer: they have to be the same.
    pub(super) fn same_size(&self, key: &str) -> Result<Option<usize>, Error> {
        match self.get(key).and_then(Value::as_array).map(Vec::as_slice) {
            None => self.size(key),
            Some([first, rest @ ..]) if rest.iter().all(|size| size == first) => {
                Object { value: &serde_json::json!({ key: first }), ..*self }.size(key)
            }
            Some(_) => Err(self.bad(key, "differs from layer to layer")),
        }
    }

    pub(super) fn within(&self, key: &str, value: usize, limit: usize) -> Result<(), Error> {
        match value > 0 && value <= limit {
            true => Ok(()),
            false => Err(self.bad(key, format!("{value} is not within 1 to {limit}"))),
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f32>, Error> {
        let read = |v: &Value| {
            let number = v.as_f64().map(|v| v as f32).filter(|v| v.is_finite());
            number.ok_or_else(|| self.bad(key, "is no finite number"))
        };
        self.get(key).map(read).transpose()
    }

    pub(super) fn need<T>(&self, key: &str, value: Option<T>) -> Result<T, Error> {
        value.ok_or_else(|| self.bad(key, "is missing"))
    }

    pub(super) fn refuse_unless(&self, key: &str, wanted: &Value) -> Result<(), Error> {
        match self.get(key) {
            Some(found) if found != wanted => {
                let problem = format!("{found} can't be converted, only {wanted}");
                let remedy = "no GGUF reader would compute with it";
                Err(Error::unsupported(self.path, format!("{}{key}", self.prefix), problem, remedy))
            }
            _ => Ok(()),
        }
    }
}

/// Writes the keys of the architecture into `metadata`.
pub(super) fn read(dir: &Path, config: &Value, metadata: &mut Metadata) -> Result<Settings, Error> {
    let path: PathBuf = dir.join("config.json");
    let config = Object { path: &path, prefix: "", value: config };
    let architecture =
        config.need("model_type", config.get("model_type").and_then(Value::as_str))?;
    let architecture = names::architecture(architecture);
    if !goes_to_gguf(architecture) {
        return Err(unknown(&path, "model_type", architecture));
    }
    match architecture {
        "gemma3" => {
            config.refuse_unless("hidden_activation", &Value::from("gelu_pytorch_tanh"))?;
            config.refuse_unless("use_bidirectional_attention", &Value::from(false))?;
            config.refuse_unless("attn_logit_softcapping", &Value::Null)?;
            config.refuse_unless("final_logit_softcapping", &Value::Null)?;
        }
        _ => config.refuse_unless("hidden_act", &Value::from("silu"))?,
    }
    config.refuse_unless("mlp_bias", &Value::from(false))?;
    config.refuse_unless("use_sliding_window", &Value::from(false))?;

    let size = |key: &str| config.need(key, config.size(key)?);
    let (hidden, heads) = (size("hidden_size")?, size("num_attention_heads")?);
    let own_head_dim = config.size("head_dim")?;
    // Newer files keep theta and scaling together in `rope_parameters`.
    let (name, rope) = ["rope_parameters", "rope_scaling"]
        .into_iter()
        .find_map(|name| config.get(name).map(|v| (name, v)))
        .unwrap_or(("", &Value::Null));
    // Gemma 3's newest have one for each kind of layer.
    let (full, local) = (rope.get("full_attention"), rope.get("sliding_attention"));
    let rope = full.unwrap_or(rope);
    let prefix = format!("{name}.");
    let rope = Object { path: &path, prefix: &prefix, value: rope };
    let latent = match architecture {
        "deepseek2" => Some(Latent::read(&config)?),
        _ => None,
    };
    let mut set = |key: &str, value: crate::gguf::Value| {
        metadata.insert(format!("{architecture}.{key}"), value);
    };
    let experts = Experts::read(&config, architecture, &mut set)?;
    let rotated = latent.map(|_| size("qk_rope_head_dim")).transpose()?;
    let head_dim = match (latent, rotated) {
        (Some(latent), Some(rotated)) => latent.kv_lora_rank.saturating_add(rotated),
        _ => own_head_dim.or(hidden.checked_div(heads)).unwrap_or(0),
    };
    let part = rope.number("partial_rotary_factor")?;
    let part = part.or(config.number("partial_rotary_factor")?).unwrap_or(1.0);
    let shape = Shape {
        architecture: architecture.to_owned(),
        layers: size("num_hidden_layers")?,
        hidden,
        ffn: size("intermediate_size")?,
        heads,
        // Latents are those of all heads.
        kv_heads: match latent {
            Some(_) => 1,
            None => config.size("num_key_value_heads")?.unwrap_or(heads),
        },
        head_dim,
        rotated: rotated.unwrap_or((head_dim as f32 * part) as usize),
        latent,
        experts,
    };
    if shape.rotated != head_dim && !shape.is_fused() {
        rope.refuse_unless("partial_rotary_factor", &Value::from(1.0))?;
        config.refuse_unless("partial_rotary_factor", &Value::from(1.0))?;
    }
    shape.check(&path)?;

    let sized = |n: usize| crate::gguf::Value::U32(n as u32);
    let positions = size("max_position_embeddings")?;
    set("block_count", sized(shape.layers));
    set("embedding_length", sized(hidden));
    set("feed_forward_length", sized(shape.ffn));
    set("attention.head_count", sized(heads));
    set("attention.head_count_kv", sized(shape.kv_heads));
    if let Some(latent) = latent {
        latent.describe(shape.rotated, &mut set);
    } else if own_head_dim.is_some_and(|own| own * heads != hidden) || shape.has_head_norms() {
        set("attention.key_length", sized(shape.head_dim));
        set("attention.value_length", sized(shape.head_dim));
    }
    let eps = config.need("rms_norm_eps", config.number("rms_norm_eps")?)?;
    set("attention.layer_norm_rms_epsilon", eps.into());
    let theta = rope.number("rope_theta")?.or(config.number("rope_theta")?).unwrap_or(10_000.0);
    let kind = ["rope_type", "type"].into_iter().find_map(|key| rope.get(key)?.as_str());
    let kind = kind.unwrap_or("default");
    // Hunyuan's scaling is another base, for which GGUF needs no key.
    let alpha = rope.number("alpha")?.filter(|_| kind == "dynamic");
    let theta = alpha.map_or(theta, |alpha| ntk_theta(theta, alpha, shape.head_dim));
    set("rope.freq_base", theta.into());
    if architecture == "llama" || shape.is_fused() || latent.is_some() {
        set("rope.dimension_count", sized(shape.rotated));
    }
    if shape.is_fused() {
        // There 0 stands for none.
        set("attention.sliding_window", sized(config.size("sliding_window")?.unwrap_or(0)));
    }
    if shape.is_gemma() {
        let scale = config.number("query_pre_attn_scalar")?.unwrap_or(256.0);
        if scale != shape.scale() as f32 {
            config.refuse_unless("query_pre_attn_scalar", &Value::from(shape.scale()))?;
        }
        let window = config.need("sliding_window", config.size("sliding_window")?)?;
        set("attention.sliding_window", sized(window));
        let own = local.and_then(|local| local.get("rope_theta")?.as_f64()).map(|v| v as f32);
        let theta = own.or(config.number("rope_local_base_freq")?).unwrap_or(10_000.0);
        set("rope.freq_base_swa", theta.into());
        let every = every(&config, shape.layers)?;
        if every != USUAL_EVERY {
            set("attention.sliding_window_pattern", sized(every));
        }
    }
    let mut context = positions;
    let mut frequencies = Vec::new();
    let divided = matches!(kind, "longrope" | "su") || rope.get("long_factor").is_some();
    if shape.is_fused() && divided {
        let own = rope.size("original_max_position_embeddings")?;
        let original = own.or(config.size("original_max_position_embeddings")?);
        let original = rope.need("original_max_position_embeddings", original)?;
        if original < 2 {
            return Err(rope.bad("original_max_position_embeddings", "is too small"));
        }
        let factor = rope.number("factor")?.unwrap_or(positions as f32 / original as f32);
        let attention = match rope.number("attention_factor")? {
            Some(own) => own,
            None => long_rope_attention(factor, original),
        };
        set("rope.scaling.original_context_length", sized(original));
        set("rope.scaling.attn_factor", attention.into());
        for (key, name) in [("long_factor", LONG), ("short_factor", SHORT)] {
            let list = rope.need(key, rope.get(key))?.as_array();
            let numbers = list.map(|list| list.iter().map(|d| Some(d.as_f64()? as f32)).collect());
            let numbers: Option<Vec<f32>> = numbers.flatten();
            let usable = |numbers: &Vec<f32>| {
                numbers.len() == shape.rotated / 2
                    && numbers.iter().all(|d| *d > 0.0 && d.is_finite())
            };
            let problem = format!("is no list of {} numbers above 0", shape.rotated / 2);
            let numbers = numbers.filter(usable).ok_or_else(|| rope.bad(key, problem))?;
            frequencies.push((name, numbers));
        }
    } else if kind != "default" && alpha.is_none() {
        let factor = rope.need("factor", rope.number("factor")?)?;
        if !(1.0..=1024.0).contains(&factor) {
            return Err(rope.bad("factor", format!("{factor} is not within 1 to 1024")));
        }
        let original = rope.size("original_max_position_embeddings")?.unwrap_or(positions);
        match kind {
            "linear" => {
                set("rope.scaling.type", "linear".into());
                set("rope.scaling.factor", factor.into());
            }
            "yarn" => {
                set("rope.scaling.type", "yarn".into());
                set("rope.scaling.factor", factor.into());
                set("rope.scaling.original_context_length", sized(original));
                for (theirs, ours) in
                    [("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")]
                {
                    if let Some(beta) = rope.number(theirs)? {
                        set(&format!("rope.scaling.{ours}"), beta.into());
                    }
                }
                let mscale = |key: &str| rope.number(key).map(|m| m.filter(|m| *m != 0.0));
                let (some, all) = (mscale("mscale")?, mscale("mscale_all_dim")?);
                if let (Some(_), Some(all)) = (latent, all) {
                    // GGUF has a tenth of it, and no place for what else cosines and sines may be multiplied with.
                    if some.is_none_or(|some| some != all) {
                        return Err(rope.bad("mscale", "is not what mscale_all_dim is"));
                    }
                    rope.refuse_unless("attention_factor", &Value::from(1.0))?;
                    set("rope.scaling.yarn_log_multiplier", (0.1 * all).into());
                } else if let Some(whole) = match (rope.number("attention_factor")?, some, all) {
                    (None, Some(some), Some(all)) => {
                        Some((0.1 * some * factor.ln() + 1.0) / (0.1 * all * factor.ln() + 1.0))
                    }
                    (own, ..) => own,
                } {
                    // GGUF's factor multiplies YaRN's own, `config.json` has the whole.
                    set("rope.scaling.attn_factor", (whole / (0.1 * factor.ln() + 1.0)).into());
                }
                context = context.max((original as f32 * factor) as usize);
            }
            "llama3" => {
                let need = |key: &str| rope.need(key, rope.number(key)?);
                let bounds = [need("low_freq_factor")?, need("high_freq_factor")?];
                let divisors = llama3(shape.head_dim, theta, factor, bounds, original);
                frequencies.push(("rope_freqs.weight", divisors));
            }
            other => {
                let field = format!("{prefix}rope_type");
                let problem = format!("`{}` can't be converted", crate::tensor::shorten(other));
                let remedy = "only default, linear, llama3 and yarn can";
                return Err(Error::unsupported(&path, field, problem, remedy));
            }
        }
    }
    set("context_length", sized(context));
    let tied = config.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false);
    Ok(Settings { shape, frequencies, tied })
}

/// Of so many layers of Gemma 3 the last sees everything, where no key says otherwise.
pub(super) const USUAL_EVERY: usize = 6;

/// Of how many layers the last sees everything; 0 if none does.
fn every(config: &Object<'_>, layers: usize) -> Result<usize, Error> {
    let Some(types) = config.get("layer_types").and_then(Value::as_array) else {
        let own = match config.size("sliding_window_pattern")? {
            Some(own) => Some(own),
            None => config.size("_sliding_window_pattern")?,
        };
        return Ok(own.unwrap_or(USUAL_EVERY));
    };
    let full = |ty: &Value| ty == "full_attention";
    // Where all are local, there might have come one that isn't.
    let every = types.iter().position(full).map_or(0, |at| at + 1);
    let every = if every == 0 && layers < USUAL_EVERY { USUAL_EVERY } else { every };
    let regular = (1..).zip(types).all(|(n, ty)| full(ty) == (every > 0 && n % every == 0));
    if !regular || types.len() != layers {
        return Err(config.bad("layer_types", "is no pattern that is repeated"));
    }
    Ok(every)
}

/// A base of RoPE with which the slowest frequency is divided by `alpha` and the fastest is not.
fn ntk_theta(theta: f32, alpha: f32, head_dim: usize) -> f32 {
    let dim = head_dim as f64;
    (f64::from(theta) * f64::from(alpha).powf(dim / (dim - 2.0))) as f32
}

/// What LongRoPE multiplies cosines and sines with, in a context `factor` times the original.
pub(super) fn long_rope_attention(factor: f32, original: usize) -> f32 {
    match factor > 1.0 {
        true => (1.0 + f64::from(factor).ln() / (original as f64).ln()).sqrt() as f32,
        false => 1.0,
    }
}

/// What Llama 3.1 divides each frequency by: long waves by `factor`, short ones by 1, and between
/// the two `bounds` (of wavelengths in the original context) something between.
pub(super) fn llama3(
    head_dim: usize,
    theta: f32,
    factor: f32,
    bounds: [f32; 2],
    original: usize,
) -> Vec<f32> {
    let original = original as f32;
    let [low, high] = bounds;
    let divisor = |i: usize| {
        let wave = 2.0 * PI * theta.powf((2 * i) as f32 / head_dim as f32);
        if wave < original / high {
            1.0
        } else if wave > original / low {
            factor
        } else {
            let smooth = (original / wave - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    };
    (0..head_dim / 2).map(divisor).collect()
}
