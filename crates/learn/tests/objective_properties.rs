//! What holds of the objectives whatever they are given: gradients are slopes, micro-batches add
//! up, and bad numbers are errors.

use learn::objective::{
    Advantage, Aggregate, Baseline, BradleyTerry, Completion, Correction, Gae, KlEstimator, Kto,
    Labelled, Normalizers, Pair, PolicySettings, Preference, Ratio, Sequence, ValueLoss,
    advantages, kto_baseline,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Exact in f32, as are its sums with numbers that are multiples of it.
const STEP: f32 = 1.0 / 1024.0;

/// The gradient has to be between the slopes on both sides, which aren't the same where a loss has
/// a kink.
fn is_slope(d: f64, at: impl Fn(f64) -> f64, step: f64) -> Result<(), TestCaseError> {
    let here = at(0.0);
    let (left, right) = ((here - at(-step)) / step, (at(step) - here) / step);
    let slack = 1e-5 + 1e-3 * d.abs();
    let (low, high) = (left.min(right) - slack, left.max(right) + slack);
    prop_assert!((low..=high).contains(&d), "{d} is not between {left} and {right}");
    Ok(())
}

fn multiple(range: std::ops::Range<i32>) -> impl Strategy<Value = f32> {
    range.prop_map(|n| n as f32 * STEP)
}

#[derive(Clone, Debug)]
struct Given {
    advantages: Vec<f32>,
    whole: Option<f64>,
    log_probs: Vec<f32>,
    old: Option<Vec<f32>>,
    reference: Vec<f32>,
    sampler: Option<Vec<f32>>,
    entropies: Vec<f32>,
    mask: Option<Vec<bool>>,
}

impl Given {
    fn completion(&self) -> Completion<'_> {
        Completion {
            advantage: match self.whole {
                Some(advantage) => Advantage::Completion(advantage),
                None => Advantage::Tokens(&self.advantages),
            },
            log_probs: &self.log_probs,
            old_log_probs: self.old.as_deref(),
            reference_log_probs: Some(&self.reference),
            sampler_log_probs: self.sampler.as_deref(),
            entropies: Some(&self.entropies),
            mask: self.mask.as_deref(),
            left_out: false,
        }
    }
}

fn given() -> impl Strategy<Value = Given> {
    let near = |n| vec(multiple(-512..512), n);
    (0usize..5).prop_flat_map(move |n| {
        let some = |old: Vec<f32>, l: &[f32]| old.iter().zip(l).map(|(o, l)| o + l).collect();
        let log_probs = vec(multiple(-2048..-1), n);
        let optional = (any::<bool>(), near(n), any::<bool>(), near(n));
        let rest =
            (near(n), vec(multiple(0..2048), n), proptest::option::of(vec(any::<bool>(), n)));
        let whole = proptest::option::of((-16i32..16).prop_map(|n| f64::from(n) / 8.0));
        (log_probs, optional, rest, whole, near(n)).prop_map(move |(l, o, r, whole, advantages)| {
            Given {
                advantages,
                whole,
                old: o.0.then(|| some(o.1, &l)),
                sampler: o.2.then(|| some(o.3, &l)),
                reference: some(r.0, &l),
                entropies: r.1,
                mask: r.2,
                log_probs: l,
            }
        })
    })
}

fn policy() -> impl Strategy<Value = PolicySettings> {
    let aggregate = prop_oneof![
        Just(Aggregate::SequenceMean),
        Just(Aggregate::TokenMean),
        Just(Aggregate::Constant)
    ];
    let estimator =
        prop_oneof![Just(KlEstimator::K1), Just(KlEstimator::K2), Just(KlEstimator::K3)];
    let correction = prop_oneof![
        Just(Correction::Off),
        Just(Correction::TokenTruncate),
        Just(Correction::TokenMask),
        Just(Correction::SequenceTruncate),
        Just(Correction::SequenceMask)
    ];
    let ratio = prop_oneof![Just(Ratio::Token), Just(Ratio::Sequence)];
    let choices = (ratio, aggregate, estimator, correction, any::<bool>());
    let numbers =
        (0.0..0.3, 0.0..0.3, proptest::option::of(1.31..2.0), 0.0..0.5, -0.1..0.1, 0.5..3.0);
    (choices, numbers).prop_map(|(c, n)| PolicySettings {
        ratio: c.0,
        aggregate: c.1,
        kl_estimator: c.2,
        sampler_correction: c.3,
        unbiased_kl: c.4,
        clip_low: n.0,
        clip_high: n.1,
        delta: n.2,
        kl_coefficient: n.3,
        entropy_coefficient: n.4,
        sampler_cap: n.5,
    })
}

fn sequence() -> impl Strategy<Value = Sequence> {
    (1usize..20, -4.0..-0.05, -3.0..3.0).prop_map(|(tokens, mean, off)| {
        let log_prob = mean * tokens as f64;
        Sequence { log_prob, reference: Some(log_prob + off), tokens }
    })
}

fn preference() -> impl Strategy<Value = Preference> {
    let nll_coefficient = || prop_oneof![Just(0.0), 0.0..1.0];
    prop_oneof![
        (0.01..1.0, 0.0..0.4, nll_coefficient()).prop_map(
            |(beta, label_smoothing, nll_coefficient)| Preference::Dpo {
                beta,
                label_smoothing,
                nll_coefficient
            }
        ),
        (0.05..1.0, nll_coefficient())
            .prop_map(|(beta, nll_coefficient)| Preference::Ipo { beta, nll_coefficient }),
        (0.1..3.0, 0.0..2.0, nll_coefficient()).prop_map(|(beta, gamma, nll_coefficient)| {
            Preference::Simpo { beta, gamma, nll_coefficient }
        }),
        (0.0..1.0).prop_map(|lambda| Preference::Orpo { lambda }),
    ]
}

fn wild() -> impl Strategy<Value = f32> {
    prop_oneof![any::<f32>(), Just(0.0), Just(f32::NAN), Just(f32::MAX), -2.0f32..0.0]
}

fn baseline() -> impl Strategy<Value = Baseline> {
    prop_oneof![
        Just(Baseline::Grpo),
        Just(Baseline::DrGrpo),
        Just(Baseline::LitePpo),
        Just(Baseline::ReinforcePlusPlusBaseline),
        Just(Baseline::Rloo),
        Just(Baseline::ReinforcePlusPlus)
    ]
}

proptest! {
    #[test]
    fn the_surrogates_gradient_is_its_slope(settings in policy(), batch in vec(given(), 1..4)) {
        let completions: Vec<_> = batch.iter().map(Given::completion).collect();
        let tokens = completions.iter().map(Completion::tokens).sum();
        prop_assume!(tokens > 0);
        let normalizers = Normalizers { completions: batch.len(), tokens, max_tokens: 8 };
        // Of a batch that was sampled by the network itself the ratio is 1, but not constant.
        let fixed: Vec<Given> = batch.iter().cloned().map(|mut given| {
            given.old.get_or_insert_with(|| given.log_probs.clone());
            given
        }).collect();
        let loss = |batch: &[Given]| {
            let completions: Vec<_> = batch.iter().map(Given::completion).collect();
            settings.surrogate(&completions, normalizers).unwrap().loss
        };
        let out = settings.surrogate(&completions, normalizers).unwrap();
        for (i, given) in fixed.iter().enumerate() {
            for token in 0..given.log_probs.len() {
                let at = |change: fn(&mut Given) -> &mut Vec<f32>, step: f64| {
                    let mut batch = fixed.clone();
                    change(&mut batch[i])[token] += step as f32;
                    loss(&batch)
                };
                let step = f64::from(STEP);
                is_slope(out.d_log_probs[i][token].into(), |s| at(|g| &mut g.log_probs, s), step)?;
                if let Some(d) = &out.d_entropies {
                    is_slope(d[i][token].into(), |s| at(|g| &mut g.entropies, s), step)?;
                }
            }
        }
    }

    #[test]
    fn the_preferences_gradient_is_its_slope(
        preference in preference(),
        pairs in vec((sequence(), sequence()), 1..4),
    ) {
        let pairs: Vec<_> =
            pairs.into_iter().map(|(chosen, rejected)| Pair { chosen, rejected }).collect();
        let out = preference.loss(&pairs, pairs.len()).unwrap();
        for (i, d) in out.d_log_probs.iter().enumerate() {
            let at = |which: fn(&mut Pair) -> &mut Sequence, step: f64| {
                let mut pairs = pairs.clone();
                which(&mut pairs[i]).log_prob += step;
                preference.loss(&pairs, pairs.len()).unwrap().loss
            };
            is_slope(d.chosen, |s| at(|p| &mut p.chosen, s), 1e-4)?;
            is_slope(d.rejected, |s| at(|p| &mut p.rejected, s), 1e-4)?;
        }
    }

    #[test]
    fn ktos_gradient_is_its_slope(
        examples in vec((sequence(), any::<bool>()), 1..5),
        numbers in (0.01..1.0, 0.0..2.0, 0.0..2.0, 0.0..3.0),
    ) {
        let labelled = |(sequence, desirable)| Labelled { sequence, desirable };
        let examples: Vec<_> = examples.into_iter().map(labelled).collect();
        let (beta, desirable_weight, undesirable_weight, baseline) = numbers;
        let kto = Kto { beta, desirable_weight, undesirable_weight };
        let out = kto.loss(&examples, baseline, 5).unwrap();
        for (i, d) in out.d_log_probs.iter().enumerate() {
            let at = |step: f64| {
                let mut examples = examples.clone();
                examples[i].sequence.log_prob += step;
                kto.loss(&examples, baseline, 5).unwrap().loss
            };
            is_slope(*d, at, 1e-4)?;
        }
    }

    #[test]
    fn a_reward_models_gradient_is_its_slope(
        pairs in vec((multiple(-4096..4096), multiple(-4096..4096), multiple(0..1024)), 1..4),
        centering_coefficient in prop_oneof![Just(0.0), 0.0..0.1],
    ) {
        let margins: Vec<f32> = pairs.iter().map(|p| p.2).collect();
        let pairs: Vec<_> =
            pairs.iter().map(|(chosen, r, _)| Pair { chosen: *chosen, rejected: *r }).collect();
        let loss = BradleyTerry { centering_coefficient };
        let out = loss.loss(&pairs, Some(&margins), 3).unwrap();
        for (i, d) in out.d_rewards.iter().enumerate() {
            let at = |which: fn(&mut Pair<f32>) -> &mut f32, step: f64| {
                let mut pairs = pairs.clone();
                *which(&mut pairs[i]) += step as f32;
                loss.loss(&pairs, Some(&margins), 3).unwrap().loss
            };
            is_slope(d.chosen.into(), |s| at(|p| &mut p.chosen, s), STEP.into())?;
            is_slope(d.rejected.into(), |s| at(|p| &mut p.rejected, s), STEP.into())?;
        }
    }

    #[test]
    fn a_value_losss_gradient_is_its_slope(
        numbers in vec((multiple(-2048..2048), multiple(-512..512), multiple(-2048..2048)), 1..6),
        clip in proptest::option::of(0.0..0.5),
    ) {
        let values: Vec<f32> = numbers.iter().map(|n| n.0).collect();
        let old: Vec<f32> = numbers.iter().map(|n| n.0 + n.1).collect();
        let returns: Vec<f32> = numbers.iter().map(|n| n.2).collect();
        let loss = ValueLoss { clip };
        let out = loss.loss(&values, &old, &returns, 6).unwrap();
        for (i, d) in out.d_values.iter().enumerate() {
            let at = |step: f64| {
                let mut values = values.clone();
                values[i] += step as f32;
                loss.loss(&values, &old, &returns, 6).unwrap().loss
            };
            is_slope((*d).into(), at, STEP.into())?;
        }
    }

    #[test]
    fn advantages_of_a_group_balance(
        groups in vec(vec(-4.0..4.0, 0..5), 0..4),
        baseline in baseline(),
        shift in -9.0..9.0,
    ) {
        let out = advantages(&groups, baseline).unwrap();
        let mut rest = &out.advantages[..];
        for group in &groups {
            let (these, others) = rest.split_at(group.len());
            rest = others;
            let sum = these.iter().sum::<f64>();
            prop_assert!(!baseline.needs_spread() || sum.abs() < 1e-8);
        }
        prop_assert!(rest.is_empty());
        prop_assert!(out.advantages.iter().sum::<f64>().abs() < 1e-7);
        // Only what rewards are beside each other matters.
        let shifted: Vec<Vec<f64>> =
            groups.iter().map(|g| g.iter().map(|r: &f64| r + shift).collect()).collect();
        let shifted = advantages(&shifted, baseline).unwrap();
        for (a, b) in out.advantages.iter().zip(&shifted.advantages) {
            prop_assert!((a - b).abs() < 1e-6);
        }
    }

    #[test]
    fn whatever_is_given_is_finite_or_an_error(
        numbers in vec(wild(), 12),
        settings in policy(),
        preference in preference(),
        baseline in baseline(),
        of in 0usize..3,
    ) {
        let all_finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
        let completion = Completion {
            advantage: Advantage::Tokens(&numbers[..2]),
            old_log_probs: Some(&numbers[4..6]),
            reference_log_probs: Some(&numbers[6..8]),
            sampler_log_probs: Some(&numbers[8..10]),
            entropies: Some(&numbers[10..12]),
            ..Completion::new(0.0, &numbers[2..4])
        };
        let normalizers = Normalizers { completions: of, tokens: of, max_tokens: of };
        if let Ok(out) = settings.surrogate(&[completion], normalizers) {
            prop_assert!(out.loss.is_finite() && all_finite(&out.d_log_probs.concat()));
        }
        let text = |at: usize| Sequence {
            log_prob: numbers[at].into(),
            reference: (numbers[at + 1] != 0.0).then(|| numbers[at + 1].into()),
            tokens: numbers[at + 2].abs() as usize,
        };
        let pair = Pair { chosen: text(0), rejected: text(3) };
        if let Ok(out) = preference.loss(&[pair], of) {
            let d = out.d_log_probs[0];
            prop_assert!([out.loss, d.chosen, d.rejected].iter().all(|x| x.is_finite()));
        }
        let example = Labelled { sequence: text(0), desirable: numbers[9] > 0.0 };
        let kl = kto_baseline(&[text(3)]).unwrap_or(numbers[6].into());
        if let Ok(out) = Kto::default().loss(&[example], kl, of) {
            prop_assert!(out.loss.is_finite() && out.d_log_probs[0].is_finite());
        }
        let rewards = Pair { chosen: numbers[0], rejected: numbers[1] };
        let loss = BradleyTerry { centering_coefficient: numbers[3].into() };
        if let Ok(out) = loss.loss(&[rewards], Some(&numbers[2..3]), of) {
            let d = out.d_rewards[0];
            prop_assert!(out.loss.is_finite() && all_finite(&[d.chosen, d.rejected]));
        }
        let clip = (numbers[0] > 0.0).then(|| numbers[0].into());
        let (values, old, returns) = (&numbers[..4], &numbers[4..8], &numbers[8..]);
        if let Ok(out) = (ValueLoss { clip }).loss(values, old, returns, of) {
            prop_assert!(out.loss.is_finite() && all_finite(&out.d_values));
        }
        if let Ok(out) = Gae::default().estimate(&numbers[..6], &numbers[6..], numbers[0]) {
            prop_assert!(all_finite(&out.advantages) && all_finite(&out.returns));
        }
        let groups: Vec<Vec<f64>> =
            numbers.chunks(3).map(|g| g.iter().map(|r| f64::from(*r).powi(9)).collect()).collect();
        if let Ok(out) = advantages(&groups, baseline) {
            prop_assert!(out.advantages.iter().all(|a| a.is_finite()));
        }
    }
}
