//! A trained reward model as a verifier: for choosing between thoughts, and from the shell.

use std::path::Path;
use std::sync::Arc;

use engine::{Engine, Lora};
use model::Adapter;
use verify::{Attempt, CannotTell, Verdict, Verifier};

use crate::Error;
use crate::data::answered;

/// An adapter with a head that scores texts, and the model it was trained on.
pub struct RewardVerifier {
    engine: Arc<Engine>,
    lora: Lora,
}

/// The adapter at `path`, if it is one that scores texts.
pub(crate) fn load(path: &Path, engine: &Engine) -> Result<Lora, String> {
    let adapter = Adapter::load(path, engine.model()).map_err(|error| error.to_string())?;
    let lora = Lora::new(adapter);
    match lora.scores() {
        true => Ok(lora),
        false => Err(format!("{} has no head that scores texts", path.display())),
    }
}

impl RewardVerifier {
    /// The reward model at `path`, a directory as PEFT has it, over the engine's model.
    ///
    /// # Errors
    /// It can't be read, is none for this model, or is none that scores texts.
    pub fn open(path: &Path, engine: &Arc<Engine>) -> Result<RewardVerifier, Error> {
        let lora = load(path, engine);
        let what = || format!("the reward model {}", path.display());
        let lora = lora.map_err(|problem| Error::Data { what: what(), problem })?;
        Ok(RewardVerifier { engine: Arc::clone(engine), lora })
    }

    /// The reward of an answer to a question, as in training: of the conversation up to the end of the
    /// assistant's turn. Unbounded; only differences between answers to one question mean anything
    /// (Bradley and Terry 1952).
    ///
    /// # Errors
    /// The template refuses the conversation, or it is longer than the model's context.
    pub fn reward(&self, attempt: &Attempt<'_>) -> Result<f32, Error> {
        let text = answered(&self.engine, attempt)?;
        Ok(self.engine.reward(&text.tokens, &self.lora)?)
    }
}

impl Verifier for RewardVerifier {
    /// The score is `1 / (1 + exp(-reward))`: the share of people who would like the answer better than
    /// one whose reward is 0.
    fn verify(&self, attempt: &Attempt<'_>) -> Result<Verdict, CannotTell> {
        let reward = self.reward(attempt).map_err(|error| CannotTell::Machine {
            what: "the reward model".to_owned(),
            why: error.to_string(),
        })?;
        let score = 1.0 / (1.0 + f64::from(-reward).exp());
        Ok(Verdict::new(score, Some(format!("{reward:.3}")), format!("its reward is {reward:.3}")))
    }
}
