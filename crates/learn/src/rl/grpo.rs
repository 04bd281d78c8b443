//! Group relative policy optimization (DeepSeekMath, arXiv:2402.03300), with the choices that came
//! after it: a step draws problems, samples a group of completions for each, judges them, and makes
//! what did better than its siblings more likely. With a critic it is PPO (arXiv:1707.06347): better
//! than was to be expected of it, token for token.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use engine::{Engine, Request};
use serde_json::Value;
use train::Network;

use super::batches::{Earned, Group, Member};
use super::critic::Critic;
use super::figures::{Figures, held_out, sample};
use super::rollout::{Draw, prompt};
use super::{Curriculum, Drawn, Judge, Judged, Problem, ProblemPool, Rollouts, Sampler, batches};
use crate::chance::chance;
use crate::error::recipe;
use crate::journal::Record;
use crate::learner::Learner;
use crate::objective::advantages;
use crate::recipe::{self, Recipe};
use crate::run::{Measured, Teach, Watch, Work};
use crate::{Error, chance::shuffled};

/// Completions that are drawn together when the model is measured.
const TOGETHER: usize = 64;
/// Tokens that a prompt is expected to have at most, for the size of the cache; longer ones wait for
/// each other.
const PROMPT: usize = 512;
/// Problems in a row that may be too long for the context.
const TRIES: usize = 1000;

/// The method, with all it draws from.
pub struct Grpo<'m> {
    recipe: Recipe,
    settings: recipe::Grpo,
    problems: ProblemPool,
    curriculum: Curriculum,
    judge: Judge,
    rollouts: Box<dyn Rollouts + 'm>,
    /// The model before it learned anything, where the loss looks back at it.
    reference: Option<Network<'m>>,
    /// What says how good a completion was to be, in place of its siblings.
    critic: Option<Critic<'m>>,
    engine: Arc<Engine>,
    held_out: Vec<Problem>,
}

/// What was drawn for a step.
#[derive(Default)]
struct Harvest {
    problems: Vec<Problem>,
    prompts: Vec<Request>,
    drawn: Vec<Vec<Drawn>>,
    judged: Vec<Vec<Judged>>,
}

impl<'m> Grpo<'m> {
    /// Opens the sources and makes a sampler of `engine`, whose model the learner's adapter is for.
    ///
    /// # Errors
    /// The recipe isn't one for this method, or its sources can't be opened.
    pub fn new(recipe: &Recipe, engine: &'m Arc<Engine>) -> Result<Grpo<'m>, Error> {
        let Some(settings) = &recipe.grpo else {
            return Err(crate::error::recipe("grpo", "is not there"));
        };
        let parallel = (settings.prompts * settings.completions).max(TOGETHER);
        let sampler = Sampler::new(Arc::clone(engine), parallel, PROMPT + settings.max_tokens)?;
        Grpo::with_rollouts(recipe, engine, Box::new(sampler))
    }

    /// The same, with completions drawn elsewhere.
    ///
    /// # Errors
    /// As for [`Grpo::new`].
    pub fn with_rollouts(
        recipe: &Recipe,
        engine: &'m Arc<Engine>,
        rollouts: Box<dyn Rollouts + 'm>,
    ) -> Result<Grpo<'m>, Error> {
        let Some(settings) = recipe.grpo.clone() else {
            return Err(crate::error::recipe("grpo", "is not there"));
        };
        settings
            .objective
            .check()
            .map_err(|e| crate::error::recipe("grpo.objective", e.to_string()))?;
        let held_out = if recipe.evaluate.every > 0 { recipe.evaluate.items } else { 0 };
        let problems = ProblemPool::open(&settings.problems, recipe.seed, held_out)?;
        let held_out_before = problems.held_out().len();
        let kl_in_reward = settings.critic.as_ref().map_or(0.0, |critic| critic.kl_in_reward);
        let looks_back = settings.objective.kl_coefficient > 0.0 || kl_in_reward > 0.0;
        let reference = looks_back.then(|| recipe.network(engine.model())).transpose()?;
        let critic = settings
            .critic
            .as_ref()
            .map(|critic| Critic::open(recipe, critic, engine.model()))
            .transpose()?;
        let mut grpo = Grpo {
            curriculum: Curriculum::new(problems.weights().len()),
            judge: Judge::new(&settings, &recipe.evaluate, engine)?,
            recipe: recipe.clone(),
            settings,
            problems,
            rollouts,
            reference,
            critic,
            engine: Arc::clone(engine),
            held_out: Vec::new(),
        };
        for problem in grpo.problems.held_out() {
            if grpo.fits(&prompt(engine, &problem.item.prompt)?) {
                grpo.held_out.push(problem.clone());
            }
        }
        if held_out > 0 && grpo.held_out.is_empty() {
            return Err(nothing_fits(engine.context_length()));
        }
        if grpo.held_out.len() < held_out_before {
            let left_out = held_out_before - grpo.held_out.len();
            tracing::warn!("{left_out} held-out problems are too long for the context");
        }
        Ok(grpo)
    }

    /// Whether a prompt and the longest completion fit the context.
    fn fits(&self, prompt: &Request) -> bool {
        prompt.prompt.len() + self.settings.max_tokens <= self.engine.context_length()
    }

    /// Draws and judges groups until there are enough that teach something. None if stopped.
    fn harvest(
        &mut self,
        step: u64,
        curriculum: &mut Curriculum,
        figures: &mut Figures,
        watch: &mut dyn Watch,
    ) -> Result<Option<Harvest>, Error> {
        let wanted = self.settings.prompts;
        let mut kept = Harvest::default();
        for round in 0..=self.settings.resample_rounds {
            let missing = wanted - kept.problems.len();
            let last = round == self.settings.resample_rounds;
            let mut random = chance(self.recipe.seed, "problems", step * 64 + round as u64);
            let weights = self.problems.weights();
            let (mut problems, mut prompts) = (Vec::new(), Vec::new());
            let mut too_long = 0;
            while problems.len() < missing {
                let (level, nth) = curriculum.next(&mut random, &weights);
                let problem = self.problems.problem(level, nth, self.recipe.seed)?;
                let prompt = prompt(&self.engine, &problem.item.prompt)?;
                if self.fits(&prompt) {
                    problems.push(problem);
                    prompts.push(prompt);
                    continue;
                }
                too_long += 1;
                if too_long >= TRIES {
                    return Err(nothing_fits(self.engine.context_length()));
                }
            }
            figures.too_long(too_long);
            let draw = Draw {
                completions: self.settings.completions,
                max_tokens: self.settings.max_tokens,
                temperature: self.settings.temperature,
                seed: random.next(),
            };
            let started = Instant::now();
            let all = missing * self.settings.completions;
            let drawn = self.rollouts.draw(&prompts, draw, &mut |_, finished| {
                watch.phase("drawing completions", finished, all);
                !watch.stopped()
            })?;
            let Some(drawn) = drawn else { return Ok(None) };
            figures.drew(&drawn, started.elapsed());
            let judged = self.judge.all(&problems, &prompts, &drawn)?;
            for (problem, judged) in problems.iter().zip(&judged) {
                let right = judged.iter().filter(|j| j.right).count();
                curriculum.saw(problem.level, right as f64 / judged.len() as f64);
            }
            figures.judged(&self.judge, &judged);
            let groups = problems.into_iter().zip(prompts).zip(drawn.into_iter().zip(judged));
            for ((problem, prompt), (drawn, judged)) in groups {
                // What nobody could tell more about than another is drawn anew.
                if last || !is_flat(&judged) {
                    kept.problems.push(problem);
                    kept.prompts.push(prompt);
                    kept.drawn.push(drawn);
                    kept.judged.push(judged);
                }
            }
            if kept.problems.len() == wanted {
                break;
            }
        }
        Ok(Some(kept))
    }

    fn prompts(&self, problems: &[Problem]) -> Result<Vec<Request>, Error> {
        problems.iter().map(|problem| prompt(&self.engine, &problem.item.prompt)).collect()
    }

    /// What there is to learn from, and what each completion earned; the advantages are still to come.
    fn groups(&self, harvest: Harvest) -> (Vec<Group>, Vec<Vec<f64>>) {
        let mut groups = Vec::new();
        let mut rewards: Vec<Vec<f64>> = Vec::new();
        for ((prompt, drawn), judged) in
            harvest.prompts.into_iter().zip(harvest.drawn).zip(&harvest.judged)
        {
            let mut group = Group { prompt: prompt.prompt, members: Vec::new() };
            let mut earned = Vec::new();
            for (drawn, judged) in drawn.into_iter().zip(judged) {
                let (Some(reward), false) = (judged.reward, drawn.tokens.is_empty()) else {
                    continue;
                };
                earned.push(reward);
                group.members.push(Member {
                    tokens: drawn.tokens,
                    sampler_log_probs: drawn.log_probs,
                    left_out: drawn.truncated && self.settings.leave_out_truncated,
                    ..Member::default()
                });
            }
            groups.push(group);
            rewards.push(earned);
        }
        (groups, rewards)
    }

    /// Holds what completions earned against what their siblings did.
    fn compare(&self, groups: &mut [Group], rewards: &[Vec<f64>]) -> Result<(), Error> {
        let found = advantages(rewards, self.settings.baseline)
            .map_err(|error| recipe("grpo.rewards", error.to_string()))?;
        let members = groups.iter_mut().flat_map(|group| &mut group.members);
        for (member, advantage) in members.zip(found.advantages) {
            member.advantage = Earned::Completion(advantage);
        }
        Ok(())
    }
}

fn nothing_fits(context: usize) -> Error {
    Error::Data {
        what: "problems".to_owned(),
        problem: format!(
            "with grpo.max_tokens for the answer none fits a context of {context} tokens"
        ),
    }
}

/// Whether all completions that could be judged earned the same.
fn is_flat(judged: &[Judged]) -> bool {
    let mut rewards = judged.iter().filter_map(|j| j.reward);
    let Some(first) = rewards.next() else { return true };
    rewards.all(|reward| (reward - first).abs() < 1e-9)
}

impl Teach for Grpo<'_> {
    fn step(
        &mut self,
        learner: &mut Learner<'_>,
        step: u64,
        watch: &mut dyn Watch,
    ) -> Result<Option<Record>, Error> {
        let mut figures = Figures::default();
        self.rollouts.follow(learner.network())?;
        let mut curriculum = self.curriculum.clone();
        let harvest = self.harvest(step, &mut curriculum, &mut figures, watch)?;
        let Some(harvest) = harvest else { return Ok(None) };

        let started = Instant::now();
        let sample = sample(&harvest.problems, &harvest.drawn, &harvest.judged);
        let (mut groups, rewards) = self.groups(harvest);
        let updates = self.settings.minibatches * self.settings.epochs;
        if updates > 1 || self.reference.is_some() {
            let paid = self.settings.critic.as_ref().is_some_and(|c| c.kl_in_reward > 0.0);
            let old = (updates > 1 || paid).then_some(learner.network());
            let size = self.recipe.micro_batch_tokens;
            if !batches::score(&mut groups, old, self.reference.as_ref(), size, watch)? {
                return Ok(None);
            }
        }
        let mut seen = match &self.critic {
            Some(critic) => match critic.estimate(&mut groups, &rewards, watch)? {
                Some(seen) => Some(seen),
                None => return Ok(None),
            },
            None => {
                self.compare(&mut groups, &rewards)?;
                None
            }
        };
        let dropout = (self.recipe.lora.dropout > 0.0)
            .then(|| chance(self.recipe.seed, "dropout", step).next());
        let mut taken = None;
        for epoch in 0..self.settings.epochs {
            let purpose = format!("minibatches {epoch}");
            let order = match updates {
                1 => (0..groups.len()).collect(),
                _ => shuffled(self.recipe.seed, &purpose, step, groups.len()),
            };
            for part in order.chunks(groups.len().div_ceil(self.settings.minibatches).max(1)) {
                let part: Vec<&Group> = part.iter().map(|i| &groups[*i]).collect();
                let plan = batches::Plan {
                    objective: &self.settings.objective,
                    max_tokens: self.settings.max_tokens,
                    size: self.recipe.micro_batch_tokens,
                    dropout,
                };
                // Between the updates of one step there is no state that could be kept.
                let stoppable = taken.is_none();
                let learned = batches::learn(learner, &part, &plan, stoppable, watch)?;
                let Some(learned) = learned else {
                    learner.forget();
                    return Ok(None);
                };
                figures.learned(learned);
                taken = Some(learner.step(step)?);
                if let (Some(critic), Some(seen)) = (&mut self.critic, &mut seen) {
                    critic.learn(&part, step, dropout, watch, seen)?;
                }
            }
        }
        figures.valued(seen);
        self.curriculum = curriculum;
        figures.trained(started.elapsed(), taken);
        let levels = self.problems.levels().zip(self.curriculum.pass_rates());
        let mut record = figures.record(&groups, &self.judge, levels);
        record.texts.extend(sample);
        Ok(Some(record))
    }

    fn evaluate(
        &mut self,
        learner: &Learner<'_>,
        watch: &mut dyn Watch,
    ) -> Result<Option<Measured>, Error> {
        self.rollouts.follow(learner.network())?;
        let problems = self.held_out.clone();
        let (mut drawn, mut judged) = (Vec::new(), Vec::new());
        for part in problems.chunks(TOGETHER) {
            let prompts = self.prompts(part)?;
            let draw = Draw {
                completions: 1,
                max_tokens: self.settings.max_tokens,
                temperature: 0.0,
                seed: 0,
            };
            let done = drawn.len();
            let all = self.rollouts.draw(&prompts, draw, &mut |_, finished| {
                watch.phase("measuring", done + finished, problems.len());
                !watch.stopped()
            })?;
            let Some(all) = all else { return Ok(None) };
            judged.extend(self.judge.all(part, &prompts, &all)?);
            drawn.extend(all);
        }
        Ok(Some(held_out(&problems, &drawn, &judged)))
    }

    /// What is drawn is not counted: it takes another way through the model.
    fn work(&self) -> Work {
        let of = &self.settings;
        let drawn = (of.prompts * of.completions * of.max_tokens) as f64;
        let networks = if self.critic.is_some() { 2.0 } else { 1.0 };
        let looks_back =
            self.reference.is_some() as usize + (of.minibatches * of.epochs > 1) as usize;
        Work {
            learned: networks * of.epochs as f64 * drawn,
            read: looks_back as f64 * drawn,
            measured: 0.0,
            most: true,
        }
    }

    fn state(&self) -> Value {
        serde_json::to_value(&self.curriculum).unwrap_or_default()
    }

    fn restore(&mut self, state: Value) -> Result<(), serde_json::Error> {
        let kept: Curriculum = serde_json::from_value(state)?;
        if kept.levels() == self.curriculum.levels() {
            self.curriculum = kept;
        }
        Ok(())
    }

    fn save(&self, dir: &Path) -> Result<(), Error> {
        self.critic.as_ref().map_or(Ok(()), |critic| critic.save(dir))
    }

    fn load(&mut self, dir: &Path) -> Result<(), Error> {
        self.critic.as_mut().map_or(Ok(()), |critic| critic.load(dir))
    }
}
