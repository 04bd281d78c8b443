//! The value function of PPO: what completions were expected to earn, token for token, and how it
//! learns from what they did.

use std::path::Path;

use model::Model;
use train::Batch;

use super::batches::{Earned, Group, batch, over, split};
use crate::Error;
use crate::error::recipe;
use crate::learner::{Learner, Step};
use crate::objective;
use crate::recipe::{self, Recipe};
use crate::run::Watch;

/// Where a checkpoint keeps it.
const NUMBERS: &str = "critic.safetensors";
/// Keeps a step whose advantages are all the same from dividing by 0.
const EPSILON: f64 = 1e-8;

/// A network with a scalar head that learns beside the policy.
pub(super) struct Critic<'m> {
    settings: recipe::Critic,
    learner: Learner<'m>,
    /// Most tokens that go through it at a time.
    size: usize,
}

/// What a token of a completion was worth, one number a token.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Worth {
    /// What was expected before the token.
    pub values: Vec<f32>,
    /// What should have been.
    pub returns: Vec<f32>,
}

/// What there is to be seen of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Seen {
    loss: f64,
    clipped: usize,
    tokens: usize,
    updates: usize,
    value: f64,
    explained: f64,
    step: Option<Step>,
}

fn wrong(error: objective::Error) -> Error {
    recipe("grpo.critic", error.to_string())
}

impl<'m> Critic<'m> {
    /// # Errors
    /// A setting makes no sense, or the reward model to begin with can't be read or doesn't fit.
    pub(super) fn open(
        recipe: &Recipe,
        settings: &recipe::Critic,
        model: &'m Model,
    ) -> Result<Critic<'m>, Error> {
        let mut own = recipe.clone();
        own.optimizer.learning_rate = settings.learning_rate;
        let network = recipe.value_function(settings, model)?;
        Ok(Critic {
            settings: settings.clone(),
            learner: Learner::new(&own, network),
            size: recipe.micro_batch_tokens,
        })
    }

    /// Works the advantages of all completions out from their rewards, `[group][member]`. The
    /// members have the policy's and the reference's log-probabilities if these are part of the
    /// rewards. None if it was stopped.
    ///
    /// A completion that was cut off has ended: it was judged as it is, and nothing comes after.
    pub(super) fn estimate(
        &self,
        groups: &mut [Group],
        rewards: &[Vec<f64>],
        watch: &mut dyn Watch,
    ) -> Result<Option<Seen>, Error> {
        let run = |batch: &Batch| Ok(self.learner.network().values(batch)?);
        let found = over(groups, self.size, |_| true, ("valuing", watch), run)?;
        let Some(found) = found else { return Ok(None) };
        for (places, values) in found {
            for (g, m, slots) in places {
                let member = &mut groups[g].members[m];
                let values = values[slots].to_vec();
                let mut earned = vec![0.0; values.len()];
                if self.settings.kl_in_reward > 0.0
                    && let (Some(now), Some(before)) =
                        (&member.old_log_probs, &member.reference_log_probs)
                {
                    for (earned, (now, before)) in earned.iter_mut().zip(now.iter().zip(before)) {
                        *earned -= self.settings.kl_in_reward as f32 * (now - before);
                    }
                }
                if let Some(last) = earned.last_mut() {
                    *last += rewards[g][m] as f32;
                }
                let estimates = self.settings.gae.estimate(&earned, &values, 0.0).map_err(wrong)?;
                member.advantage = Earned::Tokens(estimates.advantages);
                member.worth = Some(Worth { values, returns: estimates.returns });
            }
        }
        let seen = seen(groups);
        if self.settings.whiten {
            whiten(groups);
        }
        Ok(Some(seen))
    }

    /// Takes one step towards what the tokens of some groups were worth.
    ///
    /// # Errors
    /// A number isn't finite.
    pub(super) fn learn(
        &mut self,
        groups: &[&Group],
        step: u64,
        dropout: Option<u64>,
        watch: &mut dyn Watch,
        seen: &mut Seen,
    ) -> Result<(), Error> {
        let counted = groups.iter().flat_map(|g| &g.members).filter(|m| !m.left_out);
        let of = counted.map(|m| m.tokens.len()).sum();
        let batches = split(groups, self.size, |member| !member.left_out);
        for (i, parts) in batches.iter().enumerate() {
            watch.phase("learning values", i, batches.len());
            let (batch, starts) = batch(groups, parts)?;
            let members =
                parts.iter().flat_map(|(g, ms)| ms.iter().map(|m| &groups[*g].members[*m]));
            // Not the policy's: what is left out of one says nothing of the other.
            let dropout = dropout.map(|seed| !seed.wrapping_add(i as u64));
            self.learner.learn_values(&batch, dropout, |values| {
                let mut d = vec![0.0; values.len()];
                for (member, start) in members.zip(&starts) {
                    let Some(worth) = &member.worth else { continue };
                    let slots = *start..start + member.tokens.len();
                    let loss = self.settings.loss.loss(
                        &values[slots.clone()],
                        &worth.values,
                        &worth.returns,
                        of,
                    );
                    let loss = loss.map_err(wrong)?;
                    d[slots].copy_from_slice(&loss.d_values);
                    seen.loss += loss.loss;
                    seen.clipped += loss.clipped;
                    seen.tokens += member.tokens.len();
                }
                Ok(d)
            })?;
        }
        seen.updates += 1;
        seen.step = Some(self.learner.step(step)?);
        Ok(())
    }

    /// Writes it into a checkpoint's folder.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn save(&self, dir: &Path) -> Result<(), Error> {
        self.learner.save(&dir.join(NUMBERS))
    }

    /// Reads what [`Critic::save`] wrote.
    ///
    /// # Errors
    /// It isn't there, or is another network's.
    pub(super) fn load(&mut self, dir: &Path) -> Result<(), Error> {
        self.learner.restore(&dir.join(NUMBERS))
    }
}

impl Seen {
    /// Its figures, by name.
    pub(super) fn figures(&self) -> Vec<(&'static str, f64)> {
        let norm = self.step.and_then(|step| step.norm).map_or(f64::NAN, f64::from);
        vec![
            ("critic/loss", self.loss / self.updates.max(1) as f64),
            ("critic/value", self.value),
            ("critic/explained_variance", self.explained),
            ("critic/clip_share", self.clipped as f64 / self.tokens.max(1) as f64),
            ("critic/gradient_norm", norm),
        ]
    }
}

fn worths(groups: &[Group]) -> impl Iterator<Item = &Worth> {
    groups.iter().flat_map(|g| &g.members).filter(|m| !m.left_out).filter_map(|m| m.worth.as_ref())
}

/// The mean value, and how much of the returns' variance the values foresaw: 1 is all of it, and 0
/// what their mean would have.
fn seen(groups: &[Group]) -> Seen {
    let returns = || worths(groups).flat_map(|w| &w.returns).map(|r| f64::from(*r));
    let off =
        worths(groups).flat_map(|w| w.returns.iter().zip(&w.values).map(|(r, v)| f64::from(r - v)));
    let (_, all) = moments(returns());
    let (_, left) = moments(off);
    let (value, _) = moments(worths(groups).flat_map(|w| &w.values).map(|v| f64::from(*v)));
    let explained = if all > 0.0 { 1.0 - left / all } else { 0.0 };
    Seen { value, explained, ..Seen::default() }
}

/// Brings the advantages of all tokens that count to mean 0 and deviation 1.
fn whiten(groups: &mut [Group]) {
    let (mean, variance) = {
        let all = groups.iter().flat_map(|g| &g.members).filter(|m| !m.left_out);
        moments(all.flat_map(|m| m.advantage.tokens()).map(|a| f64::from(*a)))
    };
    let scale = 1.0 / (variance.sqrt() + EPSILON);
    for member in groups.iter_mut().flat_map(|g| &mut g.members) {
        if let Earned::Tokens(advantages) = &mut member.advantage {
            for a in advantages {
                *a = ((f64::from(*a) - mean) * scale) as f32;
            }
        }
    }
}

/// Mean and variance.
fn moments(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (mut n, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for value in values {
        n += 1.0;
        let off = value - mean;
        mean += off / n;
        squares += off * (value - mean);
    }
    (mean, if n > 0.0 { squares / n } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::super::batches::Member;
    use super::*;

    fn group(advantages: &[f32], left_out: bool) -> Group {
        let worth = Worth { values: vec![0.5; advantages.len()], returns: advantages.to_vec() };
        let member = Member {
            tokens: vec![7; advantages.len()],
            advantage: Earned::Tokens(advantages.to_vec()),
            worth: Some(worth),
            left_out,
            ..Member::default()
        };
        Group { prompt: vec![1], members: vec![member] }
    }

    #[test]
    fn white_advantages_have_mean_0_and_deviation_1() {
        let mut groups =
            [group(&[1.0, 2.0], false), group(&[9.0, 9.0, 9.0], true), group(&[6.0], false)];
        whiten(&mut groups);
        let all: Vec<f64> = [&groups[0], &groups[2]]
            .iter()
            .flat_map(|g| g.members[0].advantage.tokens())
            .map(|a| f64::from(*a))
            .collect();
        let (mean, variance) = moments(all.into_iter());
        assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-5, "{mean} {variance}");
        // All the same: nothing is better than anything else.
        let mut flat = [group(&[3.0, 3.0], false)];
        whiten(&mut flat);
        assert_eq!(flat[0].members[0].advantage, Earned::Tokens(vec![0.0, 0.0]));
    }

    #[test]
    fn values_that_foresee_nothing_explain_nothing() {
        let seen = seen(&[group(&[0.0, 1.0, 2.0], false)]);
        assert_eq!((seen.value, seen.explained), (0.5, 0.0));
    }
}
