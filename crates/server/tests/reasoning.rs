//! More compute for one answer, over HTTP.

mod common;

use std::io::Read;

use common::{request, start};
use serde_json::{Value, json};
use server::Options;

const CHAT: &str = "/v1/chat/completions";

fn question(reasoning: Value, more: Value) -> Value {
    let mut body = json!({
        "messages": [{"role": "user", "content": "how many?"}],
        "seed": 3, "max_tokens": 160, "temperature": 1.0, "reasoning": reasoning,
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn events(text: &str) -> Vec<Value> {
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

#[test]
fn an_answer_has_its_receipt() {
    let server = start(Options::default());
    let vote = json!({"strategy": "vote", "n": 5, "sure": null, "give_up": null, "max_tokens": 40});
    let (status, whole) = server.post(CHAT, question(vote.clone(), json!({})));
    assert_eq!(status, 200, "{whole}");
    let message = &whole["choices"][0]["message"];
    let receipt = &message["reasoning_details"];
    assert_eq!(receipt["strategy"], "vote");
    assert_eq!(receipt["thoughts"].as_array().unwrap().len(), 5);
    assert_eq!(receipt["content"], message["content"]);
    for thought in receipt["thoughts"].as_array().unwrap() {
        assert!(thought["tokens"]["thinking"].as_u64().unwrap() <= 40, "{thought}");
    }
    let usage = &receipt["usage"];
    assert_eq!(whole["usage"]["completion_tokens"], usage["drawn_tokens"]);
    let details = &whole["usage"]["completion_tokens_details"];
    assert_eq!(details["reasoning_tokens"], usage["reasoning_tokens"]);

    // Streamed, the same thoughts are seen as they are had, and the same answer comes.
    let more = json!({"stream": true, "stream_options": {"include_usage": true}});
    let (status, head, text) = server.raw(&request(CHAT, &question(vote, more).to_string()));
    assert!(status == 200 && head.contains("text/event-stream"), "{head}");
    assert!(text.contains("data: [DONE]"), "{text}");
    let events = events(&text);
    let details: Vec<&Value> =
        events.iter().map(|event| &event["choices"][0]["delta"]["reasoning_details"]).collect();
    let begun = details.iter().filter(|d| d["event"]["begun"].is_object()).count();
    let over = details.iter().filter(|d| d["event"]["over"].is_object()).count();
    assert_eq!((begun, over), (5, 5));
    let streamed = details.iter().find_map(|d| d["receipt"].as_object()).unwrap();
    let texts = |thoughts: &Value| -> Vec<Value> {
        thoughts.as_array().unwrap().iter().map(|t| t["reasoning"].clone()).collect()
    };
    assert_eq!(texts(&streamed["thoughts"]), texts(&receipt["thoughts"]));
    let content: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(content, streamed["content"].as_str().unwrap());
    assert!(events.last().unwrap()["usage"]["completion_tokens"].is_u64());
    server.assert_all_pages_are_back();
}

#[test]
fn every_strategy_answers_or_says_why_not() {
    let server = start(Options::default());
    for strategy in ["single", "vote", "revise", "search", "auto"] {
        let reasoning = json!({"strategy": strategy, "max_tokens": 24, "deadline_ms": 60_000});
        let (status, body) = server.post(CHAT, question(reasoning, json!({"max_tokens": 60})));
        assert_eq!(status, 200, "{strategy}: {body}");
        let receipt = &body["choices"][0]["message"]["reasoning_details"];
        assert_eq!(receipt["strategy"], *strategy);
        assert!(receipt["usage"]["drawn_tokens"].as_u64().unwrap() > 0, "{receipt}");
    }
    let (status, body) = server.post(CHAT, question(json!({"effort": "auto"}), json!({})));
    assert_eq!((status, body["error"]["message"].clone()), (200, Value::Null));
    let score = json!({"strategy": "best-of", "n": 2, "check": {"kind": "regex", "pattern": "a"}});
    let (status, body) = server.post(CHAT, question(score, json!({})));
    assert_eq!(status, 200, "{body}");
}

#[test]
fn what_is_wrong_is_named() {
    let server = start(Options::default());
    let tool =
        json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let shell = json!({"kind": "external", "command": ["/bin/true"]});
    for (reasoning, more, param) in [
        (json!({"strategy": "guess"}), json!({}), "reasoning.strategy"),
        (json!({"strategy": "program"}), json!({}), "reasoning.strategy"),
        (json!({"strategy": "vote", "n": 0}), json!({}), "reasoning.n"),
        (json!({"strategy": "vote", "n": 100_000}), json!({}), "reasoning.n"),
        (json!({"strategy": "single", "n": 3}), json!({}), "reasoning.n"),
        (json!({"strategy": "vote", "wisdom": 3}), json!({}), "reasoning"),
        (json!({"strategy": "vote", "sure": 2}), json!({}), "reasoning"),
        (json!({"strategy": "vote", "n": "many"}), json!({}), "n"),
        (json!({"strategy": "search", "width": 99, "expand": 99}), json!({}), "reasoning"),
        (json!({"strategy": "best-of"}), json!({}), "reasoning"),
        (json!({"strategy": "best-of", "check": shell}), json!({}), "reasoning.check"),
        (json!({"strategy": "vote"}), json!({ "tools": tool }), "tools"),
        (
            json!({"strategy": "vote"}),
            json!({"response_format": {"type": "json_object"}}),
            "response_format",
        ),
        (json!({"strategy": "vote"}), json!({"n": 2}), "n"),
        (json!({"strategy": "vote"}), json!({"temperature": "hot"}), "temperature"),
    ] {
        let (status, body) = server.post(CHAT, question(reasoning.clone(), more.clone()));
        assert_eq!(status, 400, "{reasoning} {more}: {body}");
        assert_eq!(body["error"]["param"], param, "{reasoning} {more}: {body}");
    }
    server.assert_all_pages_are_back();
}

#[test]
fn who_hangs_up_stops_the_thoughts() {
    let server = start(Options::default());
    for after in [0, 200, 2000, 6000] {
        let vote = json!({"strategy": "vote", "n": 16, "sure": null, "give_up": null});
        let more = json!({"max_tokens": 1500, "stream": true});
        let mut stream = server.send(&request(CHAT, &question(vote, more).to_string()));
        let mut some = vec![0; after];
        stream.read_exact(&mut some).unwrap();
        drop(stream);
    }
    server.assert_all_pages_are_back();
}
