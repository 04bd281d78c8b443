//! GGUF's keys to `config.json` and `generation_config.json`.

use std::path::Path;

use kernels::blocks::BlockType;
use serde_json::{Map, Value, json};

use super::draft::Draft;
use super::settings::{USUAL_EVERY, llama3, long_rope_attention};
use super::shape::{LONG, SHORT, Shape, unknown};
use crate::Error;
use crate::safetensors::names::Family;

impl Draft<'_> {
    /// What `transformers` reads the model's settings from.
    pub(super) fn config_json(&self, shape: &Shape, ty: BlockType) -> Result<Value, Error> {
        let (m, path) = (&self.metadata, &self.path);
        let key = |name: &str| format!("{}.{name}", shape.architecture);
        let has = |name: &str| self.tensors.iter().any(|t| t.name == name);
        let embedding = self.tensors.iter().find(|t| t.name == "token_embd.weight");
        let vocab = embedding.and_then(|t| t.shape.first()).copied().unwrap_or(0);
        let context = m.require_u32(&key("context_length"))?;
        let theta = m.f32(&key("rope.freq_base"))?.unwrap_or(10_000.0);
        let family = Family::of(&shape.architecture);
        let family =
            family.ok_or_else(|| unknown(path, "general.architecture", &shape.architecture))?;
        let mut config = json!({
            "architectures": [family.class],
            "model_type": family.model_type,
            "vocab_size": vocab,
            "hidden_size": shape.hidden,
            "intermediate_size": shape.ffn,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "head_dim": shape.head_dim,
            "max_position_embeddings": context,
            "rms_norm_eps": decimal(m.require_f32(&key("attention.layer_norm_rms_epsilon"))?),
            "rope_theta": decimal(theta),
            "rope_scaling": self.rope_scaling(shape, context, theta, path)?,
            "tie_word_embeddings": !has("output.weight"),
            "torch_dtype": torch_name(ty),
            "use_cache": true,
        });
        let activation = if shape.is_gemma() { "hidden_activation" } else { "hidden_act" };
        config[activation] = if shape.is_gemma() { "gelu_pytorch_tanh" } else { "silu" }.into();
        match shape.architecture.as_str() {
            "phi3" => {
                let window = m.u32(&key("attention.sliding_window"))?.filter(|n| *n > 0);
                config["sliding_window"] = window.into();
                let part = shape.rotated as f32 / shape.head_dim as f32;
                config["partial_rotary_factor"] = decimal(part);
                let original = m.u32(&key("rope.scaling.original_context_length"))?;
                config["original_max_position_embeddings"] = original.unwrap_or(context).into();
            }
            "gemma3" => {
                let window = m.require_u32(&key("attention.sliding_window"))?;
                config["sliding_window"] = window.into();
                let every = m.u32(&key("attention.sliding_window_pattern"))?;
                let every = every.map_or(USUAL_EVERY, |every| every as usize);
                let full = |n: usize| every > 0 && n.is_multiple_of(every);
                let kind = |n| if full(n) { "full_attention" } else { "sliding_attention" };
                config["layer_types"] = (1..=shape.layers).map(kind).collect();
                config["query_pre_attn_scalar"] = shape.scale().into();
                let theta = m.f32(&key("rope.freq_base_swa"))?.unwrap_or(10_000.0);
                config["rope_local_base_freq"] = decimal(theta);
                config["attention_bias"] = false.into();
            }
            "qwen2" => config["use_sliding_window"] = false.into(),
            _ => config["attention_bias"] = has("blk.0.attn_q.bias").into(),
        }
        for (name, key) in [("bos", "bos"), ("eos", "eos"), ("pad", "padding")] {
            let id = m.u32(&format!("tokenizer.ggml.{key}_token_id"))?;
            config[format!("{name}_token_id")] = id.into();
        }
        Ok(config)
    }

    fn rope_scaling(
        &self,
        shape: &Shape,
        context: u32,
        theta: f32,
        path: &Path,
    ) -> Result<Value, Error> {
        let m = &self.metadata;
        let key = |name: &str| format!("{}.rope.{name}", shape.architecture);
        if let Some(t) = self.tensors.iter().find(|t| t.name == "rope_freqs.weight") {
            let mut found = vec![0.0; shape.head_dim / 2];
            t.rows.read(0, &mut found)?;
            return llama3_settings(&found, shape.head_dim, theta, context).ok_or_else(|| {
                let problem = "divides frequencies as no setting of `transformers` does";
                Error::unsupported(
                    path,
                    "tensor `rope_freqs.weight`",
                    problem,
                    "convert another file",
                )
            });
        }
        if let Some(scaling) = self.long_rope(shape, context, path)? {
            return Ok(scaling);
        }
        if shape.rotated != shape.head_dim && !shape.is_fused() {
            let problem = "only a part of each head is rotated";
            return Err(Error::unsupported(
                path,
                key("dimension_count"),
                problem,
                "convert another file",
            ));
        }
        let kind = m.str(&key("scaling.type"))?.unwrap_or("none");
        if kind == "none" {
            return Ok(Value::Null);
        }
        let factor = m.require_f32(&key("scaling.factor"))?;
        let mut scaling = Map::new();
        scaling.insert("rope_type".to_owned(), kind.into());
        scaling.insert("factor".to_owned(), decimal(factor));
        match kind {
            "linear" => {}
            "yarn" => {
                let original = m.u32(&key("scaling.original_context_length"))?;
                let original = original.unwrap_or(context);
                scaling.insert("original_max_position_embeddings".to_owned(), original.into());
                for beta in ["beta_fast", "beta_slow"] {
                    if let Some(value) = m.f32(&key(&format!("scaling.yarn_{beta}")))? {
                        scaling.insert(beta.to_owned(), decimal(value));
                    }
                }
                if let Some(own) = m.f32(&key("scaling.attn_factor"))? {
                    let whole = own * (0.1 * factor.ln() + 1.0);
                    scaling.insert("attention_factor".to_owned(), decimal(whole));
                }
            }
            other => {
                let problem = format!("`{}` can't be converted", crate::tensor::shorten(other));
                let remedy = "only none, linear and yarn can";
                return Err(Error::unsupported(path, key("scaling.type"), problem, remedy));
            }
        }
        Ok(Value::Object(scaling))
    }

    /// LongRoPE's lists, where there are tensors of them.
    fn long_rope(&self, shape: &Shape, context: u32, path: &Path) -> Result<Option<Value>, Error> {
        let read = |name: &str| {
            let Some(t) = self.tensors.iter().find(|t| t.name == name) else { return Ok(None) };
            let mut found = vec![0.0; shape.rotated / 2];
            t.rows.read(0, &mut found)?;
            Ok::<_, Error>(Some(found.into_iter().map(decimal).collect::<Vec<_>>()))
        };
        let (Some(long), Some(short)) = (read(LONG)?, read(SHORT)?) else { return Ok(None) };
        let key = |name: &str| format!("{}.rope.scaling.{name}", shape.architecture);
        let m = &self.metadata;
        let original = m.u32(&key("original_context_length"))?.unwrap_or(context).max(2);
        let own = m.f32(&key("attn_factor"))?.unwrap_or(1.0);
        // `transformers` works it out; that some of its versions take no other settings than these is the reason
        // for not naming it.
        let made = long_rope_attention(context as f32 / original as f32, original as usize);
        if (own - made).abs() > 1e-4 {
            let problem = format!("{own} is not what the contexts call for, {made}");
            let remedy = "convert another file";
            return Err(Error::unsupported(path, key("attn_factor"), problem, remedy));
        }
        let scaling = json!({"type": "longrope", "long_factor": long, "short_factor": short});
        Ok(Some(scaling))
    }

    /// What ends an answer, and the sampling that the makers recommend.
    pub(super) fn generation_config_json(&self) -> Result<Value, Error> {
        let m = &self.metadata;
        let mut config = Map::new();
        let id = |name: &str| m.u32(&format!("tokenizer.ggml.{name}_token_id"));
        let mut ends: Vec<u32> = id("eos")?.into_iter().chain(id("eot")?).collect();
        // Chat models name one end and were taught to stop with the other as well.
        for text in [
            "<|im_end|>",
            "<|endoftext|>",
            "<|eot_id|>",
            "<|end_of_text|>",
            "<|end|>",
            "<end_of_turn>",
        ] {
            let tokens = m.str_array("tokenizer.ggml.tokens")?;
            ends.extend(tokens.and_then(|t| t.iter().position(|t| t == text)).map(|i| i as u32));
        }
        let mut seen = std::collections::HashSet::new();
        ends.retain(|id| seen.insert(*id));
        config.insert("bos_token_id".to_owned(), id("bos")?.into());
        config.insert("eos_token_id".to_owned(), ends.into());
        config.insert("pad_token_id".to_owned(), id("padding")?.into());
        for (ours, theirs) in [
            ("temp", "temperature"),
            ("top_p", "top_p"),
            ("min_p", "min_p"),
            ("penalty_repeat", "repetition_penalty"),
        ] {
            if let Some(value) = m.f32(&format!("general.sampling.{ours}"))? {
                config.insert(theirs.to_owned(), decimal(value));
            }
        }
        if let Some(top_k) = m.i64("general.sampling.top_k")? {
            config.insert("top_k".to_owned(), top_k.into());
        }
        if config.contains_key("temperature") || config.contains_key("top_k") {
            config.insert("do_sample".to_owned(), true.into());
        }
        Ok(Value::Object(config))
    }
}

/// The settings of Llama 3.1 and its successors that give these divisors. GGUF has the divisors
/// only; the bounds have always been the same, the factor is the largest of them.
fn llama3_settings(found: &[f32], head_dim: usize, theta: f32, context: u32) -> Option<Value> {
    let factor = *found.last()?;
    let contexts = [8192, context as usize];
    let fits = |original: &usize| {
        let made = llama3(head_dim, theta, factor, [1.0, 4.0], *original);
        made.iter().zip(found).all(|(a, b)| (a - b).abs() <= 1e-3 * b.abs())
    };
    let powers = (4..24).map(|bits| 1usize << bits);
    let original = contexts.into_iter().chain(powers).find(fits)?;
    Some(json!({
        "rope_type": "llama3",
        "factor": decimal(factor),
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": original,
    }))
}

/// The shortest number that is this f32: `1e-6`, not `9.999999974752427e-7`.
fn decimal(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// What PyTorch calls a type of numbers.
pub(super) fn torch_name(ty: BlockType) -> &'static str {
    match ty {
        BlockType::F16 => "float16",
        BlockType::BF16 => "bfloat16",
        _ => "float32",
    }
}
