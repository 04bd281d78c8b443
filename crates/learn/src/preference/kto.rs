//! The policy learns from answers that are each good or bad: KTO (arXiv:2402.01306).

use std::ops::Range;
use std::time::Instant;

use engine::Engine;
use train::{Batch, Continuation, Network, Scores};

use super::examples::Examples;
use super::method::Part;
use crate::Error;
use crate::chance::chance;
use crate::data::{Answer, read_answers};
use crate::error::recipe;
use crate::journal::Record;
use crate::learner::Learner;
use crate::objective::{self, Labelled, PreferenceStatistics, Sequence, kto_baseline, per_token};
use crate::recipe::Recipe;
use crate::run::{Measured, Teach, Watch};

/// The method, with all answers read.
pub struct Kto<'m> {
    recipe: Recipe,
    objective: objective::Kto,
    answers: Examples<Answer>,
    /// Most tokens of a text.
    longest: usize,
    /// The model before it learned anything.
    reference: Network<'m>,
}

fn wrong(error: objective::Error) -> Error {
    recipe("kto", error.to_string())
}

impl<'m> Kto<'m> {
    /// Reads all answers.
    ///
    /// # Errors
    /// The recipe isn't one for this method, or its data can't be used.
    pub fn open(recipe: &Recipe, engine: &'m Engine) -> Result<Kto<'m>, Error> {
        let Some(settings) = &recipe.kto else {
            return Err(crate::error::recipe("kto", "is not there"));
        };
        settings
            .objective
            .check()
            .map_err(|e| crate::error::recipe("kto.objective", e.to_string()))?;
        Ok(Kto {
            recipe: recipe.clone(),
            objective: settings.objective.clone(),
            longest: settings.answers.max_tokens.min(engine.context_length()),
            answers: Examples::open(recipe, &settings.answers, engine, read_answers)?,
            reference: recipe.network(engine.model())?,
        })
    }

    /// How far the policy has strayed from the reference, judged by answers that are each to another
    /// prompt than their own. None if it was stopped.
    fn baseline(
        &self,
        policy: &Network<'_>,
        answers: &[Vec<&Answer>],
        watch: &mut dyn Watch,
    ) -> Result<Option<f64>, Error> {
        let all: Vec<&Answer> = answers.iter().flatten().copied().collect();
        let mismatched: Vec<Answer> = (0..all.len())
            .filter_map(|i| {
                let others = all.iter().cycle().skip(i + 1).take(all.len());
                let other = others.into_iter().find(|other| other.prompt != all[i].prompt)?;
                // Together they may be longer than either with its own.
                let room = self.longest.saturating_sub(all[i].prompt.len()).max(1);
                let tokens = other.tokens[..other.tokens.len().min(room)].to_vec();
                Some(Answer { prompt: all[i].prompt.clone(), tokens, ..Answer::default() })
            })
            .collect();
        let batches = self.answers.split(mismatched.iter());
        let mut sequences = Vec::new();
        for (i, answers) in batches.iter().enumerate() {
            watch.phase("comparing with the reference", i, batches.len());
            if watch.stopped() {
                return Ok(None);
            }
            let (batch, slots) = batch(answers)?;
            let (now, before) = (policy.log_probs(&batch)?, self.reference.log_probs(&batch)?);
            sequences.extend(slots.iter().map(|slots| sequence(slots, &now, &before)));
        }
        kto_baseline(&sequences).map(Some).map_err(wrong)
    }

    /// The loss of a micro-batch, its gradient a slot, and what there is to be seen.
    fn loss(
        &self,
        answers: &[&Answer],
        slots: &[Range<usize>],
        (scores, reference): (&Scores, &Scores),
        (baseline, of): (f64, usize),
    ) -> Result<(f64, Vec<f32>, PreferenceStatistics), Error> {
        let labelled: Vec<Labelled> = answers
            .iter()
            .zip(slots)
            .map(|(answer, slots)| Labelled {
                sequence: sequence(slots, scores, reference),
                desirable: answer.desirable,
            })
            .collect();
        let loss = self.objective.loss(&labelled, baseline, of).map_err(wrong)?;
        let mut d = vec![0.0; scores.log_probs.len()];
        for (slots, of) in slots.iter().zip(&loss.d_log_probs) {
            per_token(*of, &mut d[slots.clone()]);
        }
        Ok((loss.loss, d, loss.statistics))
    }
}

/// The batch of some answers, and the slots of each.
fn batch(answers: &[&Answer]) -> Result<(Batch, Vec<Range<usize>>), Error> {
    let (mut batch, mut slots) = (Batch::new(), Vec::new());
    for answer in answers {
        let weights = vec![1.0; answer.tokens.len()];
        let one = [Continuation { tokens: &answer.tokens, weights: &weights }];
        let text = batch.push_group(&answer.prompt, &one)?.start;
        slots.push(batch.slots(text));
    }
    Ok((batch, slots))
}

fn sequence(slots: &Range<usize>, now: &Scores, before: &Scores) -> Sequence {
    Sequence::new(&now.log_probs[slots.clone()], Some(&before.log_probs[slots.clone()]))
}

fn figures(part: &Part<PreferenceStatistics>, baseline: f64) -> Vec<(&'static str, f64)> {
    let mut figures = part.statistics.figures();
    figures.push(("kl", baseline));
    figures
}

impl Teach for Kto<'_> {
    fn step(
        &mut self,
        learner: &mut Learner<'_>,
        step: u64,
        watch: &mut dyn Watch,
    ) -> Result<Option<Record>, Error> {
        let started = Instant::now();
        let batches = self.answers.step(step);
        let of = batches.iter().map(Vec::len).sum();
        let baseline = self.baseline(learner.network(), &batches, watch)?;
        let Some(baseline) = baseline else { return Ok(None) };
        let mut random = chance(self.recipe.seed, "dropout", step);
        let mut sum = Part::default();
        for (i, answers) in batches.iter().enumerate() {
            watch.phase("learning", i, batches.len());
            if watch.stopped() {
                learner.forget();
                return Ok(None);
            }
            let dropout = (self.recipe.lora.dropout > 0.0).then(|| random.next());
            let (batch, slots) = batch(answers)?;
            let reference = self.reference.log_probs(&batch)?;
            let (mut loss, mut statistics) = (0.0, PreferenceStatistics::default());
            learner.learn(&batch, dropout, |scores| {
                let d;
                (loss, d, statistics) =
                    self.loss(answers, &slots, (scores, &reference), (baseline, of))?;
                Ok((d, None))
            })?;
            sum += Part { loss, statistics, tokens: batch.len() };
        }
        let taken = learner.step(step)?;
        let mut record = Record::default();
        record.put("loss", sum.loss);
        record.put_all("", figures(&sum, baseline));
        record.put_all("", taken.figures());
        record.put("epoch", self.answers.epoch(step));
        record.took(sum.tokens, started.elapsed());
        Ok(Some(record))
    }

    fn evaluate(
        &mut self,
        learner: &Learner<'_>,
        watch: &mut dyn Watch,
    ) -> Result<Option<Measured>, Error> {
        let batches = self.answers.split(self.answers.held_out.iter());
        let of = self.answers.held_out.len();
        let baseline = self.baseline(learner.network(), &batches, watch)?;
        let Some(baseline) = baseline else { return Ok(None) };
        let mut sum = Part::default();
        for (i, answers) in batches.iter().enumerate() {
            watch.phase("measuring", i, batches.len());
            if watch.stopped() {
                return Ok(None);
            }
            let (batch, slots) = batch(answers)?;
            let (scores, reference) =
                (learner.network().log_probs(&batch)?, self.reference.log_probs(&batch)?);
            let (loss, _, statistics) =
                self.loss(answers, &slots, (&scores, &reference), (baseline, of))?;
            sum += Part { loss, statistics, tokens: batch.len() };
        }
        let mut record = Record::default();
        record.put("held_out/loss", sum.loss);
        record.put_all("held_out/", figures(&sum, baseline));
        record.put("held_out/answers", of as f64);
        Ok(Some(Measured { record, score: -sum.loss }))
    }
}
