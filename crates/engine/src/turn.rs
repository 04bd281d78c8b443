//! One answer while it is being given: from tokens to the caller's stream.

use std::sync::Arc;
use std::time::Instant;

use text::splitter::{Event, Splitter};
use text::tokenizer::{StreamDecoder, Tokenizer};

use crate::stop::StopWatch;
use crate::{Completion, Delta, FinishReason, Flow, Request};

/// Turns tokens into deltas, and keeps the account.
pub(crate) struct Turn<'a> {
    decoder: StreamDecoder,
    splitter: Splitter,
    stop: StopWatch,
    on_delta: &'a mut dyn FnMut(Delta) -> Flow,
    started: Instant,
    /// The caller has been told that the thinking is over.
    told: bool,
    pub(crate) completion: Completion,
    /// Why the turn is over, once it is.
    pub(crate) ended: Option<FinishReason>,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(
        tokenizer: Arc<Tokenizer>,
        request: &Request,
        on_delta: &'a mut dyn FnMut(Delta) -> Flow,
    ) -> Turn<'a> {
        Turn {
            decoder: StreamDecoder::new(tokenizer),
            splitter: Splitter::new(request.tags.clone(), request.start),
            stop: StopWatch::new(&request.stop),
            on_delta,
            started: Instant::now(),
            told: false,
            completion: Completion::default(),
            ended: None,
        }
    }

    /// Whether the model is thinking at the moment.
    pub(crate) fn in_reasoning(&self) -> bool {
        self.splitter.in_reasoning()
    }

    /// Tells the caller how far the reading of the prompt is.
    pub(crate) fn prefill(&mut self, done: usize, total: usize) {
        self.send(Delta::Prefill { done, total });
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

    /// Ends the turn and gives the account.
    pub(crate) fn finish(mut self, reason: FinishReason) -> Completion {
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
        self.completion
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
                    self.content(text);
                    if stop {
                        self.ended = Some(FinishReason::Stop);
                    }
                }
                Event::ToolCall(call) => {
                    self.thought();
                    self.completion.tool_calls.push(call.clone());
                    self.send(Delta::ToolCall(call));
                }
                Event::ToolCallStart | Event::ToolCallText(_) => {}
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
        if (self.on_delta)(delta) == Flow::Stop && self.ended.is_none() {
            self.ended = Some(FinishReason::Cancelled);
        }
    }
}
