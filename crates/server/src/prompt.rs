//! Prompts that aren't conversations: a text, tokens, both mixed, or several of them.

use serde_json::Value;
use text::tokenizer::Special;

use crate::App;
use crate::error::ApiError;

/// A prompt as it comes: text is read for special tokens, as llama-server and vLLM do.
pub(crate) fn read(app: &App, param: &str, value: &Value) -> Result<Vec<Vec<u32>>, ApiError> {
    let wrong = || {
        let message =
            "prompt must be a text, a list of tokens, a list mixing both, or a list of these";
        ApiError::param("prompt", message)
    };
    match value {
        Value::Array(list) if list.iter().all(|part| !part.is_number()) => {
            if list.is_empty() {
                return Err(ApiError::param(param, format!("{param} is an empty list")));
            }
            list.iter().map(|part| one(app, part).ok_or_else(wrong)).collect()
        }
        value => Ok(vec![one(app, value).ok_or_else(wrong)?]),
    }
}

fn one(app: &App, value: &Value) -> Option<Vec<u32>> {
    let engine = app.engine();
    match value {
        Value::String(text) => Some(engine.encode_prompt(text, Special::Parse)),
        Value::Array(parts) => {
            let mut tokens = Vec::new();
            for (i, part) in parts.iter().enumerate() {
                match part {
                    Value::String(text) if i == 0 => {
                        tokens.extend(engine.encode_prompt(text, Special::Parse));
                    }
                    Value::String(text) => {
                        tokens.extend(engine.tokenizer().encode(text, Special::Parse));
                    }
                    part => tokens.push(u32::try_from(part.as_u64()?).ok()?),
                }
            }
            Some(tokens)
        }
        // llama-server's way to send images with a text.
        // One with images in it is refused: this model reads text.
        Value::Object(parts) if !parts.contains_key("multimodal_data") => {
            one(app, parts.get("prompt_string")?)
        }
        _ => None,
    }
}
