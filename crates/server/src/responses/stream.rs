//! A response while it is being made: items that are added, grow and are done.

use axum::response::sse::Event as Sse;
use engine::{Completion, Delta, Event, Update};
use serde_json::{Value, json};

use super::{Frame, call_item, message_item, reasoning_item, text_part};
use crate::answers::{Writer, named};
use crate::error::{ApiError, Dialect};
use crate::params::thinking::ReasoningFormat;
use crate::tools::{Calls, Step};

/// The item that is growing.
enum Open {
    Nothing,
    Reasoning { id: String, text: String },
    Message { id: String, text: String },
    Call { id: String, call_id: String, name: String, arguments: String },
}

pub(super) struct ResponseWriter {
    frame: Option<Frame>,
    format: ReasoningFormat,
    open: Open,
    /// Items that are done.
    output: Vec<Value>,
    sequence: usize,
    calls: Calls,
    ended: Option<Value>,
}

impl ResponseWriter {
    pub(super) fn new(frame: Frame, format: ReasoningFormat) -> ResponseWriter {
        ResponseWriter {
            frame: Some(frame),
            format,
            open: Open::Nothing,
            output: Vec::new(),
            sequence: 0,
            calls: Calls::default(),
            ended: None,
        }
    }

    fn event(&mut self, name: &str, mut value: Value) -> Sse {
        value["type"] = name.into();
        value["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        named(name, &value)
    }

    fn added(&mut self, item: Value) -> Sse {
        let index = self.output.len();
        self.event("response.output_item.added", json!({"output_index": index, "item": item}))
    }

    fn done(&mut self, item: Value) -> Sse {
        let index = self.output.len();
        self.output.push(item.clone());
        self.event("response.output_item.done", json!({"output_index": index, "item": item}))
    }

    fn close(&mut self, events: &mut Vec<Sse>) {
        let index = self.output.len();
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => {}
            Open::Reasoning { id, text } => {
                let place = json!({
                    "item_id": id, "output_index": index, "content_index": 0, "text": text,
                });
                events.push(self.event("response.reasoning_text.done", place));
                events.push(self.done(reasoning_item(&id, &text, "completed")));
            }
            Open::Call { id, call_id, name, arguments } => {
                let whole = json!({
                    "item_id": id, "output_index": index, "name": name, "arguments": arguments,
                });
                events.push(self.event("response.function_call_arguments.done", whole));
                events.push(self.done(call_item(&id, &call_id, &name, &arguments, "completed")));
            }
            Open::Message { id, text } => {
                let place = json!({
                    "item_id": id, "output_index": index, "content_index": 0,
                    "text": text, "logprobs": [],
                });
                events.push(self.event("response.output_text.done", place));
                let part = json!({
                    "item_id": id, "output_index": index, "content_index": 0,
                    "part": text_part(&text),
                });
                events.push(self.event("response.content_part.done", part));
                events.push(self.done(message_item(&id, vec![text_part(&text)], "completed")));
            }
        }
    }

    fn think(&mut self, piece: &str, events: &mut Vec<Sse>) {
        if !matches!(self.open, Open::Reasoning { .. }) {
            self.close(events);
            let id = crate::id("rs");
            events.push(self.added(reasoning_item(&id, "", "in_progress")));
            self.open = Open::Reasoning { id, text: String::new() };
        }
        let index = self.output.len();
        let Open::Reasoning { id, text } = &mut self.open else { return };
        text.push_str(piece);
        let value = json!({
            "item_id": id, "output_index": index, "content_index": 0, "delta": piece,
        });
        events.push(self.event("response.reasoning_text.delta", value));
    }

    fn say(&mut self, piece: &str, events: &mut Vec<Sse>) {
        if !matches!(self.open, Open::Message { .. }) {
            self.close(events);
            let id = crate::id("msg");
            events.push(self.added(message_item(&id, Vec::new(), "in_progress")));
            let part = json!({
                "item_id": id, "output_index": self.output.len(), "content_index": 0,
                "part": text_part(""),
            });
            events.push(self.event("response.content_part.added", part));
            self.open = Open::Message { id, text: String::new() };
        }
        let index = self.output.len();
        let Open::Message { id, text } = &mut self.open else { return };
        text.push_str(piece);
        let value = json!({
            "item_id": id, "output_index": index, "content_index": 0, "delta": piece,
            "logprobs": [],
        });
        events.push(self.event("response.output_text.delta", value));
    }

    fn call(&mut self, steps: Vec<Step>, events: &mut Vec<Sse>) {
        for step in steps {
            match step {
                Step::Begin(name) => {
                    self.close(events);
                    let (id, call_id) = (crate::id("fc"), crate::id("call"));
                    events.push(self.added(call_item(&id, &call_id, &name, "", "in_progress")));
                    self.open = Open::Call { id, call_id, name, arguments: String::new() };
                }
                Step::Arguments(text) => {
                    let index = self.output.len();
                    let Open::Call { id, arguments, .. } = &mut self.open else { continue };
                    arguments.push_str(&text);
                    let delta = json!({"item_id": id, "output_index": index, "delta": text});
                    events.push(self.event("response.function_call_arguments.delta", delta));
                }
                Step::End => self.close(events),
                Step::Text(text) => self.say(&text, events),
            }
        }
    }

    fn finish(&mut self, completion: &Completion, events: &mut Vec<Sse>) {
        self.close(events);
        if let Some(frame) = self.frame.take() {
            self.ended = Some(frame.ended(completion, std::mem::take(&mut self.output)));
        }
    }
}

impl Writer for ResponseWriter {
    fn begin(&mut self) -> Vec<Sse> {
        let Some(frame) = &self.frame else { return Vec::new() };
        let response = json!({"response": frame.value()});
        ["response.created", "response.in_progress"]
            .map(|name| self.event(name, response.clone()))
            .into()
    }

    fn write(&mut self, update: Update) -> Vec<Sse> {
        let mut events = Vec::new();
        match update.event {
            Event::Delta(Delta::Reasoning(text)) if self.format != ReasoningFormat::Hidden => {
                self.think(&text, &mut events);
            }
            Event::Delta(Delta::Content(text)) => self.say(&text, &mut events),
            Event::Delta(Delta::ToolCallText(text)) => {
                let steps = self.calls.push(&text);
                self.call(steps, &mut events);
            }
            Event::Delta(Delta::ToolCall(_)) => {
                let steps = self.calls.end();
                self.call(steps, &mut events);
            }
            Event::Delta(_) | Event::Logprob(_) => {}
            Event::Finished(completion) => self.finish(&completion, &mut events),
            Event::Failed(error) => {
                let body = ApiError::from(error).body(Dialect::OpenAi);
                let value = json!({
                    "code": body["error"]["type"],
                    "message": body["error"]["message"],
                    "param": body["error"]["param"],
                });
                events.push(self.event("error", value));
            }
        }
        events
    }

    fn end(&mut self) -> Vec<Sse> {
        let Some(response) = self.ended.take() else { return Vec::new() };
        let name = match response["status"].as_str() {
            Some("incomplete") => "response.incomplete",
            _ => "response.completed",
        };
        vec![self.event(name, json!({ "response": response }))]
    }
}
