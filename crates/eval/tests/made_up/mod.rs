//! A run that never happened: plausible figures and texts, from a seed.

use eval::run::{Manifest, ModelId, Sample, Source};
use eval::stats::Random;
use verify::Verdict;

/// Tokens at which samples are cut off.
const LIMIT: usize = 4096;

/// The manifest of such a run.
pub fn manifest(model: &str, items: usize, k: usize) -> Manifest {
    Manifest {
        format: 1,
        benchmark: "made-up arithmetic".to_owned(),
        description: "Word problems that were made up to try the report out.".to_owned(),
        benchmark_toml: "name = \"made-up arithmetic\"".to_owned(),
        items: Source { path: "items.jsonl".to_owned(), sha256: "7d".repeat(32) },
        item_count: items,
        k,
        model: ModelId {
            name: model.to_owned(),
            file: Some(Source { path: format!("{model}.gguf"), sha256: "3f9a".repeat(16) }),
            adapter: None,
            flags: None,
            endpoints: Vec::new(),
            parameters: Some(1_543_714_304),
        },
        sampling: serde_json::json!({"temperature": 0.6, "top_p": 0.95, "max_tokens": LIMIT}),
        seed: 1,
        command: ["ponder", "eval", "made-up.toml", "--model", model, "-k", &k.to_string()]
            .map(str::to_owned)
            .to_vec(),
        version: "0.1.0 (9b11b07)".to_owned(),
        machine: Some("2 × made-up cores, AVX-512".to_owned()),
        started: 1_795_000_000,
    }
}

/// `k` samples of each of so many items; the better the model, the higher `skill`.
pub fn samples(items: usize, k: usize, skill: f64, seed: u64) -> Vec<Sample> {
    let mut samples = Vec::new();
    for i in 0..items {
        // The items are the same whoever answers them.
        let mut item = Random::named(99, &i.to_string());
        let level = 1 + item.below(5);
        let (a, b) = (3 + item.below(90), 2 + item.below(40));
        let difficulty = 0.16 * level as f64 + 0.5 * item.unit();
        let question = format!(
            "Mina packs {a} boxes a day with {b} apples each. On the third day she drops two boxes, and \
             half of the apples in them are bruised and thrown away. How many good apples has she \
             packed after {} days?",
            level + 3
        );
        let gold = (a * b * (level + 3) - b).to_string();
        let mut random = Random::named(seed, &i.to_string());
        for index in 0..k {
            samples.push(sample(
                &mut random,
                i,
                index,
                level,
                &question,
                &gold,
                skill - difficulty,
            ));
        }
    }
    samples
}

fn sample(
    random: &mut Random,
    item: usize,
    index: usize,
    level: usize,
    question: &str,
    gold: &str,
    margin: f64,
) -> Sample {
    let chance = 1.0 / (1.0 + (-6.0 * margin).exp());
    let right = random.unit() < chance;
    let spread = (random.unit() + random.unit() + random.unit() - 1.5) * 1.3;
    let tokens = (260.0 * (1.0 + 0.5 * level as f64) * (spread - 1.2 * margin).exp()) as usize + 40;
    let cut = tokens >= LIMIT || !right && random.unit() < 0.04;
    let tokens = if cut { LIMIT } else { tokens };
    let mut reasoning = format!("Okay, let me work this out. {question}\n\n");
    while reasoning.len() < 3 * tokens.min(2500) {
        reasoning += &format!(
            "Take {} and {}: that makes {}. Let me check this once more, since two boxes were dropped. ",
            random.below(90),
            random.below(40),
            random.below(4000)
        );
    }
    if cut && random.unit() < 0.6 {
        reasoning += &"Wait, let me check that again. ".repeat(60);
    }
    if random.unit() < 0.03 {
        reasoning += &"所以一共是这么多个苹果，让我们再检查一遍。".repeat(12);
    }
    let wrong = (gold.parse::<usize>().unwrap_or(0) + [1, 10, 7, 100][random.below(4)]).to_string();
    let said = if right { gold } else { &wrong };
    let cannot_tell = random.unit() < 0.004;
    let verdict = if cut && !right {
        Verdict::missing("no \\boxed answer and no final number")
    } else if right {
        Verdict::right(said, "equal as integers")
    } else {
        Verdict::wrong(said, format!("{said} is not {gold}"))
    };
    let answer = if cut && !right {
        String::new()
    } else {
        format!(
            "Each day she packs the same number of apples.\n\n**Step 1.** Multiply boxes by apples.\n\
             **Step 2.** Subtract the bruised ones.\n\nThe answer is $\\boxed{{{said}}}$."
        )
    };
    Sample {
        item: format!("arithmetic-{item:04}"),
        index,
        seed: random.bits() >> 32,
        question: question.to_owned(),
        task: serde_json::json!({"kind": "math", "answer": gold}),
        reasoning,
        answer,
        finish_reason: if cut { "length" } else { "stop" }.to_owned(),
        prompt_tokens: 96,
        completion_tokens: tokens,
        reasoning_tokens: tokens.saturating_sub(80),
        seconds: tokens as f64 / 31.0,
        verdict: (!cannot_tell).then_some(verdict),
        cannot_tell: cannot_tell
            .then(|| "not settled within 1 s: comparing expressions".to_owned()),
        group: Some(format!("Level {level}")),
        details: serde_json::json!({"boxed": random.unit() < 0.9}).as_object().unwrap().clone(),
        receipt: None,
    }
}
