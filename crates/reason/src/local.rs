//! The engine in this process.

use std::sync::mpsc::sync_channel;

use engine::{Completion, Delta, Event, FinishReason, Flow, Request, Runtime};

use crate::{Ask, Completer, Error, Prompt};

/// What a model is made to think before its thinking is closed at its limit.
const TIME_IS_UP: &str = "\n\nI have to answer now, with what I have found so far.";
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
        let engine = self.runtime.engine();
        let mut request = match &ask.prompt {
            Prompt::Text(text) => engine.continuation(text),
            Prompt::Chat(messages) => {
                let mut extra = ask.template.clone();
                if ask.max_thinking == Some(0) {
                    // Understood by the templates of models that can do without thinking.
                    extra.entry("enable_thinking").or_insert(false.into());
                }
                engine.chat(messages, None, extra)?
            }
        };
        request.sampling = self.defaults.clone();
        ask.sampling.over(&mut request.sampling);
        request.sampling.seed = Some(ask.seed);
        request.max_tokens = ask.max_tokens;
        request.max_thinking = ask.max_thinking;
        if ask.max_thinking.is_some_and(|most| most > 0) {
            request.thinking_close.insert_str(0, TIME_IS_UP);
        }
        request.stop.clone_from(&ask.stop);
        Ok(request)
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
        let _pending = self.runtime.submit(request, move |update| {
            // The engine's thread must never wait: a caller that doesn't keep up is let go.
            match tell.try_send(update.event) {
                Ok(()) => Flow::Continue,
                Err(_) => Flow::Stop,
            }
        })?;
        let mut so_far = Completion::default();
        loop {
            match told.recv() {
                Ok(Event::Delta(delta)) => {
                    match &delta {
                        Delta::Reasoning(text) => so_far.reasoning.push_str(text),
                        Delta::Content(text) => so_far.content.push_str(text),
                        _ => {}
                    }
                    if receive(delta) == Flow::Stop {
                        so_far.finish_reason = FinishReason::Cancelled;
                        return Ok(so_far);
                    }
                }
                Ok(Event::Logprob(_)) => {}
                Ok(Event::Finished(completion)) => return Ok(*completion),
                Ok(Event::Failed(error)) => return Err(error.into()),
                Err(_) => {
                    let why = "the engine ended before the answer did".to_owned();
                    return Err(engine::Error::Broken(why).into());
                }
            }
        }
    }
}
