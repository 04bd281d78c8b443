//! JSON that must fit a schema.

use jsonschema::{PatternOptions, Validator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{extract, shown, unreadable};
use crate::{Attempt, CannotTell, Verdict, Verifier};

/// The most a compiled pattern of a schema may take.
const MAX_PATTERN: usize = 1 << 20;

/// Which JSON is right.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// A JSON Schema. References outside of it are not followed, formats are checked, and patterns
    /// are those of the `regex` crate.
    pub schema: Value,
    /// Whether the whole answer must be JSON; otherwise it may stand in a block of code, in
    /// `<answer>`, or within the text.
    #[serde(default)]
    pub whole: bool,
}

/// Judges by a schema.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    whole: bool,
}

impl Schema {
    /// For this task.
    ///
    /// # Errors
    /// [`CannotTell::Task`] if the schema is none, or refers to what isn't in it.
    pub fn new(task: &Task) -> Result<Self, CannotTell> {
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .with_pattern_options(
                PatternOptions::regex().size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN),
            )
            .build(&task.schema)
            .map_err(|e| CannotTell::Task { field: "schema", why: shown(&e.to_string()) })?;
        Ok(Self { validator, whole: task.whole })
    }
}

impl Verifier for Schema {
    fn verify(&self, attempt: &Attempt<'_>) -> Result<Verdict, CannotTell> {
        if let Some(verdict) = unreadable(attempt.answer) {
            return Ok(verdict);
        }
        let json = match self.whole {
            true => serde_json::from_str(attempt.answer.trim()).ok(),
            false => extract::json(attempt.answer),
        };
        let Some(json) = json else {
            let where_ = if self.whole { "the answer is no" } else { "the answer holds no" };
            return Ok(Verdict::missing(format!("{where_} JSON")));
        };
        let text = shown(&json.to_string());
        Ok(match self.validator.iter_errors(&json).next() {
            None => Verdict::right(text, "the JSON fits the schema"),
            Some(error) => {
                let at = error.instance_path().to_string();
                let at = if at.is_empty() { "at the top".to_owned() } else { format!("at {at}") };
                Verdict::wrong(text, format!("{at}: {}", shown(&error.to_string())))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judge(schema: Value, answer: &str) -> Verdict {
        let task = Task { schema, whole: false };
        Schema::new(&task).unwrap().verify(&Attempt::of(answer)).unwrap()
    }

    fn person() -> Value {
        json!({
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}, "age": {"minimum": 0}},
            "additionalProperties": false,
        })
    }

    #[test]
    fn judges_by_the_schema() {
        assert!(judge(person(), "Sure:\n```json\n{\"name\": \"Ada\", \"age\": 3}\n```").is_right());
        let verdict = judge(person(), "{\"name\": \"Ada\", \"age\": -3}");
        assert!(!verdict.is_right());
        assert!(verdict.why.contains("/age"), "{}", verdict.why);
        assert!(!judge(person(), "{\"name\": \"ada\"}").is_right());
        assert_eq!(judge(person(), "no json here").extracted, None);
    }

    #[test]
    fn hostile_json_is_survived() {
        let deep = json!({"$ref": "#/$defs/x", "$defs": {"x": {"items": {"$ref": "#/$defs/x"}}}});
        for answer in
            ["[".repeat(200_000), "[".repeat(100) + &"]".repeat(100), "{\"a\":".repeat(9999)]
        {
            judge(deep.clone(), &answer);
        }
    }

    #[test]
    fn bad_schemas_are_refused() {
        for schema in [
            json!({"type": "nonsense"}),
            json!({"$ref": "https://example.org/schema.json"}),
            json!({"$ref": "#/nowhere"}),
            json!({"pattern": "("}),
        ] {
            let task = Task { schema: schema.clone(), whole: false };
            assert!(matches!(Schema::new(&task), Err(CannotTell::Task { .. })), "{schema}");
        }
    }
}
