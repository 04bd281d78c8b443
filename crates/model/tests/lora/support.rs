//! Models, adapters and the files they are read from.

use std::path::{Path, PathBuf};

use kernels::Pool;
use kernels::attention::KvType;
use kernels::blocks::{BlockType, dequantize_row};
use model::{Adapter, AdapterUse, KvCache, Model, Sequence, Span, Want, Workspace};
use serde_json::{Value as Json, json};
use weights::Checkpoint;
use weights::gguf::{GgufWriter, Metadata, TensorSpec};
use weights::quantize::quantize_row;
use weights::safetensors::{SafetensorsDir, names};

/// A matrix under the name its file gives it.
#[derive(Clone, Debug)]
pub struct Weights {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

pub fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")
}

pub fn open(path: &Path) -> Model {
    Model::load(Checkpoint::open(path).unwrap(), Pool::new(2), None).unwrap()
}

pub fn base(name: &str) -> Model {
    open(&goldens().join(name))
}

pub fn json(path: &Path) -> Json {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub fn whole(adapter: &Adapter) -> Option<AdapterUse<'_>> {
    Some(AdapterUse { adapter, scale: 1.0 })
}

/// Logits after every token, read in pieces of `piece`.
pub fn logits(
    model: &Model,
    tokens: &[u32],
    piece: usize,
    adapter: Option<AdapterUse<'_>>,
) -> Vec<f32> {
    let mut cache = KvCache::new(model.config(), KvType::F32, 256);
    let mut work = Workspace::default();
    let mut sequence = Sequence::default();
    let mut logits = Vec::new();
    for tokens in tokens.chunks(piece) {
        let span = Span { sequence: &mut sequence, tokens, want: Want::All, adapter };
        let n = model.forward(&mut cache, &mut [span], &mut work).unwrap();
        let mut out = vec![0.0; n * model.vocab()];
        model.logits(&mut work, 0..n, &mut out);
        logits.extend(out);
    }
    logits
}

/// Logits of the last token of each text, all read in one batch.
#[allow(dead_code, reason = "the adapters' own tests have one for each span")]
pub fn last(
    model: &Model,
    cache: &mut KvCache,
    work: &mut Workspace,
    texts: &[&[u32]],
) -> Vec<f32> {
    let mut sequences: Vec<Sequence> = texts.iter().map(|_| Sequence::default()).collect();
    let mut spans: Vec<Span<'_>> = sequences
        .iter_mut()
        .zip(texts)
        .map(|(sequence, tokens)| Span { sequence, tokens, want: Want::Last, adapter: None })
        .collect();
    let n = model.forward(cache, &mut spans, work).unwrap();
    let mut out = vec![0.0; n * model.vocab()];
    model.logits(work, 0..n, &mut out);
    sequences.into_iter().for_each(|sequence| cache.release(sequence));
    out
}

/// The tensors of a safetensors file or directory.
pub fn tensors(path: &Path) -> Vec<Weights> {
    let file = SafetensorsDir::open(path).unwrap();
    let read = |info: &weights::TensorInfo| {
        let mut values = vec![0.0; info.elements()];
        let data = file.tensor(&info.name).unwrap().data;
        dequantize_row(info.ty, data, &mut values).unwrap();
        Weights { name: info.name.clone(), shape: info.shape.clone(), values }
    };
    file.tensors().iter().map(read).collect()
}

/// Writes an adapter as PEFT does.
pub fn write_peft(dir: &Path, config: &Json, tensors: &[Weights]) {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("adapter_config.json"), config.to_string()).unwrap();
    write_safetensors(&dir.join("adapter_model.safetensors"), tensors);
}

pub fn write_safetensors(path: &Path, tensors: &[Weights]) {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for t in tensors {
        let start = data.len();
        data.extend(t.values.iter().flat_map(|x| x.to_le_bytes()));
        let entry = json!({"dtype": "F32", "shape": t.shape, "data_offsets": [start, data.len()]});
        header.insert(t.name.clone(), entry);
    }
    let header = Json::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    std::fs::write(path, file).unwrap();
}

pub fn write_gguf(path: &Path, metadata: &Metadata, ty: BlockType, tensors: &[Weights]) {
    let of = |t: &Weights| if t.shape.len() == 1 { BlockType::F32 } else { ty };
    let specs = tensors
        .iter()
        .map(|t| TensorSpec { name: t.name.clone(), shape: t.shape.clone(), ty: of(t) })
        .collect();
    let mut writer = GgufWriter::create(path, metadata, specs).unwrap();
    for t in tensors {
        writer.write_tensor(&t.name, &blocks(of(t), t)).unwrap();
    }
    writer.commit().unwrap();
}

fn blocks(ty: BlockType, t: &Weights) -> Vec<u8> {
    let cols = *t.shape.last().unwrap();
    let mut bytes = Vec::new();
    for row in t.values.chunks_exact(cols) {
        let at = bytes.len();
        bytes.resize(at + ty.row_bytes(cols).unwrap(), 0);
        quantize_row(ty, row, &mut bytes[at..]).unwrap();
    }
    bytes
}

/// What is left of the values when they are stored as `ty`.
pub fn rounded(ty: BlockType, t: &Weights) -> Weights {
    let mut values = vec![0.0; t.values.len()];
    dequantize_row(ty, &blocks(ty, t), &mut values).unwrap();
    Weights { values, ..t.clone() }
}

pub fn adapter_metadata(architecture: &str, alpha: f32) -> Metadata {
    let mut metadata = Metadata::new();
    metadata.insert("general.architecture", architecture);
    metadata.insert("general.type", "adapter");
    metadata.insert("adapter.type", "lora");
    metadata.insert("adapter.lora.alpha", alpha);
    metadata
}

/// The adapter's tensors as llama.cpp's converter names them, and permutes them for `llama`.
pub fn converted(model: &Model, tensors: &[Weights]) -> Vec<Weights> {
    let convert = |t: &Weights| {
        let name = t.name.strip_prefix("base_model.model.").unwrap();
        let (module, half) = name.strip_suffix(".weight").unwrap().rsplit_once('.').unwrap();
        let base =
            names::to_gguf(&model.config().architecture, &format!("{module}.weight")).unwrap();
        let name = format!("{base}.{}", half.to_lowercase());
        let values = if half == "lora_B" { permuted(model, &base, t) } else { t.values.clone() };
        Weights { name, shape: t.shape.clone(), values }
    };
    tensors.iter().map(convert).collect()
}

/// As llama.cpp's converters have it: `reshape(heads, 2, head_dim / 2).swapaxes(1, 2)` over the
/// rows of q and k of `llama`.
fn permuted(model: &Model, gguf_name: &str, t: &Weights) -> Vec<f32> {
    let c = model.config();
    let rotated = gguf_name.ends_with("attn_q.weight") || gguf_name.ends_with("attn_k.weight");
    if c.architecture != "llama" || !rotated {
        return t.values.clone();
    }
    let cols = t.values.len() / t.shape[0];
    let half = c.head_dim / 2;
    let mut out = Vec::new();
    for head in t.values.chunks_exact(c.head_dim * cols) {
        for i in 0..half {
            for side in 0..2 {
                let row = side * half + i;
                out.extend(&head[row * cols..(row + 1) * cols]);
            }
        }
    }
    out
}

/// The golden checkpoint `name` as a GGUF file in f32.
pub fn base_in_gguf(name: &str, path: &Path) {
    let model = base(name);
    let c = model.config();
    let mut metadata = Metadata::new();
    metadata.insert("general.architecture", c.architecture.as_str());
    let mut set =
        |key: &str, n: usize| metadata.insert(format!("{}.{key}", c.architecture), n as u32);
    set("block_count", c.layers);
    set("context_length", c.context_length);
    set("embedding_length", c.hidden);
    set("feed_forward_length", c.ffn);
    set("attention.head_count", c.heads);
    set("attention.head_count_kv", c.kv_heads);
    let eps = format!("{}.attention.layer_norm_rms_epsilon", c.architecture);
    metadata.insert(eps, c.rms_norm_eps);
    metadata.insert(format!("{}.rope.freq_base", c.architecture), c.rope.theta);
    let tensors: Vec<Weights> = tensors(&goldens().join(name))
        .into_iter()
        .map(|t| {
            let name = names::to_gguf(&c.architecture, &t.name).unwrap();
            let values = permuted(&model, &name, &t);
            Weights { name, values, ..t }
        })
        .collect();
    write_gguf(path, &metadata, BlockType::F32, &tensors);
}

/// A PEFT adapter of rank `rank` on every matrix of `model`, the same for the same `seed`.
pub fn random(model: &Model, rank: usize, seed: u64) -> Vec<Weights> {
    let c = model.config();
    let (q, kv) = (c.heads * c.head_dim, c.kv_heads * c.head_dim);
    let mut state = seed;
    let mut tensors = Vec::new();
    for layer in 0..c.layers {
        for (module, rows, cols) in [
            ("self_attn.q_proj", q, c.hidden),
            ("self_attn.k_proj", kv, c.hidden),
            ("self_attn.v_proj", kv, c.hidden),
            ("self_attn.o_proj", c.hidden, q),
            ("mlp.gate_proj", c.ffn, c.hidden),
            ("mlp.up_proj", c.ffn, c.hidden),
            ("mlp.down_proj", c.hidden, c.ffn),
        ] {
            for (half, shape) in [("A", vec![rank, cols]), ("B", vec![rows, rank])] {
                let reach = 1.0 / (shape[1] as f32).sqrt();
                let values = (0..shape[0] * shape[1])
                    .map(|_| {
                        state = state
                            .wrapping_mul(6364136223846793005)
                            .wrapping_add(1442695040888963407);
                        ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * reach
                    })
                    .collect();
                let name =
                    format!("base_model.model.model.layers.{layer}.{module}.lora_{half}.weight");
                tensors.push(Weights { name, shape, values });
            }
        }
    }
    tensors
}

pub fn plain_config(rank: usize, alpha: f64) -> Json {
    json!({
        "peft_type": "LORA", "r": rank, "lora_alpha": alpha, "bias": "none",
        "modules_to_save": null, "use_dora": false, "use_rslora": false,
        "init_lora_weights": true, "rank_pattern": {}, "alpha_pattern": {}, "task_type": "CAUSAL_LM",
    })
}

/// The checkpoint `name` in `dir`, with `scale · B A` added to its weights in double precision.
pub fn merged(name: &str, adapter: &[Weights], scale: f64, dir: &Path) -> Model {
    let mut weights = tensors(&goldens().join(name));
    for pair in adapter.chunks_exact(2) {
        let (a, b) = (&pair[0], &pair[1]);
        let module = a.name.strip_prefix("base_model.model.").unwrap();
        let module = module.strip_suffix(".lora_A.weight").unwrap();
        let w = weights.iter_mut().find(|t| t.name == format!("{module}.weight")).unwrap();
        let (rank, cols) = (a.shape[0], a.shape[1]);
        assert_eq!((&w.shape[..], b.shape[1]), (&[b.shape[0], cols][..], rank));
        for (i, x) in w.values.iter_mut().enumerate() {
            let (row, col) = (i / cols, i % cols);
            let product: f64 = (0..rank)
                .map(|r| f64::from(b.values[row * rank + r]) * f64::from(a.values[r * cols + col]))
                .sum();
            *x = (f64::from(*x) + scale * product) as f32;
        }
    }
    std::fs::copy(goldens().join(name).join("config.json"), dir.join("config.json")).unwrap();
    write_safetensors(&dir.join("model.safetensors"), &weights);
    open(dir)
}

/// A copy of a tiny model with `change` made to its `config.json`.
#[allow(dead_code, reason = "the adapters' own tests change nothing")]
pub fn changed(name: &str, change: impl FnOnce(&mut Json)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(goldens().join(name)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = dir.path().join("config.json");
    let mut config = json(&path);
    change(&mut config);
    std::fs::write(path, config.to_string()).unwrap();
    dir
}
