//! The OpenAPI document tells the truth: every route is in it, and what is answered is what it says.

mod common;

use std::collections::BTreeSet;

use common::{start, tool_request};
use serde_json::{Value, json};
use server::Options;

fn document() -> Value {
    serde_json::from_str(include_str!("../src/openapi.json")).unwrap()
}

/// Why a value is not what a schema says; as much of JSON Schema as the document uses.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let target = document.pointer(name.trim_start_matches('#')).ok_or(format!("no {name}"))?;
        return check(document, target, value, at);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let fits = any.iter().any(|schema| check(document, schema, value, at).is_ok());
        return if fits { Ok(()) } else { Err(format!("{at}: {value} fits none of {any:?}")) };
    }
    let fits = match schema["type"].as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => true,
    };
    if !fits {
        return Err(format!("{at}: {value} is no {}", schema["type"]));
    }
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        return Err(format!("{at}: {value} is none of {choices:?}"));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            return Err(format!("{at}: {name} is missing in {value}"));
        }
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(name) {
            check(document, schema, value, &format!("{at}.{name}"))?;
        }
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for (i, value) in values.iter().enumerate() {
            check(document, items, value, &format!("{at}[{i}]"))?;
        }
    }
    Ok(())
}

#[test]
fn every_route_is_in_the_document_and_the_other_way_round() {
    // The routes as they are written down, one call a line.
    let source = include_str!("../src/lib.rs");
    let routes: BTreeSet<(String, &str)> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix(".route(\""))
        .filter_map(|line| {
            let (path, rest) = line.split_once('"')?;
            let method = if rest.contains("post(") { "post" } else { "get" };
            Some((path.replace("{*id}", "{id}"), method))
        })
        .collect();
    assert!(routes.len() > 20, "{routes:?}");
    let document = document();
    let described: BTreeSet<(String, &str)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(|method| (path.clone(), if method == "post" { "post" } else { "get" }))
        })
        .collect();
    assert_eq!(routes, described);
}

#[test]
fn what_is_answered_is_what_the_document_says() {
    let server = start(Options::default());
    let document = document();
    let messages = json!([{"role": "user", "content": "hi"}]);
    let chat = json!({"messages": messages, "max_tokens": 6, "seed": 1, "thinking_budget": 2});
    let requests = [
        ("/v1/chat/completions", chat.clone()),
        ("/v1/chat/completions", tool_request()),
        ("/v1/chat/completions/input_tokens", chat.clone()),
        ("/v1/completions", json!({"prompt": "ab", "max_tokens": 3, "logprobs": 1})),
        ("/v1/responses", json!({"input": "hi", "max_output_tokens": 5})),
        ("/v1/responses/input_tokens", json!({"input": "hi"})),
        ("/v1/messages", json!({"messages": messages, "max_tokens": 5})),
        ("/v1/messages/count_tokens", json!({"messages": messages, "max_tokens": 5})),
        ("/v1/embeddings", json!({"input": ["a", "b"]})),
        ("/completion", json!({"prompt": "ab", "n_predict": 3, "n_probs": 1})),
        ("/tokenize", json!({"content": "ab"})),
        ("/detokenize", json!({"tokens": [97]})),
        ("/apply-template", chat),
    ];
    let schema = |path: &str, method: &str, status: &str| {
        let content = &document["paths"][path][method]["responses"][status]["content"];
        content["application/json"]["schema"].clone()
    };
    for (path, body) in requests {
        let request = &document["paths"][path]["post"]["requestBody"]["content"];
        let request = &request["application/json"]["schema"];
        check(&document, request, &body, path).unwrap();
        let (status, answer) = server.post(path, body);
        assert_eq!(status, 200, "{path}: {answer}");
        check(&document, &schema(path, "post", "200"), &answer, path).unwrap();
        let (status, refusal) = server.post_text(path, "{");
        assert_eq!(status, 400);
        check(&document, &schema(path, "post", "default"), &refusal, path).unwrap();
    }
    for path in ["/v1/models", "/health", "/props", "/slots", "/lora-adapters"] {
        let (status, answer) = server.get(path);
        assert_eq!(status, 200);
        let answer = serde_json::from_str(&answer).unwrap();
        check(&document, &schema(path, "get", "200"), &answer, path).unwrap();
    }
    let served: Value = serde_json::from_str(&server.get("/openapi.json").1).unwrap();
    assert_eq!(served, document);
}
