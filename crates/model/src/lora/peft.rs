//! Adapters as PEFT saves them: `adapter_config.json` beside `adapter_model.safetensors`.
//!
//! Whatever PEFT can do beyond plain LoRA changes what the pairs of tensors mean, so that every
//! setting that turns such a thing on is refused by name and not passed over.

use std::path::{Path, PathBuf};

use kernels::blocks::dequantize_row;
use kernels::ops::RopeLayout;
use serde_json::Value;
use weights::safetensors::{SafetensorsDir, names};

use super::build::{Builder, Half, Loose, check};
use super::{bad, named};
use crate::{Config, Error};

pub(super) const CONFIG: &str = "adapter_config.json";
pub(super) const WEIGHTS: &str = "adapter_model.safetensors";
/// The module that ends a model for `SEQ_CLS`, `[labels, hidden]`.
pub(super) const SCORE: &str = "score";
/// What PEFT says it has saved whole for `SEQ_CLS`, whichever of them the model has.
pub(super) const SCORE_MODULES: [&str; 2] = ["classifier", SCORE];
/// Far above any real configuration.
const MAX_CONFIG: u64 = 4 << 20;

/// What has to be off (null, false or empty) and what it would mean.
const REFUSED: [(&str, &str); 14] = [
    ("modules_to_save", "whole modules beside the pairs"),
    ("use_dora", "DoRA"),
    ("lora_bias", "biases on the B matrices"),
    ("fan_in_fan_out", "transposed weights"),
    ("layer_replication", "layers that are there more than once"),
    ("trainable_token_indices", "embeddings of its own"),
    ("target_parameters", "parameters that are no linear layer"),
    ("alora_invocation_tokens", "waiting for certain tokens (activated LoRA)"),
    ("arrow_config", "routing between adapters (Arrow)"),
    ("use_qalora", "pooled inputs (QALoRA)"),
    ("use_bdlora", "block-diagonal matrices (BD-LoRA)"),
    ("velora_config", "compressed activations (VeLoRA)"),
    ("kasa_config", "weighted singular values (KaSA)"),
    ("monteclora_config", "sampled matrices (MonteCLoRA)"),
];
/// Ways to begin training that leave the base's weights alone.
const INITS: [&str; 4] = ["gaussian", "eva", "orthogonal", "mica"];

/// What `adapter_config.json` says of ranks and scales.
struct Settings {
    path: PathBuf,
    rank: usize,
    alpha: f64,
    rslora: bool,
    /// There is a head beside the pairs.
    scores: bool,
    ranks: Vec<(Pattern, usize)>,
    alphas: Vec<(Pattern, f64)>,
}

/// A key of `rank_pattern` or `alpha_pattern`: the end of a module's name, or all of it.
struct Pattern {
    name: String,
    whole: bool,
}

impl Pattern {
    /// PEFT takes the key for a regular expression. Names are what is found in practice, with
    /// their dots escaped or not.
    fn parse(key: &str) -> Option<Pattern> {
        let name = key.strip_suffix('$').unwrap_or(key);
        let (name, whole) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
        let name = name.replace("\\.", ".");
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        (!name.is_empty() && name.chars().all(plain)).then_some(Pattern { name, whole })
    }

    fn is(&self, module: &str) -> bool {
        match module.strip_suffix(&self.name) {
            Some("") => true,
            Some(before) => !self.whole && before.ends_with('.'),
            None => false,
        }
    }
}

pub(super) fn read(origin: &Path, config: &Config) -> Result<Loose, Error> {
    let (settings, path) = if origin.is_dir() {
        (origin.join(CONFIG), &origin.join(WEIGHTS))
    } else {
        (origin.with_file_name(CONFIG), &origin.to_owned())
    };
    let settings = Settings::read(&settings)?;
    if !path.exists() {
        let problem = "is missing; fetch it, or convert adapter_model.bin with PEFT";
        return Err(bad(path, "file", problem));
    }
    let file = SafetensorsDir::open(path)?;
    let mut builder = Builder::new(config, path, RopeLayout::Halves);
    let mut score = None;
    for info in file.tensors() {
        let Some(tensor) = file.tensor(&info.name) else { continue };
        let name = info.name.strip_prefix("base_model.model.").unwrap_or(&info.name);
        let (module, half) = match name.strip_suffix(".weight").and_then(|n| n.rsplit_once('.')) {
            Some((module, "lora_A")) => (module, Half::A),
            Some((module, "lora_B")) => (module, Half::B),
            _ if settings.scores && name.strip_suffix(".weight") == Some(SCORE) => {
                check(path, &tensor, 1, config.hidden)?;
                let mut values = vec![0.0; config.hidden];
                dequantize_row(info.ty, tensor.data, &mut values)
                    .map_err(|e| bad(path, named(&info.name), e.to_string()))?;
                score = Some(values);
                continue;
            }
            _ => {
                let problem = "is neither a .lora_A.weight nor a .lora_B.weight tensor; whole \
                               modules, biases and magnitudes in an adapter are not supported";
                return Err(bad(path, named(&info.name), problem));
            }
        };
        let base =
            names::to_gguf(&config.architecture, &format!("{module}.weight")).unwrap_or_default();
        builder.put(&base, half, tensor)?;
    }
    let pairs = builder.finish(|layer, target, _| {
        let base = target.module(layer) + ".weight";
        let module = names::to_hf(&config.architecture, &base).unwrap_or_default();
        settings.rank_and_scale(module.strip_suffix(".weight").unwrap_or(&module))
    })?;
    Ok(Loose { pairs, score })
}

impl Settings {
    fn read(path: &Path) -> Result<Settings, Error> {
        let json = &read_json(path)?;
        let get = |key: &str| json.get(key).filter(|v| !v.is_null());
        let kind = get("peft_type").and_then(Value::as_str).unwrap_or("nothing");
        if kind != "LORA" {
            let kind: String = kind.escape_debug().take(60).collect();
            return Err(bad(path, "peft_type", format!("is {kind} where LORA is needed")));
        }
        if get("bias").is_some_and(|v| *v != "none") {
            return Err(bad(path, "bias", "trained biases are not supported, only \"none\""));
        }
        let scores = get("task_type").is_some_and(|v| v == "SEQ_CLS");
        let heads = |v: &Value| v.as_array().is_some_and(|list| list.iter().all(is_score_module));
        for (key, what) in REFUSED {
            if scores && key == "modules_to_save" && get(key).is_some_and(heads) {
                continue;
            }
            let off = get(key).is_none_or(|v| match v {
                Value::Bool(on) => !on,
                Value::Array(list) => list.is_empty(),
                Value::Object(map) => map.is_empty(),
                _ => false,
            });
            if !off {
                return Err(bad(path, key, format!("{what} is not supported, only plain LoRA")));
            }
        }
        // PiSSA, OLoRA, CorDA and LoftQ take something out of the base's weights before training:
        // on the weights as published the pairs mean nothing.
        let plain = get("init_lora_weights").is_none_or(|v| match v {
            Value::Bool(_) => true,
            Value::String(name) => INITS.contains(&name.as_str()),
            _ => false,
        });
        if !plain {
            let problem = "the adapter goes with changed base weights; save it with PEFT's \
                           path_initial_model_for_weight_conversion";
            return Err(bad(path, "init_lora_weights", problem));
        }
        let rslora = match get("use_rslora") {
            None => false,
            Some(Value::Bool(on)) => *on,
            Some(_) => return Err(bad(path, "use_rslora", "is neither true nor false")),
        };
        let need = |key: &str| get(key).ok_or_else(|| bad(path, key, "is missing"));
        Ok(Settings {
            path: path.to_owned(),
            rank: rank(path, "r", need("r")?)?,
            alpha: alpha(path, "lora_alpha", need("lora_alpha")?)?,
            rslora,
            scores,
            ranks: patterns(path, "rank_pattern", get("rank_pattern"), rank)?,
            alphas: patterns(path, "alpha_pattern", get("alpha_pattern"), alpha)?,
        })
    }

    /// For a module by its Hugging Face name. The first pattern that fits is the one that counts.
    fn rank_and_scale(&self, module: &str) -> Result<(usize, f32), Error> {
        let rank = self.ranks.iter().find(|(p, _)| p.is(module)).map_or(self.rank, |(_, r)| *r);
        let alpha = self.alphas.iter().find(|(p, _)| p.is(module)).map_or(self.alpha, |(_, a)| *a);
        let over = if self.rslora { (rank as f64).sqrt() } else { rank as f64 };
        let scale = (alpha / over) as f32;
        if scale.is_finite() {
            return Ok((rank, scale));
        }
        Err(bad(&self.path, "lora_alpha", format!("{alpha} over {over} is too large a scale")))
    }
}

fn is_score_module(name: &Value) -> bool {
    name.as_str().is_some_and(|name| SCORE_MODULES.contains(&name))
}

fn rank(path: &Path, key: &str, value: &Value) -> Result<usize, Error> {
    match value.as_u64().and_then(|r| usize::try_from(r).ok()) {
        Some(r) if r > 0 => Ok(r),
        _ => Err(bad(path, key, "is no positive whole number")),
    }
}

fn alpha(path: &Path, key: &str, value: &Value) -> Result<f64, Error> {
    value.as_f64().filter(|a| a.is_finite()).ok_or_else(|| bad(path, key, "is no finite number"))
}

fn patterns<T>(
    path: &Path,
    key: &str,
    value: Option<&Value>,
    read: impl Fn(&Path, &str, &Value) -> Result<T, Error>,
) -> Result<Vec<(Pattern, T)>, Error> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let Value::Object(map) = value else {
        return Err(bad(path, key, "is no object of module names"));
    };
    let entry = |(name, value): (&String, &Value)| {
        let field = format!("{key}.{}", name.escape_debug().take(120).collect::<String>());
        let Some(pattern) = Pattern::parse(name) else {
            let problem = "is a regular expression, which is not supported; write the names of \
                           the modules";
            return Err(bad(path, field, problem));
        };
        Ok((pattern, read(path, &field, value)?))
    };
    map.iter().map(entry).collect()
}

fn read_json(path: &Path) -> Result<Value, Error> {
    let io = |action| {
        let path = path.to_owned();
        move |source| Error::Weights(weights::Error::Io { path, action, source })
    };
    let bytes = std::fs::metadata(path).map_err(io("open"))?.len();
    if bytes > MAX_CONFIG {
        let problem = format!("{bytes} bytes, more than the {MAX_CONFIG} expected");
        return Err(bad(path, "file", problem));
    }
    let bytes = std::fs::read(path).map_err(io("read"))?;
    // Python writes numbers that JSON doesn't have: NaN, Infinity.
    serde_json::from_slice(&bytes).map_err(|e| bad(path, "JSON", format!("{e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_names_or_the_ends_of_names() {
        let module = "model.layers.1.self_attn.q_proj";
        for (key, fits) in [
            ("q_proj", true),
            ("proj", false),
            ("self_attn.q_proj", true),
            ("layers\\.1\\.self_attn\\.q_proj$", true),
            ("^model.layers.1.self_attn.q_proj", true),
            ("^q_proj", false),
            ("layers.11.self_attn.q_proj", false),
            ("k_proj", false),
        ] {
            assert_eq!(Pattern::parse(key).unwrap().is(module), fits, "{key}");
        }
        for key in ["", "^", "layers.[01].q_proj", ".*q_proj", "q_proj|k_proj", "\\d"] {
            assert!(Pattern::parse(key).is_none(), "{key}");
        }
    }
}
