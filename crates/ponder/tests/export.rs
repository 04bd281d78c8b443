//! `ponder train export` as a user has it.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

struct Place(tempfile::TempDir);

const GRPO: &str = "model = 'owner/name'\nout = 'runs/sums'\nsteps = 3\nseed = 5\n\
    [lora]\nrank = 8\nalpha = 16\ntargets = ['attn_q', 'ffn_down']\n\
    [optimizer]\nlearning_rate = 2e-5\nwarmup_steps = 2\nschedule = 'cosine'\n\
    [evaluate]\nevery = 2\nitems = 6\n\
    [grpo]\nprompts = 4\ncompletions = 6\nmax_tokens = 48\ntemperature = 0.9\nminibatches = 2\n\
    overlong_tokens = 16\nresample_rounds = 1\nbaseline = 'grpo'\n\
    objective = { clip_low = 0.1, clip_high = 0.3, kl_coefficient = 0.04, sampler_correction = 'token-mask' }\n\
    [[grpo.problems]]\nbenchmark = 'arithmetic'\ndifficulties = [1, 2]\n\
    [[grpo.rewards]]\n\
    [[grpo.rewards]]\nname = 'boxed'\nweight = 0.1\ncheck = { kind = 'regex', pattern = '\\\\boxed\\{' }\n";

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    fn rows(&self, name: &str) -> Vec<Value> {
        self.read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn export(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_ponder"))
            .args(["train", "export", "recipe.toml"])
            .args(args)
            .current_dir(self.0.path())
            .env("PONDER_OFFLINE", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What is told of an export that works.
    fn told(&self, args: &[&str]) -> String {
        let output = self.export(args);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        told
    }
}

#[test]
fn rewards_become_a_job_for_trl() {
    let place = Place::new();
    place.write("recipe.toml", GRPO);
    let told = place.told(&["--to", "trl", "-o", "job"]);
    let job = place.json("job/job.json");
    assert_eq!(job["model"], "owner/name");
    for (key, wanted) in [
        ("num_generations", "6"),
        ("max_completion_length", "48"),
        ("steps_per_generation", "4"),
        ("gradient_accumulation_steps", "2"),
        ("max_steps", "6"),
        ("warmup_steps", "4"),
        ("epsilon", "0.1"),
        ("epsilon_high", "0.3"),
        ("beta", "0.04"),
        ("scale_rewards", "\"group\""),
        ("loss_type", "\"dapo\""),
        ("vllm_importance_sampling_mode", "\"token_mask\""),
        ("learning_rate", "0.00002"),
        ("lr_scheduler_type", "\"cosine\""),
        ("seed", "5"),
    ] {
        let wanted: Value = serde_json::from_str(wanted).unwrap();
        assert_eq!(job["arguments"][key], wanted, "{key}");
    }
    assert_eq!(job["lora"]["r"], 8);
    assert_eq!(job["lora"]["target_modules"], serde_json::json!(["q_proj", "down_proj"]));
    assert_eq!(job["rewards"][0]["name"], "correct");
    assert_eq!(job["rewards"][1]["check"]["kind"], "regex");
    assert_eq!(job["overlong_tokens"], 16);

    let (learned, held_out) = (place.rows("job/problems.jsonl"), place.rows("job/held_out.jsonl"));
    assert_eq!((learned.len(), held_out.len()), (12, 6));
    for row in learned.iter().chain(&held_out) {
        assert_eq!(row["prompt"].as_array().unwrap().last().unwrap()["role"], "user");
        let check: Value = serde_json::from_str(row["check"].as_str().unwrap()).unwrap();
        assert_eq!(check["kind"], "math");
    }
    assert!(held_out.iter().all(|row| learned.iter().all(|other| other["id"] != row["id"])));
    for name in ["train.py", "reward.py", "requirements.txt"] {
        assert!(!place.read(&format!("job/{name}")).is_empty(), "{name}");
    }
    // Nothing is dropped silently.
    let readme = place.read("job/README.md");
    for difference in ["curriculum", "resample_rounds", "can't tell", "warm-up"] {
        assert!(told.contains(difference) && readme.contains(difference), "{difference}: {told}");
    }

    let again = place.export(&["--to", "trl", "-o", "job"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("not empty"));
}

#[test]
fn rewards_become_a_job_for_verl() {
    let place = Place::new();
    place.write("recipe.toml", GRPO);
    let told =
        place.told(&["--to", "verl", "-o", "job", "grpo.objective.delta=4", "lora.rslora=true"]);
    let yaml = place.read("job/job.yaml");
    for line in [
        "defaults:\n  - \"ppo_trainer\"\n  - \"_self_\"\n",
        "data:\n  train_files: \"problems.parquet\"\n",
        "  train_batch_size: 4\n",
        "  max_response_length: 48\n",
        "    path: \"owner/name\"\n    lora_rank: 8\n    lora_alpha: 45\n",
        "      lr: 0.00002\n      lr_scheduler_type: \"cosine\"\n      lr_warmup_steps: 4\n",
        "    ppo_mini_batch_size: 2\n",
        "    clip_ratio_low: 0.1\n    clip_ratio_high: 0.3\n    clip_ratio_c: 4.0\n",
        "    use_kl_loss: true\n    kl_loss_coef: 0.04\n    kl_loss_type: \"low_var_kl\"\n",
        "    name: \"vllm\"\n    n: 6\n    temperature: 0.9",
        "  adv_estimator: \"grpo\"\n  norm_adv_by_std_in_grpo: true\n",
        "    rollout_is: \"token\"\n    rollout_is_threshold: \"1e-30_2\"\n",
        "    name: \"dapo\"\n",
        "      len: 16\n",
        "  total_training_steps: 3\n",
    ] {
        // Keys that YAML takes for truth values are quoted.
        let line = line.replace("    n: 6", "    \"n\": 6");
        assert!(yaml.contains(&line), "{line}\n{yaml}");
    }
    assert!(told.contains("lora.alpha"), "{told}");
    let rows = place.rows("job/problems.jsonl");
    let truth = rows[0]["reward_model"]["ground_truth"].as_str().unwrap();
    let truth: Value = serde_json::from_str(truth).unwrap();
    assert!(truth["check"].as_str().unwrap().contains("math"));
    assert!(place.read("job/run.sh").contains("main_ppo"));
}

#[test]
fn examples_and_pairs_become_jobs_for_trl() {
    let place = Place::new();
    let said = |role: &str, text: &str| serde_json::json!({"role": role, "content": text});
    let row = serde_json::json!({"messages": [
        said("user", "a"), said("assistant", "<think>x</think>b"), said("user", "c"), said("assistant", "d"),
    ]});
    place.write("examples.jsonl", &format!("{row}\n").repeat(20));
    place.write(
        "recipe.toml",
        "model = 'owner/name'\nout = 'run'\nsteps = 3\n[evaluate]\nitems = 2\n\
         [sft]\nbatch = 4\nmax_tokens = 99\ndata = ['examples.jsonl']\n",
    );
    place.told(&["--to", "trl", "-o", "sft"]);
    let job = place.json("sft/job.json");
    assert_eq!(job["arguments"]["max_length"], 99);
    assert_eq!(job["arguments"]["gradient_accumulation_steps"], 4);
    let rows = place.rows("sft/examples.jsonl");
    assert_eq!((rows.len(), place.rows("sft/held_out.jsonl").len()), (36, 4));
    assert_eq!(rows[0]["completion"][0]["content"], "b");
    assert_eq!(rows[1]["prompt"].as_array().unwrap().len(), 3);

    let row = serde_json::json!({"prompt": "q", "chosen": "a", "rejected": "b", "margin": 1});
    place.write("pairs.jsonl", &format!("{row}\n").repeat(20));
    for (objective, trainer, key, wanted) in [
        (
            "{ loss = 'dpo', beta = 0.3, nll_coefficient = 0.5 }",
            "DPO",
            "loss_weights",
            "[1.0, 0.5]",
        ),
        ("{ loss = 'simpo', gamma = 1.5 }", "CPO", "simpo_gamma", "1.5"),
        ("{ loss = 'orpo', lambda = 0.2 }", "ORPO", "beta", "0.2"),
    ] {
        place.write(
            "recipe.toml",
            &format!(
                "model = 'owner/name'\nout = 'run'\nsteps = 3\n[evaluate]\nitems = 2\n\
                 [preference]\nobjective = {objective}\n[preference.pairs]\ndata = ['pairs.jsonl']\n"
            ),
        );
        let told = place.told(&["--to", "trl", "-o", trainer]);
        assert!(told.contains("margins"), "{told}");
        let job = place.json(&format!("{trainer}/job.json"));
        assert_eq!(job["trainer"], trainer);
        let wanted: Value = serde_json::from_str(wanted).unwrap();
        assert_eq!(job["arguments"][key], wanted, "{trainer}");
        assert_eq!(place.rows(&format!("{trainer}/pairs.jsonl")).len(), 18);
    }
    let output = place.export(&["--to", "verl", "-o", "no"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("[preference]"));
    assert!(!place.path("no").exists());
}

#[test]
fn what_cannot_be_loaded_there_is_refused() {
    let place = Place::new();
    for model in ["qwen2.5-coder-0.5b", "some/where/model.gguf", "owner/name:Q4_K_M"] {
        place.write("recipe.toml", &GRPO.replace("owner/name", model));
        let output = place.export(&["--to", "trl", "-o", "job"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains("--model"), "{model}: {told}");
    }
    place.told(&["--to", "trl", "-o", "job", "--model", "Qwen/Qwen3-0.6B"]);
    assert_eq!(place.json("job/job.json")["model"], "Qwen/Qwen3-0.6B");
    let output = place.export(&["--to", "slime", "-o", "other"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("neither trl nor verl"));
}
