//! Cross-entropy in chunks, on every instruction set: against a plain softmax in f64, central
//! differences of it, and PyTorch.

mod grad_common;

use grad_common::{Golden, close, differences, numbers, scaled, wide};
use kernels::grad::{CrossEntropy, Likelihoods};
use kernels::{Isa, Pool};
use proptest::prelude::*;

/// A batch `[targets, vocabulary]` of logits.
struct Batch {
    logits: Vec<f32>,
    vocabulary: usize,
    targets: Vec<Option<usize>>,
    weights: Vec<f32>,
    entropy_weights: Option<Vec<f32>>,
}

impl Batch {
    fn new(tokens: usize, vocabulary: usize, seed: u64) -> Batch {
        let random = numbers(tokens, seed);
        // One in five doesn't count.
        let target = |x: f32| {
            let i = ((x + 1.0) / 2.0 * vocabulary as f32) as usize;
            (!i.is_multiple_of(5)).then_some(i.min(vocabulary - 1))
        };
        Batch {
            logits: scaled(8.0, numbers(tokens * vocabulary, seed + 1)),
            vocabulary,
            targets: random.into_iter().map(target).collect(),
            weights: numbers(tokens, seed + 2),
            entropy_weights: None,
        }
    }

    /// The same, with entropies as part of the loss.
    fn with_entropies(self, seed: u64) -> Batch {
        Batch { entropy_weights: Some(numbers(self.targets.len(), seed)), ..self }
    }

    fn entropy_weight(&self, t: usize) -> f64 {
        self.entropy_weights.as_ref().map_or(0.0, |w| f64::from(w[t]))
    }

    /// Columns `first..end` of all rows.
    fn chunk(&self, first: usize, end: usize) -> Vec<f32> {
        self.logits.chunks(self.vocabulary).flat_map(|row| row[first..end].to_vec()).collect()
    }

    /// Both passes in chunks of `width`.
    fn run(&self, isa: Isa, threads: usize, width: usize) -> (Likelihoods, Vec<f32>) {
        let pool = Pool::new(threads);
        let chunks =
            || (0..self.vocabulary).step_by(width).map(|i| (i, (i + width).min(self.vocabulary)));
        let mut sums = CrossEntropy::new(self.targets.clone());
        for (first, end) in chunks() {
            sums.accumulate(isa, &pool, &self.chunk(first, end), first);
        }
        let likelihoods = sums.finish();
        let mut dlogits = vec![f32::NAN; self.logits.len()];
        for (first, end) in chunks() {
            let mut chunk = self.chunk(first, end);
            let weights = (&self.weights[..], self.entropy_weights.as_deref());
            likelihoods.gradient(isa, &pool, weights, &mut chunk, first);
            let rows = dlogits.chunks_mut(self.vocabulary).zip(chunk.chunks(end - first));
            rows.for_each(|(all, chunk)| all[first..end].copy_from_slice(chunk));
        }
        (likelihoods, dlogits)
    }

    /// Log-probabilities of the targets, entropies, and the gradient, in f64.
    fn reference(&self) -> [Vec<f64>; 3] {
        let [mut log_probs, mut entropies, mut dlogits] = [const { Vec::new() }; 3];
        for (t, row) in self.logits.chunks(self.vocabulary).enumerate() {
            let Some(target) = self.targets[t] else {
                log_probs.push(0.0);
                entropies.push(0.0);
                dlogits.resize(dlogits.len() + row.len(), 0.0);
                continue;
            };
            let logs = log_softmax(&wide(row));
            log_probs.push(logs[target]);
            // A probability of zero adds nothing.
            let real = logs.iter().filter(|x| x.is_finite());
            let entropy: f64 = real.map(|x| -x.exp() * x).sum();
            entropies.push(entropy);
            let weight = f64::from(self.weights[t]);
            dlogits.extend(logs.iter().enumerate().map(|(i, x)| {
                let hot = if i == target { 1.0 } else { 0.0 };
                let surprise = if x.is_finite() { x + entropy } else { 0.0 };
                weight * (x.exp() - hot) - self.entropy_weight(t) * x.exp() * surprise
            }));
        }
        [log_probs, entropies, dlogits]
    }

    fn check(&self, isa: Isa, width: usize) {
        let what = format!("{isa}, {}×{}, {width}", self.targets.len(), self.vocabulary);
        let (l, dlogits) = self.run(isa, 2, width);
        let [log_probs, entropies, want] = self.reference();
        close(&l.log_probs, &log_probs, 1e-6, &format!("{what}: log_probs"));
        close(&l.entropies, &entropies, 3e-6, &format!("{what}: entropies"));
        close(&dlogits, &want, 3e-6, &format!("{what}: dlogits"));
    }
}

fn log_softmax(x: &[f64]) -> Vec<f64> {
    let top = x.iter().copied().fold(f64::MIN, f64::max);
    let lse = top + x.iter().map(|x| (x - top).exp()).sum::<f64>().ln();
    x.iter().map(|x| x - lse).collect()
}

#[test]
fn against_differences() {
    for batch in [Batch::new(9, 23, 1), Batch::new(9, 23, 1).with_entropies(4)] {
        let want = differences(&batch.logits, |logits| {
            let row = |(t, row): (usize, &[f64])| {
                let Some(target) = batch.targets[t] else { return 0.0 };
                let logs = log_softmax(row);
                let entropy: f64 = logs.iter().map(|x| -x.exp() * x).sum();
                -f64::from(batch.weights[t]) * logs[target] + batch.entropy_weight(t) * entropy
            };
            logits.chunks(23).enumerate().map(row).sum()
        });
        for isa in Isa::available() {
            let (_, dlogits) = batch.run(isa, 2, 7);
            close(&dlogits, &want, 2e-6, &format!("{isa}"));
        }
    }
}

#[test]
fn against_softmax_in_f64() {
    for isa in Isa::available() {
        for (tokens, vocabulary, width) in
            [(0, 10, 4), (1, 1, 1), (3, 17, 16), (5, 1000, 333), (4, 40_001, 9000), (2, 5000, 5000)]
        {
            Batch::new(tokens, vocabulary, 5).check(isa, width);
            Batch::new(tokens, vocabulary, 5).with_entropies(6).check(isa, width);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_shape(tokens in 0_usize..8, vocabulary in 1_usize..3000, width in 1_usize..1500, seed in 0_u64..1000) {
        for isa in Isa::available() {
            Batch::new(tokens, vocabulary, seed).check(isa, width);
            Batch::new(tokens, vocabulary, seed).with_entropies(seed + 7).check(isa, width);
        }
    }
}

#[test]
fn tokens_that_are_ruled_out_have_no_part() {
    let mut batch = Batch::new(4, 300, 9).with_entropies(2);
    batch.targets = vec![Some(120), Some(299), None, Some(121)];
    for row in batch.logits.chunks_mut(300) {
        // A chunk's worth and more at the start, and some in between.
        row[..110].fill(f32::NEG_INFINITY);
        row[200..210].fill(f32::NEG_INFINITY);
    }
    for isa in Isa::available() {
        for width in [50, 300] {
            batch.check(isa, width);
        }
    }
}

#[test]
fn a_rising_row_is_summed_well() {
    // Each chunk has a new largest logit; all are far above zero.
    let mut batch = Batch::new(2, 4000, 3);
    batch.targets = vec![Some(0), Some(3999)];
    batch.logits = (0..8000).map(|i| (i % 4000) as f32 * 0.01 + 1000.0).collect();
    for isa in Isa::available() {
        let (l, _) = batch.run(isa, 2, 100);
        let [log_probs, entropies, _] = batch.reference();
        close(&l.log_probs, &log_probs, 1e-6, "log_probs");
        close(&l.entropies, &entropies, 1e-5, "entropies");
    }
}

#[test]
fn as_pytorch_has_it() {
    let golden = Golden::read("cross_entropy");
    let batch = Batch {
        logits: scaled(6.0, numbers(7 * 501, 1)),
        vocabulary: 501,
        targets: [0, 500, -100, 17, 250, 249, -100].map(|i| usize::try_from(i).ok()).to_vec(),
        weights: numbers(7, 2),
        entropy_weights: None,
    };
    for isa in Isa::available() {
        for width in [501, 250, 64] {
            let what = format!("{isa}, cross_entropy in {width}s");
            let (l, dlogits) = batch.run(isa, 2, width);
            golden.check("losses", &scaled(-1.0, l.log_probs), 1e-6, &what);
            golden.check("entropies", &l.entropies, 1e-6, &what);
            golden.check("dlogits", &dlogits, 1e-6, &what);
        }
    }
}

#[test]
fn the_number_of_threads_makes_no_difference() {
    let batch = Batch::new(60, 3000, 7).with_entropies(8);
    for isa in Isa::available() {
        let (l, dlogits) = batch.run(isa, 1, 1100);
        for threads in [2, 3] {
            let (m, d) = batch.run(isa, threads, 1100);
            assert!(l.log_probs == m.log_probs && l.entropies == m.entropies && dlogits == d);
        }
    }
}

#[test]
#[should_panic(expected = "no chunk holds token 1's target 7")]
fn a_target_outside_the_vocabulary_is_named() {
    let mut sums = CrossEntropy::new(vec![Some(0), Some(7)]);
    sums.accumulate(Isa::Scalar, &Pool::new(1), &[0.0; 10], 0);
    sums.finish();
}
