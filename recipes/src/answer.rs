//! What an answer holds.

use serde::de::DeserializeOwned;
use serde_json::Value;
use verify::Verdict;

/// How many places of a text are tried as the beginning of an object.
const MAX_ATTEMPTS: usize = 64;
/// Longer answers are not read.
const MAX_ANSWER: usize = 1 << 20;

/// The JSON object that is meant: the last within the text.
pub fn object(text: &str) -> Option<Value> {
    if text.len() > MAX_ANSWER {
        return None;
    }
    let mut last = None;
    let mut at = 0;
    for _ in 0..MAX_ATTEMPTS {
        let Some(start) = text[at..].find('{').map(|start| at + start) else { break };
        let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
        at = match values.next() {
            Some(Ok(value)) => {
                last = Some(value);
                start + values.byte_offset()
            }
            _ => start + 1,
        };
    }
    last
}

/// The JSON object that is meant, read as `T`.
///
/// # Errors
/// The verdict on an answer that has none, or another one.
pub fn read<T: DeserializeOwned>(text: &str) -> Result<(T, String), Verdict> {
    let object = object(text).ok_or_else(|| Verdict::missing("the answer holds no JSON object"))?;
    let said = shown(&object.to_string());
    match serde_path_to_error::deserialize(object) {
        Ok(value) => Ok((value, said)),
        Err(error) => {
            let path = error.path().to_string();
            let at = if path == "." { "the answer".to_owned() } else { path };
            let why = shown(&error.into_inner().to_string());
            Err(Verdict::wrong(said, format!("{at}: {why}")))
        }
    }
}

/// A text short enough to be quoted.
pub fn shown(text: &str) -> String {
    const MOST: usize = 200;
    let mut shown: String = text.chars().take(MOST).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_object_counts() {
        for text in [
            r#"{"a": {"b": 1}}"#,
            "Sure:\n```json\n{\"a\": {\"b\": 1}}\n```\nDone.",
            r#"{"a": 0}, or rather {"a": {"b": 1}} {"#,
            r#"{not json} {"a": {"b": 1}}"#,
        ] {
            assert_eq!(object(text), Some(json!({"a": {"b": 1}})), "{text}");
        }
        for text in ["", "none", "[1]", &"{".repeat(100_000), &"{\"a\":".repeat(9999)] {
            assert_eq!(object(text), None);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        #[derive(Debug, Deserialize)]
        struct Two {
            a: i64,
        }
        assert_eq!(read::<Two>(r#"{"a": 2}"#).unwrap().0.a, 2);
        let verdict = read::<Two>(r#"{"a": "x"}"#).unwrap_err();
        assert!(verdict.why.starts_with("a: "), "{}", verdict.why);
        assert_eq!(verdict.score, 0.0);
        assert_eq!(read::<Two>("no").unwrap_err().extracted, None);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in r"([a-z{}\[\]:,\n é\x22\\0-9]|\{\x22a\x22:){0,60}") {
            object(&text);
        }
    }
}
