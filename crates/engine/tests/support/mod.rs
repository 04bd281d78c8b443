//! A model small enough to be made on the spot: random weights, a token for each byte.

use std::path::{Path, PathBuf};

use kernels::blocks::BlockType;
use weights::gguf::{Array, GgufWriter, Metadata, TensorSpec, Value};

/// Tokens after the 256 bytes.
pub const SPECIAL: [&str; 5] =
    ["<|im_start|>", "<|im_end|>", "<think>", "</think>", "<|endoftext|>"];
/// Positions the model was made for.
pub const CONTEXT: usize = 256;

const HIDDEN: usize = 32;
const FFN: usize = 48;
const LAYERS: usize = 2;

/// The token of a byte.
pub fn byte(b: u8) -> u32 {
    u32::from(b)
}

/// The token of a special text.
pub fn special(text: &str) -> u32 {
    256 + SPECIAL.iter().position(|s| *s == text).unwrap() as u32
}

/// GPT-2's printable stand-ins for bytes.
fn alphabet() -> Vec<String> {
    let printable = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let mut next = 256;
    (0..=255u8)
        .map(|b| {
            let code = if printable(b) {
                u32::from(b)
            } else {
                next += 1;
                next - 1
            };
            char::from_u32(code).unwrap().to_string()
        })
        .collect()
}

/// Makes a directory of safetensors that can be talked to: the tiny `qwen2` checkpoint of the model
/// crate's goldens and a tokenizer with a token for each byte.
#[allow(dead_code, reason = "not every test file that shares this module needs it")]
pub fn tiny_safetensors(dir: &Path) -> PathBuf {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/goldens/qwen2");
    for name in ["config.json", "generation_config.json", "model.safetensors"] {
        std::fs::copy(golden.join(name), dir.join(name)).unwrap();
    }
    let vocab: serde_json::Map<String, serde_json::Value> =
        alphabet().into_iter().enumerate().map(|(id, text)| (text, id.into())).collect();
    let added: Vec<serde_json::Value> = SPECIAL
        .iter()
        .enumerate()
        .map(|(i, text)| {
            serde_json::json!({
                "id": 256 + i, "content": text, "special": true, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false,
            })
        })
        .collect();
    let byte_level = serde_json::json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true,
    });
    let tokenizer = serde_json::json!({
        "version": "1.0", "added_tokens": added, "normalizer": null,
        "pre_tokenizer": byte_level, "decoder": byte_level, "post_processor": null,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    std::fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let config = serde_json::json!({"eos_token": "<|im_end|>", "bos_token": null});
    std::fs::write(dir.join("tokenizer_config.json"), config.to_string()).unwrap();
    dir.to_owned()
}

/// Writes the model and says where it is. The template opens `<think>` if `thinks`.
pub fn tiny_model(dir: &Path, thinks: bool) -> PathBuf {
    let mut tokens = alphabet();
    tokens.extend(SPECIAL.map(str::to_owned));
    let types: Vec<i32> = (0..tokens.len()).map(|i| if i < 256 { 1 } else { 3 }).collect();
    let vocab = tokens.len();
    let open = if thinks { "<think>\n" } else { "" };
    let template = format!(
        "{{%- for m in messages %}}<|im_start|>{{{{ m.role }}}}\n{{{{ m.content }}}}<|im_end|>\n\
         {{%- endfor %}}<|im_start|>assistant\n{open}{{#- </think> #}}"
    );
    let no_merges: [&str; 0] = [];
    let mut metadata = Metadata::new();
    let mut set = |key: &str, value: Value| metadata.insert(key, value);
    set("general.architecture", Value::Str("llama".into()));
    set("general.name", Value::Str("tiny".into()));
    for (key, value) in [
        ("block_count", LAYERS),
        ("context_length", CONTEXT),
        ("embedding_length", HIDDEN),
        ("feed_forward_length", FFN),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
    ] {
        set(&format!("llama.{key}"), Value::U32(value as u32));
    }
    set("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5));
    set("tokenizer.ggml.model", Value::Str("gpt2".into()));
    set("tokenizer.ggml.pre", Value::Str("gpt-2".into()));
    set("tokenizer.ggml.tokens", Value::Array(Array::Str(tokens.iter().collect())));
    set("tokenizer.ggml.merges", Value::Array(Array::Str(no_merges.iter().collect())));
    set("tokenizer.ggml.token_type", Value::Array(Array::I32(types)));
    set("tokenizer.ggml.eos_token_id", Value::U32(special("<|im_end|>")));
    set("tokenizer.chat_template", Value::Str(template));

    let mut shapes = vec![
        ("token_embd.weight".to_owned(), vec![vocab, HIDDEN]),
        ("output_norm.weight".to_owned(), vec![HIDDEN]),
        ("output.weight".to_owned(), vec![vocab, HIDDEN]),
    ];
    for layer in 0..LAYERS {
        for (name, shape) in [
            ("attn_norm", vec![HIDDEN]),
            ("attn_q", vec![HIDDEN, HIDDEN]),
            ("attn_k", vec![HIDDEN / 2, HIDDEN]),
            ("attn_v", vec![HIDDEN / 2, HIDDEN]),
            ("attn_output", vec![HIDDEN, HIDDEN]),
            ("ffn_norm", vec![HIDDEN]),
            ("ffn_gate", vec![FFN, HIDDEN]),
            ("ffn_up", vec![FFN, HIDDEN]),
            ("ffn_down", vec![HIDDEN, FFN]),
        ] {
            shapes.push((format!("blk.{layer}.{name}.weight"), shape));
        }
    }
    let specs: Vec<TensorSpec> = shapes
        .iter()
        .map(|(name, shape)| TensorSpec {
            name: name.clone(),
            shape: shape.clone(),
            ty: BlockType::F32,
        })
        .collect();
    let path = dir.join(if thinks { "thinks.gguf" } else { "plain.gguf" });
    let mut writer = GgufWriter::create(&path, &metadata, specs).unwrap();
    let mut state = 1u64;
    for (name, shape) in &shapes {
        let data: Vec<u8> = (0..shape.iter().product())
            .flat_map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let x = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
                (if name.contains("norm") { 1.0 } else { 0.6 * x }).to_le_bytes()
            })
            .collect();
        writer.write_tensor(name, &data).unwrap();
    }
    writer.commit().unwrap();
    path
}
