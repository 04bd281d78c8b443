//! How models write their calls.

use crate::splitter::Tags;
use crate::template::Message;

use super::Tool;

/// The tags of a call in [`Format::Hermes`].
pub(super) const HERMES_TAGS: (&str, &str) = ("<tool_call>", "</tool_call>");

/// What may announce a call in [`Format::Llama3`].
pub(super) const PYTHON_TAG: &str = "<|python_tag|>";

/// How a model writes its calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `{"name": …, "arguments": {…}}` between `<tool_call>` and `</tool_call>`, as Qwen2.5, QwQ,
    /// Qwen3 and the Hermes models do, or at the beginning of the answer without any tags, as
    /// Qwen2.5-Coder does. Their templates describe the tools.
    Hermes,
    /// `{"name": …, "parameters": {…}}` and nothing else, perhaps after `<|python_tag|>`, as
    /// Llama 3.1 and 3.2 do. Their templates describe the tools.
    Llama3,
    /// The template knows no tools, or another way to call them. The model is told Hermes' way;
    /// see [`Format::describe`].
    #[default]
    Generic,
}

impl Format {
    /// What a chat template's source tells.
    pub fn of_template(source: &str) -> Format {
        if !source.contains("tools") {
            return Format::Generic;
        }
        // Qwen3-Coder has the tags, too, with XML between them.
        if source.contains("<tool_call>") && !source.contains("<function=") {
            return Format::Hermes;
        }
        let bare = source.contains("\"parameters\": ") && source.contains("\"name\": ");
        if bare && source.contains("<|start_header_id|>") {
            return Format::Llama3;
        }
        Format::Generic
    }

    /// Whether the template describes the tools, if it is given them. If it does not, see
    /// [`Format::describe`].
    pub fn in_template(self) -> bool {
        self != Format::Generic
    }

    /// How to find the calls in an answer. Only for requests that offer tools: without them, an
    /// answer in JSON is an answer. All other tags are those of `plain`.
    pub fn tags(self, plain: Tags) -> Tags {
        let owned = |(open, close): (&str, &str)| (open.to_string(), close.to_string());
        Tags {
            thinking: plain.thinking,
            answer: plain.answer,
            tool_call: owned(match self {
                Format::Llama3 => (PYTHON_TAG, ""),
                Format::Hermes | Format::Generic => HERMES_TAGS,
            }),
            // Qwen2.5-Coder's template asks for tags, and the model writes none.
            bare_json_calls: true,
            call_names: Vec::new(),
        }
    }

    /// Puts tools, calls and what came of them into the words of the messages, where the template
    /// would leave them out; does nothing where it does not. Give such a template no tools.
    pub fn describe(self, tools: &[Tool], messages: &mut Vec<Message>) {
        if self.in_template() {
            return;
        }
        if !tools.is_empty() {
            let text = system_prompt(tools);
            match messages.first_mut() {
                Some(system) if system.role == "system" => {
                    if !system.content.is_empty() {
                        system.content.push_str("\n\n");
                    }
                    system.content.push_str(&text);
                }
                _ => messages.insert(0, Message::new("system", text)),
            }
        }
        let mut written: Vec<Message> = Vec::with_capacity(messages.len());
        let mut after_tool = false;
        for mut message in messages.drain(..) {
            for call in
                message.tool_calls.take().iter().flat_map(|calls| calls.as_array()).flatten()
            {
                if !message.content.is_empty() {
                    message.content.push('\n');
                }
                message.content.push_str(&write_call(call));
            }
            let is_tool = message.role == "tool";
            if is_tool {
                let text = format!("<tool_response>\n{}\n</tool_response>", message.content);
                match written.last_mut() {
                    // Many templates insist on turns.
                    Some(last) if after_tool => {
                        last.content.push('\n');
                        last.content.push_str(&text);
                    }
                    _ => written.push(Message::new("user", text)),
                }
            } else {
                written.push(message);
            }
            after_tool = is_tool;
        }
        *messages = written;
    }
}

/// What tells a model of the tools, in the words that Qwen2.5's and the Hermes models' templates
/// use and that many other models have seen, too.
fn system_prompt(tools: &[Tool]) -> String {
    let mut text =
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n\
        You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
            .to_string();
    for tool in tools {
        text.push('\n');
        text.push_str(&tool.to_json().to_string());
    }
    text + "\n</tools>\n\nFor each function call, return a json object with function name and \
        arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n\
        {\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>"
}

fn write_call(call: &serde_json::Value) -> String {
    let function = call.get("function").unwrap_or(call);
    let arguments = match &function["arguments"] {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => "{}".to_string(),
        object => object.to_string(),
    };
    let (open, close) = HERMES_TAGS;
    format!("{open}\n{{\"name\": {}, \"arguments\": {arguments}}}\n{close}", function["name"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tool() -> Tool {
        Tool {
            name: "f".to_string(),
            description: "Does.".to_string(),
            parameters: json!({"type": "object", "properties": {}}),
            strict: false,
        }
    }

    #[test]
    fn the_template_tells_the_format() {
        let source = |name: &str| {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/templates");
            std::fs::read_to_string(format!("{folder}/{name}.jinja")).unwrap()
        };
        for (name, format) in [
            ("qwen2.5-coder-0.5b", Format::Hermes),
            ("qwq-32b", Format::Hermes),
            ("qwen3-0.6b", Format::Hermes),
            ("llama-3-style", Format::Llama3),
            ("smollm2-135m", Format::Generic),
            ("r1-distill-qwen-7b", Format::Generic),
            ("r1-distill-llama-8b", Format::Generic),
        ] {
            assert_eq!(Format::of_template(&source(name)), format, "{name}");
        }
        let xml = "{% if tools %}<tool_call>\n<function=name>{% endif %}";
        assert_eq!(Format::of_template(xml), Format::Generic);
    }

    #[test]
    fn a_template_without_tools_gets_them_in_words() {
        let called =
            json!([{"type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}}]);
        let before = vec![
            Message::new("user", "?"),
            Message { tool_calls: Some(called), ..Message::new("assistant", "So:") },
            Message::new("tool", "1"),
            Message::new("tool", "2"),
        ];
        let mut messages = before.clone();
        Format::Generic.describe(&[tool()], &mut messages);
        assert_eq!(messages.len(), 4);
        assert_eq!(messages[0].role, "system");
        let line = "\n<tools>\n{\"type\":\"function\",\"function\":{\"name\":\"f\",";
        assert!(messages[0].content.contains(line), "{}", messages[0].content);
        let call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>";
        assert_eq!(messages[2], Message::new("assistant", format!("So:\n{call}")));
        let results = "<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>";
        assert_eq!(messages[3], Message::new("user", results));

        let mut messages = vec![Message::new("system", "Be terse."), Message::new("user", "?")];
        Format::Generic.describe(&[tool()], &mut messages);
        assert!(messages[0].content.starts_with("Be terse.\n\n# Tools\n"));
        assert_eq!(messages.len(), 2);

        let mut messages = before.clone();
        Format::Hermes.describe(&[tool()], &mut messages);
        assert_eq!(messages, before);
    }
}
