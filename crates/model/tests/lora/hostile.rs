//! Adapters that can't be used: each gives one error that names the file, the field and what is
//! wrong with it.

use std::path::Path;

use kernels::blocks::BlockType;
use model::{Adapter, Model};
use serde_json::{Value as Json, json};
use weights::gguf::{Metadata, Value};

use crate::support::*;

const Q_A: &str = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight";
const Q_B: &str = "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight";

/// The error of loading `path`, without the directory (which it must begin with).
fn error(dir: &Path, path: &Path, model: &Model) -> String {
    let Err(error) = Adapter::load(path, model) else { panic!("it was taken for an adapter") };
    let error = error.to_string();
    let rest = error.strip_prefix(&dir.display().to_string());
    rest.unwrap_or_else(|| panic!("{error:?}")).trim_start_matches('/').to_owned()
}

/// The error of a PEFT adapter with `change` made to a sound one.
fn peft_error(model: &Model, change: impl FnOnce(&mut Json, &mut Vec<Weights>)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let (mut config, mut tensors) = (plain_config(4, 8.0), random(model, 4, 1));
    change(&mut config, &mut tensors);
    write_peft(dir.path(), &config, &tensors);
    error(dir.path(), dir.path(), model)
}

fn gguf_error(model: &Model, change: impl FnOnce(&mut Metadata, &mut Vec<Weights>)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lora.gguf");
    let mut metadata = adapter_metadata("qwen2", 8.0);
    let mut tensors = converted(model, &random(model, 4, 1));
    change(&mut metadata, &mut tensors);
    write_gguf(&path, &metadata, BlockType::F32, &tensors);
    error(dir.path(), &path, model)
}

fn named<'a>(tensors: &'a mut [Weights], name: &str) -> &'a mut Weights {
    tensors.iter_mut().find(|t| t.name == name).unwrap()
}

fn reshape(tensor: &mut Weights, shape: &[usize]) {
    tensor.shape = shape.to_vec();
    tensor.values.resize(shape.iter().product(), 0.0);
}

#[test]
fn settings_that_are_no_plain_lora() {
    let model = base("qwen2");
    for (key, value) in [
        ("peft_type", json!("IA3")),
        ("peft_type", json!(null)),
        ("peft_type", json!("LO\u{1b}RA")),
        ("bias", json!("all")),
        ("bias", json!(7)),
        ("modules_to_save", json!(["lm_head"])),
        ("use_dora", json!(true)),
        ("use_dora", json!("yes")),
        ("lora_bias", json!(true)),
        ("fan_in_fan_out", json!(true)),
        ("layer_replication", json!([[0, 1], [0, 2]])),
        ("trainable_token_indices", json!([1])),
        ("target_parameters", json!(["experts"])),
        ("alora_invocation_tokens", json!([1, 2])),
        ("arrow_config", json!({"top_k": 3})),
        ("use_qalora", json!(true)),
        ("kasa_config", json!({"beta": 1})),
        ("init_lora_weights", json!("pissa")),
        ("init_lora_weights", json!("loftq")),
        ("init_lora_weights", json!(3)),
        ("use_rslora", json!("maybe")),
        ("r", json!(null)),
        ("r", json!(0)),
        ("r", json!(-1)),
        ("r", json!(2.5)),
        ("lora_alpha", json!(null)),
        ("lora_alpha", json!("8")),
        ("lora_alpha", json!(1e300)),
        ("rank_pattern", json!([1])),
        ("alpha_pattern", json!("q_proj")),
    ] {
        let said = peft_error(&model, |config, _| config[key] = value.clone());
        assert!(
            said.starts_with(&format!("adapter_config.json: {key}: ")),
            "{key} {value}: {said}"
        );
        assert!(!said.chars().any(char::is_control), "{said:?}");
    }
    for (pattern, value, field, why) in [
        ("rank_pattern", json!({"q_proj": 0}), "q_proj", "is no positive whole number"),
        ("alpha_pattern", json!({"q_proj": null}), "q_proj", "is no finite number"),
        ("rank_pattern", json!({"layers.[01]": 2}), "layers.[01]", "is a regular expression"),
        ("alpha_pattern", json!({"(a+)+$": 2}), "(a+)+$", "is a regular expression"),
    ] {
        let said = peft_error(&model, |config, _| config[pattern] = value);
        let start = format!("adapter_config.json: {pattern}.{field}: {why}");
        assert!(said.starts_with(&start), "{said}");
    }
}

#[test]
fn settings_that_are_off_are_no_trouble() {
    let model = base("qwen2");
    let dir = tempfile::tempdir().unwrap();
    let mut config = plain_config(4, 8.0);
    for key in ["modules_to_save", "target_parameters"] {
        config[key] = json!([]);
    }
    config["init_lora_weights"] = json!("gaussian");
    config["rank_pattern"] = json!(null);
    config["something_new"] = json!({"a": 1});
    write_peft(dir.path(), &config, &random(&model, 4, 1));
    assert_eq!(Adapter::load(dir.path(), &model).unwrap().rank(), 4);
}

/// What training writes for a model that ends in one number, and what is no such thing.
#[test]
fn heads_that_score() {
    let model = base("qwen2");
    let hidden = model.config().hidden;
    let load = |modules: Json, labels: usize, task: &str| {
        let dir = tempfile::tempdir().unwrap();
        let mut config = plain_config(4, 8.0);
        config["task_type"] = json!(task);
        config["modules_to_save"] = modules;
        let mut tensors = random(&model, 4, 1);
        tensors.push(Weights {
            name: "base_model.model.score.weight".to_owned(),
            shape: vec![labels, hidden],
            values: vec![0.25; labels * hidden],
        });
        write_peft(dir.path(), &config, &tensors);
        let adapter = Adapter::load(dir.path(), &model);
        adapter.map(|a| a.score().map(<[f32]>::to_vec)).map_err(|e| e.to_string())
    };
    let modules = || json!(["classifier", "score"]);
    assert_eq!(load(modules(), 1, "SEQ_CLS"), Ok(Some(vec![0.25; hidden])));
    assert_eq!(load(json!(null), 1, "SEQ_CLS"), Ok(Some(vec![0.25; hidden])));
    for (modules, labels, task, what) in [
        (modules(), 2, "SEQ_CLS", "score.weight"),
        (modules(), 1, "CAUSAL_LM", "modules_to_save: whole modules"),
        (json!(["score", "lm_head"]), 1, "SEQ_CLS", "modules_to_save: whole modules"),
        (json!([1]), 1, "SEQ_CLS", "modules_to_save: whole modules"),
        (json!(null), 1, "CAUSAL_LM", "is neither a .lora_A.weight"),
    ] {
        let said = load(modules, labels, task).unwrap_err();
        assert!(said.contains(what), "{said}");
    }
}

#[test]
fn a_configuration_that_is_no_json() {
    let model = base("qwen2");
    let nan = r#"{"peft_type": "LORA", "r": 4, "lora_alpha": NaN}"#;
    let deep = "[".repeat(100_000);
    let huge = r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 1e999}"#;
    for text in ["", "{", nan, &deep, huge] {
        let dir = tempfile::tempdir().unwrap();
        write_peft(dir.path(), &plain_config(4, 8.0), &random(&model, 4, 1));
        std::fs::write(dir.path().join("adapter_config.json"), text).unwrap();
        let said = error(dir.path(), dir.path(), &model);
        assert!(said.starts_with("adapter_config.json: JSON: "), "{said}");
    }
    // Sound JSON that is no object has nothing in it.
    let dir = tempfile::tempdir().unwrap();
    write_peft(dir.path(), &json!([1, 2]), &random(&model, 4, 1));
    assert!(error(dir.path(), dir.path(), &model).starts_with("adapter_config.json: peft_type: "));
    let file = std::fs::File::create(dir.path().join("adapter_config.json")).unwrap();
    file.set_len(1 << 40).unwrap();
    let said = error(dir.path(), dir.path(), &model);
    assert!(
        said.starts_with("adapter_config.json: file: 1099511627776 bytes, more than"),
        "{said}"
    );
}

#[test]
fn files_that_are_missing() {
    let model = base("qwen2");
    let dir = tempfile::tempdir().unwrap();
    let said = error(dir.path(), dir.path(), &model);
    assert!(said.starts_with("adapter_config.json: cannot open"), "{said}");
    std::fs::write(dir.path().join("adapter_config.json"), plain_config(4, 8.0).to_string())
        .unwrap();
    let said = error(dir.path(), dir.path(), &model);
    assert!(said.starts_with("adapter_model.safetensors: file: is missing"), "{said}");
    // The settings are beside the weights, whatever those are called.
    let file = dir.path().join("mine.safetensors");
    let said = error(dir.path(), &file, &model);
    assert!(said.starts_with("mine.safetensors: file: is missing"), "{said}");
    write_safetensors(&file, &random(&model, 4, 1));
    assert_eq!(Adapter::load(&file, &model).unwrap().path(), file);
    let nowhere = dir.path().join("nowhere.gguf");
    assert!(error(dir.path(), &nowhere, &model).starts_with("nowhere.gguf: cannot open"));
}

#[test]
fn tensors_that_make_no_pairs() {
    let model = base("qwen2");
    let said = peft_error(&model, |_, tensors| tensors.retain(|t| t.name != Q_A));
    let start = format!("adapter_model.safetensors: tensor `{Q_B}`: the other half of its pair is");
    assert!(said.starts_with(&start), "{said}");
    let said = peft_error(&model, |_, tensors| tensors.retain(|t| t.name != Q_B));
    assert!(said.contains(&format!("tensor `{Q_A}`: the other half")), "{said}");
    let said = peft_error(&model, |_, tensors| tensors.clear());
    assert!(said.contains("tensors: there is no pair"), "{said}");
    // The same matrix by its name without `model.`, too.
    let twice = Q_A.replacen("model.model.model.", "model.model.", 1);
    let said = peft_error(&model, |_, tensors| {
        let again = Weights { name: twice.clone(), ..named(tensors, Q_A).clone() };
        tensors.push(again);
    });
    assert!(said.contains(&format!("tensor `{twice}`: is there twice")), "{said}");
}

#[test]
fn tensors_of_another_shape() {
    let model = base("qwen2"); // width 64, four heads of 16, ffn 96
    for (name, shape, expected) in [
        (Q_A, &[3, 64][..], "[4, 64]"), // not the rank that is set
        (Q_A, &[4, 63], "[4, 64]"),     // not the model's inputs
        (Q_A, &[256], "[4, 64]"),       // no matrix
        (Q_A, &[1, 4, 64], "[4, 64]"),  // too much of one
        (Q_B, &[64, 5], "[64, 4]"),     // not the rank that is set
        (Q_B, &[32, 4], "[64, 4]"),     // not the model's outputs
        (Q_B, &[4, 64], "[64, 4]"),     // the wrong way round
    ] {
        let said = peft_error(&model, |_, tensors| reshape(named(tensors, name), shape));
        let start = format!(
            "adapter_model.safetensors: tensor `{name}` has shape {shape:?} where the model's \
             layers and the adapter's rank call for {expected}"
        );
        assert!(said.starts_with(&start), "{said}");
    }
    let said = peft_error(&model, |config, _| config["r"] = json!(usize::MAX));
    assert!(said.contains("has shape [4, 64]"), "{said}");
    let said = peft_error(&model, |config, _| config["rank_pattern"] = json!({"q_proj": 2}));
    assert!(said.contains("call for [2, 64]"), "{said}");
}

#[test]
fn tensors_of_something_else() {
    let model = base("qwen2");
    let rename = |from: &'static str, to: &str| {
        let to = to.to_owned();
        peft_error(&model, move |_, tensors| named(tensors, from).name = to)
    };
    for (to, why) in [
        ("base_model.model.lm_head.lora_A.weight", "adapts something other than"),
        ("base_model.model.model.embed_tokens.lora_A.weight", "adapts something other than"),
        ("base_model.model.model.layers.1.self_attn.qkv_proj.lora_A.weight", "adapts something"),
        ("base_model.model.model.layers.1.input_layernorm.lora_A.weight", "adapts something"),
        ("base_model.model.model.layers.2.mlp.up_proj.lora_A.weight", "adapts layer 2 of a model"),
        ("base_model.model.model.layers.4294967295.mlp.up_proj.lora_A.weight", "adapts layer 4"),
        ("base_model.model.model.layers.1.self_attn.q_proj.lora_magnitude_vector", "is neither"),
        ("base_model.model.model.layers.1.self_attn.q_proj.lora_A.bias", "is neither"),
        ("base_model.model.lm_head.weight", "is neither"),
        ("", "is neither"),
    ] {
        let said = rename(Q_A, to);
        let start = format!("adapter_model.safetensors: tensor `{to}`: {why}");
        assert!(said.starts_with(&start), "{said}");
    }
    let said = rename(Q_A, &format!("\u{1b}[2J{}", "x".repeat(10_000)));
    assert!(said.len() < 500 && !said.chars().any(char::is_control), "{said:?}");
}

#[test]
fn gguf_files_that_are_no_adapters() {
    let model = base("qwen2");
    for (key, value, why) in [
        ("general.type", Value::Str("model".into()), "is `model` where `adapter` is needed"),
        ("adapter.type", Value::Str("dora".into()), "is `dora` where `lora` is needed"),
        ("general.architecture", Value::Str("llama".into()), "is `llama` where `qwen2` is needed"),
        ("adapter.lora.alpha", Value::F32(f32::NAN), "NaN is no finite number"),
        ("adapter.lora.alpha", Value::F32(f32::NEG_INFINITY), "-inf is no finite number"),
        ("adapter.alora.invocation_tokens", Value::from(vec![1u32]), "an adapter that waits"),
    ] {
        let said = gguf_error(&model, |metadata, _| metadata.insert(key, value));
        assert!(said.starts_with(&format!("lora.gguf: {key}: {why}")), "{said}");
    }
    for key in ["general.type", "adapter.type", "general.architecture"] {
        let said = gguf_error(&model, |metadata, _| drop(metadata.remove(key)));
        assert!(said.starts_with(&format!("lora.gguf: metadata key `{key}` is missing")), "{said}");
        let said = gguf_error(&model, |metadata, _| metadata.insert(key, 1u32));
        assert!(said.contains(key) && said.contains("expected a string"), "{said}");
    }
    let said = gguf_error(&model, |metadata, _| metadata.insert("adapter.lora.alpha", 16u32));
    assert!(said.contains("adapter.lora.alpha") && said.contains("expected a float"), "{said}");
}

#[test]
fn gguf_tensors_that_do_not_fit() {
    let model = base("qwen2");
    let a = "blk.0.ffn_down.weight.lora_a"; // [4, 96]
    let b = "blk.0.ffn_down.weight.lora_b"; // [64, 4]
    for (name, shape, said) in [
        (a, &[4, 64][..], "tensor `blk.0.ffn_down.weight.lora_a` has shape [4, 64] where"),
        // A says what the rank is: B is held against it.
        (a, &[5, 96], "tensor `blk.0.ffn_down.weight.lora_b` has shape [64, 4] where"),
        (a, &[96], "tensor `blk.0.ffn_down.weight.lora_a` has shape [96] where"),
        (b, &[63, 4], "tensor `blk.0.ffn_down.weight.lora_b` has shape [63, 4] where"),
    ] {
        let error = gguf_error(&model, |_, tensors| reshape(named(tensors, name), shape));
        assert!(error.starts_with(&format!("lora.gguf: {said}")), "{error}");
    }
    for (to, why) in [
        ("token_embd.weight.lora_a", "adapts something other than"),
        ("output.weight.lora_a", "adapts something other than"),
        ("blk.7.ffn_down.weight.lora_a", "adapts layer 7 of a model that has 2"),
        ("blk.0.attn_norm.weight", "is neither a .lora_a nor a .lora_b tensor"),
        ("blk.0.ffn_down.weight.lora_c", "is neither a .lora_a nor a .lora_b tensor"),
    ] {
        let said = gguf_error(&model, |_, tensors| named(tensors, a).name = to.to_owned());
        assert!(said.starts_with(&format!("lora.gguf: tensor `{to}`: {why}")), "{said}");
    }
    let said = gguf_error(&model, |_, tensors| tensors.retain(|t| t.name != a));
    assert!(said.starts_with(&format!("lora.gguf: tensor `{b}`: the other half")), "{said}");
}

#[test]
fn files_cut_anywhere() {
    let model = base("qwen2");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lora.gguf");
    let tensors = random(&model, 4, 1);
    write_gguf(
        &path,
        &adapter_metadata("qwen2", 8.0),
        BlockType::F32,
        &converted(&model, &tensors),
    );
    write_peft(dir.path(), &plain_config(4, 8.0), &tensors);
    let peft = dir.path().join("adapter_model.safetensors");
    for path in [path, peft] {
        let bytes = std::fs::read(&path).unwrap();
        for n in (0..bytes.len() - 64).step_by(331) {
            std::fs::write(&path, &bytes[..n]).unwrap();
            error(dir.path(), &path, &model);
        }
        std::fs::write(&path, &bytes).unwrap();
        assert!(Adapter::load(&path, &model).is_ok());
    }
}
