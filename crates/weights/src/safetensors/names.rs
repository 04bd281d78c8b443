//! What Hugging Face and GGUF call the same tensor, for `llama`, `qwen2`, `qwen3` and `qwen3moe`.
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

/// GGUF's name for a Hugging Face tensor, where it has one. The `model.` in front may be
/// missing, as it is in checkpoints saved without their output head.
pub fn to_gguf(name: &str) -> Option<String> {
    let (module, kind) = module_and_kind(name)?;
    for (hf, gguf) in GLOBAL {
        if module == hf || hf.strip_prefix("model.") == Some(module) {
            return Some(format!("{gguf}.{kind}"));
        }
    }
    let rest = module.strip_prefix("model.").unwrap_or(module).strip_prefix("layers.")?;
    let (layer, module) = number(rest)?;
    if let Some((expert, module)) = module.strip_prefix("mlp.experts.").and_then(number) {
        let (_, gguf) = EXPERT.into_iter().find(|(hf, _)| *hf == module)?;
        return Some(format!("blk.{layer}.{gguf}.{expert}.{kind}"));
    }
    let (_, gguf) = LAYER.into_iter().find(|(hf, _)| *hf == module)?;
    Some(format!("blk.{layer}.{gguf}.{kind}"))
}

/// Hugging Face's name for a GGUF tensor, where it has one.
pub fn to_hf(name: &str) -> Option<String> {
    let (module, kind) = module_and_kind(name)?;
    if let Some((hf, _)) = GLOBAL.into_iter().find(|(_, gguf)| *gguf == module) {
        return Some(format!("{hf}.{kind}"));
    }
    let (layer, module) = number(module.strip_prefix("blk.")?)?;
    if let Some((module, expert)) = module.split_once('.') {
        let (hf, _) = EXPERT.into_iter().find(|(_, gguf)| *gguf == module)?;
        let expert = plain(expert)?;
        return Some(format!("model.layers.{layer}.mlp.experts.{expert}.{hf}.{kind}"));
    }
    let (hf, _) = LAYER.into_iter().find(|(_, gguf)| *gguf == module)?;
    Some(format!("model.layers.{layer}.{hf}.{kind}"))
}

fn module_and_kind(name: &str) -> Option<(&str, &str)> {
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
            assert_eq!(to_gguf(hf).as_deref(), Some(gguf));
            assert_eq!(to_hf(gguf).as_deref(), Some(hf));
        }
    }

    #[test]
    fn a_bare_base_model_is_understood_and_strangers_are_not() {
        assert_eq!(to_gguf("layers.1.mlp.up_proj.weight").as_deref(), Some("blk.1.ffn_up.weight"));
        assert_eq!(to_gguf("norm.weight").as_deref(), Some("output_norm.weight"));
        for name in [
            "model.layers.0.self_attn.rotary_emb.inv_freq",
            "model.layers.00.mlp.up_proj.weight",
            "model.layers.x.mlp.up_proj.weight",
            "model.norm",
            "vision.norm.weight",
            "model.layers.0.mlp.experts.01.up_proj.weight",
            "model.layers.0.mlp.experts.gate_up_proj",
        ] {
            assert_eq!(to_gguf(name), None, "{name}");
        }
        assert_eq!(to_hf("rope_freqs.weight"), None);
    }
}
