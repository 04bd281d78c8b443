//! Reading `tokenizer.json` and `tokenizer_config.json`.
//!
//! We read the file ourselves rather than through `tokenizers::Tokenizer` because that one
//! panics on some malformed files and parses control tokens in all text or in none.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, SeqAccess, Visitor};
use serde_json::Value;
use tokenizers::{AddedToken, NormalizerWrapper, PreTokenizerWrapper};

use super::rules::{Family, Rule};
use super::table::{Spelling, TokenTable, hexadecimal};
use super::whole::Whole;
use super::{ENDS_IF_CONTROL, Error, Parts, Splitter};

/// What `tokenizer_config.json` adds to a tokenizer: the names of two tokens, and the template.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct TokenizerConfig {
    /// The text of the token that a sequence begins with.
    #[serde(default, deserialize_with = "token_name")]
    pub bos_token: Option<String>,
    /// The text of the token that a sequence ends with.
    #[serde(default, deserialize_with = "token_name")]
    pub eos_token: Option<String>,
    /// Whether prompts begin with `bos_token`; where absent, `tokenizer.json` decides.
    #[serde(default)]
    pub add_bos_token: Option<bool>,
    /// Whether whole texts end with `eos_token`; where absent, they don't.
    #[serde(default)]
    pub add_eos_token: Option<bool>,
    /// The chat template; of several, the one named `default`.
    #[serde(default, deserialize_with = "template")]
    pub chat_template: Option<String>,
}

impl TokenizerConfig {
    /// Reads the bytes of a `tokenizer_config.json`.
    ///
    /// # Errors
    /// If they are not JSON, or a field is not of the kind it should be.
    pub fn from_json(json: &[u8]) -> Result<TokenizerConfig, Error> {
        serde_json::from_slice(json)
            .map_err(|source| Error::Json { file: "tokenizer_config.json", source })
    }
}

/// A token is named by its text, or by an object with its text as `content`.
fn token_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Object(token) => match token.get("content") {
            Some(Value::String(text)) => Ok(Some(text.clone())),
            _ => Err(de::Error::custom("a token object must have a string `content`")),
        },
        _ => Err(de::Error::custom("a token must be a string or an object")),
    }
}

/// A template is one string, or a list of named ones.
fn template<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(source) => Ok(Some(source)),
        Value::Array(templates) => Ok(templates
            .iter()
            .find(|template| template["name"] == "default")
            .and_then(|template| template["template"].as_str())
            .map(str::to_string)),
        _ => Err(de::Error::custom("chat_template must be a string or a list of named templates")),
    }
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    model: Model,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    ignore_merges: bool,
    vocab: HashMap<String, u32, ahash::RandomState>,
    merges: Vec<Merge>,
}

struct Merge(String, String);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Merge, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Merge;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a merge: two tokens, as a list or with a space between")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Merge, E> {
                super::split_merge(text.to_string())
                    .map(|(left, right)| Merge(left, right))
                    .map_err(|text| E::invalid_value(de::Unexpected::Str(&text), &self))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Merge, A::Error> {
                match (list.next_element()?, list.next_element()?) {
                    (Some(left), Some(right)) => Ok(Merge(left, right)),
                    _ => Err(de::Error::invalid_length(0, &self)),
                }
            }
        }
        deserializer.deserialize_any(Pair)
    }
}

/// Reads a `tokenizer.json`.
pub(super) fn read(json: &[u8], config: Option<&TokenizerConfig>) -> Result<Parts, Error> {
    let file: File = serde_json::from_slice(json).map_err(|source| {
        // A model of another kind fails in some field or other; its name says more.
        let kind = serde_json::from_slice::<Value>(json).ok();
        match kind.as_ref().and_then(|file| file["model"]["type"].as_str()) {
            Some(kind) if kind != "BPE" => {
                Error::Unsupported { field: "tokenizer.json: model.type", found: kind.to_string() }
            }
            _ => Error::Json { file: "tokenizer.json", source },
        }
    })?;
    let File { added_tokens, normalizer, pre_tokenizer, post_processor, model } = file;
    let unsupported = [
        ("continuing_subword_prefix", model.continuing_subword_prefix.unwrap_or_default()),
        ("end_of_word_suffix", model.end_of_word_suffix.unwrap_or_default()),
    ];
    for (field, found) in unsupported {
        if !found.is_empty() {
            let field = match field {
                "end_of_word_suffix" => "tokenizer.json: model.end_of_word_suffix",
                _ => "tokenizer.json: model.continuing_subword_prefix",
            };
            return Err(Error::Unsupported { field, found });
        }
    }
    // Bytes are what SentencePiece falls back on; byte-level BPE has nothing else.
    let sentencepiece = model.byte_fallback;
    let (normalizer, splitter) = match sentencepiece {
        true => whole(normalizer, pre_tokenizer, &added_tokens)?,
        false => (described(normalizer)?, splitter(pre_tokenizer)?),
    };

    // Ids are array indices to us: refuse what would make the table absurdly large.
    let limit = 4 * (model.vocab.len() + added_tokens.len()) + 65_536;
    let mut vocab = model.vocab;
    let mut table = Vec::new();
    let mut place = |id: u32, text: &str, spelling| {
        if id as usize >= limit {
            let field = format!("tokenizer.json: the id of {text:?}");
            return Err(Error::IdOutOfRange { field, id, limit });
        }
        if table.len() <= id as usize {
            table.resize(id as usize + 1, (String::new(), Spelling::Verbatim));
        }
        table[id as usize] = (text.to_string(), spelling);
        Ok(())
    };
    for (text, &id) in &vocab {
        let spelling = match (sentencepiece, hexadecimal(text)) {
            (false, _) => Spelling::Alphabet,
            (true, None) => Spelling::Spaces,
            (true, Some(_)) => Spelling::Hexadecimal,
        };
        place(id, text, spelling)?;
    }
    for Added { id, token } in &added_tokens {
        // The merges' vocabulary is asked first, as its entry is what the model was trained on.
        let id = *vocab.entry(token.content.clone()).or_insert(*id);
        let spaced = sentencepiece && !token.special;
        place(id, &token.content, if spaced { Spelling::Spaces } else { Spelling::Verbatim })?;
    }
    let table = TokenTable::new(table.iter().map(|(text, spelling)| (text.as_str(), *spelling)));

    let opening = opening_token(&post_processor);
    let bos_token = config.and_then(|config| config.bos_token.as_deref()).or(opening);
    let bos = bos_token.and_then(|text| vocab.get(text).copied());
    let eos_token = config.and_then(|config| config.eos_token.as_deref());
    let eos = eos_token.and_then(|text| vocab.get(text).copied());
    let add_bos = config
        .and_then(|config| config.add_bos_token)
        .unwrap_or(opening.is_some() && opening == bos_token);

    let ends = added_tokens.iter().map(|added| &added.token);
    let ends = ends.filter(|t| t.special && ENDS_IF_CONTROL.contains(&t.content.as_str()));
    let ends = ends.filter_map(|token| vocab.get(&token.content).copied()).chain(eos).collect();

    Ok(Parts {
        unk_token: model.unk_token.filter(|text| vocab.contains_key(text)),
        vocab: vocab.into(),
        merges: model.merges.into_iter().map(|Merge(left, right)| (left, right)).collect(),
        ignore_merges: model.ignore_merges,
        byte_fallback: model.byte_fallback,
        fuse_unk: model.fuse_unk,
        added: added_tokens.into_iter().map(|added| added.token).collect(),
        normalizer,
        splitter,
        table,
        bos,
        eos,
        ends,
        add_bos: add_bos && bos.is_some(),
        add_eos: config.and_then(|config| config.add_eos_token).unwrap_or(false),
    })
}

/// How a SentencePiece vocabulary has its texts: as we know it, or as it is described. Added tokens that are
/// looked for in what the normalizer makes of a text need the latter.
fn whole(
    normalizer: Value,
    pre_tokenizer: Value,
    added: &[Added],
) -> Result<(Option<NormalizerWrapper>, Splitter), Error> {
    let raw = normalizer.is_null() || added.iter().all(|added| !added.token.normalized);
    match Whole::described(&normalizer, &pre_tokenizer).filter(|_| raw) {
        Some(whole) => Ok((None, Splitter::Whole(whole))),
        None => {
            let pre_tokenizer = described::<PreTokenizerWrapper>(pre_tokenizer)?;
            Ok((described(normalizer)?, Splitter::Described(pre_tokenizer.map(Box::new))))
        }
    }
}

/// A step as the `tokenizers` crate takes it from its description; none, if that is null.
fn described<T: DeserializeOwned>(description: Value) -> Result<Option<T>, Error> {
    serde_json::from_value(description)
        .map_err(|source| Error::Json { file: "tokenizer.json", source })
}

/// The rule that the description amounts to, or the description itself if it is none we know.
fn splitter(description: Value) -> Result<Splitter, Error> {
    match family(&description)? {
        Some(family) => Ok(Splitter::Rule(Rule::new(family))),
        None => {
            let described = described::<PreTokenizerWrapper>(description)?;
            Ok(Splitter::Described(described.map(Box::new)))
        }
    }
}

/// The family that the description of a pre-tokenizer amounts to, if it is one we know.
pub(super) fn family(description: &Value) -> Result<Option<Family>, Error> {
    let steps = match &description["pretokenizers"] {
        Value::Array(steps) if description["type"] == "Sequence" => steps.as_slice(),
        _ => std::slice::from_ref(description),
    };
    let Some((last, before)) = steps.split_last().filter(|(last, _)| last["type"] == "ByteLevel")
    else {
        let found = description["type"].as_str().unwrap_or("absent").to_string();
        return Err(Error::Unsupported { field: "tokenizer.json: pre_tokenizer", found });
    };
    let expression_follows = last["use_regex"] != false;
    Ok(match before {
        _ if last["add_prefix_space"] == true => None,
        [] if expression_follows => Some(Family::Gpt2),
        [digits]
            if expression_follows
                && digits["type"] == "Digits"
                && digits["individual_digits"] == true =>
        {
            Some(Family::Smollm)
        }
        [first @ .., last] if !expression_follows => {
            let family = split(last).and_then(Family::from_expression);
            family.filter(|family| {
                first.iter().map(split).eq(family.before().iter().map(|x| Some(*x)))
            })
        }
        _ => None,
    })
}

/// The expression that a step cuts a text by, if it keeps all of it.
fn split(step: &Value) -> Option<&str> {
    let plain =
        step["type"] == "Split" && step["behavior"] == "Isolated" && step["invert"] == false;
    step["pattern"]["Regex"].as_str().filter(|_| plain)
}

/// The token that the post-processor puts before every text, if it does.
fn opening_token(post_processor: &Value) -> Option<&str> {
    if post_processor["type"] == "Sequence" {
        return post_processor["processors"].as_array()?.iter().find_map(opening_token);
    }
    post_processor["single"][0]["SpecialToken"]["id"].as_str()
}
