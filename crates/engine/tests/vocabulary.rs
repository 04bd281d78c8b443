//! A vocabulary of SentencePiece's kind on its way through files and through the engine, on Gemma 3's tiny
//! checkpoint: tokens, template, grammar.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::sampler::Sampling;
use engine::{Engine, Flow, Grammar, LoadOptions, Scheduler, SchedulerOptions, Scope};
use kernels::Pool;
use kernels::blocks::BlockType;
use serde_json::{Value, json};
use text::template::Message;
use text::tokenizer::Special;
use weights::Checkpoint;
use weights::convert::{Beside, Draft, SafetensorsOptions};
use weights::pull::Silent;

/// Pieces in the order of their scores, then letters that nothing is merged to.
const PIECES: [&str; 14] =
    ["th", "▁th", "the", "▁the", "at", "cat", "▁▁", "▁▁▁", "▁", "t", "h", "e", "a", "c"];
/// What every token from 288 on is.
const TURNS: [&str; 3] = ["<start_of_turn>", "<pad>", "<end_of_turn>"];
const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}<start_of_turn>\
    {{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n\
    {% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}";

/// `<unk>`, `<s>`, `</s>`, the bytes, pieces, runs of spaces that are added whole, and turns.
fn vocabulary() -> Vec<String> {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).into();
    tokens.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(PIECES.map(str::to_owned));
    while tokens.len() < 288 {
        tokens.push(format!("<unused{}>", tokens.len()));
    }
    tokens.extend(TURNS.map(str::to_owned));
    tokens
}

/// All pairs of pieces that make a third, by its place.
fn merges() -> Vec<Value> {
    let mut rules = Vec::new();
    for piece in PIECES {
        let cuts = piece.char_indices().skip(1).map(|(at, _)| piece.split_at(at));
        rules.extend(cuts.filter(|(a, b)| PIECES.contains(a) && PIECES.contains(b)));
    }
    rules.into_iter().map(|(a, b)| json!([a, b])).collect()
}

/// The golden with a tokenizer beside it; a space before texts if `opens`.
fn made(dir: &Path, opens: bool) -> PathBuf {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/goldens/gemma3");
    for name in ["config.json", "generation_config.json", "model.safetensors"] {
        std::fs::copy(golden.join(name), dir.join(name)).unwrap();
    }
    let tokens = vocabulary();
    let added: Vec<Value> = tokens
        .iter()
        .enumerate()
        .filter(|(id, _)| *id < 3 || *id >= 288)
        .map(|(id, text)| {
            json!({
                "id": id, "content": text, "special": true, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false,
            })
        })
        .collect();
    let vocab: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(id, text)| (text.clone(), id.into())).collect();
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let prepend = json!({"type": "Prepend", "prepend": "▁"});
    let normalizer = match opens {
        true => json!({"type": "Sequence", "normalizers": [prepend, replace]}),
        false => replace,
    };
    let tokenizer = json!({
        "version": "1.0", "added_tokens": added, "normalizer": normalizer,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {
            "type": "BPE", "vocab": vocab, "merges": merges(), "byte_fallback": true,
            "fuse_unk": true, "unk_token": "<unk>",
        },
    });
    std::fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let config = json!({
        "bos_token": "<s>", "eos_token": "<end_of_turn>", "unk_token": "<unk>",
        "add_bos_token": true, "chat_template": TEMPLATE,
    });
    std::fs::write(dir.join("tokenizer_config.json"), config.to_string()).unwrap();
    dir.to_owned()
}

fn load(path: &Path) -> Arc<Engine> {
    Arc::new(Engine::load(path, &LoadOptions::default()).unwrap())
}

#[test]
fn files_of_every_kind_give_the_same_tokens() {
    let texts = [
        "the cat that",
        " the  cat   at    the     end",
        "<start_of_turn>the\n<end_of_turn>the cat<s> the",
        "é\n\u{1F989}▁the",
        "",
    ];
    for opens in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let original = made(dir.path(), opens);
        let gguf = dir.path().join("m.gguf");
        let checkpoint = Checkpoint::open(&original).unwrap();
        let draft = Draft::of_safetensors(&checkpoint, Some("default")).unwrap();
        let m = &draft.metadata;
        assert_eq!(m.str("tokenizer.ggml.model").unwrap(), Some("llama"));
        assert_eq!(m.bool("tokenizer.ggml.add_space_prefix").unwrap(), Some(opens));
        let scores = m.f32_array("tokenizer.ggml.scores").unwrap().unwrap().into_owned();
        assert_eq!(scores[259..265], [0.0, -1.0, -2.0, -3.0, -4.0, -5.0]);
        assert_eq!((scores[0], scores[3], scores[290]), (-1000.0, 0.0, -1000.0));
        let types = m.i32_array("tokenizer.ggml.token_type").unwrap().unwrap().into_owned();
        assert_eq!((types[1], types[3], types[259], types[290]), (3, 6, 1, 3));
        draft.write_gguf(&gguf, &Pool::new(1), &Silent).unwrap();
        let checkpoint = Checkpoint::open(&gguf).unwrap();
        let back = dir.path().join("back");
        let beside = Beside::Made { normalizer: Value::Null, pre_tokenizer: Value::Null };
        let options = SafetensorsOptions { ty: BlockType::F32, shard_bytes: 1 << 30, beside };
        let draft = Draft::of_gguf(&checkpoint).unwrap();
        draft.write_safetensors(&back, &options, &Pool::new(1), &Silent).unwrap();

        let [original, gguf, back] = [&original, &gguf, &back].map(|path| load(path));
        for engine in [&gguf, &back] {
            let (a, b) = (original.tokenizer(), engine.tokenizer());
            assert_eq!((a.bos(), a.eos(), a.add_bos()), (b.bos(), b.eos(), b.add_bos()));
            assert!(b.ends_of_generation().any(|end| end == 290));
            for text in texts {
                for special in [Special::Parse, Special::Plain] {
                    assert_eq!(a.encode(text, special), b.encode(text, special), "{text:?}");
                }
                let ids = b.encode(text, Special::Parse);
                assert_eq!(b.decode(&ids), text.replace('▁', " "));
            }
            assert_eq!((0..291).find(|id| a.token_bytes(*id) != b.token_bytes(*id)), None);
            let asked = [Message::new("user", "the cat")];
            let prompt =
                |engine: &Engine| engine.chat(&asked, None, serde_json::Map::new()).unwrap().prompt;
            assert_eq!(prompt(&original), prompt(engine));
            assert_eq!(prompt(engine)[..2], [1, 288]);
        }
    }
}

#[test]
fn a_grammar_is_followed_in_letters_and_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let engine = load(&made(dir.path(), true));
    let mut scheduler = Scheduler::new(Arc::clone(&engine), SchedulerOptions::default()).unwrap();
    let grammar = Grammar::Regex("( the)( cat){2}, [0-9]{3}é".to_owned());
    let constraint = engine.constrain(&grammar, Scope::Answer).unwrap();
    let mut request =
        engine.chat(&[Message::new("user", "hi")], None, serde_json::Map::new()).unwrap();
    request.sampling = Sampling { seed: Some(3), ..Sampling::default() };
    request.constraint = Some(constraint);
    let completion = scheduler.complete(&request, &mut |_| Flow::Continue).unwrap();
    let said = &completion.content;
    assert!(said.starts_with(" the cat cat, ") && said.ends_with('é'), "{said:?}");
    assert!(said.trim_start_matches(" the cat cat, ").len() == 5, "{said:?}");
}
