//! Every gradient of tiny models against PyTorch's autograd through `transformers` and PEFT (how
//! they were made: goldens/make_gradients.py), in both precisions.

mod common;

use common::*;
use kernels::Pool;
use model::Target;
use train::{Batch, Gradients, LoraSettings, Network, Precision};
use weights::Checkpoint;

/// The largest `‖a - b‖ / ‖b‖` of a gradient: that of f32 against f64 is a few millionths.
const TOLERANCE: f64 = 2e-5;
/// The same where products are rounded to bf16, whose own error is up to 1/256 a factor.
const BF16_TOLERANCE: f64 = 7e-2;
/// The largest mean difference of log-probabilities and entropies.
const SCORES: [f64; 2] = [3e-6, 4e-2];

/// Index into the tolerances.
fn which(precision: Precision) -> usize {
    usize::from(precision == Precision::Bf16)
}

fn hold(golden: &Golden, name: &str, network: &Network<'_>, precision: Precision) {
    let batch = golden.batch();
    let mut got = Gradients::zeros(network.parameters());
    let loss = network.cross_entropy(&batch, None, &mut got).unwrap();
    for (kind, scores) in
        [("log_probs", &loss.scores.log_probs), ("entropies", &loss.scores.entropies)]
    {
        let off = mean_difference(scores, &golden.scores(kind, &batch));
        println!("{name} {precision:?} {kind}: off by {off:.1e} in the mean");
        assert!(off < SCORES[which(precision)], "{name}, {kind}: off by {off}");
    }
    compare(golden, name, network, precision, &got);
    the_same_in_two_steps(name, network, &batch, &got);
}

fn compare(
    golden: &Golden,
    name: &str,
    network: &Network<'_>,
    precision: Precision,
    got: &Gradients,
) {
    let mut want = golden.tensors("gradient");
    let mut worst = 0.0f64;
    for (parameter, got) in network.parameters().all().iter().zip(got.all()) {
        let want = want.remove(&parameter.name).unwrap_or_else(|| panic!("{}", parameter.name));
        let error = error(got, want);
        worst = worst.max(error);
        let tolerance = [TOLERANCE, BF16_TOLERANCE][which(precision)];
        assert!(error <= tolerance, "{name} {precision:?}, {}: off by {error}", parameter.name);
    }
    assert!(want.is_empty(), "{name}: no gradients for {:?}", want.keys());
    println!("{name} {precision:?}: relative error of a gradient at most {worst:.1e}");
}

/// `forward` and `backward` with the loss's gradient, which is minus the weights.
fn the_same_in_two_steps(name: &str, network: &Network<'_>, batch: &Batch, want: &Gradients) {
    let forward = network.forward(batch, None).unwrap();
    assert_eq!(forward.scores(), &network.log_probs(batch).unwrap(), "{name}");
    let d: Vec<f32> = batch.weights().iter().map(|w| -w).collect();
    let mut got = Gradients::zeros(network.parameters());
    network.backward(batch, forward, &d, &mut got).unwrap();
    assert!(got == *want, "{name}: backward and cross_entropy differ");
}

fn full(name: &str, precision: Precision) {
    let golden = Golden::read(name);
    let pool = Pool::new(2);
    let checkpoint = Checkpoint::open(&tiny(name)).unwrap();
    let network = Network::full(&checkpoint, &pool, precision).unwrap();
    hold(&golden, name, &network, precision);
}

fn lora(name: &str, base: &str, (rank, alpha, rslora): (usize, f32, bool), precision: Precision) {
    let golden = Golden::read(name);
    let model = open(&tiny(base), 2);
    let targets = Target::ALL.to_vec();
    let settings = LoraSettings { rank, alpha, rslora, targets, ..LoraSettings::default() };
    let mut network = Network::lora(&model, settings, precision).unwrap();
    let values = golden.tensors("parameter");
    let names: Vec<String> = network.parameters().all().iter().map(|p| p.name.clone()).collect();
    for (name, to) in names.iter().zip(network.parameters_mut().values_mut()) {
        to.copy_from_slice(values[name]);
    }
    hold(&golden, name, &network, precision);
}

macro_rules! goldens {
    ($($test:ident: $check:expr;)*) => {
        $(#[test]
        fn $test() {
            for precision in [Precision::F32, Precision::Bf16] {
                $check(precision);
            }
        })*
    };
}

goldens! {
    qwen2_with_biases_and_tied_output: |p| full("qwen2", p);
    llama: |p| full("llama", p);
    qwen3_with_head_norms: |p| full("qwen3", p);
    qwen2_adapter: |p| lora("qwen2-lora", "qwen2", (4, 6.0, false), p);
    llama_adapter_rank_stabilised: |p| lora("llama-lora", "llama", (3, 5.0, true), p);
    qwen3_adapter: |p| lora("qwen3-lora", "qwen3", (2, 4.0, false), p);
}
