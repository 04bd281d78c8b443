//! A conversation in Anthropic's spelling, translated into OpenAI's.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::body::Fields;
use crate::error::ApiError;

#[derive(Debug, Deserialize)]
struct MessageFields {
    messages: Vec<Turn>,
    max_tokens: Option<u64>,
    system: Option<Content>,
    #[serde(default)]
    stop_sequences: Option<Vec<String>>,
    tools: Option<Vec<Tool>>,
    tool_choice: Option<ToolChoice>,
    thinking: Option<Thinking>,
    metadata: Option<Metadata>,
}

#[derive(Debug, Deserialize)]
struct Turn {
    role: String,
    content: Content,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Blocks(Vec<Map<String, Value>>),
}

#[derive(Debug, Deserialize)]
struct Tool {
    name: String,
    description: Option<String>,
    input_schema: Option<Value>,
    r#type: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ToolChoice {
    r#type: String,
    name: Option<String>,
    disable_parallel_tool_use: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Thinking {
    r#type: String,
    budget_tokens: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    user_id: Option<String>,
}

fn invalid(param: String, message: impl Into<String>) -> ApiError {
    ApiError::param(param, message)
}

/// The text of a list of blocks that are all text.
fn text(content: Content, at: &str) -> Result<String, ApiError> {
    let blocks = match content {
        Content::Text(text) => return Ok(text),
        Content::Blocks(blocks) => blocks,
    };
    let mut out = String::new();
    for (i, block) in blocks.iter().enumerate() {
        match (block.get("type").and_then(Value::as_str), block.get("text")) {
            (Some("text"), Some(Value::String(text))) => out.push_str(text),
            (kind, _) => {
                let kind = kind.unwrap_or("unknown");
                let message = format!("a block of type `{kind}` can't be read here: text only");
                return Err(invalid(format!("{at}.{i}"), message));
            }
        }
    }
    Ok(out)
}

/// JSON text as an object; what isn't one becomes an empty object.
pub(super) fn object(arguments: &str) -> Value {
    match serde_json::from_str(arguments) {
        Ok(Value::Object(map)) => Value::Object(map),
        _ => json!({}),
    }
}

/// The request in OpenAI's spelling. Without `strict`, as for counting, `max_tokens` may be absent.
pub(super) fn to_chat(fields: &Fields, strict: bool) -> Result<Value, ApiError> {
    let given: MessageFields = fields.read()?;
    if strict && given.max_tokens.is_none_or(|most| most == 0) {
        let message = "max_tokens is required, and must be at least 1";
        return Err(invalid("max_tokens".to_owned(), message));
    }
    let mut messages = Vec::new();
    if let Some(system) = given.system {
        messages.push(json!({"role": "system", "content": text(system, "system")?}));
    }
    for (i, turn) in given.messages.into_iter().enumerate() {
        let at = format!("messages.{i}");
        match turn.role.as_str() {
            "user" => user(turn.content, &at, &mut messages)?,
            "assistant" => messages.push(assistant(turn.content, &at)?),
            "system" => messages.push(
                json!({"role": "system", "content": text(turn.content, &format!("{at}.content"))?}),
            ),
            other => {
                let message = format!("the role is `{other}`, but must be user or assistant");
                return Err(invalid(format!("{at}.role"), message));
            }
        }
    }
    let mut chat = Map::new();
    let all = fields.0.as_object().cloned().unwrap_or_default();
    // What both APIs call by the same name is passed on, and so are our own fields.
    let own =
        ["system", "stop_sequences", "tools", "tool_choice", "thinking", "metadata", "messages"];
    chat.extend(all.into_iter().filter(|(key, _)| !own.contains(&key.as_str())));
    chat.insert("messages".to_owned(), messages.into());
    if let Some(stop) = given.stop_sequences {
        chat.insert("stop".to_owned(), stop.into());
    }
    if let Some(tools) = given.tools.filter(|tools| !tools.is_empty()) {
        chat.insert("tools".to_owned(), translate_tools(tools)?);
    }
    if let Some(choice) = given.tool_choice {
        let value = match choice.r#type.as_str() {
            "auto" => json!("auto"),
            "any" => json!("required"),
            "none" => json!("none"),
            "tool" => json!({"type": "function", "function": {"name": choice.name}}),
            other => {
                let message = format!("`{other}` is not one of auto, any, tool, none");
                return Err(invalid("tool_choice.type".to_owned(), message));
            }
        };
        chat.insert("tool_choice".to_owned(), value);
        let parallel = !choice.disable_parallel_tool_use.unwrap_or(false);
        chat.insert("parallel_tool_calls".to_owned(), parallel.into());
    }
    if let Some(thinking) = given.thinking {
        let budget = match thinking.r#type.as_str() {
            "disabled" => Some(0),
            "enabled" | "adaptive" => thinking.budget_tokens,
            other => {
                let message = format!("`{other}` is not one of enabled, disabled, adaptive");
                return Err(invalid("thinking.type".to_owned(), message));
            }
        };
        if let Some(budget) = budget {
            chat.insert("thinking_budget".to_owned(), budget.into());
        }
    }
    if let Some(user) = given.metadata.and_then(|metadata| metadata.user_id) {
        chat.insert("user".to_owned(), user.into());
    }
    Ok(chat.into())
}

fn translate_tools(tools: Vec<Tool>) -> Result<Value, ApiError> {
    let mut list = Vec::new();
    for (i, tool) in tools.into_iter().enumerate() {
        if tool.r#type.as_deref().is_some_and(|kind| kind != "custom") {
            let message = "only tools that the client runs (type `custom`) are supported";
            return Err(invalid(format!("tools.{i}.type"), message));
        }
        let parameters = tool.input_schema.unwrap_or_else(|| json!({"type": "object"}));
        let mut function = json!({"name": tool.name, "parameters": parameters});
        if let Some(description) = tool.description {
            function["description"] = description.into();
        }
        list.push(json!({"type": "function", "function": function}));
    }
    Ok(list.into())
}

/// A user's turn: results of tools are messages of their own, in their order.
fn user(content: Content, at: &str, messages: &mut Vec<Value>) -> Result<(), ApiError> {
    let blocks = match content {
        Content::Text(text) => {
            messages.push(json!({"role": "user", "content": text}));
            return Ok(());
        }
        Content::Blocks(blocks) => blocks,
    };
    let mut said = String::new();
    let flush = |said: &mut String, messages: &mut Vec<Value>| {
        if !said.is_empty() {
            messages.push(json!({"role": "user", "content": std::mem::take(said)}));
        }
    };
    for (i, mut block) in blocks.into_iter().enumerate() {
        let place = format!("{at}.content.{i}");
        match block.get("type").and_then(Value::as_str) {
            Some("text") => said.push_str(block.get("text").and_then(Value::as_str).unwrap_or("")),
            Some("tool_result") => {
                flush(&mut said, messages);
                let content = match block.remove("content") {
                    None | Some(Value::Null) => String::new(),
                    Some(value) => {
                        let content: Content = crate::body::read(&value)?;
                        text(content, &format!("{place}.content"))?
                    }
                };
                messages.push(json!({
                    "role": "tool",
                    "tool_call_id": block.get("tool_use_id"),
                    "content": content,
                }));
            }
            kind => {
                let kind = kind.unwrap_or("unknown");
                let message =
                    format!("a block of type `{kind}` can't be read: this model reads text");
                return Err(invalid(place, message));
            }
        }
    }
    flush(&mut said, messages);
    Ok(())
}

fn assistant(content: Content, at: &str) -> Result<Value, ApiError> {
    let blocks = match content {
        Content::Text(text) => return Ok(json!({"role": "assistant", "content": text})),
        Content::Blocks(blocks) => blocks,
    };
    let (mut said, mut thought, mut calls) = (String::new(), String::new(), Vec::new());
    for (i, block) in blocks.iter().enumerate() {
        let string = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or_default();
        match string("type") {
            "text" => said.push_str(string("text")),
            "thinking" => thought.push_str(string("thinking")),
            // Nobody but its maker could read it.
            "redacted_thinking" => {}
            "tool_use" => calls.push(json!({
                "id": string("id"),
                "type": "function",
                "function": {
                    "name": string("name"),
                    "arguments": block.get("input").unwrap_or(&json!({})).to_string(),
                },
            })),
            kind => {
                let message =
                    format!("a block of type `{kind}` can't be read: this model reads text");
                return Err(invalid(format!("{at}.content.{i}"), message));
            }
        }
    }
    let mut message = json!({"role": "assistant", "content": said});
    if !thought.is_empty() {
        message["reasoning_content"] = thought.into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(value: Value) -> Result<Value, ApiError> {
        to_chat(&Fields(value), true)
    }

    #[test]
    fn a_conversation_with_tools_is_translated() {
        let chat = chat(json!({
            "model": "m", "max_tokens": 9, "temperature": 0.5,
            "system": [{"type": "text", "text": "be "}, {"type": "text", "text": "brief"}],
            "messages": [
                {"role": "user", "content": "weather?"},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": ""},
                    {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Ulm"}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "rain"}]},
                    {"type": "text", "text": "so?"},
                ]},
            ],
            "tools": [{"name": "weather", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
            "thinking": {"type": "enabled", "budget_tokens": 2000},
            "stop_sequences": ["END"],
        }))
        .unwrap();
        assert_eq!(
            chat["messages"],
            json!([
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "weather?"},
                {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [
                    {"id": "t1", "type": "function",
                     "function": {"name": "weather", "arguments": "{\"city\":\"Ulm\"}"}}]},
                {"role": "tool", "tool_call_id": "t1", "content": "rain"},
                {"role": "user", "content": "so?"},
            ])
        );
        assert_eq!(chat["tool_choice"], "required");
        assert_eq!(chat["parallel_tool_calls"], false);
        assert_eq!((&chat["thinking_budget"], &chat["stop"]), (&json!(2000), &json!(["END"])));
        assert_eq!((&chat["temperature"], &chat["max_tokens"]), (&json!(0.5), &json!(9)));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let message = json!([{"role": "user", "content": "hi"}]);
        for (value, param) in [
            (json!({"messages": message}), "max_tokens"),
            (
                json!({"max_tokens": 1, "messages": [{"role": "x", "content": ""}]}),
                "messages.0.role",
            ),
            (
                json!({"max_tokens": 1, "messages": [{"role": "user", "content": [{"type": "image"}]}]}),
                "messages.0.content.0",
            ),
            (
                json!({"max_tokens": 1, "messages": message, "thinking": {"type": "x"}}),
                "thinking.type",
            ),
            (
                json!({"max_tokens": 1, "messages": message, "tools": [{"name": "w", "type": "web_search"}]}),
                "tools.0.type",
            ),
        ] {
            assert_eq!(chat(value).unwrap_err().param.as_deref(), Some(param));
        }
    }
}
