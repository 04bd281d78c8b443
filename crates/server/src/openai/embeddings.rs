//! `/v1/embeddings`: texts as vectors.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::App;
use crate::body::Fields;
use crate::chat::aside;
use crate::error::{ApiError, Kind};
use crate::prompt;

#[derive(Debug, Deserialize)]
struct EmbeddingFields {
    #[serde(alias = "content")]
    input: Value,
    encoding_format: Option<String>,
    dimensions: Option<usize>,
}

/// The vectors of one or several texts.
pub(crate) async fn create(
    State(app): State<App>,
    fields: Fields,
) -> Result<Json<Value>, ApiError> {
    let given: EmbeddingFields = fields.read()?;
    let as_text = match given.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let message = format!("encoding_format is `{other}`, but must be float or base64");
            return Err(ApiError::param("encoding_format", message));
        }
    };
    let hidden = app.engine().model().config().hidden;
    if given.dimensions.is_some_and(|n| n != hidden) {
        let message =
            format!("this model's vectors have {hidden} dimensions, and can't be shortened");
        return Err(ApiError::param("dimensions", message));
    }
    let prompts = {
        let app = app.clone();
        aside(move || prompt::read(&app, "input", &given.input)).await?
    };
    let mut tokens = 0;
    let mut list = Vec::new();
    for (index, prompt) in prompts.into_iter().enumerate() {
        tokens += prompt.len();
        let (sender, receiver) = oneshot::channel();
        app.runtime.embed(prompt, move |vector| drop(sender.send(vector)))?;
        let gone = |_| ApiError::new(Kind::Internal, "the engine is gone");
        let vector = receiver.await.map_err(gone)??;
        let embedding = match as_text {
            true => base64(&vector).into(),
            false => Value::from(vector),
        };
        list.push(json!({"object": "embedding", "index": index, "embedding": embedding}));
    }
    Ok(Json(json!({
        "object": "list",
        "data": list,
        "model": app.name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    })))
}

/// Little-endian floats in base64 (RFC 4648), which OpenAI's own client asks for.
fn base64(vector: &[f32]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let group = three.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte));
        let group = group << (8 * (3 - three.len()));
        for i in 0..4 {
            match i <= three.len() {
                true => text.push(char::from(LETTERS[(group >> (18 - 6 * i)) as usize & 63])),
                false => text.push('='),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_what_others_write() {
        assert_eq!(base64(&[]), "");
        // As Python's base64.b64encode(struct.pack("<f", 1.0)) and "<3f", 1, -2, 0.5.
        assert_eq!(base64(&[1.0]), "AACAPw==");
        assert_eq!(base64(&[1.0, -2.0, 0.5]), "AACAPwAAAMAAAAA/");
    }
}
