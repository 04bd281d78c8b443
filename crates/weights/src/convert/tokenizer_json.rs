//! GGUF's `tokenizer.ggml.*` to `tokenizer.json` and `tokenizer_config.json`.

use serde_json::{Map, Value, json};

use super::draft::Draft;
use crate::Error;

/// The two files.
pub(super) struct TokenizerFiles {
    pub(super) tokenizer: Value,
    pub(super) config: Value,
}

impl Draft<'_> {
    /// `None` where the file has no vocabulary. `normalizer` and `pre_tokenizer` are what
    /// `tokenizer.json` is to have under these names: GGUF knows them by `tokenizer.ggml.pre` alone.
    pub(super) fn tokenizer_json(
        &self,
        normalizer: &Value,
        pre_tokenizer: &Value,
    ) -> Result<Option<TokenizerFiles>, Error> {
        let m = &self.metadata;
        let Some(tokens) = m.str_array("tokenizer.ggml.tokens")? else { return Ok(None) };
        let kind = m.require_str("tokenizer.ggml.model")?;
        if kind != "gpt2" {
            let problem = format!("`{}` is no byte-level BPE", crate::tensor::shorten(kind));
            let remedy = "other vocabularies can't be converted yet";
            return Err(Error::unsupported(&self.path, "tokenizer.ggml.model", problem, remedy));
        }
        let types = m.i32_array("tokenizer.ggml.token_type")?.unwrap_or_default();
        let merges = m.require_str_array("tokenizer.ggml.merges")?;

        let mut vocab = Map::new();
        let mut added = Vec::new();
        let mut decoder = Map::new();
        for (id, text) in tokens.iter().enumerate() {
            let special = match types.get(id) {
                None | Some(1) => {
                    vocab.insert(text.to_owned(), id.into());
                    continue;
                }
                // Rows that only fill the table up have no token.
                Some(5) => continue,
                Some(4) => false,
                Some(_) => true,
            };
            let token = json!({
                "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": special,
            });
            let mut listed = json!({"id": id});
            if let (Some(listed), Some(token)) = (listed.as_object_mut(), token.as_object()) {
                listed.extend(token.clone());
            }
            added.push(listed);
            decoder.insert(id.to_string(), token);
        }
        let pairs: Vec<Value> = merges
            .iter()
            .map(|merge| merge.split_once(' ').map_or(json!(merge), |(a, b)| json!([a, b])))
            .collect();
        let token = |key: &str| -> Result<Option<(u32, &str)>, Error> {
            let id = m.u32(&format!("tokenizer.ggml.{key}_token_id"))?;
            Ok(id.and_then(|id| Some((id, tokens.get(id as usize)?))))
        };
        let bos = token("bos")?;
        let opens = m.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(false);
        let byte_level = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
            "use_regex": false,
        });
        let processor = match bos {
            Some((id, text)) if opens => opening(id, text, &byte_level),
            _ => byte_level.clone(),
        };
        let tokenizer = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer,
            "post_processor": processor,
            "decoder": byte_level,
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": null,
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": false,
                "byte_fallback": false,
                // Llama 3 takes words that are tokens whole; its rule is known by its name.
                "ignore_merges": m.str("tokenizer.ggml.pre")?.is_some_and(is_llama3),
                "vocab": vocab,
                "merges": pairs,
            },
        });
        let mut config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "added_tokens_decoder": decoder,
            "add_bos_token": opens,
            "clean_up_tokenization_spaces": false,
        });
        for (name, key) in [("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown")]
        {
            config[format!("{name}_token")] = token(key)?.map(|(_, text)| text).into();
        }
        let context = m.u64(&format!(
            "{}.context_length",
            m.str("general.architecture")?.unwrap_or_default()
        ))?;
        config["model_max_length"] = context.into();
        if let Some(template) = m.str("tokenizer.chat_template")? {
            config["chat_template"] = template.into();
        }
        Ok(Some(TokenizerFiles { tokenizer, config }))
    }
}

fn is_llama3(pre: &str) -> bool {
    ["llama-bpe", "llama3", "llama-v3"].contains(&pre)
}

/// Puts the token `text` before every text.
fn opening(id: u32, text: &str, byte_level: &Value) -> Value {
    let token = json!({"SpecialToken": {"id": text, "type_id": 0}});
    let a = json!({"Sequence": {"id": "A", "type_id": 0}});
    let b = json!({"Sequence": {"id": "B", "type_id": 1}});
    let template = json!({
        "type": "TemplateProcessing",
        "single": [token, a],
        "pair": [token, a, token, b],
        "special_tokens": {text: {"id": text, "ids": [id], "tokens": [text]}},
    });
    json!({"type": "Sequence", "processors": [byte_level, template]})
}
