//! `/tokenize`, `/detokenize` and `/apply-template`.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use text::tokenizer::Special;

use crate::App;
use crate::body::Fields;
use crate::chat::{aside, render};
use crate::error::ApiError;

#[derive(Debug, Deserialize)]
struct TokenizeFields {
    #[serde(alias = "prompt", alias = "text")]
    content: String,
    #[serde(default)]
    add_special: bool,
    parse_special: Option<bool>,
    #[serde(default)]
    with_pieces: bool,
}

/// Text to tokens.
pub(crate) async fn tokenize(
    State(app): State<App>,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    let given: TokenizeFields = fields.read()?;
    aside(move || {
        let special = match given.parse_special.unwrap_or(true) {
            true => Special::Parse,
            false => Special::Plain,
        };
        let engine = app.engine();
        let tokenizer = engine.tokenizer();
        let tokens = match given.add_special {
            true => engine.encode_prompt(&given.content, special),
            false => tokenizer.encode(&given.content, special),
        };
        let count = tokens.len();
        let tokens: Value = match given.with_pieces {
            false => tokens.into(),
            true => {
                let piece = |id: &u32| {
                    let bytes = tokenizer.decode_bytes(&[*id]);
                    // What isn't text on its own is given as bytes.
                    match String::from_utf8(bytes) {
                        Ok(text) => json!({"id": id, "piece": text}),
                        Err(error) => json!({"id": id, "piece": error.into_bytes()}),
                    }
                };
                tokens.iter().map(piece).collect()
            }
        };
        let most = engine.context_length();
        Ok(Json(json!({"tokens": tokens, "count": count, "max_model_len": most})))
    })
    .await
}

#[derive(Debug, Deserialize)]
struct DetokenizeFields {
    tokens: Vec<u32>,
}

/// Tokens to text.
pub(crate) async fn detokenize(
    State(app): State<App>,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    let given: DetokenizeFields = fields.read()?;
    let tokenizer = app.engine().tokenizer();
    let size = tokenizer.vocab_size();
    if let Some(token) = given.tokens.iter().find(|token| **token as usize >= size) {
        let message = format!("token {token} is outside the vocabulary of {size}");
        return Err(ApiError::param("tokens", message));
    }
    let text = tokenizer.decode(&given.tokens);
    Ok(Json(json!({"content": text, "prompt": text})))
}

/// A conversation's prompt.
pub(crate) async fn apply_template(
    State(app): State<App>,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    aside(move || Ok(Json(json!({"prompt": render(&app, &fields)?})))).await
}
