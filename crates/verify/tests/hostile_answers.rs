//! Answers of a quarter mebibyte made to be slow or deep: every verifier is done with each in little time.

use std::time::{Duration, Instant};

use serde_json::{from_value, json};
use verify::instructions::Instructions;
use verify::pattern::{calls, choice, exact, regular, schema};
use verify::puzzles::{colouring, countdown, sudoku};
use verify::{Attempt, Verifier};

const SIZE: usize = 1 << 18;

fn verifiers() -> Vec<(&'static str, Box<dyn Verifier>)> {
    let deep =
        json!({"schema": {"$ref": "#/$defs/x", "$defs": {"x": {"items": {"$ref": "#/$defs/x"}}}}});
    let options: Vec<String> = (0..26).map(|i| format!("option {i}")).collect();
    let edges: Vec<[u32; 2]> = (0..1000).map(|i| [i, i + 1]).collect();
    let exact = json!({"gold": "x", "normalise": {"punctuation": true, "articles": true}});
    let calls = json!({"calls": [{"name": "f", "arguments": {"x": [1]}}]});
    let colouring = json!({"edges": edges, "colours": 2});
    let mut all: Vec<(&str, Box<dyn Verifier>)> = vec![
        ("exact", Box::new(exact::Exact::new(&from_value(exact).unwrap()).unwrap())),
        (
            "regular",
            Box::new(
                regular::Regular::new(&from_value(json!({"pattern": "(a+)+$"})).unwrap()).unwrap(),
            ),
        ),
        (
            "choice",
            Box::new(
                choice::Choice::new(&from_value(json!({"gold": "C", "options": options})).unwrap())
                    .unwrap(),
            ),
        ),
        ("schema", Box::new(schema::Schema::new(&from_value(deep).unwrap()).unwrap())),
        ("calls", Box::new(calls::Calls::new(&from_value(calls).unwrap()).unwrap())),
        (
            "countdown",
            Box::new(
                countdown::Countdown::new(&countdown::Task::twenty_four([3, 3, 8, 8])).unwrap(),
            ),
        ),
        (
            "colouring",
            Box::new(colouring::Colouring::new(&from_value(colouring).unwrap()).unwrap()),
        ),
        (
            "sudoku",
            Box::new(
                sudoku::Sudoku::new(&sudoku::Task { grid: "1..4..1..1..4..1".into() }).unwrap(),
            ),
        ),
    ];
    for (id, kwargs) in [
        (
            "length_constraints:number_sentences",
            json!({"num_sentences": 3, "relation": "at least"}),
        ),
        ("length_constraints:number_paragraphs", json!({"num_paragraphs": 2})),
        (
            "change_case:capital_word_frequency",
            json!({"capital_frequency": 9, "capital_relation": "less than"}),
        ),
        ("detectable_format:number_bullet_lists", json!({"num_bullets": 1})),
        ("detectable_format:number_highlighted_sections", json!({"num_highlights": 1})),
        ("detectable_content:number_placeholders", json!({"num_placeholders": 99})),
        ("detectable_format:title", json!({})),
        ("detectable_format:json_format", json!({})),
        ("language:response_language", json!({"language": "en"})),
        ("combination:two_responses", json!({})),
        ("keywords:forbidden_words", json!({"forbidden_words": ["(a+)+b"]})),
    ] {
        let instructions = Instructions::new(&[id.to_owned()], &[kwargs], "").unwrap();
        all.push((id, Box::new(instructions)));
    }
    all
}

#[test]
fn large_and_deep_answers_are_judged_in_little_time() {
    let pieces = [
        "[",
        "{\"a\":",
        "[1,",
        "\\boxed{",
        "\\boxed{}",
        "}",
        ".",
        ". ",
        "\"",
        "a. ",
        "A.",
        "? ",
        "\n",
        " ",
        " \n",
        "* ",
        "*",
        "- \n",
        "**",
        "<answer>",
        "<tool_call>",
        "```\n",
        "(",
        "((",
        "1+",
        "1 ",
        "1/",
        "\\frac{",
        "é",
        "answer ",
        "answer is ",
        "option C ",
        "(C) or ",
        "C\n",
        "=",
        "1:1\n",
        "1234\n",
        "<<",
        "[a",
        "\u{300}",
        "aA",
        "'",
        "-",
        "a,",
        "e.g. ",
        "the ",
    ];
    // Debug builds on a busy machine are slow; what is quadratic would take minutes.
    let limit = Duration::from_secs(20);
    let verifiers = verifiers();
    for piece in pieces {
        let answer = piece.repeat(SIZE / piece.len());
        for (name, verifier) in &verifiers {
            let start = Instant::now();
            let verdict = verifier.verify(&Attempt::of(&answer));
            let took = start.elapsed();
            assert!(verdict.is_ok(), "{name}: {piece:?}");
            if took > Duration::from_millis(500) {
                println!("{name}: {piece:?} {took:?}");
            }
            assert!(took < limit, "{name}: {piece:?} took {took:?}");
        }
    }
}
