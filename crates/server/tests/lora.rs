//! Adapters over HTTP: loaded at run time, chosen per request, several in one batch, forgotten.

mod common;

use std::path::Path;

use common::{Server, start};
use serde_json::{Value, json};
use server::Options;
use weights::safetensors::{NewTensor, write};

/// An adapter as PEFT saves it, on one matrix of the tiny model; each `seed` is another one.
fn adapter(dir: &Path, name: &str, seed: usize) {
    let dir = dir.join(name);
    std::fs::create_dir(&dir).unwrap();
    let config = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 64, "bias": "none"});
    std::fs::write(dir.join("adapter_config.json"), config.to_string()).unwrap();
    let tensor = |half, shape: [usize; 2]| NewTensor {
        name: format!("base_model.model.model.layers.1.mlp.down_proj.lora_{half}.weight"),
        shape: shape.to_vec(),
        values: (0..shape[0] * shape[1]).map(|i| ((i * seed) % 7) as f32 / 7.0 - 0.4).collect(),
    };
    let tensors = [tensor("A", [2, 48]), tensor("B", [32, 2])];
    write(&dir.join("adapter_model.safetensors"), &tensors).unwrap();
}

/// What a model, with what else is asked for, goes on with.
fn said(server: &Server, model: &str, more: Value) -> String {
    let mut body = json!({"model": model, "prompt": "Once upon a time", "temperature": 0,
                          "max_tokens": 24, "ignore_eos": true});
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    let (status, body) = server.post("/v1/completions", body);
    assert_eq!(status, 200, "{body}");
    body["choices"][0]["text"].as_str().unwrap().to_owned()
}

#[test]
fn each_request_has_its_own_adapter() {
    let dir = tempfile::tempdir().unwrap();
    adapter(dir.path(), "poet", 3);
    adapter(dir.path(), "clerk", 5);
    let server = start(Options { lora_dir: Some(dir.path().to_owned()), ..Options::default() });
    let plain = said(&server, "tiny", json!({}));
    let load = |name: &str| server.post("/v1/load_lora_adapter", json!({"lora_name": name}));
    for name in ["poet", "clerk"] {
        assert_eq!(load(name).0, 200);
    }
    let models: Value = serde_json::from_str(&server.get("/v1/models").1).unwrap();
    let names: Vec<&Value> = models["data"].as_array().unwrap().iter().map(|m| &m["id"]).collect();
    assert_eq!(names, ["tiny", "clerk", "poet"]);

    let poet = said(&server, "poet", json!({}));
    let clerk = said(&server, "clerk", json!({}));
    assert_eq!(said(&server, "tiny", json!({})), plain, "the model itself has not changed");
    assert!(poet != plain && clerk != plain && poet != clerk, "{plain:?} {poet:?} {clerk:?}");
    // llama-server's way: by number, in the order of the list, and as strongly as wanted.
    let lora = |id: usize, scale: f32| json!({"lora": [{"id": id, "scale": scale}]});
    assert_eq!(said(&server, "tiny", lora(1, 1.0)), poet);
    assert_eq!(said(&server, "tiny", lora(1, 0.0)), plain);
    assert_ne!(said(&server, "tiny", lora(1, 0.5)), poet);

    // All at once, in the same batches: each as if it were alone.
    std::thread::scope(|scope| {
        let expected = [("tiny", &plain), ("poet", &poet), ("clerk", &clerk)];
        for (model, expected) in expected.into_iter().cycle().take(12) {
            let server = &server;
            scope.spawn(move || assert_eq!(&said(server, model, json!({})), expected));
        }
    });
    server.assert_all_pages_are_back();

    // Another adapter of the same name is another adapter: nothing cached belongs to it.
    std::fs::remove_dir_all(dir.path().join("poet")).unwrap();
    adapter(dir.path(), "poet", 6);
    assert_eq!(load("poet").0, 200);
    assert_ne!(said(&server, "poet", json!({})), poet);
    let unload = |name: &str| server.post("/v1/unload_lora_adapter", json!({"lora_name": name}));
    assert_eq!(unload("poet").0, 200);
    assert_eq!(unload("poet").0, 404);
    let (status, body) =
        server.post("/v1/completions", json!({"prompt": "x", "lora": [{"id": 1, "scale": 1.0}]}));
    assert_eq!((status, &body["error"]["param"]), (400, &json!("lora[0].id")), "{body}");
    assert_eq!(said(&server, "clerk", json!({})), clerk);
}

#[test]
fn what_is_no_adapter_of_this_model_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    adapter(dir.path(), "broken", 3);
    let weights = dir.path().join("broken/adapter_model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let server = start(Options { lora_dir: Some(dir.path().to_owned()), ..Options::default() });
    let load = |name: &str| server.post("/v1/load_lora_adapter", json!({"lora_name": name}));
    let (status, body) = load("broken");
    assert_eq!((status, &body["error"]["param"]), (400, &json!("lora_name")), "{body}");
    assert_eq!(load("missing").0, 404);
    assert_eq!(load("../broken").0, 400);
}
