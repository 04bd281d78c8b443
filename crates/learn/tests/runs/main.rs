//! Whole runs on a model made on the spot: they learn, they can be stopped and gone on with, and
//! what is wrong with their data is told.

#[path = "../../../engine/tests/support/mod.rs"]
#[expect(dead_code, reason = "the engine's own tests use more of it")]
mod support;

mod preferences;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::{Engine, LoadOptions};
use learn::journal::{self, Record};
use learn::preference::{Kto, Policy, RewardModel};
use learn::pretrain::Pretrain;
use learn::recipe::Method;
use learn::rl::Grpo;
use learn::run::{Outcome, Teach, Watch, run};
use learn::sft::Sft;
use learn::{Error, Learner, Recipe};

/// Nobody looks on; it is stopped at its `n`-th look.
#[derive(Default)]
struct Nobody {
    stop_after: Option<u64>,
    steps: u64,
    notes: Vec<String>,
}

impl Watch for Nobody {
    fn record(&mut self, record: &Record) {
        self.steps = self.steps.max(record.step);
    }

    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    fn phase(&mut self, _: &str, _: usize, _: usize) {}

    fn stopped(&self) -> bool {
        self.stop_after.is_some_and(|n| self.steps >= n)
    }
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        support::tiny_model(place.0.path(), false);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn engine(&self) -> Arc<Engine> {
        let file = std::fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|e| e == "gguf"))
            .unwrap();
        Arc::new(
            Engine::load(&file, &LoadOptions { threads: Some(2), ..Default::default() }).unwrap(),
        )
    }

    fn recipe(&self, text: &str, out: &str) -> Result<Recipe, Error> {
        let out = self.path(out).display().to_string();
        let head = format!("model = 'tiny'\nout = '{out}'\n");
        Recipe::parse(&(head + &text.replace("DIR", &self.0.path().display().to_string())), &[])
    }

    fn run(&self, recipe: &Recipe, watch: &mut Nobody) -> Result<Outcome, Error> {
        let engine = self.engine();
        let mut learner = match recipe.method() {
            Method::RewardModel(_) => Learner::reward_model(recipe, engine.model())?,
            _ => Learner::adapter(recipe, engine.model())?,
        };
        let mut method: Box<dyn Teach> = match recipe.method() {
            Method::Pretrain(_) => Box::new(Pretrain::new(recipe, &engine)?),
            Method::Sft(_) => Box::new(Sft::new(recipe, &engine)?),
            Method::Preference(_) => Box::new(Policy::open(recipe, &engine)?),
            Method::Kto(_) => Box::new(Kto::open(recipe, &engine)?),
            Method::RewardModel(_) => Box::new(RewardModel::open(recipe, &engine)?),
            Method::Grpo(_) => Box::new(Grpo::new(recipe, &engine)?),
        };
        run(recipe, &mut learner, &mut *method, watch)
    }

    /// The problems: what is asked doesn't matter, the answer has to begin with a letter from a to m.
    fn problems(&self) {
        let rows: String = (0..20).map(|i| format!("{{\"question\": \"q{i}\"}}\n")).collect();
        self.write("problems.jsonl", &rows);
        self.write(
            "vowels.toml",
            r#"
            name = "vowels"
            description = "Texts that begin with a small letter of the first half of the alphabet."
            max_tokens = 8
            items = { file = "problems.jsonl" }
            prompt = { user = "{{ question }}" }
            check = { kind = "regex", pattern = "'^[a-m]'" }
            "#,
        );
    }
}

const GRPO: &str = r#"
    steps = 6
    [lora]
    rank = 8
    dropout = 0.1
    [optimizer]
    learning_rate = 1e-2
    [evaluate]
    every = 4
    items = 4
    [checkpoints]
    every = 2
    [grpo]
    prompts = 4
    completions = 8
    max_tokens = 4
    [[grpo.problems]]
    benchmark = "DIR/vowels.toml"
    items = "DIR/problems.jsonl"
    [[grpo.rewards]]
    weight = 1.0
"#;

/// Figures that the clock has no part in.
fn figures(dir: &Path) -> Vec<Record> {
    let mut records = journal::read(dir).unwrap();
    for record in &mut records {
        record.time = None;
        record
            .scalars
            .retain(|(name, _)| !name.starts_with("speed") && !name.starts_with("seconds"));
    }
    records
}

fn numbers(dir: &Path, step: u64) -> Vec<u8> {
    std::fs::read(dir.join(format!("checkpoints/{step:06}/state.safetensors"))).unwrap()
}

#[test]
fn rewards_are_sought() {
    let place = Place::new();
    place.problems();
    let recipe = GRPO.replace("steps = 6", "steps = 40").replace("dropout = 0.1", "");
    let recipe = place.recipe(&recipe, "run").unwrap();
    let outcome = place.run(&recipe, &mut Nobody::default()).unwrap();
    assert!(outcome.finished && outcome.best.is_some(), "{outcome:?}");
    let records = journal::read(&place.path("run")).unwrap();
    let rewards: Vec<f64> = records.iter().filter_map(|r| r.scalar("reward/mean")).collect();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&rewards[..5]), mean(&rewards[35..]));
    assert!(first < 0.5 && last > first + 0.3, "{first} became {last}: {rewards:?}");
    // The sampler and the trainer are of one mind, as far as bf16 goes.
    let mismatch: Vec<f64> = records.iter().filter_map(|r| r.scalar("sampler/mismatch")).collect();
    assert!(mismatch.len() > 20 && mismatch.iter().all(|m| *m < 0.03), "{mismatch:?}");
    // The best model is an adapter that can be loaded.
    let engine = place.engine();
    model::Adapter::load(&place.path("run/best"), engine.model()).unwrap();
}

/// Stopped in the middle, and gone on with, is as never stopped.
fn stopped_is_as_never_stopped(place: &Place, recipe: &str) {
    let whole = place.recipe(recipe, "whole").unwrap();
    assert!(place.run(&whole, &mut Nobody::default()).unwrap().finished);
    let parts = place.recipe(recipe, "parts").unwrap();
    let mut watch = Nobody { stop_after: Some(3), ..Nobody::default() };
    let outcome = place.run(&parts, &mut watch).unwrap();
    assert_eq!((outcome.finished, outcome.steps), (false, 3));
    let mut watch = Nobody::default();
    assert!(place.run(&parts, &mut watch).unwrap().finished);
    assert_eq!(watch.notes, ["goes on after step 3"]);
    assert_eq!(figures(&place.path("whole")), figures(&place.path("parts")));
    assert_eq!(numbers(&place.path("whole"), 6), numbers(&place.path("parts"), 6));
    // Once more, from an earlier checkpoint than the last record: as after a crash.
    std::fs::remove_dir_all(place.path("parts/checkpoints/000006")).unwrap();
    assert!(place.run(&parts, &mut Nobody::default()).unwrap().finished);
    assert_eq!(figures(&place.path("whole")), figures(&place.path("parts")));
    assert_eq!(numbers(&place.path("whole"), 6), numbers(&place.path("parts"), 6));
}

#[test]
fn a_run_for_rewards_goes_on_where_it_was_left() {
    let place = Place::new();
    place.problems();
    stopped_is_as_never_stopped(&place, GRPO);
}

#[test]
fn several_updates_a_step_and_a_reference_too() {
    let place = Place::new();
    place.problems();
    let recipe = GRPO.replace(
        "max_tokens = 4\n",
        "max_tokens = 4\nminibatches = 2\nepochs = 2\nresample_rounds = 2\nbaseline = 'grpo'\n\
         objective = { kl_coefficient = 0.05, entropy_coefficient = 0.01, ratio = 'sequence' }\n",
    );
    stopped_is_as_never_stopped(&place, &recipe);
    let records = figures(&place.path("whole"));
    let kl: Vec<f64> = records.iter().filter_map(|r| r.scalar("policy/kl")).collect();
    assert!(kl.len() == 6 && kl[5] > kl[0], "{kl:?}");
    let ratio = records.iter().filter_map(|r| r.scalar("policy/old_kl"));
    assert!(ratio.into_iter().any(|kl| kl > 0.0), "later updates are off the policy");
}

/// PPO: what a completion earned is held against what the critic expected of it.
#[test]
fn a_critic_says_what_was_to_be_expected() {
    let place = Place::new();
    place.problems();
    let critic = "completions = 1\nepochs = 2\nminibatches = 2\n\
                  critic = { learning_rate = 1e-2, gae = { lambda = 0.95 } }\n";
    let recipe = GRPO
        .replace("steps = 6", "steps = 40")
        .replace("dropout = 0.1", "")
        .replace("prompts = 4", "prompts = 24")
        .replace("completions = 8\n", critic);
    let recipe = place.recipe(&recipe, "run").unwrap();
    place.run(&recipe, &mut Nobody::default()).unwrap();
    let records = journal::read(&recipe.out).unwrap();
    let of = |name: &str| -> Vec<f64> { records.iter().filter_map(|r| r.scalar(name)).collect() };
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let rewards = of("reward/mean");
    let (first, last) = (mean(&rewards[..5]), mean(&rewards[35..]));
    assert!(first < 0.5 && last > first + 0.3, "{first} became {last}: {rewards:?}");
    // Before the first step it expects nothing; then it comes to know.
    let values = of("critic/value");
    let known = mean(&values[35..]);
    assert!(values[0] == 0.0 && (known - last).abs() < 0.25, "{known} for {last}: {values:?}");
    assert_eq!(of("critic/explained_variance")[0], 0.0);

    // It is part of what is gone on with, and the penalty for straying part of what is earned.
    let critic = "completions = 4\ncritic = { learning_rate = 1e-2, kl_in_reward = 0.05 }\n";
    let recipe = GRPO.replace("completions = 8\n", critic);
    stopped_is_as_never_stopped(&place, &recipe);
    let kept = place.path("whole/checkpoints/000006/critic.safetensors");
    let parts = place.path("parts/checkpoints/000006/critic.safetensors");
    assert_eq!(std::fs::read(&kept).unwrap(), std::fs::read(parts).unwrap());

    let wrong = GRPO.replace("completions = 8\n", "critic = { gae = { lambda = 2.0 } }\n");
    let error = place.recipe(&wrong, "wrong").unwrap_err().to_string();
    assert!(error.contains("grpo.critic.gae.lambda"), "{error}");
    // A policy's adapter has no head to begin with.
    let wrong = GRPO.replace("completions = 8\n", "critic = { from = 'DIR/run/best' }\n");
    let error = place.run(&place.recipe(&wrong, "wrong").unwrap(), &mut Nobody::default());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("grpo.critic.from") && error.contains("without a head"), "{error}");
}

const SFT: &str = r#"
    steps = 6
    micro_batch_tokens = 64
    [lora]
    rank = 8
    dropout = 0.1
    [optimizer]
    learning_rate = 1e-2
    schedule = "cosine"
    warmup_steps = 2
    [evaluate]
    every = 2
    items = 4
    [checkpoints]
    every = 2
    keep = 9
    [sft]
    batch = 6
    data = ["DIR/examples.jsonl"]
"#;

fn examples(place: &Place) {
    let line =
        |i: u32| format!("{{\"prompt\": \"{i} + 1?\", \"completion\": \"that is {}\"}}\n", i + 1);
    place.write("examples.jsonl", &(0..50).map(line).collect::<String>());
}

#[test]
fn examples_are_followed() {
    let place = Place::new();
    examples(&place);
    let recipe = place.recipe(&SFT.replace("steps = 6", "steps = 30"), "run").unwrap();
    place.run(&recipe, &mut Nobody::default()).unwrap();
    let records = journal::read(&place.path("run")).unwrap();
    let losses: Vec<f64> = records.iter().filter_map(|r| r.scalar("held_out/loss")).collect();
    assert_eq!(losses.len(), 16);
    assert!(losses[15] < 0.6 * losses[0], "{losses:?}");
}

#[test]
fn a_run_with_examples_goes_on_where_it_was_left() {
    let place = Place::new();
    examples(&place);
    stopped_is_as_never_stopped(&place, SFT);
}

/// First examples, then rewards: what the first run learned is where the second begins.
#[test]
fn one_run_begins_where_another_ended() {
    let place = Place::new();
    examples(&place);
    place.problems();
    let first = place.recipe(&SFT.replace("steps = 6", "steps = 10"), "first").unwrap();
    place.run(&first, &mut Nobody::default()).unwrap();
    let from = "from = 'DIR/first/checkpoints/000010'\n    rank = 8";
    let second = SFT.replace("rank = 8", from).replace("steps = 6", "steps = 1");
    let second = place.recipe(&second, "second").unwrap();
    place.run(&second, &mut Nobody::default()).unwrap();
    let losses = |run: &str| -> Vec<f64> {
        let records = journal::read(&place.path(run)).unwrap();
        records.iter().filter_map(|r| r.scalar("held_out/loss")).collect()
    };
    assert_eq!(losses("first").last().unwrap(), &losses("second")[0]);

    let grpo = GRPO.replace("dropout = 0.1", "from = 'DIR/first/best'");
    let grpo = grpo.replace("max_tokens = 4\n", "max_tokens = 4\ntemperature = 0.8\n");
    stopped_is_as_never_stopped(&place, &grpo);
    let records = figures(&place.path("whole"));
    let mismatch: Vec<f64> = records.iter().filter_map(|r| r.scalar("sampler/mismatch")).collect();
    assert!(!mismatch.is_empty() && mismatch.iter().all(|m| *m < 0.05), "{mismatch:?}");

    let wrong = SFT.replace("rank = 8", &from.replace("rank = 8", "rank = 4"));
    let error = place.run(&place.recipe(&wrong, "wrong").unwrap(), &mut Nobody::default());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("lora.from") && error.contains("rank"), "{error}");
}

#[test]
fn another_recipe_is_not_gone_on_with() {
    let place = Place::new();
    examples(&place);
    let recipe = place.recipe(&SFT.replace("steps = 6", "steps = 1"), "run").unwrap();
    place.run(&recipe, &mut Nobody::default()).unwrap();
    let other = place.recipe(&SFT.replace("rank = 8", "rank = 4"), "run").unwrap();
    let error = place.run(&other, &mut Nobody::default()).unwrap_err().to_string();
    assert!(error.contains("lora.rank"), "{error}");
    // More steps are no other recipe.
    let more = place.recipe(&SFT.replace("steps = 6", "steps = 3"), "run").unwrap();
    assert_eq!(place.run(&more, &mut Nobody::default()).unwrap().steps, 3);
}

#[test]
fn what_is_wrong_with_data_is_told() {
    let place = Place::new();
    for (text, wanted) in [
        ("", "too few"),
        ("{\"messages\": []}\n", "line 1: there are no messages"),
        (
            "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": 3, \"completion\": \"b\"}\n",
            "line 2",
        ),
        ("{\"messages\": [{\"role\": \"boss\", \"content\": \"x\"}]}\n", "\"boss\""),
        ("no json\n", "line 1"),
    ] {
        place.write("examples.jsonl", text);
        let recipe = place.recipe(SFT, "run").unwrap();
        let error = place.run(&recipe, &mut Nobody::default()).unwrap_err();
        let error = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ");
        assert!(error.contains(wanted), "{text:?}: {error}");
    }
    std::fs::write(place.path("examples.jsonl"), [b'{', 0xff, 0xfe, b'}', b'\n']).unwrap();
    let recipe = place.recipe(SFT, "run").unwrap();
    assert!(place.run(&recipe, &mut Nobody::default()).is_err());
    // What is too long is left out, and counted.
    let long = format!("{{\"prompt\": \"a\", \"completion\": \"{}\"}}\n", "b".repeat(900));
    let short = "{\"prompt\": \"a\", \"completion\": \"b\"}\n".repeat(30);
    place.write("examples.jsonl", &(long + &short));
    let recipe = place.recipe(SFT, "run").unwrap();
    let sft = Sft::new(&recipe, &place.engine()).unwrap();
    assert_eq!((sft.counts().too_long, sft.counts().used), (1, 27));
}

/// Problems that no context has room for are passed over, and counted.
#[test]
fn problems_that_are_too_long_are_passed_over() {
    let place = Place::new();
    place.problems();
    let row = |i: usize| {
        let question = "q".repeat(if i.is_multiple_of(2) { 3 } else { 400 });
        format!("{{\"question\": \"{question}\"}}\n")
    };
    place.write("problems.jsonl", &(0..40).map(row).collect::<String>());
    let recipe = place.recipe(GRPO, "run").unwrap();
    place.run(&recipe, &mut Nobody::default()).unwrap();
    let records = journal::read(&recipe.out).unwrap();
    let too_long: f64 = records.iter().filter_map(|r| r.scalar("problems/too_long")).sum();
    assert!(too_long > 0.0);
    place.write("problems.jsonl", &(0..40).map(|i| row(2 * i + 1)).collect::<String>());
    let recipe = place.recipe(GRPO, "none").unwrap();
    let error = place.run(&recipe, &mut Nobody::default()).unwrap_err().to_string();
    assert!(error.contains("none fits a context of 256"), "{error}");
}

/// A verifier that can't tell, whatever it is shown, and rewards that are all the same: nothing is
/// learned, and the run goes on.
#[test]
fn a_verifier_that_fails_costs_no_run() {
    let place = Place::new();
    place.problems();
    for check in [
        "check = { kind = 'external', command = ['false'], timeout_seconds = 2.0 }",
        "check = { kind = 'external', command = ['sleep', '9'], timeout_seconds = 0.05 }",
        "check = { kind = 'regex', pattern = '' }",
    ] {
        let recipe = GRPO
            .replace("weight = 1.0", check)
            .replace("steps = 6", "steps = 1")
            .replace("prompts = 4", "prompts = 1")
            .replace("every = 4", "every = 0");
        let recipe = place.recipe(&recipe, &format!("run-{}", check.len())).unwrap();
        place.run(&recipe, &mut Nobody::default()).unwrap();
        let records = journal::read(&recipe.out).unwrap();
        let record = records.last().unwrap();
        let failed = if check.contains("external") { 8.0 } else { 0.0 };
        assert_eq!(record.scalar("verifier/cannot_tell"), Some(failed), "{check}");
        assert_eq!(record.scalar("groups/learned"), Some(0.0), "{check}");
    }
}
