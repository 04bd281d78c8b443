//! Tiny models as GGUF files.

use std::path::Path;

use kernels::blocks::BlockType;
use model::Config;
use weights::Checkpoint;
use weights::gguf::{GgufWriter, Metadata, TensorSpec};
use weights::quantize::quantize_row;
use weights::safetensors::SafetensorsDir;

use super::tiny;

/// The tiny model `name` as the GGUF file `path`, its matrices stored as `ty`.
pub fn write(name: &str, ty: BlockType, path: &Path) {
    let checkpoint = Checkpoint::open(&tiny(name)).unwrap();
    let c = Config::read(&checkpoint).unwrap();
    let dir = SafetensorsDir::open(&tiny(name)).unwrap();
    let infos = dir.gguf_tensors();
    let of = |shape: &[usize]| if shape.len() == 1 { BlockType::F32 } else { ty };
    let specs = infos.iter().map(|t| TensorSpec {
        name: t.name.clone(),
        shape: t.shape.clone(),
        ty: of(&t.shape),
    });
    let mut writer = GgufWriter::create(path, &metadata(&c), specs.collect()).unwrap();
    for t in infos {
        let values = model::read_f32(&checkpoint, &t.name, &t.shape).unwrap();
        let values = permuted(&c, &t.name, t.cols(), values);
        let mut bytes = Vec::new();
        for row in values.chunks_exact(t.cols()) {
            let at = bytes.len();
            bytes.resize(at + of(&t.shape).row_bytes(t.cols()).unwrap(), 0);
            quantize_row(of(&t.shape), row, &mut bytes[at..]).unwrap();
        }
        writer.write_tensor(&t.name, &bytes).unwrap();
    }
    writer.commit().unwrap();
}

fn metadata(c: &Config) -> Metadata {
    let mut metadata = Metadata::new();
    metadata.insert("general.architecture", c.architecture.as_str());
    for (key, n) in [
        ("block_count", c.layers),
        ("context_length", c.context_length),
        ("embedding_length", c.hidden),
        ("feed_forward_length", c.ffn),
        ("attention.head_count", c.heads),
        ("attention.head_count_kv", c.kv_heads),
        ("attention.key_length", c.head_dim),
    ] {
        metadata.insert(format!("{}.{key}", c.architecture), n as u32);
    }
    let eps = format!("{}.attention.layer_norm_rms_epsilon", c.architecture);
    metadata.insert(eps, c.rms_norm_eps);
    metadata.insert(format!("{}.rope.freq_base", c.architecture), c.rope.theta);
    metadata
}

/// The rows of q and k of `llama` as converters put them: `reshape(heads, 2, head_dim / 2)
/// .swapaxes(1, 2)`.
fn permuted(c: &Config, name: &str, cols: usize, values: Vec<f32>) -> Vec<f32> {
    let rotated = name.ends_with("attn_q.weight") || name.ends_with("attn_k.weight");
    if c.architecture != "llama" || !rotated {
        return values;
    }
    let half = c.head_dim / 2;
    let row = |head: usize, r: usize| (head * c.head_dim + r) * cols;
    let heads = values.len() / (c.head_dim * cols);
    let order = (0..heads)
        .flat_map(|head| (0..half).flat_map(move |i| [row(head, i), row(head, half + i)]));
    order.flat_map(|at| values[at..at + cols].to_vec()).collect()
}
