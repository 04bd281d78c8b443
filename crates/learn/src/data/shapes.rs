//! The shapes that conversations come in, one JSON object a line:
//!
//! | shape | fields |
//! |---|---|
//! | chat | `messages`: `[{"role", "content", "reasoning_content"?}]`, and maybe `tools` |
//! | completion | `prompt` and `completion`: two texts, or two lists of messages |
//! | Alpaca | `instruction`, maybe `input`, and `output` |
//! | ShareGPT | `conversations`: `[{"from": "human" or "gpt" or "system", "value"}]` |

use std::path::Path;

use eval::rows;
use serde_json::{Map, Value};
use text::template::Message;

use crate::Error;

/// A conversation that ends with an assistant's turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// Its messages.
    pub messages: Vec<Message>,
    /// The tools that the assistant could call.
    pub tools: Option<Value>,
}

/// Reads all conversations of a file, plain or gzipped.
///
/// # Errors
/// It can't be read, or a line has none of the shapes; the message names the line.
pub fn read(path: &Path) -> Result<Vec<Conversation>, Error> {
    let rows = rows::read(path, &[])?;
    let conversations = rows.iter().enumerate().map(|(i, row)| {
        conversation(row).map_err(|problem| Error::Line {
            path: path.to_owned(),
            line: i + 1,
            problem,
        })
    });
    conversations.collect()
}

/// Reads one row.
///
/// # Errors
/// What is wrong with it.
pub fn conversation(row: &Map<String, Value>) -> Result<Conversation, String> {
    let tools = row.get("tools").filter(|tools| !tools.is_null()).cloned();
    let messages = if let Some(messages) = row.get("messages") {
        list(messages, "messages")?
    } else if let Some(turns) = row.get("conversations") {
        sharegpt(turns)?
    } else if let (Some(prompt), Some(completion)) = (row.get("prompt"), row.get("completion")) {
        let mut all = one_or_many(prompt, "prompt", "user")?;
        all.extend(one_or_many(completion, "completion", "assistant")?);
        all
    } else if let (Some(instruction), Some(output)) = (row.get("instruction"), row.get("output")) {
        let mut asked = text(instruction, "instruction")?.to_owned();
        match row.get("input").and_then(Value::as_str) {
            Some(input) if !input.trim().is_empty() => asked.extend(["\n\n", input]),
            _ => {}
        }
        vec![Message::new("user", asked), Message::new("assistant", text(output, "output")?)]
    } else {
        let fields: Vec<&str> = row.keys().map(|key| &**key).collect();
        return Err(format!(
            "has none of the shapes: `messages`, `prompt` and `completion`, `instruction` and \
             `output`, or `conversations`; its fields are {}",
            fields.join(", ")
        ));
    };
    check(&messages)?;
    Ok(Conversation { messages, tools })
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| format!("{field} is no text"))
}

fn one_or_many(value: &Value, field: &str, role: &str) -> Result<Vec<Message>, String> {
    match value {
        Value::String(text) => Ok(vec![Message::new(role, text)]),
        other => list(other, field),
    }
}

fn list(value: &Value, field: &str) -> Result<Vec<Message>, String> {
    let all = value.as_array().ok_or_else(|| format!("{field} is no list of messages"))?;
    let one = |(i, message): (usize, &Value)| {
        serde_json::from_value(message.clone()).map_err(|error| format!("{field}[{i}]: {error}"))
    };
    all.iter().enumerate().map(one).collect()
}

fn sharegpt(turns: &Value) -> Result<Vec<Message>, String> {
    let all = turns.as_array().ok_or("conversations is no list")?;
    let one = |(i, turn): (usize, &Value)| {
        let said =
            turn["value"].as_str().ok_or_else(|| format!("conversations[{i}].value is no text"))?;
        let role = match turn["from"].as_str() {
            Some("human" | "user") => "user",
            Some("gpt" | "assistant" | "chatgpt" | "bard" | "bing") => "assistant",
            Some("system") => "system",
            Some("tool" | "observation" | "function") => "tool",
            other => {
                let other = other.unwrap_or("nobody");
                return Err(format!("conversations[{i}].from: {other:?} is no known speaker"));
            }
        };
        Ok(Message::new(role, said))
    };
    all.iter().enumerate().map(one).collect()
}

fn check(messages: &[Message]) -> Result<(), String> {
    let Some(last) = messages.last() else { return Err("there are no messages".to_owned()) };
    for (i, message) in messages.iter().enumerate() {
        if !["system", "developer", "user", "assistant", "tool"].contains(&&*message.role) {
            return Err(format!("messages[{i}].role: {:?} is no known role", message.role));
        }
    }
    if last.role != "assistant" {
        return Err(format!(
            "ends with a turn of {:?}, and nothing of it is to be learned",
            last.role
        ));
    }
    if last.content.trim().is_empty() && last.tool_calls.is_none() {
        return Err("the assistant's last turn is empty".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(value: Value) -> Result<Vec<(String, String)>, String> {
        let row = value.as_object().unwrap();
        let said = conversation(row)?.messages;
        Ok(said.into_iter().map(|m| (m.role, m.content)).collect())
    }

    #[test]
    fn all_shapes_are_one_conversation() {
        let wanted = [("user", "2 + 2?"), ("assistant", "4")];
        let wanted: Vec<_> = wanted.map(|(r, c)| (r.to_owned(), c.to_owned())).to_vec();
        for row in [
            json!({"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]}),
            json!({"prompt": "2 + 2?", "completion": "4"}),
            json!({"prompt": [{"role": "user", "content": "2 + 2?"}],
                   "completion": [{"role": "assistant", "content": "4"}]}),
            json!({"instruction": "2 + 2?", "input": "", "output": "4"}),
            json!({"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]}),
        ] {
            assert_eq!(of(row).unwrap(), wanted);
        }
        let said = of(json!({"instruction": "Add.", "input": "1, 2", "output": "3"})).unwrap();
        assert_eq!(said[0].1, "Add.\n\n1, 2");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (row, wanted) in [
            (json!({"text": "x"}), "its fields are text"),
            (json!({"messages": []}), "no messages"),
            (json!({"messages": "x"}), "no list"),
            (json!({"messages": [{"role": "boss", "content": "x"}]}), "boss"),
            (json!({"messages": [{"role": "user", "content": "x"}]}), "ends with"),
            (json!({"messages": [{"role": "assistant", "content": " "}]}), "empty"),
            (json!({"messages": [{"role": "user", "content": 3}]}), "messages[0]"),
            (json!({"conversations": [{"from": "alien", "value": "x"}]}), "alien"),
            (json!({"instruction": 3, "output": "x"}), "instruction"),
        ] {
            let error = of(row).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
