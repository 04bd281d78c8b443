//! The model in this process: from a conversation to a request.

use std::sync::Arc;

use anyhow::{Context, Result};
use engine::sampler::Sampling;
use engine::{Completion, Delta, Engine, Flow, Request, Scheduler};
use serde_json::Map;
use text::template::Message;

use crate::engine_arg::EngineArg;
use crate::model_arg::ResolvedModel;
use crate::sampling_arg::SamplingArgs;
use crate::terminal::chat::Answer;
use crate::terminal::conversation::{Budget, Conversation, Role, Turn};

/// What the model says when its thinking has to end before it would have.
const TIME_IS_UP: &str = "\n\nI have to answer now, with what I have found so far.";

/// What applies to every answer.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most tokens of an answer, thinking included.
    pub max_tokens: Option<usize>,
    /// Texts that end an answer.
    pub stop: Vec<String>,
}

/// A loaded model that answers conversations.
pub struct Local {
    engine: Arc<Engine>,
    scheduler: Scheduler,
    name: String,
    sampling: Sampling,
    seed: u64,
    settings: Settings,
}

impl Local {
    /// Loads a model. Warns where greedy sampling is asked of one that thinks.
    pub fn load(
        model: &ResolvedModel,
        engine_arg: &EngineArg,
        ctx: Option<usize>,
        flags: &SamplingArgs,
        settings: Settings,
    ) -> Result<Self> {
        let engine =
            engine_arg.load(model, ctx).with_context(|| format!("cannot load {}", model.name))?;
        if !engine.has_template() {
            eprintln!(
                "warning: {} has no chat template; it is asked in ChatML, which it may not know",
                model.name
            );
        }
        let row = model.row.as_ref();
        let recommended = row.map(|row| &row.sampling);
        let mut sampling = flags.over(engine.defaults().clone(), recommended)?;
        if sampling.dry_multiplier > 0.0 {
            sampling.dry_sequence_breakers = flags.breakers(engine.tokenizer());
        }
        if sampling.is_greedy() && (engine.thinks() || row.is_some_and(|row| row.thinks)) {
            eprintln!(
                "warning: {} thinks, and with temperature 0 such models tend to repeat themselves \
                 without end; their makers advise 0.6",
                model.name
            );
        }
        // Chosen here so that it can be reported, and counted on from for another attempt.
        let seed = sampling.seed.take().unwrap_or_else(engine::sampler::random_seed);
        let engine = Arc::new(engine);
        let scheduler = Scheduler::new(Arc::clone(&engine), engine_arg.scheduling())?;
        Ok(Self { engine, scheduler, name: model.name.clone(), sampling, seed, settings })
    }

    /// The seed of the first attempt at an answer.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    fn request(&self, conversation: &Conversation, attempt: u64) -> Result<Request> {
        let messages: Vec<Message> = conversation.turns().iter().map(message).collect();
        let mut extra = Map::new();
        if conversation.budget == Budget::Off {
            // Understood by the templates of models that can do without thinking.
            extra.insert("enable_thinking".to_owned(), false.into());
        }
        let mut request = self.engine.chat(&messages, None, extra)?;
        request.sampling =
            Sampling { seed: Some(self.seed.wrapping_add(attempt)), ..self.sampling.clone() };
        request.max_tokens = self.settings.max_tokens;
        request.stop.clone_from(&self.settings.stop);
        match conversation.budget {
            Budget::Unlimited => {}
            Budget::Off => request.max_thinking = Some(0),
            Budget::Tokens(n) => {
                request.max_thinking = Some(n);
                request.thinking_close.insert_str(0, TIME_IS_UP);
            }
        }
        Ok(request)
    }
}

fn message(turn: &Turn) -> Message {
    let role = match turn.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    let reasoning = (!turn.reasoning.is_empty()).then(|| turn.reasoning.clone());
    Message { reasoning_content: reasoning, ..Message::new(role, turn.content.clone()) }
}

impl Answer for Local {
    fn name(&self) -> &str {
        &self.name
    }

    fn context_length(&self) -> usize {
        self.engine.context_length()
    }

    fn answer(
        &mut self,
        conversation: &Conversation,
        attempt: u64,
        receive: &mut dyn FnMut(Delta) -> Flow,
    ) -> Result<Completion> {
        let request = self.request(conversation, attempt)?;
        Ok(self.scheduler.complete(&request, receive)?)
    }
}
