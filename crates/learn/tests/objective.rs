//! The objectives against TRL's own code and PyTorch's autograd: goldens/make_objectives.py says
//! how the numbers were made.

use learn::objective::{
    Advantage, Baseline, BradleyTerry, Completion, Cosine, Gae, Kto, Labelled, Normalizers,
    Overlong, Pair, PolicySettings, Preference, Sequence, ValueLoss, advantages, kto_baseline,
    length_rewards,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

fn goldens(part: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("goldens/objectives.json")).unwrap();
    all[part].clone()
}

fn get<T: DeserializeOwned>(value: &Value, field: &str) -> T {
    serde_json::from_value(value[field].clone())
        .unwrap_or_else(|error| panic!("{field}: {error} in {value}"))
}

#[track_caller]
fn near(what: &str, got: f64, expected: f64) {
    let off = (got - expected).abs();
    assert!(off <= 1e-5 * expected.abs() + 1e-9, "{what}: {got} is not {expected}");
}

#[track_caller]
fn all_near<G: Copy + Into<f64>>(what: &str, got: &[G], expected: &[f64]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        near(&format!("{what}[{i}]"), (*g).into(), *e);
    }
}

#[track_caller]
fn figures_near(what: &str, got: &[(&'static str, f64)], expected: &Value) {
    for (name, value) in expected.as_object().unwrap() {
        let figure = got.iter().find(|(n, _)| n == name);
        let (_, figure) = figure.unwrap_or_else(|| panic!("{what}: no {name} in {got:?}"));
        near(&format!("{what} {name}"), *figure, value.as_f64().unwrap());
    }
}

#[test]
fn policy() {
    let given = goldens("policy");
    let rows = |field: &str| get::<Vec<Vec<f32>>>(&given, field);
    let [new, old, reference, sampler, entropies, token_advantages] = [
        "log_probs",
        "old_log_probs",
        "reference_log_probs",
        "sampler_log_probs",
        "entropies",
        "token_advantages",
    ]
    .map(rows);
    let mask: Vec<Vec<bool>> = get(&given, "mask");
    let all: Vec<f64> = get(&given, "advantages");
    let cases = given["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 20);
    for case in cases {
        let settings: PolicySettings = get(case, "settings");
        let what = format!("{settings:?}");
        let gives: Vec<String> = get(case, "gives");
        let gives = |field: &str| gives.iter().any(|g| g == field);
        let corrects = case["settings"]["sampler_correction"] != "off";
        let left_out: Option<usize> = get(case, "left_out");
        let completion = |i: usize| Completion {
            advantage: match gives("token_advantages") {
                true => Advantage::Tokens(&token_advantages[i]),
                false => Advantage::Completion(all[i]),
            },
            log_probs: &new[i],
            old_log_probs: (gives("old_log_probs")).then_some(&old[i][..]),
            reference_log_probs: gives("reference_log_probs").then_some(&reference[i][..]),
            sampler_log_probs: corrects.then_some(&sampler[i][..]),
            entropies: Some(&entropies[i][..]),
            mask: gives("mask").then_some(&mask[i][..]),
            left_out: left_out == Some(i),
        };
        let completions: Vec<_> = (0..new.len()).map(completion).collect();
        let [count, tokens, max_tokens]: [usize; 3] = get(case, "normalizers");
        let normalizers = Normalizers { completions: count, tokens, max_tokens };
        let out = settings.surrogate(&completions, normalizers).unwrap();
        near(&what, out.loss, get(case, "loss"));
        let expected: Vec<Vec<f64>> = get(case, "d_log_probs");
        assert_eq!(out.d_log_probs.len(), expected.len());
        for (got, expected) in out.d_log_probs.iter().zip(&expected) {
            all_near(&what, got, expected);
        }
        let expected: Option<Vec<Vec<f64>>> = get(case, "d_entropies");
        assert_eq!(out.d_entropies.is_some(), expected.is_some());
        for (got, expected) in out.d_entropies.iter().flatten().zip(expected.iter().flatten()) {
            all_near(&what, got, expected);
        }
        figures_near(&what, &out.statistics.figures(), &case["statistics"]);

        // However a step is split, it is the same step.
        let (first, second) = completions.split_at(2);
        let first = settings.surrogate(first, normalizers).unwrap();
        let second = settings.surrogate(second, normalizers).unwrap();
        near(&what, first.loss + second.loss, out.loss);
        assert_eq!([first.d_log_probs, second.d_log_probs].concat(), out.d_log_probs);
        let mut statistics = first.statistics;
        statistics += second.statistics;
        figures_near(&what, &statistics.figures(), &case["statistics"]);
        assert_eq!(statistics.tokens, tokens);
    }
}

#[test]
fn advantages_of_rewards() {
    let given = goldens("advantages");
    let rewards: Vec<Vec<f64>> = get(&given, "rewards");
    let all = given["advantages"].as_object().unwrap();
    assert_eq!(all.len(), 6);
    for (name, expected) in all {
        let baseline: Baseline = serde_json::from_value(name.as_str().into()).unwrap();
        let got = advantages(&rewards, baseline).unwrap();
        let expected: Vec<f64> = serde_json::from_value(expected.clone()).unwrap();
        all_near(name, &got.advantages, &expected);
        assert_eq!(got.flat().collect::<Vec<_>>(), get::<Vec<usize>>(&given, "flat"));
    }
}

fn sequences(given: &Value) -> Vec<Sequence> {
    let log_probs: Vec<f64> = get(given, "log_probs");
    let references: Vec<f64> = get(given, "references");
    let tokens: Vec<usize> = get(given, "tokens");
    let each = log_probs.into_iter().zip(references).zip(tokens);
    each.map(|((log_prob, reference), tokens)| Sequence {
        log_prob,
        reference: Some(reference),
        tokens,
    })
    .collect()
}

#[test]
fn preferences() {
    let given = goldens("preferences");
    let texts = sequences(&given);
    let (chosen, rejected) = texts.split_at(4);
    let pairs = chosen.iter().zip(rejected);
    let pairs: Vec<_> = pairs.map(|(c, r)| Pair { chosen: *c, rejected: *r }).collect();
    let cases = given["pairs"].as_array().unwrap();
    assert_eq!(cases.len(), 9);
    for case in cases {
        let preference: Preference = get(case, "settings");
        let what = format!("{preference:?}");
        let got = preference.loss(&pairs, pairs.len()).unwrap();
        near(&what, got.loss, get(case, "loss"));
        let chosen = got.d_log_probs.iter().map(|d| d.chosen);
        let d: Vec<f64> = chosen.chain(got.d_log_probs.iter().map(|d| d.rejected)).collect();
        all_near(&what, &d, &get::<Vec<f64>>(case, "d_log_probs"));
        figures_near(&what, &got.statistics.figures(), &case["statistics"]);

        let first = preference.loss(&pairs[..1], pairs.len()).unwrap();
        let rest = preference.loss(&pairs[1..], pairs.len()).unwrap();
        near(&what, first.loss + rest.loss, got.loss);
        let mut statistics = first.statistics;
        statistics += rest.statistics;
        figures_near(&what, &statistics.figures(), &case["statistics"]);
    }
}

#[test]
fn kto() {
    let given = goldens("preferences");
    let desirable: Vec<bool> = get(&given, "desirable");
    let labelled = sequences(&given).into_iter().zip(desirable);
    let examples: Vec<_> =
        labelled.map(|(sequence, desirable)| Labelled { sequence, desirable }).collect();
    let references: Vec<f64> = get(&given, "mismatched_references");
    let cases = given["kto"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let kto: Kto = get(case, "settings");
        let what = format!("{kto:?}");
        let texts = get::<Vec<f64>>(case, "mismatched").into_iter().zip(&references);
        let mismatched: Vec<_> = texts
            .map(|(log_prob, r)| Sequence { log_prob, reference: Some(*r), tokens: 1 })
            .collect();
        let baseline = kto_baseline(&mismatched).unwrap();
        near(&what, baseline, get(case, "baseline"));
        let got = kto.loss(&examples, baseline, examples.len()).unwrap();
        near(&what, got.loss, get(case, "loss"));
        all_near(&what, &got.d_log_probs, &get::<Vec<f64>>(case, "d_log_probs"));
        figures_near(&what, &got.statistics.figures(), &case["statistics"]);
    }
}

#[test]
fn reward_models() {
    let given = goldens("rewards");
    let rewards: Vec<f32> = get(&given, "rewards");
    let (chosen, rejected) = rewards.split_at(4);
    let pairs = chosen.iter().zip(rejected);
    let pairs: Vec<_> = pairs.map(|(c, r)| Pair { chosen: *c, rejected: *r }).collect();
    for case in given["cases"].as_array().unwrap() {
        let settings: BradleyTerry = get(case, "settings");
        let what = format!("{settings:?}");
        let margins: Option<Vec<f32>> = get(case, "margins");
        let got = settings.loss(&pairs, margins.as_deref(), 4).unwrap();
        near(&what, got.loss, get(case, "loss"));
        let chosen = got.d_rewards.iter().map(|d| d.chosen);
        let d: Vec<f32> = chosen.chain(got.d_rewards.iter().map(|d| d.rejected)).collect();
        all_near(&what, &d, &get::<Vec<f64>>(case, "d_rewards"));
        figures_near(&what, &got.statistics.figures(), &case["statistics"]);
    }
}

#[test]
fn values() {
    let given = goldens("values");
    let [values, old, returns, rewards] =
        ["values", "old_values", "returns", "rewards"].map(|f| get::<Vec<f32>>(&given, f));
    for case in given["cases"].as_array().unwrap() {
        let settings: ValueLoss = get(case, "settings");
        let what = format!("{settings:?}");
        let got = settings.loss(&values, &old, &returns, values.len()).unwrap();
        near(&what, got.loss, get(case, "loss"));
        all_near(&what, &got.d_values, &get::<Vec<f64>>(case, "d_values"));
    }
    for case in given["gae"].as_array().unwrap() {
        let settings: Gae = get(case, "settings");
        let what = format!("{settings:?}");
        let got = settings.estimate(&rewards, &values, get(case, "bootstrap")).unwrap();
        all_near(&what, &got.advantages, &get::<Vec<f64>>(case, "advantages"));
        all_near(&what, &got.returns, &get::<Vec<f64>>(case, "returns"));
    }
}

#[test]
fn rewards_for_length() {
    let given = goldens("shaping");
    let lengths: Vec<usize> = get(&given, "lengths");
    for (field, buffer) in [("overlong", 20), ("abrupt", 0)] {
        let overlong = Overlong { max_tokens: 100, buffer };
        let got: Vec<f64> = lengths.iter().map(|n| overlong.reward(*n).unwrap()).collect();
        all_near(field, &got, &get::<Vec<f64>>(&given, field));
    }
    let cosine = Cosine { max_tokens: 100, ..Cosine::default() };
    for (field, right) in [("cosine_right", true), ("cosine_wrong", false)] {
        let expected: Vec<f64> = get(&given, field);
        let got: Vec<f64> =
            lengths[..expected.len()].iter().map(|n| cosine.reward(*n, right)).collect();
        all_near(field, &got, &expected);
        assert_eq!(cosine.reward(100, right), -10.0);
    }
    let group: Vec<(usize, bool)> = get(&given, "group");
    all_near("group", &length_rewards(&group), &get::<Vec<f64>>(&given, "group_rewards"));
}
