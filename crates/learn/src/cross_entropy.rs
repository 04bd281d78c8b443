//! Texts whose tokens become more likely: what following examples and going on with texts have in common.

use std::time::Instant;

use train::Batch;

use crate::Error;
use crate::chance::chance;
use crate::data::Text;
use crate::journal::Record;
use crate::learner::Learner;
use crate::recipe::Recipe;
use crate::run::{Measured, Watch};

/// Takes step `step` down the mean cross-entropy of all tokens of `texts` that count; `epoch` is how often all there
/// is has been gone through then. None if it was stopped: the weights are as they were.
pub(crate) fn learn(
    recipe: &Recipe,
    learner: &mut Learner<'_>,
    (step, epoch): (u64, f64),
    texts: &[&Text],
    watch: &mut dyn Watch,
) -> Result<Option<Record>, Error> {
    let started = Instant::now();
    let batches = micro_batches(texts, recipe.micro_batch_tokens)?;
    let mut random = chance(recipe.seed, "dropout", step);
    let mut sums = Sums::default();
    for (i, batch) in batches.iter().enumerate() {
        watch.phase("learning", i, batches.len());
        if watch.stopped() {
            learner.forget();
            return Ok(None);
        }
        let dropout = (recipe.lora.dropout > 0.0).then(|| random.next());
        let loss = learner.cross_entropy(batch, dropout)?;
        sums.see(batch, &loss.scores);
    }
    let taken = learner.step(step)?;
    let mut record = Record::default();
    record.put_all("", sums.figures());
    record.put_all("", taken.figures());
    record.put("tokens/counted", sums.counted as f64);
    record.put("epoch", epoch);
    record.took(sums.tokens, started.elapsed());
    Ok(Some(record))
}

/// Scores texts that are held out. None if it was stopped.
pub(crate) fn measure(
    recipe: &Recipe,
    learner: &Learner<'_>,
    texts: &[&Text],
    watch: &mut dyn Watch,
) -> Result<Option<Measured>, Error> {
    let batches = micro_batches(texts, recipe.micro_batch_tokens)?;
    let mut sums = Sums::default();
    for (i, batch) in batches.iter().enumerate() {
        watch.phase("measuring", i, batches.len());
        if watch.stopped() {
            return Ok(None);
        }
        sums.see(batch, &learner.network().log_probs(batch)?);
    }
    let mut record = Record::default();
    let figures = sums.figures();
    record.put_all("held_out/", figures);
    let loss = figures[0].1;
    record.put("held_out/perplexity", loss.exp());
    Ok(Some(Measured { record, score: -loss }))
}

/// Micro-batches of at most `size` tokens, each token of weight `1 / all that count`.
fn micro_batches(texts: &[&Text], size: usize) -> Result<Vec<Batch>, Error> {
    let counted: usize = texts.iter().map(|text| text.counted()).sum();
    let share = 1.0 / counted.max(1) as f32;
    let mut batches: Vec<Batch> = Vec::new();
    for text in texts {
        let weights: Vec<f32> = text.weights.iter().map(|w| w * share).collect();
        match batches.last_mut() {
            Some(batch) if batch.len() + text.tokens.len() <= size => {
                batch.push(&text.tokens, &weights)?
            }
            _ => {
                let mut batch = Batch::new();
                batch.push(&text.tokens, &weights)?;
                batches.push(batch);
            }
        }
    }
    Ok(batches)
}

/// Sums of what a model makes of tokens.
#[derive(Default)]
struct Sums {
    loss: f64,
    entropy: f64,
    /// Tokens whose prediction counts.
    counted: usize,
    /// Tokens that went through the network.
    tokens: usize,
}

impl Sums {
    fn see(&mut self, batch: &Batch, scores: &train::Scores) {
        for (i, _) in batch.targets().iter().enumerate().filter(|(_, target)| target.is_some()) {
            self.loss -= f64::from(scores.log_probs[i]);
            self.entropy += f64::from(scores.entropies[i]);
            self.counted += 1;
        }
        self.tokens += batch.len();
    }

    /// Means, by name.
    fn figures(&self) -> [(&'static str, f64); 2] {
        let n = self.counted.max(1) as f64;
        [("loss", self.loss / n), ("entropy", self.entropy / n)]
    }
}
