//! Models that don't fit into memory: layers that are read from the file whenever they are needed.

#[path = "lora/support.rs"]
#[expect(dead_code, reason = "the adapters' own tests use more of it")]
mod support;

use kernels::Pool;
use kernels::attention::KvType;
use model::{Config, Error, KvCache, Model, Sequence, Span, Want, Workspace};
use support::*;
use weights::Checkpoint;

fn within(name: &str, room: u64) -> Result<Model, Error> {
    let checkpoint = Checkpoint::open(&goldens().join(name)).unwrap();
    let config = Config::read(&checkpoint).unwrap();
    Model::load_within(checkpoint, Pool::new(2), config, room)
}

/// Logits of all of a text, read in two pieces and then token by token, so that layers are read again.
fn logits_of(model: &Model, ty: KvType) -> Vec<f32> {
    let tokens: Vec<u32> = (0..60).map(|i| (i * 37 + 11) % 250).collect();
    let mut cache = KvCache::new(model.config(), ty, 128);
    let (mut work, mut sequence) = (Workspace::default(), Sequence::default());
    let mut logits = Vec::new();
    for piece in [&tokens[..30], &tokens[30..55]].into_iter().chain(tokens[55..].chunks(1)) {
        let span = Span { sequence: &mut sequence, tokens: piece, want: Want::All, adapter: None };
        let n = model.forward(&mut cache, &mut [span], &mut work).unwrap();
        let mut out = vec![0.0; n * model.vocab()];
        model.logits(&mut work, 0..n, &mut out);
        logits.extend(out);
    }
    logits
}

/// Bytes of a model's weights in memory, the output matrix's among them.
fn all_of(model: &Model) -> u64 {
    model.weight_bytes(1_000_000).ceil() as u64
}

#[test]
fn a_model_in_little_memory_is_the_same_model() {
    for name in ["qwen2", "qwen2-bf16", "qwen3-moe", "phi3"] {
        let whole = within(name, u64::MAX).unwrap();
        assert_eq!(whole.layers_in_file(), (0, 0));
        let all = all_of(&whole);
        for room in [all - 1, all * 3 / 4] {
            let model = within(name, room).unwrap();
            let (in_file, bytes) = model.layers_in_file();
            assert!(in_file > 0 && bytes > 0, "{name} in {room} of {all} bytes");
            assert_eq!(model.weight_bytes(1), whole.weight_bytes(1));
            assert_eq!(model.operations(3, 5, 1, None), whole.operations(3, 5, 1, None));
            // Heads of sixteen can't be cached in eight bits.
            let eight_bits = whole.config().head_dim.is_multiple_of(32);
            let types = [KvType::F32, KvType::Q8_0];
            for ty in types.into_iter().take(1 + usize::from(eight_bits)) {
                assert_eq!(logits_of(&model, ty), logits_of(&whole, ty), "{name}, {ty}");
            }
            // What training would want isn't there.
            let missing = (0..whole.config().layers).filter(|i| model.layer(*i).is_err());
            assert_eq!(missing.count(), in_file);
        }
    }
}

#[test]
fn too_little_memory_is_refused_with_the_numbers() {
    let Err(error) = within("qwen2", 1000) else { panic!("a model in 1000 bytes") };
    let error = error.to_string();
    assert!(error.contains("qwen2") && error.contains("1000 bytes"), "{error}");
    let needed: u64 = error
        .split_once("at least ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{error}"));
    assert!(within("qwen2", needed - 1).is_err());
    let model = within("qwen2", needed).unwrap();
    assert_eq!(model.layers_in_file().0, model.config().layers);
}
