//! The report as people see it.

mod common;

use std::path::Path;

use kernels::blocks::BlockType;
use weights::gguf::{GgufWriter, Metadata, StrArray, TensorSpec};
use weights::inspect::{Thinking, inspect};

fn small(path: &Path) {
    let mut m = Metadata::new();
    m.insert("general.architecture", "qwen2");
    m.insert("general.name", "Tiny");
    m.insert("qwen2.block_count", 2u32);
    m.insert("qwen2.embedding_length", 64u32);
    m.insert("qwen2.attention.head_count", 4u32);
    m.insert("qwen2.attention.head_count_kv", vec![2u32, 1]);
    m.insert("qwen2.feed_forward_length", 96u32);
    m.insert("qwen2.context_length", 8192u32);
    m.insert("qwen2.rope.freq_base", 1e6f32);
    m.insert("qwen2.rope.scaling.type", "yarn");
    m.insert("qwen2.rope.scaling.factor", 4f32);
    m.insert("qwen2.rope.scaling.original_context_length", 2048u32);
    m.insert("tokenizer.ggml.model", "gpt2");
    m.insert("tokenizer.ggml.pre", "qwen2");
    m.insert("tokenizer.ggml.tokens", ["a", "b", "c"].into_iter().collect::<StrArray>());
    let template = "{%- if add_generation_prompt %}\n{{- '<|im_start|>assistant\\n<think>\\n' }}";
    m.insert("tokenizer.chat_template", template);
    let spec = |name: &str, shape: &[usize], ty| TensorSpec {
        name: name.to_owned(),
        shape: shape.to_vec(),
        ty,
    };
    let tensors = vec![
        spec("token_embd.weight", &[3, 64], BlockType::Q8_0),
        spec("output_norm.weight", &[64], BlockType::F32),
    ];
    let mut writer = GgufWriter::create(path, &m, tensors).unwrap();
    writer.write_tensor("token_embd.weight", &[1; 204]).unwrap();
    writer.write_tensor("output_norm.weight", &[2; 256]).unwrap();
    writer.commit().unwrap();
}

/// The text of the report, with the directory and the ends of lines tidied.
fn text(path: &Path) -> String {
    let report = inspect(path, None).unwrap().to_string();
    report.replace(&format!("{}/", path.parent().unwrap().display()), "")
}

#[test]
fn the_longest_context_that_fits_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    small(&path);
    let report = inspect(&path, Some(1000)).unwrap();
    let memory = report.memory[0];
    // Two layers with a head of sixteen numbers at most, keys and values, two bytes each.
    let token = memory.kv_cache / 1000;
    assert!(token > 0);
    let beside = memory.weights + memory.work;
    assert_eq!(report.fitting(memory.total()), Some(1000));
    assert_eq!(report.fitting(beside + 7 * token + token / 2), Some(7));
    assert_eq!(report.fitting(beside - 1), Some(0));
}

#[test]
fn a_complete_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    small(&path);
    let expected = "\
tiny.gguf

format         GGUF 3, 1.4 kB (1408 bytes)
architecture   qwen2
name           Tiny
parameters     256 in 2 tensors, 14.38 bits per weight
shape          2 layers, width 64, 4 heads and 2 KV heads of 16, FFN 96, vocabulary 3
context        8,192 tokens
rope           base 1000000, yarn by 4 over 2048
tokenizer      gpt2 (qwen2), 3 tokens
chat template  73 bytes, 2 lines, opens <think>
               | {%- if add_generation_prompt %}
               | {{- '<|im_start|>assistant\\n<think>\\n' }}

type            tensors        parameters        size
F32                   1                64       256 B
Q8_0                  1               192       204 B

memory at           weights    KV (f16)  work space      in all
4,096                1.3 kB      1.0 MB      1.1 MB      2.2 MB
8,192                1.3 kB      2.1 MB      1.1 MB      3.2 MB
";
    assert_eq!(text(&path), expected);
    // The same as data. In memory the three rows take a panel of sixteen.
    let json = serde_json::to_value(inspect(&path, Some(10)).unwrap()).unwrap();
    assert_eq!(json["types"][1]["ty"], "Q8_0");
    assert_eq!(json["memory"][0]["kv_cache"], 2 * 2 * 16 * 2 * 2 * 10);
    assert_eq!(json["memory"][0]["weights"], 2 * 16 * 34 + 64 * 4);
    assert_eq!(json["chat_template"]["thinking"], "opened");
}

/// What the cache holds is the same, whichever way a file counts heads.
#[test]
fn a_model_of_latents() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    for (kv_heads, key_length) in [(1u32, 96u32), (4, 64)] {
        let mut m = Metadata::new();
        m.insert("general.architecture", "deepseek2");
        for (key, value) in [
            ("block_count", 3),
            ("embedding_length", 64),
            ("attention.head_count", 4),
            ("attention.head_count_kv", kv_heads),
            ("attention.key_length", key_length),
            ("attention.kv_lora_rank", 64),
            ("rope.dimension_count", 32),
        ] {
            m.insert(format!("deepseek2.{key}"), value);
        }
        let name = "output_norm.weight".to_owned();
        let tensors = vec![TensorSpec { name: name.clone(), shape: vec![64], ty: BlockType::F32 }];
        let mut writer = GgufWriter::create(&path, &m, tensors).unwrap();
        writer.write_tensor(&name, &[0; 256]).unwrap();
        writer.commit().unwrap();
        let report = inspect(&path, Some(10)).unwrap();
        assert_eq!(report.memory[0].kv_cache, 3 * (64 + 32) * 2 * 10);
        assert!(report.to_string().contains("3 layers, width 64, 4 heads and latents of 96, FFN"));
    }
}

#[test]
fn files_that_are_not_complete() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tiny.gguf");
    small(&path);
    let whole = std::fs::read(&path).unwrap();
    let problems = |len: usize| {
        std::fs::write(&path, &whole[..len]).unwrap();
        let text = text(&path);
        text.split_once("missing or wrong\n").unwrap().1.to_owned()
    };
    assert_eq!(
        problems(whole.len() - 56),
        "  tensor 2 of 2 (`output_norm.weight`) lacks 56 of its 256 bytes
  56 of 460 bytes of tensor data are missing
"
    );
    assert_eq!(
        problems(whole.len() - 300),
        "  tensor 1 of 2 (`token_embd.weight`) lacks 24 of its 204 bytes
  tensor 2 of 2 (`output_norm.weight`) has no data
  280 of 460 bytes of tensor data are missing
"
    );
    assert_eq!(
        problems(whole.len() - 480),
        "  2 of 2 tensors, number 1 (`token_embd.weight`) to 2 (`output_norm.weight`), have no data
  460 of 460 bytes of tensor data are missing
"
    );
    assert_eq!(
        problems(131),
        "  tiny.gguf: metadata key `qwen2.block_count` (3 of 16): the file ends 3 bytes too early; \
         the file is damaged or incomplete, fetch it again
  14 of 16 metadata keys and 2 of 2 tensor descriptions could not be read
"
    );
}

#[test]
fn a_real_file() {
    let Some(path) = common::real_model("smollm2-135m", "smollm2-135m-instruct-q4_1.gguf") else {
        return;
    };
    let report = inspect(&path, None).unwrap();
    assert_eq!(report.problems, [""; 0]);
    assert_eq!(report.architecture.as_deref(), Some("llama"));
    assert_eq!((report.parameters, report.tensors), (134_515_008, 272));
    assert_eq!(report.types[0].ty, "Q4_1");
    assert_eq!(report.shape.layers, Some(30));
    assert_eq!(report.context, Some(8192));
    assert_eq!(report.tokenizer.unwrap().entries, 49152);
    assert_eq!(report.chat_template.unwrap().thinking, Thinking::Unknown);
    assert_eq!(report.memory[1].kv_cache, 30 * 3 * 64 * 2 * 2 * 8192);
}
