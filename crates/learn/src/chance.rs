//! Chance that can be had again: a stream of numbers for each seed and each purpose, with no state
//! that a checkpoint would have to keep.

use verify::tasks::random::{Random, hash};

/// The numbers of `purpose` at `step`.
pub(crate) fn chance(seed: u64, purpose: &str, step: u64) -> Random {
    Random::new(&[seed, hash(purpose), step])
}

/// From 0 to below 1, in steps of 2⁻⁵³.
pub(crate) fn unit(random: &mut Random) -> f64 {
    (random.next() >> 11) as f64 / (1u64 << 53) as f64
}

/// Picks a place with a chance in proportion to its weight.
///
/// # Panics
/// If there is none.
pub(crate) fn weighted(random: &mut Random, weights: &[f64]) -> usize {
    let mut left = unit(random) * weights.iter().sum::<f64>();
    for (i, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return i;
        }
    }
    weights.len() - 1
}

/// The numbers below `n` in an order of their own for each round: the `i`-th of endless rounds.
pub(crate) fn shuffled(seed: u64, purpose: &str, round: u64, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    chance(seed, purpose, round).shuffle(&mut order);
    order
}
