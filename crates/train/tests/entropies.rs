//! The way back through entropies: against differences, and against the way back through
//! log-probabilities.

mod common;

use common::*;
use kernels::Pool;
use model::Target;
use train::{Batch, Gradients, Network, Precision, ScoreGradients};
use weights::Checkpoint;

/// What the log-probabilities and the entropies of each slot count.
fn counts(batch: &Batch) -> [Vec<f32>; 2] {
    [numbers(batch.len(), 71), numbers(batch.len(), 72)]
}

fn backward(network: &Network<'_>, batch: &Batch, d: ScoreGradients<'_>) -> Gradients {
    let mut gradients = Gradients::zeros(network.parameters());
    let forward = network.forward(batch, None).unwrap();
    network.backward(batch, forward, d, &mut gradients).unwrap();
    gradients
}

fn are_slopes(what: &str, network: &mut Network<'_>, batch: &Batch) {
    let [log_probs, entropies] = counts(batch);
    for log_probs in [vec![0.0; batch.len()], log_probs] {
        let d = ScoreGradients { log_probs: &log_probs, entropies: Some(&entropies) };
        let gradients = backward(network, batch, d);
        let slope = slope(network, &gradients, |network| {
            let scores = network.log_probs(batch).unwrap();
            let sum = |x: &[f32], d: &[f32]| -> f64 {
                x.iter().zip(d).map(|(x, d)| f64::from(*x) * f64::from(*d)).sum()
            };
            sum(&scores.log_probs, &log_probs) + sum(&scores.entropies, &entropies)
        });
        let norm = norm(&gradients);
        println!("{what}: slope {slope:.5}, norm {norm:.5}");
        assert!((slope / norm - 1.0).abs() < 3e-3, "{what}: {slope} and {norm}");
    }
}

#[test]
fn gradients_are_slopes() {
    for name in ["qwen2", "llama", "qwen3"] {
        let model = open(&tiny(name), 2);
        let batch = texts(&[19, 2, 40], 291, 5);
        let mut network = adapted(&model, small(&Target::ALL), Precision::F32);
        are_slopes(&format!("{name} adapter"), &mut network, &batch);
        let (pool, checkpoint) = (Pool::new(2), Checkpoint::open(&tiny(name)).unwrap());
        let mut network = Network::full(&checkpoint, &pool, Precision::F32).unwrap();
        are_slopes(name, &mut network, &batch);
    }
}

#[test]
fn gradients_at_a_temperature_are_slopes() {
    for temperature in [0.5, 1.7] {
        let model = open(&tiny("qwen2"), 2);
        let batch = texts(&[19, 2, 40], 291, 5);
        let mut network = adapted(&model, small(&Target::ALL), Precision::F32);
        network.at_temperature(temperature);
        are_slopes(&format!("adapter at {temperature}"), &mut network, &batch);
        let (pool, checkpoint) = (Pool::new(2), Checkpoint::open(&tiny("qwen2")).unwrap());
        let mut network = Network::full(&checkpoint, &pool, Precision::F32).unwrap();
        network.at_temperature(temperature);
        are_slopes(&format!("all weights at {temperature}"), &mut network, &batch);
    }
}

/// `log p` at a temperature is that of probabilities to the power of its inverse, made to add up.
#[test]
fn scores_at_a_temperature_are_of_the_tempered_distribution() {
    let model = open(&tiny("qwen2"), 2);
    let mut network = adapted(&model, small(&Target::ALL), Precision::F32);
    let prompt = tokens(12, 291, 3);
    let mut weights = vec![0.0; 13];
    weights[12] = 1.0;
    let mut all = Batch::new();
    (0..291).for_each(|next| all.push(&[&prompt[..], &[next]].concat(), &weights).unwrap());
    let at = |network: &Network<'_>| -> Vec<f64> {
        let scores = network.log_probs(&all).unwrap().log_probs;
        let targets = scores.iter().zip(all.targets()).filter(|(_, t)| t.is_some());
        targets.map(|(l, _)| f64::from(*l)).collect()
    };
    let own = at(&network);
    network.at_temperature(0.6);
    let sum: f64 = own.iter().map(|l| (l / 0.6).exp()).sum();
    for (own, got) in own.iter().zip(at(&network)) {
        let want = own / 0.6 - sum.ln();
        assert!((got - want).abs() < 2e-4, "{got} and {want}");
    }
}

/// `∇H = -Σ p · log p · ∇log p`: one text for each token that could come next.
#[test]
fn the_sum_over_all_that_could_come_next() {
    let model = open(&tiny("qwen2"), 2);
    let network = adapted(&model, small(&Target::ALL), Precision::F32);
    let prompt = tokens(12, 291, 3);
    let mut one = Batch::new();
    let mut weights = vec![0.0; 13];
    weights[12] = 1.0;
    one.push(&[&prompt[..], &[7]].concat(), &weights).unwrap();
    let d_entropies = vec![1.0; one.len()];
    let zeros = vec![0.0; one.len()];
    let d = ScoreGradients { log_probs: &zeros, entropies: Some(&d_entropies) };
    let got = backward(&network, &one, d);

    let mut all = Batch::new();
    (0..291).for_each(|next| all.push(&[&prompt[..], &[next]].concat(), &weights).unwrap());
    let log_probs = network.log_probs(&all).unwrap().log_probs;
    let d: Vec<f32> =
        log_probs.iter().map(|l| if *l == 0.0 { 0.0 } else { -l.exp() * l }).collect();
    let want = backward(&network, &all, (&d).into());
    for ((p, got), want) in network.parameters().all().iter().zip(got.all()).zip(want.all()) {
        let off = error(got, want);
        assert!(off < 5e-5, "{}: off by {off}", p.name);
    }
}

#[test]
fn entropies_that_count_nothing_change_no_bit() {
    let model = open(&tiny("qwen3"), 2);
    let network = adapted(&model, small(&Target::ALL), Precision::Bf16);
    let batch = texts(&[19, 40], 291, 5);
    let [log_probs, _] = counts(&batch);
    let zeros = vec![0.0; batch.len()];
    let d = ScoreGradients { log_probs: &log_probs, entropies: Some(&zeros) };
    assert!(backward(&network, &batch, d) == backward(&network, &batch, (&log_probs).into()));
}
