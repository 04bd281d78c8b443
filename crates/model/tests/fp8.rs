//! Matrices in FP8 with scales, as DeepSeek-V3 is published: read and converted they are what the same
//! numbers are in BF16.

#[path = "lora/support.rs"]
#[expect(dead_code, reason = "the adapters' own tests use more of it")]
mod support;

use std::path::{Path, PathBuf};

use half::bf16;
use kernels::Pool;
use kernels::blocks::{BlockType, dequantize_f8_e4m3, dequantize_row};
use model::Model;
use serde_json::{Map, Value, json};
use support::*;
use weights::Checkpoint;
use weights::convert::{Beside, Draft, SafetensorsOptions};
use weights::pull::Silent;
use weights::safetensors::SafetensorsDir;

/// What a scale covers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Covers {
    /// So many rows and columns.
    Block(usize, usize),
    Row,
    Matrix,
}

/// A file of safetensors in the making.
#[derive(Default)]
struct File {
    header: Map<String, Value>,
    data: Vec<u8>,
}

impl File {
    fn add(&mut self, name: &str, dtype: &str, shape: &[usize], data: &[u8]) {
        let at = self.data.len();
        self.data.extend(data);
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [at, self.data.len()]});
        self.header.insert(name.to_owned(), entry);
    }

    fn write(&self, path: &Path) {
        let header = serde_json::to_vec(&self.header).unwrap();
        let length = (header.len() as u64).to_le_bytes();
        std::fs::write(path, [&length[..], &header, &self.data].concat()).unwrap();
    }
}

fn value(bits: u8) -> f32 {
    let mut weight = [0.0];
    dequantize_f8_e4m3(&[bits], &mut weight);
    weight[0]
}

/// The eight bits that come nearest: magnitudes rise with their bits.
fn nearest(x: f32) -> u8 {
    let (mut below, mut above) = (0, 0x7e);
    while above - below > 1 {
        let middle = (below + above) / 2;
        *if value(middle) <= x.abs() { &mut below } else { &mut above } = middle;
    }
    let closer = x.abs() - value(below) <= value(above) - x.abs();
    (if closer { below } else { above }) | u8::from(x < 0.0) << 7
}

/// The model of the goldens called `name` in FP8, and the same numbers in BF16.
fn made(name: &str, dir: &Path, covers: Covers) -> [PathBuf; 2] {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name);
    let model = SafetensorsDir::open(&golden).unwrap();
    let [mut eight, mut sixteen] = [File::default(), File::default()];
    for info in model.tensors() {
        let mut values = vec![0.0; info.elements()];
        dequantize_row(info.ty, model.tensor(&info.name).unwrap().data, &mut values).unwrap();
        let in_full = ["embed_tokens", "lm_head", "mlp.gate.weight"];
        let &[rows, cols] = &info.shape[..] else {
            let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            eight.add(&info.name, "F32", &info.shape, &bytes);
            sixteen.add(&info.name, "F32", &info.shape, &bytes);
            continue;
        };
        let bytes = |x: f32| bf16::from_f32(x).to_le_bytes();
        if in_full.iter().any(|part| info.name.contains(part)) {
            let bytes: Vec<u8> = values.iter().flat_map(|x| bytes(*x)).collect();
            eight.add(&info.name, "BF16", &info.shape, &bytes);
            sixteen.add(&info.name, "BF16", &info.shape, &bytes);
            continue;
        }
        let (height, width) = match covers {
            Covers::Block(height, width) => (height, width),
            Covers::Row => (1, cols),
            Covers::Matrix => (rows, cols),
        };
        let per_row = cols.div_ceil(width);
        let mut scales = vec![0f32; rows.div_ceil(height) * per_row];
        let scale_of = |at: usize| at / cols / height * per_row + at % cols / width;
        for (at, x) in values.iter().enumerate() {
            let scale = &mut scales[scale_of(at)];
            *scale = scale.max(x.abs() / 448.0);
        }
        let bits: Vec<u8> =
            values.iter().enumerate().map(|(at, x)| nearest(x / scales[scale_of(at)])).collect();
        let again = bits.iter().enumerate().map(|(at, b)| bytes(value(*b) * scales[scale_of(at)]));
        sixteen.add(&info.name, "BF16", &info.shape, &again.flatten().collect::<Vec<u8>>());
        eight.add(&info.name, "F8_E4M3", &info.shape, &bits);
        let (end, shape) = match covers {
            Covers::Block(..) => ("_scale_inv", vec![rows.div_ceil(height), per_row]),
            Covers::Row => ("_scale", vec![rows, 1]),
            Covers::Matrix => ("_scale", vec![]),
        };
        let scales: Vec<u8> = scales.iter().flat_map(|x| x.to_le_bytes()).collect();
        eight.add(&format!("{}{end}", info.name), "F32", &shape, &scales);
        let module = info.name.strip_suffix(".weight").unwrap();
        eight.add(&format!("{module}.input_scale"), "F32", &[], &1f32.to_le_bytes());
    }
    let config: Value =
        serde_json::from_slice(&std::fs::read(golden.join("config.json")).unwrap()).unwrap();
    [("eight", eight), ("sixteen", sixteen)].map(|(name, file)| {
        // Both by one name, which GGUF files have in them.
        let dir = dir.join(name).join("model");
        std::fs::create_dir_all(&dir).unwrap();
        file.write(&dir.join("model.safetensors"));
        let mut config = config.clone();
        if let (Covers::Block(height, width), "eight") = (covers, name) {
            config["quantization_config"] = json!({
                "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                "weight_block_size": [height, width],
            });
        }
        std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
        dir
    })
}

fn load(dir: &Path) -> Result<Model, String> {
    let checkpoint = Checkpoint::open(dir).map_err(|error| error.to_string())?;
    Model::load(checkpoint, Pool::new(2), None).map_err(|error| error.to_string())
}

fn of(model: &Model) -> Vec<f32> {
    let tokens: Vec<u32> = (0..40).map(|i| (i * 37 + 11) % 288).collect();
    logits(model, &tokens, 8, None)
}

#[test]
fn they_are_the_same_model_as_in_bf16() {
    for name in ["qwen3", "qwen3-moe", "deepseek-v3", "phi3"] {
        for covers in [Covers::Block(16, 16), Covers::Block(128, 128), Covers::Row, Covers::Matrix]
        {
            let dir = tempfile::tempdir().unwrap();
            let [eight, sixteen] = made(name, dir.path(), covers);
            let logits = [&eight, &sixteen].map(|dir| of(&load(dir).unwrap()));
            assert_eq!(logits[0], logits[1], "{name}, {covers:?}");

            let files = [&eight, &sixteen].map(|dir| {
                let path = dir.join("model.gguf");
                let checkpoint = Checkpoint::open(dir).unwrap();
                let draft = Draft::of_safetensors(&checkpoint, None).unwrap();
                draft.write_gguf(&path, &Pool::new(2), &Silent).unwrap();
                Checkpoint::open(&path).unwrap()
            });
            assert_eq!(files[0].tensors(), files[1].tensors(), "{name}, {covers:?}");
            for info in files[0].tensors() {
                let data = [0, 1].map(|file: usize| files[file].tensor(&info.name).unwrap().data);
                assert!(data[0] == data[1], "{name}, {covers:?}, {}", info.name);
            }
        }
    }
}

/// Without `quantization_config` scales are for blocks of 128.
#[test]
fn blocks_that_are_not_told_are_of_the_usual_size() {
    // With more than 128 rows in a matrix.
    let dir = tempfile::tempdir().unwrap();
    let [eight, sixteen] = made("phi3", dir.path(), Covers::Block(128, 128));
    let config = std::fs::read(sixteen.join("config.json")).unwrap();
    std::fs::write(eight.join("config.json"), config).unwrap();
    let model = SafetensorsDir::open(&eight).unwrap();
    let mut scales = model.tensors().iter().filter(|t| t.name.ends_with("weight_scale_inv"));
    assert!(scales.any(|t| t.shape == [2, 1]));
    assert_eq!(of(&load(&eight).unwrap()), of(&load(&sixteen).unwrap()));
}

/// Weights in FP8 may be no more than that; scales under a name that isn't known are not passed over.
#[test]
fn weights_without_scales_are_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = File::default();
    let bits: Vec<u8> = (0..32).map(|i| i * 3).collect();
    file.add("model.layers.0.mlp.up_proj.weight", "F8_E4M3", &[4, 8], &bits);
    let path = dir.path().join("model.safetensors");
    file.write(&path);
    std::fs::write(dir.path().join("config.json"), r#"{"model_type": "qwen2"}"#).unwrap();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let read = checkpoint.in_bf16(&Pool::new(2), "blk.0.ffn_up.weight").unwrap().unwrap();
    let expected = bits.iter().flat_map(|bits| bf16::from_f32(value(*bits)).to_le_bytes());
    assert_eq!(read, expected.collect::<Vec<u8>>());

    file.add("model.layers.0.mlp.up_proj.scale_weight", "F32", &[], &2f32.to_le_bytes());
    file.write(&path);
    let error = Checkpoint::open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("up_proj.scale_weight`") && error.contains("not known"), "{error}");
}

/// As safetensors again they are in BF16, and say nothing else.
#[test]
fn they_leave_fp8_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let [eight, sixteen] = made("qwen3", dir.path(), Covers::Block(16, 16));
    let written = [&eight, &sixteen].map(|from| {
        let checkpoint = Checkpoint::open(from).unwrap();
        let out = from.with_file_name("out");
        let options = SafetensorsOptions {
            ty: BlockType::BF16,
            shard_bytes: u64::MAX,
            beside: Beside::Copied(from),
        };
        let draft = Draft::of_safetensors(&checkpoint, None).unwrap();
        draft.write_safetensors(&out, &options, &Pool::new(2), &Silent).unwrap();
        let config = std::fs::read_to_string(out.join("config.json")).unwrap();
        assert!(!config.contains("quantization_config"), "{config}");
        std::fs::read(out.join("model.safetensors")).unwrap()
    });
    assert!(written[0] == written[1]);
}

#[test]
fn scales_that_do_not_fit_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let [eight, _] = made("qwen3", dir.path(), Covers::Block(16, 16));
    let path = eight.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["quantization_config"]["weight_block_size"] = json!([32, 16]);
    std::fs::write(&path, config.to_string()).unwrap();
    let error = load(&eight).err().unwrap();
    assert!(error.contains("_proj.weight_scale…`") && error.contains("32 × 16"), "{error}");

    let mut file = File::default();
    file.add("model.norm.weight", "F8_E4M3", &[8], &[0; 8]);
    file.write(&eight.join("model.safetensors"));
    let error = load(&eight).err().unwrap();
    assert!(error.contains("`model.norm.weight`") && error.contains("no matrix"), "{error}");
    // An embedding is looked up row by row, where nothing multiplies.
    let mut file = File::default();
    file.add("model.embed_tokens.weight", "F8_E4M3", &[291, 64], &[0; 291 * 64]);
    file.write(&eight.join("model.safetensors"));
    let error = load(&eight).err().unwrap();
    assert!(error.contains("token_embd.weight") && error.contains("convert"), "{error}");
}
