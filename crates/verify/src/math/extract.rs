//! The final answer in what a model wrote.

use std::collections::HashMap;

/// Longer texts are read from their end on.
const MAX_TEXT: usize = 1 << 18;

/// Phrases that announce the answer, in small letters; the last in a text counts.
const ANNOUNCE: &[&str] = &[
    "final answer is",
    "final answer:",
    "the answer is",
    "answer is",
    "answer:",
    "answers are",
    "answer =",
    "correct option is",
    "答案是",
    "答案为",
    "答案：",
    "答案:",
    "उत्तर है",
    "उत्तर:",
];

/// The text of the final answer, to be read by the parser: what is in the last `\boxed{}`, behind the
/// last `####`, behind an announcement, or else the last formula or number there is. Several boxes with
/// nothing but connecting words between them are several texts.
pub(crate) fn extract(text: &str) -> Option<Vec<String>> {
    let mut start = text.len().saturating_sub(MAX_TEXT);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let text = &text[start..];
    boxed(text).or_else(|| {
        hashes(text)
            .or_else(|| announced(text))
            .or_else(|| last_formula(text))
            .or_else(|| last_number(text))
            .map(|one| vec![one])
    })
}

/// What the last box holds, and those just before it.
fn boxed(text: &str) -> Option<Vec<String>> {
    let mut boxes: Vec<(usize, usize, &str)> = Vec::new();
    // Once for all boxes: an answer may be nothing but their beginnings.
    let braces = braces(text);
    for name in ["\\boxed", "\\fbox"] {
        for (at, _) in text.match_indices(name) {
            let rest = &text[at + name.len()..];
            let trimmed = rest.trim_start();
            let begin = at + name.len() + (rest.len() - trimmed.len());
            if !trimmed.starts_with('{') {
                // `\boxed 5`
                let end =
                    trimmed.find(|c: char| c.is_whitespace() || c == '$').unwrap_or(trimmed.len());
                if end > 0 && trimmed.len() < rest.len() {
                    boxes.push((at, begin + end, &trimmed[..end]));
                }
                continue;
            }
            if let Some(&end) = braces.get(&begin) {
                boxes.push((at, end + 1, &text[begin + 1..end]));
            }
        }
    }
    boxes.sort_by_key(|(at, ..)| *at);
    // A box within a box is part of it.
    let mut outer: Vec<(usize, usize, &str)> = Vec::new();
    for b in boxes {
        if outer.last().is_none_or(|last| b.0 >= last.1) {
            outer.push(b);
        }
    }
    let (mut from, _, last) = *outer.last()?;
    let mut answers = vec![last];
    for (at, end, inner) in outer.iter().rev().skip(1) {
        let between =
            text[*end..from].trim_matches(|c: char| c.is_whitespace() || "$,;".contains(c));
        if !matches!(between, "" | "and" | "or" | "\\text{ and }" | "\\text{ or }" | "\\quad") {
            break;
        }
        answers.push(inner);
        from = *at;
    }
    answers.reverse();
    // The same box twice, as models do, is one answer.
    answers.dedup();
    let answers: Vec<String> = answers.iter().map(|text| text.trim().to_owned()).collect();
    answers.iter().all(|text| !text.is_empty()).then_some(answers)
}

/// Where each brace of a text that is closed is: from the place of the one to that of the other.
fn braces(text: &str) -> HashMap<usize, usize> {
    let (mut open, mut closed) = (Vec::new(), HashMap::new());
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            '{' if !escaped => open.push(at),
            '}' if !escaped => {
                closed.extend(open.pop().map(|from| (from, at)));
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    closed
}

/// Where the brace that a text begins with is closed.
pub fn closing_brace(text: &str) -> Option<usize> {
    braces(text).remove(&0)
}

fn hashes(text: &str) -> Option<String> {
    let (_, after) = text.rsplit_once("####")?;
    let line = after.trim_start().lines().next()?;
    let line = plain(line);
    (!line.is_empty()).then_some(line)
}

fn announced(text: &str) -> Option<String> {
    // Small letters must not move the places.
    let small = text.to_ascii_lowercase();
    let at = ANNOUNCE
        .iter()
        .filter_map(|phrase| small.rfind(phrase).map(|at| at + phrase.len()))
        .max()?;
    let after = text[at..].trim_start_matches(|c: char| c.is_whitespace() || ":*".contains(c));
    if let Some(formula) = first_formula(after.split("\n\n").next()?) {
        return Some(formula);
    }
    let line = after.lines().next()?;
    let line = plain(sentence(line));
    (!line.is_empty()).then_some(line)
}

/// A line up to the point that ends its first sentence.
fn sentence(line: &str) -> &str {
    let bytes = line.as_bytes();
    for (at, _) in line.match_indices('.') {
        let after = bytes.get(at + 1);
        if after.is_none_or(|b| b.is_ascii_whitespace() || *b == b'*') {
            return &line[..at];
        }
    }
    line
}

/// Without the marks that only concern the looks.
fn plain(line: &str) -> String {
    line.trim()
        .trim_matches(|c: char| "*_`\"".contains(c) || c.is_whitespace())
        .trim_end_matches(['.', ',', ';', ':'])
        .trim()
        .to_owned()
}

/// Pairs of signs that stand around formulas.
const AROUND: &[(&str, &str)] = &[("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$")];

/// The formula that a text begins with, after a few words.
fn first_formula(text: &str) -> Option<String> {
    let (at, open, close) = AROUND
        .iter()
        .filter_map(|(open, close)| text.find(open).map(|at| (at, *open, *close)))
        .min_by_key(|(at, open, _)| (*at, usize::MAX - open.len()))?;
    // A dollar before a number may be money.
    let inner = &text[at + open.len()..];
    let end = inner.find(close)?;
    let formula = inner[..end].trim();
    let far = text[..at].chars().filter(|c| c.is_ascii_digit()).count() > 0;
    (!formula.is_empty() && !far && !formula.contains("\n\n")).then(|| formula.to_owned())
}

/// The last formula of the last line that has one, what stands behind its last `=`.
fn last_formula(text: &str) -> Option<String> {
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    let (at, open, close) = AROUND
        .iter()
        .filter_map(|(open, close)| {
            let end = line.rfind(close)?;
            let begin = line[..end].rfind(open)?;
            Some((begin, *open, end))
        })
        .max_by_key(|(begin, open, _)| (*begin, open.len()))?;
    let formula = line[at + open.len()..close].trim();
    (!formula.is_empty()).then(|| formula.to_owned())
}

/// The last number in the text, with a sign, a point, a stroke or a percent sign.
fn last_number(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let last = bytes.iter().rposition(u8::is_ascii_digit)?;
    let part = |at: usize| {
        let b = bytes[at];
        let between_digits = || {
            at > 0
                && bytes[at - 1].is_ascii_digit()
                && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
        };
        b.is_ascii_digit()
            || (b == b'.' && bytes.get(at + 1).is_some_and(u8::is_ascii_digit))
            || (matches!(b, b',' | b'/') && between_digits())
    };
    let mut begin = last;
    while begin > 0 && part(begin - 1) {
        begin -= 1;
    }
    if begin > 0 && bytes[begin - 1] == b'-' {
        let before = begin.checked_sub(2).map(|at| bytes[at]);
        // A minus, not a hyphen or a difference.
        if before.is_none_or(|b| b.is_ascii_whitespace() || b"=($:".contains(&b)) {
            begin -= 1;
        }
    }
    let percent = text[last + 1..].trim_start_matches('\\').starts_with('%');
    Some(format!("{}{}", &text[begin..=last], if percent { "%" } else { "" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_found() {
        for (text, found) in [
            ("so \\boxed{\\frac{1}{2}} is it", "\\frac{1}{2}"),
            ("\\boxed{1}, then \\boxed{2}", "2"),
            ("$\\boxed{1}$ and $\\boxed{2}$", "1, 2"),
            ("\\boxed{5} ... \\boxed{5}", "5"),
            ("\\boxed{1} and \\boxed{2", "1"),
            ("thus $\\fbox{3}$", "3"),
            ("\\boxed 7 .", "7"),
            ("He has 3.\n#### 1,080", "1,080"),
            ("The answer is 42.", "42"),
            ("**The final answer is: 3.5 dollars.** Good.", "3.5 dollars"),
            ("The answer is $x = 4$, since 5 > 4.", "x = 4"),
            ("Answer: \\(\\frac{3}{4}\\)", "\\frac{3}{4}"),
            ("We get\n\n$a + b = 7$.", "a + b = 7"),
            ("There are 12 boys and 1,234.5 girls", "1,234.5"),
            ("it is -5", "-5"),
            ("from 3-5", "5"),
            ("about 40% of them", "40%"),
            ("x is 3/4 of it", "3/4"),
        ] {
            assert_eq!(extract(text).map(|all| all.join(", ")).as_deref(), Some(found), "{text}");
        }
        assert_eq!(extract("I do not know"), None);
        assert_eq!(extract(""), None);
    }
}
