//! A message while it is being said: blocks that begin, grow and end.

use axum::response::sse::Event as Sse;
use engine::{Completion, Delta, Event, Update};
use serde_json::{Value, json};

use super::{stop_reason, tool_use, usage};
use crate::answers::{Writer, named};
use crate::error::{ApiError, Dialect};
use crate::params::thinking::ReasoningFormat;
use crate::tools::{Calls, Step};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Thinking,
    Text,
    Call,
}

pub(super) struct MessageWriter {
    model: String,
    prompt_tokens: usize,
    format: ReasoningFormat,
    /// The block that is open.
    open: Option<Block>,
    /// Its number, or that of the next.
    index: usize,
    calls: Calls,
}

impl MessageWriter {
    pub(super) fn new(model: String, prompt_tokens: usize, format: ReasoningFormat) -> Self {
        Self { model, prompt_tokens, format, open: None, index: 0, calls: Calls::default() }
    }

    fn start(&self, block: Value) -> Sse {
        let value =
            json!({"type": "content_block_start", "index": self.index, "content_block": block});
        named("content_block_start", &value)
    }

    fn delta(&self, delta: Value) -> Sse {
        let value = json!({"type": "content_block_delta", "index": self.index, "delta": delta});
        named("content_block_delta", &value)
    }

    fn stop(&mut self) -> Sse {
        let value = json!({"type": "content_block_stop", "index": self.index});
        self.index += 1;
        named("content_block_stop", &value)
    }

    fn close(&mut self, events: &mut Vec<Sse>) {
        match self.open.take() {
            Some(Block::Thinking) => {
                events.push(self.delta(json!({"type": "signature_delta", "signature": ""})));
                events.push(self.stop());
            }
            Some(Block::Text | Block::Call) => events.push(self.stop()),
            None => {}
        }
    }

    fn say(&mut self, block: Block, text: &str, events: &mut Vec<Sse>) {
        if self.open != Some(block) {
            self.close(events);
            self.open = Some(block);
            events.push(self.start(match block {
                Block::Thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
                Block::Text | Block::Call => json!({"type": "text", "text": ""}),
            }));
        }
        events.push(self.delta(match block {
            Block::Thinking => json!({"type": "thinking_delta", "thinking": text}),
            Block::Text | Block::Call => json!({"type": "text_delta", "text": text}),
        }));
    }

    fn call(&mut self, steps: Vec<Step>, events: &mut Vec<Sse>) {
        for step in steps {
            match step {
                Step::Begin(name) => {
                    self.close(events);
                    events.push(self.start(tool_use(&name, json!({}))));
                    self.open = Some(Block::Call);
                }
                Step::Arguments(text) => events
                    .push(self.delta(json!({"type": "input_json_delta", "partial_json": text}))),
                Step::End => self.close(events),
                Step::Text(text) => self.say(Block::Text, &text, events),
            }
        }
    }

    fn finish(&mut self, completion: &Completion, events: &mut Vec<Sse>) {
        self.close(events);
        let value = json!({
            "type": "message_delta",
            "delta": {
                "stop_reason": stop_reason(completion),
                "stop_sequence": completion.stopped_by,
            },
            "usage": usage(completion),
        });
        events.push(named("message_delta", &value));
    }
}

impl Writer for MessageWriter {
    fn begin(&mut self) -> Vec<Sse> {
        let message = json!({
            "id": crate::id("msg"),
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": {
                "input_tokens": self.prompt_tokens,
                "cache_read_input_tokens": 0,
                "cache_creation_input_tokens": 0,
                "output_tokens": 0,
            },
        });
        vec![
            named("message_start", &json!({"type": "message_start", "message": message})),
            named("ping", &json!({"type": "ping"})),
        ]
    }

    fn write(&mut self, update: Update) -> Vec<Sse> {
        let mut events = Vec::new();
        match update.event {
            Event::Delta(Delta::Reasoning(text)) if self.format != ReasoningFormat::Hidden => {
                self.say(Block::Thinking, &text, &mut events);
            }
            Event::Delta(Delta::Content(text)) => self.say(Block::Text, &text, &mut events),
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
                events.push(named("error", &ApiError::from(error).body(Dialect::Anthropic)));
            }
        }
        events
    }

    fn end(&mut self) -> Vec<Sse> {
        vec![named("message_stop", &json!({"type": "message_stop"}))]
    }
}
