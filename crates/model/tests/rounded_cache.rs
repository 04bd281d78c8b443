//! Caches of few bits: close to one in full whatever the biases of keys and values, and as indifferent
//! to neighbours.

mod biased;
#[path = "lora/support.rs"]
#[expect(dead_code, reason = "the adapters' own tests use more of it")]
mod support;

use biased::*;
use kernels::attention::KvType;
use model::{KvCache, Workspace};
use serde_json::json;
use support::*;

#[test]
fn biases_are_not_rounded() {
    for scaling in [
        json!(null),
        json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let model = model(dir.path(), scaling, 2);
        let text = text(3, 200);
        let exact = every(&model, KvType::F32, &text, 50);
        for (ty, limit) in [(KvType::F16, 0.05), (KvType::Q8_0, 0.05), (KvType::Q4_0, 0.6)] {
            for piece in [50, 1] {
                let got = every(&model, ty, &text, piece);
                let away = got.iter().zip(&exact).map(|(a, b)| f64::from(a - b).powi(2));
                let away = (away.sum::<f64>() / got.len() as f64).sqrt();
                assert!(away < limit, "{ty}, pieces of {piece}: {away} away on average");
            }
        }
    }
}

#[test]
fn neighbours_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path(), json!(null), 2);
    let texts = [text(1, 1), text(2, 90), text(3, 7), text(4, 130)];
    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    for ty in [KvType::Q8_0, KvType::Q4_0] {
        let mut cache = KvCache::new(model.config(), ty, 4096);
        cache.shape().check().unwrap();
        let mut work = Workspace::default();
        let mut run = |texts: &[&[u32]]| last(&model, &mut cache, &mut work, texts);
        let alone: Vec<f32> = texts.iter().flat_map(|text| run(&[text])).collect();
        assert_eq!(run(&texts), alone, "{ty}");
    }
}
