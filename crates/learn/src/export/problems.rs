//! A recipe's problems and rewards, for whoever has no generators.

use reason::Prompt;
use serde_json::{Value, json};

use super::Job;
use crate::Error;
use crate::chance::chance;
use crate::error::recipe;
use crate::recipe::{Grpo, Recipe};
use crate::rl::{Curriculum, Problem, ProblemPool};

/// Most problems that are written down.
const MOST: u64 = 20_000;
/// Tokens that a prompt may have.
pub(super) const PROMPT: usize = 1024;
/// What thinking stands between where a completion is judged.
pub(super) const THINKING: [&str; 2] = ["<think>", "</think>"];

/// Problems to learn from, in the order in which they are to be drawn, and problems to measure with.
pub(super) struct Problems {
    pub(super) learned: Vec<Problem>,
    pub(super) held_out: Vec<Problem>,
}

/// The problems that a run draws as long as its curriculum prefers none.
pub(super) fn problems(job: &mut Job, recipe: &Recipe, grpo: &Grpo) -> Result<Problems, Error> {
    let held_out = if recipe.evaluate.every > 0 { recipe.evaluate.items } else { 0 };
    let pool = ProblemPool::open(&grpo.problems, recipe.seed, held_out)?;
    let weights = pool.weights();
    let mut curriculum = Curriculum::new(weights.len());
    let mut learned = Vec::new();
    'steps: for step in 1..=recipe.steps {
        let mut random = chance(recipe.seed, "problems", step * 64);
        for _ in 0..grpo.prompts {
            if learned.len() as u64 == MOST {
                job.differs(format!("only the first {MOST} problems of the run are written down"));
                break 'steps;
            }
            let (level, nth) = curriculum.next(&mut random, &weights);
            learned.push(pool.problem(level, nth, recipe.seed)?);
        }
    }
    if weights.len() > 1 {
        job.differs(
            "the curriculum: problems are those that the recipe would draw if all levels stayed as useful as they \
             are at first, and don't follow what the model learns",
        );
    }
    let held_out = pool.held_out().to_vec();
    if learned.iter().chain(&held_out).any(|p| is_text(p) != is_text(&learned[0])) {
        let problem = "some are put in a chat template and some are not; a job has one kind";
        return Err(crate::error::recipe("grpo.problems", problem));
    }
    Ok(Problems { learned, held_out })
}

pub(super) fn is_text(problem: &Problem) -> bool {
    matches!(problem.item.prompt, Prompt::Text(_))
}

/// A prompt as both libraries have it: a list of messages, or a text to be gone on from.
pub(super) fn prompt(problem: &Problem) -> Value {
    match &problem.item.prompt {
        Prompt::Text(text) => json!(text),
        Prompt::Chat(messages) => messages
            .iter()
            .map(|message| json!({"role": message.role, "content": message.content}))
            .collect(),
    }
}

/// What `reward.py` needs to know, but for what only one library asks.
pub(super) fn rewards(job: &mut Job, grpo: &Grpo) -> Result<Value, Error> {
    let mut rewards: Vec<Value> = Vec::new();
    for (i, reward) in grpo.rewards.iter().enumerate() {
        if let Some(model) = &reward.model {
            job.differs(format!(
                "the reward model {} is LEFT OUT (weight {}): it is an adapter of the model as this program loads \
                 it; make one of the library's own",
                model.display(),
                reward.weight
            ));
            continue;
        }
        // Two rewards of one name would be one column of figures.
        let known = rewards.iter().any(|other| other["name"] == reward.name());
        let name = match known {
            true => format!("{}_{}", reward.name(), i + 1),
            false => reward.name().to_owned(),
        };
        rewards.push(json!({"name": name, "weight": reward.weight, "check": reward.check}));
    }
    if rewards.is_empty() {
        let problem = "are reward models, every one; none of them can be exported";
        return Err(recipe("grpo.rewards", problem));
    }
    job.differs(
        "a verifier that can't tell leaves a completion out of its group here; there the reward counts as 0",
    );
    job.differs(format!(
        "thinking is what stands between {} and {}, whatever the model's own tags are",
        THINKING[0], THINKING[1]
    ));
    Ok(json!(rewards))
}
