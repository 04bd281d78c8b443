//! Messages of a conversation, as OpenAI's chat API spells them.

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One message.
///
/// Reads what the chat API's clients send: `content` may be absent, null, a string or a list of
/// text parts. Other fields than these are ignored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`; templates may know others.
    pub role: String,
    /// What was said.
    #[serde(default, deserialize_with = "content")]
    pub content: String,
    /// What was thought before it, without its tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// The assistant's calls: a list of `{"id", "type", "function": {"name", "arguments"}}`,
    /// the arguments an object or its JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Value>,
    /// Which call a tool's message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// The speaker's, or the tool's, name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Message {
    /// A message that is only text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Message {
        Message { role: role.into(), content: content.into(), ..Message::default() }
    }
}

fn content<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text),
        Value::Array(parts) => parts
            .iter()
            .map(|part| match (part["type"].as_str(), part["text"].as_str()) {
                (Some("text"), Some(text)) => Ok(text),
                (kind, _) => Err(de::Error::custom(format!(
                    "a content part of type {:?} cannot be read; this model reads text only",
                    kind.unwrap_or("unknown")
                ))),
            })
            .collect(),
        _ => Err(de::Error::custom("content must be a string or a list of text parts")),
    }
}

/// Takes the thinking out of all assistant messages before the last user message.
///
/// Reasoning models are trained on histories without it, and not all of their templates leave it
/// out themselves. What follows the last question is kept: between tool calls the model may go
/// on with a thought.
pub fn drop_thinking(messages: &mut [Message], open: &str, close: &str) {
    let last_question = messages.iter().rposition(|message| message.role == "user");
    for message in &mut messages[..last_question.unwrap_or(0)] {
        if message.role == "assistant" {
            message.reasoning_content = None;
            if let Some(answer) = without_thinking(&message.content, open, close) {
                message.content = answer.to_string();
            }
        }
    }
}

/// The answer after the thinking, if there is any thinking in the text. Also where the opening
/// tag was in the prompt and so is missing here, or the closing one never came.
fn without_thinking<'t>(text: &'t str, open: &str, close: &str) -> Option<&'t str> {
    let line_ends = ['\r', '\n'];
    let thinks_first = text.trim_start().starts_with(open);
    match text.find(close) {
        // Tags further on are part of the answer; only a first block, or one whose opening
        // is missing, is the model's own thinking.
        Some(at) if thinks_first || !text[..at].contains(open) => {
            Some(text[at + close.len()..].trim_start_matches(line_ends))
        }
        None if thinks_first => Some(""),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assistant(content: &str) -> Message {
        Message::new("assistant", content)
    }

    #[test]
    fn reads_what_clients_send() {
        let message: Message = serde_json::from_str(
            r#"{"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"1"}]}"#,
        )
        .unwrap();
        assert_eq!(message.content, "");
        assert!(message.tool_calls.is_some());
        let parts: Message = serde_json::from_str(
            r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#,
        )
        .unwrap();
        assert_eq!(parts, Message::new("user", "ab"));
        let error = serde_json::from_str::<Message>(
            r#"{"role":"user","content":[{"type":"image_url","image_url":{}}]}"#,
        )
        .unwrap_err()
        .to_string();
        assert!(error.contains("\"image_url\"") && error.contains("text only"), "{error}");
    }

    #[test]
    fn absent_fields_are_not_written() {
        let json = serde_json::to_string(&Message::new("user", "hi")).unwrap();
        assert_eq!(json, r#"{"role":"user","content":"hi"}"#);
    }

    #[test]
    fn earlier_thinking_is_dropped_and_later_kept() {
        let mut messages = vec![
            Message::new("user", "a <think> tag?"),
            Message {
                reasoning_content: Some("hm".to_string()),
                ..assistant("<think>\nhm\n</think>\n\n  one")
            },
            Message::new("user", "two?"),
            assistant("<think>\nhm\n</think>\n\ntwo"),
            Message::new("tool", "2"),
        ];
        drop_thinking(&mut messages, "<think>", "</think>");
        assert_eq!(messages[0].content, "a <think> tag?");
        assert_eq!(messages[1], assistant("  one"));
        assert_eq!(messages[3].content, "<think>\nhm\n</think>\n\ntwo");
    }

    #[test]
    fn thinking_is_found_also_where_a_tag_is_missing() {
        let without = |text| without_thinking(text, "<think>", "</think>");
        assert_eq!(without("hm\n</think>\n\nyes"), Some("yes"));
        assert_eq!(without("<think>\nhm and then cut off"), Some(""));
        assert_eq!(without("yes"), None);
        assert_eq!(without("The tags are <think> and </think>."), None);
        assert_eq!(
            without("<think>hm</think>The tags are <think> and </think>."),
            Some("The tags are <think> and </think>.")
        );
    }
}
