//! Steps make a loss smaller.

mod common;

use common::*;
use kernels::Pool;
use kernels::attention::KvType;
use kernels::grad::AdamW;
use model::Target;
use train::{Batch, Gradients, Network, Optimizer, Precision, ScalarHead};
use weights::Checkpoint;

/// The mean loss of some texts before the first and after the last of `steps` steps.
fn learn(network: &mut Network<'_>, adamw: AdamW, steps: usize) -> (f64, f64) {
    let random = texts(&[40, 25], 291, 1);
    let mut batch = Batch::new();
    for text in 0..random.texts() {
        batch
            .push(&random.tokens()[random.slots(text)], &vec![1.0; random.slots(text).len()])
            .unwrap();
    }
    batch.scale((1.0 / batch.weight()) as f32);
    let mut optimizer = Optimizer::new(network);
    let mut gradients = Gradients::zeros(network.parameters());
    let mut losses = Vec::new();
    for _ in 0..steps {
        gradients.clear();
        losses.push(network.cross_entropy(&batch, None, &mut gradients).unwrap().sum);
        optimizer.step(network, &gradients, &adamw, 1.0).unwrap();
    }
    (losses[0], losses[steps - 1])
}

#[test]
fn an_adapter_learns_texts_by_heart() {
    let model = open(&tiny("qwen2"), 2);
    let mut network = Network::lora(&model, small(&Target::ALL), Precision::Bf16).unwrap();
    let adamw = AdamW { learning_rate: 2e-2, weight_decay: 0.0, ..AdamW::default() };
    let (first, last) = learn(&mut network, adamw, 60);
    assert!(last < 0.5 * first, "{first} and {last}");
}

#[test]
fn a_whole_model_learns_texts_by_heart() {
    let pool = Pool::new(2);
    let checkpoint = Checkpoint::open(&tiny("qwen3")).unwrap();
    let mut network = Network::full(&checkpoint, &pool, Precision::Bf16).unwrap();
    let adamw = AdamW { learning_rate: 1e-2, ..AdamW::default() };
    let (first, last) = learn(&mut network, adamw, 60);
    assert!(last < 0.2 * first, "{first} and {last}");
}

/// The logistic loss of the better of two answers (Bradley and Terry 1952), a question at a time.
#[test]
fn a_reward_model_learns_which_answer_is_better() {
    let model = open(&tiny("qwen2"), 2);
    let network = Network::lora(&model, small(&Target::ALL), Precision::Bf16).unwrap();
    let mut network = network.with_scalar_head(ScalarHead::Zeros).unwrap();
    let mut batch = Batch::new();
    for question in 0..4 {
        let [prompt, better, worse] =
            [0, 1, 2].map(|i| tokens(12 + i, 291, 3 * question + i as u64));
        batch.push_whole_group(&prompt, &[&better, &worse]).unwrap();
    }
    let mut optimizer = Optimizer::new(&network);
    let mut gradients = Gradients::zeros(network.parameters());
    let adamw = AdamW { learning_rate: 1e-2, weight_decay: 0.0, ..AdamW::default() };
    let mut losses = Vec::new();
    for _ in 0..30 {
        gradients.clear();
        let forward = network.forward_values(&batch, None).unwrap();
        let mut d = vec![0.0; batch.len()];
        let mut loss = 0.0;
        for question in 0..4 {
            let [better, worse] = [0, 1].map(|i| batch.slots(2 * question + i).end - 1);
            let margin = forward.values()[better] - forward.values()[worse];
            loss += (-margin).exp().ln_1p();
            d[worse] = 1.0 / (1.0 + margin.exp());
            d[better] = -d[worse];
        }
        losses.push(loss);
        network.backward_values(&batch, forward, &d, &mut gradients).unwrap();
        optimizer.step(&mut network, &gradients, &adamw, 1.0).unwrap();
    }
    assert!((losses[0] - 4.0 * 2.0f32.ln()).abs() < 1e-5, "nothing is better yet: {}", losses[0]);
    assert!(losses[29] < 0.1 * losses[0], "{losses:?}");
}

/// A model that has learned something, written and read again, is what it was in the trainer.
#[test]
fn a_trained_model_is_a_model() {
    for name in ["qwen2", "llama"] {
        let pool = Pool::new(2);
        let checkpoint = Checkpoint::open(&tiny(name)).unwrap();
        let mut network = Network::full(&checkpoint, &pool, Precision::F32).unwrap();
        learn(&mut network, AdamW { learning_rate: 1e-2, ..AdamW::default() }, 5);
        let batch = texts(&[30, 20], 291, 5);
        let trainer = network.log_probs(&batch).unwrap().log_probs;
        let dir = tempfile::tempdir().unwrap();
        network.save_model(dir.path()).unwrap();
        let sampler = sampled(&open(dir.path(), 2), &batch, None, KvType::F32);
        let off = mean_difference(&sampler, &trainer);
        assert!(off < 1e-5, "{name}: off by {off}");
        let before = sampled(&open(&tiny(name), 2), &batch, None, KvType::F32);
        assert!(mean_difference(&before, &trainer) > 0.1, "{name} has learned nothing");
    }
}
