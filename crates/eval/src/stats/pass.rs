//! pass@k.

/// The chance that at least one of `k` samples is right, when `c` of the `n` drawn are: the unbiased
/// estimator of Chen et al. 2021, `1 - C(n-c, k) / C(n, k)`, as a product of factors at most 1, so
/// that no binomial coefficient is ever formed.
///
/// `None` if `k` is 0, or more than `n`: then nothing unbiased can be said.
///
/// # Panics
/// If more are right than there are.
pub fn pass_at_k(n: usize, c: usize, k: usize) -> Option<f64> {
    assert!(c <= n, "{c} of {n} samples right");
    if k == 0 || k > n {
        return None;
    }
    if n - c < k {
        return Some(1.0);
    }
    // Choosing k wrong ones is also not choosing any of the c right ones: whichever product is shorter.
    let miss: f64 = if c < k {
        (0..c).map(|i| 1.0 - k as f64 / (n - i) as f64).product()
    } else {
        (0..k).map(|i| 1.0 - c as f64 / (n - i) as f64).product()
    };
    Some(1.0 - miss)
}

/// The `k`s that are reported for `n` samples: the powers of two up to `n`, and `n`.
pub fn ks(n: usize) -> Vec<usize> {
    let mut ks: Vec<usize> =
        std::iter::successors(Some(1usize), |k| k.checked_mul(2)).take_while(|&k| k < n).collect();
    if n > 0 {
        ks.push(n);
    }
    ks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_enumeration(n: usize, c: usize, k: usize) -> f64 {
        let (mut hits, mut all) = (0u32, 0u32);
        for set in 0u32..1 << n {
            if set.count_ones() as usize == k {
                all += 1;
                hits += u32::from(set & ((1 << c) - 1) != 0);
            }
        }
        f64::from(hits) / f64::from(all)
    }

    #[test]
    fn equals_the_enumeration_of_every_subset() {
        for n in 1..=11 {
            for c in 0..=n {
                for k in 1..=n {
                    let (got, want) = (pass_at_k(n, c, k).unwrap(), by_enumeration(n, c, k));
                    assert!((got - want).abs() < 1e-12, "{n} {c} {k}: {got} is not {want}");
                }
            }
        }
    }

    #[test]
    fn golden_values() {
        // 1 - C(190, 10) / C(200, 10) and so on, by exact rational arithmetic (Python's `fractions`).
        for (n, c, k, want) in [
            (200, 10, 10, 0.408_547_866_081_417_13),
            (200, 1, 100, 0.5),
            (1000, 3, 500, 0.875_375_375_375_375_4),
            (100_000, 5, 10_000, 0.409_516_561_171_320_1),
        ] {
            let got = pass_at_k(n, c, k).unwrap();
            assert!((got - want).abs() < 1e-9, "{n} {c} {k}: {got} is not {want}");
        }
    }

    #[test]
    fn what_cannot_be_said() {
        assert_eq!(pass_at_k(4, 2, 5), None);
        assert_eq!(pass_at_k(4, 2, 0), None);
        assert_eq!(ks(0), [0; 0]);
        assert_eq!(ks(1), [1]);
        assert_eq!(ks(4), [1, 2, 4]);
        assert_eq!(ks(10), [1, 2, 4, 8, 10]);
    }
}
