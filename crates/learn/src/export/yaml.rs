//! As much of YAML as a file of settings needs.

use serde_json::Value;

/// A value as YAML, in blocks; texts and keys that are no plain names are quoted as JSON, which YAML contains.
/// Numbers never have an exponent: YAML 1.1 takes `1e-5` for a text.
pub(super) fn yaml(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

fn block(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    let mut item = |head: String, value: &Value| match value {
        Value::Object(all) if !all.is_empty() => {
            *out += &format!("{indent}{head}\n");
            block(value, depth + 1, out);
        }
        Value::Array(all) if !all.is_empty() => {
            *out += &format!("{indent}{head}\n");
            block(value, depth + 1, out);
        }
        other => *out += &format!("{indent}{head} {}\n", scalar(other)),
    };
    match value {
        Value::Object(all) => {
            all.iter().for_each(|(key, value)| item(format!("{}:", name(key)), value))
        }
        Value::Array(all) => all.iter().for_each(|value| item("-".to_owned(), value)),
        other => *out += &format!("{indent}{}\n", scalar(other)),
    }
}

fn name(key: &str) -> String {
    // YAML 1.1 takes these for truth values, as keys too.
    let word = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"].contains(&key);
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let digit = key.starts_with(|c: char| c.is_ascii_digit());
    if plain && !word && !digit { key.to_owned() } else { Value::from(key).to_string() }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(x) if number.is_f64() => {
                let text = x.to_string();
                if text.contains('.') { text } else { text + ".0" }
            }
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn blocks_are_indented_and_numbers_plain() {
        let value = json!({
            "a": {"lr": 1e-5, "n": 3, "whole": 2.0, "none": null, "fine": true, "list": ["x", "y: z"], "no": {}},
            "b c": "\"q\"\n",
        });
        let wanted = "a:\n  lr: 0.00001\n  \"n\": 3\n  whole: 2.0\n  none: null\n  fine: true\n  list:\n    - \"x\"\n    \
                      - \"y: z\"\n  \"no\": {}\n\"b c\": \"\\\"q\\\"\\n\"\n";
        assert_eq!(yaml(&value), wanted);
    }
}
