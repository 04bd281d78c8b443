//! The model that a `[pretrain]` recipe begins with.

use std::path::PathBuf;

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

/// A new model on disk.
pub struct Beginning {
    /// Its directory.
    pub path: PathBuf,
    /// Goes when a trial is over.
    _trial: Option<TempDir>,
}

/// The new model of a recipe, which is made if it isn't there yet: in the run folder, or for a trial (`dry`) in a
/// place that goes away again.
pub fn begin(recipe: &Recipe, settings: &Pretrain, offline: bool, dry: bool) -> Result<Beginning> {
    let kept = recipe.out.join(START);
    let (path, trial) = match dry && !kept.exists() {
        true => {
            let dir = tempfile::tempdir().context("no place for a trial")?;
            (dir.path().join(START), Some(dir))
        }
        false => (kept, None),
    };
    if trial.is_none() {
        // Before anything is made for it: another recipe's folder is not to be touched.
        Folder::open(recipe)?;
    }
    if !path.exists() {
        let draft = initial(recipe, &vocabulary(settings, offline)?)?;
        let beside = made(&draft)?;
        let options = SafetensorsOptions { ty: BlockType::F32, shard_bytes: SHARD_BYTES, beside };
        draft.write_safetensors(&path, &options, &Pool::with_all_cores(), &Bar::new())?;
    }
    Ok(Beginning { path, _trial: trial })
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
