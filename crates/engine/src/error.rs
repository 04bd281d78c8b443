//! Why a request could not be answered.

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
    /// There is nothing to continue.
    #[error("the prompt is empty; give at least one token of text")]
    EmptyPrompt,
    /// The prompt doesn't fit.
    #[error(
        "the prompt has {tokens} tokens, but the context holds {context}, and the answer needs room \
         too; shorten the prompt, or give a larger --ctx (this model was made for {model_context}) \
         or a --rope-scaling"
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
    /// A context nothing can be done with.
    #[error("a context of {0} tokens is too small; give at least 2")]
    Context(usize),
}

impl From<weights::Error> for Error {
    fn from(error: weights::Error) -> Error {
        Error::Model(error.into())
    }
}
