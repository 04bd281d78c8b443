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
