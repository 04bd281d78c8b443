//! What is said of batches, settings and models that make no sense.

mod common;

use common::*;
use kernels::Pool;
use kernels::blocks::BlockType;
use kernels::grad::AdamW;
use model::Target;
use train::{Batch, Gradients, LoraSettings, Network, Optimizer, Precision};
use weights::Checkpoint;

fn said<T>(result: Result<T, train::Error>) -> String {
    result.err().expect("this must be refused").to_string()
}

#[test]
fn texts_that_make_no_sense() {
    let mut batch = Batch::new();
    batch.push(&[1, 2], &[0.0, 1.0]).unwrap();
    assert_eq!(
        said(batch.push(&[1], &[1.0])),
        "text 1 of the batch: 1 tokens leave nothing to predict"
    );
    assert_eq!(said(batch.push(&[1, 2], &[1.0])), "text 1 of the batch: 1 weights for 2 tokens");
    assert_eq!(
        said(batch.push(&[1, 2], &[0.0, f32::NAN])),
        "text 1 of the batch: the weight of token 1 is NaN"
    );
    assert_eq!(batch.texts(), 1);

    let model = open(&tiny("qwen2"), 1);
    let network = Network::lora(&model, small(&Target::ALL), Precision::Bf16).unwrap();
    for (tokens, what) in [
        (vec![1, 291], "text 0 of the batch: token 291 is outside the vocabulary of 291"),
        (vec![9999, 1], "text 0 of the batch: token 9999 is outside the vocabulary of 291"),
        (vec![1; 258], "text 0 of the batch: 257 tokens exceed the context of 256"),
    ] {
        let mut batch = Batch::new();
        batch.push(&tokens, &vec![1.0; tokens.len()]).unwrap();
        assert_eq!(said(network.log_probs(&batch)), what);
    }
}

#[test]
fn batches_without_texts_or_targets_teach_nothing() {
    let model = open(&tiny("qwen2"), 1);
    let network = Network::lora(&model, small(&Target::ALL), Precision::Bf16).unwrap();
    let zeros = Gradients::zeros(network.parameters());
    let mut unweighted = Batch::new();
    unweighted.push(&[1, 2, 3], &[0.0; 3]).unwrap();
    for batch in [Batch::new(), unweighted] {
        assert_eq!(network.log_probs(&batch).unwrap().log_probs, vec![0.0; batch.len()]);
        assert!(gradients(&network, &batch, None) == zeros);
    }
}

#[test]
fn settings_that_make_no_sense() {
    let model = open(&tiny("qwen2"), 1);
    let say = |settings| said(Network::lora(&model, settings, Precision::Bf16));
    let base = LoraSettings::default;
    assert_eq!(say(LoraSettings { rank: 0, ..base() }), "rank: 0 is not within 1 to 4096");
    assert_eq!(say(LoraSettings { alpha: f32::NAN, ..base() }), "alpha: NaN is no positive number");
    assert_eq!(say(LoraSettings { dropout: 1.0, ..base() }), "dropout: 1 is not from 0 to below 1");
    assert_eq!(
        say(LoraSettings { targets: vec![], ..base() }),
        "targets: there are none; name at least one matrix"
    );
}

#[test]
fn gradients_of_something_else() {
    let model = open(&tiny("qwen2"), 1);
    let mut network = Network::lora(&model, small(&Target::ALL), Precision::Bf16).unwrap();
    let other = Network::lora(&model, small(&[Target::Q]), Precision::Bf16).unwrap();
    let batch = texts(&[9], 291, 1);
    let mut wrong = Gradients::zeros(other.parameters());
    let problem = "gradients: are not those of this network's parameters";
    assert_eq!(said(network.cross_entropy(&batch, None, &mut wrong)), problem);
    let mut optimizer = Optimizer::new(&network);
    assert_eq!(said(optimizer.step(&mut network, &wrong, &AdamW::default(), 1.0)), problem);
    let mut right = Gradients::zeros(network.parameters());
    let forward = network.forward(&batch, None).unwrap();
    assert_eq!(
        said(network.backward(&batch, forward, &[0.0; 3], &mut right)),
        "d_log_probs: 3 for a batch of 8 slots, where forward had 8"
    );
}

#[test]
fn a_quantized_model_learns_adapters_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    gguf::write("qwen2", BlockType::Q8_0, &path);
    let pool = Pool::new(1);
    let checkpoint = Checkpoint::open(&path).unwrap();
    let problem = said(Network::full(&checkpoint, &pool, Precision::Bf16));
    assert!(problem.starts_with("tensor `token_embd.weight` is Q8_0: only f32"), "{problem}");

    let checkpoint = Checkpoint::open(&tiny("qwen2")).unwrap();
    let network = Network::full(&checkpoint, &pool, Precision::Bf16).unwrap();
    let problem = said(network.save_adapter(dir.path(), "base"));
    assert_eq!(problem, "adapter: this network learns whole weights and no adapter");
    let model = open(&tiny("qwen2"), 1);
    let network = Network::lora(&model, small(&Target::ALL), Precision::Bf16).unwrap();
    let problem = said(network.save_model(dir.path()));
    assert_eq!(problem, "model: this network learns an adapter; save that");
}
