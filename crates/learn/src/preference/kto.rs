//! The policy learns from answers that are each good or bad: KTO (arXiv:2402.01306).

use std::ops::Range;

use engine::Engine;
use train::{Batch, Continuation, Network, Scores};

use super::examples::Examples;
use super::method::{ExampleLoss, FromExamples, Part};
use crate::Error;
use crate::data::{Answer, read_answers};
use crate::error::recipe;
use crate::learner::Learner;
use crate::objective::{self, Labelled, PreferenceStatistics, Sequence, kto_baseline, per_token};
use crate::recipe::Recipe;
use crate::run::Watch;

/// The loss of a policy's own log-probabilities, held against a reference's.
pub struct Kto<'m> {
    objective: objective::Kto,
    /// The model before it learned anything.
    reference: Network<'m>,
}

fn wrong(error: objective::Error) -> Error {
    recipe("kto", error.to_string())
}

impl<'m> Kto<'m> {
    /// The method, with all answers read.
    ///
    /// # Errors
    /// The recipe isn't one for this method, or its data can't be used.
    pub fn open(recipe: &Recipe, engine: &'m Engine) -> Result<FromExamples<Kto<'m>>, Error> {
        let Some(settings) = &recipe.kto else {
            return Err(crate::error::recipe("kto", "is not there"));
        };
        settings
            .objective
            .check()
            .map_err(|e| crate::error::recipe("kto.objective", e.to_string()))?;
        let reference = recipe.network(engine.model())?;
        Ok(FromExamples {
            recipe: recipe.clone(),
            examples: Examples::open(recipe, &settings.answers, engine, read_answers)?,
            loss: Kto { objective: settings.objective.clone(), reference },
        })
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

impl ExampleLoss for Kto<'_> {
    type Example = Answer;
    /// The baseline.
    type Known = f64;
    type Statistics = PreferenceStatistics;

    const NAME: &'static str = "answers";

    /// Through the reference; and through both networks with answers to other prompts.
    fn reads(&self) -> f64 {
        3.0
    }

    /// How far the policy has strayed from the reference, judged by answers that are each to another
    /// prompt than their own.
    fn know(
        &self,
        policy: &Network<'_>,
        examples: &Examples<Answer>,
        batches: &[Vec<&Answer>],
        watch: &mut dyn Watch,
    ) -> Result<Option<f64>, Error> {
        let all: Vec<&Answer> = batches.iter().flatten().copied().collect();
        let mismatched: Vec<Answer> = (0..all.len())
            .filter_map(|i| {
                let others = all.iter().cycle().skip(i + 1).take(all.len());
                let other = others.into_iter().find(|other| other.prompt != all[i].prompt)?;
                // Together they may be longer than either with its own.
                let room = examples.longest.saturating_sub(all[i].prompt.len()).max(1);
                let tokens = other.tokens[..other.tokens.len().min(room)].to_vec();
                Some(Answer { prompt: all[i].prompt.clone(), tokens, ..Answer::default() })
            })
            .collect();
        let batches = examples.split(mismatched.iter());
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

    fn figures(statistics: &PreferenceStatistics, baseline: f64) -> Vec<(&'static str, f64)> {
        let mut figures = statistics.figures();
        figures.push(("kl", baseline));
        figures
    }

    fn learn(
        &self,
        learner: &mut Learner<'_>,
        answers: &[&Answer],
        step: (f64, usize),
        dropout: Option<u64>,
    ) -> Result<Part<PreferenceStatistics>, Error> {
        let (batch, slots) = batch(answers)?;
        let reference = self.reference.log_probs(&batch)?;
        let (mut loss, mut statistics) = (0.0, PreferenceStatistics::default());
        learner.learn(&batch, dropout, |scores| {
            let d;
            (loss, d, statistics) = self.loss(answers, &slots, (scores, &reference), step)?;
            Ok((d, None))
        })?;
        Ok(Part { loss, statistics, tokens: batch.len() })
    }

    fn measure(
        &self,
        learner: &Learner<'_>,
        answers: &[&Answer],
        step: (f64, usize),
    ) -> Result<Part<PreferenceStatistics>, Error> {
        let (batch, slots) = batch(answers)?;
        let reference = self.reference.log_probs(&batch)?;
        let scores = learner.network().log_probs(&batch)?;
        let (loss, _, statistics) = self.loss(answers, &slots, (&scores, &reference), step)?;
        Ok(Part { loss, statistics, tokens: batch.len() })
    }
}
