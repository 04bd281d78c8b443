//! Latents and experts: what `config.json` says of them, GGUF's keys, and their tensors in either kind of file.
//!
//! Safetensors have each expert's matrices and, in one, what makes keys and values of latents; GGUF has those of all
//! experts in one and keys and values apart ([`Form`]).

use serde_json::Value;

use super::settings::Object;
use super::shape::Shape;
use crate::Error;
use crate::gguf;

/// Which kind of file tensors are meant for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// Under GGUF's names, but each by itself as safetensors have them.
    Loose,
    /// As GGUF has them.
    Stacked,
}

/// Sizes of multi-head latent attention (DeepSeek-AI 2024, arXiv:2405.04434).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Latent {
    pub(super) q_lora_rank: Option<usize>,
    pub(super) kv_lora_rank: usize,
    pub(super) qk_nope_head_dim: usize,
    pub(super) v_head_dim: usize,
}

/// Sizes of experts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Experts {
    pub(super) count: usize,
    pub(super) ffn: usize,
    /// Width of the one that every token is given to; 0 if there is none.
    pub(super) shared_ffn: usize,
    /// The first layers, which have none.
    pub(super) dense_layers: usize,
    /// Whether a bias is added where they are chosen.
    pub(super) biased: bool,
}

/// Tensors of a layer, without what all names begin with.
type Parts = Vec<(String, Vec<usize>)>;

impl Latent {
    pub(super) fn read(config: &Object<'_>) -> Result<Latent, Error> {
        config.refuse_unless("attention_bias", &Value::from(false))?;
        config.refuse_unless("rope_interleave", &Value::from(true))?;
        let size = |key: &str| config.need(key, config.size(key)?);
        let latent = Latent {
            q_lora_rank: config.size("q_lora_rank")?,
            kv_lora_rank: size("kv_lora_rank")?,
            qk_nope_head_dim: size("qk_nope_head_dim")?,
            v_head_dim: size("v_head_dim")?,
        };
        config.within("q_lora_rank", latent.q_lora_rank.unwrap_or(1), 1 << 20)?;
        config.within("kv_lora_rank", latent.kv_lora_rank, 1 << 12)?;
        config.within("qk_nope_head_dim", latent.qk_nope_head_dim, 1 << 12)?;
        config.within("v_head_dim", latent.v_head_dim, 1 << 12)?;
        Ok(latent)
    }

    /// Lengths as attention sees them, and as heads have them.
    pub(super) fn describe(&self, rotated: usize, set: &mut dyn FnMut(&str, gguf::Value)) {
        let mut size = |key: &str, n: usize| set(&format!("attention.{key}"), (n as u32).into());
        if let Some(rank) = self.q_lora_rank {
            size("q_lora_rank", rank);
        }
        size("kv_lora_rank", self.kv_lora_rank);
        size("key_length", self.kv_lora_rank + rotated);
        size("value_length", self.kv_lora_rank);
        size("key_length_mla", self.qk_nope_head_dim + rotated);
        size("value_length_mla", self.v_head_dim);
    }

    pub(super) fn parts(&self, shape: &Shape, form: Form) -> Parts {
        let Latent { q_lora_rank, kv_lora_rank: rank, qk_nope_head_dim: nope, v_head_dim } = *self;
        let Shape { heads, hidden, rotated, .. } = *shape;
        let q = heads * (nope + rotated);
        let mut parts = vec![
            ("attn_kv_a_mqa", vec![rank + rotated, hidden]),
            ("attn_kv_a_norm", vec![rank]),
            ("attn_output", vec![hidden, heads * v_head_dim]),
        ];
        match q_lora_rank {
            Some(rank) => parts.extend([
                ("attn_q_a", vec![rank, hidden]),
                ("attn_q_a_norm", vec![rank]),
                ("attn_q_b", vec![q, rank]),
            ]),
            None => parts.push(("attn_q", vec![q, hidden])),
        }
        match form {
            Form::Loose => parts.push(("attn_kv_b", vec![heads * (nope + v_head_dim), rank])),
            Form::Stacked => parts.extend([
                ("attn_k_b", vec![heads, rank, nope]),
                ("attn_v_b", vec![heads, v_head_dim, rank]),
            ]),
        }
        parts.into_iter().map(|(part, shape)| (format!("{part}.weight"), shape)).collect()
    }
}

impl Experts {
    /// Of the architecture that GGUF calls `architecture`, if it has any.
    pub(super) fn read(
        config: &Object<'_>,
        architecture: &str,
        set: &mut dyn FnMut(&str, gguf::Value),
    ) -> Result<Option<Experts>, Error> {
        let experts = match architecture {
            "qwen3moe" => qwen3(config, set)?,
            "deepseek2" => deepseek(config, set)?,
            "hunyuan-moe" => hunyuan(config, set)?,
            _ => return Ok(None),
        };
        config.within("number of experts", experts.count, 1 << 12)?;
        config.within("width of an expert", experts.ffn, 1 << 22)?;
        config.within("width of the shared expert", experts.shared_ffn.max(1), 1 << 22)?;
        set("expert_count", (experts.count as u32).into());
        set("expert_feed_forward_length", (experts.ffn as u32).into());
        Ok(Some(experts))
    }

    /// Of a layer that has experts.
    pub(super) fn parts(&self, hidden: usize, form: Form) -> Parts {
        let Experts { count, ffn, shared_ffn, biased, .. } = *self;
        let three = |ffn| [("gate", [ffn, hidden]), ("up", [ffn, hidden]), ("down", [hidden, ffn])];
        let mut parts = vec![("ffn_gate_inp.weight".to_owned(), vec![count, hidden])];
        if biased {
            parts.push(("exp_probs_b.bias".to_owned(), vec![count]));
        }
        for (part, shape) in three(ffn) {
            match form {
                Form::Loose => parts
                    .extend((0..count).map(|e| (format!("ffn_{part}.{e}.weight"), shape.to_vec()))),
                Form::Stacked => {
                    parts.push((format!("ffn_{part}_exps.weight"), [&[count][..], &shape].concat()))
                }
            }
        }
        if shared_ffn > 0 {
            let shared = three(shared_ffn).into_iter();
            parts
                .extend(shared.map(|(p, shape)| (format!("ffn_{p}_shexp.weight"), shape.to_vec())));
        }
        parts
    }
}

fn qwen3(config: &Object<'_>, set: &mut dyn FnMut(&str, gguf::Value)) -> Result<Experts, Error> {
    let size = |key: &str| config.need(key, config.size(key)?);
    config.refuse_unless("decoder_sparse_step", &Value::from(1))?;
    config.refuse_unless("mlp_only_layers", &Value::Array(Vec::new()))?;
    config.refuse_unless("norm_topk_prob", &Value::from(true))?;
    config.need("norm_topk_prob", config.get("norm_topk_prob"))?;
    set("expert_used_count", (size("num_experts_per_tok")? as u32).into());
    let (count, ffn) = (size("num_experts")?, size("moe_intermediate_size")?);
    Ok(Experts { count, ffn, shared_ffn: 0, dense_layers: 0, biased: false })
}

fn deepseek(config: &Object<'_>, set: &mut dyn FnMut(&str, gguf::Value)) -> Result<Experts, Error> {
    let size = |key: &str| config.need(key, config.size(key)?);
    let text = |key: &str| config.get(key).and_then(Value::as_str);
    config.refuse_unless("moe_layer_freq", &Value::from(1))?;
    let third = text("model_type") == Some("deepseek_v3");
    let normalised = config.get("norm_topk_prob").and_then(Value::as_bool).unwrap_or(third);
    if !third {
        // Its makers then don't scale what is normalised, and `transformers` doesn't normalise.
        config.refuse_unless("norm_topk_prob", &Value::from(false))?;
    }
    if third || text("topk_method") == Some("group_limited_greedy") {
        set("expert_group_count", (size("n_group")? as u32).into());
        set("expert_group_used_count", (size("topk_group")? as u32).into());
    }
    set("expert_gating_func", if third { 2u32 } else { 1 }.into());
    let dense_layers = config.size("first_k_dense_replace")?.unwrap_or(0);
    let shared = config.size("n_shared_experts")?.unwrap_or(0);
    set("leading_dense_block_count", (dense_layers as u32).into());
    set("expert_used_count", (size("num_experts_per_tok")? as u32).into());
    set("expert_shared_count", (shared as u32).into());
    set("expert_weights_scale", config.number("routed_scaling_factor")?.unwrap_or(1.0).into());
    if normalised {
        set("expert_weights_norm", true.into());
    }
    let ffn = size("moe_intermediate_size")?;
    Ok(Experts {
        count: size("n_routed_experts")?,
        ffn,
        shared_ffn: ffn.saturating_mul(shared),
        dense_layers,
        biased: third,
    })
}

fn hunyuan(config: &Object<'_>, set: &mut dyn FnMut(&str, gguf::Value)) -> Result<Experts, Error> {
    config.refuse_unless("moe_layer_num_skipped", &Value::from(0))?;
    config.refuse_unless("use_cla", &Value::from(false))?;
    let need = |key: &str| config.need(key, config.same_size(key)?);
    let width = need("intermediate_size")?;
    let ffn = config.same_size("moe_intermediate_size")?.unwrap_or(width);
    let shared = config.same_size("num_shared_expert")?.unwrap_or(1);
    let shared_ffn = width.saturating_mul(shared);
    config.within("width of the shared expert", shared_ffn, 1 << 22)?;
    set("expert_used_count", (need("moe_topk")? as u32).into());
    set("expert_shared_count", (shared as u32).into());
    set("expert_shared_feed_forward_length", (shared_ffn as u32).into());
    Ok(Experts { count: need("num_experts")?, ffn, shared_ffn, dense_layers: 0, biased: false })
}
