//! Answers that are each good or bad, one JSON object a line:
//!
//! | shape | fields |
//! |---|---|
//! | completion | `prompt`, `completion`: texts, or lists of messages; `label`: true if it is good |
//! | chat | `messages`, the last of them the answer; `label` |
//! | pair | as [`super::read_pairs`] has them: a good answer and a bad one |

use std::path::Path;

use engine::Engine;
use eval::rows;
use serde_json::{Map, Value};

use super::pairs::{both, parts};
use super::shapes::{Conversation, conversation};
use crate::Error;

/// An answer to a prompt, as tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// What it goes on from.
    pub prompt: Vec<u32>,
    /// The answer, with the end of its turn.
    pub tokens: Vec<u32>,
    /// Whether there should be more such.
    pub desirable: bool,
}

/// Reads all answers of a file, plain or gzipped. None stands for one whose turn the template writes
/// otherwise than the model would have to.
///
/// # Errors
/// It can't be read, or a line has none of the shapes; the message names the line.
pub fn read_answers(engine: &Engine, path: &Path) -> Result<Vec<Option<Answer>>, Error> {
    let mut answers = Vec::new();
    for (i, row) in rows::read(path, &[])?.iter().enumerate() {
        let line = |problem| Error::Line { path: path.to_owned(), line: i + 1, problem };
        for (conversation, desirable) in labelled(row).map_err(line)? {
            let parts = parts(engine, &conversation)?;
            answers.push(parts.map(|(prompt, tokens)| Answer { prompt, tokens, desirable }));
        }
    }
    Ok(answers)
}

fn labelled(row: &Map<String, Value>) -> Result<Vec<(Conversation, bool)>, String> {
    match row.get("label") {
        Some(label) => {
            let desirable = label.as_bool().ok_or("label is neither true nor false")?;
            Ok(vec![(conversation(row)?, desirable)])
        }
        None if row.contains_key("chosen") => {
            let (chosen, rejected, _) = both(row)?;
            Ok(vec![(chosen, true), (rejected, false)])
        }
        None => Err("has neither a `label` nor a pair, `chosen` and `rejected`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_are_labelled_or_in_pairs() {
        let of = |row: Value| -> Result<Vec<(String, bool)>, String> {
            let all = labelled(row.as_object().unwrap())?;
            Ok(all.into_iter().map(|(c, good)| (c.messages[1].content.clone(), good)).collect())
        };
        let one = json!({"prompt": "q", "completion": "a", "label": false});
        assert_eq!(of(one).unwrap(), [("a".to_owned(), false)]);
        let said = |role: &str, content: &str| json!({"role": role, "content": content});
        let one = json!({"messages": [said("user", "q"), said("assistant", "a")], "label": true});
        assert_eq!(of(one).unwrap(), [("a".to_owned(), true)]);
        let two = of(json!({"prompt": "q", "chosen": "a", "rejected": "b"})).unwrap();
        assert_eq!(two, [("a".to_owned(), true), ("b".to_owned(), false)]);
        for (row, wanted) in [
            (json!({"prompt": "q", "completion": "a"}), "`label`"),
            (json!({"prompt": "q", "completion": "a", "label": 1}), "label"),
            (json!({"prompt": "q", "completion": "", "label": true}), "empty"),
            (json!({"prompt": "q", "chosen": "a"}), "`rejected`"),
        ] {
            let error = of(row).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
