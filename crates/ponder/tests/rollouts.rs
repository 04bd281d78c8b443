//! `ponder train --rollouts`: completions are drawn by servers elsewhere, which load the adapter of each
//! step, and the trainer agrees with them about every token.

#[path = "../../engine/tests/support/mod.rs"]
#[expect(dead_code, reason = "the engine's own tests use more of it")]
mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Place {
    dir: tempfile::TempDir,
    model: PathBuf,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let model = support::tiny_model(dir.path(), false);
        let place = Place { dir, model };
        let rows: String = (0..20).map(|i| format!("{{\"question\": \"q{i}\"}}\n")).collect();
        std::fs::write(place.path("problems.jsonl"), rows).unwrap();
        let letters = "name = 'letters'\ndescription = 'Answers that begin with a letter from a to m.'\n\
                       max_tokens = 8\nitems = { file = 'problems.jsonl' }\n\
                       prompt = { user = '{{ question }}' }\n\
                       check = { kind = 'regex', pattern = \"'^[a-m]'\" }\n";
        std::fs::write(place.path("letters.toml"), letters).unwrap();
        let recipe = format!(
            "model = '{}'\nout = 'run'\nsteps = 12\n[lora]\nrank = 8\n[optimizer]\n\
             learning_rate = 2e-2\n[evaluate]\nevery = 6\nitems = 4\n[grpo]\nprompts = 6\n\
             completions = 8\nmax_tokens = 4\n[[grpo.problems]]\nbenchmark = 'letters.toml'\n\
             items = 'problems.jsonl'\n[[grpo.rewards]]\n",
            place.model.display()
        );
        std::fs::write(place.path("recipe.toml"), recipe).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ponder"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("PONDER_HOME", self.path("home"))
            .env("PONDER_OFFLINE", "1")
            .stdin(Stdio::null());
        command
    }

    fn serve(&self, more: &[&str]) -> Server {
        let model = self.model.display().to_string();
        let mut child = self
            .command(&[&["serve", "-m", &model, "--port", "0"], more].concat())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let url = lines
            .find_map(|line| {
                line.split_whitespace().find(|w| w.starts_with("http://")).map(str::to_owned)
            })
            .expect("the server comes up");
        Server { child, url }
    }

    fn train(&self, args: &[&str]) -> Output {
        self.command(&[&["train", "recipe.toml"], args].concat()).output().unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn figures(run: &Path, name: &str) -> Vec<f64> {
    learn::journal::read(run).unwrap().iter().filter_map(|r| r.scalar(name)).collect()
}

#[test]
fn two_servers_draw_what_is_learned_from() {
    let place = Place::new();
    let adapters = place.path("adapters");
    std::fs::create_dir(&adapters).unwrap();
    let servers = [(); 2].map(|()| place.serve(&["--lora-dir", "adapters"]));
    let urls = servers.each_ref().map(|server| server.url.clone()).join(",");
    let output = place.train(&["--rollouts", &urls, "--rollouts-dir", "adapters"]);
    assert!(output.status.success(), "{}", stderr(&output));

    let run = place.path("run");
    let rewards = figures(&run, "reward/mean");
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    assert_eq!(rewards.len(), 12);
    assert!(mean(&rewards[9..]) > mean(&rewards[..3]) + 0.1, "{rewards:?}");
    // An adapter of another step than the trainer's, or tokens in another place, would show here.
    let mismatch = figures(&run, "sampler/mismatch");
    assert!(mismatch.len() > 6 && mismatch.iter().all(|m| *m < 0.03), "{mismatch:?}");
    assert!(figures(&run, "held_out/reward").len() == 3);
    // Nothing is left of all the adapters.
    assert_eq!(std::fs::read_dir(&adapters).unwrap().count(), 0);

    // Colder, the servers don't say by what probabilities they drew: nothing is made of that.
    let colder = ["out=colder", "steps=2", "grpo.temperature=0.8", "evaluate.every=0"];
    let output =
        place.train(&[&["--rollouts", &urls, "--rollouts-dir", "adapters"], &colder[..]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(figures(&place.path("colder"), "sampler/mismatch").is_empty());
}

#[test]
fn servers_that_take_no_adapters_are_told_apart() {
    let place = Place::new();
    let server = place.serve(&[]);
    let output = place.train(&["--rollouts", &server.url]);
    let told = stderr(&output);
    assert!(!output.status.success() && told.contains("--lora-dir"), "{told}");
    let output = place.train(&["--rollouts", "http://127.0.0.1:9"]);
    assert!(!output.status.success() && stderr(&output).contains("refused"), "{}", stderr(&output));
    // Where nothing is drawn there is nothing to be drawn elsewhere.
    std::fs::write(
        place.path("examples.jsonl"),
        "{\"prompt\": \"a\", \"completion\": \"b\"}\n".repeat(20),
    )
    .unwrap();
    let model = place.model.display();
    let recipe =
        format!("model = '{model}'\nout = 'sft'\nsteps = 1\n[sft]\ndata = ['examples.jsonl']\n");
    std::fs::write(place.path("recipe.toml"), recipe).unwrap();
    let output = place.train(&["--rollouts", &server.url]);
    assert!(!output.status.success() && stderr(&output).contains("[grpo]"), "{}", stderr(&output));
}
