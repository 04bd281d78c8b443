//! Random numbers of one sequence, and the draw itself.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::exp::{self, BLOCK};
use super::filters::{Candidate, best};

/// A seed that differs from call to call.
pub fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A stream of random numbers in which the n-th depends on the seed and on n alone.
#[derive(Clone, Debug)]
pub(super) struct Draws {
    seed: u64,
    drawn: u64,
}

impl Draws {
    /// The stream of a seed; without one, of a seed that differs from call to call.
    pub(super) fn new(seed: Option<u64>) -> Self {
        let seed = seed.unwrap_or_else(random_seed);
        Self { seed, drawn: 0 }
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// The next number, uniform in [0, 1).
    pub(super) fn next_unit(&mut self) -> f64 {
        // SplitMix64: a counter in steps of the golden ratio, scrambled. The seed is scrambled
        // first, or streams of neighbouring seeds would be shifts of one another.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        self.drawn += 1;
        let bits = scramble(scramble(self.seed).wrapping_add(self.drawn.wrapping_mul(STEP)));
        (bits >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// SplitMix64's output function: every input bit changes about half of the output's.
fn scramble(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Draws from the candidates; `unit` in [0, 1) decides. There is at least one.
pub(super) fn from_few(candidates: &[Candidate], temperature: f32, unit: f64) -> u32 {
    let max = f64::from(best(candidates));
    let weight = |c: &Candidate| ((f64::from(c.logit) - max) / f64::from(temperature)).exp();
    let target = unit * candidates.iter().map(weight).sum::<f64>();
    let mut sum = 0.0;
    let mut last = 0;
    for candidate in candidates {
        let weight = weight(candidate);
        if weight > 0.0 {
            sum += weight;
            last = candidate.id;
            if sum > target {
                break;
            }
        }
    }
    last
}

/// Draws from the whole vocabulary, `max` being its largest logit, which is finite.
pub(super) fn from_all(logits: &[f32], max: f32, temperature: f32, unit: f64) -> u32 {
    // Sums of blocks first: then only the block that is hit is walked token by token.
    let scale = 1.0 / temperature;
    let sums: Vec<f64> =
        logits.chunks(BLOCK).map(|block| exp::block_sum(block, max, scale)).collect();
    let target = unit * sums.iter().sum::<f64>();
    let mut sum = 0.0;
    let mut last = 0;
    for (index, block) in logits.chunks(BLOCK).enumerate() {
        if sums[index] == 0.0 {
            continue;
        }
        let reached = sum + sums[index];
        if reached <= target && index + 1 < sums.len() {
            // Rounding may leave the target past everything: remember the last possible block.
            last = index;
            sum = reached;
            continue;
        }
        return walk(block, index, max, scale, target - sum);
    }
    let block = logits.chunks(BLOCK).nth(last).unwrap_or_default();
    walk(block, last, max, scale, f64::INFINITY)
}

/// The token of a block at which the running sum of weights passes `target`, or its last possible
/// one.
fn walk(block: &[f32], index: usize, max: f32, scale: f32, target: f64) -> u32 {
    let mut sum = 0.0;
    let mut last = 0;
    for (i, &weight) in exp::weights(block, max, scale).iter().enumerate() {
        if weight > 0.0 {
            sum += f64::from(weight);
            last = i;
            if sum > target {
                break;
            }
        }
    }
    (index * BLOCK + last) as u32
}
