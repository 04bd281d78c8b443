//! Reasoning through the binary: with a model made on the spot, and with the real one where it is.

#[path = "../../engine/tests/support/mod.rs"]
#[expect(dead_code, reason = "the engine's own tests use more of it")]
mod support;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use weights::store::Store;

struct World {
    folder: tempfile::TempDir,
    model: PathBuf,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let model = support::tiny_model(folder.path(), true);
        World { folder, model }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ponder"));
        command
            .args(args)
            .env("PONDER_HOME", self.folder.path().join("home"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    fn reason(&self, args: &[&str]) -> Output {
        let mut command =
            self.command(&["reason", "How many?", "--seed", "7", "--ctx", "2048", "-m"]);
        command.arg(&self.model).args(args).output().unwrap()
    }

    fn receipt(&self, args: &[&str]) -> Value {
        let output = self.reason(&[args, &["--json"]].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_receipt_has_everything() {
    let world = World::new();
    let receipt = world.receipt(&["--strategy", "vote", "-n", "6", "--all-votes", "--think", "60"]);
    for field in
        ["reasoning_tokens", "answer_tokens", "discarded_tokens", "forward_passes", "flops"]
    {
        assert!(receipt["usage"][field].is_number(), "{field}: {receipt}");
    }
    let thoughts = receipt["thoughts"].as_array().unwrap();
    assert_eq!(thoughts.len(), 6);
    for thought in thoughts {
        assert!(thought["tokens"]["thinking"].as_u64().unwrap() <= 60, "{thought}");
    }
    assert_eq!(receipt["cancelled"], false);
    // The same seed, the same thoughts.
    let again = world.receipt(&["--strategy", "vote", "-n", "6", "--all-votes", "--think", "60"]);
    assert_eq!(receipt["content"], again["content"]);
}

#[test]
fn efforts_and_strategies_are_had_by_name() {
    let world = World::new();
    for args in [
        &["--effort", "low", "--think", "20"][..],
        &["--effort", "auto", "--think", "20"],
        &["--strategy", "single", "--think", "0"],
        &["--strategy", "revise", "--think", "20", "--max-answer", "20"],
        &["--strategy", "search", "--think", "40"],
        &[
            "--strategy",
            "best-of",
            "-n",
            "2",
            "--think",
            "9",
            "--check",
            r#"{"kind":"regex","pattern":"x"}"#,
        ],
        &["--strategy", "vote", "-n", "3", "--weight", "tail", "--drop-weak", "--think", "20"],
    ] {
        let receipt = world.receipt(args);
        assert!(receipt["usage"]["drawn_tokens"].as_u64().unwrap() > 0, "{args:?} {receipt}");
    }
    // For people: the answer on standard output, the account on standard error.
    let output = world.reason(&["--strategy", "single", "--think", "20"]);
    assert!(stderr(&output).contains("cost"), "{}", stderr(&output));
    assert!(!output.stdout.is_empty());
}

#[test]
fn what_does_not_go_is_said_before_a_model_is_loaded() {
    let world = World::new();
    for (args, says) in [
        (&["--strategy", "guess"][..], "single, vote"),
        (&["--effort", "huge"], "low, medium"),
        (&["--strategy", "single", "-n", "3"], "n is for strategies"),
        (&["--strategy", "revise", "--sure", "0.9"], "go with --strategy vote"),
        (&["--strategy", "best-of"], "needs a verifier"),
        (&["--check", "{"], "--check is no JSON"),
        (&["--check", r#"{"kind":"wish"}"#], "wish"),
        (&["--deadline", "soon"], "a time is wanted"),
        (&["--sure", "1.5"], "a probability is wanted"),
    ] {
        let output = world.reason(args);
        assert!(!output.status.success(), "{args:?}");
        assert!(stderr(&output).contains(says), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn ctrl_c_leaves_a_receipt() {
    let world = World::new();
    let mut command = world.command(&["reason", "How many?", "--json", "--ctx", "2048", "-m"]);
    command.arg(&world.model).args(["--strategy", "vote", "-n", "64", "--all-votes", "--no-loops"]);
    command.args(["--min-think", "1900", "--waits", "1000", "--temperature", "1"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(700));
    let asked = Instant::now();
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    if output.status.code() == Some(130) && !output.stdout.is_empty() {
        let receipt: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(receipt["cancelled"], true);
        assert!(receipt["usage"]["drawn_tokens"].is_number());
    } else {
        // It was faster than the signal, or hadn't loaded yet.
        assert!(matches!(output.status.code(), Some(0 | 1 | 130) | None), "{output:?}");
    }
}

#[test]
fn a_run_is_played_through_and_learnt_from() {
    let world = World::new();
    let rows: String = (0..6)
        .map(|i| format!("{{\"question\": \"{i} + {i}?\", \"answer\": \"{}\"}}\n", 2 * i))
        .collect();
    std::fs::write(world.folder.path().join("sums.jsonl"), rows).unwrap();
    let benchmark = "name = \"sums\"\ndescription = \"Sums.\"\nmax_tokens = 120\n[items]\n\
        file = \"sums.jsonl\"\n[prompt]\nuser = \"{{ question }}\"\n[check]\nkind = \"math\"\n\
        gold = \"answer\"\n";
    std::fs::write(world.folder.path().join("sums.toml"), benchmark).unwrap();
    let mut eval =
        world.command(&["eval", "sums.toml", "--items", "sums.jsonl", "--out", "run", "-m"]);
    eval.arg(&world.model).args([
        "--ctx",
        "2048",
        "--temperature",
        "1",
        "--strategy",
        "vote",
        "-n",
        "6",
    ]);
    let output = eval.args(["--all-votes", "--confidence"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let samples = std::fs::read_to_string(world.folder.path().join("run/samples.jsonl")).unwrap();
    for line in samples.lines() {
        let sample: Value = serde_json::from_str(line).unwrap();
        assert_eq!(sample["receipt"]["thoughts"].as_array().unwrap().len(), 6);
        assert_eq!(sample["completion_tokens"], sample["receipt"]["usage"]["drawn_tokens"]);
    }
    let replay =
        world.command(&["eval", "replay", "run", "--svg", "plot.svg", "--json"]).output().unwrap();
    assert!(replay.status.success(), "{}", stderr(&replay));
    let played: Value = serde_json::from_slice(&replay.stdout).unwrap();
    assert!(played.as_array().unwrap().iter().all(|rule| rule["items"] == 6), "{played}");
    assert!(world.folder.path().join("plot.svg").exists());
    let tune = world.command(&["reason", "tune", "run"]).output().unwrap();
    assert!(tune.status.success(), "{}", stderr(&tune));
    assert!(String::from_utf8_lossy(&tune.stdout).contains("3 of 3 agree"));
    // Another strategy is another run.
    let mut other =
        world.command(&["eval", "sums.toml", "--items", "sums.jsonl", "--out", "run", "-m"]);
    let output = other.arg(&world.model).args(["--strategy", "auto"]).output().unwrap();
    assert!(!output.status.success(), "a folder never mixes two runs");
}

/// Programs need a model that can write them.
#[test]
fn the_default_model_computes_with_a_program() {
    let installed = Store::from_env().unwrap().installed("qwen2.5-coder-0.5b").unwrap();
    let Some(installed) = installed else {
        eprintln!("skipped: `ponder pull qwen2.5-coder-0.5b` fetches the model");
        return;
    };
    let output = Command::new(env!("CARGO_BIN_EXE_ponder"))
        .args(["reason", "What is 48271 * 3907 + 11?", "--strategy", "program", "--temp", "0"])
        .args(["--json", "--ctx", "2048", "-m"])
        .arg(installed.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let error = stderr(&output);
    if error.contains("can't be run") || error.contains("sandbox") {
        eprintln!("skipped: this machine has no sandbox: {error}");
        return;
    }
    assert!(output.status.success(), "{error}");
    let receipt: Value = serde_json::from_slice(&output.stdout).unwrap();
    let thought = &receipt["thoughts"][0];
    assert!(
        thought["content"].as_str().unwrap().contains("```output\n188594808\n```"),
        "{thought}"
    );
    assert_eq!(receipt["answer"], "188594808");
}

/// A server with the same model; stopped when dropped.
struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_endpoint_is_reasoned_with_as_far_as_it_allows() {
    use std::io::{BufRead, BufReader};

    let world = World::new();
    let mut command = world.command(&["serve", "--port", "0", "--ctx", "2048", "-m"]);
    let mut server = command.arg(&world.model).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let server = Server(server);
    let url = lines
        .map_while(Result::ok)
        .find_map(|line| {
            line.split_whitespace().find(|w| w.starts_with("http://")).map(str::to_owned)
        })
        .unwrap();
    let ask = |args: &[&str]| {
        let mut command = world.command(&["reason", "How many?", "--seed", "7", "--json"]);
        command.args(["--endpoint", &url]).args(args).output().unwrap()
    };
    let output = ask(&["--strategy", "vote", "-n", "5", "--all-votes", "--think", "90"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let receipt: Value = serde_json::from_slice(&output.stdout).unwrap();
    let thoughts = receipt["thoughts"].as_array().unwrap();
    assert_eq!(thoughts.len(), 5);
    for thought in thoughts {
        // Tokens of what is put there are estimated from above.
        assert!(thought["tokens"]["thinking"].as_u64().unwrap() <= 90, "{thought}");
    }
    assert!(thoughts.iter().any(|t| t["content"] != "" || t["reasoning"] != ""), "{receipt}");
    let output = ask(&["--strategy", "search"]);
    assert!(!output.status.success() && stderr(&output).contains("endpoints don't tell"));
    let output = ask(&["--strategy", "vote", "--weight", "tail"]);
    assert!(!output.status.success() && stderr(&output).contains("doesn't tell how sure"));
    drop(server);
}
