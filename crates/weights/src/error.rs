//! The one error type of the file readers: which file, which field, what is wrong, what to do.

use std::io;
use std::path::{Path, PathBuf};

/// What to do about bytes that contradict the format.
pub(crate) const REFETCH: &str = "the file is damaged or incomplete, fetch it again";

/// Why a file of weights could not be read or written. Every message starts with the file,
/// names the field in it, and ends with a remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}{}", .path.display(), remedy(source))]
    Io {
        /// The file in question.
        path: PathBuf,
        /// What was tried: "open", "map", "write".
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The file ends before something its header promises.
    #[error("{}: {field}: the file ends {missing} bytes too early; {REFETCH}", .path.display())]
    Truncated {
        /// The file in question.
        path: PathBuf,
        /// What could not be read.
        field: String,
        /// How many more bytes this field alone would have needed.
        missing: u64,
    },
    /// The bytes contradict the format.
    #[error("{}: {field}: {problem}; {remedy}", .path.display())]
    Malformed {
        /// The file in question.
        path: PathBuf,
        /// Where in the file: a key, a tensor, a part of the header.
        field: String,
        /// What is wrong there.
        problem: String,
        /// What the reader of the message can do.
        remedy: &'static str,
    },
    /// The file is sound, but uses something this version cannot read.
    #[error("{}: {field}: {problem}; {remedy}", .path.display())]
    Unsupported {
        /// The file in question.
        path: PathBuf,
        /// Where in the file.
        field: String,
        /// What is not supported.
        problem: String,
        /// What the reader of the message can do.
        remedy: &'static str,
    },
    /// A metadata key or a tensor that is needed is not there.
    #[error("{}: {what} is missing; {remedy}", .path.display())]
    Missing {
        /// The file in question.
        path: PathBuf,
        /// The key, tensor or neighbouring file that was looked for.
        what: String,
        /// What the reader of the message can do.
        remedy: &'static str,
    },
    /// A metadata key holds a value of another type than its meaning asks for.
    #[error(
        "{}: metadata key `{key}`: expected {wanted}, found {found}; \
         convert the model again with a current converter", .path.display()
    )]
    WrongType {
        /// The file in question.
        path: PathBuf,
        /// The metadata key.
        key: String,
        /// What was asked for, for example "a string".
        wanted: &'static str,
        /// The type (and for plain numbers the value) that is there.
        found: String,
    },
}

/// What to do about the refusals that have a usual cause.
fn remedy(refusal: &io::Error) -> &'static str {
    match refusal.kind() {
        io::ErrorKind::NotFound => "; check the path",
        io::ErrorKind::PermissionDenied => "; check who may read and write there",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space",
        _ => "",
    }
}

impl Error {
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { path, action, source }
    }

    pub(crate) fn malformed(path: &Path, field: impl ToString, problem: impl ToString) -> Error {
        Error::Malformed {
            path: path.to_owned(),
            field: field.to_string(),
            problem: problem.to_string(),
            remedy: REFETCH,
        }
    }

    pub(crate) fn unsupported(
        path: &Path,
        field: impl ToString,
        problem: impl ToString,
        remedy: &'static str,
    ) -> Error {
        Error::Unsupported {
            path: path.to_owned(),
            field: field.to_string(),
            problem: problem.to_string(),
            remedy,
        }
    }

    /// The file this error is about.
    pub fn path(&self) -> &Path {
        match self {
            Error::Io { path, .. }
            | Error::Truncated { path, .. }
            | Error::Malformed { path, .. }
            | Error::Unsupported { path, .. }
            | Error::Missing { path, .. }
            | Error::WrongType { path, .. } => path,
        }
    }
}
