//! Tool calls, from what the model writes to what clients read.

use engine::Completion;
use serde_json::{Value, json};
use text::tools::{self, CallEvent, CallStream};

/// Name and arguments, as JSON text, of a call; none if the text isn't one.
pub(crate) fn parse(text: &str) -> Option<(String, String)> {
    tools::call(text).ok()
}

/// A call in OpenAI's spelling; none if the text isn't one.
pub(crate) fn call(text: &str) -> Option<Value> {
    let (name, arguments) = parse(text)?;
    Some(json!({
        "id": crate::id("call"),
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }))
}

/// Whether an answer calls tools.
pub(crate) fn are_called(completion: &Completion) -> bool {
    completion.tool_calls.iter().any(|text| parse(text).is_some())
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
pub(crate) struct Calls(CallStream);

impl Calls {
    /// The next piece of a call.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Step> {
        steps(self.0.push(text))
    }

    /// The call is over; `whole` is all of it.
    pub(crate) fn end(&mut self, whole: String) -> Vec<Step> {
        let mut stream = std::mem::take(&mut self.0);
        let mut last = match stream.finish() {
            Ok(events) => steps(events),
            // What is told can't be taken back: the client gets arguments that are cut off.
            Err(_) if stream.is_named() => Vec::new(),
            Err(_) => return vec![Step::Text(whole)],
        };
        last.push(Step::End);
        last
    }
}

fn steps(events: Vec<CallEvent>) -> Vec<Step> {
    let step = |event| match event {
        CallEvent::Name(name) => Step::Begin(name),
        CallEvent::Arguments(text) => Step::Arguments(text),
    };
    events.into_iter().map(step).collect()
}
