//! What completions earn.

use std::sync::Arc;

use engine::{Engine, Lora, Request};
use eval::score::judge;
use regex::Regex;
use verify::Attempt;
use verify::check::Tools;

use super::{Drawn, Problem};
use crate::Error;
use crate::error::recipe;
use crate::objective::Overlong;
use crate::preference::load;
use crate::recipe::{Evaluate, Grpo, Reward};

/// What one completion earned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// The sum of all rewards, times their weights; none if one of them can't tell.
    pub reward: Option<f64>,
    /// The score of each reward, before weighting.
    pub scores: Vec<f64>,
    /// Whether the problem's own check gives full credit.
    pub right: bool,
    /// Whether it does, and the answer is of the strict form.
    pub right_strictly: bool,
    /// Why a verifier couldn't tell.
    pub cannot_tell: Option<String>,
}

/// Judges completions with the recipe's rewards.
pub struct Judge {
    rewards: Vec<Reward>,
    checks: Vec<Option<serde_json::Value>>,
    /// Of each reward, its model.
    models: Vec<Option<Lora>>,
    engine: Arc<Engine>,
    tools: Tools,
    strict: Regex,
    overlong: Overlong,
}

impl Judge {
    /// A judge for these rewards.
    ///
    /// # Errors
    /// The strict form is no regular expression, a check can't be written down, or a reward model
    /// isn't one for the engine's model.
    pub fn new(grpo: &Grpo, evaluate: &Evaluate, engine: &Arc<Engine>) -> Result<Judge, Error> {
        let strict = Regex::new(&evaluate.strict);
        let strict = strict.map_err(|error| recipe("evaluate.strict", error.to_string()))?;
        let json = |reward: &Reward| reward.check.as_ref().map(serde_json::to_value).transpose();
        let checks = grpo.rewards.iter().map(json).collect::<Result<_, _>>();
        let mut models = Vec::new();
        for (i, reward) in grpo.rewards.iter().enumerate() {
            let wrong = |problem| recipe(format!("grpo.rewards.{i}.model"), problem);
            let Some(path) = &reward.model else {
                models.push(None);
                continue;
            };
            models.push(Some(load(path, engine).map_err(wrong)?));
        }
        Ok(Judge {
            models,
            engine: Arc::clone(engine),
            rewards: grpo.rewards.clone(),
            checks: checks.map_err(|error| recipe("grpo.rewards", error.to_string()))?,
            tools: Tools::default(),
            strict,
            overlong: Overlong { max_tokens: grpo.max_tokens, buffer: grpo.overlong_tokens },
        })
    }

    /// Names of the rewards.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rewards.iter().map(Reward::name)
    }

    /// Judges all completions of all problems, each on the prompt it was drawn from: by checks, on as
    /// many threads as there are cores, for they may start programs and wait for them; and then by
    /// models, which need all cores.
    ///
    /// # Errors
    /// A reward model can't be run.
    pub fn all(
        &self,
        problems: &[Problem],
        prompts: &[Request],
        drawn: &[Vec<Drawn>],
    ) -> Result<Vec<Vec<Judged>>, Error> {
        let mut judged = self.checked(problems, drawn);
        for (r, (reward, lora)) in self.rewards.iter().zip(&self.models).enumerate() {
            let Some(lora) = lora else { continue };
            for ((prompt, drawn), judged) in prompts.iter().zip(drawn).zip(&mut judged) {
                for (drawn, judged) in drawn.iter().zip(judged) {
                    let text: Vec<u32> =
                        prompt.prompt.iter().chain(&drawn.tokens).copied().collect();
                    let score = f64::from(self.engine.reward(&text, lora)?);
                    judged.scores[r] = score;
                    judged.reward = judged.reward.map(|sum| sum + reward.weight * score);
                }
            }
        }
        Ok(judged)
    }

    fn checked(&self, problems: &[Problem], drawn: &[Vec<Drawn>]) -> Vec<Vec<Judged>> {
        let jobs: Vec<(&Problem, &Drawn)> = problems
            .iter()
            .zip(drawn)
            .flat_map(|(p, group)| group.iter().map(move |d| (p, d)))
            .collect();
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        let share = jobs.len().div_ceil(threads).max(1);
        let judged: Vec<Judged> = std::thread::scope(|scope| {
            let part = |jobs: &'_ [(&Problem, &Drawn)]| -> Vec<Judged> {
                jobs.iter().map(|(problem, drawn)| self.one(problem, drawn)).collect()
            };
            let running: Vec<_> =
                jobs.chunks(share).map(|jobs| scope.spawn(move || part(jobs))).collect();
            running
                .into_iter()
                .flat_map(|thread| thread.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
                .collect()
        });
        let mut judged = judged.into_iter();
        drawn.iter().map(|group| judged.by_ref().take(group.len()).collect()).collect()
    }

    /// Judges one completion by the checks.
    fn one(&self, problem: &Problem, drawn: &Drawn) -> Judged {
        let attempt = Attempt {
            question: &problem.item.question,
            reasoning: &drawn.reasoning,
            answer: &drawn.answer,
        };
        let own = judge(&self.tools, &problem.item.task, &attempt);
        let right = own.verdict.as_ref().is_some_and(|verdict| verdict.is_right());
        let mut judged = Judged {
            right,
            right_strictly: right && self.strict.is_match(&drawn.answer),
            ..Judged::default()
        };
        let mut sum = 0.0;
        for (reward, check) in self.rewards.iter().zip(&self.checks) {
            if reward.model.is_some() {
                judged.scores.push(f64::NAN);
                continue;
            }
            let found = match check {
                None => own.clone(),
                Some(check) => judge(&self.tools, check, &attempt),
            };
            let score = found.verdict.map(|verdict| verdict.score);
            judged.scores.push(score.unwrap_or(f64::NAN));
            sum += reward.weight * score.unwrap_or(0.0);
            judged.cannot_tell = judged.cannot_tell.or(found.cannot_tell);
        }
        if self.overlong.buffer > 0 {
            sum += self.overlong.reward(drawn.tokens.len()).unwrap_or(0.0);
        }
        judged.reward = judged.cannot_tell.is_none().then_some(sum);
        judged
    }
}
