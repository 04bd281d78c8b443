//! `--judge`: a reward model that says how good an answer is.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use engine::{Engine, LoadOptions};
use learn::preference::RewardVerifier;

use crate::model_arg::ModelArg;

/// The arguments, to be flattened into a command's own.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct JudgeArg {
    /// A reward model that judges answers: an adapter made by `ponder train` with [reward_model].
    #[arg(long, value_name = "PATH")]
    pub judge: Option<PathBuf>,

    /// The model that --judge was trained on, where it isn't the one that answers.
    #[arg(long, value_name = "MODEL", requires = "judge")]
    pub judge_model: Option<String>,
}

impl JudgeArg {
    /// The judge, if one is asked for. `engine` is that of the model that answers, where it runs in this
    /// process; `model` says how the judge's own is found otherwise.
    ///
    /// # Errors
    /// Its model, or it, can't be had.
    pub fn open(
        &self,
        engine: Option<&Arc<Engine>>,
        model: &ModelArg,
    ) -> Result<Option<RewardVerifier>> {
        let Some(path) = &self.judge else { return Ok(None) };
        let engine = match (&self.judge_model, engine) {
            (None, Some(engine)) => Arc::clone(engine),
            (named, _) => {
                let model = ModelArg { model: named.clone(), offline: model.offline };
                let model = model.resolve()?;
                let loaded = Engine::load(&model.path, &LoadOptions::default());
                Arc::new(loaded.with_context(|| format!("cannot load the judge's {}", model.name))?)
            }
        };
        Ok(Some(RewardVerifier::open(path, &engine)?))
    }
}
