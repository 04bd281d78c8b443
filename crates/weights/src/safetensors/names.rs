//! What Hugging Face and GGUF call the same tensor, and the same architecture.
//!
//! Most architectures share their names; what one calls otherwise is in [`FAMILIES`].
//!
//! Only names are mapped. For `llama` the *rows* of `attn_q` and `attn_k` differ as well: GGUF
//! has each head's rotary pairs side by side, safetensors has them half a head apart.

const GLOBAL: [(&str, &str); 3] =
    [("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("lm_head", "output")];

/// Of one expert; GGUF's present files have those of all experts in one tensor.
const EXPERT: [(&str, &str); 3] =
    [("gate_proj", "ffn_gate"), ("up_proj", "ffn_up"), ("down_proj", "ffn_down")];

const LAYER: [(&str, &str); 12] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("mlp.gate", "ffn_gate_inp"),
];

/// An architecture by its names.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// GGUF's `general.architecture`.
    pub gguf: &'static str,
    /// The `model_type` of `config.json`.
    pub model_type: &'static str,
    /// The class of `transformers`.
    pub class: &'static str,
    /// Modules of a layer with names of its own, Hugging Face's and GGUF's; they go before those
    /// that all share.
    own: &'static [(&'static str, &'static str)],
}

const fn family(gguf: &'static str, model_type: &'static str, class: &'static str) -> Family {
    Family { gguf, model_type, class, own: &[] }
}

/// What Hunyuan calls the norms of heads.
const HUNYUAN: [(&str, &str); 2] =
    [("self_attn.query_layernorm", "attn_q_norm"), ("self_attn.key_layernorm", "attn_k_norm")];

const DEEPSEEK: [(&str, &str); 10] = [
    ("self_attn.q_a_proj", "attn_q_a"),
    ("self_attn.q_a_layernorm", "attn_q_a_norm"),
    ("self_attn.q_b_proj", "attn_q_b"),
    ("self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
    ("self_attn.kv_a_layernorm", "attn_kv_a_norm"),
    ("self_attn.kv_b_proj", "attn_kv_b"),
    ("mlp.shared_experts.gate_proj", "ffn_gate_shexp"),
    ("mlp.shared_experts.up_proj", "ffn_up_shexp"),
    ("mlp.shared_experts.down_proj", "ffn_down_shexp"),
    (SCORE_CORRECTION, "exp_probs_b"),
];

/// The architectures that are known by more than their name.
pub const FAMILIES: [Family; 10] = [
    family("llama", "llama", "LlamaForCausalLM"),
    family("qwen2", "qwen2", "Qwen2ForCausalLM"),
    family("qwen3", "qwen3", "Qwen3ForCausalLM"),
    family("qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM"),
    Family {
        own: &HUNYUAN,
        ..family("hunyuan-dense", "hunyuan_v1_dense", "HunYuanDenseV1ForCausalLM")
    },
    Family {
        own: &[("self_attn.qkv_proj", "attn_qkv"), ("mlp.gate_up_proj", "ffn_up")],
        ..family("phi3", "phi3", "Phi3ForCausalLM")
    },
    Family { own: &DEEPSEEK, ..family("deepseek2", "deepseek_v3", "DeepseekV3ForCausalLM") },
    Family { own: &DEEPSEEK, ..family("deepseek2", "deepseek_v2", "DeepseekV2ForCausalLM") },
    Family {
        own: &[
            HUNYUAN[0],
            HUNYUAN[1],
            ("mlp.gate.wg", "ffn_gate_inp"),
            ("mlp.shared_mlp.gate_proj", "ffn_gate_shexp"),
            ("mlp.shared_mlp.up_proj", "ffn_up_shexp"),
            ("mlp.shared_mlp.down_proj", "ffn_down_shexp"),
        ],
        ..family("hunyuan-moe", "hunyuan_v1_moe", "HunYuanMoEV1ForCausalLM")
    },
    Family {
        own: &[
            ("post_attention_layernorm", "post_attention_norm"),
            ("pre_feedforward_layernorm", "ffn_norm"),
            ("post_feedforward_layernorm", "post_ffw_norm"),
        ],
        ..family("gemma3", "gemma3_text", "Gemma3ForCausalLM")
    },
];

impl Family {
    /// The architecture that GGUF calls `architecture`; of several the first.
    pub fn of(architecture: &str) -> Option<&'static Family> {
        FAMILIES.iter().find(|family| family.gguf == architecture)
    }
}

/// GGUF's name for the architecture that `config.json` calls `model_type`; of one that isn't known,
/// that itself.
pub fn architecture(model_type: &str) -> &str {
    let family = FAMILIES.iter().find(|family| family.model_type == model_type);
    family.map_or(model_type, |family| family.gguf)
}

/// Modules of a layer: those of `architecture` alone, then those that all share.
fn layer(architecture: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let own = Family::of(architecture).map_or(&[][..], |family| family.own);
    own.iter().copied().chain(LAYER)
}

/// GGUF's name for a Hugging Face tensor of `architecture` (GGUF's name for it), where it has one. The
/// `model.` in front may be missing, as it is in checkpoints saved without their output head. Where there is
/// more than text, that part is called `language_model`.
pub fn to_gguf(architecture: &str, name: &str) -> Option<String> {
    let (module, kind) = module_and_kind(name)?;
    let text = ["language_model.", "model.language_model."];
    let module = text.into_iter().find_map(|part| module.strip_prefix(part)).unwrap_or(module);
    for (hf, gguf) in GLOBAL {
        if module == hf || hf.strip_prefix("model.") == Some(module) {
            return Some(format!("{gguf}.{kind}"));
        }
    }
    let rest = module.strip_prefix("model.").unwrap_or(module).strip_prefix("layers.")?;
    let (at, module) = number(rest)?;
    if let Some((expert, module)) = module.strip_prefix("mlp.experts.").and_then(number) {
        let (_, gguf) = EXPERT.into_iter().find(|(hf, _)| *hf == module)?;
        return Some(format!("blk.{at}.{gguf}.{expert}.{kind}"));
    }
    let (_, gguf) = layer(architecture).find(|(hf, _)| *hf == module)?;
    Some(format!("blk.{at}.{gguf}.{kind}"))
}

/// Hugging Face's name for a GGUF tensor of `architecture`, where it has one.
pub fn to_hf(architecture: &str, name: &str) -> Option<String> {
    let (module, kind) = module_and_kind(name)?;
    if let Some((hf, _)) = GLOBAL.into_iter().find(|(_, gguf)| *gguf == module) {
        return Some(format!("{hf}.{kind}"));
    }
    let (at, module) = number(module.strip_prefix("blk.")?)?;
    if let Some((module, expert)) = module.split_once('.') {
        let (hf, _) = EXPERT.into_iter().find(|(_, gguf)| *gguf == module)?;
        let expert = plain(expert)?;
        return Some(format!("model.layers.{at}.mlp.experts.{expert}.{hf}.{kind}"));
    }
    let (hf, _) = layer(architecture).find(|(_, gguf)| *gguf == module)?;
    let dot = if hf == SCORE_CORRECTION { '_' } else { '.' };
    Some(format!("model.layers.{at}.{hf}{dot}{kind}"))
}

/// A bias without a module of its own.
const SCORE_CORRECTION: &str = "mlp.gate.e_score_correction";

fn module_and_kind(name: &str) -> Option<(&str, &str)> {
    if let Some(module) = name.strip_suffix("_bias").filter(|m| m.ends_with(SCORE_CORRECTION)) {
        return Some((module, "bias"));
    }
    name.rsplit_once('.').filter(|(_, kind)| matches!(*kind, "weight" | "bias"))
}

/// Splits `12.rest` into 12 and `rest`.
fn number(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_once('.')?;
    Some((plain(digits)?, rest))
}

/// A number; only the plain spelling of one is.
fn plain(digits: &str) -> Option<u32> {
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for (hf, gguf) in [
            ("model.embed_tokens.weight", "token_embd.weight"),
            ("lm_head.weight", "output.weight"),
            ("model.norm.weight", "output_norm.weight"),
            ("model.layers.0.self_attn.q_proj.bias", "blk.0.attn_q.bias"),
            ("model.layers.27.self_attn.o_proj.weight", "blk.27.attn_output.weight"),
            ("model.layers.3.self_attn.k_norm.weight", "blk.3.attn_k_norm.weight"),
            ("model.layers.3.post_attention_layernorm.weight", "blk.3.ffn_norm.weight"),
            ("model.layers.10.mlp.down_proj.weight", "blk.10.ffn_down.weight"),
            ("model.layers.4.mlp.gate.weight", "blk.4.ffn_gate_inp.weight"),
            ("model.layers.4.mlp.experts.12.up_proj.weight", "blk.4.ffn_up.12.weight"),
        ] {
            assert_eq!(to_gguf("qwen3", hf).as_deref(), Some(gguf));
            assert_eq!(to_hf("qwen3", gguf).as_deref(), Some(hf));
        }
    }

    #[test]
    fn names_of_ones_own_go_first() {
        for (architecture, hf, gguf) in [
            ("hunyuan-dense", "self_attn.query_layernorm", "attn_q_norm"),
            ("hunyuan-dense", "self_attn.q_proj", "attn_q"),
            ("phi3", "self_attn.qkv_proj", "attn_qkv"),
            ("phi3", "mlp.gate_up_proj", "ffn_up"),
            ("deepseek2", "self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
            ("deepseek2", "mlp.shared_experts.up_proj", "ffn_up_shexp"),
            ("deepseek2", "mlp.gate", "ffn_gate_inp"),
            ("hunyuan-moe", "mlp.gate.wg", "ffn_gate_inp"),
            ("hunyuan-moe", "mlp.shared_mlp.down_proj", "ffn_down_shexp"),
            ("hunyuan-moe", "self_attn.key_layernorm", "attn_k_norm"),
            ("gemma3", "post_attention_layernorm", "post_attention_norm"),
            ("gemma3", "pre_feedforward_layernorm", "ffn_norm"),
            ("gemma3", "post_feedforward_layernorm", "post_ffw_norm"),
            ("gemma3", "self_attn.q_norm", "attn_q_norm"),
        ] {
            let hf = format!("model.layers.2.{hf}.weight");
            let gguf = format!("blk.2.{gguf}.weight");
            assert_eq!(to_gguf(architecture, &hf), Some(gguf.clone()));
            assert_eq!(to_hf(architecture, &gguf), Some(hf));
        }
        let (hf, gguf) =
            ("model.layers.2.mlp.gate.e_score_correction_bias", "blk.2.exp_probs_b.bias");
        assert_eq!(to_gguf("deepseek2", hf).as_deref(), Some(gguf));
        assert_eq!(to_hf("deepseek2", gguf).as_deref(), Some(hf));
        assert_eq!(to_gguf("qwen3", "model.layers.2.self_attn.query_layernorm.weight"), None);
        assert_eq!(architecture("hunyuan_v1_dense"), "hunyuan-dense");
        assert_eq!(architecture("deepseek_v2"), "deepseek2");
        assert_eq!(architecture("deepseek_v3"), "deepseek2");
        assert_eq!(architecture("mamba"), "mamba");
    }

    #[test]
    fn a_bare_base_model_is_understood_and_strangers_are_not() {
        assert_eq!(
            to_gguf("llama", "layers.1.mlp.up_proj.weight").as_deref(),
            Some("blk.1.ffn_up.weight")
        );
        assert_eq!(to_gguf("llama", "norm.weight").as_deref(), Some("output_norm.weight"));
        for part in ["language_model.model.", "model.language_model."] {
            let name = |rest: &str| to_gguf("gemma3", &format!("{part}{rest}"));
            assert_eq!(name("embed_tokens.weight").as_deref(), Some("token_embd.weight"));
            let up = name("layers.1.mlp.up_proj.weight");
            assert_eq!(up.as_deref(), Some("blk.1.ffn_up.weight"));
        }
        for name in [
            "model.layers.0.self_attn.rotary_emb.inv_freq",
            "model.layers.00.mlp.up_proj.weight",
            "model.layers.x.mlp.up_proj.weight",
            "model.norm",
            "vision.norm.weight",
            "model.layers.0.mlp.experts.01.up_proj.weight",
            "model.layers.0.mlp.experts.gate_up_proj",
        ] {
            assert_eq!(to_gguf("llama", name), None, "{name}");
        }
        assert_eq!(to_hf("llama", "rope_freqs.weight"), None);
    }
}
