//! Jobs for verl.

use serde_json::{Value, json};

use super::problems::{self, PROMPT, THINKING, problems};
use super::yaml::yaml;
use super::{Job, decimal, target_modules};
use crate::Error;
use crate::error::recipe as wrong;
use crate::objective::{Aggregate, Baseline, Correction, KlEstimator, Ratio};
use crate::recipe::{Grpo, Recipe, Schedule};

const REWARD: &str = include_str!("reward.py");
const TO_PARQUET: &str = include_str!("verl_to_parquet.py");
const RUN: &str = "pip install verl==0.9.1 vllm pandas pyarrow\nsh run.sh\n";
const SCRIPT: &str = "#!/bin/sh\n\
    # Settings are in job.yaml; more can be given here, as trainer.n_gpus_per_node=8.\n\
    set -e\n\
    cd \"$(dirname \"$0\")\"\n\
    python3 to_parquet.py\n\
    python3 -m verl.trainer.main_ppo --config-path=\"$PWD\" --config-name=job \"$@\"\n";
/// A ratio above which nothing more is clipped, for recipes that don't clip there.
const NEVER: f64 = 1e9;

/// A job of rewards; says how it is run.
pub(super) fn grpo(
    job: &mut Job,
    recipe: &Recipe,
    grpo: &Grpo,
    model: &str,
) -> Result<&'static str, Error> {
    let found = problems(job, recipe, grpo)?;
    if found.learned.iter().any(problems::is_text) {
        let problem =
            "are texts to be gone on from, and verl puts every prompt into the chat template";
        return Err(wrong("grpo.problems", problem));
    }
    let rewards = problems::rewards(job, grpo)?;
    if !grpo.prompts.is_multiple_of(grpo.minibatches) {
        job.differs(format!(
            "{} prompts aren't {} equal parts: verl takes {} at a time",
            grpo.prompts,
            grpo.minibatches,
            grpo.prompts / grpo.minibatches
        ));
    }
    if grpo.leave_out_truncated {
        job.differs("leave_out_truncated: completions that were cut off are learned from; verl has no setting for it");
    }
    job.begins_anew(recipe);
    if recipe.lora.dropout > 0.0 {
        job.differs("lora.dropout: verl has no setting for it");
    }
    job.differs("the best checkpoint isn't kept apart, and `evaluate.strict` isn't looked at");
    let settings = json!({
        // Where verl keeps its own.
        "hydra": {"searchpath": ["pkg://verl.trainer.config"]},
        "defaults": ["ppo_trainer", "_self_"],
        "data": {
            "train_files": "problems.parquet",
            "val_files": if found.held_out.is_empty() { "problems.parquet" } else { "held_out.parquet" },
            "train_batch_size": grpo.prompts,
            "max_prompt_length": PROMPT,
            "max_response_length": grpo.max_tokens,
            "filter_overlong_prompts": true,
            "shuffle": false,
            "seed": recipe.seed,
        },
        "actor_rollout_ref": {
            "model": {
                "path": model,
                "lora_rank": recipe.lora.rank,
                "lora_alpha": alpha(job, recipe),
                "target_modules": target_modules(&recipe.lora)?,
            },
            "actor": actor(job, recipe, grpo),
            "ref": {"log_prob_use_dynamic_bsz": true},
            "rollout": {
                "name": "vllm",
                "n": grpo.completions,
                "temperature": decimal(grpo.temperature),
                "tensor_model_parallel_size": 1,
                "load_format": "safetensors",
                "calculate_log_probs": true,
                "log_prob_use_dynamic_bsz": true,
            },
        },
        "algorithm": algorithm(job, grpo),
        "reward": reward(grpo),
        "trainer": {
            "project_name": "ponder",
            "experiment_name": recipe.out.file_name().unwrap_or_default().to_string_lossy(),
            "logger": ["console"],
            "nnodes": 1,
            "n_gpus_per_node": 1,
            "total_epochs": recipe.steps,
            "total_training_steps": recipe.steps,
            "test_freq": if recipe.evaluate.every > 0 { recipe.evaluate.every as i64 } else { -1 },
            "val_before_train": recipe.evaluate.every > 0,
            "save_freq": if recipe.checkpoints.every > 0 { recipe.checkpoints.every as i64 } else { -1 },
            "max_actor_ckpt_to_keep": recipe.checkpoints.keep.max(1),
            "default_local_dir": "checkpoints",
        },
    });
    job.add("job.yaml", yaml(&settings));
    job.json(
        "job.json",
        &json!({
            "method": "grpo", "model": model, "rewards": rewards, "thinking_tags": THINKING,
            "max_tokens": grpo.max_tokens, "overlong_tokens": grpo.overlong_tokens,
        }),
    );
    let row = |problem: &crate::rl::Problem| {
        let item = &problem.item;
        let truth = json!({"check": item.task.to_string(), "question": item.question});
        json!({
            "data_source": "ponder", "prompt": problems::prompt(problem), "ability": "reasoning",
            "reward_model": {"style": "rule", "ground_truth": truth.to_string()},
            "extra_info": {"index": item.id},
        })
    };
    job.rows("problems.jsonl", &found.learned.iter().map(row).collect::<Vec<_>>());
    job.rows("held_out.jsonl", &found.held_out.iter().map(row).collect::<Vec<_>>());
    job.add("reward.py", REWARD);
    job.add("to_parquet.py", TO_PARQUET);
    job.add("run.sh", SCRIPT);
    Ok(RUN)
}

/// verl's scale is always alpha over the rank, and its alpha a whole number.
fn alpha(job: &mut Job, recipe: &Recipe) -> i64 {
    let lora = &recipe.lora;
    let factor = if lora.rslora { (lora.rank as f64).sqrt() } else { 1.0 };
    let exact = decimal(lora.alpha) * factor;
    if exact.fract() != 0.0 {
        job.differs(format!("lora.alpha: {exact} is rounded to a whole number"));
    }
    exact.round() as i64
}

fn actor(job: &mut Job, recipe: &Recipe, grpo: &Grpo) -> Value {
    let (of, optimizer) = (&grpo.objective, &recipe.optimizer);
    let schedule = match optimizer.schedule {
        Schedule::Constant => "constant",
        Schedule::Cosine => "cosine",
        Schedule::Linear => {
            job.differs(
                "optimizer.schedule = linear: verl has constant and cosine; it is a cosine there",
            );
            "cosine"
        }
    };
    let minibatch = (grpo.prompts / grpo.minibatches).max(1);
    let updates = (grpo.minibatches * grpo.epochs) as u64;
    if optimizer.warmup_steps > 0 {
        job.differs(
            "the warm-up begins at a learning rate of 0 there, at its first step's share here",
        );
    }
    let aggregate = match of.aggregate {
        Aggregate::TokenMean => "token-mean",
        Aggregate::SequenceMean => "seq-mean-token-mean",
        Aggregate::Constant => "seq-mean-token-sum-norm",
    };
    if of.ratio == Ratio::Sequence && of.delta.is_some() {
        job.differs("delta: verl's GSPO doesn't clip on that side");
    }
    if of.kl_coefficient > 0.0 && of.unbiased_kl {
        job.differs("unbiased_kl: verl doesn't multiply the divergence with the ratio");
    }
    json!({
        "optim": {
            "lr": optimizer.learning_rate,
            "lr_scheduler_type": schedule,
            "lr_warmup_steps": optimizer.warmup_steps * updates,
            "betas": [optimizer.beta1, optimizer.beta2],
            "weight_decay": optimizer.weight_decay,
            "override_optimizer_config": {"eps": optimizer.eps},
        },
        "grad_clip": decimal(optimizer.max_norm),
        "ppo_mini_batch_size": minibatch,
        "ppo_epochs": grpo.epochs,
        "use_dynamic_bsz": true,
        "ppo_max_token_len_per_gpu": recipe.micro_batch_tokens.max(PROMPT + grpo.max_tokens),
        "clip_ratio_low": of.clip_low,
        "clip_ratio_high": of.clip_high,
        "clip_ratio_c": of.delta.unwrap_or(NEVER),
        "policy_loss": {
            "loss_mode": match of.ratio {
                Ratio::Token => "vanilla",
                Ratio::Sequence => "gspo",
            },
        },
        "loss_agg_mode": aggregate,
        "loss_scale_factor": (of.aggregate == Aggregate::Constant).then_some(grpo.max_tokens),
        "use_kl_loss": of.kl_coefficient > 0.0,
        "kl_loss_coef": of.kl_coefficient,
        "kl_loss_type": match of.kl_estimator {
            KlEstimator::K1 => "kl",
            KlEstimator::K2 => "mse",
            KlEstimator::K3 => "low_var_kl",
        },
        "entropy_coeff": of.entropy_coefficient,
    })
}

fn algorithm(job: &mut Job, grpo: &Grpo) -> Value {
    let of = &grpo.objective;
    let (estimator, by_deviation) = match grpo.baseline {
        Baseline::Grpo => ("grpo", true),
        Baseline::DrGrpo => ("grpo", false),
        Baseline::Rloo => ("rloo", false),
        Baseline::LitePpo => {
            job.differs("lite-ppo: advantages aren't divided by the deviation of the batch's rewards; verl has no such");
            ("grpo", false)
        }
        Baseline::ReinforcePlusPlus => ("reinforce_plus_plus", false),
        Baseline::ReinforcePlusPlusBaseline => ("reinforce_plus_plus_baseline", false),
    };
    if matches!(grpo.baseline, Baseline::ReinforcePlusPlus | Baseline::ReinforcePlusPlusBaseline) {
        job.differs("reinforce-plus-plus: verl's mean and deviation are over the batch's tokens, not its completions");
    }
    // Of a weight beyond the cap either the cap is taken, or nothing: verl writes the latter as bounds.
    let (level, masked) = match of.sampler_correction {
        Correction::Off => (None, false),
        Correction::TokenTruncate => (Some("token"), false),
        Correction::TokenMask => (Some("token"), true),
        Correction::SequenceTruncate => (Some("sequence"), false),
        Correction::SequenceMask => (Some("sequence"), true),
    };
    let cap = match masked {
        true => json!(format!("1e-30_{}", of.sampler_cap)),
        false => json!(of.sampler_cap),
    };
    if grpo.resample_rounds > 0 {
        job.differs(
            "resample_rounds: set as verl's filter_groups, which its trainer honours only in some of its modes",
        );
    }
    json!({
        "adv_estimator": estimator,
        "norm_adv_by_std_in_grpo": by_deviation,
        "use_kl_in_reward": false,
        "rollout_correction": {"rollout_is": level, "rollout_is_threshold": cap},
        "filter_groups": {
            "enable": grpo.resample_rounds > 0,
            "metric": "reward",
            "max_num_gen_batches": grpo.resample_rounds + 1,
        },
    })
}

fn reward(grpo: &Grpo) -> Value {
    let mut reward = json!({
        "custom_reward_function": {"path": "reward.py", "name": "compute_score"},
        "reward_manager": {"name": if grpo.overlong_tokens > 0 { "dapo" } else { "naive" }},
    });
    if grpo.overlong_tokens > 0 {
        // DAPO's own manager has the soft punishment.
        reward["reward_kwargs"] = json!({
            "max_resp_len": grpo.max_tokens,
            "overlong_buffer_cfg": {
                "enable": true, "len": grpo.overlong_tokens, "penalty_factor": 1.0, "log": true,
            },
        });
    }
    reward
}
