//! What is seen of thoughts while they are had, and their account afterwards.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use reason::{Event, Receipt};

/// Thoughts that have a line of their own at a time.
const LINES: usize = 8;
/// Letters of a thought that are seen.
const SEEN: usize = 72;

/// Who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// Nobody.
    Nobody,
    /// Somebody who wants to know that it goes on.
    OneLine,
    /// Somebody who wants to see the thoughts.
    People,
}

/// The lines on the screen.
pub struct Show {
    who: For,
    lines: MultiProgress,
    /// The line at the bottom, about all of it.
    all: ProgressBar,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    thoughts: HashMap<usize, (ProgressBar, String)>,
    over: usize,
    pieces: usize,
    vote: String,
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// The last letters of a text, on one line.
fn tail(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    let skip = line.chars().count().saturating_sub(SEEN);
    line.chars().skip(skip).collect()
}

impl Show {
    /// Nothing has happened yet.
    pub fn new(who: &For, strategy: &str) -> Show {
        let lines = MultiProgress::new();
        let all = match who {
            For::Nobody => ProgressBar::hidden(),
            _ => lines.add(ProgressBar::new_spinner()),
        };
        all.set_style(style("{spinner} {msg}"));
        all.set_message(format!("{strategy} …"));
        if *who != For::Nobody {
            all.enable_steady_tick(Duration::from_millis(120));
        }
        Show { who: *who, lines, all, state: Mutex::default() }
    }

    /// Something has happened.
    pub fn event(&self, event: Event) {
        if self.who == For::Nobody {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Begun { thought, about } => {
                if self.who == For::People && state.thoughts.len() < LINES {
                    let line = self.lines.insert_before(&self.all, ProgressBar::new_spinner());
                    line.set_style(style("{prefix:>3} {msg:.dim}"));
                    line.set_prefix((thought + 1).to_string());
                    line.set_message(about);
                    state.thoughts.insert(thought, (line, String::new()));
                }
            }
            Event::Text { thought, text } => {
                state.pieces += 1;
                if let Some((line, so_far)) = state.thoughts.get_mut(&thought) {
                    so_far.push_str(&text);
                    line.set_message(tail(so_far));
                }
            }
            Event::Rewound { thought, text } => {
                if let Some((line, so_far)) = state.thoughts.get_mut(&thought) {
                    *so_far = text;
                    line.set_message(tail(so_far));
                }
            }
            Event::Over { thought, .. } => {
                state.over += 1;
                if let Some((line, _)) = state.thoughts.remove(&thought) {
                    line.finish_and_clear();
                }
            }
            Event::Vote { clusters, .. } => {
                let leading = clusters.iter().take(3);
                state.vote = leading.fold(String::new(), |mut line, cluster| {
                    let _ = write!(line, "  {} ×{}", cluster.answer, cluster.thoughts.len());
                    line
                });
            }
            Event::Step { thought, step } => {
                let line = format!("{:>3} {}", thought + 1, step.note);
                let _ = self.lines.println(line);
            }
            Event::Note(note) => drop(self.lines.println(note)),
        }
        self.all.set_message(format!(
            "{} thoughts over, {} tokens{}",
            state.over, state.pieces, state.vote
        ));
    }

    /// Takes the lines away.
    pub fn finish(&self) {
        self.all.finish_and_clear();
        let _ = self.lines.clear();
    }
}

/// A receipt for people: what was chosen and why, the vote, the cost.
pub fn account(receipt: &Receipt) -> String {
    let mut out = String::from("\n");
    let answer = receipt.answer.as_deref().unwrap_or("none");
    let sure = receipt.confidence.map_or(String::new(), |c| format!(", {:.0} %", 100.0 * c));
    let _ = writeln!(out, "answer      {answer}  ({}{sure})", receipt.why);
    for cluster in receipt.vote.iter().take(6) {
        let bar = "█".repeat(cluster.thoughts.len().min(40));
        let _ = writeln!(out, "            {bar} {} {}", cluster.thoughts.len(), cluster.answer);
    }
    if receipt.vote.len() > 6 {
        let _ = writeln!(out, "            and {} more answers", receipt.vote.len() - 6);
    }
    let steps = receipt.thoughts.iter().flat_map(|t| t.steps.iter().map(move |s| (t.number, s)));
    for (number, step) in steps {
        let _ = writeln!(out, "thought {:<3} at token {}: {}", number + 1, step.at, step.note);
    }
    let usage = &receipt.usage;
    let _ = writeln!(
        out,
        "cost        {} thoughts, {} tokens drawn: {} thinking, {} answering, {} discarded",
        usage.thoughts,
        usage.drawn_tokens,
        usage.reasoning_tokens,
        usage.answer_tokens,
        usage.discarded_tokens
    );
    let passes = usage.forward_passes.map_or(String::new(), |n| format!(", {n} forward passes"));
    let flops = usage.flops.map_or(String::new(), |n| format!(", {:.2} TFLOP", n / 1e12));
    let _ = writeln!(out, "            {:.1} s{passes}{flops}", usage.seconds);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_thought_is_seen() {
        assert_eq!(tail("a\n\nb  c"), "a b c");
        assert_eq!(tail(&"x".repeat(200)).len(), SEEN);
    }

    #[test]
    fn a_receipt_says_what_it_cost() {
        let mut receipt =
            Receipt { strategy: "vote", why: "3 of 5 votes".into(), ..Receipt::default() };
        receipt.answer = Some("18".into());
        receipt.confidence = Some(0.6);
        receipt.usage.drawn_tokens = 1234;
        let text = account(&receipt);
        assert!(
            text.contains("18  (3 of 5 votes, 60 %)") && text.contains("1234 tokens"),
            "{text}"
        );
    }
}
