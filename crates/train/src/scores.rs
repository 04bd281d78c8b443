//! What a model makes of the targets of a batch, and the gradient of a loss with respect to that.

use crate::Error;
use crate::error::setting;

/// What a model makes of each target of a batch, one number a slot; 0 where there is no target.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// `log p(target)` in nats.
    pub log_probs: Vec<f32>,
    /// The distribution's entropy in nats.
    pub entropies: Vec<f32>,
}

/// The weighted cross-entropy of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// `Σ weight · -log p(target)` in nats.
    pub sum: f64,
    /// What the model made of each target, before the step.
    pub scores: Scores,
}

/// The gradient of a loss with respect to [`Scores`], one number a slot; where there is no target it
/// doesn't matter. Numbers alone are those of the log-probabilities.
#[derive(Clone, Copy, Debug)]
pub struct ScoreGradients<'a> {
    /// With respect to each log-probability: minus the advantage, for a policy gradient.
    pub log_probs: &'a [f32],
    /// With respect to each entropy, if the loss has any: below 0 for a loss that rewards it.
    pub entropies: Option<&'a [f32]>,
}

impl<'a, T: AsRef<[f32]> + ?Sized> From<&'a T> for ScoreGradients<'a> {
    fn from(log_probs: &'a T) -> ScoreGradients<'a> {
        ScoreGradients { log_probs: log_probs.as_ref(), entropies: None }
    }
}

impl ScoreGradients<'_> {
    pub(crate) fn check(&self, batch: usize, forward: usize) -> Result<(), Error> {
        one_a_slot("d_log_probs", self.log_probs, batch, forward)?;
        self.entropies.map_or(Ok(()), |d| one_a_slot("d_entropies", d, batch, forward))
    }
}

/// Holds a gradient that is given against the slots of the batch and of the forward pass.
pub(crate) fn one_a_slot(
    field: &'static str,
    d: &[f32],
    batch: usize,
    forward: usize,
) -> Result<(), Error> {
    if batch == forward && d.len() == forward {
        return Ok(());
    }
    let d = d.len();
    Err(setting(field, format!("{d} for a batch of {batch} slots, where forward had {forward}")))
}
