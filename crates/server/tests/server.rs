//! What clients of the server rely on, and what hostile ones try, on a tiny random model.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{request, start, tool_request};
use serde_json::{Value, json};
use server::Options;

fn question(more: Value) -> Value {
    let mut body = json!({
        "messages": [{"role": "user", "content": "why?"}], "max_tokens": 20, "seed": 1,
        "ignore_eos": true,
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// The JSON of all `data:` lines but the last, which says that it was.
fn events(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

const CHAT: &str = "/v1/chat/completions";

#[test]
fn a_stream_says_what_the_whole_answer_says() {
    let server = start(Options::default());
    // Enough for the sentence that ends the thinking, of which each letter is a token.
    let more = json!({"n": 2, "thinking_budget": 5, "max_tokens": 120});
    let (status, whole) = server.post(CHAT, question(more));
    assert_eq!(status, 200, "{whole}");
    let more = json!({
        "n": 2, "thinking_budget": 5, "max_tokens": 120,
        "stream": true, "stream_options": {"include_usage": true},
    });
    let (status, head, text) = server.raw(&request(CHAT, &question(more).to_string()));
    assert!(status == 200 && head.contains("text/event-stream"), "{head}");
    assert!(text.contains("data: [DONE]"));
    let mut said = [String::new(), String::new()];
    let mut thought = [String::new(), String::new()];
    let mut usage = Value::Null;
    for event in events(&text) {
        for choice in event["choices"].as_array().unwrap() {
            let index = choice["index"].as_u64().unwrap() as usize;
            let text = |key: &str| choice["delta"][key].as_str().unwrap_or("").to_owned();
            said[index] += &text("content");
            thought[index] += &text("reasoning_content");
        }
        if event["usage"].is_object() {
            usage = event["usage"].clone();
        }
    }
    for index in 0..2 {
        let message = &whole["choices"][index]["message"];
        assert_eq!(message["content"], said[index].as_str());
        assert_eq!(message["reasoning_content"].as_str().unwrap_or(""), thought[index]);
        assert_eq!(whole["choices"][index]["finish_reason"], "length");
    }
    assert_ne!(said[0], said[1], "each answer has its own seed");
    assert_eq!(usage["completion_tokens"], 240);
    assert_eq!(usage["completion_tokens"], whole["usage"]["completion_tokens"]);
    assert!(usage["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap() >= 5);
}

#[test]
fn mistakes_are_named_in_each_dialect() {
    let server = start(Options { body_limit: 4096, ..Options::default() });
    let error = |(status, body): (u16, Value)| (status, body["error"]["param"].clone());
    let temperature = question(json!({"temperature": -5, "top_p": 7}));
    assert_eq!(error(server.post(CHAT, temperature)), (400, json!("top_p")));
    assert_eq!(error(server.post(CHAT, question(json!({"n": 0})))), (400, json!("n")));
    assert_eq!(error(server.post(CHAT, json!({"messages": []}))), (400, json!("messages")));
    assert_eq!(error(server.post(CHAT, question(json!({"stop": 3})))), (400, json!("stop")));
    let schema = json!({"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "nonsense"}}}});
    assert_eq!(error(server.post(CHAT, question(schema))), (400, json!("response_format")));
    let tools = json!({"tools": [{"type": "function", "function": {"name": "a b"}}]});
    assert_eq!(error(server.post(CHAT, question(tools))), (400, json!("tools[0].function.name")));
    let long = question(json!({"messages": [{"role": "user", "content": "x".repeat(2100)}]}));
    let (status, body) = server.post(CHAT, long);
    assert_eq!((status, &body["error"]["code"]), (400, &json!("context_length_exceeded")));

    for (text, expected) in [("{", 400), ("", 400), ("[]", 400), ("\u{0}", 400), ("{}", 400)] {
        assert_eq!(server.post_text(CHAT, text).0, expected, "{text:?}");
    }
    assert_eq!(server.post_text(CHAT, &"x".repeat(5000)).0, 413);
    assert_eq!(server.get(CHAT).0, 405);
    assert_eq!(server.get("/v1/nothing").0, 404);
    let (status, body) = server.post("/v1/messages", json!({"messages": []}));
    assert_eq!((status, &body["type"]), (400, &json!("error")));
    assert_eq!(body["error"]["type"], "invalid_request_error");
    server.assert_all_pages_are_back();
}

#[test]
fn no_path_reaches_the_disk() {
    let server = start(Options::default());
    for path in [
        "/../Cargo.toml",
        "/assets/../../Cargo.toml",
        "/assets/%2e%2e/%2e%2e/Cargo.toml",
        "//etc/passwd",
        "/assets//etc/passwd",
        "/v1/models/../../../etc/passwd",
        "/assets/%00",
    ] {
        let (status, body) = server.get(path);
        assert!(status == 404 || status == 400, "{path}: {status}");
        assert!(!body.contains("[workspace]") && !body.contains("root:"), "{path}");
    }
    let (status, head, page) = server.raw("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(status == 200 && page.contains("<html"), "{page}");
    assert!(head.contains("content-security-policy: default-src 'self'"), "{head}");
    let (status, body) = server.post("/v1/load_lora_adapter", json!({"lora_name": "../x"}));
    assert_eq!(status, 501, "{body}");
}

#[test]
fn keys_are_asked_for_and_other_sites_are_kept_out() {
    let keys = vec!["secret".to_owned(), "other".to_owned()];
    let server = start(Options { api_keys: keys, ..Options::default() });
    let ask = |header: &str| {
        server
            .raw(&format!(
                "GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{header}\r\n"
            ))
            .0
    };
    assert_eq!(ask(""), 401);
    assert_eq!(ask("authorization: Bearer wrong\r\n"), 401);
    assert_eq!(ask("authorization: Bearer secret\r\n"), 200);
    assert_eq!(ask("x-api-key: other\r\n"), 200);
    assert_eq!(server.post(CHAT, question(json!({}))).0, 401);
    assert_eq!(server.get("/metrics").0, 401);
    assert_eq!((server.get("/health").0, server.get("/").0), (200, 200));
    let preflight = "OPTIONS /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                     origin: https://evil.example\r\naccess-control-request-method: POST\r\n\r\n";
    assert!(!server.raw(preflight).1.contains("access-control-allow-origin"));
    drop(server);

    let origins = vec!["https://good.example".to_owned()];
    let server = start(Options { cors_origins: origins, ..Options::default() });
    assert!(!server.raw(preflight).1.contains("access-control-allow-origin: https://evil"));
    let (_, head, _) = server.raw(&preflight.replace("evil", "good"));
    assert!(head.contains("access-control-allow-origin: https://good.example"), "{head}");
}

#[test]
fn clients_that_dawdle_are_hung_up_on() {
    let patience = Duration::from_millis(300);
    let server =
        start(Options { head_patience: patience, body_patience: patience, ..Options::default() });
    let started = Instant::now();
    // A head that doesn't end, a byte at a time.
    let mut dawdler = server.send("GET / HTTP/1.1\r\n");
    let mut rest = Vec::new();
    for _ in 0..40 {
        if dawdler.write_all(b"a").is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = dawdler.read_to_end(&mut rest);
    assert!(started.elapsed() < Duration::from_secs(5), "it was not hung up on");
    // A body that doesn't come.
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 100\r\n\r\n{{"
    );
    assert_eq!(server.raw(&head).0, 408);
    // No HTTP at all.
    let _ = server.raw("\u{16}\u{3}\u{1} hello\r\n\r\n");
    assert_eq!(server.get("/health").0, 200);
}

#[test]
fn hanging_up_cancels_and_gives_everything_back() {
    let server = start(Options::default());
    let endless = question(json!({"max_tokens": 200, "stream": true, "n": 3})).to_string();
    let mut clients: Vec<TcpStream> =
        (0..12).map(|_| server.send(&request(CHAT, &endless))).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        if i % 2 == 0 {
            let mut line = String::new();
            BufReader::new(client).read_line(&mut line).unwrap();
            assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        }
    }
    drop(clients);
    server.assert_all_pages_are_back();
    // Not streamed: the server notices, too.
    let whole = question(json!({"max_tokens": 200, "n": 8})).to_string();
    let clients: Vec<TcpStream> = (0..8).map(|_| server.send(&request(CHAT, &whole))).collect();
    std::thread::sleep(Duration::from_millis(50));
    drop(clients);
    server.assert_all_pages_are_back();
}

#[test]
fn a_server_that_stops_lets_answers_end() {
    let mut server = start(Options::default());
    let long = question(json!({"max_tokens": 150, "stream": true})).to_string();
    let mut client = BufReader::new(server.send(&request(CHAT, &long)));
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        client.read_line(&mut line).unwrap();
    }
    server.stop.take().unwrap().send(()).unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("data: [DONE]"), "the answer came to its end");
    let address = server.address;
    drop(server);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_server_that_stops_does_not_wait_for_ever() {
    let patience = Duration::from_millis(200);
    let mut server = start(Options { patience, ..Options::default() });
    // Connected, and silent.
    let _idle = TcpStream::connect(server.address).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let started = Instant::now();
    server.stop.take().unwrap().send(()).unwrap();
    drop(server);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn required_calls_follow_their_schema() {
    let server = start(Options::default());
    let body = tool_request();
    let (status, whole) = server.post(CHAT, body.clone());
    assert_eq!(status, 200, "{whole}");
    let choice = &whole["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls", "{whole}");
    let call = &choice["message"]["tool_calls"][0]["function"];
    assert_eq!(call["name"], "add");
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
    assert!(arguments["a"].as_u64().unwrap() < 10 && arguments["b"].is_string());

    let mut streamed = body;
    streamed["stream"] = true.into();
    let (_, _, text) = server.raw(&request(CHAT, &streamed.to_string()));
    let (mut name, mut written) = (String::new(), String::new());
    for event in events(&text) {
        let function = &event["choices"][0]["delta"]["tool_calls"][0]["function"];
        name += function["name"].as_str().unwrap_or("");
        written += function["arguments"].as_str().unwrap_or("");
    }
    assert_eq!((name.as_str(), &json!(written)), ("add", &call["arguments"]));
}

#[test]
fn tokens_and_texts_go_both_ways() {
    let server = start(Options::default());
    let (_, tokens) = server.post("/tokenize", json!({"content": "hé"}));
    assert_eq!(tokens["tokens"], json!([104, 195, 169]));
    let (_, text) = server.post("/detokenize", json!({"tokens": [104, 195, 169]}));
    assert_eq!(text["content"], "hé");
    let (status, error) = server.post("/detokenize", json!({"tokens": [99999]}));
    assert_eq!((status, &error["error"]["param"]), (400, &json!("tokens")));
    let messages = json!([{"role": "user", "content": "hi"}]);
    let (_, prompt) = server.post("/apply-template", json!({ "messages": messages }));
    assert!(prompt["prompt"].as_str().unwrap().contains("<|im_start|>user"), "{prompt}");
    let (_, pieces) = server.post("/tokenize", json!({"content": "é", "with_pieces": true}));
    assert_eq!(pieces["tokens"][0]["piece"], json!([195]));
}

/// What `ponder train --rollouts` learns from.
#[test]
fn the_numbers_of_tokens_are_told_to_who_asks() {
    let server = start(Options::default());
    let ask = |more: Value| {
        let mut body = json!({"prompt": "Once upon a time", "max_tokens": 6, "ignore_eos": true,
                              "n": 2, "seed": 3, "logprobs": 0, "return_token_ids": true});
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        server.post("/v1/completions", body)
    };
    let (status, body) = ask(json!({}));
    assert_eq!(status, 200, "{body}");
    for choice in body["choices"].as_array().unwrap() {
        assert_eq!(choice["token_ids"].as_array().unwrap().len(), 6);
        assert_eq!(choice["logprobs"]["token_logprobs"].as_array().unwrap().len(), 6);
        let (_, told) = server.post("/detokenize", json!({"tokens": choice["token_ids"]}));
        assert_eq!(told["content"], choice["text"]);
    }
    let (_, body) = ask(json!({"return_token_ids": false}));
    assert!(body["choices"][0].get("token_ids").is_none());
    let (status, body) = ask(json!({"stream": true}));
    assert_eq!((status, &body["error"]["param"]), (400, &json!("return_token_ids")), "{body}");
}
