//! Fields that say what the answer must look like.

use engine::{Constraint, Engine, Grammar, Scope};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::ApiError;

#[derive(Debug, Deserialize)]
pub(crate) struct FormatFields {
    /// OpenAI.
    response_format: Option<ResponseFormat>,
    /// llama-server.
    grammar: Option<String>,
    json_schema: Option<Value>,
    /// vLLM, then and now.
    guided_json: Option<Value>,
    guided_regex: Option<String>,
    guided_choice: Option<Vec<String>>,
    guided_grammar: Option<String>,
    structured_outputs: Option<StructuredOutputs>,
    /// Whether the thinking has to follow it, too.
    #[serde(default)]
    constrain_thinking: bool,
}

#[derive(Debug, Deserialize)]
struct ResponseFormat {
    r#type: String,
    json_schema: Option<Value>,
    /// llama-server's way to give a schema with `json_object`.
    schema: Option<Value>,
    regex: Option<String>,
    grammar: Option<String>,
}

#[derive(Debug, Deserialize)]
struct StructuredOutputs {
    json: Option<Value>,
    regex: Option<String>,
    choice: Option<Vec<String>>,
    grammar: Option<String>,
}

/// A schema may come as JSON text.
fn schema(value: Value, param: &str) -> Result<Grammar, ApiError> {
    match value {
        Value::String(text) => serde_json::from_str(&text)
            .map(Grammar::JsonSchema)
            .map_err(|error| ApiError::param(param, format!("{param} is not valid JSON: {error}"))),
        value => Ok(Grammar::JsonSchema(value)),
    }
}

impl FormatFields {
    fn grammar(self) -> Result<Option<(Grammar, &'static str)>, ApiError> {
        if let Some(format) = self.response_format {
            let param = "response_format";
            let grammar = match format.r#type.as_str() {
                "text" => None,
                "json_object" => {
                    let any = json!({"type": "object"});
                    Some(schema(format.schema.unwrap_or(any), "response_format.schema")?)
                }
                "json_schema" => {
                    let wrapped = format.json_schema.unwrap_or_default();
                    let inner = wrapped.get("schema").cloned().or(format.schema);
                    let Some(inner) = inner else {
                        return Err(ApiError::param(
                            "response_format.json_schema.schema",
                            "response_format of type json_schema needs json_schema.schema",
                        ));
                    };
                    Some(schema(inner, "response_format.json_schema.schema")?)
                }
                "regex" => format.regex.map(Grammar::Regex),
                "grammar" => format.grammar.map(Grammar::context_free),
                other => {
                    let message = format!(
                        "response_format.type is `{other}`, but must be one of text, json_object, \
                         json_schema, regex, grammar"
                    );
                    return Err(ApiError::param("response_format.type", message));
                }
            };
            if let Some(grammar) = grammar {
                return Ok(Some((grammar, param)));
            }
        }
        let outputs = self.structured_outputs;
        let (json, regex, choice, grammar) = match outputs {
            Some(o) => (o.json, o.regex, o.choice, o.grammar),
            None => (None, None, None, None),
        };
        let schemas = [
            (self.json_schema, "json_schema"),
            (self.guided_json, "guided_json"),
            (json, "structured_outputs.json"),
        ];
        for (value, param) in schemas {
            if let Some(value) = value {
                return Ok(Some((schema(value, param)?, param)));
            }
        }
        let others = [
            (self.guided_regex.map(Grammar::Regex), "guided_regex"),
            (regex.map(Grammar::Regex), "structured_outputs.regex"),
            (self.guided_choice.map(Grammar::Choice), "guided_choice"),
            (choice.map(Grammar::Choice), "structured_outputs.choice"),
            (self.guided_grammar.map(Grammar::context_free), "guided_grammar"),
            (grammar.map(Grammar::context_free), "structured_outputs.grammar"),
            (self.grammar.filter(|g| !g.is_empty()).map(Grammar::context_free), "grammar"),
        ];
        Ok(others.into_iter().find_map(|(grammar, param)| Some((grammar?, param))))
    }

    /// What the answer must look like, compiled.
    pub(crate) fn constraint(self, engine: &Engine) -> Result<Option<Constraint>, ApiError> {
        let scope = if self.constrain_thinking { Scope::Everything } else { Scope::Answer };
        let Some((grammar, param)) = self.grammar()? else { return Ok(None) };
        match engine.constrain(&grammar, scope) {
            Ok(constraint) => Ok(Some(constraint)),
            Err(error) => Err(ApiError::param(param, error.to_string())),
        }
    }
}
