//! Preferences, one JSON object a line: which of two answers is the better one.
//!
//! | shape | fields |
//! |---|---|
//! | pair | `prompt`, `chosen`, `rejected`: texts, or lists of messages |
//! | conversations | `chosen` and `rejected`: whole lists of messages that differ in the last |
//!
//! `margin`, a number, may say how much better the chosen one is.

use std::path::Path;

use engine::Engine;
use eval::rows;
use serde_json::{Map, Value};

use super::shapes::{Conversation, conversation};
use super::{Rendered, Text, render};
use crate::Error;
use crate::objective::Pair;
use crate::recipe::{Thinking, Turns};

/// Two answers to one prompt, as tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preferred {
    /// What both go on from.
    pub prompt: Vec<u32>,
    /// The answers, each with the end of its turn.
    pub answers: Pair<Vec<u32>>,
    /// How much better the chosen one is, where that was said.
    pub margin: Option<f32>,
}

/// Reads all pairs of a file, plain or gzipped. None stands for one whose turns the template writes
/// otherwise than the model would have to.
///
/// # Errors
/// It can't be read, or a line is no pair; the message names the line.
pub fn read_pairs(engine: &Engine, path: &Path) -> Result<Vec<Option<Preferred>>, Error> {
    let mut pairs = Vec::new();
    for (i, row) in rows::read(path, &[])?.iter().enumerate() {
        let line = |problem| Error::Line { path: path.to_owned(), line: i + 1, problem };
        let (chosen, rejected, margin) = both(row).map_err(line)?;
        pairs.push(match (parts(engine, &chosen)?, parts(engine, &rejected)?) {
            (Some((prompt, chosen)), Some((other, rejected))) if prompt == other => {
                Some(Preferred { prompt, answers: Pair { chosen, rejected }, margin })
            }
            (Some(_), Some(_)) => {
                return Err(line("chosen and rejected don't answer the same prompt".to_owned()));
            }
            _ => None,
        });
    }
    Ok(pairs)
}

/// A prompt, and what was said after it.
pub(super) type Parts = (Vec<u32>, Vec<u32>);

/// The last answer of a conversation, apart from what it answers; None if the template writes it
/// otherwise than the model would have to.
pub(super) fn parts(engine: &Engine, conversation: &Conversation) -> Result<Option<Parts>, Error> {
    match render(engine, conversation, Thinking::Keep, Turns::Last)? {
        Rendered::Text(text) => Ok(split(text)),
        Rendered::OtherwiseWritten => Ok(None),
    }
}

fn split(text: Text) -> Option<Parts> {
    let first = text.weights.iter().position(|w| *w != 0.0)?;
    let last = text.weights.iter().rposition(|w| *w != 0.0)?;
    let answer = text.tokens[first..=last].to_vec();
    (first > 0).then(|| (text.tokens[..first].to_vec(), answer))
}

pub(crate) fn both(
    row: &Map<String, Value>,
) -> Result<(Conversation, Conversation, Option<f32>), String> {
    let of = |name: &str| -> Result<Conversation, String> {
        let answer = row.get(name).ok_or_else(|| format!("there is no `{name}`"))?;
        let mut one = Map::new();
        match row.get("prompt") {
            Some(prompt) => {
                one.insert("prompt".to_owned(), prompt.clone());
                one.insert("completion".to_owned(), answer.clone());
            }
            None => {
                one.insert("messages".to_owned(), answer.clone());
            }
        }
        conversation(&one).map_err(|problem| format!("{name}: {problem}"))
    };
    let margin = match row.get("margin") {
        None | Some(Value::Null) => None,
        Some(margin) => {
            Some(margin.as_f64().ok_or_else(|| "margin is no number".to_owned())? as f32)
        }
    };
    Ok((of("chosen")?, of("rejected")?, margin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pairs_come_in_two_shapes() {
        let said = |role: &str, content: &str| json!({"role": role, "content": content});
        for row in [
            json!({"prompt": "q", "chosen": "a", "rejected": "b", "margin": 2}),
            json!({"chosen": [said("user", "q"), said("assistant", "a")],
                   "rejected": [said("user", "q"), said("assistant", "b")], "margin": 2.0}),
        ] {
            let (chosen, rejected, margin) = both(row.as_object().unwrap()).unwrap();
            assert_eq!(chosen.messages[0], rejected.messages[0]);
            assert_eq!(chosen.messages[1].content, "a");
            assert_eq!(rejected.messages[1].content, "b");
            assert_eq!(margin, Some(2.0));
        }
        for (row, wanted) in [
            (json!({"prompt": "q", "chosen": "a"}), "`rejected`"),
            (json!({"prompt": "q", "chosen": "a", "rejected": " "}), "rejected: "),
            (json!({"prompt": "q", "chosen": "a", "rejected": "b", "margin": "big"}), "margin"),
        ] {
            let error = both(row.as_object().unwrap()).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
