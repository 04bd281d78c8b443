//! Examples from answers that a verifier found right: rejection sampling, also of a bigger model's answers
//! (Zelikman et al. 2022, STaR; Yuan et al. 2023, RFT).

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use eval::benchmark::Item;
use eval::run::{Sample, write_whole};
use reason::Prompt;
use serde_json::{Value, json};
use text::template::Message;

use crate::Error;

/// Which right answers to an item become examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// At most so many of an item.
    pub per_item: usize,
    /// Which of them first.
    pub prefer: Prefer,
    /// None with more tokens than this, thinking included.
    pub max_tokens: Option<usize>,
}

/// Which of several right answers are the better examples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefer {
    /// Those with fewest tokens: what can be said shorter is learned shorter.
    #[default]
    Shortest,
    /// Those drawn first: the model's own distribution of right answers.
    First,
}

impl FromStr for Prefer {
    type Err = String;

    fn from_str(name: &str) -> Result<Prefer, String> {
        match name {
            "shortest" => Ok(Prefer::Shortest),
            "first" => Ok(Prefer::First),
            _ => Err("there are shortest and first".to_owned()),
        }
    }
}

/// What became of the samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Samples drawn.
    pub samples: usize,
    /// Those that were right and came to an end by themselves.
    pub right: usize,
    /// Right ones that are longer than is wanted.
    pub too_long: usize,
    /// Right ones that say what another of the same item says.
    pub repeated: usize,
    /// Items asked.
    pub items: usize,
    /// Items with an example.
    pub solved: usize,
    /// Examples.
    pub kept: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { samples, right, too_long, repeated, items, solved, kept } = self;
        write!(
            f,
            "{kept} examples for {solved} of {items} items: {right} of {samples} samples are right"
        )?;
        write!(f, ", {too_long} of them too long, {repeated} said before")
    }
}

/// The examples, as conversations (`messages`), in the items' order.
///
/// # Errors
/// An item is plain text to be gone on from, which no conversation can teach.
pub fn examples(
    items: &[Item],
    samples: &[Sample],
    keep: Keep,
) -> Result<(Vec<Value>, Counts), Error> {
    let mut of: HashMap<&str, Vec<&Sample>> = HashMap::new();
    for sample in samples {
        of.entry(&sample.item).or_default().push(sample);
    }
    let mut counts = Counts { samples: samples.len(), items: items.len(), ..Counts::default() };
    let mut examples = Vec::new();
    for item in items {
        let Prompt::Chat(asked) = &item.prompt else {
            return Err(Error::Data {
                what: format!("item {}", item.id),
                problem: "it is put as plain text; distilling takes questions put in a chat"
                    .to_owned(),
            });
        };
        let is_right = |sample: &Sample| {
            let right = sample.verdict.as_ref().is_some_and(|verdict| verdict.is_right());
            right && sample.finish_reason == "stop"
        };
        let mut right = of.remove(item.id.as_str()).unwrap_or_default();
        right.retain(|sample| is_right(sample));
        counts.right += right.len();
        right.sort_by_key(|sample| match keep.prefer {
            Prefer::Shortest => (sample.completion_tokens, sample.index),
            Prefer::First => (sample.index, 0),
        });
        let (mut said, mut kept) = (HashSet::new(), 0);
        for sample in right {
            if keep.max_tokens.is_some_and(|most| sample.completion_tokens > most) {
                counts.too_long += 1;
                continue;
            }
            let words: Vec<&str> = sample
                .reasoning
                .split_whitespace()
                .chain(sample.answer.split_whitespace())
                .collect();
            if !said.insert(words.join(" ")) {
                counts.repeated += 1;
                continue;
            }
            if kept < keep.per_item {
                examples.push(example(item, asked, sample));
                kept += 1;
            }
        }
        counts.kept += kept;
        counts.solved += usize::from(kept > 0);
    }
    Ok((examples, counts))
}

fn example(item: &Item, asked: &[Message], sample: &Sample) -> Value {
    let mut answer = Message::new("assistant", sample.answer.as_str());
    answer.reasoning_content = (!sample.reasoning.is_empty()).then(|| sample.reasoning.clone());
    let messages: Vec<&Message> = asked.iter().chain([&answer]).collect();
    json!({
        "messages": messages,
        "item": item.id,
        "seed": sample.seed,
        "tokens": sample.completion_tokens,
    })
}

/// Writes examples as JSON lines; the file is there whole or not at all.
///
/// # Errors
/// It can't be written.
pub fn write(path: &Path, examples: &[Value]) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::create_dir_all(folder.unwrap_or(Path::new("."))).map_err(|source| Error::Io {
        path: path.to_owned(),
        action: "write",
        source,
    })?;
    let lines: String = examples.iter().map(|example| format!("{example}\n")).collect();
    Ok(write_whole(path, lines.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use verify::Verdict;

    fn item(id: &str) -> Item {
        let asked = vec![Message::new("system", "Be brief."), Message::new("user", id)];
        Item {
            id: id.into(),
            group: None,
            prompt: Prompt::Chat(asked),
            question: id.into(),
            task: Value::Null,
        }
    }

    fn sample(item: &str, index: usize, answer: &str, right: bool) -> Sample {
        let verdict = if right { Verdict::right(answer, "") } else { Verdict::wrong(answer, "") };
        serde_json::from_value(json!({
            "item": item, "index": index, "seed": index, "question": item, "task": null,
            "reasoning": "", "answer": answer, "finish_reason": "stop", "prompt_tokens": 1,
            "completion_tokens": answer.len(), "reasoning_tokens": 0, "seconds": 0.0, "verdict": verdict,
        }))
        .unwrap()
    }

    #[test]
    fn right_answers_become_examples() {
        let items = [item("b"), item("a"), item("c")];
        let mut cut = sample("c", 0, "cut off", true);
        cut.finish_reason = "length".into();
        let mut thought = sample("a", 0, "so 7", true);
        thought.reasoning = "hm".into();
        let samples = [
            sample("b", 0, "it is long", true),
            sample("b", 1, "short", true),
            sample("b", 2, "short ", true),
            sample("b", 3, "wrong", false),
            thought,
            cut,
        ];
        let keep = Keep { per_item: 1, prefer: Prefer::Shortest, max_tokens: None };
        let (examples_, counts) = examples(&items, &samples, keep).unwrap();
        let answers: Vec<&Value> = examples_.iter().map(|e| &e["messages"][2]["content"]).collect();
        assert_eq!(answers, ["short", "so 7"]);
        assert_eq!(examples_[0]["messages"][0], json!({"role": "system", "content": "Be brief."}));
        assert_eq!(examples_[1]["messages"][2]["reasoning_content"], "hm");
        let expected =
            Counts { samples: 6, right: 4, too_long: 0, repeated: 1, items: 3, solved: 2, kept: 2 };
        assert_eq!(counts, expected);
        // They are what `ponder train` reads.
        let row = examples_[1].as_object().unwrap();
        let conversation = crate::data::shapes::conversation(row).unwrap();
        assert_eq!(conversation.messages[2].content, "so 7");

        let keep = Keep { per_item: 5, prefer: Prefer::First, max_tokens: Some(6) };
        let (all, counts) = examples(&items, &samples, keep).unwrap();
        assert_eq!((all.len(), counts.too_long, counts.repeated), (2, 1, 1));
    }

    #[test]
    fn a_file_is_whole_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/x.jsonl");
        write(&path, &[json!({"a": 1}), json!({"a": 2})]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"a\":1}\n{\"a\":2}\n");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let error = write(&path.join("y"), &[]).unwrap_err().to_string();
        assert!(error.contains("x.jsonl"), "{error}");
    }

    #[test]
    fn plain_text_is_refused() {
        let mut text = item("t");
        text.prompt = Prompt::Text("def".into());
        let keep = Keep { per_item: 1, prefer: Prefer::First, max_tokens: None };
        let error = examples(&[text], &[], keep).unwrap_err().to_string();
        assert!(error.contains("item t"), "{error}");
    }
}
