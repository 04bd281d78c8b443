//! Tool calls, from what the model writes to what clients read.

use engine::Completion;
use serde_json::{Value, json};
use text::tools::{self, Call, CallEvent, CallStream};

/// The calls in what the model wrote between tags; none if it can't be read as any.
pub(crate) fn parse(text: &str) -> Vec<Call> {
    tools::parse(text).unwrap_or_default()
}

/// A call in OpenAI's spelling.
pub(crate) fn call(call: &Call) -> Value {
    json!({
        "id": crate::id("call"),
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    })
}

/// Whether an answer calls tools.
pub(crate) fn are_called(completion: &Completion) -> bool {
    completion.tool_calls.iter().any(|text| !parse(text).is_empty())
}

/// An answer's text, to which belongs what looked like a call and was none, and its calls.
pub(crate) fn split(completion: &Completion) -> (String, Vec<Call>) {
    let mut said = completion.content.clone();
    let mut calls = Vec::new();
    for text in &completion.tool_calls {
        match tools::parse(text) {
            Ok(found) => calls.extend(found),
            Err(malformed) => said.push_str(&malformed.text),
        }
    }
    (said, calls)
}

/// What there is to tell of a call that is being written.
pub(crate) enum Step {
    /// It calls this function.
    Begin(String),
    /// The next piece of its arguments.
    Arguments(String),
    /// It is complete.
    End,
    /// It was none: this is text.
    Text(String),
}

/// Follows the calls of one answer, one after the other.
#[derive(Clone, Default)]
pub(crate) struct Calls {
    stream: CallStream,
    /// A call was begun in what is being read.
    begun: bool,
}

impl Calls {
    /// The next piece of a call.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Step> {
        let steps = self.stream.push(text).into_iter().map(|event| match event {
            CallEvent::Name(name) => {
                self.begun = true;
                Step::Begin(name)
            }
            CallEvent::Arguments(text) => Step::Arguments(text),
            CallEvent::End => Step::End,
        });
        steps.collect()
    }

    /// What stood between the tags is over.
    pub(crate) fn end(&mut self) -> Vec<Step> {
        let Calls { stream, begun } = std::mem::take(self);
        match stream.finish() {
            // What is told can't be taken back: the client gets arguments that are cut off.
            Err(_) if begun => vec![Step::End],
            Err(malformed) => vec![Step::Text(malformed.text)],
            Ok(()) => Vec::new(),
        }
    }
}
