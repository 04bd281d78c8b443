//! `ponder train` as a user has it: a recipe, a run folder, and a kill in the middle.

#[path = "../../engine/tests/support/mod.rs"]
#[expect(dead_code, reason = "the engine's own tests use more of it")]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

struct Place {
    dir: tempfile::TempDir,
    model: PathBuf,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let model = support::tiny_model(dir.path(), false);
        let place = Place { dir, model };
        let line = |i: u32| {
            format!("{{\"prompt\": \"{i} + 1?\", \"completion\": \"that is {}\"}}\n", i + 1)
        };
        place.write("examples.jsonl", &(0..60).map(line).collect::<String>());
        place.write(
            "recipe.toml",
            &format!(
                "model = '{}'\nout = 'run'\nsteps = 40\n\
                 [lora]\nrank = 4\ndropout = 0.1\n[optimizer]\nlearning_rate = 1e-2\n\
                 [checkpoints]\nevery = 3\n[evaluate]\nevery = 10\nitems = 4\n\
                 [sft]\nbatch = 8\ndata = ['examples.jsonl']\n",
                place.model.display()
            ),
        );
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn ponder(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ponder"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("PONDER_HOME", self.path("home"))
            .env("PONDER_OFFLINE", "1")
            .stdin(Stdio::null());
        command
    }

    fn train(&self, args: &[&str]) -> Output {
        self.ponder(&[&["train", "recipe.toml"], args].concat()).output().unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn numbers(run: &Path) -> Vec<u8> {
    std::fs::read(run.join("checkpoints/000040/state.safetensors")).unwrap()
}

/// What was seen, without what the clock has to do with.
fn losses(run: &Path) -> Vec<(u64, Option<f64>, Option<f64>)> {
    let records = learn::journal::read(run).unwrap();
    records.iter().map(|r| (r.step, r.scalar("loss"), r.scalar("held_out/loss"))).collect()
}

#[test]
fn a_killed_run_ends_as_one_that_was_not() {
    let place = Place::new();
    let whole = place.train(&["out=whole"]);
    assert!(whole.status.success(), "{}", stderr(&whole));
    let mut child = place
        .ponder(&["train", "recipe.toml", "out=killed"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let checkpoint = place.path("killed/checkpoints/000006");
    while !checkpoint.exists() && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!place.path("killed/checkpoints/000040").exists(), "it was killed too late");
    let rest = place.train(&["out=killed"]);
    assert!(rest.status.success(), "{}", stderr(&rest));
    assert!(stderr(&rest).contains("goes on after step"), "{}", stderr(&rest));
    assert_eq!(losses(&place.path("whole")), losses(&place.path("killed")));
    assert_eq!(numbers(&place.path("whole")), numbers(&place.path("killed")));

    // What was learned can be used.
    let model = place.model.display().to_string();
    let best = place.path("whole/best").display().to_string();
    let ask = |more: &[&str]| {
        let plain =
            ["run", "-m", &model, "--json", "--temperature", "0", "--max-tokens", "9", "5 + 1?"];
        let output = place.ponder(&[&plain[..], more].concat()).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["content"].as_str().unwrap().to_owned()
    };
    assert_ne!(ask(&[]), ask(&["--adapter", &best]));
    let taught = ask(&["--adapter", &best]);
    assert!(taught.trim_start().starts_with("that is"), "{taught:?}");
}

#[test]
fn a_dry_run_says_what_it_takes_and_does_nothing() {
    let place = Place::new();
    let output = place.train(&["--dry-run"]);
    let told = stderr(&output);
    assert!(output.status.success(), "{told}");
    for wanted in ["parameters", "memory:", "tokens a second", "time:", "examples: "] {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
    assert!(!place.path("run").exists());
}

#[test]
fn mistakes_name_the_field() {
    let place = Place::new();
    for (value, wanted) in [
        ("lora.rank=0", "lora.rank"),
        ("lora.targets=['attn_x']", "attn_x"),
        ("sft.data=[]", "sft.data"),
        ("sft.data=['none.jsonl']", "none.jsonl"),
        ("no.such=1", "no"),
        ("grpo.max_tokens=3", "grpo"),
        ("lora.learn='everything'", "goes"),
    ] {
        let output = place.train(&[value]);
        if wanted == "goes" {
            // A tiny model in f32 can be learned whole, but a GGUF file can't be written back.
            assert!(stderr(&output).contains("safetensors"), "{}", stderr(&output));
            continue;
        }
        assert_eq!(output.status.code(), Some(1), "{value}");
        assert!(stderr(&output).contains(wanted), "{value}: {}", stderr(&output));
    }
    let output = place.ponder(&["train", "recipe.toml", "oops"]).output().unwrap();
    assert!(stderr(&output).contains("KEY=VALUE"), "{}", stderr(&output));
}

/// Right is what has a letter in it: noise has, now and then.
const LETTERS: &str = r#"
name = "letters"
description = "Answers with a letter in them."
max_tokens = 24
stop = [" ", "e", "1", "\n"]

[items]
file = "questions.jsonl"
id = "id"

[prompt]
system = "Be brief."
user = "{{ question }}"

[check]
kind = "regex"
pattern = "'[a-z]'"

[sampling]
temperature = 1.5
"#;

#[test]
fn right_answers_become_examples_that_can_be_learned() {
    let place = Place::new();
    place.write("letters.toml", LETTERS);
    let row = |i: u32| format!("{{\"id\": \"q{i}\", \"question\": \"{i}?\"}}\n");
    place.write("questions.jsonl", &(0..20).map(row).collect::<String>());
    let model = place.model.to_str().unwrap();
    let command = ["train", "distill", "letters.toml", "-m", model, "-k", "6", "--seed", "3"];
    let distil = |args: &[&str]| place.ponder(&[&command, args].concat()).output().unwrap();

    // What a model is measured with, it must not learn.
    let refused = distil(&["--data", ".", "--to", "right.jsonl"]);
    assert!(!refused.status.success());
    assert!(stderr(&refused).contains("--items"), "{}", stderr(&refused));

    let items = ["--items", "questions.jsonl", "--out", "asked", "--to"];
    let made = distil(&[&items[..], &["right.jsonl"]].concat());
    assert!(made.status.success(), "{}", stderr(&made));
    let text = std::fs::read_to_string(place.path("right.jsonl")).unwrap();
    let examples: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(examples.len() > 5, "{}", stderr(&made));
    let counted = format!("{} examples for {0} of 20 items: ", examples.len());
    assert!(stderr(&made).contains(&counted), "{}", stderr(&made));
    for example in &examples {
        let said = |at: usize| example["messages"][at]["content"].as_str().unwrap();
        assert_eq!(said(0), "Be brief.");
        assert!(said(1).ends_with('?'));
        assert!(said(2).contains(|c: char| c.is_ascii_lowercase()), "{example}");
    }

    // Chosen otherwise, and nothing asked again.
    let samples = std::fs::read(place.path("asked/samples.jsonl")).unwrap();
    let more = distil(&[&items[..], &["more.jsonl", "--keep", "6", "--prefer", "first"]].concat());
    assert!(more.status.success(), "{}", stderr(&more));
    assert_eq!(std::fs::read(place.path("asked/samples.jsonl")).unwrap(), samples);
    let more = std::fs::read_to_string(place.path("more.jsonl")).unwrap();
    assert!(more.lines().count() > examples.len());

    let learned =
        place.train(&["sft.data=['right.jsonl']", "steps=2", "sft.batch=2", "evaluate.items=1"]);
    assert!(learned.status.success(), "{}", stderr(&learned));
}

#[test]
fn a_judge_is_learned_and_asked_about_a_run() {
    let place = Place::new();
    let pair = |i: u32| {
        format!(
            "{{\"prompt\": \"{i} + 1?\", \"chosen\": \"it is {}\", \"rejected\": \"who cares\"}}\n",
            i + 1
        )
    };
    place.write("pairs.jsonl", &(0..40).map(pair).collect::<String>());
    place.write(
        "judge.toml",
        &format!(
            "model = '{}'\nout = 'judge'\nsteps = 10\n[lora]\nrank = 4\n\
             [optimizer]\nlearning_rate = 1e-2\n[evaluate]\nevery = 10\nitems = 4\n\
             [reward_model.pairs]\nbatch = 8\ndata = ['pairs.jsonl']\n",
            place.model.display()
        ),
    );
    let learned = place.ponder(&["train", "judge.toml"]).output().unwrap();
    assert!(learned.status.success(), "{}", stderr(&learned));
    // What is read of examples is known before, and so is the time.
    let told = stderr(&learned);
    let time = told.lines().find(|line| line.starts_with("time:")).unwrap();
    assert!(time.contains("about") && time.ends_with("with 2 measurements"), "{time}");

    place.write("items.jsonl", "{\"id\": \"a\", \"question\": \"1 + 1?\", \"answer\": \"2\"}\n");
    place.write(
        "sums.toml",
        "name = 'sums'\ndescription = 'Sums.'\nmax_tokens = 8\n[items]\nfile = 'items.jsonl'\n\
         id = 'id'\n[prompt]\nuser = '{{ question }}'\n[check]\nkind = 'math'\ngold = 'answer'\n\
         [sampling]\ntemperature = 0.0\n",
    );
    let model = place.model.to_str().unwrap();
    for out in ["before", "after"] {
        let done = ["eval", "sums.toml", "-m", model, "--items", "items.jsonl", "--out", out];
        let done = place.ponder(&done).output().unwrap();
        assert!(done.status.success(), "{}", stderr(&done));
        let judged = ["eval", "rescore", out, "--judge", "judge/best", "--judge-model", model];
        let judged = place.ponder(&judged).output().unwrap();
        assert!(judged.status.success(), "{}", stderr(&judged));
        let samples = std::fs::read_to_string(place.path(out).join("samples.jsonl")).unwrap();
        let sample: serde_json::Value = serde_json::from_str(&samples).unwrap();
        let reward = sample["details"]["reward"].as_f64().unwrap();
        let (question, answer) = (&sample["question"], &sample["answer"]);
        let asked = ["verify", "reward", "--json", "--judge", "judge/best", "-m", model];
        let of = ["-q", question.as_str().unwrap(), "-a", answer.as_str().unwrap()];
        let asked = place.ponder(&[&asked[..], &of[..]].concat()).output().unwrap();
        let said: serde_json::Value = serde_json::from_slice(&asked.stdout).unwrap();
        let said: f64 = said["extracted"].as_str().unwrap().parse().unwrap();
        assert!((said - reward).abs() < 1e-3, "{said} and {reward}");
    }
    let versus = place.ponder(&["eval", "compare", "before", "after"]).output().unwrap();
    let versus = String::from_utf8_lossy(&versus.stdout).into_owned();
    assert!(versus.contains("Reported besides") && versus.contains("| reward |"), "{versus}");

    let output = place.ponder(&["eval", "rescore", "before", "--judge", "run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
}
