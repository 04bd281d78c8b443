//! The grammars are given to llguidance, and samples to them.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};

use super::*;

/// Every byte a token, and the tags, too.
fn tokens() -> TokEnv {
    let mut words: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    for tag in [HERMES_TAGS.0, HERMES_TAGS.1, PYTHON_TAG, "<|end|>"] {
        words.push([b"\xff", tag.as_bytes()].concat());
    }
    let size = words.len() as u32;
    let info = TokRxInfo {
        vocab_size: size,
        tok_eos: size - 1,
        tok_bos: None,
        tok_pad: None,
        tok_unk: None,
        tok_end_of_turn: None,
    };
    Arc::new(ApproximateTokEnv::new(TokTrie::from(&info, &words)))
}

/// The tokens of a text; tags become theirs if they are special.
fn encode(text: &str, special: bool) -> Vec<u32> {
    let mut ids = Vec::new();
    let mut rest = text.as_bytes();
    while let Some(&byte) = rest.first() {
        let tags = [HERMES_TAGS.0, HERMES_TAGS.1, PYTHON_TAG];
        match tags.iter().position(|tag| special && rest.starts_with(tag.as_bytes())) {
            Some(index) => {
                ids.push(256 + index as u32);
                rest = &rest[tags[index].len()..];
            }
            None => {
                ids.push(byte.into());
                rest = &rest[1..];
            }
        }
    }
    ids
}

/// A compiled grammar.
struct Rules {
    matcher: Matcher,
    special: bool,
}

impl Rules {
    fn new(
        tools: &[Tool],
        choice: ToolChoice,
        parallel: bool,
        format: Format,
        special: bool,
    ) -> Rules {
        let lark = grammar(tools, &choice, parallel, format, |_| special).unwrap();
        let factory = ParserFactory::new_simple(&tokens()).unwrap();
        let parser = factory.create_parser(TopLevelGrammar::from_lark(lark.clone()));
        let matcher = Matcher::new(parser);
        assert_eq!(matcher.get_error(), None, "{lark}");
        Rules { matcher, special }
    }

    /// Whether the text is allowed as a whole answer.
    fn accepts(&self, text: &str) -> bool {
        let ids = encode(text, self.special);
        let mut matcher = self.matcher.deep_clone();
        matcher.try_consume_tokens(&ids).unwrap() == ids.len() && matcher.is_accepting().unwrap()
    }

    #[track_caller]
    fn check(&self, accepted: &[&str], rejected: &[&str]) {
        for text in accepted {
            assert!(self.accepts(text), "rejects {text:?}");
        }
        for text in rejected {
            assert!(!self.accepts(text), "accepts {text:?}");
        }
    }
}

fn tools() -> Vec<Tool> {
    Tool::from_json(&json!([
        {"type": "function", "function": {"name": "weather", "strict": true, "parameters": {
            "type": "object",
            "properties": {
                "place": {"$ref": "#/$defs/place"},
                "days": {"type": "integer", "minimum": 1},
            },
            "required": ["place"],
            "additionalProperties": false,
            "$defs": {"place": {"enum": ["Bern", "Zürich"]}},
        }}},
        {"type": "function", "function": {"name": "now"}},
    ]))
    .unwrap()
}

const BERN: &str = "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"place\": \"Bern\", \"days\": 2}}\n</tool_call>";
const NOW: &str = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
const ZURICH: &str = "{\"name\": \"weather\", \"parameters\": {\"place\": \"Zürich\"}}";
const LLAMA_NOW: &str = "{\"name\": \"now\", \"parameters\": {}}";

/// Calls that no tool allows.
fn wrong_calls() -> Vec<String> {
    vec![
        BERN.replace("Bern", "Rom"),
        BERN.replace("weather", "now"),
        BERN.replace("weather", "whether"),
        BERN.replace("2", "0"),
        BERN.replace("arguments", "parameters"),
        NOW.replace("{}", "{\"a\": 1}"),
        NOW.replace("{}", "[]"),
        "<tool_call>\n</tool_call>".to_string(),
    ]
}

#[test]
fn a_call_that_has_to_come() {
    let two = format!("{BERN}\n{NOW}");
    let leading = format!("\n\n{NOW}");
    for special in [true, false] {
        for format in [Format::Hermes, Format::Generic] {
            let one = Rules::new(&tools(), ToolChoice::Required, false, format, special);
            one.check(&[BERN, NOW, &leading], &["", "Sure.", &two, &BERN[..BERN.len() - 1]]);
            let many = Rules::new(&tools(), ToolChoice::Required, true, format, special);
            many.check(&[BERN, NOW, &two], &["", "Sure.", &format!("{BERN} ok {NOW}")]);
            for wrong in wrong_calls() {
                one.check(&[], &[&wrong]);
                many.check(&[], &[&wrong, &format!("{NOW}\n{wrong}")]);
            }
        }
        let named = ToolChoice::Named("now".to_string());
        let named = Rules::new(&tools(), named, true, Format::Hermes, special);
        named.check(&[NOW], &[BERN, ""]);
    }
}

#[test]
fn a_call_that_may_come() {
    let texts = ["", "Sure.", "a < b <tool", "Ça va 🦙\n{\"name\": 1}"];
    let said = format!("Let me look.\n{BERN}");
    let two = format!("Let me look.\n{BERN}\n{NOW}");
    for special in [true, false] {
        let one = Rules::new(&tools(), ToolChoice::Auto, false, Format::Hermes, special);
        one.check(&texts, &["<tool_call>", "Sure. <tool_call> is a tag."]);
        one.check(&[BERN, &said], &[&two]);
        let many = Rules::new(&tools(), ToolChoice::Auto, true, Format::Hermes, special);
        many.check(&texts, &["<tool_call>", "Sure. <tool_call> is a tag."]);
        many.check(&[NOW, &said, &two], &[&two[..two.len() - 1]]);
        for wrong in wrong_calls() {
            one.check(&[], &[&wrong, &format!("So:\n{wrong}")]);
            many.check(&[], &[&wrong, &format!("{said}\n{wrong}")]);
        }
        let no_tools = Rules::new(&[], ToolChoice::Auto, true, Format::Hermes, special);
        no_tools.check(&texts, &[BERN]);
    }
}

#[test]
fn a_call_that_must_not_come() {
    for special in [true, false] {
        let none = Rules::new(&tools(), ToolChoice::None, true, Format::Hermes, special);
        none.check(&["", "Sure.", "a <tool_cal"], &[BERN, "So: <tool_call>"]);
        let none = Rules::new(&tools(), ToolChoice::None, true, Format::Llama3, special);
        none.check(&["", "Sure: {}", "\n é"], &[LLAMA_NOW, "\n{", "{"]);
    }
}

#[test]
fn calls_without_tags() {
    let two = format!("{ZURICH}; {LLAMA_NOW}");
    for special in [true, false] {
        let rules =
            |choice, parallel| Rules::new(&tools(), choice, parallel, Format::Llama3, special);
        let one = rules(ToolChoice::Required, false);
        one.check(&[ZURICH, LLAMA_NOW], &["", "Sure.", &two, &ZURICH.replace("Z", "B"), "{}"]);
        rules(ToolChoice::Required, true).check(&[ZURICH, &two], &["", "Sure."]);
        let auto = rules(ToolChoice::Auto, false);
        auto.check(&["", "Sure.", "\n", "Sure: {}", ZURICH], &["{}", "{", "\n{a}", &two]);
        rules(ToolChoice::Auto, true).check(&[&two, "Sure."], &[&two[..two.len() - 1]]);
        let tagged = format!("{PYTHON_TAG}{ZURICH}");
        let said = format!("Sure.\n{tagged}");
        if special {
            one.check(&[&tagged], &[&said, PYTHON_TAG]);
            auto.check(&[&tagged, &said], &[PYTHON_TAG, &tagged.replace("Z", "B")]);
        }
    }
}

#[test]
fn schemas_of_all_sorts() {
    let tool = |strict: bool, parameters: Value| {
        let tools = json!([{"type": "function", "function": {
            "name": "f", "strict": strict, "parameters": parameters}}]);
        Tool::from_json(&tools).unwrap()
    };
    let rules =
        |tools: &[Tool]| Rules::new(tools, ToolChoice::Required, false, Format::Hermes, true);
    let call = |arguments: &str| {
        format!("<tool_call>\n{{\"name\": \"f\", \"arguments\": {arguments}}}\n</tool_call>")
    };
    let (empty, one) = (call("{}"), call("{\"a\": [1, 2]}"));
    rules(&tool(true, json!({}))).check(&[&empty], &[&one, &call("[]"), &call("1")]);
    let open = json!({"additionalProperties": true});
    rules(&tool(true, open)).check(&[&empty, &one], &[&call("[]")]);
    // A tree, named by its own path; and a property called like a keyword.
    let tree = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.com/t",
        "properties": {"$ref": {"type": "string"}, "next": {"$ref": "#"}},
        "additionalProperties": false,
    });
    rules(&tool(true, tree)).check(
        &[&empty, &call("{\"$ref\": \"a\", \"next\": {\"next\": {}}}")],
        &[&call("{\"next\": 1}"), &one],
    );
    // What llguidance does not know.
    let unknown = json!({"properties": {"a": {"type": "array", "uniqueItems": true}}});
    rules(&tool(false, unknown.clone())).check(&[&one], &[&call("{\"a\": 1}")]);
    let lark =
        grammar(&tool(true, unknown), &ToolChoice::Required, false, Format::Hermes, |_| true);
    let factory = ParserFactory::new_simple(&tokens()).unwrap();
    assert!(factory.create_parser(TopLevelGrammar::from_lark(lark.unwrap())).is_err());
}

#[test]
fn what_cannot_be_asked_for() {
    let of = |tools: &[Tool], choice| grammar(tools, &choice, true, Format::Hermes, |_| true);
    let named = ToolChoice::Named("when".to_string());
    assert_eq!(of(&tools(), named), Err(ToolError::Unknown("when".to_string())));
    assert_eq!(of(&[], ToolChoice::Required), Err(ToolError::NoTools));
}
