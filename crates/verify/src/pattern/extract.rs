//! The part of an answer that is meant: in `\boxed{}`, in `<answer>`, in a block of code, after
//! "the answer is", on the last line.
//!
//! Every function is linear in the text, or bounded, whatever it holds.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// How many places of a text are tried as the beginning of JSON.
const MAX_ATTEMPTS: usize = 64;

/// What stands in the last `\boxed{…}` that is closed.
pub(crate) fn boxed(text: &str) -> Option<&str> {
    static OPEN: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\\(?:boxed|fbox)\s*\{").expect("a constant"));
    // One pass: a brace that closes the one a box began with ends that box.
    let mut boxes = OPEN.find_iter(text).map(|found| found.end()).peekable();
    let mut open: Vec<(usize, bool)> = Vec::new();
    let mut last = None;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => {
                let begins = boxes.next_if_eq(&(at + 1)).is_some();
                open.push((at + 1, begins));
            }
            b'}' => {
                if let Some((start, true)) = open.pop() {
                    last = Some(&text[start..at]);
                }
            }
            _ => {}
        }
    }
    last.map(str::trim)
}

/// What stands between the last `<name>` and the `</name>` after it, or the end.
pub(crate) fn tagged<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let open = format!("<{name}>");
    let start = text.rfind(&open)? + open.len();
    let rest = &text[start..];
    let end = rest.find(&format!("</{name}>")).unwrap_or(rest.len());
    Some(rest[..end].trim())
}

/// The last line that isn't empty.
pub(crate) fn last_line(text: &str) -> Option<&str> {
    text.lines().rev().map(str::trim).find(|line| !line.is_empty())
}

/// What follows the last "the answer is", "answer:" and the like on its line.
pub(crate) fn announced(text: &str) -> Option<&str> {
    static ANNOUNCED: LazyLock<Regex> = LazyLock::new(|| {
        let pattern = r"(?i)\b(?:answer|solution|result)\s*(?:\*\*|__)?\s*(?:is\s*:?|:|=)([^\n]+)";
        Regex::new(pattern).expect("a constant")
    });
    let found = ANNOUNCED.captures_iter(text).last()?.get(1)?.as_str();
    Some(bare(found)).filter(|found| !found.is_empty())
}

/// Without white space, markdown's emphasis and dollar signs around it, and without a full stop.
pub(crate) fn bare(text: &str) -> &str {
    let around = |c: char| c.is_whitespace() || matches!(c, '*' | '_' | '`' | '$');
    let text = text.trim_matches(around);
    text.strip_suffix('.').unwrap_or(text).trim_matches(around)
}

/// What is meant, as far as form tells: in a box, in tags, after "the answer is", or the last line.
pub(crate) fn meant(text: &str) -> Option<&str> {
    let marked = boxed(text).or_else(|| tagged(text, "answer"));
    marked.or_else(|| announced(text)).or_else(|| last_line(text).map(bare))
}

/// The insides of the blocks of code, in order.
pub(crate) fn fenced(text: &str) -> Vec<&str> {
    let mut blocks = Vec::new();
    let mut open: Option<usize> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with("```") {
            open = match open {
                Some(start) => {
                    blocks.push(&text[start..at]);
                    None
                }
                None => Some(at + line.len()),
            };
        }
        at += line.len();
    }
    // One that was left open counts, too.
    blocks.extend(open.filter(|&start| start < text.len()).map(|start| &text[start..]));
    blocks
}

/// The JSON that is meant: all of the text, what the tags hold, the last block of code that is
/// JSON, or the last object or list within the text.
pub(crate) fn json(text: &str) -> Option<Value> {
    let whole = |text: &str| serde_json::from_str::<Value>(text.trim()).ok();
    whole(text)
        .or_else(|| tagged(text, "answer").and_then(whole))
        .or_else(|| fenced(text).into_iter().rev().take(MAX_ATTEMPTS).find_map(whole))
        .or_else(|| objects(text).pop())
}

/// The objects and lists within a text, the outermost of them.
pub(crate) fn objects(text: &str) -> Vec<Value> {
    let mut values = Vec::new();
    let mut at = 0;
    for _ in 0..MAX_ATTEMPTS {
        let Some(start) = text[at..].find(['{', '[']).map(|start| at + start) else { break };
        let mut stream = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
        match stream.next() {
            Some(Ok(value)) => {
                values.push(value);
                at = start + stream.byte_offset();
            }
            _ => at = start + 1,
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_meant() {
        assert_eq!(meant(r"so \boxed{1} or rather \boxed{\frac{1}{2}}."), Some(r"\frac{1}{2}"));
        assert_eq!(meant("<answer> 5 </answer> bye"), Some("5"));
        assert_eq!(meant("I think.\n**Answer:** 42.\nBye"), Some("42"));
        assert_eq!(meant("the answer is $7$."), Some("7"));
        assert_eq!(meant("first\n\n**last**\n \n"), Some("last"));
        assert_eq!(meant("  "), None);
        assert_eq!(boxed(r"\boxed{\boxed{3}}"), Some(r"\boxed{3}"));
        assert_eq!(boxed(r"\boxed{3"), None);
    }

    #[test]
    fn finds_json() {
        for text in [
            "{\"a\": 1}",
            "Here:\n```json\n{\"a\": 1}\n```\nDone.",
            "I say {\"a\": 1}.",
            "[not json] but {\"a\": 1}",
            "<answer>{\"a\": 1}</answer>",
            "```\n{\"a\": 1}",
        ] {
            assert_eq!(json(text), Some(serde_json::json!({"a": 1})), "{text}");
        }
        assert_eq!(json(&"[".repeat(100_000)), None);
        assert_eq!(json("none"), None);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in r"([\\a-z<>/{}\[\]`\n é$*:\x22]|\\boxed\{|<answer>|```){0,40}") {
            meant(&text);
            json(&text);
        }
    }
}
