//! Models of experts: from either kind of file, alone or in company, and what they refuse.

#[path = "lora/support.rs"]
#[expect(dead_code, reason = "the adapters' own tests use more of it")]
mod support;

use std::path::Path;

use kernels::attention::KvType;
use kernels::blocks::BlockType;
use model::{Adapter, Config, KvCache, Model, Workspace};
use serde_json::json;
use support::*;
use weights::Checkpoint;
use weights::gguf::{Metadata, Value};
use weights::safetensors::names;

const NAME: &str = "qwen3-moe";

/// GGUF's settings of the tiny model.
fn metadata(c: &Config) -> Metadata {
    let mut metadata = Metadata::new();
    metadata.insert("general.architecture", "qwen3moe");
    let experts = c.experts.unwrap();
    for (key, value) in [
        ("block_count", c.layers),
        ("context_length", c.context_length),
        ("embedding_length", c.hidden),
        // Of layers without experts, of which there are none.
        ("feed_forward_length", 999),
        ("expert_feed_forward_length", c.ffn),
        ("expert_count", experts.count),
        ("expert_used_count", experts.used),
        ("attention.head_count", c.heads),
        ("attention.head_count_kv", c.kv_heads),
        ("attention.key_length", c.head_dim),
        ("attention.value_length", c.head_dim),
    ] {
        metadata.insert(format!("qwen3moe.{key}"), Value::U32(value as u32));
    }
    metadata.insert("qwen3moe.attention.layer_norm_rms_epsilon", c.rms_norm_eps);
    metadata.insert("qwen3moe.rope.freq_base", c.rope.theta);
    metadata
}

/// The tensors as converters write them: those of all experts of a layer in one.
fn stacked(config: &Config) -> Vec<Weights> {
    let mut all = Vec::new();
    let mut parts = std::collections::BTreeMap::<String, Vec<(usize, Weights)>>::new();
    for t in tensors(&goldens().join(NAME)) {
        let name = names::to_gguf("qwen3moe", &t.name).unwrap();
        let pieces: Vec<&str> = name.split('.').collect();
        match pieces[..] {
            ["blk", layer, part, expert, "weight"] => {
                let name = format!("blk.{layer}.{part}_exps.weight");
                parts.entry(name).or_default().push((expert.parse().unwrap(), t));
            }
            _ => all.push(Weights { name, ..t }),
        }
    }
    for (name, mut experts) in parts {
        experts.sort_by_key(|(expert, _)| *expert);
        assert_eq!(experts.len(), config.experts.unwrap().count);
        let shape = [&[experts.len()][..], &experts[0].1.shape].concat();
        let values = experts.into_iter().flat_map(|(_, t)| t.values).collect();
        all.push(Weights { name, shape, values });
    }
    all
}

fn write(path: &Path, ty: BlockType, change: impl FnOnce(&mut Metadata, &mut Vec<Weights>)) {
    let config = Config::read(&Checkpoint::open(&goldens().join(NAME)).unwrap()).unwrap();
    let (mut metadata, mut tensors) = (metadata(&config), stacked(&config));
    change(&mut metadata, &mut tensors);
    write_gguf(path, &metadata, ty, &tensors);
}

fn of(model: &Model) -> Vec<f32> {
    let tokens: Vec<u32> = (0..40).map(|i| (i * 37 + 11) % 288).collect();
    logits(model, &tokens, 8, None)
}

#[test]
fn either_kind_of_file_is_the_same_model() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let original = base(NAME);
    write(&path, BlockType::F32, |_, _| {});
    let same = open(&path);
    assert_eq!(same.config(), original.config());
    assert_eq!(of(&same), of(&original));
    // Of six experts, two are asked: that is what a step of one token reads. More tokens meet more.
    let reading = |used: u32| {
        write(&path, BlockType::F32, |metadata, _| {
            metadata.insert("qwen3moe.expert_used_count", Value::U32(used));
        });
        open(&path).weight_bytes(1)
    };
    assert_eq!(reading(2), original.weight_bytes(1));
    let one = reading(3) - reading(2);
    assert!(one >= (4 * 3 * 32 * 64 * 2) as f64, "three matrices of each layer, not {one} bytes");
    assert_eq!(reading(6) - reading(2), 4.0 * one);
    let (few, many) = (original.weight_bytes(2), original.weight_bytes(1000));
    assert!(reading(2) < few && few < reading(4) && (many - reading(6)).abs() < 1.0);

    // In eight bits, against the same numbers in full: a token near the border between two experts
    // may not be pushed over it.
    write(&path, BlockType::Q8_0, |_, _| {});
    let eight = of(&open(&path));
    write(&path, BlockType::F32, |_, tensors| {
        tensors.iter_mut().filter(|t| t.shape.len() > 1).for_each(|t| {
            *t = rounded(BlockType::Q8_0, t);
        });
    });
    let full = of(&open(&path));
    let away = eight.iter().zip(&full).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(away < 0.01, "{away}");
}

#[test]
fn a_token_is_the_same_alone_and_in_company() {
    let model = base(NAME);
    let mut work = Workspace::default();
    let mut cache = KvCache::new(model.config(), KvType::F32, 1024);
    let texts: [Vec<u32>; 3] =
        [vec![5], (0..30).map(|i| i * 7 % 288).collect(), (0..9).map(|i| i * 31 % 288).collect()];
    let mut run = |texts: &[&[u32]]| last(&model, &mut cache, &mut work, texts);
    let alone: Vec<f32> = texts.iter().flat_map(|text| run(&[&text[..]])).collect();
    let together = run(&texts.iter().map(Vec::as_slice).collect::<Vec<_>>());
    assert_eq!(alone, together);
}

#[test]
fn settings_and_tensors_that_do_not_fit_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let refused = |change: &dyn Fn(&mut Metadata, &mut Vec<Weights>)| {
        write(&path, BlockType::F32, |metadata, tensors| change(metadata, tensors));
        let checkpoint = Checkpoint::open(&path).unwrap();
        match Model::load(checkpoint, kernels::Pool::new(1), None) {
            Ok(_) => panic!("it was not refused"),
            Err(error) => error.to_string(),
        }
    };
    let set = |key: &'static str, value: u32| {
        move |metadata: &mut Metadata, _: &mut Vec<Weights>| {
            metadata.insert(format!("qwen3moe.{key}"), Value::U32(value));
        }
    };
    let error = refused(&set("expert_used_count", 7));
    assert!(error.contains("expert_used_count: 7 is not within 1 to 6"), "{error}");
    let error = refused(&set("expert_count", 0));
    assert!(error.contains("expert_count: 0 is not within"), "{error}");
    let error = refused(&set("expert_count", 5));
    assert!(error.contains("blk.0.ffn_gate_inp.weight") && error.contains("[6, 64]"), "{error}");
    let error = refused(&|_, tensors| {
        tensors.iter_mut().filter(|t| t.name == "blk.1.ffn_down_exps.weight").for_each(|t| {
            t.shape = vec![t.shape[0], t.shape[2], t.shape[1]];
        });
    });
    assert!(error.contains("blk.1.ffn_down_exps.weight"), "{error}");
    let error = refused(&|_, tensors| tensors.retain(|t| t.name != "blk.1.ffn_up_exps.weight"));
    assert!(error.contains("`blk.1.ffn_up.0.weight` is missing"), "{error}");
}

#[test]
fn adapters_of_attention_only() {
    let dir = tempfile::tempdir().unwrap();
    let model = base(NAME);
    let config = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none"});
    let pair = |module: &str, outputs: usize| {
        let half = |half: &str, shape: [usize; 2]| Weights {
            name: format!("base_model.model.model.layers.0.{module}.lora_{half}.weight"),
            shape: shape.to_vec(),
            values: (0..shape[0] * shape[1]).map(|i| (i % 5) as f32 / 5.0 - 0.3).collect(),
        };
        [half("A", [2, 64]), half("B", [outputs, 2])]
    };
    write_peft(dir.path(), &config, &pair("self_attn.q_proj", 64));
    let adapter = Adapter::load(dir.path(), &model).unwrap();
    let tokens = [1, 2, 3];
    assert_ne!(logits(&model, &tokens, 8, whole(&adapter)), logits(&model, &tokens, 8, None));
    write_peft(dir.path(), &config, &pair("mlp.gate_proj", 32));
    let Err(error) = Adapter::load(dir.path(), &model) else { panic!("it was not refused") };
    assert!(error.to_string().contains("the model has experts there"), "{error}");
}
