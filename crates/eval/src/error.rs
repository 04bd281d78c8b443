//! What can go wrong.

use std::path::PathBuf;

/// Why something could not be measured or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No benchmark of that name.
    #[error(
        "there is no benchmark {name:?}\nhint: name one of {known}, or give the path of a .toml file"
    )]
    UnknownBenchmark {
        /// What was asked for.
        name: String,
        /// Those that come along.
        known: String,
    },
    /// A benchmark's TOML is wrong.
    #[error("benchmark {file}: {why}")]
    Benchmark {
        /// Its file or name.
        file: String,
        /// What is wrong.
        why: String,
    },
    /// The items' file isn't here.
    #[error(
        "the items of {benchmark} are not here: {file}\n\
         hint: give the file with --items, or the folder it is in with --data or PONDER_DATA{}",
        dataset.as_ref().map(|id| format!(", or pull them with --dataset {id}")).unwrap_or_default()
    )]
    NoItems {
        /// The benchmark.
        benchmark: String,
        /// The file it wants.
        file: String,
        /// The public dataset that has them.
        dataset: Option<String>,
    },
    /// A row of the items' file can't be used.
    #[error("{benchmark}: row {row}: {field}: {why}")]
    Row {
        /// The benchmark.
        benchmark: String,
        /// Counted from 1.
        row: usize,
        /// The template or expression that failed.
        field: String,
        /// Why.
        why: String,
    },
    /// A file can't be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file can't be written.
    #[error("cannot write {path}: {error}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file isn't what it should be.
    #[error("{path}, line {line}: {why}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// A Parquet file can't be read.
    #[error("{path}: {why}\nhint: fetch it again, or give JSON lines")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The folder holds another run.
    #[error(
        "{path} holds a run with another {what}\n\
         hint: choose another folder with --out, or remove it to begin again"
    )]
    OtherRun {
        /// The folder.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// Another process writes to the run.
    #[error("{path} is being written by another process")]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The model can't be asked.
    #[error(transparent)]
    Ask(#[from] reason::Error),
    /// A verifier can't work.
    #[error("{item}: {error}")]
    Check {
        /// The item.
        item: String,
        /// Why.
        error: verify::CannotTell,
    },
}
