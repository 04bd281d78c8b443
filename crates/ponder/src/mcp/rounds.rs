//! The model answers, or calls tools and goes on with what came of it.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Result, bail};
use engine::{Completion, FinishReason};
use text::tools::{self, Call};

use super::Toolbox;
use crate::terminal::conversation::Conversation;
use crate::terminal::keyboard::Interrupt;

/// How often the model may call tools before it has to answer.
const MOST_ROUNDS: usize = 32;
/// The most of a call, or of a result, that is shown.
const SHOWN: usize = 300;

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    /// This one.
    Yes,
    /// This and all further ones of the tool.
    Always,
    /// No.
    No,
}

/// Who is asked about calls.
pub trait Consent {
    /// Whether a call may be made.
    ///
    /// # Errors
    /// Nobody can be asked.
    fn ask(&mut self, call: &Call) -> Result<May>;
}

/// The person at the terminal.
pub struct Person;

impl Consent for Person {
    fn ask(&mut self, call: &Call) -> Result<May> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            bail!(
                "the model wants to call {}, and nobody is here to be asked\n\
                 hint: --allow-tool {0} lets it",
                call.name
            );
        }
        loop {
            eprint!("call it? [y]es, [a]lways {}, [n]o: ", call.name);
            std::io::stderr().flush()?;
            let mut line = String::new();
            if stdin.lock().read_line(&mut line)? == 0 {
                return Ok(May::No);
            }
            match line.trim().to_lowercase().as_str() {
                "y" | "yes" => return Ok(May::Yes),
                "a" | "always" => return Ok(May::Always),
                "n" | "no" | "" => return Ok(May::No),
                _ => {}
            }
        }
    }
}

/// Has the last turn answered by `once`. Calls among what it says are made, if they may be, and it goes
/// on with their results until it calls nothing any more. All but the last answer becomes part
/// of the conversation; the tokens of all are counted in it.
///
/// # Errors
/// Those of `once`; a server fails; nobody can be asked; or there is no end to the calls.
pub fn answer(
    conversation: &mut Conversation,
    toolbox: Option<&mut Toolbox>,
    consent: &mut dyn Consent,
    interrupt: &Interrupt,
    once: &mut dyn FnMut(&Conversation) -> Result<Completion>,
) -> Result<Completion> {
    let Some(toolbox) = toolbox else { return once(conversation) };
    let (mut generated, mut thought) = (0, 0);
    for _ in 0..MOST_ROUNDS {
        let mut completion = once(conversation)?;
        generated += completion.usage.completion_tokens;
        thought += completion.usage.reasoning_tokens;
        let calls = completion.tool_calls.iter().flat_map(|text| tools::parse(text));
        let calls: Vec<Call> = calls.flatten().collect();
        if calls.is_empty() || completion.finish_reason != FinishReason::Stop {
            completion.usage.completion_tokens = generated;
            completion.usage.reasoning_tokens = thought;
            return Ok(completion);
        }
        conversation.called(
            std::mem::take(&mut completion.content),
            std::mem::take(&mut completion.reasoning),
            calls.clone(),
        );
        for call in calls {
            note(&format!("calls {} {}", call.name, call.arguments));
            let may = match toolbox.is_allowed(&call) {
                true => May::Yes,
                false => consent.ask(&call)?,
            };
            if may == May::Always {
                toolbox.allow(&call.name);
            }
            let result = match may {
                May::No => "Error: the user does not allow this call.".to_owned(),
                May::Yes | May::Always => match toolbox.call(&call, interrupt)? {
                    Some(result) => result,
                    None => {
                        completion.finish_reason = FinishReason::Cancelled;
                        return Ok(completion);
                    }
                },
            };
            note(&format!("result: {result}"));
            conversation.told(call.name, result);
        }
    }
    bail!("the model has called tools {MOST_ROUNDS} times and still not answered")
}

/// Says what is being done, in one line.
fn note(text: &str) {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let cut = text.floor_char_boundary(SHOWN);
    let more = if cut < text.len() { "…" } else { "" };
    let (dim, reset) = match std::io::stderr().is_terminal() {
        true => ("\x1b[2m", "\x1b[0m"),
        false => ("", ""),
    };
    eprintln!("{dim}{}{more}{reset}", &text[..cut]);
}
