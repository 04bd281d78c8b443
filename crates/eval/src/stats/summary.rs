//! Every figure of a run.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Bin, Bootstrap, Estimate, Histogram, Interval, Item, Mark, Random, Ratio, Vote, bins, by_item,
    histogram, ks, pass_at_k, wilson,
};
use crate::run::{Manifest, Sample};

/// Bins of tokens, and bars of the histogram.
const BINS: usize = 8;
const BARS: usize = 30;

/// Every figure of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Items with at least one sample.
    pub items: usize,
    /// Samples; of two with the same item and index only the later.
    pub samples: usize,
    /// Samples that the manifest promises: fewer are there if the run isn't finished.
    pub expected: usize,
    /// mean@k: the mean over items of the share of an item's samples that are right, which is pass@1.
    pub accuracy: Estimate,
    /// Wilson's interval of it, if there is one sample an item.
    pub wilson: Option<Interval>,
    /// The mean credit, if any sample earned a part of it.
    pub score: Option<Estimate>,
    /// pass@k for powers of two and for all.
    pub pass: Vec<AtK>,
    /// maj@k likewise; none for one sample an item, where it is mean@k.
    pub maj: Vec<AtK>,
    /// cons@k: maj@k over all samples of an item, as DeepSeek-R1's cons@64.
    pub cons: Option<AtK>,
    /// How much an item's samples agree; none for one sample an item.
    pub votes: Option<Votes>,
    /// The share of samples cut off by a limit of tokens or time.
    pub truncated: Estimate,
    /// The share in whose answer the verifier found nothing to judge.
    pub no_answer: Estimate,
    /// Likewise, only of samples that came to an end by themselves.
    pub no_answer_finished: Estimate,
    /// The share that ends in a loop.
    pub repeats: Estimate,
    /// The share that mixes languages.
    pub mixed: Estimate,
    /// The share the verifier could not judge: counted as not right.
    pub cannot_tell: Estimate,
    /// Why it could not, and how often.
    pub cannot_tell_why: BTreeMap<String, usize>,
    /// What was spent.
    pub cost: Cost,
    /// Accuracy by tokens generated.
    pub by_tokens: Vec<Bin>,
    /// Samples by tokens generated.
    pub histogram: Histogram,
    /// Accuracy by group, in order of their names; empty if there are no groups.
    pub groups: Vec<Group>,
    /// What verifiers report besides, averaged.
    pub details: Vec<Detail>,
    /// How the intervals were drawn.
    pub bootstrap: Bootstrap,
}

/// A figure that depends on `k`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AtK {
    /// Of so many samples.
    pub k: usize,
    /// The figure, over the items that have as many.
    pub estimate: Estimate,
}

/// How much an item's samples agree.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Votes {
    /// The mean share of an item's samples that give its commonest answer.
    pub agreement: Estimate,
    /// The share of items on which more than half of the samples agree, and are right.
    pub majority_right: Estimate,
    /// The share of items on which every sample is right (pass^k of τ-bench, at `k = n`).
    pub all_right: Estimate,
}

/// What was spent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Tokens of all prompts, read anew for each sample.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub completion_tokens: usize,
    /// Those of them that were thinking.
    pub reasoning_tokens: usize,
    /// Seconds from asking to the last token, summed over samples: more than have passed, if
    /// several were under way at once.
    pub seconds: f64,
    /// Right samples.
    pub right: usize,
    /// Tokens generated for each sample.
    pub tokens_per_sample: Estimate,
    /// Seconds for each sample.
    pub seconds_per_sample: Estimate,
    /// Tokens generated, by all samples, for each right one.
    pub tokens_per_right: Estimate,
    /// Seconds likewise.
    pub seconds_per_right: Estimate,
    /// Floating-point operations likewise, where the number of weights is known: 2 for each weight
    /// and token, of prompt and answer. Attention is left out, and so is what a cache saved.
    pub flops_per_right: Option<Estimate>,
}

/// Items with the same mark.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// The mark; empty for items without one.
    pub name: String,
    /// How many items.
    pub items: usize,
    /// Their samples.
    pub samples: usize,
    /// Their mean@k.
    pub accuracy: Estimate,
    /// The share of their samples cut off.
    pub truncated: f64,
    /// The mean of the tokens generated.
    pub tokens: f64,
}

/// Something a verifier reports besides the verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Detail {
    /// Its name.
    pub name: String,
    /// Whether it is yes or no, so that its mean is a share.
    pub is_share: bool,
    /// Its mean over items that have it, of the mean over an item's samples.
    pub mean: Estimate,
}

impl Summary {
    /// Works out every figure. `same` says whether two extracted answers are equal.
    pub fn new(
        manifest: &Manifest,
        samples: &[Sample],
        same: &dyn Fn(&str, &str) -> bool,
        bootstrap: &Bootstrap,
    ) -> Self {
        let items = by_item(samples);
        let marks: Vec<Vec<Mark>> =
            items.iter().map(|i| i.samples.iter().map(|s| Mark::of(s)).collect()).collect();
        Self::of(manifest, &items, &marks, same, bootstrap)
    }

    /// Works out every figure from samples that are gathered and marked already.
    pub fn of(
        manifest: &Manifest,
        items: &[Item<'_>],
        marks: &[Vec<Mark>],
        same: &dyn Fn(&str, &str) -> bool,
        bootstrap: &Bootstrap,
    ) -> Self {
        let n = items.iter().map(|i| i.samples.len()).max().unwrap_or(0);
        let ks = ks(n);
        let all: Vec<&Sample> = items.iter().flat_map(|i| i.samples.iter().copied()).collect();
        let partial = marks.iter().flatten().any(|m| m.score > 0.0 && !m.right);

        // Everything that runs over all items is estimated from the same draws, in one go: the list
        // of ratios here, and the taking of estimates below, are in the same order.
        let share = |is: &dyn Fn(&Mark) -> bool| {
            Ratio::new(
                marks.iter().map(|m| (m.iter().filter(|m| is(m)).count() as f64, m.len() as f64)),
            )
        };
        let per = |spent: &dyn Fn(&Sample) -> f64, right: bool| {
            Ratio::new(items.iter().map(|i| {
                let by = if right { i.right() } else { i.samples.len() };
                (i.samples.iter().map(|s| spent(s)).sum(), by as f64)
            }))
        };
        let (tokens, seconds) = (|s: &Sample| s.completion_tokens as f64, |s: &Sample| s.seconds);
        let weights = manifest.model.parameters;
        let flops = |s: &Sample| {
            2.0 * weights.unwrap_or(0) as f64 * (s.prompt_tokens + s.completion_tokens) as f64
        };
        let mut ratios = vec![
            Ratio::mean(items.iter().map(|i| Some(i.share_right()))),
            Ratio::mean(
                marks.iter().map(|m| Some(m.iter().map(|m| m.score).sum::<f64>() / m.len() as f64)),
            ),
            share(&|m| m.truncated),
            share(&|m| m.no_answer),
            Ratio::new(marks.iter().map(|m| {
                let finished = m.iter().filter(|m| !m.truncated);
                let silent = finished.clone().filter(|m| m.no_answer);
                (silent.count() as f64, finished.count() as f64)
            })),
            share(&|m| m.repeats),
            share(&|m| m.mixed),
            share(&|m| m.cannot_tell),
            per(&tokens, false),
            per(&seconds, false),
            per(&tokens, true),
            per(&seconds, true),
            per(&flops, true),
        ];
        for &k in &ks {
            ratios
                .push(Ratio::mean(items.iter().map(|i| pass_at_k(i.samples.len(), i.right(), k))));
        }
        if n > 1 {
            ratios.extend(votes(items, &ks, n, same, bootstrap.seed));
        }
        let details = detail_names(&all);
        for (name, _) in &details {
            ratios.push(Ratio::mean(items.iter().map(|item| mean_detail(item, name))));
        }
        let mut estimates = bootstrap.estimate(&ratios).into_iter();
        let mut next = || estimates.next().expect("an estimate for each ratio");

        let accuracy = next();
        let score = Some(next()).filter(|_| partial);
        let [truncated, no_answer, no_answer_finished, repeats, mixed, cannot_tell] =
            std::array::from_fn(|_| next());
        let cost = Cost {
            prompt_tokens: all.iter().map(|s| s.prompt_tokens).sum(),
            completion_tokens: all.iter().map(|s| s.completion_tokens).sum(),
            reasoning_tokens: all.iter().map(|s| s.reasoning_tokens).sum(),
            seconds: all.iter().map(|s| s.seconds).sum(),
            right: items.iter().map(Item::right).sum(),
            tokens_per_sample: next(),
            seconds_per_sample: next(),
            tokens_per_right: next(),
            seconds_per_right: next(),
            flops_per_right: Some(next()).filter(|_| weights.is_some()),
        };
        let pass = ks.iter().map(|&k| AtK { k, estimate: next() }).collect();
        let (maj, votes) = if n > 1 {
            let maj: Vec<AtK> = ks.iter().map(|&k| AtK { k, estimate: next() }).collect();
            let votes = Votes { agreement: next(), majority_right: next(), all_right: next() };
            (maj, Some(votes))
        } else {
            (Vec::new(), None)
        };
        let details = details
            .into_iter()
            .map(|(name, is_share)| Detail { name, is_share, mean: next() })
            .collect();

        let mut cannot_tell_why = BTreeMap::new();
        for sample in all.iter().filter(|s| s.verdict.is_none()) {
            let why = sample.cannot_tell.clone().unwrap_or_else(|| "no reason given".to_owned());
            *cannot_tell_why.entry(why).or_insert(0) += 1;
        }
        Self {
            items: items.len(),
            samples: all.len(),
            expected: manifest.item_count * manifest.k,
            accuracy,
            wilson: if n == 1 { wilson(cost.right, items.len()) } else { None },
            score,
            pass,
            cons: maj.last().copied(),
            maj,
            votes,
            truncated,
            no_answer,
            no_answer_finished,
            repeats,
            mixed,
            cannot_tell,
            cannot_tell_why,
            cost,
            by_tokens: bins(items, BINS, bootstrap),
            histogram: histogram(items, BARS),
            groups: groups(items, marks, bootstrap),
            details,
            bootstrap: *bootstrap,
        }
    }
}

/// maj@k for each `k`, and the three of [`Votes`].
fn votes(
    items: &[Item<'_>],
    ks: &[usize],
    n: usize,
    same: &dyn Fn(&str, &str) -> bool,
    seed: u64,
) -> Vec<Ratio> {
    let votes: Vec<Vote> = items
        .iter()
        .map(|item| {
            let verdicts = || item.samples.iter().map(|s| s.verdict.as_ref());
            let answers: Vec<Option<&str>> =
                verdicts().map(|v| v.and_then(|v| v.extracted.as_deref())).collect();
            Vote::new(&answers, verdicts().map(|v| v.is_some_and(|v| v.is_right())).collect(), same)
        })
        .collect();
    let mut ratios: Vec<Ratio> = ks
        .iter()
        .map(|&k| {
            Ratio::mean(
                items
                    .iter()
                    .zip(&votes)
                    .map(|(i, v)| v.maj_at_k(k, &mut Random::named(seed, i.id))),
            )
        })
        .collect();
    // Like maj@n: only items with all their samples, or an item asked once would count as unanimous.
    let whole = || items.iter().zip(&votes).map(|(i, v)| (i.samples.len() == n).then_some((i, v)));
    ratios.push(Ratio::mean(whole().map(|w| Some(w?.1.agreement()))));
    ratios.push(Ratio::mean(whole().map(|w| Some(f64::from(w?.1.majority_right())))));
    ratios.push(Ratio::mean(whole().map(|w| w.map(|(i, _)| f64::from(i.right() == n)))));
    ratios
}

fn number(value: &serde_json::Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_bool().map(f64::from))
}

/// The mean of what is reported besides over an item's samples that have it.
pub(super) fn mean_detail(item: &Item<'_>, name: &str) -> Option<f64> {
    let samples = item.samples.iter();
    let values: Vec<f64> = samples.filter_map(|s| number(s.details.get(name)?)).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The names of what is reported besides, and whether each is always yes or no.
pub(super) fn detail_names(all: &[&Sample]) -> Vec<(String, bool)> {
    let mut names: BTreeMap<&str, bool> = BTreeMap::new();
    for (name, value) in all.iter().flat_map(|s| &s.details) {
        if number(value).is_some() {
            *names.entry(name).or_insert(true) &= value.is_boolean();
        }
    }
    names.into_iter().map(|(name, is_share)| (name.to_owned(), is_share)).collect()
}

fn groups(items: &[Item<'_>], marks: &[Vec<Mark>], bootstrap: &Bootstrap) -> Vec<Group> {
    let mut members: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, item) in items.iter().enumerate() {
        members.entry(item.samples[0].group.as_deref().unwrap_or("")).or_default().push(i);
    }
    if members.keys().all(|name| name.is_empty()) {
        return Vec::new();
    }
    let mut groups: Vec<Group> = members
        .into_iter()
        .map(|(name, members)| {
            let samples = || members.iter().flat_map(|&i| &items[i].samples);
            let count = samples().count();
            let truncated = members.iter().flat_map(|&i| &marks[i]).filter(|m| m.truncated).count();
            Group {
                name: name.to_owned(),
                items: members.len(),
                samples: count,
                accuracy: bootstrap
                    .one(Ratio::mean(members.iter().map(|&i| Some(items[i].share_right())))),
                truncated: truncated as f64 / count as f64,
                tokens: samples().map(|s| s.completion_tokens as f64).sum::<f64>() / count as f64,
            }
        })
        .collect();
    // By number where names end in one, so that level 10 comes after level 9.
    groups.sort_by_cached_key(|g| {
        let digits = g.name.len() - g.name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let (name, number) = g.name.split_at(g.name.len() - digits);
        (g.name.is_empty(), name.to_owned(), number.parse::<u64>().unwrap_or(0))
    });
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::mark::tests::sample;
    use verify::Verdict;

    pub(crate) fn manifest(items: usize, k: usize) -> Manifest {
        serde_json::from_value(serde_json::json!({
            "format": 1, "benchmark": "apples", "description": "", "benchmark_toml": "",
            "items": {"path": "apples.jsonl", "sha256": "00"}, "item_count": items, "k": k,
            "model": {"name": "m", "file": null, "endpoints": [], "parameters": 500},
            "sampling": {}, "seed": 1, "command": [], "version": "0", "machine": null, "started": 0,
        }))
        .unwrap()
    }

    fn of(samples: &[Sample], k: usize) -> Summary {
        let bootstrap = Bootstrap { resamples: 200, seed: 0 };
        Summary::new(&manifest(3, k), samples, &|a, b| a == b, &bootstrap)
    }

    #[test]
    fn figures_by_hand() {
        let mut samples = Vec::new();
        for (item, right) in [("a", [true, true]), ("b", [true, false]), ("c", [false, false])] {
            for (index, right) in right.into_iter().enumerate() {
                samples.push(sample(item, index, right));
            }
        }
        samples[4].finish_reason = "length".to_owned();
        samples[4].verdict = Some(Verdict::missing("nothing"));
        samples[5].verdict = None;
        samples[5].cannot_tell = Some("no interpreter".to_owned());
        samples[0].group = Some("Level 10".to_owned());
        samples[2].group = Some("Level 9".to_owned());
        samples[0].details =
            serde_json::json!({"strict": true, "n": 3, "note": "x"}).as_object().unwrap().clone();
        samples[1].details =
            serde_json::json!({"strict": false, "n": 4.5}).as_object().unwrap().clone();
        let got = of(&samples, 2);
        assert_eq!((got.items, got.samples, got.expected), (3, 6, 6));
        assert_eq!(got.accuracy.value, 0.5);
        assert_eq!(
            got.pass.iter().map(|p| (p.k, p.estimate.value)).collect::<Vec<_>>(),
            [(1, 0.5), (2, 2.0 / 3.0)]
        );
        // b ties: half.
        assert_eq!(got.maj[1].estimate.value, 0.5);
        let votes = got.votes.unwrap();
        assert_eq!(votes.all_right.value, 1.0 / 3.0);
        assert_eq!(votes.majority_right.value, 1.0 / 3.0);
        assert_eq!(votes.agreement.value, 0.5);
        assert_eq!(got.truncated.value, 1.0 / 6.0);
        assert_eq!((got.no_answer.value, got.no_answer_finished.value), (1.0 / 6.0, 0.0));
        assert_eq!(got.cannot_tell.value, 1.0 / 6.0);
        assert_eq!(got.cannot_tell_why["no interpreter"], 1);
        assert_eq!(got.cost.tokens_per_right.value, 200.0);
        assert_eq!(got.cost.seconds_per_right.value, 4.0);
        assert_eq!(got.cost.flops_per_right.unwrap().value, 2.0 * 500.0 * 6.0 * 120.0 / 3.0);
        assert_eq!(
            got.groups.iter().map(|g| g.name.as_str()).collect::<Vec<_>>(),
            ["Level 9", "Level 10", ""]
        );
        assert_eq!(
            got.details
                .iter()
                .map(|d| (d.name.as_str(), d.is_share, d.mean.value))
                .collect::<Vec<_>>(),
            [("n", false, 3.75), ("strict", true, 0.5)]
        );
        assert_eq!((got.wilson, got.score), (None, None));
    }

    #[test]
    fn one_sample_an_item_and_none_at_all() {
        let mut samples = [sample("a", 0, true), sample("b", 0, false)];
        samples[1].verdict = Some(Verdict::new(0.25, None, "a part"));
        let got = of(&samples, 1);
        assert_eq!(got.wilson, wilson(1, 2));
        assert_eq!(got.score.unwrap().value, 0.625);
        assert!(got.maj.is_empty() && got.votes.is_none() && got.groups.is_empty());
        let none = of(&[], 1);
        assert_eq!((none.items, none.pass.len()), (0, 0));
        assert!(none.accuracy.value.is_nan());
    }

    #[test]
    fn unfinished_items_do_not_count_where_k_is_more_than_they_have() {
        let samples = [sample("a", 0, true), sample("a", 1, true), sample("b", 0, false)];
        let got = of(&samples, 2);
        assert_eq!(got.accuracy.value, 0.5);
        assert_eq!((got.pass[1].estimate.value, got.pass[1].estimate.items), (1.0, 1));
        assert_eq!(got.votes.unwrap().all_right.items, 1);
    }
}
