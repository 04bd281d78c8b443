//! Measuring and verifying through the binary, with a model made on the spot whose answers are noise.

#[path = "../../engine/tests/support/mod.rs"]
#[expect(dead_code, reason = "the engine's own tests use more of it")]
mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const BENCHMARK: &str = r#"
name = "noise"
description = "Numbers that no noise says."
max_tokens = 24

[items]
file = "noise.jsonl"
id = "id"

[prompt]
user = "{{ question }}"

[check]
kind = "math"
gold = "answer"

[sampling]
temperature = 1.0
"#;
const ITEMS: usize = 12;

struct World {
    folder: tempfile::TempDir,
    model: PathBuf,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = support::tiny_model(folder.path(), false);
        std::fs::write(folder.path().join("noise.toml"), BENCHMARK).unwrap();
        let rows: String = (0..ITEMS)
            .map(|i| {
                format!(
                    "{{\"id\": \"n{i}\", \"question\": \"{i} + {i}?\", \"answer\": {}}}\n",
                    2 * i
                )
            })
            .collect();
        std::fs::write(folder.path().join("noise.jsonl"), rows).unwrap();
        Self { folder, model }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ponder"));
        command.args(args).env_clear().current_dir(self.folder.path());
        command
            .env("PONDER_HOME", self.folder.path())
            .env("PATH", std::env::var_os("PATH").unwrap());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn measure<'a>(&'a self, out: &'a str) -> Vec<&'a str> {
        let model = self.model.to_str().unwrap();
        vec![
            "eval",
            "noise.toml",
            "-m",
            model,
            "--data",
            ".",
            "-k",
            "2",
            "--seed",
            "7",
            "--out",
            out,
        ]
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ok(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// What was thought and answered, by item and sample: everything but the time it took. Noise may close
/// a thinking it never opened; what was streamed before is an answer then at an endpoint, and a
/// thought here, so the two are taken together.
fn answers(run: &Path) -> BTreeMap<(String, u64), (u64, String)> {
    let lines = std::fs::read_to_string(run.join("samples.jsonl")).unwrap();
    let mut answers = BTreeMap::new();
    for line in lines.lines() {
        let s: Value = serde_json::from_str(line).unwrap();
        let key = (s["item"].as_str().unwrap().to_owned(), s["index"].as_u64().unwrap());
        let said = [&s["reasoning"], &s["answer"]].map(|text| text.as_str().unwrap()).concat();
        let said = said.replace("<think>", "").replace("</think>", "");
        let value = (s["seed"].as_u64().unwrap(), said);
        assert!(answers.insert(key, value).is_none(), "a sample is there twice");
    }
    answers
}

#[test]
fn a_run_that_is_killed_goes_on_and_comes_to_the_same() {
    let world = World::new();
    ok(&world.run(&world.measure("whole")));
    let whole = answers(&world.path("whole"));
    assert_eq!(whole.len(), 2 * ITEMS);

    let slow = [world.measure("cut"), vec!["--parallel", "1", "--threads", "1"]].concat();
    let mut child = world.command(&slow).spawn().unwrap();
    let samples = world.path("cut").join("samples.jsonl");
    let begun = Instant::now();
    while std::fs::read_to_string(&samples).unwrap_or_default().lines().count() < 3 {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing is written");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // As if it had been killed while it wrote.
    let mut file = std::fs::OpenOptions::new().append(true).open(&samples).unwrap();
    file.write_all(b"{\"item\": \"n").unwrap();
    drop(file);
    let output = world.run(&world.measure("cut"));
    ok(&output);
    assert!(text(&output.stderr).contains("going on"), "{}", text(&output.stderr));
    assert_eq!(answers(&world.path("cut")), whole);

    let compared = ok(&world.run(&["eval", "compare", "whole", "cut", "--json"]));
    serde_json::from_str::<Value>(&compared).unwrap();
    for file in ["report.html", "report.md", "report.json", "lm-eval.json"] {
        assert!(world.path("cut").join(file).metadata().unwrap().len() > 100, "{file}");
    }
}

#[test]
fn runs_can_be_checked_and_are_not_mixed() {
    let world = World::new();
    ok(&world.run(&world.measure("run")));
    let told = ok(&world.run(&["eval", "verify", "run"]));
    assert!(!told.contains("WRONG") && told.contains("judged the same"), "{told}");

    let samples = world.path("run").join("samples.jsonl");
    let before = std::fs::read_to_string(&samples).unwrap();
    std::fs::write(&samples, before.replacen("\"score\":0.0", "\"score\":1.0", 1)).unwrap();
    let output = world.run(&["eval", "verify", "run"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("WRONG verdicts: 1 of"), "{}", text(&output.stdout));
    ok(&world.run(&["eval", "rescore", "run"]));
    assert_eq!(std::fs::read_to_string(&samples).unwrap(), before);

    let other = [world.measure("run"), vec!["--temperature", "0.5"]].concat();
    let output = world.run(&other);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("another sampling"), "{}", text(&output.stderr));
    std::fs::write(world.path("noise.jsonl"), "{}\n").unwrap();
    let output = world.run(&["eval", "verify", "run"]);
    assert!(text(&output.stdout).contains("WRONG items"), "{}", text(&output.stdout));
    let output = world.run(&["eval", "gsm8k", "--data", "."]);
    assert!(text(&output.stderr).contains("--items"), "{}", text(&output.stderr));
}

/// A server, ended when it is dropped.
struct Server(Child, String);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(world: &World) -> Server {
    let model = world.model.to_str().unwrap();
    let mut child =
        world.command(&["serve", "-m", model, "--port", "0", "--alias", "tiny"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let url = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let (_, rest) = line.split_once("listening at ")?;
        rest.split_whitespace().next().map(str::to_owned)
    });
    // What else it says must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    Server(child, url.expect("the server says where it listens"))
}

#[test]
fn endpoints_answer_as_the_model_here_does() {
    let world = World::new();
    let here = [world.measure("here"), vec!["--temperature", "0"]].concat();
    ok(&world.run(&here));
    let (a, b) = (serve(&world), serve(&world));
    let mut args =
        vec!["eval", "noise.toml", "--data", ".", "-k", "2", "--seed", "7", "--out", "there"];
    args.extend(["--endpoint", &*a.1, "--endpoint", &*b.1, "--temperature", "0"]);
    ok(&world.run(&args));
    assert_eq!(answers(&world.path("there")), answers(&world.path("here")));

    let output = world.run(&["run", "--endpoint", &*a.1, "--json", "--max-tokens", "5", "hello"]);
    let answer: Value = serde_json::from_str(&ok(&output)).unwrap();
    assert_eq!(answer["model"], "tiny");
    let output = world.run(&["run", "--endpoint", &*a.1, "--dry-multiplier", "1", "hello"]);
    assert!(text(&output.stderr).contains("--dry-multiplier"), "{}", text(&output.stderr));
    let output = world.run(&["run", "--endpoint", "http://127.0.0.1:1", "hello"]);
    assert!(text(&output.stderr).contains("connection refused"), "{}", text(&output.stderr));
}

#[test]
fn generated_tasks_need_no_file() {
    let world = World::new();
    let model = world.model.to_str().unwrap();
    let args =
        ["eval", "tasks", "-m", model, "--limit", "10", "--max-tokens", "8", "--difficulty", "1"];
    let told = ok(&world.run(&args));
    assert!(told.contains("10 samples"), "{told}");
    let runs: Vec<_> = std::fs::read_dir(world.path("runs")).unwrap().collect();
    assert_eq!(runs.len(), 1);
}

fn verdict(world: &World, args: &[&str]) -> (Option<i32>, String) {
    let output = world.run(&[&["verify"], args].concat());
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn answers_are_verified_from_the_shell() {
    let world = World::new();
    let (code, told) = verdict(&world, &["math", "--gold", "1/2", "--answer", "so \\boxed{0.5}"]);
    assert_eq!(code, Some(0), "{told}");
    let (code, told) =
        verdict(&world, &["math", "--gold", "1/2", "--answer", "\\boxed{0.6}", "--json"]);
    assert_eq!(code, Some(1), "{told}");
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap()["extracted"], "0.6");
    let (code, told) = verdict(&world, &["math", "--gold", "", "--answer", "1"]);
    assert_eq!(code, Some(2), "{told}");
    let (code, _) = verdict(&world, &["math", "--gold", "-3", "--answer", "-3"]);
    assert_eq!(code, Some(0));
    std::fs::write(world.path("schema.json"), r#"{"type": "object", "required": ["a"]}"#).unwrap();
    let (code, told) =
        verdict(&world, &["schema", "--schema", "schema.json", "--answer", "{\"a\": 1}"]);
    assert_eq!(code, Some(0), "{told}");
    let (code, _) = verdict(&world, &["choice", "--gold", "B", "--answer", "The answer is (C)."]);
    assert_eq!(code, Some(1));
    std::fs::write(world.path("out.txt"), "3\n").unwrap();
    let (code, told) = verdict(
        &world,
        &["code", "--expected", "out.txt", "--answer", "```python\nprint(1+2)\n```"],
    );
    assert!(code == Some(0) || code == Some(2) && told.contains("cannot tell"), "{told}");
    let (code, told) =
        verdict(&world, &["check", "--check", "{\"kind\": \"magic\"}", "--answer", "1"]);
    assert_eq!(code, Some(2), "{told}");
}

/// Runs in namespaces of its own, where no further ones may be made: as on a machine that gives programs none.
#[cfg(target_os = "linux")]
#[test]
fn programs_run_under_less_only_when_told_to() {
    let world = World::new();
    std::fs::write(world.path("out.txt"), "3\n").unwrap();
    std::fs::write(world.path("answer.md"), "```python\nprint(1+2)\n```").unwrap();
    let judge = |flag: &str| {
        let ponder = env!("CARGO_BIN_EXE_ponder");
        let script = format!(
            "echo 0 > /proc/sys/user/max_user_namespaces || exit 77
             exec '{ponder}' verify code --expected out.txt --file answer.md {flag}"
        );
        let mut unshare = Command::new("unshare");
        unshare.args(["-Ur", "sh", "-c", &script]).current_dir(world.folder.path());
        unshare.output().ok().filter(|output| matches!(output.status.code(), Some(0 | 2)))
    };
    let Some(output) = judge("") else {
        eprintln!("skipped: `unshare -Ur` can't make a namespace here");
        return;
    };
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("doesn't give") && told.contains("--allow-weaker-sandbox"), "{told}");
    let output = judge("--allow-weaker-sandbox").expect("it could be made before");
    let told = text(&output.stdout);
    let no_python = told.contains("python3");
    assert!(output.status.code() == Some(0) || no_python, "{told}");
}

#[test]
fn batches_are_lines() {
    let world = World::new();
    let mut child = world.command(&["verify"]).stdin(Stdio::piped()).spawn().unwrap();
    let lines = "{\"id\": 1, \"check\": {\"kind\": \"math\", \"gold\": \"2\"}, \"answer\": \"2\"}\n\
                 {\"id\": 2, \"check\": {\"kind\": \"math\", \"gold\": \"2\"}, \"answer\": \"3\"}\n";
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let scores: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&scores[0]["id"], &scores[0]["score"]), (&1.into(), &1.0.into()));
    assert_eq!((&scores[1]["id"], &scores[1]["score"]), (&2.into(), &0.0.into()));
}
