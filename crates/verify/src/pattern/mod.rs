//! Exact text, regular expressions, choice letters, JSON schemas and function calls.

pub mod calls;
pub mod choice;
pub mod exact;
pub(crate) mod extract;
mod python;
pub mod regular;
pub mod schema;

use crate::Verdict;

/// Longer answers are not read.
pub(crate) const MAX_ANSWER: usize = 1 << 20;

/// The verdict on an answer that is empty or too long to be read.
pub(crate) fn unreadable(answer: &str) -> Option<Verdict> {
    if answer.trim().is_empty() {
        return Some(Verdict::missing("the answer is empty"));
    }
    let too_long = answer.len() > MAX_ANSWER;
    too_long.then(|| Verdict::missing(format!("the answer is longer than {MAX_ANSWER} bytes")))
}

/// A text short enough to be quoted in one sentence.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 120;
    let mut shown: String = text.chars().take(MOST).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
