//! Judging samples, and judging them again.

use serde_json::{Value, json};
use verify::check::{Check, Tools};
use verify::instructions::Instructions;
use verify::{Attempt, CannotTell, Verdict};

use crate::measure::Judgement;
use crate::run::Sample;

/// Judges an attempt at a task, which is a [`Check`] as JSON.
pub fn judge(tools: &Tools, task: &Value, attempt: &Attempt<'_>) -> Judgement {
    let judged = || -> Result<Judgement, CannotTell> {
        let check = Check::from_json(task)?;
        if let Check::Ifeval(task) = &check {
            return Ok(instructions(&Instructions::of(task)?, attempt.answer));
        }
        let verdict = check.verifier(tools)?.verify(attempt)?;
        Ok(Judgement { verdict: Some(verdict), ..Judgement::default() })
    };
    judged().unwrap_or_else(|error| Judgement {
        cannot_tell: Some(error.to_string()),
        ..Judgement::default()
    })
}

/// IFEval reports four figures: prompts and instructions, each strict and loose.
fn instructions(instructions: &Instructions, answer: &str) -> Judgement {
    let followed = instructions.check(answer);
    let share = |which: &[bool]| {
        which.iter().filter(|followed| **followed).count() as f64 / which.len().max(1) as f64
    };
    let failed: Vec<&str> = instructions
        .ids()
        .iter()
        .zip(&followed.strict)
        .filter(|(_, followed)| !**followed)
        .map(|(id, _)| &**id)
        .collect();
    let why = match failed.is_empty() {
        true => "all instructions are followed".to_owned(),
        false => format!("not followed: {}", failed.join(", ")),
    };
    let score = if followed.all_strict() { 1.0 } else { 0.0 };
    let count = followed.strict.iter().filter(|followed| **followed).count();
    let found = format!("{count} of {} followed", followed.strict.len());
    let details = json!({
        "prompt_loose": followed.all_loose(),
        "instruction_strict": share(&followed.strict),
        "instruction_loose": share(&followed.loose),
    });
    Judgement {
        verdict: Some(Verdict::new(score, Some(found), why)),
        cannot_tell: None,
        details: details.as_object().cloned().unwrap_or_default(),
    }
}

/// A sample whose verdict is another than it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// The item.
    pub item: String,
    /// Which of its samples.
    pub index: usize,
    /// The score it had, if any.
    pub before: Option<f64>,
    /// The score it has now, if any.
    pub after: Option<f64>,
}

/// Judges all samples again and says what has changed. Items that could not be asked stay as they
/// are.
pub fn rescore(
    tools: &Tools,
    samples: &mut [Sample],
    on_sample: &(dyn Fn() + Sync),
) -> Vec<Changed> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = samples.len().div_ceil(threads).max(1);
    let mut changed = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = samples
            .chunks_mut(share)
            .map(|samples| {
                scope.spawn(move || {
                    let mut changed = Vec::new();
                    for sample in samples.iter_mut().filter(|s| s.finish_reason != "refused") {
                        changed.extend(judge_again(tools, sample));
                        on_sample();
                    }
                    changed
                })
            })
            .collect();
        for worker in workers {
            match worker.join() {
                Ok(some) => changed.extend(some),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    changed
}

fn judge_again(tools: &Tools, sample: &mut Sample) -> Option<Changed> {
    let judgement = judge(tools, &sample.task, &sample.attempt());
    let before = sample.verdict.as_ref().map(|verdict| verdict.score);
    let after = judgement.verdict.as_ref().map(|verdict| verdict.score);
    sample.verdict = judgement.verdict;
    sample.cannot_tell = judgement.cannot_tell;
    sample.details = judgement.details;
    (before != after).then(|| Changed {
        item: sample.item.clone(),
        index: sample.index,
        before,
        after,
    })
}
