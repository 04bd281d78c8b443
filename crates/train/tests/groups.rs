//! Texts that share a prompt are, but for rounding, what they are by themselves.

mod common;

use common::*;
use kernels::Pool;
use model::Target;
use proptest::prelude::*;
use train::{Batch, Gradients, LoraSettings, Network, Precision, ScalarHead, ScoreGradients};
use weights::Checkpoint;

/// The largest `‖a - b‖ / ‖b‖`, of scores and of each parameter's gradient: f32 summed in another
/// order.
const TOLERANCE: f64 = 1e-5;
/// The same where products are rounded to bf16: what is rounded is not quite the same.
const BF16_TOLERANCE: f64 = 3e-2;

/// The gradients of a loss of log-probabilities and entropies, with all scores of the batch.
fn both(network: &Network<'_>, batch: &Batch) -> (Vec<f32>, Vec<f32>, Gradients) {
    let forward = network.forward(batch, None).unwrap();
    let scores = forward.scores().clone();
    let log_probs: Vec<f32> = batch.weights().iter().map(|w| -w).collect();
    let entropies: Vec<f32> = batch.weights().iter().map(|w| 0.3 - w * w).collect();
    let d = ScoreGradients { log_probs: &log_probs, entropies: Some(&entropies) };
    let mut gradients = Gradients::zeros(network.parameters());
    network.backward(batch, forward, d, &mut gradients).unwrap();
    (scores.log_probs, scores.entropies, gradients)
}

fn the_same(what: &str, network: &Network<'_>, [shared, apart]: &[Batch; 2], tolerance: f64) {
    let (got, want) = (both(network, shared), both(network, apart));
    for (kind, got, want) in [("log_probs", got.0, want.0), ("entropies", got.1, want.1)] {
        let want = of_continuations(&want, apart, shared);
        let off = error(&of_continuations(&got, shared, shared), &want);
        assert!(off <= tolerance, "{what}, {kind}: off by {off}");
    }
    let mut worst = 0.0f64;
    let gradients = got.2.all().iter().zip(want.2.all());
    for (parameter, (got, want)) in network.parameters().all().iter().zip(gradients) {
        let off = error(got, want);
        worst = worst.max(off);
        assert!(off <= tolerance, "{what}, {}: off by {off}", parameter.name);
    }
    println!("{what}: a gradient off by at most {worst:.1e}");
}

/// Prompts shorter and longer than a tile of attention, and of a single token.
fn some() -> [Batch; 2] {
    groups(&[(70, &[20, 1, 75]), (1, &[5, 9]), (2, &[3]), (140, &[64, 2])], 291, 1)
}

#[test]
fn whole_models() {
    for name in ["qwen2", "llama", "qwen3"] {
        let checkpoint = Checkpoint::open(&tiny(name)).unwrap();
        let pool = Pool::new(2);
        for (precision, most) in [(Precision::F32, TOLERANCE), (Precision::Bf16, BF16_TOLERANCE)] {
            let network = Network::full(&checkpoint, &pool, precision).unwrap();
            the_same(&format!("{name} {precision:?}"), &network, &some(), most);
        }
    }
}

#[test]
fn adapters() {
    for name in ["qwen2", "llama", "qwen3"] {
        let model = open(&tiny(name), 2);
        for (precision, most) in [(Precision::F32, TOLERANCE), (Precision::Bf16, BF16_TOLERANCE)] {
            let network = adapted(&model, small(&Target::ALL), precision);
            the_same(&format!("{name} adapter {precision:?}"), &network, &some(), most);
        }
    }
}

#[test]
fn beside_texts_by_themselves() {
    let model = open(&tiny("qwen2"), 2);
    let network = adapted(&model, small(&Target::ALL), Precision::F32);
    let mut batches = some();
    for batch in &mut batches {
        batch.push(&tokens(80, 291, 9), &[0.5; 80]).unwrap();
    }
    let [shared, apart] = &batches;
    let last = shared.texts() - 1;
    assert_eq!((shared.slots(last).len(), shared.shared(last)), (79, 0..0));
    the_same("beside", &network, &batches, TOLERANCE);
    // Not a bit of it depends on the groups beside it.
    let [a, b] = [shared, apart]
        .map(|batch| network.log_probs(batch).unwrap().log_probs[batch.slots(last)].to_vec());
    assert_eq!(a, b);
}

#[test]
fn slots_of_groups() {
    let [shared, apart] = some();
    assert_eq!((shared.texts(), apart.texts()), (8, 8));
    // 69 + 20 + 1 + 75, then 5 + 9 with a prompt whose one token is each text's own.
    assert_eq!((shared.slots(0), shared.slots(2)), (69..89, 90..165));
    assert_eq!((shared.shared(0), shared.shared(2), shared.shared(3)), (0..69, 0..69, 165..165));
    assert_eq!((shared.slots(3), shared.slots(5)), (165..170, 180..183));
    assert_eq!(shared.weight(), apart.weight());
    for text in 0..8 {
        let (mine, theirs) = (shared.slots(text), apart.slots(text));
        let theirs = theirs.end - mine.len()..theirs.end;
        assert_eq!(shared.tokens()[mine.clone()], apart.tokens()[theirs.clone()]);
        assert_eq!(shared.targets()[mine], apart.targets()[theirs]);
    }
    assert!(shared.targets()[shared.shared(0)].iter().all(Option::is_none));
}

#[test]
fn any_number_of_threads_and_activations_kept_or_not() {
    let [batch, _] = some();
    for precision in [Precision::F32, Precision::Bf16] {
        let by = |threads, kept| {
            let model = open(&tiny("qwen3"), threads);
            let settings = LoraSettings { dropout: 0.1, ..small(&Target::ALL) };
            let mut network = adapted(&model, settings, precision);
            network.keep_activations(kept);
            gradients(&network, &batch, Some(3))
        };
        let one = by(1, 0);
        for (threads, kept) in [(2, 0), (3, usize::MAX), (5, 0)] {
            assert!(by(threads, kept) == one, "{precision:?}: {threads} threads");
        }
    }
}

#[test]
fn values_of_whole_texts() {
    for name in ["qwen2", "llama", "qwen3"] {
        let model = open(&tiny(name), 2);
        let network = adapted(&model, small(&Target::ALL), Precision::F32);
        let network = network.with_scalar_head(ScalarHead::Random { seed: 1 }).unwrap();
        let (prompt, answers) = (tokens(90, 291, 1), [tokens(70, 291, 2), tokens(1, 291, 3)]);
        let [mut shared, mut apart] = [Batch::new(), Batch::new()];
        shared.push_whole_group(&prompt, &[&answers[0], &answers[1]]).unwrap();
        shared.push_whole_group(&[], &[&answers[0]]).unwrap();
        for before in [&prompt[..], &[]] {
            apart.push_whole(&[before, &answers[0]].concat()).unwrap();
            if !before.is_empty() {
                apart.push_whole(&[before, &answers[1]].concat()).unwrap();
            }
        }
        let run = |batch: &Batch| {
            let forward = network.forward_values(batch, None).unwrap();
            let ends = (0..3).map(|text| forward.values()[batch.slots(text).end - 1]);
            let ends: Vec<f32> = ends.collect();
            let mut d = vec![0.0; batch.len()];
            (0..3).for_each(|text| d[batch.slots(text).end - 1] = [1.0, -0.7, 0.3][text]);
            let mut gradients = Gradients::zeros(network.parameters());
            network.backward_values(batch, forward, &d, &mut gradients).unwrap();
            (ends, gradients)
        };
        let (got, want) = (run(&shared), run(&apart));
        let off = error(&got.0, &want.0);
        assert!(off <= TOLERANCE, "{name}: values off by {off}");
        for (got, want) in got.1.all().iter().zip(want.1.all()) {
            let off = error(got, want);
            assert!(off <= TOLERANCE, "{name}: off by {off}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_lengths(
        lengths in prop::collection::vec(
            (1_usize..100, prop::collection::vec(1_usize..80, 1..4)), 1..4),
        seed in 1_u64..1000,
    ) {
        let lengths: Vec<(usize, &[usize])> = lengths.iter().map(|(n, all)| (*n, &all[..])).collect();
        let mut batches = groups(&lengths, 291, seed);
        // Something that counts, whatever the lengths: every third weight is 0.
        for batch in &mut batches {
            batch.push(&[1, 2, 3], &[1.0; 3]).unwrap();
        }
        let model = open(&tiny("qwen3"), 2);
        let network = adapted(&model, small(&Target::ALL), Precision::F32);
        the_same(&format!("{lengths:?}"), &network, &batches, TOLERANCE);
    }
}
