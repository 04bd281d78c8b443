//! Why a model could not be built or run.

use std::path::PathBuf;

use kernels::IsaError;
use kernels::matmul::MatrixError;

/// What went wrong, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file itself.
    #[error(transparent)]
    Weights(#[from] weights::Error),
    /// `PONDER_ISA` asks for something this machine can't do.
    #[error(transparent)]
    Isa(#[from] IsaError),
    /// An architecture that isn't built in.
    #[error(
        "{}: architecture `{found}` is not one of those this version runs: {}",
        .path.display(), crate::config::ARCHITECTURES.join(", ")
    )]
    Architecture {
        /// The model.
        path: PathBuf,
        /// Its architecture.
        found: String,
    },
    /// A setting of the model that is missing or makes no sense.
    #[error("{}: {key}: {problem}", .path.display())]
    Config {
        /// The model.
        path: PathBuf,
        /// The metadata key, or the key of `config.json`.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// What can be done with other models can't be with one of experts.
    #[error("a model of experts can't be {0} yet; run, serve, eval and reason work with it")]
    Experts(&'static str),
    /// Training doesn't know all that an architecture has.
    #[error(
        "a model of architecture `{0}` can't be trained yet; run, serve, eval and reason work with it"
    )]
    Untrainable(String),
    /// What needs all layers in memory, where some are in the file.
    #[error(
        "training needs all layers of the model in memory, and there is not enough of it; train a \
         smaller model or a smaller type of this one, or free some memory"
    )]
    InFile,
    /// Not even one layer fits into the memory that weights may take.
    #[error(
        "{}: weights may take {room} bytes of memory, and at least {needed} are needed, for the output matrix \
         and one layer; allow more with --weight-memory, free some, or take a smaller model",
        .path.display()
    )]
    Memory {
        /// The model.
        path: PathBuf,
        /// Bytes they may take.
        room: u64,
        /// The least that would do.
        needed: u64,
    },
    /// What comes into matrices can't be named as the tensors of an architecture are.
    #[error(
        "an importance matrix can't be made of a model of architecture `{0}` yet; quantize without one"
    )]
    Unobservable(String),
    /// A tensor that the architecture needs.
    #[error(
        "{}: tensor `{name}` is missing; the file is incomplete or was made for another \
         architecture, fetch or convert it again", .path.display()
    )]
    MissingTensor {
        /// The model.
        path: PathBuf,
        /// The tensor, by its GGUF name.
        name: String,
    },
    /// A tensor of another shape than the settings call for.
    #[error(
        "{}: tensor `{name}` has shape {found:?} where the model's settings call for {expected:?}; \
         the file is damaged, fetch or convert it again", .path.display()
    )]
    Shape {
        /// The model.
        path: PathBuf,
        /// The tensor, by its GGUF name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// What it should be.
        expected: Vec<usize>,
    },
    /// A tensor whose bytes can't be packed.
    #[error("{}: tensor `{name}`: {source}", .path.display())]
    Matrix {
        /// The model.
        path: PathBuf,
        /// The tensor, by its GGUF name.
        name: String,
        /// Why.
        source: MatrixError,
    },
    /// Something about an adapter that is missing, makes no sense or isn't supported.
    #[error("{}: {field}: {problem}", .path.display())]
    Adapter {
        /// The adapter, or the file of it.
        path: PathBuf,
        /// The setting or tensor.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor of an adapter that doesn't fit the model or the adapter's settings.
    #[error(
        "{}: tensor `{name}` has shape {found:?} where the model's layers and the adapter's rank \
         call for {expected:?}; it was made for another model or is damaged", .path.display()
    )]
    AdapterShape {
        /// The adapter's file.
        path: PathBuf,
        /// The tensor, by its name there.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// What it should be.
        expected: Vec<usize>,
    },
    /// An adapter that was loaded for a model of another kind than the one it is used with.
    #[error(
        "{}: the adapter was loaded for another model than {}; load it for this one",
        .path.display(), .model.display()
    )]
    AdapterModel {
        /// The adapter.
        path: PathBuf,
        /// The model.
        model: PathBuf,
    },
    /// A `--rope-scaling` that can't be understood.
    #[error(
        "rope scaling `{given}`: {problem}; give `none`, `linear:FACTOR`, `yarn:FACTOR` or \
         `auto:FACTOR` (these two with or without `:ORIGINAL_CONTEXT`)"
    )]
    RopeScaling {
        /// What was given.
        given: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A token that isn't in the vocabulary.
    #[error("token {token} is outside the model's vocabulary of {vocab}")]
    Token {
        /// The token.
        token: u32,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// The cache has no pages left.
    #[error(
        "the key-value cache is full: {needed} more pages of 64 tokens are needed, {free} of \
         {limit} are free; shorten the prompt or give a larger --ctx"
    )]
    CacheFull {
        /// Pages that were asked for.
        needed: usize,
        /// Pages that are left.
        free: usize,
        /// Pages there may be.
        limit: usize,
    },
}
