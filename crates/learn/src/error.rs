//! What can be wrong with what teaching is given.

use std::path::{Path, PathBuf};

/// Names the file, line or field and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The network, or its gradients.
    #[error(transparent)]
    Train(#[from] train::Error),
    /// The model, its tokens, its cache.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// A benchmark that problems are taken from.
    #[error(transparent)]
    Eval(#[from] eval::Error),
    /// A file of numbers.
    #[error(transparent)]
    Weights(#[from] weights::Error),
    /// What is kept of each step.
    #[error(transparent)]
    Journal(#[from] crate::journal::Error),
    /// A recipe's field.
    #[error("recipe: {field}: {problem}")]
    Recipe {
        /// Where in the TOML it is, as `grpo.completions`.
        field: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// A file that can't be read or written.
    #[error("{}: cannot {action}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// `read`, `write`, …
        action: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A line of a data file.
    #[error("{}: line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// There is nothing to learn from.
    #[error("{what}: {problem}")]
    Data {
        /// Which data.
        what: String,
        /// Why none of it can be used.
        problem: String,
    },
    /// A run folder that doesn't fit what is to be run.
    #[error("{}: {problem}", path.display())]
    Folder {
        /// The run folder, or a file of it.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// Engines elsewhere that can't be drawn from.
    #[error("rollouts: {problem}")]
    Rollouts {
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Gradients that aren't numbers, several steps in a row.
    #[error(
        "step {step}: the gradient of `{parameter}` isn't finite, for the {times}th time in a row\n\
         hint: the weights are those of the last good step; try a smaller optimizer.learning_rate"
    )]
    NotFinite {
        /// The step.
        step: u64,
        /// The first parameter whose gradient isn't finite.
        parameter: String,
        /// Steps in a row.
        times: usize,
    },
}

pub(crate) fn recipe(field: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::Recipe { field: field.into(), problem: problem.into() }
}

pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, action, source }
}
