//! The tools a client offers.

use serde_json::{Value, json};

/// The longest name a tool may have.
const NAME_LENGTH: usize = 64;

/// A function that the model may ask the client to call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// What the model calls it by: up to 64 letters, digits and `_.-`.
    pub name: String,
    /// What it does, for the model to read; may be empty.
    pub description: String,
    /// The JSON schema of its arguments, an object.
    pub parameters: Value,
    /// Whether the client relies on the schema to the letter.
    pub strict: bool,
}

/// What is wrong with a list of tools, or with the choice among them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// A field is missing, or not what it has to be.
    #[error("{field} {problem}")]
    Field {
        /// Where, as a path from `tools` or `tool_choice`.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Two tools have one name.
    #[error("{field}: there is another tool called {name:?}; give each its own name")]
    Duplicate {
        /// Where the second one is.
        field: String,
        /// What both are called.
        name: String,
    },
    /// A tool is asked for that is not in the list.
    #[error("tool_choice asks for {0:?}, which is not among the tools")]
    Unknown(String),
    /// A call is asked for, and there is nothing to call.
    #[error("tool_choice asks for a call, but there are no tools")]
    NoTools,
}

fn wrong(field: impl Into<String>, problem: impl Into<String>) -> ToolError {
    ToolError::Field { field: field.into(), problem: problem.into() }
}

fn check_name(name: &Value, field: &str) -> Result<String, ToolError> {
    let name = match name {
        Value::Null => return Err(wrong(field, "is missing")),
        Value::String(name) => name,
        _ => return Err(wrong(field, "must be a string")),
    };
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    if name.is_empty() || name.len() > NAME_LENGTH || !name.chars().all(fits) {
        let problem =
            format!("must be 1 to {NAME_LENGTH} letters, digits, '_', '.' or '-', not {name:?}");
        return Err(wrong(field, problem));
    }
    Ok(name.clone())
}

impl Tool {
    /// Reads `tools` as OpenAI's chat API has it:
    /// `[{"type": "function", "function": {"name", "description", "parameters", "strict"}}]`.
    /// Null is no tools; a tool without parameters takes none.
    ///
    /// # Errors
    /// Naming the field that is missing or not what it has to be.
    pub fn from_json(tools: &Value) -> Result<Vec<Tool>, ToolError> {
        let list = match tools {
            Value::Null => return Ok(Vec::new()),
            Value::Array(list) => list,
            _ => return Err(wrong("tools", "must be a list")),
        };
        let mut read: Vec<Tool> = Vec::with_capacity(list.len());
        let mut names = ahash::AHashSet::with_capacity(list.len());
        for (index, tool) in list.iter().enumerate() {
            let tool = Tool::read(tool, &format!("tools[{index}]"))?;
            if !names.insert(tool.name.clone()) {
                let field = format!("tools[{index}].function.name");
                return Err(ToolError::Duplicate { field, name: tool.name });
            }
            read.push(tool);
        }
        Ok(read)
    }

    fn read(tool: &Value, field: &str) -> Result<Tool, ToolError> {
        if !tool.is_object() {
            return Err(wrong(field, "must be an object"));
        }
        match &tool["type"] {
            Value::String(kind) if kind == "function" => {}
            Value::Null => return Err(wrong(format!("{field}.type"), "is missing")),
            kind => {
                return Err(wrong(
                    format!("{field}.type"),
                    format!("must be \"function\", not {kind}"),
                ));
            }
        }
        let function = &tool["function"];
        match function {
            Value::Object(_) => {}
            Value::Null => return Err(wrong(format!("{field}.function"), "is missing")),
            _ => return Err(wrong(format!("{field}.function"), "must be an object")),
        }
        let name = check_name(&function["name"], &format!("{field}.function.name"))?;
        let description = match &function["description"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            _ => return Err(wrong(format!("{field}.function.description"), "must be a string")),
        };
        let parameters = match &function["parameters"] {
            Value::Null => json!({"type": "object", "properties": {}}),
            schema @ Value::Object(_) => schema.clone(),
            _ => {
                let problem = "must be a JSON schema, an object";
                return Err(wrong(format!("{field}.function.parameters"), problem));
            }
        };
        match parameters.get("type") {
            None => {}
            Some(Value::String(kind)) if kind == "object" => {}
            Some(kind) => {
                return Err(wrong(
                    format!("{field}.function.parameters.type"),
                    format!("must be \"object\", not {kind}"),
                ));
            }
        }
        let strict = match &function["strict"] {
            Value::Null => false,
            Value::Bool(strict) => *strict,
            _ => return Err(wrong(format!("{field}.function.strict"), "must be true or false")),
        };
        Ok(Tool { name, description, parameters, strict })
    }

    /// The tool as chat templates expect it.
    pub fn to_json(&self) -> Value {
        json!({"type": "function", "function": {
            "name": self.name, "description": self.description, "parameters": self.parameters,
        }})
    }
}

/// Whether the model may, must or must not call, as OpenAI's `tool_choice` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// As the model sees fit.
    #[default]
    Auto,
    /// It must not call.
    None,
    /// It must call one of the tools.
    Required,
    /// It must call this one.
    Named(String),
}

impl ToolChoice {
    /// Reads `tool_choice`: a word, or `{"type": "function", "function": {"name": …}}`; null is
    /// [`ToolChoice::Auto`].
    ///
    /// # Errors
    /// If it is neither.
    pub fn from_json(choice: &Value) -> Result<ToolChoice, ToolError> {
        match choice {
            Value::Null => Ok(ToolChoice::Auto),
            Value::String(word) => match word.as_str() {
                "auto" => Ok(ToolChoice::Auto),
                "none" => Ok(ToolChoice::None),
                "required" => Ok(ToolChoice::Required),
                _ => {
                    let problem =
                        format!("must be \"auto\", \"none\" or \"required\", not {word:?}");
                    Err(wrong("tool_choice", problem))
                }
            },
            Value::Object(object) if object.get("type") == Some(&json!("function")) => {
                let name = &choice["function"]["name"];
                Ok(ToolChoice::Named(check_name(name, "tool_choice.function.name")?))
            }
            _ => Err(wrong("tool_choice", "must be a word or an object of type \"function\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(tools: Value) -> String {
        Tool::from_json(&tools).unwrap_err().to_string()
    }

    fn function(function: Value) -> Value {
        json!([{"type": "function", "function": function}])
    }

    #[test]
    fn reads_what_clients_send() {
        let parameters = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        let tools = json!([
            {"type": "function", "function": {
                "name": "f.g-h_1", "description": "d", "parameters": parameters, "strict": true}},
            {"type": "function", "function": {"name": "now", "strict": null}},
        ]);
        let read = Tool::from_json(&tools).unwrap();
        assert_eq!(read[0].name, "f.g-h_1");
        assert!(read[0].strict && !read[1].strict);
        assert_eq!(read[0].to_json()["function"]["parameters"], parameters);
        assert_eq!(read[1].parameters, json!({"type": "object", "properties": {}}));
        assert_eq!(Tool::from_json(&Value::Null), Ok(Vec::new()));
    }

    #[test]
    fn errors_name_the_field() {
        assert_eq!(error(json!({})), "tools must be a list");
        assert_eq!(error(json!([1])), "tools[0] must be an object");
        assert_eq!(error(json!([{}])), "tools[0].type is missing");
        assert_eq!(
            error(json!([{"type": "custom"}])),
            "tools[0].type must be \"function\", not \"custom\""
        );
        assert_eq!(error(json!([{"type": "function"}])), "tools[0].function is missing");
        assert_eq!(error(function(json!({}))), "tools[0].function.name is missing");
        for name in ["", "a b", "é", &"x".repeat(65)] {
            let error = error(function(json!({"name": name})));
            assert!(error.starts_with("tools[0].function.name must be 1 to 64"), "{error}");
        }
        assert!(Tool::from_json(&function(json!({"name": "x".repeat(64)}))).is_ok());
        assert_eq!(
            error(function(json!({"name": "f", "parameters": []}))),
            "tools[0].function.parameters must be a JSON schema, an object"
        );
        assert_eq!(
            error(function(json!({"name": "f", "parameters": {"type": "string"}}))),
            "tools[0].function.parameters.type must be \"object\", not \"string\""
        );
        let twice = json!({"type": "function", "function": {"name": "f"}});
        let error = error(json!([twice, twice]));
        assert!(error.contains("tools[1].function.name") && error.contains("\"f\""), "{error}");
    }

    #[test]
    fn reads_the_choice() {
        let choice = |value| ToolChoice::from_json(&value);
        assert_eq!(choice(Value::Null), Ok(ToolChoice::Auto));
        assert_eq!(choice(json!("none")), Ok(ToolChoice::None));
        assert_eq!(choice(json!("required")), Ok(ToolChoice::Required));
        let named = json!({"type": "function", "function": {"name": "f"}});
        assert_eq!(choice(named), Ok(ToolChoice::Named("f".to_string())));
        assert!(choice(json!("any")).unwrap_err().to_string().contains("\"any\""));
        let unnamed = choice(json!({"type": "function"})).unwrap_err().to_string();
        assert_eq!(unnamed, "tool_choice.function.name is missing");
    }
}
