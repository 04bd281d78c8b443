//! Completions drawn in this process, by the model that is trained.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use engine::sampler::Sampling;
use engine::{Engine, Event, FinishReason, Lora, Request, RequestId, Scheduler, SchedulerOptions};
use train::Network;

use super::{Draw, Drawn, Rollouts, Watch};
use crate::Error;

/// Draws many completions together, from the whole distribution at a temperature: with nothing cut
/// off it and no penalties, which is what the gradient takes for granted.
pub struct Sampler {
    scheduler: Scheduler,
    lora: Option<Lora>,
}

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
        let scheduler = Scheduler::new(engine, options)?;
        Ok(Sampler { scheduler, lora: None })
    }
}

impl Rollouts for Sampler {
    fn follow(&mut self, network: &Network<'_>) -> Result<(), Error> {
        self.lora = Some(Lora::new(network.adapter(Path::new("the adapter in training"))?));
        Ok(())
    }

    /// The result depends on the adapter and the arguments alone: nothing is left over from what was
    /// drawn before.
    fn draw(
        &mut self,
        prompts: &[Request],
        how: Draw,
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
                adapter: self.lora.clone(),
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
                            log_probs: Some(
                                completion.logprobs.iter().map(|l| l.logprob).collect(),
                            ),
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
