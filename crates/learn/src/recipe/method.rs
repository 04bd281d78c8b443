//! What is said of one method.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use verify::check::Check;

use super::Critic;
use super::settings::{Lora, What};
use crate::Error;
use crate::error::recipe;
use crate::objective::Baseline;
use crate::objective::PolicySettings as Objective;

/// Colder than this all completions are one, and the gradient is as much larger.
const MIN_TEMPERATURE: f32 = 0.05;
const MAX_TEMPERATURE: f32 = 5.0;

/// Examples to be followed: supervised fine-tuning, instruction tuning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sft {
    /// Files of JSON lines; see [`crate::data::shapes`] for what a line may look like.
    pub data: Vec<PathBuf>,
    /// Files held out, which [`super::Evaluate`] takes its examples from. Without them examples of
    /// `data` are held out.
    #[serde(default)]
    pub held_out: Vec<PathBuf>,
    /// Texts of a step.
    #[serde(default = "batch")]
    pub batch: usize,
    /// A longer text is left out, and counted.
    #[serde(default = "max_tokens")]
    pub max_tokens: usize,
    /// What happens to the thinking of the assistant's turns.
    #[serde(default)]
    pub thinking: Thinking,
    /// Which of the assistant's turns are learned.
    #[serde(default)]
    pub turns: Turns,
}

/// What happens to the thinking of the assistant's turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Thinking {
    /// It is learned where it is the last turn's; earlier turns are shown without theirs, as when
    /// the model is asked.
    #[default]
    Keep,
    /// No turn has any.
    Drop,
}

/// Which of the assistant's turns are learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Turns {
    /// All that are shown as they were written.
    #[default]
    All,
    /// The last.
    Last,
}

pub(super) fn batch() -> usize {
    16
}

pub(super) fn max_tokens() -> usize {
    2048
}

impl Sft {
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.data.is_empty() {
            return Err(recipe("sft.data", "names no file"));
        }
        if self.batch == 0 {
            return Err(recipe("sft.batch", "must be at least 1"));
        }
        Ok(())
    }
}

/// Where problems come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// How a problem is put and checked: one of `ponder eval`'s benchmarks, by name, or its TOML
    /// file. Only the share of generated tasks that is for training is learned from.
    pub benchmark: String,
    /// The file of its items; needed where the benchmark has no generator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<PathBuf>,
    /// The file of the items that are held out; without it, items of `items` are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<PathBuf>,
    /// How hard generated tasks are, from 1 to 10: each is drawn as often as the model's answers
    /// to it differ.
    #[serde(default = "difficulties")]
    pub difficulties: Vec<u32>,
    /// How hard those are that are held out; if none, as hard as those that are learned from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_out_difficulties: Vec<u32>,
    /// How often it is drawn, beside the other sources.
    #[serde(default = "one")]
    pub weight: f64,
}

fn difficulties() -> Vec<u32> {
    vec![3]
}

/// Part of what a completion earns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reward {
    /// What it is called in the figures; `correct` if it is the problem's own check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What its score, from 0 to 1, is multiplied with.
    #[serde(default = "one")]
    pub weight: f64,
    /// What is checked; if neither it nor a model is given, what the problem itself asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
    /// A reward model, whose word for the completion is taken, whatever its size: the adapter of a
    /// `[reward_model]` recipe for the same model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
}

impl Reward {
    /// What it is called in the figures.
    pub fn name(&self) -> &str {
        match (&self.name, &self.check, &self.model) {
            (Some(name), ..) => name,
            (None, Some(_), _) => "check",
            (None, None, Some(_)) => "model",
            (None, None, None) => "correct",
        }
    }
}

/// Rewards to be sought: group relative policy optimization and what came after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grpo {
    /// Where problems come from.
    pub problems: Vec<Source>,
    /// What a completion earns: the sum of these.
    pub rewards: Vec<Reward>,
    /// Problems of a step.
    #[serde(default = "eight")]
    pub prompts: usize,
    /// Completions of each: the group.
    #[serde(default = "eight")]
    pub completions: usize,
    /// Most tokens of a completion.
    pub max_tokens: usize,
    /// What completions are drawn at, and learned at: below 1 the model strays less from what it
    /// thinks best, so that a weak one is right more often.
    #[serde(default = "one")]
    pub temperature: f32,
    /// Tokens before `max_tokens` over which a completion loses up to 1, the longer it is (DAPO's
    /// soft overlong punishment).
    #[serde(default)]
    pub overlong_tokens: usize,
    /// Completions that reached `max_tokens` are not learned from (DAPO's overlong filtering).
    #[serde(default)]
    pub leave_out_truncated: bool,
    /// Problems whose completions all earn the same are replaced, in up to so many further rounds
    /// of drawing (DAPO's dynamic sampling).
    #[serde(default)]
    pub resample_rounds: usize,
    /// What rewards are held against, without a critic.
    #[serde(default)]
    pub baseline: Baseline,
    /// A value function that they are held against instead: PPO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critic: Option<Critic>,
    /// Optimizer steps that one step's completions are split into.
    #[serde(default = "one")]
    pub minibatches: usize,
    /// How often they are gone through.
    #[serde(default = "one")]
    pub epochs: usize,
    /// The loss.
    #[serde(default)]
    pub objective: Objective,
}

fn one<T: From<u8>>() -> T {
    T::from(1)
}

fn eight() -> usize {
    8
}

impl Grpo {
    pub(super) fn check(&self, lora: &Lora) -> Result<(), Error> {
        if lora.learn != What::Adapter {
            let problem =
                "rewards are sought with an adapter: the sampler needs the model as it is";
            return Err(recipe("lora.learn", problem));
        }
        // Who has no siblings can only be held against a value, or against everybody.
        let alone = self.critic.is_some() || !self.baseline.needs_spread();
        let siblings = if alone { 1 } else { 2 };
        for (field, n, least) in [
            ("problems", self.problems.len(), 1),
            ("rewards", self.rewards.len(), 1),
            ("prompts", self.prompts, 1),
            ("completions", self.completions, siblings),
            ("max_tokens", self.max_tokens, 1),
            ("minibatches", self.minibatches, 1),
            ("epochs", self.epochs, 1),
        ] {
            if n < least {
                let problem = format!("must be at least {least}, not {n}");
                return Err(recipe(format!("grpo.{field}"), problem));
            }
        }
        if self.minibatches > self.prompts {
            let problem = format!("{} of {} prompts", self.minibatches, self.prompts);
            return Err(recipe("grpo.minibatches", problem));
        }
        if !(MIN_TEMPERATURE..=MAX_TEMPERATURE).contains(&self.temperature) {
            let problem = format!(
                "{} is not within {MIN_TEMPERATURE} to {MAX_TEMPERATURE}",
                self.temperature
            );
            return Err(recipe("grpo.temperature", problem));
        }
        if self.overlong_tokens > self.max_tokens {
            let problem = format!("are more than grpo.max_tokens = {}", self.max_tokens);
            return Err(recipe("grpo.overlong_tokens", problem));
        }
        if let Some(critic) = &self.critic {
            critic.check()?;
            if self.completions == 1 && self.resample_rounds > 0 {
                let problem = "one completion of a problem always earns what all of them do";
                return Err(recipe("grpo.resample_rounds", problem));
            }
        }
        for (i, source) in self.problems.iter().enumerate() {
            let all = source.difficulties.iter().chain(&source.held_out_difficulties);
            let hardest = verify::tasks::HARDEST;
            if let Some(n) = all.clone().find(|n| !(1..=hardest).contains(*n)) {
                let field = format!("grpo.problems.{i}.difficulties");
                return Err(recipe(field, format!("{n} is not within 1 to {hardest}")));
            }
            if source.difficulties.is_empty() {
                return Err(recipe(format!("grpo.problems.{i}.difficulties"), "are none"));
            }
            if !source.weight.is_finite() || source.weight <= 0.0 {
                let problem = format!("{} is no positive number", source.weight);
                return Err(recipe(format!("grpo.problems.{i}.weight"), problem));
            }
        }
        let weights = self.rewards.iter().map(|r| r.weight).enumerate();
        for (i, weight) in weights {
            if !weight.is_finite() {
                return Err(recipe(format!("grpo.rewards.{i}.weight"), "is no number"));
            }
            if self.rewards[i].check.is_some() && self.rewards[i].model.is_some() {
                let problem = "is there beside a check; make them two rewards";
                return Err(recipe(format!("grpo.rewards.{i}.model"), problem));
            }
        }
        Ok(())
    }
}
