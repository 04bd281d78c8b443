//! GGUF's `tokenizer.ggml.*` to `tokenizer.json` and `tokenizer_config.json`.

use serde_json::{Map, Value, json};

use super::draft::Draft;
use super::sentencepiece::{self, SPACE};
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
        if !matches!(kind, "gpt2" | "llama") {
            let kind = crate::tensor::shorten(kind);
            let problem = format!("`{kind}` is neither byte-level BPE nor SentencePiece's");
            let remedy = "other vocabularies can't be converted yet";
            return Err(Error::unsupported(&self.path, "tokenizer.ggml.model", problem, remedy));
        }
        let sentencepiece = kind == "llama";
        let types = m.i32_array("tokenizer.ggml.token_type")?.unwrap_or_default();

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
                Some(6) if sentencepiece => {
                    vocab.insert(text.to_owned(), id.into());
                    continue;
                }
                Some(4) => false,
                Some(_) => true,
            };
            if sentencepiece {
                // Some of these stand before the others, where a reader takes no id but the vocabulary's.
                vocab.insert(text.to_owned(), id.into());
            }
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
        let pairs: Vec<Value> = if sentencepiece {
            let scores = m.require_f32_array("tokenizer.ggml.scores")?;
            let ordinary = |id: &usize| matches!(types.get(*id), None | Some(1));
            let scored = tokens.iter().zip(scores.iter().copied()).enumerate();
            let scored = scored.filter(|(id, _)| ordinary(id)).map(|(_, scored)| scored);
            sentencepiece::merges(scored)
        } else {
            let merges = m.require_str_array("tokenizer.ggml.merges")?.iter();
            merges.map(|m| m.split_once(' ').map_or(json!(m), |(a, b)| json!([a, b]))).collect()
        };
        let token = |key: &str| -> Result<Option<(u32, &str)>, Error> {
            let id = m.u32(&format!("tokenizer.ggml.{key}_token_id"))?;
            Ok(id.and_then(|id| Some((id, tokens.get(id as usize)?))))
        };
        let bos = token("bos")?;
        let opens = m.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(sentencepiece);
        let byte_level = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
            "use_regex": false,
        });
        let mut steps = if sentencepiece { Vec::new() } else { vec![byte_level.clone()] };
        steps.extend(bos.filter(|_| opens).map(|(id, text)| opening(id, text)));
        let processor = match steps.len() {
            0 => Value::Null,
            1 => steps.remove(0),
            _ => json!({"type": "Sequence", "processors": steps}),
        };
        let spaced = m.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
        let (normalizer, pre_tokenizer, decoder_steps) = match sentencepiece {
            true => (&letters(spaced), &Value::Null, spaces(spaced)),
            false => (normalizer, pre_tokenizer, byte_level),
        };
        let unknown = token("unknown")?.map(|(_, text)| text).filter(|_| sentencepiece);
        let tokenizer = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer,
            "post_processor": processor,
            "decoder": decoder_steps,
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": unknown,
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": sentencepiece,
                "byte_fallback": sentencepiece,
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

/// What makes a text SentencePiece's letters.
fn letters(spaced: bool) -> Value {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    match spaced {
        true => {
            let prepend = json!({"type": "Prepend", "prepend": SPACE});
            json!({"type": "Sequence", "normalizers": [prepend, replace]})
        }
        false => replace,
    }
}

/// What makes SentencePiece's letters a text.
fn spaces(spaced: bool) -> Value {
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if spaced {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": decoders})
}

/// Puts the token `text` before every text.
fn opening(id: u32, text: &str) -> Value {
    let token = json!({"SpecialToken": {"id": text, "type_id": 0}});
    let a = json!({"Sequence": {"id": "A", "type_id": 0}});
    let b = json!({"Sequence": {"id": "B", "type_id": 1}});
    json!({
        "type": "TemplateProcessing",
        "single": [token, a],
        "pair": [token, a, token, b],
        "special_tokens": {text: {"id": text, "ids": [id], "tokens": [text]}},
    })
}
