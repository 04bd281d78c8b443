//! A vocabulary as a GGUF file's metadata holds it.

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
    /// `tokenizer.ggml.model`; byte-level BPE is called `gpt2`, whatever the model.
    pub model: String,
    /// `tokenizer.ggml.pre`, the name of the pre-tokenizer rule.
    pub pre: String,
    /// `tokenizer.ggml.tokens`, in the order of their ids.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.token_type`, one a token; empty if the file has none.
    pub token_types: Vec<TokenType>,
    /// `tokenizer.ggml.merges`, most frequent first, each two tokens with a space between.
    pub merges: Vec<String>,
    /// `tokenizer.ggml.bos_token_id`.
    pub bos: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`.
    pub eos: Option<u32>,
    /// `tokenizer.ggml.eot_token_id`.
    pub eot: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`; where absent, the custom of the pre-tokenizer rule.
    pub add_bos: Option<bool>,
}
