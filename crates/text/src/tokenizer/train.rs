//! A vocabulary of its own for a new model: byte-level BPE, learned from texts.

use std::collections::HashSet;

use tokenizers::Trainer;
use tokenizers::models::bpe::{BPE, BpeTrainer};

use super::rules::{Family, Rule, known_names};
use super::{Error, TokenType, Vocabulary, table};

/// Tokens of every vocabulary that is made, after all others: the end of a text, and ChatML's.
pub const CONTROL_TOKENS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
/// The least frequent pair that is made a token.
const MIN_FREQUENCY: u64 = 2;

/// Learns a vocabulary of `size` tokens from texts (Sennrich et al. 2016; on bytes: Radford et al. 2019): all 256
/// bytes, then the most frequent pairs, then [`CONTROL_TOKENS`]. It has fewer where the texts don't have as many pairs
/// that come twice. `pre` is GGUF's name for the way texts are cut into words, as `smollm` (digits one by one).
///
/// The same texts give the same vocabulary, in whatever order they come.
///
/// # Errors
/// The way of cutting is unknown, or `size` has no room for the bytes.
pub fn train<S: AsRef<str> + Send>(
    texts: impl Iterator<Item = S> + Send,
    pre: &str,
    size: usize,
) -> Result<Vocabulary, Error> {
    let family = Family::from_name(pre)
        .ok_or_else(|| Error::UnknownRule { name: pre.to_owned(), known: known_names() })?;
    let alphabet = table::alphabet();
    let least = alphabet.len() + CONTROL_TOKENS.len();
    if size < least {
        let expected = format!("at least {least}: all bytes, and what controls a conversation");
        return Err(Error::Length { field: "the vocabulary", found: size, expected });
    }
    let rule = Rule::new(family);
    let words = |text: &str| {
        let mut words = Vec::new();
        let mut stretches = vec![text];
        // What controls a conversation is no part of any word.
        for special in CONTROL_TOKENS {
            stretches = stretches.iter().flat_map(|stretch| stretch.split(special)).collect();
        }
        for stretch in stretches {
            rule.cut(stretch, |piece| {
                words.push(piece.bytes().map(|byte| alphabet[usize::from(byte)]).collect());
            });
        }
        Ok(words)
    };
    let mut trainer = BpeTrainer::builder()
        .vocab_size(size - CONTROL_TOKENS.len())
        .min_frequency(MIN_FREQUENCY)
        .show_progress(false)
        .initial_alphabet(alphabet.into_iter().collect::<HashSet<char>>())
        .build();
    let wrong = |error: tokenizers::Error| Error::Merge(error.to_string());
    trainer.feed(texts, words).map_err(wrong)?;
    let mut bpe = BPE::default();
    trainer.train(&mut bpe).map_err(wrong)?;

    let mut tokens: Vec<(u32, String)> =
        bpe.get_vocab().into_iter().map(|(text, id)| (id, text)).collect();
    tokens.sort_unstable();
    let ordinary = tokens.len();
    let tokens: Vec<String> =
        tokens.into_iter().map(|(_, text)| text).chain(CONTROL_TOKENS.map(str::to_owned)).collect();
    let mut token_types = vec![TokenType::Normal; ordinary];
    token_types.resize(tokens.len(), TokenType::Control);
    let place = |text: &str| tokens.iter().position(|token| token == text).map(|id| id as u32);
    Ok(Vocabulary {
        model: "gpt2".to_owned(),
        pre: pre.to_owned(),
        merges: merges(&bpe)?,
        eos: place("<|im_end|>"),
        add_bos: Some(false),
        token_types,
        tokens,
        ..Vocabulary::default()
    })
}

/// The merges, the most frequent first. They are to be had in what the model is written as, and nowhere else.
fn merges(bpe: &BPE) -> Result<Vec<String>, Error> {
    let written = serde_json::to_value(bpe).map_err(|error| Error::Merge(error.to_string()))?;
    let pair = |pair: &serde_json::Value| match (pair[0].as_str(), pair[1].as_str(), pair.as_str())
    {
        (Some(a), Some(b), _) => Some(format!("{a} {b}")),
        (_, _, Some(both)) => Some(both.to_owned()),
        _ => None,
    };
    let all = written["merges"].as_array().and_then(|all| all.iter().map(pair).collect());
    all.ok_or_else(|| Error::Merge("are written in a way that isn't known".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::{Special, Tokenizer};

    const TEXTS: [&str; 3] = [
        "the cat sat on the mat, and the other cat sat on the hat",
        "<|im_start|>the 1234 cats<|im_end|>\n",
        "the end of the cat",
    ];

    #[test]
    fn frequent_words_become_tokens() {
        let vocabulary = train(TEXTS.iter(), "smollm", 300).unwrap();
        assert!(vocabulary.tokens.len() <= 300);
        assert_eq!(vocabulary.token_types.len(), vocabulary.tokens.len());
        for wanted in ["the", "Ġthe", "Ġcat"] {
            assert!(vocabulary.tokens.iter().any(|t| t == wanted), "{wanted}");
        }
        assert!(vocabulary.tokens[..259].iter().all(|t| !t.contains("im_")));
        let tokenizer = Tokenizer::from_vocabulary(vocabulary).unwrap();
        let text = "<|im_start|>the cat sat: 42, é\u{1F980}<|im_end|>";
        let ids = tokenizer.encode(text, Special::Parse);
        assert_eq!(tokenizer.decode(&ids), text);
        assert_eq!(Some(ids[0]), tokenizer.token_id("<|im_start|>"));
        assert_eq!(tokenizer.token_text(ids[1]), "the");
        assert_eq!(tokenizer.encode("cat", Special::Plain).len(), 1);
        assert_eq!(tokenizer.encode("42", Special::Plain).len(), 2);
        assert!(tokenizer.is_end_of_generation(*ids.last().unwrap()));
    }

    #[test]
    fn the_order_of_texts_leaves_no_trace() {
        let of = |texts: Vec<&str>| {
            let v = train(texts.into_iter(), "smollm", 290).unwrap();
            (v.tokens, v.merges)
        };
        let first = of(TEXTS.to_vec());
        assert!(!first.1.is_empty());
        for _ in 0..5 {
            assert_eq!(of(TEXTS.into_iter().rev().collect()), first);
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let error = train(TEXTS.iter(), "smollm", 258).unwrap_err().to_string();
        assert!(error.contains("at least 259"), "{error}");
        let error = train(TEXTS.iter(), "wordpiece", 300).unwrap_err().to_string();
        assert!(error.contains("wordpiece"), "{error}");
        // Nothing to learn from leaves the bytes.
        assert_eq!(train([""].iter(), "qwen2", 400).unwrap().tokens.len(), 259);
    }
}
