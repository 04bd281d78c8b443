use std::collections::BTreeMap;

use proptest::prelude::*;

use super::reference::distribution;
use super::*;

/// The tokens a sampler would draw from and their probabilities.
fn probabilities(sampler: &mut Sampler, logits: &[f32]) -> BTreeMap<u32, f64> {
    let mut logits = logits.to_vec();
    let logits = sampler.adjust(&mut logits, None);
    let max = filters::max(logits);
    if sampler.sampling.is_greedy() {
        return BTreeMap::from([(filters::first_at(logits, max), 1.0)]);
    }
    let kept: Vec<(u32, f32)> =
        match filters::keep(logits, max, &sampler.sampling, &mut sampler.candidates) {
            Kept::All => (0..).zip(logits.iter().copied()).collect(),
            Kept::Some => sampler.candidates.iter().map(|c| (c.id, c.logit)).collect(),
        };
    let max = kept.iter().fold(f32::NEG_INFINITY, |max, c| max.max(c.1));
    let temperature = f64::from(sampler.sampling.temperature);
    let weight = |logit: f32| ((f64::from(logit) - f64::from(max)) / temperature).exp();
    let sum: f64 = kept.iter().map(|c| weight(c.1)).sum();
    kept.iter().map(|c| (c.0, weight(c.1) / sum)).collect()
}

fn sampler(sampling: &Sampling, vocab_size: usize) -> Sampler {
    Sampler::new(sampling.clone(), vocab_size).expect("settings in range")
}

/// Logits as a model makes them: most tokens hopeless, a few likely. Deterministic.
fn plausible_logits(n: usize, seed: u64) -> Vec<f32> {
    let mut draws = Draws::new(Some(seed));
    (0..n)
        .map(|_| {
            let bell: f64 = (0..12).map(|_| draws.next_unit()).sum::<f64>() - 6.0;
            let spike = if draws.next_unit() < 0.002 { 12.0 * draws.next_unit() } else { 0.0 };
            (3.0 * bell + spike) as f32
        })
        .collect()
}

prop_compose! {
    fn any_sampling()(
        temperature in prop_oneof![Just(0.0f32), 0.1f32..3.0],
        top_k in prop_oneof![Just(0usize), 1usize..60],
        top_p in prop_oneof![Just(1.0f32), 0.01f32..1.0],
        min_p in prop_oneof![Just(0.0f32), 0.0f32..=1.0],
        typical_p in prop_oneof![Just(1.0f32), 0.01f32..1.0],
        presence_penalty in prop_oneof![Just(0.0f32), -2.0f32..2.0],
        frequency_penalty in prop_oneof![Just(0.0f32), -2.0f32..2.0],
        repetition_penalty in prop_oneof![Just(1.0f32), 0.5f32..2.0],
        repetition_last_n in prop_oneof![Just(None), (0usize..20).prop_map(Some)],
        dry in prop_oneof![Just(None), (0.1f32..2.0, 1.0f32..2.0, 1usize..4).prop_map(Some)],
        (dry_sequence_breakers, logit_bias, seed) in (
            prop::collection::vec(0u32..8, 0..2),
            prop::collection::vec((0u32..50, -5.0f32..5.0), 0..3),
            any::<u64>(),
        ),
    ) -> Sampling {
        let (dry_multiplier, dry_base, dry_allowed_length) = dry.unwrap_or((0.0, 1.75, 2));
        Sampling {
            temperature, top_k, top_p, min_p, typical_p, presence_penalty, frequency_penalty,
            repetition_penalty, repetition_last_n, dry_multiplier, dry_base, dry_allowed_length,
            dry_sequence_breakers, logit_bias, seed: Some(seed),
        }
    }
}

proptest! {
    #[test]
    fn agrees_with_the_slow_reference(
        sampling in any_sampling(),
        logits in prop::collection::vec(-12.0f32..12.0, 50..300),
        history in prop::collection::vec((0u32..8, any::<bool>()), 0..40),
    ) {
        let mut sampler = sampler(&sampling, logits.len());
        for &(token, generated) in &history {
            if generated { sampler.accept(token) } else { sampler.accept_prompt(&[token]) }
        }
        let want = distribution(&logits, &history, &sampling);
        let got = probabilities(&mut sampler, &logits);
        // Rounding may decide otherwise about a token that sits on a threshold, so compare the
        // distance between distributions where one such token is missing from either.
        let tokens: std::collections::BTreeSet<_> = want.keys().chain(got.keys()).collect();
        let differing = tokens.iter()
            .filter(|t| want.contains_key(t) != got.contains_key(t)).count();
        prop_assert!(differing <= 1, "want {want:?}\ngot {got:?}");
        if differing == 0 {
            for (token, p) in &want {
                prop_assert!((p - got[token]).abs() < 1e-4, "token {token}: {p} {}", got[token]);
            }
        }
        let drawn = sampler.sample(&mut logits.clone(), None);
        prop_assert!(got.contains_key(&drawn), "{drawn} is not in {got:?}");
        prop_assert!((got.values().sum::<f64>() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn any_floats_and_any_mask_give_a_token_that_is_allowed(
        sampling in any_sampling(),
        logits in prop::collection::vec(
            prop_oneof![
                any::<f32>(), Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY),
                Just(f32::MAX), Just(f32::MIN), -10.0f32..10.0,
            ],
            50..400,
        ),
        mask in prop::option::of(prop::collection::vec(any::<u32>(), 1..14)),
        history in prop::collection::vec(0u32..400, 0..30),
    ) {
        let mut sampler = sampler(&sampling, logits.len());
        sampler.accept_prompt(&history);
        let token = sampler.sample(&mut logits.clone(), mask.as_deref());
        if let Some(mask) = mask {
            let allowed = mask.get(token as usize / 32).is_some_and(|w| w >> (token % 32) & 1 == 1);
            prop_assert!(allowed || mask.iter().all(|&word| word == 0));
        } else {
            prop_assert!((token as usize) < logits.len());
        }
        LogProbs::new(&logits, 1.0).of(token);
        prop_assert!(LogProbs::new(&logits, 1.0).top(5).len() <= 5);
    }

    #[test]
    fn same_seed_same_tokens(sampling in any_sampling(), seed in any::<u64>()) {
        let run = |scratch_first: bool| -> Vec<u32> {
            let mut sampler = sampler(&sampling, 300);
            (0..20u64).map(|step| {
                if scratch_first {
                    // Another sequence in the same batch.
                    super::tests::sampler(&sampling, 300)
                        .sample(&mut plausible_logits(300, step), None);
                }
                let token = sampler.sample(&mut plausible_logits(300, seed ^ step), None);
                sampler.accept(token);
                token
            }).collect()
        };
        prop_assert_eq!(run(false), run(true));
    }
}

/// Frequencies of 20,000 draws against the reference's probabilities: chi-square per degree of
/// freedom is near 1, its deviation sqrt(2 / freedom).
fn assert_frequencies(sampling: &Sampling, logits: &[f32]) {
    const DRAWS: usize = 20_000;
    let want = distribution(logits, &[], sampling);
    let mut sampler = sampler(sampling, logits.len());
    let mut counts = BTreeMap::<u32, usize>::new();
    for _ in 0..DRAWS {
        *counts.entry(sampler.sample(&mut logits.to_vec(), None)).or_default() += 1;
    }
    let (mut chi_square, mut cells, mut rare_want, mut rare_got) = (0.0, 0usize, 0.0, 0.0);
    let mut cell = |want: f64, got: f64| {
        chi_square += (got - want).powi(2) / want;
        cells += 1;
    };
    for (token, p) in &want {
        let (want, got) = (p * DRAWS as f64, counts.remove(token).unwrap_or(0) as f64);
        if want >= 10.0 {
            cell(want, got);
        } else {
            rare_want += want;
            rare_got += got;
        }
    }
    if rare_want >= 10.0 {
        cell(rare_want, rare_got);
    }
    assert!(counts.is_empty(), "drew tokens that were filtered out: {counts:?}");
    let freedom = (cells - 1) as f64;
    let limit = freedom + 5.0 * (2.0 * freedom).sqrt();
    assert!(chi_square < limit, "{sampling:?}: chi-square {chi_square}, limit {limit}");
}

#[test]
fn frequencies_match_probabilities() {
    let neutral = Sampling { seed: Some(7), ..Sampling::default() };
    let logits = plausible_logits(800, 3);
    assert_frequencies(&neutral, &logits);
    assert_frequencies(&Sampling { temperature: 0.6, ..neutral.clone() }, &logits);
    assert_frequencies(&Sampling { top_k: 40, temperature: 1.3, ..neutral.clone() }, &logits);
    assert_frequencies(&Sampling { top_p: 0.95, ..neutral.clone() }, &logits);
    assert_frequencies(&Sampling { min_p: 0.02, ..neutral.clone() }, &logits);
    assert_frequencies(&Sampling { typical_p: 0.9, ..neutral.clone() }, &logits);
    assert_frequencies(&Sampling { seed: Some(8), ..neutral }, &[0.0, 1.0, 2.0]);
}

#[test]
fn neighbouring_seeds_are_independent() {
    let logits = plausible_logits(800, 3);
    let mut counts = BTreeMap::<u32, usize>::new();
    for seed in 0..20_000 {
        let sampling = Sampling { seed: Some(seed), top_k: 4, ..Sampling::default() };
        let token = sampler(&sampling, logits.len()).sample(&mut logits.clone(), None);
        *counts.entry(token).or_default() += 1;
    }
    let want = distribution(&logits, &[], &Sampling { top_k: 4, ..Sampling::default() });
    for (token, p) in want {
        let got = counts[&token] as f64 / 20_000.0;
        assert!((got - p).abs() < 0.015, "token {token}: {got}, want {p}");
    }
}

#[test]
fn filters_agree_with_the_reference_on_a_whole_vocabulary() {
    let logits = plausible_logits(152_064, 11);
    let neutral = Sampling::default();
    for sampling in [
        Sampling { top_k: 40, top_p: 0.95, ..neutral.clone() },
        Sampling { top_k: 5_000, ..neutral.clone() },
        Sampling { top_p: 0.95, ..neutral.clone() },
        Sampling { top_p: 0.9999, ..neutral.clone() },
        Sampling { min_p: 0.05, ..neutral.clone() },
        Sampling { typical_p: 0.7, min_p: 0.01, ..neutral.clone() },
    ] {
        let want = distribution(&logits, &[], &sampling);
        let got = probabilities(&mut sampler(&sampling, logits.len()), &logits);
        // A token on the threshold may go either way, so compare distributions, not sets.
        let p = |of: &BTreeMap<u32, f64>, token| of.get(&token).copied().unwrap_or(0.0);
        let distance: f64 = (0..152_064).map(|t| (p(&want, t) - p(&got, t)).abs()).sum();
        assert!(distance < 1e-5, "{sampling:?}: distance {distance}");
        assert!(want.len().abs_diff(got.len()) <= 2, "{} and {}", want.len(), got.len());
    }
}

#[test]
fn sorted_input_is_no_special_case() {
    let rising: Vec<f32> = (0..10_000).map(|i| i as f32 * 1e-3).collect();
    let falling: Vec<f32> = rising.iter().rev().copied().collect();
    let sampling = Sampling { top_k: 3, ..Sampling::default() };
    for (logits, want) in [(rising, [9_997, 9_998, 9_999]), (falling, [0, 1, 2])] {
        let got = probabilities(&mut sampler(&sampling, 10_000), &logits);
        assert_eq!(got.into_keys().collect::<Vec<_>>(), want);
    }
}

#[test]
fn greedy_takes_the_lowest_of_equals() {
    let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    let mut greedy = sampler(&sampling, 5);
    assert_eq!(greedy.sample(&mut [1.0, 3.0, f32::NAN, 3.0, -1.0], None), 1);
    assert_eq!(greedy.sample(&mut [f32::NAN; 5], None), 0);
    assert_eq!(greedy.sample(&mut [f32::NEG_INFINITY; 5], Some(&[0b11000])), 3);
    let equal = Sampling { top_k: 2, ..Sampling::default() };
    let kept = probabilities(&mut sampler(&equal, 400), &[1.0; 400]);
    assert_eq!(kept.into_keys().collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn padding_of_the_vocabulary_is_never_drawn() {
    let mut sampler = sampler(&Sampling::default(), 3);
    for _ in 0..100 {
        assert!(sampler.sample(&mut [0.0, 0.0, 0.0, 50.0, 50.0], None) < 3);
    }
}

#[test]
fn tokens_leave_the_penalty_window() {
    let sampling = Sampling {
        repetition_last_n: Some(2),
        frequency_penalty: 1.0,
        temperature: 0.0,
        ..Sampling::default()
    };
    let mut sampler = sampler(&sampling, 3);
    let logits = [1.0, 0.5, 0.0];
    sampler.accept(0);
    assert_eq!(sampler.sample(&mut logits.clone(), None), 1);
    sampler.accept(2);
    assert_eq!(sampler.sample(&mut logits.clone(), None), 1);
    sampler.accept(2);
    assert_eq!(sampler.sample(&mut logits.clone(), None), 0);
}

#[test]
fn dry_stops_a_repeated_passage_and_breakers_excuse_it() {
    let mut sampling = Sampling {
        dry_multiplier: 1.0,
        dry_base: 2.0,
        dry_allowed_length: 2,
        temperature: 0.0,
        ..Sampling::default()
    };
    let text = [1, 2, 3, 4, 9, 1, 2, 3];
    // 4 would continue "1 2 3": 1 * 2^(3 - 2) = 2.
    let logits = |four: f32| [0.0, 0.0, 0.0, 0.0, four, 0.5];
    for (breakers, four, want) in [
        (vec![], 2.4, 5),
        (vec![], 2.6, 4),
        (vec![1], 1.4, 5),
        (vec![1], 1.6, 4),
        (vec![3], 0.6, 4),
    ] {
        sampling.dry_sequence_breakers = breakers;
        let mut sampler = sampler(&sampling, 6);
        sampler.accept_prompt(&text);
        assert_eq!(sampler.sample(&mut logits(four), None), want, "{sampling:?} {four}");
    }
}

#[test]
fn log_probabilities_are_stable_and_exact() {
    let logits = [1000.0, 1001.0, f32::NEG_INFINITY, f32::NAN, 999.0];
    let sum = (1.0 + 1f64.exp() + (-1f64).exp()).ln();
    assert!((log_sum_exp(&logits) - 1000.0 - sum).abs() < 1e-6);
    assert!((f64::from(LogProbs::new(&logits, 1.0).of(1)) - (1.0 - sum)).abs() < 1e-6);
    for impossible in [2, 3, 77] {
        assert_eq!(LogProbs::new(&logits, 1.0).of(impossible), f32::NEG_INFINITY);
    }
    let top = LogProbs::new(&logits, 1.0).top(10);
    assert_eq!(top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 0, 4]);
    assert_eq!(top[0].1, LogProbs::new(&logits, 1.0).of(1));
    assert!(LogProbs::new(&logits, 1.0).top(0).is_empty());
    assert_eq!(log_sum_exp(&[]), f64::NEG_INFINITY);
}

#[test]
fn settings_outside_their_range_are_named() {
    let bad = [
        ("temperature", Sampling { temperature: -0.1, ..Sampling::default() }),
        ("temperature", Sampling { temperature: f32::NAN, ..Sampling::default() }),
        ("top_p", Sampling { top_p: 0.0, ..Sampling::default() }),
        ("min_p", Sampling { min_p: 1.1, ..Sampling::default() }),
        ("typical_p", Sampling { typical_p: f32::INFINITY, ..Sampling::default() }),
        ("presence_penalty", Sampling { presence_penalty: 2.5, ..Sampling::default() }),
        ("frequency_penalty", Sampling { frequency_penalty: -3.0, ..Sampling::default() }),
        ("repetition_penalty", Sampling { repetition_penalty: 0.0, ..Sampling::default() }),
        ("dry_multiplier", Sampling { dry_multiplier: -1.0, ..Sampling::default() }),
        ("dry_base", Sampling { dry_base: 0.5, ..Sampling::default() }),
        ("dry_allowed_length", Sampling { dry_allowed_length: 0, ..Sampling::default() }),
        ("logit_bias", Sampling { logit_bias: vec![(0, 101.0)], ..Sampling::default() }),
    ];
    for (field, sampling) in bad {
        let error = sampling.validate().expect_err(field).to_string();
        assert!(error.contains(field) && error.contains("must be"), "{error}");
    }
    let unknown = Sampling { logit_bias: vec![(10, 1.0)], ..Sampling::default() };
    let error = Sampler::new(unknown, 10).expect_err("token 10 of 10").to_string();
    assert!(error.contains("token 10") && error.contains("0 to 9"), "{error}");
    assert_eq!(Sampling::default().validate(), Ok(()));
}

#[test]
fn missing_fields_are_neutral() {
    let sampling: Sampling = serde_json::from_str(r#"{"top_k": 40}"#).expect("valid settings");
    assert_eq!(sampling, Sampling { top_k: 40, ..Sampling::default() });
}
