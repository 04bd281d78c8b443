//! A vocabulary as a GGUF file's metadata holds it, and what of a tokenizer it decides.

use ahash::AHashMap;
use tokenizers::AddedToken;

use super::rules::{self, Family, Rule};
use super::scores::Scores;
use super::table::{Spelling, TokenTable, hexadecimal};
use super::whole::{Merging, Opening, Whole};
use super::{ENDS_IF_CONTROL, ENDS_OF_GENERATION, Error, Parts, Splitter};

/// What a token is for, as GGUF's `tokenizer.ggml.token_type` numbers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenType {
    /// Ordinary text, made by merges (1).
    #[default]
    Normal,
    /// Stands for what the vocabulary cannot say (2).
    Unknown,
    /// Controls the conversation: `<|im_start|>` and the like (3).
    Control,
    /// Added after training and always parsed, also in plain text: `<tool_call>` (4).
    UserDefined,
    /// Fills the table up to a round size (5).
    Unused,
    /// One byte, written `<0xHH>` (6).
    Byte,
}

impl TokenType {
    /// The type of that number; a number the format does not define counts as `Normal`.
    pub fn from_gguf(number: i64) -> TokenType {
        match number {
            2 => TokenType::Unknown,
            3 => TokenType::Control,
            4 => TokenType::UserDefined,
            5 => TokenType::Unused,
            6 => TokenType::Byte,
            _ => TokenType::Normal,
        }
    }

    /// The number of that type.
    pub fn to_gguf(self) -> i32 {
        match self {
            TokenType::Normal => 1,
            TokenType::Unknown => 2,
            TokenType::Control => 3,
            TokenType::UserDefined => 4,
            TokenType::Unused => 5,
            TokenType::Byte => 6,
        }
    }
}

/// The tokenizer's part of a GGUF file's metadata, read and filled in by the caller.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    /// `tokenizer.ggml.model`, the kind: byte-level BPE is called `gpt2`, SentencePiece's BPE `llama`, and
    /// SentencePiece's letters with merges in place of scores `gemma4`, whatever the model.
    pub model: String,
    /// `tokenizer.ggml.pre`, the name of the pre-tokenizer rule; of `gpt2` only.
    pub pre: String,
    /// `tokenizer.ggml.tokens`, in the order of their ids.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.token_type`, one a token; empty if the file has none.
    pub token_types: Vec<TokenType>,
    /// `tokenizer.ggml.scores`, one a token; of `llama` only.
    pub scores: Vec<f32>,
    /// `tokenizer.ggml.merges`, most frequent first, each two tokens with a space between; not of `llama`.
    pub merges: Vec<String>,
    /// `tokenizer.ggml.bos_token_id`.
    pub bos: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`.
    pub eos: Option<u32>,
    /// `tokenizer.ggml.eot_token_id`.
    pub eot: Option<u32>,
    /// `tokenizer.ggml.unknown_token_id`.
    pub unknown: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`; where absent, the custom of the pre-tokenizer rule.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`; where absent, no.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`, whether a text has a space put before it; where absent, `llama` does it.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.ggml.remove_extra_whitespaces`, whether runs of spaces are one; where absent, no.
    pub remove_extra_whitespaces: Option<bool>,
    /// White space after a special token is dropped. No key says so: it is the custom of Phi-3's `llama`
    /// vocabularies.
    pub strips_after_special: bool,
}

/// Special tokens that keep white space after them where others don't.
const NEVER_STRIP: [&str; 3] = ["<unk>", "<s>", "<|endoftext|>"];

impl Vocabulary {
    /// Refuses lists that disagree, and marks what the metadata leave unmarked.
    fn check(&mut self) -> Result<(), Error> {
        let count = self.tokens.len();
        let expected = format!("{count}, one a token");
        if count == 0 {
            let expected = "at least one".to_string();
            return Err(Error::Length { field: "tokenizer.ggml.tokens", found: 0, expected });
        }
        if self.token_types.is_empty() {
            self.token_types.resize(count, TokenType::Normal);
        }
        if self.token_types.len() != count {
            let found = self.token_types.len();
            return Err(Error::Length { field: "tokenizer.ggml.token_type", found, expected });
        }
        if self.model == "llama" && self.scores.len() != count {
            let found = self.scores.len();
            return Err(Error::Length { field: "tokenizer.ggml.scores", found, expected });
        }
        let Vocabulary { bos, eos, eot, unknown, .. } = *self;
        for (field, id) in [("bos", bos), ("eos", eos), ("eot", eot), ("unknown", unknown)] {
            if let Some(id) = id.filter(|&id| id as usize >= count) {
                let field = format!("tokenizer.ggml.{field}_token_id");
                return Err(Error::IdOutOfRange { field, id, limit: count });
            }
        }
        let byte_level = self.model == "gpt2";
        for (id, (token, kind)) in (0..).zip(self.tokens.iter().zip(&mut self.token_types)) {
            // Some converters leave the tokens that end a turn marked as ordinary text.
            let named = [bos, eos, eot].contains(&Some(id));
            if named || ENDS_OF_GENERATION.contains(&token.as_str()) {
                *kind = TokenType::Control;
            }
            if !byte_level && *kind == TokenType::Normal && hexadecimal(token).is_some() {
                *kind = TokenType::Byte;
            }
        }
        Ok(())
    }

    /// What makes a tokenizer.
    pub(super) fn parts(mut self) -> Result<Parts, Error> {
        // What the kind decides: whether spaces are letters, how letters become tokens, and customs.
        let family = match self.model.as_str() {
            "gpt2" => Some(Family::from_name(&self.pre).ok_or_else(|| Error::UnknownRule {
                name: std::mem::take(&mut self.pre),
                known: rules::known_names(),
            })?),
            "llama" | "gemma4" => None,
            _ => {
                let (field, found) = ("tokenizer.ggml.model", self.model);
                return Err(Error::Unsupported { field, found });
            }
        };
        self.check()?;
        let (splitter, ordinary) = match family {
            Some(family) => (Splitter::Rule(Rule::new(family)), Spelling::Alphabet),
            None => (Splitter::Whole(self.whole()?), Spelling::Spaces),
        };
        let table =
            TokenTable::new(self.tokens.iter().zip(&self.token_types).map(|(token, kind)| {
                let spelling = match kind {
                    TokenType::Normal => ordinary,
                    TokenType::Byte => Spelling::Hexadecimal,
                    TokenType::UserDefined | TokenType::Unused if family.is_none() => ordinary,
                    _ => Spelling::Verbatim,
                };
                (token.as_str(), spelling)
            }));
        let added = self.added();
        let ends =
            (0..).zip(self.tokens.iter().zip(&self.token_types)).filter(|(_, (token, kind))| {
                **kind == TokenType::Control && ENDS_IF_CONTROL.contains(&token.as_str())
            });
        let ends = ends.map(|(id, _)| id).chain(self.eos).chain(self.eot).collect();
        let merges = match self.model.as_str() {
            "llama" => Vec::new(),
            _ => self.merges,
        };
        let merges = merges
            .into_iter()
            .enumerate()
            .map(|(rank, merge)| {
                super::split_merge(merge).map_err(|merge| {
                    Error::Merge(format!("number {rank}, {merge:?}, is not two tokens"))
                })
            })
            .collect::<Result<_, _>>()?;
        let mut vocab = AHashMap::with_capacity(self.tokens.len());
        vocab.extend(self.tokens.into_iter().zip(0..).filter(|(token, _)| !token.is_empty()));

        Ok(Parts {
            vocab,
            merges,
            ignore_merges: family.is_some_and(Family::ignores_merges),
            byte_fallback: family.is_none(),
            fuse_unk: false,
            unk_token: None,
            added,
            normalizer: None,
            splitter,
            table,
            bos: self.bos,
            eos: self.eos,
            ends,
            // Gemma 4 begins with it even where its files deny that.
            add_bos: match family {
                Some(family) => self.add_bos.unwrap_or(family.adds_bos()),
                None => self.model == "gemma4" || self.add_bos.unwrap_or(true),
            },
            add_eos: self.add_eos.unwrap_or(false),
        })
    }

    /// How a text becomes tokens where it isn't cut into words.
    fn whole(&self) -> Result<Whole, Error> {
        let scored = self.model == "llama";
        let merging = match scored {
            true => {
                let Vocabulary { tokens, token_types, scores, unknown, .. } = self;
                let marked = || token_types.iter().position(|kind| *kind == TokenType::Unknown);
                let unknown = unknown.or_else(|| marked().map(|id| id as u32));
                Merging::Scores(Scores::new(tokens, token_types, scores, unknown)?)
            }
            false => Merging::PairsInLines,
        };
        let opens = self.add_space_prefix.unwrap_or(scored);
        Ok(Whole {
            opening: opens.then_some(Opening { after_added: true, unless_there: false }),
            collapses: self.remove_extra_whitespaces.unwrap_or(false),
            merging,
        })
    }

    /// The tokens that are looked for in a text before anything is merged.
    fn added(&self) -> Vec<AddedToken> {
        let added =
            self.tokens.iter().zip(&self.token_types).filter_map(|(token, kind)| match kind {
                TokenType::Control | TokenType::Unknown => Some((token, true)),
                TokenType::UserDefined => Some((token, false)),
                _ => None,
            });
        let token = |(token, special): (&String, bool)| {
            let strips = self.strips_after_special && !NEVER_STRIP.contains(&token.as_str());
            AddedToken::from(token.as_str(), special).normalized(false).rstrip(strips)
        };
        added.map(token).collect()
    }
}
