//! Steps and measurements over examples, whatever is made of one.

use std::ops::AddAssign;
use std::time::Instant;

use train::Network;

use super::examples::{Example, Examples};
use crate::Error;
use crate::chance::chance;
use crate::journal::Record;
use crate::learner::Learner;
use crate::recipe::Recipe;
use crate::run::{Measured, Teach, Watch, Work};

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

/// What is made of examples: a loss and its gradient.
pub trait ExampleLoss {
    /// What is learned from as a whole.
    type Example: Example;
    /// What has to be known of all examples of a step before the first of them is learned from.
    type Known: Copy;
    /// What there is to be seen.
    type Statistics: Default + AddAssign;

    /// What examples are called in the figures.
    const NAME: &'static str;

    /// How often examples go through a network that learns nothing, beside once through the one that
    /// learns.
    fn reads(&self) -> f64 {
        0.0
    }

    /// What is to be known of the examples of a step. None if it was stopped.
    ///
    /// # Errors
    /// A text is too long, or a number isn't finite.
    fn know(
        &self,
        policy: &Network<'_>,
        examples: &Examples<Self::Example>,
        batches: &[Vec<&Self::Example>],
        watch: &mut dyn Watch,
    ) -> Result<Option<Self::Known>, Error>;

    /// The figures, by name.
    fn figures(statistics: &Self::Statistics, known: Self::Known) -> Vec<(&'static str, f64)>;

    /// The loss of a micro-batch of a step's `of` examples; its gradients are gathered.
    ///
    /// # Errors
    /// A text is too long, or the loss isn't a number.
    fn learn(
        &self,
        learner: &mut Learner<'_>,
        examples: &[&Self::Example],
        step: (Self::Known, usize),
        dropout: Option<u64>,
    ) -> Result<Part<Self::Statistics>, Error>;

    /// The same, with nothing learned.
    ///
    /// # Errors
    /// As for [`ExampleLoss::learn`].
    fn measure(
        &self,
        learner: &Learner<'_>,
        examples: &[&Self::Example],
        step: (Self::Known, usize),
    ) -> Result<Part<Self::Statistics>, Error>;
}

/// A method that learns from examples.
pub struct FromExamples<L: ExampleLoss> {
    pub(super) recipe: Recipe,
    pub(super) examples: Examples<L::Example>,
    pub(super) loss: L,
}

impl<L: ExampleLoss> Teach for FromExamples<L> {
    fn step(
        &mut self,
        learner: &mut Learner<'_>,
        step: u64,
        watch: &mut dyn Watch,
    ) -> Result<Option<Record>, Error> {
        let started = Instant::now();
        let batches = self.examples.step(step);
        let of = batches.iter().map(Vec::len).sum();
        let known = self.loss.know(learner.network(), &self.examples, &batches, watch)?;
        let Some(known) = known else { return Ok(None) };
        let mut random = chance(self.recipe.seed, "dropout", step);
        let mut sum = Part::default();
        for (i, examples) in batches.iter().enumerate() {
            watch.phase("learning", i, batches.len());
            if watch.stopped() {
                learner.forget();
                return Ok(None);
            }
            let dropout = (self.recipe.lora.dropout > 0.0).then(|| random.next());
            sum += self.loss.learn(learner, examples, (known, of), dropout)?;
        }
        let taken = learner.step(step)?;
        let mut record = Record::default();
        record.put("loss", sum.loss);
        record.put_all("", L::figures(&sum.statistics, known));
        record.put_all("", taken.figures());
        record.put("epoch", self.examples.epoch(step));
        record.took(sum.tokens, started.elapsed());
        Ok(Some(record))
    }

    fn evaluate(
        &mut self,
        learner: &Learner<'_>,
        watch: &mut dyn Watch,
    ) -> Result<Option<Measured>, Error> {
        let batches = self.examples.split(self.examples.held_out.iter());
        let of = self.examples.held_out.len();
        let known = self.loss.know(learner.network(), &self.examples, &batches, watch)?;
        let Some(known) = known else { return Ok(None) };
        let mut sum = Part::default();
        for (i, examples) in batches.iter().enumerate() {
            watch.phase("measuring", i, batches.len());
            if watch.stopped() {
                return Ok(None);
            }
            sum += self.loss.measure(learner, examples, (known, of))?;
        }
        let mut record = Record::default();
        record.put("held_out/loss", sum.loss);
        record.put_all("held_out/", L::figures(&sum.statistics, known));
        record.put(&format!("held_out/{}", L::NAME), of as f64);
        Ok(Some(Measured { record, score: -sum.loss }))
    }

    fn work(&self) -> Work {
        let (step, held_out) = self.examples.tokens();
        let read = self.loss.reads();
        Work { learned: step, read: step * read, measured: held_out * (1.0 + read), most: false }
    }
}
