//! Safetensors models of one file and of several, and what lies beside them.

use std::path::Path;

use kernels::blocks::BlockType;
use serde_json::json;
use weights::Checkpoint;
use weights::inspect::{Thinking, inspect};
use weights::safetensors::SafetensorsDir;

/// Writes a file of BF16 vectors, each filled with its own number.
fn write(path: &Path, names: &[(&str, usize)]) {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (i, &(name, len)) in names.iter().enumerate() {
        let start = data.len();
        data.resize(start + 2 * len, i as u8);
        let entry = json!({"dtype": "BF16", "shape": [len], "data_offsets": [start, data.len()]});
        header.insert(name.to_owned(), entry);
    }
    let header = serde_json::to_string(&header).unwrap();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    std::fs::write(path, bytes).unwrap();
}

fn config(dir: &Path) {
    let config = json!({
        "model_type": "qwen3", "num_hidden_layers": 2, "hidden_size": 64,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
        "intermediate_size": 96, "vocab_size": 300, "max_position_embeddings": 256,
        "rope_theta": 1000000.0,
        "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    });
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
}

#[test]
fn one_file_and_the_files_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(
        &dir.join("model.safetensors"),
        &[("model.norm.weight", 3), ("model.layers.1.self_attn.q_norm.weight", 32), ("odd", 1)],
    );
    let model = SafetensorsDir::open(dir).unwrap();
    assert_eq!(
        model.config().unwrap_err().to_string(),
        format!(
            "{}: config.json is missing; fetch it from the model's repository and put it beside \
             the weights",
            dir.display()
        )
    );
    assert!(model.tokenizer_json().unwrap_err().to_string().contains("tokenizer.json is missing"));

    config(dir);
    std::fs::write(dir.join("generation_config.json"), r#"{"temperature": 0.6}"#).unwrap();
    std::fs::write(dir.join("tokenizer.json"), "{}").unwrap();
    std::fs::write(dir.join("tokenizer_config.json"), r#"{"chat_template": "one"}"#).unwrap();
    let model = SafetensorsDir::open(dir).unwrap();
    assert_eq!(model.config().unwrap()["model_type"], "qwen3");
    assert_eq!(model.generation_config().unwrap()["temperature"], 0.6);
    assert_eq!(model.tokenizer_json().unwrap(), b"{}");
    assert_eq!(model.chat_template().unwrap().as_deref(), Some("one"));
    std::fs::write(dir.join("chat_template.jinja"), "two").unwrap();
    assert_eq!(model.chat_template().unwrap().as_deref(), Some("two"));

    for path in [dir.to_owned(), dir.join("model.safetensors")] {
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert!(matches!(checkpoint, Checkpoint::Safetensors(_)));
        let names: Vec<&str> = checkpoint.tensors().iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["output_norm.weight", "blk.1.attn_q_norm.weight", "odd"]);
        let norm = checkpoint.tensor("blk.1.attn_q_norm.weight").unwrap();
        assert_eq!((norm.info.ty, norm.data), (BlockType::BF16, [1; 64].as_slice()));
        checkpoint.prefetch("output_norm.weight");
        checkpoint.release("output_norm.weight");
        assert!(checkpoint.tensor("model.norm.weight").is_none());
    }
    std::fs::write(dir.join("config.json"), "{").unwrap();
    let message = SafetensorsDir::open(dir).unwrap_err().to_string();
    assert!(message.contains("config.json: JSON: EOF while parsing an object"), "{message}");
}

fn sharded(dir: &Path) {
    write(&dir.join("a.safetensors"), &[("model.embed_tokens.weight", 3)]);
    write(&dir.join("b.safetensors"), &[("lm_head.weight", 2), ("model.norm.weight", 4)]);
    let index = json!({"metadata": {}, "weight_map": {
        "model.embed_tokens.weight": "a.safetensors",
        "lm_head.weight": "b.safetensors",
        "model.norm.weight": "b.safetensors",
    }});
    std::fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

#[test]
fn shards_are_opened_together() {
    let dir = tempfile::tempdir().unwrap();
    sharded(dir.path());
    for path in [dir.path().to_owned(), dir.path().join("b.safetensors")] {
        let model = SafetensorsDir::open(&path).unwrap();
        assert_eq!(model.tensors().len(), 3);
        assert_eq!(model.tensor("model.norm.weight").unwrap().data, [1; 8]);
        assert_eq!(model.gguf_tensor("token_embd.weight").unwrap().info.part, 0);
    }
    // A stranger beside the shards is a model by itself.
    write(&dir.path().join("c.safetensors"), &[("x", 1)]);
    let model = SafetensorsDir::open(&dir.path().join("c.safetensors")).unwrap();
    assert_eq!(model.tensors().len(), 1);
}

#[test]
fn a_directory_without_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let message = SafetensorsDir::open(dir.path()).unwrap_err().to_string();
    assert!(message.contains("model.safetensors or model.safetensors.index.json is missing"));
    write(&dir.path().join("x.safetensors"), &[("x", 1)]);
    assert_eq!(SafetensorsDir::open(dir.path()).unwrap().tensors().len(), 1);
    write(&dir.path().join("y.safetensors"), &[("y", 1)]);
    let message = SafetensorsDir::open(dir.path()).unwrap_err().to_string();
    assert!(message.contains("how the 2 .safetensors files belong together"), "{message}");
}

#[test]
fn the_report_of_a_complete_and_of_a_cut_model() {
    let dir = tempfile::tempdir().unwrap();
    sharded(dir.path());
    config(dir.path());
    std::fs::write(
        dir.path().join("tokenizer.json"),
        r#"{"added_tokens": [{}], "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}}}"#,
    )
    .unwrap();
    let template = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}";
    std::fs::write(dir.path().join("chat_template.jinja"), template).unwrap();
    let report = inspect(dir.path(), Some(100)).unwrap();
    assert_eq!(report.problems, [""; 0]);
    assert_eq!(report.architecture.as_deref(), Some("qwen3"));
    assert_eq!((report.parameters, report.tensor_bytes), (9, 18));
    assert_eq!(report.tokenizer.as_ref().unwrap().entries, 3);
    assert_eq!(report.chat_template.as_ref().unwrap().thinking, Thinking::Opened);
    assert_eq!(report.rope.scaling.as_deref(), Some("yarn"));
    // Layers × KV heads × width × (keys and values) × bytes × context.
    assert_eq!(report.memory[0].kv_cache, 2 * 2 * 32 * 2 * 2 * 100);

    let b = dir.path().join("b.safetensors");
    let bytes = std::fs::read(&b).unwrap();
    std::fs::write(&b, &bytes[..bytes.len() - 5]).unwrap();
    let report = inspect(dir.path(), None).unwrap();
    assert_eq!(
        report.problems,
        [format!(
            "{}: 1 of 2 tensors lack data, the first `model.norm.weight`; 5 bytes are missing",
            b.display()
        )]
    );
    std::fs::remove_file(&b).unwrap();
    std::fs::remove_file(dir.path().join("config.json")).unwrap();
    let report = inspect(dir.path(), None).unwrap();
    assert_eq!(report.problems[0], format!("{} is missing, and with it 2 tensors", b.display()));
    assert!(report.problems[1].ends_with("config.json is missing"));
}
