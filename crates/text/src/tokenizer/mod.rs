//! Text to token ids and back: byte-level BPE.
//!
//! The merging itself is the `tokenizers` crate's; around it stand the parts that decide what is
//! merged: which stretches of the text are special tokens ([`Special`]), and where the rest may
//! be cut (`rules`). A [`Tokenizer`] is made from a GGUF file's metadata
//! ([`Tokenizer::from_vocabulary`]) or from a `tokenizer.json` ([`Tokenizer::from_json`]).

mod json;
mod pre;
mod rules;
mod stream;
mod table;
mod train;
mod vocabulary;

use std::collections::BTreeSet;

use ahash::AHashMap;
use tokenizers::models::bpe::BPE;
use tokenizers::{
    AddedToken, AddedVocabulary, Model, NormalizerWrapper, OffsetReferential, OffsetType,
    PreTokenizer, PreTokenizerWrapper,
};

pub use json::TokenizerConfig;
pub use pre::{PreTokenizer as PreTokenizerJson, pre_tokenizer_json, pre_tokenizer_name};
use rules::{Family, Rule};
pub use stream::{StreamDecoder, Utf8Stream};
use table::{Spelling, TokenTable};
pub use train::{CONTROL_TOKENS, train};
pub use vocabulary::{TokenType, Vocabulary};

/// What models are known to end their turn with, whatever their metadata calls it. A file may
/// name one of these as its end and still have been taught to stop with another.
const ENDS_OF_GENERATION: &[&str] = &[
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "<|EOT|>",
    "<｜end▁of▁sentence｜>",
    "<end_of_turn>",
    // Code models put these between files: what follows is no answer to anything.
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
];

/// Why a vocabulary cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not byte-level BPE.
    #[error(
        "{field} is {found:?}: only byte-level BPE tokenizers are supported \
         (GGUF model \"gpt2\"; tokenizer.json model \"BPE\" with a ByteLevel pre-tokenizer)"
    )]
    Unsupported {
        /// The field that says so.
        field: &'static str,
        /// What it says.
        found: String,
    },
    /// A pre-tokenizer rule nobody taught us.
    #[error("tokenizer.ggml.pre names the rule {name:?}, which is not known; known are: {}",
        .known.join(", "))]
    UnknownRule {
        /// The rule asked for.
        name: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// A list of the vocabulary is absent or of the wrong length.
    #[error("{field} has {found} entries, expected {expected}")]
    Length {
        /// The list.
        field: &'static str,
        /// Its length.
        found: usize,
        /// What it should be.
        expected: String,
    },
    /// An id outside the vocabulary.
    #[error("{field} is {id}, outside the vocabulary (limit {limit})")]
    IdOutOfRange {
        /// The field that holds the id.
        field: String,
        /// The id.
        id: u32,
        /// The first id that is too large.
        limit: usize,
    },
    /// A merge that is not two tokens of the vocabulary giving a third.
    #[error("merge rules: {0}")]
    Merge(String),
    /// A `tokenizer.json` or `tokenizer_config.json` that cannot be read.
    #[error("{file}: {source}")]
    Json {
        /// Which of the two.
        file: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
}

/// Whether the text of control tokens in a prompt is those tokens or merely text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// `<|im_end|>` becomes the token: for rendered chat templates.
    Parse,
    /// `<|im_end|>` becomes the ordinary tokens of `<|im_end|>`: for text from outside. Tokens
    /// that were added to the vocabulary as ordinary text (GGUF's user-defined ones, such as
    /// `<tool_call>`) are still taken whole, as in the models' own tokenizers.
    Plain,
}

/// Byte-level BPE, ready to use from several threads.
pub struct Tokenizer {
    bpe: BPE,
    splitter: Splitter,
    normalizer: Option<NormalizerWrapper>,
    /// Finds added tokens where control tokens are parsed.
    parsing: AddedVocabulary,
    /// The same, blind to control tokens.
    plain: AddedVocabulary,
    alphabet: [char; 256],
    table: TokenTable,
    special: BTreeSet<u32>,
    ends: BTreeSet<u32>,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
}

/// How text between added tokens is cut into words.
enum Splitter {
    /// One of the rules we know.
    Rule(Rule),
    /// Whatever a `tokenizer.json` describes, which includes the step to the byte alphabet.
    Described(Box<PreTokenizerWrapper>),
}

/// All that the two ways to make a tokenizer have to find out.
struct Parts {
    vocab: AHashMap<String, u32>,
    merges: Vec<(String, String)>,
    ignore_merges: bool,
    unk_token: Option<String>,
    added: Vec<AddedToken>,
    normalizer: Option<NormalizerWrapper>,
    splitter: Splitter,
    table: TokenTable,
    bos: Option<u32>,
    eos: Option<u32>,
    eot: Option<u32>,
    add_bos: bool,
}

impl Tokenizer {
    /// Makes a tokenizer from a GGUF file's metadata.
    ///
    /// Text is not normalized, so that it survives the round trip byte for byte (llama.cpp does
    /// the same; the Qwen models' own `tokenizer.json` composes accents first).
    ///
    /// # Errors
    /// If the vocabulary is no byte-level BPE, its rule is unknown, or its lists disagree.
    pub fn from_vocabulary(vocabulary: Vocabulary) -> Result<Tokenizer, Error> {
        let Vocabulary { model, pre, tokens, mut token_types, merges, bos, eos, eot, add_bos } =
            vocabulary;
        if model != "gpt2" {
            return Err(Error::Unsupported { field: "tokenizer.ggml.model", found: model });
        }
        let family = Family::from_name(&pre)
            .ok_or_else(|| Error::UnknownRule { name: pre, known: rules::known_names() })?;
        let count = tokens.len();
        if count == 0 {
            let expected = "at least one".to_string();
            return Err(Error::Length { field: "tokenizer.ggml.tokens", found: 0, expected });
        }
        if token_types.is_empty() {
            token_types.resize(count, TokenType::Normal);
        }
        if token_types.len() != count {
            return Err(Error::Length {
                field: "tokenizer.ggml.token_type",
                found: token_types.len(),
                expected: format!("{count}, one a token"),
            });
        }
        for (field, id) in [("bos", bos), ("eos", eos), ("eot", eot)] {
            if let Some(id) = id.filter(|&id| id as usize >= count) {
                let field = format!("tokenizer.ggml.{field}_token_id");
                return Err(Error::IdOutOfRange { field, id, limit: count });
            }
        }

        // Some converters leave the tokens that end a turn marked as ordinary text.
        for (id, token) in tokens.iter().enumerate() {
            let named = [bos, eos, eot].contains(&Some(id as u32));
            if named || ENDS_OF_GENERATION.contains(&token.as_str()) {
                token_types[id] = TokenType::Control;
            }
        }
        let table = TokenTable::new(tokens.iter().zip(&token_types).map(|(token, kind)| {
            let spelling = match kind {
                TokenType::Normal => Spelling::Alphabet,
                TokenType::Byte => Spelling::Hexadecimal,
                _ => Spelling::Verbatim,
            };
            (token.as_str(), spelling)
        }));
        let added = tokens
            .iter()
            .zip(&token_types)
            .filter_map(|(token, kind)| match kind {
                TokenType::Control | TokenType::Unknown => Some((token, true)),
                TokenType::UserDefined => Some((token, false)),
                _ => None,
            })
            .map(|(token, special)| AddedToken::from(token.as_str(), special).normalized(false))
            .collect();
        let merges = merges
            .into_iter()
            .enumerate()
            .map(|(rank, merge)| {
                split_merge(merge).map_err(|merge| {
                    Error::Merge(format!("number {rank}, {merge:?}, is not two tokens"))
                })
            })
            .collect::<Result<_, _>>()?;
        let mut vocab = AHashMap::with_capacity(count);
        vocab.extend(tokens.into_iter().zip(0..).filter(|(token, _)| !token.is_empty()));

        Tokenizer::assemble(Parts {
            vocab,
            merges,
            ignore_merges: family.ignores_merges(),
            unk_token: None,
            added,
            normalizer: None,
            splitter: Splitter::Rule(Rule::new(family)),
            table,
            bos,
            eos,
            eot,
            add_bos: add_bos.unwrap_or(family.adds_bos()),
        })
    }

    /// Makes a tokenizer from the bytes of a `tokenizer.json`, and what its
    /// `tokenizer_config.json` says of the tokens a text begins and ends with.
    ///
    /// # Errors
    /// If the file cannot be read, or describes another thing than byte-level BPE.
    pub fn from_json(json: &[u8], config: Option<&TokenizerConfig>) -> Result<Tokenizer, Error> {
        Tokenizer::assemble(json::read(json, config)?)
    }

    fn assemble(parts: Parts) -> Result<Tokenizer, Error> {
        let mut builder = BPE::builder()
            .vocab_and_merges(parts.vocab, parts.merges)
            .ignore_merges(parts.ignore_merges);
        if let Some(unk_token) = parts.unk_token {
            builder = builder.unk_token(unk_token);
        }
        let bpe = builder.build().map_err(|error| Error::Merge(error.to_string()))?;

        let mut parsing = AddedVocabulary::new();
        parsing.add_tokens(&parts.added, &bpe, parts.normalizer.as_ref());
        let mut plain = parsing.clone();
        plain.set_encode_special_tokens(true);

        let special: BTreeSet<u32> = parsing
            .get_added_tokens_decoder()
            .iter()
            .filter(|(_, token)| token.special)
            .map(|(&id, _)| id)
            .collect();
        let named = ENDS_OF_GENERATION.iter().filter_map(|text| parsing.token_to_id(text, &bpe));
        let ends = named.chain(parts.eos).chain(parts.eot).collect();
        Ok(Tokenizer {
            bpe,
            splitter: parts.splitter,
            normalizer: parts.normalizer,
            parsing,
            plain,
            alphabet: table::alphabet(),
            table: parts.table,
            special,
            ends,
            bos: parts.bos,
            eos: parts.eos,
            add_bos: parts.add_bos,
        })
    }

    /// The ids of `text`. No token is put before or after it: see [`Tokenizer::add_bos`].
    ///
    /// Bytes the vocabulary has no token for (a few vocabularies lack some that hardly occur)
    /// are left out.
    pub fn encode(&self, text: &str, special: Special) -> Vec<u32> {
        let added = match special {
            Special::Parse => &self.parsing,
            Special::Plain => &self.plain,
        };
        let mut ids = Vec::with_capacity(text.len() / 3 + 1);
        let mut stretches = added.extract_and_normalize(self.normalizer.as_ref(), text);
        if let Splitter::Described(described) = &self.splitter {
            // Fails only where an expression gives up backtracking; what it had cut by then
            // is kept, as the merges are defined on any cutting.
            let _ = described.pre_tokenize(&mut stretches);
        }
        let mut word = String::new();
        for (stretch, _, tokens) in
            stretches.get_splits(OffsetReferential::Normalized, OffsetType::None)
        {
            match (tokens, &self.splitter) {
                (Some(tokens), _) => ids.extend(tokens.iter().map(|token| token.id)),
                (None, Splitter::Described(_)) => self.merge(stretch, &mut ids),
                (None, Splitter::Rule(rule)) => rule.cut(stretch, |piece| {
                    word.clear();
                    word.extend(piece.bytes().map(|byte| self.alphabet[byte as usize]));
                    self.merge(&word, &mut ids);
                }),
            }
        }
        ids
    }

    /// Appends the ids of one word, already written in the byte alphabet.
    fn merge(&self, word: &str, ids: &mut Vec<u32>) {
        // It can fail only for want of an unknown-token it was told of; `json` checks that.
        if let Ok(tokens) = self.bpe.tokenize(word) {
            ids.extend(tokens.iter().map(|token| token.id));
        }
    }

    /// The text of `ids`, control tokens included; what is no UTF-8 becomes U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        String::from_utf8_lossy(&self.decode_bytes(ids)).into_owned()
    }

    /// The bytes of `ids`, control tokens included.
    pub fn decode_bytes(&self, ids: &[u32]) -> Vec<u8> {
        ids.iter().flat_map(|&id| self.token_bytes(id)).copied().collect()
    }

    /// The bytes a token stands for; empty for an id outside the vocabulary (a model's output
    /// is often wider than its vocabulary).
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.table.bytes(id)
    }

    /// The token as the vocabulary spells it: ordinary ones in the byte alphabet (`Ġthe`).
    /// Empty for an id outside the vocabulary.
    pub fn token_text(&self, id: u32) -> &str {
        self.table.text(id)
    }

    /// The id of the token that the vocabulary spells this way.
    pub fn token_id(&self, text: &str) -> Option<u32> {
        self.parsing.token_to_id(text, &self.bpe)
    }

    /// How many ids the vocabulary has; the largest is one less.
    pub fn vocab_size(&self) -> usize {
        self.table.len()
    }

    /// Whether it is a control token, never part of an answer's text.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// Whether generation ends with this token.
    pub fn is_end_of_generation(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// All tokens that end a generation, in the order of their ids.
    pub fn ends_of_generation(&self) -> impl Iterator<Item = u32> + '_ {
        self.ends.iter().copied()
    }

    /// Makes `id` end a generation too: a `generation_config.json` may list several.
    pub fn end_generation_at(&mut self, id: u32) {
        self.ends.insert(id);
    }

    /// The token a text begins with.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token a text ends with.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Whether the model expects [`Tokenizer::bos`] before a prompt that does not begin with it.
    pub fn add_bos(&self) -> bool {
        self.add_bos
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.vocab_size())
            .field("bos", &self.bos)
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

/// Cuts `a b` at its first space (a token may not be empty, so not at the very start).
fn split_merge(mut merge: String) -> Result<(String, String), String> {
    match merge.char_indices().skip(1).find(|&(_, letter)| letter == ' ') {
        Some((at, _)) if at + 1 < merge.len() => {
            let right = merge.split_off(at + 1);
            merge.pop();
            Ok((merge, right))
        }
        _ => Err(merge),
    }
}
