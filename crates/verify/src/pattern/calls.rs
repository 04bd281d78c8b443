//! Function calls, as the Berkeley Function Calling Leaderboard holds them against what is expected.
//!
//! A call is a JSON object with a name and arguments. It may stand in `<tool_call>` blocks, in a
//! list, in a block of code or within the text, with the keys of OpenAI (`function`, `arguments` as
//! a text), of Anthropic (`input`), of Llama (`parameters`), or as `{"name": {arguments}}`. Or all of
//! the answer is calls as Python writes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{extract, python, shown, unreadable};
use crate::{Attempt, CannotTell, Verdict, Verifier};

/// The most calls a task may expect, or an answer make.
const MAX_CALLS: usize = 64;

/// One call that is expected.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Expected {
    /// The function's name.
    pub name: String,
    /// Each argument with the values it may have. An empty text among them says that it may be
    /// left out, as in BFCL. Texts are compared without capitals, spaces and `,./-_*^`.
    pub arguments: Map<String, Value>,
}

/// The two ways a call is written: `{"name": "f", "arguments": {…}}`, and BFCL's own `{"f": {…}}`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Named {
        name: String,
        #[serde(default)]
        arguments: Map<String, Value>,
    },
    Published(BTreeMap<String, Map<String, Value>>),
}

impl From<Written> for Expected {
    fn from(written: Written) -> Self {
        match written {
            Written::Named { name, arguments } => Self { name, arguments },
            Written::Published(call) => call
                .into_iter()
                .next()
                .map(|(name, arguments)| Self { name, arguments })
                .unwrap_or_default(),
        }
    }
}

/// Which calls are right.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The calls; none if no function is to be called.
    pub calls: Vec<Expected>,
    /// Whether their order matters.
    #[serde(default)]
    pub ordered: bool,
}

/// Judges by calls.
#[derive(Clone, Debug)]
pub struct Calls {
    task: Task,
}

/// A call that was made.
#[derive(Debug)]
struct Call {
    name: String,
    arguments: Map<String, Value>,
}

impl Calls {
    /// For this task.
    ///
    /// # Errors
    /// [`CannotTell::Task`] if an argument has no list of values, or there are too many calls.
    pub fn new(task: &Task) -> Result<Self, CannotTell> {
        let bad = |why: String| Err(CannotTell::Task { field: "calls", why });
        if task.calls.len() > MAX_CALLS {
            return bad(format!("{} are more than {MAX_CALLS}", task.calls.len()));
        }
        for call in &task.calls {
            for (argument, allowed) in &call.arguments {
                if allowed.as_array().is_none_or(Vec::is_empty) {
                    return bad(format!("{}: `{argument}` must list its values", call.name));
                }
            }
        }
        Ok(Self { task: task.clone() })
    }

    /// Why `made` is not what is expected; `None` if it is.
    fn mismatch(&self, made: &[Call]) -> Option<String> {
        let expected = &self.task.calls;
        if made.len() != expected.len() {
            return Some(format!("{} calls instead of {}", made.len(), expected.len()));
        }
        if self.task.ordered {
            return expected.iter().zip(made).find_map(|(expected, made)| differs(expected, made));
        }
        // Each expected call takes a made one; where it is taken, its owner looks for another.
        let fits: Vec<Vec<usize>> = expected
            .iter()
            .map(|e| (0..made.len()).filter(|&m| differs(e, &made[m]).is_none()).collect())
            .collect();
        let mut owner = vec![None; made.len()];
        for (e, call) in expected.iter().enumerate() {
            if !take(e, &fits, &mut owner, &mut vec![false; made.len()]) {
                let same = made.iter().find(|m| m.name == call.name);
                let why = same.and_then(|m| differs(call, m));
                let none = || format!("no call of `{}` fits", call.name);
                return Some(why.unwrap_or_else(none));
            }
        }
        None
    }
}

fn take(e: usize, fits: &[Vec<usize>], owner: &mut [Option<usize>], seen: &mut [bool]) -> bool {
    for &m in &fits[e] {
        if !std::mem::replace(&mut seen[m], true)
            && owner[m].is_none_or(|other| take(other, fits, owner, seen))
        {
            owner[m] = Some(e);
            return true;
        }
    }
    false
}

/// Why a call is not the expected one.
fn differs(expected: &Expected, made: &Call) -> Option<String> {
    if made.name != expected.name {
        return Some(format!("`{}` is called instead of `{}`", shown(&made.name), expected.name));
    }
    for (argument, allowed) in &expected.arguments {
        let allowed = allowed.as_array().map_or(&[][..], Vec::as_slice);
        match made.arguments.get(argument) {
            None if allowed.iter().any(|value| value == "") => {}
            None => return Some(format!("`{}` lacks `{argument}`", expected.name)),
            Some(value) if allowed.iter().any(|allowed| same(allowed, value)) => {}
            Some(value) => {
                let value = shown(&value.to_string());
                return Some(format!("`{}`: `{argument}` must not be {value}", expected.name));
            }
        }
    }
    let extra = made.arguments.keys().find(|name| !expected.arguments.contains_key(*name))?;
    Some(format!("`{}` has no argument `{}`", expected.name, shown(extra)))
}

/// Whether two values are the same: numbers by what they are worth, texts normalised. As in BFCL,
/// the values of an object that is expected are lists of what is allowed.
fn same(allowed: &Value, value: &Value) -> bool {
    match (allowed, value) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::String(a), Value::String(b)) => normalised(a) == normalised(b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let listed = |a: &Value, b: &Value| match a {
                Value::Array(any) => any.iter().any(|a| same(a, b)) || same(a, b),
                _ => same(a, b),
            };
            let optional = |a: &Value| a.as_array().is_some_and(|any| any.iter().any(|v| v == ""));
            a.iter().all(|(k, a)| b.get(k).map_or_else(|| optional(a), |b| listed(a, b)))
                && b.keys().all(|k| a.contains_key(k))
        }
        _ => allowed == value,
    }
}

fn normalised(text: &str) -> String {
    let kept = text.chars().filter(|c| !c.is_whitespace() && !",./-_*^".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == '\'' { '"' } else { c }).collect()
}

/// The calls an answer makes; an error if something that looks like one can't be read.
fn calls(answer: &str) -> Result<Vec<Call>, String> {
    let mut calls = Vec::new();
    let mut add = |value: Value| -> Result<(), String> {
        for value in listed(value) {
            calls.push(
                call(&value).ok_or_else(|| format!("{} is no call", shown(&value.to_string())))?,
            );
        }
        Ok(())
    };
    if answer.contains("<tool_call>") {
        for block in answer.split("<tool_call>").skip(1).take(MAX_CALLS + 1) {
            let block = block.split("</tool_call>").next().unwrap_or_default().trim();
            match serde_json::from_str(block) {
                Ok(value) => add(value)?,
                Err(e) => return Err(format!("a tool call is no JSON: {e}")),
            }
        }
        return Ok(calls);
    }
    if let Some(made) = python::calls(answer) {
        return Ok(made.into_iter().map(|(name, arguments)| Call { name, arguments }).collect());
    }
    // All of it, or each object within a text that is a call. Other JSON in a text is just text.
    match serde_json::from_str::<Value>(answer.trim()) {
        Ok(value) => add(value)?,
        Err(_) => {
            for value in extract::objects(answer) {
                calls.extend(listed(value).iter().filter_map(call));
            }
        }
    }
    Ok(calls)
}

/// What a list holds, or the value itself.
fn listed(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values,
        value => vec![value],
    }
}

fn call(value: &Value) -> Option<Call> {
    let object = value.as_object()?;
    if let Some(inner @ Value::Object(_)) = object.get("function") {
        return call(inner);
    }
    let named = object.get("name").or_else(|| object.get("function")).and_then(Value::as_str);
    let Some(name) = named else {
        let mut fields = object.iter();
        let (Some((name, Value::Object(arguments))), None) = (fields.next(), fields.next()) else {
            return None;
        };
        return Some(Call { name: name.clone(), arguments: arguments.clone() });
    };
    let keys = ["arguments", "parameters", "input", "args"];
    let arguments = match keys.iter().find_map(|key| object.get(*key)) {
        Some(Value::Object(arguments)) => arguments.clone(),
        Some(Value::String(text)) => serde_json::from_str(text).ok()?,
        None | Some(Value::Null) => Map::new(),
        Some(_) => return None,
    };
    Some(Call { name: name.to_owned(), arguments })
}

impl Verifier for Calls {
    fn verify(&self, attempt: &Attempt<'_>) -> Result<Verdict, CannotTell> {
        if let Some(verdict) = unreadable(attempt.answer) {
            return Ok(verdict);
        }
        let made = match calls(attempt.answer) {
            Ok(made) if made.len() > MAX_CALLS => {
                return Ok(Verdict::missing(format!("more than {MAX_CALLS} calls are made")));
            }
            // Where none is expected, text that makes none is right.
            Err(_) if self.task.calls.is_empty() && !attempt.answer.contains("<tool_call>") => {
                Vec::new()
            }
            Ok(made) => made,
            Err(why) => return Ok(Verdict::missing(why)),
        };
        if made.is_empty() && !self.task.calls.is_empty() {
            return Ok(Verdict::missing("the answer makes no call"));
        }
        let names: Vec<&str> = made.iter().map(|call| call.name.as_str()).collect();
        let names = shown(&names.join(", "));
        Ok(match self.mismatch(&made) {
            None => Verdict::right(names, "the calls are the expected ones"),
            Some(why) => Verdict::wrong(names, why),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judge(task: Value, answer: &str) -> Verdict {
        let task: Task = serde_json::from_value(task).unwrap();
        Calls::new(&task).unwrap().verify(&Attempt::of(answer)).unwrap()
    }

    fn weather() -> Value {
        json!({"calls": [{"name": "weather", "arguments": {
            "city": ["New York", "NYC"], "days": [3], "unit": ["celsius", ""]}}]})
    }

    #[test]
    fn reads_every_form_of_call() {
        for answer in [
            r#"<tool_call>{"name": "weather", "arguments": {"city": "new york", "days": 3}}</tool_call>"#,
            r#"[{"name": "weather", "arguments": {"city": "NYC", "days": 3.0, "unit": "Celsius"}}]"#,
            r#"{"name": "weather", "parameters": {"city": "NYC", "days": 3}}"#,
            "[weather(city='new york', days=3)]",
            "```python\nweather(days=3.0, city=\"NYC\", unit='celsius')\n```",
            r#"{"type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"NYC\", \"days\": 3}"}}"#,
            r#"[{"weather": {"city": "NYC", "days": 3}}]"#,
            "I look it up:\n```json\n{\"name\": \"weather\", \"input\": {\"city\": \"NYC\", \"days\": 3}}\n```",
        ] {
            let verdict = judge(weather(), answer);
            assert!(verdict.is_right(), "{answer}: {}", verdict.why);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (answer, why) in [
            (r#"{"name": "weather", "arguments": {"city": "Rome", "days": 3}}"#, "`city`"),
            (r#"{"name": "weather", "arguments": {"city": "NYC"}}"#, "lacks `days`"),
            (r#"{"name": "weather", "arguments": {"city": "NYC", "days": "3"}}"#, "`days`"),
            (r#"{"name": "weather", "arguments": {"city": "NYC", "days": 3, "x": 1}}"#, "`x`"),
            (r#"{"name": "news", "arguments": {}}"#, "no call of `weather`"),
            (r#"[]"#, "no call"),
            (r#"<tool_call>{"name": </tool_call>"#, "no JSON"),
            ("It is sunny.", "no call"),
        ] {
            let verdict = judge(weather(), answer);
            assert!(!verdict.is_right() && verdict.why.contains(why), "{answer}: {}", verdict.why);
        }
    }

    #[test]
    fn order_matters_only_if_said() {
        let calls = json!([
            {"name": "f", "arguments": {"x": [1, 2]}},
            {"name": "f", "arguments": {"x": [1]}},
        ]);
        let made =
            r#"[{"name": "f", "arguments": {"x": 1}}, {"name": "f", "arguments": {"x": 2}}]"#;
        assert!(judge(json!({"calls": calls}), made).is_right());
        assert!(!judge(json!({"calls": calls, "ordered": true}), made).is_right());
        let twice =
            r#"[{"name": "f", "arguments": {"x": 2}}, {"name": "f", "arguments": {"x": 2}}]"#;
        assert!(!judge(json!({"calls": calls}), twice).is_right());
    }

    #[test]
    fn no_call_may_be_the_right_thing() {
        assert!(judge(json!({"calls": []}), "None of the functions helps.").is_right());
        assert!(judge(json!({"calls": []}), "[]").is_right());
        assert!(!judge(json!({"calls": []}), r#"{"name": "f", "arguments": {}}"#).is_right());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(answer in r#"([\[\]{}:,"a1 ]|<tool_call>|</tool_call>|"name"|"arguments"){0,40}"#) {
            judge(weather(), &answer);
        }
    }
}
