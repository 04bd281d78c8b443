//! Tool calls, from what the model wrote to what clients read.

use serde_json::{Value, json};

/// Name and arguments, as JSON text, of a call; none if the text isn't one.
pub(crate) fn parse(text: &str) -> Option<(String, String)> {
    let value: Value = serde_json::from_str(text).ok()?;
    let name = value.get("name")?.as_str()?;
    let arguments = value.get("arguments").or_else(|| value.get("parameters"))?;
    let arguments = match arguments {
        Value::String(text) => text.clone(),
        arguments => arguments.to_string(),
    };
    Some((name.to_owned(), arguments))
}

/// A call in OpenAI's spelling; none if the text isn't one.
pub(crate) fn call(text: &str) -> Option<Value> {
    let (name, arguments) = parse(text)?;
    Some(json!({
        "id": crate::id("call"),
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }))
}
