//! Files that are sound as files but make no model: each gives one error that names the file, the
//! field and what is wrong.

use std::path::Path;

use kernels::Pool;
use kernels::blocks::BlockType;
use model::Model;
use weights::Checkpoint;
use weights::gguf::{GgufWriter, Metadata, TensorSpec, Value};

/// A sound one-layer `qwen2` of width 32, as a list of settings and of tensors.
#[derive(Clone)]
struct Draft {
    settings: Vec<(&'static str, Value)>,
    tensors: Vec<(String, Vec<usize>, BlockType)>,
}

fn sound() -> Draft {
    let n = Value::U32;
    let settings = vec![
        ("general.architecture", Value::Str("qwen2".into())),
        ("qwen2.block_count", n(1)),
        ("qwen2.context_length", n(128)),
        ("qwen2.embedding_length", n(32)),
        ("qwen2.feed_forward_length", n(64)),
        ("qwen2.attention.head_count", n(2)),
        ("qwen2.attention.head_count_kv", n(1)),
        ("qwen2.attention.layer_norm_rms_epsilon", Value::F32(1e-6)),
        ("qwen2.rope.freq_base", Value::F32(1e6)),
    ];
    let tensors: [(&str, &[usize]); 14] = [
        ("token_embd.weight", &[40, 32]),
        ("output_norm.weight", &[32]),
        ("blk.0.attn_norm.weight", &[32]),
        ("blk.0.attn_q.weight", &[32, 32]),
        ("blk.0.attn_k.weight", &[16, 32]),
        ("blk.0.attn_v.weight", &[16, 32]),
        ("blk.0.attn_q.bias", &[32]),
        ("blk.0.attn_k.bias", &[16]),
        ("blk.0.attn_v.bias", &[16]),
        ("blk.0.attn_output.weight", &[32, 32]),
        ("blk.0.ffn_norm.weight", &[32]),
        ("blk.0.ffn_gate.weight", &[64, 32]),
        ("blk.0.ffn_up.weight", &[64, 32]),
        ("blk.0.ffn_down.weight", &[32, 64]),
    ];
    let tensors =
        tensors.map(|(name, shape)| (name.to_owned(), shape.to_vec(), BlockType::F32)).to_vec();
    Draft { settings, tensors }
}

impl Draft {
    fn set(mut self, key: &'static str, value: Value) -> Draft {
        self.settings.retain(|(k, _)| *k != key);
        self.settings.push((key, value));
        self
    }

    fn without(mut self, key: &str) -> Draft {
        self.settings.retain(|(k, _)| *k != key);
        self.tensors.retain(|(name, ..)| name != key);
        self
    }

    fn tensor(mut self, name: &str, shape: &[usize], ty: BlockType) -> Draft {
        self.tensors.retain(|(n, ..)| n != name);
        self.tensors.push((name.to_owned(), shape.to_vec(), ty));
        self
    }

    fn write(&self, path: &Path) {
        let mut metadata = Metadata::new();
        for (key, value) in &self.settings {
            metadata.insert(*key, value.clone());
        }
        let specs = self.tensors.iter().cloned();
        let specs = specs.map(|(name, shape, ty)| TensorSpec { name, shape, ty }).collect();
        let mut writer = GgufWriter::create(path, &metadata, specs).unwrap();
        for (name, shape, ty) in &self.tensors {
            let cols = *shape.last().unwrap();
            let rows = shape.iter().product::<usize>() / cols;
            let bytes = rows * ty.row_bytes(cols).unwrap();
            writer.write_tensor(name, &vec![0; bytes]).unwrap();
        }
        writer.commit().unwrap();
    }

    /// The error of loading it, without the file's name (which it must begin with).
    fn error(&self) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        self.write(&path);
        let Err(error) = Model::load(Checkpoint::open(&path).unwrap(), Pool::new(1), None) else {
            panic!("the file was taken for a model");
        };
        let error = error.to_string();
        let prefix = format!("{}: ", path.display());
        error.strip_prefix(&prefix).unwrap_or_else(|| panic!("{error:?}")).to_owned()
    }
}

#[test]
fn the_sound_draft_loads() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    sound().write(&path);
    let model = Model::load(Checkpoint::open(&path).unwrap(), Pool::new(2), None).unwrap();
    assert_eq!((model.vocab(), model.config().head_dim), (40, 16));
}

#[test]
fn an_unknown_architecture() {
    let error = sound().set("general.architecture", Value::Str("mamba".into())).error();
    assert_eq!(
        error,
        "architecture `mamba` is not one of those this version runs: llama, qwen2, qwen3, qwen3moe, \
         hunyuan-dense, phi3, gemma3, deepseek2, hunyuan-moe"
    );
}

#[test]
fn every_setting_that_is_needed() {
    for key in [
        "general.architecture",
        "qwen2.block_count",
        "qwen2.context_length",
        "qwen2.embedding_length",
        "qwen2.feed_forward_length",
        "qwen2.attention.head_count",
        "qwen2.attention.layer_norm_rms_epsilon",
    ] {
        let error = sound().without(key).error();
        assert!(error.contains(key) && error.contains("missing"), "{error}");
        let error = sound().set(key, Value::Bool(true)).error();
        assert!(error.contains(key) && error.contains("expected"), "{error}");
    }
}

#[test]
fn settings_that_make_no_sense() {
    let n = Value::U32;
    for (key, value, said) in [
        ("qwen2.block_count", n(0), "block_count: 0 is not within 1 to 4096"),
        ("qwen2.block_count", n(u32::MAX), "block_count: 4294967295 is not within"),
        ("qwen2.embedding_length", n(0), "0 is not within"),
        ("qwen2.feed_forward_length", n(u32::MAX), "is not within"),
        ("qwen2.attention.head_count", n(0), "head_count: 0 is not within"),
        ("qwen2.attention.head_count_kv", n(0), "0 is not within"),
        ("qwen2.attention.head_count_kv", n(3), "2 query heads can't share 3 key-value heads"),
        ("qwen2.attention.key_length", n(17), "17 is no multiple of 16"),
        ("qwen2.attention.value_length", n(32), "values of 32 elements beside keys of 16"),
        ("qwen2.rope.dimension_count", n(64), "64 of a head's 16 elements can't be rotated"),
        ("qwen2.rope.dimension_count", n(7), "7 of a head's 16 elements"),
        ("qwen2.rope.freq_base", Value::F32(f32::NAN), "NaN is not above 1"),
        ("qwen2.attention.layer_norm_rms_epsilon", Value::F32(-1.0), "-1 is not between 0 and 1"),
        ("qwen2.rope.scaling.type", Value::Str("ntk".into()), "`ntk` is not one of"),
        ("qwen2.rope.scaling.type", Value::Str("yarn".into()), "is no factor of at least 1"),
        ("qwen2.context_length", n(0), "0 is not within"),
    ] {
        let error = sound().set(key, value).error();
        assert!(error.contains(said), "{key}: {error}");
    }
}

#[test]
fn every_tensor_that_is_needed() {
    for (name, ..) in sound().tensors {
        let error = sound().without(&name).error();
        let said = format!("tensor `{name}` is missing");
        assert!(error.starts_with(&said), "{error}");
    }
}

#[test]
fn tensors_of_another_shape_or_type() {
    for (name, shape, _) in sound().tensors {
        let mut wrong = shape.clone();
        *wrong.last_mut().unwrap() *= 2;
        let error = sound().tensor(&name, &wrong, BlockType::F32).error();
        // A wider embedding contradicts the width; everything else names its own tensor.
        assert!(error.starts_with(&format!("tensor `{name}` has shape {wrong:?}")), "{error}");
    }
    let flat = sound().tensor("blk.0.attn_q.weight", &[1024], BlockType::F32).error();
    assert!(flat.contains("has shape [1024] where the model's settings call for [32, 32]"));
    // Any type will do where the row is a whole number of blocks.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    sound().tensor("blk.0.ffn_down.weight", &[32, 64], BlockType::Q8_0).write(&path);
    assert!(Model::load(Checkpoint::open(&path).unwrap(), Pool::new(2), None).is_ok());
}
