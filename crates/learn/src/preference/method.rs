//! Steps and measurements over pairs, whatever is made of a pair.

use std::ops::AddAssign;
use std::time::Instant;

use super::examples::Examples;
use crate::Error;
use crate::chance::chance;
use crate::data::Preferred;
use crate::journal::Record;
use crate::learner::Learner;
use crate::recipe::Recipe;
use crate::run::{Measured, Teach, Watch};

/// What micro-batches came to; those of a step add up.
#[derive(Default)]
pub struct Part<S> {
    /// Their part of the loss.
    pub(super) loss: f64,
    /// What there is to be seen.
    pub(super) statistics: S,
    /// Tokens that went through the network.
    pub(super) tokens: usize,
}

impl<S: AddAssign> AddAssign for Part<S> {
    fn add_assign(&mut self, other: Part<S>) {
        self.loss += other.loss;
        self.statistics += other.statistics;
        self.tokens += other.tokens;
    }
}

/// What is made of pairs: a loss and its gradient.
pub trait PairLoss {
    /// What there is to be seen.
    type Statistics: Default + AddAssign;

    /// Its figures, by name.
    fn figures(statistics: &Self::Statistics) -> Vec<(&'static str, f64)>;

    /// The loss of a micro-batch of a step's `of` pairs; its gradients are gathered.
    ///
    /// # Errors
    /// A text is too long, or the loss isn't a number.
    fn learn(
        &self,
        learner: &mut Learner<'_>,
        pairs: &[&Preferred],
        of: usize,
        dropout: Option<u64>,
    ) -> Result<Part<Self::Statistics>, Error>;

    /// The same, with nothing learned.
    ///
    /// # Errors
    /// As for [`PairLoss::learn`].
    fn measure(
        &self,
        learner: &Learner<'_>,
        pairs: &[&Preferred],
        of: usize,
    ) -> Result<Part<Self::Statistics>, Error>;
}

/// A method that learns from pairs.
pub struct FromPairs<L> {
    pub(super) recipe: Recipe,
    pub(super) pairs: Examples<Preferred>,
    pub(super) loss: L,
}

impl<L: PairLoss> Teach for FromPairs<L> {
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
        let mut sum = Part::default();
        for (i, pairs) in batches.iter().enumerate() {
            watch.phase("learning", i, batches.len());
            if watch.stopped() {
                learner.forget();
                return Ok(None);
            }
            let dropout = (self.recipe.lora.dropout > 0.0).then(|| random.next());
            sum += self.loss.learn(learner, pairs, of, dropout)?;
        }
        let taken = learner.step(step)?;
        let mut record = Record::default();
        record.put("loss", sum.loss);
        record.put_all("", L::figures(&sum.statistics));
        record.put_all("", taken.figures());
        record.put("epoch", self.pairs.epoch(step));
        record.took(sum.tokens, started.elapsed());
        Ok(Some(record))
    }

    fn evaluate(
        &mut self,
        learner: &Learner<'_>,
        watch: &mut dyn Watch,
    ) -> Result<Option<Measured>, Error> {
        let batches = self.pairs.split(self.pairs.held_out.iter());
        let of = self.pairs.held_out.len();
        let mut sum = Part::default();
        for (i, pairs) in batches.iter().enumerate() {
            watch.phase("measuring", i, batches.len());
            if watch.stopped() {
                return Ok(None);
            }
            sum += self.loss.measure(learner, pairs, of)?;
        }
        let mut record = Record::default();
        record.put("held_out/loss", sum.loss);
        record.put_all("held_out/", L::figures(&sum.statistics));
        record.put("held_out/pairs", of as f64);
        Ok(Some(Measured { record, score: -sum.loss }))
    }
}
