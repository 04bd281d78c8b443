//! What can be wrong with what training is given.

/// Names the field and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model, or an adapter.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// A file.
    #[error(transparent)]
    Weights(#[from] weights::Error),
    /// The instruction set.
    #[error(transparent)]
    Isa(#[from] kernels::IsaError),
    /// A text of a batch.
    #[error("text {text} of the batch: {problem}")]
    Text {
        /// Which, counted from 0.
        text: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A setting, or an argument of another length than the batch calls for.
    #[error("{field}: {problem}")]
    Setting {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A weight that can't be learned.
    #[error(
        "tensor `{name}` is {ty}: only f32, f16 and bf16 weights can be trained themselves; train an \
         adapter, or take the model as it was published"
    )]
    Quantized {
        /// GGUF's name.
        name: String,
        /// Its type.
        ty: kernels::blocks::BlockType,
    },
}

pub(crate) fn setting(field: &'static str, problem: impl Into<String>) -> Error {
    Error::Setting { field, problem: problem.into() }
}
