//! Models in types that are only read: they load, compute what their numbers say, can be converted to
//! types that are written, and nothing is made of them that can't be.

#[path = "../../kernels/tests/block_scales/mod.rs"]
mod block_scales;
#[path = "lora/support.rs"]
#[expect(dead_code, reason = "the adapters' own tests use more of it")]
mod support;

use std::path::Path;

use block_scales::set_scales;
use kernels::Pool;
use kernels::blocks::{BlockType, dequantize_row};
use model::{Config, Factors};
use support::*;
use weights::Checkpoint;
use weights::convert::Draft;
use weights::gguf::{GgufWriter, Metadata, TensorSpec};
use weights::inspect::inspect;
use weights::pull::Silent;
use weights::quantize::{Mix, WRITABLE, Wanted};

const WIDTH: usize = 256;
const VOCAB: usize = 40;

fn metadata() -> Metadata {
    let mut metadata = Metadata::new();
    metadata.insert("general.architecture", "qwen2");
    for (key, value) in [
        ("block_count", 1),
        ("context_length", 128),
        ("embedding_length", WIDTH as u32),
        ("feed_forward_length", WIDTH as u32),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
    ] {
        metadata.insert(format!("qwen2.{key}"), value);
    }
    metadata.insert("qwen2.attention.layer_norm_rms_epsilon", 1e-6f32);
    metadata.insert("qwen2.rope.freq_base", 1e6f32);
    metadata
}

const SHAPES: [(&str, &[usize]); 14] = [
    ("token_embd.weight", &[VOCAB, WIDTH]),
    ("output_norm.weight", &[WIDTH]),
    ("blk.0.attn_norm.weight", &[WIDTH]),
    ("blk.0.attn_q.weight", &[WIDTH, WIDTH]),
    ("blk.0.attn_k.weight", &[WIDTH / 2, WIDTH]),
    ("blk.0.attn_v.weight", &[WIDTH / 2, WIDTH]),
    ("blk.0.attn_q.bias", &[WIDTH]),
    ("blk.0.attn_k.bias", &[WIDTH / 2]),
    ("blk.0.attn_v.bias", &[WIDTH / 2]),
    ("blk.0.attn_output.weight", &[WIDTH, WIDTH]),
    ("blk.0.ffn_norm.weight", &[WIDTH]),
    ("blk.0.ffn_gate.weight", &[WIDTH, WIDTH]),
    ("blk.0.ffn_up.weight", &[WIDTH, WIDTH]),
    ("blk.0.ffn_down.weight", &[WIDTH, WIDTH]),
];

/// A model whose matrices are random blocks of type `ty`, their scales such that weights are like a
/// trained model's.
fn write(path: &Path, ty: BlockType) {
    let of = |shape: &[usize]| if shape.len() == 1 { BlockType::F32 } else { ty };
    let specs = SHAPES.iter().map(|(name, shape)| TensorSpec {
        name: (*name).to_owned(),
        shape: shape.to_vec(),
        ty: of(shape),
    });
    let mut writer = GgufWriter::create(path, &metadata(), specs.collect()).unwrap();
    let mut state = 1u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as u8
    };
    // The root of the mean square of a block whose scale is one.
    let mut block: Vec<u8> = (0..ty.block_bytes()).map(|_| next()).collect();
    set_scales(ty, &mut block, || 0x3c00);
    let mut weights = vec![0.0; ty.block_len()];
    dequantize_row(ty, &block, &mut weights).unwrap();
    let size = weights.iter().map(|w| w * w).sum::<f32>() / weights.len() as f32;
    // A power of two, as f16's exponent: 1 / 16 is what keeps states as large as they come.
    let exponent = (1.0 / 16.0 / size.sqrt()).log2().round() as i32 + 15;
    for (name, shape) in SHAPES {
        let n: usize = shape.iter().product();
        let bytes: Vec<u8> = if shape.len() == 1 {
            (0..n).flat_map(|i| (1.0 + i as f32 / 1000.0).to_le_bytes()).collect()
        } else {
            let mut bytes: Vec<u8> = (0..ty.row_bytes(n).unwrap()).map(|_| next()).collect();
            for block in bytes.chunks_exact_mut(ty.block_bytes()) {
                set_scales(ty, block, || (exponent as u16) << 10 | u16::from(next()));
            }
            bytes
        };
        writer.write_tensor(name, &bytes).unwrap();
    }
    writer.commit().unwrap();
}

fn largest(a: &[f32]) -> f32 {
    a.iter().fold(0.0, |most, x| most.max(x.abs()))
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    largest(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>())
}

#[test]
fn a_model_computes_what_its_numbers_say() {
    let tokens: Vec<u32> = (0..30).map(|i| i * 7 % VOCAB as u32).collect();
    let mut seen = 0;
    for ty in BlockType::ALL.into_iter().filter(|ty| !WRITABLE.contains(ty)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        write(&path, ty);
        let got = logits(&open(&path), &tokens, 8, None);

        let checkpoint = Checkpoint::open(&path).unwrap();
        let mut draft = Draft::of_gguf(&checkpoint).unwrap();
        draft.choose_types(&Wanted::plain(Mix::F32)).unwrap();
        let plain = dir.path().join("f32.gguf");
        draft.write_gguf(&plain, &Pool::new(2), &Silent).unwrap();
        let expected = logits(&open(&plain), &tokens, 8, None);
        // Activations are rounded to 15 bits.
        let (away, size) = (difference(&got, &expected), largest(&expected));
        assert!(size > 0.1 && away <= 1e-3 * size, "{ty}: {away} of {size}");

        // A copy has the same bytes; another type is made when that is asked for.
        let copy = dir.path().join("copy.gguf");
        Draft::of_gguf(&checkpoint).unwrap().write_gguf(&copy, &Pool::new(2), &Silent).unwrap();
        let copied = Checkpoint::open(&copy).unwrap();
        for t in checkpoint.tensors() {
            assert_eq!(
                copied.tensor(&t.name).unwrap().data,
                checkpoint.tensor(&t.name).unwrap().data
            );
        }
        let mut draft = Draft::of_gguf(&checkpoint).unwrap();
        let error = draft.choose_types(&Wanted::plain(Mix::Q8_0)).unwrap_err().to_string();
        assert!(error.contains(&format!("is {ty} already")), "{error}");
        let again = Wanted { requantize: true, ..Wanted::plain(Mix::Q8_0) };
        draft.choose_types(&again).unwrap();
        let path = dir.path().join("q8.gguf");
        draft.write_gguf(&path, &Pool::new(2), &Silent).unwrap();
        let away = difference(&logits(&open(&path), &tokens, 8, None), &expected);
        assert!(away <= 0.1 * size, "{ty}: {away} of {size}");
        seen += 1;
    }
    assert_eq!(seen, BlockType::ALL.len() - WRITABLE.len());
}

/// What a report says of memory is what the loaded model's matrices take.
#[test]
fn a_report_knows_what_is_taken_in_memory() {
    for ty in BlockType::ALL.into_iter().filter(|ty| ty.block_len() > 1) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        write(&path, ty);
        let report = inspect(&path, None).unwrap();
        let vectors: usize =
            SHAPES.iter().filter(|(_, s)| s.len() == 1).map(|(_, s)| 4 * s[0]).sum();
        let matrices = open(&path).weight_bytes(1);
        assert_eq!(report.memory[0].weights as f64, matrices + vectors as f64, "{ty}");
        assert!(report.types.iter().any(|used| used.ty == ty.name()));
    }
}

#[test]
fn an_adapter_is_not_merged_into_what_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    write(&path, BlockType::IQ2_XS);
    let peft = dir.path().join("peft");
    write_peft(&peft, &plain_config(4, 8.0), &random(&open(&path), 4, 7));
    let checkpoint = Checkpoint::open(&path).unwrap();
    let factors = Factors::load(&peft, &Config::read(&checkpoint).unwrap()).unwrap();
    let mut draft = Draft::of_gguf(&checkpoint).unwrap();
    factors.merge_into(&mut draft, 1.0).unwrap();
    let merged = dir.path().join("merged.gguf");
    let error = draft.write_gguf(&merged, &Pool::new(2), &Silent).unwrap_err().to_string();
    let said = "IQ2_XS can be read, but weights can't be quantised to it; they can to F32, F16,";
    assert!(error.contains(said) && error.contains("m.gguf"), "{error}");
    assert!(!merged.exists());
    draft.choose_types(&Wanted { requantize: true, ..Wanted::plain(Mix::Q8_0) }).unwrap();
    draft.write_gguf(&merged, &Pool::new(2), &Silent).unwrap();
}
