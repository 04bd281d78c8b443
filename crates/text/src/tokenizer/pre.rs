//! Between the two ways of saying how a text is cut: GGUF's name for it, and the description in a
//! `tokenizer.json`.

use serde_json::{Value, json};

use super::rules::Family;
use super::whole::Whole;
use super::{Error, json};

/// What GGUF calls it that a text isn't cut.
const SENTENCEPIECE: &str = "default";

/// What a `tokenizer.json` says of a text on its way to the merges.
#[derive(Clone, Debug, PartialEq)]
pub struct PreTokenizer {
    /// What is done to it first; null for nothing.
    pub normalizer: Value,
    /// How it is cut.
    pub pre_tokenizer: Value,
}

/// GGUF's name (`tokenizer.ggml.pre`) for the way the pre-tokenizer of a `tokenizer.json` cuts a
/// text; `None` where it is none we know. SentencePiece's texts aren't cut, which is called `default`.
///
/// # Errors
/// If `json` is no JSON, or the tokenizer is neither byte-level BPE nor SentencePiece's.
pub fn pre_tokenizer_name(json: &[u8]) -> Result<Option<&'static str>, Error> {
    let file: Value = serde_json::from_slice(json)
        .map_err(|source| Error::Json { file: "tokenizer.json", source })?;
    if file["model"]["byte_fallback"] == true {
        let known = Whole::described(&file["normalizer"], &file["pre_tokenizer"]);
        return Ok(known.map(|_| SENTENCEPIECE));
    }
    Ok(json::family(&file["pre_tokenizer"])?.map(Family::name))
}

/// What a `tokenizer.json` has for the way that GGUF calls `name`; `None` for a name we don't know.
///
/// The Qwen models compose accents before anything else, which GGUF has no word for.
pub fn pre_tokenizer_json(name: &str) -> Option<PreTokenizer> {
    let family = Family::from_name(name)?;
    let byte_level = |use_regex: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
            "use_regex": use_regex,
        })
    };
    let split = |expression: &str| {
        json!({
            "type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated",
            "invert": false,
        })
    };
    let sequence = |steps: Vec<Value>| json!({"type": "Sequence", "pretokenizers": steps});
    let pre_tokenizer = match family {
        Family::Gpt2 => byte_level(true),
        Family::Smollm => {
            sequence(vec![json!({"type": "Digits", "individual_digits": true}), byte_level(true)])
        }
        Family::Qwen2
        | Family::Qwen35
        | Family::Llama3
        | Family::Cl100k
        | Family::Gpt4o
        | Family::DeepSeek3
        | Family::DeepSeek
        | Family::DeepSeekCoder => {
            let before = family.before().iter().copied();
            let splits = before.chain([family.expression()]).map(split);
            sequence(splits.chain([byte_level(false)]).collect())
        }
    };
    let normalizer = match family {
        Family::Qwen2 | Family::Qwen35 => json!({"type": "NFC"}),
        _ => Value::Null,
    };
    Some(PreTokenizer { normalizer, pre_tokenizer })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_go_both_ways() {
        for name in [
            "qwen2",
            "qwen35",
            "llama-bpe",
            "gpt-4o",
            "deepseek-v3",
            "deepseek-llm",
            "deepseek-coder",
            "smollm",
            "gpt-2",
        ] {
            let PreTokenizer { pre_tokenizer, .. } = pre_tokenizer_json(name).unwrap();
            let json = json!({"pre_tokenizer": pre_tokenizer}).to_string();
            assert_eq!(pre_tokenizer_name(json.as_bytes()).unwrap(), Some(name));
        }
        assert_eq!(pre_tokenizer_json("wordpiece"), None);
        let unknown = json!({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "x"}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
        ]}});
        assert_eq!(pre_tokenizer_name(unknown.to_string().as_bytes()).unwrap(), None);
        assert!(pre_tokenizer_name(b"{\"pre_tokenizer\": {\"type\": \"Metaspace\"}}").is_err());
        assert!(pre_tokenizer_name(b"{").is_err());
    }
}
