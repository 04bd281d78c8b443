//! The model answers, or calls tools and goes on with what came of it.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Result, bail};
use engine::{Completion, FinishReason};
use text::tools::{self, Call};

use super::{Toolbox, boundary};
use crate::terminal::conversation::Conversation;
use crate::terminal::keyboard::Interrupt;

/// How often the model may call tools before it has to answer.
const MOST_ROUNDS: usize = 32;
/// The most of a call, or of a result, that is shown.
const SHOWN: usize = 300;

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum May {
    /// This one.
    Yes,
    /// This and all further ones of the tool.
    Always,
    /// No.
    No,
}

/// Asks the person at the terminal whether a call of a tool of `server` may be made.
///
/// # Errors
/// Nobody can be asked.
fn ask(call: &Call, server: &str, interrupt: &Interrupt) -> Result<May> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() || !std::io::stderr().is_terminal() {
        bail!(
            "the model wants to call {}, and nobody is here to be asked\n\
             hint: --allow-tool {0} lets it",
            call.name
        );
    }
    // All of it, whatever its length: what is not seen can't be agreed to.
    eprintln!("{} of {server}: {}", call.name, visible(&on_a_line(&call.arguments)));
    loop {
        // What was typed before was no answer to this.
        forget_typed();
        eprint!("call it? [y]es, [a]lways {}, [n]o: ", call.name);
        std::io::stderr().flush()?;
        let mut line = String::new();
        if stdin.lock().read_line(&mut line)? == 0 || interrupt.pressed() {
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

#[cfg(unix)]
fn forget_typed() {
    use rustix::termios::{QueueSelector, tcflush};
    // A terminal that can't be flushed had nothing typed ahead, or asks all the same.
    let _ = tcflush(std::io::stdin(), QueueSelector::IFlush);
}

#[cfg(not(unix))]
fn forget_typed() {}

/// Has the last turn answered by `once`. Calls among what it says are made, if they may be, and it goes
/// on with their results until it calls nothing any more. All but the last answer becomes part
/// of the conversation; the tokens of all are counted in it.
///
/// # Errors
/// Those of `once`; a server fails; nobody can be asked; or there is no end to the calls.
pub fn answer(
    conversation: &mut Conversation,
    toolbox: Option<&mut Toolbox>,
    interrupt: &Interrupt,
    once: &mut dyn FnMut(&Conversation) -> Result<Completion>,
) -> Result<Completion> {
    let Some(toolbox) = toolbox else { return once(conversation) };
    let (mut generated, mut thought) = (0, 0);
    for _ in 0..MOST_ROUNDS {
        let mut completion = once(conversation)?;
        generated += completion.usage.completion_tokens;
        thought += completion.usage.reasoning_tokens;
        let mut calls: Vec<Call> = Vec::new();
        completion.tool_calls.retain(|text| match tools::parse(text) {
            Ok(some) => {
                calls.extend(some);
                true
            }
            // What looked like a call and is none is part of what was said.
            Err(malformed) => {
                completion.content.push_str(&malformed.text);
                false
            }
        });
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
            let may = match toolbox.is_allowed(&call) {
                true => May::Yes,
                false => {
                    let server = toolbox.server_of(&call.name).unwrap_or_default();
                    ask(&call, server, interrupt)?
                }
            };
            if may != May::No {
                note(&format!("calls {} {}", call.name, on_a_line(&call.arguments)));
            }
            if may == May::Always {
                toolbox.allow(&call.name);
            }
            let result = match may {
                _ if interrupt.pressed() => None,
                May::No => Some("Error: the user does not allow this call.".to_owned()),
                May::Yes | May::Always => toolbox.call(&call, interrupt)?,
            };
            let Some(result) = result else {
                completion.finish_reason = FinishReason::Cancelled;
                return Ok(completion);
            };
            note(&format!("result: {result}"));
            conversation.told(call.name, result);
        }
    }
    bail!("the model has called tools {MOST_ROUNDS} times and still not answered")
}

/// The text with nothing in it that would steer the terminal, or be something else than it looks.
fn visible(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}')
    };
    text.chars()
        .map(|c| if hidden(c) { c.escape_unicode().to_string() } else { c.to_string() })
        .collect()
}

/// JSON with one space where there is white space between its parts; what is in its texts stays as it is.
fn on_a_line(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut in_text, mut escaped) = (false, false);
    for c in json.chars() {
        if !in_text && matches!(c, ' ' | '\n' | '\r' | '\t') {
            if !out.ends_with(' ') {
                out.push(' ');
            }
            continue;
        }
        out.push(c);
        in_text ^= c == '"' && !escaped;
        escaped = in_text && c == '\\' && !escaped;
    }
    out
}

/// Says what is being done, in one line.
fn note(text: &str) {
    let mut text = visible(&text.replace(['\n', '\t'], " "));
    let cut = boundary(&text, SHOWN);
    if cut < text.len() {
        text.truncate(cut);
        text.push('…');
    }
    let (dim, reset) = match std::io::stderr().is_terminal() {
        true => ("\x1b[2m", "\x1b[0m"),
        false => ("", ""),
    };
    eprintln!("{dim}{text}{reset}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_is_shown() {
        assert_eq!(visible("a\u{202e}b\u{1b}[2Jé"), "a\\u{202e}b\\u{1b}[2Jé");
        assert_eq!(visible("{\"a\":1}"), "{\"a\":1}");
    }

    #[test]
    fn arguments_take_one_line_and_lose_nothing() {
        assert_eq!(on_a_line("{\n    \"a\": 1,\n\t\"b\":2\r\n}"), "{ \"a\": 1, \"b\":2 }");
        for same in [r#"{"a": "two  spaces \" and \\", "b": 1}"#, "", "{}", r#""\n"#] {
            assert_eq!(on_a_line(same), same);
        }
        // White space in a text is not between parts.
        assert_eq!(on_a_line("\"a\n  b\"  :"), "\"a\n  b\" :");
    }
}
