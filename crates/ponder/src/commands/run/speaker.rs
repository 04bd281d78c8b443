//! From a conversation to an answer, by a model in this process or elsewhere.

use std::sync::Arc;

use anyhow::{Context, Result};
use engine::sampler::Sampling;
use engine::{Completion, Delta, Flow, Runtime, Scheduler};
use reason::{Ask, Completer, Local, Pool};
use serde_json::{Value, json};
use text::template::Message;
use text::tools::Tool;

use crate::endpoint_arg;
use crate::engine_arg::EngineArg;
use crate::keep_arg::KeepArg;
use crate::model_arg::ResolvedModel;
use crate::sampling_arg::SamplingArgs;
use crate::terminal::chat::Answer;
use crate::terminal::conversation::{Budget, Conversation, Role, Turn};

/// What applies to every answer.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most tokens of an answer, thinking included.
    pub max_tokens: Option<usize>,
    /// Texts that end an answer.
    pub stop: Vec<String>,
    /// What the model may call.
    pub tools: Vec<Tool>,
}

/// A model that answers conversations.
pub struct Speaker {
    completer: Box<dyn Completer>,
    context: Option<usize>,
    sampling: reason::Sampling,
    seed: u64,
    settings: Settings,
    /// The engine's thread, and where what it has read is kept.
    kept: Option<(Runtime, KeepArg)>,
}

impl Speaker {
    /// Loads a model. Warns where greedy sampling is asked of one that thinks.
    pub fn here(
        model: &ResolvedModel,
        engine_arg: &EngineArg,
        ctx: Option<usize>,
        keep: &KeepArg,
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
        let context = engine.context_length();
        let mut scheduler = Scheduler::new(Arc::new(engine), engine_arg.scheduling())?;
        keep.bring_back(&mut scheduler)?;
        let runtime = Runtime::start(scheduler).context("cannot start the engine's thread")?;
        Ok(Self {
            kept: Some((runtime.clone(), keep.clone())),
            completer: Box::new(Local::new(runtime, &*model.name, 1).with_defaults(sampling)),
            context: Some(context),
            sampling: reason::Sampling::default(),
            seed,
            settings,
        })
    }

    /// Asks a model elsewhere.
    pub fn elsewhere(pool: Pool, flags: &SamplingArgs, settings: Settings) -> Result<Self> {
        flags.over(Sampling::default(), None)?;
        Ok(Self {
            kept: None,
            completer: Box::new(pool),
            context: None,
            sampling: endpoint_arg::sent(flags)?,
            seed: flags.seed.unwrap_or_else(engine::sampler::random_seed),
            settings,
        })
    }

    /// Keeps what was read, if that was asked for.
    pub fn keep(&self) -> Result<()> {
        match &self.kept {
            Some((runtime, keep)) => keep.keep(runtime),
            None => Ok(()),
        }
    }

    /// The seed of the first attempt at an answer.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

/// Turns as chat templates have them.
fn messages(turns: &[Turn]) -> Vec<Message> {
    // Calls that no result was told of yet.
    let mut open = std::collections::VecDeque::new();
    let messages = turns.iter().enumerate().map(|(at, turn)| {
        let role = match turn.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        };
        let id = |call: usize| format!("call_{at}_{call}");
        let calls = turn.calls.iter().enumerate().map(|(i, call)| {
            let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
            json!({"id": id(i), "type": "function",
                   "function": {"name": call.name, "arguments": arguments}})
        });
        let calls: Vec<Value> = calls.collect();
        open.extend((0..calls.len()).map(id));
        let is_result = turn.role == Role::Tool;
        Message {
            reasoning_content: (!turn.reasoning.is_empty()).then(|| turn.reasoning.clone()),
            tool_call_id: is_result.then(|| open.pop_front()).flatten(),
            name: is_result.then(|| turn.name.clone()),
            tool_calls: (!calls.is_empty()).then_some(Value::Array(calls)),
            ..Message::new(role, turn.content.clone())
        }
    });
    messages.collect()
}

impl Answer for Speaker {
    fn name(&self) -> &str {
        self.completer.name()
    }

    fn context_length(&self) -> Option<usize> {
        self.context
    }

    fn answer(
        &mut self,
        conversation: &Conversation,
        attempt: u64,
        receive: &mut dyn FnMut(Delta) -> Flow,
    ) -> Result<Completion> {
        let ask = Ask {
            sampling: self.sampling.clone(),
            seed: self.seed.wrapping_add(attempt),
            max_tokens: self.settings.max_tokens,
            max_thinking: match conversation.budget {
                Budget::Unlimited => None,
                Budget::Off => Some(0),
                Budget::Tokens(n) => Some(n),
            },
            stop: self.settings.stop.clone(),
            tools: self.settings.tools.clone(),
            ..Ask::chat(messages(conversation.turns()))
        };
        // Calls that are going to be made are told of by whoever makes them.
        let made = !ask.tools.is_empty();
        Ok(self.completer.complete(&ask, &mut |delta| match delta {
            Delta::ToolCall(_) | Delta::ToolCallText(_) if made => Flow::Continue,
            delta => receive(delta),
        })?)
    }
}
