//! How far an adapter takes a model, against distributions that are worked out one by one.

#[expect(dead_code, reason = "the schedulers' own tests use more of it")]
mod support;

use std::path::Path;

use engine::sampler::LogProbs;
use engine::{Engine, LoadOptions, Lora};
use kernels::attention::KvType;
use model::Adapter;
use support::tiny_safetensors;

fn engine(dir: &Path) -> Engine {
    let (ctx, rope_scaling) = (Some(512), Some("none".parse().unwrap()));
    let options = LoadOptions { threads: Some(2), ctx, rope_scaling, ..LoadOptions::default() };
    Engine::load(&tiny_safetensors(dir), &options).unwrap()
}

fn lora(engine: &Engine) -> Lora {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/goldens/qwen2-lora");
    Lora::new(Adapter::load(&golden, engine.model()).unwrap())
}

/// Logits after each token of a text.
fn logits(engine: &Engine, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut rows = Vec::new();
    let each = |_, row: &[f32]| {
        rows.push(row.to_vec());
        Ok::<(), engine::Error>(())
    };
    engine.logits_of(tokens, tokens.len(), KvType::F16, each).unwrap();
    rows
}

#[test]
fn it_is_the_sum_over_the_tokens_that_count() {
    let dir = tempfile::tempdir().unwrap();
    let plain = engine(dir.path());
    let own = lora(&plain);
    let mut adapted = engine(dir.path());
    adapted.adapt(own.clone());
    // More than a batch, so that there are two.
    let tokens: Vec<u32> = (0..300).map(|i| (i * 37 + 11) % 256).collect();
    let each: Vec<f64> = logits(&adapted, &tokens)
        .iter()
        .zip(logits(&plain, &tokens))
        .map(|(p, q)| {
            let (p, q) = (LogProbs::new(p, 1.0), LogProbs::new(&q, 1.0));
            let both = (0..adapted.model().vocab() as u32).map(|t| (p.of(t), q.of(t)));
            both.map(|(p, q)| f64::from(p).exp() * f64::from(p - q)).sum()
        })
        .collect();
    let counts: [fn(usize) -> bool; 3] = [|_| true, |at| at >= 250, |at| at % 40 == 3];
    for counts in counts {
        // What is expected after a token is about the next one.
        let expected: f64 = (1..tokens.len()).filter(|at| counts(*at)).map(|at| each[at - 1]).sum();
        let got = plain.divergence(&tokens, counts, [Some(&own), None]).unwrap();
        assert!(expected > 1e-3 && (got - expected).abs() < 1e-5 * expected, "{got} {expected}");
    }
    let same = plain.divergence(&tokens, |_| true, [Some(&own), Some(&own)]).unwrap();
    assert_eq!(same, 0.0);
    assert_eq!(plain.divergence(&tokens, |_| true, [None, None]).unwrap(), 0.0);
    assert_eq!(plain.divergence(&tokens[..1], |_| true, [Some(&own), None]).unwrap(), 0.0);
    assert!(plain.divergence(&[], |_| true, [None, None]).is_err());
}
