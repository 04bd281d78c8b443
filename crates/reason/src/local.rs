//! The engine in this process.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use engine::{Completion, Delta, Event, FinishReason, Flow, Request, Runtime, Toolset};
use text::splitter::{Start, Tags};
use text::tokenizer::{Special, StreamDecoder};
use text::tools::ToolChoice;

use crate::thought::TIME_IS_UP;
use crate::{Ask, Completer, Error, Opening, Prompt};

/// Updates that may wait for a caller: more than one step of one answer ever makes.
const AHEAD: usize = 1024;

/// A model that runs on this machine, shared by all who ask.
pub struct Local {
    runtime: Runtime,
    name: String,
    slots: usize,
    defaults: engine::sampler::Sampling,
}

impl Local {
    /// `slots` is how many answers run together.
    pub fn new(runtime: Runtime, name: impl Into<String>, slots: usize) -> Local {
        let defaults = runtime.engine().defaults().clone();
        Local { runtime, name: name.into(), slots, defaults }
    }

    /// The settings for what an [`Ask`] leaves open, in place of those in the model's own files.
    #[must_use]
    pub fn with_defaults(mut self, defaults: engine::sampler::Sampling) -> Local {
        self.defaults = defaults;
        self
    }

    /// The runtime.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// What the engine is asked.
    ///
    /// # Errors
    /// The template refuses the conversation, or a setting is out of range.
    pub fn request(&self, ask: &Ask) -> Result<Request, Error> {
        let mut request = self.prompt(ask)?;
        if let Some(begun) = &ask.begun {
            for piece in begun {
                match piece.tokens.is_empty() {
                    true => {
                        let last = request.prompt.last().copied();
                        let tokenizer = self.runtime.engine().tokenizer();
                        let tokens = tokenizer.encode_after(last, &piece.text, Special::Parse);
                        request.prompt.extend(tokens);
                    }
                    false => request.prompt.extend(&piece.tokens),
                }
            }
            // As it is: no tags to be seen, nothing to be trimmed.
            request.start = Start::Undecided;
            request.tags = Tags {
                thinking: Default::default(),
                tool_call: Default::default(),
                ..Tags::default()
            };
        }
        request.sampling = self.defaults.clone();
        ask.sampling.over(&mut request.sampling);
        request.sampling.seed = Some(ask.seed);
        request.max_tokens = ask.max_tokens;
        request.min_tokens = ask.min_tokens;
        request.max_thinking = ask.max_thinking;
        if ask.max_thinking.is_some_and(|most| most > 0) {
            request.thinking_close.insert_str(0, &format!("\n\n{TIME_IS_UP}"));
        }
        request.stop.clone_from(&ask.stop);
        request.logprobs = ask.logprobs;
        Ok(request)
    }

    fn prompt(&self, ask: &Ask) -> Result<Request, Error> {
        let engine = self.runtime.engine();
        Ok(match &ask.prompt {
            Prompt::Text(text) => engine.continuation(text),
            Prompt::Chat(messages) => {
                let mut extra = ask.template.clone();
                if ask.max_thinking == Some(0) {
                    // Understood by the templates of models that can do without thinking.
                    extra.entry("enable_thinking").or_insert(false.into());
                }
                let toolset = Toolset::new(engine, ask.tools.clone(), ToolChoice::Auto);
                let mut messages = messages.clone();
                let described = toolset.describe(&mut messages);
                let mut request = engine.chat(&messages, described.as_ref(), extra)?;
                if !ask.tools.is_empty() {
                    toolset.apply(engine, true, &mut request)?;
                }
                request
            }
        })
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        self.runtime.engine().tokenizer().encode(text, Special::Parse)
    }
}

impl Completer for Local {
    fn name(&self) -> &str {
        &self.name
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn complete(
        &self,
        ask: &Ask,
        receive: &mut dyn FnMut(Delta) -> Flow,
    ) -> Result<Completion, Error> {
        let request = self.request(ask)?;
        let (tell, told) = sync_channel(AHEAD);
        let pending = self.runtime.submit(request, move |update| {
            // The engine's thread must never wait: a caller that doesn't keep up is let go.
            match tell.try_send(update.event) {
                Ok(()) => Flow::Continue,
                Err(_) => Flow::Stop,
            }
        })?;
        let mut flow = Flow::Continue;
        loop {
            match told.recv() {
                Ok(Event::Delta(delta)) if flow == Flow::Continue => {
                    flow = receive(delta);
                    if flow == Flow::Stop {
                        pending.cancel();
                    }
                }
                Ok(Event::Delta(_) | Event::Logprob(_)) => {}
                Ok(Event::Finished(mut completion)) => {
                    // It may have come to its end before the stop was heard.
                    if flow == Flow::Stop {
                        completion.finish_reason = FinishReason::Cancelled;
                    }
                    return Ok(*completion);
                }
                Ok(Event::Failed(error)) => return Err(error.into()),
                Err(_) => {
                    let why = "the engine ended before the answer did".to_owned();
                    return Err(engine::Error::Broken(why).into());
                }
            }
        }
    }

    fn opening(&self, ask: &Ask) -> Result<Opening, Error> {
        let request = self.prompt(ask)?;
        let thinks = self.runtime.engine().thinks() && request.start != Start::After;
        Ok(Opening { start: request.start, tags: request.tags, thinks })
    }

    fn tokens_in(&self, text: &str) -> usize {
        self.encode(text).len()
    }

    fn text_of(&self, tokens: &[u32]) -> Option<(String, Vec<usize>)> {
        let tokenizer = self.runtime.engine().tokenizer();
        let mut decoder = StreamDecoder::within(Arc::clone(tokenizer));
        let mut text = String::new();
        let ends = tokens.iter().map(|token| {
            if !tokenizer.is_end_of_generation(*token) {
                text.push_str(&decoder.push(*token));
            }
            text.len()
        });
        let ends = ends.collect();
        Some((text, ends))
    }

    fn tells_logprobs(&self) -> bool {
        true
    }

    fn passes(&self) -> Option<u64> {
        Some(self.runtime.load().steps)
    }

    fn flops_per_token(&self) -> Option<f64> {
        Some(self.runtime.engine().model().operations(0, 1, 1, None))
    }
}
