//! Items and samples as the page's script reads them.

use serde::Serialize;
use serde_json::{Map, Value};

use super::figures::short;
use crate::run::Sample;
use crate::stats::{Item, Mark};

/// What the list shows of an item: small, since the page reads all of these at once.
#[derive(Serialize)]
pub(super) struct Row<'a> {
    id: &'a str,
    question: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    /// The marks of each run's samples, as bits.
    marks: Vec<Vec<u8>>,
    tokens: usize,
}

/// What is read when an item is opened.
#[derive(Serialize)]
pub(super) struct Opened<'a> {
    question: &'a str,
    task: &'a Value,
    runs: Vec<Vec<Shown<'a>>>,
}

#[derive(Serialize)]
struct Shown<'a> {
    index: usize,
    seed: u64,
    reasoning: &'a str,
    answer: &'a str,
    finish: &'a str,
    tokens: usize,
    thinking: usize,
    prompt: usize,
    seconds: f64,
    score: Option<f64>,
    extracted: Option<&'a str>,
    why: Option<&'a str>,
    details: &'a Map<String, Value>,
}

const QUESTION: usize = 140;

/// An item in one run or in several.
pub(super) fn row<'a>(runs: &[(&'a Item<'a>, &[Mark])]) -> Row<'a> {
    let item = runs[0].0;
    let first = item.samples[0];
    let all = || runs.iter().flat_map(|(i, _)| &i.samples);
    Row {
        id: item.id,
        // Cut before white space is sought, which may be of any length.
        question: short(&first.question, 4 * QUESTION)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .take(QUESTION)
            .collect(),
        group: first.group.as_deref(),
        marks: runs.iter().map(|(_, marks)| marks.iter().map(bits).collect()).collect(),
        tokens: all().map(|s| s.completion_tokens).sum::<usize>() / all().count(),
    }
}

/// The same in full.
pub(super) fn opened<'a>(runs: &[(&'a Item<'a>, &[Mark])]) -> Opened<'a> {
    let first = runs[0].0.samples[0];
    Opened {
        question: &first.question,
        task: &first.task,
        runs: runs.iter().map(|(i, _)| i.samples.iter().map(|s| shown(s)).collect()).collect(),
    }
}

fn shown(sample: &Sample) -> Shown<'_> {
    let verdict = sample.verdict.as_ref();
    Shown {
        index: sample.index,
        seed: sample.seed,
        reasoning: &sample.reasoning,
        answer: &sample.answer,
        finish: &sample.finish_reason,
        tokens: sample.completion_tokens,
        thinking: sample.reasoning_tokens,
        prompt: sample.prompt_tokens,
        seconds: sample.seconds,
        score: verdict.map(|v| v.score),
        extracted: verdict.and_then(|v| v.extracted.as_deref()),
        why: verdict.map(|v| v.why.as_str()).or(sample.cannot_tell.as_deref()),
        details: &sample.details,
    }
}

/// The same numbers stand in `page.js`.
fn bits(mark: &Mark) -> u8 {
    let wrong = !mark.right && !mark.cannot_tell;
    [mark.right, wrong, mark.truncated, mark.no_answer, mark.cannot_tell, mark.repeats, mark.mixed]
        .into_iter()
        .enumerate()
        .fold(0, |bits, (i, is)| bits | u8::from(is) << i)
}
