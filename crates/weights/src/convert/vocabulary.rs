//! `tokenizer.json` and what lies beside it to GGUF's `tokenizer.ggml.*`.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::sentencepiece;
use crate::Error;
use crate::gguf::{Array, Metadata, StrArray};
use crate::safetensors::SafetensorsDir;
use crate::tensor::shorten;

// GGUF's numbers for what a token is for.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// Writes the vocabulary of `dir` into `metadata`: `rows` tokens, as many as the embedding has. `pre`
/// is GGUF's name for the way its pre-tokenizer cuts a text.
pub(super) fn read(
    dir: &SafetensorsDir,
    rows: usize,
    pre: &str,
    metadata: &mut Metadata,
) -> Result<(), Error> {
    let path = dir.path().join("tokenizer.json");
    let json: Value = serde_json::from_slice(&dir.tokenizer_json()?)
        .map_err(|e| Error::malformed(&path, "JSON", e))?;
    let bad = |field: &str, problem: &str| Error::malformed(&path, field, problem);
    let model = &json["model"];
    if model["type"].as_str().is_some_and(|kind| kind != "BPE") {
        let problem = "is neither byte-level BPE nor SentencePiece's";
        let remedy = "other vocabularies can't be converted yet";
        return Err(Error::unsupported(&path, "model", problem, remedy));
    }
    let sentencepiece = model["byte_fallback"] == true;
    let vocab = model["vocab"].as_object().ok_or_else(|| bad("model.vocab", "is no object"))?;
    let none = Vec::new();
    let added = match &json["added_tokens"] {
        Value::Null => &none,
        added => added.as_array().ok_or_else(|| bad("added_tokens", "is no list"))?,
    };

    let mut ids: HashMap<&str, usize> = HashMap::with_capacity(vocab.len());
    let mut tokens: Vec<Option<(&str, i32)>> = vec![None; rows];
    let place = |text: &str, id: &Value| -> Result<usize, Error> {
        match id.as_u64().and_then(|id| usize::try_from(id).ok()) {
            Some(id) if id < rows => Ok(id),
            _ => {
                let field = format!("the id of {:?}", shorten(text));
                let problem = format!("{id} is not below {rows}, the rows of the embedding");
                Err(Error::malformed(&path, field, problem))
            }
        }
    };
    for (text, id) in vocab {
        let id = place(text, id)?;
        let byte = sentencepiece && sentencepiece::is_byte(text);
        tokens[id] = Some((text, if byte { BYTE } else { NORMAL }));
        ids.insert(text, id);
    }
    for token in added {
        let text =
            token["content"].as_str().ok_or_else(|| bad("added_tokens", "lacks a content"))?;
        let id = place(text, &token["id"])?;
        let control = token["special"] == true || looks_like_control(text);
        tokens[id] = Some((text, if control { CONTROL } else { USER_DEFINED }));
        ids.insert(text, id);
    }
    let merges = match &model["merges"] {
        Value::Array(merges) => merges.iter().map(merge).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    let merges = merges.ok_or_else(|| bad("model.merges", "is no list of pairs of tokens"))?;

    metadata.insert("tokenizer.ggml.model", if sentencepiece { "llama" } else { "gpt2" });
    metadata.insert("tokenizer.ggml.pre", pre);
    let text = |(id, token): (usize, &Option<(&str, i32)>)| match token {
        // What is looked for in a text is looked for before spaces become letters.
        Some((text, USER_DEFINED)) if sentencepiece => text.replace(sentencepiece::SPACE, " "),
        Some((text, _)) => (*text).to_owned(),
        None => format!("[PAD{id}]"),
    };
    let texts: StrArray = tokens.iter().enumerate().map(text).collect();
    metadata.insert("tokenizer.ggml.tokens", texts);
    let types: Vec<i32> = tokens.iter().map(|t| t.map_or(UNUSED, |(_, ty)| ty)).collect();
    metadata.insert("tokenizer.ggml.token_type", types);
    if sentencepiece {
        let scores = scores(&tokens, &ids, &merges).ok_or_else(|| {
            let problem = "are in an order that no scores of tokens give";
            let remedy = "only vocabularies that SentencePiece made can be converted";
            Error::unsupported(&path, "model.merges", problem, remedy)
        })?;
        metadata.insert("tokenizer.ggml.scores", scores);
        let opens = sentencepiece::opens_with_space(&json);
        metadata.insert("tokenizer.ggml.add_space_prefix", opens);
    } else {
        // A space within would be one too many; the byte alphabet writes it `Ġ`.
        let spelled =
            |(a, b): &(String, String)| format!("{} {}", a.replace(' ', "Ġ"), b.replace(' ', "Ġ"));
        let merges = Array::Str(merges.iter().map(spelled).collect());
        metadata.insert("tokenizer.ggml.merges", crate::gguf::Value::Array(merges));
    }
    special(dir, &json, &ids, rows, metadata);
    if let Some(template) = dir.chat_template()? {
        metadata.insert("tokenizer.chat_template", template);
    }
    Ok(())
}

/// Some vocabularies don't mark as special what is: `<|fim_prefix|>` of Qwen2.5 among them.
fn looks_like_control(text: &str) -> bool {
    [("<|", "|>"), ("<｜", "｜>")]
        .iter()
        .any(|(open, close)| text.starts_with(open) && text.ends_with(close))
}

/// A merge: a list of two tokens, or both with a space between.
fn merge(merge: &Value) -> Option<(String, String)> {
    match merge {
        Value::String(merge) => merge.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())),
        Value::Array(pair) => match &pair[..] {
            [Value::String(a), Value::String(b)] => Some((a.clone(), b.clone())),
            _ => None,
        },
        _ => None,
    }
}

/// A score for each of SentencePiece's tokens: those that merges lead to, in the merges' order, then all other
/// ordinary ones in the order of their ids. `None` if no scores give the merges in their order.
fn scores(
    tokens: &[Option<(&str, i32)>],
    ids: &HashMap<&str, usize>,
    merges: &[(String, String)],
) -> Option<Vec<f32>> {
    let fixed = |token: &Option<(&str, i32)>| match token {
        Some((_, NORMAL)) => None,
        Some((_, BYTE)) => Some(sentencepiece::BYTE),
        Some(_) => Some(sentencepiece::ADDED),
        None => Some(sentencepiece::NONE),
    };
    let mut scores: Vec<Option<f32>> = tokens.iter().map(fixed).collect();
    let ordinary = |text: &str| ids.get(text).copied().filter(|id| scores[*id].is_none());
    let groups = sentencepiece::by_score(merges, ordinary)?;
    let reached = groups.len();
    for (rank, group) in groups.into_iter().enumerate() {
        group.into_iter().for_each(|id| scores[id] = Some(-(rank as f32)));
    }
    let mut next = reached;
    let all = scores.into_iter().map(|score| {
        score.unwrap_or_else(|| {
            next += 1;
            1.0 - next as f32
        })
    });
    Some(all.collect())
}

/// The tokens with a part to play, and whether texts begin with one.
fn special(
    dir: &SafetensorsDir,
    json: &Value,
    ids: &HashMap<&str, usize>,
    rows: usize,
    metadata: &mut Metadata,
) {
    let config = dir.tokenizer_config().unwrap_or(&Value::Null);
    let settings = [dir.config().ok(), dir.generation_config()];
    let opening = opening_token(&json["post_processor"]);
    for (name, key) in [("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown")] {
        let token = &config[format!("{name}_token").as_str()];
        let text = token.as_str().or(token["content"].as_str());
        let text = text.or(opening.filter(|_| name == "bos"));
        let named = text.and_then(|text| ids.get(text).copied());
        // A list there begins with the one that ends a turn.
        let numbered = settings.into_iter().flatten().find_map(|settings| {
            let id = &settings[format!("{name}_token_id").as_str()];
            usize::try_from(id.as_u64().or(id[0].as_u64())?).ok().filter(|id| *id < rows)
        });
        // That there is none is said, too: Qwen has no beginning, though `config.json` names one.
        let none = config.get(format!("{name}_token").as_str()).is_some_and(Value::is_null);
        if let Some(id) = named.or(numbered.filter(|_| !none)) {
            metadata.insert(format!("tokenizer.ggml.{key}_token_id"), id as u32);
        }
    }
    let add_bos = match config.get("add_bos_token").and_then(Value::as_bool) {
        Some(add) => add,
        None => opening.is_some_and(|text| {
            let bos = metadata.u32("tokenizer.ggml.bos_token_id").ok().flatten();
            ids.get(text).map(|id| *id as u32) == bos
        }),
    };
    metadata.insert("tokenizer.ggml.add_bos_token", add_bos);
    if let Some(add_eos) = config.get("add_eos_token").and_then(Value::as_bool) {
        metadata.insert("tokenizer.ggml.add_eos_token", add_eos);
    }
}

/// The token that the post-processor puts before every text, if it does.
fn opening_token(post_processor: &Value) -> Option<&str> {
    if post_processor["type"] == "Sequence" {
        return post_processor["processors"].as_array()?.iter().find_map(opening_token);
    }
    post_processor["single"][0]["SpecialToken"]["id"].as_str()
}

/// The sampling that the makers recommend.
pub(super) fn sampling(generation: &Value, metadata: &mut Metadata) {
    for (theirs, ours) in [
        ("temperature", "temp"),
        ("top_p", "top_p"),
        ("min_p", "min_p"),
        ("repetition_penalty", "penalty_repeat"),
    ] {
        let value = generation[theirs].as_f64().map(|v| v as f32).filter(|v| v.is_finite());
        if let Some(value) = value {
            metadata.insert(format!("general.sampling.{ours}"), value);
        }
    }
    let top_k = generation["top_k"].as_u64().and_then(|k| i32::try_from(k).ok());
    if let Some(top_k) = top_k {
        metadata.insert("general.sampling.top_k", top_k);
    }
}

/// What to call the model: its directory's name.
pub(super) fn name(dir: &Path) -> Option<String> {
    let real = std::fs::canonicalize(dir).ok()?;
    real.file_name().map(|name| name.to_string_lossy().into_owned())
}
