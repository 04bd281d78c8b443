//! What is to be said of one sample.

use serde::Serialize;

use super::repetition::repetition;
use crate::run::Sample;

/// What a sample is, besides its text. None excludes another, save right and what is no verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mark {
    /// Full credit.
    pub right: bool,
    /// The credit; 0 if the verifier could not tell.
    pub score: f64,
    /// Cut off by a limit of tokens (`length`) or of time (`deadline`).
    pub truncated: bool,
    /// A format failure: the verifier found nothing to judge. Never if it could not tell.
    pub no_answer: bool,
    /// The verifier could not tell.
    pub cannot_tell: bool,
    /// The thinking or the answer ends in a loop ([`super::repetition()`]).
    pub repeats: bool,
    /// The share of its letters outside the question's scripts ([`super::foreign_share`]).
    pub foreign: f64,
    /// Whether that is a mix of languages ([`super::is_mixed`]).
    pub mixed: bool,
}

impl Mark {
    /// Looks at a sample, in time linear in its text.
    pub fn of(sample: &Sample) -> Self {
        let verdict = sample.verdict.as_ref();
        let (thought, answered) = (
            reason::watch::foreign_share(&sample.question, &sample.reasoning),
            reason::watch::foreign_share(&sample.question, &sample.answer),
        );
        let (foreign, letters) = (thought.0 + answered.0, thought.1 + answered.1);
        Self {
            right: verdict.is_some_and(|v| v.is_right()),
            score: verdict.map_or(0.0, |v| v.score),
            truncated: matches!(sample.finish_reason.as_str(), "length" | "deadline"),
            no_answer: verdict.is_some_and(|v| v.extracted.is_none() && !v.is_right()),
            cannot_tell: verdict.is_none(),
            repeats: [&sample.reasoning, &sample.answer].iter().any(|t| repetition(t).is_some()),
            foreign: if letters > 0 { foreign as f64 / letters as f64 } else { 0.0 },
            mixed: reason::watch::is_mixed(foreign, letters),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use verify::Verdict;

    /// A short sample that is right or wrong.
    pub(crate) fn sample(item: &str, index: usize, right: bool) -> Sample {
        Sample {
            item: item.to_owned(),
            index,
            seed: 0,
            question: "How many apples?".to_owned(),
            task: serde_json::json!({"kind": "math", "answer": "7"}),
            reasoning: "Three and four.".to_owned(),
            answer: if right { "7" } else { "8" }.to_owned(),
            finish_reason: "stop".to_owned(),
            prompt_tokens: 20,
            completion_tokens: 100,
            reasoning_tokens: 80,
            seconds: 2.0,
            verdict: Some(if right {
                Verdict::right("7", "equal")
            } else {
                Verdict::wrong("8", "not equal")
            }),
            cannot_tell: None,
            group: None,
            details: serde_json::Map::new(),
            receipt: None,
        }
    }

    #[test]
    fn marks() {
        let right = Mark::of(&sample("a", 0, true));
        assert!(right.right && !right.no_answer && !right.cannot_tell && !right.truncated);

        let mut cut = sample("a", 0, false);
        cut.finish_reason = "deadline".to_owned();
        cut.verdict = Some(Verdict::missing("no answer"));
        cut.reasoning = "Hmm, wait. ".repeat(40);
        let cut = Mark::of(&cut);
        assert!(cut.truncated && cut.no_answer && cut.repeats && !cut.right);

        let mut unclear = sample("a", 0, true);
        unclear.verdict = None;
        unclear.answer = "七个苹果".to_owned();
        let unclear = Mark::of(&unclear);
        assert!(unclear.cannot_tell && !unclear.no_answer && !unclear.right && unclear.mixed);
    }
}
