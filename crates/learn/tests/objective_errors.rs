//! What objectives say to what they can't do, and to nothing at all.

use learn::objective::{
    BradleyTerry, Cosine, Error, Gae, Kto, KtoLoss, Labelled, Overlong, Pair, PolicySettings,
    Preference, PreferenceLoss, RewardLoss, Sequence, ValueLoss, Values, kto_baseline,
    length_rewards, per_token,
};

const TEXT: Sequence = Sequence { log_prob: -2.0, reference: Some(-1.5), tokens: 2 };

#[track_caller]
fn says<T: std::fmt::Debug>(got: Result<T, Error>, expected: &str) {
    let error = got.unwrap_err().to_string();
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn preferences() {
    let dpo = Preference::default();
    let simpo = Preference::Simpo { beta: 2.0, gamma: 1.0, nll_coefficient: 0.0 };
    let pair = Pair { chosen: TEXT, rejected: TEXT };
    let with = |chosen| [Pair { chosen, rejected: TEXT }];
    says(
        dpo.loss(&with(Sequence { tokens: 0, ..TEXT }), 1),
        "chosen of item 0 of the batch: no to",
    );
    says(
        dpo.loss(&with(Sequence { log_prob: f64::NAN, ..TEXT }), 1),
        "chosen of item 0 of the batch: a log-probability of NaN",
    );
    let alone = Sequence { reference: None, ..TEXT };
    says(dpo.loss(&with(alone), 1), "reference of item 0 of the batch: missing");
    assert!(dpo.needs_reference() && !simpo.needs_reference());
    simpo.loss(&with(alone), 1).unwrap();
    says(dpo.loss(&[pair], 0), "of: 0 pairs in the step");
    assert_eq!(dpo.loss(&[], 0), Ok(PreferenceLoss::default()));

    let bad = Preference::Dpo { beta: 0.0, label_smoothing: 0.0, nll_coefficient: 0.0 };
    says(bad.check(), "beta: 0 is not a number above 0");
    let bad = Preference::Dpo { beta: 0.1, label_smoothing: 0.5, nll_coefficient: 0.0 };
    says(bad.loss(&[pair], 1), "label_smoothing: 0.5 is not from 0 to below 0.5");
    says(Preference::Orpo { lambda: -1.0 }.check(), "lambda: -1 is not a number from 0 on");

    // The same: no margin, no accuracy.
    let figures = dpo.loss(&[pair], 1).unwrap().statistics;
    assert_eq!((figures.margin(), figures.accuracy()), (Some(0.0), Some(0.0)));
    // Someone who is sure has finite odds.
    let sure = Sequence { log_prob: 0.0, reference: None, tokens: 3 };
    let out = Preference::Orpo { lambda: 0.1 }.loss(&with(sure), 1).unwrap();
    assert!(out.loss.is_finite() && out.d_log_probs[0].chosen.is_finite());
}

#[test]
fn kto() {
    let kto = Kto::default();
    let example = |sequence| [Labelled { sequence, desirable: true }];
    says(kto.loss(&example(TEXT), -0.1, 1), "baseline: -0.1 is not a number from 0 on");
    says(kto.loss(&example(TEXT), 0.0, 0), "of: 0 completions in the step");
    let empty = Sequence { tokens: 0, ..TEXT };
    says(kto.loss(&example(empty), 0.0, 1), "sequence of item 0 of the batch: no tokens");
    says(kto_baseline(&[TEXT, empty]), "mismatched of item 1 of the batch: no tokens");
    says(Kto { beta: f64::NAN, ..kto.clone() }.check(), "beta: NaN is not a number above 0");
    assert_eq!(kto_baseline(&[]), Ok(0.0));
    assert_eq!(kto.loss(&[], 0.0, 0), Ok(KtoLoss::default()));
}

#[test]
fn rewards_and_values() {
    let loss = BradleyTerry::default();
    let pair = Pair { chosen: 1.0, rejected: f32::INFINITY };
    says(loss.loss(&[pair], None, 1), "rejected of item 0 of the batch: inf");
    says(loss.loss(&[pair], Some(&[]), 1), "margins: 0 for 1 pairs");
    says(loss.loss(&[pair], None, 0), "of: 0 pairs in the step");
    let negative = BradleyTerry { centering_coefficient: -0.01 };
    says(negative.loss(&[], None, 0), "centering_coefficient: -0.01 is not a number from 0 on");
    assert_eq!(loss.loss(&[], None, 0), Ok(RewardLoss::default()));

    let gae = Gae::default();
    says(gae.estimate(&[0.0, f32::NAN], &[0.0; 2], 0.0), "rewards: NaN at token 1");
    says(gae.estimate(&[0.0], &[0.0; 2], 0.0), "values: 2 for 1 rewards");
    says(Gae { lambda: 1.5, ..gae }.estimate(&[], &[], 0.0), "lambda: 1.5 is not from 0 to 1");
    assert!(gae.estimate(&[], &[], 1.0).unwrap().advantages.is_empty());

    let loss = ValueLoss::default();
    says(loss.loss(&[0.0], &[0.0], &[], 1), "returns: 0 for 1 values");
    says(loss.loss(&[0.0], &[0.0], &[0.0], 0), "of: 0 tokens in the step");
    assert_eq!(loss.loss(&[], &[], &[], 0), Ok(Values::default()));
}

#[test]
fn lengths() {
    says(Overlong { max_tokens: 5, buffer: 6 }.reward(1), "buffer: 6 exceeds max_tokens = 5");
    assert!(length_rewards(&[]).is_empty());
    assert_eq!(length_rewards(&[(7, true), (7, false)]), [0.0, 0.0]);
    let cosine = Cosine::default();
    assert_eq!((cosine.reward(0, true), cosine.reward(0, false)), (2.0, -10.0));
    assert_eq!(Cosine { max_tokens: 0, ..cosine }.reward(0, true), -10.0);
}

#[test]
fn settings_are_read_and_written() {
    let read: Preference = serde_json::from_str(r#"{"loss": "simpo", "gamma": 0.5}"#).unwrap();
    assert_eq!(read, Preference::Simpo { beta: 2.0, gamma: 0.5, nll_coefficient: 0.0 });
    let written = serde_json::to_string(&Preference::Orpo { lambda: 0.1 }).unwrap();
    assert_eq!(written, r#"{"loss":"orpo","lambda":0.1}"#);
    let unknown = serde_json::from_str::<Preference>(r#"{"loss": "dpo", "gamma": 0.5}"#);
    assert!(unknown.unwrap_err().to_string().contains("unknown field `gamma`"));
    let read: PolicySettings =
        serde_json::from_str(r#"{"ratio": "sequence", "aggregate": "sequence-mean"}"#).unwrap();
    assert_eq!((read.clip_high, read.sampler_cap), (0.28, 2.0));
    let unknown = serde_json::from_str::<PolicySettings>(r#"{"clip_upper": 0.2}"#);
    assert!(unknown.unwrap_err().to_string().contains("unknown field `clip_upper`"));
}

#[test]
fn a_sums_gradient_is_each_tokens() {
    let sequence = Sequence::new(&[-1.0, -2.5], Some(&[-1.0, -0.5]));
    assert_eq!(sequence, Sequence { log_prob: -3.5, reference: Some(-1.5), tokens: 2 });
    let mut d_log_probs = [0.0; 3];
    per_token(0.25, &mut d_log_probs[..2]);
    assert_eq!(d_log_probs, [0.25, 0.25, 0.0]);
}
