//! The model that a `[pretrain]` recipe begins with.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kernels::Pool;
use kernels::blocks::BlockType;
use learn::Recipe;
use learn::pretrain::{initial, learned_vocabulary};
use learn::recipe::Pretrain;
use learn::run::Folder;
use tempfile::TempDir;
use weights::convert::{SHARD_BYTES, SafetensorsOptions};
use weights::gguf::Metadata;

use crate::files_arg::{Source, made};
use crate::model_arg::ModelArg;
use crate::progress::Bar;

/// Where it is in the run folder.
const START: &str = "start";

/// A new model on disk, and what becomes of it if no run begins with it.
pub struct Beginning {
    /// Its directory.
    pub path: PathBuf,
    /// Goes when a trial is over.
    _trial: Option<TempDir>,
    /// The run folder that was begun for it just now.
    begun: Option<PathBuf>,
}

impl Beginning {
    /// The run begins: what was made for it stays.
    pub fn keep(&mut self) {
        self.begun = None;
    }
}

impl Drop for Beginning {
    fn drop(&mut self) {
        // Something was wrong with the rest of the recipe, which can be mended: the folder must not hold on to what
        // it was.
        if let Some(out) = &self.begun {
            let _ = std::fs::remove_dir_all(out.join(START));
            let _ = Folder::forget(out);
        }
    }
}

/// The new model of a recipe, which is made if it isn't there yet: in the run folder, or for a trial (`dry`) in a
/// place that goes away again.
pub fn begin(recipe: &Recipe, settings: &Pretrain, offline: bool, dry: bool) -> Result<Beginning> {
    if dry {
        let dir = tempfile::tempdir().context("no place for a trial")?;
        let path = dir.path().join(START);
        make(recipe, settings, offline, &path)?;
        return Ok(Beginning { path, _trial: Some(dir), begun: None });
    }
    // Before anything is made for it: another recipe's folder is not to be touched.
    Folder::open(recipe)?;
    let path = recipe.out.join(START);
    let begun = (!path.exists()).then(|| recipe.out.clone());
    let beginning = Beginning { path, _trial: None, begun };
    if beginning.begun.is_some() {
        make(recipe, settings, offline, &beginning.path)?;
    }
    Ok(beginning)
}

fn make(recipe: &Recipe, settings: &Pretrain, offline: bool, path: &Path) -> Result<()> {
    let draft = initial(recipe, &vocabulary(settings, offline)?)?;
    let beside = made(&draft)?;
    let options = SafetensorsOptions { ty: BlockType::F32, shard_bytes: SHARD_BYTES, beside };
    draft.write_safetensors(path, &options, &Pool::with_all_cores(), &Bar::new())?;
    Ok(())
}

fn vocabulary(settings: &Pretrain, offline: bool) -> Result<Metadata> {
    let Some(from) = &settings.tokenizer.from else {
        eprintln!("learning a vocabulary");
        return Ok(learned_vocabulary(settings)?);
    };
    let model = ModelArg { model: Some(from.clone()), offline }.resolve()?;
    let source = Source::open(model.path)
        .with_context(|| format!("pretrain.tokenizer.from: cannot use {from}"))?;
    Ok(source.draft(None)?.metadata)
}
