//! Why a request could not be answered.

use std::path::PathBuf;

/// What went wrong and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model could not be loaded or run.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// Its keys and values can't be stored as asked.
    #[error("{0}; choose another --kv-cache-type")]
    KvShape(#[from] kernels::attention::KvShapeError),
    /// Its tokenizer could not be made.
    #[error("{path}: tokenizer: {source}")]
    Tokenizer {
        /// The model.
        path: String,
        /// Why.
        source: text::tokenizer::Error,
    },
    /// Its chat template could not be compiled, or refused the conversation.
    #[error("chat template: {0}")]
    Template(#[from] text::template::Error),
    /// A sampling setting out of its range.
    #[error(transparent)]
    Sampling(#[from] crate::sampler::SamplingError),
    /// A text can't be scored.
    #[error(
        "the adapter has no head that scores texts\n\
         hint: `ponder train` makes such adapters with a [reward_model] recipe"
    )]
    NoReward,
    /// There is nothing to continue.
    #[error("the prompt is empty; give at least one token of text")]
    EmptyPrompt,
    /// The prompt doesn't fit.
    #[error(
        "the prompt has {tokens} tokens, but the context holds {context}, and the answer needs room \
         too; shorten the prompt, or give a larger --ctx (this model was made for {model_context}: longer \
         texts are read with their positions stretched)"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens the context holds.
        context: usize,
        /// Positions the model was made for.
        model_context: usize,
    },
    /// A text too short to be scored.
    #[error(
        "the text has {tokens} tokens; scoring it in pieces of {context} needs at least as many"
    )]
    TextTooShort {
        /// Tokens of the text.
        tokens: usize,
        /// Tokens of a piece.
        context: usize,
    },
    /// There is something wrong with the tools, or with the choice among them.
    #[error(transparent)]
    Tool(#[from] text::tools::ToolError),
    /// A grammar that can't be understood, or can't be followed any further.
    #[error("grammar: {0}")]
    Grammar(String),
    /// A cache in which not even one text of full length fits.
    #[error(
        "the key-value cache would hold {tokens} tokens, less than the context of {context}; give \
         it more memory, or a smaller --ctx"
    )]
    CacheTooSmall {
        /// Tokens the cache would hold.
        tokens: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// A draft model that speaks another language.
    #[error(
        "{draft} can't guess for {target}: token {token} is not the same in both vocabularies; \
         choose a smaller model of the same family"
    )]
    DraftVocabulary {
        /// The model that is guessed for.
        target: String,
        /// The model that guesses.
        draft: String,
        /// The first token in which they differ.
        token: u32,
    },
    /// A file of texts that were read can't be used.
    #[error("{path}: {problem}\nhint: {remedy}", path = path.display())]
    Kept {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Such a file can't be read or written.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    KeptIo {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Requests are no longer taken in.
    #[error("the engine is shutting down; try again in a moment")]
    ShuttingDown,
    /// The model failed while it ran.
    #[error("the model can't be run: {0}")]
    Broken(String),
    /// A context nothing can be done with.
    #[error("a context of {0} tokens is too small; give at least 2")]
    Context(usize),
}

impl From<weights::Error> for Error {
    fn from(error: weights::Error) -> Error {
        Error::Model(error.into())
    }
}
