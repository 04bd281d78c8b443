//! A reward model: a scalar head learns to give the better answer more.

use engine::Engine;
use train::{Batch, Network};

use super::examples::Examples;
use super::method::{ExampleLoss, FromExamples, Part};
use crate::Error;
use crate::data::{Preferred, read_pairs};
use crate::error::recipe;
use crate::learner::Learner;
use crate::objective::{BradleyTerry, Pair, RewardStatistics};
use crate::recipe::Recipe;
use crate::run::Watch;

/// The loss of a scalar head's values.
pub struct RewardModel {
    objective: BradleyTerry,
}

impl RewardModel {
    /// The method, with all pairs read.
    ///
    /// # Errors
    /// The recipe isn't one for this method, or its data can't be used.
    pub fn open(recipe: &Recipe, engine: &Engine) -> Result<FromExamples<RewardModel>, Error> {
        let Some(settings) = &recipe.reward_model else {
            return Err(crate::error::recipe("reward_model", "is not there"));
        };
        let objective = BradleyTerry { centering_coefficient: settings.centering_coefficient };
        let examples = Examples::open(recipe, &settings.pairs, engine, read_pairs)?;
        Ok(FromExamples { recipe: recipe.clone(), examples, loss: RewardModel { objective } })
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

impl ExampleLoss for RewardModel {
    type Example = Preferred;
    type Known = ();
    type Statistics = RewardStatistics;

    const NAME: &'static str = "pairs";

    fn know(
        &self,
        _: &Network<'_>,
        _: &Examples<Preferred>,
        _: &[Vec<&Preferred>],
        _: &mut dyn Watch,
    ) -> Result<Option<()>, Error> {
        Ok(Some(()))
    }

    fn figures(statistics: &RewardStatistics, (): ()) -> Vec<(&'static str, f64)> {
        statistics.figures()
    }

    fn learn(
        &self,
        learner: &mut Learner<'_>,
        pairs: &[&Preferred],
        ((), of): ((), usize),
        dropout: Option<u64>,
    ) -> Result<Part<RewardStatistics>, Error> {
        let (batch, ends) = batch(pairs)?;
        let (mut loss, mut statistics) = (0.0, RewardStatistics::default());
        learner.learn_values(&batch, dropout, |values| {
            let d;
            (loss, d, statistics) = self.loss(pairs, &ends, values, of)?;
            Ok(d)
        })?;
        Ok(Part { loss, statistics, tokens: batch.len() })
    }

    fn measure(
        &self,
        learner: &Learner<'_>,
        pairs: &[&Preferred],
        ((), of): ((), usize),
    ) -> Result<Part<RewardStatistics>, Error> {
        let (batch, ends) = batch(pairs)?;
        let values = learner.network().values(&batch)?;
        let (loss, _, statistics) = self.loss(pairs, &ends, &values, of)?;
        Ok(Part { loss, statistics, tokens: batch.len() })
    }
}
