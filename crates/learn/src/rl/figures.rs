//! What a step of reinforcement learning shows.

use std::time::Duration;

use super::batches::{Group, Learned};
use super::critic::Seen;
use super::{Drawn, Judge, Judged, Problem};
use crate::journal::{Record, sample as names};
use crate::learner::Step;
use crate::objective::PolicyStatistics;
use crate::run::Measured;

/// Figures as they come in.
#[derive(Default)]
pub(super) struct Figures {
    too_long: usize,
    lengths: Vec<usize>,
    truncated: usize,
    drawing: Duration,
    training: Duration,
    /// Of each reward, the scores of all completions.
    scores: Vec<Vec<f64>>,
    rewards: Vec<f64>,
    right: usize,
    strictly: usize,
    cannot_tell: usize,
    groups: usize,
    flat: usize,
    loss: f64,
    trained: usize,
    statistics: PolicyStatistics,
    step: Option<Step>,
    critic: Option<Seen>,
}

impl Figures {
    pub(super) fn too_long(&mut self, problems: usize) {
        self.too_long += problems;
    }

    pub(super) fn drew(&mut self, drawn: &[Vec<Drawn>], took: Duration) {
        self.lengths.extend(drawn.iter().flatten().map(|d| d.tokens.len()));
        self.truncated += drawn.iter().flatten().filter(|d| d.truncated).count();
        self.drawing += took;
    }

    pub(super) fn judged(&mut self, judge: &Judge, judged: &[Vec<Judged>]) {
        self.scores.resize(judge.names().count(), Vec::new());
        for group in judged {
            let rewards: Vec<f64> = group.iter().filter_map(|j| j.reward).collect();
            let spread = rewards.iter().any(|r| (r - rewards[0]).abs() > 1e-9);
            self.groups += 1;
            self.flat += usize::from(!spread);
            self.rewards.extend(rewards);
            for one in group {
                self.right += usize::from(one.right);
                self.strictly += usize::from(one.right_strictly);
                self.cannot_tell += usize::from(one.cannot_tell.is_some());
                for (all, score) in self.scores.iter_mut().zip(&one.scores) {
                    all.extend(score.is_finite().then_some(*score));
                }
            }
        }
    }

    pub(super) fn learned(&mut self, learned: Learned) {
        self.loss += learned.loss;
        self.trained += learned.tokens;
        self.statistics += learned.statistics;
    }

    pub(super) fn valued(&mut self, seen: Option<Seen>) {
        self.critic = seen;
    }

    pub(super) fn trained(&mut self, took: Duration, step: Option<Step>) {
        self.training = took;
        self.step = step;
    }

    pub(super) fn record<'a>(
        &self,
        groups: &[Group],
        judge: &Judge,
        levels: impl Iterator<Item = (&'a str, &'a f64)>,
    ) -> Record {
        let n = self.lengths.len().max(1) as f64;
        let tokens: usize = self.lengths.iter().sum();
        let mut record = Record::default();
        let mut put = |name: &str, value: f64| record.put(name, value);
        let (mean, std) = mean_std(&self.rewards);
        put("reward/mean", mean);
        put("reward/std", std);
        for (name, scores) in judge.names().zip(&self.scores) {
            let (mean, std) = mean_std(scores);
            put(&format!("reward/{name}/mean"), mean);
            put(&format!("reward/{name}/std"), std);
        }
        put("accuracy", self.right as f64 / n);
        put("accuracy_strict", self.strictly as f64 / n);
        put("groups/flat_share", self.flat as f64 / self.groups.max(1) as f64);
        put(
            "groups/learned",
            groups.iter().filter(|g| g.members.iter().any(|m| !m.advantage.is_zero())).count()
                as f64,
        );
        put("problems/too_long", self.too_long as f64);
        put("verifier/cannot_tell", self.cannot_tell as f64);
        put("length/min", self.lengths.iter().min().copied().unwrap_or(0) as f64);
        put("length/mean", tokens as f64 / n);
        put("length/max", self.lengths.iter().max().copied().unwrap_or(0) as f64);
        put("length/truncated_share", self.truncated as f64 / n);
        put("loss", self.loss);
        for (name, value) in self.statistics.figures() {
            put(name, value);
        }
        for (name, value) in self.step.iter().flat_map(Step::figures) {
            put(name, value);
        }
        for (name, value) in self.critic.iter().flat_map(Seen::figures) {
            put(name, value);
        }
        put("tokens/drawn", tokens as f64);
        put("speed/drawn_per_second", tokens as f64 / self.drawing.as_secs_f64());
        put("seconds/drawing", self.drawing.as_secs_f64());
        for (level, rate) in levels {
            put(&format!("curriculum/{level}"), *rate);
        }
        record.took(self.trained, self.training);
        record
    }
}

/// One completion to look at: the first problem's best.
pub(super) fn sample(
    problems: &[Problem],
    drawn: &[Vec<Drawn>],
    judged: &[Vec<Judged>],
) -> Vec<(String, String)> {
    let (Some(problem), Some(drawn), Some(judged)) =
        (problems.first(), drawn.first(), judged.first())
    else {
        return Vec::new();
    };
    let reward = |j: &Judged| j.reward.unwrap_or(f64::NEG_INFINITY);
    let best = drawn.iter().zip(judged).max_by(|a, b| reward(a.1).total_cmp(&reward(b.1)));
    let Some((drawn, judged)) = best else { return Vec::new() };
    let mut completion = drawn.answer.clone();
    if !drawn.reasoning.is_empty() {
        completion = format!("{}\n\n{completion}", drawn.reasoning);
    }
    vec![
        (names::PROMPT.to_owned(), problem.item.question.clone()),
        (names::COMPLETION.to_owned(), completion),
        (names::REWARD.to_owned(), judged.reward.map_or("none".to_owned(), |r| format!("{r:.3}"))),
    ]
}

/// How the model did on what it never learns from.
pub(super) fn held_out(
    problems: &[Problem],
    drawn: &[Vec<Drawn>],
    judged: &[Vec<Judged>],
) -> Measured {
    let all = || judged.iter().flatten();
    let n = all().count().max(1) as f64;
    let share = |which: fn(&Judged) -> bool| all().filter(|j| which(j)).count() as f64 / n;
    let accuracy = share(|j| j.right);
    let tokens: usize = drawn.iter().flatten().map(|d| d.tokens.len()).sum();
    let truncated = drawn.iter().flatten().filter(|d| d.truncated).count();
    let rewards: Vec<f64> = all().filter_map(|j| j.reward).collect();
    let (reward, _) = mean_std(&rewards);
    let scalars = [
        ("held_out/reward", reward),
        ("held_out/accuracy", accuracy),
        ("held_out/accuracy_strict", share(|j| j.right_strictly)),
        ("held_out/length", tokens as f64 / n),
        ("held_out/truncated_share", truncated as f64 / n),
        ("held_out/items", n),
    ];
    let scalars = scalars.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let texts = sample(problems, drawn, judged);
    Measured { record: Record { scalars, texts, ..Record::default() }, score: reward }
}

fn mean_std(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    (mean, (squares / n).sqrt())
}
