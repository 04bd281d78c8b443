//! Adapters to files, as PEFT reads them: the way back of `peft.rs`.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use kernels::ops::RopeLayout;
use serde_json::json;
use weights::convert::row_of;
use weights::gguf::AtomicFile;
use weights::safetensors::{NewTensor, names, write};

use super::pairs::check_score;
use super::peft::{CONFIG, SCORE, SCORE_MODULES, WEIGHTS};
use super::{Adapter, Target, TrainedPair, bad};
use crate::{Config, Error};

/// What `adapter_config.json` says beside the names of the matrices.
#[derive(Clone, PartialEq, Debug)]
pub struct PeftSettings {
    /// Rows of each A (`r`).
    pub rank: usize,
    /// The numerator of the scale (`lora_alpha`).
    pub alpha: f32,
    /// The scale is `alpha / √rank` and not `alpha / rank` (`use_rslora`).
    pub rslora: bool,
    /// With which probability training left an input out (`lora_dropout`).
    pub dropout: f32,
    /// The model the adapter goes with (`base_model_name_or_path`).
    pub base: String,
}

impl PeftSettings {
    /// What `B A` is multiplied with.
    pub fn scale(&self) -> f32 {
        let rank = self.rank as f32;
        self.alpha / if self.rslora { rank.sqrt() } else { rank }
    }
}

impl Adapter {
    /// Writes `adapter_model.safetensors`, in f32, and `adapter_config.json` into the directory
    /// `dir`, which is made if need be. `config` is the model's that was trained. With the head
    /// `score`, `[hidden]`, it is an adapter that scores texts ([`Adapter::score`]), task type
    /// `SEQ_CLS`, for a model with one label.
    ///
    /// # Errors
    /// A file can't be written, or a pair or the head has another shape than the settings call for.
    pub fn save_peft(
        dir: &Path,
        config: &Config,
        settings: &PeftSettings,
        pairs: &[TrainedPair<'_>],
        score: Option<&[f32]>,
    ) -> Result<(), Error> {
        let mut tensors = Vec::with_capacity(2 * pairs.len() + 1);
        for pair in pairs {
            pair.check(config, dir)?;
            if pair.rank != settings.rank {
                let problem =
                    format!("rank {} where the adapter's is {}", pair.rank, settings.rank);
                return Err(bad(dir, pair.name(), problem));
            }
            let (outputs, inputs) = pair.target.shape(config);
            let module = module(&config.architecture, pair.layer, pair.target);
            let name = |half| format!("base_model.model.{module}.{half}.weight");
            tensors.push(NewTensor {
                name: name("lora_A"),
                shape: vec![pair.rank, inputs],
                values: Cow::Borrowed(pair.a),
            });
            tensors.push(NewTensor {
                name: name("lora_B"),
                shape: vec![outputs, pair.rank],
                values: in_halves(config, pair),
            });
        }
        check_score(score, config, dir)?;
        if let Some(score) = score {
            tensors.push(NewTensor {
                name: format!("base_model.model.{SCORE}.weight"),
                shape: vec![1, config.hidden],
                values: Cow::Borrowed(score),
            });
        }
        let io = |action| move |source| weights::Error::Io { path: dir.to_owned(), action, source };
        std::fs::create_dir_all(dir).map_err(io("create"))?;
        write(&dir.join(WEIGHTS), &tensors)?;
        let path = dir.join(CONFIG);
        let mut file = AtomicFile::create(&path)?;
        let text = format!("{:#}\n", description(config, settings, pairs, score.is_some()));
        file.write_all(text.as_bytes()).map_err(io("write"))?;
        Ok(file.commit()?)
    }
}

/// What Hugging Face calls a matrix, without `.weight`.
fn module(architecture: &str, layer: usize, target: Target) -> String {
    let name = names::to_hf(architecture, &(target.module(layer) + ".weight")).unwrap_or_default();
    name.strip_suffix(".weight").unwrap_or(&name).to_owned()
}

/// B with the rows of q and k in the order of `transformers`.
fn in_halves<'a>(config: &Config, pair: &TrainedPair<'a>) -> Cow<'a, [f32]> {
    let rotated = matches!(pair.target, Target::Q | Target::K);
    if !rotated || config.rope.layout == RopeLayout::Halves {
        return Cow::Borrowed(pair.b);
    }
    let rows = 0..pair.b.len() / pair.rank;
    let row = |r| row_of(r, config.head_dim, RopeLayout::Halves) * pair.rank;
    Cow::Owned(rows.flat_map(|r| &pair.b[row(r)..row(r) + pair.rank]).copied().collect())
}

fn description(
    config: &Config,
    settings: &PeftSettings,
    pairs: &[TrainedPair<'_>],
    scores: bool,
) -> serde_json::Value {
    let modules: BTreeSet<String> = pairs
        .iter()
        .filter_map(|p| {
            module(&config.architecture, p.layer, p.target).rsplit('.').next().map(str::to_owned)
        })
        .collect();
    let layers: BTreeSet<usize> = pairs.iter().map(|p| p.layer).collect();
    let some = (layers.len() < config.layers).then_some(layers);
    json!({
        "peft_type": "LORA",
        "task_type": if scores { "SEQ_CLS" } else { "CAUSAL_LM" },
        "base_model_name_or_path": settings.base,
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "use_rslora": settings.rslora,
        "target_modules": modules,
        "layers_to_transform": some,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "modules_to_save": scores.then_some(SCORE_MODULES),
        "rank_pattern": {},
        "alpha_pattern": {},
        "use_dora": false,
    })
}
