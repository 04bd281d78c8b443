//! What a person sees: the stream of thinking and answer, Markdown, the chat.
//!
//! Everything here writes to any `Write` and is told the size of the screen, so that tests can
//! look at the result on a screen of their own.

pub mod chat;
pub mod conversation;
pub mod keyboard;
mod live;
mod markdown;
pub mod prompt;
pub mod render;
pub mod stats;
pub mod stream;
pub mod training;

#[cfg(test)]
mod render_tests;

use std::io::IsTerminal;

/// What becomes of the thinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// Streamed in a small window, then folded into one line; not written where there is no
    /// terminal.
    Fold,
    /// Written in full.
    Show,
    /// Only counted.
    Hide,
}

/// How to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The output is a terminal whose cursor can be moved.
    pub terminal: bool,
    /// Styles are wanted.
    pub colour: bool,
    /// What becomes of the thinking.
    pub thinking: Thinking,
}

impl Look {
    /// The look for standard output, as the environment has it: no styles with `NO_COLOR`, no
    /// movement on a dumb terminal or where there is none.
    pub fn of_stdout(thinking: Thinking) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = std::io::stdout().is_terminal() && !dumb;
        Self { terminal, colour: terminal && !set("NO_COLOR"), thinking }
    }

    /// Whether to write styles.
    pub fn styled(&self) -> bool {
        self.terminal && self.colour
    }
}

/// The screen, in character cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Cells in a row.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
}

impl Size {
    /// The size of the terminal right now; 80 by 24 where it does not say.
    pub fn now() -> Self {
        terminal_size::terminal_size().map_or(Self { columns: 80, rows: 24 }, |(width, height)| {
            Self { columns: width.0.max(2).into(), rows: height.0.max(3).into() }
        })
    }
}
