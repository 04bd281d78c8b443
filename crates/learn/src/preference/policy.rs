//! The policy learns which answer is the better one, without a reward model in between.

use std::ops::Range;

use engine::Engine;
use train::{Batch, Continuation, Network, Scores};

use super::examples::Examples;
use super::method::{ExampleLoss, FromExamples, Part};
use crate::Error;
use crate::data::{Preferred, read_pairs};
use crate::error::recipe;
use crate::learner::Learner;
use crate::objective::{Pair, Preference, PreferenceStatistics, Sequence, per_token};
use crate::recipe::Recipe;
use crate::run::Watch;

/// The loss of a policy's own log-probabilities.
pub struct Policy<'m> {
    objective: Preference,
    /// The model before it learned anything, where the loss looks back at it.
    reference: Option<Network<'m>>,
}

/// Of each pair, the slots of both answers.
type Slots = Vec<Pair<Range<usize>>>;

impl<'m> Policy<'m> {
    /// The method, with all pairs read.
    ///
    /// # Errors
    /// The recipe isn't one for this method, or its data can't be used.
    pub fn open(recipe: &Recipe, engine: &'m Engine) -> Result<FromExamples<Policy<'m>>, Error> {
        let Some(settings) = &recipe.preference else {
            return Err(crate::error::recipe("preference", "is not there"));
        };
        let objective = settings.objective.clone();
        let wrong = |e: crate::objective::Error| {
            crate::error::recipe("preference.objective", e.to_string())
        };
        objective.check().map_err(wrong)?;
        let looks_back = objective.needs_reference();
        let reference = looks_back.then(|| recipe.network(engine.model())).transpose()?;
        let examples = Examples::open(recipe, &settings.pairs, engine, read_pairs)?;
        Ok(FromExamples { recipe: recipe.clone(), examples, loss: Policy { objective, reference } })
    }

    /// The loss of a micro-batch, its gradient a slot, and what there is to be seen.
    fn loss(
        &self,
        slots: &Slots,
        scores: &Scores,
        reference: Option<&Scores>,
        of: usize,
    ) -> Result<(f64, Vec<f32>, PreferenceStatistics), Error> {
        let sequence = |slots: &Range<usize>| {
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

impl ExampleLoss for Policy<'_> {
    type Example = Preferred;
    type Known = ();
    type Statistics = PreferenceStatistics;

    const NAME: &'static str = "pairs";

    fn reads(&self) -> f64 {
        if self.reference.is_some() { 1.0 } else { 0.0 }
    }

    fn know(
        &self,
        _: &Network<'_>,
        _: &Examples<Preferred>,
        _: &[Vec<&Preferred>],
        _: &mut dyn Watch,
    ) -> Result<Option<()>, Error> {
        Ok(Some(()))
    }

    fn figures(statistics: &PreferenceStatistics, (): ()) -> Vec<(&'static str, f64)> {
        statistics.figures()
    }

    fn learn(
        &self,
        learner: &mut Learner<'_>,
        pairs: &[&Preferred],
        ((), of): ((), usize),
        dropout: Option<u64>,
    ) -> Result<Part<PreferenceStatistics>, Error> {
        let (batch, slots) = batch(pairs)?;
        let reference = self.reference(&batch)?;
        let (mut loss, mut statistics) = (0.0, PreferenceStatistics::default());
        learner.learn(&batch, dropout, |scores| {
            let d;
            (loss, d, statistics) = self.loss(&slots, scores, reference.as_ref(), of)?;
            Ok((d, None))
        })?;
        Ok(Part { loss, statistics, tokens: batch.len() })
    }

    fn measure(
        &self,
        learner: &Learner<'_>,
        pairs: &[&Preferred],
        ((), of): ((), usize),
    ) -> Result<Part<PreferenceStatistics>, Error> {
        let (batch, slots) = batch(pairs)?;
        let reference = self.reference(&batch)?;
        let scores = learner.network().log_probs(&batch)?;
        let (loss, _, statistics) = self.loss(&slots, &scores, reference.as_ref(), of)?;
        Ok(Part { loss, statistics, tokens: batch.len() })
    }
}
