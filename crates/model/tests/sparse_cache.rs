//! Caches of which attention leaves pages out.

mod biased;
#[path = "lora/support.rs"]
#[expect(dead_code, reason = "the adapters' own tests use more of it")]
mod support;

use biased::*;
use kernels::attention::{KvType, PAGE, Sparse};
use model::{CacheOptions, KvCache, Sequence};
use serde_json::json;

const TYPES: [KvType; 3] = [KvType::F16, KvType::Q8_0, KvType::Q4_0];

fn sparse(ty: KvType, budget: usize) -> CacheOptions {
    CacheOptions { ty, sparse: Some(Sparse { budget }) }
}

#[test]
fn texts_within_the_budget_are_read_as_ever() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path(), json!(null), 4);
    let text = text(3, 14 * PAGE);
    for ty in TYPES {
        let full = every(&model, ty, &text, 100);
        assert_eq!(every(&model, sparse(ty, 14 * PAGE), &text, 100), full, "{ty}");
        // The first tokens see no more than they may; the last ones do, and look elsewhere.
        let some = every(&model, sparse(ty, 8 * PAGE), &text, 100);
        let early = 5 * 100 * VOCAB;
        assert_eq!(some[..early], full[..early], "{ty}");
        let last = some.len() - VOCAB..;
        assert_ne!(some[last.clone()], full[last], "{ty}");
        assert!(some.iter().all(|x| x.is_finite()));
    }
}

#[test]
fn what_was_taken_back_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path(), json!(null), 4);
    let text = text(5, 20 * PAGE + 9);
    for ty in TYPES {
        let mut cache = KvCache::new(model.config(), sparse(ty, Sparse::LEAST), 8192);
        let read = |cache: &mut KvCache, upto: usize| {
            let mut sequence = Sequence::default();
            go_on(&model, cache, &mut sequence, &text[..upto], 128);
            sequence
        };
        // Ends within a page, which is filled up one by one.
        let start = 18 * PAGE + 50;
        let mut plain = read(&mut cache, start);
        let expected = go_on(&model, &mut cache, &mut plain, &text[start..], 1);
        let mut forked = read(&mut cache, start);
        let mut other = cache.fork(&forked);
        // Other tokens fill the page, are taken back, and written over.
        go_on(&model, &mut cache, &mut forked, &text[..70], 1);
        cache.truncate(&mut forked, start);
        for sequence in [&mut forked, &mut other] {
            assert_eq!(go_on(&model, &mut cache, sequence, &text[start..], 1), expected, "{ty}");
        }
        let again = cache.copy(&plain).unwrap();
        let [a, b] = [plain, again].map(|mut sequence| {
            let last = go_on(&model, &mut cache, &mut sequence, &text[..1], 1);
            cache.release(sequence);
            last
        });
        assert_eq!(a, b, "{ty}");
    }
}
