//! A conversation of items, translated into messages.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::body::Fields;
use crate::error::ApiError;

#[derive(Debug, Deserialize)]
struct ResponseFields {
    input: Value,
    instructions: Option<String>,
    previous_response_id: Option<String>,
    #[serde(default)]
    background: Option<bool>,
    conversation: Option<Value>,
    tools: Option<Vec<Map<String, Value>>>,
    tool_choice: Option<Value>,
    text: Option<TextFields>,
    top_logprobs: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct TextFields {
    format: Option<Map<String, Value>>,
}

/// The request in the spelling of the chat API.
pub(super) fn to_chat(fields: &Fields) -> Result<Value, ApiError> {
    let given: ResponseFields = fields.read()?;
    let refused = [
        ("previous_response_id", given.previous_response_id.is_some()),
        ("conversation", given.conversation.is_some_and(|value| !value.is_null())),
        ("background", given.background == Some(true)),
    ];
    if let Some((param, _)) = refused.iter().find(|(_, given)| *given) {
        let message =
            format!("{param} is not supported: nothing is stored, so send the whole input");
        return Err(ApiError::param(*param, message));
    }
    let mut messages = Vec::new();
    if let Some(instructions) = given.instructions {
        messages.push(json!({"role": "system", "content": instructions}));
    }
    match given.input {
        Value::String(text) => messages.push(json!({"role": "user", "content": text})),
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                read(item, &format!("input[{i}]"), &mut messages)?;
            }
        }
        _ => return Err(ApiError::param("input", "input must be a text or a list of items")),
    }
    let mut chat = Map::new();
    let own = [
        "input",
        "instructions",
        "tools",
        "tool_choice",
        "text",
        "messages",
        "top_logprobs",
        "store",
    ];
    let all = fields.0.as_object().cloned().unwrap_or_default();
    chat.extend(all.into_iter().filter(|(key, _)| !own.contains(&key.as_str())));
    chat.insert("messages".to_owned(), messages.into());
    if let Some(n) = given.top_logprobs {
        chat.insert("logprobs".to_owned(), true.into());
        chat.insert("top_logprobs".to_owned(), n.into());
    }
    if let Some(tools) = given.tools.filter(|tools| !tools.is_empty()) {
        let list: Result<Vec<Value>, ApiError> =
            tools.into_iter().enumerate().map(|(i, tool)| function(tool, i)).collect();
        chat.insert("tools".to_owned(), list?.into());
    }
    if let Some(choice) = given.tool_choice {
        let choice = match choice.get("name") {
            Some(name) => json!({"type": "function", "function": {"name": name}}),
            None => choice,
        };
        chat.insert("tool_choice".to_owned(), choice);
    }
    if let Some(format) = given.text.and_then(|text| text.format) {
        let format = match format.get("type").and_then(Value::as_str) {
            Some("json_schema") => json!({"type": "json_schema", "json_schema": format}),
            _ => format.into(),
        };
        chat.insert("response_format".to_owned(), format);
    }
    Ok(chat.into())
}

/// Tools are flat here, and nested in the chat API.
fn function(mut tool: Map<String, Value>, i: usize) -> Result<Value, ApiError> {
    let kind = tool.remove("type");
    match kind.as_ref().and_then(Value::as_str) {
        Some("function") => Ok(json!({"type": "function", "function": tool})),
        other => {
            let other = other.unwrap_or("unknown");
            let message = format!("a tool of type `{other}` can't be run here: functions only");
            Err(ApiError::param(format!("tools[{i}].type"), message))
        }
    }
}

/// Text of a message's content.
fn text(content: &Value, at: &str) -> Result<String, ApiError> {
    match content {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        Value::Array(parts) => {
            let mut out = String::new();
            for (i, part) in parts.iter().enumerate() {
                match (part["type"].as_str(), part["text"].as_str()) {
                    (
                        Some("input_text" | "output_text" | "text" | "reasoning_text"),
                        Some(text),
                    ) => {
                        out.push_str(text);
                    }
                    (Some("refusal"), _) => out.push_str(part["refusal"].as_str().unwrap_or("")),
                    (kind, _) => {
                        let kind = kind.unwrap_or("unknown");
                        let message = format!("a part of type `{kind}` can't be read: text only");
                        return Err(ApiError::param(format!("{at}.content[{i}]"), message));
                    }
                }
            }
            Ok(out)
        }
        _ => Err(ApiError::param(
            format!("{at}.content"),
            "content must be a text or a list of parts",
        )),
    }
}

fn read(item: &Value, at: &str, messages: &mut Vec<Value>) -> Result<(), ApiError> {
    let kind = item["type"].as_str().unwrap_or("message");
    match kind {
        "message" => {
            let role = match item["role"].as_str() {
                Some("developer") => "system",
                Some(role @ ("user" | "assistant" | "system")) => role,
                _ => {
                    let message = "role must be user, assistant, system or developer";
                    return Err(ApiError::param(format!("{at}.role"), message));
                }
            };
            let said = text(&item["content"], at)?;
            // The thinking that came before it is part of the same turn.
            match messages.last_mut().filter(|last| role == "assistant" && is_open(last)) {
                Some(last) => last["content"] = said.into(),
                None => messages.push(json!({"role": role, "content": said})),
            }
        }
        "reasoning" => {
            let thought = text(&item["content"], at)?;
            messages
                .push(json!({"role": "assistant", "content": null, "reasoning_content": thought}));
        }
        "function_call" => {
            let call = json!({
                "id": item["call_id"],
                "type": "function",
                "function": {"name": item["name"], "arguments": item["arguments"]},
            });
            // Calls of one turn are one message.
            let same_turn = |last: &&mut Value| last["role"] == "assistant";
            match messages.last_mut().filter(same_turn) {
                Some(last) => match last["tool_calls"].as_array_mut() {
                    Some(calls) => calls.push(call),
                    None => last["tool_calls"] = json!([call]),
                },
                None => messages
                    .push(json!({"role": "assistant", "content": null, "tool_calls": [call]})),
            }
        }
        "function_call_output" => {
            let output = match &item["output"] {
                Value::String(text) => text.clone(),
                other => text(other, at)?,
            };
            messages
                .push(json!({"role": "tool", "tool_call_id": item["call_id"], "content": output}));
        }
        other => {
            let message = format!("an item of type `{other}` can't be read here");
            return Err(ApiError::param(format!("{at}.type"), message));
        }
    }
    Ok(())
}

/// An assistant's turn that so far only thinks.
fn is_open(message: &Value) -> bool {
    message["role"] == "assistant"
        && message["content"].is_null()
        && message["tool_calls"].is_null()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_become_messages() {
        let chat = to_chat(&Fields(json!({
            "model": "m", "instructions": "be brief", "max_output_tokens": 5,
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "weather?"}]},
                {"type": "reasoning", "id": "rs_1", "summary": [],
                 "content": [{"type": "reasoning_text", "text": "hm"}]},
                {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
                {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "rain"},
                {"type": "message", "role": "assistant",
                 "content": [{"type": "output_text", "text": "Rain.", "annotations": []}]},
                {"role": "developer", "content": "now in verse"},
            ],
            "tools": [{"type": "function", "name": "weather", "parameters": {"type": "object"}}],
            "tool_choice": {"type": "function", "name": "weather"},
            "text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": "object"}}},
        })))
        .unwrap();
        let messages = chat["messages"].as_array().unwrap();
        assert_eq!(messages[0], json!({"role": "system", "content": "be brief"}));
        assert_eq!(messages[2]["reasoning_content"], "hm");
        assert_eq!(messages[2]["tool_calls"].as_array().unwrap().len(), 2);
        assert_eq!(messages[3], json!({"role": "tool", "tool_call_id": "c1", "content": "rain"}));
        assert_eq!(messages[5], json!({"role": "system", "content": "now in verse"}));
        assert_eq!(chat["tools"][0]["function"]["name"], "weather");
        assert_eq!(chat["tool_choice"]["function"]["name"], "weather");
        assert_eq!(chat["response_format"]["json_schema"]["schema"]["type"], "object");
        assert_eq!(chat["max_output_tokens"], 5);
    }

    #[test]
    fn what_can_not_be_done_is_named() {
        for (value, param) in [
            (json!({"input": 3}), "input"),
            (json!({"input": "x", "previous_response_id": "resp_1"}), "previous_response_id"),
            (json!({"input": [{"type": "image"}]}), "input[0].type"),
            (json!({"input": [{"role": "king", "content": ""}]}), "input[0].role"),
            (json!({"input": "x", "tools": [{"type": "web_search"}]}), "tools[0].type"),
        ] {
            let error = to_chat(&Fields(value)).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param));
        }
    }
}
