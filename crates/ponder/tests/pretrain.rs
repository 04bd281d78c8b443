//! `ponder train` with `[pretrain]` as a user has it: from texts and nothing else to a model that can be run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

#[path = "../../engine/tests/support/mod.rs"]
#[expect(dead_code, reason = "the engine's own tests use more of it")]
mod support;

struct Place(tempfile::TempDir);

const RECIPE: &str = "out = 'run'\nsteps = 40\nmicro_batch_tokens = 256\n\
    [optimizer]\nlearning_rate = 1e-2\nwarmup_steps = 5\nbeta2 = 0.95\n\
    [checkpoints]\nevery = 3\n[evaluate]\nevery = 10\nitems = 8\n\
    [pretrain]\ndata = ['texts.jsonl', 'more.txt']\nheld_out_share = 0.1\nsequence_tokens = 48\nbatch = 4\n\
    control_tokens = 'parsed'\n\
    tokenizer = { vocabulary = 300 }\n\
    shape = { layers = 2, hidden = 32, heads = 2, kv_heads = 1, head_dim = 16, ffn = 48, context = 64 }\n";

impl Place {
    /// Texts of which the second half follows from the first.
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        let line = |i: u32| {
            let word = ["cat", "dog", "bird", "horse"][i as usize % 4];
            let said = format!(
                "<|im_start|>user\\nsay {word} {i}<|im_end|>\\n<|im_start|>assistant\\n{i} {word}<|im_end|>\\n"
            );
            format!("{{\"text\": \"{said}\"}}\n")
        };
        place.write("texts.jsonl", (10..110).map(line).collect::<String>());
        // Longer than a sequence, and another.
        let long = "one cat and another dog ".repeat(20);
        place.write("more.txt", format!("{long}\n<|endoftext|>\nshort\n"));
        place.write("recipe.toml", RECIPE);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn ponder(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ponder"));
        command
            .args(args)
            .current_dir(self.0.path())
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

fn losses(run: &Path) -> Vec<(u64, Option<f64>, Option<f64>)> {
    let records = learn::journal::read(run).unwrap();
    records.iter().map(|r| (r.step, r.scalar("loss"), r.scalar("held_out/loss"))).collect()
}

#[test]
fn a_model_comes_of_nothing_and_a_killed_run_makes_the_same() {
    let place = Place::new();
    let whole = place.train(&["out=whole", "-t", "1"]);
    let told = stderr(&whole);
    assert!(whole.status.success(), "{told}");
    assert!(told.contains("cut: 1 that are longer"), "{told}");
    let seen = losses(&place.path("whole"));
    let held_out: Vec<f64> = seen.iter().filter_map(|(.., loss)| *loss).collect();
    // Before the first step all tokens are as likely: ln 300 = 5.7. Which letters there are, and how often, is
    // learned at once; half of each text can be copied.
    assert!(held_out[0] > 5.0, "{held_out:?}");
    assert!(*held_out.last().unwrap() < 1.5, "{held_out:?}");

    let mut child = place
        .ponder(&["train", "recipe.toml", "out=killed", "-t", "2"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let checkpoint = place.path("killed/checkpoints/000006");
    while !checkpoint.exists() && started.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!place.path("killed/checkpoints/000040").exists(), "it was killed too late");
    let rest = place.train(&["out=killed"]);
    assert!(stderr(&rest).contains("goes on after step"), "{}", stderr(&rest));
    assert_eq!(seen, losses(&place.path("killed")));
    assert_eq!(numbers(&place.path("whole")), numbers(&place.path("killed")));

    // Another model is not gone on with; more steps are no other model.
    let other = place.train(&["out=whole", "pretrain.shape.ffn=64"]);
    assert!(!other.status.success() && stderr(&other).contains("pretrain.shape.ffn"));
    let more = place.train(&["out=whole", "steps=120"]);
    assert!(more.status.success(), "{}", stderr(&more));

    // It answers, and it can be converted.
    let best = place.path("whole/best").display().to_string();
    let ask = |model: &str| {
        let args = [
            "run",
            "-m",
            model,
            "--json",
            "--temperature",
            "0",
            "--max-tokens",
            "12",
            "say dog 31",
        ];
        let output = place.ponder(&args).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["content"].as_str().unwrap().to_owned()
    };
    let answer = ask(&best);
    assert!(answer.chars().next().is_some_and(|c| c.is_ascii_digit()), "{answer:?}");
    let converted =
        place.ponder(&["convert", &best, "-o", "new.gguf", "--type", "f32"]).output().unwrap();
    assert!(converted.status.success(), "{}", stderr(&converted));
    assert_eq!(ask("new.gguf"), answer);
}

#[test]
fn a_dry_run_leaves_nothing() {
    let place = Place::new();
    let output = place.train(&["--dry-run"]);
    let told = stderr(&output);
    assert!(output.status.success(), "{told}");
    for wanted in ["documents: ", "held out: ", "parameters", "memory:", "time:"] {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
    assert!(!place.path("run").exists());
}

#[test]
fn a_tokenizer_can_be_another_models() {
    let place = Place::new();
    let model = support::tiny_model(place.0.path(), false).display().to_string();
    place.write(
        "recipe.toml",
        RECIPE.replace("{ vocabulary = 300 }", &format!("{{ from = '{model}' }}")),
    );
    for architecture in ["llama", "qwen2", "qwen3"] {
        let shape = format!("pretrain.shape.architecture={architecture}");
        let output =
            place.train(&[&shape, &format!("out={architecture}"), "steps=3", "evaluate.every=3"]);
        assert!(output.status.success(), "{architecture}: {}", stderr(&output));
        let best = place.path(architecture).join("best");
        let written = std::fs::read_to_string(best.join("config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(config["vocab_size"], 261);
        assert_eq!(config["model_type"], architecture);
    }
}

#[test]
fn what_is_wrong_is_told() {
    let place = Place::new();
    place.write("empty.txt", "");
    place.write("fields.jsonl", "{\"text\": \"x\"}\n{\"body\": \"y\"}\n");
    place.write("bytes.txt", b"fine\nnot \xff fine\n");
    for (value, wanted) in [
        ("pretrain.data=['empty.txt']", "pretrain.data"),
        ("pretrain.data=['fields.jsonl']", "line 2: there is no `text`"),
        ("pretrain.data=['bytes.txt']", "line 2: byte 10"),
        ("pretrain.data=['none.txt']", "none.txt"),
        ("pretrain.held_out_share=0", "evaluate.every = 0"),
        ("pretrain.held_out_share=1", "pretrain.held_out_share"),
        ("pretrain.sequence_tokens=65", "pretrain.sequence_tokens"),
        ("pretrain.tokenizer.vocabulary=100", "at least 259"),
        ("pretrain.tokenizer.pre=wordpiece", "wordpiece"),
        ("pretrain.tokenizer.from=none.gguf", "one of `from` and `vocabulary`"),
        ("pretrain.tokenizer={ from = 'none.gguf' }", "none.gguf"),
        ("pretrain.shape.heads=3", "pretrain.shape.kv_heads"),
        ("pretrain.shape.head_dim=20", "pretrain.shape.head_dim"),
        ("pretrain.shape.architecture=gpt2", "pretrain.shape.architecture"),
        ("pretrain.shape.layers=1025", "pretrain.shape.layers"),
        ("pretrain.shape.ffn=4294967296", "pretrain.shape.ffn"),
        ("lora.rank=4", "every weight"),
        ("model=qwen2.5-coder-0.5b", "makes a new one"),
    ] {
        let value = match value {
            "pretrain.shape.heads=3" => {
                "pretrain.shape={ layers = 2, hidden = 48, heads = 3, kv_heads = 2, \
                 head_dim = 16, ffn = 48, context = 64 }"
            }
            other => other,
        };
        for more in [&["--dry-run"][..], &[]] {
            let output = place.train(&[&[value], more].concat());
            assert_eq!(output.status.code(), Some(1), "{value}");
            assert!(stderr(&output).contains(wanted), "{value}: {}", stderr(&output));
            // The recipe can be mended, and nothing holds on to what it was.
            assert!(!place.path("run").exists(), "{value}");
        }
    }
}
