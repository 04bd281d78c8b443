//! What is said of batches, settings and models that make no sense.

mod common;

use common::*;
use kernels::Pool;
use kernels::blocks::BlockType;
use kernels::grad::AdamW;
use model::Target;
use train::{
    Batch, Continuation, Gradients, LoraSettings, Network, Optimizer, Precision, ScalarHead,
    ScoreGradients,
};
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
fn groups_that_make_no_sense() {
    let mut batch = Batch::new();
    batch.push_group(&[1, 2], &[Continuation { tokens: &[3], weights: &[1.0] }]).unwrap();
    let before = (batch.len(), batch.texts());
    let good = Continuation { tokens: &[4, 5], weights: &[1.0; 2] };
    let mut group = |prompt: &[u32], all: &[Continuation<'_>]| said(batch.push_group(prompt, all));
    assert_eq!(
        group(&[], &[good]),
        "text 1 of the batch: its prompt is empty; push each text by itself"
    );
    assert_eq!(group(&[1], &[]), "text 1 of the batch: its prompt has no continuations");
    assert_eq!(
        group(&[1], &[good, Continuation { tokens: &[], weights: &[] }]),
        "text 2 of the batch: 0 tokens after the prompt leave nothing to predict"
    );
    assert_eq!(
        group(&[1], &[good, Continuation { tokens: &[6], weights: &[1.0; 2] }]),
        "text 2 of the batch: 2 weights for 1 tokens"
    );
    assert_eq!(
        group(&[1], &[Continuation { tokens: &[6], weights: &[f32::INFINITY] }]),
        "text 1 of the batch: the weight of token 0 is inf"
    );
    assert_eq!(said(batch.push_whole(&[])), "text 1 of the batch: 0 tokens leave nothing to value");
    assert_eq!(
        said(batch.push_whole_group(&[1], &[])),
        "text 1 of the batch: its prompt has no continuations"
    );
    assert_eq!(
        said(batch.push_whole_group(&[1], &[&[1], &[]])),
        "text 2 of the batch: 0 tokens after the prompt leave nothing to value"
    );
    assert_eq!((batch.len(), batch.texts()), before);

    let model = open(&tiny("qwen2"), 1);
    let network = Network::lora(&model, small(&Target::ALL), Precision::Bf16).unwrap();
    let of = |prompt: &[u32], n: usize| {
        let (tokens, weights) = (vec![1; n], vec![1.0; n]);
        let mut batch = Batch::new();
        let long = Continuation { tokens: &tokens, weights: &weights };
        batch.push_group(prompt, &[good, long]).unwrap();
        network.log_probs(&batch)
    };
    assert!(of(&[1; 200], 57).is_ok());
    let problem = "text 1 of the batch: 257 tokens exceed the context of 256";
    assert_eq!(said(of(&[1; 200], 58)), problem);
    for (prompt, token) in [([291, 1], 291), ([1, 999], 999)] {
        let problem =
            format!("text 0 of the batch: token {token} is outside the vocabulary of 291");
        assert_eq!(said(of(&prompt, 3)), problem);
    }
}

#[test]
fn heads_that_make_no_sense() {
    let model = open(&tiny("qwen2"), 1);
    let hidden = model.config().hidden;
    let new = || Network::lora(&model, small(&Target::ALL), Precision::Bf16).unwrap();
    let batch = texts(&[9], 291, 1);
    let problem = "scalar head: this network has none; make it one with with_scalar_head";
    assert_eq!(said(new().values(&batch)), problem);
    assert_eq!(said(new().forward_values(&batch, None)), problem);
    assert_eq!(
        said(new().with_scalar_head(ScalarHead::Given(vec![0.0; 3]))),
        format!("scalar head: 3 numbers for a model whose states have {hidden}")
    );
    let mut nan = vec![0.0; hidden];
    nan[2] = f32::NAN;
    assert_eq!(
        said(new().with_scalar_head(ScalarHead::Given(nan))),
        "scalar head: number 2 is NaN"
    );
    let network = new().with_scalar_head(ScalarHead::Zeros).unwrap();
    let forward = network.forward_values(&batch, None).unwrap();
    let mut gradients = Gradients::zeros(network.parameters());
    assert_eq!(
        said(network.backward_values(&batch, forward, &[0.0; 3], &mut gradients)),
        "d_values: 3 for a batch of 8 slots, where forward had 8"
    );
    let again = network.with_scalar_head(ScalarHead::Zeros);
    assert_eq!(said(again), "scalar head: this network has one already");

    let dir = tempfile::tempdir().unwrap();
    assert!(ScalarHead::load(dir.path()).is_err());
    new().save_adapter(dir.path(), "base").unwrap();
    let problem = said(ScalarHead::load(dir.path()));
    assert!(problem.contains("has no `score.weight`; it was saved without a head"), "{problem}");
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
    let forward = network.forward(&batch, None).unwrap();
    let d = ScoreGradients { log_probs: &[0.0; 8], entropies: Some(&[0.0; 9]) };
    assert_eq!(
        said(network.backward(&batch, forward, d, &mut right)),
        "d_entropies: 9 for a batch of 8 slots, where forward had 8"
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
