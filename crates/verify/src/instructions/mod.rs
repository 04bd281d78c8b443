//! Instructions: the checks of IFEval.
//!
//! The twenty-five of Google's `instruction_following_eval`, each strict (the text as it stands)
//! and loose (the text without its first line, its last, both, and without asterisks: one of these
//! must follow). They are written anew and held against verdicts of the published checker
//! (`tests/instructions/`). Where that one draws at random (a language guess, a parameter that is
//! missing), this one doesn't: a missing parameter is an error, and `keywords:letter_frequency`
//! counts any character it is given.

mod check;
mod json;
pub mod language;
pub mod sentences;
pub mod words;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::check::Check;
use crate::{Attempt, CannotTell, Verdict, Verifier};

/// Longer answers follow nothing.
const MAX_ANSWER: usize = 1 << 20;

/// Which instructions a prompt gives, with the field names of the IFEval data set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The instructions' names, such as `punctuation:no_comma`.
    pub instruction_id_list: Vec<String>,
    /// Each instruction's parameters, an object.
    #[serde(default)]
    pub kwargs: Vec<Value>,
    /// The prompt they are given in.
    #[serde(default)]
    pub prompt: String,
}

/// All instructions of one prompt.
#[derive(Clone, Debug)]
pub struct Instructions {
    ids: Vec<String>,
    checks: Vec<Check>,
}

/// Which instructions a response follows, in the task's order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// Each instruction, for the response as it stands.
    pub strict: Vec<bool>,
    /// Each instruction, for the variant of the response that suits it best.
    pub loose: Vec<bool>,
}

impl Followed {
    /// Whether all are followed strictly.
    pub fn all_strict(&self) -> bool {
        self.strict.iter().all(|followed| *followed)
    }

    /// Whether all are followed loosely.
    pub fn all_loose(&self) -> bool {
        self.loose.iter().all(|followed| *followed)
    }
}

/// The four accuracies that IFEval reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// The share of prompts with every instruction followed strictly.
    pub prompt_strict: f64,
    /// The share of prompts with every instruction followed loosely.
    pub prompt_loose: f64,
    /// The share of instructions followed strictly.
    pub instruction_strict: f64,
    /// The share of instructions followed loosely.
    pub instruction_loose: f64,
}

impl Accuracy {
    /// Over the responses to many prompts; zeros over none.
    pub fn of<'a>(all: impl IntoIterator<Item = &'a Followed>) -> Self {
        let (mut prompts, mut instructions) = (0.0, 0.0);
        let mut sums = Self::default();
        let count = |followed: &[bool]| followed.iter().filter(|f| **f).count() as f64;
        for followed in all {
            prompts += 1.0;
            instructions += followed.strict.len() as f64;
            sums.prompt_strict += f64::from(followed.all_strict());
            sums.prompt_loose += f64::from(followed.all_loose());
            sums.instruction_strict += count(&followed.strict);
            sums.instruction_loose += count(&followed.loose);
        }
        let share = |sum: f64, of: f64| if of > 0.0 { sum / of } else { 0.0 };
        Self {
            prompt_strict: share(sums.prompt_strict, prompts),
            prompt_loose: share(sums.prompt_loose, prompts),
            instruction_strict: share(sums.instruction_strict, instructions),
            instruction_loose: share(sums.instruction_loose, instructions),
        }
    }
}

impl Instructions {
    /// The instructions called `ids` with their parameters `kwargs`, given in `prompt`.
    ///
    /// # Errors
    /// [`CannotTell::Task`] if a name is unknown or a parameter missing or of the wrong kind.
    pub fn new(ids: &[String], kwargs: &[Value], prompt: &str) -> Result<Self, CannotTell> {
        if kwargs.len() != ids.len() && !kwargs.is_empty() || ids.is_empty() {
            let why = format!("{} for {} instructions", kwargs.len(), ids.len());
            return Err(CannotTell::Task { field: "kwargs", why });
        }
        let none = Value::Null;
        let args = kwargs.iter().chain(std::iter::repeat(&none));
        let checks = ids.iter().zip(args).map(|(id, args)| Check::new(id, args, prompt));
        Ok(Self { checks: checks.collect::<Result<_, _>>()?, ids: ids.to_vec() })
    }

    /// The instructions of `task`.
    ///
    /// # Errors
    /// As [`Instructions::new`].
    pub fn of(task: &Task) -> Result<Self, CannotTell> {
        Self::new(&task.instruction_id_list, &task.kwargs, &task.prompt)
    }

    /// The instructions' names.
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// Which of them `response` follows.
    pub fn check(&self, response: &str) -> Followed {
        if response.len() > MAX_ANSWER {
            let none = vec![false; self.checks.len()];
            return Followed { strict: none.clone(), loose: none };
        }
        let strict: Vec<bool> = self.checks.iter().map(|check| check.follows(response)).collect();
        let variants = variants(response);
        let loose = self.checks.iter().zip(&strict).map(|(check, followed)| {
            *followed || variants.iter().any(|variant| check.follows(variant))
        });
        Followed { loose: loose.collect(), strict }
    }
}

/// What else a response may be taken for, to be lenient.
fn variants(response: &str) -> Vec<String> {
    let (first, after_first) = response.split_once('\n').unwrap_or((response, ""));
    let before_last = response.rsplit_once('\n').map_or("", |(before, _)| before);
    let between = before_last.get(first.len() + 1..).unwrap_or("");
    let cut = [after_first, before_last, between].map(|text| text.trim_matches(is_space));
    let mut variants: Vec<String> = cut.iter().map(|&text| text.to_owned()).collect();
    variants.extend([response, cut[0], cut[1], cut[2]].map(|text| text.replace('*', "")));
    variants.dedup();
    variants.retain(|variant| variant != response);
    variants
}

impl Verifier for Instructions {
    fn verify(&self, attempt: &Attempt<'_>) -> Result<Verdict, CannotTell> {
        if attempt.answer.trim().is_empty() {
            return Ok(Verdict::missing("the answer is empty"));
        }
        let followed = self.check(attempt.answer);
        if followed.all_strict() {
            let why = format!("all {} instructions are followed", self.ids.len());
            return Ok(Verdict::new(1.0, None, why));
        }
        let missed = self.ids.iter().zip(&followed.strict).filter(|(_, followed)| !**followed);
        let missed: Vec<&str> = missed.map(|(id, _)| id.as_str()).collect();
        Ok(Verdict::new(0.0, None, format!("not followed: {}", missed.join(", "))))
    }
}

/// White space as Python's `str.strip` takes it: Unicode's and the four separators of ASCII.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Whether there are letters with case and all are capitals.
pub(crate) fn is_upper(text: &str) -> bool {
    text.chars().any(char::is_uppercase) && !text.chars().any(|c| c.is_lowercase() || is_title(c))
}

/// Whether there are letters with case and all are small.
pub(crate) fn is_lower(text: &str) -> bool {
    text.chars().any(char::is_lowercase) && !text.chars().any(|c| c.is_uppercase() || is_title(c))
}

/// The few letters that are a capital and a small one in one, such as `ǅ`.
fn is_title(c: char) -> bool {
    matches!(c, 'ǅ' | 'ǈ' | 'ǋ' | 'ǲ' | '\u{1f88}'..='\u{1f8f}' | '\u{1f98}'..='\u{1f9f}'
        | '\u{1fa8}'..='\u{1faf}' | '\u{1fbc}' | '\u{1fcc}' | '\u{1ffc}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(id: &str, kwargs: Value) -> Instructions {
        Instructions::new(&[id.to_owned()], &[kwargs], "").expect("a sound task")
    }

    #[test]
    fn loose_forgives_a_line_and_asterisks() {
        let quotation = one("startend:quotation", json!({}));
        let followed = quotation.check("Sure:\n\"Here it is.\"");
        assert_eq!((followed.strict, followed.loose), (vec![false], vec![true]));
        let followed = quotation.check("**\"Here it is.\"**");
        assert_eq!((followed.strict, followed.loose), (vec![false], vec![true]));
        assert!(!quotation.check("Here").all_loose());
        assert!(!quotation.check(" \n ").all_loose());
    }

    #[test]
    fn bad_tasks_are_named() {
        let new = |id: &str, kwargs: Value| Instructions::new(&[id.to_owned()], &[kwargs], "");
        let error = new("punctuation:no_dots", json!({})).unwrap_err().to_string();
        assert!(error.contains("punctuation:no_dots"), "{error}");
        let error = new("keywords:frequency", json!({"keyword": "a"})).unwrap_err().to_string();
        assert!(error.contains("`frequency`"), "{error}");
        assert!(Instructions::new(&[], &[], "").is_err());
    }

    #[test]
    fn accuracies_are_shares() {
        let all = [
            Followed { strict: vec![true, true], loose: vec![true, true] },
            Followed { strict: vec![false, true], loose: vec![true, true] },
        ];
        let accuracy = Accuracy::of(&all);
        assert_eq!(accuracy.prompt_strict, 0.5);
        assert_eq!(accuracy.prompt_loose, 1.0);
        assert_eq!(accuracy.instruction_strict, 0.75);
        assert_eq!(Accuracy::of([]), Accuracy::default());
    }

    #[test]
    fn tasks_are_read_from_json() {
        let task: Task = serde_json::from_value(json!({
            "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
            "kwargs": [{}, {"relation": "at least", "num_words": 3.0}],
        }))
        .unwrap();
        let verifier = Instructions::of(&task).unwrap();
        assert!(verifier.verify(&Attempt::of("one two three")).unwrap().is_right());
        let verdict = verifier.verify(&Attempt::of("one, two")).unwrap();
        assert_eq!(verdict.score, 0.0);
        assert!(verdict.why.contains("punctuation:no_comma"), "{}", verdict.why);
    }
}
