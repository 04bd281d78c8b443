//! Completions of problems, drawn by the model as it is now.

use std::collections::HashMap;
use std::sync::Arc;

use engine::sampler::Sampling;
use engine::{Engine, Event, FinishReason, Lora, Request, RequestId, Scheduler, SchedulerOptions};
use reason::Prompt;
use text::template::Message;

use crate::Error;

/// One completion, and what it was drawn from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawn {
    /// What was generated, the end of the turn included where the model came to it.
    pub tokens: Vec<u32>,
    /// The sampler's `log p` of each, at the temperature it drew at.
    pub log_probs: Vec<f32>,
    /// The thinking.
    pub reasoning: String,
    /// The answer.
    pub answer: String,
    /// It was cut off.
    pub truncated: bool,
}

/// Draws many completions together, from the whole distribution at a temperature: with nothing cut
/// off it and no penalties, which is what the gradient takes for granted.
pub struct Sampler {
    engine: Arc<Engine>,
    scheduler: Scheduler,
}

/// How completions are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a> {
    /// The adapter.
    pub lora: &'a Lora,
    /// Completions of each prompt.
    pub completions: usize,
    /// Most tokens of each.
    pub max_tokens: usize,
    /// 0: the most likely token each time, instead of chance.
    pub temperature: f32,
    /// What chance comes from.
    pub seed: u64,
}

/// What is told while completions are drawn: how many tokens there are, and how many completions are
/// finished. False stops the drawing.
pub type Watch<'a> = dyn FnMut(usize, usize) -> bool + 'a;

impl Sampler {
    /// A sampler for up to `parallel` completions at a time of up to `room` tokens, prompts included.
    ///
    /// # Errors
    /// The cache can't be made.
    pub fn new(engine: Arc<Engine>, parallel: usize, room: usize) -> Result<Sampler, Error> {
        let context = engine.context_length();
        let tokens = (parallel * room.min(context)).max(context);
        let options = SchedulerOptions {
            parallel,
            kv_tokens: Some(tokens),
            ngram: false,
            ..SchedulerOptions::default()
        };
        let scheduler = Scheduler::new(Arc::clone(&engine), options)?;
        Ok(Sampler { engine, scheduler })
    }

    /// The tokens that a problem is put with.
    ///
    /// # Errors
    /// The template refuses the conversation.
    pub fn prompt(&self, prompt: &Prompt) -> Result<Request, Error> {
        Ok(match prompt {
            Prompt::Text(text) => self.engine.continuation(text),
            Prompt::Chat(messages) => {
                let messages: &[Message] = messages;
                self.engine.chat(messages, None, serde_json::Map::new())?
            }
        })
    }

    /// Draws completions of all prompts, `[prompt][completion]`. None if `watch` stopped it.
    ///
    /// The result depends on the arguments alone: nothing is left over from what was drawn before.
    ///
    /// # Errors
    /// A prompt doesn't fit the context, or the model can't be run.
    pub fn draw(
        &mut self,
        prompts: &[Request],
        how: Draw<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Vec<Vec<Drawn>>>, Error> {
        self.scheduler.forget();
        let mut places: HashMap<RequestId, usize> = HashMap::new();
        let mut drawn = vec![vec![Drawn::default(); how.completions]; prompts.len()];
        for (i, prompt) in prompts.iter().enumerate() {
            let seed = how.seed.wrapping_add((i * how.completions) as u64);
            let temperature = how.temperature;
            let request = Request {
                sampling: Sampling { temperature, seed: Some(seed), ..Sampling::default() },
                logprobs_at: (temperature > 0.0).then_some(temperature),
                max_tokens: Some(how.max_tokens),
                n: how.completions,
                logprobs: Some(0),
                adapter: Some(how.lora.clone()),
                no_speculation: true,
                ..prompt.clone()
            };
            places.insert(self.scheduler.submit(request)?, i);
        }
        let (mut tokens, mut finished) = (0, 0);
        while !self.scheduler.is_idle() {
            for update in self.scheduler.step()? {
                match update.event {
                    Event::Delta(_) => {}
                    Event::Logprob(_) => tokens += 1,
                    Event::Failed(error) => {
                        self.scheduler.abandon();
                        return Err(error.into());
                    }
                    Event::Finished(completion) => {
                        finished += 1;
                        let at = &mut drawn[places[&update.request]][update.choice];
                        *at = Drawn {
                            log_probs: completion.logprobs.iter().map(|l| l.logprob).collect(),
                            tokens: completion.tokens,
                            reasoning: completion.reasoning,
                            answer: completion.content,
                            truncated: completion.finish_reason == FinishReason::Length,
                        };
                    }
                }
            }
            if !watch(tokens, finished) {
                self.scheduler.abandon();
                return Ok(None);
            }
        }
        Ok(Some(drawn))
    }
}
