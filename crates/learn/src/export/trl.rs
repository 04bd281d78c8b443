//! Jobs for TRL.

use serde_json::{Map, Value, json};

use super::problems::{self, THINKING, problems};
use super::{Job, data, decimal, target_modules};
use crate::Error;
use crate::objective::{Aggregate, Baseline, Correction, KlEstimator, Preference as Loss, Ratio};
use crate::recipe::{Examples, Grpo, Lora, Optimizer, Preference, Recipe, Schedule, Sft, What};

const REWARD: &str = include_str!("reward.py");
const GRPO: &str = include_str!("trl_grpo.py");
const SFT: &str = include_str!("trl_sft.py");
const PREFERENCE: &str = include_str!("trl_preference.py");
/// What the programs were tried with.
const REQUIREMENTS: &str = "trl==1.16.*\ntransformers==5.24.*\npeft==0.21.*\ndatasets==5.2.*\n";
const RUN: &str = "pip install -r requirements.txt\naccelerate launch train.py\n";
/// With vLLM for the completions.
const RUN_VLLM: &str = "pip install -r requirements.txt 'trl[vllm]'\naccelerate launch train.py\n";

/// Arguments that every trainer has; a step of the recipe is `updates` of the optimizer.
fn arguments(job: &mut Job, recipe: &Recipe, updates: u64) -> Map<String, Value> {
    let Optimizer {
        learning_rate,
        schedule,
        warmup_steps,
        beta1,
        beta2,
        eps,
        weight_decay,
        max_norm,
    } = &recipe.optimizer;
    if *warmup_steps > 0 {
        job.differs(
            "the warm-up begins at a learning rate of 0 there, at its first step's share here",
        );
    }
    job.begins_anew(recipe);
    let scheduler = match schedule {
        Schedule::Constant => "constant_with_warmup",
        Schedule::Cosine => "cosine",
        Schedule::Linear => "linear",
    };
    let every = recipe.evaluate.every * updates;
    let made = json!({
        "output_dir": "run",
        "seed": recipe.seed,
        "max_steps": recipe.steps * updates,
        "learning_rate": learning_rate,
        "lr_scheduler_type": scheduler,
        "warmup_steps": warmup_steps * updates,
        "adam_beta1": beta1,
        "adam_beta2": beta2,
        "adam_epsilon": eps,
        "weight_decay": weight_decay,
        "max_grad_norm": decimal(*max_norm),
        "bf16": true,
        "gradient_checkpointing": true,
        "save_strategy": if recipe.checkpoints.every > 0 { "steps" } else { "no" },
        "save_steps": (recipe.checkpoints.every * updates).max(1),
        "save_total_limit": recipe.checkpoints.keep.max(1),
        "eval_strategy": if every > 0 { "steps" } else { "no" },
        "eval_steps": every.max(1),
        "eval_on_start": every > 0,
        "logging_steps": 1,
        "report_to": "none",
    });
    match made {
        Value::Object(made) => made,
        _ => Map::new(),
    }
}

fn lora(lora: &Lora) -> Result<Value, Error> {
    Ok(json!({
        "r": lora.rank,
        "lora_alpha": decimal(lora.alpha),
        "use_rslora": lora.rslora,
        "lora_dropout": decimal(lora.dropout),
        "target_modules": target_modules(lora)?,
        "task_type": "CAUSAL_LM",
    }))
}

fn set(arguments: &mut Map<String, Value>, more: Value) {
    if let Value::Object(more) = more {
        arguments.extend(more);
    }
}

/// A job of rewards; says how it is run.
pub(super) fn grpo(
    job: &mut Job,
    recipe: &Recipe,
    grpo: &Grpo,
    model: &str,
) -> Result<&'static str, Error> {
    let found = problems(job, recipe, grpo)?;
    let rewards = problems::rewards(job, grpo)?;
    let minibatches = match grpo.prompts.is_multiple_of(grpo.minibatches) {
        true => grpo.minibatches,
        false => {
            job.differs(format!(
                "{} prompts aren't {} equal parts: one update a step",
                grpo.prompts, grpo.minibatches
            ));
            1
        }
    };
    let updates = (minibatches * grpo.epochs) as u64;
    let mut arguments = arguments(job, recipe, updates);
    set(
        &mut arguments,
        json!({
            "num_generations": grpo.completions,
            "max_completion_length": grpo.max_tokens,
            "temperature": decimal(grpo.temperature),
            // A group at a time; what is drawn together is a step of the recipe.
            "per_device_train_batch_size": grpo.completions,
            "steps_per_generation": grpo.prompts,
            "gradient_accumulation_steps": grpo.prompts / minibatches,
            "num_iterations": grpo.epochs,
            "shuffle_dataset": false,
            "mask_truncated_completions": grpo.leave_out_truncated,
            "per_device_eval_batch_size": 8,
            "num_generations_eval": 1,
            "use_vllm": true,
            "vllm_mode": "colocate",
            "log_completions": false,
        }),
    );
    objective(job, grpo, &mut arguments);
    if grpo.resample_rounds > 0 {
        job.differs(
            "resample_rounds: groups whose rewards are all the same are not drawn anew; TRL has no dynamic sampling",
        );
    }
    if recipe.evaluate.every > 0 {
        job.differs(
            "held-out problems are answered at the sampling temperature, not greedily, and `evaluate.strict` isn't \
             looked at",
        );
    }
    let weights = "the best checkpoint isn't kept apart: the last ones are there, and `run/last`";
    job.differs(weights);
    job.json(
        "job.json",
        &json!({
            "method": "grpo", "model": model, "arguments": arguments, "lora": lora(&recipe.lora)?,
            "rewards": rewards, "thinking_tags": THINKING, "max_tokens": grpo.max_tokens,
            "overlong_tokens": grpo.overlong_tokens,
        }),
    );
    let row = |problem: &crate::rl::Problem| {
        json!({
            "id": problem.item.id, "prompt": problems::prompt(problem),
            "question": problem.item.question, "check": problem.item.task.to_string(),
        })
    };
    job.rows("problems.jsonl", &found.learned.iter().map(row).collect::<Vec<_>>());
    job.rows("held_out.jsonl", &found.held_out.iter().map(row).collect::<Vec<_>>());
    job.add("train.py", GRPO);
    job.add("reward.py", REWARD);
    job.add("requirements.txt", REQUIREMENTS);
    Ok(RUN_VLLM)
}

fn objective(job: &mut Job, grpo: &Grpo, arguments: &mut Map<String, Value>) {
    let of = &grpo.objective;
    let scale = match grpo.baseline {
        Baseline::Grpo => "group",
        Baseline::LitePpo => "batch",
        Baseline::DrGrpo => "none",
        Baseline::Rloo => {
            let n = grpo.completions;
            job.differs(format!(
                "rloo: advantages are smaller by a factor of {} / {n}; that is Dr. GRPO's",
                n - 1
            ));
            "none"
        }
        Baseline::ReinforcePlusPlusBaseline => {
            job.differs(
                "reinforce-plus-plus-baseline: advantages are divided by the deviation of the batch's rewards, not of \
                 what the groups' means leave of them",
            );
            "batch"
        }
        Baseline::ReinforcePlusPlus => {
            job.differs(
                "reinforce-plus-plus: rewards are held against their group's mean, not the batch's; TRL has no other \
                 baseline",
            );
            "batch"
        }
    };
    let loss = match of.aggregate {
        Aggregate::TokenMean => "dapo",
        Aggregate::SequenceMean => "grpo",
        Aggregate::Constant => "dr_grpo",
    };
    if of.ratio == Ratio::Sequence && of.aggregate != Aggregate::SequenceMean {
        job.differs(
            "ratio = sequence: TRL warns that a sequence's ratio is meant for the aggregate sequence-mean",
        );
    }
    if of.kl_coefficient > 0.0 && of.kl_estimator != KlEstimator::K3 {
        job.differs("kl_estimator: TRL knows k3 alone");
    }
    let (corrected, mode) = match of.sampler_correction {
        Correction::Off => (false, "token_truncate"),
        Correction::TokenTruncate => (true, "token_truncate"),
        Correction::TokenMask => (true, "token_mask"),
        Correction::SequenceTruncate => (true, "sequence_truncate"),
        Correction::SequenceMask => (true, "sequence_mask"),
    };
    set(
        arguments,
        json!({
            "loss_type": loss,
            "scale_rewards": scale,
            "importance_sampling_level": match of.ratio {
                Ratio::Token => "token",
                Ratio::Sequence => "sequence",
            },
            "epsilon": of.clip_low,
            "epsilon_high": of.clip_high,
            "delta": of.delta,
            "beta": of.kl_coefficient,
            "use_bias_correction_kl": of.unbiased_kl,
            "entropy_coef": of.entropy_coefficient,
            "vllm_importance_sampling_correction": corrected,
            "vllm_importance_sampling_mode": mode,
            "vllm_importance_sampling_clip_max": of.sampler_cap,
        }),
    );
}

/// A job of examples; says how it is run.
pub(super) fn sft(
    job: &mut Job,
    recipe: &Recipe,
    sft: &Sft,
    model: &str,
) -> Result<&'static str, Error> {
    let rows = data::conversations(recipe, sft)?;
    let mut arguments = arguments(job, recipe, 1);
    set(
        &mut arguments,
        json!({
            "per_device_train_batch_size": 1,
            "per_device_eval_batch_size": 1,
            "gradient_accumulation_steps": sft.batch,
            "max_length": sft.max_tokens,
            "completion_only_loss": true,
            "packing": false,
        }),
    );
    job.differs(
        "a conversation of which several turns are learned is as many examples, so that a step's batch is of turns \
         instead of conversations; held-out turns likewise",
    );
    job.differs(
        "thinking is written as the model's template writes `reasoning_content`; templates that leave it out leave it \
         unlearned",
    );
    job.differs("the order of the examples is TRL's, from the same seed");
    let adapter = match recipe.lora.learn {
        What::Adapter => lora(&recipe.lora)?,
        What::Everything => Value::Null,
    };
    job.json(
        "job.json",
        &json!({"method": "sft", "model": model, "arguments": arguments, "lora": adapter}),
    );
    job.rows("examples.jsonl", &rows.learned);
    job.rows("held_out.jsonl", &rows.held_out);
    job.add("train.py", SFT);
    job.add("requirements.txt", REQUIREMENTS);
    Ok(RUN)
}

/// A job of pairs; says how it is run.
pub(super) fn preference(
    job: &mut Job,
    recipe: &Recipe,
    preference: &Preference,
    model: &str,
) -> Result<&'static str, Error> {
    let Examples { batch, max_tokens, .. } = preference.pairs;
    let (rows, margins) = data::pairs(recipe, &preference.pairs)?;
    if margins {
        job.differs("margins of pairs are not looked at");
    }
    let mut arguments = arguments(job, recipe, 1);
    set(
        &mut arguments,
        json!({
            "per_device_train_batch_size": 1,
            "per_device_eval_batch_size": 1,
            "gradient_accumulation_steps": batch,
            "max_length": max_tokens,
        }),
    );
    let trainer = match preference.objective {
        Loss::Dpo { beta, label_smoothing, nll_coefficient } => {
            set(&mut arguments, dpo("sigmoid", beta, nll_coefficient));
            set(&mut arguments, json!({"label_smoothing": label_smoothing}));
            if label_smoothing > 0.0 {
                job.differs(
                    "label_smoothing: TRL's DPO has it in the loss `robust` alone, which divides by 1 - 2 ε; with \
                     `sigmoid` it isn't looked at",
                );
            }
            "DPO"
        }
        Loss::Ipo { beta, nll_coefficient } => {
            set(&mut arguments, dpo("ipo", beta, nll_coefficient));
            "DPO"
        }
        Loss::Simpo { beta, gamma, nll_coefficient } => {
            set(
                &mut arguments,
                json!({
                    "loss_type": "simpo", "beta": beta, "simpo_gamma": gamma,
                    "cpo_alpha": nll_coefficient,
                }),
            );
            "CPO"
        }
        Loss::Orpo { lambda } => {
            set(&mut arguments, json!({"beta": lambda}));
            job.differs(
                "orpo: TRL counts the prompt's tokens in the likelihood too, the paper and the recipe don't",
            );
            "ORPO"
        }
    };
    job.differs("the order of the pairs is TRL's, from the same seed");
    job.json(
        "job.json",
        &json!({
            "method": "preference", "trainer": trainer, "model": model, "arguments": arguments,
            "lora": lora(&recipe.lora)?,
        }),
    );
    job.rows("pairs.jsonl", &rows.learned);
    job.rows("held_out.jsonl", &rows.held_out);
    job.add("train.py", PREFERENCE);
    job.add("requirements.txt", REQUIREMENTS);
    Ok(RUN)
}

fn dpo(loss: &str, beta: f64, nll_coefficient: f64) -> Value {
    match nll_coefficient > 0.0 {
        true => json!({
            "loss_type": [loss, "sft"], "loss_weights": [1.0, nll_coefficient], "beta": beta,
        }),
        false => json!({"loss_type": [loss], "beta": beta}),
    }
}
