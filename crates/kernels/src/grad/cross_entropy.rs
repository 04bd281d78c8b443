//! Softmax cross-entropy over a vocabulary that comes in chunks, so that all logits of a batch are
//! never held at once.
//!
//! Twice over the vocabulary, the caller multiplies hidden states by a chunk of the output matrix:
//! first each chunk goes to [`CrossEntropy::accumulate`], which keeps the largest logit, the sum of
//! exponentials (online: Milakov and Gimelshein 2018, arXiv:1805.02867) and the target's logit;
//! then, worked out again, to [`Likelihoods::gradient`], which turns the logits into their
//! gradient in place.

use super::GRAIN;
use crate::pool::Pool;
use crate::simd::{Kernel, LANES, Simd, exp, load_first, store_first};
use crate::{Isa, SendPtr};

/// Logits whose exponentials are summed in f32 before they are in f64.
const BLOCK: usize = 1024;

/// Sums over the chunks seen so far.
pub struct CrossEntropy {
    targets: Vec<Option<usize>>,
    rows: Vec<Running>,
}

/// One token's sums.
#[derive(Clone, Copy)]
struct Running {
    /// The largest logit.
    largest: f32,
    /// `Σ e^(x - largest)`
    sum: f64,
    /// `Σ e^(x - largest) · (x - largest)`
    weighted: f64,
    /// The target's logit, once seen.
    target: Option<f32>,
}

impl CrossEntropy {
    /// Starts on a batch: one target (an index into the vocabulary) for each token, or `None` for
    /// tokens that don't count.
    pub fn new(targets: Vec<Option<usize>>) -> CrossEntropy {
        let start = Running { largest: f32::NEG_INFINITY, sum: 0.0, weighted: 0.0, target: None };
        CrossEntropy { rows: vec![start; targets.len()], targets }
    }

    /// Takes the logits of the vocabulary from `first` on: `[tokens, any width]`. Chunks come in
    /// any order, each once.
    ///
    /// Logits may be negative infinity (a token that is ruled out), not NaN. Rows of tokens that
    /// don't count aren't read.
    ///
    /// # Panics
    /// If `logits` isn't a row for each token.
    pub fn accumulate(&mut self, isa: Isa, pool: &Pool, logits: &[f32], first: usize) {
        let Some(width) = width(logits.len(), self.rows.len()) else { return };
        let (targets, rows) = (&self.targets, SendPtr(self.rows.as_mut_ptr()));
        pool.for_each_chunk(targets.len(), (GRAIN / width).max(1), |range| {
            for t in range {
                let Some(target) = targets[t] else { continue };
                let logits = &logits[t * width..(t + 1) * width];
                // SAFETY: one thread has row `t`; `isa` is available.
                unsafe {
                    let row = &mut *rows.get().add(t);
                    isa.run(Accumulate { logits, row });
                    if let Some(i) = target.checked_sub(first).filter(|i| *i < width) {
                        row.target = Some(logits[i]);
                    }
                }
            }
        });
    }

    /// What the chunks, now complete, say of each token.
    ///
    /// # Panics
    /// If a target lies in none of the chunks.
    pub fn finish(self) -> Likelihoods {
        let mut l = Likelihoods {
            log_probs: vec![0.0; self.rows.len()],
            entropies: vec![0.0; self.rows.len()],
            lse: vec![0.0; self.rows.len()],
            targets: self.targets,
        };
        for (t, row) in self.rows.iter().enumerate() {
            let Some(target) = l.targets[t] else { continue };
            let logit = row.target;
            let logit =
                logit.unwrap_or_else(|| panic!("no chunk holds token {t}'s target {target}"));
            let log_sum = row.sum.ln();
            let largest = f64::from(row.largest);
            l.log_probs[t] = (f64::from(logit) - largest - log_sum) as f32;
            l.entropies[t] = (log_sum - row.weighted / row.sum) as f32;
            l.lse[t] = (largest + log_sum) as f32;
        }
        l
    }
}

/// How likely a model finds each token of a batch.
#[derive(Clone, Debug)]
pub struct Likelihoods {
    /// `log p(target)` in nats, which is the loss with the sign changed; 0 for tokens that don't
    /// count.
    pub log_probs: Vec<f32>,
    /// The distribution's entropy in nats; 0 for tokens that don't count.
    pub entropies: Vec<f32>,
    /// The logarithm of the sum of the logits' exponentials.
    lse: Vec<f32>,
    targets: Vec<Option<usize>>,
}

impl Likelihoods {
    /// Turns the logits of the vocabulary from `first` on (`[tokens, any width]`, the same as in the
    /// first pass) into the gradient of `Σ weight · -log p(target) + entropy_weight · entropy` with
    /// respect to them: `(p - onehot(target)) · weight - p · (log p + entropy) · entropy_weight`,
    /// zero for tokens that don't count.
    ///
    /// `weights` has any real number for each token: `1 / tokens` for the mean loss, the advantage
    /// for a policy gradient. So has `entropy_weights`, if entropies are part of the loss: below 0
    /// to keep a policy from making up its mind too early (Williams and Peng 1991).
    ///
    /// # Panics
    /// If `logits` or either of the weights aren't as many as the tokens ask for.
    pub fn gradient(
        &self,
        isa: Isa,
        pool: &Pool,
        (weights, entropy_weights): (&[f32], Option<&[f32]>),
        logits: &mut [f32],
        first: usize,
    ) {
        assert_eq!(weights.len(), self.targets.len());
        assert!(entropy_weights.is_none_or(|w| w.len() == weights.len()), "one weight a token");
        let Some(width) = width(logits.len(), self.targets.len()) else { return };
        let all = SendPtr(logits.as_mut_ptr());
        pool.for_each_chunk(self.targets.len(), (GRAIN / width).max(1), |range| {
            for t in range {
                // SAFETY: one thread has row `t`, which lies within `logits`.
                let logits =
                    unsafe { std::slice::from_raw_parts_mut(all.get().add(t * width), width) };
                let Some(target) = self.targets[t] else {
                    logits.fill(0.0);
                    continue;
                };
                let (lse, entropy, weight) = (self.lse[t], self.entropies[t], weights[t]);
                let entropy_weight = entropy_weights.map_or(0.0, |w| w[t]);
                // SAFETY: `isa` is available.
                unsafe { isa.run(Gradient { logits, lse, entropy, weight, entropy_weight }) }
                if let Some(i) = target.checked_sub(first).filter(|i| *i < width) {
                    logits[i] -= weight;
                }
            }
        });
    }
}

/// Logits of a row; `None` if there are none at all.
fn width(logits: usize, tokens: usize) -> Option<usize> {
    if logits == 0 {
        return None;
    }
    assert!(tokens > 0 && logits.is_multiple_of(tokens), "{logits} logits for {tokens} tokens");
    Some(logits / tokens)
}

/// One token's logits of a chunk.
struct Accumulate<'a> {
    logits: &'a [f32],
    row: &'a mut Running,
}

impl Kernel for Accumulate<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for block in self.logits.chunks(BLOCK) {
            let (n, x) = (block.len(), block.as_ptr());
            let whole = n / LANES * LANES;
            // SAFETY: no more of the block is read than there is.
            let (top, sum, weighted) = unsafe {
                let mut top = S::splat(self.row.largest);
                for i in (0..whole).step_by(LANES) {
                    top = S::max(top, S::load(x.add(i)));
                }
                let top = block[whole..].iter().fold(S::largest(top), |a, b| a.max(*b));
                if top == f32::NEG_INFINITY {
                    // Nothing but tokens that are ruled out.
                    continue;
                }
                let (mut sum, mut weighted) = (S::splat(0.0), S::splat(0.0));
                for i in (0..n).step_by(LANES) {
                    let left = LANES.min(n - i);
                    let distance = S::sub(load_first::<S>(x.add(i), left), S::splat(top));
                    // `exp` goes no lower, and zero times infinity is no number.
                    let distance = S::max(distance, S::splat(-87.0));
                    let mut e = exp::<S>(distance);
                    if left < LANES {
                        let mut lanes = [0.0; LANES];
                        store_first::<S>(lanes.as_mut_ptr(), e, left);
                        e = S::load(lanes.as_ptr());
                    }
                    sum = S::add(sum, e);
                    weighted = S::fma(e, distance, weighted);
                }
                (top, S::sum(sum), S::sum(weighted))
            };
            let row = &mut *self.row;
            if top > row.largest && row.largest > f32::NEG_INFINITY {
                // Σ e^(x - top) · (x - top), from the same with the old `largest` for `top`.
                let drop = f64::from(row.largest) - f64::from(top);
                let shrink = drop.exp();
                row.weighted = shrink * (row.weighted + drop * row.sum);
                row.sum *= shrink;
            }
            row.largest = top;
            row.sum += f64::from(sum);
            row.weighted += f64::from(weighted);
        }
    }
}

/// `p · (weight - (log p + entropy) · entropy_weight)` of a row, in place.
struct Gradient<'a> {
    logits: &'a mut [f32],
    lse: f32,
    entropy: f32,
    weight: f32,
    entropy_weight: f32,
}

impl Kernel for Gradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (n, x) = (self.logits.len(), self.logits.as_mut_ptr());
        for i in (0..n).step_by(LANES) {
            let left = LANES.min(n - i);
            // SAFETY: no more of the row is touched than there is.
            unsafe {
                let log_p = S::sub(load_first::<S>(x.add(i), left), S::splat(self.lse));
                // As above: zero times infinity is no number.
                let log_p = S::max(log_p, S::splat(-87.0));
                let surprise = S::add(log_p, S::splat(self.entropy));
                let slope = S::fma(surprise, S::splat(-self.entropy_weight), S::splat(self.weight));
                store_first::<S>(x.add(i), S::mul(exp::<S>(log_p), slope), left);
            }
        }
    }
}
