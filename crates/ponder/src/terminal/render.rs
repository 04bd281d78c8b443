//! A stream of deltas shown as it comes: thinking dimmed and folded away, the answer below.

use std::io::{self, Write};
use std::time::Duration;

use engine::Delta;

use super::live::{Live, Tail};
use super::markdown::Markdown;
use super::{Look, Size, Thinking};

/// Reading the prompt is only mentioned when it takes longer than this.
const PATIENCE: Duration = Duration::from_millis(300);

/// Shows one answer.
///
/// On a terminal the thinking appears in a window of a third of the screen that holds its last
/// rows, and becomes a single line when the answer starts. Elsewhere only the answer is written,
/// as the model wrote it.
pub struct Renderer<W> {
    out: W,
    look: Look,
    size: Size,
    part: Part,
    live: Live,
    tail: Tail,
    markdown: Markdown,
    /// When the thinking began.
    thinking_since: Option<Duration>,
    /// Something other than white space was thought.
    spoken: bool,
    /// How many tokens the thinking took, once that is known.
    thought: usize,
    /// The cursor is at the start of a line.
    fresh_line: bool,
}

/// What was written last.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Nothing,
    Thinking,
    Answer,
}

impl<W: Write> Renderer<W> {
    /// Nothing shown yet, the cursor at the start of a line.
    pub fn new(out: W, look: Look, size: Size) -> Self {
        Self {
            out,
            look,
            size,
            part: Part::Nothing,
            live: Live::default(),
            tail: Tail::new(),
            markdown: Markdown::new(),
            thinking_since: None,
            spoken: false,
            thought: 0,
            fresh_line: true,
        }
    }

    /// What was written to.
    #[cfg(test)]
    pub fn output(&self) -> &W {
        &self.out
    }

    /// The terminal has this size now.
    pub fn resize(&mut self, size: Size) {
        self.size = size;
    }

    /// Shows the next delta, which came `at` this time after the request was made.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn show(&mut self, delta: &Delta, at: Duration) -> io::Result<()> {
        match delta {
            Delta::Prefill { done, total } => self.prefill(*done, *total, at)?,
            Delta::Reasoning(text) => self.thinking(text, at)?,
            Delta::Thought { tokens } => self.thought = *tokens,
            Delta::Content(text) => self.answer(text, at)?,
            // Shown when it is whole.
            Delta::ToolCallText(_) => {}
            Delta::ToolCall(call) => self.tool_call(call, at)?,
            Delta::ContentWasReasoning => self.was_thinking(at)?,
        }
        self.out.flush()
    }

    /// Everything has come: folds thinking that was never followed by an answer and ends the
    /// last line. `thinking_tokens` is how many the whole of it took.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn finish(&mut self, thinking_tokens: usize, at: Duration) -> io::Result<()> {
        self.thought = thinking_tokens;
        self.end_thinking(at)?;
        self.live.erase(&mut self.out, self.size)?;
        self.end_markdown()?;
        if !self.fresh_line {
            self.write("\n")?;
        }
        self.out.flush()
    }

    fn prefill(&mut self, done: usize, total: usize, at: Duration) -> io::Result<()> {
        if !self.look.terminal || at < PATIENCE {
            return Ok(());
        }
        let row = format!("reading the prompt: {done} of {total} tokens");
        self.draw(vec![row])
    }

    fn thinking(&mut self, text: &str, at: Duration) -> io::Result<()> {
        self.thinking_since.get_or_insert(at);
        self.spoken |= !text.trim().is_empty();
        if !self.spoken {
            // Some templates have the model skip its thinking with blank space.
            return Ok(());
        }
        let first = self.part != Part::Thinking;
        self.part = Part::Thinking;
        match (self.look.terminal, self.look.thinking) {
            (false, Thinking::Show) => {
                if first {
                    self.write("<think>\n")?;
                }
                self.write(text)
            }
            (false, _) => Ok(()),
            (true, Thinking::Show) => {
                self.live.erase(&mut self.out, self.size)?;
                let text = printable(if first { text.trim_start() } else { text });
                self.write_dim(&text)
            }
            (true, Thinking::Fold) => {
                // One column stays free: a full row leaves some terminals' cursor in limbo.
                let (columns, rows) = (self.size.columns.saturating_sub(1), self.size.rows / 3);
                self.tail.push(&printable(text), columns, rows);
                let rows = self.tail.rows();
                self.draw(rows)
            }
            (true, Thinking::Hide) => {
                let time = at.saturating_sub(self.thinking_since.unwrap_or(at));
                self.draw(vec![format!("thinking, {}", seconds(time))])
            }
        }
    }

    /// Closes the thinking, if any is open: on a terminal it becomes one line.
    fn end_thinking(&mut self, at: Duration) -> io::Result<()> {
        let (Part::Thinking, Some(since)) = (self.part, self.thinking_since.take()) else {
            return Ok(());
        };
        self.spoken = false;
        let time = seconds(at.saturating_sub(since));
        let summary = format!("thought for {}, {time}", tokens(self.thought));
        match (self.look.terminal, self.look.thinking) {
            (false, Thinking::Show) => {
                let end = if self.fresh_line { "</think>\n\n" } else { "\n</think>\n\n" };
                return self.write(end);
            }
            (false, _) => return Ok(()),
            (true, Thinking::Show) if !self.fresh_line => self.write("\n")?,
            (true, _) => self.live.erase(&mut self.out, self.size)?,
        }
        self.write_dim(&summary)?;
        self.write("\n")
    }

    fn answer(&mut self, text: &str, at: Duration) -> io::Result<()> {
        let mut text = text;
        if self.part != Part::Answer {
            if self.look.terminal {
                // Models begin their answer with blank lines of their own.
                text = text.trim_start_matches(['\n', '\r']);
                if text.is_empty() {
                    return Ok(());
                }
            }
            let thought = self.part == Part::Thinking;
            self.end_thinking(at)?;
            self.live.erase(&mut self.out, self.size)?;
            if thought && self.look.terminal {
                self.write("\n")?;
            }
            self.part = Part::Answer;
        }
        if !self.look.terminal {
            return self.write(text);
        }
        let text = printable(text);
        if !self.look.styled() {
            return self.write(&text);
        }
        let mut styled = String::new();
        self.markdown.push(&text, &mut styled);
        self.write(&styled)
    }

    /// The model thought without saying so. What is written cannot be taken back, so it is said
    /// what it was.
    fn was_thinking(&mut self, at: Duration) -> io::Result<()> {
        if self.part != Part::Answer || !self.look.terminal {
            return Ok(());
        }
        self.end_markdown()?;
        if !self.fresh_line {
            self.write("\n")?;
        }
        self.write_dim(&format!("(these were thoughts, {})", seconds(at)))?;
        self.write("\n\n")?;
        self.part = Part::Nothing;
        Ok(())
    }

    fn end_markdown(&mut self) -> io::Result<()> {
        let mut rest = String::new();
        std::mem::replace(&mut self.markdown, Markdown::new()).finish(&mut rest);
        self.write(&rest)
    }

    fn tool_call(&mut self, call: &str, at: Duration) -> io::Result<()> {
        self.end_thinking(at)?;
        self.live.erase(&mut self.out, self.size)?;
        self.end_markdown()?;
        self.part = Part::Answer;
        if !self.fresh_line {
            self.write("\n")?;
        }
        if self.look.terminal {
            self.write_dim(&format!("tool call: {}", printable(call.trim())))?;
            self.write("\n")
        } else {
            self.write(&format!("<tool_call>\n{}\n</tool_call>\n", call.trim()))
        }
    }

    fn draw(&mut self, mut rows: Vec<String>) -> io::Result<()> {
        rows.iter_mut().for_each(|row| truncate(row, self.size.columns.saturating_sub(1)));
        self.live.draw(&mut self.out, rows, self.size, self.look.colour)
    }

    fn write_dim(&mut self, text: &str) -> io::Result<()> {
        if !self.look.styled() || text.is_empty() {
            return self.write(text);
        }
        self.out.write_all(b"\x1b[2m")?;
        self.write(text)?;
        self.out.write_all(b"\x1b[0m")
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        if let Some(last) = text.chars().last() {
            self.fresh_line = last == '\n';
        }
        self.out.write_all(text.as_bytes())
    }
}

/// `1 token`, `412 tokens`.
pub fn tokens(n: usize) -> String {
    format!("{n} token{}", if n == 1 { "" } else { "s" })
}

/// `9.1 s`, `2 min 5 s`.
pub fn seconds(time: Duration) -> String {
    let whole = time.as_secs_f64().round() as u64;
    if whole < 100 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {} s", whole / 60, whole % 60)
    }
}

/// The text without characters that would steer the terminal: a model must not be able to.
pub fn printable(text: &str) -> String {
    text.chars().filter(|&c| c == '\n' || c == '\t' || !c.is_control()).collect()
}

/// Cuts a row to a number of columns.
pub(super) fn truncate(row: &mut String, columns: usize) {
    use unicode_width::UnicodeWidthChar;
    let mut used = 0;
    let end = row.char_indices().find(|(_, c)| {
        used += c.width().unwrap_or(0);
        used > columns
    });
    if let Some((end, _)) = end {
        row.truncate(end);
    }
}
