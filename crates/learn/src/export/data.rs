//! Conversations and pairs in the shapes that TRL reads.

use std::path::PathBuf;

use eval::rows;
use serde_json::{Value, json};
use text::template::Message;

use crate::Error;
use crate::chance::hold_out_kinds;
use crate::data::pairs::both;
use crate::data::{Conversation, read};
use crate::recipe::{Recipe, Sft, Thinking, Turns};

/// Rows to learn from, and rows to measure with.
pub(super) struct Rows {
    pub(super) learned: Vec<Value>,
    pub(super) held_out: Vec<Value>,
}

/// Those held out: of their own files, or of the others as a run chooses them.
fn rows_of(
    recipe: &Recipe,
    (data, held_out): (&[PathBuf], &[PathBuf]),
    read: impl Fn(&PathBuf) -> Result<Vec<Vec<Value>>, Error>,
) -> Result<Rows, Error> {
    let all = |paths: &[PathBuf]| -> Result<Vec<Vec<Value>>, Error> {
        let parts = paths.iter().map(&read).collect::<Result<Vec<_>, _>>()?;
        Ok(parts.into_iter().flatten().collect())
    };
    let (mut learned, mut kept) = (all(data)?, all(held_out)?);
    if recipe.evaluate.every == 0 {
        kept.clear();
    } else if held_out.is_empty() {
        let wanted = recipe.evaluate.items.min(learned.len() / 10);
        let prompt = |rows: &Vec<Value>| rows.first().map(|row| row["prompt"].to_string());
        (kept, learned) = hold_out_kinds(recipe.seed, learned, wanted, prompt);
    }
    kept.truncate(recipe.evaluate.items);
    if learned.is_empty() {
        let what = "the recipe's data".to_owned();
        return Err(Error::Data { what, problem: "there is nothing to learn from".to_owned() });
    }
    let flat = |rows: Vec<Vec<Value>>| rows.into_iter().flatten().collect();
    Ok(Rows { learned: flat(learned), held_out: flat(kept) })
}

/// A row for each turn that is learned: all that came before it, and the turn.
pub(super) fn conversations(recipe: &Recipe, sft: &Sft) -> Result<Rows, Error> {
    let of = |conversation: &Conversation| -> Vec<Value> {
        let messages = &conversation.messages;
        let last = messages.len() - 1;
        let learned =
            |i: &usize| messages[*i].role == "assistant" && (sft.turns == Turns::All || *i == last);
        let row = |i: usize| {
            let shown = |message: &Message, thinking: bool| without_thinking(message, thinking);
            let before: Vec<Value> = messages[..i].iter().map(|m| shown(m, false)).collect();
            let turn = shown(&messages[i], i == last && sft.thinking == Thinking::Keep);
            let mut row = json!({"prompt": before, "completion": [turn]});
            if let Some(tools) = &conversation.tools {
                row["tools"] = tools.clone();
            }
            row
        };
        (0..messages.len()).filter(learned).map(row).collect()
    };
    rows_of(recipe, (&sft.data, &sft.held_out), |path| Ok(read(path)?.iter().map(of).collect()))
}

/// A message, with its thinking or without.
fn without_thinking(message: &Message, thinking: bool) -> Value {
    let mut message = message.clone();
    if message.role == "assistant" && !thinking {
        message.reasoning_content = None;
        if let Some((_, answer)) = message.content.split_once(super::problems::THINKING[1]) {
            message.content = answer.trim_start().to_owned();
        }
    }
    json!(message)
}

/// Pairs of a better and a worse answer, and whether some say how much better.
pub(super) fn pairs(
    recipe: &Recipe,
    pairs: &crate::recipe::Examples,
) -> Result<(Rows, bool), Error> {
    let margins = std::cell::Cell::new(false);
    let found = rows_of(recipe, (&pairs.data, &pairs.held_out), |path| {
        let row = |(i, row): (usize, &serde_json::Map<String, Value>)| {
            let line = |problem| Error::Line { path: path.clone(), line: i + 1, problem };
            let (chosen, rejected, margin) = both(row).map_err(line)?;
            margins.set(margins.get() || margin.is_some());
            let (Some((better, prompt)), Some((worse, other))) =
                (chosen.messages.split_last(), rejected.messages.split_last())
            else {
                return Err(line("has no answers".to_owned()));
            };
            if prompt != other {
                return Err(line("chosen and rejected don't answer the same prompt".to_owned()));
            }
            Ok(vec![json!({"prompt": prompt, "chosen": [better], "rejected": [worse]})])
        };
        rows::read(path, &[])?.iter().enumerate().map(row).collect()
    })?;
    Ok((found, margins.get()))
}
