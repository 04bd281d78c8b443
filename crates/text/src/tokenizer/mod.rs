//! Text to token ids and back: byte-level BPE, and SentencePiece's.
//!
//! The merging itself is the `tokenizers` crate's, or that of `scores` where tokens have such; around it
//! stand the parts that decide what is merged: which stretches of the text are special tokens
//! ([`Special`]), and where the rest may be cut (`rules`), or that it isn't cut at all (`whole`). A
//! [`Tokenizer`] is made from a GGUF file's metadata ([`Tokenizer::from_vocabulary`]) or from a
//! `tokenizer.json` ([`Tokenizer::from_json`]).

mod json;
mod pre;
mod rules;
mod scores;
mod stream;
mod table;
mod train;
mod vocabulary;
mod whole;

use std::collections::BTreeSet;

use ahash::AHashMap;
use tokenizers::models::bpe::BPE;
use tokenizers::{
    AddedToken, AddedVocabulary, Model, NormalizerWrapper, OffsetReferential, OffsetType,
    PreTokenizer, PreTokenizerWrapper,
};

pub use json::TokenizerConfig;
pub use pre::{PreTokenizer as PreTokenizerJson, pre_tokenizer_json, pre_tokenizer_name};
use rules::Rule;
pub use stream::{StreamDecoder, Utf8Stream};
use table::TokenTable;
pub use train::{CONTROL_TOKENS, train};
pub use vocabulary::{TokenType, Vocabulary};
use whole::{Merging, Whole};

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
    "<turn|>",
    // Code models put these between files: what follows is no answer to anything.
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
];

/// The same where they are control tokens: elsewhere they are HTML (in Gemma's vocabularies, `</s>` strikes out).
const ENDS_IF_CONTROL: &[&str] = &["</s>", "<eos>"];

/// Why a vocabulary cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No BPE, or none of the kinds that are known.
    #[error(
        "{field} is {found:?}: only byte-level BPE and SentencePiece's BPE are supported \
         (GGUF models \"gpt2\", \"llama\" and \"gemma4\"; tokenizer.json model \"BPE\" with a \
         ByteLevel pre-tokenizer or byte_fallback)"
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
    /// A score that is no number.
    #[error("tokenizer.ggml.scores: the score of token {id} is no number; convert the model again")]
    Score {
        /// The token.
        id: usize,
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

/// BPE, ready to use from several threads.
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
    add_eos: bool,
}

/// How text between added tokens is cut into words.
enum Splitter {
    /// One of the rules we know.
    Rule(Rule),
    /// Not at all.
    Whole(Whole),
    /// Whatever a `tokenizer.json` describes, which includes the step to the byte alphabet if it takes one; it may
    /// describe nothing.
    Described(Option<Box<PreTokenizerWrapper>>),
}

/// All that the two ways to make a tokenizer have to find out.
struct Parts {
    vocab: AHashMap<String, u32>,
    merges: Vec<(String, String)>,
    ignore_merges: bool,
    byte_fallback: bool,
    fuse_unk: bool,
    unk_token: Option<String>,
    added: Vec<AddedToken>,
    normalizer: Option<NormalizerWrapper>,
    splitter: Splitter,
    table: TokenTable,
    bos: Option<u32>,
    eos: Option<u32>,
    /// What ends a generation beside [`ENDS_OF_GENERATION`].
    ends: BTreeSet<u32>,
    add_bos: bool,
    add_eos: bool,
}

impl Tokenizer {
    /// Makes a tokenizer from a GGUF file's metadata.
    ///
    /// Text is not normalized, so that it survives the round trip byte for byte (llama.cpp does
    /// the same; the Qwen models' own `tokenizer.json` composes accents first).
    ///
    /// # Errors
    /// If the vocabulary is of a kind that isn't known, its rule is unknown, or its lists disagree.
    pub fn from_vocabulary(vocabulary: Vocabulary) -> Result<Tokenizer, Error> {
        Tokenizer::assemble(vocabulary.parts()?)
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
            .ignore_merges(parts.ignore_merges)
            .byte_fallback(parts.byte_fallback)
            .fuse_unk(parts.fuse_unk);
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
        let ends = named.chain(parts.ends).collect();
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
            add_eos: parts.add_eos,
        })
    }

    /// The ids of `text`. No token is put before or after it: see [`Tokenizer::add_bos`].
    ///
    /// Bytes the vocabulary has no token for (a few vocabularies lack some that hardly occur)
    /// are left out.
    pub fn encode(&self, text: &str, special: Special) -> Vec<u32> {
        self.encode_after(None, text, special)
    }

    /// The ids of a text that goes on from one whose last token is `last`: SentencePiece's vocabularies
    /// have a space before the beginning of a text, and before what follows a special token.
    pub fn encode_after(&self, last: Option<u32>, text: &str, special: Special) -> Vec<u32> {
        let added = match special {
            Special::Parse => &self.parsing,
            Special::Plain => &self.plain,
        };
        let mut ids = Vec::with_capacity(text.len() / 3 + 1);
        let mut stretches = added.extract_and_normalize(self.normalizer.as_ref(), text);
        if let Splitter::Described(Some(described)) = &self.splitter {
            // Fails only where an expression gives up backtracking; what it had cut by then
            // is kept, as the merges are defined on any cutting.
            let _ = described.pre_tokenize(&mut stretches);
        }
        let mut word = String::new();
        let mut begins = last.is_none();
        let mut follows_added = last.is_some_and(|last| self.is_added(last));
        for (stretch, _, tokens) in
            stretches.get_splits(OffsetReferential::Normalized, OffsetType::None)
        {
            match (tokens, &self.splitter) {
                (Some(tokens), _) => ids.extend(tokens.iter().map(|token| token.id)),
                (None, Splitter::Described(_)) => self.merge(stretch, &mut ids),
                (None, Splitter::Whole(whole)) => {
                    let text = whole.spell(stretch, begins, follows_added);
                    self.merge_whole(&text, &whole.merging, &mut ids);
                }
                (None, Splitter::Rule(rule)) => rule.cut(stretch, |piece| {
                    word.clear();
                    word.extend(piece.bytes().map(|byte| self.alphabet[byte as usize]));
                    self.merge(&word, &mut ids);
                }),
            }
            (begins, follows_added) = (false, tokens.is_some());
        }
        ids
    }

    /// Appends the ids of a text whose spaces are letters.
    fn merge_whole(&self, text: &str, merging: &Merging, ids: &mut Vec<u32>) {
        match merging {
            Merging::Scores(scores) => scores.merge(text, |part| self.bpe.token_to_id(part), ids),
            Merging::Pairs => self.merge(text, ids),
            Merging::PairsInLines => {
                for run in whole::lines(text) {
                    let token = Some(run).filter(|run| run.starts_with('\n'));
                    match token.and_then(|run| self.bpe.token_to_id(run)) {
                        Some(token) => ids.push(token),
                        None => self.merge(run, ids),
                    }
                }
            }
        }
    }

    /// Appends the ids of one word, already written in the byte alphabet.
    fn merge(&self, word: &str, ids: &mut Vec<u32>) {
        // It can fail only for want of an unknown-token it was told of; `json` checks that.
        if let Ok(tokens) = self.bpe.tokenize(word) {
            ids.extend(tokens.iter().map(|token| token.id));
        }
    }

    /// The text that [`Tokenizer::encode`] made `ids` of, control tokens included; what is no UTF-8 becomes
    /// U+FFFD. Of SentencePiece's vocabularies it lacks the spaces that are put before texts.
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut opens = true;
        let bytes =
            ids.iter().flat_map(|&id| self.piece(id, &mut opens)).copied().collect::<Vec<u8>>();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The bytes that a token adds to a text. `opens` says whether a space may have been put before it that isn't
    /// in the text, and learns whether one may before the next.
    fn piece(&self, id: u32, opens: &mut bool) -> &[u8] {
        let token = self.token_bytes(id);
        let Splitter::Whole(Whole { opening: Some(opening), .. }) = &self.splitter else {
            return token;
        };
        let opened = std::mem::replace(opens, opening.after_added && self.is_added(id));
        token.strip_prefix(b" ").filter(|_| opened).unwrap_or(token)
    }

    /// The bytes of `ids`, control tokens included, each as it stands in the vocabulary.
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

    /// Whether it is looked for in a text before anything is merged.
    fn is_added(&self, id: u32) -> bool {
        self.parsing.get_added_tokens_decoder().contains_key(&id)
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

    /// Whether the file has whole texts end with [`Tokenizer::eos`]. It isn't put after a prompt, which is to
    /// be gone on with.
    pub fn add_eos(&self) -> bool {
        self.add_eos
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
