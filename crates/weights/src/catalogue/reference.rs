//! What a user means by `-m`: a row of the catalogue, a repository on the hub, or a path.

use std::path::{Path, PathBuf};

use super::{Catalogue, Model};

/// A parsed `-m` argument.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelRef<'a> {
    /// A row, possibly at another quantisation than its own: `qwq-32b`, `qwq-32b:Q8_0`.
    Row {
        /// The row.
        model: &'a Model,
        /// The quantisation asked for, upper case, if it is not the row's own.
        quant: Option<String>,
    },
    /// A repository: `Qwen/QwQ-32B-GGUF:Q4_K_M`, `owner/repo@revision`, `owner/repo:file.gguf`.
    Repo {
        /// `owner/name`.
        repo: String,
        /// Branch, tag or commit.
        revision: Option<String>,
        /// A quantisation or a file name.
        select: Option<String>,
    },
    /// A file or directory on this machine.
    Path(PathBuf),
}

/// The argument is none of the three.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ReferenceError {
    /// No such name, and it does not look like a repository or a path.
    #[error("there is no model `{name}` in the catalogue{}", suggestion(similar))]
    Unknown {
        /// As typed.
        name: String,
        /// Names close to it.
        similar: Vec<String>,
    },
    /// It looks like a path, but nothing is there.
    #[error("there is no file {}", .0.display())]
    NoFile(PathBuf),
}

fn suggestion(similar: &[String]) -> String {
    match similar {
        [] => "\nhint: `ponder list --all` shows every name; `owner/repo:QUANT` and paths work too"
            .into(),
        some => format!(
            "\nhint: did you mean {}?",
            some.iter().map(|s| format!("`{s}`")).collect::<Vec<_>>().join(" or ")
        ),
    }
}

impl<'a> ModelRef<'a> {
    /// Reads an argument. A name in the catalogue wins over a file of that name in the working
    /// directory (write `./name` for the file); a file wins over a repository of that name.
    pub fn parse(argument: &str, catalogue: &'a Catalogue) -> Result<Self, ReferenceError> {
        if let Some(model) = catalogue.find(argument) {
            return Ok(ModelRef::Row { model, quant: None });
        }
        let path = expand_home(argument);
        if path.exists() {
            return Ok(ModelRef::Path(path));
        }
        let (head, select) = match argument.split_once(':') {
            Some((head, select)) if !select.is_empty() => (head, Some(select.to_owned())),
            _ => (argument, None),
        };
        if let (Some(model), Some(quant)) = (catalogue.find(head), &select) {
            let quant = quant.to_uppercase();
            let quant = Some(quant).filter(|q| *q != model.quant.to_uppercase());
            return Ok(ModelRef::Row { model, quant });
        }
        let (repo, revision) = match head.split_once('@') {
            Some((repo, revision)) if !revision.is_empty() => (repo, Some(revision.to_owned())),
            _ => (head, None),
        };
        // `models/x.gguf` has the shape of a repository; nobody's repository is called so.
        let file_like = [".gguf", ".safetensors", ".part"].iter().any(|e| repo.ends_with(e));
        if is_repo(repo) && !file_like {
            return Ok(ModelRef::Repo { repo: repo.to_owned(), revision, select });
        }
        let path_like =
            file_like || argument.contains(['/', '\\']) || argument.starts_with(['.', '~']);
        if path_like {
            return Err(ReferenceError::NoFile(path));
        }
        let similar = catalogue.similar(argument).into_iter().map(str::to_owned).collect();
        Err(ReferenceError::Unknown { name: argument.to_owned(), similar })
    }
}

/// Whether the hub would accept this as `owner/name`.
pub(super) fn is_repo(text: &str) -> bool {
    let plain = |s: &str| {
        s.starts_with(|c: char| c.is_ascii_alphanumeric())
            && s.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && !s.contains("..")
            && !s.contains("--")
    };
    matches!(text.split_once('/'), Some((owner, name)) if plain(owner) && plain(name))
}

/// `~/x` is in the home directory; everything else is as it stands.
pub(crate) fn expand_home(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}
