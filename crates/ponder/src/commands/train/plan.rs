//! What a run is going to take, before it does.

use std::time::{Duration, Instant};

use anyhow::Result;
use engine::Engine;
use learn::pretrain::Pretrain;
use learn::recipe::{Method, What};
use learn::run::Work;
use learn::sft::Sft;
use learn::{Learner, Recipe};
use train::Batch;
use weights::pull::human_bytes;

/// Tokens of a prompt, for the context.
const PROMPT: usize = 1024;
/// Tokens that are learned to see how long that takes, if the model reads so many.
const TRIAL: usize = 128;

/// The context that the recipe's texts need.
pub fn context(recipe: &Recipe) -> Option<usize> {
    match recipe.method() {
        Method::Pretrain(pretrain) => Some(pretrain.sequence_tokens),
        Method::Sft(sft) => Some(sft.max_tokens.max(2)),
        Method::Preference(preference) => Some(preference.pairs.max_tokens.max(2)),
        Method::Kto(kto) => Some(kto.answers.max_tokens.max(2)),
        Method::RewardModel(reward_model) => Some(reward_model.pairs.max_tokens.max(2)),
        Method::Grpo(grpo) => Some(PROMPT + grpo.max_tokens),
    }
}

/// Says what became of the documents.
pub fn documents(pretrain: &Pretrain) {
    let learned = pretrain.sequences();
    let ((documents, cut), sequences) = (learned.documents(), learned.len());
    eprintln!("documents: {documents} with {} tokens, {sequences} sequences", learned.predicted());
    if cut > 0 {
        eprintln!("  cut: {cut} that are longer than a sequence");
    }
    let held_out = pretrain.held_out();
    eprintln!(
        "held out: {} documents; {} tokens of them are measured with",
        held_out.documents().0,
        held_out.predicted()
    );
}

/// Says what became of the examples.
pub fn examples(sft: &Sft) {
    let (counts, (tokens, learned)) = (sft.counts(), sft.tokens());
    eprintln!("examples: {} with {tokens} tokens, {learned} of them learned", counts.used);
    if counts.too_long > 0 {
        eprintln!("  left out: {} that are longer than sft.max_tokens", counts.too_long);
    }
    if counts.otherwise_written > 0 {
        eprintln!(
            "  left out: {} whose answers the model's template writes otherwise",
            counts.otherwise_written
        );
    }
}

/// Says what is learned and what it takes.
pub fn print(
    recipe: &Recipe,
    name: &str,
    engine: &Engine,
    learner: &mut Learner<'_>,
    work: Work,
) -> Result<()> {
    let parameters = learner.network().parameters().count();
    let critic = matches!(recipe.method(), Method::Grpo(grpo) if grpo.critic.is_some());
    let what = match recipe.learns() {
        What::Adapter => format!("an adapter of rank {}", recipe.lora.rank),
        What::Everything => "every weight".to_owned(),
    };
    let model = engine.model();
    eprintln!("learns: {what} of {name}, {parameters} parameters");
    // Value, gradient and two moments.
    eprintln!(
        "memory: {} for parameters and optimizer",
        human_bytes(if critic { 32 } else { 16 } * parameters as u64)
    );
    let tokens = TRIAL.min(model.config().context_length.saturating_sub(1)).max(1);
    let (learning, reading) = trial(learner, model.vocab(), tokens)?;
    eprintln!(
        "speed:  about {:.0} tokens a second are learned here, on {} threads with {}",
        1.0 / learning,
        model.threads(),
        model.isa()
    );
    eprintln!("time:   {}", time(recipe, work, work.seconds(learning, reading)));
    Ok(())
}

/// What the run takes, from the seconds of a step and of a measurement.
fn time(recipe: &Recipe, work: Work, (step, measured): (f64, f64)) -> String {
    let measurements = match recipe.evaluate.every {
        0 => 0,
        // Before the first step, on the way, and after the last.
        every => 1 + recipe.steps.div_ceil(every),
    };
    let all = human_time(step * recipe.steps as f64 + measured * measurements as f64);
    let step = human_time(step);
    match work.most {
        true => format!(
            "at most {step} of learning a step, {all} in {} steps, beside what is drawn",
            recipe.steps
        ),
        false if measurements == 0 => {
            format!("about {step} a step, {all} in {} steps", recipe.steps)
        }
        false => format!(
            "about {step} a step, {all} in {} steps with {measurements} measurements",
            recipe.steps
        ),
    }
}

/// Seconds, as people say them.
fn human_time(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{s:.1} s"),
        s if s < 100.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// Seconds a token of a text of so many, learned from and only read, each the second time.
fn trial(learner: &mut Learner<'_>, vocab: usize, tokens: usize) -> Result<(f64, f64)> {
    let texts: Vec<u32> = (0..=tokens).map(|i| (i * 7919 % vocab) as u32).collect();
    let mut batch = Batch::new();
    batch.push(&texts, &vec![1.0; texts.len()])?;
    learner.cross_entropy(&batch, None)?;
    let start = Instant::now();
    learner.cross_entropy(&batch, None)?;
    let learning = start.elapsed();
    learner.forget();
    learner.network().log_probs(&batch)?;
    let start = Instant::now();
    learner.network().log_probs(&batch)?;
    let a_token = |of: Duration| of.as_secs_f64() / tokens as f64;
    Ok((a_token(learning), a_token(start.elapsed())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_said_as_people_say_it() {
        let said = [0.25, 42.4, 100.0, 5399.0, 5400.0].map(human_time);
        assert_eq!(said, ["0.2 s", "42 s", "2 min", "90 min", "1.5 h"]);
    }
}
