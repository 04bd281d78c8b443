//! Asking through the binary: what a user or a script sees, with a model made on the spot whose
//! answers are noise.

#[path = "../../engine/tests/support/mod.rs"]
#[expect(dead_code, reason = "the engine's own tests use more of it")]
mod support;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A folder with models, and nothing of the user's own.
struct World {
    folder: tempfile::TempDir,
    model: PathBuf,
}

impl World {
    fn new(thinks: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = support::tiny_model(folder.path(), thinks);
        Self { folder, model }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ponder"));
        command.arg("run").arg("-m").arg(&self.model).args(args);
        command.env_clear().env("PONDER_HOME", self.folder.path()).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// The object that `--json` prints.
    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--json"]].concat());
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What a failure says on stderr.
    fn failure(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        text(&output.stderr)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Keeps the noise from containing the end of an answer.
const NO_END: [&str; 4] = ["--logit-bias", "257=-100", "--logit-bias", "260=-100"];

#[test]
fn json_tells_everything() {
    let world = World::new(true);
    let mut asked = vec!["--max-tokens", "12", "--max-thinking", "3", "--seed", "5", "2 + 2?"];
    asked.extend(NO_END);
    let answer = world.json(&asked);
    assert_eq!(answer["model"], "thinks.gguf");
    assert_eq!(answer["seed"], 5);
    assert_eq!(answer["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 12);
    let thought = answer["usage"]["reasoning_tokens"].as_u64().unwrap();
    assert!((3..=12).contains(&thought), "{answer}");
    assert!(answer["reasoning"].is_string() && answer["content"].is_string());
    assert!(answer["timings"]["decode_s"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_model_larger_than_its_memory_says_the_same_and_that_it_is() {
    let world = World::new(false);
    let asked = ["--max-tokens", "12", "--seed", "5", "2 + 2?"];
    let whole = world.json(&asked);
    let too_little = world.failure(&[&asked[..], &["--weight-memory", "1k"]].concat());
    let needed = too_little.split_once("at least ").and_then(|(_, rest)| rest.split(' ').next());
    let needed = needed.unwrap_or_else(|| panic!("{too_little}"));
    let output = world.run(&[&asked[..], &["--weight-memory", needed, "--json"]].concat());
    assert!(output.status.success(), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains("does not fit") && said.contains("--weight-memory"), "{said}");
    let little: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(little["content"], whole["content"]);
}

#[test]
fn a_seed_repeats_and_another_one_does_not() {
    let world = World::new(false);
    let answer = |seed| world.json(&["--max-tokens", "30", "--seed", seed, "hello"]);
    assert_eq!(answer("1")["content"], answer("1")["content"]);
    assert_ne!(answer("1")["content"], answer("2")["content"]);
    let unseeded = world.json(&["--max-tokens", "30", "hello"]);
    let again =
        world.json(&["--max-tokens", "30", "--seed", &unseeded["seed"].to_string(), "hello"]);
    assert_eq!(unseeded["content"], again["content"]);
}

#[test]
fn words_file_and_standard_input_are_one_question() {
    let world = World::new(false);
    std::fs::write(world.folder.path().join("notes.txt"), "notes\n").unwrap();
    let args = ["--max-tokens", "1", "--json", "what", "now?", "-f", "notes.txt"];
    let mut child = world.command(&args).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"piped\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let joined: Value = serde_json::from_slice(&output.stdout).unwrap();
    let whole = world.json(&["--max-tokens", "1", "what now?\n\nnotes\n\npiped"]);
    assert_eq!(joined["usage"]["prompt_tokens"], whole["usage"]["prompt_tokens"]);
}

#[test]
fn thinking_is_piped_only_on_request() {
    let world = World::new(true);
    let args = [&["--max-tokens", "9", "--seed", "5"], &NO_END[..], &["hi"]].concat();
    let quiet = text(&world.run(&args).stdout);
    assert!(!quiet.contains("<think>"), "{quiet}");
    let shown = text(&world.run(&[&args[..], &["--show-thinking"]].concat()).stdout);
    assert!(shown.starts_with("<think>\n") && shown.contains("</think>\n"), "{shown}");
}

#[test]
fn greedy_warns_where_the_model_thinks() {
    let world = World::new(true);
    let said = |temperature| {
        text(&world.run(&["--max-tokens", "1", "--temperature", temperature, "hi"]).stderr)
    };
    assert!(said("0").contains("warning: thinks.gguf thinks, and with temperature 0"));
    assert_eq!(said("0.6"), "");
}

#[test]
fn a_system_prompt_is_part_of_the_prompt() {
    let world = World::new(false);
    let tokens = |args: &[&str]| {
        let answer = world.json(&[&["--max-tokens", "1", "hi"], args].concat());
        answer["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    // Its text, and what the template puts around it.
    assert_eq!(tokens(&["--system", "Be brief."]) - tokens(&["--system", ""]), 9);
    assert!(tokens(&["--system", ""]) > tokens(&[]));
}

#[test]
fn what_was_read_is_kept_from_one_run_to_the_next() {
    let world = World::new(false);
    let ask = |more: &[&str]| {
        let args = ["--kv-cache-file", "kept.kv", "--max-tokens", "5", "--seed", "1"];
        world.json(&[&args[..], more].concat())
    };
    let question = "A question of more than a page of tokens, so that there is one to be kept.";
    let first = ask(&[question]);
    let again = ask(&[question]);
    assert_eq!(first["usage"]["cached_tokens"], 0);
    let prompt = again["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(again["usage"]["cached_tokens"], prompt - 1, "all but the last is there");
    assert_eq!(again["content"], first["content"]);

    let kept = std::fs::read(world.folder.path().join("kept.kv")).unwrap();
    let other = ["--kv-cache-file", "kept.kv", "--kv-cache-type", "f32", question];
    let stderr = world.failure(&other);
    assert!(stderr.contains("kept.kv: holds keys and values as f16, not f32"), "{stderr}");
    let stderr = world.failure(&["--kv-cache-file", "no/such/kept.kv", "--max-tokens", "1", "hi"]);
    assert!(stderr.contains("no/such/kept.kv: no/such is no directory"), "{stderr}");
    assert_eq!(std::fs::read(world.folder.path().join("kept.kv")).unwrap(), kept);
}

#[test]
fn mistakes_are_named_with_a_remedy() {
    let world = World::new(false);
    let long = "x".repeat(300);
    for (args, said) in [
        (vec![], "there is no question, and a chat needs a terminal"),
        (vec!["--json"], "hint: ponder run \"your question\", or -f FILE"),
        (vec!["hi", "-f", "missing.txt"], "cannot read missing.txt"),
        (vec!["hi", "--temp", "-1"], "temperature is -1, but must be from 0 to 100"),
        (vec!["hi", "--top-p", "0"], "top_p is 0, but must be above 0 and at most 1"),
        (vec!["hi", "--logit-bias", "9999=1"], "logit_bias names token 9999"),
        (vec![&long], "the context holds 256"),
        (vec!["hi", "--ctx", "1"], "a context of 1 tokens is too small"),
    ] {
        let stderr = world.failure(&args);
        assert!(stderr.starts_with("error: ") && stderr.contains(said), "{args:?}: {stderr}");
    }
    let conflict = world.run(&["hi", "--show-thinking", "--hide-thinking"]);
    assert_eq!(conflict.status.code(), Some(2));
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let world = World::new(false);
    let mut child = world.command(&["--max-tokens", "200", "hi"]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_the_answer_and_keeps_what_there_is() {
    let world = World::new(false);
    let args = [&["--ctx", "1000000", "--top-k", "40", "go on"], &NO_END[..]].concat();
    let mut child = world.command(&args).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 20]).unwrap();
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(rest.ends_with(b"\n"), "the last line is ended");
}
