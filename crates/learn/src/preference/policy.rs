//! The policy learns which answer is the better one, without a reward model in between.

use std::time::Instant;

use engine::Engine;
use train::{Batch, Continuation, Network, Scores};

use super::pairs::Pairs;
use crate::Error;
use crate::chance::chance;
use crate::data::Preferred;
use crate::error::recipe;
use crate::journal::Record;
use crate::learner::Learner;
use crate::objective::{Pair, Preference, PreferenceStatistics, Sequence, per_token};
use crate::recipe::Recipe;
use crate::run::{Measured, Teach, Watch};

/// The method, with its pairs.
pub struct Policy<'m> {
    recipe: Recipe,
    objective: Preference,
    pairs: Pairs,
    /// The model before it learned anything, where the loss looks back at it.
    reference: Option<Network<'m>>,
}

/// A batch, and of each answer its slots: `[pair][chosen, rejected]`.
type Slots = Vec<Pair<std::ops::Range<usize>>>;

impl<'m> Policy<'m> {
    /// Reads all pairs.
    ///
    /// # Errors
    /// The recipe isn't one for this method, or its data can't be used.
    pub fn new(recipe: &Recipe, engine: &'m Engine) -> Result<Policy<'m>, Error> {
        let Some(settings) = &recipe.preference else {
            return Err(crate::error::recipe("preference", "is not there"));
        };
        let objective = settings.objective.clone();
        let wrong = |e: crate::objective::Error| {
            crate::error::recipe("preference.objective", e.to_string())
        };
        objective.check().map_err(wrong)?;
        let reference = match objective.needs_reference() {
            true => {
                let settings = recipe.lora.settings(recipe.seed)?;
                Some(Network::lora(engine.model(), settings, train::Precision::Bf16)?)
            }
            false => None,
        };
        let pairs = Pairs::open(recipe, &settings.pairs, engine)?;
        Ok(Policy { recipe: recipe.clone(), objective, pairs, reference })
    }

    /// The loss of a micro-batch, its gradient a slot, and what there is to be seen.
    fn loss(
        &self,
        slots: &Slots,
        scores: &Scores,
        reference: Option<&Scores>,
        of: usize,
    ) -> Result<(f64, Vec<f32>, PreferenceStatistics), Error> {
        let sequence = |slots: &std::ops::Range<usize>| {
            let reference = reference.map(|scores| &scores.log_probs[slots.clone()]);
            Sequence::new(&scores.log_probs[slots.clone()], reference)
        };
        let pairs: Vec<Pair> = slots
            .iter()
            .map(|p| Pair { chosen: sequence(&p.chosen), rejected: sequence(&p.rejected) })
            .collect();
        let wrong = |e: crate::objective::Error| recipe("preference", e.to_string());
        let loss = self.objective.loss(&pairs, of).map_err(wrong)?;
        let mut d = vec![0.0; scores.log_probs.len()];
        for (slots, of) in slots.iter().zip(&loss.d_log_probs) {
            per_token(of.chosen, &mut d[slots.chosen.clone()]);
            per_token(of.rejected, &mut d[slots.rejected.clone()]);
        }
        Ok((loss.loss, d, loss.statistics))
    }

    fn reference(&self, batch: &Batch) -> Result<Option<Scores>, Error> {
        Ok(self.reference.as_ref().map(|network| network.log_probs(batch)).transpose()?)
    }
}

/// The batch of some pairs.
fn batch(pairs: &[&Preferred]) -> Result<(Batch, Slots), Error> {
    let (mut batch, mut slots) = (Batch::new(), Slots::new());
    for pair in pairs {
        let answers = [&pair.answers.chosen, &pair.answers.rejected];
        let ones = vec![1.0; answers.iter().map(|a| a.len()).max().unwrap_or(0)];
        let continuations =
            answers.map(|tokens| Continuation { tokens, weights: &ones[..tokens.len()] });
        let first = batch.push_group(&pair.prompt, &continuations)?.start;
        slots.push(Pair { chosen: batch.slots(first), rejected: batch.slots(first + 1) });
    }
    Ok((batch, slots))
}

impl Teach for Policy<'_> {
    fn step(
        &mut self,
        learner: &mut Learner<'_>,
        step: u64,
        watch: &mut dyn Watch,
    ) -> Result<Option<Record>, Error> {
        let started = Instant::now();
        let batches = self.pairs.step(step);
        let of = batches.iter().map(Vec::len).sum();
        let mut random = chance(self.recipe.seed, "dropout", step);
        let (mut loss, mut seen, mut tokens) = (0.0, PreferenceStatistics::default(), 0);
        for (i, pairs) in batches.iter().enumerate() {
            watch.phase("learning", i, batches.len());
            if watch.stopped() {
                learner.forget();
                return Ok(None);
            }
            let (batch, slots) = batch(pairs)?;
            let reference = self.reference(&batch)?;
            let dropout = (self.recipe.lora.dropout > 0.0).then(|| random.next());
            learner.learn(&batch, dropout, |scores| {
                let (part, d, statistics) = self.loss(&slots, scores, reference.as_ref(), of)?;
                loss += part;
                seen += statistics;
                Ok((d, None))
            })?;
            tokens += batch.len();
        }
        let taken = learner.step(step)?;
        let mut record = Record::default();
        record.put("loss", loss);
        seen.figures().into_iter().for_each(|(name, value)| record.put(name, value));
        taken.figures().into_iter().for_each(|(name, value)| record.put(name, value));
        record.put("epoch", self.pairs.epoch(step));
        record.took(tokens, started.elapsed());
        Ok(Some(record))
    }

    fn evaluate(
        &mut self,
        learner: &Learner<'_>,
        _step: u64,
        watch: &mut dyn Watch,
    ) -> Result<Option<Measured>, Error> {
        let batches = self.pairs.split(self.pairs.held_out.iter());
        let of = self.pairs.held_out.len();
        let (mut loss, mut seen) = (0.0, PreferenceStatistics::default());
        for (i, pairs) in batches.iter().enumerate() {
            watch.phase("measuring", i, batches.len());
            if watch.stopped() {
                return Ok(None);
            }
            let (batch, slots) = batch(pairs)?;
            let reference = self.reference(&batch)?;
            let scores = learner.network().log_probs(&batch)?;
            let (part, _, statistics) = self.loss(&slots, &scores, reference.as_ref(), of)?;
            loss += part;
            seen += statistics;
        }
        let mut record = Record::default();
        record.put("held_out/loss", loss);
        for (name, value) in seen.figures() {
            record.put(&format!("held_out/{name}"), value);
        }
        record.put("held_out/pairs", of as f64);
        Ok(Some(Measured { record, score: -loss }))
    }
}
