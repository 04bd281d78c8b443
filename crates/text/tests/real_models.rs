//! The same on whole vocabularies, where there are model files: in the folders that
//! `PONDER_TEST_MODELS` lists (llama.cpp's `models` may be one of them), or in ponder's store.

mod common;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::Metadata;
use text::tokenizer::{Special, Tokenizer};

/// Files of SentencePiece's BPE, and of byte-level BPE whose rule is known; none and a message if there are none.
fn vocabularies() -> Vec<(PathBuf, Metadata)> {
    let found: Vec<_> = common::models()
        .into_iter()
        .map(|path| (Metadata::read(&path), path))
        .filter(|(metadata, _)| {
            let is = |key, values: &[&str]| {
                metadata.strings.get(key).is_some_and(|value| values.contains(&value.as_str()))
            };
            let rules = ["qwen2", "smollm", "llama-bpe", "deepseek-r1-qwen", "gpt-2"];
            is("tokenizer.ggml.model", &["gpt2"]) && is("tokenizer.ggml.pre", &rules)
                || is("tokenizer.ggml.model", &["llama", "gemma4"])
        })
        .map(|(metadata, path)| (path, metadata))
        .collect();
    if found.is_empty() {
        eprintln!("skipped: no model files; PONDER_TEST_MODELS may list folders with some");
    }
    found
}

#[test]
fn whole_vocabularies_load_and_survive_the_round_trip() {
    for (path, metadata) in vocabularies() {
        let vocabulary = metadata.vocabulary();
        let (tokens, merges) = (vocabulary.tokens.len(), vocabulary.merges.len());
        let start = Instant::now();
        let tokenizer = Tokenizer::from_vocabulary(vocabulary).unwrap();
        let loaded = start.elapsed();
        let text = include_str!("real_models.rs").repeat(100);
        let start = Instant::now();
        let ids = tokenizer.encode(&text, Special::Plain);
        let rate = text.len() as f64 / start.elapsed().as_secs_f64() / 1e6;
        eprintln!(
            "{}: {tokens} tokens and {merges} merges in {loaded:.0?}; {rate:.1} MB/s",
            path.display()
        );
        assert_eq!(tokenizer.decode(&ids), text);
        assert!(ids.len() * 2 < text.len(), "merges are applied");
        assert!(rate > 0.1, "100 kB take no second");
        assert!(loaded < Duration::from_secs(10));
    }
}

#[test]
fn ids_are_those_of_llama_cpp_where_its_tests_lie_beside_the_file() {
    for (path, metadata) in vocabularies() {
        let beside = |end: &str| std::fs::read_to_string(format!("{}{end}", path.display()));
        let (Ok(inputs), Ok(outputs)) = (beside(".inp"), beside(".out")) else { continue };
        let tokenizer = Tokenizer::from_vocabulary(metadata.vocabulary()).unwrap();
        let mut compared = 0;
        for (text, ids) in inputs.split("\n__ggml_vocab_test__\n").zip(outputs.split('\n')) {
            let ids: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
            assert_eq!(tokenizer.encode(text, Special::Parse), ids, "{} {text:?}", path.display());
            compared += 1;
        }
        assert!(compared > 20, "{}", path.display());
    }
}
