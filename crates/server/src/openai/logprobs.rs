//! Log-probabilities of tokens, in the shapes of the chat and of the older completions API.

use engine::TokenLogprob;
use serde_json::{Value, json};
use text::tokenizer::Tokenizer;

/// JSON has no infinities; clients know -9999 for them.
fn finite(logprob: f32) -> f32 {
    logprob.max(-9999.0)
}

/// One token for `choices[].logprobs.content`.
pub(crate) fn chat(entry: &TokenLogprob, tokenizer: &Tokenizer) -> Value {
    let token = |id: u32, logprob: f32| {
        let bytes = tokenizer.decode_bytes(&[id]);
        json!({
            "id": id,
            "token": String::from_utf8_lossy(&bytes),
            "bytes": bytes,
            "logprob": finite(logprob),
        })
    };
    let mut value = token(entry.token, entry.logprob);
    value["top_logprobs"] = entry.top.iter().map(|(id, logprob)| token(*id, *logprob)).collect();
    value
}

/// All tokens for `choices[].logprobs` of `/v1/completions`. Offsets count characters.
pub(crate) fn completions(entries: &[TokenLogprob], tokenizer: &Tokenizer) -> Value {
    let text = |id: u32| String::from_utf8_lossy(&tokenizer.decode_bytes(&[id])).into_owned();
    let mut offset = 0;
    let mut offsets = Vec::new();
    for entry in entries {
        offsets.push(offset);
        offset += text(entry.token).chars().count();
    }
    let top = entries.iter().map(|entry| {
        let map: serde_json::Map<String, Value> =
            entry.top.iter().map(|(id, p)| (text(*id), finite(*p).into())).collect();
        Value::from(map)
    });
    json!({
        "tokens": entries.iter().map(|e| text(e.token)).collect::<Vec<_>>(),
        "token_logprobs": entries.iter().map(|e| finite(e.logprob)).collect::<Vec<_>>(),
        "top_logprobs": top.collect::<Vec<_>>(),
        "text_offset": offsets,
    })
}
