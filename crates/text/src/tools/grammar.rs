//! What an answer with tool calls may look like, for decoding that is held to a grammar.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::format::{HERMES_TAGS, PYTHON_TAG};
use super::{Format, Tool, ToolChoice, ToolError};

/// The white space that may stand between the thinking and a call that has to come.
const LEAD: &str = "LEAD: /[ \\r\\n]{0,4}/\n";

/// The grammar of an answer, without the thinking before it, in the dialect of Lark that the
/// `llguidance` crate reads.
///
/// - [`ToolChoice::Required`] and [`ToolChoice::Named`]: one call, or with `parallel` one or more,
///   and nothing else. A call has a tool's name and arguments that fit its schema.
/// - [`ToolChoice::Auto`]: any text; but where a call begins, it has to be such a call, and
///   without `parallel` the answer ends with it. In [`Format::Llama3`], an answer that begins with
///   a brace is a call.
/// - [`ToolChoice::None`]: any text in which no call begins.
///
/// `is_special` tells whether a tag is a single token that no text can be mistaken for; such a
/// token's bytes have to begin with llguidance's mark for special tokens.
///
/// JSON is held to the form that the templates show: one space after colons and commas, none
/// elsewhere. What a schema says that llguidance does not know is an error for tools that are
/// `strict`, and is passed over for others.
///
/// # Errors
/// If the choice names a tool that is not there, or asks for a call where there are no tools.
pub fn grammar(
    tools: &[Tool],
    choice: &ToolChoice,
    parallel: bool,
    format: Format,
    is_special: impl Fn(&str) -> bool,
) -> Result<String, ToolError> {
    let callable: Vec<&Tool> = match choice {
        ToolChoice::Named(name) => {
            let tool = tools.iter().find(|tool| tool.name == *name);
            vec![tool.ok_or_else(|| ToolError::Unknown(name.clone()))?]
        }
        ToolChoice::Required if tools.is_empty() => return Err(ToolError::NoTools),
        ToolChoice::None => Vec::new(),
        ToolChoice::Auto | ToolChoice::Required => tools.iter().collect(),
    };
    let must = matches!(choice, ToolChoice::Required | ToolChoice::Named(_));
    let mut lark = match format {
        Format::Llama3 => llama3(callable.is_empty(), must, parallel, is_special(PYTHON_TAG)),
        Format::Hermes | Format::Generic => {
            hermes(callable.is_empty(), must, parallel, &is_special)
        }
    };
    if !callable.is_empty() {
        let field = if format == Format::Llama3 { "parameters" } else { "arguments" };
        write_tools(&mut lark, &callable, field);
    }
    Ok(lark)
}

/// The grammar of what follows a call's opening tag, its closing tag included: for decoding that
/// is free until a call begins. Calls without tags have none.
pub fn call_grammar(
    tools: &[Tool],
    format: Format,
    is_special: impl Fn(&str) -> bool,
) -> Option<String> {
    if tools.is_empty() || format == Format::Llama3 {
        return None;
    }
    let close = HERMES_TAGS.1;
    let closing = if is_special(close) { close.to_string() } else { format!("\"{close}\"") };
    let mut lark = format!("start: \"\\n\" tool \"\\n\" {closing}\n");
    write_tools(&mut lark, &tools.iter().collect::<Vec<_>>(), "arguments");
    Some(lark)
}

fn write_tools(lark: &mut String, tools: &[&Tool], field: &str) {
    let names: Vec<String> = (0..tools.len()).map(|index| format!("tool_{index}")).collect();
    let _ = writeln!(lark, "tool: {}", names.join(" | "));
    for (name, tool) in names.iter().zip(tools) {
        let _ = writeln!(lark, "{name}: %json {}", call_schema(tool, field));
    }
}

fn hermes(none: bool, must: bool, parallel: bool, is_special: impl Fn(&str) -> bool) -> String {
    let (open, close) = HERMES_TAGS;
    let written = |tag: &str| if is_special(tag) { tag.to_string() } else { format!("\"{tag}\"") };
    let (opening, closing) = (written(open), written(close));
    if none {
        return if is_special(open) {
            "start: TEXT\nTEXT: /(?s:.*)/\n".to_string()
        } else {
            format!("start: TEXT\nTEXT: /(?s:.*)/ & ~/(?s:.*){open}(?s:.*)/\n")
        };
    }
    let body = format!("\"\\n\" tool \"\\n\" {closing}");
    if must {
        let more = if parallel { " (\"\\n\" call)*" } else { "" };
        return format!("start: LEAD call{more}\n{LEAD}call: {opening} {body}\n");
    }
    let text = "TEXT: /(?s:.*)/\n";
    if is_special(open) {
        let start = if parallel { "TEXT (call TEXT)*" } else { "TEXT call?" };
        format!("start: {start}\n{text}call: {opening} {body}\n")
    } else {
        // A lazy lexeme ends with the first tag, so that no text goes past one.
        let start = if parallel { "call* rest" } else { "call | rest" };
        format!(
            "start: {start}\nrest: TEXT\n{text}until[lazy]: TEXT {opening}\ncall: until {body}\n"
        )
    }
}

fn llama3(none: bool, must: bool, parallel: bool, tag: bool) -> String {
    // What begins with a brace would be taken for a call.
    let text = "TEXT: /(\\s*[^{\\s](?s:.*))?\\s*/\n";
    if none {
        return format!("start: TEXT\n{text}");
    }
    let more = if parallel { " (\"; \" tool)*" } else { "" };
    let tag = if tag { PYTHON_TAG } else { "" };
    let calls = format!("calls: tool{more}\n");
    match (must, tag) {
        (true, "") => format!("start: LEAD calls\n{LEAD}{calls}"),
        (true, tag) => format!("start: LEAD calls | LEAD {tag} calls\n{LEAD}{calls}"),
        (false, "") => format!("start: TEXT | calls\n{text}{calls}"),
        (false, tag) => format!("start: TEXT | calls | TEXT {tag} calls\n{text}{calls}"),
    }
}

/// The schema of a whole call.
fn call_schema(tool: &Tool, field: &str) -> Value {
    let mut arguments = tool.parameters.clone();
    if let Value::Object(schema) = &mut arguments {
        // They would make references within it mean something else than they did alone.
        schema.remove("$schema");
        schema.remove("$id");
        schema.entry("type").or_insert(json!("object"));
        let described = ["properties", "patternProperties", "$ref", "allOf", "anyOf", "oneOf"]
            .iter()
            .any(|key| schema.get(*key).is_some_and(|value| *value != json!({})));
        if !described {
            schema.entry("additionalProperties").or_insert(json!(false));
        }
    }
    move_references(&mut arguments, &format!("#/properties/{field}"));
    json!({
        "x-guidance": {
            "whitespace_flexible": false, "item_separator": ", ", "key_separator": ": ",
            "lenient": !tool.strict,
        },
        "type": "object",
        "properties": {"name": {"const": tool.name}, field: arguments},
        "required": ["name", field],
        "additionalProperties": false,
    })
}

/// Points the references of a schema, which mean places within it, to where it has been put.
fn move_references(schema: &mut Value, place: &str) {
    let each = |values: &mut Map<String, Value>| {
        values.values_mut().for_each(|value| move_references(value, place));
    };
    match schema {
        Value::Array(schemas) => schemas.iter_mut().for_each(|each| move_references(each, place)),
        Value::Object(keywords) => {
            for (keyword, value) in keywords {
                match (keyword.as_str(), value) {
                    ("$ref", Value::String(target)) => {
                        if let Some(path) = target.strip_prefix('#') {
                            // Others than paths are names, which mean the same everywhere.
                            if path.is_empty() || path.starts_with('/') {
                                *target = format!("{place}{path}");
                            }
                        }
                    }
                    // Data, not schemas.
                    ("const" | "enum" | "default" | "examples", _) => {}
                    // Keys here are names, not keywords.
                    (
                        "properties" | "patternProperties" | "$defs" | "definitions"
                        | "dependentSchemas",
                        Value::Object(schemas),
                    ) => each(schemas),
                    (_, value) => move_references(value, place),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
