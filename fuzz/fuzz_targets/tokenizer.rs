//! Vocabularies of SentencePiece's kind, as a GGUF file or a `tokenizer.json` may have them: whatever their lists say,
//! they are refused, or every text becomes ids that are in them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use text::tokenizer::{Special, TokenType, Tokenizer, Vocabulary};

/// What tokens and texts are made of.
const PARTS: [&str; 16] = [
    "a", "b", "▁", " ", "é", "\n", "<s>", "</s>", "<0x", "0A>", "<0xC3>", "<0xA9>", "<unk>", "aa",
    "ab", "🦉",
];

/// Texts of parts, each ended by a byte from 128 on.
fn texts(bytes: &[u8]) -> Vec<String> {
    let texts = bytes.split_inclusive(|byte| *byte >= 128);
    let part = |byte: &u8| PARTS[usize::from(byte & 15)];
    texts.map(|text| text.iter().filter(|byte| **byte < 128).map(part).collect()).collect()
}

fuzz_target!(|bytes: &[u8]| {
    let [how, first, second, third, rest @ ..] = bytes else { return };
    let _ = Tokenizer::from_json(rest, None);
    let (lists, text) = rest.split_at(rest.len() / 2);
    let tokens = texts(lists);
    let count = tokens.len();
    let id = |byte: u8| (byte < 128).then_some(u32::from(byte));
    // Lists are of the right length, or one short.
    let length = count.saturating_sub(usize::from(how & 1));
    let score = |byte: &u8| match byte {
        255 => f32::NAN,
        254 => f32::NEG_INFINITY,
        byte => -f32::from(byte >> 4),
    };
    let vocabulary = Vocabulary {
        model: if how & 2 == 0 { "llama" } else { "gemma4" }.to_owned(),
        merges: tokens.windows(2).take(4).map(|pair| pair.join(" ")).collect(),
        tokens,
        token_types: lists
            .iter()
            .take(length)
            .map(|b| TokenType::from_gguf((b & 7).into()))
            .collect(),
        scores: lists.iter().take(length).map(score).collect(),
        bos: id(*first),
        eos: id(*second),
        unknown: id(*third),
        add_space_prefix: Some(how & 4 == 0),
        remove_extra_whitespaces: Some(how & 8 != 0),
        strips_after_special: how & 16 != 0,
        ..Vocabulary::default()
    };
    let Ok(tokenizer) = Tokenizer::from_vocabulary(vocabulary) else { return };
    for text in texts(text) {
        for special in [Special::Parse, Special::Plain] {
            let ids = tokenizer.encode(&text, special);
            assert!(ids.iter().all(|id| (*id as usize) < count), "{text:?} became {ids:?}");
            tokenizer.decode(&ids);
        }
    }
});
