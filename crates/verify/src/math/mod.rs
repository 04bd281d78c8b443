//! Mathematics: final answers, and whether two of them are equal.
//!
//! An answer is found in prose ([`extract`]), read from LaTeX or plain text, and compared as a number,
//! formula, set, interval, point, matrix, equation or inequality. Rational numbers are compared exactly;
//! what is irrational or has letters is evaluated to about 31 digits, at random points of either sign.
//! Everything has a limit: texts, depth, digits, and the number of evaluations.
//!
//! Where Hugging Face's Math-Verify and this module differ, `tests/math/pairs.tsv` says why.

mod compare;
mod double;
mod extract;
mod lexer;
mod node;
mod parser;
mod units;
mod value;

use compare::Comparison;
pub use extract::closing_brace;
use node::Node;

use crate::{Attempt, CannotTell, Verdict, Verifier};

/// Longer answers are not read.
const MAX_ANSWER: usize = 2000;

/// An answer that has been read.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    text: String,
    node: Node,
}

impl Answer {
    /// Reads an answer by itself: `\frac{1}{2}`, `x = 5`, `[0, 1)`, `18 dollars`. `None` if it is empty
    /// or longer than 2,000 bytes.
    pub fn parse(text: &str) -> Option<Answer> {
        let text = text.trim().trim_matches('*').trim();
        if text.is_empty() || text.len() > MAX_ANSWER {
            return None;
        }
        let tokens = lexer::tokens(text);
        let node = parser::parse(&tokens).unwrap_or_else(|| Node::Words(words(text)));
        Some(Answer { text: text.to_owned(), node })
    }

    /// The answer as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the two say the same, this one being the one that is known to be right.
    ///
    /// # Errors
    /// [`CannotTell::Limit`] if that takes too many evaluations.
    pub fn same(&self, other: &Answer) -> Result<bool, CannotTell> {
        let comparison = Comparison::default();
        let outcome = comparison.equal(&self.node, &other.node);
        let limit = |_| CannotTell::Limit {
            limit: "20000 evaluations".to_owned(),
            why: "two formulas were compared".to_owned(),
        };
        if outcome.map_err(limit)? {
            return Ok(true);
        }
        // Words around a single number, and `(C) 18` for `C`.
        Ok(match (&self.node, &other.node) {
            (Node::Variable(letter), _) => choice(&other.text).as_deref() == Some(letter),
            (Node::Words(a), _) => *a == words(&other.text),
            (gold, Node::Words(_)) => match only_number(&other.text) {
                Some(number) => comparison.equal(gold, &number.node).map_err(limit)?,
                None => false,
            },
            _ => false,
        })
    }
}

/// A text without what only concerns its looks, in small letters.
fn words(text: &str) -> String {
    let mut words = Vec::new();
    for token in lexer::tokens(text) {
        match token {
            lexer::Token::Number(text)
            | lexer::Token::Letter(text)
            | lexer::Token::Name(text)
            | lexer::Token::Word(text)
            | lexer::Token::Command(text) => words.push(text.to_lowercase()),
            lexer::Token::Sign(c) if !"{}.,;:()".contains(c) => words.push(c.to_string()),
            _ => {}
        }
    }
    words.join(" ")
}

/// The letter of an option, with its text behind it: `(C) 18`, `C. 18`, `C: 18`.
fn choice(text: &str) -> Option<String> {
    let text = text.trim_start_matches(|c: char| "($*{ ".contains(c) || c.is_whitespace());
    let text = text.strip_prefix("\\text{").unwrap_or(text).trim_start_matches('(');
    let mut chars = text.chars();
    let letter = chars.next().filter(|c| ('A'..='J').contains(c))?;
    let closed = matches!(chars.next(), Some(')' | '.' | ':'));
    closed.then(|| letter.to_string())
}

/// The number in a text of words that has just one.
fn only_number(text: &str) -> Option<Answer> {
    let words = lexer::tokens(text).iter().any(|token| matches!(token, lexer::Token::Word(_)));
    if !words {
        return None;
    }
    let numbers = text
        .split(|c: char| !(c.is_ascii_digit() || ".,/".contains(c)))
        .filter(|part| part.bytes().any(|b| b.is_ascii_digit()))
        .count();
    (numbers == 1).then(|| extract(text)).flatten()
}

/// Finds and reads the final answer of a model's text.
pub fn extract(text: &str) -> Option<Answer> {
    let found = extract::extract(text)?;
    let answer = Answer::parse(&found.join(", "))?;
    // The same value in two forms is one answer.
    let last = Answer::parse(found.last()?)?;
    let again =
        |text: &String| Answer::parse(text).is_some_and(|other| last.same(&other).unwrap_or(false));
    Some(if found.len() > 1 && found.iter().all(again) { last } else { answer })
}

/// Whether two answers, each by itself, are equal; the first is the one known to be right.
///
/// # Errors
/// [`CannotTell`] if one can't be read, or comparing takes too many evaluations.
pub fn equivalent(gold: &str, answer: &str) -> Result<bool, CannotTell> {
    let read = |text: &str, field: &'static str| {
        Answer::parse(text).ok_or_else(|| CannotTell::Task { field, why: unreadable(text) })
    };
    read(gold, "gold")?.same(&read(answer, "answer")?)
}

fn unreadable(text: &str) -> String {
    match text.trim().is_empty() {
        true => "it is empty".to_owned(),
        false => format!("it has {} bytes; at most {MAX_ANSWER} are read", text.len()),
    }
}

/// Judges by a right answer.
#[derive(Clone, Debug)]
pub struct Math {
    gold: Answer,
}

impl Math {
    /// For this right answer: by itself, or at the end of a solution as `\boxed{…}` or `#### …`.
    ///
    /// # Errors
    /// [`CannotTell::Task`] if it is empty or too long.
    pub fn new(gold: &str) -> Result<Self, CannotTell> {
        let within = gold.contains("\\boxed") || gold.contains("####");
        let answer = if within { extract(gold) } else { Answer::parse(gold) };
        match answer {
            Some(gold) => Ok(Self { gold }),
            None => Err(CannotTell::Task { field: "gold", why: unreadable(gold) }),
        }
    }

    /// The right answer.
    pub fn gold(&self) -> &Answer {
        &self.gold
    }
}

impl Verifier for Math {
    fn verify(&self, attempt: &Attempt<'_>) -> Result<Verdict, CannotTell> {
        let Some(found) = extract(attempt.answer) else {
            return Ok(Verdict::missing("no final answer was found"));
        };
        let gold = self.gold.text();
        Ok(match self.gold.same(&found)? {
            true => Verdict::right(found.text, format!("equal to {gold}")),
            false => Verdict::wrong(found.text, format!("not equal to {gold}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_say_what_was_found() {
        let math = Math::new("So he has 9 * 2 = 18.\n#### 18").unwrap();
        let verdict = math.verify(&Attempt::of("Thus \\boxed{18\\text{ dollars}}.")).unwrap();
        assert!(verdict.is_right());
        assert_eq!(verdict.extracted.as_deref(), Some("18\\text{ dollars}"));
        let verdict = math.verify(&Attempt::of("I think")).unwrap();
        assert_eq!((verdict.score, verdict.extracted), (0.0, None));
        assert!(Math::new("").is_err());
    }
}
