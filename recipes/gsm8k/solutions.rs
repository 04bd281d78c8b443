//! `gsm8k-solutions`: turns GSM8K's worked solutions into examples for `[sft]`, put as the benchmark
//! puts its questions and with the answer where its check looks for it.
//!
//! ```sh
//! gsm8k-solutions < gsm8k_train.jsonl > solutions.jsonl
//! ```
#![forbid(unsafe_code)]

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use serde::Deserialize;
use serde_json::json;

/// A line of GSM8K (arXiv:2110.14168).
#[derive(Deserialize)]
struct Item {
    question: String,
    /// Lines of a solution with `<<sums>>` for a calculator in them, then `#### ` and the answer.
    answer: String,
}

fn main() -> ExitCode {
    let out = io::BufWriter::new(io::stdout().lock());
    recipes::exit("gsm8k-solutions", convert(io::stdin().lock(), out))
}

fn convert(lines: impl BufRead, mut out: impl Write) -> io::Result<()> {
    for (i, line) in lines.lines().enumerate() {
        let wrong = |problem: &str| io::Error::other(format!("line {}: {problem}", i + 1));
        let line = line.map_err(|e| wrong(&e.to_string()))?;
        let item: Item = serde_json::from_str(&line).map_err(|e| wrong(&e.to_string()))?;
        let (solution, answer) = item
            .answer
            .split_once("#### ")
            .ok_or_else(|| wrong("`answer` has no line that begins with `#### `"))?;
        let prompt = format!(
            "{}\n\nPlease reason step by step, and put your final answer within \\boxed{{}}.",
            item.question
        );
        let completion = format!(
            "{}\nThe answer is \\boxed{{{}}}.",
            without_sums(solution).trim_end(),
            answer.trim().replace(',', "")
        );
        let example = json!({ "prompt": prompt, "completion": completion });
        writeln!(out, "{example}")?;
    }
    out.flush()
}

/// The text without its `<<...>>`.
fn without_sums(text: &str) -> String {
    let mut parts = text.split("<<");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |out, part| out + part.split_once(">>").map_or(part, |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solutions_become_examples() {
        let line = r#"{"question": "How many?", "answer": "He has 3*4=<<3*4=12>>12.\nSo 12*100=<<12*100=1200>>1200 it is.\n#### 1,200"}"#;
        let mut out = Vec::new();
        convert(line.as_bytes(), &mut out).unwrap();
        let example: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let solution = "He has 3*4=12.\nSo 12*100=1200 it is.\nThe answer is \\boxed{1200}.";
        assert_eq!(example["completion"], solution);
        assert!(example["prompt"].as_str().unwrap().starts_with("How many?\n\nPlease reason"));
        // The benchmark puts the question in these very words.
        let (benchmark, _) = eval::benchmark::Benchmark::open("gsm8k").unwrap();
        let items = benchmark.items(&[serde_json::from_str(line).unwrap()]).unwrap();
        assert_eq!(example["prompt"], items[0].question);
        let error = convert(r#"{"question": "a", "answer": "b"}"#.as_bytes(), Vec::new());
        assert_eq!(
            error.unwrap_err().to_string(),
            "line 1: `answer` has no line that begins with `#### `"
        );
    }
}
