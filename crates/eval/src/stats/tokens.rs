//! Accuracy against the tokens spent.
//!
//! Tokens are those generated, thinking and answer together: models differ in whether they mark
//! their thinking, but not in what they spend.

use serde::Serialize;

use super::{Bootstrap, Estimate, Item, Ratio};

/// Samples of about the same length.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// The fewest tokens of any sample in it.
    pub from: usize,
    /// The median.
    pub median: usize,
    /// The most.
    pub to: usize,
    /// How many samples.
    pub samples: usize,
    /// The share of them that is right; its interval is clustered by item.
    pub accuracy: Estimate,
}

/// At most `count` bins with about equally many samples each; samples of the same length are never
/// parted, so there can be fewer.
pub fn bins(items: &[Item<'_>], count: usize, bootstrap: &Bootstrap) -> Vec<Bin> {
    let mut tokens: Vec<usize> =
        items.iter().flat_map(|i| i.samples.iter().map(|s| s.completion_tokens)).collect();
    tokens.sort_unstable();
    let mut ranges = Vec::new();
    let mut start = 0;
    for bin in 1..=count {
        let mut end = tokens.len() * bin / count;
        while end > start && end < tokens.len() && tokens[end] == tokens[end - 1] {
            end += 1;
        }
        if end > start {
            ranges.push(start..end);
            start = end;
        }
    }
    let ratios: Vec<Ratio> = ranges
        .iter()
        .map(|range| {
            let (from, to) = (tokens[range.start], tokens[range.end - 1]);
            Ratio::new(items.iter().map(|item| {
                let within =
                    item.samples.iter().filter(|s| (from..=to).contains(&s.completion_tokens));
                within.fold((0.0, 0.0), |(right, all), s| {
                    (right + f64::from(s.verdict.as_ref().is_some_and(|v| v.is_right())), all + 1.0)
                })
            }))
        })
        .collect();
    ranges
        .into_iter()
        .zip(bootstrap.estimate(&ratios))
        .map(|(range, accuracy)| Bin {
            from: tokens[range.start],
            median: tokens[range.start + (range.len() - 1) / 2],
            to: tokens[range.end - 1],
            samples: range.len(),
            accuracy,
        })
        .collect()
}

/// How many samples have how many tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Histogram {
    /// Whether the bars are equally wide in the logarithm of tokens rather than in tokens.
    pub logarithmic: bool,
    /// The bars, side by side.
    pub bars: Vec<Bar>,
}

/// Samples with at least `from` and fewer than `to` tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bar {
    /// From so many tokens.
    pub from: f64,
    /// Up to, and without, so many.
    pub to: f64,
    /// Right ones.
    pub right: usize,
    /// Those that came to an end and aren't right.
    pub wrong: usize,
    /// Those that were cut off and aren't right.
    pub truncated: usize,
}

/// A histogram of about `count` bars, in powers if the longest samples dwarf the median.
pub fn histogram(items: &[Item<'_>], count: usize) -> Histogram {
    let mut tokens: Vec<f64> = items
        .iter()
        .flat_map(|i| i.samples.iter().map(|s| s.completion_tokens.max(1) as f64))
        .collect();
    tokens.sort_by(f64::total_cmp);
    let (Some(&least), Some(&most)) = (tokens.first(), tokens.last()) else {
        return Histogram { logarithmic: false, bars: Vec::new() };
    };
    let logarithmic = most > 12.0 * tokens[tokens.len() / 2];
    let (start, step) = if logarithmic {
        let (low, high) = (least.log10().floor(), most.log10());
        // Bars at the same places in every decade, so that runs can be compared.
        let step = [0.05, 0.1, 0.2, 0.25, 0.5, 1.0]
            .into_iter()
            .find(|s| (high - low) / s <= count as f64)
            .unwrap_or(1.0);
        (low + ((least.log10() - low) / step).floor() * step, step)
    } else {
        (0.0, round_step((most + 1.0) / count as f64))
    };
    let edge = |i: usize| {
        let at = start + i as f64 * step;
        if logarithmic { 10f64.powf(at) } else { at }
    };
    let mut bars: Vec<Bar> = Vec::new();
    while bars.last().is_none_or(|bar| bar.to <= most) {
        let i = bars.len();
        bars.push(Bar { from: edge(i), to: edge(i + 1), right: 0, wrong: 0, truncated: 0 });
    }
    for sample in items.iter().flat_map(|i| &i.samples) {
        let length = sample.completion_tokens.max(1) as f64;
        let at = bars.partition_point(|bar| bar.to <= length);
        let bar = &mut bars[at];
        if sample.verdict.as_ref().is_some_and(|v| v.is_right()) {
            bar.right += 1;
        } else if matches!(sample.finish_reason.as_str(), "length" | "deadline") {
            bar.truncated += 1;
        } else {
            bar.wrong += 1;
        }
    }
    Histogram { logarithmic, bars }
}

/// The next of 1, 2, 5, 10, 20, … that is not smaller.
pub(crate) fn round_step(at_least: f64) -> f64 {
    let power = 10f64.powf(at_least.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|m| m * power).find(|s| *s >= at_least).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Sample;
    use crate::stats::{by_item, mark::tests::sample};
    use proptest::prelude::*;

    fn of(lengths: &[usize]) -> Vec<Sample> {
        let mut samples = Vec::new();
        for (i, &length) in lengths.iter().enumerate() {
            let mut one = sample(&(i / 2).to_string(), i % 2, i % 3 == 0);
            one.completion_tokens = length;
            samples.push(one);
        }
        samples
    }

    #[test]
    fn bins_part_by_length() {
        let samples = of(&[10, 20, 30, 40, 50, 60, 70, 80]);
        let got = bins(&by_item(&samples), 4, &Bootstrap { resamples: 100, seed: 0 });
        assert_eq!(
            got.iter().map(|b| (b.from, b.to)).collect::<Vec<_>>(),
            [(10, 20), (30, 40), (50, 60), (70, 80)]
        );
        // Right are the 1st, 4th and 7th.
        assert_eq!(got.iter().map(|b| b.accuracy.value).collect::<Vec<_>>(), [0.5, 0.5, 0.0, 0.5]);
        assert_eq!(bins(&by_item(&of(&[5; 9])), 4, &Bootstrap::default()).len(), 1);
    }

    #[test]
    fn steps_are_round() {
        assert_eq!([0.9, 1.0, 3.0, 5.1, 700.0].map(round_step), [1.0, 1.0, 5.0, 10.0, 1000.0]);
    }

    proptest! {
        #[test]
        fn every_sample_is_in_one_bin_and_one_bar(
            lengths in proptest::collection::vec(0..100_000usize, 0..60), count in 1..12usize,
        ) {
            let samples = of(&lengths);
            let items = by_item(&samples);
            let bins = bins(&items, count, &Bootstrap { resamples: 2, seed: 0 });
            prop_assert_eq!(bins.iter().map(|b| b.samples).sum::<usize>(), lengths.len());
            prop_assert!(bins.windows(2).all(|w| w[0].to < w[1].from));
            prop_assert!(bins.len() <= count);
            let bars = histogram(&items, 30).bars;
            let counted: usize = bars.iter().map(|b| b.right + b.wrong + b.truncated).sum();
            prop_assert_eq!(counted, lengths.len());
            prop_assert!(bars.len() <= 62);
        }
    }
}
