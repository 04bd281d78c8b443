//! The tokenizer against llama.cpp and the Python `tokenizers` package, on excerpts of real
//! vocabularies and on small trained ones. See `goldens/make_tokenizer_goldens.py`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde::Deserialize;
use text::tokenizer::{
    Error, Special, StreamDecoder, TokenType, Tokenizer, TokenizerConfig, Vocabulary,
};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

fn read<T: for<'de> Deserialize<'de>>(name: &str) -> T {
    let bytes = std::fs::read(golden(name)).unwrap();
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[derive(Deserialize)]
struct Texts {
    llama_cpp: Vec<String>,
    ours: Vec<String>,
}

#[derive(Deserialize)]
struct Golden {
    vocabulary: Excerpt,
    expected: Expected,
}

#[derive(Deserialize)]
struct Excerpt {
    pre: String,
    bos: u32,
    eos: u32,
    add_bos: Option<bool>,
    tokens: Vec<String>,
    token_types: Vec<i64>,
    ids_in_the_whole: Vec<u32>,
    merges: Vec<String>,
}

#[derive(Deserialize)]
struct Expected {
    #[serde(default)]
    texts: Vec<String>,
    #[serde(default)]
    llama_cpp: Vec<Vec<u32>>,
    parse: Vec<Vec<u32>>,
    plain: Vec<Vec<u32>>,
}

impl Excerpt {
    fn vocabulary(self) -> Vocabulary {
        Vocabulary {
            model: "gpt2".to_string(),
            pre: self.pre,
            tokens: self.tokens,
            token_types: self.token_types.into_iter().map(TokenType::from_gguf).collect(),
            merges: self.merges,
            bos: Some(self.bos),
            eos: Some(self.eos),
            add_bos: self.add_bos,
            ..Vocabulary::default()
        }
    }
}

fn qwen2() -> Vocabulary {
    read::<Golden>("vocabularies/qwen2.json").vocabulary.vocabulary()
}

#[test]
fn ids_are_those_of_llama_cpp_and_of_the_python_package() {
    let texts: Texts = read("texts.json");
    let all: Vec<&String> = texts.llama_cpp.iter().chain(&texts.ours).collect();
    for name in ["qwen2", "gpt-2", "llama-bpe", "smollm", "deepseek-r1-qwen"] {
        let golden: Golden = read(&format!("vocabularies/{name}.json"));
        let whole = golden.vocabulary.ids_in_the_whole.clone();
        let tokenizer = Tokenizer::from_vocabulary(golden.vocabulary.vocabulary()).unwrap();
        let encode = |text: &str, special| -> Vec<u32> {
            tokenizer.encode(text, special).iter().map(|&id| whole[id as usize]).collect()
        };
        assert_eq!(golden.expected.parse.len(), all.len());
        for (index, text) in all.iter().enumerate() {
            assert_eq!(
                encode(text, Special::Parse),
                golden.expected.parse[index],
                "{name} {text:?}"
            );
            assert_eq!(
                encode(text, Special::Plain),
                golden.expected.plain[index],
                "{name} {text:?}"
            );
        }
        for (text, ids) in texts.llama_cpp.iter().zip(&golden.expected.llama_cpp) {
            assert_eq!(&encode(text, Special::Parse), ids, "{name} {text:?}");
        }
    }
}

#[test]
fn ids_are_those_of_the_python_package_for_a_tokenizer_json() {
    for name in ["qwen2", "smollm", "described"] {
        let json = std::fs::read(golden(&format!("tokenizer_{name}.json"))).unwrap();
        let tokenizer = Tokenizer::from_json(&json, None).unwrap();
        let expected: Expected = read(&format!("tokenizer_{name}.expected.json"));
        for (index, text) in expected.texts.iter().enumerate() {
            let ids = tokenizer.encode(text, Special::Parse);
            assert_eq!(ids, expected.parse[index], "{name} {text:?}");
            let ids = tokenizer.encode(text, Special::Plain);
            assert_eq!(ids, expected.plain[index], "{name} {text:?}");
        }
    }
}

#[test]
fn the_config_names_the_first_and_last_token() {
    let json = std::fs::read(golden("tokenizer_qwen2.json")).unwrap();
    let config = TokenizerConfig::from_json(
        br#"{"bos_token": null, "eos_token": {"content": "<|im_end|>", "lstrip": false},
             "chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]}"#,
    )
    .unwrap();
    assert_eq!(config.chat_template.as_deref(), Some("D"));
    let tokenizer = Tokenizer::from_json(&json, Some(&config)).unwrap();
    assert_eq!(tokenizer.eos(), tokenizer.token_id("<|im_end|>"));
    assert!(tokenizer.is_end_of_generation(tokenizer.eos().unwrap()));
    // The post-processor of this file puts a token before every text.
    assert_eq!(tokenizer.bos(), tokenizer.token_id("<|im_start|>"));
    assert!(tokenizer.add_bos());
    assert!(TokenizerConfig::from_json(b"{\"bos_token\": 3}").is_err());
}

#[test]
fn control_tokens_in_plain_text_are_text() {
    let tokenizer = Tokenizer::from_vocabulary(qwen2()).unwrap();
    let text = "<|im_end|>";
    let end = tokenizer.token_id(text).unwrap();
    assert_eq!(tokenizer.encode(text, Special::Parse), [end]);
    let plain = tokenizer.encode(text, Special::Plain);
    assert!(plain.len() > 1 && plain.iter().all(|&id| !tokenizer.is_special(id)));
    assert_eq!(tokenizer.decode(&plain), text);
}

#[test]
fn what_is_known_of_single_tokens() {
    let tokenizer = Tokenizer::from_vocabulary(qwen2()).unwrap();
    let id = |text| tokenizer.token_id(text).unwrap();
    assert_eq!(tokenizer.token_bytes(id("ĠHello")), b" Hello");
    assert_eq!(tokenizer.token_text(id("ĠHello")), "ĠHello");
    assert!(tokenizer.is_end_of_generation(id("<|im_end|>")));
    assert!(tokenizer.is_end_of_generation(id("<|endoftext|>")));
    assert!(!tokenizer.is_end_of_generation(id("<|im_start|>")));
    assert!(tokenizer.is_special(id("<|im_start|>")) && !tokenizer.is_special(id("ĠHello")));
    let beyond = tokenizer.vocab_size() as u32;
    assert_eq!(tokenizer.token_bytes(beyond), b"");
    assert!(!tokenizer.is_special(beyond) && !tokenizer.is_end_of_generation(beyond));
    assert!(!tokenizer.add_bos());
}

#[test]
fn ten_thousand_random_strings_survive_the_round_trip() {
    let tokenizer = Arc::new(Tokenizer::from_vocabulary(qwen2()).unwrap());
    // A fixed seed: the strings are the same on every machine.
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strings = prop_oneof![
        prop::collection::vec(any::<char>(), 0..40).prop_map(String::from_iter),
        "(\\PC| |\n|\t|<\\|im_end\\|>|<tool_call>){0,30}",
        "[ -~\r\n\t]{0,60}",
    ];
    for _ in 0..10_000 {
        let text = strings.new_tree(&mut runner).unwrap().current();
        for special in [Special::Parse, Special::Plain] {
            let ids = tokenizer.encode(&text, special);
            assert_eq!(tokenizer.decode(&ids), text);
            let mut stream = StreamDecoder::new(tokenizer.clone());
            let mut streamed: String = ids.iter().map(|&id| stream.push(id)).collect();
            streamed.push_str(&stream.finish());
            assert_eq!(streamed, text);
        }
    }
}

#[test]
fn half_a_character_is_never_shown() {
    let tokenizer = Arc::new(Tokenizer::from_vocabulary(qwen2()).unwrap());
    // One byte a token: the excerpt has no merges for this.
    let ids = tokenizer.encode("\u{13080}!", Special::Plain);
    assert!(ids.len() >= 4, "{ids:?}");
    let mut stream = StreamDecoder::new(tokenizer.clone());
    let pieces: Vec<String> = ids.iter().map(|&id| stream.push(id)).collect();
    assert!(pieces[..ids.len() - 2].iter().all(String::is_empty), "{pieces:?}");
    assert_eq!(pieces.concat(), "\u{13080}!");
    assert_eq!(stream.push(ids[0]), "");
    assert_eq!(stream.finish(), "\u{fffd}");
}

#[test]
fn several_threads_may_encode_at_once() {
    let tokenizer = Tokenizer::from_vocabulary(qwen2()).unwrap();
    let text = "Hello, y'all! How are you? ".repeat(50);
    let expected = tokenizer.encode(&text, Special::Plain);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(tokenizer.encode(&text, Special::Plain), expected));
        }
    });
}

#[test]
fn a_vocabulary_that_cannot_be_used_is_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Vocabulary)| -> String {
        let mut vocabulary = qwen2();
        change(&mut vocabulary);
        Tokenizer::from_vocabulary(vocabulary).unwrap_err().to_string()
    };
    let message = refused(&|vocabulary| vocabulary.pre = "wordpiece".to_string());
    assert!(message.contains("\"wordpiece\"") && message.contains("qwen2, deepseek-r1-qwen"));
    let message = refused(&|vocabulary| vocabulary.model = "bert".to_string());
    assert!(message.contains("tokenizer.ggml.model is \"bert\""), "{message}");
    let message = refused(&|vocabulary| vocabulary.model = "llama".to_string());
    assert!(message.contains("tokenizer.ggml.scores has 0 entries"), "{message}");
    let message = refused(&|vocabulary| vocabulary.tokens.clear());
    assert!(message.contains("tokenizer.ggml.tokens has 0 entries"), "{message}");
    let message = refused(&|vocabulary| vocabulary.token_types.truncate(3));
    assert!(message.contains("tokenizer.ggml.token_type has 3 entries"), "{message}");
    let message = refused(&|vocabulary| vocabulary.eos = Some(u32::MAX));
    assert!(message.contains("tokenizer.ggml.eos_token_id is 4294967295"), "{message}");
    for merge in ["", " ", "a", "a ", "nonsense nonsense"] {
        let message = refused(&|vocabulary| vocabulary.merges.push(merge.to_string()));
        assert!(message.contains("merge"), "{message}");
    }
}

#[test]
fn a_tokenizer_json_that_cannot_be_used_is_refused_by_name() {
    let refused = |json: &str| Tokenizer::from_json(json.as_bytes(), None).unwrap_err();
    let whole = std::fs::read_to_string(golden("tokenizer_qwen2.json")).unwrap();
    assert!(matches!(refused("{}"), Error::Json { file: "tokenizer.json", .. }));
    let unigram = r#"{"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}"#;
    assert!(refused(unigram).to_string().contains("\"Unigram\""));
    let no_bytes = r#"{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}"#;
    assert!(matches!(refused(no_bytes), Error::Unsupported { .. }));
    let absurd = whole.replace("\"!\":1,", "\"!\":4294967295,");
    assert!(matches!(refused(&absurd), Error::IdOutOfRange { id: u32::MAX, .. }));
    let prefix = whole.replace(
        "\"continuing_subword_prefix\":null",
        "\"continuing_subword_prefix\":\"##########\"",
    );
    assert!(matches!(refused(&prefix), Error::Unsupported { .. }));
    for end in (0..whole.len()).step_by(97) {
        if let Some(part) = whole.get(..end) {
            assert!(Tokenizer::from_json(part.as_bytes(), None).is_err());
        }
    }
}
