//! Reading a call while it is being written.

/// What is known of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEvent {
    /// The function's name; comes first.
    Name(String),
    /// The next piece of the arguments' JSON text, as the model writes it.
    Arguments(String),
}

/// Which member of the call's object is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Name,
    Arguments,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    /// Before a key, or the object's end.
    BeforeKey,
    /// Within a key.
    Key,
    /// Before the colon.
    Colon,
    /// Before or within a value.
    Value,
    /// Before a comma, or the object's end.
    After,
    /// The object is complete.
    Done,
    /// This is no call.
    Broken,
}

/// Reads one call, `{"name": …, "arguments": …}`, in pieces. Members may come in any order, and
/// `parameters` is as good a name for the arguments.
#[derive(Clone, Debug)]
pub struct CallStream {
    place: Place,
    member: Member,
    /// The key or value so far, as far as it is not passed on at once.
    text: String,
    /// Brackets that are open in the value.
    depth: usize,
    in_string: bool,
    escaped: bool,
    named: bool,
    argued: bool,
    /// Arguments that came before the name.
    held: String,
}

impl Default for CallStream {
    fn default() -> Self {
        CallStream {
            place: Place::Start,
            member: Member::Other,
            text: String::new(),
            depth: 0,
            in_string: false,
            escaped: false,
            named: false,
            argued: false,
            held: String::new(),
        }
    }
}

impl CallStream {
    /// What the next piece of text settles.
    pub fn push(&mut self, text: &str) -> Vec<CallEvent> {
        let mut events = Vec::new();
        let mut arguments = String::new();
        for letter in text.chars() {
            self.step(letter, &mut arguments, &mut events);
        }
        self.pass_on(arguments, &mut events);
        events
    }

    /// The last events, when the text has ended; an error if it was no call.
    ///
    /// # Errors
    /// The text isn't a whole object, or has no name.
    pub fn finish(&mut self) -> Result<Vec<CallEvent>, NoCall> {
        if self.place != Place::Done || !self.named {
            return Err(NoCall);
        }
        let mut events = Vec::new();
        if !std::mem::replace(&mut self.argued, true) {
            events.push(CallEvent::Arguments("{}".to_owned()));
        }
        Ok(events)
    }

    /// Whether the name has been told.
    pub fn is_named(&self) -> bool {
        self.named
    }

    fn pass_on(&mut self, arguments: String, events: &mut Vec<CallEvent>) {
        if arguments.is_empty() {
            return;
        }
        if !self.named {
            self.held.push_str(&arguments);
            return;
        }
        match events.last_mut() {
            Some(CallEvent::Arguments(text)) => text.push_str(&arguments),
            _ => events.push(CallEvent::Arguments(arguments)),
        }
    }

    fn step(&mut self, letter: char, arguments: &mut String, events: &mut Vec<CallEvent>) {
        let blank = letter.is_ascii_whitespace();
        match self.place {
            Place::Done if blank => {}
            Place::Start | Place::BeforeKey | Place::Colon | Place::After if blank => {}
            Place::Start if letter == '{' => self.place = Place::BeforeKey,
            Place::BeforeKey if letter == '"' => {
                self.text.clear();
                self.place = Place::Key;
            }
            Place::BeforeKey | Place::After if letter == '}' => self.place = Place::Done,
            Place::After if letter == ',' => self.place = Place::BeforeKey,
            Place::Colon if letter == ':' => {
                self.text.clear();
                (self.depth, self.in_string, self.escaped) = (0, false, false);
                self.place = Place::Value;
            }
            Place::Key => self.key(letter),
            Place::Value => self.value(letter, arguments, events),
            _ => self.place = Place::Broken,
        }
    }

    fn key(&mut self, letter: char) {
        if letter != '"' || self.escaped {
            self.escaped = letter == '\\' && !self.escaped;
            self.text.push(letter);
            return;
        }
        self.member = match self.text.as_str() {
            "name" => Member::Name,
            "arguments" | "parameters" if !self.argued => Member::Arguments,
            _ => Member::Other,
        };
        self.place = Place::Colon;
    }

    fn value(&mut self, letter: char, arguments: &mut String, events: &mut Vec<CallEvent>) {
        if self.text.is_empty() && letter.is_ascii_whitespace() {
            return;
        }
        let outside = !self.in_string && self.depth == 0;
        // A number or a word ends where something else begins.
        if outside
            && !self.text.is_empty()
            && (matches!(letter, ',' | '}') || letter.is_ascii_whitespace())
        {
            self.end_value(arguments, events);
            return self.step(letter, arguments, events);
        }
        // Strings are kept, as they may hold JSON text to be decoded; other arguments pass through.
        let passes = self.member == Member::Arguments && !self.text.starts_with('"');
        let first = self.text.is_empty();
        if passes && !(first && letter == '"') {
            arguments.push(letter);
            if first {
                self.text.push(letter);
            }
        } else if self.member != Member::Other || first {
            self.text.push(letter);
        }
        if self.in_string {
            if letter == '"' && !self.escaped {
                self.in_string = false;
                if self.depth == 0 {
                    self.end_value(arguments, events);
                }
            }
            self.escaped = letter == '\\' && !self.escaped;
            return;
        }
        match letter {
            '"' => (self.in_string, self.escaped) = (true, false),
            '{' | '[' => self.depth += 1,
            '}' | ']' if self.depth > 0 => {
                self.depth -= 1;
                if self.depth == 0 {
                    self.end_value(arguments, events);
                }
            }
            '}' | ']' => self.place = Place::Broken,
            _ => {}
        }
    }

    fn end_value(&mut self, arguments: &mut String, events: &mut Vec<CallEvent>) {
        self.place = Place::After;
        match self.member {
            Member::Other => {}
            Member::Name => match serde_json::from_str::<String>(&self.text) {
                Ok(name) if !name.is_empty() && !self.named => {
                    self.named = true;
                    events.push(CallEvent::Name(name));
                    let held = std::mem::take(&mut self.held);
                    self.pass_on(held, events);
                }
                _ => self.place = Place::Broken,
            },
            Member::Arguments => {
                self.argued = true;
                if let Ok(text) = serde_json::from_str::<String>(&self.text) {
                    arguments.push_str(&text);
                }
                let whole = std::mem::take(arguments);
                self.pass_on(whole, events);
            }
        }
    }
}

/// A text that was taken for a call is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a call: an object with a name and arguments")]
pub struct NoCall;

/// Name and arguments of a whole call.
///
/// # Errors
/// The text is none.
pub(crate) fn whole(text: &str) -> Result<(String, String), NoCall> {
    let mut stream = CallStream::default();
    let (mut name, mut arguments) = (String::new(), String::new());
    let mut events = stream.push(text);
    events.extend(stream.finish()?);
    for event in events {
        match event {
            CallEvent::Name(text) => name = text,
            CallEvent::Arguments(text) => arguments.push_str(&text),
        }
    }
    Ok((name, arguments))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str, step: usize) -> Result<Vec<CallEvent>, NoCall> {
        let mut stream = CallStream::default();
        let mut events: Vec<CallEvent> = Vec::new();
        let letters: Vec<char> = text.chars().collect();
        let mut all = Vec::new();
        for piece in letters.chunks(step) {
            all.extend(stream.push(&piece.iter().collect::<String>()));
        }
        all.extend(stream.finish()?);
        for event in all {
            match (events.last_mut(), event) {
                (Some(CallEvent::Arguments(so_far)), CallEvent::Arguments(text)) => {
                    so_far.push_str(&text);
                }
                (_, event) => events.push(event),
            }
        }
        Ok(events)
    }

    fn call(name: &str, arguments: &str) -> Vec<CallEvent> {
        vec![CallEvent::Name(name.to_owned()), CallEvent::Arguments(arguments.to_owned())]
    }

    #[test]
    fn calls_are_read_however_they_are_cut() {
        for (text, name, arguments) in [
            (
                r#"{"name": "f", "arguments": {"a": [1, "}\"{"], "b": {}}}"#,
                "f",
                r#"{"a": [1, "}\"{"], "b": {}}"#,
            ),
            (r#" {"arguments":{"x":1},"name":"g"} "#, "g", r#"{"x":1}"#),
            (
                r#"{"id": 7, "name": "h", "parameters": {"é": "ü"}, "more": [1,2]}"#,
                "h",
                r#"{"é": "ü"}"#,
            ),
            (r#"{"name": "f", "arguments": "{\"a\": \"\\\"\"}"}"#, "f", r#"{"a": "\""}"#),
            (r#"{"name": "f"}"#, "f", "{}"),
            (r#"{"name": "f", "arguments": null }"#, "f", "null"),
        ] {
            for step in 1..9 {
                assert_eq!(read(text, step), Ok(call(name, arguments)), "{text} by {step}");
            }
        }
    }

    #[test]
    fn what_is_no_call_is_said_to_be_none() {
        for text in [
            "",
            "hello",
            "{",
            "[]",
            r#"{"name": 3}"#,
            r#"{"arguments": {}}"#,
            r#"{"name": "f", "arguments": {"#,
            r#"{"name": "f"} x"#,
            r#"{"name": "f" "a": 1}"#,
            "{\"name\": ]",
        ] {
            assert_eq!(read(text, 3), Err(NoCall), "{text}");
        }
    }

    #[test]
    fn arguments_are_told_as_they_come() {
        let mut stream = CallStream::default();
        assert_eq!(stream.push(r#"{"name": "f", "arguments": {"a"#), call("f", "{\"a"));
        assert_eq!(stream.push("b"), [CallEvent::Arguments("b".to_owned())]);
    }

    proptest! {
        #[test]
        fn nothing_breaks_it(text in "[{}\\[\\]\",:a\\\\ n]{0,60}", step in 1usize..7) {
            let by_one = read(&text, 1);
            prop_assert_eq!(by_one, read(&text, step));
        }
    }
}
