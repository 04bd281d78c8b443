//! The chat: questions, answers and the commands between them.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use engine::{Completion, Delta, Flow};

use super::conversation::{Budget, Conversation};
use super::keyboard::Interrupt;
use super::prompt::{COMMANDS, Input, Lines};
use super::render::tokens;
use super::stream::stream;
use super::{Look, stats};
use crate::mcp::{self, Toolbox};

/// What answers the questions.
pub trait Answer {
    /// The model's name.
    fn name(&self) -> &str;

    /// Positions of the context, where known.
    fn context_length(&self) -> Option<usize>;

    /// Answers the last turn. `attempt` counts how often it was answered before: with a fixed
    /// seed, another attempt must still be another answer.
    ///
    /// # Errors
    /// Why there is no answer, and what can be done.
    fn answer(
        &mut self,
        conversation: &Conversation,
        attempt: u64,
        receive: &mut dyn FnMut(Delta) -> Flow,
    ) -> Result<Completion>;
}

/// A chat in progress.
pub struct Chat<'a, W, A> {
    out: W,
    look: Look,
    interrupt: &'a Interrupt,
    model: A,
    conversation: Conversation,
    last: Option<Completion>,
    attempt: u64,
    toolbox: Option<Toolbox>,
}

/// Whether the chat goes on.
enum Next {
    Go,
    Quit,
}

impl<'a, W: Write, A: Answer> Chat<'a, W, A> {
    /// A chat that starts with `conversation`.
    pub fn new(
        out: W,
        look: Look,
        interrupt: &'a Interrupt,
        model: A,
        conversation: Conversation,
    ) -> Self {
        Self { out, look, interrupt, model, conversation, last: None, attempt: 0, toolbox: None }
    }

    /// The same, with tools that the model may use.
    pub fn with_tools(self, toolbox: Option<Toolbox>) -> Self {
        Self { toolbox, ..self }
    }

    /// The model, when there is nothing more to say.
    pub fn into_answer(self) -> A {
        self.model
    }

    /// Reads and answers until the person leaves. What goes wrong with one answer or command is
    /// said, and the chat goes on.
    ///
    /// # Errors
    /// Input or output fail.
    pub fn run(&mut self, lines: &mut impl Lines) -> Result<()> {
        let name = self.model.name().to_owned();
        self.note(&format!("{name}: /help shows the commands, Ctrl-C stops an answer"))?;
        let mut leaving = false;
        loop {
            let line = match lines.next_line()? {
                Input::End => return Ok(()),
                Input::Interrupted if leaving => return Ok(()),
                Input::Interrupted => {
                    leaving = true;
                    self.note("Ctrl-C again, or /quit, to leave")?;
                    continue;
                }
                Input::Line(line) => line,
            };
            leaving = false;
            let line = line.trim();
            let done = if line.is_empty() {
                continue;
            } else if line.starts_with('/') {
                self.command(line)
            } else {
                self.conversation.ask(line.to_owned());
                self.attempt = 0;
                self.answer().map(|()| Next::Go)
            };
            match done {
                Ok(Next::Go) => {}
                Ok(Next::Quit) => return Ok(()),
                Err(error) => self.note(&format!("{error:#}"))?,
            }
        }
    }

    fn answer(&mut self) -> Result<()> {
        self.interrupt.reset();
        let Self { out, look, interrupt, model, conversation, attempt, toolbox, .. } = self;
        let result = mcp::answer(conversation, toolbox.as_mut(), interrupt, &mut |conversation| {
            stream(out, *look, interrupt, &mut |receive| {
                model.answer(conversation, *attempt, receive)
            })
        });
        let completion = result.inspect_err(|_| conversation.take_back_calls())?;
        self.interrupt.reset();
        if completion.content.is_empty() {
            self.conversation.take_back_calls();
        }
        self.conversation.answered(completion.content.clone(), completion.reasoning.clone());
        match completion.finish_reason {
            engine::FinishReason::Stop => {}
            engine::FinishReason::Cancelled => self.note("(stopped)")?,
            engine::FinishReason::Deadline => self.note("(out of time)")?,
            engine::FinishReason::Length => self.note("(cut off at the limit of tokens)")?,
        }
        self.last = Some(completion);
        Ok(writeln!(self.out)?)
    }

    fn command(&mut self, line: &str) -> Result<Next> {
        let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let argument = argument.trim();
        match (name, argument) {
            ("/quit" | "/exit", _) => return Ok(Next::Quit),
            ("/help", _) => self.help()?,
            ("/system", "") => {
                let text = self.conversation.system().unwrap_or("no system prompt").to_owned();
                self.note(&text)?;
            }
            ("/system", text) => {
                self.conversation.set_system(Some(text.trim_matches('"').to_owned()));
            }
            ("/think", amount) => self.think(amount)?,
            ("/regen", _) => {
                if self.conversation.take_back() {
                    self.attempt += 1;
                    self.answer()?;
                } else {
                    self.note("nothing was asked yet")?;
                }
            }
            ("/clear", _) => {
                self.conversation.clear();
                self.last = None;
                self.note("the conversation starts anew")?;
            }
            ("/stats", _) => self.stats()?,
            ("/save" | "/load", "") => self.note(&format!("{name} needs the name of a file"))?,
            ("/save", file) => {
                self.conversation.save(&path(file), self.model.name())?;
                self.note(&format!("saved to {file}"))?;
            }
            ("/load", file) => {
                let with = self.conversation.load(&path(file))?;
                self.last = None;
                let turns = self.conversation.turns().len();
                self.note(&format!("{turns} messages of a chat with {with}"))?;
            }
            _ => self.note(&format!("there is no command {name}; /help shows those there are"))?,
        }
        Ok(Next::Go)
    }

    fn help(&mut self) -> Result<()> {
        for (name, argument, meaning) in COMMANDS {
            self.note(&format!("{:20} {meaning}", format!("{name} {argument}")))?;
        }
        self.note("A line that ends in \\ goes on in the next one.")
    }

    fn think(&mut self, amount: &str) -> Result<()> {
        let (budget, said) = match (amount, amount.parse()) {
            ("on", _) => (Budget::Unlimited, "the model may think".to_owned()),
            ("off", _) | (_, Ok(0)) => (Budget::Off, "the model answers at once".to_owned()),
            (_, Ok(n)) => (Budget::Tokens(n), format!("thinking ends after {}", tokens(n))),
            _ => return self.note("/think on, /think off, or /think 512 for a limit of tokens"),
        };
        self.conversation.budget = budget;
        self.note(&said)
    }

    fn stats(&mut self) -> Result<()> {
        let Some(last) = &self.last else { return self.note("nothing was answered yet") };
        let used = last.usage.prompt_tokens + last.usage.completion_tokens;
        let line = stats::line(&last.usage, &last.timings, last.finish_reason);
        let context = match self.model.context_length() {
            Some(length) => format!("{used} of {length} tokens of context"),
            None => format!("{used} tokens of context"),
        };
        self.note(&line)?;
        self.note(&context)
    }

    /// Says something that is not the model's.
    fn note(&mut self, text: &str) -> Result<()> {
        let (dim, reset) = if self.look.styled() { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        Ok(writeln!(self.out, "{dim}{text}{reset}")?)
    }
}

/// A file's name as a person types it, `~/` meaning home.
fn path(typed: &str) -> PathBuf {
    match (typed.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(typed),
    }
}

#[cfg(test)]
#[path = "chat_tests.rs"]
mod tests;
