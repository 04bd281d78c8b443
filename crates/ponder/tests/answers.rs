//! The real models answer: everything from the file to the sampler, through the binary.

use std::path::{Path, PathBuf};
use std::process::Command;

use weights::store::Store;

/// A model's file in `PONDER_TEST_MODELS` (a folder) or in the store; none and a message otherwise.
fn model(name: &str, file: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("PONDER_TEST_MODELS").map(PathBuf::from);
    let store = Store::from_env().unwrap();
    let found = folder
        .map(|dir| dir.join(file))
        .filter(|path| path.exists())
        .or_else(|| store.installed(name).unwrap().map(|installed| installed.path()));
    if found.is_none() {
        eprintln!("skipped: {file} is not here; `ponder pull {name}` fetches it");
    }
    found
}

/// What the model says at temperature 0, where it is the same on every machine.
fn answer(model: &Path, isa: &str, question: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_ponder"))
        .args(["run", "--offline", "--temperature", "0", "--max-tokens", "40", "-m"])
        .arg(model)
        .arg(question)
        .env("PONDER_ISA", isa)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_default_model_multiplies() {
    let file = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";
    let Some(model) = model("qwen2.5-coder-0.5b", file) else { return };
    assert_eq!(answer(&model, "", "What is 12*7? Answer with the number."), "84");
}

#[test]
fn the_small_model_knows_a_capital_on_every_instruction_set() {
    let file = "SmolLM2-135M-Instruct.Q4_1.gguf";
    let Some(model) = model("smollm2-135m", file) else { return };
    for isa in kernels::Isa::available() {
        let said = answer(&model, &isa.to_string(), "What is the capital of France?");
        assert_eq!(said, "The capital of France is Paris.", "{isa}");
    }
}

/// Keys of this model have biases of several hundred: a cache that rounded them would be three per
/// cent off in 8 bits, and of no use in 4.
#[test]
fn caches_of_few_bits_predict_as_one_of_many() {
    let file = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";
    let Some(model) = model("qwen2.5-coder-0.5b", file) else { return };
    let text = concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/constitution.txt");
    let folder = tempfile::tempdir().unwrap();
    let short = folder.path().join("text");
    let words = std::fs::read_to_string(text).unwrap();
    std::fs::write(&short, words.chars().take(5000).collect::<String>()).unwrap();
    let perplexity = |ty: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_ponder"))
            .args(["perplexity", "--json", "--kv-cache-type", ty, "-m"])
            .arg(&model)
            .arg(&short)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        report["perplexity"].as_f64().unwrap()
    };
    let exact = perplexity("f16");
    let (eight, four) = (perplexity("q8_0") / exact, perplexity("q4_0") / exact);
    assert!((eight - 1.0).abs() < 0.01, "q8_0: {eight}");
    assert!((four - 1.0).abs() < 0.2, "q4_0: {four}");
}
