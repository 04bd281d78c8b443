//! The splitter of reasoning, answer and tool calls: the result must not depend on how the text
//! is cut, and nothing but tags and white space may get lost.

#![no_main]

use libfuzzer_sys::fuzz_target;
use text::splitter::{Answer, Splitter, Start, Tags};

/// Tags, their beginnings, and what else may stand around them.
const WORDS: [&str; 16] = [
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<",
    "</",
    "<t",
    "</thi",
    "<tool_",
    "\n",
    " ",
    "a",
    "{}",
    "ß",
    "</tool_call",
    ">",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((&how, rest)) = bytes.split_first() else { return };
    let start = [Start::Undecided, Start::Inside, Start::After][usize::from(how % 3)];
    // Half of the inputs are text as it stands, half are made of words that matter. The pieces
    // are cut where the upper bits say so.
    let pieces: Vec<String> = if how & 0x80 == 0 {
        let text = String::from_utf8_lossy(rest);
        let every = usize::from(how >> 4 & 7) + 1;
        let chars: Vec<char> = text.chars().collect();
        chars.chunks(every).map(|chunk| chunk.iter().collect()).collect()
    } else {
        let mut pieces = vec![String::new()];
        for byte in rest {
            let word = WORDS[usize::from(byte & 15)];
            match byte >> 4 {
                0..8 => {}
                8..12 => pieces.push(String::new()),
                cut => {
                    // Within the word, where that is between two characters.
                    let (head, tail) =
                        word.split_at_checked(usize::from(cut) - 11).unwrap_or((word, ""));
                    pieces.last_mut().expect("never empty").push_str(head);
                    pieces.push(tail.to_owned());
                    continue;
                }
            }
            pieces.last_mut().expect("never empty").push_str(word);
        }
        pieces
    };

    let mut splitter = Splitter::new(Tags::default(), start);
    let mut pieced = Answer::default();
    for piece in &pieces {
        splitter.push(piece).into_iter().for_each(|event| pieced.add(event));
    }
    splitter.finish().into_iter().for_each(|event| pieced.add(event));

    let text = pieces.concat();
    let whole = Answer::split(&text, Tags::default(), start);
    assert_eq!(pieced, whole, "{pieces:?}");

    // Nothing is invented, and without a tag nothing but white space is dropped.
    let said = whole.reasoning.len()
        + whole.content.len()
        + whole.tool_calls.iter().map(String::len).sum::<usize>();
    assert!(said <= text.len(), "{text:?} became {whole:?}");
    if !text.contains('<') {
        let visible = |s: &str| s.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        assert_eq!(visible(&format!("{}{}", whole.reasoning, whole.content)), visible(&text));
    }
});
