//! The line a person types: editing, history across sessions, completion of commands.

use std::path::PathBuf;

use anyhow::Result;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Context, Editor, Helper};

/// The commands: name, argument, meaning.
pub const COMMANDS: [(&str, &str, &str); 9] = [
    ("/help", "", "show this"),
    ("/system", "[TEXT]", "show the system prompt, or set it; \"\" for an empty one"),
    ("/think", "on|off|N", "let the model think, not think, or think for N tokens at most"),
    ("/regen", "", "answer the last question again"),
    ("/clear", "", "forget the conversation, keep the system prompt"),
    ("/stats", "", "figures of the last answer"),
    ("/save", "FILE", "save the conversation as JSON"),
    ("/load", "FILE", "go on with a saved conversation"),
    ("/quit", "", "leave, as does Ctrl-D"),
];

/// What came from the keyboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A line, or several joined by `\` at their ends.
    Line(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D, or the input ended.
    End,
}

/// Where the lines of a chat come from.
pub trait Lines {
    /// Waits for the next one.
    ///
    /// # Errors
    /// The input cannot be read.
    fn next_line(&mut self) -> Result<Input>;
}

/// Lines typed at a terminal.
pub struct Prompt {
    editor: Editor<Commands, DefaultHistory>,
    history: Option<PathBuf>,
}

impl Prompt {
    /// A prompt with the history kept in a file, which need not exist yet. A history that cannot
    /// be read or written is done without.
    ///
    /// # Errors
    /// The terminal cannot be used.
    pub fn new(history: Option<PathBuf>) -> Result<Self> {
        let config = Config::builder().max_history_size(1000)?.auto_add_history(true).build();
        let mut editor = Editor::with_config(config)?;
        editor.set_helper(Some(Commands));
        if let Some(path) = &history
            && let Err(error) = editor.load_history(path)
        {
            tracing::debug!(path = %path.display(), %error, "no history of earlier chats");
        }
        Ok(Self { editor, history })
    }
}

impl Lines for Prompt {
    fn next_line(&mut self) -> Result<Input> {
        match self.editor.readline("> ") {
            Ok(line) => {
                // Appended at once, so that a crash loses nothing and two chats do not
                // overwrite each other's lines.
                if let Some(path) = &self.history
                    && let Err(error) = self.editor.append_history(path)
                {
                    tracing::debug!(path = %path.display(), %error, "history not written");
                }
                Ok(Input::Line(line.replace("\\\n", "\n")))
            }
            Err(ReadlineError::Interrupted) => Ok(Input::Interrupted),
            Err(ReadlineError::Eof) => Ok(Input::End),
            Err(error) => Err(error.into()),
        }
    }
}

/// Completes the chat's commands and lets a line that ends in `\` continue.
struct Commands;

impl Completer for Commands {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = &line[..position];
        let known = COMMANDS.iter().map(|(name, ..)| *name);
        let matching = known.filter(|name| typed.starts_with('/') && name.starts_with(typed));
        Ok((0, matching.map(|name| format!("{name} ")).collect()))
    }
}

impl Validator for Commands {
    fn validate(&self, context: &mut ValidationContext) -> rustyline::Result<ValidationResult> {
        Ok(if context.input().ends_with('\\') {
            ValidationResult::Incomplete
        } else {
            ValidationResult::Valid(None)
        })
    }
}

impl Hinter for Commands {
    type Hint = String;
}

impl Highlighter for Commands {}

impl Helper for Commands {}
