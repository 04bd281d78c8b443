//! Which tokens of a conversation are learned.

#[path = "../../engine/tests/support/mod.rs"]
#[expect(dead_code, reason = "the engine's own tests use more of it")]
mod support;

use engine::{Engine, LoadOptions};
use learn::data::shapes::conversation;
use learn::data::{Rendered, render};
use learn::recipe::{Thinking, Turns};
use serde_json::{Value, json};

fn engine(thinks: bool) -> (tempfile::TempDir, Engine) {
    let dir = tempfile::tempdir().unwrap();
    let path = support::tiny_model(dir.path(), thinks);
    let options = LoadOptions { threads: Some(1), ..LoadOptions::default() };
    let engine = Engine::load(&path, &options).unwrap();
    (dir, engine)
}

/// The whole text, and the parts of it that are learned.
fn learned(
    engine: &Engine,
    messages: Value,
    thinking: Thinking,
    turns: Turns,
) -> (String, Vec<String>) {
    let row = json!({"messages": messages});
    let conversation = conversation(row.as_object().unwrap()).unwrap();
    let Rendered::Text(text) = render(engine, &conversation, thinking, turns).unwrap() else {
        panic!("it is written otherwise");
    };
    assert_eq!(text.tokens.len(), text.weights.len());
    let all = engine.tokenizer().decode(&text.tokens);
    let mut parts: Vec<Vec<u32>> = Vec::new();
    let mut before = 0.0;
    for (token, weight) in text.tokens.iter().zip(&text.weights) {
        if *weight != 0.0 && before == 0.0 {
            parts.push(Vec::new());
        }
        if *weight != 0.0 {
            parts.last_mut().unwrap().push(*token);
        }
        before = *weight;
    }
    (all, parts.iter().map(|part| engine.tokenizer().decode(part)).collect())
}

fn said(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

#[test]
fn all_of_the_assistants_turns_or_the_last() {
    let (_dir, engine) = engine(false);
    let messages = json!([
        said("system", "be kind"),
        said("user", "one"),
        said("assistant", "first"),
        said("user", "two"),
        said("assistant", "second"),
    ]);
    let (text, parts) = learned(&engine, messages.clone(), Thinking::Keep, Turns::Last);
    assert_eq!(parts, ["\nsecond<|im_end|>"]);
    assert!(text.contains("be kind") && text.contains("first"), "{text}");
    let (_, parts) = learned(&engine, messages, Thinking::Keep, Turns::All);
    assert_eq!(parts, ["\nfirst<|im_end|>", "\nsecond<|im_end|>"]);
}

#[test]
fn thinking_is_learned_between_its_tags() {
    let (_dir, engine) = engine(true);
    let apart = json!([
        said("user", "2 + 2?"),
        {"role": "assistant", "content": "four", "reasoning_content": "2 and 2"},
    ]);
    let inline =
        json!([said("user", "2 + 2?"), said("assistant", "<think>\n2 and 2\n</think>\n\nfour")]);
    for messages in [apart, inline] {
        // The prompt has opened the thinking already.
        let (text, parts) = learned(&engine, messages.clone(), Thinking::Keep, Turns::All);
        assert_eq!(parts, ["2 and 2\n</think>\n\nfour<|im_end|>"]);
        assert_eq!(text.matches("<think>").count(), 1, "{text}");
        let (_, parts) = learned(&engine, messages, Thinking::Drop, Turns::All);
        assert_eq!(parts, ["\n</think>\n\nfour<|im_end|>"]);
    }
}
