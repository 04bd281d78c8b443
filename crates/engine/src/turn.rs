//! One answer while it is being given: from tokens to the caller's stream.

use std::sync::Arc;
use std::time::Instant;

use text::splitter::{Event, Splitter, Start};
use text::tokenizer::{StreamDecoder, Tokenizer};

use crate::stop::StopWatch;
use crate::{Completion, Delta, FinishReason, Request};

/// Turns tokens into deltas, and keeps the account.
pub(crate) struct Turn {
    decoder: StreamDecoder,
    splitter: Splitter,
    stop: StopWatch,
    /// What the caller hasn't been told yet.
    deltas: Vec<Delta>,
    started: Instant,
    /// The caller has been told that the thinking is over.
    told: bool,
    pub(crate) completion: Completion,
    /// The turn ends with the first call.
    one_call: bool,
    /// The prompt has left it open whether the model thinks.
    may_open: bool,
    /// Why the turn is over, once it is.
    pub(crate) ended: Option<FinishReason>,
}

impl Turn {
    pub(crate) fn new(tokenizer: Arc<Tokenizer>, request: &Request) -> Turn {
        Turn {
            decoder: match request.prompt.last() {
                Some(last) => StreamDecoder::after(tokenizer, *last),
                None => StreamDecoder::new(tokenizer),
            },
            splitter: Splitter::new(request.tags.clone(), request.start),
            stop: StopWatch::new(&request.stop),
            deltas: Vec::new(),
            started: Instant::now(),
            told: false,
            one_call: request.one_call,
            may_open: request.start == Start::Undecided,
            completion: Completion::default(),
            ended: None,
        }
    }

    /// Whether the model is thinking at the moment.
    pub(crate) fn in_reasoning(&self) -> bool {
        self.splitter.in_reasoning()
    }

    /// Whether the model is within a tool call that has begun with a tag. (One without tags is only
    /// known for one when part of it has been said: no grammar can be begun there.)
    pub(crate) fn in_tagged_call(&self) -> bool {
        self.splitter.in_tagged_call()
    }

    /// Tells the caller how far the reading of the prompt is.
    pub(crate) fn prefill(&mut self, done: usize, total: usize) {
        self.send(Delta::Prefill { done, total });
    }

    /// The request has waited long enough: its prompt is going to be read.
    pub(crate) fn begin(&mut self, arrived: Instant) {
        self.completion.timings.queue_s = arrived.elapsed().as_secs_f64();
        self.started = Instant::now();
    }

    /// Another answer to the same prompt, which is read: it begins now.
    pub(crate) fn branch_from(&mut self, other: &Turn) {
        self.completion.usage = other.completion.usage;
        self.completion.timings = other.completion.timings;
        self.started = other.started;
    }

    /// Whether the model might still open its thinking.
    pub(crate) fn may_open_thinking(&self) -> bool {
        self.may_open && self.completion.tokens.is_empty()
    }

    /// The prompt is read: generation begins.
    pub(crate) fn start(&mut self) {
        self.completion.timings.prefill_s = self.started.elapsed().as_secs_f64();
        self.started = Instant::now();
    }

    /// Takes one generated token. `visible` is false for the one that ends the turn.
    pub(crate) fn token(&mut self, token: u32, visible: bool) {
        self.completion.tokens.push(token);
        self.completion.usage.completion_tokens += 1;
        let before = self.splitter.in_reasoning();
        self.completion.usage.reasoning_tokens += usize::from(before);
        if visible {
            let text = self.decoder.push(token);
            let events = self.splitter.push(&text);
            self.pass_on(events);
        }
        let after = self.splitter.in_reasoning();
        self.completion.usage.reasoning_tokens += usize::from(after && !before);
        if before && !after {
            self.completion.timings.thinking_s = self.started.elapsed().as_secs_f64();
        }
    }

    /// What the caller hasn't been told yet.
    pub(crate) fn take_deltas(&mut self) -> Vec<Delta> {
        std::mem::take(&mut self.deltas)
    }

    /// Ends the turn: what was held back goes out, and the account is closed.
    pub(crate) fn finish(&mut self, reason: FinishReason) {
        let still_thinking = self.splitter.in_reasoning();
        let rest = self.decoder.finish();
        let mut events = self.splitter.push(&rest);
        events.extend(self.splitter.finish());
        let reason = self.ended.unwrap_or(reason);
        let stopped = self.ended.is_some();
        self.ended = None;
        if !stopped {
            self.pass_on(events);
            if self.ended.is_none() {
                let held = self.stop.finish();
                self.content(held);
            }
        }
        let reason = self.ended.unwrap_or(reason);
        let timings = &mut self.completion.timings;
        timings.decode_s = self.started.elapsed().as_secs_f64();
        if still_thinking && self.completion.usage.reasoning_tokens > 0 {
            timings.thinking_s = timings.decode_s;
        }
        self.completion.finish_reason = reason;
    }

    fn pass_on(&mut self, events: Vec<Event>) {
        for event in events {
            if self.ended.is_some() {
                return;
            }
            match event {
                Event::Reasoning(text) => {
                    self.completion.reasoning.push_str(&text);
                    self.send(Delta::Reasoning(text));
                }
                Event::Content(text) => {
                    self.thought();
                    let (text, stop) = self.stop.push(&text);
                    self.completion.stopped_by = stop.map(str::to_owned);
                    self.content(text);
                    if self.completion.stopped_by.is_some() {
                        self.ended = Some(FinishReason::Stop);
                    }
                }
                Event::ToolCallStart => self.thought(),
                Event::ToolCallText(text) => {
                    self.send(Delta::ToolCallText(text));
                }
                Event::ToolCall(call) => {
                    self.completion.tool_calls.push(call.clone());
                    self.send(Delta::ToolCall(call));
                    if self.one_call {
                        self.ended = Some(FinishReason::Stop);
                    }
                }
                Event::ContentWasReasoning => {
                    let held = self.stop.finish();
                    self.content(held);
                    let content = std::mem::take(&mut self.completion.content);
                    self.completion.reasoning.push_str(&content);
                    let usage = &mut self.completion.usage;
                    usage.reasoning_tokens = usage.completion_tokens;
                    let now = self.started.elapsed().as_secs_f64();
                    self.completion.timings.thinking_s = now;
                    self.send(Delta::ContentWasReasoning);
                }
            }
        }
    }

    /// Before the first of the answer: the thinking, if there was any, is over.
    fn thought(&mut self) {
        let tokens = self.completion.usage.reasoning_tokens;
        if tokens > 0 && !self.told {
            self.told = true;
            self.send(Delta::Thought { tokens });
        }
    }

    fn content(&mut self, text: String) {
        if !text.is_empty() {
            self.completion.content.push_str(&text);
            self.send(Delta::Content(text));
        }
    }

    fn send(&mut self, delta: Delta) {
        self.deltas.push(delta);
    }
}
