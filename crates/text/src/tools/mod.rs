//! Tools a model may call: reading their descriptions, telling the model of them, and reading its
//! calls.
//!
//! Two ways to write a call are known ([`Format`]). Whatever the model is, a grammar can hold it
//! to its tools' schemas ([`body_grammar`], [`calls_grammar`], in the `llguidance` crate's dialect
//! of Lark), and [`CallStream`] reads a call while it is being written.

mod stream;

use serde_json::{Value, json};

pub use stream::{CallEvent, CallStream, NoCall};

/// A function the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// What it is called by: letters, digits, `_`, `-` and `.`.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// JSON schema of its arguments, an object.
    pub parameters: Value,
}

/// A description that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ToolError {
    /// Where, such as `tools[0].function.name`.
    pub field: String,
    /// What is wrong.
    pub problem: String,
}

/// Whether the model may, must or must not call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// It may.
    #[default]
    Auto,
    /// It must not.
    None,
    /// It must call one, or several.
    Required,
    /// It must call this one.
    Named(String),
}

/// How a model writes its calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `<tool_call>{"name": …, "arguments": …}</tool_call>`, as Hermes and Qwen do.
    #[default]
    Hermes,
    /// `{"name": …, "parameters": …}` is the whole answer, as Llama 3 does.
    Llama3,
}

impl Format {
    /// What a chat template's source speaks of; Hermes' if it speaks of none.
    pub fn of_template(source: &str) -> Format {
        let llama =
            source.contains("<|python_tag|>") || source.contains("\"parameters\": dictionary");
        if llama && !source.contains("<tool_call>") { Format::Llama3 } else { Format::Hermes }
    }

    /// The key of a call's arguments.
    fn arguments(self) -> &'static str {
        match self {
            Format::Hermes => "arguments",
            Format::Llama3 => "parameters",
        }
    }
}

/// Reads OpenAI's list of tools.
///
/// # Errors
/// The first description that can't be used, and why.
pub fn read(tools: &Value) -> Result<Vec<Tool>, ToolError> {
    let error = |field: String, problem: &str| ToolError { field, problem: problem.to_owned() };
    let list = tools.as_array().ok_or_else(|| error("tools".to_owned(), "must be a list"))?;
    let mut out: Vec<Tool> = Vec::new();
    for (i, tool) in list.iter().enumerate() {
        let at = format!("tools[{i}]");
        if tool["type"].as_str().is_some_and(|kind| kind != "function") {
            let problem = "only tools of type `function` can be called";
            return Err(error(format!("{at}.type"), problem));
        }
        let function = &tool["function"];
        let name = function["name"].as_str();
        let name = name.ok_or_else(|| error(format!("{at}.function.name"), "is missing"))?;
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(fine) {
            let problem = "must be 1 to 64 letters, digits, `_`, `-` or `.`";
            return Err(error(format!("{at}.function.name"), problem));
        }
        if out.iter().any(|other| other.name == name) {
            let problem = "is the name of another tool, too";
            return Err(error(format!("{at}.function.name"), problem));
        }
        let parameters = match &function["parameters"] {
            Value::Null => json!({"type": "object", "properties": {}}),
            schema @ Value::Object(_) => schema.clone(),
            _ => {
                let problem = "must be a JSON schema, an object";
                return Err(error(format!("{at}.function.parameters"), problem));
            }
        };
        let description = function["description"].as_str().map(str::to_owned);
        out.push(Tool { name: name.to_owned(), description, parameters });
    }
    Ok(out)
}

impl ToolChoice {
    /// Reads OpenAI's `tool_choice`.
    ///
    /// # Errors
    /// It is none of the choices there are, or names a tool that there isn't.
    pub fn read(choice: &Value, tools: &[Tool]) -> Result<ToolChoice, ToolError> {
        let error = |problem: String| ToolError { field: "tool_choice".to_owned(), problem };
        let named = choice["function"]["name"].as_str().or(choice["name"].as_str());
        let choice = match (choice.as_str(), named) {
            (Some("auto"), _) => ToolChoice::Auto,
            (Some("none"), _) => ToolChoice::None,
            (Some("required" | "any"), _) => ToolChoice::Required,
            (None, _) if choice.is_null() => ToolChoice::Auto,
            (None, Some(name)) => match tools.iter().any(|tool| tool.name == name) {
                true => ToolChoice::Named(name.to_owned()),
                false => return Err(error(format!("there is no tool `{name}`"))),
            },
            _ => {
                let problem = "must be auto, none, required, or a function's name";
                return Err(error(problem.to_owned()));
            }
        };
        match choice {
            ToolChoice::Required if tools.is_empty() => {
                Err(error("a call is required, but there are no tools".to_owned()))
            }
            choice => Ok(choice),
        }
    }
}

/// Name and arguments, as JSON text, of a whole call.
///
/// # Errors
/// The text is no call.
pub fn call(text: &str) -> Result<(String, String), NoCall> {
    stream::whole(text)
}

/// What to put before the conversation where the chat template itself doesn't speak of tools: the
/// words Qwen2.5's template uses.
pub fn system_prompt(tools: &Value) -> String {
    let list: Vec<String> =
        tools.as_array().into_iter().flatten().map(|tool| tool.to_string()).collect();
    format!(
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n\
         You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n{}\n\
         </tools>\n\nFor each function call, return a json object with function name and arguments \
         within <tool_call></tool_call> XML tags:\n<tool_call>\n{{\"name\": <function-name>, \
         \"arguments\": <args-json-object>}}\n</tool_call>",
        list.join("\n")
    )
}

/// The schema of one call.
fn call_schema(tools: &[Tool], choice: &ToolChoice, format: Format) -> Value {
    let callable = |tool: &&Tool| match choice {
        ToolChoice::Named(name) => tool.name == *name,
        _ => true,
    };
    let calls: Vec<Value> = tools
        .iter()
        .filter(callable)
        .map(|tool| {
            let arguments = format.arguments();
            json!({
                "type": "object",
                "properties": {"name": {"const": tool.name}, arguments: tool.parameters},
                "required": ["name", arguments],
                "additionalProperties": false,
            })
        })
        .collect();
    match <[Value; 1]>::try_from(calls) {
        Ok([only]) => only,
        Err(several) => json!({ "anyOf": several }),
    }
}

/// A grammar of what follows `<tool_call>`, its end included.
pub fn body_grammar(tools: &[Tool], choice: &ToolChoice) -> String {
    let schema = call_schema(tools, choice, Format::Hermes);
    format!("start: /[ \\n]{{0,2}}/ call /[ \\n]{{0,2}}/ \"</tool_call>\"\ncall: %json {schema}\n")
}

/// A grammar of an answer that calls: once, or if `parallel` several times.
pub fn calls_grammar(
    tools: &[Tool],
    choice: &ToolChoice,
    parallel: bool,
    format: Format,
) -> String {
    let schema = call_schema(tools, choice, format);
    match (format, parallel) {
        (Format::Llama3, _) => format!("start: %json {schema}\n"),
        (Format::Hermes, _) => {
            let more = if parallel { " (\"\\n\" one)*" } else { "" };
            format!(
                "start: one{more}\n\
                 one: \"<tool_call>\\n\" call \"\\n</tool_call>\"\n\
                 call: %json {schema}\n"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weather() -> Value {
        json!([{"type": "function", "function": {"name": "weather", "parameters": {
            "type": "object", "properties": {"city": {"type": "string"}}}}}])
    }

    #[test]
    fn tools_are_read_and_mistakes_named() {
        let tools = read(&weather()).unwrap();
        assert_eq!((tools[0].name.as_str(), &tools[0].description), ("weather", &None));
        for (value, field) in [
            (json!({}), "tools"),
            (json!([{"type": "web_search"}]), "tools[0].type"),
            (json!([{"type": "function"}]), "tools[0].function.name"),
            (json!([{"function": {"name": "a b"}}]), "tools[0].function.name"),
            (
                json!([{"function": {"name": "a"}}, {"function": {"name": "a"}}]),
                "tools[1].function.name",
            ),
            (json!([{"function": {"name": "a", "parameters": 3}}]), "tools[0].function.parameters"),
        ] {
            assert_eq!(read(&value).unwrap_err().field, field);
        }
    }

    #[test]
    fn choices_are_read() {
        let tools = read(&weather()).unwrap();
        let choose = |value: Value| ToolChoice::read(&value, &tools);
        assert_eq!(choose(json!("auto")), Ok(ToolChoice::Auto));
        assert_eq!(choose(Value::Null), Ok(ToolChoice::Auto));
        assert_eq!(choose(json!("required")), Ok(ToolChoice::Required));
        let named = json!({"type": "function", "function": {"name": "weather"}});
        assert_eq!(choose(named), Ok(ToolChoice::Named("weather".to_owned())));
        assert!(choose(json!({"function": {"name": "other"}})).is_err());
        assert!(choose(json!("perhaps")).is_err());
        assert!(ToolChoice::read(&json!("required"), &[]).is_err());
    }

    #[test]
    fn templates_tell_their_format() {
        assert_eq!(Format::of_template("… <tool_call> …"), Format::Hermes);
        assert_eq!(Format::of_template("… <|python_tag|> …"), Format::Llama3);
        assert_eq!(Format::of_template("{{ messages }}"), Format::Hermes);
    }
}
