//! Logits of tiny random checkpoints against those of `transformers` in f32 (how they were made:
//! `goldens/README.md`).

use std::path::Path;

use kernels::Pool;
use kernels::attention::KvType;
use kernels::matmul::tile_tokens;
use model::{KvCache, Model, RopeScalingRequest, Sequence, Span, Want, Workspace};
use weights::Checkpoint;

/// The largest difference allowed in any logit.
const TOLERANCE: f32 = 1e-4;
/// The same where a batch is multiplied in bf16 tiles: activations are rounded to eight bits.
const TILE_TOLERANCE: f32 = 0.1;

struct Prompt {
    tokens: Vec<u32>,
    positions: Vec<usize>,
}

struct Golden {
    model: Model,
    prompts: Vec<Prompt>,
    logits: Vec<f32>,
}

fn golden(name: &str) -> Golden {
    stretched(name, None)
}

fn stretched(name: &str, rope_scaling: Option<RopeScalingRequest>) -> Golden {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name);
    let model = Model::load(Checkpoint::open(&dir).unwrap(), Pool::new(2), rope_scaling).unwrap();
    let text = std::fs::read_to_string(dir.join("expected.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let list = |v: &serde_json::Value| -> Vec<u64> {
        v.as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect()
    };
    let prompts = json["prompts"].as_array().unwrap().iter().map(|p| Prompt {
        tokens: list(&p["tokens"]).into_iter().map(|t| t as u32).collect(),
        positions: list(&p["positions"]).into_iter().map(|t| t as usize).collect(),
    });
    let bytes = std::fs::read(dir.join("expected.bin")).unwrap();
    let logits = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    Golden { model, prompts: prompts.collect(), logits }
}

fn largest_difference(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Reads each prompt in pieces of `piece` tokens and compares the logits that are kept.
fn check(name: &str, piece: usize) {
    check_some(name, &golden(name), piece, |_| true);
}

/// The same for the prompts whose lengths are `wanted`.
fn check_some(name: &str, golden: &Golden, piece: usize, wanted: impl Fn(usize) -> bool) {
    let vocab = golden.model.vocab();
    let mut work = Workspace::default();
    let mut cache = KvCache::new(golden.model.config(), KvType::F32, 1024);
    let mut expected = golden.logits.chunks_exact(vocab);
    let in_tiles = tile_tokens(golden.model.isa());
    for (p, prompt) in golden.prompts.iter().enumerate() {
        if !wanted(prompt.tokens.len()) {
            expected.by_ref().take(prompt.positions.len()).for_each(drop);
            continue;
        }
        let mut sequence = golden.model.sequence(prompt.tokens.len());
        let mut logits = Vec::new();
        for tokens in prompt.tokens.chunks(piece) {
            let span = Span { sequence: &mut sequence, tokens, want: Want::All, adapter: None };
            let n = golden.model.forward(&mut cache, &mut [span], &mut work).unwrap();
            let mut out = vec![0.0; n * vocab];
            golden.model.logits(&mut work, 0..n, &mut out);
            logits.extend_from_slice(&out);
        }
        cache.release(sequence);
        for position in &prompt.positions {
            let got = &logits[position * vocab..(position + 1) * vocab];
            let difference = largest_difference(got, expected.next().unwrap());
            let tokens = piece.min(prompt.tokens.len());
            let tiles = name.ends_with("bf16") && in_tiles.is_some_and(|least| tokens >= least);
            assert!(
                difference <= if tiles { TILE_TOLERANCE } else { TOLERANCE },
                "{name}, prompt {p}, position {position}: off by {difference}"
            );
        }
    }
    assert!(expected.next().is_none());
}

macro_rules! goldens {
    ($($test:ident: $name:literal;)*) => {
        $(#[test]
        fn $test() {
            check($name, usize::MAX);
            check($name, 1);
            check($name, 7);
        })*
    };
}

goldens! {
    qwen2: "qwen2";
    qwen2_in_bf16: "qwen2-bf16";
    qwen2_stretched_by_yarn: "qwen2-yarn";
    llama: "llama";
    llama_in_shards: "llama-sharded";
    llama3_frequencies: "llama3-rope";
    qwen3: "qwen3";
    qwen3_with_experts: "qwen3-moe";
    hunyuan_normed_after_rope: "hunyuan-dense";
    phi3_within_its_window: "phi3";
    deepseek_v2_with_groups_of_experts: "deepseek-v2";
    deepseek_v2_lite_stretched: "deepseek-v2-lite";
    deepseek_v3_with_a_bias_for_the_choice: "deepseek-v3";
    hunyuan_with_experts: "hunyuan-moe";
    gemma3_within_windows_and_beyond: "gemma3";
    gemma3_layer_by_layer: "gemma3-layers";
}

/// There are other divisors for a text that is longer than the original context.
#[test]
fn phi3_with_divisors_for_long_texts_and_for_short_ones() {
    const ORIGINAL: usize = 64;
    let name = "phi3-longrope";
    let (all, short) = (golden(name), stretched(name, Some(RopeScalingRequest::None)));
    assert_eq!((all.model.config().context_length, short.model.config().context_length), (512, 64));
    for piece in [usize::MAX, 1, 7] {
        check_some(name, &all, piece, |_| true);
        check_some(name, &short, piece, |n| n <= ORIGINAL);
    }
    assert!(all.prompts.iter().any(|p| p.tokens.len() > ORIGINAL));
    assert!(all.prompts.iter().any(|p| (2..=ORIGINAL).contains(&p.tokens.len())));
}

#[test]
fn a_batch_gives_each_sequence_what_it_gets_alone() {
    let golden = golden("qwen3");
    let vocab = golden.model.vocab();
    let mut work = Workspace::default();
    let mut cache = KvCache::new(golden.model.config(), KvType::F16, 1024);
    let prompts: Vec<&[u32]> = golden.prompts.iter().map(|p| &p.tokens[..]).collect();

    let mut alone = Vec::new();
    for tokens in &prompts {
        let mut sequence = Sequence::default();
        let span = Span { sequence: &mut sequence, tokens, want: Want::Last, adapter: None };
        assert_eq!(golden.model.forward(&mut cache, &mut [span], &mut work).unwrap(), 1);
        let mut out = vec![0.0; vocab];
        golden.model.logits(&mut work, 0..1, &mut out);
        alone.extend(out);
        cache.release(sequence);
    }

    let mut sequences: Vec<Sequence> = prompts.iter().map(|_| Sequence::default()).collect();
    let mut spans: Vec<Span> = sequences
        .iter_mut()
        .zip(&prompts)
        .map(|(sequence, tokens)| Span { sequence, tokens, want: Want::Last, adapter: None })
        .collect();
    let n = golden.model.forward(&mut cache, &mut spans, &mut work).unwrap();
    let mut together = vec![0.0; n * vocab];
    golden.model.logits(&mut work, 0..n, &mut together);
    assert_eq!(alone, together);
}

#[test]
fn a_token_outside_the_vocabulary_is_an_error() {
    let golden = golden("llama");
    let mut cache = KvCache::new(golden.model.config(), KvType::F16, 64);
    let mut sequence = Sequence::default();
    let span =
        Span { sequence: &mut sequence, tokens: &[1, 100_000], want: Want::Last, adapter: None };
    let error = golden
        .model
        .forward(&mut cache, &mut [span], &mut Workspace::default())
        .unwrap_err()
        .to_string();
    assert_eq!(error, "token 100000 is outside the model's vocabulary of 291");
}
