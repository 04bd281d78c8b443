//! SentencePiece's vocabularies against the packages `sentencepiece` and `tokenizers`, on small trained ones (see
//! `goldens/make_sentencepiece_goldens.py`), and what becomes of vocabularies that make no sense.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use text::tokenizer::{
    Special, StreamDecoder, TokenType, Tokenizer, Vocabulary, pre_tokenizer_name,
};

fn read(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name);
    std::fs::read(path).unwrap()
}

#[derive(Deserialize)]
struct Goldens {
    texts: Vec<String>,
    vocabularies: std::collections::BTreeMap<String, Golden>,
}

#[derive(Deserialize)]
struct Golden {
    tokens: Vec<String>,
    scores: Vec<f32>,
    token_types: Vec<i64>,
    add_space_prefix: bool,
    remove_extra_whitespaces: bool,
    ids: Vec<Vec<u32>>,
    decoded: Vec<String>,
}

fn goldens() -> Goldens {
    serde_json::from_slice(&read("sentencepiece.json")).unwrap()
}

fn vocabulary(name: &str) -> Vocabulary {
    let golden = &goldens().vocabularies[name];
    Vocabulary {
        model: "llama".to_owned(),
        pre: "default".to_owned(),
        tokens: golden.tokens.clone(),
        token_types: golden.token_types.iter().map(|&n| TokenType::from_gguf(n)).collect(),
        scores: golden.scores.clone(),
        bos: Some(1),
        eos: Some(2),
        unknown: Some(0),
        add_space_prefix: Some(golden.add_space_prefix),
        remove_extra_whitespaces: Some(golden.remove_extra_whitespaces),
        ..Vocabulary::default()
    }
}

#[test]
fn ids_and_texts_are_those_of_sentencepiece() {
    let goldens = goldens();
    assert_eq!(goldens.vocabularies.len(), 3);
    for (name, golden) in &goldens.vocabularies {
        let tokenizer = Tokenizer::from_vocabulary(vocabulary(name)).unwrap();
        assert!(tokenizer.add_bos() && !tokenizer.add_eos());
        for (index, text) in goldens.texts.iter().enumerate() {
            let ids = tokenizer.encode(text, Special::Plain);
            assert_eq!(ids, golden.ids[index], "{name} {text:?}");
            // Where runs of spaces are one, the package takes `▁` in a text for such a run as well.
            if !(golden.remove_extra_whitespaces && text.contains('▁')) {
                assert_eq!(tokenizer.decode(&ids), golden.decoded[index], "{name} {text:?}");
            }
        }
    }
}

#[test]
fn ids_are_those_of_the_tokenizers_package_for_every_way_of_describing_them() {
    let file: Value = serde_json::from_slice(&read("tokenizer_sentencepiece.json")).unwrap();
    let expected: Value =
        serde_json::from_slice(&read("tokenizer_sentencepiece.expected.json")).unwrap();
    let schemes = expected["schemes"].as_object().unwrap();
    assert_eq!(schemes.len(), 5);
    for (scheme, golden) in schemes {
        let mut file = file.clone();
        for part in ["normalizer", "pre_tokenizer"] {
            file[part] = golden[part].clone();
        }
        let json = file.to_string();
        let tokenizer = Tokenizer::from_json(json.as_bytes(), None).unwrap();
        assert_eq!(tokenizer.bos(), Some(1));
        assert!(tokenizer.add_bos() && tokenizer.is_end_of_generation(2));
        for (index, text) in expected["texts"].as_array().unwrap().iter().enumerate() {
            let text = text.as_str().unwrap();
            for (special, key) in [(Special::Parse, "parse"), (Special::Plain, "plain")] {
                let ids = Value::from(tokenizer.encode(text, special));
                assert_eq!(ids, golden[key][index], "{scheme} {key} {text:?}");
            }
        }
        let known = (scheme != "words").then_some("default");
        assert_eq!(pre_tokenizer_name(json.as_bytes()).unwrap(), known, "{scheme}");
    }
}

#[test]
fn a_file_of_either_kind_gives_the_same_ids() {
    let json = read("tokenizer_sentencepiece.json");
    let (from_json, from_gguf) = (
        Tokenizer::from_json(&json, None).unwrap(),
        Tokenizer::from_vocabulary(vocabulary("prefixed")).unwrap(),
    );
    for text in &goldens().texts {
        // One that the file of this kind alone has.
        if !text.contains("<table>") {
            let ids = from_json.encode(text, Special::Parse);
            assert_eq!(ids, from_gguf.encode(text, Special::Parse), "{text:?}");
        }
    }
}

#[test]
fn a_text_in_pieces_is_the_text_in_one() {
    for name in ["prefixed", "bare"] {
        let tokenizer = Tokenizer::from_vocabulary(vocabulary(name)).unwrap();
        let encode = |last, text| tokenizer.encode_after(last, text, Special::Parse);
        let whole = encode(None, "<s>The owl</s>the end");
        let mut pieces = encode(None, "<s>");
        for piece in ["The owl", "</s>", "the end"] {
            pieces.extend(encode(pieces.last().copied(), piece));
        }
        assert_eq!(pieces, whole, "{name}");
        // Nor is there a space too many in what is said after such a token.
        let said = pieces[pieces.len() - encode(Some(2), "the end").len()..].to_vec();
        let mut stream = StreamDecoder::after(Arc::new(tokenizer), 2);
        let said: String = said.into_iter().map(|id| stream.push(id)).collect();
        assert_eq!(said, "the end", "{name}");
        let tokenizer = Tokenizer::from_vocabulary(vocabulary(name)).unwrap();
        let encode = |last, text| tokenizer.encode_after(last, text, Special::Parse);
        // Nothing comes between a text and what goes on from it.
        let word = encode(None, "The").last().copied();
        assert_eq!(tokenizer.decode_bytes(&encode(word, "owl")), b"owl", "{name}");
    }
}

#[test]
fn control_tokens_in_plain_text_are_text() {
    let tokenizer = Tokenizer::from_vocabulary(vocabulary("prefixed")).unwrap();
    assert_eq!(tokenizer.encode("<s>", Special::Parse), [1]);
    let plain = tokenizer.encode("<s></s><unk><0x41>", Special::Plain);
    assert!(plain.iter().all(|&id| !tokenizer.is_special(id)), "{plain:?}");
    assert_eq!(tokenizer.decode(&plain), "<s></s><unk><0x41>");
    assert!(tokenizer.is_end_of_generation(2) && !tokenizer.is_end_of_generation(1));
    // Where a vocabulary has it as a word of a markup, it ends nothing.
    let mut vocabulary = vocabulary("prefixed");
    vocabulary.token_types[2] = TokenType::UserDefined;
    vocabulary.eos = Some(1);
    assert!(!Tokenizer::from_vocabulary(vocabulary).unwrap().is_end_of_generation(2));
}

#[test]
fn white_space_after_special_tokens_is_dropped_where_that_is_the_custom() {
    let mut vocabulary = vocabulary("prefixed");
    let end = vocabulary.tokens.len() as u32;
    vocabulary.tokens.push("<|end|>".to_owned());
    vocabulary.token_types.push(TokenType::Control);
    vocabulary.scores.push(-1000.0);
    vocabulary.strips_after_special = true;
    let tokenizer = Tokenizer::from_vocabulary(vocabulary).unwrap();
    let stripped = tokenizer.encode("<|end|>\n  The", Special::Parse);
    assert_eq!(stripped, tokenizer.encode("<|end|>The", Special::Parse));
    assert_eq!(stripped[0], end);
    assert_ne!(
        tokenizer.encode("<s>\nThe", Special::Parse),
        tokenizer.encode("<s>The", Special::Parse)
    );
}

#[test]
fn gemma_4_takes_runs_of_line_ends_whole() {
    let bytes = (0..=255u8).map(|byte| format!("<0x{byte:02X}>"));
    let mut tokens: Vec<String> =
        ["<bos>", "<turn|>", "a", "b", "▁", "▁a", "▁ab", "\n", "\n\n\n"].map(str::to_owned).into();
    let letters = tokens.len() as u32;
    tokens.extend(bytes);
    let mut token_types = vec![TokenType::Normal; letters as usize];
    token_types.resize(tokens.len(), TokenType::Byte);
    token_types[0] = TokenType::Control;
    let tokenizer = Tokenizer::from_vocabulary(Vocabulary {
        model: "gemma4".to_owned(),
        tokens,
        token_types,
        merges: vec!["▁ a".to_owned(), "▁a b".to_owned()],
        bos: Some(0),
        add_bos: Some(false),
        ..Vocabulary::default()
    })
    .unwrap();
    let ids = tokenizer.encode("a ab\n\n\n\n\u{e9}<turn|>", Special::Parse);
    let byte = |byte: u32| letters + byte;
    assert_eq!(ids, [2, 6, 7, 7, 7, 7, byte(0xc3), byte(0xa9), 1]);
    assert_eq!(tokenizer.encode("\n\n\n b", Special::Parse), [8, 4, 3]);
    assert_eq!(tokenizer.decode(&ids), "a ab\n\n\n\n\u{e9}<turn|>");
    assert!(tokenizer.add_bos() && tokenizer.is_end_of_generation(1));
}

#[test]
fn a_long_text_takes_no_time() {
    let tokenizer = Tokenizer::from_vocabulary(vocabulary("prefixed")).unwrap();
    for text in ["the owl sat in the old oak ".repeat(20_000), "the".repeat(100_000)] {
        let start = std::time::Instant::now();
        let ids = tokenizer.encode(&text, Special::Plain);
        assert_eq!(tokenizer.decode(&ids), text);
        // Half a megabyte; in builds without optimisation it is a second or so.
        assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn texts_survive_the_round_trip(text in prop_oneof![
        prop::collection::vec(any::<char>(), 0..40).prop_map(String::from_iter),
        "(the|owl| |\n|é|<s>|</s>|<unk>|<table>|<0x0A>){0,20}",
    ]) {
        // `▁` is a space in these vocabularies.
        let text = text.replace('▁', " ");
        for name in ["prefixed", "bare"] {
            let tokenizer = Arc::new(Tokenizer::from_vocabulary(vocabulary(name)).unwrap());
            for special in [Special::Parse, Special::Plain] {
                let ids = tokenizer.encode(&text, special);
                prop_assert_eq!(tokenizer.decode(&ids), text.as_str());
                let mut stream = StreamDecoder::new(tokenizer.clone());
                let mut streamed: String = ids.iter().map(|&id| stream.push(id)).collect();
                streamed.push_str(&stream.finish());
                prop_assert_eq!(streamed, text.as_str());
            }
        }
    }

    #[test]
    fn a_vocabulary_of_anything_is_refused_or_used(
        tokens in prop::collection::vec("(a|b|▁|<0x0|<0x41>|<s>|>| |é|\n){0,4}", 0..12),
        kinds in prop::collection::vec(0i64..8, 0..12),
        scores in prop::collection::vec(prop_oneof![
            -3.0f32..1.0, Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY), Just(-0.0),
        ], 0..12),
        fit in any::<bool>(),
        merges in prop::collection::vec("(a|b|▁| ){0,4}", 0..4),
        ids in prop::collection::vec(prop::option::of(0u32..16), 4),
        model in prop_oneof![Just("llama"), Just("gemma4")],
        text in "(a|b| |é|<s>|\n){0,20}",
    ) {
        let (mut kinds, mut scores) = (kinds, scores);
        if fit {
            kinds.resize(tokens.len(), 1);
            scores.resize(tokens.len(), -1.0);
        }
        let count = tokens.len();
        let vocabulary = Vocabulary {
            model: model.to_owned(),
            tokens,
            token_types: kinds.into_iter().map(TokenType::from_gguf).collect(),
            scores,
            merges,
            bos: ids[0],
            eos: ids[1],
            eot: ids[2],
            unknown: ids[3],
            ..Vocabulary::default()
        };
        match Tokenizer::from_vocabulary(vocabulary) {
            Ok(tokenizer) => for special in [Special::Parse, Special::Plain] {
                let ids = tokenizer.encode(&text, special);
                prop_assert!(ids.iter().all(|&id| (id as usize) < count));
                tokenizer.decode(&ids);
            },
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}

#[test]
fn what_cannot_be_used_is_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Vocabulary)| -> String {
        let mut vocabulary = vocabulary("prefixed");
        change(&mut vocabulary);
        Tokenizer::from_vocabulary(vocabulary).unwrap_err().to_string()
    };
    let message = refused(&|vocabulary| vocabulary.scores.truncate(5));
    assert!(message.contains("tokenizer.ggml.scores has 5 entries"), "{message}");
    let message = refused(&|vocabulary| vocabulary.scores[7] = f32::NAN);
    assert!(message.contains("the score of token 7 is no number"), "{message}");
    let message = refused(&|vocabulary| vocabulary.unknown = Some(70_000));
    assert!(message.contains("tokenizer.ggml.unknown_token_id is 70000"), "{message}");
}
