//! Models on their way through files: from safetensors to GGUF and back, with an adapter added,
//! they compute what they did before.

#[path = "lora/support.rs"]
#[expect(dead_code, reason = "the adapters' own tests use more of it")]
mod support;

use std::path::{Path, PathBuf};

use kernels::Pool;
use kernels::attention::KvType;
use kernels::blocks::BlockType;
use model::{
    Adapter, Config, Factors, KvCache, Model, Sequence, Span, Target, Want, Workspace, read_f32,
};
use proptest::prelude::*;
use support::*;
use weights::Checkpoint;
use weights::convert::{Beside, Draft, SafetensorsOptions};
use weights::pull::Silent;
use weights::quantize::{Mix, Wanted};
use weights::safetensors::SafetensorsDir;

const TINY: [&str; 7] =
    ["llama", "llama-sharded", "llama3-rope", "qwen2", "qwen2-yarn", "qwen3", "hunyuan-dense"];
/// With q, k and v in one matrix.
const FUSED: [&str; 2] = ["phi3", "phi3-longrope"];
/// With windows in some layers.
const WINDOWED: [&str; 1] = ["gemma3"];
/// The same numbers multiplied in another order, at most.
const TOLERANCE: f32 = 1e-5;

fn tokens() -> Vec<u32> {
    (0..40).map(|i| (i * 37 + 11) % 288).collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn of(model: &Model) -> Vec<f32> {
    logits(model, &tokens(), 8, None)
}

fn to_gguf(from: &Path, path: &Path, mix: Option<Mix>) -> PathBuf {
    let checkpoint = Checkpoint::open(from).unwrap();
    let mut draft = Draft::of_safetensors(&checkpoint, None).unwrap();
    if let Some(mix) = mix {
        draft.choose_types(&Wanted::plain(mix)).unwrap();
    }
    draft.write_gguf(path, &Pool::new(2), &Silent).unwrap();
    path.to_owned()
}

fn to_safetensors(draft: Draft<'_>, dir: &Path, ty: BlockType, shard_bytes: u64) {
    let beside = Beside::Made { normalizer: Default::default(), pre_tokenizer: Default::default() };
    let options = SafetensorsOptions { ty, shard_bytes, beside };
    draft.write_safetensors(dir, &options, &Pool::new(2), &Silent).unwrap();
}

/// The first layer's states worked out again, one number after the other; and no matrix left out.
#[test]
fn what_comes_into_matrices_is_added_up() {
    for name in TINY {
        let model = base(name);
        let config = model.config();
        let mut work = Workspace::observing(&model);
        let mut cache = KvCache::new(config, KvType::F32, 64);
        let mut sequence = Sequence::default();
        for tokens in tokens().chunks(17) {
            let span = Span { sequence: &mut sequence, tokens, want: Want::Nothing, adapter: None };
            model.forward(&mut cache, &mut [span], &mut work).unwrap();
        }
        let squares = work.inputs();
        assert_eq!(squares.tokens(), tokens().len() as u64);

        let hidden = config.hidden;
        let read = |name: &str, shape: &[usize]| read_f32(model.checkpoint(), name, shape).unwrap();
        let embedding = read("token_embd.weight", &[model.vocab(), hidden]);
        let norm = read("blk.0.attn_norm.weight", &[hidden]);
        let mut expected = vec![0.0; hidden];
        for token in tokens() {
            let state = &embedding[token as usize * hidden..][..hidden];
            let mean = state.iter().map(|x| f64::from(x * x)).sum::<f64>() / hidden as f64;
            let scale = 1.0 / (mean + f64::from(config.rms_norm_eps)).sqrt();
            for ((sum, x), weight) in expected.iter_mut().zip(state).zip(&norm) {
                *sum += (f64::from(*x) * scale * f64::from(*weight)).powi(2);
            }
        }
        let got = squares.of(0, Target::Q);
        for (got, expected) in got.iter().zip(&expected) {
            assert!((got - expected).abs() <= 1e-5 * expected, "{name}: {got} and {expected}");
        }
        assert_eq!(got, squares.of(0, Target::V));
        for layer in 0..config.layers {
            for target in Target::ALL {
                let sums = squares.of(layer, target);
                assert!(sums.iter().all(|sum| sum.is_finite() && *sum > 0.0), "{name} {target:?}");
            }
            assert_ne!(squares.of(layer, Target::Q), squares.of(layer, Target::Gate));
        }
        assert_eq!(work.inputs().tokens(), 0, "it was taken");
    }
}

#[test]
fn there_and_back_nothing_is_lost() {
    for name in TINY.into_iter().chain(FUSED).chain(WINDOWED) {
        let dir = tempfile::tempdir().unwrap();
        let original = base(name);
        let expected = of(&original);
        let gguf = to_gguf(&goldens().join(name), &dir.path().join("m.gguf"), None);
        let converted = open(&gguf);
        let away = largest_difference(&of(&converted), &expected);
        assert!(away <= TOLERANCE, "{name}: {away}");
        assert_eq!(converted.config().context_length, original.config().context_length);

        let checkpoint = Checkpoint::open(&gguf).unwrap();
        let back = dir.path().join("back");
        to_safetensors(Draft::of_gguf(&checkpoint).unwrap(), &back, BlockType::F32, 100_000);
        assert!(back.join("model.safetensors.index.json").exists(), "{name}: one file would do");
        // The weights are the same to the bit, rows in their old order.
        let (before, after) = (tensors(&goldens().join(name)), tensors(&back));
        for t in &after {
            let same = before.iter().find(|b| b.name == t.name).unwrap();
            assert_eq!((&t.shape, &t.values), (&same.shape, &same.values), "{name}: {}", t.name);
        }
        let copies = before.iter().filter(|t| after.iter().all(|a| a.name != t.name));
        assert!(copies.clone().all(|t| t.name == "lm_head.weight"), "{name}");
        let returned = open(&back);
        let (mut a, b) = (returned.config().clone(), original.config());
        a.rope.scaling = b.rope.scaling.clone();
        assert_eq!(&a, b, "{name}");
        let away = largest_difference(&of(&returned), &expected);
        assert!(away <= TOLERANCE, "{name}: {away}");
    }
}

#[test]
fn types_are_those_of_the_mix_and_the_logits_stay_close() {
    for (mix, tolerance) in
        [(Mix::F32, 1e-5), (Mix::F16, 0.03), (Mix::BF16, 0.25), (Mix::Q8_0, 0.5)]
    {
        let dir = tempfile::tempdir().unwrap();
        let path = to_gguf(&goldens().join("qwen2"), &dir.path().join("m.gguf"), Some(mix));
        let checkpoint = Checkpoint::open(&path).unwrap();
        for t in checkpoint.tensors() {
            let matrix = t.shape.len() == 2;
            let ty = if matrix { mix.default_type() } else { BlockType::F32 };
            assert_eq!(t.ty, ty, "{mix}: {}", t.name);
        }
        let away = largest_difference(&of(&open(&path)), &of(&base("qwen2")));
        assert!(away <= tolerance, "{mix}: {away}");
    }
}

#[test]
fn what_is_quantized_is_not_quantized_again_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let path = to_gguf(&goldens().join("qwen2"), &dir.path().join("m.gguf"), Some(Mix::Q8_0));
    let checkpoint = Checkpoint::open(&path).unwrap();
    let mut draft = Draft::of_gguf(&checkpoint).unwrap();
    let error = draft.choose_types(&Wanted::plain(Mix::Q4_0)).unwrap_err().to_string();
    assert!(error.contains("is Q8_0 already") && error.contains("--allow-requantize"), "{error}");
    // To numbers of their own is no loss, to the same type no change.
    draft.choose_types(&Wanted::plain(Mix::F16)).unwrap();
    draft.choose_types(&Wanted::plain(Mix::Q8_0)).unwrap();
    let again = Wanted { requantize: true, ..Wanted::plain(Mix::Q4_0) };
    let chosen = draft.choose_types(&again).unwrap();
    assert!(chosen.types.contains_key(&BlockType::Q4_0));
}

#[test]
fn a_merged_model_says_what_base_and_adapter_say() {
    for name in ["llama", "qwen2", "qwen3"] {
        let dir = tempfile::tempdir().unwrap();
        let original = base(name);
        let peft = dir.path().join("peft");
        write_peft(&peft, &plain_config(4, 8.0), &random(&original, 4, 7));
        let adapter = Adapter::load(&peft, &original).unwrap();
        let expected = logits(&original, &tokens(), 8, whole(&adapter));
        assert!(largest_difference(&expected, &of(&original)) > 0.1);

        let gguf = to_gguf(&goldens().join(name), &dir.path().join("base.gguf"), None);
        for from in [goldens().join(name), gguf.clone()] {
            let checkpoint = Checkpoint::open(&from).unwrap();
            let factors = Factors::load(&peft, &Config::read(&checkpoint).unwrap()).unwrap();
            let draft = || match &checkpoint {
                Checkpoint::Gguf(_) => Draft::of_gguf(&checkpoint).unwrap(),
                Checkpoint::Safetensors(_) => Draft::of_safetensors(&checkpoint, None).unwrap(),
            };
            let mut into_gguf = draft();
            let merged = factors.merge_into(&mut into_gguf, 1.0).unwrap();
            assert_eq!((merged.matrices, merged.rounded), (14, 0));
            let path = dir.path().join("merged.gguf");
            into_gguf.write_gguf(&path, &Pool::new(2), &Silent).unwrap();
            let away = largest_difference(&of(&open(&path)), &expected);
            assert!(away <= 1e-4, "{name}: {away}");

            let mut into_dir = draft();
            factors.merge_into(&mut into_dir, 1.0).unwrap();
            let back = tempfile::tempdir().unwrap();
            let path = back.path().join("merged");
            to_safetensors(into_dir, &path, BlockType::F32, u64::MAX);
            let away = largest_difference(&of(&open(&path)), &expected);
            assert!(away <= 1e-4, "{name}: {away}");
        }
        // Half of it, and none of it.
        let checkpoint = Checkpoint::open(&gguf).unwrap();
        let factors = Factors::load(&peft, &Config::read(&checkpoint).unwrap()).unwrap();
        for scale in [0.5, 0.0] {
            let mut draft = Draft::of_gguf(&checkpoint).unwrap();
            factors.merge_into(&mut draft, scale).unwrap();
            let path = dir.path().join("some.gguf");
            draft.write_gguf(&path, &Pool::new(1), &Silent).unwrap();
            let using = Some(model::AdapterUse { adapter: &adapter, scale });
            let expected = logits(&original, &tokens(), 8, using);
            let away = largest_difference(&of(&open(&path)), &expected);
            assert!(away <= 1e-4, "{name} × {scale}: {away}");
        }
        let mut draft = Draft::of_gguf(&checkpoint).unwrap();
        assert!(factors.merge_into(&mut draft, f32::NAN).is_err());
        draft.tensors.retain(|t| t.name != "blk.1.attn_q.weight");
        let error = factors.merge_into(&mut draft, 1.0).unwrap_err().to_string();
        assert!(error.contains("tensor `blk.1.attn_q.weight` is missing"), "{error}");
    }
}

#[test]
fn an_adapter_in_gguf_adds_what_it_did_as_peft() {
    for name in ["llama", "qwen2"] {
        for (key, value) in [
            ("lora_alpha", 8.into()),
            ("use_rslora", true.into()),
            ("alpha_pattern", serde_json::json!({"q_proj": 3.0, "layers.1.mlp.up_proj": 5.0})),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let original = base(name);
            let mut config = plain_config(4, 6.0);
            config[key] = value;
            let peft = dir.path().join("peft");
            write_peft(&peft, &config, &random(&original, 4, 3));
            let adapter = Adapter::load(&peft, &original).unwrap();
            let expected = logits(&original, &tokens(), 8, whole(&adapter));

            let path = dir.path().join("adapter.gguf");
            let factors = Factors::load(&peft, original.config()).unwrap();
            let draft = factors.into_gguf(BlockType::F32).unwrap();
            draft.write_gguf(&path, &Pool::new(2), &Silent).unwrap();
            let read = Adapter::load(&path, &original).unwrap();
            let away =
                largest_difference(&logits(&original, &tokens(), 8, whole(&read)), &expected);
            assert!(away <= TOLERANCE, "{name} {key}: {away}");
            let factors = Factors::load(&peft, original.config()).unwrap();
            assert!(factors.into_gguf(BlockType::Q8_0).is_err());
        }
    }
}

fn refusal(dir: &Path) -> String {
    let checkpoint = Checkpoint::open(dir).unwrap();
    let Err(error) = Draft::of_safetensors(&checkpoint, None) else { panic!("it was taken") };
    error.to_string()
}

#[test]
fn settings_that_can_not_be_converted_are_named() {
    for (key, value, said) in [
        ("model_type", "gpt_neox".into(), "model_type: `gpt_neox` can't be converted"),
        ("model_type", serde_json::Value::Null, "model_type: is missing"),
        ("hidden_size", 0.into(), "width of the embedding: 0 is not within"),
        ("hidden_size", (-1).into(), "hidden_size: is no whole number"),
        ("hidden_size", 128.into(), "call for"),
        ("num_hidden_layers", 3.into(), "tensor `blk.2.attn_norm.weight` is missing"),
        ("num_hidden_layers", 1.into(), "is no part of `llama`"),
        ("num_hidden_layers", u32::MAX.into(), "is not within 1 to 4096"),
        ("num_attention_heads", 0.into(), "number of heads: 0 is not within"),
        ("head_dim", 3.into(), "3 is odd"),
        ("hidden_act", "gelu".into(), "hidden_act: \"gelu\" can't be converted"),
        ("rms_norm_eps", "small".into(), "rms_norm_eps: is no finite number"),
        (
            "rope_scaling",
            serde_json::json!({"rope_type": "longrope", "factor": 2.0}),
            "rope_scaling.rope_type: `longrope` can't be converted",
        ),
        ("rope_scaling", serde_json::json!({"type": "yarn"}), "rope_scaling.factor: is missing"),
    ] {
        let dir = changed("llama", |config| config[key] = value.clone());
        let error = refusal(dir.path());
        assert!(error.contains(said), "{key} {value}: {error}");
        assert!(error.starts_with(&dir.path().display().to_string()), "{error}");
    }
}

#[test]
fn numbers_that_can_not_be_stored_leave_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut weights = tensors(&goldens().join("qwen2"));
    for (value, said) in [(1e9f32, "is 1e9, and F16 ends at"), (f32::NAN, "is NaN")] {
        let norm = |t: &&mut Weights| t.name.ends_with("up_proj.weight");
        weights.iter_mut().find(norm).unwrap().values[100] = value;
        std::fs::copy(goldens().join("qwen2/config.json"), dir.path().join("config.json")).unwrap();
        write_safetensors(&dir.path().join("model.safetensors"), &weights);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let mut draft = Draft::of_safetensors(&checkpoint, None).unwrap();
        draft.choose_types(&Wanted::plain(Mix::F16)).unwrap();
        let out = tempfile::tempdir().unwrap();
        let error = draft.write_gguf(&out.path().join("m.gguf"), &Pool::new(2), &Silent);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("weight 36 of row 1") && error.contains(said), "{error}");
        assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
    }
    assert!(SafetensorsDir::open(dir.path()).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any file is refused with a message, or converted; nothing panics.
    #[test]
    fn damaged_settings_never_panic(at in 0usize..600, byte in any::<u8>()) {
        let dir = changed("qwen3", |_| {});
        let path = dir.path().join("config.json");
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        std::fs::write(&path, bytes).unwrap();
        if let Ok(checkpoint) = Checkpoint::open(dir.path()) {
            let _ = Draft::of_safetensors(&checkpoint, None).map(|draft| draft.bytes());
        }
    }
}

#[test]
fn divisors_and_windows_that_make_no_sense_are_named() {
    for (key, value, expected) in [
        ("long_factor", serde_json::json!([1.0, 2.0]), "long_factor: is no list of 12 numbers"),
        ("short_factor", serde_json::json!(vec![0; 12]), "short_factor: is no list of 12 numbers"),
        ("short_factor", serde_json::Value::Null, "short_factor: is missing"),
    ] {
        let dir = changed("phi3-longrope", |config| config["rope_scaling"][key] = value.clone());
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        for error in [refusal(dir.path()), Config::read(&checkpoint).unwrap_err().to_string()] {
            assert!(error.contains(expected), "{error}");
        }
    }
    let dir = changed("phi3", |config| config["sliding_window"] = 0.into());
    let error = Config::read(&Checkpoint::open(dir.path()).unwrap()).unwrap_err().to_string();
    assert!(error.contains("attention.sliding_window: 0 positions are none to see"), "{error}");

    // Of a GGUF file with one list but not the other.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let checkpoint = Checkpoint::open(&goldens().join("phi3-longrope")).unwrap();
    let mut draft = Draft::of_safetensors(&checkpoint, None).unwrap();
    draft.tensors.retain(|t| t.name != "rope_factors_short.weight");
    draft.write_gguf(&path, &Pool::new(1), &Silent).unwrap();
    let error = Config::read(&Checkpoint::open(&path).unwrap()).unwrap_err().to_string();
    assert!(error.contains("`rope_factors_short.weight` is missing"), "{error}");
}

#[test]
fn what_training_does_not_know_is_refused() {
    for (name, known) in [
        ("llama", true),
        ("qwen3-moe", false),
        ("hunyuan-dense", false),
        ("phi3", false),
        ("gemma3", false),
    ] {
        let config = Config::read(&Checkpoint::open(&goldens().join(name)).unwrap()).unwrap();
        match config.check_trainable() {
            Ok(()) => assert!(known, "{name}"),
            Err(error) => {
                assert!(!known && error.to_string().contains("can't be trained"), "{name}: {error}")
            }
        }
    }
}
