//! Intervals in closed form.

use serde::Serialize;

/// Of a normal distribution, 95 % lies within this many standard deviations.
pub(crate) const Z95: f64 = 1.959_963_984_540_054;

/// From here to there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// Wilson's 95 % interval for `right` of `n` independent trials. It holds where the bootstrap
/// collapses to a point, with none or all right, but only for one sample of each item.
pub fn wilson(right: usize, n: usize) -> Option<Interval> {
    if n == 0 {
        return None;
    }
    let (n, z2) = (n as f64, Z95 * Z95);
    let p = right as f64 / n;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    Some(Interval { low: (centre - half).max(0.0), high: (centre + half).min(1.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_values() {
        // The formula, worked out apart in Python.
        for (right, n, low, high) in [
            (0, 10, 0.0, 0.277_532_799_862_889_3),
            (8, 10, 0.490_162_471_536_641_8, 0.943_317_848_545_624_8),
            (989, 1319, 0.725_733_558_993_618_7, 0.772_436_494_269_978_6),
        ] {
            let got = wilson(right, n).unwrap();
            assert!((got.low - low).abs() < 1e-9 && (got.high - high).abs() < 1e-9, "{got:?}");
        }
        assert_eq!(wilson(0, 0), None);
    }
}
