//! What Gemma 3 alone has: layers with a window between others, a text part within a model that sees pictures, and
//! settings that files leave out.

#[path = "lora/support.rs"]
#[expect(dead_code, reason = "the adapters' own tests use more of it")]
mod support;

use std::path::Path;

use kernels::Pool;
use model::{Config, RopeScaling};
use serde_json::{Value, json};
use support::*;
use weights::Checkpoint;
use weights::convert::Draft;
use weights::gguf::{Array, Value as GgufValue};
use weights::pull::Silent;

fn tokens() -> Vec<u32> {
    (0..60).map(|i| (i * 41 + 5) % 288).collect()
}

fn config(dir: &Path) -> Result<Config, model::Error> {
    Config::read(&Checkpoint::open(dir).unwrap())
}

/// A copy of a golden with other settings.
fn changed(name: &str, change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let from = goldens().join(name);
    std::fs::copy(from.join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    let mut settings = json(&from.join("config.json"));
    change(&mut settings);
    std::fs::write(dir.path().join("config.json"), settings.to_string()).unwrap();
    dir
}

#[test]
fn the_text_part_of_a_model_that_sees_is_that_text_model() {
    let text = base("gemma3");
    let expected = logits(&text, &tokens(), 8, None);
    for (part, eye) in [("language_model.model.", ""), ("model.language_model.", "model.")] {
        // What is usual for published models isn't in the file.
        let dir = changed("gemma3", |config| {
            *config = json!({
                "model_type": "gemma3",
                "architectures": ["Gemma3ForConditionalGeneration"],
                "text_config": config,
                "vision_config": {"hidden_size": 8},
            });
            let text = config["text_config"].as_object_mut().unwrap();
            for usual in ["hidden_activation", "tie_word_embeddings", "rope_theta"] {
                text.remove(usual).unwrap();
            }
        });
        let path = dir.path().join("model.safetensors");
        let mut all = tensors(&goldens().join("gemma3"));
        for t in &mut all {
            t.name = format!("{part}{}", t.name.strip_prefix("model.").unwrap());
        }
        let eye = format!("{eye}vision_tower.embeddings.weight");
        all.push(Weights { name: eye, shape: vec![2, 4], values: vec![0.5; 8] });
        write_safetensors(&path, &all);
        let model = open(dir.path());
        assert_eq!(model.config(), text.config());
        assert_eq!(logits(&model, &tokens(), 8, None), expected, "{part}");

        // Converted, the part that sees is gone.
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let draft = Draft::of_safetensors(&checkpoint, None).unwrap();
        assert!(draft.tensors.iter().all(|t| !t.name.contains("vision")));
        assert_eq!(draft.tensors.len(), all.len() - 1);
    }
}

#[test]
fn a_gguf_file_says_what_llama_cpp_reads() {
    let checkpoint = Checkpoint::open(&goldens().join("gemma3")).unwrap();
    let draft = Draft::of_safetensors(&checkpoint, None).unwrap();
    let m = &draft.metadata;
    assert_eq!(m.str("general.architecture").unwrap(), Some("gemma3"));
    assert_eq!(m.u32("gemma3.attention.sliding_window").unwrap(), Some(20));
    assert_eq!(m.u32("gemma3.attention.sliding_window_pattern").unwrap(), None);
    assert_eq!(m.u32("gemma3.attention.key_length").unwrap(), Some(32));
    assert_eq!(m.f32("gemma3.rope.freq_base").unwrap(), Some(1e6));
    assert_eq!(m.f32("gemma3.rope.freq_base_swa").unwrap(), Some(1e4));
    assert_eq!(m.str("gemma3.rope.scaling.type").unwrap(), Some("linear"));
    assert_eq!(m.f32("gemma3.rope.scaling.factor").unwrap(), Some(8.0));
    // Norms multiply by what is there.
    let norm = |t: &Weights| t.name == "model.layers.0.post_feedforward_layernorm.weight";
    let stored = tensors(&goldens().join("gemma3")).into_iter().find(norm).unwrap().values;
    let written = draft.tensors.iter().find(|t| t.name == "blk.0.post_ffw_norm.weight").unwrap();
    let mut values = vec![0.0; stored.len()];
    written.rows.read(0, &mut values).unwrap();
    assert!(values.iter().zip(&stored).all(|(a, b)| *a == b + 1.0));
}

#[test]
fn a_pattern_in_a_gguf_file_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let checkpoint = Checkpoint::open(&goldens().join("gemma3")).unwrap();
    let layers = |pattern: Option<GgufValue>| {
        let mut draft = Draft::of_safetensors(&checkpoint, None).unwrap();
        if let Some(pattern) = pattern {
            draft.metadata.insert("gemma3.attention.sliding_window_pattern", pattern);
        }
        draft.write_gguf(&path, &Pool::new(1), &Silent).unwrap();
        config(&path).map(|config| config.window.unwrap().layers)
    };
    let every = |n: usize| (1..=7).map(|layer| layer % n != 0).collect::<Vec<bool>>();
    assert_eq!(layers(None).unwrap(), every(6));
    assert_eq!(layers(Some(GgufValue::U32(2))).unwrap(), every(2));
    assert_eq!(layers(Some(GgufValue::U32(0))).unwrap(), [true; 7]);
    let each = vec![true, false, false, true, true, false, true];
    let listed = |each: &[bool]| GgufValue::Array(Array::Bool(each.to_vec()));
    assert_eq!(layers(Some(listed(&each))).unwrap(), each);
    let error = layers(Some(listed(&each[..3]))).unwrap_err().to_string();
    assert!(error.contains("sliding_window_pattern: is of 3 layers, and there are 7"), "{error}");
}

#[test]
fn the_two_kinds_of_layers_have_frequencies_of_their_own() {
    let config = config(&goldens().join("gemma3")).unwrap();
    assert_eq!(config.rope.scaling, RopeScaling::Linear { factor: 8.0 });
    let rope = config.window.unwrap().rope.unwrap();
    assert_eq!((rope.theta, &rope.scaling), (1e4, &RopeScaling::None));
    assert_eq!(config.embedding_scale, 48f32.sqrt());
    assert_eq!(config.attention_scale, 1.0 / 32f32.sqrt());
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (key, value) in [
        ("final_logit_softcapping", json!(30.0)),
        ("attn_logit_softcapping", json!(50.0)),
        ("use_bidirectional_attention", json!(true)),
        ("hidden_activation", json!("gelu")),
    ] {
        let dir = changed("gemma3", |config| config[key] = value.clone());
        let error = config(dir.path()).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let error = Draft::of_safetensors(&checkpoint, None).err().unwrap().to_string();
        assert!(error.contains(key), "{error}");
    }
    for (key, value) in [("layer_types", json!(["linear"])), ("query_pre_attn_scalar", json!(0))] {
        let dir = changed("gemma3", |config| config[key] = value.clone());
        assert!(config(dir.path()).is_err(), "{key}");
    }
    // Nothing in a GGUF file could say these.
    let checkpoint = Checkpoint::open(&goldens().join("gemma3-layers")).unwrap();
    let error = Draft::of_safetensors(&checkpoint, None).err().unwrap().to_string();
    assert!(error.contains("query_pre_attn_scalar"), "{error}");
    let dir = changed("gemma3-layers", |config| config["query_pre_attn_scalar"] = 16.into());
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let error = Draft::of_safetensors(&checkpoint, None).err().unwrap().to_string();
    assert!(error.contains("layer_types"), "{error}");
    // A cap that a GGUF file names.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let checkpoint = Checkpoint::open(&goldens().join("gemma3")).unwrap();
    let mut draft = Draft::of_safetensors(&checkpoint, None).unwrap();
    draft.metadata.insert("gemma3.final_logit_softcapping", 30f32);
    draft.write_gguf(&path, &Pool::new(1), &Silent).unwrap();
    let error = config(&path).unwrap_err().to_string();
    assert!(error.contains("final_logit_softcapping"), "{error}");
}
