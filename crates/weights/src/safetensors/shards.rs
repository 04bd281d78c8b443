//! Which files make up a safetensors model, and the JSON files beside them.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::Error;
use crate::tensor::{Table, shorten};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Far above any real configuration or index.
const MAX_JSON: u64 = 64 << 20;

/// The files of one model.
pub(crate) struct Shards {
    pub(crate) dir: PathBuf,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) index: Option<Index>,
}

/// `model.safetensors.index.json`: which shard holds which tensor.
#[derive(Deserialize)]
pub(crate) struct Index {
    #[serde(skip)]
    path: PathBuf,
    weight_map: BTreeMap<String, String>,
}

impl Index {
    fn read(dir: &Path) -> Result<Option<Index>, Error> {
        let path = dir.join(INDEX);
        let Some(value) = read_json(&path)? else { return Ok(None) };
        let mut index: Index =
            serde_json::from_value(value).map_err(|e| Error::malformed(&path, "index", e))?;
        for shard in index.weight_map.values() {
            // A name from the net must not lead out of the directory.
            let mut components = Path::new(shard).components();
            let plain = matches!(components.next(), Some(Component::Normal(_)));
            if !plain || components.next().is_some() {
                let problem = format!("\"{}\" is not a plain file name", shorten(shard));
                return Err(Error::malformed(&path, "weight_map", problem));
            }
        }
        index.path = path;
        Ok(Some(index))
    }

    fn files(&self, dir: &Path) -> Vec<PathBuf> {
        let mut names: Vec<&String> = self.weight_map.values().collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|name| dir.join(name)).collect()
    }

    /// Whether every shard is there.
    pub(super) fn check_files(&self, files: &[PathBuf]) -> Result<(), Error> {
        match files.iter().position(|file| !file.exists()) {
            Some(at) => Err(Error::Missing {
                path: self.path.clone(),
                what: format!("shard {} of {} ({})", at + 1, files.len(), files[at].display()),
                remedy: "fetch it, or put it beside the others",
            }),
            None => Ok(()),
        }
    }

    /// How many tensors the index lists for the shard `file`.
    pub(crate) fn listed(&self, file: &Path) -> usize {
        self.weight_map.values().filter(|shard| file.ends_with(shard)).count()
    }

    /// Whether every tensor listed is in the shard it is listed for.
    pub(super) fn check_tensors(&self, tensors: &Table, files: &[PathBuf]) -> Result<(), Error> {
        for (tensor, shard) in &self.weight_map {
            let found = tensors.get(tensor).is_some_and(|t| files[t.part].ends_with(shard));
            if !found {
                return Err(Error::Malformed {
                    path: self.path.clone(),
                    field: "weight_map".to_owned(),
                    problem: format!("tensor `{}` is not in {}", shorten(tensor), shorten(shard)),
                    remedy: "the shards are not of one model, fetch them again",
                });
            }
        }
        Ok(())
    }
}

/// Finds the files of the model at `path`: a directory, or one of its weight files. They need
/// not exist.
pub(crate) fn find(path: &Path) -> Result<Shards, Error> {
    let kind = std::fs::metadata(path).map_err(Error::io(path, "open"))?;
    if !kind.is_dir() {
        let dir = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        // One shard stands for all, provided that the index beside it knows it.
        if let Some(index) = Index::read(&dir)? {
            let files = index.files(&dir);
            if files.iter().any(|file| file.file_name() == path.file_name()) {
                return Ok(Shards { dir, files, index: Some(index) });
            }
        }
        return Ok(Shards { dir, files: vec![path.to_owned()], index: None });
    }

    let dir = path.to_owned();
    let single = dir.join(SINGLE);
    if single.exists() {
        return Ok(Shards { dir, files: vec![single], index: None });
    }
    if let Some(index) = Index::read(&dir)? {
        let files = index.files(&dir);
        if files.is_empty() {
            return Err(Error::malformed(&index.path, "weight_map", "is empty"));
        }
        return Ok(Shards { dir, files, index: Some(index) });
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&dir).map_err(Error::io(&dir, "list"))? {
        let file = entry.map_err(Error::io(&dir, "list"))?.path();
        if file.extension().is_some_and(|e| e == "safetensors") {
            files.push(file);
        }
    }
    match files.len() {
        1 => Ok(Shards { dir, files, index: None }),
        0 => Err(Error::Missing {
            path: dir,
            what: format!("{SINGLE} or {INDEX}"),
            remedy: "name a directory with a safetensors model in it, or a GGUF file",
        }),
        n => Err(Error::Missing {
            path: dir,
            what: format!(
                "{INDEX}, which would say how the {n} .safetensors files belong together,"
            ),
            remedy: "fetch it from the model's repository, or name one of the files",
        }),
    }
}

/// Parses a small JSON file; `None` where there is none.
pub(crate) fn read_json(path: &Path) -> Result<Option<Value>, Error> {
    let bytes = match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, "open")(e)),
        Ok(kind) if kind.len() > MAX_JSON => {
            let problem = format!("{} bytes, more than the {MAX_JSON} expected", kind.len());
            return Err(Error::malformed(path, "file", problem));
        }
        Ok(_) => std::fs::read(path).map_err(Error::io(path, "read"))?,
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::malformed(path, "JSON", e))
}

/// The chat template in or beside a tokenizer's configuration.
pub(crate) fn chat_template(
    dir: &Path,
    tokenizer_config: Option<&Value>,
) -> Result<Option<String>, Error> {
    let file = dir.join("chat_template.jinja");
    if file.exists() {
        return std::fs::read_to_string(&file).map(Some).map_err(Error::io(&file, "read"));
    }
    let template = match tokenizer_config.and_then(|config| config.get("chat_template")) {
        Some(Value::Array(named)) => named
            .iter()
            .find(|t| t.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|t| t.get("template")),
        other => other,
    };
    match template {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(template)) => Ok(Some(template.clone())),
        Some(_) => {
            let path = dir.join("tokenizer_config.json");
            Err(Error::malformed(&path, "chat_template", "is neither a string nor named strings"))
        }
    }
}
