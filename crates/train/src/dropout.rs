//! Numbers that look random and can be made again: from a key and a place, not from a state.

use std::sync::{Mutex, PoisonError};

use kernels::Pool;

/// Numbers that a thread takes at a time.
const CHUNK: usize = 32 << 10;

/// Mixes a number well (Steele et al. 2014, SplitMix64).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A stream of numbers of its own for each seed and each thing they are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stream(u64);

impl Stream {
    pub(crate) fn new(seed: u64, purpose: u64) -> Stream {
        Stream(mix(mix(seed) ^ purpose))
    }

    /// The `i`-th number, uniform in [0, 1) in steps of 2⁻²⁴.
    pub(crate) fn uniform(self, i: usize) -> f32 {
        (mix(self.0.wrapping_add(i as u64)) >> 40) as f32 / (1 << 24) as f32
    }
}

/// Which of a matrix's inputs are left out (Srivastava et al. 2014), always the same ones for the
/// same stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mask {
    pub(crate) stream: Stream,
    /// With which probability a number is left out, below 1.
    pub(crate) rate: f32,
}

impl Mask {
    /// `x` without the numbers that are left out, the others enlarged to make up for them. Its own
    /// backward.
    pub(crate) fn apply(&self, pool: &Pool, x: &mut [f32]) {
        let kept = 1.0 / (1.0 - self.rate);
        let chunks = Mutex::new(x.chunks_mut(CHUNK).enumerate());
        let next = || chunks.lock().unwrap_or_else(PoisonError::into_inner).next();
        pool.run(&|_| {
            while let Some((chunk, x)) = next() {
                for (i, x) in (chunk * CHUNK..).zip(x) {
                    *x *= if self.stream.uniform(i) < self.rate { 0.0 } else { kept };
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_left_out_as_the_rate_says_and_the_mean_stays() {
        let mask = Mask { stream: Stream::new(7, 3), rate: 0.1 };
        let mut x = vec![1.0; 100_000];
        let pool = Pool::new(3);
        mask.apply(&pool, &mut x);
        let gone = x.iter().filter(|x| **x == 0.0).count() as f64 / 1e5;
        let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / 1e5;
        assert!((gone - 0.1).abs() < 0.005 && (mean - 1.0).abs() < 0.006, "{gone} {mean}");
        let mut again = vec![1.0; 100_000];
        mask.apply(&Pool::new(1), &mut again);
        assert_eq!(x, again);
        let mut other = vec![1.0; 100_000];
        Mask { stream: Stream::new(8, 3), ..mask }.apply(&pool, &mut other);
        assert_ne!(x, other);
    }
}
