//! Do two runs differ?

use std::collections::HashMap;

use serde::Serialize;

use super::summary::{detail_names, mean_detail};
use super::{Bootstrap, Estimate, Item, McNemar, Random, Ratio, by_item, mcnemar};
use crate::run::Sample;

/// Two runs over the items they share: differences are the second less the first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Items in both.
    pub items: usize,
    /// Items only in the first; they are left out.
    pub only_first: usize,
    /// Items only in the second; they are left out.
    pub only_second: usize,
    /// Items whose question differs between the runs, though their id is the same: not a comparison
    /// of models alone, then.
    pub questions_differ: usize,
    /// The first's accuracy on the items they share.
    pub first: Estimate,
    /// The second's.
    pub second: Estimate,
    /// The mean difference in accuracy, paired by item (Miller 2024, section 4.2).
    pub difference: Estimate,
    /// The correlation of the items' accuracies: the higher, the more pairing gains. NaN if either
    /// run is the same on every item.
    pub correlation: f64,
    /// Two-sided p-value of the paired permutation test ([`sign_flip_p`]).
    pub p: f64,
    /// McNemar's exact test, if both runs have one sample an item.
    pub mcnemar: Option<McNemar>,
    /// Items on which the first is right more often.
    pub first_better: usize,
    /// Items on which the second is.
    pub second_better: usize,
    /// The mean difference in tokens generated for each sample.
    pub tokens: Estimate,
    /// How what is reported besides differs, where both runs have it.
    pub details: Vec<DetailDifference>,
    /// The shared items, in the first's order.
    #[serde(skip)]
    pub each: Vec<ItemDifference>,
}

/// A figure that both runs report besides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DetailDifference {
    /// What it is called.
    pub name: String,
    /// Whether it is always yes or no.
    pub is_share: bool,
    /// The first's mean over the shared items that have it in both.
    pub first: Estimate,
    /// The second's.
    pub second: Estimate,
    /// The mean difference, paired by item.
    pub difference: Estimate,
    /// Two-sided p-value of the paired permutation test.
    pub p: f64,
}

/// An item in two runs.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemDifference {
    /// Its id.
    pub item: String,
    /// The share of its samples that are right, in the first and in the second.
    pub right: (f64, f64),
    /// The mean of the tokens generated.
    pub tokens: (f64, f64),
}

impl Comparison {
    /// Compares two runs.
    pub fn new(first: &[Sample], second: &[Sample], bootstrap: &Bootstrap) -> Self {
        Self::of(&by_item(first), &by_item(second), bootstrap)
    }

    /// Compares two runs whose samples are gathered already.
    pub fn of(first: &[Item<'_>], second: &[Item<'_>], bootstrap: &Bootstrap) -> Self {
        let places: HashMap<&str, &Item<'_>> = second.iter().map(|i| (i.id, i)).collect();
        let pairs: Vec<(&Item<'_>, &Item<'_>)> =
            first.iter().filter_map(|a| Some((a, *places.get(a.id)?))).collect();
        let each: Vec<ItemDifference> = pairs
            .iter()
            .map(|(a, b)| ItemDifference {
                item: a.id.to_owned(),
                right: (a.share_right(), b.share_right()),
                tokens: (mean_tokens(a), mean_tokens(b)),
            })
            .collect();
        let mean = |value: &dyn Fn(&ItemDifference) -> f64| {
            Ratio::mean(each.iter().map(|d| Some(value(d))))
        };
        let estimates = bootstrap.estimate(&[
            mean(&|d| d.right.0),
            mean(&|d| d.right.1),
            mean(&|d| d.right.1 - d.right.0),
            mean(&|d| d.tokens.1 - d.tokens.0),
        ]);
        let differences: Vec<f64> = each.iter().map(|d| d.right.1 - d.right.0).collect();
        let one_each = !pairs.is_empty()
            && pairs.iter().all(|(a, b)| a.samples.len() == 1 && b.samples.len() == 1);
        let first_better = differences.iter().filter(|d| **d < 0.0).count();
        let second_better = differences.iter().filter(|d| **d > 0.0).count();
        Self {
            items: pairs.len(),
            only_first: first.len() - pairs.len(),
            only_second: second.len() - pairs.len(),
            questions_differ: pairs
                .iter()
                .filter(|(a, b)| a.samples[0].question != b.samples[0].question)
                .count(),
            first: estimates[0],
            second: estimates[1],
            difference: estimates[2],
            correlation: correlation(&each),
            p: sign_flip_p(&differences, bootstrap.resamples, bootstrap.seed),
            mcnemar: one_each.then(|| mcnemar(first_better, second_better)),
            first_better,
            second_better,
            tokens: estimates[3],
            details: details(&pairs, bootstrap),
            each,
        }
    }
}

fn details(pairs: &[(&Item<'_>, &Item<'_>)], bootstrap: &Bootstrap) -> Vec<DetailDifference> {
    let samples: Vec<&Sample> = pairs.iter().flat_map(|(a, _)| &a.samples).copied().collect();
    let named = detail_names(&samples).into_iter().filter_map(|(name, is_share)| {
        let both: Vec<(f64, f64)> = pairs
            .iter()
            .filter_map(|(a, b)| Some((mean_detail(a, &name)?, mean_detail(b, &name)?)))
            .collect();
        if both.is_empty() {
            return None;
        }
        let mean = |value: fn(&(f64, f64)) -> f64| Ratio::mean(both.iter().map(|d| Some(value(d))));
        let estimates = bootstrap.estimate(&[mean(|d| d.0), mean(|d| d.1), mean(|d| d.1 - d.0)]);
        let differences: Vec<f64> = both.iter().map(|d| d.1 - d.0).collect();
        let p = sign_flip_p(&differences, bootstrap.resamples, bootstrap.seed);
        let [first, second, difference] = estimates[..] else { return None };
        Some(DetailDifference { name, is_share, first, second, difference, p })
    });
    named.collect()
}

fn mean_tokens(item: &Item<'_>) -> f64 {
    item.samples.iter().map(|s| s.completion_tokens as f64).sum::<f64>() / item.samples.len() as f64
}

fn correlation(each: &[ItemDifference]) -> f64 {
    let n = each.len() as f64;
    let mean = |value: &dyn Fn(&ItemDifference) -> f64| each.iter().map(value).sum::<f64>() / n;
    let (a, b) = (mean(&|d| d.right.0), mean(&|d| d.right.1));
    let (va, vb) = (mean(&|d| (d.right.0 - a).powi(2)), mean(&|d| (d.right.1 - b).powi(2)));
    mean(&|d| (d.right.0 - a) * (d.right.1 - b)) / (va * vb).sqrt()
}

/// So many differences are flipped in every way; more are flipped at random.
const EXACT: usize = 16;

/// The two-sided p-value of the paired permutation test: if two runs were equally good, each item's
/// difference could as well have had the other sign. How often is the sum of all differences, signs
/// flipped, at least as far from 0 as it is?
///
/// Exact if at most 16 differences aren't 0; else over so many random flips, the observed one
/// counted among them, so that it never is 0 (Phipson and Smyth 2010).
pub fn sign_flip_p(differences: &[f64], flips: usize, seed: u64) -> f64 {
    let nonzero: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    let observed = nonzero.iter().sum::<f64>().abs();
    // Sums in another order differ in their last bits; a tie must count as one.
    let limit = observed - 1e-9 * nonzero.iter().map(|d| d.abs()).sum::<f64>();
    let flipped = |d: f64, bits: u64| f64::from_bits(d.to_bits() ^ (bits << 63));
    if nonzero.len() <= EXACT {
        let hits = (0u64..1 << nonzero.len())
            .filter(|signs| {
                let sum: f64 =
                    nonzero.iter().enumerate().map(|(i, &d)| flipped(d, signs >> i & 1)).sum();
                sum.abs() >= limit
            })
            .count();
        return hits as f64 / (1u64 << nonzero.len()) as f64;
    }
    let mut random = Random::new(seed);
    let mut hits = 0;
    for _ in 0..flips {
        let mut sum = 0.0;
        for chunk in nonzero.chunks(64) {
            let mut bits = random.bits();
            for &d in chunk {
                sum += flipped(d, bits & 1);
                bits >>= 1;
            }
        }
        hits += usize::from(sum.abs() >= limit);
    }
    (hits + 1) as f64 / (flips + 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::mark::tests::sample;

    #[test]
    fn exact_values_by_hand() {
        assert_eq!(sign_flip_p(&[], 100, 0), 1.0);
        assert_eq!(sign_flip_p(&[0.0, 0.0], 100, 0), 1.0);
        // All of one sign: only that and its mirror are as far out.
        assert_eq!(sign_flip_p(&[0.25, 0.5, 1.0, 0.25, 0.75], 100, 0), 2.0 / 32.0);
        // With differences of one size it is the sign test, which is McNemar's.
        let differences = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, -1.0];
        assert!((sign_flip_p(&differences, 100, 0) - mcnemar(1, 7).p).abs() < 1e-12);
    }

    #[test]
    fn drawn_flips_agree_with_mcnemar() {
        let differences: Vec<f64> = (0..100).map(|i| if i < 60 { 1.0 } else { -1.0 }).collect();
        let (got, want) = (sign_flip_p(&differences, 40_000, 1), mcnemar(40, 60).p);
        assert!((got - want).abs() < 0.005, "{got} is not {want}");
    }

    #[test]
    fn equal_runs_give_uniform_p_values() {
        let mut random = Random::new(11);
        let trials = 1_000;
        // Of four samples an item p-values come in steps, so that only the level is held against
        // theirs; of a continuous credit the whole distribution.
        let (mut quarters, mut credits) = (Vec::new(), Vec::new());
        for trial in 0..trials {
            let differences: Vec<f64> = (0..60)
                .map(|_| {
                    let p = random.unit();
                    let mut draw = || (0..4).filter(|_| random.unit() < p).count() as f64 / 4.0;
                    draw() - draw()
                })
                .collect();
            quarters.push(sign_flip_p(&differences, 400, trial));
            let differences: Vec<f64> = (0..60).map(|_| random.unit() - random.unit()).collect();
            credits.push(sign_flip_p(&differences, 400, trial));
        }
        credits.sort_by(f64::total_cmp);
        // Kolmogorov and Smirnov's distance at the 1 % level.
        let distance = credits
            .iter()
            .enumerate()
            .map(|(i, p)| (p - i as f64 / trials as f64).abs())
            .fold(0.0, f64::max);
        assert!(distance < 1.63 / (trials as f64).sqrt(), "{distance}");
        let rejected = quarters.iter().filter(|p| **p <= 0.05).count() as f64 / trials as f64;
        assert!((0.03..0.07).contains(&rejected), "{rejected}");
    }

    #[test]
    fn runs_are_paired_by_item() {
        let first = [
            sample("a", 0, true),
            sample("b", 0, false),
            sample("c", 0, false),
            sample("x", 0, true),
        ];
        let mut second = [
            sample("c", 0, true),
            sample("b", 0, true),
            sample("a", 0, true),
            sample("y", 0, true),
        ];
        second[1].question = "Another?".to_owned();
        second[0].completion_tokens = 400;
        let got = Comparison::new(&first, &second, &Bootstrap { resamples: 200, seed: 0 });
        assert_eq!(
            (got.items, got.only_first, got.only_second, got.questions_differ),
            (3, 1, 1, 1)
        );
        assert!((got.difference.value - 2.0 / 3.0).abs() < 1e-12);
        // sqrt(3/2 · (2·(1/3)² + (2/3)²)) / 3
        assert!((got.difference.se - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!((got.first_better, got.second_better), (0, 2));
        assert_eq!(got.p, 0.5);
        assert_eq!(got.mcnemar.unwrap().p, 0.5);
        assert_eq!(got.tokens.value, 100.0);
        let nothing = Comparison::new(&first, &[], &Bootstrap::default());
        assert_eq!((nothing.items, nothing.p, nothing.mcnemar), (0, 1.0, None));

        // Of what is reported besides, only items that have it in both runs count.
        let mut first = first;
        let put = |run: &mut [Sample], item: &str, reward: f64| {
            let sample = run.iter_mut().find(|s| s.item == item).unwrap();
            sample.details.insert("reward".to_owned(), reward.into());
        };
        for (item, before, after) in [("a", 1.0, 2.0), ("b", -1.0, 2.0)] {
            put(&mut first, item, before);
            put(&mut second, item, after);
        }
        put(&mut first, "c", 9.0);
        put(&mut first, "x", 9.0);
        let got = Comparison::new(&first, &second, &Bootstrap { resamples: 200, seed: 0 });
        let [reward] = &got.details[..] else { panic!("{:?}", got.details) };
        let means = [reward.first.value, reward.second.value, reward.difference.value, reward.p];
        assert_eq!(
            (&*reward.name, reward.is_share, means),
            ("reward", false, [0.0, 2.0, 2.0, 0.5])
        );
    }

    #[test]
    fn pairing_gains_where_items_agree() {
        let mut random = Random::new(5);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for i in 0..300 {
            let hard = random.unit() < 0.5;
            for (run, chance) in [(&mut first, 0.9), (&mut second, 0.97)] {
                run.push(sample(&i.to_string(), 0, !hard && random.unit() < chance));
            }
        }
        let got = Comparison::new(&first, &second, &Bootstrap { resamples: 500, seed: 0 });
        let apart = got.first.se.hypot(got.second.se);
        assert!(got.correlation > 0.7 && got.difference.se < 0.6 * apart, "{got:?}");
    }
}
