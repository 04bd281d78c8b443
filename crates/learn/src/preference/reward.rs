//! A reward model: a scalar head learns to give the better answer more.

use std::time::Instant;

use engine::Engine;
use train::Batch;

use super::pairs::Pairs;
use crate::Error;
use crate::chance::chance;
use crate::data::Preferred;
use crate::error::recipe;
use crate::journal::Record;
use crate::learner::Learner;
use crate::objective::{BradleyTerry, Pair, RewardStatistics};
use crate::recipe::Recipe;
use crate::run::{Measured, Teach, Watch};

/// The method, with its pairs.
pub struct RewardModel {
    recipe: Recipe,
    objective: BradleyTerry,
    pairs: Pairs,
}

impl RewardModel {
    /// Reads all pairs.
    ///
    /// # Errors
    /// The recipe isn't one for this method, or its data can't be used.
    pub fn new(recipe: &Recipe, engine: &Engine) -> Result<RewardModel, Error> {
        let Some(settings) = &recipe.reward_model else {
            return Err(crate::error::recipe("reward_model", "is not there"));
        };
        let objective = BradleyTerry { centering_coefficient: settings.centering_coefficient };
        let pairs = Pairs::open(recipe, &settings.pairs, engine)?;
        Ok(RewardModel { recipe: recipe.clone(), objective, pairs })
    }

    /// The loss of a micro-batch, its gradient a slot, and what there is to be seen.
    fn loss(
        &self,
        pairs: &[&Preferred],
        ends: &[Pair<usize>],
        values: &[f32],
        of: usize,
    ) -> Result<(f64, Vec<f32>, RewardStatistics), Error> {
        let rewards: Vec<Pair<f32>> = ends
            .iter()
            .map(|p| Pair { chosen: values[p.chosen], rejected: values[p.rejected] })
            .collect();
        let said = pairs.iter().any(|pair| pair.margin.is_some());
        let margins: Vec<f32> = pairs.iter().map(|pair| pair.margin.unwrap_or(0.0)).collect();
        let wrong = |e: crate::objective::Error| recipe("reward_model", e.to_string());
        let loss =
            self.objective.loss(&rewards, said.then_some(&margins[..]), of).map_err(wrong)?;
        let mut d = vec![0.0; values.len()];
        for (at, of) in ends.iter().zip(&loss.d_rewards) {
            d[at.chosen] = of.chosen;
            d[at.rejected] = of.rejected;
        }
        Ok((loss.loss, d, loss.statistics))
    }
}

/// The batch of some pairs, and where each answer ends.
fn batch(pairs: &[&Preferred]) -> Result<(Batch, Vec<Pair<usize>>), Error> {
    let (mut batch, mut ends) = (Batch::new(), Vec::new());
    for pair in pairs {
        let answers = [&pair.answers.chosen[..], &pair.answers.rejected[..]];
        let first = batch.push_whole_group(&pair.prompt, &answers)?.start;
        let end = |text| batch.slots(text).end - 1;
        ends.push(Pair { chosen: end(first), rejected: end(first + 1) });
    }
    Ok((batch, ends))
}

impl Teach for RewardModel {
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
        let (mut loss, mut seen, mut tokens) = (0.0, RewardStatistics::default(), 0);
        for (i, pairs) in batches.iter().enumerate() {
            watch.phase("learning", i, batches.len());
            if watch.stopped() {
                learner.forget();
                return Ok(None);
            }
            let (batch, ends) = batch(pairs)?;
            let dropout = (self.recipe.lora.dropout > 0.0).then(|| random.next());
            learner.learn_values(&batch, dropout, |values| {
                let (part, d, statistics) = self.loss(pairs, &ends, values, of)?;
                loss += part;
                seen += statistics;
                Ok(d)
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
        let (mut loss, mut seen) = (0.0, RewardStatistics::default());
        for (i, pairs) in batches.iter().enumerate() {
            watch.phase("measuring", i, batches.len());
            if watch.stopped() {
                return Ok(None);
            }
            let (batch, ends) = batch(pairs)?;
            let values = learner.network().values(&batch)?;
            let (part, _, statistics) = self.loss(pairs, &ends, &values, of)?;
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
