//! The sampler's log-probabilities against the trainer's, on models people use.

mod common;

use common::*;
use kernels::attention::KvType;
use model::Target;
use train::{Network, Precision};

fn agree(name: &str, file: &str) {
    let Some(path) = real_model(name, file) else { return };
    let model = open(&path, 2);
    // Texts the sampler wrote, so that log-probabilities are those of sampling; all but the first
    // tokens, which are given, count.
    let batch = written(&model, &[70, 130, 40]);
    let network = Network::lora(&model, small(&Target::ALL), Precision::Bf16).unwrap();
    let trainer = network.log_probs(&batch).unwrap();
    let sampler = sampled(&model, &batch, None, KvType::F16);
    let off = mean_difference(&trainer.log_probs, &sampler);
    let most = trainer.log_probs.iter().zip(&sampler).map(|(a, b)| (a - b).abs());
    let most = most.fold(0.0, f32::max);
    println!("{name}: trainer and sampler differ by {off:.4} in the mean, {most:.4} at most");
    assert!(off < 0.03, "{name}: {off}");
}

#[test]
fn smollm2() {
    agree("smollm2-135m", "SmolLM2-135M-Instruct.Q4_1.gguf");
}

#[test]
fn qwen2_5_coder() {
    agree("qwen2.5-coder-0.5b", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf");
}
