//! What must be the same to the bit: any number of threads, and a text whatever is beside it.

mod common;

use common::*;
use kernels::Pool;
use model::Target;
use train::{LoraSettings, Network, Precision};
use weights::Checkpoint;

const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

#[test]
fn full_gradients_for_any_number_of_threads() {
    for name in ["qwen2", "llama", "qwen3"] {
        let checkpoint = Checkpoint::open(&tiny(name)).unwrap();
        for precision in PRECISIONS {
            let by = |threads| {
                let pool = Pool::new(threads);
                let network = Network::full(&checkpoint, &pool, precision).unwrap();
                gradients(&network, &texts(&[150, 3, 97, 64], 291, 1), None)
            };
            let one = by(1);
            for threads in [2, 3, 5] {
                assert!(by(threads) == one, "{name} {precision:?}: {threads} threads");
            }
        }
    }
}

#[test]
fn adapter_gradients_for_any_number_of_threads() {
    for precision in PRECISIONS {
        let by = |threads| {
            let model = open(&tiny("qwen3"), threads);
            let settings = LoraSettings { dropout: 0.1, ..small(&Target::ALL) };
            let network = adapted(&model, settings, precision);
            gradients(&network, &texts(&[150, 3, 97], 291, 1), Some(3))
        };
        let one = by(1);
        for threads in [2, 3, 5] {
            assert!(by(threads) == one, "{precision:?}: {threads} threads");
        }
    }
}

#[test]
fn a_text_is_scored_the_same_whatever_is_beside_it() {
    let model = open(&tiny("qwen2"), 2);
    let network = adapted(&model, small(&Target::ALL), Precision::Bf16);
    let together = texts(&[150, 3, 97], 291, 1);
    let scores = network.log_probs(&together).unwrap();
    // The second and third text of the batch, each alone.
    for (text, n) in [(1, 3), (2, 97)] {
        let alone = texts(&[n], 291, 1 + 2 * text as u64);
        let alone = network.log_probs(&alone).unwrap();
        let slots = together.slots(text);
        assert_eq!(alone.log_probs, scores.log_probs[slots.clone()]);
        assert_eq!(alone.entropies, scores.entropies[slots]);
    }
}

#[test]
fn gradients_whether_activations_are_kept_or_worked_out_again() {
    let pool = Pool::new(2);
    // Three layers.
    let checkpoint = Checkpoint::open(&tiny("qwen2-bf16")).unwrap();
    let batch = texts(&[150, 3, 97], 291, 1);
    let by = |bytes| {
        let mut network = Network::full(&checkpoint, &pool, Precision::Bf16).unwrap();
        network.keep_activations(bytes);
        gradients(&network, &batch, None)
    };
    let none = by(0);
    // A layer's take two to three thousand bytes a token.
    for bytes in [1 << 20, 3 << 19, usize::MAX] {
        assert!(by(bytes) == none, "{bytes}");
    }
    let model = open(&tiny("qwen3"), 2);
    let settings = LoraSettings { dropout: 0.1, ..small(&Target::ALL) };
    let mut network = adapted(&model, settings, Precision::Bf16);
    let none = gradients(&network, &batch, Some(1));
    network.keep_activations(usize::MAX);
    assert!(gradients(&network, &batch, Some(1)) == none);
}
