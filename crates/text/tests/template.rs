//! Chat templates of real models, against what `transformers` renders with them. See
//! `goldens/make_template_goldens.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::{Map, Value};
use text::splitter::Start;
use text::template::{ChatTemplate, Message, Render, drop_thinking};

#[derive(Deserialize)]
struct Goldens {
    now: u64,
    conversations: BTreeMap<String, Conversation>,
    /// By template and conversation; none where it is refused.
    expected: BTreeMap<String, BTreeMap<String, Option<String>>>,
}

#[derive(Deserialize)]
struct Conversation {
    messages: Vec<Message>,
    tools: Option<Value>,
    #[serde(default = "yes")]
    add_generation_prompt: bool,
    #[serde(default)]
    extra: Map<String, Value>,
}

fn yes() -> bool {
    true
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")
}

fn template(name: &str) -> ChatTemplate {
    let path = folder().join(format!("templates/{name}.jinja"));
    ChatTemplate::new(&std::fs::read_to_string(path).unwrap(), "<s>", "</s>").unwrap()
}

fn goldens() -> Goldens {
    serde_json::from_slice(&std::fs::read(folder().join("templates.expected.json")).unwrap())
        .unwrap()
}

#[test]
fn prompts_are_those_of_transformers() {
    let goldens = goldens();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(goldens.now);
    assert_eq!(goldens.expected.len(), 11);
    let mut wrong = Vec::new();
    for (name, expected) in &goldens.expected {
        let template = template(name);
        for (title, expected) in expected {
            let conversation = &goldens.conversations[title];
            let rendered = template.render(&Render {
                messages: &conversation.messages,
                tools: conversation.tools.as_ref(),
                add_generation_prompt: conversation.add_generation_prompt,
                extra: conversation.extra.clone(),
                now: Some(now),
            });
            match (rendered, expected) {
                (Ok(prompt), Some(expected)) if prompt == *expected => {}
                (Err(_), None) => {}
                (rendered, expected) => {
                    let expected = expected.as_deref().unwrap_or("an error");
                    wrong.push(format!("{name}, {title}:\n{rendered:?}\nexpected:\n{expected:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn which_templates_open_the_thinking() {
    let none = Map::new();
    for (name, opens) in [
        ("qwq-32b", true),
        ("r1-distill-llama-8b", true),
        ("r1-distill-qwen-7b", false),
        ("qwen3-0.6b", false),
        ("qwen2.5-coder-0.5b", false),
        ("smollm2-135m", false),
    ] {
        assert_eq!(template(name).opens_thinking(&none), opens, "{name}");
    }
    let qwen3 = template("qwen3-0.6b");
    assert_eq!(qwen3.thinking_tags(), Some(("<think>", "</think>")));
    let off = Map::from_iter([("enable_thinking".to_string(), Value::from(false))]);
    let prompt = qwen3
        .render(&Render {
            messages: &[Message::new("user", "?")],
            add_generation_prompt: true,
            extra: off,
            ..Render::default()
        })
        .unwrap();
    assert_eq!(qwen3.start_after(&prompt), Start::After);
    assert_eq!(template("qwen2.5-coder-0.5b").thinking_tags(), None);
}

/// R1's template keeps the thinking of an answer that follows a tool's output.
#[test]
fn earlier_thinking_can_be_dropped_where_the_template_does_not() {
    let mut messages = goldens().conversations.remove("after tool results").unwrap().messages;
    let template = template("r1-distill-qwen-7b");
    let render =
        |messages: &[Message]| template.render(&Render { messages, ..Render::default() }).unwrap();
    assert!(render(&messages).contains("Hm, 2 < 3"));
    drop_thinking(&mut messages, "<think>", "</think>");
    let prompt = render(&messages);
    assert!(!prompt.contains("Hm, 2 < 3") && !prompt.contains("<think>"), "{prompt}");
    assert!(prompt.contains("<｜tool▁outputs▁end｜>Cold.<｜end▁of▁sentence｜>"), "{prompt}");
}

#[test]
fn long_conversations_are_within_the_budget() {
    let turn = |index: usize| {
        let role = if index.is_multiple_of(2) { "user" } else { "assistant" };
        Message::new(role, format!("<think>\nhm\n</think>\n\nTurn {index}. ").repeat(20))
    };
    let messages: Vec<Message> = (0..4001).map(turn).collect();
    for name in goldens().expected.keys() {
        let conversation =
            Render { messages: &messages, add_generation_prompt: true, ..Render::default() };
        let prompt = template(name).render(&conversation).unwrap();
        assert!(prompt.contains("Turn 4000."), "{name}");
    }
    let long = [Message::new("user", "word ".repeat(1_000_000))];
    let conversation = Render { messages: &long, ..Render::default() };
    assert!(template("qwen3-0.6b").render(&conversation).unwrap().len() > 5_000_000);
}
