//! Function calls as Python writes them: `[weather(city="Pune", days=3), clock()]`.
//!
//! What BFCL asks of models that have no tool format of their own: calls with named arguments whose values
//! are literals, in a list or without its brackets.

use serde_json::{Map, Number, Value};

/// How deep lists and dictionaries may be in each other.
const MAX_DEPTH: usize = 32;

/// A call's name and arguments.
pub(super) type Call = (String, Map<String, Value>);

/// The calls that `text` consists of; `None` if it is anything else.
pub(super) fn calls(text: &str) -> Option<Vec<Call>> {
    let mut reader = Reader { rest: fenced(text.trim()).trim() };
    let bracketed = reader.take('[');
    let end = if bracketed { Some(']') } else { None };
    let mut calls = Vec::new();
    while !reader.at_end(end) {
        calls.push(reader.call()?);
        if !reader.take(',') && !reader.at_end(end) {
            return None;
        }
    }
    if bracketed && !reader.take(']') {
        return None;
    }
    (reader.peek().is_none() && !calls.is_empty()).then_some(calls)
}

/// What a text holds that is one block of code, or is set between backticks.
fn fenced(text: &str) -> &str {
    if let Some(inner) = text.strip_prefix("```").and_then(|text| text.strip_suffix("```")) {
        let language = inner.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(0);
        return match inner[language..].starts_with('\n') {
            true => &inner[language..],
            false => inner,
        };
    }
    text.strip_prefix('`').and_then(|text| text.strip_suffix('`')).unwrap_or(text)
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn at_end(&mut self, end: Option<char>) -> bool {
        let next = self.peek();
        next.is_none() || next == end
    }

    fn take(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        if there {
            self.rest = &self.rest[wanted.len_utf8()..];
        }
        there
    }

    /// What comes next of characters that fit; `None` if the first doesn't.
    fn run(&mut self, fits: impl Fn(char) -> bool) -> Option<&'a str> {
        self.peek()?;
        let end = self.rest.find(|c| !fits(c)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!run.is_empty()).then_some(run)
    }

    /// An identifier; `dotted` if it may have several parts.
    fn name(&mut self, dotted: bool) -> Option<&'a str> {
        let name = self.run(|c| c.is_alphanumeric() || c == '_' || dotted && c == '.')?;
        (!name.starts_with(|c: char| c.is_ascii_digit() || c == '.') && !name.ends_with('.'))
            .then_some(name)
    }

    fn call(&mut self) -> Option<Call> {
        let name = self.name(true)?.to_owned();
        let mut arguments = Map::new();
        self.take('(').then_some(())?;
        while !self.take(')') {
            let argument = self.name(false)?.to_owned();
            self.take('=').then_some(())?;
            let value = self.value(0)?;
            if arguments.insert(argument, value).is_some() {
                return None;
            }
            if !self.take(',') && self.peek() != Some(')') {
                return None;
            }
        }
        Some((name, arguments))
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth == MAX_DEPTH {
            return None;
        }
        match self.peek()? {
            '[' => self.list('[', ']', depth),
            // A tuple; JSON has no other word for it.
            '(' => self.list('(', ')', depth),
            '{' => self.dictionary(depth),
            '"' | '\'' => self.text().map(Value::String),
            '-' | '+' | '.' | '0'..='9' => self.number(),
            _ => Some(match self.name(true)? {
                "None" | "null" => Value::Null,
                "True" | "true" => true.into(),
                "False" | "false" => false.into(),
                name => name.into(),
            }),
        }
    }

    fn list(&mut self, open: char, close: char, depth: usize) -> Option<Value> {
        self.take(open);
        let mut values = Vec::new();
        while !self.take(close) {
            values.push(self.value(depth + 1)?);
            if !self.take(',') && self.peek() != Some(close) {
                return None;
            }
        }
        Some(Value::Array(values))
    }

    fn dictionary(&mut self, depth: usize) -> Option<Value> {
        self.take('{');
        let mut fields = Map::new();
        while !self.take('}') {
            let key = match self.value(depth + 1)? {
                Value::String(key) => key,
                other => other.to_string(),
            };
            self.take(':').then_some(())?;
            fields.insert(key, self.value(depth + 1)?);
            if !self.take(',') && self.peek() != Some('}') {
                return None;
            }
        }
        Some(Value::Object(fields))
    }

    fn number(&mut self) -> Option<Value> {
        let negative = self.take('-');
        if !negative {
            self.take('+');
        }
        let digits = self.run(|c| c.is_ascii_alphanumeric() || "._".contains(c))?;
        // The sign of an exponent.
        let mut text = digits.replace('_', "").to_ascii_lowercase();
        if text.ends_with('e') && self.rest.starts_with(['+', '-']) {
            let (sign, rest) = self.rest.split_at(1);
            self.rest = rest;
            text = text + sign + self.run(|c| c.is_ascii_digit())?;
        }
        if text.contains(|c: char| c.is_ascii_alphabetic() && c != 'e') {
            return None;
        }
        let sign = if negative { "-" } else { "" };
        if let Ok(whole) = format!("{sign}{text}").parse::<i64>() {
            return Some(whole.into());
        }
        let number: f64 = text.parse().ok()?;
        Number::from_f64(if negative { -number } else { number }).map(Value::Number)
    }

    fn text(&mut self) -> Option<String> {
        let quote = self.peek()?;
        let mut chars = self.rest[1..].char_indices();
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                _ if c == quote => {
                    self.rest = &self.rest[1 + at + 1..];
                    return Some(text);
                }
                '\\' => match chars.next()?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    escaped @ ('\\' | '\'' | '"') => text.push(escaped),
                    // As Python does with what it doesn't know.
                    other => text.extend(['\\', other]),
                },
                c => text.push(c),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Value {
        json!(calls(text))
    }

    #[test]
    fn calls_and_literals() {
        let one = json!([["f", {"a": 1}]]);
        for text in
            ["[f(a=1)]", "f(a=1)", " [ f ( a = 1 , ) , ] ", "```python\n[f(a=1)]\n```", "`f(a=1)`"]
        {
            assert_eq!(read(text), one, "{text}");
        }
        assert_eq!(
            read(r#"[geo.find(at=(1.5, -2), tags=["a", 'b"c'], deep={'k': {"n": None}}), now()]"#),
            json!([
                ["geo.find", {"at": [1.5, -2], "tags": ["a", "b\"c"], "deep": {"k": {"n": null}}}],
                ["now", {}]
            ])
        );
        assert_eq!(
            read(r"f(a=True, b=false, c=1_000, d=-1e3, e=2.5E-1, g='it\'s\n', h=north)"),
            json!([["f", {"a": true, "b": false, "c": 1000, "d": -1000.0, "e": 0.25,
                          "g": "it's\n", "h": "north"}]])
        );
    }

    #[test]
    fn anything_else_is_none() {
        let deep = format!("f(a={}1{})", "[".repeat(40), "]".repeat(40));
        for text in [
            "",
            "[]",
            "f",
            "f(",
            "f(a)",
            "f(1)",
            "f(a=)",
            "f(a=1",
            "[f(a=1)",
            "f(a=1)]",
            "f(a=1) g()",
            "I call f(a=1).",
            "f(a=1, a=2)",
            "f(a='x)",
            "1f()",
            "f(a=1e)",
            "f(a=0x1F)",
            "f(a={1})",
            &deep,
        ] {
            assert_eq!(calls(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in r#"[\[\](){}:=,"'`\\ae1ü.\-+ \n]{0,40}"#) {
            calls(&text);
        }
    }
}
