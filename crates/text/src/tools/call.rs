//! The text of tool calls, to names and arguments while it streams in.
//!
//! Read are `{"name": …, "arguments": {…}}`, `parameters` for `arguments`, several of them in a
//! row (with or without a comma or semicolon between them), and a list of them. Other fields are
//! passed over. What models make of the arguments:
//!
//! - an object: its text goes out as it stands, never reformatted;
//! - a string with an object's JSON in it: it is decoded first;
//! - nothing, null or an empty string: `{}`.
//!
//! What follows a whole call and is not the next one is dropped: small models like to close one
//! brace too many.

use super::scan::{Fault, Scanner, Step};

const HALF: Fault = "half a character is escaped in its arguments";

/// What a piece of a call's text settles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEvent {
    /// A call begins, to the tool of this name.
    Name(String),
    /// The next piece of the arguments' JSON text; never empty.
    Arguments(String),
    /// The call is whole.
    End,
}

/// One finished call.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Call {
    /// The tool's name.
    pub name: String,
    /// The JSON text of the arguments, an object.
    pub arguments: String,
}

/// Text that is no tool call, or not a whole one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a tool call: {reason}")]
pub struct Malformed {
    /// All of the text, so that it can be handed out as what the model said.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

#[derive(Clone, Debug)]
enum At {
    /// Before the first call, or between two.
    Between,
    /// Before a key; the end is one, too, directly after the brace.
    Key {
        first: bool,
    },
    InKey(Scanner),
    Colon,
    /// Before or within a value.
    Value(Scanner, Role),
    /// After a value.
    Next,
    /// After the last call.
    Rest,
    Failed(Fault),
}

/// What a value is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Name,
    /// Not known yet: what kind of value it is shows in its first character.
    Arguments,
    /// An object, passed on.
    Object,
    /// JSON in a string, passed on decoded.
    Text,
    /// A null, the same as nothing.
    Null,
    Other,
}

/// Reads calls as their text comes in; see the module.
#[derive(Clone, Debug)]
pub struct CallStream {
    at: At,
    /// Everything so far.
    text: String,
    /// The key or name so far, with its quotes, or the escape in a [`Role::Text`].
    word: String,
    role: Role,
    name: Option<String>,
    /// Whether the call has a field for arguments.
    has_arguments: bool,
    /// Something of the arguments has been passed on, or kept.
    spoken: bool,
    /// Arguments that came before the name.
    early: String,
    /// Follows the JSON within a [`Role::Text`].
    inner: Scanner,
    /// The first half of a character that is escaped in two.
    surrogate: Option<u16>,
    calls: usize,
}

impl Default for CallStream {
    fn default() -> CallStream {
        CallStream::new()
    }
}

impl CallStream {
    /// A stream at the beginning of what stands between a call's tags.
    pub fn new() -> CallStream {
        CallStream {
            at: At::Between,
            text: String::new(),
            word: String::new(),
            role: Role::Other,
            name: None,
            has_arguments: false,
            spoken: false,
            early: String::new(),
            inner: Scanner::new(),
            surrogate: None,
            calls: 0,
        }
    }

    /// What the next piece of text settles.
    pub fn push(&mut self, text: &str) -> Vec<CallEvent> {
        let mut events = Vec::new();
        self.text.push_str(text);
        for letter in text.chars() {
            self.step(letter, &mut events);
        }
        events
    }

    /// Whether the text is known not to be a call. [`CallStream::finish`] says why.
    pub fn is_malformed(&self) -> bool {
        matches!(self.at, At::Failed(_))
    }

    /// Ends the text.
    ///
    /// # Errors
    /// If there was no call in it, or the last one is not whole: all of the text, to hand it out
    /// as content, unless events have gone out already.
    pub fn finish(self) -> Result<(), Malformed> {
        let reason = match self.at {
            At::Rest => return Ok(()),
            At::Between if self.calls > 0 => return Ok(()),
            At::Between => "it is empty",
            At::Failed(reason) => reason,
            _ => "it breaks off",
        };
        Err(Malformed { text: self.text, reason })
    }

    /// Whether the present call's name and the beginning of its arguments have been seen.
    pub(crate) fn is_recognised(&self) -> bool {
        self.name.is_some() && self.has_arguments
    }

    /// The present call's name, once it is known.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// How many calls are whole.
    pub(crate) fn calls(&self) -> usize {
        self.calls
    }

    /// Takes a character without keeping it for [`Malformed`].
    pub(crate) fn step(&mut self, letter: char, events: &mut Vec<CallEvent>) {
        if let Err(reason) = self.advance(letter, events) {
            self.at = At::Failed(reason);
        }
    }

    fn advance(&mut self, letter: char, events: &mut Vec<CallEvent>) -> Result<(), Fault> {
        let space = matches!(letter, ' ' | '\t' | '\n' | '\r');
        match &mut self.at {
            At::Failed(_) | At::Rest => {}
            At::InKey(scanner) => {
                self.word.push(letter);
                if scanner.step(letter)? == Step::Last {
                    self.role = self.role_of_key()?;
                    self.at = At::Colon;
                }
            }
            At::Value(scanner, role) => {
                let (step, role) = (scanner.step(letter)?, *role);
                let begins = role == Role::Arguments && !space;
                let role = if begins { self.begin_arguments(letter)? } else { role };
                match role {
                    Role::Name if step == Step::More && space && self.word.is_empty() => {}
                    Role::Name => self.name_letter(letter, step, events)?,
                    Role::Object => self.say(letter, events),
                    Role::Text if !begins => self.text_letter(letter, step, events)?,
                    _ => {}
                }
                match step {
                    Step::More => {
                        if let At::Value(_, old) = &mut self.at {
                            *old = role;
                        }
                    }
                    Step::Last => self.at = At::Next,
                    Step::Before => {
                        self.at = At::Next;
                        return self.advance(letter, events);
                    }
                }
            }
            _ if space => {}
            At::Between => match letter {
                '{' => self.at = At::Key { first: true },
                '[' if self.calls == 0 => {}
                ',' | ';' | ']' if self.calls > 0 => {}
                _ if self.calls > 0 => self.at = At::Rest,
                _ => return Err("it is not a JSON object"),
            },
            At::Key { first } => match letter {
                '"' => {
                    let mut scanner = Scanner::new();
                    scanner.step(letter)?;
                    self.word.clear();
                    self.word.push(letter);
                    self.at = At::InKey(scanner);
                }
                '}' if *first => self.end(events)?,
                _ => return Err("a key is not a string"),
            },
            At::Colon => match letter {
                ':' => {
                    self.word.clear();
                    self.at = At::Value(Scanner::new(), self.role);
                }
                _ => return Err("a colon is missing after a key"),
            },
            At::Next => match letter {
                ',' => self.at = At::Key { first: false },
                '}' => self.end(events)?,
                _ => return Err("a comma or the end is missing after a value"),
            },
        }
        Ok(())
    }

    fn role_of_key(&self) -> Result<Role, Fault> {
        match decoded(&self.word)?.as_str() {
            "name" if self.name.is_some() => Err("it has two names"),
            "name" => Ok(Role::Name),
            "arguments" | "parameters" if self.has_arguments => Err("it has arguments twice"),
            "arguments" | "parameters" => Ok(Role::Arguments),
            _ => Ok(Role::Other),
        }
    }

    fn name_letter(
        &mut self,
        letter: char,
        step: Step,
        events: &mut Vec<CallEvent>,
    ) -> Result<(), Fault> {
        if self.word.is_empty() && letter != '"' {
            return Err("its name is not a string");
        }
        self.word.push(letter);
        if step == Step::Last {
            let name = decoded(&self.word)?;
            if name.is_empty() {
                return Err("its name is empty");
            }
            self.name = Some(name.clone());
            events.push(CallEvent::Name(name));
            let early = std::mem::take(&mut self.early);
            if !early.is_empty() {
                events.push(CallEvent::Arguments(early));
            }
        }
        Ok(())
    }

    fn begin_arguments(&mut self, letter: char) -> Result<Role, Fault> {
        self.has_arguments = true;
        match letter {
            '{' => Ok(Role::Object),
            '"' => {
                self.word.clear();
                self.inner = Scanner::new();
                self.surrogate = None;
                Ok(Role::Text)
            }
            'n' => Ok(Role::Null),
            _ => Err("its arguments are not an object"),
        }
    }

    /// Passes on a character of the arguments, or keeps it until the name is known.
    fn say(&mut self, letter: char, events: &mut Vec<CallEvent>) {
        if self.name.is_none() {
            self.early.push(letter);
        } else if let Some(CallEvent::Arguments(text)) = events.last_mut() {
            text.push(letter);
        } else {
            events.push(CallEvent::Arguments(letter.to_string()));
        }
        self.spoken = true;
    }

    /// Decodes one character of a string, which the scanner has found to be well-formed.
    fn text_letter(
        &mut self,
        letter: char,
        step: Step,
        events: &mut Vec<CallEvent>,
    ) -> Result<(), Fault> {
        if self.word.is_empty() && letter != '\\' {
            if self.surrogate.is_some() {
                return Err(HALF);
            }
            if step != Step::Last {
                return self.inner_letter(letter, events);
            }
            // An empty string is no arguments at all.
            let complete = self.inner.is_over() || !self.spoken;
            return if complete { Ok(()) } else { Err("the JSON in its arguments breaks off") };
        }
        self.word.push(letter);
        let meant = match (self.word.len(), letter) {
            (1, _) | (2, 'u') => return Ok(()),
            (2, 'b') => '\u{8}',
            (2, 'f') => '\u{c}',
            (2, 'n') => '\n',
            (2, 'r') => '\r',
            (2, 't') => '\t',
            (2, other) => other,
            (6, _) => {
                let unit = u16::from_str_radix(&self.word[2..], 16).map_err(|_| "\\u is wrong")?;
                self.word.clear();
                let first = self.surrogate.take();
                if first.is_none() && (0xd800..0xdc00).contains(&unit) {
                    self.surrogate = Some(unit);
                    return Ok(());
                }
                let mut meant = char::decode_utf16(first.into_iter().chain([unit]));
                match (meant.next(), meant.next()) {
                    (Some(Ok(letter)), None) => return self.inner_letter(letter, events),
                    _ => return Err(HALF),
                }
            }
            _ => return Ok(()),
        };
        if self.surrogate.is_some() {
            return Err(HALF);
        }
        self.word.clear();
        self.inner_letter(meant, events)
    }

    fn inner_letter(&mut self, letter: char, events: &mut Vec<CallEvent>) -> Result<(), Fault> {
        let space = matches!(letter, ' ' | '\t' | '\n' | '\r');
        if space && (self.inner.is_over() || !self.spoken) {
            return Ok(());
        }
        if !self.spoken && letter != '{' {
            return Err("its arguments are not an object");
        }
        self.inner.step(letter)?;
        self.say(letter, events);
        Ok(())
    }

    fn end(&mut self, events: &mut Vec<CallEvent>) -> Result<(), Fault> {
        if self.name.take().is_none() {
            return Err("it has no name");
        }
        if !std::mem::take(&mut self.spoken) {
            events.push(CallEvent::Arguments("{}".to_string()));
        }
        events.push(CallEvent::End);
        self.has_arguments = false;
        self.calls += 1;
        self.at = At::Between;
        Ok(())
    }
}

/// A JSON string's meaning.
fn decoded(quoted: &str) -> Result<String, Fault> {
    serde_json::from_str(quoted).map_err(|_| "a string in it cannot be read")
}

/// The calls in a finished text: one, several in a row, or a list.
///
/// # Errors
/// If there is none, or one of them is not whole.
///
/// ```
/// let calls = text::tools::parse(r#"{"name": "add", "arguments": {"a": 1, "b": 2}}"#)?;
/// assert_eq!(calls[0].name, "add");
/// assert_eq!(calls[0].arguments, r#"{"a": 1, "b": 2}"#);
/// # Ok::<(), text::tools::Malformed>(())
/// ```
pub fn parse(text: &str) -> Result<Vec<Call>, Malformed> {
    let mut stream = CallStream::new();
    let mut calls: Vec<Call> = Vec::new();
    for event in stream.push(text) {
        match (event, calls.last_mut()) {
            (CallEvent::Name(name), _) => calls.push(Call { name, ..Call::default() }),
            (CallEvent::Arguments(text), Some(call)) => call.arguments.push_str(&text),
            _ => {}
        }
    }
    stream.finish()?;
    Ok(calls)
}

#[cfg(test)]
mod tests;
