//! `pretrain-documents`: conversations about sums, for a model that has never seen anything else.
//!
//! The sums are `ponder eval`'s own, of the share that is never measured with; the answers take one operation a
//! line and end with the number in a box.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use serde_json::json;
use verify::tasks::{HARDEST, Kind, Split, Task, stream};

#[derive(Parser)]
#[command(about, max_term_width = 100)]
/// Worked sums as JSON lines with a text each, written as ChatML.
struct Arguments {
    /// Another seed gives other sums; the same seed the same.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many.
    #[arg(long, default_value_t = 50_000)]
    count: usize,
    /// How hard: N has N + 1 operations.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(HARDEST)))]
    difficulty: u32,
}

/// A part of a sum: a number, a sign or a parenthesis.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Number(i64),
    Sign(char),
}

fn parts(sum: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut rest = sum.trim_start();
    while let Some(first) = rest.chars().next() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if digits > 0 {
            parts.push(Part::Number(rest[..digits].parse().ok()?));
            rest = &rest[digits..];
        } else {
            parts.push(Part::Sign(first));
            rest = &rest[first.len_utf8()..];
        }
        rest = rest.trim_start();
    }
    Some(parts)
}

/// Where the operation is that is worked out first: in the first innermost parentheses, products before sums.
fn first_operation(parts: &[Part]) -> Option<usize> {
    let close = parts.iter().position(|part| *part == Part::Sign(')')).unwrap_or(parts.len());
    let open =
        parts[..close].iter().rposition(|part| *part == Part::Sign('(')).map_or(0, |i| i + 1);
    let find = |signs: [char; 2]| {
        let is = |part: &Part| matches!(part, Part::Sign(sign) if signs.contains(sign));
        parts[open..close].iter().position(is).map(|i| open + i)
    };
    find(['*', '*']).or_else(|| find(['+', '-']))
}

/// One operation a line, and the last number.
fn worked(sum: &str) -> Option<(Vec<String>, i64)> {
    let mut parts = parts(sum)?;
    let mut lines = Vec::new();
    while let Some(i) = first_operation(&parts) {
        let [Part::Number(a), Part::Sign(sign), Part::Number(b)] =
            *parts.get(i.checked_sub(1)?..i + 2)?
        else {
            return None;
        };
        let value = match sign {
            '*' => a * b,
            '+' => a + b,
            _ => a - b,
        };
        lines.push(format!("{a} {sign} {b} = {value}"));
        let (mut from, mut to) = (i - 1, i + 2);
        let around = (parts.get(from.wrapping_sub(1)), parts.get(to));
        if around == (Some(&Part::Sign('(')), Some(&Part::Sign(')'))) {
            (from, to) = (from - 1, to + 1);
        }
        parts.splice(from..to, [Part::Number(value)]);
    }
    match parts[..] {
        [Part::Number(value)] => Some((lines, value)),
        _ => None,
    }
}

fn document(task: &Task) -> Option<String> {
    let sum = task.question.strip_prefix("Work out ")?.split_once(". ")?.0;
    let (lines, value) = worked(sum)?;
    let (question, answer) = (&task.question, lines.join("\n"));
    Some(format!(
        "<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}\n\\boxed{{{value}}}<|im_end|>\n"
    ))
}

fn main() -> ExitCode {
    let Arguments { seed, count, difficulty } = Arguments::parse();
    let documents = stream(Kind::Arithmetic, Split::Train, seed, difficulty)
        .filter_map(|task| document(&task))
        .take(count);
    recipes::write_lines("pretrain-documents", documents.map(|text| json!({"text": text})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_true_and_the_last_is_the_answer() {
        for difficulty in 1..=HARDEST {
            for task in stream(Kind::Arithmetic, Split::Train, 3, difficulty).take(300) {
                let text = document(&task).unwrap_or_else(|| panic!("{}", task.question));
                let boxed = format!("\\boxed{{{}}}<|im_end|>\n", task.gold);
                assert!(text.ends_with(&boxed), "{text}");
                assert_eq!(text.matches(" = ").count(), difficulty as usize + 1, "{text}");
            }
        }
        let (lines, value) = worked("2 + 3 * (4 - 9)").unwrap();
        assert_eq!(
            (lines.join("; "), value),
            ("4 - 9 = -5; 3 * -5 = -15; 2 + -15 = -13".into(), -13)
        );
        assert_eq!(worked("2 +"), None);
    }
}
