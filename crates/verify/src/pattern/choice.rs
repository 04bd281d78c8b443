//! Multiple choice: the letter that an answer settles on, or the text of an option.

use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::exact::Normalise;
use super::{extract, shown, unreadable};
use crate::{Attempt, CannotTell, Verdict, Verifier};

/// The options and which of them is right.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// The right option's letter, or its text as in `options`.
    pub gold: String,
    /// The options' texts, in order; may be left out if `count` is given.
    #[serde(default)]
    pub options: Vec<String>,
    /// How many options there are, if their texts are not given.
    #[serde(default)]
    pub count: Option<usize>,
}

/// Judges by the letter of an option.
#[derive(Clone, Debug)]
pub struct Choice {
    gold: char,
    last: char,
    options: Vec<String>,
}

/// What an answer settles on.
#[derive(Debug, PartialEq, Eq)]
enum Settled {
    On(char),
    /// It names several.
    Several,
}

impl Choice {
    /// For this task.
    ///
    /// # Errors
    /// [`CannotTell::Task`] unless there are 2 to 26 options and one is right.
    pub fn new(task: &Task) -> Result<Self, CannotTell> {
        let bad = |field, why: String| CannotTell::Task { field, why };
        let count = task.count.unwrap_or(task.options.len());
        if !(2..=26).contains(&count) || !task.options.is_empty() && task.options.len() != count {
            return Err(bad("options", format!("there must be 2 to 26 of them, not {count}")));
        }
        let options: Vec<String> =
            task.options.iter().map(|option| Normalise::ALL.apply(option)).collect();
        let last = char::from(b'A' + (count - 1) as u8);
        let of_text = || {
            let gold = Normalise::ALL.apply(&task.gold);
            let at = options.iter().position(|option| *option == gold)?;
            Some(char::from(b'A' + at as u8))
        };
        let letter = only_letter(&task.gold, last);
        let gold = letter.or_else(of_text).ok_or_else(|| {
            bad("gold", format!("{:?} is neither a letter up to {last} nor an option", task.gold))
        })?;
        Ok(Self { gold, last, options })
    }

    fn settled(&self, answer: &str) -> Option<Settled> {
        let marked = extract::boxed(answer).or_else(|| extract::tagged(answer, "answer"));
        if let Some(marked) = marked {
            // A mark is final: without a letter in it, nothing else counts.
            return self.in_part(marked);
        }
        if let Some(announced) = self.announced(answer) {
            return Some(announced);
        }
        let whole = self.in_part(answer);
        whole.or_else(|| extract::last_line(answer).and_then(|line| self.in_part(line)))
    }

    /// The last "the answer is (C)" or "I choose C"; without one, the last "option C is right".
    fn announced(&self, answer: &str) -> Option<Settled> {
        const FILLERS: &str = r"(?:[\s*_:=]|\b(?:the|correct|best|right|answer|choice|option|letter|is|would|be|therefore)\b)*";
        static ANNOUNCED: LazyLock<[Regex; 2]> = LazyLock::new(|| {
            ["answer|choose|pick|select", "choice|option"].map(|words| {
                Regex::new(&format!(r"(?i)\b(?:{words})\b{FILLERS}")).expect("a constant")
            })
        });
        ANNOUNCED.iter().find_map(|announced| {
            let ends: Vec<usize> = announced.find_iter(answer).map(|found| found.end()).collect();
            ends.into_iter().rev().find_map(|end| self.at_start(&answer[end..]))
        })
    }

    /// A part of an answer that is a letter, begins with one that is set off, or is an option.
    fn in_part(&self, part: &str) -> Option<Settled> {
        let part = extract::bare(part);
        if let Some(letter) = only_letter(part, self.last) {
            return Some(Settled::On(letter));
        }
        let text = Normalise::ALL.apply(part);
        let same = self.options.iter().position(|option| !option.is_empty() && *option == text);
        if let Some(at) = same {
            return Some(Settled::On(char::from(b'A' + at as u8)));
        }
        self.at_start(part)
    }

    /// The letter that `text` begins with, if it is one of an option rather than a word.
    fn at_start(&self, text: &str) -> Option<Settled> {
        let wrapping =
            |c: char| c.is_whitespace() || matches!(c, '*' | '_' | '$' | '`' | '"' | '\'');
        let inner = text.trim_start_matches(wrapping);
        let inner = inner.strip_prefix("\\text{").unwrap_or(inner).trim_start_matches(wrapping);
        let (open, inner) = match inner.strip_prefix(['(', '[']) {
            Some(rest) => (true, rest),
            None => (false, inner),
        };
        let wrapped = open || inner.len() < text.trim_start().len();
        let inner = inner.trim_start_matches(wrapping);
        let letter = inner.chars().next().filter(char::is_ascii_alphabetic)?;
        let rest = &inner[1..];
        let next = rest.chars().next();
        let upper = letter.is_ascii_uppercase();
        let closed =
            next.is_none_or(|c| matches!(c, ')' | ']' | '.' | ':' | ',' | ';' | '}' | '*'));
        let closed =
            closed || next.is_some_and(|c| matches!(c, '\n' | '$' | '`' | '_' | '"' | '\''));
        // "A" and "I" are words, too, and a small letter is one more often than not.
        let word = matches!(letter, 'A' | 'I') || !upper;
        let spaced = next.is_some_and(char::is_whitespace);
        let reason = ["because", "since", "as ", "for ", "is ", "or ", "and ", "(", "-", "–", "—"];
        let after = rest.trim_start();
        let ends_well = reason.iter().any(|word| after.starts_with(word));
        let taken = closed && (upper || wrapped || next != Some(','))
            || spaced && (!word || wrapped && open || upper && ends_well);
        if !taken {
            return None;
        }
        let letter = letter.to_ascii_uppercase();
        if letter > self.last {
            return None;
        }
        Some(if self.another_follows(rest, letter) {
            Settled::Several
        } else {
            Settled::On(letter)
        })
    }

    /// Whether "or (D)", "and D", "/ D" follow.
    fn another_follows(&self, rest: &str, letter: char) -> bool {
        static ANOTHER: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(r"^[)\]*_.\s]*(?:,|/|&|\bor\b|\band\b)[\s*_]*(?:\bor\b|\band\b)?[\s*_]*[(\[]?([A-Z])(?:[)\]*_.,\s]|$)")
                .expect("a constant")
        });
        let another = ANOTHER.captures(rest).and_then(|found| found[1].chars().next());
        another.is_some_and(|other| other <= self.last && other != letter && other != 'I')
    }

    /// The one option whose text the last line holds.
    fn by_text(&self, answer: &str) -> Option<Settled> {
        let line = extract::announced(answer).or_else(|| extract::last_line(answer))?;
        let line = format!(" {} ", Normalise::ALL.apply(line));
        let holds = |option: &String| !option.is_empty() && line.contains(&format!(" {option} "));
        let mut held: Vec<usize> =
            (0..self.options.len()).filter(|&i| holds(&self.options[i])).collect();
        // "12" within "12 apples" doesn't count beside it.
        let inside = |i: usize, all: &[usize]| {
            let options = &self.options;
            all.iter().any(|&j| {
                j != i && options[j].len() > options[i].len() && options[j].contains(&options[i])
            })
        };
        let all = held.clone();
        held.retain(|&i| !inside(i, &all));
        match held[..] {
            [] => None,
            [at] => Some(Settled::On(char::from(b'A' + at as u8))),
            _ => Some(Settled::Several),
        }
    }
}

/// The letter that all of a text is, in whatever dress: "C", "(c)", "**C**", "C.", "\text{C}".
fn only_letter(text: &str, last: char) -> Option<char> {
    let text = extract::bare(text);
    let text = ["\\text{", "\\textbf{", "\\mathrm{", "\\mathbf{"]
        .iter()
        .find_map(|dress| text.strip_prefix(dress)?.strip_suffix('}'))
        .unwrap_or(text);
    let dress = |c: char| c.is_whitespace() || "()[].:*_`$\"'".contains(c);
    let mut chars = text.trim_matches(dress).chars();
    let letter = chars.next()?.to_ascii_uppercase();
    (chars.next().is_none() && ('A'..=last).contains(&letter)).then_some(letter)
}

impl Verifier for Choice {
    fn verify(&self, attempt: &Attempt<'_>) -> Result<Verdict, CannotTell> {
        if let Some(verdict) = unreadable(attempt.answer) {
            return Ok(verdict);
        }
        let settled = self.settled(attempt.answer).or_else(|| self.by_text(attempt.answer));
        Ok(match settled {
            Some(Settled::On(letter)) if letter == self.gold => {
                Verdict::right(letter, format!("{letter} is the right option"))
            }
            Some(Settled::On(letter)) => {
                Verdict::wrong(letter, format!("{letter} is not {}", self.gold))
            }
            Some(Settled::Several) => Verdict::missing("the answer names several options"),
            None => Verdict::missing(format!(
                "no option from A to {} in {:?}",
                self.last,
                shown(extract::last_line(attempt.answer).unwrap_or_default())
            )),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(answer: &str) -> Option<char> {
        let options = ["red apples", "green pears", "blue plums", "12"].map(String::from).to_vec();
        let task = Task { gold: "C".into(), options, count: None };
        let verdict = Choice::new(&task).unwrap().verify(&Attempt::of(answer)).unwrap();
        assert_eq!(verdict.is_right(), verdict.extracted.as_deref() == Some("C"), "{answer}");
        verdict.extracted.and_then(|letter| letter.chars().next())
    }

    #[test]
    fn finds_the_letter() {
        for answer in [
            "C",
            "c",
            "(C)",
            "**C**",
            "C.",
            "C)",
            "\\boxed{C}",
            "$\\boxed{\\text{C}}$",
            "\\boxed{\\textbf{(C)}}",
            "The answer is (C).",
            "The answer is C",
            "answer: c",
            "The correct answer is **C**.",
            "**Answer:** C",
            "C) because plums are blue",
            "C. blue plums",
            "Long talk about A and B.\n\nC",
            "I weigh (A) and (B).\n**C**",
            "Option A is wrong. The answer is C because of B.",
            "<answer>C</answer>",
            "<answer>\nC) blue plums\n</answer>",
            "Blue plums.",
            "It must be blue plums.",
            "First the answer is A. No, the answer is C.",
            "The best choice is option C.",
            "\\boxed{blue plums}",
            "The final answer is: $\\boxed{C}$",
            "I choose (C).",
            "Therefore, the correct option is: (C) blue plums",
            "The answer is therefore C.",
            "The answer is C. Option A is wrong.",
        ] {
            assert_eq!(letter(answer), Some('C'), "{answer}");
        }
        assert_eq!(letter("A) because"), Some('A'));
        assert_eq!(letter("The answer is A because it is"), Some('A'));
        assert_eq!(letter("12"), Some('D'));
    }

    #[test]
    fn finds_none_where_there_is_none() {
        for answer in [
            "",
            "E",
            "I don't know.",
            "A plum is a fruit",
            "The answer is a fruit.",
            "The answer is (E).",
            "The answer is B or C.",
            "(B) and (C)",
            "\\boxed{E}",
            "red apples or blue plums",
            "I am unsure.",
            "Cats",
            "\\boxed{} C",
        ] {
            assert_eq!(letter(answer), None, "{answer}");
        }
    }

    #[test]
    fn the_gold_may_be_a_text_and_bad_tasks_are_refused() {
        let new = |gold: &str, options: &[&str], count| {
            let options = options.iter().map(|option| option.to_string()).collect();
            Choice::new(&Task { gold: gold.into(), options, count })
        };
        assert_eq!(new("No", &["Yes", "no"], None).unwrap().gold, 'B');
        assert!(new("C", &["Yes", "No"], None).is_err());
        assert!(new("A", &[], None).is_err());
        assert!(new("A", &["one", "two"], Some(3)).is_err());
        assert_eq!(new("d", &[], Some(4)).unwrap().gold, 'D');
    }

    proptest::proptest! {
        #[test]
        fn never_panics(answer in r"([A-Fa-f ().*\n]|the answer is |option|\\boxed\{|\}|é|or){0,30}") {
            letter(&answer);
        }
    }
}
