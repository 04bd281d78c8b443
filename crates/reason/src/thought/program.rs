//! Programs that a model writes while it thinks: run at once, their output written behind them
//! (Gao et al. 2022, PAL; Gou et al. 2023, ToRA).

use std::time::Duration;

use verify::program::{Language, Limits, Status};

use crate::Error;
use crate::mind::Mind;

/// Most bytes of a program's output that are shown to the model.
const SHOWN: usize = 1200;
/// How long a program may take.
const SECONDS: f64 = 10.0;

/// A program's source in the first whole block of Python of a text, and where the block ends.
pub(crate) fn block(text: &str) -> Option<(&str, usize)> {
    let mut at = 0;
    let mut begins = None;
    for line in text.split_inclusive('\n') {
        let fence = line.trim();
        match begins {
            None if matches!(fence, "```python" | "```py" | "```Python" | "```python3") => {
                // A block has begun only once its first line is whole.
                begins = line.ends_with('\n').then_some(at + line.len());
            }
            Some(begin) if fence == "```" => {
                let end = at + line.trim_end().len();
                return Some((&text[begin..at], end));
            }
            _ => {}
        }
        at += line.len();
    }
    None
}

/// What came of a program.
pub(crate) struct Ran {
    /// What the model is shown.
    pub(crate) shown: String,
    /// For people.
    pub(crate) note: String,
}

/// Runs a program.
///
/// # Errors
/// [`Error::Setting`] if there is no sandbox, or it can't keep its promise here. Whatever the program
/// does is no error.
pub(crate) fn run(mind: &Mind<'_>, source: &str) -> Result<Ran, Error> {
    let Some(sandbox) = mind.sandbox else {
        return Err(Error::Setting("programs can't be run: there is no sandbox".to_owned()));
    };
    let left = mind.deadline.map(|at| at.saturating_duration_since(std::time::Instant::now()));
    let seconds = left.unwrap_or(Duration::MAX).as_secs_f64().clamp(0.5, SECONDS);
    let outcome = sandbox
        .run(Language::Python, source, "", &Limits::seconds(seconds))
        .map_err(|error| Error::Setting(format!("a program can't be run: {error}")))?;
    let mut shown = outcome.stdout.trim_end().to_owned();
    if outcome.status != Status::Exited(0) {
        // The last line says what went wrong; what is above it is about our sandbox.
        let last = outcome.stderr.trim_end().lines().last().unwrap_or_default();
        let problem = if last.is_empty() { outcome.status.to_string() } else { last.to_owned() };
        shown = format!("{shown}\n{problem}").trim().to_owned();
    }
    if shown.len() > SHOWN {
        let mut end = SHOWN;
        while !shown.is_char_boundary(end) {
            end -= 1;
        }
        shown.truncate(end);
        shown.push_str("\n… (cut)");
    }
    // A fence in the output would end the block.
    let shown = shown.replace("```", "'''");
    let note = format!("a program {} in {:.2} s", outcome.status, outcome.seconds);
    Ok(Ran { shown, note })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_blocks_are_found() {
        let text = "First:\n```python\nprint(1)\n```\nand";
        let (source, end) = block(text).unwrap();
        assert_eq!((source, &text[end..]), ("print(1)\n", "\nand"));
        assert!(block("```python\nprint(1)\n").is_none());
        assert!(block("```python\nprint(1)\n``").is_none());
        assert!(block("```output\n1\n```\n").is_none());
        assert_eq!(block("```python\nx\n```").unwrap().1, 15);
    }
}
