//! What adapters compute: against PEFT (how the goldens were made: `goldens/README.md`), in either
//! container, and beside other adapters.

use kernels::attention::KvType;
use kernels::blocks::BlockType;
use model::{Adapter, AdapterUse, Error, KvCache, Sequence, Span, Want, Workspace};

use crate::support::*;

/// The largest difference allowed in any logit; they are within ±9.
const TOLERANCE: f32 = 1e-4;

fn largest_difference(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn tokens_of(base: &str, prompt: usize) -> Vec<u32> {
    let prompts = json(&goldens().join(base).join("expected.json"));
    let tokens = prompts["prompts"][prompt]["tokens"].as_array().unwrap();
    tokens.iter().map(|t| t.as_u64().unwrap() as u32).collect()
}

/// Compares `adapter` on `model` with what PEFT gave for the golden `name`.
fn check(name: &str, model: &model::Model, adapter: &Adapter) {
    let dir = goldens().join(name);
    let expected = json(&dir.join("expected.json"));
    let bytes = std::fs::read(dir.join("expected.bin")).unwrap();
    let all: Vec<f32> =
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let vocab = model.vocab();
    for piece in [usize::MAX, 1, 7] {
        let mut rows = all.chunks_exact(vocab);
        for kept in expected["kept"].as_array().unwrap() {
            let prompt = kept["prompt"].as_u64().unwrap() as usize;
            let tokens = tokens_of(expected["base"].as_str().unwrap(), prompt);
            let got = logits(model, &tokens, piece, whole(adapter));
            for position in kept["positions"].as_array().unwrap() {
                let at = position.as_u64().unwrap() as usize * vocab;
                let difference = largest_difference(&got[at..at + vocab], rows.next().unwrap());
                assert!(
                    difference <= TOLERANCE,
                    "{name}, prompt {prompt}, position {position}, pieces of {piece}: off by \
                     {difference}"
                );
            }
        }
        assert!(rows.next().is_none());
    }
}

#[test]
fn every_matrix_with_ranks_and_alphas_by_module() {
    let model = base("qwen2");
    let adapter = Adapter::load(&goldens().join("qwen2-lora"), &model).unwrap();
    assert_eq!((adapter.pairs(), adapter.rank()), (14, 4));
    check("qwen2-lora", &model, &adapter);
}

#[test]
fn some_matrices_of_a_layer_rank_stabilised() {
    let model = base("llama");
    // The file in the directory names the directory.
    let path = goldens().join("llama-lora/adapter_model.safetensors");
    let adapter = Adapter::load(&path, &model).unwrap();
    assert_eq!((adapter.pairs(), adapter.rank()), (4, 4));
    check("llama-lora", &model, &adapter);
}

#[test]
fn either_container_goes_with_a_base_from_either() {
    let dir = tempfile::tempdir().unwrap();
    let peft = goldens().join("llama-lora");
    let (gguf, gguf_base) = (dir.path().join("lora.gguf"), dir.path().join("base.gguf"));
    let from_hugging_face = base("llama");
    base_in_gguf("llama", &gguf_base);
    let from_gguf = open(&gguf_base);

    // alpha / √rank is 5 / 2; GGUF's scale is alpha / rank.
    let tensors = converted(&from_hugging_face, &tensors(&peft.join("adapter_model.safetensors")));
    write_gguf(&gguf, &adapter_metadata("llama", 10.0), BlockType::F32, &tensors);
    for model in [&from_hugging_face, &from_gguf] {
        let of_peft = Adapter::load(&peft, model).unwrap();
        let of_gguf = Adapter::load(&gguf, model).unwrap();
        check("llama-lora", model, &of_peft);
        check("llama-lora", model, &of_gguf);
        let tokens = tokens_of("llama", 1);
        assert_eq!(
            logits(model, &tokens, usize::MAX, whole(&of_peft)),
            logits(model, &tokens, usize::MAX, whole(&of_gguf))
        );
    }
    // The rows matter: not to permute them is to be wrong.
    let unlike = Adapter::load(&peft, &from_hugging_face).unwrap();
    let span =
        |sequence| Span { sequence, tokens: &[1], want: Want::Last, adapter: whole(&unlike) };
    let mut cache = KvCache::new(from_gguf.config(), KvType::F32, 64);
    let mut sequence = Sequence::default();
    let error = from_gguf
        .forward(&mut cache, &mut [span(&mut sequence)], &mut Workspace::default())
        .unwrap_err();
    assert!(matches!(error, Error::AdapterModel { .. }), "{error}");
    assert_eq!(sequence.len(), 0);
}

#[test]
fn the_same_as_weights_with_the_adapter_merged_in() {
    // Heads wider than the model in `qwen3`, frequencies stretched and tied output in the other.
    for (name, rank, alpha, scale) in [("qwen3", 1, 1.5, 1.0), ("llama3-rope", 17, 8.5, -0.75)] {
        let dir = tempfile::tempdir().unwrap();
        let model = base(name);
        let tensors = random(&model, rank, 9);
        write_peft(&dir.path().join("adapter"), &plain_config(rank, alpha), &tensors);
        let adapter = Adapter::load(&dir.path().join("adapter"), &model).unwrap();
        let total = alpha / rank as f64 * f64::from(scale);
        let merged = merged(name, &tensors, total, dir.path());
        for prompt in 0..4 {
            let tokens = tokens_of(name, prompt);
            let adapter = Some(AdapterUse { adapter: &adapter, scale });
            let beside = logits(&model, &tokens, usize::MAX, adapter);
            let within = logits(&merged, &tokens, usize::MAX, None);
            let difference = largest_difference(&beside, &within);
            assert!(difference <= TOLERANCE, "{name}, prompt {prompt}: off by {difference}");
            let plain = logits(&model, &tokens, usize::MAX, None);
            assert!(largest_difference(&plain, &within) > 0.5, "{name}: nothing was adapted");
        }
    }
}

#[test]
fn gguf_types_give_what_their_values_give() {
    let dir = tempfile::tempdir().unwrap();
    let model = base("qwen2");
    let tokens = tokens_of("qwen2", 1);
    let random = random(&model, 32, 5);
    for ty in [BlockType::F32, BlockType::F16, BlockType::BF16, BlockType::Q8_0] {
        let (gguf, peft) = (dir.path().join(format!("{ty}.gguf")), dir.path().join(ty.name()));
        let tensors = converted(&model, &random);
        write_gguf(&gguf, &adapter_metadata("qwen2", 16.0), ty, &tensors);
        let values: Vec<Weights> = random.iter().map(|t| rounded(ty, t)).collect();
        write_peft(&peft, &plain_config(32, 16.0), &values);
        let [gguf, peft] = [gguf, peft].map(|path| {
            let adapter = Adapter::load(&path, &model).unwrap();
            logits(&model, &tokens, usize::MAX, whole(&adapter))
        });
        assert_eq!(gguf, peft, "{ty}");
    }
}

#[test]
fn without_an_alpha_the_product_is_added_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let model = base("qwen2");
    let random = random(&model, 4, 6);
    let mut metadata = adapter_metadata("qwen2", 0.0);
    let tokens = tokens_of("qwen2", 1);
    let mut results = Vec::new();
    for alpha in [Some(4.0f32), Some(0.0), None] {
        match alpha {
            Some(alpha) => metadata.insert("adapter.lora.alpha", alpha),
            None => drop(metadata.remove("adapter.lora.alpha")),
        }
        let path = dir.path().join("lora.gguf");
        write_gguf(&path, &metadata, BlockType::F32, &converted(&model, &random));
        let adapter = Adapter::load(&path, &model).unwrap();
        results.push(logits(&model, &tokens, usize::MAX, whole(&adapter)));
    }
    assert!(results.iter().all(|r| *r == results[0]));
}

/// Two adapters of the golden `qwen2`, one of them made up.
fn two(model: &model::Model) -> (Adapter, Adapter) {
    let dir = tempfile::tempdir().unwrap();
    write_peft(dir.path(), &plain_config(5, 3.0), &random(model, 5, 7));
    let other = Adapter::load(dir.path(), model).unwrap();
    (Adapter::load(&goldens().join("qwen2-lora"), model).unwrap(), other)
}

#[test]
fn a_batch_gives_each_span_what_it_gets_alone() {
    let model = base("qwen2");
    let (a, b) = two(&model);
    let prompts: Vec<Vec<u32>> = (0..4).map(|p| tokens_of("qwen2", p)).collect();
    let some = |adapter, scale| Some(AdapterUse { adapter, scale });
    let batch = [
        (3, some(&a, 1.0)),
        (1, some(&a, 1.0)), // one run with the span before
        (1, None),
        (2, some(&a, 1.0)), // and one apart from it
        (2, some(&a, -0.5)),
        (2, some(&b, 1.0)),
        (0, some(&a, 0.0)),
        (3, None),
        (1, some(&b, 2.0)),
    ];
    let alone: Vec<Vec<f32>> = batch
        .iter()
        .map(|(p, adapter)| logits(&model, &prompts[*p], usize::MAX, *adapter))
        .collect();
    // Each does something, and nobody's is anybody else's.
    for (i, one) in alone.iter().enumerate() {
        for other in &alone[i + 1..] {
            assert_ne!(one, other);
        }
    }

    let mut cache = KvCache::new(model.config(), KvType::F32, 2048);
    let mut work = Workspace::default();
    let mut sequences: Vec<Sequence> = batch.iter().map(|_| Sequence::default()).collect();
    let mut spans: Vec<Span<'_>> = sequences
        .iter_mut()
        .zip(&batch)
        .map(|(sequence, (p, adapter))| Span {
            sequence,
            tokens: &prompts[*p],
            want: Want::All,
            adapter: *adapter,
        })
        .collect();
    let n = model.forward(&mut cache, &mut spans, &mut work).unwrap();
    let mut together = vec![0.0; n * model.vocab()];
    model.logits(&mut work, 0..n, &mut together);
    assert!(together == alone.concat(), "a batch changes results");
}

#[test]
fn at_scale_zero_the_base_is_left() {
    let model = base("qwen2");
    let (a, _) = two(&model);
    let tokens = tokens_of("qwen2", 1);
    let plain = logits(&model, &tokens, usize::MAX, None);
    let none = Some(AdapterUse { adapter: &a, scale: 0.0 });
    assert_eq!(plain, logits(&model, &tokens, usize::MAX, none));
    let little = Some(AdapterUse { adapter: &a, scale: 1e-3 });
    let moved = largest_difference(&plain, &logits(&model, &tokens, usize::MAX, little));
    assert!(moved > 1e-5 && moved < 0.1, "{moved}");
}

#[test]
fn an_adapter_of_another_model_and_scales_that_are_no_numbers() {
    let (qwen2, llama) = (base("qwen2"), base("llama"));
    let (a, _) = two(&qwen2);
    let mut cache = KvCache::new(llama.config(), KvType::F32, 64);
    let mut sequence = Sequence::default();
    let mut error = |model: &model::Model, scale| {
        let adapter = Some(AdapterUse { adapter: &a, scale });
        let span = Span { sequence: &mut sequence, tokens: &[1, 2], want: Want::Last, adapter };
        model.forward(&mut cache, &mut [span], &mut Workspace::default()).unwrap_err().to_string()
    };
    let said = error(&llama, 1.0);
    assert!(said.contains("qwen2-lora: the adapter was loaded for another model than"), "{said}");
    for scale in [f32::NAN, f32::INFINITY] {
        let said = error(&qwen2, scale);
        assert!(said.ends_with(&format!("scale: {scale} is no finite number")), "{said}");
    }
    assert_eq!(sequence.len(), 0);
}
