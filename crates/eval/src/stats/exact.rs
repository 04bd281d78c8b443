//! McNemar's test.

use serde::Serialize;

/// Two runs of one sample an item, set against each other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct McNemar {
    /// Items only the first got right.
    pub only_first: usize,
    /// Items only the second got right.
    pub only_second: usize,
    /// Two-sided p-value.
    pub p: f64,
}

/// The exact McNemar test: if the runs were equally good, each item that only one of them got right
/// would be a toss of a fair coin. Twice the smaller tail of the binomial, at most 1.
pub fn mcnemar(only_first: usize, only_second: usize) -> McNemar {
    let n = only_first + only_second;
    let m = only_first.min(only_second);
    // In logarithms, since 2^-n is 0 in floating point from n = 1075 on.
    let choose: f64 = (1..=m).map(|j| ((n - m + j) as f64 / j as f64).ln()).sum();
    let largest = (choose - n as f64 * std::f64::consts::LN_2).exp();
    let (mut term, mut sum) = (1.0, 1.0);
    for i in (1..=m).rev() {
        term *= i as f64 / (n - i + 1) as f64;
        sum += term;
    }
    McNemar { only_first, only_second, p: (2.0 * largest * sum).min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_values() {
        // By exact rational arithmetic (Python's `fractions`).
        for (b, c, want) in [
            (0, 0, 1.0),
            (0, 5, 0.0625),
            (5, 5, 1.0),
            (121, 59, 4.434_449_263_755_176e-6),
            (3, 14, 0.012_725_830_078_125),
            (1000, 1100, 0.030_720_707_864_242_3),
        ] {
            let got = mcnemar(b, c).p;
            assert!((got - want).abs() < 1e-9 * want.max(1e-3), "{b} {c}: {got} is not {want}");
        }
    }
}
