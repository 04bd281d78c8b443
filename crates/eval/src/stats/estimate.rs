//! Figures with their uncertainty: ratios of sums over items.

use serde::Serialize;

use super::random::Random;

/// A figure and how sure it is. What has no finite value (tokens for each right answer, if none is
/// right) is infinite or NaN here, and `null` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Its standard error, clustered by item.
    pub se: f64,
    /// The lower end of its 95 % interval: a percentile of the bootstrap.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The items it rests on.
    pub items: usize,
}

/// A sum over items divided by another. A mean over items divides by ones, a rate by each item's
/// samples, a cost by each item's right answers; an item that has no part in it divides by 0.
#[derive(Clone, Debug)]
pub struct Ratio {
    top: Vec<f64>,
    bottom: Vec<f64>,
}

impl Ratio {
    /// The sum of the firsts by the sum of the seconds, a pair for each item.
    pub fn new(parts: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let (top, bottom) = parts.into_iter().unzip();
        Self { top, bottom }
    }

    /// The mean over the items that have a value.
    pub fn mean(values: impl IntoIterator<Item = Option<f64>>) -> Self {
        Self::new(values.into_iter().map(|v| v.map_or((0.0, 0.0), |v| (v, 1.0))))
    }

    fn value(&self) -> f64 {
        self.top.iter().sum::<f64>() / self.bottom.iter().sum::<f64>()
    }

    fn items(&self) -> usize {
        self.bottom.iter().filter(|&&b| b != 0.0).count()
    }
}

/// The standard error of a ratio, clustered by item: `sqrt(N/(N-1) · Σ(top - R·bottom)²) / Σ bottom`.
///
/// For a mean over items with equally many samples this is the clustered standard error of Miller
/// 2024 ("Adding error bars to evals", equation 4) with the usual correction of `N/(N-1)`, which for
/// one sample an item makes it the same paper's standard error of the mean. NaN below two items.
pub fn clustered_se(ratio: &Ratio) -> f64 {
    let (r, n) = (ratio.value(), ratio.items() as f64);
    if n < 2.0 {
        return f64::NAN;
    }
    let squares: f64 =
        ratio.top.iter().zip(&ratio.bottom).map(|(t, b)| (t - r * b) * (t - r * b)).sum();
    (n / (n - 1.0) * squares).sqrt() / ratio.bottom.iter().sum::<f64>()
}

/// The percentile bootstrap, clustered by item: items are drawn with replacement, each with all its
/// samples, and the figure is worked out anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bootstrap {
    /// How often.
    pub resamples: usize,
    /// Where the draws start.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 10_000, seed: 0 }
    }
}

impl Bootstrap {
    /// Estimates of ratios over the same items, from the same draws.
    ///
    /// # Panics
    /// If the ratios have differently many items.
    pub fn estimate(&self, ratios: &[Ratio]) -> Vec<Estimate> {
        let n = ratios.first().map_or(0, |r| r.top.len());
        assert!(ratios.iter().all(|r| r.top.len() == n), "ratios over different items");
        let width = 2 * ratios.len();
        // An item's row: what it adds to each sum. One pass over the draws serves every ratio.
        let mut rows = vec![0.0; n * width];
        for (j, ratio) in ratios.iter().enumerate() {
            for i in 0..n {
                rows[i * width + 2 * j] = ratio.top[i];
                rows[i * width + 2 * j + 1] = ratio.bottom[i];
            }
        }
        let mut random = Random::new(self.seed);
        let mut drawn = vec![Vec::with_capacity(self.resamples); ratios.len()];
        let mut sums = vec![0.0; width];
        for _ in 0..if n > 0 { self.resamples } else { 0 } {
            sums.fill(0.0);
            for _ in 0..n {
                let i = random.below(n);
                for (sum, x) in sums.iter_mut().zip(&rows[i * width..(i + 1) * width]) {
                    *sum += x;
                }
            }
            for (values, sum) in drawn.iter_mut().zip(sums.chunks_exact(2)) {
                let value = sum[0] / sum[1];
                if !value.is_nan() {
                    values.push(value);
                }
            }
        }
        ratios
            .iter()
            .zip(&mut drawn)
            .map(|(ratio, values)| {
                values.sort_by(f64::total_cmp);
                Estimate {
                    value: ratio.value(),
                    se: clustered_se(ratio),
                    low: quantile(values, 0.025),
                    high: quantile(values, 0.975),
                    items: ratio.items(),
                }
            })
            .collect()
    }

    /// The estimate of one ratio.
    pub fn one(&self, ratio: Ratio) -> Estimate {
        self.estimate(&[ratio])[0]
    }
}

/// The quantile of sorted values, interpolated (Hyndman and Fan's type 7); NaN of none.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = q * last as f64;
    let (below, part) = (at.floor() as usize, at.fract());
    let (a, b) = (sorted[below], sorted[(below + 1).min(last)]);
    // Infinite ends must not become NaN by `inf - inf` or `0 · inf`.
    if part == 0.0 || a == b { a } else { a + (b - a) * part }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_standard_errors() {
        // One sample each: the sample's standard deviation by the root of n.
        let one = Ratio::mean([1.0, 0.0, 1.0, 1.0, 0.0].map(Some));
        assert!((clustered_se(&one) - 0.244_948_974_278_317_8).abs() < 1e-12);
        // Two samples each, as sums over samples and as a mean of items' means: the same.
        let sums = Ratio::new([(2.0, 2.0), (1.0, 2.0), (0.0, 2.0)]);
        let means = Ratio::mean([1.0, 0.5, 0.0].map(Some));
        assert!((clustered_se(&sums) - clustered_se(&means)).abs() < 1e-12);
        // sqrt(3/2 · (1/4 + 0 + 1/4)) / 3
        assert!((clustered_se(&means) - 0.75f64.sqrt() / 3.0).abs() < 1e-12);
        assert!(clustered_se(&Ratio::mean([Some(1.0)])).is_nan());
    }

    #[test]
    fn the_interval_covers_the_truth_as_often_as_it_says() {
        // Items of differing difficulty, four correlated samples each; the true mean is 1/2.
        let (items, trials) = (120, 600);
        let mut random = Random::new(7);
        let (mut covered, mut covered_if_independent) = (0, 0);
        for trial in 0..trials {
            let ratio = Ratio::mean((0..items).map(|_| {
                let p = random.unit();
                Some((0..4).filter(|_| random.unit() < p).count() as f64 / 4.0)
            }));
            let got = Bootstrap { resamples: 400, seed: trial }.one(ratio);
            covered += u32::from(got.low <= 0.5 && 0.5 <= got.high);
            let naive = 1.96 * (got.value * (1.0 - got.value) / f64::from(4 * items)).sqrt();
            covered_if_independent += u32::from((got.value - 0.5).abs() <= naive);
        }
        let share = f64::from(covered) / trials as f64;
        // 95 % less the percentile method's shortfall at 120 items; ± 3 standard errors of the trial.
        assert!((0.915..=0.975).contains(&share), "{share}");
        // And it can fail: samples taken for independent cover too seldom.
        assert!(f64::from(covered_if_independent) / (trials as f64) < 0.88);
    }

    #[test]
    fn nothing_right_is_infinitely_dear() {
        let got = Bootstrap { resamples: 50, seed: 0 }.one(Ratio::new([(9.0, 0.0), (5.0, 0.0)]));
        assert!(got.value.is_infinite() && got.high.is_infinite());
        assert_eq!(serde_json::to_value(got).unwrap()["value"], serde_json::Value::Null);
        let none = Bootstrap::default().estimate(&[Ratio::mean([])])[0];
        assert!(none.value.is_nan() && none.low.is_nan());
    }

    #[test]
    fn quantiles_are_interpolated() {
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0], 0.5), 2.5);
        assert_eq!(quantile(&[1.0, f64::INFINITY], 0.5), f64::INFINITY);
        assert_eq!(quantile(&[f64::INFINITY, f64::INFINITY], 0.3), f64::INFINITY);
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_figure_and_repeats(values in proptest::collection::vec(0.0..1.0f64, 2..40)) {
            let bootstrap = Bootstrap { resamples: 2_000, seed: 3 };
            let ratio = Ratio::mean(values.into_iter().map(Some));
            let got = bootstrap.one(ratio.clone());
            prop_assert!(got.low <= got.value + 1e-9 && got.value <= got.high + 1e-9);
            prop_assert_eq!(got, bootstrap.one(ratio));
        }
    }
}
