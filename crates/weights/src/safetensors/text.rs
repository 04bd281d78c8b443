//! The text part of a model that sees pictures as well.

use serde_json::{Value, json};

/// The settings of the text part, which `config.json` keeps in an object of their own, with those of the whole
/// that aren't about pictures. Gemma 3's files leave out what is usual, there and in files of text models.
pub(crate) fn text_part(config: Value) -> Value {
    let kind = config["model_type"].as_str().unwrap_or_default();
    if !matches!(kind, "gemma3" | "gemma3_text") {
        return config;
    }
    let usual = json!({
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262_208,
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-6,
        "query_pre_attn_scalar": 256,
        "rope_theta": 1e6,
        "tie_word_embeddings": true,
    });
    let layers = [&usual, &config, &config["text_config"]];
    let mut settings: serde_json::Map<String, Value> = layers
        .into_iter()
        .filter_map(Value::as_object)
        .flatten()
        .filter(|(key, _)| !matches!(key.as_str(), "text_config" | "vision_config"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    settings.insert("model_type".to_owned(), "gemma3_text".into());
    settings.insert("architectures".to_owned(), json!(["Gemma3ForCausalLM"]));
    Value::Object(settings)
}

/// Whether a tensor is of the part that sees.
pub(crate) fn is_of_pictures(name: &str) -> bool {
    let name = name.strip_prefix("model.").unwrap_or(name);
    name.starts_with("vision_tower.") || name.starts_with("multi_modal_projector.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_goes_before_what_is_usual() {
        let text = text_part(json!({
            "model_type": "gemma3", "eos_token_id": [1, 106], "mm_tokens_per_image": 256,
            "text_config": {"model_type": "gemma3_text", "hidden_size": 2560, "head_dim": 128},
            "vision_config": {"hidden_size": 1152},
        }));
        assert_eq!(text["model_type"], "gemma3_text");
        assert_eq!((&text["hidden_size"], &text["head_dim"]), (&json!(2560), &json!(128)));
        assert_eq!((&text["num_attention_heads"], &text["rope_theta"]), (&json!(8), &json!(1e6)));
        assert_eq!(text["eos_token_id"], json!([1, 106]));
        assert!(text.get("vision_config").is_none());
        let other = json!({"model_type": "llama", "text_config": {"hidden_size": 1}});
        assert_eq!(text_part(other.clone()), other);
    }

    #[test]
    fn pictures_have_towers_and_projectors() {
        assert!(is_of_pictures("vision_tower.vision_model.post_layernorm.weight"));
        assert!(is_of_pictures("model.multi_modal_projector.mm_input_projection_weight"));
        assert!(!is_of_pictures("blk.0.attn_q.weight"));
    }
}
