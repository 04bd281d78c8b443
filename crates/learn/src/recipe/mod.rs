//! A recipe: everything a run depends on, as one TOML file.
//!
//! What is said of one method is in a table of its name, and exactly one of these is there:
//! `[pretrain]`, `[sft]`, `[preference]`, `[kto]`, `[reward_model]` or `[grpo]`. Any value can be given on
//! the command line too, as `grpo.completions=16`.

mod critic;
mod method;
mod preferences;
mod pretrain;
mod settings;

use std::path::{Path, PathBuf};

use model::Model;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use train::Network;

pub use critic::Critic;
pub use method::{Grpo, Reward, Sft, Source, Thinking, Turns};
pub use preferences::{Examples, Kto, Preference, RewardModel};
pub use pretrain::{ControlTokens, Pretrain, Shape, Tokenizer};
pub use settings::{Checkpoints, Evaluate, Lora, Optimizer, Schedule, What};

use crate::Error;
use crate::error::{io, recipe};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The model that is taught: a name of the catalogue, or a path. `[pretrain]` makes a new one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// The run folder. What is in it already is gone on with.
    pub out: PathBuf,
    /// What all chance in the run comes from.
    #[serde(default = "one")]
    pub seed: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// Most tokens that go through the network at a time: what bounds the memory. A text that is
    /// longer goes alone.
    #[serde(default = "micro_batch")]
    pub micro_batch_tokens: usize,
    /// Memory for activations that would otherwise be worked out again, in MiB.
    #[serde(default)]
    pub keep_activations_mib: usize,
    /// What of the model is learned.
    #[serde(default)]
    pub lora: Lora,
    /// How a step is taken.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// What is kept on disk.
    #[serde(default)]
    pub checkpoints: Checkpoints,
    /// How it is measured on the way.
    #[serde(default)]
    pub evaluate: Evaluate,
    /// Texts to be gone on with, by a new model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pretrain: Option<Pretrain>,
    /// Examples to be followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sft: Option<Sft>,
    /// Better answers to be preferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preference: Option<Preference>,
    /// Good answers to be sought and bad ones to be left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kto: Option<Kto>,
    /// Better answers to be told from worse ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward_model: Option<RewardModel>,
    /// Rewards to be sought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpo: Option<Grpo>,
}

fn one() -> u64 {
    1
}

fn micro_batch() -> usize {
    2048
}

/// Which method a recipe calls for.
#[derive(Clone, Copy, Debug)]
pub enum Method<'a> {
    /// A model from nothing.
    Pretrain(&'a Pretrain),
    /// Supervised fine-tuning.
    Sft(&'a Sft),
    /// Preference tuning without a reward model: DPO and its kin.
    Preference(&'a Preference),
    /// Preference tuning from answers that are each good or bad.
    Kto(&'a Kto),
    /// A reward model.
    RewardModel(&'a RewardModel),
    /// Group relative policy optimization.
    Grpo(&'a Grpo),
}

impl Method<'_> {
    /// As it is called in the TOML.
    pub fn name(&self) -> &'static str {
        match self {
            Method::Pretrain(_) => "pretrain",
            Method::Sft(_) => "sft",
            Method::Preference(_) => "preference",
            Method::Kto(_) => "kto",
            Method::RewardModel(_) => "reward_model",
            Method::Grpo(_) => "grpo",
        }
    }
}

impl Recipe {
    /// Reads a TOML file, with values that replace what it says, as `("grpo.completions", "16")`.
    ///
    /// # Errors
    /// The file can't be read, or isn't a recipe; the message names the field.
    pub fn open(path: &Path, replaced: &[(String, String)]) -> Result<Recipe, Error> {
        let text = std::fs::read_to_string(path).map_err(io(path, "read"))?;
        Recipe::parse(&text, replaced)
    }

    /// The same, from its text.
    ///
    /// # Errors
    /// As for [`Recipe::open`].
    pub fn parse(text: &str, replaced: &[(String, String)]) -> Result<Recipe, Error> {
        let mut table: Table =
            toml::from_str(text).map_err(|error| recipe("TOML", error.to_string()))?;
        for (key, value) in replaced {
            replace(&mut table, key, value)?;
        }
        let read: Recipe = serde_path_to_error::deserialize(Value::Table(table)).map_err(|e| {
            let field = e.path().to_string();
            recipe(field, e.into_inner().message().to_owned())
        })?;
        read.check()?;
        Ok(read)
    }

    /// The model with an adapter as it is before the first step, scoring at the temperature that
    /// the method draws at.
    ///
    /// # Errors
    /// A setting makes no sense, or the adapter to be gone on from can't be read or is another kind.
    pub fn network<'m>(&self, model: &'m Model) -> Result<Network<'m>, Error> {
        let mut network = self.lora.network(model, self.seed)?;
        if let Some(grpo) = &self.grpo {
            network.at_temperature(grpo.temperature);
        }
        Ok(network)
    }

    /// A reward model as it is before the first step.
    ///
    /// # Errors
    /// A setting makes no sense, or what is to be gone on from can't be read or is another kind.
    pub fn judge<'m>(&self, model: &'m Model) -> Result<Network<'m>, Error> {
        self.lora.judge(model, self.seed)
    }

    /// A value function of the model as it is before the first step; see [`Critic::from`].
    ///
    /// # Errors
    /// A setting makes no sense, or the reward model to begin with can't be read, is none, or is
    /// another kind.
    pub fn value_function<'m>(
        &self,
        critic: &Critic,
        model: &'m Model,
    ) -> Result<Network<'m>, Error> {
        let network = self.lora.scorer(model, self.seed, critic.from.as_deref());
        network.map_err(|error| match critic.from {
            Some(_) => recipe("grpo.critic.from", error.to_string()),
            None => error,
        })
    }

    /// The method whose table is there.
    ///
    /// # Panics
    /// Never for a recipe that was read.
    pub fn method(&self) -> Method<'_> {
        self.methods().next().expect("`check` saw to it that there is one")
    }

    fn methods(&self) -> impl Iterator<Item = Method<'_>> {
        let methods = [
            self.pretrain.as_ref().map(Method::Pretrain),
            self.sft.as_ref().map(Method::Sft),
            self.preference.as_ref().map(Method::Preference),
            self.kto.as_ref().map(Method::Kto),
            self.reward_model.as_ref().map(Method::RewardModel),
            self.grpo.as_ref().map(Method::Grpo),
        ];
        methods.into_iter().flatten()
    }

    /// What of the model is learned.
    pub fn learns(&self) -> What {
        if self.pretrain.is_some() { What::Everything } else { self.lora.learn }
    }

    fn check(&self) -> Result<(), Error> {
        let methods = self.methods().count();
        if methods != 1 {
            let problem = format!(
                "there must be one of [pretrain], [sft], [preference], [kto], [reward_model] and \
                 [grpo], and there are {methods}"
            );
            return Err(recipe("method", problem));
        }
        match (self.model.is_empty(), self.pretrain.is_some()) {
            (true, false) => return Err(recipe("model", "is missing: which one is to be taught?")),
            (false, true) => {
                let problem =
                    "is there, but [pretrain] makes a new one; pretrain.tokenizer.from names one";
                return Err(recipe("model", problem));
            }
            _ => {}
        }
        if self.steps == 0 {
            return Err(recipe("steps", "must be at least 1"));
        }
        if self.micro_batch_tokens == 0 {
            return Err(recipe("micro_batch_tokens", "must be at least 1"));
        }
        self.lora.check()?;
        self.optimizer.check()?;
        self.evaluate.check()?;
        match self.method() {
            Method::Pretrain(pretrain) => pretrain.check(&self.lora),
            Method::Sft(sft) => sft.check(),
            Method::Preference(preference) => preference.check(&self.lora),
            Method::Kto(kto) => kto.check(&self.lora),
            Method::RewardModel(reward_model) => reward_model.check(&self.lora),
            Method::Grpo(grpo) => grpo.check(&self.lora),
        }
    }

    /// What must be the same for a run to be gone on with: all but how long it is, what is kept and
    /// how memory is spent.
    pub fn fingerprint(&self) -> Recipe {
        Recipe {
            steps: 0,
            out: PathBuf::new(),
            keep_activations_mib: 0,
            checkpoints: Checkpoints::default(),
            ..self.clone()
        }
    }
}

/// Sets `a.b.c` of a table. What reads as a TOML value is one, anything else is a text.
fn replace(table: &mut Table, key: &str, value: &str) -> Result<(), Error> {
    let parsed = toml::from_str::<Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    let mut parts = key.split('.').peekable();
    let mut at = Value::Table(std::mem::take(table));
    let mut here = &mut at;
    while let Some(part) = parts.next() {
        let next = match here {
            Value::Array(list) => {
                let most = list.len();
                let place = part.parse::<usize>().ok().and_then(|i| list.get_mut(i));
                place
                    .ok_or_else(|| recipe(key, format!("{part:?} is none of its {most} places")))?
            }
            Value::Table(table) => {
                let empty = Value::Table(Table::new());
                table.entry(part.to_owned()).or_insert(empty)
            }
            _ => return Err(recipe(key, format!("has no {part:?}: it is a single value"))),
        };
        if parts.peek().is_none() {
            *next = parsed.clone();
        }
        here = next;
    }
    match at {
        Value::Table(changed) => *table = changed,
        _ => return Err(recipe(key, "is no field")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOY: &str = r#"
        model = "m"
        out = "runs/a"
        steps = 3

        [grpo]
        max_tokens = 64

        [[grpo.problems]]
        benchmark = "arithmetic"

        [[grpo.rewards]]
        weight = 1.0
    "#;

    fn with(key: &str, value: &str) -> Result<Recipe, Error> {
        Recipe::parse(TOY, &[(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn values_are_replaced() {
        let recipe = with("grpo.completions", "16").unwrap();
        assert_eq!(recipe.grpo.as_ref().unwrap().completions, 16);
        assert_eq!(with("out", "runs/b").unwrap().out, Path::new("runs/b"));
        let recipe = with("grpo.rewards.0.weight", "0.5").unwrap();
        assert_eq!(recipe.grpo.unwrap().rewards[0].weight, 0.5);
        assert_eq!(
            with("optimizer.schedule", "cosine").unwrap().optimizer.schedule,
            Schedule::Cosine
        );
    }

    #[test]
    fn errors_name_the_field() {
        for (key, value, wanted) in [
            ("grpo.completion", "16", "completion"),
            ("grpo.completions", "many", "grpo.completions"),
            ("grpo.completions", "1", "grpo.completions"),
            ("grpo.rewards.7.weight", "1", "grpo.rewards.7.weight"),
            ("steps", "0", "steps"),
            ("steps.more", "0", "steps.more"),
            ("optimizer.learning_rate", "-1", "optimizer.learning_rate"),
            ("lora.rank", "0", "lora.rank"),
            ("sft.data", "[\"a.jsonl\"]", "method"),
        ] {
            let error = with(key, value).unwrap_err().to_string();
            assert!(error.contains(wanted), "{key}={value}: {error}");
        }
    }

    #[test]
    fn a_recipe_is_kept_as_json() {
        let recipe = with("seed", "7").unwrap();
        let text = serde_json::to_string(&recipe).unwrap();
        assert_eq!(serde_json::from_str::<Recipe>(&text).unwrap(), recipe);
    }
}
