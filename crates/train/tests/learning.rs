//! Steps make a loss smaller.

mod common;

use common::*;
use kernels::Pool;
use kernels::grad::AdamW;
use model::Target;
use train::{Gradients, Network, Optimizer, Precision};
use weights::Checkpoint;

/// The mean loss of some texts before the first and after the last of `steps` steps.
fn learn(mut network: Network<'_>, adamw: AdamW, steps: usize) -> (f64, f64) {
    let mut batch = texts(&[40, 25], 291, 1);
    let weights: Vec<f32> = batch.weights().iter().map(|w| w.abs()).collect();
    batch = {
        let mut again = train::Batch::new();
        for text in 0..batch.texts() {
            let slots = batch.slots(text);
            let (tokens, weights) = (&batch.tokens()[slots.clone()], &weights[slots]);
            again.push(tokens, weights).unwrap();
        }
        let weight = again.weight();
        again.scale((1.0 / weight) as f32);
        again
    };
    let mut optimizer = Optimizer::new(&network);
    let mut gradients = Gradients::zeros(network.parameters());
    let mut losses = Vec::new();
    for _ in 0..steps {
        gradients.clear();
        losses.push(network.cross_entropy(&batch, None, &mut gradients).unwrap().sum);
        optimizer.step(&mut network, &gradients, &adamw, 1.0).unwrap();
    }
    (losses[0], losses[steps - 1])
}

#[test]
fn an_adapter_learns_texts_by_heart() {
    let model = open(&tiny("qwen2"), 2);
    let network = Network::lora(&model, small(&Target::ALL), Precision::Bf16).unwrap();
    let adamw = AdamW { learning_rate: 2e-2, weight_decay: 0.0, ..AdamW::default() };
    let (first, last) = learn(network, adamw, 60);
    assert!(last < 0.5 * first, "{first} and {last}");
}

#[test]
fn a_whole_model_learns_texts_by_heart() {
    let pool = Pool::new(2);
    let checkpoint = Checkpoint::open(&tiny("qwen3")).unwrap();
    let network = Network::full(&checkpoint, &pool, Precision::Bf16).unwrap();
    let adamw = AdamW { learning_rate: 1e-2, ..AdamW::default() };
    let (first, last) = learn(network, adamw, 60);
    assert!(last < 0.2 * first, "{first} and {last}");
}
