//! Positions stretched for long texts alone: a text that fits what the model was made for is read as if
//! there were no stretching, a longer one as if all were stretched, side by side in one batch.

mod biased;
#[path = "lora/support.rs"]
#[expect(dead_code, reason = "the adapters' own tests use more of it")]
mod support;

use std::path::Path;

use biased::*;
use kernels::Pool;
use kernels::attention::{KvType, Sparse};
use model::{CacheOptions, KvCache, Model, Sequence, Span, Want, Workspace};
use serde_json::json;
use weights::Checkpoint;

/// Positions that the model was made for.
const MADE_FOR: usize = 64;

fn stretch(dir: &Path, request: &str) -> Result<Model, model::Error> {
    let request = request.parse().unwrap();
    Model::load(Checkpoint::open(dir).unwrap(), Pool::new(2), Some(request))
}

/// Logits after every token of some texts, read side by side in pieces.
fn together(
    model: &Model,
    options: CacheOptions,
    texts: &[Vec<u32>],
    piece: usize,
) -> Vec<Vec<f32>> {
    let mut cache = KvCache::new(model.config(), options, 4096);
    let mut work = Workspace::default();
    let mut sequences: Vec<Sequence> =
        texts.iter().map(|text| model.sequence(text.len())).collect();
    let mut all = vec![Vec::new(); texts.len()];
    for from in (0..texts.iter().map(Vec::len).max().unwrap()).step_by(piece) {
        let mut spans: Vec<Span<'_>> = Vec::new();
        for (sequence, text) in sequences.iter_mut().zip(texts) {
            let tokens = &text[from.min(text.len())..text.len().min(from + piece)];
            spans.push(Span { sequence, tokens, want: Want::All, adapter: None });
        }
        let lengths: Vec<usize> = spans.iter().map(|span| span.tokens.len()).collect();
        let n = model.forward(&mut cache, &mut spans, &mut work).unwrap();
        let mut out = vec![0.0; n * VOCAB];
        model.logits(&mut work, 0..n, &mut out);
        let mut rest = &out[..];
        for (all, n) in all.iter_mut().zip(lengths) {
            let (own, others) = rest.split_at(n * VOCAB);
            all.extend_from_slice(own);
            rest = others;
        }
    }
    all
}

#[test]
fn long_texts_are_stretched_and_short_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    model(dir.path(), json!(null), 3);
    let auto = stretch(dir.path(), "auto:4").unwrap();
    let none = stretch(dir.path(), "none").unwrap();
    let yarn = stretch(dir.path(), "yarn:4").unwrap();
    assert_eq!((auto.config().context_length, none.config().context_length), (256, 64));
    assert!(auto.scales(MADE_FOR + 1) && !auto.scales(MADE_FOR) && !yarn.scales(1000));
    let texts: Vec<Vec<u32>> =
        [20, 200, MADE_FOR, MADE_FOR + 1, 5].iter().map(|n| text(*n as u64, *n)).collect();
    let sparse = Some(Sparse { budget: 128 });
    let caches = [KvType::F16, KvType::Q8_0, KvType::Q4_0].map(CacheOptions::from);
    for options in caches.into_iter().chain([CacheOptions { ty: KvType::Q8_0, sparse }]) {
        for piece in [90, 7] {
            let got = together(&auto, options, &texts, piece);
            for (text, got) in texts.iter().zip(got) {
                let short = text.len() <= MADE_FOR;
                let (own, other) = if short { (&none, &yarn) } else { (&yarn, &none) };
                let same = got == every(own, options, text, piece);
                assert!(same, "{options:?}, a text of {}, pieces of {piece}", text.len());
                assert_ne!(got, every(other, options, text, piece), "{options:?}");
            }
        }
    }
}

/// A branch, and a copy, is read on as its text was begun.
#[test]
fn branches_stay_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    model(dir.path(), json!(null), 2);
    let auto = stretch(dir.path(), "auto:4").unwrap();
    let mut cache = KvCache::new(auto.config(), KvType::Q8_0, 4096);
    let mut long = auto.sequence(MADE_FOR + 1);
    go_on(&auto, &mut cache, &mut long, &text(1, 40), 40);
    let mut others = [cache.fork(&long), cache.copy(&long).unwrap()];
    let own = go_on(&auto, &mut cache, &mut long, &text(2, 10), 10);
    for other in &mut others {
        assert!(other.is_scaled());
        assert_eq!(go_on(&auto, &mut cache, other, &text(2, 10), 10), own);
    }
}

#[test]
fn what_was_made_stretched_stays_so() {
    let dir = tempfile::tempdir().unwrap();
    model(dir.path(), json!({"type": "linear", "factor": 2.0}), 2);
    let error = stretch(dir.path(), "auto:4").err().unwrap().to_string();
    assert!(error.contains("`auto:4`: this model was made with scaling (linear ×2)"), "{error}");
    // YaRN in a file is the makers' advice for long texts: they say themselves that short ones suffer.
    let yarn = json!({"type": "yarn", "factor": 2.0, "original_max_position_embeddings": 64});
    model(dir.path(), yarn, 2);
    for request in ["auto:4", "auto:4:64"] {
        let auto = stretch(dir.path(), request).unwrap();
        assert!(auto.scales(MADE_FOR + 1) && !auto.scales(MADE_FOR), "{request}");
    }
}
