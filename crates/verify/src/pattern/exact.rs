//! The same text, after a stated normalisation.

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use super::{extract, shown, unreadable};
use crate::{Attempt, CannotTell, Verdict, Verifier};

/// What two texts may differ in and still be the same. They are normalised in the order of the
/// fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Normalise {
    /// Composed and decomposed characters (Unicode's NFC).
    pub unicode: bool,
    /// Capitals.
    pub case: bool,
    /// Punctuation: whatever is no letter, digit, mark or white space is dropped, but for a sign or
    /// a point beside a digit.
    pub punctuation: bool,
    /// The words `a`, `an` and `the`.
    pub articles: bool,
    /// White space: that around the text, and how much of it stands between words.
    pub space: bool,
}

impl Default for Normalise {
    /// Everything but punctuation and articles.
    fn default() -> Self {
        Self { unicode: true, case: true, punctuation: false, articles: false, space: true }
    }
}

impl Normalise {
    /// Nothing may differ.
    pub const NONE: Self =
        Self { unicode: false, case: false, punctuation: false, articles: false, space: false };
    /// Everything may, as in the exact match of question answering.
    pub const ALL: Self =
        Self { unicode: true, case: true, punctuation: true, articles: true, space: true };

    /// `text` without what may differ.
    pub fn apply(self, text: &str) -> String {
        let mut text: String = if self.unicode { text.nfc().collect() } else { text.to_owned() };
        if self.case {
            text = text.to_lowercase();
        }
        if self.punctuation {
            let chars: Vec<char> = text.chars().collect();
            let digit = |i: usize| chars.get(i).is_some_and(|c| c.is_ascii_digit());
            let kept = chars.iter().enumerate().filter(|&(i, &c)| {
                let mark = unicode_normalization::char::is_combining_mark(c);
                let numeric = matches!(c, '-' | '+' | '.') && digit(i + 1);
                c.is_alphanumeric() || c.is_whitespace() || mark || numeric
            });
            text = kept.map(|(_, c)| *c).collect();
        }
        if self.articles {
            let article =
                |word: &str| ["a", "an", "the"].iter().any(|a| word.eq_ignore_ascii_case(a));
            let words = text.split_inclusive(char::is_whitespace);
            text = words.filter(|word| !article(word.trim_end())).collect();
        }
        if self.space {
            text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        }
        text
    }
}

/// One text or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Texts {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Texts {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// Which text is right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The text, or several of which any is right.
    pub gold: Texts,
    /// What may differ.
    #[serde(default)]
    pub normalise: Normalise,
    /// Whether the whole answer must be the text; otherwise the part that is meant may be: in
    /// `\boxed{}`, in `<answer>`, after "the answer is", or the last line.
    #[serde(default)]
    pub whole: bool,
}

/// Judges by a text.
#[derive(Clone, Debug)]
pub struct Exact {
    golds: Vec<String>,
    normalise: Normalise,
    whole: bool,
}

impl Exact {
    /// For this task.
    ///
    /// # Errors
    /// [`CannotTell::Task`] if there is no gold text, or nothing of one is left when normalised.
    pub fn new(task: &Task) -> Result<Self, CannotTell> {
        let golds = task.gold.as_slice().iter().map(|gold| task.normalise.apply(gold));
        let golds: Vec<String> = golds.collect();
        if golds.is_empty() || golds.iter().any(String::is_empty) {
            let why = "no text is left of it when normalised".to_owned();
            return Err(CannotTell::Task { field: "gold", why });
        }
        Ok(Self { golds, normalise: task.normalise, whole: task.whole })
    }
}

impl Verifier for Exact {
    fn verify(&self, attempt: &Attempt<'_>) -> Result<Verdict, CannotTell> {
        if let Some(verdict) = unreadable(attempt.answer) {
            return Ok(verdict);
        }
        let part = if self.whole { None } else { extract::meant(attempt.answer) };
        for said in [Some(attempt.answer), part].into_iter().flatten() {
            if self.golds.contains(&self.normalise.apply(said)) {
                return Ok(Verdict::right(said, "the text is the expected one"));
            }
        }
        let said = part.unwrap_or(attempt.answer);
        let expected = shown(&self.golds[0]);
        Ok(Verdict::wrong(said, format!("{:?} is not {expected:?}", shown(said))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(task: serde_json::Value, answer: &str) -> bool {
        let task: Task = serde_json::from_value(task).unwrap();
        Exact::new(&task).unwrap().verify(&Attempt::of(answer)).unwrap().is_right()
    }

    #[test]
    fn compares_what_is_meant() {
        let task = serde_json::json!({"gold": ["New York", "NYC"]});
        for right in ["new  york", "NYC", "So:\nthe answer is **New York**.", r"\boxed{nyc}"] {
            assert!(judge(task.clone(), right), "{right}");
        }
        for wrong in ["York", "New York City", "", "newyork"] {
            assert!(!judge(task.clone(), wrong), "{wrong}");
        }
    }

    #[test]
    fn normalises_as_stated() {
        assert_eq!(Normalise::ALL.apply("The  Cafe\u{301}, (a) -3.5 dogs!"), "café -3.5 dogs");
        assert_eq!(Normalise::NONE.apply(" A b"), " A b");
        let strict = serde_json::json!({"gold": "Ab", "whole": true, "normalise": {"case": false}});
        assert!(judge(strict.clone(), "Ab"));
        assert!(!judge(strict.clone(), "ab"));
        assert!(!judge(strict, "x\nAb"));
    }

    #[test]
    fn an_empty_gold_is_refused() {
        let task = Task { gold: Texts::One(" ".into()), normalise: Normalise::ALL, whole: false };
        assert!(Exact::new(&task).is_err());
    }
}
