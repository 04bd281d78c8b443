//! What a model answers, before every verifier that reads text: no panic, no hang, and a score in
//! `[0, 1]` that is the same the next time.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{from_value, json};
use verify::instructions::{Instructions, Task};
use verify::pattern::{calls, choice, exact, regular, schema};
use verify::puzzles::{colouring, countdown, sudoku};
use verify::{Attempt, Verifier};

/// What extractors look for, and what may stand around it.
const WORDS: [&str; 32] = [
    "\\boxed{",
    "}",
    "<answer>",
    "</answer>",
    "```json\n",
    "```\n",
    "The answer is ",
    "(C)",
    "C",
    "**",
    " or ",
    "<tool_call>",
    "</tool_call>",
    "{\"name\": \"f\", \"arguments\": {",
    "\"x\": 1",
    "}}",
    "[",
    "]",
    "\n",
    " ",
    "8/(3-8/3)",
    " = 24",
    "\\frac{",
    "A: 1\n",
    "1234\n",
    "3412\n",
    ". ",
    "P.S.",
    "\n\n",
    "***",
    "é",
    "\"",
];

const INSTRUCTIONS: [(&str, &str); 25] = [
    ("keywords:existence", r#"{"keywords": ["answer", "C"]}"#),
    ("keywords:frequency", r#"{"keyword": "the", "frequency": 2, "relation": "at least"}"#),
    ("keywords:forbidden_words", r#"{"forbidden_words": ["é", "C"]}"#),
    (
        "keywords:letter_frequency",
        r#"{"letter": "a", "let_frequency": 2, "let_relation": "less than"}"#,
    ),
    ("language:response_language", r#"{"language": "en"}"#),
    ("length_constraints:number_sentences", r#"{"num_sentences": 3, "relation": "at least"}"#),
    ("length_constraints:number_paragraphs", r#"{"num_paragraphs": 2}"#),
    ("length_constraints:number_words", r#"{"num_words": 5, "relation": "at least"}"#),
    (
        "length_constraints:nth_paragraph_first_word",
        r#"{"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "the"}"#,
    ),
    ("detectable_content:number_placeholders", r#"{"num_placeholders": 1}"#),
    ("detectable_content:postscript", r#"{"postscript_marker": "P.S."}"#),
    ("detectable_format:number_bullet_lists", r#"{"num_bullets": 1}"#),
    ("detectable_format:constrained_response", "{}"),
    ("detectable_format:number_highlighted_sections", r#"{"num_highlights": 1}"#),
    ("detectable_format:multiple_sections", r#"{"section_spliter": "Section", "num_sections": 1}"#),
    ("detectable_format:json_format", "{}"),
    ("detectable_format:title", "{}"),
    ("combination:two_responses", "{}"),
    ("combination:repeat_prompt", r#"{"prompt_to_repeat": "The answer"}"#),
    ("startend:end_checker", r#"{"end_phrase": "C"}"#),
    (
        "change_case:capital_word_frequency",
        r#"{"capital_frequency": 2, "capital_relation": "at least"}"#,
    ),
    ("change_case:english_capital", "{}"),
    ("change_case:english_lowercase", "{}"),
    ("punctuation:no_comma", "{}"),
    ("startend:quotation", "{}"),
];

static VERIFIERS: LazyLock<Vec<Box<dyn Verifier>>> = LazyLock::new(|| {
    let kwargs = INSTRUCTIONS.iter().map(|(_, kwargs)| serde_json::from_str(kwargs).unwrap());
    let instructions = Task {
        instruction_id_list: INSTRUCTIONS.iter().map(|(id, _)| id.to_string()).collect(),
        kwargs: kwargs.collect(),
        prompt: String::new(),
    };
    let exact = json!({"gold": "C", "normalise": {"punctuation": true, "articles": true}});
    let choice = json!({"gold": "C", "options": ["one", "two", "three", "8"]});
    let schema = json!({"schema": {"type": "object", "properties": {"x": {"type": "integer"}}}});
    let calls = json!({"calls": [{"name": "f", "arguments": {"x": [1, ""]}}]});
    let colouring = json!({"edges": [["A", "B"], ["B", "C"]], "colours": 2, "partial": true});
    vec![
        Box::new(Instructions::of(&instructions).unwrap()),
        Box::new(exact::Exact::new(&from_value(exact).unwrap()).unwrap()),
        Box::new(
            regular::Regular::new(&from_value(json!({"pattern": "(a|b)+c"})).unwrap()).unwrap(),
        ),
        Box::new(choice::Choice::new(&from_value(choice).unwrap()).unwrap()),
        Box::new(schema::Schema::new(&from_value(schema).unwrap()).unwrap()),
        Box::new(calls::Calls::new(&from_value(calls).unwrap()).unwrap()),
        Box::new(countdown::Countdown::new(&countdown::Task::twenty_four([3, 3, 8, 8])).unwrap()),
        Box::new(colouring::Colouring::new(&from_value(colouring).unwrap()).unwrap()),
        Box::new(sudoku::Sudoku::new(&sudoku::Task { grid: "1..4..1..1..4..1".into() }).unwrap()),
    ]
});

fuzz_target!(|bytes: &[u8]| {
    let Some((&how, rest)) = bytes.split_first() else { return };
    // Half of the inputs are text as it stands, half are made of words that matter.
    let answer = match how & 1 {
        0 => String::from_utf8_lossy(rest).into_owned(),
        _ => rest.iter().map(|byte| WORDS[usize::from(byte & 31)]).collect(),
    };
    for verifier in VERIFIERS.iter() {
        let verdict = verifier.verify(&Attempt::of(&answer)).expect("nothing else is needed");
        assert!((0.0..=1.0).contains(&verdict.score));
        let again = verifier.verify(&Attempt::of(&answer)).expect("nothing else is needed");
        assert_eq!(verdict, again);
    }
});
