//! Input, the output that is expected for it, and whether that is what came.

use serde::{Deserialize, Serialize};

/// What a program reads from stdin, and what it has to write to stdout.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// All of stdin.
    pub input: String,
    /// All of stdout. White space at the ends of lines and of the whole doesn't count.
    pub output: String,
}

/// How the output differs from what was expected; `None` if it doesn't.
pub(super) fn difference(output: &str, expected: &str, tolerance: Option<f64>) -> Option<String> {
    let lines = |text: &str| -> Vec<String> {
        text.trim().lines().map(|line| line.trim().to_owned()).collect()
    };
    let (got, wanted) = (lines(output), lines(expected));
    for (index, wanted) in wanted.iter().enumerate() {
        let Some(got) = got.get(index) else {
            let line = index + 1;
            return Some(if got.is_empty() {
                format!("wrote nothing, not {}", excerpt(wanted))
            } else {
                format!("wrote {} lines; line {line} should be {}", got.len(), excerpt(wanted))
            });
        };
        if !same(got, wanted, tolerance) {
            let (got, wanted) = (excerpt(got), excerpt(wanted));
            return Some(format!("line {} is {got}, not {wanted}", index + 1));
        }
    }
    let extra = got.get(wanted.len())?;
    Some(format!("wrote {} lines, not {}; the next is {}", got.len(), wanted.len(), excerpt(extra)))
}

fn same(got: &str, wanted: &str, tolerance: Option<f64>) -> bool {
    let Some(most) = tolerance else { return got == wanted };
    let (got, wanted): (Vec<_>, Vec<_>) =
        (got.split_whitespace().collect(), wanted.split_whitespace().collect());
    got.len() == wanted.len() && got.iter().zip(&wanted).all(|(g, w)| g == w || close(g, w, most))
}

fn close(got: &str, wanted: &str, most: f64) -> bool {
    let (Ok(got), Ok(wanted)) = (got.parse::<f64>(), wanted.parse::<f64>()) else { return false };
    (got - wanted).abs() <= most * wanted.abs().max(1.0)
}

/// The beginning of a text, in one line and quoted.
pub(super) fn excerpt(text: &str) -> String {
    const MOST: usize = 120;
    let text = text.trim();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_and_nearness_are_forgiven() {
        assert_eq!(difference("1 \n2\n\n", "1\n2", None), None);
        assert_eq!(difference("0.3333", "0.33333", Some(1e-3)), None);
        assert_eq!(difference("1000001 x", "1000000  x", Some(1e-5)), None);
        assert!(difference("1000001", "1000000", None).is_some());
        assert!(difference("nan", "1", Some(1.0)).is_some());
        assert_eq!(difference("", "", None), None);
        assert_eq!(
            difference("1\n2", "1", None).unwrap(),
            "wrote 2 lines, not 1; the next is \"2\""
        );
        assert_eq!(difference("1", "1\n2", None).unwrap(), "wrote 1 lines; line 2 should be \"2\"");
        assert_eq!(difference("", "7", None).unwrap(), "wrote nothing, not \"7\"");
        assert_eq!(difference("6", "7", None).unwrap(), "line 1 is \"6\", not \"7\"");
        assert_eq!(excerpt(&"é".repeat(500)).chars().count(), 125);
    }
}
