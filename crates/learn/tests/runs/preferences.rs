//! Preferences: pairs, single answers, reward models.

use learn::{Learner, journal};

use super::{GRPO, Nobody, Place, stopped_is_as_never_stopped};

const PAIRS: &str = r#"
    steps = 6
    [lora]
    rank = 8
    dropout = 0.1
    [optimizer]
    learning_rate = 5e-3
    [evaluate]
    every = 3
    items = 8
    [checkpoints]
    every = 2
    [METHOD]
    [METHOD.pairs]
    batch = 8
    data = ["DIR/pairs.jsonl"]
"#;

/// The better answer says please.
fn pairs(place: &Place) {
    let line = |i: u32| {
        format!("{{\"prompt\": \"q{i}\", \"chosen\": \"{i} please\", \"rejected\": \"now {i}\"}}\n")
    };
    place.write("pairs.jsonl", &(0..90).map(line).collect::<String>());
}

#[test]
fn the_better_answer_becomes_more_likely() {
    let place = Place::new();
    pairs(&place);
    for objective in [
        "",
        "objective = { loss = 'ipo' }",
        "objective = { loss = 'simpo' }",
        "objective = { loss = 'orpo' }",
    ] {
        let recipe = PAIRS
            .replace("[METHOD]\n", &format!("[METHOD]\n{objective}\n"))
            .replace("METHOD", "preference")
            .replace("steps = 6", "steps = 12");
        let recipe = place.recipe(&recipe, &format!("run{}", objective.len())).unwrap();
        place.run(&recipe, &mut Nobody::default()).unwrap();
        let records = journal::read(&recipe.out).unwrap();
        let of =
            |name: &str| -> Vec<f64> { records.iter().filter_map(|r| r.scalar(name)).collect() };
        let losses = of("held_out/loss");
        assert!(losses.last() < losses.first(), "{objective}: {losses:?}");
        let accuracy = of("held_out/rewards/accuracies");
        assert!(*accuracy.last().unwrap() >= 0.9, "{objective}: {accuracy:?} {:?}", records.last());
    }
    stopped_is_as_never_stopped(&place, &PAIRS.replace("METHOD", "preference"));
}

/// The answers of the pairs, each by itself.
fn answers(place: &Place) {
    let line = |i: u32| {
        format!(
            "{{\"prompt\": \"q{i}\", \"completion\": \"{i} please\", \"label\": true}}\n\
             {{\"prompt\": \"q{i}\", \"completion\": \"now {i}\", \"label\": false}}\n"
        )
    };
    place.write("answers.jsonl", &(0..60).map(line).collect::<String>());
}

#[test]
fn good_answers_become_more_likely_than_bad_ones() {
    let place = Place::new();
    answers(&place);
    let recipe = PAIRS
        .replace("METHOD", "kto")
        .replace("kto.pairs", "kto.answers")
        .replace("pairs.jsonl", "answers.jsonl")
        .replace("batch = 8", "batch = 16");
    let longer = place.recipe(&recipe.replace("steps = 6", "steps = 15"), "run").unwrap();
    place.run(&longer, &mut Nobody::default()).unwrap();
    let records = journal::read(&longer.out).unwrap();
    let of = |name: &str| -> Vec<f64> { records.iter().filter_map(|r| r.scalar(name)).collect() };
    let losses = of("held_out/loss");
    // Before the first step the policy is its own reference.
    assert!((losses[0] - 0.5).abs() < 1e-3 && *losses.last().unwrap() < 0.45, "{losses:?}");
    let margins = of("held_out/rewards/margins");
    assert!(*margins.last().unwrap() > 0.2, "{margins:?}");
    let kl = of("kl");
    assert!(kl.len() == 15 && kl.iter().all(|kl| *kl >= 0.0), "{kl:?}");
    stopped_is_as_never_stopped(&place, &recipe);
}

/// From pairs to a reward model, and from that to a policy it likes better.
#[test]
fn a_reward_model_teaches_a_policy() {
    let place = Place::new();
    pairs(&place);
    place.problems();
    let recipe = PAIRS.replace("METHOD", "reward_model").replace("steps = 6", "steps = 20");
    let recipe = place.recipe(&recipe, "judge").unwrap();
    place.run(&recipe, &mut Nobody::default()).unwrap();
    let records = journal::read(&recipe.out).unwrap();
    let accuracy = records.last().unwrap().scalar("held_out/reward/accuracy");
    assert!(accuracy.unwrap() >= 0.9, "{:?}", records.last());

    // Another run may go on from it, head and all, or from an adapter that has none.
    let from = |what: &str, out: &str| {
        let more = format!("rank = 8\nfrom = 'DIR/{what}'");
        let recipe = PAIRS.replace("METHOD", "reward_model").replace("rank = 8", &more);
        let recipe = place.recipe(&recipe, out).unwrap();
        place.run(&recipe, &mut Nobody::default()).map(|_| journal::read(&recipe.out).unwrap())
    };
    let first = from("judge/checkpoints/000020", "further").unwrap().remove(0);
    let name = "held_out/reward/margin";
    assert_eq!(first.scalar(name), records.last().unwrap().scalar(name));
    assert!(from("nowhere", "lost").unwrap_err().to_string().contains("nowhere"));

    // The engine's word for a text is the trainer's.
    let engine = place.engine();
    let last = place.path("judge/checkpoints/000020");
    let lora = engine::Lora::new(model::Adapter::load(&last, engine.model()).unwrap());
    let mut learner = Learner::reward_model(&recipe, engine.model()).unwrap();
    learner.restore(&last.join("state.safetensors")).unwrap();
    let read = learn::data::read_pairs(&engine, &place.path("pairs.jsonl")).unwrap();
    for pair in read.iter().take(5).flatten() {
        let [chosen, rejected] = [&pair.answers.chosen, &pair.answers.rejected].map(|answer| {
            let text: Vec<u32> = pair.prompt.iter().chain(answer).copied().collect();
            let mut batch = train::Batch::new();
            batch.push_whole(&text).unwrap();
            let trainer = *learner.network().values(&batch).unwrap().last().unwrap();
            let engine = engine.reward(&text, &lora).unwrap();
            assert!((trainer - engine).abs() < 0.05, "{trainer} and {engine}");
            engine
        });
        assert!(chosen > rejected, "{chosen} and {rejected}");
    }

    // And so is the verifier's, which starts from words.
    let engine = std::sync::Arc::new(engine);
    let verifier = learn::preference::RewardVerifier::open(&last, &engine).unwrap();
    let text = std::fs::read_to_string(place.path("pairs.jsonl")).unwrap();
    for (line, pair) in text.lines().zip(&read).take(5) {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let answer = row["chosen"].as_str().unwrap();
        let attempt =
            verify::Attempt { question: row["prompt"].as_str().unwrap(), reasoning: "", answer };
        let Some(pair) = pair else { continue };
        let tokens: Vec<u32> = pair.prompt.iter().chain(&pair.answers.chosen).copied().collect();
        let reward = verifier.reward(&attempt).unwrap();
        assert_eq!(reward, engine.reward(&tokens, &lora).unwrap());
        let verdict = verify::Verifier::verify(&verifier, &attempt).unwrap();
        assert!((verdict.score - 1.0 / (1.0 + f64::from(-reward).exp())).abs() < 1e-9);
    }

    let grpo = GRPO
        .replace("dropout = 0.1", "")
        .replace("steps = 6", "steps = 40")
        .replace("weight = 1.0", "model = 'DIR/judge/best'");
    let recipe = place.recipe(&grpo, "taught").unwrap();
    place.run(&recipe, &mut Nobody::default()).unwrap();
    let records = journal::read(&recipe.out).unwrap();
    let rewards: Vec<f64> = records.iter().filter_map(|r| r.scalar("reward/model/mean")).collect();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    assert!(mean(&rewards[30..]) > mean(&rewards[..5]) + 0.1, "{rewards:?}");
    // A critic can begin with what the reward model knows.
    let ppo = grpo
        .replace("completions = 8\n", "critic = { from = 'DIR/judge/best' }\ncompletions = 2\n")
        .replace("steps = 40", "steps = 1");
    let recipe = place.recipe(&ppo, "ppo").unwrap();
    place.run(&recipe, &mut Nobody::default()).unwrap();
    let records = journal::read(&recipe.out).unwrap();
    let value = records.iter().find_map(|r| r.scalar("critic/value"));
    assert!(value.is_some_and(|value| value != 0.0), "{value:?}");
    // An adapter without a head is no reward model.
    let recipe = GRPO.replace("weight = 1.0", "model = 'DIR/taught/best'");
    let error = place.run(&place.recipe(&recipe, "other").unwrap(), &mut Nobody::default());
    assert!(error.unwrap_err().to_string().contains("grpo.rewards.0.model"));
}
