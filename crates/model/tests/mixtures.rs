//! Models of latents and of experts, DeepSeek's, Hunyuan's and Qwen's, on their way to GGUF: as llama.cpp has it, as it
//! had it once, in fewer bits; what the cache holds of them; and what is refused.

#[path = "lora/support.rs"]
#[expect(dead_code, reason = "the adapters' own tests use more of it")]
mod support;

use std::path::Path;

use kernels::Pool;
use kernels::attention::KvType;
use kernels::blocks::{BlockType, dequantize_row};
use model::{Adapter, Config, KvCache, Model, RopeScalingRequest, Sequence, Span, Want, Workspace};
use support::*;
use weights::Checkpoint;
use weights::convert::Draft;
use weights::gguf::{Metadata, Value};
use weights::pull::Silent;
use weights::quantize::{Mix, Wanted};

const LATENT: [&str; 3] = ["deepseek-v2", "deepseek-v2-lite", "deepseek-v3"];
const ALL: [&str; 5] =
    ["deepseek-v2", "deepseek-v2-lite", "deepseek-v3", "hunyuan-moe", "qwen3-moe"];

fn tokens() -> Vec<u32> {
    (0..90).map(|i| (i * 37 + 11) % 288).collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The median over tokens of the largest difference: where numbers are rounded, some token or other near the border
/// between two experts is pushed over it.
fn typical_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let row = a.len() / tokens().len();
    let rows = a.chunks_exact(row).zip(b.chunks_exact(row));
    let mut each: Vec<f32> = rows.map(|(a, b)| largest_difference(a, b)).collect();
    each.sort_by(f32::total_cmp);
    each[each.len() / 2]
}

fn of(model: &Model) -> Vec<f32> {
    logits(model, &tokens(), 8, None)
}

fn convert(name: &str, path: &Path, mix: Option<Mix>) {
    let checkpoint = Checkpoint::open(&goldens().join(name)).unwrap();
    let mut draft = Draft::of_safetensors(&checkpoint, None).unwrap();
    if let Some(mix) = mix {
        draft.choose_types(&Wanted::plain(mix)).unwrap();
    }
    draft.write_gguf(path, &Pool::new(2), &Silent).unwrap();
}

/// Metadata and tensors of a GGUF file.
fn read(path: &Path) -> (Metadata, Vec<Weights>) {
    let checkpoint = Checkpoint::open(path).unwrap();
    let Checkpoint::Gguf(file) = &checkpoint else { panic!("it is none") };
    let mut metadata = Metadata::new();
    file.metadata().iter().for_each(|(key, value)| metadata.insert(key, value.clone()));
    let tensors = checkpoint.tensors().iter().map(|info| {
        let mut values = vec![0.0; info.elements()];
        dequantize_row(info.ty, checkpoint.tensor(&info.name).unwrap().data, &mut values).unwrap();
        Weights { name: info.name.clone(), shape: info.shape.clone(), values }
    });
    (metadata, tensors.collect())
}

fn refusal(path: &Path) -> String {
    match Model::load(Checkpoint::open(path).unwrap(), Pool::new(1), None) {
        Ok(_) => panic!("it was taken"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn either_kind_of_file_is_the_same_model() {
    for name in ALL {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        let original = base(name);
        convert(name, &path, None);
        let converted = open(&path);
        let (mut a, mut b) = (converted.config().clone(), original.config().clone());
        for config in [&mut a, &mut b] {
            // A tenth of it is not quite a tenth.
            if let Some(latent) = &mut config.latent {
                latent.mscale_all_dim = (latent.mscale_all_dim * 1e5).round();
            }
        }
        assert_eq!(a, b, "{name}");
        let away = largest_difference(&of(&converted), &of(&original));
        assert!(away <= 1e-5, "{name}: {away}");
        assert_eq!(converted.weight_bytes(1), original.weight_bytes(1), "{name}");
    }
}

/// The names, the shapes and the keys of llama.cpp's converter.
#[test]
fn files_are_as_others_expect_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    convert("deepseek-v3", &path, None);
    let (metadata, tensors) = read(&path);
    let shape = |name: &str| {
        let found = tensors.iter().find(|t| t.name == name);
        found.unwrap_or_else(|| panic!("there is no {name}")).shape.clone()
    };
    for (name, expected) in [
        ("blk.0.ffn_gate.weight", &[96, 64][..]),
        ("blk.1.attn_q_a.weight", &[32, 64]),
        ("blk.1.attn_q_a_norm.weight", &[32]),
        ("blk.1.attn_q_b.weight", &[4 * 64, 32]),
        ("blk.1.attn_kv_a_mqa.weight", &[96, 64]),
        ("blk.1.attn_kv_a_norm.weight", &[64]),
        ("blk.1.attn_k_b.weight", &[4, 64, 32]),
        ("blk.1.attn_v_b.weight", &[4, 48, 64]),
        ("blk.1.attn_output.weight", &[64, 4 * 48]),
        ("blk.1.exp_probs_b.bias", &[8]),
        ("blk.1.ffn_gate_inp.weight", &[8, 64]),
        ("blk.1.ffn_gate_exps.weight", &[8, 32, 64]),
        ("blk.1.ffn_down_exps.weight", &[8, 64, 32]),
        ("blk.1.ffn_up_shexp.weight", &[32, 64]),
    ] {
        assert_eq!(shape(name), expected, "{name}");
    }
    assert!(tensors.iter().all(|t| !t.name.contains("kv_b") && !t.name.contains("gate.0")));
    let whole = |key: &str| metadata.u32(&format!("deepseek2.{key}")).unwrap();
    for (key, value) in [
        ("block_count", 2),
        ("feed_forward_length", 96),
        ("expert_feed_forward_length", 32),
        ("leading_dense_block_count", 1),
        ("expert_count", 8),
        ("expert_used_count", 3),
        ("expert_shared_count", 1),
        ("expert_group_count", 4),
        ("expert_group_used_count", 2),
        ("expert_gating_func", 2),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 1),
        ("attention.q_lora_rank", 32),
        ("attention.kv_lora_rank", 64),
        ("attention.key_length", 96),
        ("attention.value_length", 64),
        ("attention.key_length_mla", 64),
        ("attention.value_length_mla", 48),
        ("rope.dimension_count", 32),
        ("rope.scaling.original_context_length", 64),
        ("vocab_size", 291),
    ] {
        assert_eq!(whole(key), Some(value), "{key}");
    }
    let number = |key: &str| metadata.f32(&format!("deepseek2.{key}")).unwrap();
    assert_eq!(number("expert_weights_scale"), Some(2.5));
    assert_eq!(number("rope.scaling.yarn_log_multiplier"), Some(0.1));
    assert_eq!(metadata.bool("deepseek2.expert_weights_norm").unwrap(), Some(true));
}

/// Keys and values made of latents by one matrix, heads counted as they were before latents were attended to.
#[test]
fn files_of_the_old_kind_are_the_same_model() {
    for name in LATENT {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        convert(name, &path, None);
        let original = of(&base(name));
        let (mut metadata, mut tensors) = read(&path);
        let config = Config::read(&Checkpoint::open(&path).unwrap()).unwrap();
        let latent = config.latent.unwrap();
        let (nope, value) = (latent.qk_nope_head_dim, latent.v_head_dim);
        for key in ["key_length_mla", "value_length_mla"] {
            metadata.remove(&format!("deepseek2.attention.{key}"));
        }
        for (key, n) in [
            ("head_count_kv", config.heads),
            ("key_length", nope + config.rope.dim),
            ("value_length", value),
        ] {
            metadata.insert(format!("deepseek2.attention.{key}"), Value::U32(n as u32));
        }
        tensors.retain(|t| !t.name.contains("attn_k_b") && !t.name.contains("attn_v_b"));
        let both = support::tensors(&goldens().join(name));
        let both = both.into_iter().filter(|t| t.name.contains("kv_b_proj")).enumerate();
        tensors
            .extend(both.map(|(i, t)| Weights { name: format!("blk.{i}.attn_kv_b.weight"), ..t }));
        for ty in [BlockType::F32, BlockType::BF16, BlockType::Q8_0] {
            // Against the same numbers in full: nothing is rounded in taking the two apart.
            let mut rounded_too = tensors.clone();
            rounded_too.iter_mut().filter(|t| t.shape.len() > 1).for_each(|t| *t = rounded(ty, t));
            write_gguf(&path, &metadata, BlockType::F32, &rounded_too);
            let expected = of(&open(&path));
            write_gguf(&path, &metadata, ty, &tensors);
            let old = open(&path);
            assert_eq!(old.config().latent, config.latent, "{name}");
            let away = typical_difference(&of(&old), &expected);
            assert!(away <= 0.01, "{name} {ty}: {away}");
            if ty == BlockType::F32 {
                let away = largest_difference(&expected, &original);
                assert!(away <= 1e-5, "{name}: {away}");
            }
        }
    }
}

#[test]
fn in_fewer_bits_they_stay_close() {
    for (name, tolerance) in [("deepseek-v2", 0.5), ("hunyuan-moe", 0.5)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        convert(name, &path, Some(Mix::Q8_0));
        let checkpoint = Checkpoint::open(&path).unwrap();
        for t in checkpoint.tensors() {
            let kept = t.shape.len() == 1 || t.name.contains("ffn_gate_inp");
            assert_eq!(t.ty, if kept { BlockType::F32 } else { BlockType::Q8_0 }, "{}", t.name);
        }
        let away = typical_difference(&of(&open(&path)), &of(&base(name)));
        assert!(away <= tolerance, "{name}: {away}");
    }
}

fn cached(model: &Model, ty: KvType) -> Vec<f32> {
    let mut cache = KvCache::new(model.config(), ty, 128);
    cache.shape().check().unwrap();
    let mut work = Workspace::default();
    let mut sequence = Sequence::default();
    let mut all = Vec::new();
    for tokens in tokens().chunks(13) {
        let span = Span { sequence: &mut sequence, tokens, want: Want::All, adapter: None };
        let n = model.forward(&mut cache, &mut [span], &mut work).unwrap();
        let mut out = vec![0.0; n * model.vocab()];
        model.logits(&mut work, 0..n, &mut out);
        all.extend(out);
    }
    all
}

/// One latent and one rotated key a token and layer, whatever the heads.
#[test]
fn the_cache_holds_latents() {
    for name in LATENT {
        let model = base(name);
        let c = model.config();
        let latent = c.latent.unwrap();
        let bytes = KvCache::new(c, KvType::F16, 0).token_bytes();
        assert_eq!(bytes, c.layers * (latent.kv_lora_rank + c.rope.dim) * 2, "{name}");
        let exact = cached(&model, KvType::F32);
        let spread = exact.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        for (ty, share) in [(KvType::F16, 0.002), (KvType::Q8_0, 0.03), (KvType::Q4_0, 0.5)] {
            if KvCache::new(c, ty, 0).shape().check().is_err() {
                assert!(ty.is_rounded() && name == "deepseek-v2-lite", "48 is no multiple of 32");
                continue;
            }
            let away = typical_difference(&cached(&model, ty), &exact);
            assert!(away <= share * spread, "{name}, {ty}: {away} of {spread}");
        }
    }
}

#[test]
fn a_token_is_the_same_alone_and_in_company() {
    for name in ["deepseek-v2", "deepseek-v3", "hunyuan-moe"] {
        let model = base(name);
        let mut work = Workspace::default();
        let mut cache = KvCache::new(model.config(), KvType::F16, 1024);
        let texts: [Vec<u32>; 3] = [
            vec![5],
            (0..70).map(|i| i * 7 % 288).collect(),
            (0..9).map(|i| i * 31 % 288).collect(),
        ];
        let mut run = |texts: &[&[u32]]| last(&model, &mut cache, &mut work, texts);
        let alone: Vec<f32> = texts.iter().flat_map(|text| run(&[&text[..]])).collect();
        let together = run(&texts.iter().map(Vec::as_slice).collect::<Vec<_>>());
        assert_eq!(alone, together, "{name}");
    }
}

/// Without stretching scores aren't multiplied, and with another factor by another number.
#[test]
fn scores_know_how_far_positions_are_stretched() {
    let stretched = |request| {
        let checkpoint = Checkpoint::open(&goldens().join("deepseek-v3")).unwrap();
        of(&Model::load(checkpoint, Pool::new(2), Some(request)).unwrap())
    };
    let (own, none) = (of(&base("deepseek-v3")), stretched(RopeScalingRequest::None));
    assert!(largest_difference(&own, &none) > 0.1);
    let factor = |factor| stretched(RopeScalingRequest::Yarn(factor, Some(64)));
    assert_eq!(factor(1.0), none);
    assert!(largest_difference(&factor(4.0), &own) > 0.1);
}

#[test]
fn what_can_not_be_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    convert("deepseek-v3", &path, None);
    let (metadata, tensors) = read(&path);
    for (key, value, said) in [
        ("attention.kv_lora_rank", 40, "40 is no multiple of 16"),
        ("attention.kv_lora_rank", 0, "0 is not within 1 to 4096"),
        ("attention.key_length_mla", 16, "32 of a head's 16 elements can't be rotated"),
        ("attention.value_length_mla", 5000, "5000 is not within 1 to 4096"),
        ("attention.value_length_mla", 32, "blk.0.attn_v_b.weight"),
        ("attention.q_lora_rank", 48, "blk.0.attn_q_a_norm.weight"),
        ("expert_gating_func", 3, "expert_gating_func: 3 is not one of 1 (softmax), 2 (sigmoid)"),
        ("expert_group_count", 5, "8 experts can't be in 5 groups"),
        ("expert_group_count", 9, "expert_group_count: 9 is not within 1 to 8"),
        ("expert_group_used_count", 5, "expert_group_used_count: 5 is not within 1 to 4"),
        ("expert_used_count", 7, "2 groups of 2 have no 7"),
        ("expert_shared_count", 2, "blk.1.ffn_gate_shexp.weight"),
        ("leading_dense_block_count", 2, "`blk.1.ffn_gate.weight` is missing"),
        ("expert_feed_forward_length", 64, "blk.1.ffn_gate_exps.weight"),
    ] {
        let mut changed = metadata.clone();
        changed.insert(format!("deepseek2.{key}"), Value::U32(value));
        write_gguf(&path, &changed, BlockType::F32, &tensors);
        let error = refusal(&path);
        assert!(error.contains(said), "{key} {value}: {error}");
    }
    let mut changed = metadata.clone();
    changed.insert("deepseek2.expert_weights_scale", -1.0f32);
    write_gguf(&path, &changed, BlockType::F32, &tensors);
    assert!(refusal(&path).contains("expert_weights_scale: -1 is not above 0"));
    let mut fewer = tensors.clone();
    fewer.retain(|t| t.name != "blk.1.attn_v_b.weight");
    write_gguf(&path, &metadata, BlockType::F32, &fewer);
    assert!(refusal(&path).contains("`blk.1.attn_v_b.weight` is missing"));
}

#[test]
fn settings_that_are_not_known_are_named() {
    use serde_json::json;
    for (name, key, value, said) in [
        ("deepseek-v3", "moe_layer_freq", json!(2), "moe_layer_freq"),
        ("deepseek-v3", "attention_bias", json!(true), "attention_bias"),
        ("deepseek-v3", "kv_lora_rank", json!(null), "kv_lora_rank"),
        ("deepseek-v3", "n_group", json!(null), "n_group"),
        ("deepseek-v2", "norm_topk_prob", json!(true), "norm_topk_prob"),
        ("hunyuan-moe", "moe_topk", json!([2, 1]), "moe_topk: differs from layer to layer"),
        ("hunyuan-moe", "use_cla", json!(true), "use_cla"),
    ] {
        let dir = changed(name, |config| config[key] = value.clone());
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let error = Config::read(&checkpoint).unwrap_err().to_string();
        assert!(error.contains(said), "{key} {value}: {error}");
        let Err(error) = Draft::of_safetensors(&checkpoint, None) else {
            panic!("{key} was taken")
        };
        assert!(error.to_string().contains(said), "{key} {value}: {error}");
    }
    // What GGUF has no place for.
    for (key, value, said) in [
        ("rope_interleave", json!(false), "rope_interleave"),
        (
            "rope_scaling",
            json!({"type": "yarn", "factor": 8, "mscale": 0.5, "mscale_all_dim": 1.0}),
            "mscale",
        ),
    ] {
        let dir = changed("deepseek-v3", |config| config[key] = value);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        assert!(Config::read(&checkpoint).is_ok());
        let Err(error) = Draft::of_safetensors(&checkpoint, None) else {
            panic!("{key} was taken")
        };
        assert!(error.to_string().contains(said), "{key}: {error}");
    }
}

/// DeepSeek-V3's files have a layer behind the last, which guesses a second token.
#[test]
fn layers_behind_the_last_are_left_out() {
    let dir = changed("deepseek-v3", |_| {});
    let mut all = tensors(dir.path());
    let more: Vec<Weights> = all
        .iter()
        .filter(|t| t.name.starts_with("model.layers.1."))
        .map(|t| Weights { name: t.name.replace("layers.1.", "layers.2."), ..t.clone() })
        .collect();
    all.extend(more);
    all.push(Weights {
        name: "model.layers.2.eh_proj.weight".to_owned(),
        shape: vec![64, 128],
        values: vec![0.0; 64 * 128],
    });
    write_safetensors(&dir.path().join("model.safetensors"), &all);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let draft = Draft::of_safetensors(&checkpoint, None).unwrap();
    assert!(draft.tensors.iter().all(|t| !t.name.contains("blk.2") && !t.name.contains("layers")));
    assert_eq!(of(&open(dir.path())), of(&base("deepseek-v3")));
}

#[test]
fn neither_adapters_nor_training_know_latents() {
    let model = base("deepseek-v2-lite");
    let dir = tempfile::tempdir().unwrap();
    for (module, said) in [("self_attn.q_proj", "from latents"), ("mlp.up_proj", "experts")] {
        let half = |half: &str, shape: [usize; 2]| Weights {
            name: format!("base_model.model.model.layers.0.{module}.lora_{half}.weight"),
            shape: shape.to_vec(),
            values: vec![0.5; shape[0] * shape[1]],
        };
        let pair = [half("A", [2, 64]), half("B", [192, 2])];
        write_peft(dir.path(), &plain_config(2, 4.0), &pair);
        let Err(error) = Adapter::load(dir.path(), &model) else { panic!("{module} was taken") };
        assert!(error.to_string().contains(said), "{error}");
    }
    for name in ["deepseek-v2", "deepseek-v3", "hunyuan-moe"] {
        let error = base(name).config().check_trainable().unwrap_err().to_string();
        assert!(error.contains("can't be trained"), "{name}: {error}");
    }
}
