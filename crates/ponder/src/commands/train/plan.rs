//! What a run is going to take, before it does.

use std::time::Instant;

use anyhow::Result;
use engine::Engine;
use learn::pretrain::Pretrain;
use learn::recipe::{Method, What};
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
    let speed = tokens as f64 / trial(learner, model.vocab(), tokens)?;
    eprintln!(
        "speed:  about {speed:.0} tokens a second are learned here, on {} threads with {}",
        model.threads(),
        model.isa()
    );
    let tokens = match recipe.method() {
        Method::Pretrain(pretrain) => pretrain.batch * pretrain.sequence_tokens,
        Method::Sft(sft) => sft.batch * sft.max_tokens,
        Method::Preference(of) => 2 * of.pairs.batch * of.pairs.max_tokens,
        // Three more ways through the network, of which none goes back.
        Method::Kto(of) => 2 * of.answers.batch * of.answers.max_tokens,
        Method::RewardModel(of) => 2 * of.pairs.batch * of.pairs.max_tokens,
        Method::Grpo(grpo) => {
            let networks = if critic { 2 } else { 1 };
            networks * grpo.epochs * grpo.prompts * grpo.completions * grpo.max_tokens
        }
    };
    let step = tokens as f64 / speed;
    let all = step * recipe.steps as f64 / 3600.0;
    eprintln!(
        "time:   at most {step:.0} s of learning a step, {all:.1} h in {} steps",
        recipe.steps
    );
    Ok(())
}

/// Seconds that a text of so many tokens takes, the second time.
fn trial(learner: &mut Learner<'_>, vocab: usize, tokens: usize) -> Result<f64> {
    let tokens: Vec<u32> = (0..=tokens).map(|i| (i * 7919 % vocab) as u32).collect();
    let mut batch = Batch::new();
    batch.push(&tokens, &vec![1.0; tokens.len()])?;
    learner.cross_entropy(&batch, None)?;
    let start = Instant::now();
    learner.cross_entropy(&batch, None)?;
    learner.forget();
    Ok(start.elapsed().as_secs_f64())
}
